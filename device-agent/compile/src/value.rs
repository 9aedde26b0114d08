//! What stands on the edges of a graph while it is lowered, and what the result is made of.

use crate::constant::Constant;
use boardproof_micro::{Dtype, Kind, Multiplier};
use std::rc::Rc;

/// A tensor of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    /// As it lies in memory, without the sample.
    pub dims: Vec<usize>,
    pub scale: f32,
    pub zero_point: i32,
}

/// Largest dimension of a tensor, as the format has it.
pub const SIZE_MAX: usize = u16::MAX as usize;

/// Elements of a shape; `None` when they are more than any microcontroller has bytes.
pub fn elements(dims: &[usize]) -> Option<usize> {
    let all = dims.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
    all.filter(|all| *all <= 1 << 30)
}

impl Tensor {
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// An operator of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    pub name: String,
    pub kind: Kind,
    pub inputs: Vec<usize>,
    pub output: usize,
    pub body: Body,
}

/// Parameters of an operator.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// `Conv2d`, `DepthwiseConv2d`, `FullyConnected`.
    Sums(Sums),
    /// Numbers in the order of the format's parameters, and the clamp.
    Numbers([i32; 4], Clamp),
    /// A window; multipliers by count where the mean is taken.
    Pool { window: Window, by_count: Vec<Multiplier>, clamp: Clamp },
    /// A table of 256 values.
    Table(Box<[i8; 256]>),
    /// Softmax: table and inverse of the output's scale.
    Softmax { exponentials: Vec<i32>, inverse: i32 },
    /// Numbers to add.
    Add(Option<Vec<f32>>),
}

/// Ends of an output's values.
pub type Clamp = (i32, i32);
/// All 8-bit values.
pub const ALL: Clamp = (-128, 127);

/// Weights and what follows the sums.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// `[output channel][tap][input channel]`; depthwise `[channel][tap]`.
    pub weights: Vec<i8>,
    /// Input zero point folded in.
    pub biases: Vec<i32>,
    pub multipliers: Vec<Multiplier>,
    pub window: Window,
    pub clamp: Clamp,
}

/// A window over an image: pairs are height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: (usize, usize),
    pub strides: (usize, usize),
    pub padding: (usize, usize),
    pub padding_behind: (usize, usize),
    pub dilations: (usize, usize),
}

impl Window {
    /// One pixel.
    pub const ONE: Self =
        Self { kernel: (1, 1), strides: (1, 1), padding: (0, 0), padding_behind: (0, 0), dilations: (1, 1) };

    /// Height and width of what comes out; `None` when the window is larger than the image.
    pub fn output(&self, (height, width): (usize, usize)) -> Option<(usize, usize)> {
        let side = |size: usize, k: usize, s: usize, before: usize, behind: usize, d: usize| {
            let left = (size + before + behind).checked_sub(d * (k.checked_sub(1)?) + 1)?;
            Some(left.checked_div(s)? + 1)
        };
        let (k, s, p, q, d) = (self.kernel, self.strides, self.padding, self.padding_behind, self.dilations);
        Some((side(height, k.0, s.0, p.0, q.0, d.0)?, side(width, k.1, s.1, p.1, q.1, d.1)?))
    }
}

/// How the elements of a tensor lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In the order of the ONNX model.
    Plain,
    /// Channels last: the ONNX model has them first.
    Image,
    /// An image in memory, and one row for the ONNX model: channels, pixels.
    Flat { channels: usize, pixels: usize },
}

/// A quantized tensor, as the ONNX model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quant {
    /// Its number in the result.
    pub tensor: usize,
    /// Dimensions of the ONNX model, without the sample.
    pub dims: Vec<usize>,
    pub layout: Layout,
}

/// Weights: integers without their zero point, and what one step is worth, per tensor or per index of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    pub ints: Constant,
    pub scales: Vec<f64>,
    pub axis: usize,
}

impl Weights {
    /// Worth of a step for an index of the axis.
    pub fn scale(&self, index: usize) -> f64 {
        self.scales.get(index).or_else(|| self.scales.first()).copied().unwrap_or(0.0)
    }
}

/// Something on an edge.
#[derive(Debug, Clone)]
pub enum Value {
    Constant(Rc<Constant>),
    Weights(Rc<Weights>),
    /// 8-bit values.
    Quant(Quant),
    /// Numbers that are not worked out yet: the quantization behind them decides how.
    Real(Real),
    /// An input that nobody has quantized yet.
    Input(usize),
    /// Made by something that was refused: what needs it is not to blame.
    Refused,
}

/// Numbers that are not worked out yet.
#[derive(Debug, Clone)]
pub enum Real {
    /// The numbers of quantized values.
    Of(Quant),
    /// Sums of products.
    Sums(Rc<RealSums>),
    /// `factor * x + offset` for each channel, held between two ends.
    Affine { of: Quant, factors: Vec<f64>, offsets: Vec<f64>, ends: (f64, f64) },
    /// A function of each value: its result for -128 to 127.
    Function { of: Quant, table: Rc<Vec<f64>> },
    /// Sum or product of two.
    Both { kind: Kind, of: [Quant; 2], ends: (f64, f64) },
    /// A pool: largest, mean, or mean over everything.
    Pool { kind: Kind, of: Quant, window: Window, dims: Vec<usize>, ends: (f64, f64) },
    /// Softmax over the last dimension.
    Softmax(Quant),
    /// One behind the other along a dimension of the ONNX model.
    Concat { of: Vec<Quant>, axis: usize },
    /// More elements around an image or tensor, all of the number 0.
    Pad { of: Quant, before: Vec<usize>, dims: Vec<usize> },
}

impl Real {
    /// Their shape, without the sample; `None` of those that nothing but a quantization may follow.
    pub fn dims(&self) -> Option<&[usize]> {
        match self {
            Self::Of(of) | Self::Affine { of, .. } | Self::Function { of, .. } => Some(&of.dims),
            Self::Sums(sums) => Some(&sums.dims),
            _ => None,
        }
    }
}

/// Every number that is possible.
pub const ENDS: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

/// A convolution or fully connected layer before its output is quantized.
#[derive(Debug, Clone)]
pub struct RealSums {
    pub kind: Kind,
    pub of: Quant,
    /// As in [`Sums`], not narrowed yet.
    pub weights: Vec<i32>,
    /// Worth of one step of a channel's sum.
    pub steps: Vec<f64>,
    /// Numbers added.
    pub biases: Vec<f64>,
    pub window: Window,
    /// What comes out, for the ONNX model.
    pub dims: Vec<usize>,
    pub layout: Layout,
    pub ends: (f64, f64),
}
