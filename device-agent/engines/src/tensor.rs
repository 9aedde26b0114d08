//! Tensors as plain bytes: a datatype, a shape and little-endian row-major data.
//!
//! Owns the conversion between datatypes. Refuses conversions that can change a value's meaning without anybody noticing: narrowing
//! integers that do not fit, floats to integers, and raw integers to floats (that is preprocessing, see `Preprocess`).

use std::fmt;

use half::f16;
use thiserror::Error;

/// The element type of a tensor, named as in safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl DType {
    const ALL: [(DType, &'static str); 12] = [
        (DType::Bool, "bool"),
        (DType::U8, "u8"),
        (DType::I8, "i8"),
        (DType::U16, "u16"),
        (DType::I16, "i16"),
        (DType::U32, "u32"),
        (DType::I32, "i32"),
        (DType::U64, "u64"),
        (DType::I64, "i64"),
        (DType::F16, "f16"),
        (DType::F32, "f32"),
        (DType::F64, "f64"),
    ];

    /// Lower-case name: `f32`, `u8`, `bool`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(dtype, _)| *dtype == self).map_or("bool", |(_, name)| name)
    }

    /// The datatype with this name, in either case (`f32`, `F32`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(dtype, _)| *dtype)
    }

    /// Bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 | DType::F16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 => 8,
        }
    }

    /// Whether this is a floating-point type.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::F32 | DType::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes are not a tensor, or a tensor cannot become another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The byte count does not belong to the shape.
    #[error("read tensor of shape {shape:?} in {dtype}: expected {expected} bytes, got {got}")]
    Length {
        /// Claimed shape.
        shape: Vec<usize>,
        /// Claimed datatype.
        dtype: DType,
        /// Bytes that shape and datatype need.
        expected: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// The shape's element count does not fit in memory's address range.
    #[error("read tensor of shape {shape:?}: its size overflows")]
    Overflow {
        /// Claimed shape.
        shape: Vec<usize>,
    },
    /// No conversion between these datatypes keeps every value.
    #[error("convert tensor: expected {expected}, got {got}, and no exact conversion exists")]
    Inexact {
        /// What the model reads.
        expected: DType,
        /// What the evalset holds.
        got: DType,
    },
    /// A value does not fit the narrower integer type.
    #[error("convert tensor from {got} to {expected}: element {index} is {value}, which does not fit")]
    OutOfRange {
        /// What the model reads.
        expected: DType,
        /// What the evalset holds.
        got: DType,
        /// Position of the first such element.
        index: usize,
        /// Its value.
        value: i128,
    },
    /// The numbers of a preprocessing step make no sense for this tensor.
    #[error("preprocess tensor of shape {shape:?}: {reason}")]
    Preprocess {
        /// Shape of the tensor.
        shape: Vec<usize>,
        /// What does not fit.
        reason: String,
    },
}

/// A tensor that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A tensor over borrowed bytes; the bytes need no alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl Tensor {
    /// Takes row-major little-endian bytes; their count must be what shape and datatype say.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        TensorView::new(dtype, &shape, &bytes)?;
        Ok(Tensor { dtype, shape, bytes })
    }

    /// A borrowed view of the whole tensor.
    #[must_use]
    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: &self.shape, bytes: &self.bytes }
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Row-major little-endian data.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> TensorView<'a> {
    /// Views row-major little-endian bytes; their count must be what shape and datatype say.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self, TensorError> {
        let expected = shape
            .iter()
            .try_fold(dtype.size_bytes(), |product, extent| product.checked_mul(*extent))
            .ok_or_else(|| TensorError::Overflow { shape: shape.to_vec() })?;
        if expected != bytes.len() {
            return Err(TensorError::Length { shape: shape.to_vec(), dtype, expected, got: bytes.len() });
        }
        Ok(TensorView { dtype, shape, bytes })
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Row-major little-endian data.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_tensor(&self) -> Tensor {
        Tensor { dtype: self.dtype, shape: self.shape.to_vec(), bytes: self.bytes.to_vec() }
    }

    /// Every element as `f64`. Integers beyond 2^53 are rounded.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        let bytes = self.bytes;
        match self.dtype {
            DType::F64 => elements(bytes, f64::from_le_bytes).collect(),
            DType::F32 => elements(bytes, |raw| f64::from(f32::from_le_bytes(raw))).collect(),
            DType::F16 => elements(bytes, |raw| f16::from_le_bytes(raw).to_f64()).collect(),
            _ => integers(self.dtype, bytes).into_iter().map(|value| value as f64).collect(),
        }
    }

    /// The same values in another datatype. Floats round to nearest when they narrow; integers must fit; a conversion between integer
    /// and float is refused.
    pub fn convert(&self, to: DType) -> Result<Tensor, TensorError> {
        if self.dtype == to {
            return Ok(self.to_tensor());
        }
        let bytes = match (self.dtype.is_float(), to.is_float()) {
            (true, true) => encode_floats(&self.to_f64(), to),
            (false, false) => self.convert_integers(to)?,
            _ => return Err(TensorError::Inexact { expected: to, got: self.dtype }),
        };
        Ok(Tensor { dtype: to, shape: self.shape.to_vec(), bytes })
    }

    fn convert_integers(&self, to: DType) -> Result<Vec<u8>, TensorError> {
        let (min, max) = integer_range(to);
        let size = to.size_bytes();
        let mut bytes = Vec::with_capacity(self.bytes.len() / self.dtype.size_bytes() * size);
        for (index, value) in integers(self.dtype, self.bytes).into_iter().enumerate() {
            if !(min..=max).contains(&value) {
                return Err(TensorError::OutOfRange { expected: to, got: self.dtype, index, value });
            }
            bytes.extend_from_slice(&value.to_le_bytes()[..size]);
        }
        Ok(bytes)
    }
}

