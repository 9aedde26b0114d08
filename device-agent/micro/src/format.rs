//! The format. All numbers are little endian; offsets count from the first byte of the model.
//!
//! ```text
//! header     48 bytes   see HEADER
//! tensors    32 bytes each: the inputs first, then the outputs, then all others
//! operators  64 bytes each, in order of execution
//! constants  weights, biases, multipliers, tables
//! names      text that tensors and operators point into; may be left out
//! ```
//!
//! | header | | | tensor | | | operator | |
//! |---|---|---|---|---|---|---|---|
//! | 0 | magic `bpM1` | | 0 | offset in the arena, u32 | | 0 | kind, u8 |
//! | 4 | version, u16 | | 4 | bytes, u32 | | 1 | flags, u8 (0) |
//! | 6 | flags, u16 (0) | | 8 | four dimensions, u16 each | | 2 | first input, u16 |
//! | 8 | bytes of the model, u32 | | 16 | element type, u8 | | 4 | second input, u16 (65535: none) |
//! | 12 | CRC-32 of all bytes from 16 on | | 17 | rank, u8 | | 6 | output, u16 |
//! | 16 | bytes of the arena, u32 | | 18 | zero point, i16 | | 8 | 13 parameters, i32 each |
//! | 20 | tensors, u16 | | 20 | scale, f32 | | 60 | place of its name, u32 |
//! | 22 | operators, u16 | | 24 | place of its name, u32 | | | |
//! | 24 | inputs, u8; 25: outputs, u8 | | 28 | 0 | | | |
//! | 28 | where tensors begin; 32: operators; 36: names; 40: bytes of names | | | | | | |
//!
//! A name is one byte of length and so many bytes of UTF-8. A dimension past the rank is 1. The sample is no dimension.

/// First bytes of a model.
pub const MAGIC: [u8; 4] = *b"bpM1";
/// Version of the format that is written and read.
pub const VERSION: u16 = 2;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a tensor's entry.
pub const TENSOR_BYTES: usize = 32;
/// Bytes of an operator's entry.
pub const OPERATOR_BYTES: usize = 64;
/// Parameters of an operator.
pub const PARAMETERS: usize = 13;
/// Stands for no tensor.
pub const NO_TENSOR: u16 = u16::MAX;
/// Stands for no name.
pub const NO_NAME: u32 = u32::MAX;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Dtype {
    /// Signed 8 bit, with scale and zero point.
    I8 = 0,
    /// IEEE 754 binary32.
    F32 = 1,
}

impl Dtype {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::I8, Self::F32].into_iter().find(|dtype| *dtype as u8 == byte)
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F32 => 4,
        }
    }

    /// Name as in operators' lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::F32 => "f32",
        }
    }
}

/// What an operator does. Its parameters by position:
///
/// * `Conv2d`, `DepthwiseConv2d`: 0 weights, 1 channels (for each its bias with the input's zero point folded in, its factor and its shift, an
///   i32 each), 4 kernel, 5 strides, 6 padding before, 7 dilations, 8 clamp, 9 scratch in the arena. Pairs are `height | width << 16`, the
///   clamp `low | high << 16` as i16. Padding behind is what the output's shape needs.
/// * `FullyConnected`: 0 weights, 1 channels, 8 clamp, 9 scratch.
/// * `Add`: 0, 1 factor of each input, 2 right shift of their sum, 8 clamp: `(x * f0 + y * f1 + 2^(s-1)) >> s`, zero points taken off.
/// * `Mul`: 0 factor, 1 shift, 8 clamp, of the product without zero points.
/// * `MaxPool`: 4 kernel, 5 strides, 6 padding before. `AveragePool`: also 1 as for channels, with bias 0, by the number of elements less one, 8
///   clamp.
/// * `GlobalAveragePool`: 0 factor, 1 shift, 8 clamp, of the sum without zero point.
/// * `Pad`: 0 to 3 elements before each dimension.
/// * `Transpose`: 0 to 3 the input's dimension that each dimension of the output is.
/// * `Concat`: two inputs, 0 dimension. `Copy`: none.
/// * `Softmax`: 0 table of 256 u32, `2^23 * exp(scale * (i - 255))`; 1 `2^16 / scale` of the output; 8 clamp.
/// * `Table`: 0 table of 256 i8, by value + 128.
/// * `Quantize`: none. `Dequantize`: 0 numbers (f32 per element of the last dimension) to add, or -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the field, their parameters stand above")]
pub enum Kind {
    Conv2d = 0,
    DepthwiseConv2d = 1,
    FullyConnected = 2,
    Add = 3,
    Mul = 4,
    MaxPool = 5,
    AveragePool = 6,
    GlobalAveragePool = 7,
    Pad = 8,
    Transpose = 9,
    Concat = 10,
    Copy = 11,
    Softmax = 12,
    Table = 13,
    Quantize = 14,
    Dequantize = 15,
}

