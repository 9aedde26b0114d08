//! What a simulated firmware has inside: any network, and a tiny one whose answers can be worked out by hand.

use crate::stm32msg::messages;

/// The tiny network: two inputs, 40 x int8 (scale 0.5, zero point -1) and 2 x f32, two outputs, 2 x f32 and 3 x int8, three layers. The
/// first output is the sum of each input.
pub const MODEL: &str = "network";
/// Cycles of each of its layers.
pub const LAYER_CYCLES: [u64; 3] = [5_000_000_000, 400, 30];

const INT8: u32 = 0x0084_0440;
const FLOAT: u32 = 0x0182_1040;

/// A model, and what answers for it.
pub trait Network {
    /// What it is like.
    fn model(&self) -> &Inside;

    /// The bytes of every output for those of every input, which are as long as the model says, and the cycles that it took. `None`: it
    /// broke down.
    fn infer(&mut self, inputs: &[Vec<u8>]) -> Option<(Vec<Vec<u8>>, u64)>;

    /// Cycles of each of three layers in a run by layers, the second of which tells no tensor; `None` for a network that does not run so.
    fn layers(&self) -> Option<[u64; 3]> {
        None
    }
}

/// What a model is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Inside {
    /// Its name.
    pub name: String,
    /// What tells it from others of that name.
    pub signature: String,
    /// Multiply-accumulate steps.
    pub macs: u64,
    /// Operators.
    pub operators: u32,
    /// Bytes of its activations.
    pub activation_bytes: u32,
    /// Inputs.
    pub inputs: Vec<Edge>,
    /// Outputs.
    pub outputs: Vec<Edge>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Its name.
    pub name: String,
    /// Shape of one sample.
    pub dims: Vec<u32>,
    /// Its elements.
    pub elements: Elements,
}

/// The elements of an input or output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Elements {
    /// Signed 8-bit values.
    Int8 {
        /// What one step is worth.
        scale: f32,
        /// Value of the number 0.
        zero_point: i32,
    },
    /// 32-bit floats.
    Float,
}

impl Elements {
    /// Bytes of one.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Int8 { .. } => 1,
            Self::Float => 4,
        }
    }
}

impl Edge {
    /// Number of elements.
    pub(super) fn count(&self) -> u32 {
        self.dims.iter().product()
    }

    /// Bytes of one sample.
    pub(super) fn bytes(&self) -> usize {
        self.count() as usize * self.elements.width()
    }

    pub(super) fn description(&self, flags: u32) -> messages::TensorDesc {
        let (format, scale, zero_point) = match self.elements {
            Elements::Int8 { scale, zero_point } => (INT8, scale, zero_point),
            Elements::Float => (FLOAT, 0.0, 0),
        };
        let dims: Vec<u32> = std::iter::once(1).chain(self.dims.iter().copied()).collect();
        messages::TensorDesc {
            name: Some(self.name.clone()),
            format: Some(format),
            size: Some(self.count()),
            n_dims: Some(4 << 24 | dims.len() as u32),
            dims,
            scale: Some(scale),
            zeropoint: Some(zero_point),
            addr: Some(0x2000_0000),
            flags: Some(flags),
        }
    }
}

/// The bytes of both inputs of the tiny network.
pub fn inputs(bytes: &[i8; 40], floats: [f32; 2]) -> [Vec<u8>; 2] {
    [bytes.iter().map(|byte| *byte as u8).collect(), floats.iter().flat_map(|float| float.to_le_bytes()).collect()]
}

/// The tiny network.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums(Inside);

impl Default for Sums {
    fn default() -> Self {
        let int8 = Elements::Int8 { scale: 0.5, zero_point: -1 };
        let edge = |name: &str, count, elements| Edge { name: name.into(), dims: vec![count], elements };
        Self(Inside {
            name: MODEL.into(),
            signature: "0x1234".into(),
            macs: 1 << 33,
            operators: LAYER_CYCLES.len() as u32,
            activation_bytes: 1024,
            inputs: vec![edge("in_1", 40, int8), edge("in_2", 2, Elements::Float)],
            outputs: vec![edge("out_1", 2, Elements::Float), edge("out_2", 3, int8)],
        })
    }
}

impl Network for Sums {
    fn model(&self) -> &Inside {
        &self.0
    }

    fn infer(&mut self, inputs: &[Vec<u8>]) -> Option<(Vec<Vec<u8>>, u64)> {
        let [bytes, floats] = inputs else { return None };
        let sum: f32 = bytes.iter().map(|byte| (f32::from(*byte as i8) + 1.0) * 0.5).sum();
        let other: f32 = floats.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float)).sum();
        let first = [sum, other].iter().flat_map(|float| float.to_le_bytes()).collect();
        Some((vec![first, bytes.get(..3)?.to_vec()], LAYER_CYCLES.iter().sum()))
    }

    fn layers(&self) -> Option<[u64; 3]> {
        Some(LAYER_CYCLES)
    }
}
