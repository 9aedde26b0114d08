//! The plan: what a run is going to do, complete and serializable, before anything is built or shipped.

use crate::consistency::unique;
use crate::dialect::Dialect;
use crate::{CellId, Digest, EngineName, ModelName, TargetName, UnitName, VariantName, policy::Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run before it starts. Everything that decides the verdict is in here or in the observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// Models by name.
    #[serde(deserialize_with = "unique")]
    pub models: BTreeMap<ModelName, Model>,
    /// Targets by name; `host` is always among them.
    #[serde(deserialize_with = "unique")]
    pub targets: BTreeMap<TargetName, Target>,
    /// Units by name. A target that needs no lab (host, emulated, virtual) has a unit of its own name.
    #[serde(deserialize_with = "unique")]
    pub units: BTreeMap<UnitName, Unit>,
    /// The policy in force.
    pub policy: Policy,
    /// The cells, in the order in which they are measured: host first, so that an unusable model is known before it is shipped.
    pub cells: Vec<Cell>,
}

/// Name of the unit and of the target that is this machine.
pub const HOST: &str = "host";
/// Engine of every target that names none.
pub const TRACT: &str = "tract";
/// Engine for references that share no code with tract.
pub const CANDLE: &str = "candle";
/// onnxruntime: a library of its own on the unit, loaded when it runs.
pub const ONNXRUNTIME: &str = "onnxruntime";
/// tract's graphs on an NVIDIA GPU, whose driver and libraries are the unit's own.
pub const CUDA: &str = "cuda";
/// Engines that a runner holds, one each: any of them runs on every unit that a runner can be built for.
pub const RUNNER_ENGINES: [&str; 4] = [TRACT, CANDLE, ONNXRUNTIME, CUDA];
/// Engine of microcontrollers. It runs integers only: no float model, so there is none on the unit to compare with.
pub const MICRO: &str = "micro";
/// Engine of firmware that somebody else built: which one it is, nobody here knows.
pub const FOREIGN: &str = "foreign";

impl Plan {
    /// The same variant by the same engine on this machine; the cell itself when this machine is its unit. For a GPU elsewhere tract stands
    /// in, which reads, types and rewrites models by the same code: this machine need not have one.
    pub fn on_host(&self, cell: &Cell) -> Option<&Cell> {
        let here = |c: &&Cell| c.model == cell.model && c.variant == cell.variant && c.unit.as_str() == HOST;
        let by = |engine: &str| self.cells.iter().filter(here).find(|c| c.engine.as_str() == engine);
        by(cell.engine.as_str()).or_else(|| (cell.engine.as_str() == CUDA).then(|| by(TRACT)).flatten())
    }
}

/// One planned combination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cell {
    /// `model/variant@unit/engine`.
    pub id: CellId,
    /// Model.
    pub model: ModelName,
    /// Variant of it.
    pub variant: VariantName,
    /// Unit it runs on.
    pub unit: UnitName,
    /// Target of that unit.
    pub target: TargetName,
    /// Engine that runs it.
    pub engine: EngineName,
    /// What the cell is for.
    pub role: Role,
    /// The gate gives this cell a verdict. Others are there to be compared with.
    pub judged: bool,
    /// Passes to run, in order.
    pub passes: Vec<PassPlan>,
}

impl Cell {
    /// Can the float model be run on the cell's unit as well, so that there is one to compare with? A microcontroller's engine runs no
    /// floats, and a firmware of somebody else has one model inside.
    pub fn has_float_engine(&self) -> bool {
        !matches!(self.engine.as_str(), MICRO | FOREIGN)
    }

    /// Does its engine run on a GPU, with a processor beside it that takes what the GPU does not?
    pub fn is_on_gpu(&self) -> bool {
        self.engine.as_str() == CUDA
    }
}

/// What a cell is for. The drift of a judged cell is split along these.
///
/// One cell can serve several ends, it is never measured twice: on the unit `host` the variant's cell has the role `Device` and is its
/// own host variant, and the reference's cell is also the device reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The float model on the host: what every other cell is compared with.
    Reference,
    /// The variant on the host: its distance from the reference is the quantization error.
    HostVariant,
    /// The float model on the device: latency and memory of the variant are compared with it.
    DeviceReference,
    /// The variant on the device: what is judged.
    Device,
}

/// One kind of measurement; each is a fresh process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Load, list operators, self-check.
    Inspect,
    /// Outputs for the whole evalset.
    Accuracy,
    /// Ticks of single inferences.
    Latency,
    /// Memory accounting.
    Memory,
}

