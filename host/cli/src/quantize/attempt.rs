//! One check of one candidate by the policy on the unit, in a folder of its own.

use super::Job;
use crate::run::{check_inputs, measured};
use crate::verdict::after_attempt;
use anyhow::{Context, Result};
use boardproof_judge::report::summary::Summary;
use boardproof_lab::store::RecordFolder;
use boardproof_plan::{Counts, Manifest, Plan, PlanError, Purpose, Wanted};
use boardproof_record::plan::{FOREIGN, MICRO, Model, Variant};
use boardproof_record::verdict::{Judgement, RuleResult, Verdict};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A check that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Its folder in that of the run.
    pub record: String,
    /// Layers in float.
    #[serde(skip)]
    pub left: BTreeSet<usize>,
    /// Their tensors.
    pub left_in_float: Vec<String>,
    /// What the policy says.
    pub verdict: Verdict,
    /// Every rule is kept but those on what the model costs.
    pub keeps_answers: bool,
    /// In one sentence.
    pub reason: String,
    /// Of the answers against the float model's, in dB; `None` where they are equal or there are none.
    pub sqnr_db: Option<f64>,
    /// Task metric.
    pub metric: Option<f64>,
    /// Task metric of the float model.
    pub metric_float: Option<f64>,
    /// Median of the latency on the unit.
    pub latency_ns_p50: Option<f64>,
    /// The same of the float model on the unit.
    pub latency_ns_p50_float: Option<f64>,
    /// Median of the instructions, where these are counted in the place of time.
    pub instructions_p50: Option<f64>,
    /// Size of the model file.
    pub model_bytes: u64,
}

/// Why nothing more was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Something planned was not measured.
    Incomplete,
    /// Only rules on what the model costs fail.
    OnlyCost,
    /// The unit's engine computes in whole numbers only.
    NoFloats,
    /// No search was wanted.
    NotAsked,
    /// As many attempts as there were to be.
    Spent,
    /// Somebody interrupted it.
    Interrupted,
}

/// Checks a candidate.
pub fn attempt(
    job: &Job<'_>,
    folder: &RecordFolder,
    what: &str,
    left: &BTreeSet<usize>,
    bytes: &[u8],
) -> Result<Attempt> {
    let kept = folder.keep(&format!("models/{what}.onnx"), bytes)?;
    let variant = Variant {
        name: job.name.clone(),
        file: folder.path().join(&kept.path).display().to_string(),
        digest: kept.digest,
        bytes: kept.bytes,
        quantization: super::entry::quantization(job),
        same_weights: true,
        ..job.reference().clone()
    };
    let plan = planned(job, variant)?;
    crate::verdict::before_check(&plan, None)?;
    check_inputs(&plan)?;
    if what == "check-0" {
        let manifests = BTreeMap::from([(job.manifest.model.name.clone(), job.manifest.clone())]);
        crate::evalset::before_check(&manifests, &plan, job.args.quiet)?;
    }
    let record = measured(plan, &super::check_args(job.args), RecordFolder::create(&folder.path().join(what))?)?;
    let (judgement, summary) = after_attempt(record.path())?;
    seen(job, what, left, &judgement, &summary)
}

fn planned(job: &Job<'_>, variant: Variant) -> Result<Plan> {
    let name = variant.name.clone();
    let reference = job.reference().clone();
    let variants = BTreeMap::from([(reference.name.clone(), reference), (name.clone(), variant)]);
    let model = Model { variants, ..job.manifest.model.clone() };
    let checking = &job.args.checking;
    let wanted = Wanted {
        models: vec![model.name.to_string()],
        in_folders: Vec::new(),
        variants: vec![name.to_string()],
        places: vec![job.place.clone()],
        engines: job.engine.iter().cloned().collect(),
        counts: Counts {
            samples: checking.samples.unwrap_or(0),
            latency_iterations: checking.iterations,
            ..Counts::default()
        },
    };
    let purposes = BTreeMap::from([(name, Purpose::Release)]);
    let manifests = BTreeMap::from([(model.name.clone(), Manifest { model, purposes, ..job.manifest.clone() })]);
    Ok(boardproof_plan::plan(&wanted, &manifests, &job.world.targets, &job.world.units, job.policy.clone())?)
}

