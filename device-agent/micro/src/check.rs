//! Is this a model that can be run without looking again? Bounds, shapes, places in the arena, versions, checksum.

use crate::format::{
    Dtype, HEADER_BYTES, Kind, MAGIC, Model, NO_TENSOR, OPERATOR_BYTES, Operator, TENSOR_BYTES, Tensor, VERSION, u32_at,
};
use crate::kernel::{
    CHANNEL_BYTES, Multiplier, Window, depthwise_weight_bytes, numbers, scratch_of, weight_bytes, window_of,
};

/// Where a model is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong.
    pub what: What,
    /// Number of the operator or tensor, where it is one's.
    pub index: Option<u16>,
    /// What would be right.
    pub expected: u64,
    /// What is there.
    pub found: u64,
}

/// What is wrong with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`text` says each in words")]
pub enum What {
    Short,
    Magic,
    Version,
    Length,
    Checksum,
    Table,
    TensorPlace,
    TensorShape,
    TensorType,
    TensorScale,
    OperatorKind,
    OperatorTensor,
    OperatorOrder,
    OperatorShape,
    OperatorType,
    OperatorParameter,
    OperatorConstant,
    Overlap,
    NotMade,
}

impl What {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Short => "is shorter than a header",
            Self::Magic => "does not begin as a model does",
            Self::Version => "has another version",
            Self::Length => "has another length than it says",
            Self::Checksum => "has another checksum than it says",
            Self::Table => "has a table that is not inside of it",
            Self::TensorPlace => "has a tensor outside of its arena",
            Self::TensorShape => "has a tensor whose bytes are not those of its shape",
            Self::TensorType => "has a tensor of an unknown element type",
            Self::TensorScale => "has a tensor whose scale or zero point cannot be",
            Self::OperatorKind => "has an operator that is not known",
            Self::OperatorTensor => "has an operator with a tensor that is not there",
            Self::OperatorOrder => "has an operator that reads what is not made yet, or makes what is there",
            Self::OperatorShape => "has an operator whose shapes do not fit together",
            Self::OperatorType => "has an operator whose element types do not fit",
            Self::OperatorParameter => "has an operator with a parameter that cannot be",
            Self::OperatorConstant => "has an operator whose constants are not inside of the model",
            Self::Overlap => "has an operator that would overwrite what is still needed",
            Self::NotMade => "has an output that no operator makes",
        }
    }
}

impl core::fmt::Display for Invalid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the model {}", self.what.text())?;
        if let Some(index) = self.index {
            write!(f, " (number {index})")?;
        }
        write!(f, ": expected {}, got {}", self.expected, self.found)
    }
}

impl core::error::Error for Invalid {}

type Checked = Result<(), Invalid>;

/// Fails unless both are the same.
fn same(what: What, index: Option<u16>, expected: u64, found: u64) -> Checked {
    if expected == found { Ok(()) } else { Err(Invalid { what, index, expected, found }) }
}

/// Fails when there is more than there may be.
fn most(what: What, index: Option<u16>, limit: u64, found: u64) -> Checked {
    if found <= limit { Ok(()) } else { Err(Invalid { what, index, expected: limit, found }) }
}

/// CRC-32 as in zip and ethernet, four bits at a time: a table of 64 bytes.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut i = 0;
        while i < 16 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 4 {
                value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = (crc >> 4) ^ TABLE[(crc & 15) as usize];
        (crc >> 4) ^ TABLE[(crc & 15) as usize]
    })
}

impl<'m> Model<'m> {
    /// Looks at everything once.
    ///
    /// # Errors
    /// The first thing that is wrong, with the number of its tensor or operator.
    pub fn check(bytes: &'m [u8]) -> Result<Self, Invalid> {
        most(What::Short, None, bytes.len() as u64, HEADER_BYTES as u64)?;
        same(What::Magic, None, u32::from_le_bytes(MAGIC).into(), u32_at(bytes, 0).into())?;
        // The flags behind the version are 0 in this one.
        same(What::Version, None, VERSION.into(), u32_at(bytes, 4).into())?;
        same(What::Length, None, u32_at(bytes, 8).into(), bytes.len() as u64)?;
        same(What::Checksum, None, u32_at(bytes, 12).into(), crc32(&bytes[16..]).into())?;
        let model = Self { bytes };
        let table = |at: usize, entries: usize, size: usize| {
            let end = u64::from(u32_at(bytes, at)) + entries as u64 * size as u64;
            most(What::Table, None, bytes.len() as u64, end)
        };
        table(28, model.tensor_count(), TENSOR_BYTES)?;
        table(32, model.operator_count(), OPERATOR_BYTES)?;
        table(36, u32_at(bytes, 40) as usize, 1)?;
        let ends = model.input_count() + model.output_count();
        most(What::Table, None, model.tensor_count() as u64, ends as u64)?;
        (0..model.tensor_count()).try_for_each(|index| check_tensor(&model, index))?;
        (0..model.operator_count()).try_for_each(|index| Looking { model: &model, index }.check())?;
        let made = |tensor: usize| model.operators().any(|o| usize::from(o.output) == tensor);
        match (model.input_count()..ends).find(|tensor| !made(*tensor)) {
            Some(tensor) => Err(Invalid { what: What::NotMade, index: Some(tensor as u16), expected: 1, found: 0 }),
            None => Ok(model),
        }
    }
}

