//! The numbers that rules ask for, by name, for one cell.

use super::GateError;
use super::answers::{Answers, Drop, answers, samples_of, slice_samples};
use super::clock;
use super::decide::{Number, decide};
use crate::compare::latency::Latencies;
use crate::compare::numerics::{self, Metric, NonFiniteRule, Options, Summary, pair_outputs};
use crate::compare::statistics::Confidence;
use crate::evidence::{Evidence, Truth};
use boardproof_record::plan::{Cell, Model, Pass};
use boardproof_record::policy::{Against, Direction, Policy, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};

/// Metrics that are not elementwise.
const OWN: [&str; 14] = [
    "task.value",
    "task.drop",
    "slice.drop",
    "latency_ns_p50",
    "latency_ns_p90",
    "latency_ns_p99",
    "latency_ns_p999",
    "latency_ns_max",
    LATENCY_RATIO,
    "memory_peak_bytes",
    "memory_ratio",
    "model_bytes",
    "first_inference_ns",
    "load_ns",
];

/// The one metric that rests on the timings of two cells.
const LATENCY_RATIO: &str = "latency_ratio_p50";

/// Metrics that were counted by the unit's clock.
const TIMINGS: [&str; 8] = [
    "latency_ns_p50",
    "latency_ns_p90",
    "latency_ns_p99",
    "latency_ns_p999",
    "latency_ns_max",
    LATENCY_RATIO,
    "first_inference_ns",
    "load_ns",
];

/// Every metric that a rule can name.
pub fn known_metrics() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(Metric::ALL.into_iter().map(Metric::name))
}

/// A number that a rule asked for, or why there is none.
pub enum Known {
    /// The number.
    Number {
        /// With its bounds.
        number: Number,
        /// Samples it rests on.
        samples: u64,
        /// About how many more would decide.
        samples_more: Option<u64>,
        /// In words.
        detail: String,
    },
    /// There is none, and that is the model's doing: it fails.
    Invalid(String),
    /// There is none because something was not measured.
    Missing(String),
    /// The rule says nothing about this cell.
    NotApplicable,
}

/// Everything that the rules of one cell look at, opened once.
pub struct Desk<'a> {
    evidence: Evidence<'a>,
    baseline: Option<Evidence<'a>>,
    policy: &'a Policy,
    cell: &'a Cell,
    model: &'a Model,
    truth: Truth<'a>,
    own: Option<Answers>,
    reference: Option<Answers>,
}

impl<'a> Desk<'a> {
    /// Opens what the cell and its reference answered.
    pub fn new(
        evidence: Evidence<'a>,
        baseline: Option<Evidence<'a>>,
        policy: &'a Policy,
        cell: &'a Cell,
    ) -> Result<Self, GateError> {
        let model = evidence.model(cell);
        if let Some(other) = baseline.and_then(|b| b.record.plan.models.get(&cell.model))
            && other.evalset.digest != model.evalset.digest
        {
            let (expected, found) = (model.evalset.digest, other.evalset.digest);
            return Err(GateError::OtherEvalset { model: cell.model.clone(), expected, found });
        }
        let truth = evidence.truth(model, samples_of(cell))?;
        let own = answers(evidence, cell, &truth)?;
        let reference = match evidence.reference(cell) {
            Some(other) => answers(evidence, other, &truth)?,
            None => None,
        };
        Ok(Self { evidence, baseline, policy, cell, model, truth, own, reference })
    }

    /// Results of a rule on this cell: one, or one per slice, or none where it does not apply.
    pub fn results(&self, rule: &Rule) -> Result<Vec<RuleResult>, GateError> {
        if rule.metric == "slice.drop" {
            return self.slice_results(rule);
        }
        let (limit, reason) = self.limit(rule);
        let known = self.number(rule, limit)?;
        Ok(self.result(rule, None, known, limit, reason).into_iter().collect())
    }

    /// The limit in force: the model's own, if it has set one for this metric, else the rule's.
    fn limit(&self, rule: &Rule) -> (f64, String) {
        let fits = |t: &&boardproof_record::plan::Tolerance| t.metric == rule.metric;
        let here = self.model.tolerances.iter().filter(fits).find(|t| t.target.as_ref() == Some(&self.cell.target));
        let anywhere = || self.model.tolerances.iter().filter(fits).find(|t| t.target.is_none());
        match here.or_else(anywhere) {
            Some(own) => (own.limit, format!("model.toml: {}", own.reason)),
            None => (rule.limit, format!("policy: {}", rule.reason)),
        }
    }

