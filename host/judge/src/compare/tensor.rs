//! Tensors as they lie in a record: borrowed little-endian bytes with an element type and a shape.
//!
//! Owns the checks (size, overflow, boolean bytes) and the widening to f64 and i64. Refuses to guess: an element type that is not in
//! [`DType`] cannot be viewed, and integers are never read in their own width, so nothing wraps.

use half::{bf16, f16};
use serde::Serialize;
use std::fmt;
use thiserror::Error;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name says all there is")]
pub enum DType {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    Bool,
}

impl DType {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::Bool,
    ];

    /// The name used in reports: `f32`, `i8`, `bool`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::Bool => "bool",
        }
    }

    /// Reads a name in any case, as safetensors (`F32`) or this crate (`f32`) writes it.
    pub fn from_name(name: &str) -> Result<Self, TensorError> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| TensorError::UnsupportedDType { name: name.to_owned() })
    }

    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Floating point.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// Smallest and largest value of an integer type, where its arithmetic saturates; `None` for floats and bool.
    pub fn limits(self) -> Option<(f64, f64)> {
        match self {
            Self::I8 => Some((f64::from(i8::MIN), f64::from(i8::MAX))),
            Self::U8 => Some((0.0, f64::from(u8::MAX))),
            Self::I16 => Some((f64::from(i16::MIN), f64::from(i16::MAX))),
            Self::U16 => Some((0.0, f64::from(u16::MAX))),
            Self::I32 => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            Self::U32 => Some((0.0, f64::from(u32::MAX))),
            Self::I64 => Some((i64::MIN as f64, i64::MAX as f64)),
            Self::U64 => Some((0.0, u64::MAX as f64)),
            Self::F16 | Self::Bf16 | Self::F32 | Self::F64 | Self::Bool => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that are not the tensor they claim to be, or a tensor that cannot be read as asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum TensorError {
    #[error(
        "element type {name:?} is not supported (known: f16, bf16, f32, f64, i8, u8, i16, u16, i32, u32, i64, u64, bool)"
    )]
    UnsupportedDType { name: String },
    #[error("tensor of shape {shape:?} has more elements than memory can hold")]
    TooLarge { shape: Vec<usize> },
    #[error("tensor {dtype} of shape {shape:?} needs {expected} bytes, got {got}")]
    Length { dtype: DType, shape: Vec<usize>, expected: usize, got: usize },
    #[error("bool element {index} must be 0 or 1, got {got}")]
    NotBool { index: usize, got: u8 },
    #[error("cannot read {dtype} elements as integers")]
    NotInteger { dtype: DType },
    #[error("element {index} is {value}, which i64 cannot hold")]
    IntegerRange { index: usize, value: u64 },
    #[error("cannot take rows {start}..{end} of {rows}")]
    Rows { start: usize, end: usize, rows: usize },
}

