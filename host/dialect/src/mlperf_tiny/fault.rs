//! What can be wrong, with the line that was.

use crate::LineError;
use std::time::Duration;

/// The device or the line to it misbehaved. `command` is what was asked, without its `%`.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The line itself failed.
    #[error("could not ask `{command}`")]
    Line {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: LineError,
    },
    /// No `m-ready` in time.
    #[error("`{command}` was not answered in {waited:?}: expected `m-ready`, last heard {heard:?}")]
    Silent {
        /// The command.
        command: String,
        /// How long it was given.
        waited: Duration,
        /// The last line, or the beginning of one; empty when nothing came.
        heard: String,
    },
    /// The device did not want to.
    #[error("`{command}` was refused: {line:?}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        line: String,
    },
    /// A message where another should be, or one that cannot be read.
    #[error("`{command}` was answered out of turn: expected {expected}, got {line:?}")]
    Unexpected {
        /// The command.
        command: String,
        /// What should have come.
        expected: String,
        /// What came.
        line: String,
    },
    /// `m-ready` before everything was said.
    #[error("`{command}` was answered short: expected {expected}, got `m-ready`{}", remarked(remarks))]
    Missing {
        /// The command.
        command: String,
        /// What should have come.
        expected: String,
        /// Lines that are neither messages nor errors.
        remarks: Vec<String>,
    },
    /// The device booted: what it knew is gone.
    #[error("the device restarted during `{command}`: {line:?}")]
    Restarted {
        /// The command, or the one that would have been next.
        command: String,
        /// The line of its banner.
        line: String,
    },
    /// The same thing, read twice, differs.
    #[error("{what} changed when read again: expected {first:?}, got {second:?}")]
    NotConfirmed {
        /// What was read twice.
        what: &'static str,
        /// The first time, or what was sent.
        first: String,
        /// The second time.
        second: String,
    },
    /// The device has no sample, or may have lost it.
    #[error("no sample is loaded: `infer` needs a `load` that succeeded since the device started")]
    NotLoaded,
    /// Timestamps that run backwards.
    #[error("the device's clock runs backwards: expected at least {begin} us, got {end} us")]
    Clock {
        /// The first timestamp.
        begin: u64,
        /// The second.
        end: u64,
    },
    /// The device cannot be asked this.
    #[error("could not ask `{command}`: expected {expected}, got {found}")]
    Impossible {
        /// The command.
        command: String,
        /// What can be asked.
        expected: String,
        /// What was to be asked.
        found: String,
    },
}

impl Fault {
    /// Nothing came, or too late.
    pub fn timed_out(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::Line { source: LineError::TimedOut, .. })
    }

    /// The device and the host agree on whose turn it is: the answer was bad, but it is over.
    pub(crate) fn in_step(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::Missing { .. }
                | Self::NotConfirmed { .. }
                | Self::NotLoaded
                | Self::Impossible { .. }
        )
    }
}

fn remarked(remarks: &[String]) -> String {
    match remarks {
        [] => String::new(),
        lines => format!(" after {lines:?}"),
    }
}