impl Kind {
    /// All of them, by their number.
    pub const ALL: [Self; 16] = [
        Self::Conv2d,
        Self::DepthwiseConv2d,
        Self::FullyConnected,
        Self::Add,
        Self::Mul,
        Self::MaxPool,
        Self::AveragePool,
        Self::GlobalAveragePool,
        Self::Pad,
        Self::Transpose,
        Self::Concat,
        Self::Copy,
        Self::Softmax,
        Self::Table,
        Self::Quantize,
        Self::Dequantize,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv2d => "Conv2d",
            Self::DepthwiseConv2d => "DepthwiseConv2d",
            Self::FullyConnected => "FullyConnected",
            Self::Add => "Add",
            Self::Mul => "Mul",
            Self::MaxPool => "MaxPool",
            Self::AveragePool => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::Pad => "Pad",
            Self::Transpose => "Transpose",
            Self::Concat => "Concat",
            Self::Copy => "Copy",
            Self::Softmax => "Softmax",
            Self::Table => "Table",
            Self::Quantize => "Quantize",
            Self::Dequantize => "Dequantize",
        }
    }

    /// Inputs that it has.
    pub fn inputs(self) -> usize {
        if matches!(self, Self::Add | Self::Mul | Self::Concat) { 2 } else { 1 }
    }
}

/// A tensor in the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tensor {
    /// Offset in the arena.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
    /// Dimensions without the sample, outermost first; 1 past the rank. Images are height, width, channels.
    pub dims: [usize; 4],
    /// How many of them count.
    pub rank: usize,
    /// Element type.
    pub dtype: Dtype,
    /// Value of the number 0.
    pub zero_point: i32,
    /// What one step of the value is worth.
    pub scale: f32,
    pub(crate) name: u32,
}

impl Tensor {
    /// Where it is in the arena.
    pub fn range(&self) -> core::ops::Range<usize> {
        self.offset..self.offset + self.bytes
    }

    /// Elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Height, width and channels of an image; what has fewer dimensions has 1 there.
    pub(crate) fn image(&self) -> (usize, usize, usize) {
        match self.rank {
            0 => (1, 1, 1),
            1 => (1, 1, self.dims[0]),
            2 => (1, self.dims[0], self.dims[1]),
            _ => (self.dims[0], self.dims[1], self.dims[2]),
        }
    }
}

/// An operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// What it does.
    pub kind: Kind,
    /// Its inputs; the second is `0xffff` where there is none.
    pub inputs: [u16; 2],
    /// Its output.
    pub output: u16,
    /// Its parameters, see [`Kind`].
    pub parameters: [i32; PARAMETERS],
    pub(crate) name: u32,
}

impl Operator {
    #[inline(always)]
    pub(crate) fn read(entry: &[u8; OPERATOR_BYTES], kind: Kind) -> Self {
        let (halves, words) = (entry.as_chunks::<2>().0, entry.as_chunks::<4>().0);
        Self {
            kind,
            inputs: [u16::from_le_bytes(halves[1]), u16::from_le_bytes(halves[2])],
            output: u16::from_le_bytes(halves[3]),
            parameters: core::array::from_fn(|i| i32::from_le_bytes(words[2 + i])),
            name: u32::from_le_bytes(words[15]),
        }
    }

    /// A pair of small numbers in one parameter.
    pub(crate) fn pair(&self, at: usize) -> (usize, usize) {
        let word = self.parameters[at] as u32;
        ((word & 0xffff) as usize, (word >> 16) as usize)
    }

    /// The clamp.
    pub(crate) fn clamp(&self) -> (i32, i32) {
        let word = self.parameters[8];
        (i32::from(word as i16), word >> 16)
    }

    /// An offset in the model or the arena.
    pub(crate) fn at(&self, parameter: usize) -> usize {
        self.parameters[parameter] as u32 as usize
    }
}

/// A model that was found whole by [`Model::check`].
#[derive(Debug, Clone, Copy)]
pub struct Model<'m> {
    pub(crate) bytes: &'m [u8],
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

impl<'m> Model<'m> {
    /// Bytes of the whole model.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of the arena that it needs: activations and scratch.
    pub fn arena_bytes(&self) -> usize {
        u32_at(self.bytes, 16) as usize
    }

    /// Tensors.
    pub fn tensor_count(&self) -> usize {
        usize::from(u16_at(self.bytes, 20))
    }

    /// Operators.
    pub fn operator_count(&self) -> usize {
        usize::from(u16_at(self.bytes, 22))
    }

    /// Inputs: the tensors from 0 on.
    pub fn input_count(&self) -> usize {
        usize::from(self.bytes[24])
    }

    /// Outputs: the tensors behind the inputs.
    pub fn output_count(&self) -> usize {
        usize::from(self.bytes[25])
    }

