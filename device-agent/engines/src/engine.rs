//! What every inference engine offers, and the facts and refusals it answers with.
//!
//! Owns the words between the runner and an engine. An implementation keeps everything that is not inference out of `Loaded::run`,
//! because that call is what gets timed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::device::{Device, Split};
use crate::preprocess::Preprocess;
use crate::self_check::{SelfCheck, SelfCheckLimits};
use crate::tensor::{DType, Tensor, TensorView};

/// An inference engine: turns model bytes into something that runs.
pub trait Engine: Sync {
    /// Short name, as targets and records write it.
    fn name(&self) -> &'static str;

    /// Version of the engine itself, not of boardproof.
    fn version(&self) -> &'static str;

    /// Parses, types, optimizes and plans a model.
    ///
    /// # Errors
    /// A `Refusal`: this engine cannot run this model. A verdict on the model, not a fault of the device.
    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Loaded>, Refusal>;

    /// Runs samples through a model that was loaded with these options, and through the engine's graph of it before any optimization,
    /// and says where they part.
    ///
    /// Each sample is one list of input tensors, shaped like `Loaded::inputs` with the batch of `options`. Takes its own time and
    /// memory: keep it out of a process whose latency or memory is measured.
    ///
    /// # Errors
    /// A `Refusal` when the model does not load at all.
    fn self_check(
        &self,
        model: &[u8],
        options: &LoadOptions,
        loaded: &mut dyn Loaded,
        samples: &[Vec<TensorView<'_>>],
        limits: &SelfCheckLimits,
    ) -> Result<SelfCheck, Refusal>;

    /// Can a model be loaded for these execution providers (`LoadOptions::providers`) here? Asked before any model is read.
    ///
    /// # Errors
    /// `EngineFault::Provider` names the first that this engine has not, or cannot use on this unit, with those that it has.
    fn check_providers(&self, providers: &[Provider]) -> Result<(), EngineFault> {
        match providers.first() {
            None => Ok(()),
            Some(first) => Err(EngineFault::Provider {
                engine: self.name(),
                provider: first.name.clone(),
                reason: "it has no execution providers to choose from".into(),
            }),
        }
    }

    /// The processor with a memory of its own that it runs on; `None` for an engine on the CPU.
    fn device(&self) -> Option<&dyn Device> {
        None
    }

    /// The file of the library that an engine is, where it was found on the unit and nobody shipped it.
    fn own_library(&self) -> Option<String> {
        None
    }

    /// Does it take its memory from the allocator of this process? One that has its own cannot be seen by counting there.
    fn allocates_in_the_process_heap(&self) -> bool {
        true
    }
}

/// A model that is ready to run.
pub trait Loaded {
    /// The model's inputs, in the order `prepare` takes them.
    fn inputs(&self) -> &[TensorFacts];

    /// The model's outputs, in the order `answers` gives them.
    fn outputs(&self) -> &[TensorFacts];

    /// Every operator that really runs, in order of execution: the optimized plan, not the model file.
    fn operators(&self) -> &[OperatorFacts];

