//! The policy: rules with metric, limit, direction and reason. Parsed by `plan`, applied by `judge`.

use crate::plan::TRACT;
use crate::{EngineName, ModelName, RuleId, TargetName};
use serde::{Deserialize, Serialize};

/// The rules that decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Policy {
    /// Name for people.
    pub name: String,
    /// The rules, in the order in which they are shown.
    pub rules: Vec<Rule>,
    /// Outputs that are NaN or infinite where the reference's are not fail unless this is set.
    pub allow_nonfinite_mismatch: bool,
    /// An inconclusive rule fails the gate (default) or is only shown.
    pub inconclusive_blocks: bool,
    /// What answers for the float model; `None` where the policy leaves it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// What the variants are held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reference {
    /// Engine that runs the float model on this machine.
    pub engine: EngineName,
}

impl Policy {
    /// Engine that a run has to take for its reference: what the policy names, else the targets' usual one.
    pub fn reference_engine(&self) -> EngineName {
        let named = self.reference.as_ref().map(|reference| reference.engine.clone());
        named.unwrap_or_else(|| EngineName::new(TRACT).expect("a name of this crate"))
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rule {
    /// Its name, unique in the policy.
    pub id: RuleId,
    /// Metric it looks at (see docs/metrics.md).
    pub metric: String,
    /// Which side of the limit is good.
    pub direction: Direction,
    /// The limit, in `unit`.
    pub limit: f64,
    /// Unit of the limit: the metric's own (`share`, `dB`, `ratio`, `count`, `bytes`, `ns`).
    pub unit: String,
    /// What the number is compared with.
    pub against: Against,
    /// How the number is held against the limit.
    #[serde(default)]
    pub decide: Decide,
    /// Confidence of each one-sided bound that decides, as a share (0.95).
    pub confidence: f64,
    /// Below this many samples the rule is inconclusive, whatever the number says.
    pub min_samples: u64,
    /// Only for these tasks; empty for all.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Only for these models; empty for all.
    #[serde(default)]
    pub models: Vec<ModelName>,
    /// Only on these targets; empty for all.
    #[serde(default)]
    pub targets: Vec<TargetName>,
    /// Only the samples of this slice (`column=value`), or of each slice of this column (`column`); `None`: all samples, and for
    /// `slice.drop` each slice of each column. Metrics of the task and of outputs have it, latency, memory and size cannot. A rule with
    /// it is for models that have the slice.
    #[serde(default)]
    pub slice: Option<String>,
    /// Where a scorer says yes, for rates and F1: its scores are held against this, and a score at or above it is a yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<OperatingAt>,
    /// Which of the models' own metrics a rule on `custom.value` or `custom.drop` means; the rule is for models that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<String>,
    /// How failures of the slices of the rule are kept from being more by chance because there are many; `None`: each errs for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Why this limit.
    pub reason: String,
}

/// Where a scorer says yes. What is not a threshold itself is turned into one on the scores of what the rule compares with: that is the one
/// that ships.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperatingAt {
    /// At or above this score.
    Threshold(f64),
    /// The lowest threshold with at most this share of false alarms.
    FprMax(f64),
    /// The highest threshold that finds at least this share.
    TprMin(f64),
}

/// Correction of a rule that looks at many slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Step by step (Holm 1979): the chance that any slice fails by chance is at most what the rule's confidence leaves, for all of its
    /// slices on a cell together.
    Holm,
}

/// Which side of a limit is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// At most the limit.
    AtMost,
    /// At least the limit.
    AtLeast,
}

/// How a number with an interval is held against a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decide {
    /// The whole interval must lie on the good side to pass, on the bad side to fail; between them it is inconclusive. For what must
    /// be shown to be good.
    #[default]
    Shown,
    /// Fails when the number is beyond the limit and a loss is shown at the rule's confidence; a number beyond the limit without that
    /// is inconclusive; a number within the limit passes, and the result says how large a loss these samples could have hidden. For
    /// subgroups that are too small to show that they are good.
    Alarm,
    /// Fails as an alarm does and passes otherwise: a number beyond the limit that is not shown to be a loss passes, too, and the detail
    /// says so. For what is looked at in so many ways that something always lies beyond the limit by chance.
    Proven,
}

/// What a measured number is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The limit alone.
    Absolute,
    /// The reference cell (float on host for answers, float on the same unit for latency and memory).
    Reference,
    /// The same cell of a baseline record.
    Baseline,
}