/// A checked, borrowed tensor: row-major, little endian, no alignment asked of `bytes`.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Checks that `bytes` is exactly a tensor of this type and shape (and holds only 0 and 1 if it is `bool`).
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self, TensorError> {
        let expected = element_count(shape)
            .and_then(|n| n.checked_mul(dtype.size_bytes()))
            .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })?;
        if expected != bytes.len() {
            return Err(TensorError::Length { dtype, shape: shape.to_vec(), expected, got: bytes.len() });
        }
        if dtype == DType::Bool
            && let Some((index, got)) = bytes.iter().enumerate().find(|(_, byte)| **byte > 1)
        {
            return Err(TensorError::NotBool { index, got: *got });
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Raw bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size_bytes()
    }

    /// Number of samples: the first dimension, 1 for a scalar.
    pub fn samples(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes of the samples `start..end`: what [`super::numerics::Accumulator::push_bytes`] takes as a chunk.
    pub fn sample_bytes(&self, start: usize, end: usize) -> Result<&'a [u8], TensorError> {
        let rows = self.samples();
        if start > end || end > rows {
            return Err(TensorError::Rows { start, end, rows });
        }
        let row_bytes = self.bytes.len().checked_div(rows).unwrap_or(0);
        Ok(&self.bytes[start * row_bytes..end * row_bytes])
    }

    /// All elements as f64. Exact but for 64-bit integers beyond 2^53, which round to nearest.
    pub fn to_f64(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.elements()];
        widen(self.dtype, self.bytes, &mut out);
        out
    }

    /// All elements as i64 (labels, slice codes). Floats are refused, as is a u64 that does not fit.
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        match self.dtype {
            DType::I8 => Ok(map_le(self.bytes, |b: [u8; 1]| i64::from(i8::from_le_bytes(b)))),
            DType::U8 | DType::Bool => Ok(map_le(self.bytes, |b: [u8; 1]| i64::from(b[0]))),
            DType::I16 => Ok(map_le(self.bytes, |b| i64::from(i16::from_le_bytes(b)))),
            DType::U16 => Ok(map_le(self.bytes, |b| i64::from(u16::from_le_bytes(b)))),
            DType::I32 => Ok(map_le(self.bytes, |b| i64::from(i32::from_le_bytes(b)))),
            DType::U32 => Ok(map_le(self.bytes, |b| i64::from(u32::from_le_bytes(b)))),
            DType::I64 => Ok(map_le(self.bytes, i64::from_le_bytes)),
            DType::U64 => map_le(self.bytes, u64::from_le_bytes)
                .into_iter()
                .enumerate()
                .map(|(index, value)| i64::try_from(value).map_err(|_| TensorError::IntegerRange { index, value }))
                .collect(),
            DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => Err(TensorError::NotInteger { dtype: self.dtype }),
        }
    }
}

/// Product of the dimensions, `None` if it overflows.
fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, dimension| n.checked_mul(*dimension))
}

fn map_le<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

#[inline(always)]
fn fill_le<const N: usize>(bytes: &[u8], out: &mut [f64], read: impl Fn([u8; N]) -> f64) {
    for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = read(*chunk);
    }
}