    /// Converts inputs to what the model reads (datatype, preprocessing) and keeps them for the runs that follow. Forgets the answers
    /// before: memory that answers are written to again is filled with what no answer is, so that one that nobody writes shows.
    ///
    /// # Errors
    /// `RunFailure::Input` names the input and what does not fit.
    fn prepare(&mut self, inputs: &[TensorView<'_>]) -> Result<(), RunFailure>;

    /// One inference over the prepared inputs: the engine's own work and nothing else. May be called again without `prepare`.
    ///
    /// # Errors
    /// `RunFailure::NotPrepared` before the first `prepare`, else what the engine says.
    fn run(&mut self) -> Result<(), RunFailure>;

    /// The outputs of the latest `run`, one per entry of `outputs`. Quantized outputs come as their stored integers.
    ///
    /// # Errors
    /// `RunFailure::NotRun` when there is no answer to the prepared inputs yet.
    fn answers(&self) -> Result<Vec<Tensor>, RunFailure>;

    /// What each operator costs: so many inferences of their own over the prepared inputs, each operator timed, which makes the whole
    /// slower than `run` is. Only shares of it mean anything.
    ///
    /// # Errors
    /// What the engine says, also that it cannot tell.
    fn profile(&mut self, _inferences: u32) -> Result<Vec<OperatorCost>, RunFailure> {
        Err(RunFailure::Engine { reason: "this engine does not tell the time of its operators".into() })
    }

    /// Where the time of an inference goes on a device of its own: so many inferences of their own over the prepared inputs, measured by
    /// the device's clock. Nothing for an engine on the CPU.
    ///
    /// # Errors
    /// What the engine says.
    fn splits(&mut self, _inferences: u32) -> Result<Vec<Split>, RunFailure> {
        Ok(Vec::new())
    }
}

/// How a model is to be loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// Extent of a symbolic first axis; 1 when absent. A model with a fixed batch keeps its own.
    pub batch: Option<usize>,
    /// Extents of other symbolic axes, by symbol name.
    pub dims: BTreeMap<String, usize>,
    /// Preprocessing by input name. An input without an entry is only converted between datatypes of the same kind.
    pub preprocess: BTreeMap<String, Preprocess>,
    /// Find out what will run as well, where that takes more than loading: not for a load that is timed, or whose memory is.
    pub describe: bool,
    /// Where the model is to run, the first wanted first; empty for where it always does.
    pub providers: Vec<Provider>,
    /// Answer with sketches of every layer under this seed, in the place of what the model answers. An engine that cannot is not asked:
    /// see [`sketches`].
    pub sketch: Option<u32>,
}

/// An execution provider that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its name, the engine's own.
    pub name: String,
    /// What it is told, by the engine's own names.
    pub options: BTreeMap<String, String>,
}

impl From<&str> for Provider {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), options: BTreeMap::new() }
    }
}

/// Does this engine tell sketches of its layers? The engine of microcontrollers does, to be held against a board that does the same.
pub fn sketches(engine: &str) -> bool {
    engine == "micro"
}

/// Name of the output that sketches are.
pub const SKETCH: &str = "sketch";

/// One extent of a shape as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A number.
    Fixed(usize),
    /// A name, or an expression of names; empty when the model leaves it open.
    Symbol(String),
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorFacts {
    /// Name in the model.
    pub name: String,
    /// Element type the model reads or writes.
    pub dtype: DType,
    /// Shape as the model declares it.
    pub declared: Vec<Dim>,
    /// Shape as loaded, with every axis fixed.
    pub shape: Vec<usize>,
}

#[cfg(any(feature = "tract-graph", feature = "candle", feature = "onnxruntime"))]
impl TensorFacts {
    /// A raw input as the model reads it: of the model's shape, preprocessed and of the model's datatype.
    ///
    /// # Errors
    /// `RunFailure::Input` names the input and what does not fit.
    pub(crate) fn read(&self, raw: TensorView<'_>, preprocess: Option<&Preprocess>) -> Result<Tensor, RunFailure> {
        if raw.shape() != self.shape {
            return Err(self.refuse(format!("expected shape {:?}, got {:?}", self.shape, raw.shape())));
        }
        let converted = match preprocess {
            Some(step) => step.apply(raw, self.dtype),
            None => raw.convert(self.dtype),
        };
        converted.map_err(|error| self.refuse(error.to_string()))
    }

    /// An input that an engine could not take, for this reason.
    pub(crate) fn refuse(&self, reason: String) -> RunFailure {
        RunFailure::Input { name: self.name.clone(), reason }
    }
}

/// An operator that really runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorFacts {
    /// Position in the order of execution.
    pub index: usize,
    /// Name of the node in the optimized graph.
    pub name: String,
    /// The engine's name for the operator.
    pub op: String,
    /// Name of the model's node that it comes from, where that is known.
    pub source: Option<String>,
    /// Operator type of that node as the model writes it; another word than `op` after a rewrite.
    pub source_op: Option<String>,
    /// Datatypes of the inputs, as the engine names them, constants included.
    pub dtypes_in: Vec<String>,
    /// Datatypes of the outputs.
    pub dtypes_out: Vec<String>,
    /// The compute kernel chosen on this device, where the engine tells, by [`fell_back`] where it is not where it was wanted.
    pub kernel: Option<String>,
    /// Datatype that the kernel accumulates in, where the engine tells: `i32` is integer arithmetic, `f32` is not.
    pub accumulator: Option<String>,
}