/// Decodes consecutive little-endian elements of `N` bytes.
pub(crate) fn elements<'a, const N: usize, T>(
    bytes: &'a [u8],
    decode: impl Fn([u8; N]) -> T + 'a,
) -> impl Iterator<Item = T> + 'a {
    bytes.as_chunks::<N>().0.iter().map(move |raw| decode(*raw))
}

/// Encodes values as a float type, rounding to nearest.
pub(crate) fn encode_floats(values: &[f64], to: DType) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * to.size_bytes());
    for value in values {
        match to {
            DType::F16 => bytes.extend_from_slice(&f16::from_f64(*value).to_le_bytes()),
            DType::F32 => bytes.extend_from_slice(&(*value as f32).to_le_bytes()),
            _ => bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }
    bytes
}

fn integers(dtype: DType, bytes: &[u8]) -> Vec<i128> {
    match dtype {
        DType::Bool => bytes.iter().map(|byte| i128::from(*byte != 0)).collect(),
        DType::U8 => bytes.iter().map(|byte| i128::from(*byte)).collect(),
        DType::I8 => elements(bytes, |raw| i128::from(i8::from_le_bytes(raw))).collect(),
        DType::U16 => elements(bytes, |raw| i128::from(u16::from_le_bytes(raw))).collect(),
        DType::I16 => elements(bytes, |raw| i128::from(i16::from_le_bytes(raw))).collect(),
        DType::U32 => elements(bytes, |raw| i128::from(u32::from_le_bytes(raw))).collect(),
        DType::I32 => elements(bytes, |raw| i128::from(i32::from_le_bytes(raw))).collect(),
        DType::U64 => elements(bytes, |raw| i128::from(u64::from_le_bytes(raw))).collect(),
        DType::I64 => elements(bytes, |raw| i128::from(i64::from_le_bytes(raw))).collect(),
        DType::F16 | DType::F32 | DType::F64 => Vec::new(),
    }
}

pub(crate) fn integer_range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::Bool => (0, 1),
        DType::U8 => (0, u8::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U16 => (0, u16::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U32 => (0, u32::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U64 => (0, u64::MAX.into()),
        DType::I64 => (i64::MIN.into(), i64::MAX.into()),
        // Never asked for: `convert` sends floats elsewhere. An empty range refuses everything.
        DType::F16 | DType::F32 | DType::F64 => (1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_wrong_byte_count_is_refused() {
        let error = Tensor::new(DType::F32, vec![2, 3], vec![0; 23]).unwrap_err();
        assert_eq!(error.to_string(), "read tensor of shape [2, 3] in f32: expected 24 bytes, got 23");
    }

    #[test]
    fn a_shape_whose_size_overflows_is_refused() {
        let error = TensorView::new(DType::F64, &[usize::MAX, 2], &[]).unwrap_err();
        assert!(matches!(error, TensorError::Overflow { .. }), "{error}");
    }

    #[test]
    fn raw_integers_do_not_become_floats_by_accident() {
        let pixels = Tensor::new(DType::U8, vec![2], vec![0, 255]).unwrap();
        let error = pixels.view().convert(DType::F32).unwrap_err();
        assert_eq!(error, TensorError::Inexact { expected: DType::F32, got: DType::U8 });
    }

    #[test]
    fn integers_that_do_not_fit_name_the_element() {
        let wide = Tensor::new(DType::I32, vec![2], [7i32.to_le_bytes(), 300i32.to_le_bytes()].concat()).unwrap();
        let error = wide.view().convert(DType::I8).unwrap_err();
        assert_eq!(error, TensorError::OutOfRange { expected: DType::I8, got: DType::I32, index: 1, value: 300 });
    }

    #[test]
    fn integers_widen_with_their_sign() {
        let narrow = Tensor::new(DType::I8, vec![2], vec![0xff, 0x7f]).unwrap();
        let wide = narrow.view().convert(DType::I64).unwrap();
        assert_eq!(wide.view().to_f64(), [-1.0, 127.0]);
    }

    #[test]
    fn floats_narrow_to_nearest() {
        let single = Tensor::new(DType::F32, vec![2], bytes_of(&[1.0, 0.1])).unwrap();
        let half = single.view().convert(DType::F16).unwrap();
        assert_eq!(half.bytes().len(), 4);
        assert!((half.view().to_f64()[1] - 0.1).abs() < 1e-4);
    }

    #[test]
    fn names_are_read_back() {
        for (dtype, name) in DType::ALL {
            assert_eq!(DType::from_name(name), Some(dtype));
            assert_eq!(dtype.name(), name);
        }
        assert_eq!(DType::from_name("F32"), Some(DType::F32));
        assert_eq!(DType::from_name("bf16"), None);
    }
}
