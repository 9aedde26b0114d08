//! Samples as a compiled model reads them.

use crate::preprocess::Preprocess;
use crate::tensor::{DType, Tensor, TensorError, TensorView};
use boardproof_micro::{Dtype, Tensor as Input, quantize};

/// The bytes of an input of a compiled model for raw values of an evalset. `declared` is the element type that the ONNX model reads: what it
/// would quantize itself is quantized here, with its own scale and rounding.
///
/// # Errors
/// As [`Preprocess::apply`] and [`TensorView::convert`].
pub fn values(
    raw: TensorView<'_>,
    preprocess: Option<&Preprocess>,
    declared: DType,
    input: &Input,
) -> Result<Vec<u8>, TensorError> {
    let read = match preprocess {
        Some(step) => step.apply(raw, declared)?,
        None => raw.convert(declared)?,
    };
    Ok(match (declared, input.dtype) {
        (_, Dtype::F32) => numbers(&read).flat_map(f32::to_le_bytes).collect(),
        // The same values, counted from -128.
        (DType::U8, Dtype::I8) => read.bytes().iter().map(|value| value ^ 0x80).collect(),
        (DType::I8, Dtype::I8) => read.bytes().to_vec(),
        (_, Dtype::I8) => numbers(&read).map(|x| quantize(x, input.scale, input.zero_point) as u8).collect(),
    })
}

fn numbers(tensor: &Tensor) -> impl Iterator<Item = f32> {
    tensor.view().to_f64().into_iter().map(|x| x as f32)
}