/// How a kernel is called that ran at `place` although the operator was wanted at `wanted`. The host counts operators by these words.
#[must_use]
pub fn fell_back(place: &str, wanted: &str) -> String {
    format!("{place} (fell back from {wanted})")
}

impl OperatorFacts {
    /// Datatypes in one text: `f32,f32->f32`.
    #[must_use]
    pub fn dtypes(&self) -> String {
        format!("{}->{}", self.dtypes_in.join(","), self.dtypes_out.join(","))
    }
}

impl fmt::Display for OperatorFacts {
    /// The model's operator first, because that is what a person can look up: `Softmax (/Softmax) running as LookupTable, i8->i8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source_op {
            Some(source_op) if *source_op != self.op => {
                write!(f, "{source_op} ({}) running as {}, {}", self.name, self.op, self.dtypes())
            }
            _ => write!(f, "{} ({}), {}", self.op, self.name, self.dtypes()),
        }
    }
}

/// What an operator costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorCost {
    /// Position in the order of execution.
    pub index: usize,
    /// Mean time of one run, in nanoseconds; `None` where it was not measured.
    pub time_ns: Option<u64>,
    /// Size of its outputs, in bytes; `None` where the engine does not tell.
    pub output_bytes: Option<u64>,
    /// Multiply-accumulates of one run; `None` for an operator that does none, or whose are not known.
    pub macs: Option<u64>,
}

/// Where on the way from bytes to a plan a model was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The bytes are not a model.
    Parse,
    /// The model uses an operator that the engine does not have.
    Operator,
    /// Shapes or datatypes do not fit together.
    Type,
    /// The engine's optimizer failed.
    Optimize,
    /// The optimized graph could not be planned for execution.
    Plan,
    /// The device under the engine failed: this says nothing of the model.
    Device,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Parse => "parse",
            Stage::Operator => "operator",
            Stage::Type => "type",
            Stage::Optimize => "optimize",
            Stage::Plan => "plan",
            Stage::Device => "device",
        })
    }
}

/// An engine cannot run a model: a verdict on the model, with the operator where it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// How far the model came.
    pub stage: Stage,
    /// Operator type as the model writes it.
    pub operator: Option<String>,
    /// Node name as the model writes it.
    pub node: Option<String>,
    /// The engine's reason, in one line.
    pub reason: String,
    /// Every unsupported operator as `(operator, node)`, when the stage is `Operator`.
    pub unsupported: Vec<(String, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.operator, &self.node) {
            (Some(operator), Some(node)) => write!(f, "operator {operator} (node {node}): {}", self.reason)?,
            (Some(operator), None) => write!(f, "operator {operator}: {}", self.reason)?,
            (None, Some(node)) => write!(f, "node {node}: {}", self.reason)?,
            (None, None) => write!(f, "{} model: {}", self.stage, self.reason)?,
        }
        match self.unsupported.len() {
            0 | 1 => Ok(()),
            count => write!(f, "; {} more unsupported", count - 1),
        }
    }
}

impl std::error::Error for Refusal {}

/// A loaded model did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunFailure {
    /// An input does not fit the model.
    #[error("prepare input {name}: {reason}")]
    Input {
        /// Name of the input.
        name: String,
        /// Expected and got.
        reason: String,
    },
    /// The count of inputs is wrong.
    #[error("prepare inputs: expected {expected} tensors, got {got}")]
    InputCount {
        /// Inputs the model has.
        expected: usize,
        /// Tensors handed in.
        got: usize,
    },
    /// `run` was called before any `prepare`.
    #[error("run model: no inputs were prepared")]
    NotPrepared,
    /// `answers` was called before `run`.
    #[error("read answers: the prepared inputs were not run")]
    NotRun,
    /// The engine reported an error.
    #[error("run model: {reason}")]
    Engine {
        /// The engine's reason, in one line.
        reason: String,
    },
    /// The device under the engine failed: this says nothing of the model.
    #[error("run model: the device failed: {reason}")]
    Device {
        /// The driver's reason, in one line.
        reason: String,
    },
    /// The engine panicked; the model must not be run again.
    #[error("run model: the engine panicked: {reason}")]
    Panicked {
        /// The panic's message.
        reason: String,
    },
    /// An output has a datatype that does not travel.
    #[error("read answer {name}: datatype {dtype} cannot be reported")]
    Output {
        /// Name of the output.
        name: String,
        /// The engine's name for the datatype.
        dtype: String,
    },
}

