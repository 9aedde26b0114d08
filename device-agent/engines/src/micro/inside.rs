//! A compiled model as a firmware has it inside: fed with the very bytes that its inputs are, and answering with those of its outputs.

use super::engine::{bare, refusal};
use crate::engine::{Refusal, RunFailure, Stage};
use boardproof_compile::{Compiled, Edges, compile};
use boardproof_micro::{Model, Tensor};

/// A tensor at the edge of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Its name in the ONNX model.
    pub name: String,
    /// Element type as safetensors names it: `I8` or `F32`.
    pub dtype: String,
    /// Shape of one sample, as the ONNX model has it.
    pub dims: Vec<usize>,
    /// What one step of an 8-bit value is worth.
    pub scale: f32,
    /// Value of the number 0.
    pub zero_point: i32,
    /// Bytes of one sample.
    pub bytes: usize,
}

/// A model and its arena.
pub struct Inside {
    // Never freed: a process has one model inside, and its bytes are checked once.
    model: Model<'static>,
    arena: Vec<u8>,
    /// Inputs in the model's order.
    pub inputs: Vec<Edge>,
    /// Outputs in the model's order.
    pub outputs: Vec<Edge>,
}

impl Inside {
    /// Compiles an ONNX model.
    ///
    /// # Errors
    /// What the engine `micro` refuses.
    pub fn compile(onnx: &[u8]) -> Result<Self, Refusal> {
        let Compiled { bytes, report } = compile(onnx, Edges::HostQuantizes).map_err(|error| refusal(&error))?;
        let model = Model::check(bytes.leak()).map_err(|error| bare(Stage::Plan, error.to_string()))?;
        let named = report.inputs.iter().enumerate();
        let inputs = named.map(|(i, input)| edge(input.name.clone(), &model.input(i))).collect();
        let outputs = (0..model.output_count()).map(|i| {
            let output = model.output(i);
            edge(model.tensor_name(&output).to_owned(), &output)
        });
        Ok(Self { model, arena: vec![0; model.arena_bytes()], inputs, outputs: outputs.collect() })
    }

    /// Bytes of a sample: those of every input, one behind the other.
    pub fn sample_bytes(&self) -> usize {
        self.inputs.iter().map(|input| input.bytes).sum()
    }

    /// Bytes of an answer: those of every output, one behind the other.
    pub fn answer_bytes(&self) -> usize {
        self.outputs.iter().map(|output| output.bytes).sum()
    }

    /// Multiply-accumulate steps of one inference.
    pub fn macs(&self) -> u64 {
        self.model.operators().map(|operator| self.model.macs(&operator)).sum()
    }

    /// Operators of the model.
    pub fn operators(&self) -> usize {
        self.model.operator_count()
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Puts a sample into the arena.
    ///
    /// # Errors
    /// A sample that is not as long as the inputs.
    pub fn prepare(&mut self, sample: &[u8]) -> Result<(), RunFailure> {
        if sample.len() != self.sample_bytes() {
            let reason = format!("expected a sample of {} bytes, got {}", self.sample_bytes(), sample.len());
            return Err(RunFailure::Engine { reason });
        }
        let mut rest = sample;
        for index in 0..self.inputs.len() {
            let range = self.model.input(index).range();
            let (now, more) = rest.split_at(range.len());
            self.arena[range].copy_from_slice(now);
            rest = more;
        }
        Ok(())
    }

    /// One inference of the sample that was prepared. It may use up the sample: an arena's places have several tensors in turn.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run(&mut self) -> Result<(), RunFailure> {
        self.model.run(&mut self.arena).map_err(|error| RunFailure::Engine { reason: error.to_string() })
    }

    /// Adds the bytes of every output to `answer`.
    pub fn answer(&self, answer: &mut Vec<u8>) {
        (0..self.outputs.len())
            .for_each(|index| answer.extend_from_slice(&self.arena[self.model.output(index).range()]));
    }
}

fn edge(name: String, tensor: &Tensor) -> Edge {
    Edge {
        name,
        dtype: tensor.dtype.name().to_uppercase(),
        dims: tensor.dims[..tensor.rank].to_vec(),
        scale: tensor.scale,
        zero_point: tensor.zero_point,
        bytes: tensor.bytes,
    }
}
