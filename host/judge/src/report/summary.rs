//! What every form of report shows, gathered once: so that all of them show the same.

use crate::compare::latency::{Latencies, LatencySummary};
use crate::compare::numerics::{self, Metric, Options};
use crate::compare::statistics::Confidence;
use crate::evidence::{Evidence, EvidenceError, Tensor};
use crate::gate::{answers, of_cell, samples_of, slice_samples};
use boardproof_record::CellId;
use boardproof_record::observation::{Attempt, Facts, Fault, Observation, Operator, Outcome, Shipped};
use boardproof_record::plan::{Cell, Pass, Task};
use boardproof_record::verdict::{Judgement, RuleResult, Verdict};
use serde::Serialize;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
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

/// One judged cell.
#[derive(Debug, Clone, Serialize)]
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
    /// Rule by rule.
    pub rules: Vec<RuleResult>,
    /// Where the drift comes from; `None` without outputs.
    pub drift: Option<DriftSplit>,
    /// Task metric, whole and by slice.
    pub task: Vec<TaskRow>,
    /// Latency of the cell.
    pub latency: Option<LatencySummary>,
    /// Every latency sample in nanoseconds, sorted; for plots.
    #[serde(skip)]
    pub latency_ns: Vec<f64>,
    /// Latency of the float model on the same unit.
    pub latency_reference: Option<LatencySummary>,
    /// Memory by name, in bytes.
    pub memory: Vec<(String, f64)>,
    /// Error histogram: lower edge, upper edge, elements. Edges are absolute errors.
    pub errors: Vec<(f64, f64, u64)>,
    /// Elementwise metrics against the reference by name, unit and value or why there is none.
    pub metrics: Vec<(String, String, Result<f64, String>)>,
    /// Vendors' figures by their own names.
    pub dialects: Vec<(String, Result<f64, String>)>,
    /// Operators that ran.
    pub operators: Vec<Operator>,
    /// Environment before the first pass.
    pub environment: Facts,
    /// Who answered.
    pub device: Option<boardproof_record::observation::Device>,
    /// Bytes that crossed the link.
    pub shipped: Shipped,
    /// Attempts that did not work.
    pub failed_attempts: Vec<Attempt>,
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

    /// Name for people.
    pub fn title(&self) -> String {
        format!("{} {} on {}", self.model, self.variant, self.unit)
    }
}

/// SQNR along the way from float on the host to the variant on the unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DriftSplit {
    /// Float on host against variant on host.
    pub quantization_db: Option<f64>,
    /// Variant on host against variant on unit; infinite when identical.
    pub deployment_db: Option<f64>,
    /// Float on host against variant on unit.
    pub total_db: Option<f64>,
}

/// Task metric of one group of samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Gathers a run.
pub fn summarize(evidence: Evidence<'_>, judgement: &Judgement) -> Result<Summary, EvidenceError> {
    let record = evidence.record;
    let judged = record.plan.cells.iter().filter(|c| c.judged);
    let cells = judged.map(|cell| summarize_cell(evidence, judgement, cell)).collect::<Result<_, _>>()?;
    Ok(Summary {
        verdict: judgement.verdict,
        policy: judgement.policy.clone(),
        boardproof: record.boardproof.clone(),
        started_unix_s: record.started_unix_s,
        elapsed_ms: record.elapsed_ms,
        cells,
        builds: record.builds.clone(),
    })
}

fn summarize_cell(evidence: Evidence<'_>, judgement: &Judgement, cell: &Cell) -> Result<CellSummary, EvidenceError> {
    let model = evidence.model(cell);
    let variant = &model.variants[&cell.variant];
    let target = &evidence.record.plan.targets[&cell.target];
    let judged = of_cell(judgement, &cell.id);
    let seen = evidence.observation(&cell.id);
    let latency_ns = sorted(evidence.latencies_ns(&cell.id)?);
    let on_unit = evidence.reference_on_unit(cell);
    let reference_ns = match on_unit {
        Some(other) => sorted(evidence.latencies_ns(&other.id)?),
        None => Vec::new(),
    };
    let compared = Compared::of(evidence, cell)?;
    Ok(CellSummary {
        cell: cell.id.clone(),
        model: cell.model.to_string(),
        variant: cell.variant.to_string(),
        unit: cell.unit.to_string(),
        target: cell.target.to_string(),
        proved: target.proved,
        emulated: target.emulated,
        quantization: variant.quantization.clone(),
        model_bytes: variant.bytes,
        verdict: judged.map_or(Verdict::Incomplete, |j| j.verdict),
        reason: judged.map_or_else(|| "not judged".into(), |j| j.reason.clone()),
        rules: judged.map(|j| j.rules.clone()).unwrap_or_default(),
        drift: compared.split,
        task: task_rows(evidence, cell)?,
        latency: latency_summary(&latency_ns),
        latency_ns,
        latency_reference: latency_summary(&reference_ns),
        memory: seen.map(memory).unwrap_or_default(),
        errors: compared.errors,
        metrics: compared.metrics,
        dialects: compared.dialects,
        operators: seen.and_then(|s| s.pass(Pass::Inspect)).map(|p| p.operators.clone()).unwrap_or_default(),
        environment: seen.map(|s| s.environment_before.clone()).unwrap_or_default(),
        device: seen.map(|s| s.device.clone()),
        shipped: seen.map(|s| s.shipped).unwrap_or_default(),
        failed_attempts: attempts(&evidence.record.outcomes[&cell.id]),
        fault: fault(&evidence.record.outcomes[&cell.id]),
    })
}

