//! Switching units: on, off, reset, hang. A board in QEMU is switched through its monitor, a real one by the user's commands.
//!
//! Owns the supply, not what runs on the unit: nothing here logs in anywhere.

mod command;
mod keys;
mod machine;
mod qemu;
mod qmp;
mod run_folder;

pub use command::{CommandError, CommandPower, run_command};
pub use machine::{Machine, MachineSpec};
pub use qemu::{KeptBoard, QemuBoard, QemuError, QemuSpec};
pub use qmp::{Qmp, QmpError};

use std::time::Duration;

/// What can be told to a unit's supply. Every call returns within its limit; after an error the unit's state is unknown.
pub trait Power {
    /// Switches on. A board in QEMU is up then; of a real one nothing is known but that it has power.
    fn on(&mut self, limit: Duration) -> Result<(), PowerError>;
    /// Switches off, as pulling the plug does.
    fn off(&mut self, limit: Duration) -> Result<(), PowerError>;
    /// Off and on again. Works on a unit that hangs.
    fn reset(&mut self, limit: Duration) -> Result<(), PowerError>;
    /// Makes it hang: it keeps its state and answers nothing.
    fn hang(&mut self, limit: Duration) -> Result<(), PowerError>;
    /// Lets it go on after [`Power::hang`].
    fn resume(&mut self, limit: Duration) -> Result<(), PowerError>;
    /// What the supply knows about the unit.
    fn state(&mut self, limit: Duration) -> Result<PowerState, PowerError>;
}

/// What a supply knows about its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// It has power and runs.
    On,
    /// It has power and stands still.
    Hung,
    /// It has no power.
    Off,
}

/// A supply that did not do what it was told. The state of the unit is unknown then.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// A board in QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A command of the user.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// This supply has no such thing.
    #[error("could not {action}: its power commands switch on and off only")]
    Unsupported {
        /// What was wanted.
        action: &'static str,
    },
}

impl PowerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Qemu(error) => error.hint(),
            Self::Command(_) => Some("type the power command by hand: the unit's state is unknown now".into()),
            Self::Unsupported { .. } => None,
        }
    }
}