/// A pass with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PassPlan {
    /// Which.
    pub pass: Pass,
    /// Samples per inference.
    pub batch: u32,
    /// Samples of the evalset to use.
    pub samples: u64,
    /// Inferences before the measured ones.
    pub warmup: u32,
    /// Measured inferences; 0 where the samples decide.
    pub iterations: u32,
    /// Fewest inferences of a latency pass that may end early because they take long; 0: it may not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub enough: u32,
    /// A latency pass that others are held against: made once more when all cells of the unit have been measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Samples between two looks of an accuracy pass that may stop early, each a process of its own; 0: it may not, and visits all.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stage: u64,
    /// Wall time after which the pass is ended.
    pub deadline_ms: u32,
    /// Limit on the runner's memory; `None` for the unit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Seed of the sketches of every layer that are wanted in the place of answers, of an accuracy pass by the engine of microcontrollers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(n: &u64) -> bool {
    *n == 0
}

impl PassPlan {
    /// May the pass stop before it has visited all samples, because what they say is certain?
    pub fn may_stop(&self) -> bool {
        self.pass == Pass::Accuracy && self.stage > 0
    }

    /// Is this a number of measured inferences with which the pass is whole? Exactly as many as were planned, or at least `enough` where
    /// the plan lets the pass end early. One that may stop is whole after every stage; whether it had reason to stop there is the judge's to say.
    pub fn is_whole(&self, inferences: u64) -> bool {
        let most = match self.pass {
            Pass::Latency => u64::from(self.iterations),
            Pass::Inspect | Pass::Accuracy | Pass::Memory => self.samples,
        };
        let early = self.pass == Pass::Latency && self.enough > 0;
        if self.may_stop() && inferences > 0 && inferences.is_multiple_of(self.stage) {
            return inferences <= most;
        }
        let fewest = if early { u64::from(self.enough) } else { most };
        (fewest..=most).contains(&inferences)
    }
}

/// A model with everything that judging it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// What it does.
    pub task: Task,
    /// One line for people.
    pub summary: String,
    /// Licence of data and weights, as stated.
    pub licence: String,
    /// Where data and weights came from.
    pub provenance: String,
    /// Inputs of the reference variant.
    pub inputs: Vec<TensorSpec>,
    /// Outputs of the reference variant.
    pub outputs: Vec<TensorSpec>,
    /// Labelled data to judge on.
    pub evalset: Evalset,
    /// The float variant that is the reference.
    pub reference: VariantName,
    /// Variants that the run uses, the reference among them.
    #[serde(deserialize_with = "unique")]
    pub variants: BTreeMap<VariantName, Variant>,
    /// Limits that this model sets for itself, each with its reason. They replace the policy's limit for the same metric.
    pub tolerances: Vec<Tolerance>,
    /// Metrics of the model's own, each computed by a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom: Vec<CustomMetric>,
}

/// What a model does, and how its outputs become an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// The class is the position of the largest element of output 0. Metric: accuracy.
    Classification {
        /// Class names in output order.
        classes: Vec<String>,
    },
    /// Element 0 of output 0 is the score of the positive class. Metric: ROC-AUC.
    Binary {
        /// Name of the positive class (label 1).
        positive: String,
    },
    /// The score is the mean squared difference between output 0 and the input. Metric: ROC-AUC; label 1 is an anomaly.
    Anomaly,
    /// Output 0 is the value. Metric: mean absolute error.
    Regression,
}

impl Task {
    /// Name as in `model.toml` and in `applies_to` of a rule.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Classification { .. } => "classification",
            Self::Binary { .. } => "binary",
            Self::Anomaly => "anomaly",
            Self::Regression => "regression",
        }
    }

    /// Name of the task metric.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Classification { .. } => "accuracy",
            Self::Binary { .. } | Self::Anomaly => "auc",
            Self::Regression => "mae",
        }
    }
}

/// Name, element type and shape of an input or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TensorSpec {
    /// Name in the model file.
    pub name: String,
    /// Element type, as in safetensors (`F32`, `U8`, ...).
    pub dtype: String,
    /// Shape without the sample dimension.
    pub shape: Vec<u64>,
    /// How the evalset's values become model inputs: `(x * scale - mean) / std`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
}

/// `(x * scale - mean[c]) / std[c]`, where `c` walks the first dimension after the sample (or is 0 when one value is given).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Preprocess {
    /// Factor on the stored value.
    pub scale: f64,
    /// Subtracted after scaling.
    pub mean: Vec<f64>,
    /// Divisor.
    pub std: Vec<f64>,
}