fn check_tensor(model: &Model<'_>, index: usize) -> Checked {
    let at = u32_at(model.bytes, 28) as usize + index * TENSOR_BYTES;
    let (tensor, index) = (model.tensor(index), Some(index as u16));
    most(What::TensorType, index, Dtype::F32 as u64, model.bytes[at + 16].into())?;
    most(What::TensorShape, index, 4, model.bytes[at + 17].into())?;
    let elements = tensor.dims.iter().map(|d| *d as u64).try_fold(tensor.dtype.bytes() as u64, u64::checked_mul);
    same(What::TensorShape, index, elements.unwrap_or(u64::MAX), tensor.bytes as u64)?;
    most(What::TensorShape, index, tensor.bytes as u64, 1)?;
    let past = tensor.dims.iter().skip(tensor.rank).find(|d| **d != 1);
    same(What::TensorShape, index, 1, past.map_or(1, |d| *d as u64))?;
    most(What::TensorPlace, index, model.arena_bytes() as u64, tensor.offset as u64 + tensor.bytes as u64)?;
    let good = tensor.scale.is_finite() && tensor.scale > 0.0 && (-128..=127).contains(&tensor.zero_point);
    same(What::TensorScale, index, 1, good.into())
}

/// An operator that is looked at.
struct Looking<'a, 'm> {
    model: &'a Model<'m>,
    index: usize,
}

/// Largest kernel, stride, dilation and padding: positions must not overflow 32 bit.
const STEP_MAX: usize = 255;
/// Most weights of an output channel: products of 8-bit values and a bias below 2^30 then fit into an accumulator.
const ROW_MAX: usize = 1 << 16;
/// Largest bias.
const BIAS_MAX: i32 = 1 << 30;
/// Most pixels that are averaged.
const PIXELS_MAX: usize = 1 << 22;

impl Looking<'_, '_> {
    fn fail(&self, what: What, expected: u64, found: u64) -> Checked {
        Err(Invalid { what, index: Some(self.index as u16), expected, found })
    }

    fn same(&self, what: What, expected: usize, found: usize) -> Checked {
        same(what, Some(self.index as u16), expected as u64, found as u64)
    }

    fn most(&self, what: What, limit: usize, found: usize) -> Checked {
        most(what, Some(self.index as u16), limit as u64, found as u64)
    }

    fn check(&self) -> Checked {
        let Some(operator) = self.model.operator(self.index) else {
            let at = u32_at(self.model.bytes, 32) as usize + self.index * OPERATOR_BYTES;
            return self.fail(What::OperatorKind, Kind::ALL.len() as u64 - 1, self.model.bytes[at].into());
        };
        self.tensors(&operator)?;
        let tensor = |index: u16| self.model.tensor(index.into());
        let (input, output) = (tensor(operator.inputs[0]), tensor(operator.output));
        self.types(&operator, &input, &output)?;
        match operator.kind {
            Kind::Conv2d | Kind::DepthwiseConv2d => self.convolution(&operator, &input, &output),
            Kind::FullyConnected => {
                self.most(What::OperatorShape, ROW_MAX, input.elements())?;
                let weights = weight_bytes(output.elements(), input.elements());
                self.constant(&operator, 0, weights)?;
                self.channels(&operator, output.elements())
            }
            Kind::Add => self.sum(&operator, &input, &output),
            Kind::Mul => {
                self.same_shape(&tensor(operator.inputs[1]), &input)?;
                self.same_shape(&output, &input)?;
                self.multiplier(&operator)?;
                self.clamp(&operator)
            }
            Kind::MaxPool | Kind::AveragePool => self.pool(&operator, &input, &output),
            Kind::GlobalAveragePool => {
                let (height, width, channels) = input.image();
                self.most(What::OperatorShape, PIXELS_MAX, height.saturating_mul(width))?;
                self.same(What::OperatorShape, channels, output.elements())?;
                self.multiplier(&operator)?;
                self.clamp(&operator)
            }
            Kind::Pad | Kind::Transpose | Kind::Concat | Kind::Copy => self.layout(&operator, &input, &output),
            Kind::Softmax => {
                self.same_shape(&output, &input)?;
                self.constant(&operator, 0, 1024)?;
                self.most(What::OperatorParameter, i32::MAX as usize, operator.at(1))?;
                self.clamp(&operator)
            }
            Kind::Table => {
                self.same(What::OperatorShape, input.elements(), output.elements())?;
                self.constant(&operator, 0, 256)
            }
            Kind::Quantize => self.same(What::OperatorShape, input.elements(), output.elements()),
            Kind::Dequantize => {
                self.same(What::OperatorShape, input.elements(), output.elements())?;
                let last = input.dims[input.rank.saturating_sub(1)];
                if operator.parameters[0] == -1 { Ok(()) } else { self.constant(&operator, 0, 4 * last) }
            }
        }?;
        self.places(&operator)
    }

