//! Values between operators: the element type that the model means, and the candle tensor that holds them.
//!
//! candle has no signed bytes and multiplies no integers, so integers lie in floats that hold them exactly: those of up to 16 bits in
//! f32, wider ones in f64. What the model calls them stays beside them.

use boardproof_compile::onnx::TensorProto;
use candle_core::{DType as Held, Device, Tensor as CandleTensor};
use half::f16;

use crate::tensor::{DType, Tensor, elements};

/// How floats are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// As the model says: what ships.
    Written,
    /// In f64 throughout: what the model would answer without rounding on the way.
    Double,
}

/// A tensor of the model.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// Element type that the model means.
    pub(super) element: DType,
    /// The elements.
    pub(super) held: CandleTensor,
}

/// What candle holds elements of this type in.
pub(super) fn carrier(element: DType, width: Width) -> Held {
    match (element, width) {
        (DType::F16, Width::Written) => Held::F16,
        (DType::F32, Width::Written) => Held::F32,
        (DType::F16 | DType::F32 | DType::F64, _) => Held::F64,
        (DType::Bool | DType::U8 | DType::I8 | DType::U16 | DType::I16, _) => Held::F32,
        (DType::U32 | DType::I32 | DType::U64 | DType::I64, _) => Held::F64,
    }
}

impl Value {
    /// The same element type with other elements.
    pub(super) fn like(&self, held: CandleTensor) -> Self {
        Value { element: self.element, held }
    }

    /// From a plain tensor.
    pub(super) fn from_plain(tensor: &Tensor, width: Width) -> candle_core::Result<Self> {
        let (bytes, shape, device) = (tensor.bytes(), tensor.shape(), &Device::Cpu);
        let element = tensor.dtype();
        let held = match element {
            DType::F32 => CandleTensor::from_vec(elements(bytes, f32::from_le_bytes).collect(), shape, device)?,
            DType::F16 => CandleTensor::from_vec(elements(bytes, f16::from_le_bytes).collect(), shape, device)?,
            _ => CandleTensor::from_vec(tensor.view().to_f64(), shape, device)?,
        };
        Ok(Value { element, held: held.to_dtype(carrier(element, width))? })
    }

    /// As a plain tensor of the model's element type.
    pub(super) fn to_plain(&self) -> candle_core::Result<Tensor> {
        let (shape, flat) = (self.held.dims().to_vec(), self.held.flatten_all()?);
        let bytes: Vec<u8> = match self.element {
            DType::F16 => flat.to_dtype(Held::F16)?.to_vec1::<f16>()?.into_iter().flat_map(f16::to_le_bytes).collect(),
            DType::F32 => flat.to_dtype(Held::F32)?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
            DType::F64 => flat.to_dtype(Held::F64)?.to_vec1::<f64>()?.into_iter().flat_map(f64::to_le_bytes).collect(),
            integer => {
                let size = integer.size_bytes();
                let values = flat.to_dtype(Held::F64)?.to_vec1::<f64>()?;
                // Two's complement: the low bytes of a wider integer are the narrower one.
                values.into_iter().flat_map(|value| (value as i128).to_le_bytes().into_iter().take(size)).collect()
            }
        };
        Tensor::new(self.element, shape, bytes).map_err(candle_core::Error::wrap)
    }

    /// As a plain tensor of f64, whatever the model calls its elements.
    pub(super) fn as_f64(&self) -> candle_core::Result<Tensor> {
        let bytes = self.numbers()?.into_iter().flat_map(f64::to_le_bytes).collect();
        Tensor::new(DType::F64, self.held.dims().to_vec(), bytes).map_err(candle_core::Error::wrap)
    }

    /// All elements in their order, as numbers that hold them.
    pub(super) fn numbers(&self) -> candle_core::Result<Vec<f64>> {
        self.held.flatten_all()?.to_dtype(Held::F64)?.to_vec1()
    }
}

/// The element type that ONNX numbers so; none where no operator here knows it.
pub(super) fn element_type(number: i64) -> Option<DType> {
    Some(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        _ => return None,
    })
}

/// A constant as the file holds it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn constant(tensor: &TensorProto) -> Result<Tensor, String> {
    if tensor.data_location != 0 {
        return Err("its data lies in another file: save the model as one".into());
    }
    let element = element_type(tensor.data_type.into())
        .ok_or_else(|| format!("element type {} of onnx.proto is not read here", tensor.data_type))?;
    let shape: Option<Vec<usize>> = tensor.dims.iter().map(|extent| usize::try_from(*extent).ok()).collect();
    let shape = shape.ok_or_else(|| format!("expected extents of at least 0, got {:?}", tensor.dims))?;
    let bytes = if tensor.raw_data.is_empty() { typed(tensor, element) } else { tensor.raw_data.clone() };
    Tensor::new(element, shape, bytes).map_err(|error| error.to_string())
}

/// Elements that were written number by number, as bytes. Halves travel as the low bits of integers.
fn typed(tensor: &TensorProto, element: DType) -> Vec<u8> {
    match element {
        DType::F32 => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F64 => tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::I64 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::U32 => tensor.uint64_data.iter().flat_map(|value| (*value as u32).to_le_bytes()).collect(),
        DType::U64 => tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => {
            let size = element.size_bytes();
            tensor.int32_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(size)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_comes_back_as_it_went_in() {
        let cases: [(DType, Vec<u8>); 6] = [
            (DType::I8, vec![0x80, 0xff, 0, 0x7f]),
            (DType::U8, vec![0, 1, 0x80, 0xff]),
            (DType::I32, [i32::MIN, -1, 0, i32::MAX].map(i32::to_le_bytes).concat()),
            (DType::I64, [-(1 << 53), -1, 0, 1 << 53].map(i64::to_le_bytes).concat()),
            (DType::F32, [f32::MIN, -0.0, 1e-40, f32::INFINITY].map(f32::to_le_bytes).concat()),
            (DType::F16, [f16::MIN, f16::NEG_ZERO, f16::ONE, f16::INFINITY].map(f16::to_le_bytes).concat()),
        ];
        for (element, bytes) in cases {
            let tensor = Tensor::new(element, vec![2, 2], bytes).unwrap();
            for width in [Width::Written, Width::Double] {
                let back = Value::from_plain(&tensor, width).and_then(|value| value.to_plain()).unwrap();
                assert_eq!(back, tensor, "{element} {width:?}");
            }
        }
    }

    #[test]
    fn constants_that_are_not_whole_say_what_is_missing() {
        let whole = TensorProto { dims: vec![2], data_type: 3, int32_data: vec![-1, 5], ..TensorProto::default() };
        assert_eq!(constant(&whole).unwrap().bytes(), [0xff, 5]);
        let short = TensorProto { dims: vec![3], ..whole.clone() };
        assert_eq!(constant(&short).unwrap_err(), "read tensor of shape [3] in i8: expected 3 bytes, got 2");
        let elsewhere = TensorProto { data_location: 1, ..whole.clone() };
        assert!(constant(&elsewhere).unwrap_err().contains("another file"));
        let complex = TensorProto { data_type: 14, ..whole };
        assert_eq!(constant(&complex).unwrap_err(), "element type 14 of onnx.proto is not read here");
    }
}
