//! Between our tensors and the library's.

use half::f16;
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType, ValueType};

use crate::tensor::{DType, Tensor, TensorView};

/// The library's datatype as ours; `None` for one that does not travel.
pub(super) fn dtype_of(found: TensorElementType) -> Option<DType> {
    Some(match found {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Bool => DType::Bool,
        _ => return None,
    })
}

/// Little-endian elements of a fixed width.
fn elements<T, const N: usize>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    let (whole, _) = bytes.as_chunks::<N>();
    whole.iter().map(|bytes| from(*bytes)).collect()
}

/// A tensor of the library's with its own copy of the elements.
pub(super) fn to_ort(tensor: TensorView<'_>) -> ort::Result<DynValue> {
    let (shape, bytes) = (tensor.shape().to_vec(), tensor.bytes());
    Ok(match tensor.dtype() {
        DType::F32 => OrtTensor::from_array((shape, elements(bytes, f32::from_le_bytes)))?.into_dyn(),
        DType::F64 => OrtTensor::from_array((shape, elements(bytes, f64::from_le_bytes)))?.into_dyn(),
        DType::F16 => OrtTensor::from_array((shape, elements(bytes, f16::from_le_bytes)))?.into_dyn(),
        DType::U8 => OrtTensor::from_array((shape, elements(bytes, u8::from_le_bytes)))?.into_dyn(),
        DType::I8 => OrtTensor::from_array((shape, elements(bytes, i8::from_le_bytes)))?.into_dyn(),
        DType::U16 => OrtTensor::from_array((shape, elements(bytes, u16::from_le_bytes)))?.into_dyn(),
        DType::I16 => OrtTensor::from_array((shape, elements(bytes, i16::from_le_bytes)))?.into_dyn(),
        DType::U32 => OrtTensor::from_array((shape, elements(bytes, u32::from_le_bytes)))?.into_dyn(),
        DType::I32 => OrtTensor::from_array((shape, elements(bytes, i32::from_le_bytes)))?.into_dyn(),
        DType::U64 => OrtTensor::from_array((shape, elements(bytes, u64::from_le_bytes)))?.into_dyn(),
        DType::I64 => OrtTensor::from_array((shape, elements(bytes, i64::from_le_bytes)))?.into_dyn(),
        DType::Bool => OrtTensor::from_array((shape, elements(bytes, |[byte]| byte != 0)))?.into_dyn(),
    })
}

/// A huge number in every float, above half of the range in every integer, and finite in all of them.
const POISON: u8 = 0x7b;

/// Fills a tensor with what no answer is. The library hands the memory of answers that are given back out for the next ones as it is: where
/// nobody writes those, this shows and not the answers before.
pub(super) fn poison(value: &mut DynValue) {
    let ValueType::Tensor { ty, .. } = value.dtype() else { return };
    let Some(dtype) = dtype_of(*ty) else { return };
    /// Every element of a tensor of one element type. One that lies where this process cannot write stays as it is.
    macro_rules! fill {
        ($element:ty) => {
            if let Ok((_, elements)) = value.try_extract_tensor_mut::<$element>() {
                elements.fill(<$element>::from_ne_bytes([POISON; size_of::<$element>()]));
            }
        };
    }
    match dtype {
        DType::F32 => fill!(f32),
        DType::F64 => fill!(f64),
        DType::F16 => fill!(f16),
        DType::U8 => fill!(u8),
        DType::I8 => fill!(i8),
        DType::U16 => fill!(u16),
        DType::I16 => fill!(i16),
        DType::U32 => fill!(u32),
        DType::I32 => fill!(i32),
        DType::U64 => fill!(u64),
        DType::I64 => fill!(i64),
        // Either value is an answer.
        DType::Bool => {}
    }
}

fn bytes<T: Copy, const N: usize>(elements: &[T], to: fn(T) -> [u8; N]) -> Vec<u8> {
    elements.iter().flat_map(|element| to(*element)).collect()
}

/// One of ours from the library's; the error is the name of a datatype that does not travel, or the library's words.
pub(super) fn from_ort(value: &DynValue) -> Result<Tensor, String> {
    let ValueType::Tensor { ty: found, .. } = value.dtype() else { return Err(value.dtype().to_string()) };
    let dtype = dtype_of(*found).ok_or_else(|| format!("{found:?}"))?;
    /// Shape and bytes of a tensor of one element type.
    macro_rules! of {
        ($element:ty, $to:expr) => {{
            let (shape, elements) =
                value.try_extract_tensor::<$element>().map_err(|error| error.message().to_owned())?;
            (shape.iter().map(|extent| *extent as usize).collect::<Vec<_>>(), bytes(elements, $to))
        }};
    }
    let (shape, bytes) = match dtype {
        DType::F32 => of!(f32, f32::to_le_bytes),
        DType::F64 => of!(f64, f64::to_le_bytes),
        DType::F16 => of!(f16, f16::to_le_bytes),
        DType::U8 => of!(u8, u8::to_le_bytes),
        DType::I8 => of!(i8, i8::to_le_bytes),
        DType::U16 => of!(u16, u16::to_le_bytes),
        DType::I16 => of!(i16, i16::to_le_bytes),
        DType::U32 => of!(u32, u32::to_le_bytes),
        DType::I32 => of!(i32, i32::to_le_bytes),
        DType::U64 => of!(u64, u64::to_le_bytes),
        DType::I64 => of!(i64, i64::to_le_bytes),
        DType::Bool => of!(bool, |element| [u8::from(element)]),
    };
    Tensor::new(dtype, shape, bytes).map_err(|error| error.to_string())
}
