//! Runs a compiled model operator by operator, and holds each against onnxruntime.

use super::fixture::{Array, Fixture};
use boardproof_micro::{Dtype, Kind, Model, Operator, Tensor, quantize};

/// How far values are from those of onnxruntime, in steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Apart {
    pub values: usize,
    pub by_one: usize,
    pub by_more: usize,
    pub largest: u32,
}

impl Apart {
    fn of(ours: &[i8], theirs: &[i8]) -> Self {
        assert_eq!(ours.len(), theirs.len());
        let mut apart = Self { values: ours.len(), ..Self::default() };
        for steps in ours.iter().zip(theirs).map(|(a, b)| u32::from(a.abs_diff(*b))) {
            apart.by_one += usize::from(steps == 1);
            apart.by_more += usize::from(steps > 1);
            apart.largest = apart.largest.max(steps);
        }
        apart
    }

    pub fn add(&mut self, other: Self) {
        self.values += other.values;
        self.by_one += other.by_one;
        self.by_more += other.by_more;
        self.largest = self.largest.max(other.largest);
    }
}

/// A layer of a compiled model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub kind: &'static str,
    /// Given the values that onnxruntime gives it.
    pub alone: Apart,
    /// Given what the layers before it made.
    pub in_turn: Apart,
}

/// What stands between two operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// What onnxruntime has there.
    Theirs,
    /// What was made.
    Ours,
}

/// Values of a layer that are moved, at most, one at a time.
const VALUES_MOVED: usize = 16;

/// A model that was compiled to quantize its inputs itself, and what onnxruntime makes of it.
pub struct Subject<'f> {
    pub model: Model<'f>,
    pub fixture: &'f Fixture,
}

