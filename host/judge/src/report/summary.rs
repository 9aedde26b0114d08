//! What every form of report shows, gathered once: so that all of them show the same.

use super::beginning::Beginning;
use super::calibration::Calibration;
use super::shown::Shown;
use super::steps::{Against, Steps};
use super::{amount, not_stationary};
use crate::compare::dialect::Dialect;
use crate::compare::gpu::{self, Gpu, Others, gpu};
use crate::compare::latency::{Latencies, LatencySummary};
use crate::compare::numerics::{self, Metric, NonFiniteRule, Options};
use crate::compare::operators::{OperatorLine, integer_share, lines};
use crate::compare::roofline::Roofline;
use crate::compare::statistics::Confidence;
use crate::each::each;
use crate::evidence::{Evidence, EvidenceError, Tensor};
use crate::explain::Explanation;
use crate::flips::Flips;
use crate::gate::{
    BASELINES, EARLY_STOP, JUDGEMENT_VERSION, LOOSER, MEMORY_RATIO, STALE, TIMED_RATIOS, answers, fit, is_of_this_unit,
    of_cell, samples_of, slice_samples,
};
use boardproof_record::dialect::Dialect as Firmware;
use boardproof_record::observation::{Attempt, Facts, Fault, Observation, Outcome, Shipped};
use boardproof_record::plan::{Cell, Pass, Task};
use boardproof_record::verdict::{Chance, Judgement, RuleResult, Verdict};
use boardproof_record::{CellId, VariantName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A whole run.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// The answer.
    pub verdict: Verdict,
    /// Name of the policy.
    pub policy: String,
    /// Version of boardproof that measured.
    pub boardproof: String,
    /// When the run started, seconds since 1970.
    pub started_unix_s: u64,
    /// How long it took.
    pub elapsed_ms: u64,
    /// How often a run like this one is judged wrongly by chance.
    pub chance: Option<Chance>,
    /// The judged cells, in plan order.
    pub cells: Vec<CellSummary>,
    /// How the programs were made.
    pub builds: Vec<boardproof_record::record::Build>,
}

impl Summary {
    /// The whole in one sentence.
    pub fn sentence(&self) -> String {
        let count = |v| self.cells.iter().filter(|c| c.verdict == v).count();
        let parts: Vec<String> = [
            (Verdict::Fail, "failed"),
            (Verdict::Incomplete, "incomplete"),
            (Verdict::Inconclusive, "inconclusive"),
            (Verdict::Pass, "passed"),
        ]
        .into_iter()
        .filter(|(v, _)| count(*v) > 0)
        .map(|(v, name)| format!("{} {name}", count(v)))
        .collect();
        format!(
            "{} of {} judged by policy '{}' in {:.1} s",
            parts.join(", "),
            self.cells.len(),
            self.policy,
            self.elapsed_ms as f64 / 1000.0
        )
    }
}

impl Summary {
    /// Puts explanations to the cells that they are of.
    pub fn explain(&mut self, mut explained: BTreeMap<CellId, Explanation>) {
        for cell in &mut self.cells {
            cell.explanation = explained.remove(&cell.cell);
        }
    }

    /// How often a run like this one is judged wrongly by chance, in a sentence.
    pub fn chance_in_words(&self) -> Option<String> {
        let Chance { decisions, alarms, wrong_fail, wrong_fail_max, wrong_pass_max } = self.chance?;
        let show = |share: f64| format!("{:.1} %", share * 100.0);
        let (fail, fail_max) = (show(wrong_fail), show(wrong_fail_max));
        let fails = format!(
            "of {decisions} decisions by interval at least one fails wrongly in up to {fail} of runs in which every number lies at its \
             limit ({fail_max} at most, whatever hangs together)"
        );
        let passes = wrong_pass_max.map(|share| {
            format!("; with a number beyond its limit the run passes in up to {}, since all must pass", show(share))
        });
        let alarms = match alarms {
            0 => String::new(),
            n => format!("; {n} are alarms, whose pass shows nothing"),
        };
        Some(format!("{fails}{}{alarms}", passes.unwrap_or_default()))
    }
}

