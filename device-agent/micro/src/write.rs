//! Writing models, on the host.
//!
//! Gives every weight and bias its place and its order; where tensors lie in the arena is the caller's to say.

use crate::check::crc32;
use crate::format::{
    Dtype, HEADER_BYTES, Kind, MAGIC, NO_NAME, NO_TENSOR, OPERATOR_BYTES, PARAMETERS, TENSOR_BYTES, VERSION,
};
use crate::kernel::{Multiplier, row_bytes};
use std::vec::Vec;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions without the sample: at most four.
    pub dims: &'a [usize],
    /// Offset in the arena.
    pub offset: usize,
    /// What one step is worth.
    pub scale: f32,
    /// Value of the number 0.
    pub zero_point: i32,
}

/// An operator to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub kind: Kind,
    /// Numbers of its inputs: one or two.
    pub inputs: &'a [usize],
    /// Number of its output.
    pub output: usize,
    /// Its parameters, see [`Kind`]; those that are missing are 0.
    pub parameters: [i32; PARAMETERS],
}

/// A model in the making. Add tensors in the order inputs, outputs, others.
#[derive(Debug, Default)]
pub struct Writer {
    tensors: Vec<u8>,
    operators: Vec<u8>,
    constants: Vec<u8>,
    names: Vec<u8>,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor; returns its number.
    ///
    /// # Panics
    /// When it has more than four dimensions, or one above 65,535.
    pub fn tensor(&mut self, spec: &TensorSpec<'_>) -> usize {
        assert!(
            spec.dims.len() <= 4,
            "tensor {} has {} dimensions, at most 4 are possible",
            spec.name,
            spec.dims.len()
        );
        let elements: usize = spec.dims.iter().product();
        let bytes = elements * spec.dtype.bytes();
        self.tensors.extend((spec.offset as u32).to_le_bytes());
        self.tensors.extend((bytes as u32).to_le_bytes());
        for i in 0..4 {
            let dim = u16::try_from(spec.dims.get(i).copied().unwrap_or(1)).expect("a dimension below 65,536");
            self.tensors.extend(dim.to_le_bytes());
        }
        self.tensors.extend([spec.dtype as u8, spec.dims.len() as u8]);
        self.tensors.extend((spec.zero_point as i16).to_le_bytes());
        self.tensors.extend(spec.scale.to_le_bytes());
        let name = self.name(spec.name);
        self.tensors.extend(name.to_le_bytes());
        self.tensors.extend([0; 4]);
        self.tensors.len() / TENSOR_BYTES - 1
    }

    /// Adds an operator.
    pub fn operator(&mut self, spec: &OperatorSpec<'_>) {
        let tensor = |index: Option<&usize>| index.map_or(NO_TENSOR, |i| *i as u16);
        self.operators.extend([spec.kind as u8, 0]);
        for index in [spec.inputs.first(), spec.inputs.get(1), Some(&spec.output)] {
            self.operators.extend(tensor(index).to_le_bytes());
        }
        spec.parameters.iter().for_each(|p| self.operators.extend(p.to_le_bytes()));
        let name = self.name(spec.name);
        self.operators.extend(name.to_le_bytes());
    }

    /// Adds bytes; returns a parameter that [`Self::finish`] turns into their place.
    pub fn constant(&mut self, bytes: &[u8]) -> i32 {
        while !self.constants.len().is_multiple_of(4) {
            self.constants.push(0);
        }
        let at = self.constants.len() as i32;
        self.constants.extend(bytes);
        at
    }

    /// Adds 32-bit numbers.
    pub fn words(&mut self, words: impl IntoIterator<Item = i32>) -> i32 {
        let bytes: Vec<u8> = words.into_iter().flat_map(i32::to_le_bytes).collect();
        self.constant(&bytes)
    }

    /// Adds output channels: the bias and multiplier of each.
    pub fn channels(&mut self, all: impl IntoIterator<Item = (i32, Multiplier)>) -> i32 {
        self.words(all.into_iter().flat_map(|(bias, by)| [bias, by.factor, by.shift]))
    }