    /// All tensors are there; inputs are made by now, and the output is not.
    fn tensors(&self, operator: &Operator) -> Checked {
        let (count, inputs) = (self.model.tensor_count(), self.model.input_count());
        let made = |tensor: u16| {
            let before = self.model.operators().take(self.index);
            usize::from(tensor) < inputs || before.into_iter().any(|o| o.output == tensor)
        };
        for input in operator.inputs.iter().take(operator.kind.inputs()) {
            self.most(What::OperatorTensor, count.saturating_sub(1), (*input).into())?;
            self.same(What::OperatorOrder, 1, made(*input).into())?;
        }
        if operator.kind.inputs() == 1 {
            self.same(What::OperatorTensor, NO_TENSOR.into(), operator.inputs[1].into())?;
        }
        self.most(What::OperatorTensor, count.saturating_sub(1), operator.output.into())?;
        self.same(What::OperatorOrder, 0, made(operator.output).into())
    }

    fn types(&self, operator: &Operator, input: &Tensor, output: &Tensor) -> Checked {
        let wanted = match operator.kind {
            Kind::Quantize => (Dtype::F32, Dtype::I8),
            Kind::Dequantize => (Dtype::I8, Dtype::F32),
            _ => (Dtype::I8, Dtype::I8),
        };
        let good = (input.dtype, output.dtype) == wanted;
        let second = operator.kind.inputs() == 1 || self.model.tensor(operator.inputs[1].into()).dtype == wanted.0;
        self.same(What::OperatorType, 1, (good && second).into())
    }

    fn same_shape(&self, one: &Tensor, other: &Tensor) -> Checked {
        self.same(What::OperatorShape, 1, (one.dims == other.dims).into())
    }

    fn clamp(&self, operator: &Operator) -> Checked {
        let (low, high) = operator.clamp();
        let good = (-128..=127).contains(&low) && (-128..=127).contains(&high) && low <= high;
        self.same(What::OperatorParameter, 1, good.into())
    }

    fn multiplier(&self, operator: &Operator) -> Checked {
        let by = Multiplier { factor: operator.parameters[0], shift: operator.parameters[1] };
        self.same(What::OperatorParameter, 1, by.is_valid().into())
    }

    /// Constants of so many bytes lie inside of the model.
    fn constant(&self, operator: &Operator, parameter: usize, bytes: usize) -> Checked {
        let end = operator.at(parameter) as u64 + bytes as u64;
        most(What::OperatorConstant, Some(self.index as u16), self.model.bytes.len() as u64, end)
    }

    /// Biases and multipliers of so many channels, and the clamp.
    fn channels(&self, operator: &Operator, count: usize) -> Checked {
        self.constant(operator, 1, CHANNEL_BYTES * count)?;
        let all = self.model.bytes[operator.at(1)..].as_chunks().0.as_chunks().0.iter().take(count);
        let good = all.map(numbers).take_while(|(bias, by)| (-BIAS_MAX..=BIAS_MAX).contains(bias) && by.is_valid());
        self.same(What::OperatorParameter, count, good.count())?;
        self.clamp(operator)
    }

