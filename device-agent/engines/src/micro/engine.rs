//! The compiled model behind the engine trait.

use super::values;
use crate::engine::{Dim, Engine, LoadOptions, Loaded, OperatorFacts, Refusal, RunFailure, SKETCH, Stage, TensorFacts};
use crate::preprocess::Preprocess;
use crate::self_check::{SelfCheck, SelfCheckLimits, SelfCheckOutcome, parting};
use crate::tensor::{DType, Tensor, TensorView};
use boardproof_compile::{CompileError, Compiled, Edges, compile};
use boardproof_micro::{Dtype, Model, SKETCH_BYTES, VERSION};

/// The engine of microcontrollers: ONNX in, integer operators out. One sample at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct MicroEngine;

impl Engine for MicroEngine {
    fn name(&self) -> &'static str {
        "micro"
    }

    fn version(&self) -> &'static str {
        const _: () = assert!(VERSION == 2);
        "2"
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Loaded>, Refusal> {
        Ok(Box::new(MicroModel::load(model, options)?))
    }

    /// Nothing is optimized that could be left out: what is checked is that no answer depends on what the arena held before, which is what
    /// a wrong place for a tensor would bring about.
    fn self_check(
        &self,
        model: &[u8],
        options: &LoadOptions,
        _loaded: &mut dyn Loaded,
        samples: &[Vec<TensorView<'_>>],
        _limits: &SelfCheckLimits,
    ) -> Result<SelfCheck, Refusal> {
        let mut fresh = MicroModel::load(model, options)?;
        let mut answers = |poison: u8| -> Result<Vec<Vec<Tensor>>, RunFailure> {
            let one = |sample: &Vec<TensorView<'_>>| {
                fresh.poison = poison;
                fresh.prepare(sample)?;
                fresh.run()?;
                fresh.answers()
            };
            samples.iter().map(one).collect()
        };
        let (first, second) = match (answers(0x55), answers(0xaa)) {
            (Ok(first), Ok(second)) => (first, second),
            (Err(error), _) | (_, Err(error)) => {
                let nothing = crate::self_check::Parting { relative_l2: 0.0, max_abs: 0.0 };
                let outcome = SelfCheckOutcome::Unavailable { reason: error.to_string() };
                return Ok(SelfCheck { samples: 0, parting: nothing, tolerance: 0.0, outcome });
            }
        };
        let parting = parting(&first, &second);
        let same = first.iter().flatten().zip(second.iter().flatten()).all(|(a, b)| a.bytes() == b.bytes());
        let outcome = match same {
            true => SelfCheckOutcome::Agrees,
            false => SelfCheckOutcome::Parts { stage: "placing tensors".into(), operator: None, replaced: Vec::new() },
        };
        Ok(SelfCheck { samples: samples.len(), parting, tolerance: 0.0, outcome })
    }
}

struct MicroModel {
    // Never freed: a process loads a model or two and ends with them, and the model's bytes are checked once.
    model: Model<'static>,
    arena: Vec<u8>,
    /// What stands in the arena before the inputs are written: an answer that nobody wrote is this, and never that of an earlier run.
    poison: u8,
    inputs: Vec<TensorFacts>,
    outputs: Vec<TensorFacts>,
    operators: Vec<OperatorFacts>,
    preprocess: Vec<Option<Preprocess>>,
    /// Seed of the sketches that are wanted in the place of answers, and those of the latest run.
    sketch: Option<u32>,
    sketches: Vec<u8>,
    prepared: bool,
    ran: bool,
}

impl MicroModel {
    fn load(model: &[u8], options: &LoadOptions) -> Result<Self, Refusal> {
        let compiled = compile(model, Edges::HostQuantizes).map_err(|error| refusal(&error))?;
        if options.batch.is_some_and(|batch| batch != 1) {
            return Err(bare(Stage::Type, "a microcontroller takes one sample at a time".into()));
        }
        let Compiled { bytes, report } = compiled;
        let model = Model::check(bytes.leak()).map_err(|error| bare(Stage::Plan, error.to_string()))?;
        let shape = |dims: &[usize]| std::iter::once(1).chain(dims.iter().copied()).collect::<Vec<usize>>();
        let facts = |name: &str, dtype: DType, dims: &[usize]| {
            let shape = shape(dims);
            let declared = shape.iter().map(|d| Dim::Fixed(*d)).collect();
            TensorFacts { name: name.into(), dtype, declared, shape }
        };
        let mut inputs = Vec::new();
        for input in &report.inputs {
            let dtype = DType::from_name(&input.dtype)
                .ok_or_else(|| bare(Stage::Type, format!("input {} is {}", input.name, input.dtype)))?;
            inputs.push(facts(&input.name, dtype, &input.dims));
        }
        let outputs = (0..model.output_count()).map(|i| {
            let output = model.output(i);
            let dtype = if output.dtype == Dtype::F32 { DType::F32 } else { DType::I8 };
            facts(model.tensor_name(&output), dtype, &output.dims[..output.rank])
        });
        let outputs = match options.sketch {
            None => outputs.collect(),
            Some(_) => vec![facts(SKETCH, DType::U8, &[model.operator_count(), SKETCH_BYTES])],
        };
        let (sketch, sketches) = (options.sketch, Vec::new());
        let operators = operators(&model);
        let arena = vec![0; model.arena_bytes()];
        let preprocess = inputs.iter().map(|input| options.preprocess.get(&input.name).cloned()).collect();
        let poison = 0x55;
        Ok(Self {
            model,
            arena,
            poison,
            inputs,
            outputs,
            operators,
            preprocess,
            sketch,
            sketches,
            prepared: false,
            ran: false,
        })
    }
}

