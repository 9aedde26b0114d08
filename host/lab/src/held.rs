//! A unit that this host holds by the agent's lease, which is renewed while something takes long.

use crate::link::Link;
use crate::link::client::{Client, ClientError};
use boardproof_protocol::{Acquire, Reply, Request};
use std::time::{Duration, Instant};

/// How long the agent keeps the unit for a host that is silent.
pub const TTL_MS: u32 = 60_000;
/// How often the lease is renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(15);

/// The lease under which a host writes to a unit.
#[derive(Debug, Clone)]
pub struct Held<'a> {
    /// Its epoch.
    pub epoch: u64,
    holder: &'a str,
    every: Duration,
    renewed: Instant,
}

impl<'a> Held<'a> {
    /// A lease that was taken or renewed within the last [`RENEW_EVERY`].
    pub fn new(epoch: u64, holder: &'a str) -> Self {
        Self { epoch, holder, every: RENEW_EVERY, renewed: Instant::now() }
    }

    /// The same, renewed this often.
    #[must_use]
    pub fn renewed_every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Is it time to renew it?
    pub fn is_due(&self) -> bool {
        self.renewed.elapsed() >= self.every
    }

    /// Renews it. Answers that are still on their way are lost by asking.
    pub fn renew<L: Link>(&mut self, client: &mut Client<L>) -> Result<(), ClientError> {
        let wish = Acquire { epoch: self.epoch, holder: self.holder, ttl_ms: TTL_MS };
        client.ask("renew the unit's lease", &Request::Acquire(wish), |reply| match reply {
            Reply::Leased { .. } => Some(()),
            _ => None,
        })?;
        self.renewed = Instant::now();
        Ok(())
    }
}
