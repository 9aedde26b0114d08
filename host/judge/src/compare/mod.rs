//! What the numbers are: tensors against tensors, outputs against labels, times against times.
//!
//! Owns every formula that boardproof publishes (`docs/metrics.md`) and the intervals around them. Operand roles are fixed: the first
//! operand is the *reference*, the second the *candidate*, and they are never exchanged. It refuses to decide: no limit, no policy and no
//! verdict lives here. A number that cannot be had is an [`Invalid`] or an [`Incomparable`], never a zero and never a silent skip.

pub mod calibration;
pub mod dialect;
pub mod gpu;
pub mod history;
pub mod latency;
pub mod numerics;
pub mod operators;
pub mod paired_blocks;
pub mod roofline;
pub mod statistics;
pub mod task;
pub mod tensor;
mod validity;

pub use validity::{Incomparable, Invalid, Measured};
