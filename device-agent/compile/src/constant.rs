//! Constants of a model.

use crate::CompileError;
use crate::onnx::TensorProto;
use crate::value::elements;

/// Element types that are read, by ONNX's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    F32,
    U8,
    I8,
    I32,
    I64,
    F64,
    F16,
}

impl ElementType {
    pub fn from_onnx(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            6 => Self::I32,
            7 => Self::I64,
            10 => Self::F16,
            11 => Self::F64,
            _ => return None,
        })
    }

    /// Is this an 8-bit integer?
    pub fn is_byte(self) -> bool {
        matches!(self, Self::U8 | Self::I8)
    }
}

/// A constant: all element types as numbers that hold them exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub element: ElementType,
    pub dims: Vec<usize>,
    pub values: Vec<f64>,
}

impl Constant {
    /// Reads one.
    pub fn read(tensor: &TensorProto) -> Result<Self, CompileError> {
        let name = &tensor.name;
        let wrong = |what: String| CompileError::Malformed(format!("constant '{name}': {what}"));
        if tensor.data_location != 0 {
            return Err(wrong("its data lies in another file: save the model as one".into()));
        }
        let element = ElementType::from_onnx(tensor.data_type)
            .ok_or_else(|| wrong(format!("element type {} is not read here", tensor.data_type)))?;
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let dims = dims.ok_or_else(|| wrong(format!("a dimension of {:?} is negative", tensor.dims)))?;
        let values = if tensor.raw_data.is_empty() { typed(tensor, element) } else { raw(&tensor.raw_data, element) };
        // Of an empty one the other dimensions may still be anything.
        let without_empty: Vec<usize> = dims.iter().map(|size| (*size).max(1)).collect();
        if elements(&without_empty).is_none() || elements(&dims) != Some(values.len()) {
            return Err(wrong(format!("expected the elements of shape {dims:?}, got {}", values.len())));
        }
        Ok(Self { element, dims, values })
    }

    /// A single number.
    pub fn scalar(&self) -> Option<f64> {
        match self.values.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// As integers, for shapes and axes.
    pub fn integers(&self) -> Vec<i64> {
        self.values.iter().map(|v| *v as i64).collect()
    }

    /// The same elements with dimensions in another order.
    pub fn transposed(&self, order: &[usize]) -> Self {
        let rank = self.dims.len();
        let dims: Vec<usize> = order.iter().map(|d| self.dims[*d]).collect();
        let mut steps = vec![1; rank];
        for i in (0..rank.saturating_sub(1)).rev() {
            steps[i] = steps[i + 1] * self.dims[i + 1];
        }
        let values = (0..self.values.len()).map(|flat| {
            let mut rest = flat;
            let mut from = 0;
            for (i, dim) in dims.iter().enumerate().rev() {
                from += rest % dim * steps[order[i]];
                rest /= dim;
            }
            self.values[from]
        });
        Self { element: self.element, values: values.collect(), dims }
    }
}

fn typed(tensor: &TensorProto, element: ElementType) -> Vec<f64> {
    match element {
        ElementType::F32 => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
        ElementType::F64 => tensor.double_data.clone(),
        // Halves travel as the lower bits of integers.
        ElementType::F16 => tensor.int32_data.iter().map(|v| half::f16::from_bits(*v as u16).to_f64()).collect(),
        ElementType::I64 => tensor.int64_data.iter().map(|v| *v as f64).collect(),
        ElementType::U8 | ElementType::I8 | ElementType::I32 => {
            tensor.int32_data.iter().map(|v| f64::from(*v)).collect()
        }
    }
}

fn raw(bytes: &[u8], element: ElementType) -> Vec<f64> {
    match element {
        ElementType::U8 => bytes.iter().map(|b| f64::from(*b)).collect(),
        ElementType::I8 => bytes.iter().map(|b| f64::from(*b as i8)).collect(),
        ElementType::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        ElementType::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
        ElementType::I32 => bytes.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
        ElementType::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        ElementType::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
    }
}