/// Labelled data: one safetensors file, first dimension is the sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Evalset {
    /// File, as given; only `lab` opens it.
    pub file: String,
    /// Its content.
    pub digest: Digest,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of samples.
    pub samples: u64,
    /// Tensor in the file that feeds each model input, in input order.
    pub inputs: Vec<String>,
    /// Tensor with the labels (I64).
    pub labels: String,
    /// Tensor with the sample ids (I64), when there is one.
    pub ids: Option<String>,
    /// Slices: column name to value names; the codes are in the tensor `slice.<column>` (U8).
    pub slices: BTreeMap<String, Vec<String>>,
    /// What the samples of its first input are, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<Shows>,
    /// Names of the columns of a table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The samples are those of another evalset in an order that was drawn; `None`: they are as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Ordered>,
}

/// Where an evalset in another order comes from. See [`crate::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ordered {
    /// Content of the evalset that was ordered.
    pub of: Digest,
    /// Seed of the order.
    pub seed: u32,
}

/// What a sample is to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// A picture, grey or red, green and blue: `[height, width]`, `[channels, height, width]` or `[height, width, channels]`.
    Image,
    /// Series over time: `[time]` or `[channels, time]`.
    Waveform,
    /// Values with names: `[columns]`.
    Row,
}

impl Shows {
    /// Name as in `model.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Waveform => "waveform",
            Self::Row => "row",
        }
    }

    /// Can a sample of this shape be that?
    pub fn fits(self, shape: &[u64]) -> bool {
        match (self, shape) {
            (Self::Image, [a, _, b]) => [1, 3].contains(a) || [1, 3].contains(b),
            (Self::Image, dims) => dims.len() == 2,
            (Self::Waveform, dims) => matches!(dims.len(), 1 | 2),
            (Self::Row, dims) => dims.len() == 1,
        }
    }

    /// What a sample of this shape can be, for an error.
    pub fn fitting(shape: &[u64]) -> String {
        let fits = [Self::Image, Self::Waveform, Self::Row].into_iter().filter(|shows| shows.fits(shape));
        let names: Vec<&str> = fits.map(Self::name).collect();
        if names.is_empty() { "nothing".into() } else { names.join(" or ") }
    }

    /// What samples of this shape most likely are, where nobody has said: three dimensions that fit one are a picture, two a waveform, up to
    /// a thousand columns a row.
    pub fn likely(shape: &[u64]) -> Option<Self> {
        match shape {
            [_, _, _] if Self::Image.fits(shape) => Some(Self::Image),
            [_, _] => Some(Self::Waveform),
            [columns] if *columns <= 1000 => Some(Self::Row),
            [_] => Some(Self::Waveform),
            _ => None,
        }
    }
}

/// One form of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Variant {
    /// Its name.
    pub name: VariantName,
    /// File, as given; only `lab` opens it.
    pub file: String,
    /// Its content.
    pub digest: Digest,
    /// Size in bytes.
    pub bytes: u64,
    /// How it was quantized, in the field's words.
    pub quantization: String,
    /// Batch size that the file fixes; `None` when it is free.
    pub batch: Option<u32>,
    /// Same weights as the reference: only then do drift rules mean anything.
    pub same_weights: bool,
    /// Element types of the inputs where they differ from the reference's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_dtypes: Vec<String>,
    /// What the integers of its inputs stand for, in the model's order; empty where it reads what the reference reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_quantization: Vec<Affine>,
    /// What the integers of its outputs stand for, in the model's order; empty where it answers as the reference does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_quantization: Vec<Affine>,
}

impl Variant {
    /// What a model that is made of this one is, with numbers at its ends in the place of integers.
    #[must_use]
    pub fn in_numbers(&self) -> Self {
        let is_quantized = !self.input_quantization.is_empty();
        Self {
            input_dtypes: if is_quantized { Vec::new() } else { self.input_dtypes.clone() },
            input_quantization: Vec::new(),
            output_quantization: Vec::new(),
            ..self.clone()
        }
    }
}

/// `real = (integer - zero_point) * scale`, in f32 as ONNX's QuantizeLinear and DequantizeLinear compute it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Affine {
    /// What one step of the integer is worth; above 0.
    pub scale: f64,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

/// A limit that a model sets for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tolerance {
    /// Metric, as in the policy.
    pub metric: String,
    /// The limit.
    pub limit: f64,
    /// Why this number.
    pub reason: String,
    /// Only on this target, when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
}