    fn result(
        &self,
        rule: &Rule,
        slice: Option<String>,
        known: Known,
        limit: f64,
        limit_reason: String,
    ) -> Option<RuleResult> {
        let mut result = RuleResult {
            rule: rule.id.clone(),
            metric: rule.metric.clone(),
            slice,
            verdict: Verdict::Incomplete,
            observed: None,
            lower: None,
            upper: None,
            limit,
            limit_reason,
            unit: rule.unit.clone(),
            samples: 0,
            samples_more: None,
            detail: String::new(),
        };
        match known {
            Known::NotApplicable => return None,
            Known::Missing(why) => result.detail = why,
            Known::Invalid(why) => (result.verdict, result.detail) = (Verdict::Fail, why),
            Known::Number { number, samples, samples_more, detail } => {
                result.verdict = decide(number, rule.direction, limit, rule.decide);
                if samples < rule.min_samples && result.verdict != Verdict::Fail {
                    result.verdict = Verdict::Inconclusive;
                    result.samples_more = Some(rule.min_samples - samples);
                }
                let finite = |v: f64| v.is_finite().then_some(v);
                result.observed = finite(number.value);
                (result.lower, result.upper) = number.bounds.map_or((None, None), |(l, u)| (finite(l), finite(u)));
                result.samples = samples;
                if result.verdict == Verdict::Inconclusive && result.samples_more.is_none() {
                    result.samples_more = samples_more;
                }
                result.detail = self.in_words(rule, &result, number, &detail);
            }
        }
        Some(result)
    }

    /// What was measured, and what was wanted where that is not the same.
    fn in_words(&self, rule: &Rule, result: &RuleResult, number: Number, detail: &str) -> String {
        let drop = rule.metric.ends_with(".drop");
        let show =
            |v: f64| if drop { format!("{:.2} points", v * 100.0) } else { crate::report::amount(v, &rule.unit) };
        let wanted = match rule.direction {
            Direction::AtMost => "at most",
            Direction::AtLeast => "at least",
        };
        let limit = show(result.limit);
        let loss = if drop { format!(", a loss of {}", show(number.value)) } else { String::new() };
        match (result.verdict, number.bounds) {
            (Verdict::Pass, _) => detail.to_owned(),
            (Verdict::Inconclusive, Some((lower, upper))) => {
                let of = if drop { "the loss" } else { "it" };
                format!("{detail}: {of} lies between {} and {}, {wanted} {limit} wanted", show(lower), show(upper))
            }
            _ => format!("{detail}{loss}, {wanted} {limit} wanted"),
        }
    }