/// One judged cell.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CellSummary {
    /// Its id.
    pub cell: CellId,
    /// Model.
    pub model: String,
    /// Variant.
    pub variant: String,
    /// Unit.
    pub unit: String,
    /// Target.
    pub target: String,
    /// Engine.
    pub engine: String,
    /// Name and version as the engine told them.
    pub engine_said: Option<String>,
    /// The same variant was judged on the same unit by another engine as well.
    #[serde(skip)]
    pub by_many: bool,
    /// The target was proved by somebody.
    pub proved: bool,
    /// Timings are an emulator's.
    pub emulated: bool,
    /// How the variant was quantized.
    pub quantization: String,
    /// Size of the model file.
    pub model_bytes: u64,
    /// The answer.
    pub verdict: Verdict,
    /// In one sentence.
    pub reason: String,
    /// Samples that it was judged on.
    pub samples: u64,
    /// Samples that the evalset has.
    pub samples_all: u64,
    /// What a reader must know before trusting the verdict, in sentences.
    pub notes: Vec<String>,
    /// Rule by rule.
    pub rules: Vec<RuleResult>,
    /// Where the drift comes from; `None` without outputs.
    pub drift: Option<DriftSplit>,
    /// Task metric, whole and by slice.
    pub task: Vec<TaskRow>,
    /// How sure it says it is against how often it is right; `None` where its outputs state no probability.
    pub calibration: Option<Calibration>,
    /// Samples whose answer is another than the reference's.
    pub flips: Option<Flips>,
    /// Inputs of some of them, by number; for pictures.
    #[serde(skip)]
    pub shown: Shown,
    /// Where it parts from the reference, layer by layer, where somebody has had that measured; for the page.
    #[serde(skip)]
    pub explanation: Option<Explanation>,
    /// Unit of the task metric: `share`, or empty where it is the model's own.
    pub task_unit: String,
    /// Latency of the cell.
    pub latency: Option<LatencySummary>,
    /// What came before the inferences that it is of, where it is a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beginning: Option<Beginning>,
    /// Every latency sample in nanoseconds, sorted; for plots.
    #[serde(skip)]
    pub latency_ns: Vec<f64>,
    /// Instructions per inference, on an emulator that counts them in the place of time.
    pub instructions: Option<Counts>,
    /// Latency of the float model on the same unit.
    pub latency_reference: Option<LatencySummary>,
    /// Memory by name, in bytes.
    pub memory: Vec<(String, f64)>,
    /// Error histogram of the output that is furthest from the reference's.
    pub errors: Vec<ErrorBin>,
    /// Steps by which a quantized output is off; `None` unless it is an integer of 8 or 16 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// Elementwise metrics of the same output against the reference's.
    pub metrics: Vec<Figure>,
    /// Vendors' figures by their own names, of the same output.
    pub dialects: Vec<Figure>,
    /// Operators that ran.
    pub operators: Vec<OperatorLine>,
    /// Share of the multiply-accumulates that were done on integers, 0 to 1.
    pub integer_ops_share: Option<f64>,
    /// What it reaches of what one core of the unit can do.
    #[serde(flatten)]
    pub roofs: Roofs,
    /// The GPU that it ran on, if it ran on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Environment before the first pass.
    pub environment: Facts,
    /// Who answered.
    pub device: Option<boardproof_record::observation::Device>,
    /// Bytes that crossed the link.
    pub shipped: Shipped,
    /// Attempts that did not work.
    pub failed_attempts: Vec<Attempt>,
    /// Times that the unit was started anew for this cell, because it hung or did not answer after an earlier one.
    pub restarts: Vec<Attempt>,
    /// What went wrong, when it was not measured.
    pub fault: Option<Fault>,
}

impl CellSummary {
    /// What had to be repeated before it worked, in words. A measurement that needed a second attempt is one to look at.
    pub fn flaky(&self) -> Option<String> {
        if self.fault.is_some() || self.failed_attempts.is_empty() {
            return None;
        }
        let told = |a: &Attempt| format!("{} ({})", a.action, a.error.as_deref().unwrap_or_default());
        let told: Vec<_> = self.failed_attempts.iter().map(told).collect();
        Some(format!("flaky: repeated after a fault: {}", told.join("; ")))
    }

    /// How often and in what ways the unit was started anew for this cell, in words. What hangs once may be near to hanging again.
    pub fn restarted(&self) -> Option<String> {
        let told = |a: &Attempt| format!("{} ({:.1} s)", a.action, a.elapsed_ms as f64 / 1000.0);
        let told: Vec<_> = self.restarts.iter().map(told).collect();
        (!told.is_empty()).then(|| format!("the unit had to be started anew for this cell: {}", told.join("; ")))
    }

    /// What is to be known of a target on which nobody has proved anything yet.
    pub fn unproved(&self) -> Option<String> {
        (!self.proved).then(|| format!("target {} is not proved by anybody yet", self.target))
    }