    /// A tensor. One that does not exist is empty.
    pub fn tensor(&self, index: usize) -> Tensor {
        let entry = self.entry::<TENSOR_BYTES>(28, index).unwrap_or(&[0; TENSOR_BYTES]);
        let (halves, words) = (entry.as_chunks::<2>().0, entry.as_chunks::<4>().0);
        Tensor {
            offset: u32::from_le_bytes(words[0]) as usize,
            bytes: u32::from_le_bytes(words[1]) as usize,
            dims: core::array::from_fn(|i| u16::from_le_bytes(halves[4 + i]).into()),
            rank: usize::from(entry[17]).min(4),
            dtype: Dtype::from_byte(entry[16]).unwrap_or(Dtype::I8),
            zero_point: i16::from_le_bytes(halves[9]).into(),
            scale: f32::from_le_bytes(words[5]),
            name: u32::from_le_bytes(words[6]),
        }
    }

    /// An entry of the table whose place stands at `table`.
    pub(crate) fn entry<const N: usize>(&self, table: usize, index: usize) -> Option<&'m [u8; N]> {
        let at = u32_at(self.bytes, table) as usize + index * N;
        self.bytes.get(at..)?.first_chunk()
    }

    /// An input.
    pub fn input(&self, index: usize) -> Tensor {
        self.tensor(index)
    }

    /// An output.
    pub fn output(&self, index: usize) -> Tensor {
        self.tensor(self.input_count() + index)
    }

    /// An operator; `None` past the last one.
    pub fn operator(&self, index: usize) -> Option<Operator> {
        if index >= self.operator_count() {
            return None;
        }
        let entry = self.entry(32, index)?;
        Some(Operator::read(entry, *Kind::ALL.get(usize::from(entry[0]))?))
    }

    /// All operators in order of execution.
    pub fn operators(&self) -> impl Iterator<Item = Operator> + '_ {
        (0..self.operator_count()).filter_map(|index| self.operator(index))
    }

    /// Name of a tensor; empty when the model keeps none.
    pub fn tensor_name(&self, tensor: &Tensor) -> &'m str {
        self.name(tensor.name)
    }

    /// Name of an operator; empty when the model keeps none.
    pub fn operator_name(&self, operator: &Operator) -> &'m str {
        self.name(operator.name)
    }

    fn name(&self, place: u32) -> &'m str {
        if place == NO_NAME {
            return "";
        }
        let (at, length) = (u32_at(self.bytes, 36) as usize, u32_at(self.bytes, 40) as usize);
        let names = self.bytes.get(at..at.saturating_add(length)).unwrap_or_default();
        let text = names.get(place as usize).and_then(|size| {
            let from = place as usize + 1;
            names.get(from..from + usize::from(*size))
        });
        text.and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Multiply-accumulate steps of an operator on one sample; 0 for operators that are not counted so.
    pub fn macs(&self, operator: &Operator) -> u64 {
        let (input, output) = (self.tensor(operator.inputs[0].into()), self.tensor(operator.output.into()));
        let (kh, kw) = operator.pair(4);
        let per_output = match operator.kind {
            Kind::Conv2d => kh * kw * input.image().2,
            Kind::DepthwiseConv2d => kh * kw,
            Kind::FullyConnected => input.elements(),
            _ => 0,
        };
        output.elements() as u64 * per_output as u64
    }

    /// Fewest bytes that any placement of the tensors needs: the most that live at once while some operator works.
    pub fn arena_bytes_min(&self) -> usize {
        let live = |index: usize| {
            let tensors = (0..self.tensor_count()).filter(|t| self.lives(*t, index));
            let scratch =
                self.operator(index).map_or(0, |o| crate::kernel::scratch_of(&o, &self.tensor(o.inputs[0].into())));
            tensors.map(|t| self.tensor(t).bytes).sum::<usize>() + scratch
        };
        (0..self.operator_count()).map(live).max().unwrap_or(0)
    }

    /// Does a tensor hold something that is needed, or is being made, while this operator works?
    pub(crate) fn lives(&self, tensor: usize, operator: usize) -> bool {
        let uses = |o: &Operator| o.inputs.iter().any(|input| usize::from(*input) == tensor);
        let made = self.operators().position(|o| usize::from(o.output) == tensor);
        let is_output = (self.input_count()..self.input_count() + self.output_count()).contains(&tensor);
        let last = self.operators().enumerate().filter(|(_, o)| uses(o)).map(|(i, _)| i).last();
        let end = if is_output { usize::MAX } else { last.unwrap_or(0) };
        // Inputs live from the start, and as long as the run: a second run works on the same ones.
        match made {
            Some(made) => (made..=end.max(made)).contains(&operator),
            None => tensor < self.input_count(),
        }
    }
}
