//! The command line. Nothing but words: parsing is clap's, doing is elsewhere.

use boardproof_record::plan::Builder;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// Proves a machine-learning model on the board it will ship on.
///
/// boardproof ships a quantized model and labelled data to a board, measures latency, memory and accuracy there, compares with the
/// float reference, and says pass or fail by a policy.
///
/// Exit codes: 0 pass, 1 fail, 2 wrong use, 3 inconclusive, 4 incomplete (something planned was not measured), 5 fault before
/// anything was measured, 70 a bug of boardproof, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "boardproof", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure models on targets, write a record, and judge it
    Check(Box<CheckArgs>),
    /// Say whether one variant is slower than another on the same unit, by measuring them in turn
    ///
    /// Blocks of both variants are measured in the order A B B A, each in a fresh process, in one lease. After every four blocks it is
    /// asked whether the answer is certain; the error of all these looks together is what --confidence leaves.
    ///
    /// Exit code 0: B is not slower by more than the limit; 1: it is; 3: all blocks are spent and cannot tell; 4: the blocks may not be
    /// compared, or one was not measured.
    Ab(Box<AbArgs>),
    /// Measure what a unit's own noise allows to claim
    ///
    /// A variant is held against itself: every round has two builds of the runner that no other round has, with their functions in another
    /// order, and measures them in turn. What they lie apart is the noise of the unit and of builds. The finest limits that it supports are
    /// kept for the unit; `ab` and rules against a baseline refuse finer ones.
    ///
    /// Exit code 0: there are limits; 4: the blocks may not be compared, or one was not measured.
    Calibrate(Box<CalibrateArgs>),
    /// Judge a record again, offline
    Gate(GateArgs),
    /// Render a record again, offline
    Report(ReportArgs),
    /// Say layer by layer where a variant parts from its reference, and why
    Explain(Box<ExplainArgs>),
    /// Make an 8-bit variant of the float model, check it, and find the fewest layers to leave in float where it fails
    ///
    /// Ranges come from calibration data, never from the evalset that judges. The variant is checked by the policy on the unit. Where its
    /// answers fail, layers are ranked by what each costs alone, and the smallest set is searched that has to stay in float; every
    /// attempt is a check of its own on the unit and stays on disk, and what is found is confirmed by another one.
    ///
    /// The exit code is the last check's verdict; see check.
    Quantize(Box<QuantizeArgs>),
    /// Show what differs between two records
    Compare(CompareArgs),
    /// Say whether the latest of many records falls out of what came before; warns and decides nothing
    Trend(TrendArgs),
    /// Plan before anything is measured
    Plan {
        /// What.
        #[command(subcommand)]
        command: PlanCommand,
    },
    /// Look at an evalset before anything is run on it
    Data {
        /// How.
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Run the float model by several engines and refuse it as a reference where they do not agree
    Reference(Box<ReferenceArgs>),
    /// Write a commented project file that works
    Init(InitArgs),
    /// Say what a target needs: found or not, version, how to get it
    Doctor(DoctorArgs),
    /// List targets and units
    Targets(ListArgs),
    /// List models and their variants
    Models(ListArgs),
    /// Play a firmware with a model inside, for another runner to score or for `check` to try
    Simulate(SimulateArgs),
    /// Build the programs for a board, or remove them from one
    Agent {
        /// Which.
        #[command(subcommand)]
        command: AgentCommand,
    },
    /// Keep the libraries of engines that are some, for shipping them to boards
    Engine {
        /// What.
        #[command(subcommand)]
        command: EngineCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder.
        folder: PathBuf,
    },
}

/// Where models, targets and units are found.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// Project file [default: boardproof.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    pub project: Option<PathBuf>,
    /// Folder with a model.toml, or a folder of such folders; may be given again
    #[arg(long = "models", value_name = "DIR")]
    pub models: Vec<PathBuf>,
    /// Inventory of your units
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Folder with target files of your own
    #[arg(long = "target-folder", value_name = "DIR")]
    pub target_folder: Option<PathBuf>,
}

/// Name of a tool that builds agent and runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuilderName {
    /// The first of the others that can
    Auto,
    /// cargo with a cross linker
    Cargo,
    /// cargo-zigbuild
    Zig,
    /// cross in a container
    Cross,
}

impl From<BuilderName> for Builder {
    fn from(name: BuilderName) -> Self {
        match name {
            BuilderName::Auto => Self::Auto,
            BuilderName::Cargo => Self::Cargo,
            BuilderName::Zig => Self::Zig,
            BuilderName::Cross => Self::Cross,
        }
    }
}