    /// The unit, with the engine where several ran there.
    pub fn place(&self) -> String {
        let engine = if self.by_many { format!(" by {}", self.engine) } else { String::new() };
        format!("{}{engine}", self.unit)
    }

    /// What the roofs say of its time, or why they say nothing. `None` where nobody has asked for them.
    pub fn roof(&self) -> Option<String> {
        let asked = || self.environment.missing.contains_key("peak_f32_mac_per_s");
        match (&self.roofs.roofline, &self.roofs.roofline_missing) {
            (Some(roofline), _) if self.emulated => Some(format!("{} (emulated)", roofline.sentence())),
            (Some(roofline), _) => Some(roofline.sentence()),
            (None, Some(why)) if asked() => Some(format!("not known: {why}")),
            (None, _) => None,
        }
    }

    /// Name for people.
    pub fn title(&self) -> String {
        format!("{} {} on {}", self.model, self.variant, self.place())
    }
}

/// A cell under the roofs of its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Roofs {
    /// What it reaches of what one core of the unit can do.
    pub roofline: Option<Roofline>,
    /// Why that is not known.
    pub roofline_missing: Option<String>,
}

impl Roofs {
    fn of(
        cell: &Cell,
        seen: Option<&Observation>,
        operators: &[OperatorLine],
        weights: u64,
        latencies: Option<&Latencies>,
    ) -> Self {
        match roofline(cell, seen, operators, weights, latencies) {
            Ok(roofline) => Self { roofline: Some(roofline), roofline_missing: None },
            Err(why) => Self { roofline: None, roofline_missing: Some(why) },
        }
    }
}

/// Operators are counted by the inspection, and time by the latency pass: both take one batch at a time.
fn roofline(
    cell: &Cell,
    seen: Option<&Observation>,
    operators: &[OperatorLine],
    weights: u64,
    latencies: Option<&Latencies>,
) -> Result<Roofline, String> {
    let unit = &seen.ok_or("the cell was not measured")?.environment_before;
    let batch = |pass: Pass| cell.passes.iter().find(|plan| plan.pass == pass).map(|plan| plan.batch);
    let Some(latencies) = latencies else {
        // A unit that counts something else than time has its own reason, where it told one.
        let told = unit.missing.get("peak_f32_mac_per_s").cloned();
        return Err(told.unwrap_or_else(|| "no latency was measured".into()));
    };
    if batch(Pass::Inspect) != batch(Pass::Latency) {
        return Err("operators were counted in another batch than the one that was timed".into());
    }
    let summary = latencies.summary(Confidence::P95);
    Roofline::of(operators, weights, summary.quantiles.first().map_or(f64::NAN, |p50| p50.value_ns), unit)
}

/// Instructions per inference. The same model and sample take the same number in every run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counts {
    /// Inferences.
    pub samples: u64,
    /// Fewest.
    pub min: f64,
    /// Median, by nearest rank.
    pub median: f64,
    /// Most.
    pub max: f64,
}

impl Counts {
    fn of(sorted: &[f64]) -> Option<Self> {
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = sorted[(sorted.len() - 1) / 2];
        Some(Self { samples: sorted.len() as u64, min, median, max })
    }
}

/// Elements whose absolute error lies in an octave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBin {
    /// Lower edge; 0 for the first.
    pub from: f64,
    /// Upper edge; `None` for the last, which has none.
    pub to: Option<f64>,
    /// Elements.
    pub elements: u64,
}

/// A number that compares outputs, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Figure {
    /// Name as in docs/metrics.md.
    pub name: String,
    /// Unit; empty for vendors' figures.
    pub unit: String,
    /// The number. Decibels of identical outputs are infinite.
    #[serde(serialize_with = "decibels")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Decibels>"))]
    pub value: Option<f64>,
    /// Why there is none.
    pub missing: Option<String>,
}

impl Figure {
    fn new(name: &str, unit: &str, value: crate::compare::Measured) -> Self {
        let (value, missing) = match value {
            Ok(value) => (Some(value), None),
            Err(why) => (None, Some(why.to_string())),
        };
        Self { name: name.to_owned(), unit: unit.to_owned(), value, missing }
    }
}

/// JSON has no infinity: it is written as a word, so that it cannot be taken for a number that is missing.
fn decibels<S: serde::Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) if *value == f64::INFINITY => serializer.serialize_str("infinite"),
        Some(value) if *value == f64::NEG_INFINITY => serializer.serialize_str("-infinite"),
        value => value.serialize(serializer),
    }
}

/// What [`decibels`] writes.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "stands for what is written")]
enum Decibels {
    Number(f64),
    Word(InfiniteWord),
}