impl Subject<'_> {
    /// Runs all samples.
    pub fn layers(&self) -> Vec<Layer> {
        let mut found: Vec<Layer> = Vec::new();
        for sample in 0..self.fixture.samples() {
            let (alone, in_turn) = (self.run(sample, Between::Theirs), self.run(sample, Between::Ours));
            found.resize_with(alone.len(), || Layer {
                name: String::new(),
                kind: "",
                alone: Apart::default(),
                in_turn: Apart::default(),
            });
            for (layer, (alone, in_turn)) in found.iter_mut().zip(alone.into_iter().zip(in_turn)) {
                (layer.name, layer.kind) = (self.model.operator_name(&alone.0).to_owned(), alone.0.kind.name());
                layer.alone.add(alone.1);
                layer.in_turn.add(in_turn.1);
            }
        }
        found
    }

    fn arena(&self, sample: usize) -> Vec<u8> {
        // What nothing has written is no zero.
        let mut arena = vec![0xa5; self.model.arena_bytes()];
        for index in 0..self.model.input_count() {
            let input = self.model.input(index);
            let name = self.model.tensor_name(&input);
            let given = self.fixture.array(&format!("in.{name}")).expect("every input has samples");
            let bytes = match (input.dtype, given.is_numbers()) {
                // Whoever feeds the model quantizes.
                (Dtype::I8, true) => self.values(&given.floats(sample), &input).iter().map(|v| *v as u8).collect(),
                _ => given.bytes(sample),
            };
            arena[input.range()].copy_from_slice(&bytes);
        }
        arena
    }

    /// One sample: how far the output of each operator is off that onnxruntime has, too.
    fn run(&self, sample: usize, between: Between) -> Vec<(Operator, Apart)> {
        let mut arena = self.arena(sample);
        let mut found = Vec::new();
        for (index, operator) in self.model.operators().enumerate() {
            self.model.run_operator(index, &mut arena).unwrap();
            let output = self.model.tensor(operator.output.into());
            let Some(theirs) = self.theirs(&output, sample) else {
                self.expect_no_arithmetic(&operator, &output);
                continue;
            };
            let place = &mut arena[output.range()];
            found.push((operator, Apart::of(&self.steps(place, &output), &theirs)));
            if between == Between::Theirs && output.dtype == Dtype::I8 {
                place.iter_mut().zip(&theirs).for_each(|(to, value)| *to = *value as u8);
            }
        }
        found
    }

    /// What onnxruntime has for a tensor, in the order in which it lies in memory.
    fn theirs(&self, tensor: &Tensor, sample: usize) -> Option<Vec<i8>> {
        let name = self.model.tensor_name(tensor);
        if let Some(array) = self.fixture.array(&format!("layer.{name}")) {
            return Some(in_memory(tensor, array, sample));
        }
        // A model that leaves its last numbers unquantized has them quantized here, with steps of their own.
        let output = name.strip_suffix(" quantized").unwrap_or(name);
        let numbers = self.fixture.array(&format!("out.{output}"))?.floats(sample);
        let steps = self.steps_of(tensor);
        Some(self.values(&numbers, &steps))
    }

    /// Numbers in the steps of a tensor.
    fn values(&self, numbers: &[f32], steps: &Tensor) -> Vec<i8> {
        numbers.iter().map(|x| quantize(*x, steps.scale, steps.zero_point)).collect()
    }

    /// The tensor whose steps a tensor is held against: an output's numbers are of the values that they were made of.
    fn steps_of(&self, tensor: &Tensor) -> Tensor {
        let maker = self.model.operators().find(|o| self.model.tensor(o.output.into()) == *tensor);
        match (tensor.dtype, maker) {
            (Dtype::F32, Some(maker)) => self.model.tensor(maker.inputs[0].into()),
            _ => *tensor,
        }
    }

    /// What lies in memory for a tensor, as 8-bit values.
    fn steps(&self, bytes: &[u8], tensor: &Tensor) -> Vec<i8> {
        if tensor.dtype == Dtype::I8 {
            return bytes.iter().map(|value| *value as i8).collect();
        }
        let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        self.values(&numbers, &self.steps_of(tensor))
    }

    /// An operator whose output onnxruntime does not have is part of the next layer: it moves values, chooses from them, or looks them up.
    fn expect_no_arithmetic(&self, operator: &Operator, output: &Tensor) {
        use Kind::{Concat, Copy, MaxPool, Pad, Table, Transpose};
        let is_part = matches!(operator.kind, Concat | Copy | MaxPool | Pad | Table | Transpose);
        assert!(
            is_part,
            "{} makes '{}', which the fixture lacks",
            operator.kind.name(),
            self.model.tensor_name(output)
        );
    }

    /// Outputs have the shapes that the ONNX model says.
    pub fn expect_shapes(&self) {
        for output in (0..self.model.output_count()).map(|index| self.model.output(index)) {
            let name = self.model.tensor_name(&output);
            let numbers = self.fixture.array(&format!("out.{name}")).expect("every output is there");
            assert_eq!(output.dims[..output.rank], numbers.dims()[1..], "output {name}");
        }
    }

    /// The outputs of a whole run, in bytes.
    pub fn answers(&self, sample: usize) -> Vec<u8> {
        let mut arena = self.arena(sample);
        self.model.run(&mut arena).unwrap();
        let outputs = (0..self.model.output_count()).map(|index| self.model.output(index));
        outputs.flat_map(|output| arena[output.range()].to_vec()).collect()
    }

    fn outputs(&self, arena: &[u8]) -> Vec<i8> {
        let outputs = (0..self.model.output_count()).map(|index| self.model.output(index));
        outputs.flat_map(|output| self.steps(&arena[output.range()], &output)).collect()
    }

    /// How far the outputs go, at most, when one value that the first layer with weights makes of the first sample is moved by one step.
    /// Of an image's many values, some are moved.
    pub fn swing(&self) -> u32 {
        let mut arena = self.arena(0);
        let first = self.model.operators().position(|o| self.model.macs(&o) > 0).expect("a layer with weights");
        (0..=first).for_each(|index| self.model.run_operator(index, &mut arena).unwrap());
        let rest = |mut arena: Vec<u8>| {
            (first + 1..self.model.operator_count()).for_each(|at| self.model.run_operator(at, &mut arena).unwrap());
            self.outputs(&arena)
        };
        let usual = rest(arena.clone());
        let made = self.model.tensor(self.model.operator(first).expect("it was found").output.into());
        let moved = made.range().step_by(made.bytes.div_ceil(VALUES_MOVED)).map(|at| {
            let mut arena = arena.clone();
            // Away from the end that it may lie at.
            arena[at] = if (arena[at] as i8) < 0 { arena[at].wrapping_add(1) } else { arena[at].wrapping_sub(1) };
            Apart::of(&rest(arena), &usual).largest
        });
        moved.max().unwrap_or(0)
    }

    /// How far onnxruntime's outputs with all optimizations are from those without any, at most.
    pub fn defaults(&self) -> u32 {
        let mut largest = 0;
        for output in (0..self.model.output_count()).map(|index| self.model.output(index)) {
            let steps = self.steps_of(&output);
            for sample in 0..self.fixture.samples() {
                let values = |kind: &str| {
                    let name = format!("{kind}.{}", self.model.tensor_name(&output));
                    let array = self.fixture.array(&name).expect("every output is there");
                    if array.is_numbers() { self.values(&array.floats(sample), &steps) } else { array.values(sample) }
                };
                largest = largest.max(Apart::of(&values("best"), &values("out")).largest);
            }
        }
        largest
    }
}

/// Values of a sample in the order in which a tensor has them: as onnxruntime, or with the channels of an image last.
fn in_memory(tensor: &Tensor, array: &Array, sample: usize) -> Vec<i8> {
    let values = array.values(sample);
    let without_ones = |dims: &[usize]| dims.iter().copied().filter(|d| *d > 1).collect::<Vec<_>>();
    // An image that is one row for the ONNX model still lies in memory as one.
    let image = || [&tensor.dims[2..3], &tensor.dims[..2]].concat();
    let own = &array.dims()[1..];
    let own = if own.len() == 1 && tensor.rank == 3 { &image() } else { own };
    let (channels, pixels) = (own[0], own[1..].iter().product::<usize>());
    let (memory, first) = (without_ones(&tensor.dims), without_ones(own));
    let last = without_ones(&[&own[1..], &own[..1]].concat());
    assert!(memory == first || memory == last, "{memory:?} in memory is neither {first:?} nor {last:?}");
    assert!(
        first != last || channels == 1 || pixels == 1,
        "shape {own:?} does not say which of its dimensions is last"
    );
    if memory == first {
        return values;
    }
    (0..pixels).flat_map(|p| (0..channels).map(move |c| c * pixels + p)).map(|at| values[at]).collect()
}
