//! Tensors: what is said of them, and their values.

use super::messages;

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Floating point.
    Float,
    /// Integer, or fixed point with [`Format::fraction_bits`].
    Integer,
    /// One byte, 0 or 1.
    Bool,
    /// None that is known.
    Other(u8),
}

/// Format of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// As the device says it.
    pub raw: u32,
    /// What it is.
    pub kind: Kind,
    /// Integers with a sign.
    pub signed: bool,
    /// Bits of an element.
    pub bits: u8,
    /// Bits behind the point; 0 in plain integers.
    pub fraction_bits: i8,
}

impl Format {
    /// Reads the format word: bits 6..0 are the fraction's bits plus 64, 13..7 the bits, 20..17 the kind, 23 the sign.
    pub fn read(raw: u32) -> Self {
        let kind = match raw >> 17 & 0xf {
            1 => Kind::Float,
            2 => Kind::Integer,
            3 => Kind::Bool,
            other => Kind::Other(other as u8),
        };
        let fraction_bits = (raw & 0x7f) as i8 - 64;
        Self { raw, kind, signed: raw >> 23 & 1 == 1, bits: (raw >> 7 & 0x7f) as u8, fraction_bits }
    }

    /// Bytes of an element; `None` where several share one.
    pub fn bytes(self) -> Option<usize> {
        (self.bits >= 8 && self.bits.is_multiple_of(8)).then(|| usize::from(self.bits) / 8)
    }
}

/// What the device says of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Name, often empty for internal ones.
    pub name: String,
    /// Format of its elements.
    pub format: Format,
    /// Elements.
    pub elements: u32,
    /// Dimensions in the order of `shape_format`.
    pub dims: Vec<u32>,
    /// How `dims` are to be read: low 4 bits 0 or 5 as they are, 1 batch-channel-width-height, 2 batch-height-width-channel, 3
    /// batch-channel-height-width, 4 as they are with bits 16, 32, 64 for channel first, channel last, has batch.
    pub shape_format: u8,
    /// Scale of integers, `None` where the device says 0: values have no scale then.
    pub scale: Option<f32>,
    /// Zero point of integers.
    pub zero_point: i32,
    /// Address in the device.
    pub address: u32,
    /// Input 1, output 2, internal 4, memory pool 8, last 256, without data 512, in a memory pool 1024.
    pub flags: u32,
}

impl Description {
    /// Bytes of the tensor's data; `None` where elements share bytes.
    pub fn bytes(&self) -> Option<usize> {
        self.format.bytes().and_then(|bytes| bytes.checked_mul(self.elements as usize))
    }

    /// Reads a message; the error names the field that is missing.
    pub(super) fn read(message: &messages::TensorDesc) -> Result<Self, &'static str> {
        let n_dims = message.n_dims.ok_or("n_dims")?;
        if (n_dims & 0xff_ffff) as usize != message.dims.len() {
            return Err("as many dims as n_dims says");
        }
        let scale = message.scale.ok_or("scale")?;
        Ok(Self {
            name: message.name.clone().ok_or("name")?,
            format: Format::read(message.format.ok_or("format")?),
            elements: message.size.ok_or("size")?,
            dims: message.dims.clone(),
            shape_format: (n_dims >> 24) as u8,
            scale: (scale != 0.0).then_some(scale),
            zero_point: message.zeropoint.ok_or("zeropoint")?,
            address: message.addr.ok_or("addr")?,
            flags: message.flags.ok_or("flags")?,
        })
    }
}

/// A tensor with its bytes, or without where the run's mode leaves them out.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// What the device says of it.
    pub description: Description,
    /// Little-endian elements, exactly as many as described; `None` when the device sends none.
    pub data: Option<Vec<u8>>,
}

impl Tensor {
    /// The values as `f32`, dequantized where there is a scale; `None` without data or for formats that are not read: fewer than 8 bits,
    /// 64 bits, half floats, fixed point.
    pub fn values(&self) -> Option<Vec<f32>> {
        let (data, format) = (self.data.as_deref()?, self.description.format);
        let scale = self.description.scale;
        let zero_point = self.description.zero_point;
        let real = move |value: i64| match scale {
            Some(scale) => (value - i64::from(zero_point)) as f32 * scale,
            None => value as f32,
        };
        Some(match (format.kind, format.bits, format.signed, format.fraction_bits) {
            (Kind::Float, 32, _, _) => words(data, |bytes| f32::from_le_bytes(*bytes)),
            (Kind::Bool, 8, _, _) => data.iter().map(|byte| f32::from(*byte)).collect(),
            (Kind::Integer, 8, true, 0) => data.iter().map(|byte| real(i64::from(*byte as i8))).collect(),
            (Kind::Integer, 8, false, 0) => data.iter().map(|byte| real(i64::from(*byte))).collect(),
            (Kind::Integer, 16, true, 0) => words(data, |bytes| real(i64::from(i16::from_le_bytes(*bytes)))),
            (Kind::Integer, 16, false, 0) => words(data, |bytes| real(i64::from(u16::from_le_bytes(*bytes)))),
            (Kind::Integer, 32, true, 0) => words(data, |bytes| real(i64::from(i32::from_le_bytes(*bytes)))),
            (Kind::Integer, 32, false, 0) => words(data, |bytes| real(i64::from(u32::from_le_bytes(*bytes)))),
            _ => return None,
        })
    }
}

fn words<const N: usize>(data: &[u8], value: impl Fn(&[u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_words_are_read() {
        let read = |raw| {
            let format = Format::read(raw);
            (format.kind, format.signed, format.bits, format.fraction_bits, format.bytes())
        };
        assert_eq!(read(0x0082_1040), (Kind::Float, true, 32, 0, Some(4)));
        assert_eq!(read(0x0184_0440 & 0x00ff_ffff), (Kind::Integer, true, 8, 0, Some(1)));
        assert_eq!(read(0x0004_0440), (Kind::Integer, false, 8, 0, Some(1)));
        assert_eq!(read(0x0004_0840), (Kind::Integer, false, 16, 0, Some(2)));
        assert_eq!(read(0x0084_084f), (Kind::Integer, true, 16, 15, Some(2)));
        assert_eq!(read(0x0084_00c0), (Kind::Integer, true, 1, 0, None));
        assert_eq!(read(0x0006_0440), (Kind::Bool, false, 8, 0, Some(1)));
        assert_eq!(read(0x0000_0040), (Kind::Other(0), false, 0, 0, None));
    }
}