#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "stands for what is written")]
enum InfiniteWord {
    #[schemars(rename = "infinite")]
    Plus,
    #[schemars(rename = "-infinite")]
    Minus,
}

/// SQNR along the way from float on the host to the variant on the unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DriftSplit {
    /// Float on host against variant on host.
    #[serde(serialize_with = "decibels")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Decibels>"))]
    pub quantization_db: Option<f64>,
    /// Variant on host against variant on unit; infinite when identical.
    #[serde(serialize_with = "decibels")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Decibels>"))]
    pub deployment_db: Option<f64>,
    /// Float on host against variant on unit.
    #[serde(serialize_with = "decibels")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Decibels>"))]
    pub total_db: Option<f64>,
}

/// Task metric of one group of samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskRow {
    /// `all`, `class=...` or `column=value`.
    pub group: String,
    /// Samples of the group itself.
    pub samples: u64,
    /// Value of the reference.
    pub reference: Option<f64>,
    /// Value of the candidate.
    pub candidate: Option<f64>,
}

/// Gathers a run that was judged.
pub fn summarize(evidence: Evidence<'_>, judgement: &Judgement) -> Result<Summary, EvidenceError> {
    let record = evidence.record;
    let judged: Vec<&Cell> = record.plan.cells.iter().filter(|c| c.judged).collect();
    let cells = each(&judged, |cell| summarize_cell(evidence, judgement, cell))?;
    Ok(Summary {
        verdict: judgement.verdict,
        policy: judgement.policy.clone(),
        boardproof: record.boardproof.clone(),
        started_unix_s: record.started_unix_s,
        elapsed_ms: record.elapsed_ms,
        chance: judgement.chance,
        cells,
        builds: record.builds.clone(),
    })
}

/// Gathers what was measured, without a judgement: for those who only look at the numbers.
pub fn measured(evidence: Evidence<'_>) -> Result<Summary, EvidenceError> {
    let policy = &evidence.record.plan.policy;
    let judgement = Judgement {
        version: JUDGEMENT_VERSION,
        policy: policy.name.clone(),
        allow_nonfinite_mismatch: policy.allow_nonfinite_mismatch,
        verdict: Verdict::Incomplete,
        chance: None,
        cells: Vec::new(),
    };
    summarize(evidence, &judgement)
}

/// Every pass tells its engine; the first will do. A library of the unit's own is named, since no build of the record is it.
fn engine_said(seen: &Observation) -> Option<String> {
    let texts = seen.passes.iter().map(|pass| &pass.facts.texts).find(|texts| texts.contains_key("engine"))?;
    let own = texts.get("engine[1]").filter(|library| library.starts_with('/'));
    Some(texts["engine"].clone() + &own.map_or_else(String::new, |file| format!(" ({file})")))
}

/// The same variant on the same unit by another engine, judged as well.
fn is_beside(other: &Cell, cell: &Cell) -> bool {
    let same = other.model == cell.model && other.variant == cell.variant && other.unit == cell.unit;
    same && other.judged && other.engine != cell.engine
}

/// What is to be known of times that moved while they were taken.
fn moved(own: Option<&Latencies>) -> Option<String> {
    let moved = own.and_then(Latencies::movement)?;
    Some(format!("the latency pass was {}", not_stationary(moved)))
}