/// Widens little-endian elements to f64, as many as both slices hold.
#[inline(always)]
pub(super) fn widen(dtype: DType, bytes: &[u8], out: &mut [f64]) {
    match dtype {
        DType::F16 => fill_le(bytes, out, |b| f16::from_le_bytes(b).to_f64()),
        DType::Bf16 => fill_le(bytes, out, |b| bf16::from_le_bytes(b).to_f64()),
        DType::F32 => fill_le(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
        DType::F64 => fill_le(bytes, out, f64::from_le_bytes),
        DType::I8 => fill_le(bytes, out, |b: [u8; 1]| f64::from(i8::from_le_bytes(b))),
        DType::U8 | DType::Bool => fill_le(bytes, out, |b: [u8; 1]| f64::from(b[0])),
        DType::I16 => fill_le(bytes, out, |b| f64::from(i16::from_le_bytes(b))),
        DType::U16 => fill_le(bytes, out, |b| f64::from(u16::from_le_bytes(b))),
        DType::I32 => fill_le(bytes, out, |b| f64::from(i32::from_le_bytes(b))),
        DType::U32 => fill_le(bytes, out, |b| f64::from(u32::from_le_bytes(b))),
        DType::I64 => fill_le(bytes, out, |b| i64::from_le_bytes(b) as f64),
        DType::U64 => fill_le(bytes, out, |b| u64::from_le_bytes(b) as f64),
    }
}

/// `candidate - reference` of 64-bit integers, subtracted exactly before it is rounded once to f64.
pub(super) fn subtract_wide(dtype: DType, reference: &[u8], candidate: &[u8], out: &mut [f64]) {
    let pairs = reference.as_chunks::<8>().0.iter().zip(candidate.as_chunks::<8>().0);
    for (value, (r, c)) in out.iter_mut().zip(pairs) {
        *value = match dtype {
            DType::U64 => (i128::from(u64::from_le_bytes(*c)) - i128::from(u64::from_le_bytes(*r))) as f64,
            _ => (i128::from(i64::from_le_bytes(*c)) - i128::from(i64::from_le_bytes(*r))) as f64,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_dtype_is_an_error_and_never_a_pass() {
        for name in ["f8_e4m3", "complex64", "string", "", "float"] {
            assert_eq!(DType::from_name(name), Err(TensorError::UnsupportedDType { name: name.to_owned() }));
        }
        assert_eq!(DType::from_name("BF16"), Ok(DType::Bf16));
    }

    #[test]
    fn wrong_length_overflow_and_bad_bools_are_refused() {
        assert!(matches!(
            TensorView::new(DType::F32, &[2], &[0; 7]),
            Err(TensorError::Length { expected: 8, got: 7, .. })
        ));
        assert!(matches!(TensorView::new(DType::F32, &[usize::MAX, 2], &[]), Err(TensorError::TooLarge { .. })));
        assert!(matches!(TensorView::new(DType::F64, &[usize::MAX / 4], &[]), Err(TensorError::TooLarge { .. })));
        assert_eq!(
            TensorView::new(DType::Bool, &[3], &[0, 1, 2]).unwrap_err(),
            TensorError::NotBool { index: 2, got: 2 }
        );
    }

    #[test]
    fn every_dtype_widens_its_extremes_from_unaligned_bytes() {
        fn check(dtype: DType, element: &[u8], expected: f64) {
            let mut bytes = vec![0xAA];
            bytes.extend_from_slice(element);
            let view = TensorView::new(dtype, &[1], &bytes[1..]).unwrap();
            assert_eq!(view.to_f64(), [expected], "{dtype}");
        }
        check(DType::I8, &i8::MIN.to_le_bytes(), -128.0);
        check(DType::U8, &u8::MAX.to_le_bytes(), 255.0);
        check(DType::I16, &i16::MIN.to_le_bytes(), -32768.0);
        check(DType::U16, &u16::MAX.to_le_bytes(), 65535.0);
        check(DType::I32, &i32::MIN.to_le_bytes(), -2147483648.0);
        check(DType::U32, &u32::MAX.to_le_bytes(), 4294967295.0);
        check(DType::I64, &(-(1_i64 << 53)).to_le_bytes(), -9007199254740992.0);
        check(DType::U64, &(1_u64 << 63).to_le_bytes(), 9223372036854775808.0);
        check(DType::Bool, &[1], 1.0);
        // 65504 is the largest f16 (0x7BFF); 0x3F80 is 1.0 in bf16; 0x0001 the smallest f16 subnormal, 2^-24.
        check(DType::F16, &[0xFF, 0x7B], 65504.0);
        check(DType::F16, &[0x01, 0x00], 2.0_f64.powi(-24));
        check(DType::Bf16, &[0x80, 0x3F], 1.0);
        check(DType::F32, &f32::MIN_POSITIVE.to_le_bytes(), f64::from(f32::MIN_POSITIVE));
        check(DType::F64, &f64::MAX.to_le_bytes(), f64::MAX);
    }

    #[test]
    fn labels_are_read_as_integers_or_refused() {
        let bytes = [1_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
        let view = TensorView::new(DType::U64, &[2], &bytes).unwrap();
        assert_eq!(view.to_i64(), Err(TensorError::IntegerRange { index: 1, value: u64::MAX }));
        let floats = TensorView::new(DType::F32, &[1], &[0; 4]).unwrap();
        assert_eq!(floats.to_i64(), Err(TensorError::NotInteger { dtype: DType::F32 }));
        let small = TensorView::new(DType::I8, &[2], &[0x80, 0x7F]).unwrap();
        assert_eq!(small.to_i64().unwrap(), [-128, 127]);
    }

    #[test]
    fn sample_bytes_are_whole_rows() {
        let bytes: Vec<u8> = (0..12).collect();
        let view = TensorView::new(DType::U8, &[4, 3], &bytes).unwrap();
        assert_eq!(view.sample_bytes(1, 3).unwrap(), [3, 4, 5, 6, 7, 8]);
        assert!(view.sample_bytes(3, 5).is_err());
        let empty = TensorView::new(DType::U8, &[0, 3], &[]).unwrap();
        assert!(empty.sample_bytes(0, 0).unwrap().is_empty());
    }
}
