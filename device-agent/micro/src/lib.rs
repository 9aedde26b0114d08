//! Integer models for microcontrollers: a flat format, checked once, and its interpreter.
//!
//! Owns the format, its rounding rule and the kernels; the host writes models with [`mod@write`], a microcontroller runs them with [`Model`],
//! and the host runs them with the same code, so both answer bit for bit the same. Refuses to allocate, to read clocks or links, and to
//! run what [`Model::check`] has not seen whole. After the check nothing can panic and nothing is read or written out of bounds.
//!
//! # Rounding
//! Accumulators are `i32`. An accumulator becomes an 8-bit value by one multiplication and one rounding, half up:
//!
//! ```text
//! y = clamp(zero_point + floor(acc * factor / 2^(32 + shift) + 1/2))     factor in [2^30, 2^31), so 31 bits of the real multiplier
//! ```
//!
//! See [`Multiplier`]. Values enter as onnxruntime's QuantizeLinear rounds them, half to even ([`quantize`]), and leave as
//! `(q - zero_point) * scale` in `f32`.
//!
//! # Operators
//! | operator | values | constraints |
//! |---|---|---|
//! | `Conv2d` | i8 NHWC | any kernel, stride, padding, dilation; one group; per-channel multipliers; clamp |
//! | `DepthwiseConv2d` | i8 NHWC | as many outputs as inputs; kernels three wide are the fastest |
//! | `FullyConnected` | i8, flat | as Conv2d on one pixel |
//! | `Add`, `Mul` | i8 | same shape |
//! | `MaxPool`, `AveragePool` | i8 NHWC | padding does not count |
//! | `GlobalAveragePool` | i8 NHWC | all of height and width |
//! | `Pad`, `Transpose`, `Concat`, `Copy` | i8 | up to four dimensions |
//! | `Softmax` | i8 | over the last dimension |
//! | `Table` | i8 | any function of one value: Sigmoid, Tanh, HardSwish, Relu, Clip, another scale |
//! | `Quantize`, `Dequantize` | f32 to i8, i8 to f32 | `Dequantize` may add a number per channel |
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

#[cfg(any(feature = "std", test))]
extern crate std;

mod check;
mod format;
mod kernel;
mod run;
mod sketch;
#[cfg(feature = "std")]
pub mod write;

pub use check::{Invalid, What};
pub use format::{Dtype, HEADER_BYTES, Kind, MAGIC, Model, OPERATOR_BYTES, Operator, TENSOR_BYTES, Tensor, VERSION};
pub use kernel::{Multiplier, depthwise_weight_bytes, dequantize, quantize, row_bytes, scratch_bytes, weight_bytes};
pub use run::RunError;
pub use sketch::{PROJECTIONS, SKETCH_BYTES, SKETCH_VERSION, sketch};
