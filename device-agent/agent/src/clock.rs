//! The two clocks of the agent: one that counts through suspend for leases, one that only goes forward for deadlines.
//!
//! Neither is the wall clock: a jump of the date changes no lease and no deadline.

use crate::digest;
use rustix::time::{ClockId, clock_gettime};
use std::fs;

/// A point in time that means something only within one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Names the boot; empty when the unit cannot tell.
    pub boot: String,
    /// Milliseconds since that boot, suspend included.
    pub since_boot_ms: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { boot: boot_id(), since_boot_ms: since_boot_ms() }
    }
}

/// Milliseconds since boot, suspend included.
pub fn since_boot_ms() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// The kernel's name for this boot; empty when it has none.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// A number that changes with every boot; 0 when the unit cannot tell.
pub fn boot_number() -> u64 {
    match boot_id() {
        id if id.is_empty() => 0,
        id => digest::short_of(&id),
    }
}