fn summarize_cell(evidence: Evidence<'_>, judgement: &Judgement, cell: &Cell) -> Result<CellSummary, EvidenceError> {
    let model = evidence.model(cell);
    let (variant, target) = (&model.variants[&cell.variant], &evidence.record.plan.targets[&cell.target]);
    let (judged, seen) = (of_cell(judgement, &cell.id), evidence.observation(&cell.id));
    let (own, reference) = latencies_of_both(evidence, cell)?;
    let rules = judged.map(|j| j.rules.clone()).unwrap_or_default();
    let outcome = &evidence.record.outcomes[&cell.id];
    // As the rules saw it: a number that they did not have must not be in the report, nor the other way round.
    let compared = Compared::of(evidence, cell, NonFiniteRule::of(judgement.allow_nonfinite_mismatch))?;
    let operators = seen.and_then(|s| s.pass(Pass::Inspect)).map(lines).unwrap_or_default();
    Ok(CellSummary {
        cell: cell.id.clone(),
        model: cell.model.to_string(),
        variant: cell.variant.to_string(),
        unit: cell.unit.to_string(),
        target: cell.target.to_string(),
        engine: cell.engine.to_string(),
        engine_said: seen.and_then(engine_said),
        by_many: evidence.record.plan.cells.iter().any(|other| is_beside(other, cell)),
        proved: target.proved,
        emulated: target.emulated,
        quantization: variant.quantization.clone(),
        model_bytes: variant.bytes,
        verdict: judged.map_or(Verdict::Incomplete, |j| j.verdict),
        reason: judged.map_or_else(|| "not judged".into(), |j| j.reason.clone()),
        samples: evidence.visited(&cell.id),
        samples_all: model.evalset.samples,
        notes: notes(evidence, cell, &rules).into_iter().chain(moved(own.as_ref())).chain(compared.note).collect(),
        rules,
        drift: compared.split,
        task: task_rows(evidence, cell)?,
        calibration: Calibration::of(evidence, cell)?,
        flips: crate::flips::flips(evidence, cell)?,
        explanation: None,
        shown: Shown::of(evidence, model)?,
        task_unit: if matches!(model.task, Task::Regression) { String::new() } else { "share".into() },
        latency: own.as_ref().map(|own| own.summary(Confidence::P95)),
        beginning: own.as_ref().and(seen).and_then(|seen| Beginning::of(cell, seen)),
        instructions: Counts::of(&sorted(evidence.instructions(&cell.id)?)),
        latency_ns: own.as_ref().map(|own| own.sorted_ns().to_vec()).unwrap_or_default(),
        latency_reference: reference.as_ref().map(|other| other.summary(Confidence::P95)),
        memory: seen.map(memory).unwrap_or_default(),
        errors: compared.errors,
        steps: compared.steps,
        metrics: compared.metrics,
        dialects: compared.dialects,
        integer_ops_share: integer_share(&operators),
        roofs: Roofs::of(cell, seen, &operators, variant.bytes, own.as_ref()),
        operators,
        gpu: seen.and_then(|seen| gpu(cell, seen)),
        environment: seen.map(|s| s.environment_before.clone()).unwrap_or_default(),
        device: seen.map(|s| s.device.clone()),
        shipped: shipped(outcome),
        failed_attempts: attempts(outcome, |attempt| attempt.error.is_some()),
        restarts: attempts(outcome, Attempt::restarted),
        fault: fault(outcome),
    })
}

/// Latencies of a cell, and of the float model on its unit.
fn latencies_of_both(
    evidence: Evidence<'_>,
    cell: &Cell,
) -> Result<(Option<Latencies>, Option<Latencies>), EvidenceError> {
    let reference = evidence.reference_on_unit(cell).map(|other| latencies(evidence, other)).transpose()?.flatten();
    Ok((latencies(evidence, cell)?, reference))
}

/// What the verdict rests on and a reader would not guess: a part of the evalset, a limit that the model made easier for itself, a split of
/// the drift that goes by way of a cell which is not to be relied on.
fn notes(evidence: Evidence<'_>, cell: &Cell, rules: &[RuleResult]) -> Vec<String> {
    let (used, all) = (samples_of(cell), evidence.model(cell).evalset.samples);
    let mut notes = Vec::new();
    if 0 < used && used < all && evidence.observation(&cell.id).is_some() {
        notes.push(format!("judged on the first {used} of {all} samples of the evalset"));
    }
    if let Some((planned, why)) = evidence.no_second_opinion(cell) {
        notes.push(format!(
            "the float model has no second opinion: {} cannot run it ({}), so the cell's own engine answers for the reference",
            planned.engine, why.reason
        ));
    }
    let mut told = BTreeSet::new();
    for rule in rules.iter().filter(|r| r.limit_reason.contains(LOOSER) && told.insert(&r.rule)) {
        notes.push(format!(
            "the limit of {} ({}) is from {}",
            rule.rule,
            amount(rule.limit, &rule.unit),
            rule.limit_reason
        ));
    }
    notes.extend(visited_in_order(evidence, cell, rules));
    notes.extend(uncalibrated(evidence, cell, rules));
    let stale: Vec<&str> = rules.iter().filter(|r| r.detail.contains(STALE)).map(|r| r.rule.as_str()).collect();
    if !stale.is_empty() {
        let rules = stale.join(", ");
        notes.push(format!(
            "{STALE} ({rules}): a loss as large as what was won would pass, take this record in its place"
        ));
    }
    notes.extend(evidence.observation(&cell.id).and_then(throttled));
    notes.extend(evidence.observation(&cell.id).and_then(gpu::throttled));
    notes.extend(evidence.observation(&cell.id).and_then(|seen| shared_gpu(seen, cell)));
    notes.extend(evidence.observation(&cell.id).and_then(|seen| of_a_part(seen, cell)));
    if let Some(dialect) = &evidence.record.plan.targets[&cell.target].dialect {
        notes.extend(inside(dialect, &cell.variant));
    } else if !cell.has_float_engine() {
        let engine = &cell.engine;
        notes.push(format!(
            "engine {engine} runs integers only: no float model on the unit to compare latency and memory with"
        ));
    }
    if let Some(host) = evidence.on_host(cell).filter(|host| host.id != cell.id)
        && let Err(why) = fit(evidence, host, Pass::Accuracy)
    {
        notes.push(format!("the drift cannot be split into quantization and deployment: {why}"));
    }
    notes
}

