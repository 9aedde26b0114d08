//! What came back: raw facts per cell. No judgement, no rounding.

use crate::plan::Pass;
use crate::verdict::Verdict;
use crate::{Digest, RuleId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State of a cell in a record. Every cell starts as `NotRun`; stages replace that once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// No stage got this far.
    NotRun,
    /// The unit answered; the model may still have crashed or been refused (see each pass).
    Measured(Box<Observation>),
    /// The agent or runner could not be built.
    BuildFailed(Fault),
    /// Something could not be brought to the unit.
    ShipFailed(Fault),
    /// The unit or the link misbehaved.
    DeviceFault(Fault),
    /// The unit did not answer in time.
    TimedOut(Fault),
    /// Left out on purpose.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// A fault of the lab or the unit, never of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fault {
    /// What was being done.
    pub action: String,
    /// What went wrong, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
    /// Last lines of the unit's console, when there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// All attempts, the last one included.
    pub attempts: Vec<Attempt>,
    /// Passes that had been measured before the fault: nothing measured is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<PassObservation>,
    /// What was shipped until then.
    #[serde(default)]
    pub shipped: Shipped,
}

/// One try at something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attempt {
    /// What was tried (`accuracy pass`, `upload of runner`).
    pub action: String,
    /// How long it took.
    pub elapsed_ms: u64,
    /// `None` when it worked.
    pub error: Option<String>,
}

impl Attempt {
    /// What is written down of a unit that its debug probe has reset.
    pub const RESET: &str = "reset the unit by its debug probe";
    /// What is written down of a unit whose supply was switched.
    pub const CYCLE: &str = "switch the unit off and on";

    /// Was the unit started anew by it?
    pub fn restarted(&self) -> bool {
        self.error.is_none() && [Self::RESET, Self::CYCLE].contains(&self.action.as_str())
    }
}

/// Everything a unit answered for one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Observation {
    /// Timings are an emulator's.
    pub emulated: bool,
    /// Who answered.
    pub device: Device,
    /// Environment before the first pass.
    pub environment_before: Facts,
    /// Environment after the last pass.
    pub environment_after: Facts,
    /// The passes, in order.
    pub passes: Vec<PassObservation>,
    /// Every attempt, also those that worked at once.
    pub attempts: Vec<Attempt>,
    /// Bytes that crossed the link for this cell.
    pub shipped: Shipped,
}

impl Observation {
    /// The observation of this pass, if it was made.
    pub fn pass(&self, pass: Pass) -> Option<&PassObservation> {
        self.passes.iter().find(|p| p.pass == pass)
    }

    /// The same with the latency pass, the unit and its surroundings as another look at it found them.
    pub fn with_latency_of(&self, later: &Self) -> Self {
        let mut seen = self.clone();
        seen.passes.retain(|pass| pass.pass != Pass::Latency);
        seen.passes.extend(later.pass(Pass::Latency).cloned());
        seen.device = later.device.clone();
        seen.environment_before = later.environment_before.clone();
        seen.environment_after = later.environment_after.clone();
        seen
    }

    /// Why the engine could not load the model, wherever it gave up before the first inference.
    pub fn not_loaded(&self) -> Option<&CannotRun> {
        let refused = self.passes.iter().filter(|p| p.ended == Ended::CannotRun).find_map(|p| p.cannot_run.as_ref());
        refused.filter(|found| !["run", "evalset"].contains(&found.stage.as_str()))
    }

    /// Why the engine could not even read the model: the same on every unit, since nothing of the unit has a part in it.
    pub fn unreadable(&self) -> Option<&CannotRun> {
        let refused = self.passes.iter().filter(|p| p.ended == Ended::CannotRun).find_map(|p| p.cannot_run.as_ref());
        refused.filter(|found| ["parse", "type"].contains(&found.stage.as_str()))
    }
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Device {
    /// Protocol version spoken.
    pub protocol: u16,
    /// Build of the agent.
    pub agent_build: String,
    /// Content of the agent binary.
    pub agent_digest: Option<Digest>,
    /// Content of the runner binary.
    pub runner_digest: Option<Digest>,
    /// Architecture.
    pub architecture: String,
    /// Operating system and C library.
    pub system: String,
    /// Machine id or serial number; empty when it has none.
    pub identity: String,
    /// Ticks per second of the measuring clock.
    pub tick_hz: u64,
    /// Changes with every boot.
    pub boot: u64,
}

/// Bytes on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shipped {
    /// Content that was new to the unit.
    pub content_bytes: u64,
    /// Payload sent for it over the link, over all attempts.
    pub wire_bytes: u64,
    /// The same by the debug probe, past the link.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_bytes: u64,
    /// Content that the unit had already.
    pub cached_bytes: u64,
    /// Time spent shipping.
    pub elapsed_ms: u64,
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// Numbers and texts by name; absent ones with their reason. Names are those of the protocol's keys in snake case
/// (`rss_peak_bytes`, `cpu_frequency_hz`), with `[index]` for the second and later of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Facts {
    /// Numbers.
    pub numbers: BTreeMap<String, u64>,
    /// Texts.
    pub texts: BTreeMap<String, String>,
    /// What could not be read, and why.
    pub missing: BTreeMap<String, String>,
}

