//! The engine of microcontrollers, on a machine with an operating system: the same integers by the same code, so that what a board answers
//! can be held against it bit for bit.

#[cfg(feature = "micro")]
mod engine;
mod values;

#[cfg(feature = "micro")]
pub use engine::MicroEngine;
pub use values::values;