/// In which order the samples were visited, and where the pass stopped, where it might.
fn visited_in_order(evidence: Evidence<'_>, cell: &Cell, rules: &[RuleResult]) -> Option<String> {
    let drawn = evidence.model(cell).evalset.order?;
    let stop = rules.iter().find(|rule| rule.rule.as_str() == EARLY_STOP)?;
    let (seed, of) = (drawn.seed, drawn.of.short());
    Some(format!("{}; samples of evalset {of} in the order of seed {seed}, each slice in proportion", stop.detail))
}

/// That nobody knows how far two runs of the same thing lie apart on the unit, where a rule rests on it.
fn uncalibrated(evidence: Evidence<'_>, cell: &Cell, rules: &[RuleResult]) -> Option<String> {
    let mut asked =
        rules.iter().filter(|rule| TIMED_RATIOS.contains(&rule.metric.as_str()) && rule.detail.contains(BASELINES));
    let seen = asked.clone().next().and(evidence.observation(&cell.id))?;
    let found = evidence.record.calibrations.get(&cell.unit);
    let why = match found {
        None => "was never calibrated",
        Some(found) if !is_of_this_unit(found, seen) => {
            "was calibrated in another state (identity, processor or governor)"
        }
        Some(found) if found.memory.is_none() && asked.any(|rule| rule.metric == MEMORY_RATIO) => {
            "was calibrated without its memory"
        }
        Some(_) => return None,
    };
    Some(format!(
        "unit {} {why}: nobody knows how far two runs of the same model lie apart on it (boardproof calibrate)",
        cell.unit
    ))
}

/// What nobody can prove of a firmware that somebody else built.
fn inside(dialect: &Firmware, variant: &VariantName) -> Vec<String> {
    let (name, model) = (dialect.name(), dialect.model());
    let mut notes = vec![format!(
        "the firmware is somebody else's and speaks {name}: that {variant} is inside is what was said, it calls its model '{model}'"
    )];
    if let Firmware::MlperfTiny { .. } = dialect {
        notes.push(
            "its answers have three decimals, its latencies hold what the firmware does around an inference".into(),
        );
    }
    notes
}

/// Share of its frequency that a core which is to run at full speed may lose before it looks throttled: turbo frequencies come and go.
const SLOWER_SHARE: f64 = 0.2;

/// Somebody else's work on the GPU makes times longer and memory less.
fn shared_gpu(seen: &Observation, cell: &Cell) -> Option<String> {
    match gpu(cell, seen)?.others {
        Others::Seen(0) => None,
        Others::Seen(most) => Some(format!("{most} other processes had the GPU open while it was measured")),
        Others::Unknown(why) => Some(format!("whether others used the GPU while it was measured is not known: {why}")),
    }
}

/// Times and memory of a unit that has no room for the whole evalset are those of its first part.
fn of_a_part(seen: &Observation, cell: &Cell) -> Option<String> {
    let planned = cell.passes.iter().find(|plan| plan.pass == Pass::Latency)?.samples;
    let used = seen.pass(Pass::Latency)?.facts.numbers.get("samples_seen").filter(|used| **used < planned)?;
    Some(format!(
        "latency was measured on the first {used} of {planned} samples, which is what the unit has room for at a time; its answers are \
         to all of them"
    ))
}