impl Facts {
    /// The number of this name and index.
    pub fn number(&self, name: &str, index: u32) -> Option<u64> {
        if index == 0 { self.numbers.get(name) } else { self.numbers.get(&format!("{name}[{index}]")) }.copied()
    }
}

/// Raw facts of one pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PassObservation {
    /// Which pass.
    pub pass: Pass,
    /// How its process ended.
    pub ended: Ended,
    /// Why the engine gave the model up, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_run: Option<CannotRun>,
    /// Numbers and texts.
    pub facts: Facts,
    /// Operators of the plan that ran (inspect pass).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<Operator>,
    /// What the optimizer did to the answers (inspect pass).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<SelfCheck>,
    /// File with the outputs (accuracy pass), relative to the record: safetensors, tensors `output.<index>`, `names` in the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<FileRef>,
    /// File with the ticks of every measured inference (latency pass): safetensors, tensor `ticks` (U64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticks: Option<FileRef>,
    /// Inferences measured.
    pub inferences: u64,
    /// Why the pass stopped before it had visited all samples, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// An accuracy pass that stopped early, because what its samples say was certain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stopped {
    /// Samples visited: the first ones, in the evalset's order.
    pub samples: u64,
    /// Samples that were planned.
    pub of: u64,
    /// What was certain: `pass` (nothing that rests on samples can break any more) or `fail`.
    pub verdict: Verdict,
    /// Rules that decided it: those that fail, or all that a bound holds for.
    pub decided: Vec<RuleId>,
    /// Rules without such a bound, judged on the samples that were visited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_visited: Vec<RuleId>,
}

/// A file in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileRef {
    /// Path relative to the record, with `/`.
    pub path: String,
    /// Its content.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// How a pass ended. Everything but `NotStarted` and `Cancelled` is an observation of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "how", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields repeat the variant's name")]
pub enum Ended {
    /// All was done.
    Completed,
    /// The engine cannot run the model.
    CannotRun,
    /// The process ended with a code that is not 0.
    Exited { code: i32 },
    /// The process was ended by a signal.
    Signalled { signal: i32 },
    /// Memory ran out (0: the unit's own).
    OutOfMemory { limit_bytes: u64 },
    /// Wall time ran out.
    DeadlineExceeded { deadline_ms: u32 },
    /// The host asked for it.
    Cancelled,
    /// The process could not be started, or ended before it said that it had: nothing is known of the model.
    NotStarted,
}

/// Why an engine cannot run a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CannotRun {
    /// parse, type, optimize, prepare, run, evalset.
    pub stage: String,
    /// Operator, when known.
    pub operator: String,
    /// Node, when known.
    pub node: String,
    /// The engine's own words.
    pub reason: String,
}

/// One operator of the plan that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Operator {
    /// Position.
    pub index: u32,
    /// Node name.
    pub name: String,
    /// Operator as the engine names it.
    pub op: String,
    /// Element types.
    pub dtypes: String,
    /// Kernel; empty when the engine does not tell.
    pub kernel: String,
}

/// Words with which an engine names the datatype that a kernel sums in.
const SUMS: &str = "accumulates in ";

impl Operator {
    /// Does it multiply and sum integers? By the accumulator where the engine tells it, else by the first input of an operator that is known to
    /// multiply and sum: so often, `macs`. `None` for one that does neither.
    pub fn multiplies_integers(&self, macs: Option<u64>) -> Option<bool> {
        let is_integer = |dtype: &str| dtype.trim().starts_with(['i', 'u', 'q']);
        match self.kernel.split_once(SUMS) {
            Some((_, dtype)) => Some(is_integer(dtype)),
            None => macs.and(self.dtypes.split([',', '-']).next()).map(is_integer),
        }
    }
}

/// Optimized against unoptimized graph on the unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SelfCheck {
    /// Samples compared.
    pub samples: u32,
    /// They agree.
    pub agree: bool,
    /// Largest absolute difference; `None` when it is not a number.
    pub max_abs: Option<f64>,
    /// Signal-to-noise ratio; `None` when identical.
    pub sqnr_db: Option<f64>,
    /// First operator where they part; empty when they agree.
    pub operator: String,
    /// How it was found.
    pub detail: String,
}
