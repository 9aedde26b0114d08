//! Links: how payloads get to a unit and back. A link knows frames, not messages; it always has a deadline.

mod address;
mod bytes;
pub mod client;
pub(crate) mod once;
mod process;
mod serial;
mod sim;
mod ssh;
mod wire;

pub use address::{AddressError, ByteAddress};
pub use bytes::{ByteLink, Bytes, Noise, Waits};
pub use client::{Client, ClientError, Patience};
pub use process::{LinkCommand, ProcessLink};
pub use serial::{Port, PortProblem, RATE_USUAL};
pub use sim::{MemoryLink, SimUnit};
pub use ssh::{JumpHostProblem, SshDestination, SshProblem, classify, ssh_command};
pub use wire::{Board, Cut, FarEnd, Turn, WireCounts, WireEnd, WireFaults, WireUnit};

use std::time::{Duration, Instant};

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
    /// What is special about a link on which every byte counts; `None` for any other.
    fn narrow(&self) -> Option<Narrow> {
        None
    }
    /// Goes on at another rate, in bits per second.
    fn set_rate(&mut self, rate: u32) -> Result<(), LinkError> {
        let _ = rate;
        Ok(())
    }
    /// Why the other side may seem silent: something arrives, and none of it is a frame.
    fn silence(&self) -> Option<LinkError> {
        None
    }
    /// The time, by the clock that this link's deadlines are read from.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Lets time pass.
    fn rest(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// What is special about a link on which every byte counts.
#[derive(Debug, Clone, Copy)]
pub struct Narrow {
    /// Bits per second; `None` where only the two ends are slow.
    pub rate: Option<u32>,
    /// How a greeting is asked for.
    pub greeting: Patience,
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

    fn narrow(&self) -> Option<Narrow> {
        (**self).narrow()
    }

    fn set_rate(&mut self, rate: u32) -> Result<(), LinkError> {
        (**self).set_rate(rate)
    }

    fn silence(&self) -> Option<LinkError> {
        (**self).silence()
    }

    fn now(&self) -> Instant {
        (**self).now()
    }

    fn rest(&mut self, time: Duration) {
        (**self).rest(time);
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
    /// The line's end on this machine cannot be had.
    #[error("could not open {port} for unit '{unit}': {problem}")]
    Port {
        /// The unit.
        unit: String,
        /// The address.
        port: String,
        /// What is wrong.
        problem: PortProblem,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The debug probe carries no bytes.
    #[error("could not reach unit '{unit}' through its debug probe")]
    Carrier {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The line's end on this machine does not go at this rate.
    #[error("the line to unit '{unit}' does not go at {rate} bits per second")]
    Rate {
        /// The unit.
        unit: String,
        /// Rate wanted.
        rate: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The line's end on this machine has vanished.
    #[error("the line to unit '{unit}' is gone, waited {waited_s} s for it to come back")]
    Gone {
        /// The unit.
        unit: String,
        /// Seconds waited.
        waited_s: u64,
        /// How it vanished.
        #[source]
        source: std::io::Error,
    },
    /// Something arrives, and none of it is a frame.
    #[error(
        "unit '{unit}' does not answer as an agent: expected frames, got {bytes} bytes that are none{}: {began:?}",
        at(rate)
    )]
    Noise {
        /// The unit.
        unit: String,
        /// How many bytes.
        bytes: u64,
        /// How they began.
        began: String,
        /// Rate of this end.
        rate: Option<u32>,
    },
    /// The line is there and nothing comes over it.
    #[error("unit '{unit}' does not answer{}: not a single byte came", at(rate))]
    Mute {
        /// The unit.
        unit: String,
        /// Rate of this end.
        rate: Option<u32>,
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
        // A board that boots or speaks at another rate makes noise for a while.
        let silent = matches!(self, Self::Stuck { .. } | Self::Noise { .. } | Self::Mute { .. });
        silent || matches!(self, Self::Ssh { problem: SshProblem::TimedOut, .. })
    }

    /// The line's end on this machine is not there: so it looks while a USB device starts anew.
    pub fn is_unplugged(&self) -> bool {
        use PortProblem::{Missing, Refused};
        matches!(self, Self::Gone { .. } | Self::Carrier { .. } | Self::Port { problem: Missing(_) | Refused, .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh { problem, unit, .. } => Some(problem.hint(unit)),
            Self::Start { program, .. } => Some(format!("`boardproof doctor` says how to get {program}")),
            Self::Port { problem, .. } => problem.hint(),
            Self::Gone { .. } => Some("is the board plugged in and powered?".into()),
            Self::Noise { rate: Some(rate), .. } => Some(format!(
                "is {rate} the rate of the board's line, and is it boardproof's firmware that runs there?"
            )),
            Self::Mute { rate: Some(rate), .. } => Some(format!(
                "is the board powered and flashed, are its two data lines crossed, and is {rate} its rate?"
            )),
            Self::Mute { .. } => Some("is the board powered and flashed?".into()),
            Self::Noise { .. } => Some("is it boardproof's firmware that runs there?".into()),
            _ => None,
        }
    }
}

fn at(rate: &Option<u32>) -> String {
    rate.map_or(String::new(), |rate| format!(" at {rate} bits per second"))
}

fn said(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() { String::new() } else { format!("; it said: {}", text.lines().next_back().unwrap_or_default()) }
}