/// A metric that the owner of a model computes: a number for each sample, of which the metric is the mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CustomMetric {
    /// Its name, unique in the model.
    pub name: String,
    /// Program and arguments, run in `folder`; it is given three paths besides: outputs, labels, and the file for its numbers.
    pub command: Vec<String>,
    /// The model's folder.
    pub folder: String,
    /// Which numbers are good.
    pub better: Better,
    /// The least and the most that a sample can get. What lies beyond is refused, and it bounds what samples without a difference could hide.
    pub range: [f64; 2],
}

/// Which numbers of a custom metric are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// High ones, as of an accuracy.
    Higher,
    /// Low ones, as of an error.
    Lower,
}

/// A kind of hardware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Target {
    /// Its name.
    pub name: TargetName,
    /// One line for people.
    pub summary: String,
    /// Architecture as Rust names it.
    pub architecture: String,
    /// Somebody ran boardproof on it and the result is known.
    pub proved: bool,
    /// What was seen, or what is missing.
    pub proved_note: String,
    /// Its clock is an emulator's: timings say nothing about hardware.
    pub emulated: bool,
    /// How its programs are built.
    pub build: BuildSpec,
    /// How it is reached.
    pub link: LinkSpec,
    /// How it is switched.
    pub power: PowerSpec,
    /// Its limits.
    pub limits: Limits,
    /// Engine of its cells.
    #[serde(default = "tract", skip_serializing_if = "is_tract")]
    pub engine: EngineName,
    /// What the ticks of its clock are.
    #[serde(default, skip_serializing_if = "Clock::is_time")]
    pub clock: Clock,
    /// The debug probe that it is flashed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What its firmware speaks, where it is none of ours: somebody else built and flashed it, with its model inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// How onnxruntime runs there; on its CPU provider where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<Onnxruntime>,
}

/// Which onnxruntime runs a model, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Onnxruntime {
    /// Its execution providers by their names, the first wanted first. The CPU's is the last whether it is named or not.
    #[serde(default = "on_the_cpu")]
    pub providers: Vec<String>,
    /// May operators run on another one than the first?
    #[serde(default)]
    pub fallback: Fallback,
    /// Options of providers, by provider; names and values are the library's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// The library that the unit has, a file there: nothing is shipped in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
}

fn on_the_cpu() -> Vec<String> {
    vec![CPU_PROVIDER.to_owned()]
}

impl Target {
    /// The library of onnxruntime that the unit has and that is to be used.
    pub fn own_library(&self) -> Option<&str> {
        self.onnxruntime.as_ref()?.library.as_deref()
    }
}

/// What is to be thought of operators that ran elsewhere than was wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The cell fails.
    #[default]
    Refused,
    /// They are named in reports and no more; a rule of the policy may count them.
    Allowed,
}

/// The execution provider that onnxruntime always has.
pub const CPU_PROVIDER: &str = "CPUExecutionProvider";
/// Execution providers that a target can ask for; which of them a library has, it says itself when it is loaded.
pub const PROVIDERS: [&str; 9] = [
    "ACLExecutionProvider",
    "AzureExecutionProvider",
    CPU_PROVIDER,
    "CUDAExecutionProvider",
    "OpenVINOExecutionProvider",
    "QNNExecutionProvider",
    "TensorrtExecutionProvider",
    "VSINPUExecutionProvider",
    "XnnpackExecutionProvider",
];

/// Providers among them that take no options by name.
pub const PROVIDERS_WITHOUT_OPTIONS: [&str; 3] = ["ACLExecutionProvider", CPU_PROVIDER, "VSINPUExecutionProvider"];

fn tract() -> EngineName {
    EngineName::new(TRACT).expect("a name of this file")
}

fn is_tract(engine: &EngineName) -> bool {
    engine.as_str() == TRACT
}

/// What a target's clock counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "counts", rename_all = "snake_case")]
pub enum Clock {
    /// Time.
    #[default]
    Time,
    /// Instructions of an emulated processor: its clock goes on by so many nanoseconds with each of them, whatever it is. Says nothing
    /// about time: no wait states, no caches, no instruction that takes longer than another.
    Instructions {
        /// Nanoseconds of the emulated clock per instruction.
        ns_each: u32,
    },
}

impl Clock {
    /// It counts time.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::Time)
    }
}

