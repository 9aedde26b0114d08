//! Running a model that was checked: operator by operator, in an arena that the caller owns.

use crate::format::{Kind, Model, Operator, Tensor};
use crate::kernel::{
    Channels, Multiplier, Values, conv, dense, depthwise, depthwise_weight_bytes, elementwise, layout, pool,
    scratch_of, weight_bytes, window_of,
};

/// A model that could not be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunError {
    /// The arena is too small.
    Arena {
        /// Bytes that the model needs.
        needed: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// An operator's places are not apart. No model that was checked has one.
    Operator {
        /// Its number.
        index: usize,
    },
}

impl core::fmt::Display for RunError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Arena { needed, found } => write!(f, "the model needs an arena of {needed} bytes, there are {found}"),
            Self::Operator { index } => write!(f, "operator {index} was changed after it was checked"),
        }
    }
}

impl core::error::Error for RunError {}

impl<'m> Model<'m> {
    /// Runs all operators once. Inputs lie in the arena where their tensors say, and stay there; so do the outputs.
    ///
    /// # Errors
    /// [`RunError::Arena`] when the arena is too small.
    pub fn run(&self, arena: &mut [u8]) -> Result<(), RunError> {
        (0..self.operator_count()).try_for_each(|index| self.run_operator(index, arena))
    }