/// Did the unit throttle between the readings before and after the passes? In words what shows it.
///
/// A frequency shows it only under a governor that keeps it: with any other it is that of the moment at which it was read.
pub(crate) fn throttled(seen: &Observation) -> Option<String> {
    let (before, after) = (&seen.environment_before.numbers, &seen.environment_after.numbers);
    let both = |word: &'static str| {
        let of_word = before.iter().filter(move |(key, _)| key.split('[').next() == Some(word));
        of_word.filter_map(|(key, was)| after.get(key).map(|is| (key, *was, *is)))
    };
    if let Some((key, was, is)) = both("throttle_count").find(|(_, was, is)| is > was) {
        return Some(format!(
            "the unit throttled while it was measured ({key} was {was}, is {is}): its times are too long"
        ));
    }
    let governor = |key: &str| seen.environment_after.texts.get(&key.replacen("cpu_frequency_hz", "governor", 1));
    let kept = |key: &str| governor(key).is_some_and(|name| matches!(name.as_str(), "performance" | "userspace"));
    let slower = |was: u64, is: u64| (is as f64) < was as f64 * (1.0 - SLOWER_SHARE);
    let (key, was, is) = both("cpu_frequency_hz").find(|(key, was, is)| kept(key) && slower(*was, *is))?;
    Some(format!("the unit ran slower after the passes than before ({key} was {was}, is {is}): it may have throttled"))
}

fn sorted(values: Option<Vec<f64>>) -> Vec<f64> {
    let mut values = values.unwrap_or_default();
    values.sort_by(f64::total_cmp);
    values
}

/// Latencies of a cell in the order in which they were measured.
fn latencies(evidence: Evidence<'_>, cell: &Cell) -> Result<Option<Latencies>, EvidenceError> {
    Ok(evidence.latencies_ns(&cell.id)?.and_then(|ns| Latencies::from_ns(ns).ok()))
}

fn memory(seen: &Observation) -> Vec<(String, f64)> {
    const NAMES: [(&str, &str); 10] = [
        ("at start", "rss_start_bytes"),
        ("after loading", "rss_after_load_bytes"),
        ("after first inference", "rss_after_first_bytes"),
        ("peak", "rss_peak_bytes"),
        ("heap peak of model and engine", "alloc_peak_bytes"),
        ("flash of the firmware", "flash_bytes"),
        ("flash of the model", "model_bytes"),
        ("static RAM", "static_ram_bytes"),
        ("arena", "arena_peak_bytes"),
        ("stack", "stack_peak_bytes"),
    ];
    let Some(pass) = seen.pass(Pass::Memory) else { return Vec::new() };
    NAMES.iter().filter_map(|(name, key)| Some(((*name).to_owned(), *pass.facts.numbers.get(*key)? as f64))).collect()
}

fn fault(outcome: &Outcome) -> Option<Fault> {
    match outcome {
        Outcome::BuildFailed(f) | Outcome::ShipFailed(f) | Outcome::DeviceFault(f) | Outcome::TimedOut(f) => {
            Some(f.clone())
        }
        Outcome::NotRun | Outcome::Measured(_) | Outcome::Skipped { .. } => None,
    }
}

fn shipped(outcome: &Outcome) -> Shipped {
    match outcome {
        Outcome::Measured(seen) => seen.shipped,
        _ => fault(outcome).map(|fault| fault.shipped).unwrap_or_default(),
    }
}

fn attempts(outcome: &Outcome, wanted: fn(&Attempt) -> bool) -> Vec<Attempt> {
    let all = match outcome {
        Outcome::Measured(seen) => seen.attempts.as_slice(),
        Outcome::BuildFailed(f) | Outcome::ShipFailed(f) | Outcome::DeviceFault(f) | Outcome::TimedOut(f) => {
            f.attempts.as_slice()
        }
        Outcome::NotRun | Outcome::Skipped { .. } => &[],
    };
    all.iter().filter(|attempt| wanted(attempt)).cloned().collect()
}

/// Outputs of the cell against those of the reference and of the host.
#[derive(Default)]
struct Compared {
    output: String,
    /// Which output it is, where there are several.
    note: Option<String>,
    split: Option<DriftSplit>,
    errors: Vec<ErrorBin>,
    steps: Option<Steps>,
    metrics: Vec<Figure>,
    dialects: Vec<Figure>,
}