/// A debug probe, and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Name of the chip, as probe-rs knows it.
    pub chip: String,
    /// Steps that are allowed; none by default.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

/// A step that changes a chip or what runs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Write the agent into the chip's flash, over what is there.
    Flash,
    /// Erase the whole chip.
    Erase,
    /// Reset a chip that hangs.
    Reset,
    /// Write models and samples into RAM, where the agent says that they may lie.
    WriteRam,
}

/// How the programs for a target are built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuildSpec {
    /// Rust target triple of the runner.
    pub runner_triple: String,
    /// Rust target triple of the agent.
    pub agent_triple: String,
    /// Builder wanted.
    pub builder: Builder,
    /// C compiler that also links, when it is not the host's own (`aarch64-linux-gnu-gcc`).
    pub linker: Option<String>,
    /// Debian packages that give this compiler and the C library.
    pub packages: Vec<String>,
    /// The firmware that is agent and engine in one, for a target without an operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
}

/// A firmware of `device-agent/firmware`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Cargo package.
    pub package: String,
    /// Binary of it.
    pub binary: String,
    /// Cargo features, on top of the package's own.
    #[serde(default)]
    pub features: Vec<String>,
}

/// Which tool builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Builder {
    /// The first that fits and is there.
    Auto,
    /// cargo with a cross linker.
    Cargo,
    /// cross in a container.
    Cross,
    /// cargo-zigbuild.
    Zig,
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LinkSpec {
    /// A process on this machine.
    Local,
    /// A process on this machine under user-mode emulation.
    Emulated {
        /// Emulator program (`qemu-aarch64`).
        emulator: String,
        /// Folder with the target's C library.
        sysroot: String,
    },
    /// An SSH session; where to comes from the unit.
    Ssh,
    /// A line for bytes: a serial port or a socket. Which one comes from the unit's address
    /// (`serial:/dev/ttyACM0`, `tcp:host:port`, `unix:/path`).
    Serial {
        /// Bits per second at which the device starts.
        baud: u32,
        /// Faster rates to be tried, best first; the line stays at `baud` where none works.
        #[serde(default)]
        faster: Vec<u32>,
    },
    /// RTT: bytes through the memory of a firmware that has the feature `rtt`, by the debug probe.
    Rtt,
    /// The simulated device, in this process.
    Sim {
        /// Seed of its faults.
        seed: u64,
        /// What goes wrong there; nothing by default.
        #[serde(default)]
        faults: SimFaults,
    },
}

/// What goes wrong on a simulated device. The first seven say how often, in frames of a thousand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SimFaults {
    /// A frame does not arrive.
    pub loss: u32,
    /// It arrives twice.
    pub repeat: u32,
    /// It arrives after the one behind it.
    pub reorder: u32,
    /// Its end is missing.
    pub truncate: u32,
    /// One bit of it is wrong.
    pub flip: u32,
    /// The device is reset.
    pub reset: u32,
    /// The device answers nothing for a while, then everything.
    pub stall: u32,
    /// Seconds that its clock counts while one passes.
    pub clock_rate: f64,
    /// Memory that a runner finds; `None` for as much as it wants.
    pub memory_bytes: Option<u64>,
    /// Room for blobs; `None` for plenty.
    pub store_bytes: Option<u64>,
}

impl Default for SimFaults {
    fn default() -> Self {
        Self {
            loss: 0,
            repeat: 0,
            reorder: 0,
            truncate: 0,
            flip: 0,
            reset: 0,
            stall: 0,
            clock_rate: 1.0,
            memory_bytes: None,
            store_bytes: None,
        }
    }
}

impl SimFaults {
    /// How often what happens, in frames of a thousand.
    pub fn rates(&self) -> [(&'static str, u32); 7] {
        [
            ("loss", self.loss),
            ("repeat", self.repeat),
            ("reorder", self.reorder),
            ("truncate", self.truncate),
            ("flip", self.flip),
            ("reset", self.reset),
            ("stall", self.stall),
        ]
    }
}

/// How a target is switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PowerSpec {
    /// Not by boardproof.
    None,
    /// By commands of the user.
    Command {
        /// Switches on.
        on: String,
        /// Switches off.
        off: String,
        /// Off and on again, when one command does it.
        cycle: Option<String>,
        /// Deadline of each command.
        timeout_s: u32,
    },
    /// A QEMU that boardproof starts.
    Qemu {
        /// Folder with the script `build-image`.
        image: String,
        /// Memory of the board.
        memory_mb: u32,
        /// Processors of the board.
        cpus: u32,
    },
    /// A microcontroller board in QEMU that boardproof starts, blank, with a debug probe and a serial line.
    Machine {
        /// QEMU's name of it (`mps2-an386`).
        machine: String,
        /// The emulated clock goes on by two to the power of this nanoseconds with each instruction.
        instruction_shift: u8,
    },
}