/// A crash on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Crash {
    /// An undefined instruction
    Udf,
    /// An access where nothing is
    Bus,
    /// A mistake that the firmware finds itself
    Panic,
    /// A hang that the watchdog ends
    Hang,
    /// A hang that no watchdog ends
    Stuck,
}

impl Crash {
    /// Options of a pass that ask for it.
    pub fn options(self) -> &'static str {
        match self {
            Self::Udf => "crash=udf",
            Self::Bus => "crash=bus",
            Self::Panic => "crash=panic",
            Self::Hang => "crash=hang",
            Self::Stuck => "crash=stuck",
        }
    }
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Models to check, by name, or by the path of their folder or of one that holds several [default: all of the project]
    #[arg(value_name = "MODEL")]
    pub model: Vec<String>,
    /// Variant to check; may be given again; `all` for every one [default: those meant for release]
    #[arg(long = "variant", short = 'v', value_name = "VARIANT")]
    pub variant: Vec<String>,
    /// Target to check on; may be given again [default: those of the project, else host]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Vec<String>,
    /// Unit of the inventory to check on; may be given again
    #[arg(long = "unit", short = 'u', value_name = "UNIT")]
    pub unit: Vec<String>,
    /// Engines to check with, each on every unit that a runner is built for: tract, candle, onnxruntime, cuda [default: the target's own]
    #[arg(long = "engine", value_name = "ENGINE", value_delimiter = ',')]
    pub engine: Vec<String>,
    /// Policy file, or `default`
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Folder for the record; must not exist or be empty [default: a new folder in boardproof-out]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Record that `against = "baseline"` rules compare with
    #[arg(long, value_name = "RECORD")]
    pub baseline: Option<PathBuf>,
    /// Nothing may be worse than in this record, or than with the models of this git revision, which are then measured first
    ///
    /// A policy without rules against a baseline gets those of ci/policy/against.toml. What is red in time or memory alone is measured
    /// once more, with another build of the runner and in another lease.
    #[arg(long, value_name = "RECORD|REVISION", conflicts_with = "baseline")]
    pub against: Option<String>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Number that draws the order of the runner's functions.
    #[arg(skip)]
    pub layout: Option<u32>,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// Samples of the accuracy pass [default: the whole evalset]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Stop the accuracy pass as soon as the verdict is certain
    ///
    /// Samples are visited in an order that is drawn, each slice in proportion, and looked at in twenty stages. Accuracy is judged by bounds
    /// that hold at every look, which are wider than those of one: what saves samples where answers hardly part, or part by far, decides less
    /// often in between. --samples is the most that are visited.
    #[arg(long, conflicts_with_all = ["baseline", "against"])]
    pub early_stop: bool,
    /// Inferences of the latency pass [default: 2000, fewer where the target says that it is slow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: Option<u32>,
    /// Makes the first cell on a firmware crash in this way: what a crash looks like from outside can be proved on any board
    #[arg(long, value_enum, value_name = "HOW", hide = true)]
    pub crash: Option<Crash>,
    /// How long to wait for a unit that somebody else holds, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub wait: u64,
    /// Measure the host's answers anew, also when an earlier run has kept them
    #[arg(long)]
    pub no_reference_cache: bool,
    /// Explain every cell that fails, for the report: what `explain RECORD` measures, right away
    #[arg(long)]
    pub explain: bool,
    /// Print the verdict as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// Arguments of `ab`.
