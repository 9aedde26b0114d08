//! The kernels that are small and seldom take long, and what operators need of memory. The others are a crate of their own, see
//! [`boardproof_micro_kernels`].

pub mod elementwise;
pub mod layout;
pub mod pool;

pub use boardproof_micro_kernels::*;

use crate::format::{Kind, Operator, Tensor};

/// Bytes of scratch that an operator needs. `row` is the number of weights of an output channel for `Conv2d` and `FullyConnected`, and the
/// number of channels for `DepthwiseConv2d`.
pub fn scratch_bytes(kind: Kind, row: usize) -> usize {
    match kind {
        // Columns of 16-bit values.
        Kind::Conv2d => PIXELS * 2 * row_bytes(row),
        // One.
        Kind::FullyConnected => 2 * row_bytes(row),
        // One pixel of padding.
        Kind::DepthwiseConv2d => row_bytes(row),
        _ => 0,
    }
}

pub(crate) fn scratch_of(operator: &Operator, input: &Tensor) -> usize {
    let (kh, kw) = operator.pair(4);
    let row = match operator.kind {
        Kind::Conv2d => kh * kw * input.image().2,
        Kind::FullyConnected => input.elements(),
        Kind::DepthwiseConv2d => input.image().2,
        _ => 0,
    };
    scratch_bytes(operator.kind, row)
}

/// The window of an operator on its input.
pub(crate) fn window_of(operator: &Operator, input: &Tensor, output: &Tensor) -> Window {
    let (height, width, _) = output.image();
    let dilations = match operator.kind {
        Kind::MaxPool | Kind::AveragePool => (1, 1),
        _ => operator.pair(7),
    };
    Window {
        input: input.image(),
        output: (height, width),
        kernel: operator.pair(4),
        strides: operator.pair(5),
        padding: operator.pair(6),
        dilations,
    }
}