fn sorted(values: Option<Vec<f64>>) -> Vec<f64> {
    let mut values = values.unwrap_or_default();
    values.sort_by(f64::total_cmp);
    values
}

fn latency_summary(ns: &[f64]) -> Option<LatencySummary> {
    Latencies::from_ns(ns.to_vec()).ok().map(|l| l.summary(Confidence::P95))
}

fn memory(seen: &Observation) -> Vec<(String, f64)> {
    const NAMES: [(&str, &str); 5] = [
        ("at start", "rss_start_bytes"),
        ("after loading", "rss_after_load_bytes"),
        ("after first inference", "rss_after_first_bytes"),
        ("peak", "rss_peak_bytes"),
        ("heap peak of model and engine", "alloc_peak_bytes"),
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

fn attempts(outcome: &Outcome) -> Vec<Attempt> {
    let all = match outcome {
        Outcome::Measured(seen) => seen.attempts.as_slice(),
        Outcome::BuildFailed(f) | Outcome::ShipFailed(f) | Outcome::DeviceFault(f) | Outcome::TimedOut(f) => {
            f.attempts.as_slice()
        }
        Outcome::NotRun | Outcome::Skipped { .. } => &[],
    };
    all.iter().filter(|a| a.error.is_some()).cloned().collect()
}

/// Outputs of the cell against those of the reference and of the host.
#[derive(Default)]
struct Compared {
    split: Option<DriftSplit>,
    errors: Vec<(f64, f64, u64)>,
    metrics: Vec<(String, String, Result<f64, String>)>,
    dialects: Vec<(String, Result<f64, String>)>,
}

impl Compared {
    fn of(evidence: Evidence<'_>, cell: &Cell) -> Result<Self, EvidenceError> {
        let first = |other: Option<&Cell>| -> Result<Option<Tensor<'_>>, EvidenceError> {
            match other {
                Some(other) => Ok(evidence.outputs(&other.id)?.and_then(|o| o.into_iter().next())),
                None => Ok(None),
            }
        };
        let (reference, host, own) =
            (first(evidence.reference(cell))?, first(evidence.on_host(cell))?, first(Some(cell))?);
        let Some(own) = own else { return Ok(Self::default()) };
        let compare = |r: &Option<Tensor<'_>>, c: &Option<Tensor<'_>>| {
            let (r, c) = (r.as_ref()?, c.as_ref()?);
            numerics::compare(&r.view(), &c.view(), Options::default()).ok()
        };
        let db = |s: Option<&numerics::Summary>| s.and_then(|s| s.value(Metric::SqnrDb).ok());
        let own = Some(own);
        let (quantization, deployment, total) =
            (compare(&reference, &host), compare(&host, &own), compare(&reference, &own));
        let split = DriftSplit {
            quantization_db: db(quantization.as_ref()),
            deployment_db: db(deployment.as_ref()),
            total_db: db(total.as_ref()),
        };
        let Some(total) = total else { return Ok(Self { split: Some(split), ..Self::default() }) };
        let metrics = Metric::ALL
            .iter()
            .map(|m| (m.name().to_owned(), m.unit().to_owned(), total.value(*m).map_err(|e| e.to_string())));
        let dialects = crate::compare::dialect::Dialect::ALL
            .iter()
            .map(|d| (d.name().to_owned(), d.value(&total).map_err(|e| e.to_string())));
        Ok(Self {
            split: Some(split),
            errors: error_bins(&total),
            metrics: metrics.collect(),
            dialects: dialects.collect(),
        })
    }
}

fn error_bins(total: &numerics::Summary) -> Vec<(f64, f64, u64)> {
    let histogram = total.errors();
    let bins = &histogram.bins;
    bins.iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(i, count)| {
            let (from, to) = numerics::ErrorHistogram::edges(i);
            (from, to, *count)
        })
        .collect()
}

/// The task metric over everything, per class (classification), and per slice value.
fn task_rows(evidence: Evidence<'_>, cell: &Cell) -> Result<Vec<TaskRow>, EvidenceError> {
    let model = evidence.model(cell);
    let truth = evidence.truth(model, samples_of(cell))?;
    let Some(own) = answers(evidence, cell, &truth)? else { return Ok(Vec::new()) };
    let reference = match evidence.reference(cell) {
        Some(other) => answers(evidence, other, &truth)?,
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