/// What a target allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// Memory a cell may use; `None` for the unit's own. On a microcontroller: its RAM, all that the firmware takes included.
    pub memory_bytes: Option<u64>,
    /// Flash that firmware and model may take together; `None` where there is no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash_bytes: Option<u64>,
    /// Wall time of one pass.
    pub pass_deadline_s: u32,
    /// How many times fewer inferences are timed than on a target as fast as the host, where nobody asks for a number.
    pub slowdown: u32,
    /// Inferences that the accuracy pass has on the way at the same time, each with a copy of the model. Answers do not depend on it.
    #[serde(default = "one")]
    pub accuracy_workers: u32,
}

fn one() -> u32 {
    1
}

/// One device of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unit {
    /// Its name.
    pub name: UnitName,
    /// What kind it is.
    pub target: TargetName,
    /// Host name or address for SSH (`user@host` is not split: user has its own field).
    pub address: Option<String>,
    /// SSH port.
    pub port: Option<u16>,
    /// SSH user.
    pub user: Option<String>,
    /// SSH identity file; the agent and the user's configuration serve when it is absent.
    pub identity_file: Option<String>,
    /// SSH configuration in the place of the user's and the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_config: Option<String>,
    /// Machine id or serial number that the unit must answer with.
    pub identity: Option<String>,
    /// Power commands of this unit, when they differ from the target's.
    pub power: Option<PowerSpec>,
    /// Debug probe of this unit, as `vendor:product:serial`; needed where several are plugged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(pass: Pass, enough: u32) -> PassPlan {
        let iterations = if pass == Pass::Latency { 700 } else { 0 };
        let (batch, warmup, deadline_ms, memory_limit_bytes) = (1, 0, 1000, None);
        PassPlan {
            pass,
            batch,
            samples: 400,
            warmup,
            iterations,
            enough,
            again: false,
            stage: 0,
            deadline_ms,
            memory_limit_bytes,
            sketch: None,
        }
    }

    #[test]
    fn a_pass_is_whole_with_what_was_planned_or_with_enough() {
        for (pass, enough, inferences, whole) in [
            (Pass::Latency, 0, 700, true),
            (Pass::Latency, 0, 699, false),
            (Pass::Latency, 0, 0, false),
            (Pass::Latency, 50, 49, false),
            (Pass::Latency, 50, 50, true),
            (Pass::Latency, 50, 700, true),
            (Pass::Latency, 50, 701, false),
            (Pass::Accuracy, 0, 400, true),
            (Pass::Accuracy, 0, 399, false),
            (Pass::Accuracy, 50, 399, false),
        ] {
            assert_eq!(planned(pass, enough).is_whole(inferences), whole, "{pass:?} {enough} {inferences}");
        }
    }

    #[test]
    fn a_pass_that_may_stop_is_whole_after_each_stage() {
        let staged = |pass, stage| PassPlan { stage, ..planned(pass, 0) };
        for (pass, stage, inferences, whole) in [
            (Pass::Accuracy, 0, 300, false),
            (Pass::Accuracy, 150, 0, false),
            (Pass::Accuracy, 150, 149, false),
            (Pass::Accuracy, 150, 150, true),
            (Pass::Accuracy, 150, 300, true),
            (Pass::Accuracy, 150, 400, true),
            (Pass::Accuracy, 150, 450, false),
            (Pass::Memory, 150, 300, false),
            (Pass::Latency, 350, 350, false),
        ] {
            assert_eq!(staged(pass, stage).is_whole(inferences), whole, "{pass:?} {stage} {inferences}");
        }
    }

    #[test]
    fn plans_without_an_early_end_are_written_as_ever() {
        let old = serde_json::to_string(&planned(Pass::Latency, 0)).unwrap();
        assert!(!old.contains("enough") && !old.contains("stage"), "{old}");
        assert_eq!(serde_json::from_str::<PassPlan>(&old).unwrap(), planned(Pass::Latency, 0));
        let new = serde_json::to_string(&planned(Pass::Latency, 50)).unwrap();
        assert_eq!(serde_json::from_str::<PassPlan>(&new).unwrap(), planned(Pass::Latency, 50));
    }
}