impl Compared {
    /// Of several outputs the one that is furthest from the reference, as the rules see it.
    fn of(evidence: Evidence<'_>, cell: &Cell, nonfinite: NonFiniteRule) -> Result<Self, EvidenceError> {
        let visited = evidence.visited(&cell.id);
        let outputs = |other: Option<&Cell>| -> Result<Vec<Tensor<'_>>, EvidenceError> {
            Ok(other.map(|other| evidence.first_outputs(&other.id, visited)).transpose()?.flatten().unwrap_or_default())
        };
        let (reference, host, own) =
            (outputs(evidence.reference(cell))?, outputs(evidence.on_host(cell))?, outputs(Some(cell))?);
        let all = own.iter().map(|output| Self::of_output(output, &reference, &host, nonfinite));
        // Without a number there is nothing that could be worse.
        let db = |compared: &Self| compared.split.and_then(|split| split.total_db).unwrap_or(f64::NEG_INFINITY);
        let Some(worst) = all.min_by(|a, b| db(a).total_cmp(&db(b))) else { return Ok(Self::default()) };
        let note = (own.len() > 1 && worst.split.is_some_and(|split| split.total_db.is_some()))
            .then(|| format!("drift and errors are those of output '{}', the worst of {}", worst.output, own.len()));
        Ok(Self { note, ..worst })
    }

    fn of_output(own: &Tensor<'_>, reference: &[Tensor<'_>], host: &[Tensor<'_>], nonfinite: NonFiniteRule) -> Self {
        let same = |others: &'_ [Tensor<'_>]| others.iter().position(|other| other.name == own.name);
        let (reference, host) = (same(reference).map(|i| &reference[i]), same(host).map(|i| &host[i]));
        let compare = |r: Option<&Tensor<'_>>, c: Option<&Tensor<'_>>| {
            numerics::compare(&r?.view(), &c?.view(), Options::default()).ok()
        };
        let db = |s: Option<&numerics::Summary>| s.and_then(|s| s.value_under(Metric::SqnrDb, nonfinite).ok());
        let (quantization, deployment, total) =
            (compare(reference, host), compare(host, Some(own)), compare(reference, Some(own)));
        let split = DriftSplit {
            quantization_db: db(quantization.as_ref()),
            deployment_db: db(deployment.as_ref()),
            total_db: db(total.as_ref()),
        };
        // A float reference has no steps: then the variant's own answers on the host have.
        let steps = Steps::between(reference, own, Against::Reference)
            .or_else(|| Steps::between(host, own, Against::VariantOnHost));
        let bare = Self { output: own.name.clone(), split: Some(split), steps, ..Self::default() };
        let Some(total) = total else { return bare };
        let metrics = Metric::ALL.iter().map(|m| Figure::new(m.name(), m.unit(), total.value_under(*m, nonfinite)));
        let dialects = Dialect::ALL.iter().map(|d| Figure::new(d.name(), "", d.value(&total)));
        Self { errors: error_bins(&total), metrics: metrics.collect(), dialects: dialects.collect(), ..bare }
    }
}

fn error_bins(total: &numerics::Summary) -> Vec<ErrorBin> {
    let histogram = total.errors();
    let bin = |(i, elements): (usize, &u64)| {
        let (from, to) = numerics::ErrorHistogram::edges(i);
        ErrorBin { from, to: to.is_finite().then_some(to), elements: *elements }
    };
    histogram.bins.iter().enumerate().filter(|(_, elements)| **elements > 0).map(bin).collect()
}

/// The task metric over everything, per class (classification), and per slice value.
fn task_rows(evidence: Evidence<'_>, cell: &Cell) -> Result<Vec<TaskRow>, EvidenceError> {
    let model = evidence.model(cell);
    let visited = evidence.visited(&cell.id);
    let truth = evidence.truth(model, visited)?;
    let Some(own) = answers(evidence, cell, &truth)? else { return Ok(Vec::new()) };
    let reference = match evidence.reference(cell) {
        Some(other) => {
            let of_all = evidence.truth(model, evidence.visited(&other.id))?;
            answers(evidence, other, &of_all)?.map(|answers| answers.first(visited))
        }
        None => None,
    };
    let row = |group: String, samples: u64, picked: Option<&[usize]>| TaskRow {
        group,
        samples,
        reference: reference.as_ref().and_then(|r| r.metric(&truth.labels, picked)),
        candidate: own.metric(&truth.labels, picked),
    };
    let mut rows = vec![row("all".into(), truth.labels.len() as u64, None)];
    if let Task::Classification { classes } = &model.task {
        for (code, class) in classes.iter().enumerate() {
            let picked: Vec<usize> = (0..truth.labels.len()).filter(|i| truth.labels[*i] == code as i64).collect();
            rows.push(row(format!("class={class}"), picked.len() as u64, Some(&picked)));
        }
    }
    for (column, values) in &model.evalset.slices {
        let codes = &truth.slices[column];
        for (code, value) in values.iter().enumerate() {
            let size = codes.iter().filter(|c| **c == code as i64).count() as u64;
            let picked = slice_samples(&model.task, codes, code as i64, &truth.labels);
            rows.push(row(format!("{column}={value}"), size, Some(&picked)));
        }
    }
    Ok(rows)
}
