//! Debug probes: flash, reset, look into memory.
//!
//! One [`Probe`] for what hangs on USB and for the virtual probe of a board in QEMU. probe-rs does the work and blocks while it does; it
//! has a thread of its own here, so that every call has a deadline and ends when the user interrupts. probe-rs' types stay inside.
//!
//! Destructive steps want a [`Permission`], which only a target file that grants the step can give.

mod attached;
mod chips;
mod doctor;
mod elf;
mod error;
mod link;
mod permission;
mod probe;
mod rtt;
mod source;

pub use boardproof_virtual_probe::StubAddress;
pub use doctor::{Lack, doctor};
pub use elf::{CRASH_SYMBOL, RTT_SYMBOL, Symbol, symbol};
pub use error::{Action, ProbeError};
pub use link::{CoreState, DebugLink, Flashed, PostMortem, RttPlace};
pub use permission::Permission;
pub use probe::{AttachOptions, Probe};
pub use rtt::RttStream;
pub use source::{Listed, ProbeSource, UsbSelector, list};
