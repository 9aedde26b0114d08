//! The numbers that rules ask for, by name, for one cell.

use super::always::{compared_with, finite, fit, trusted};
use super::answers::{Answers, Drop, Value, answers, samples_of, slice_samples};
use super::clock;
use super::decide::{Number, decide};
use super::{GateError, pass_name};
use crate::compare::latency::Latencies;
use crate::compare::numerics::{self, Metric, NonFiniteRule, Options, Summary, pair_outputs};
use crate::compare::statistics::Confidence;
use crate::evidence::{Evidence, Tensor, Truth};
use boardproof_record::plan::{Cell, Model, Pass};
use boardproof_record::policy::{Against, Decide, Direction, Policy, Rule};
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

/// Does the metric say nothing about this variant? Element by element, a network that was trained anew has no reference.
pub fn silent(metric: &str, evidence: Evidence<'_>, cell: &Cell) -> bool {
    let counts = [Metric::NonfiniteMismatch, Metric::NonfiniteReference, Metric::NonfiniteCandidate];
    let elementwise = Metric::from_name(metric).is_some_and(|metric| !counts.contains(&metric));
    elementwise && !evidence.model(cell).variants[&cell.variant].same_weights
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
    /// Answers of the reference, or why nothing may be compared with them.
    reference: Result<Answers, String>,
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
            Some(other) => trusted(evidence, other, &truth, policy.allow_nonfinite_mismatch)?,
            None => Err("the plan has no reference to compare with".into()),
        };
        Ok(Self { evidence, baseline, policy, cell, model, truth, own, reference })
    }

    /// What no policy can switch off, as far as it needs the answers.
    pub fn always(&self) -> Result<Vec<RuleResult>, GateError> {
        let trusted = self.reference.as_ref().map(|_| ()).map_err(String::as_str);
        let allowed = self.policy.allow_nonfinite_mismatch;
        let mut results: Vec<RuleResult> = finite(self.evidence, self.cell, allowed)?.into_iter().collect();
        results.push(compared_with(self.evidence, self.cell, trusted));
        Ok(results)
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
            Some(own) => (own.limit, own_limit(rule, own)),
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
                    // None at all would say that it is decided.
                    result.samples_more = samples_more.map(|more| more.max(1));
                }
                result.detail = self.in_words(rule, &result, number, &detail);
            }
        }
        Some(result)
    }

    /// What was measured, and what was wanted where that is not the same.
    fn in_words(&self, rule: &Rule, result: &RuleResult, number: Number, detail: &str) -> String {
        let drop = rule.metric.ends_with(".drop");
        let points = drop && rule.unit == "share";
        let show =
            |v: f64| if points { format!("{:.2} points", v * 100.0) } else { crate::report::amount(v, &rule.unit) };
        let wanted = match rule.direction {
            Direction::AtMost => "at most",
            Direction::AtLeast => "at least",
        };
        let limit = show(result.limit);
        let loss = if drop { format!(", a loss of {}", show(number.value)) } else { String::new() };
        match (result.verdict, number.bounds) {
            (Verdict::Pass, _) => detail.to_owned(),
            (Verdict::Inconclusive, bounds) => {
                let of = if drop { "the loss" } else { "it" };
                let range = match bounds {
                    Some((lower, upper)) => format!(": {of} lies between {} and {}", show(lower), show(upper)),
                    None => String::new(),
                };
                format!("{detail}{range}, {wanted} {limit} wanted; {}", self.more(rule, result))
            }
            _ => format!("{detail}{loss}, {wanted} {limit} wanted"),
        }
    }

    /// What it would take to decide.
    fn more(&self, rule: &Rule, result: &RuleResult) -> String {
        let what = if rule.metric.starts_with("latency") { "inferences" } else { "samples" };
        if result.samples < rule.min_samples {
            return format!("the rule wants {} {what}, these are {}", rule.min_samples, result.samples);
        }
        let Some(more) = result.samples_more else { return format!("no number of {what} would decide") };
        let left = self.model.evalset.samples.saturating_sub(self.truth.labels.len() as u64);
        let unused =
            if what == "samples" && left > 0 { format!(" (the evalset has {left} more)") } else { String::new() };
        format!("about {more} more {what} would decide{unused}")
    }

    /// Why the timings of this cell cannot be believed, if they cannot. Those of what it is compared with are asked about there.
    fn clock_is_off(&self) -> Option<String> {
        let (verdict, _) = clock::check(self.evidence.observation(&self.cell.id)?);
        (verdict != Verdict::Pass).then(|| "the timings are not judged".into())
    }

    fn number(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        if TIMINGS.contains(&rule.metric.as_str())
            && let Some(why) = self.clock_is_off()
        {
            return Ok(Known::Missing(why));
        }
        if let Some(metric) = Metric::from_name(&rule.metric) {
            return self.elementwise(rule, metric);
        }
        Ok(match rule.metric.as_str() {
            "task.value" => self.task_value(rule, limit),
            "task.drop" => self.task_drop(rule, limit)?,
            "model_bytes" => match self.model.variants[&self.cell.variant].bytes {
                0 => Known::Missing("the plan has no size of the model file".into()),
                bytes => exact(bytes as f64, "model file", "bytes"),
            },
            "memory_peak_bytes" => self.fact(Pass::Memory, "rss_peak_bytes", "peak memory", "bytes"),
            "first_inference_ns" => self.fact(Pass::Latency, "first_inference_ns", "first inference", "ns"),
            "load_ns" => self.fact(Pass::Latency, "load_ns", "loading", "ns"),
            "memory_ratio" => self.memory_ratio(rule),
            LATENCY_RATIO => self.latency_ratio(rule, limit)?,
            "latency_ns_p50" => self.latency(rule, Some(0.5), limit)?,
            "latency_ns_p90" => self.latency(rule, Some(0.9), limit)?,
            "latency_ns_p99" => self.latency(rule, Some(0.99), limit)?,
            "latency_ns_p999" => self.latency(rule, Some(0.999), limit)?,
            "latency_ns_max" => self.latency(rule, None, limit)?,
            _ => Known::NotApplicable,
        })
    }

    fn task_value(&self, rule: &Rule, limit: f64) -> Known {
        let Some(own) = &self.own else { return Known::Missing("no answers".into()) };
        let metric = self.model.task.metric();
        match own.value(&self.truth.labels, None, limit, rule.confidence) {
            None => Known::Missing(no_value(metric)),
            Some(Value { value, lower, upper, samples, samples_more }) => Known::Number {
                number: Number { value, bounds: Some((lower, upper)) },
                samples,
                samples_more,
                detail: format!("{metric} {}", crate::report::amount(value, &rule.unit)),
            },
        }
    }

    /// Calls `then` with the answers that the rule compares with, or says why there are none.
    fn compared<T>(
        &self,
        rule: &Rule,
        then: impl FnOnce(Result<(&Answers, &Answers), String>) -> Result<T, GateError>,
    ) -> Result<T, GateError> {
        let Some(own) = &self.own else { return then(Err("no answers".into())) };
        if rule.against != Against::Baseline {
            return then(self.reference.as_ref().map(|reference| (reference, own)).map_err(Clone::clone));
        }
        let (baseline, cell) = match self.in_baseline() {
            Ok(found) => found,
            Err(why) => return then(Err(why)),
        };
        let answers = trusted(baseline, cell, &self.truth, self.policy.allow_nonfinite_mismatch)?;
        then(answers.as_ref().map(|reference| (reference, own)).map_err(Clone::clone))
    }

    /// The same cell of the baseline.
    fn in_baseline(&self) -> Result<(Evidence<'a>, &'a Cell), String> {
        let Some(baseline) = self.baseline else { return Err("there is no baseline".into()) };
        let cell = baseline.record.plan.cells.iter().find(|c| c.id == self.cell.id);
        cell.map(|cell| (baseline, cell)).ok_or_else(|| format!("the baseline has no cell {}", self.cell.id))
    }

    fn task_drop(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        let metric = self.model.task.metric();
        self.compared(rule, |both| {
            let (reference, own) = match both {
                Ok(both) => both,
                Err(why) => return Ok(Known::Missing(why)),
            };
            Ok(match reference.drop(own, &self.truth.labels, None, pivot(rule, limit), rule.confidence) {
                None => Known::Missing(no_value(metric)),
                Some(drop) => drop_number(&drop, metric, &rule.unit),
            })
        })
    }

    fn slice_results(&self, rule: &Rule) -> Result<Vec<RuleResult>, GateError> {
        let (limit, reason) = self.limit(rule);
        self.compared(rule, |both| {
            let results = match both {
                Ok((reference, own)) => self.slices(rule, reference, own, limit, &reason),
                Err(why) => self.result(rule, None, Known::Missing(why), limit, reason.clone()).into_iter().collect(),
            };
            if results.is_empty() && rule.slice.is_some() {
                let why =
                    format!("no slice of '{}' is '{}'", self.model.name, rule.slice.as_deref().unwrap_or_default());
                return Err(GateError::MatchesNothing { rule: rule.id.clone(), why });
            }
            if results.is_empty() {
                return Ok(self.no_slice(rule, limit, reason).into_iter().collect());
            }
            Ok(results)
        })
    }

    fn slices(&self, rule: &Rule, reference: &Answers, own: &Answers, limit: f64, reason: &str) -> Vec<RuleResult> {
        let mut results = Vec::new();
        for (column, values) in &self.model.evalset.slices {
            for (code, value) in values.iter().enumerate() {
                let name = format!("{column}={value}");
                if rule.slice.as_ref().is_some_and(|s| *s != name && s != column) {
                    continue;
                }
                let (codes, labels) = (&self.truth.slices[column], &self.truth.labels);
                let own_size = codes.iter().filter(|c| **c == code as i64).count() as u64;
                let samples = slice_samples(&self.model.task, codes, code as i64, labels);
                if own_size < rule.min_samples || samples.is_empty() {
                    // Too small for a claim, or nothing to rank: shown in the report's slice table, not judged.
                    continue;
                }
                let drop = reference.drop(own, labels, Some(&samples), pivot(rule, limit), rule.confidence);
                let Some(drop) = drop else { continue };
                let mut known = drop_number(&drop, &format!("{name} {}", self.model.task.metric()), &rule.unit);
                if let Known::Number { samples, .. } = &mut known {
                    *samples = own_size;
                }
                results.extend(self.result(rule, Some(name), known, limit, reason.to_owned()));
            }
        }
        results
    }

    /// A rule for slices where none can be judged.
    fn no_slice(&self, rule: &Rule, limit: f64, reason: String) -> Option<RuleResult> {
        if self.model.evalset.slices.is_empty() {
            // A model without slices has nothing for the rule to look at; saying so keeps the rule from looking unmatched.
            let number = Number { value: 0.0, bounds: None };
            let (samples, detail) = (rule.min_samples, "the model names no slices".into());
            let known = Known::Number { number, samples, samples_more: None, detail };
            return self.result(rule, None, known, limit, reason);
        }
        let why =
            format!("every slice has fewer than {} samples or one class only: none supports a claim", rule.min_samples);
        let mut result = self.result(rule, None, Known::Missing(why), limit, reason)?;
        result.verdict = Verdict::Inconclusive;
        Some(result)
    }

    fn elementwise(&self, rule: &Rule, metric: Metric) -> Result<Known, GateError> {
        if silent(&rule.metric, self.evidence, self.cell) {
            return Ok(Known::NotApplicable);
        }
        let other = match self.outputs_to_compare_with(rule)? {
            Ok(other) => other,
            Err(why) => return Ok(Known::Missing(why)),
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

    /// Outputs of the cell that the rule compares with, or why they may not be.
    fn outputs_to_compare_with(&self, rule: &Rule) -> Result<Result<Option<Vec<Tensor<'a>>>, String>, GateError> {
        if rule.against == Against::Baseline {
            return self.compared(rule, |both| match both.and_then(|_| self.in_baseline()) {
                Ok((baseline, cell)) => Ok(Ok(baseline.outputs(&cell.id)?)),
                Err(why) => Ok(Err(why)),
            });
        }
        match (&self.reference, self.evidence.reference(self.cell)) {
            (Err(why), _) => Ok(Err(why.clone())),
            (Ok(_), None) => Ok(Ok(None)),
            (Ok(_), Some(cell)) => Ok(Ok(self.evidence.outputs(&cell.id)?)),
        }
    }

    fn fact(&self, pass: Pass, key: &str, what: &str, unit: &str) -> Known {
        match number_of(self.evidence, self.cell, pass, key) {
            Some(value) => exact(value, what, unit),
            None => Known::Missing(format!("{what} was not measured")),
        }
    }

    /// The cell that latency and memory are compared with, if its pass can be relied on.
    fn timed_reference(&self, rule: &Rule, pass: Pass) -> Result<(Evidence<'a>, &'a Cell), String> {
        let (evidence, cell) = match rule.against {
            Against::Baseline => self.in_baseline()?,
            Against::Reference | Against::Absolute => {
                let cell = self.evidence.reference_on_unit(self.cell);
                (self.evidence, cell.ok_or("the reference was not planned on this unit")?)
            }
        };
        fit(evidence, cell, pass)?;
        Ok((evidence, cell))
    }

    fn memory_ratio(&self, rule: &Rule) -> Known {
        let peak = |evidence, cell| number_of(evidence, cell, Pass::Memory, "rss_peak_bytes");
        let (evidence, reference) = match self.timed_reference(rule, Pass::Memory) {
            Ok(found) => found,
            Err(why) => return Known::Missing(why),
        };
        match (peak(evidence, reference), peak(self.evidence, self.cell)) {
            (Some(reference), Some(own)) => exact(own / reference, "peak memory against the reference", "ratio"),
            _ => Known::Missing("peak memory was not measured on both sides".into()),
        }
    }

    /// Latencies of a cell, or why there are none that a limit could be held against.
    fn latencies(&self, evidence: Evidence<'_>, cell: &Cell) -> Result<Result<Latencies, String>, GateError> {
        let Some(ns) = evidence.latencies_ns(&cell.id)? else {
            return Ok(Err(format!("the {} pass of {} has no times", pass_name(Pass::Latency), cell.id)));
        };
        let (count, still) = (ns.len(), ns.iter().filter(|ns| **ns == 0.0).count());
        if still > 0 {
            // Nothing takes no time: the clock is too coarse for this model, or it stood.
            return Ok(Err(format!("{still} of {count} inferences of {} took no tick of its clock", cell.id)));
        }
        Ok(Latencies::from_ns(ns).map_err(|why| why.to_string()))
    }

    fn latency_ratio(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        let (evidence, reference) = match self.timed_reference(rule, Pass::Latency) {
            Ok(found) => found,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let (slow, own) = match (self.latencies(evidence, reference)?, self.latencies(self.evidence, self.cell)?) {
            (Ok(slow), Ok(own)) => (slow, own),
            (Err(why), _) | (_, Err(why)) => return Ok(Known::Missing(why)),
        };
        let Ok(both) = Confidence::new(2.0 * rule.confidence - 1.0) else {
            return Ok(Known::Invalid("the rule's confidence cannot be used".into()));
        };
        let ratio = slow.median_ratio(&own, both);
        Ok(match (ratio.ratio, ratio.interval) {
            (Some(value), Some(interval)) => Known::Number {
                number: Number { value, bounds: Some((interval.lower, interval.upper)) },
                samples: ratio.samples_candidate,
                samples_more: more_by_width(value, (interval.lower, interval.upper), limit, ratio.samples_candidate),
                detail: format!("median latency {value:.2} times the reference's"),
            },
            _ => Known::Missing(format!("a ratio of medians needs {} inferences on each side", ratio.samples_needed)),
        })
    }

    fn latency(&self, rule: &Rule, p: Option<f64>, limit: f64) -> Result<Known, GateError> {
        let own = match self.latencies(self.evidence, self.cell)? {
            Ok(own) => own,
            Err(why) => return Ok(Known::Missing(why)),
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
                samples_more: more_by_width(q.value_ns, (lower, upper), limit, q.samples),
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

fn drop_number(drop: &Drop, metric: &str, unit: &str) -> Known {
    let show = |v| crate::report::amount(v, unit);
    let detail = format!("{metric} {} (reference {})", show(drop.candidate), show(drop.reference));
    let number = Number { value: drop.value, bounds: Some((drop.lower, drop.upper)) };
    Known::Number { number, samples: drop.samples, samples_more: drop.samples_more, detail }
}

/// Labels on which a metric says nothing are not the model's doing.
fn no_value(metric: &str) -> String {
    match metric {
        "auc" => "auc needs two samples of each label, these have fewer".into(),
        _ => format!("{metric} has no value on these labels"),
    }
}

/// What an interval must leave on one side for the rule to be decided: an alarm asks whether anything was lost at all.
fn pivot(rule: &Rule, limit: f64) -> f64 {
    match rule.decide {
        Decide::Shown => limit,
        Decide::Alarm => 0.0,
    }
}

/// About how many more samples would bring the bound nearer to the limit than the number is: bounds close in with the root of the count.
fn more_by_width(value: f64, (lower, upper): (f64, f64), limit: f64, samples: u64) -> Option<u64> {
    let (width, distance) = if limit > value { (upper - value, limit - value) } else { (value - lower, value - limit) };
    let more = ((width / distance).powi(2) - 1.0) * samples as f64;
    (more.is_finite() && more < 1e9).then(|| more.ceil().max(0.0) as u64)
}

/// A fact of a completed pass. Nothing that was measured is 0: no memory and no time mean that it was not.
fn number_of(evidence: Evidence<'_>, cell: &Cell, pass: Pass, key: &str) -> Option<f64> {
    let value = *evidence.completed(&cell.id, pass)?.facts.numbers.get(key)?;
    (value > 0).then_some(value as f64)
}

/// The reason of a limit that a model sets for itself. That it asks for less than the policy must be seen.
fn own_limit(rule: &Rule, own: &boardproof_record::plan::Tolerance) -> String {
    let looser = match rule.direction {
        Direction::AtMost => own.limit > rule.limit,
        Direction::AtLeast => own.limit < rule.limit,
    };
    let policy = crate::report::amount(rule.limit, &rule.unit);
    let than = if looser { format!(", {LOOSER} the policy's {policy}") } else { String::new() };
    format!("model.toml{than}: {}", own.reason)
}

/// Words in the reason of a limit that is easier to keep than the policy's.
pub const LOOSER: &str = "looser than";