/// Has the unit's engine no form of a layer in float?
pub fn has_no_floats(job: &Job<'_>) -> Result<bool, PlanError> {
    let (_, target) = boardproof_plan::locate(&job.place, &job.world.targets, &job.world.units)?;
    let inside = matches!(target.engine.as_str(), MICRO | FOREIGN);
    Ok(inside || job.engine.as_ref().is_some_and(|engine| engine.as_str() == MICRO))
}

fn seen(
    job: &Job<'_>,
    what: &str,
    left: &BTreeSet<usize>,
    judgement: &Judgement,
    summary: &Summary,
) -> Result<Attempt> {
    let cell = summary.cells.first().context("the check judged nothing")?;
    let mut rules = judgement.cells.iter().flat_map(|cell| &cell.rules);
    let is_kept = |rule: &RuleResult| rule.verdict == Verdict::Pass || is_cost(&rule.metric);
    let whole = cell.task.iter().find(|row| row.group == "all");
    Ok(Attempt {
        record: what.into(),
        left: left.clone(),
        left_in_float: job.layer_names(left),
        verdict: judgement.verdict,
        // A cell that was not measured has no rule that fails.
        keeps_answers: judgement.verdict != Verdict::Incomplete && rules.all(is_kept),
        reason: cell.reason.clone(),
        sqnr_db: cell.drift.and_then(|drift| drift.total_db).filter(|db| db.is_finite()),
        metric: whole.and_then(|row| row.candidate),
        metric_float: whole.and_then(|row| row.reference),
        latency_ns_p50: cell.latency.as_ref().map(|latency| latency.quantiles[0].value_ns),
        latency_ns_p50_float: cell.latency_reference.as_ref().map(|latency| latency.quantiles[0].value_ns),
        instructions_p50: cell.instructions.map(|counts| counts.median),
        model_bytes: cell.model_bytes,
    })
}

/// Is the metric of a rule one on what a model costs, which layers in float do not make better?
fn is_cost(metric: &str) -> bool {
    let begins = ["latency", "instructions", "memory", "model_bytes", "flash", "arena", "ram-budget"];
    let others = ["integer_ops_share", "integer_ops_loss", "load_ns", "first_inference_ns", "gpu_other_processes"];
    let placed = ["fallback_nodes", "no-fallback"];
    begins.iter().any(|begin| metric.starts_with(begin)) || others.contains(&metric) || placed.contains(&metric)
}

impl Attempt {
    /// For the progress of a search.
    pub fn in_words(&self) -> String {
        let verdict = format!("{:?}", self.verdict).to_lowercase();
        let left = match self.left_in_float.as_slice() {
            [] => "all layers in whole numbers".to_owned(),
            [one] => format!("{one} in float"),
            more => format!("{} layers in float", more.len()),
        };
        format!("{left}: {verdict}: {}", self.first_reason())
    }

    /// The first thing that the verdict rests on; the record has all of them.
    pub fn first_reason(&self) -> &str {
        let is_good = self.verdict == Verdict::Pass;
        self.reason.split("; ").next().filter(|_| !is_good).unwrap_or(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::is_cost;

    #[test]
    fn rules_on_answers_are_told_from_rules_on_cost() {
        for cost in [
            "latency_ratio_p50",
            "memory_ratio",
            "model_bytes",
            "flash-budget",
            "integer_ops_share",
            "load_ns",
            "no-fallback",
        ] {
            assert!(is_cost(cost), "{cost}");
        }
        for answers in ["task.drop", "slice.drop", "sqnr_db", "nonfinite_mismatch", "self-check", "runs", "cosine_min"]
        {
            assert!(!is_cost(answers), "{answers}");
        }
    }
}