/// Names of the engines in this build.
#[must_use]
pub fn engine_names() -> &'static [&'static str] {
    &[
        #[cfg(feature = "tract")]
        "tract",
        #[cfg(feature = "candle")]
        "candle",
        #[cfg(feature = "cuda")]
        "cuda",
        #[cfg(feature = "micro")]
        "micro",
        #[cfg(feature = "onnxruntime")]
        "onnxruntime",
    ]
}

/// The engine with this name. `library` is the file of an engine that is a library of its own; without one, the unit's own is looked for.
///
/// # Errors
/// `EngineFault`: this build has no such engine, or its library cannot be used.
#[cfg_attr(not(feature = "onnxruntime"), expect(unused_variables, reason = "no other engine is a library of its own"))]
pub fn open_engine(name: &str, library: Option<&Path>) -> Result<Box<dyn Engine>, EngineFault> {
    match name {
        #[cfg(feature = "tract")]
        "tract" => Ok(Box::new(crate::tract::TractEngine)),
        #[cfg(feature = "candle")]
        "candle" => Ok(Box::new(crate::candle::CandleEngine)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Box::new(crate::tract::CudaEngine::open()?)),
        #[cfg(feature = "micro")]
        "micro" => Ok(Box::new(crate::micro::MicroEngine)),
        #[cfg(feature = "onnxruntime")]
        "onnxruntime" => Ok(Box::new(crate::onnxruntime::OnnxruntimeEngine::open(library)?)),
        _ => Err(EngineFault::Unknown { found: name.to_owned(), known: engine_names().join(", ") }),
    }
}

/// An engine cannot be used here, whatever the model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineFault {
    /// This build has no such engine.
    #[error("no engine is called '{found}'; this runner has: {known}")]
    Unknown {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// The library of an engine cannot be used.
    #[error("load the library of {engine}, {}: {reason}", path.display())]
    Library {
        /// The engine.
        engine: &'static str,
        /// The file, or the name that the dynamic loader was asked for.
        path: PathBuf,
        /// Why, in one line.
        reason: String,
    },
    /// An execution provider cannot be used.
    #[error("use the execution provider {provider} of {engine}: {reason}")]
    Provider {
        /// The engine.
        engine: &'static str,
        /// What was asked for.
        provider: String,
        /// Why not, and what there is.
        reason: String,
    },
    /// The processor that an engine runs on is not here, or cannot be used.
    #[error("use the {device} of {engine}: {reason}")]
    Device {
        /// The engine.
        engine: &'static str,
        /// What it runs on.
        device: &'static str,
        /// What is missing, in one line.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(operator: Option<&str>, node: Option<&str>, unsupported: usize) -> Refusal {
        Refusal {
            stage: Stage::Operator,
            operator: operator.map(str::to_owned),
            node: node.map(str::to_owned),
            reason: "not implemented".into(),
            unsupported: vec![("QGemm".into(), "fc".into()); unsupported],
        }
    }

    #[test]
    fn a_refusal_reads_as_one_sentence() {
        let cases = [
            (refusal(Some("QGemm"), Some("fc"), 1), "operator QGemm (node fc): not implemented"),
            (refusal(Some("QGemm"), Some("fc"), 3), "operator QGemm (node fc): not implemented; 2 more unsupported"),
            (refusal(None, Some("fc"), 0), "node fc: not implemented"),
            (refusal(None, None, 0), "operator model: not implemented"),
        ];
        for (refusal, expected) in cases {
            assert_eq!(refusal.to_string(), expected);
        }
    }

    #[test]
    fn unknown_engines_are_absent() {
        let error = open_engine("tensorflow", None).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("no engine is called 'tensorflow'"), "{error}");
        // An engine with a library of its own needs that to be opened, and one for GPUs needs a GPU.
        for name in engine_names().iter().filter(|name| !["cuda", "onnxruntime"].contains(*name)) {
            let engine = open_engine(name, None).expect("it needs nothing");
            assert_eq!(engine.name(), *name);
            let error = engine.check_providers(&["CUDAExecutionProvider".into()]).unwrap_err().to_string();
            assert!(error.contains("CUDAExecutionProvider") && error.contains(name), "{error}");
            assert_eq!(engine.check_providers(&[]), Ok(()));
        }
    }
}
