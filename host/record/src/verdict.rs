//! What the judge says. Three-valued per rule, plus `incomplete` for a run with a hole in it.

use crate::{CellId, RuleId};
use serde::{Deserialize, Serialize};

/// The gate's answer for a whole record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Judgement {
    /// Version of this format.
    pub version: u32,
    /// Name of the policy.
    pub policy: String,
    /// Outputs that are not finite where the reference's are did not fail: the policy allowed them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_nonfinite_mismatch: bool,
    /// The answer: the worst of all cells.
    pub verdict: Verdict,
    /// How often a run like this one is judged wrongly by chance; `None` where no interval decided anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<Chance>,
    /// One per judged cell, in plan order. Cells that were not measured are here too.
    pub cells: Vec<CellJudgement>,
}

/// What the confidences of all rules that decide by an interval come to, for the run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Chance {
    /// Results that an interval decided; those of a rule with a correction for its slices count once per cell.
    pub decisions: u64,
    /// Those among them of alarms: their pass shows nothing, so that it can be wrong at any rate.
    pub alarms: u64,
    /// Chance that at least one of them fails wrongly, were all numbers at their limits (of an alarm: were nothing lost) and independent
    /// of each other (Sidak 1967): `1 - product of confidences`.
    pub wrong_fail: f64,
    /// The same whatever hangs together: the sum of all errors, at most 1.
    pub wrong_fail_max: f64,
    /// Chance that the run passes although the number of a rule that must be shown is beyond its limit. All must pass, so it is that of the
    /// least confident one alone; `None` where all are alarms, or where the policy lets by what is undecided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_pass_max: Option<f64>,
}

/// The answer for one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CellJudgement {
    /// The cell.
    pub cell: CellId,
    /// Its answer: the worst of its rules.
    pub verdict: Verdict,
    /// One sentence that a person understands in ten seconds.
    pub reason: String,
    /// Rule by rule.
    pub rules: Vec<RuleResult>,
}

/// An answer. Ordered from good to bad, so that the worst is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every rule is certainly kept.
    Pass,
    /// Some rule cannot be decided with these samples.
    Inconclusive,
    /// Something planned was not measured: neither pass nor fail.
    Incomplete,
    /// Some rule is certainly broken.
    Fail,
}

/// One rule on one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleId,
    /// Its metric.
    pub metric: String,
    /// Where in the data: `None` for all, else `column=value`.
    pub slice: Option<String>,
    /// The answer.
    pub verdict: Verdict,
    /// The number measured; `None` when there is none, and then `detail` says why.
    pub observed: Option<f64>,
    /// Lower end of the interval that decided.
    pub lower: Option<f64>,
    /// Upper end of it.
    pub upper: Option<f64>,
    /// The limit in force.
    pub limit: f64,
    /// Where the limit comes from (`policy` or `model.toml`), with its reason.
    pub limit_reason: String,
    /// Unit of all numbers here.
    pub unit: String,
    /// Samples the number rests on.
    pub samples: u64,
    /// About how many more samples would decide; only for `inconclusive`.
    pub samples_more: Option<u64>,
    /// In words: what was compared with what.
    pub detail: String,
}