#[derive(Debug, Args)]
pub struct AbArgs {
    /// Model, by name or by the path of its folder
    #[arg(value_name = "MODEL", required_unless_present = "again")]
    pub model: Option<String>,
    /// Variant that the other is held against
    #[arg(value_name = "VARIANT_A", required_unless_present = "again")]
    pub a: Option<String>,
    /// Variant that must not be slower; the same as the first to see what the unit's noise is
    #[arg(value_name = "VARIANT_B", required_unless_present = "again")]
    pub b: Option<String>,
    /// What is to be measured, and how.
    #[command(flatten)]
    pub measuring: AbMeasuring,
    /// Judge what an earlier run has measured into this folder; measures nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "a", "b", "out"])]
    pub again: Option<PathBuf>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout, with every block
    #[arg(long)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// A factor, as `1.02` or `1.02x`.
fn factor(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    number.parse().map_err(|_| format!("expected a factor as 1.02 or 1.02x, got '{text}'"))
}

/// What `ab` measures.
#[derive(Debug, Clone, Args)]
pub struct AbMeasuring {
    /// Target to measure on [default: host]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Option<String>,
    /// Unit of the inventory to measure on
    #[arg(long = "unit", short = 'u', value_name = "UNIT", conflicts_with = "target")]
    pub unit: Option<String>,
    /// Engine to measure with: tract, candle, onnxruntime, cuda [default: the target's own]
    #[arg(long = "engine", value_name = "ENGINE")]
    pub engine: Option<String>,
    /// B fails when it is shown to take more than this many times as long as A
    #[arg(long, value_name = "FACTOR", default_value = "1.02", value_parser = factor)]
    pub limit: f64,
    /// Confidence of each one-sided answer, over all looks together
    #[arg(long, value_name = "SHARE", default_value_t = 0.99)]
    pub confidence: f64,
    /// Most blocks, both sides together; a multiple of 4
    #[arg(long, value_name = "N", default_value_t = 80)]
    pub blocks: u32,
    /// Inferences of a block [default: at least 200, and as many as take a tenth of a second, by a block of each side that is not judged]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: Option<u32>,
    /// Folder for what is measured; must not exist or be empty [default: a new folder in boardproof-out]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// How long to wait for a unit that somebody else holds, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub wait: u64,
}

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Model, by name or by the path of its folder
    #[arg(value_name = "MODEL", required_unless_present = "again")]
    pub model: Option<String>,
    /// Variant that is held against itself
    #[arg(value_name = "VARIANT", required_unless_present = "again")]
    pub variant: Option<String>,
    /// What is to be measured, and how.
    #[command(flatten)]
    pub measuring: CalibrateMeasuring,
    /// Judge what an earlier run has measured into this folder; measures and keeps nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "variant", "out"])]
    pub again: Option<PathBuf>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout, with every block
    #[arg(long)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// What `calibrate` measures.
#[derive(Debug, Clone, Args)]
pub struct CalibrateMeasuring {
    /// Target to measure on [default: host]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Option<String>,
    /// Unit of the inventory to measure on
    #[arg(long = "unit", short = 'u', value_name = "UNIT", conflicts_with = "target")]
    pub unit: Option<String>,
    /// Engine to measure with: tract, candle, onnxruntime [default: the target's own]
    #[arg(long = "engine", value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Rounds, each with two builds of its own
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rounds: u32,
    /// Blocks of a round, both builds together; a multiple of 4
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub blocks: u32,
    /// Inferences of a block [default: at least 200, and as many as take a tenth of a second, by a block of each side that is not judged]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: Option<u32>,
    /// Share of comparisons of equal things that the limits may let look slower
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub false_alarms: f64,
    /// Folder for what is measured; must not exist or be empty [default: a new folder in boardproof-out]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// How long to wait for a unit that somebody else holds, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub wait: u64,
}

/// Arguments of `reference`.
#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// Models, by name, or by the path of their folder or of one that holds several [default: all of the project]
    #[arg(value_name = "MODEL")]
    pub model: Vec<String>,
    /// Variant to run in place of the float model
    #[arg(long = "variant", short = 'v', value_name = "VARIANT")]
    pub variant: Option<String>,
    /// Engines to run it with, two or more: tract, candle, onnxruntime, cuda; the others are held against the first [default: the policy's own
    /// for references, and one that shares no code with it]
    #[arg(long = "engine", value_name = "ENGINE", value_delimiter = ',')]
    pub engine: Vec<String>,
    /// Samples to compare, the first of the evalset [default: the whole evalset]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Policy file, or `default`
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Folder for what is measured; must not exist or be empty [default: a new folder in boardproof-out]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// Arguments of `gate`.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Folder of the record
    pub record: PathBuf,
    /// Policy file, or `default` [default: the policy in the record]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Record that `against = "baseline"` rules compare with
    #[arg(long, value_name = "RECORD")]
    pub baseline: Option<PathBuf>,
    /// Print the verdict as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Model, by name or by the path of its folder, or the folder of a record
    #[arg(value_name = "MODEL|RECORD")]
    pub subject: String,
    /// Cell of the record [default: every cell of it that fails]
    #[arg(value_name = "CELL")]
    pub cell: Option<String>,
    /// What is to be measured, and how.
    #[command(flatten)]
    pub measuring: ExplainMeasuring,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// What `explain` measures.
#[derive(Debug, Clone, Args)]
pub struct ExplainMeasuring {
    /// Variant to explain; may be given again [default: those meant for release]
    #[arg(long = "variant", short = 'v', value_name = "VARIANT")]
    pub variant: Vec<String>,
    /// Target to run it on besides this machine
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Option<String>,
    /// Unit of the inventory to run it on besides this machine
    #[arg(long = "unit", short = 'u', value_name = "UNIT", conflicts_with = "target")]
    pub unit: Option<String>,
    /// Engines to run it with: tract, candle, onnxruntime, cuda [default: the target's own]
    #[arg(long = "engine", value_name = "ENGINE", value_delimiter = ',')]
    pub engine: Vec<String>,
    /// Samples to compare, the first of the evalset; of a record those whose answer flipped before all
    #[arg(long, value_name = "N", default_value_t = EXPLAINED_SAMPLES, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// Least signal-to-quantization-noise ratio of the answers, in dB [default: the policy's rule for sqnr_db, else 15]
    #[arg(long, value_name = "DB")]
    pub budget: Option<f64>,
    /// Policy file, or `default`
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Folder for what is measured; must not exist or be empty [default: a new folder in boardproof-out; of a record's cell one in the record's `explain`, where its report finds it]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Folder for a model of the first bad layer alone, with its input and what the reference answers; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub reproduce: Option<PathBuf>,
    /// Find the first layer at which the unit parts from this machine by running models cut behind a layer on both, log2(layers) of them:
    /// for a unit whose layers cannot be seen and that takes models at run time
    #[arg(long)]
    pub bisect: bool,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// How long to wait for a unit that somebody else holds, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub wait: u64,
}

impl ExplainArgs {
    /// What a check asks of the record that it has written.
    pub fn of_check(record: &Path, check: &CheckArgs) -> Self {
        let CheckArgs { places, builder, wait, quiet, .. } = check.clone();
        let measuring = ExplainMeasuring {
            variant: Vec::new(),
            target: None,
            unit: None,
            engine: Vec::new(),
            samples: EXPLAINED_SAMPLES,
            budget: None,
            policy: None,
            out: None,
            reproduce: None,
            bisect: false,
            builder,
            wait,
        };
        let subject = record.display().to_string();
        Self { subject, cell: None, measuring, places, json: false, quiet }
    }
}

/// Samples that are explained unless more or fewer are asked for.
const EXPLAINED_SAMPLES: u64 = 200;

/// How ranges are chosen from calibration data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// From the smallest value to the largest
    Minmax,
    /// What --percentile of the values lie within
    Percentile,
    /// Where cutting off loses the least information (Kullback-Leibler)
    Entropy,
}

