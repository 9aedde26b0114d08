//! Elements of a tensor as numbers.

use half::{bf16, f16};
use safetensors::Dtype;

/// Bytes of an element; `None` for types whose elements nobody here reads as numbers.
pub fn size_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::BOOL | Dtype::U8 | Dtype::I8 => Some(1),
        Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::I32 | Dtype::U32 | Dtype::F32 => Some(4),
        Dtype::I64 | Dtype::U64 | Dtype::F64 => Some(8),
        _ => None,
    }
}

/// Can its elements be no numbers?
pub fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
}

/// Least and greatest value of an integer type that pictures and sensors are stored in; `None` for wider ones, which nothing saturates.
pub fn ends(dtype: Dtype) -> Option<(f64, f64)> {
    match dtype {
        Dtype::U8 => Some((0.0, f64::from(u8::MAX))),
        Dtype::I8 => Some((f64::from(i8::MIN), f64::from(i8::MAX))),
        Dtype::U16 => Some((0.0, f64::from(u16::MAX))),
        Dtype::I16 => Some((f64::from(i16::MIN), f64::from(i16::MAX))),
        _ => None,
    }
}

/// Appends all elements, widened. Integers beyond 2^53 round to nearest.
pub fn widen(dtype: Dtype, bytes: &[u8], out: &mut Vec<f64>) {
    match dtype {
        Dtype::BOOL | Dtype::U8 => out.extend(bytes.iter().map(|b| f64::from(*b))),
        Dtype::I8 => out.extend(bytes.iter().map(|b| f64::from(b.cast_signed()))),
        Dtype::I16 => each(bytes, out, |b| f64::from(i16::from_le_bytes(b))),
        Dtype::U16 => each(bytes, out, |b| f64::from(u16::from_le_bytes(b))),
        Dtype::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f64()),
        Dtype::I32 => each(bytes, out, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::U32 => each(bytes, out, |b| f64::from(u32::from_le_bytes(b))),
        Dtype::F32 => each(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f64),
        Dtype::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f64),
        Dtype::F64 => each(bytes, out, f64::from_le_bytes),
        _ => {}
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, read: impl Fn([u8; N]) -> f64) {
    out.extend(bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)));
}
