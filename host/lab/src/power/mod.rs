//! Switching units: on, off, reset, hang. A board in QEMU is switched through its monitor, a real one by the user's commands.

mod command;
mod keys;
mod qemu;
mod qmp;

pub use command::{CommandError, run_command};
pub use qemu::{QemuBoard, QemuError, QemuSpec};
pub use qmp::{Qmp, QmpError};