/// Scales of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GranularityName {
    /// One for a tensor
    Tensor,
    /// One per output channel
    Channel,
}

/// Element type of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActivationName {
    /// -128 to 127
    Int8,
    /// 0 to 255
    Uint8,
}

/// Arguments of `quantize`.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// Model, by name or by the path of its folder
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// How to quantize.
    #[command(flatten)]
    pub how: QuantizeHow,
    /// How to check.
    #[command(flatten)]
    pub checking: QuantizeChecking,
    /// File to write [default: NAME.onnx in the model's folder]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Name of the variant [default: int8]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub force: bool,
    /// Add the variant to model.toml when it passes, in place of printing what to add
    #[arg(long, conflicts_with = "no_check")]
    pub add: bool,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// How `quantize` makes whole numbers.
#[derive(Debug, Clone, Args)]
pub struct QuantizeHow {
    /// Calibration data: a safetensors file with the evalset's inputs [default: the one that model.toml names]
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Calibrate on the first N samples of the evalset, which judges the result as well: for a first look where there is nothing else
    #[arg(long, value_name = "N", conflicts_with = "calibration", value_parser = clap::value_parser!(u64).range(1..))]
    pub calibrate_on_evalset: Option<u64>,
    /// Samples to calibrate on, the first of the data [default: all]
    #[arg(long, value_name = "N", conflicts_with = "calibrate_on_evalset", value_parser = clap::value_parser!(u64).range(1..))]
    pub calibration_samples: Option<u64>,
    /// How ranges of activations are chosen
    #[arg(long, value_enum, default_value = "minmax")]
    pub method: MethodName,
    /// Share of the values that the method percentile keeps, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 99.99, value_parser = percent)]
    pub percentile: f64,
    /// Scales of weights
    #[arg(long, value_enum, default_value = "channel")]
    pub granularity: GranularityName,
    /// Element type of activations
    #[arg(long, value_enum, default_value = "int8")]
    pub activations: ActivationName,
    /// Layer to leave in float whatever comes, by the name of its tensor or its node; may be given again
    #[arg(long, value_name = "LAYER")]
    pub leave: Vec<String>,
}

