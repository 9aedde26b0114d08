//! Links: how payloads get to a unit and back. A link knows frames, not messages; it always has a deadline.

pub mod client;
pub(crate) mod once;
mod process;
mod sim;
mod ssh;

pub use client::{Client, ClientError, Patience};
pub use process::{LinkCommand, ProcessLink};
pub use sim::{MemoryLink, SimUnit};
pub use ssh::{SshDestination, SshProblem, classify, ssh_command};

use std::time::Instant;

/// A way for payloads to a unit and back.
pub trait Link {
    /// Sends one payload. Returns when it is on its way or the link is known to be broken.
    fn send(&mut self, payload: &[u8], deadline: Instant) -> Result<(), LinkError>;
    /// The next payload, or `None` when the deadline passed first.
    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, LinkError>;
    /// Bytes sent and received so far, framing included.
    fn traffic(&self) -> (u64, u64);
    /// How long to wait for an answer on a link of this kind.
    fn patience(&self) -> Patience {
        Patience::default()
    }
}

/// A link of whatever kind the unit has.
pub type UnitLink = Box<dyn Link>;

impl Link for UnitLink {
    fn send(&mut self, payload: &[u8], deadline: Instant) -> Result<(), LinkError> {
        (**self).send(payload, deadline)
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        (**self).receive(deadline)
    }

    fn traffic(&self) -> (u64, u64) {
        (**self).traffic()
    }

    fn patience(&self) -> Patience {
        (**self).patience()
    }
}

/// A link that is broken, or never was whole.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The program at this end could not be started.
    #[error("could not start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The other side is gone.
    #[error("the link to {unit} was closed ({status}){}", said(stderr))]
    Closed {
        /// The unit.
        unit: String,
        /// How the program at this end ended.
        status: String,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The SSH client said why there is no link.
    #[error("no SSH link to {unit}: {problem}")]
    Ssh {
        /// The unit.
        unit: String,
        /// What is wrong.
        problem: SshProblem,
        /// What the client wrote.
        stderr: String,
    },
    /// The other side does not speak the protocol.
    #[error("{unit} does not answer as an agent: expected the preamble, got {found:?}")]
    NoPreamble {
        /// The unit.
        unit: String,
        /// What came instead, shortened.
        found: String,
    },
    /// A frame that cannot be.
    #[error("{unit} sent a frame of {length} bytes, at most {limit} are taken")]
    Frame {
        /// The unit.
        unit: String,
        /// Announced length.
        length: usize,
        /// Largest.
        limit: usize,
    },
    /// Nothing moved for too long.
    #[error("{unit} took no bytes before the deadline")]
    Stuck {
        /// The unit.
        unit: String,
    },
}

impl LinkError {
    /// The problem that the SSH client told of.
    pub fn ssh(&self) -> Option<SshProblem> {
        match self {
            Self::Ssh { problem, .. } => Some(*problem),
            _ => None,
        }
    }

    /// Nothing came back, or was taken, in time.
    pub fn timed_out(&self) -> bool {
        matches!(self, Self::Stuck { .. } | Self::Ssh { problem: SshProblem::TimedOut, .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh { problem, unit, .. } => Some(problem.hint(unit)),
            Self::Start { program, .. } => Some(format!("`boardproof doctor` says how to get {program}")),
            _ => None,
        }
    }
}

fn said(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() { String::new() } else { format!("; it said: {}", text.lines().next_back().unwrap_or_default()) }
}
