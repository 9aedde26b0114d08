//! The device side of the protocol as a state machine without I/O.
//!
//! `Session` decodes a frame, checks session, version and epoch, calls the [`Device`], and encodes the answers. It
//! exists once: agent, firmware and simulator differ only in their `Device` and their link. No clock, no allocation, no panic on
//! input.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod device;
pub mod session;

pub use device::{BlobState, Device, Lease, Refusal, Step};
pub use session::{Next, Session};