/// How `quantize` checks what it made.
#[derive(Debug, Clone, Args)]
pub struct QuantizeChecking {
    /// Target to check on [default: host]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Option<String>,
    /// Unit of the inventory to check on
    #[arg(long = "unit", short = 'u', value_name = "UNIT", conflicts_with = "target")]
    pub unit: Option<String>,
    /// Engine to check with: tract, candle, onnxruntime [default: the target's own]
    #[arg(long = "engine", value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Policy file, or `default`
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Samples of each check's accuracy pass [default: the whole evalset]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Inferences of each check's latency pass [default: as check]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: Option<u32>,
    /// Make the file and check nothing
    #[arg(long, conflicts_with_all = ["policy", "no_search"])]
    pub no_check: bool,
    /// Search nothing where the check fails
    #[arg(long)]
    pub no_search: bool,
    /// Most sets of layers to try
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: u32,
    /// Folder for what is measured; must not exist or be empty [default: a new folder in boardproof-out]
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// How long to wait for a unit that somebody else holds, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub wait: u64,
}

/// A share of values to keep, in percent.
fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| format!("expected a number, got '{text}'"))?;
    if percent > 50.0 && percent <= 100.0 {
        Ok(percent)
    } else {
        Err(format!("expected more than 50 and at most 100, got {percent}"))
    }
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for a terminal
    Text,
    /// Everything, for a machine
    Json,
    /// For a CI system's test view
    Junit,
    /// For a CI system's summary page
    Markdown,
    /// One page with plots, for a browser
    Html,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the record
    pub record: PathBuf,
    /// Form of the report
    #[arg(long, short = 'f', value_enum, default_value = "text")]
    pub format: Format,
    /// Policy file, or `default` [default: the policy in the record]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Record that `against = "baseline"` rules compare with
    #[arg(long, value_name = "RECORD")]
    pub baseline: Option<PathBuf>,
    /// File to write [default: stdout]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The earlier record
    pub before: PathBuf,
    /// The later record
    pub after: PathBuf,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trend`.
#[derive(Debug, Args)]
pub struct TrendArgs {
    /// Folders of records, in any order: the one that was started last is held against the others that are like it
    #[arg(required = true)]
    pub records: Vec<PathBuf>,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// What to do about an evalset.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Find what makes an evalset unfit to judge on: exit code 1 where there is an error
    Check(DataCheckArgs),
    /// Keep an evalset's distributions, to hold a later one against
    Snapshot(DataSnapshotArgs),
    /// Show how two evalsets, or snapshots of them, differ
    Diff(DataDiffArgs),
}

/// Form of the findings about an evalset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataFormat {
    /// Lines for a terminal
    Text,
    /// Everything, for a machine
    Json,
    /// A Great Expectations validation result
    Gx,
}

/// Arguments of `data check`.
#[derive(Debug, Args)]
pub struct DataCheckArgs {
    /// Model whose evalset to look at, by name or by the path of its folder
    pub model: String,
    /// Snapshot of an earlier evalset that this one is held against
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Great Expectations suite (JSON) that the table of the evalset is held against [default: the one that model.toml names]
    #[arg(long, value_name = "FILE")]
    pub suite: Option<PathBuf>,
    /// Warnings fail, too
    #[arg(long)]
    pub strict: bool,
    /// Form of the findings
    #[arg(long, short = 'f', value_enum, default_value = "text")]
    pub format: DataFormat,
    /// The same as `--format json`
    #[arg(long)]
    pub json: bool,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// Arguments of `data snapshot`.
#[derive(Debug, Args)]
pub struct DataSnapshotArgs {
    /// Model whose evalset to keep, by name or by the path of its folder
    pub model: String,
    /// File to write [default: stdout]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// Arguments of `data diff`.
#[derive(Debug, Args)]
pub struct DataDiffArgs {
    /// The earlier one: a model, or the file of a snapshot
    pub before: String,
    /// The later one
    pub after: String,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder for the project file
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Targets or units to look at; may be given again [default: host and virtual-board-aarch64]
    #[arg(long = "target", short = 't', visible_alias = "unit", value_name = "TARGET")]
    pub target: Vec<String>,
    /// Tool that builds agent and runner, whatever the targets say
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub builder: Option<BuilderName>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of lists.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// What to plan.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Say how many samples show that no more than a margin of accuracy is lost
    ///
    /// Exact for the gate's own rule (task.drop of accuracy, decide = "shown"): the probability that it passes, over all outcomes that the
    /// samples can have. Beside it what two separate evalsets would take, which is what pairing saves.
    Power(PowerArgs),
}

/// Arguments of `plan power`.
#[derive(Debug, Args)]
pub struct PowerArgs {
    /// Largest loss that may pass, as a share: the limit of the rule
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub margin: f64,
    /// Share of the samples on which variant and reference part, one right and one wrong
    #[arg(long, value_name = "SHARE", default_value_t = 0.03)]
    pub discordant: f64,
    /// True loss that is expected, as a share; negative for a gain
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    pub drop: f64,
    /// Probability with which the rule is to pass
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub power: f64,
    /// Confidence of the rule
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub confidence: f64,
    /// Accuracy of the reference, for the count without pairs
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub accuracy: f64,
    /// Model whose evalset is held against it, by name or by the path of its folder
    #[arg(long, short = 'm', value_name = "MODEL")]
    pub model: Option<String>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Print as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// A protocol that a simulated firmware speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Speech {
    /// The text protocol of MLPerf Tiny and EEMBC, performance and accuracy mode
    MlperfTiny,
    /// The packets of ST's validation firmware, version 3.1
    #[value(name = "stm32msg")]
    Stm32msg,
}

/// Nobody proves who comes to a socket: it must be of this machine alone.
fn own_address(text: &str) -> Result<std::net::SocketAddr, String> {
    let address: std::net::SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!("expected an address of this machine alone (127.0.0.1 or ::1), got {}", address.ip())),
    }
}

/// Arguments of `simulate`.
///
/// The model runs on this machine, compiled and inferred as on a microcontroller. A sample's bytes are those of the model's own inputs:
/// 8-bit values for an integer model. Ends with Ctrl-C.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Model that is inside, by name or by the path of its folder
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Its variant; an integer one, as `docs/micro.md` says
    #[arg(long, short = 'v', value_name = "VARIANT")]
    pub variant: String,
    /// What is spoken
    #[arg(long, value_enum)]
    pub speaks: Speech,
    /// What the firmware calls its model [default: the model's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// TCP port of this machine to listen on; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", conflicts_with = "pty", value_parser = own_address)]
    pub listen: std::net::SocketAddr,
    /// Open a pseudo terminal instead, for a runner that wants a serial port
    #[arg(long)]
    pub pty: bool,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Only errors on stderr
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// What to do about agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Build agent and runner for targets, or take them from the cache
    Build {
        /// Target; may be given again [default: host]
        #[arg(long = "target", short = 't', value_name = "TARGET")]
        target: Vec<String>,
        /// Engines whose runners are built [default: the target's own, and on host that of the default policy's reference]
        #[arg(long = "engine", value_name = "ENGINE", value_delimiter = ',')]
        engine: Vec<String>,
        /// Tool that builds, whatever the targets say
        #[arg(long, value_enum, value_name = "BUILDER")]
        builder: Option<BuilderName>,
        /// Copy them here, with a list: BOARDPROOF_PROGRAMS=FOLDER then takes them from there on a machine without source or compiler
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        /// Where things are.
        #[command(flatten)]
        places: Places,
        /// Print as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Remove everything that boardproof left on a unit
    Clean {
        /// Target or unit; may be given again
        #[arg(long = "target", short = 't', visible_alias = "unit", value_name = "TARGET", required = true)]
        target: Vec<String>,
        /// Where things are.
        #[command(flatten)]
        places: Places,
    },
}

/// What to do about the libraries of engines.
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Bring the library of an engine for a target's architecture: from the package that its makers publish, by pip, or from a file
    Add {
        /// The engine: onnxruntime
        engine: String,
        /// Target; may be given again [default: host]
        #[arg(long = "target", short = 't', value_name = "TARGET")]
        target: Vec<String>,
        /// Version of the package
        #[arg(long, value_name = "VERSION", default_value = boardproof_lab::library::ONNXRUNTIME_VERSION)]
        version: String,
        /// A library that you have, in place of the package's
        #[arg(long, value_name = "FILE", conflicts_with = "version")]
        from: Option<PathBuf>,
        /// Where things are.
        #[command(flatten)]
        places: Places,
        /// Print as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// List engines: where each runs, and what is kept for it
    List {
        /// Where things are.
        #[command(flatten)]
        places: Places,
        /// Print as JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
