//! Constants of a model as numbers.

use crate::onnx::{F16, F32, F64, I8, I32, I64, TensorProto, U8};

/// A constant of an element type that is read here: all of them as numbers that hold them exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Element type by ONNX's number.
    pub element: i32,
    /// Shape.
    pub dims: Vec<usize>,
    /// Elements.
    pub values: Vec<f64>,
}

impl Constant {
    /// Reads one; `None` where its element type is not known here, or its elements do not fill its shape.
    pub fn read(tensor: &TensorProto) -> Option<Self> {
        let dims: Vec<usize> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
        let values = if tensor.raw_data.is_empty() { typed(tensor)? } else { raw(&tensor.raw_data, tensor.data_type)? };
        let elements = dims.iter().try_fold(1_usize, |product, extent| product.checked_mul(*extent))?;
        (values.len() == elements).then_some(Self { element: tensor.data_type, dims, values })
    }

    /// A single number.
    pub fn scalar(&self) -> Option<f64> {
        match self.values.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// Smallest and largest value of the element type, where it is a narrow integer.
    pub fn ends(&self) -> Option<(f64, f64)> {
        ends(self.element)
    }
}

/// Smallest and largest value of a narrow integer type.
pub fn ends(element: i32) -> Option<(f64, f64)> {
    match element {
        U8 => Some((0.0, 255.0)),
        I8 => Some((-128.0, 127.0)),
        I32 => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        _ => None,
    }
}

fn typed(tensor: &TensorProto) -> Option<Vec<f64>> {
    Some(match tensor.data_type {
        F32 => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
        F64 => tensor.double_data.clone(),
        // Halves travel as the lower bits of integers.
        F16 => tensor.int32_data.iter().map(|v| half::f16::from_bits(*v as u16).to_f64()).collect(),
        I64 => tensor.int64_data.iter().map(|v| *v as f64).collect(),
        U8 | I8 | I32 => tensor.int32_data.iter().map(|v| f64::from(*v)).collect(),
        _ => return None,
    })
}

fn raw(bytes: &[u8], element: i32) -> Option<Vec<f64>> {
    Some(match element {
        U8 => bytes.iter().map(|b| f64::from(*b)).collect(),
        I8 => bytes.iter().map(|b| f64::from(*b as i8)).collect(),
        F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
        I32 => bytes.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
        I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        _ => return None,
    })
}