    /// Adds the weights of a convolution or fully connected layer: a row per output channel, elements in the order of the window's taps,
    /// channels innermost. Two rows are interleaved, in the order in which columns hold their values; what is missing at an end is 0.
    pub fn rows(&mut self, weights: &[i8], elements: usize) -> i32 {
        let row = |row: &[i8]| {
            let mut bytes: Vec<u8> = row.iter().map(|w| *w as u8).collect();
            bytes.resize(row_bytes(elements), 0);
            bytes
        };
        let mut bytes = Vec::new();
        for pair in weights.chunks(2 * elements.max(1)) {
            let (one, two) = pair.split_at(elements.min(pair.len()));
            for (one, two) in row(one).chunks_exact(4).zip(row(two).chunks_exact(4)) {
                bytes.extend([0, 2, 1, 3].into_iter().flat_map(|i| [one[i], two[i]]));
            }
        }
        self.constant(&bytes)
    }

    /// Adds the weights of a depthwise convolution, given as `[channels][taps]`.
    pub fn lanes(&mut self, weights: &[i8], taps: usize) -> i32 {
        let channels = weights.len() / taps.max(1);
        let of = |channel: usize, tap: usize| if channel < channels { weights[channel * taps + tap] as u8 } else { 0 };
        let groups = 0..channels.div_ceil(4);
        let bytes: Vec<u8> = groups
            .flat_map(|g| (0..taps).flat_map(move |t| (0..4).map(move |l| (4 * g + l, t))))
            .map(|(c, t)| of(c, t))
            .collect();
        self.constant(&bytes)
    }

    fn name(&mut self, name: &str) -> u32 {
        let length = name.len().min(255);
        if name.is_empty() || !name.is_char_boundary(length) {
            return NO_NAME;
        }
        let at = self.names.len() as u32;
        self.names.push(length as u8);
        self.names.extend(&name.as_bytes()[..length]);
        at
    }

    /// The bytes of the model. `inputs` and `outputs` count the tensors at the start.
    pub fn finish(mut self, inputs: u8, outputs: u8, arena_bytes: usize) -> Vec<u8> {
        let (tensors, operators) = (self.tensors.len() / TENSOR_BYTES, self.operators.len() / OPERATOR_BYTES);
        let tensors_at = HEADER_BYTES;
        let operators_at = tensors_at + self.tensors.len();
        let constants_at = operators_at + self.operators.len();
        let names_at = constants_at + self.constants.len();
        let total = names_at + self.names.len();
        self.place(constants_at as i32);
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend((total as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend((arena_bytes as u32).to_le_bytes());
        bytes.extend((tensors as u16).to_le_bytes());
        bytes.extend((operators as u16).to_le_bytes());
        bytes.extend([inputs, outputs, 0, 0]);
        for at in [tensors_at, operators_at, names_at, self.names.len()] {
            bytes.extend((at as u32).to_le_bytes());
        }
        bytes.extend([0; 4]);
        for part in [&self.tensors, &self.operators, &self.constants, &self.names] {
            bytes.extend(part);
        }
        let crc = crc32(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Turns places among the constants into places in the model.
    fn place(&mut self, constants_at: i32) {
        for operator in self.operators.chunks_exact_mut(OPERATOR_BYTES) {
            let kind = Kind::ALL[usize::from(operator[0])];
            for parameter in constants_of(kind) {
                let at = 8 + 4 * parameter;
                let word = operator[at..at + 4].try_into().map_or(0, i32::from_le_bytes);
                if word >= 0 {
                    operator[at..at + 4].copy_from_slice(&(word + constants_at).to_le_bytes());
                }
            }
        }
    }
}

/// Parameters that are places of constants.
fn constants_of(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Conv2d | Kind::DepthwiseConv2d | Kind::FullyConnected => &[0, 1],
        Kind::AveragePool => &[1],
        Kind::Softmax | Kind::Table | Kind::Dequantize => &[0],
        _ => &[],
    }
}