    /// Runs one operator. One past the last does nothing.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_operator(&self, index: usize, arena: &mut [u8]) -> Result<(), RunError> {
        let (needed, found) = (self.arena_bytes(), arena.len());
        if found < needed {
            return Err(RunError::Arena { needed, found });
        }
        let entry = if index < self.operator_count() { self.entry(32, index) } else { None };
        let Some(entry) = entry else { return Ok(()) };
        let kind = *Kind::ALL.get(usize::from(entry[0])).ok_or(RunError::Operator { index })?;
        // Not `operator`, which would be copied once more: on a small layer that shows.
        let operator = Operator::read(entry, kind);
        self.act(&operator, arena).ok_or(RunError::Operator { index })?;
        let clamp = operator.clamp();
        if is_held_behind(kind) && clamp != (-128, 127) {
            let output = self.tensor(operator.output.into());
            Values::hold(clamp, arena.get_mut(output.range()).unwrap_or_default());
        }
        Ok(())
    }

    fn constant(&self, operator: &Operator, parameter: usize) -> &'m [u8] {
        self.bytes.get(operator.at(parameter)..).unwrap_or_default()
    }

    fn channels(&self, operator: &Operator, count: usize, output: &Tensor) -> Option<Channels<'m>> {
        Some(Channels {
            all: self.constant(operator, 1).as_chunks().0.as_chunks().0.get(..count)?,
            values: Values::new(output.zero_point),
        })
    }

    fn act(&self, operator: &Operator, arena: &mut [u8]) -> Option<()> {
        let (input, output) = (self.tensor(operator.inputs[0].into()), self.tensor(operator.output.into()));
        if operator.kind.inputs() == 2 {
            return self.act_on_two(operator, (&input, &output), arena);
        }
        let from = operator.at(9);
        let scratch = from..from + scratch_of(operator, &input);
        let [from, to, scratch] = if scratch.is_empty() {
            let [from, to] = arena.get_disjoint_mut([input.range(), output.range()]).ok()?;
            [from, to, &mut []]
        } else {
            arena.get_disjoint_mut([input.range(), output.range(), scratch]).ok()?
        };
        let (dims_in, dims_out) = (input.dims, output.dims);
        let four = || core::array::from_fn(|i| operator.at(i));
        let by = Multiplier { factor: operator.parameters[0], shift: operator.parameters[1] };
        let zeros = (input.zero_point, output.zero_point);
        let values = Values::new(output.zero_point);
        match operator.kind {
            Kind::Conv2d | Kind::DepthwiseConv2d | Kind::FullyConnected => {
                return self.convolve(operator, (&input, &output), from, to, scratch);
            }
            Kind::MaxPool => pool::max(&window_of(operator, &input, &output), from, to),
            Kind::AveragePool => {
                let window = window_of(operator, &input, &output);
                let by_count = self.channels(operator, window.kernel.0 * window.kernel.1, &output)?;
                pool::average(&window, &by_count, input.zero_point, from, to);
            }
            Kind::GlobalAveragePool => pool::global_average(by, zeros.0, values, from, to),
            Kind::Pad => layout::pad(four(), input.zero_point as u8, (dims_in, from), dims_out, to),
            Kind::Transpose => layout::transpose(four(), (dims_in, from), dims_out, to),
            Kind::Copy => to.copy_from_slice(from.get(..to.len())?),
            Kind::Softmax => {
                let (exponentials, inverse) = (self.constant(operator, 0), operator.parameters[1]);
                let width = dims_in[input.rank.saturating_sub(1)];
                elementwise::softmax(exponentials, inverse, zeros.1, operator.clamp(), (width, from), to);
            }
            Kind::Table => elementwise::table(self.constant(operator, 0).first_chunk()?, from, to),
            Kind::Quantize => elementwise::from_numbers(output.scale, output.zero_point, from, to),
            Kind::Dequantize => {
                let last = dims_in[input.rank.saturating_sub(1)];
                let add = (operator.parameters[0] != -1).then(|| self.constant(operator, 0));
                let add = add.and_then(|add| add.get(..4 * last));
                elementwise::to_numbers(input.scale, input.zero_point, add, from, to);
            }
            Kind::Add | Kind::Mul | Kind::Concat => return None,
        }
        Some(())
    }

    fn convolve(
        &self,
        operator: &Operator,
        (input, output): (&Tensor, &Tensor),
        from: &[u8],
        to: &mut [u8],
        scratch: &mut [u8],
    ) -> Option<()> {
        let weights = self.constant(operator, 0);
        if operator.kind == Kind::FullyConnected {
            let weights = weights.get(..weight_bytes(to.len(), from.len()))?;
            dense(&self.channels(operator, to.len(), output)?, (from, weights), to, scratch);
            return Some(());
        }
        let window = window_of(operator, input, output);
        let (taps, zero_point) = (window.kernel.0 * window.kernel.1, input.zero_point as u8);
        if operator.kind == Kind::Conv2d {
            let count = output.image().2;
            let weights = weights.get(..weight_bytes(count, taps * window.input.2))?;
            let channels = self.channels(operator, count, output)?;
            conv(&window, &channels, zero_point, (from, weights), to, scratch);
        } else {
            let count = window.input.2;
            let weights = weights.get(..depthwise_weight_bytes(count, taps))?;
            let channels = self.channels(operator, count, output)?;
            depthwise(&window, &channels, zero_point, (from, weights), to, scratch);
        }
        Some(())
    }

    fn act_on_two(&self, operator: &Operator, (input, output): (&Tensor, &Tensor), arena: &mut [u8]) -> Option<()> {
        let second = self.tensor(operator.inputs[1].into());
        // A tensor with itself is one range, which cannot be cut out twice.
        let itself = operator.inputs[0] == operator.inputs[1];
        let [one, two, to]: [&mut [u8]; 3] = if itself {
            let [one, to] = arena.get_disjoint_mut([input.range(), output.range()]).ok()?;
            [one, &mut [], to]
        } else {
            arena.get_disjoint_mut([input.range(), second.range(), output.range()]).ok()?
        };
        let inputs: [&[u8]; 2] = if itself { [one, one] } else { [one, two] };
        let zeros = ([input.zero_point, second.zero_point], output.zero_point);
        let values = Values::new(output.zero_point);
        let [first, next, shift] = [0, 1, 2].map(|i| operator.parameters[i]);
        match operator.kind {
            Kind::Add => elementwise::add(([first, next], shift as u32), zeros, operator.clamp(), inputs, to),
            Kind::Mul => {
                let by = Multiplier { factor: first, shift: next };
                elementwise::mul(by, zeros.0, values, inputs, to);
            }
            _ => {
                let block = |tensor: &Tensor| tensor.dims.iter().skip(operator.at(0)).product();
                layout::concat([block(input), block(&second)], inputs, to);
            }
        }
        Some(())
    }
}

/// Does its kernel hold values within 8 bit only, and leave narrower ends to [`Values::hold`]?
fn is_held_behind(kind: Kind) -> bool {
    use Kind::{AveragePool, Conv2d, DepthwiseConv2d, FullyConnected, GlobalAveragePool, Mul};
    matches!(kind, Conv2d | DepthwiseConv2d | FullyConnected | AveragePool | GlobalAveragePool | Mul)
}