fn operators(model: &Model<'_>) -> Vec<OperatorFacts> {
    let name = |tensor: u16| model.tensor(tensor.into()).dtype.name().to_owned();
    let facts = |(index, operator): (usize, boardproof_micro::Operator)| OperatorFacts {
        index,
        name: model.operator_name(&operator).to_owned(),
        op: operator.kind.name().to_owned(),
        source: Some(model.operator_name(&operator).to_owned()).filter(|name| !name.is_empty()),
        source_op: None,
        dtypes_in: operator.inputs.iter().take(operator.kind.inputs()).map(|t| name(*t)).collect(),
        dtypes_out: vec![name(operator.output)],
        kernel: None,
        accumulator: (model.macs(&operator) > 0).then(|| "i32".to_owned()),
    };
    model.operators().enumerate().map(facts).collect()
}

pub(super) fn bare(stage: Stage, reason: String) -> Refusal {
    Refusal { stage, operator: None, node: None, reason, unsupported: Vec::new() }
}

pub(super) fn refusal(error: &CompileError) -> Refusal {
    match error {
        CompileError::Malformed(reason) => bare(Stage::Parse, reason.clone()),
        CompileError::Invalid(invalid) => bare(Stage::Plan, invalid.to_string()),
        CompileError::Unsupported(all) => {
            let first = all.first();
            Refusal {
                stage: Stage::Operator,
                operator: first.map(|u| u.operator.clone()),
                node: first.map(|u| u.node.clone()).filter(|node| !node.is_empty()),
                reason: first.map_or_else(String::new, |u| u.reason.clone()),
                unsupported: all.iter().map(|u| (u.operator.clone(), u.node.clone())).collect(),
            }
        }
    }
}

impl MicroModel {
    /// One inference, and after each operator the sketch of what it made.
    fn run_and_sketch(&mut self, seed: u32) -> Result<(), RunFailure> {
        self.sketches.clear();
        for index in 0..self.model.operator_count() {
            let ran = self.model.run_operator(index, &mut self.arena);
            ran.map_err(|error| RunFailure::Engine { reason: error.to_string() })?;
            let sketch = self.model.sketch(seed, index, &self.arena);
            self.sketches
                .extend(sketch.ok_or(RunFailure::Engine { reason: format!("operator {index} made nothing") })?);
        }
        Ok(())
    }
}

impl Loaded for MicroModel {
    fn inputs(&self) -> &[TensorFacts] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorFacts] {
        &self.outputs
    }

    fn operators(&self) -> &[OperatorFacts] {
        &self.operators
    }

    fn prepare(&mut self, inputs: &[TensorView<'_>]) -> Result<(), RunFailure> {
        (self.prepared, self.ran) = (false, false);
        if inputs.len() != self.inputs.len() {
            return Err(RunFailure::InputCount { expected: self.inputs.len(), got: inputs.len() });
        }
        let mut written = Vec::new();
        for (i, raw) in inputs.iter().enumerate() {
            let facts = &self.inputs[i];
            let refuse = |reason: String| RunFailure::Input { name: facts.name.clone(), reason };
            if raw.shape() != facts.shape {
                return Err(refuse(format!("expected shape {:?}, got {:?}", facts.shape, raw.shape())));
            }
            let tensor = self.model.input(i);
            let bytes = values(*raw, self.preprocess[i].as_ref(), facts.dtype, &tensor);
            written.push((tensor.range(), bytes.map_err(|error| refuse(error.to_string()))?));
        }
        self.arena.fill(self.poison);
        for (range, bytes) in written {
            self.arena[range].copy_from_slice(&bytes);
        }
        self.prepared = true;
        Ok(())
    }

    fn run(&mut self) -> Result<(), RunFailure> {
        if !self.prepared {
            return Err(RunFailure::NotPrepared);
        }
        let done = match self.sketch {
            None => self.model.run(&mut self.arena).map_err(|error| RunFailure::Engine { reason: error.to_string() }),
            Some(seed) => self.run_and_sketch(seed),
        };
        self.ran = done.is_ok();
        done
    }

    fn answers(&self) -> Result<Vec<Tensor>, RunFailure> {
        if !self.ran {
            return Err(RunFailure::NotRun);
        }
        let answer = |(i, facts): (usize, &TensorFacts)| {
            let bytes = if self.sketch.is_some() {
                self.sketches.clone()
            } else {
                self.arena[self.model.output(i).range()].to_vec()
            };
            Tensor::new(facts.dtype, facts.shape.clone(), bytes)
                .map_err(|error| RunFailure::Engine { reason: error.to_string() })
        };
        self.outputs.iter().enumerate().map(answer).collect()
    }
}