    /// Why the timings that a rule rests on cannot be believed, if they cannot.
    fn clock_is_off(&self, rule: &Rule) -> Option<String> {
        let off = |evidence: Evidence<'_>, cell: &Cell| {
            let (verdict, words) = clock::check(evidence.observation(&cell.id)?);
            (verdict != Verdict::Pass).then_some(words)
        };
        if off(self.evidence, self.cell).is_some() {
            return Some("the timings are not judged".into());
        }
        let (evidence, reference) = self.timed_reference(rule).filter(|_| rule.metric == LATENCY_RATIO)?;
        Some(format!("the reference's timings cannot be believed: {}", off(evidence, reference)?))
    }

    fn number(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        if TIMINGS.contains(&rule.metric.as_str())
            && let Some(why) = self.clock_is_off(rule)
        {
            return Ok(Known::Missing(why));
        }
        if let Some(metric) = Metric::from_name(&rule.metric) {
            return self.elementwise(rule, metric);
        }
        Ok(match rule.metric.as_str() {
            "task.value" => self.task_value(),
            "task.drop" => self.task_drop(rule, limit)?,
            "model_bytes" => exact(self.model.variants[&self.cell.variant].bytes as f64, "model file", "bytes"),
            "memory_peak_bytes" => self.fact(Pass::Memory, "rss_peak_bytes", "peak memory", "bytes"),
            "first_inference_ns" => self.fact(Pass::Latency, "first_inference_ns", "first inference", "ns"),
            "load_ns" => self.fact(Pass::Latency, "load_ns", "loading", "ns"),
            "memory_ratio" => self.memory_ratio(rule),
            LATENCY_RATIO => self.latency_ratio(rule)?,
            "latency_ns_p50" => self.latency(rule, Some(0.5))?,
            "latency_ns_p90" => self.latency(rule, Some(0.9))?,
            "latency_ns_p99" => self.latency(rule, Some(0.99))?,
            "latency_ns_p999" => self.latency(rule, Some(0.999))?,
            "latency_ns_max" => self.latency(rule, None)?,
            _ => Known::NotApplicable,
        })
    }

    fn task_value(&self) -> Known {
        match &self.own {
            None => Known::Missing("no answers".into()),
            Some(own) => match own.metric(&self.truth.labels, None) {
                None => Known::Invalid(format!("{} has no value on these labels", self.model.task.metric())),
                Some(value) => {
                    let detail = format!("{} {}", self.model.task.metric(), crate::report::amount(value, "share"));
                    Known::Number {
                        number: Number { value, bounds: None },
                        samples: self.truth.labels.len() as u64,
                        samples_more: None,
                        detail,
                    }
                }
            },
        }
    }

    /// Answers that the rule compares with.
    fn other(&self, rule: &Rule) -> Result<Option<Answers>, GateError> {
        let Some(baseline) = self.baseline.filter(|_| rule.against == Against::Baseline) else { return Ok(None) };
        match baseline.record.plan.cells.iter().find(|c| c.id == self.cell.id) {
            Some(cell) => Ok(answers(baseline, cell, &self.truth)?),
            None => Ok(None),
        }
    }

    fn task_drop(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        let baseline = self.other(rule)?;
        let reference = if rule.against == Against::Baseline { baseline.as_ref() } else { self.reference.as_ref() };
        let (Some(reference), Some(own)) = (reference, &self.own) else {
            return Ok(Known::Missing("no answers of the reference to compare with".into()));
        };
        let metric = self.model.task.metric();
        Ok(match reference.drop(own, &self.truth.labels, None, limit, rule.confidence) {
            None => Known::Invalid(format!("{metric} has no value on these labels")),
            Some(drop) => drop_number(&drop, metric),
        })
    }

    fn slice_results(&self, rule: &Rule) -> Result<Vec<RuleResult>, GateError> {
        let (limit, reason) = self.limit(rule);
        let baseline = self.other(rule)?;
        let reference = if rule.against == Against::Baseline { baseline.as_ref() } else { self.reference.as_ref() };
        let (Some(reference), Some(own)) = (reference, &self.own) else {
            let missing = Known::Missing("no answers of the reference to compare with".into());
            return Ok(self.result(rule, None, missing, limit, reason).into_iter().collect());
        };
        let mut results = Vec::new();
        for (column, values) in &self.model.evalset.slices {
            for (code, value) in values.iter().enumerate() {
                let name = format!("{column}={value}");
                if rule.slice.as_ref().is_some_and(|s| *s != name && s != column) {
                    continue;
                }
                let codes = &self.truth.slices[column];
                let own_size = codes.iter().filter(|c| **c == code as i64).count() as u64;
                let samples = slice_samples(&self.model.task, codes, code as i64, &self.truth.labels);
                if own_size < rule.min_samples || samples.is_empty() {
                    // Too small for a claim, or nothing to rank: shown in the report's slice table, not judged.
                    continue;
                }
                let Some(drop) = reference.drop(own, &self.truth.labels, Some(&samples), limit, rule.confidence) else {
                    continue;
                };
                let mut known = drop_number(&drop, &format!("{name} {}", self.model.task.metric()));
                if let Known::Number { samples, .. } = &mut known {
                    *samples = own_size;
                }
                results.extend(self.result(rule, Some(name), known, limit, reason.clone()));
            }
        }
        if results.is_empty() && rule.slice.is_some() {
            let (rule, why) = (
                rule.id.clone(),
                format!("no slice of '{}' is '{}'", self.model.name, rule.slice.as_deref().unwrap_or_default()),
            );
            return Err(GateError::MatchesNothing { rule, why });
        }
        if results.is_empty() && !self.model.evalset.slices.is_empty() {
            let number = Number { value: 0.0, bounds: Some((-1.0, 1.0)) };
            let detail = format!(
                "every slice has fewer than {} samples or one class only: none supports a claim",
                rule.min_samples
            );
            let known = Known::Number { number, samples: 0, samples_more: None, detail };
            results.extend(self.result(rule, None, known, limit, reason));
        } else if results.is_empty() {
            // A model without slices has nothing for the rule to look at; saying so keeps the rule from looking unmatched.
            let number = Number { value: 0.0, bounds: None };
            let known = Known::Number {
                number,
                samples: rule.min_samples,
                samples_more: None,
                detail: "the model names no slices".into(),
            };
            results.extend(self.result(rule, None, known, limit, reason));
        }
        Ok(results)
    }

    fn elementwise(&self, rule: &Rule, metric: Metric) -> Result<Known, GateError> {
        let counts =
            matches!(metric, Metric::NonfiniteMismatch | Metric::NonfiniteReference | Metric::NonfiniteCandidate);
        if !counts && !self.model.variants[&self.cell.variant].same_weights {
            return Ok(Known::NotApplicable);
        }
        let other = match (rule.against, self.baseline) {
            (Against::Baseline, Some(baseline)) => baseline.outputs(&self.cell.id)?,
            _ => match self.evidence.reference(self.cell) {
                Some(reference) => self.evidence.outputs(&reference.id)?,
                None => None,
            },
        };
        let own = self.evidence.outputs(&self.cell.id)?;
        let (Some(reference), Some(own)) = (other, own) else {
            return Ok(Known::Missing("no outputs of the reference to compare with".into()));
        };
        let r: Vec<_> = reference.iter().map(|t| (t.name.as_str(), t.view())).collect();
        let c: Vec<_> = own.iter().map(|t| (t.name.as_str(), t.view())).collect();
        let pairs = match pair_outputs(&r, &c) {
            Ok(pairs) => pairs,
            Err(why) => return Ok(Known::Invalid(format!("outputs cannot be compared: {why}"))),
        };
        let nonfinite =
            if self.policy.allow_nonfinite_mismatch { NonFiniteRule::LeaveOut } else { NonFiniteRule::Invalidate };
        let mut worst: Option<(f64, String)> = None;
        for (name, r, c) in pairs {
            let summary: Summary = match numerics::compare(&r, &c, Options::default()) {
                Ok(summary) => summary,
                Err(why) => return Ok(Known::Invalid(format!("output '{name}' cannot be compared: {why}"))),
            };
            let value = match summary.value_under(metric, nonfinite) {
                Ok(value) => value,
                Err(why) => return Ok(Known::Invalid(format!("{} of output '{name}': {why}", metric.name()))),
            };
            let worse = |known: f64| match rule.direction {
                Direction::AtMost => value > known,
                Direction::AtLeast => value < known,
            };
            if worst.as_ref().is_none_or(|(known, _)| worse(*known)) {
                worst = Some((value, name.to_owned()));
            }
        }
        let Some((value, _)) = worst else { return Ok(Known::Invalid("there is no output".into())) };
        let detail =
            format!("{} {}", crate::report::metric_name(metric.name()), crate::report::amount(value, &rule.unit));
        Ok(Known::Number {
            number: Number { value, bounds: None },
            samples: self.truth.labels.len() as u64,
            samples_more: None,
            detail,
        })
    }

    fn fact(&self, pass: Pass, key: &str, what: &str, unit: &str) -> Known {
        let value = self.evidence.completed(&self.cell.id, pass).and_then(|p| p.facts.numbers.get(key));
        value.map_or_else(|| Known::Missing(format!("{what} was not measured")), |v| exact(*v as f64, what, unit))
    }

    /// The cell that latency and memory are compared with.
    fn timed_reference(&self, rule: &Rule) -> Option<(Evidence<'a>, &'a Cell)> {
        match rule.against {
            Against::Baseline => {
                let baseline = self.baseline?;
                Some((baseline, baseline.record.plan.cells.iter().find(|c| c.id == self.cell.id)?))
            }
            Against::Reference | Against::Absolute => {
                Some((self.evidence, self.evidence.reference_on_unit(self.cell)?))
            }
        }
    }

    fn memory_ratio(&self, rule: &Rule) -> Known {
        let peak = |evidence: Evidence<'_>, cell: &Cell| {
            evidence
                .completed(&cell.id, Pass::Memory)
                .and_then(|p| p.facts.numbers.get("rss_peak_bytes"))
                .map(|v| *v as f64)
        };
        let reference = self.timed_reference(rule).and_then(|(evidence, cell)| peak(evidence, cell));
        match (reference, peak(self.evidence, self.cell)) {
            (Some(reference), Some(own)) if reference > 0.0 => {
                exact(own / reference, "peak memory against the reference", "ratio")
            }
            _ => Known::Missing("peak memory was not measured on both sides".into()),
        }
    }

    fn latencies(&self, evidence: Evidence<'_>, cell: &Cell) -> Result<Option<Latencies>, GateError> {
        Ok(evidence.latencies_ns(&cell.id)?.and_then(|ns| Latencies::from_ns(ns).ok()))
    }

    fn latency_ratio(&self, rule: &Rule) -> Result<Known, GateError> {
        let Some((evidence, reference)) = self.timed_reference(rule) else {
            return Ok(Known::Missing("the reference was not timed on this unit".into()));
        };
        let (Some(slow), Some(own)) = (self.latencies(evidence, reference)?, self.latencies(self.evidence, self.cell)?)
        else {
            return Ok(Known::Missing("latency was not measured on both sides".into()));
        };
        let Ok(both) = Confidence::new(2.0 * rule.confidence - 1.0) else {
            return Ok(Known::Invalid("the rule's confidence cannot be used".into()));
        };
        let ratio = slow.median_ratio(&own, both);
        Ok(match (ratio.ratio, ratio.interval) {
            (Some(value), Some(interval)) => Known::Number {
                number: Number { value, bounds: Some((interval.lower, interval.upper)) },
                samples: ratio.samples_candidate,
                samples_more: None,
                detail: format!("median latency {value:.2} times the reference's"),
            },
            _ => Known::Missing(format!("a ratio of medians needs {} inferences on each side", ratio.samples_needed)),
        })
    }

    fn latency(&self, rule: &Rule, p: Option<f64>) -> Result<Known, GateError> {
        let Some(own) = self.latencies(self.evidence, self.cell)? else {
            return Ok(Known::Missing("latency was not measured".into()));
        };
        let Ok(both) = Confidence::new(2.0 * rule.confidence - 1.0) else {
            return Ok(Known::Invalid("the rule's confidence cannot be used".into()));
        };
        let Some(p) = p else {
            let value = own.sorted_ns().last().copied().unwrap_or(f64::NAN);
            return Ok(exact(value, "longest inference", "ns"));
        };
        let q = own.quantile(p, both);
        let detail = format!("p{} latency {}", p * 100.0, crate::report::amount(q.value_ns, "ns"));
        Ok(match (q.lower_ns, q.upper_ns) {
            (Some(lower), Some(upper)) => Known::Number {
                number: Number { value: q.value_ns, bounds: Some((lower, upper)) },
                samples: q.samples,
                samples_more: None,
                detail,
            },
            _ => {
                let more = q.samples_needed.saturating_sub(q.samples);
                let number = Number { value: q.value_ns, bounds: Some((0.0, f64::INFINITY)) };
                Known::Number { number, samples: q.samples, samples_more: Some(more), detail }
            }
        })
    }
}

fn exact(value: f64, what: &str, unit: &str) -> Known {
    let detail = format!("{what} {}", crate::report::amount(value, unit));
    Known::Number { number: Number { value, bounds: None }, samples: 1, samples_more: None, detail }
}

fn drop_number(drop: &Drop, metric: &str) -> Known {
    let share = |v| crate::report::amount(v, "share");
    let detail = format!("{metric} {} (reference {})", share(drop.candidate), share(drop.reference));
    let number = Number { value: drop.value, bounds: Some((drop.lower, drop.upper)) };
    Known::Number { number, samples: drop.samples, samples_more: drop.samples_more, detail }
}