    fn window(&self, operator: &Operator, input: &Tensor, output: &Tensor) -> Result<Window, Invalid> {
        let pooled = matches!(operator.kind, Kind::MaxPool | Kind::AveragePool);
        let window = window_of(operator, input, output);
        let (kernel, strides, dilations) = (window.kernel, window.strides, window.dilations);
        for value in [kernel.0, kernel.1, strides.0, strides.1, dilations.0, dilations.1] {
            self.most(What::OperatorParameter, value, 1)?;
            self.most(What::OperatorParameter, STEP_MAX, value)?;
        }
        for value in [window.padding.0, window.padding.1] {
            self.most(What::OperatorParameter, STEP_MAX, value)?;
        }
        if pooled {
            self.same(What::OperatorParameter, 1, dilations.0.max(dilations.1))?;
        }
        Ok(window)
    }

    fn convolution(&self, operator: &Operator, input: &Tensor, output: &Tensor) -> Checked {
        let window = self.window(operator, input, output)?;
        let (channels_in, channels_out) = (input.image().2, output.image().2);
        let taps = window.kernel.0 * window.kernel.1;
        let weights = match operator.kind {
            Kind::Conv2d => {
                self.most(What::OperatorShape, ROW_MAX, taps.saturating_mul(channels_in))?;
                weight_bytes(channels_out, taps * channels_in)
            }
            _ => {
                self.same(What::OperatorShape, channels_in, channels_out)?;
                depthwise_weight_bytes(channels_in, taps)
            }
        };
        self.constant(operator, 0, weights)?;
        self.channels(operator, channels_out)
    }

    fn pool(&self, operator: &Operator, input: &Tensor, output: &Tensor) -> Checked {
        let window = self.window(operator, input, output)?;
        self.same(What::OperatorShape, input.image().2, output.image().2)?;
        if operator.kind == Kind::MaxPool {
            return Ok(());
        }
        self.channels(operator, window.kernel.0 * window.kernel.1)
    }

    fn sum(&self, operator: &Operator, input: &Tensor, output: &Tensor) -> Checked {
        self.same_shape(&self.model.tensor(operator.inputs[1].into()), input)?;
        self.same_shape(output, input)?;
        for factor in &operator.parameters[..2] {
            self.most(What::OperatorParameter, 1 << 22, factor.unsigned_abs() as usize)?;
        }
        self.most(What::OperatorParameter, 30, operator.at(2))?;
        self.most(What::OperatorParameter, operator.at(2), 1)?;
        self.clamp(operator)
    }

    fn layout(&self, operator: &Operator, input: &Tensor, output: &Tensor) -> Checked {
        let parameters: [usize; 4] = core::array::from_fn(|i| operator.at(i));
        match operator.kind {
            Kind::Copy => self.same(What::OperatorShape, input.elements(), output.elements()),
            Kind::Pad => (0..4).try_for_each(|i| {
                self.most(What::OperatorShape, output.dims[i], parameters[i].saturating_add(input.dims[i]))
            }),
            Kind::Transpose => (0..4).try_for_each(|i| {
                self.most(What::OperatorParameter, 3, parameters[i])?;
                let twice = parameters[..i].contains(&parameters[i]);
                self.same(What::OperatorParameter, 0, twice.into())?;
                self.same(What::OperatorShape, input.dims[parameters[i]], output.dims[i])
            }),
            _ => {
                let (second, along) = (self.model.tensor(operator.inputs[1].into()), parameters[0]);
                self.most(What::OperatorParameter, 3, along)?;
                (0..4).try_for_each(|i| {
                    let more = if i == along { second.dims[i] } else { 0 };
                    self.same(What::OperatorShape, input.dims[i] + more, output.dims[i])?;
                    self.same(What::OperatorShape, 1, (i == along || second.dims[i] == input.dims[i]).into())
                })
            }
        }
    }

    /// Nothing that is needed is overwritten: the output and the scratch lie apart from each other and from all that lives.
    fn places(&self, operator: &Operator) -> Checked {
        let scratch = scratch_of(operator, &self.model.tensor(operator.inputs[0].into()));
        let from = operator.at(9);
        if scratch > 0 {
            self.most(What::Overlap, self.model.arena_bytes(), from.saturating_add(scratch))?;
        }
        let output = self.model.tensor(operator.output.into()).range();
        let scratch = from..from.saturating_add(scratch);
        let apart = |a: &core::ops::Range<usize>, b: &core::ops::Range<usize>| {
            a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
        };
        self.same(What::Overlap, 1, apart(&output, &scratch).into())?;
        for tensor in (0..self.model.tensor_count()).filter(|t| *t != usize::from(operator.output)) {
            if self.model.lives(tensor, self.index) {
                let range = self.model.tensor(tensor).range();
                let good = apart(&output, &range) && apart(&scratch, &range);
                self.same(What::Overlap, 1, good.into())?;
            }
        }
        Ok(())
    }
}
