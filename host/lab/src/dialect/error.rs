//! What can go wrong with firmware of somebody else. None of it says anything about the model.

use crate::link::{AddressError, LinkError};
use crate::micro::PrepareError;
use crate::store::StoreError;
use boardproof_dialect::{LineError, mlperf_tiny, stm32msg};
use boardproof_engines::TensorError;
use boardproof_record::plan::Pass;
use std::io;

/// A firmware that could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// The inventory does not say where it is.
    #[error("unit '{unit}' has no address")]
    NoAddress {
        /// The unit.
        unit: String,
    },
    /// Its address names no line.
    #[error("could not reach unit '{unit}'")]
    Address {
        /// The unit.
        unit: String,
        /// What is wrong with it.
        #[source]
        source: Box<AddressError>,
    },
    /// The line cannot be opened.
    #[error("could not reach unit '{unit}'")]
    Link {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: Box<LinkError>,
    },
    /// The inventory asks for a proof that this protocol cannot give.
    #[error("could not prove that this is unit '{unit}': expected identity {expected}, {dialect} tells none")]
    Identity {
        /// The unit.
        unit: String,
        /// Identity in the inventory.
        expected: String,
        /// The protocol.
        dialect: &'static str,
    },
    /// A device that speaks MLPerf Tiny, or its line, misbehaved.
    #[error("the firmware failed over MLPerf Tiny")]
    Tiny(#[source] Box<mlperf_tiny::Fault>),
    /// A device that speaks stm32msg, or its line, misbehaved.
    #[error("the firmware failed over stm32msg")]
    Stm32(#[source] Box<stm32msg::Fault>),
    /// Another model is inside.
    #[error("unit '{unit}' has another model inside: expected {what} '{expected}', got {found}")]
    OtherModel {
        /// The unit.
        unit: String,
        /// What was looked at.
        what: &'static str,
        /// What the target's file says.
        expected: String,
        /// What the firmware says.
        found: String,
    },
    /// Inputs or outputs of the firmware's model are not those of the variant.
    #[error("the firmware's model does not fit variant '{variant}': expected {expected}, got {found}")]
    Unlike {
        /// The variant.
        variant: String,
        /// What the variant has.
        expected: String,
        /// What the firmware has.
        found: String,
    },
    /// Samples cannot be made.
    #[error("could not prepare the samples")]
    Prepare(#[source] Box<PrepareError>),
    /// A tensor of the evalset cannot become what the firmware reads.
    #[error("could not make values of input '{input}' of the evalset")]
    Values {
        /// Input of the model.
        input: String,
        /// Why not.
        #[source]
        source: Box<TensorError>,
    },
    /// The protocol does not carry what the model needs.
    #[error("could not measure this model over {dialect}: expected {expected}, got {found}")]
    CannotCarry {
        /// The protocol.
        dialect: &'static str,
        /// What it carries.
        expected: String,
        /// What the model has.
        found: String,
    },
    /// A window that is longer than the host saw.
    #[error(
        "the clocks disagree: a window took {device_us} us by the device's clock, at most {host_us} us by the host's"
    )]
    Window {
        /// By the device's clock.
        device_us: u64,
        /// By the host's.
        host_us: u64,
    },
    /// Not one inference was done in the time of the pass.
    #[error("no inference of the {pass} pass was done within {deadline_s} s")]
    Slow {
        /// The pass.
        pass: &'static str,
        /// Time that it had.
        deadline_s: u64,
    },
    /// The record cannot be written.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The user wants no more.
    #[error("interrupted")]
    Interrupted,
}

// Boxed, so that what goes well is not as large as what can go wrong.
impl From<mlperf_tiny::Fault> for DialectError {
    fn from(fault: mlperf_tiny::Fault) -> Self {
        Self::Tiny(Box::new(fault))
    }
}

impl From<stm32msg::Fault> for DialectError {
    fn from(fault: stm32msg::Fault) -> Self {
        Self::Stm32(Box::new(fault))
    }
}

impl From<PrepareError> for DialectError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(Box::new(error))
    }
}

impl From<StoreError> for DialectError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl DialectError {
    /// Nothing came back in time.
    pub fn timed_out(&self) -> bool {
        match self {
            Self::Tiny(fault) => fault.timed_out(),
            Self::Stm32(fault) => fault.timed_out(),
            Self::Link { source, .. } => source.timed_out(),
            Self::Slow { .. } => true,
            _ => false,
        }
    }

    /// The same thing again may go well: noise on a line whose protocol has no checksum.
    pub(super) fn is_noise(&self) -> bool {
        match self {
            Self::Tiny(fault) => matches!(**fault, mlperf_tiny::Fault::NotConfirmed { .. }),
            Self::Window { .. } => true,
            _ => false,
        }
    }

    /// The user interrupted a wait.
    pub(super) fn or_interrupted(self) -> Self {
        let line = match &self {
            Self::Tiny(fault) => match &**fault {
                mlperf_tiny::Fault::Line { source, .. } => Some(source),
                _ => None,
            },
            Self::Stm32(fault) => match &**fault {
                stm32msg::Fault::Line { source, .. } => Some(source),
                _ => None,
            },
            _ => None,
        };
        match line {
            Some(LineError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => Self::Interrupted,
            _ => self,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoAddress { .. } => "give the unit an `address` such as serial:/dev/ttyACM0 in the inventory".into(),
            Self::Link { source, .. } => return source.hint(),
            Self::Identity { .. } => "take `identity` out of the unit's entry in the inventory".into(),
            Self::Tiny(fault) if fault.timed_out() => {
                "is the board powered, is its line at link.baud, and does its firmware speak MLPerf Tiny?".into()
            }
            Self::Tiny(fault) => match **fault {
                mlperf_tiny::Fault::Restarted { .. } => "see why the board restarts: power, watchdog, crash".into(),
                mlperf_tiny::Fault::NotConfirmed { .. } => "is the line too long or too fast for its noise?".into(),
                _ => return None,
            },
            Self::Stm32(fault) if fault.timed_out() => {
                "is the board powered, is its line at link.baud, and is `dialect.packets` its firmware's kind?".into()
            }
            Self::OtherModel { .. } => "flash the firmware that is meant, or correct [dialect] of the target".into(),
            Self::Unlike { .. } => {
                "name the variant that is inside, or say with `dialect.channels` how samples lie in it".into()
            }
            Self::Prepare(error) if matches!(**error, PrepareError::Compile { .. }) => {
                "say with `dialect.input` what the firmware reads: \"i8\" and \"u8\" need an integer model".into()
            }
            Self::Slow { .. } => "raise limits.pass_deadline_s of the target".into(),
            _ => return None,
        })
    }
}

/// Name of a pass in sentences.
pub(super) fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Inspect => "inspect",
        Pass::Accuracy => "accuracy",
        Pass::Latency => "latency",
        Pass::Memory => "memory",
    }
}
