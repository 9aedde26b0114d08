//! Between plain tensors and tract's.

use half::f16;
use tract_onnx::prelude::{Datum, DatumType, TractResult};
use tract_onnx::tract_core::internal::Tensor as TractTensor;

use crate::engine::RunFailure;
use crate::tensor::{DType, Tensor, elements};

/// The plain datatype that a tract datatype is stored as; quantized types are their integers.
pub(super) fn plain_dtype(datum: DatumType) -> Option<DType> {
    Some(match datum {
        DatumType::Bool => DType::Bool,
        DatumType::U8 | DatumType::QU8(_) => DType::U8,
        DatumType::I8 | DatumType::QI8(_) => DType::I8,
        DatumType::U16 => DType::U16,
        DatumType::I16 => DType::I16,
        DatumType::U32 => DType::U32,
        DatumType::I32 | DatumType::QI32(_) => DType::I32,
        DatumType::U64 => DType::U64,
        DatumType::I64 => DType::I64,
        DatumType::F16 => DType::F16,
        DatumType::F32 => DType::F32,
        DatumType::F64 => DType::F64,
        _ => return None,
    })
}

/// Name of a tract datatype in reports; `qi8` is an `i8` that carries its scale and zero point.
pub(super) fn dtype_name(datum: DatumType) -> String {
    match plain_dtype(datum) {
        Some(plain) if datum.is_quantized() => format!("q{plain}"),
        Some(plain) => plain.name().to_owned(),
        None => format!("{datum:?}").to_lowercase(),
    }
}

/// Copies a plain tensor into tract's memory.
pub(super) fn to_tract(tensor: &Tensor) -> TractResult<TractTensor> {
    let (shape, bytes) = (tensor.shape(), tensor.bytes());
    match tensor.dtype() {
        DType::Bool => build(shape, bytes.iter().map(|byte| *byte != 0)),
        DType::U8 => build(shape, bytes.iter().copied()),
        DType::I8 => build(shape, elements(bytes, i8::from_le_bytes)),
        DType::U16 => build(shape, elements(bytes, u16::from_le_bytes)),
        DType::I16 => build(shape, elements(bytes, i16::from_le_bytes)),
        DType::U32 => build(shape, elements(bytes, u32::from_le_bytes)),
        DType::I32 => build(shape, elements(bytes, i32::from_le_bytes)),
        DType::U64 => build(shape, elements(bytes, u64::from_le_bytes)),
        DType::I64 => build(shape, elements(bytes, i64::from_le_bytes)),
        DType::F16 => build(shape, elements(bytes, f16::from_le_bytes)),
        DType::F32 => build(shape, elements(bytes, f32::from_le_bytes)),
        DType::F64 => build(shape, elements(bytes, f64::from_le_bytes)),
    }
}

fn build<T: Datum + Copy>(shape: &[usize], values: impl Iterator<Item = T>) -> TractResult<TractTensor> {
    TractTensor::from_shape(shape, &values.collect::<Vec<_>>())
}

/// Copies an output out of tract's memory.
pub(super) fn from_tract(name: &str, tensor: &TractTensor) -> Result<Tensor, RunFailure> {
    let refuse =
        || RunFailure::Output { name: name.to_owned(), dtype: format!("{:?}", tensor.datum_type()).to_lowercase() };
    let dtype = plain_dtype(tensor.datum_type()).filter(|_| tensor.is_plain_ram()).ok_or_else(refuse)?;
    // Every target is little-endian (a compile-time check below), so memory is already in the order of the wire.
    Tensor::new(dtype, tensor.shape().to_vec(), tensor.as_bytes().to_vec()).map_err(|_| refuse())
}

const _: () = assert!(cfg!(target_endian = "little"), "tensors travel as little-endian memory images");
