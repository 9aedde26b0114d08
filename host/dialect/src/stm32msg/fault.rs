//! What can be wrong, with the step at which it was.

use crate::LineError;
use std::time::Duration;

/// The state that the device says it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for a request.
    Idle,
    /// Waits for more of this one.
    Waiting,
    /// Works on it.
    Processing,
    /// Did it.
    Done,
    /// Gave up.
    Error,
    /// None that is known.
    Other(i32),
}

impl State {
    pub(crate) fn of(number: i32) -> Self {
        match number {
            0 => Self::Idle,
            1 => Self::Waiting,
            2 => Self::Processing,
            3 => Self::Done,
            4 => Self::Error,
            other => Self::Other(other),
        }
    }
}

/// Why the device gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// It did not, or does not say.
    None,
    /// Data of a wrong size.
    InvalidSize,
    /// Wrong format.
    InvalidFormat,
    /// Not now.
    InvalidState,
    /// Parameter of a request: no such model, or no such command in firmware of version 3.
    InvalidParam,
    /// Wrong shape.
    InvalidShape,
    /// No such command.
    InvalidCommand,
    /// The model was not initialized.
    Uninitialized,
    /// Too large.
    MemoryOverflow,
    /// Anything else.
    Generic,
    /// None that is known.
    Other(i32),
}

impl ErrorCode {
    pub(crate) fn of(number: i32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::InvalidSize,
            2 => Self::InvalidFormat,
            3 => Self::InvalidState,
            4 => Self::InvalidParam,
            5 => Self::InvalidShape,
            6 => Self::InvalidCommand,
            7 => Self::Uninitialized,
            8 => Self::MemoryOverflow,
            10 => Self::Generic,
            other => Self::Other(other),
        }
    }
}

/// The device or the line to it misbehaved. `step` is what was going on.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The line itself failed.
    #[error("could not {step}")]
    Line {
        /// The step.
        step: String,
        /// Why.
        #[source]
        source: LineError,
    },
    /// A request did not go out whole: the device did not ask for the next packet.
    #[error("could not {step}: packet {packet} of {packets} was not acknowledged, expected 0xaa, got {found}")]
    NotAcknowledged {
        /// The step.
        step: String,
        /// The packet, counted from 1.
        packet: usize,
        /// How many there are.
        packets: usize,
        /// The byte that came, or that none came in time.
        found: String,
    },
    /// No answer in time.
    #[error("could not {step}: no answer in {waited:?}, got {bytes} bytes of a message")]
    Silent {
        /// The step.
        step: String,
        /// How long the device was given.
        waited: Duration,
        /// What had come of the message.
        bytes: usize,
    },
    /// The device waits for the rest of a message that was given up.
    #[error("could not {step}: expected an answer, got 0xaa: the device wants the rest of an earlier message")]
    Asked {
        /// The step.
        step: String,
    },
    /// What came is no packet: a byte was lost, or this is text.
    #[error("could not {step}: expected a packet, got {shown:?}")]
    NoPacket {
        /// The step.
        step: String,
        /// The 33 bytes, as text as far as they are.
        shown: String,
    },
    /// What came is no message, or not all of one.
    #[error("could not {step}: expected a whole message, got one without {lacking}")]
    NoMessage {
        /// The step.
        step: String,
        /// What is missing or wrong.
        lacking: String,
    },
    /// A message that should not come now.
    #[error("could not {step}: expected {expected}, got {found}")]
    Unexpected {
        /// The step.
        step: String,
        /// What should have come.
        expected: String,
        /// What came.
        found: String,
    },
    /// The device says no.
    #[error("could not {step}: the device says {code:?} ({param})")]
    Refused {
        /// The step.
        step: String,
        /// Its reason.
        code: ErrorCode,
        /// A number that belongs to it.
        param: u32,
    },
    /// What was to be done cannot be asked of this firmware.
    #[error("could not {step}: expected {expected}, got {found}")]
    Impossible {
        /// The step.
        step: String,
        /// What can be asked.
        expected: String,
        /// What was to be asked.
        found: String,
    },
}

impl Fault {
    /// Nothing came, or too late.
    pub fn timed_out(&self) -> bool {
        matches!(
            self,
            Self::Silent { .. } | Self::NotAcknowledged { .. } | Self::Line { source: LineError::TimedOut, .. }
        )
    }

    /// The transaction is over and the device waits for the next request.
    pub(crate) fn in_step(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Impossible { .. })
    }
}
