//! The engine of microcontrollers, on a machine with an operating system: the same integers by the same code, so that what a board answers
//! can be held against it bit for bit.

#[cfg(feature = "micro")]
mod engine;
#[cfg(feature = "micro")]
mod inside;
mod values;

#[cfg(feature = "micro")]
pub use engine::MicroEngine;
#[cfg(feature = "micro")]
pub use inside::{Edge, Inside};
pub use values::values;
