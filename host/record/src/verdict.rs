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
    /// One per judged cell, in plan order. Cells that were not measured are here too.
    pub cells: Vec<CellJudgement>,
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
