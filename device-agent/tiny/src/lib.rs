//! The device side of the MLPerf Tiny text protocol, performance and accuracy mode, as a state machine without I/O.
//!
//! A firmware or a simulator that feeds every received byte to [`Tiny::push`] can be scored by any runner that speaks the protocol.
//! Replies, their order inside `infer` and the error strings are those of the reference firmware, the odd ones included; so is the
//! command buffer of 80 characters that loses what comes after, and so is `%` as the only end of a command. Owns the parser and the
//! numbers; the [`Dut`] owns the model, the buffer and the clock. Refuses to allocate, to wait and to panic, and leaves out energy mode
//! (a pin instead of text), `start`/`stop` of the streaming benchmark and everything that the reference leaves undefined: there it
//! answers with an error where the reference would write past its buffer.
//!
//! # Two dialects on one line
//! Our own protocol is COBS frames between `0x00` bytes. [`Detector`] hears which of the two is spoken: feed it every byte, feed the frame
//! decoder every byte too, and answer what either of them completes.
//!
//! ```
//! # use boardproof_tiny::{Detector, Dut, Heard, Tiny};
//! # fn serve(bytes: &[u8], dut: &mut impl Dut, write: &mut impl FnMut(&[u8])) {
//! let mut tiny = Tiny::new();
//! let mut detector = Detector::new();
//! for &byte in bytes {
//!     // frames.push(byte) goes here: a frame is whole only when its CRC fits, so text can never become one
//!     if detector.push(byte, &mut tiny) == Heard::Command {
//!         tiny.answer(dut, write);
//!     }
//! }
//! # }
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod detect;
mod number;
mod tiny;

pub use detect::{Detector, Heard};
pub use number::{signed, thousandths, unsigned};
pub use tiny::{BUFFER_MAX, COMMAND_MAX, Dut, FIRMWARE, Tiny};
