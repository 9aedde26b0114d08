//! The numbers that rules ask for, by name, for one cell.

use super::GateError;
use super::always::{compared_with, finite, same_as_host, trusted};
use super::answers::{Answers, Drop, Looks, Sure, Value, answers, samples_of};
use super::baseline::{EXACT, stale};
use super::clock;
use super::custom::CUSTOM;
use super::decide::{Number, decide};
use super::gap::SLICE_GAP;
use super::graded::{ECE_CHANGE, F1_DROP, FPR_RISE, GRADED, TPR_DROP};
use super::placed::{fallen, in_words, no_fallback};
use super::second::{Opinion, by_the_policys_engine, opinion};
use super::slices::Part;
use super::stop;
use super::timed::exact;
use crate::compare::gpu::{Others, others};
use crate::compare::numerics::{self, Metric, NonFiniteRule, Options, Summary, pair_outputs};
use crate::compare::operators;
use crate::evidence::{Evidence, Tensor, Truth};
use boardproof_record::plan::{Cell, Model, Pass, PassPlan, Variant};
use boardproof_record::policy::{Against, Decide, Direction, Policy, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};

/// Metrics that are not elementwise.
const OWN: [&str; 22] = [
    "task.value",
    "task.drop",
    SLICE_DROP,
    SLICE_GAP,
    "latency_ns_p50",
    "latency_ns_p90",
    "latency_ns_p99",
    "latency_ns_p999",
    "latency_ns_max",
    LATENCY_RATIO,
    "memory_peak_bytes",
    MEMORY_RATIO,
    "model_bytes",
    "first_inference_ns",
    "load_ns",
    "instructions_p50",
    "instructions_max",
    "flash_bytes",
    "arena_bytes",
    INTEGER_OPS_SHARE,
    FALLBACK_NODES,
    GPU_OTHER_PROCESSES,
];

/// The metric that looks at slices without being told which.
pub const SLICE_DROP: &str = "slice.drop";

/// The one metric that rests on the timings of two cells.
pub const LATENCY_RATIO: &str = "latency_ratio_p50";

/// What the model adds to its process against what another one does.
pub const MEMORY_RATIO: &str = "memory_ratio";

/// Metrics of one cell against another that come out a little different each time.
pub const TIMED_RATIOS: [&str; 2] = [LATENCY_RATIO, MEMORY_RATIO];

/// The metric of what ran.
pub const INTEGER_OPS_SHARE: &str = "integer_ops_share";
/// The metric of who else was on the GPU.
pub const GPU_OTHER_PROCESSES: &str = "gpu_other_processes";

/// The metric of what ran elsewhere than was wanted.
pub const FALLBACK_NODES: &str = "fallback_nodes";

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
    let own = OWN.into_iter().chain(EXACT).chain(GRADED).chain(CUSTOM);
    own.chain(Metric::ALL.into_iter().map(Metric::name))
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
    /// There is none because there are too few samples.
    TooFew {
        /// Samples that there are.
        samples: u64,
        /// How many more it takes, where that is known.
        samples_more: Option<u64>,
        /// In words.
        why: String,
    },
    /// There is none, and that is the model's doing: it fails.
    Invalid(String),
    /// There is none because something was not measured.
    Missing(String),
    /// The rule says nothing about this cell.
    NotApplicable,
}

/// Does the rule compare with a float model that the cell's engine cannot run, so that there is none on its unit?
pub fn has_nothing_on_unit(rule: &Rule, cell: &Cell) -> bool {
    let on_unit = TIMED_RATIOS.contains(&rule.metric.as_str()) && rule.against == Against::Reference;
    on_unit && !cell.has_float_engine()
}

/// Does the metric say nothing about this variant? Element by element, a network that was trained anew has no reference.
pub fn silent(metric: &str, variant: &Variant) -> bool {
    let counts = [Metric::NonfiniteMismatch, Metric::NonfiniteReference, Metric::NonfiniteCandidate];
    let elementwise = Metric::from_name(metric).is_some_and(|metric| !counts.contains(&metric));
    elementwise && !variant.same_weights
}

/// Everything that the rules of one cell look at, opened once.
pub struct Desk<'a> {
    pub(super) evidence: Evidence<'a>,
    /// The same with the second latency passes of float models, where some were planned.
    pub(super) again: Option<Evidence<'a>>,
    pub(super) baseline: Option<Evidence<'a>>,
    pub(super) policy: &'a Policy,
    pub(super) cell: &'a Cell,
    pub(super) model: &'a Model,
    pub(super) truth: Truth<'a>,
    own: Option<Answers>,
    /// Answers of the reference, or why nothing may be compared with them.
    reference: Result<Answers, String>,
    /// What another engine says of the reference.
    opinion: Opinion,
    /// The same of the baseline.
    earlier: Result<Answers, String>,
}

impl<'a> Desk<'a> {
    /// Opens what the cell and its reference answered.
    pub fn new(
        evidence: Evidence<'a>,
        again: Option<Evidence<'a>>,
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
        // What the cell is compared with is trusted or not by all of its answers, however few the cell itself has come to.
        let whole = evidence.truth(model, samples_of(cell))?;
        let visited = evidence.visited(&cell.id);
        let truth = whole.first(visited);
        let own = answers(evidence, cell, &truth)?;
        let reference = match evidence.reference(cell) {
            Some(other) => trusted(evidence, other, &whole, policy.allow_nonfinite_mismatch)?,
            None => Err("the plan has no reference to compare with".into()),
        };
        let opinion = opinion(evidence, cell)?;
        let reference = match &opinion {
            Opinion::Another(why) => Err(why.clone()),
            Opinion::None | Opinion::Absent(_) | Opinion::Same(_) => reference,
        };
        let reference = by_the_policys_engine(evidence, policy, cell).and(reference);
        let reference = reference.map(|answers| answers.first(visited));
        let earlier = match same_cell(baseline, cell) {
            Ok((other, cell)) if policy.rules.iter().any(|r| r.against == Against::Baseline) => {
                trusted(other, cell, &whole, policy.allow_nonfinite_mismatch)?.map(|answers| answers.first(visited))
            }
            Ok(_) => Err("no rule compares with the baseline".into()),
            Err(why) => Err(why),
        };
        Ok(Self { evidence, again, baseline, policy, cell, model, truth, own, reference, opinion, earlier })
    }

    /// The same after the first samples alone, as a look at the pass while it ran had it.
    pub(super) fn first(&self, samples: u64) -> Self {
        let cut = |answers: &Answers| answers.clone().first(samples);
        let other = |answers: &Result<Answers, String>| answers.as_ref().map(cut).map_err(Clone::clone);
        Self {
            truth: self.truth.first(samples),
            own: self.own.as_ref().map(cut),
            reference: other(&self.reference),
            opinion: self.opinion.clone(),
            earlier: other(&self.earlier),
            ..*self
        }
    }

    /// The same judged by another policy.
    pub(super) fn by(&self, policy: &'a Policy) -> Result<Self, GateError> {
        Self::new(self.evidence, self.again, self.baseline, policy, self.cell)
    }

    /// The policy that it is judged by.
    pub(super) fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// May the answers be compared with the reference's?
    pub(super) fn compared_with_can_be_trusted(&self) -> Result<(), &str> {
        self.reference.as_ref().map(|_| ()).map_err(String::as_str)
    }

    /// Samples that are looked at.
    pub(super) fn visited(&self) -> u64 {
        self.truth.labels.len() as u64
    }

    /// Samples that were planned.
    pub(super) fn planned(&self) -> u64 {
        samples_of(self.cell)
    }

    /// How often the samples may have been looked at.
    pub(super) fn looks(&self) -> Looks {
        let may_stop = self.cell.passes.iter().any(PassPlan::may_stop);
        if may_stop && matches!(self.own, Some(Answers::Right(_))) { Looks::Many } else { Looks::Once }
    }

    fn sure(&self, rule: &Rule) -> Sure {
        Sure { confidence: rule.confidence, looks: self.looks() }
    }

    /// A number whose bounds hold at one look only, of a pass that stopped at one of many.
    pub(super) fn unbounded(&self, rule: &Rule) -> Option<Known> {
        (self.visited() < self.planned() && self.looks() == Looks::Once).then(|| self.without_bounds(rule))
    }

    /// What a rule gets in the place of a number that has no bounds where the pass stopped.
    pub(super) fn without_bounds(&self, rule: &Rule) -> Known {
        let (metric, samples, all) = (&rule.metric, self.visited(), self.planned());
        let why = format!(
            "the pass stopped after {samples} of {all} samples, and no bound of {metric} holds wherever one stops: check without --early-stop"
        );
        Known::TooFew { samples, samples_more: Some(all - samples), why }
    }

    /// Outputs of the cell to the samples that are looked at.
    pub(super) fn own_outputs(&self) -> Result<Option<Vec<Tensor<'a>>>, GateError> {
        Ok(self.evidence.first_outputs(&self.cell.id, self.visited())?)
    }

    /// What no policy can switch off, as far as it needs the answers.
    pub fn always(&self) -> Result<Vec<RuleResult>, GateError> {
        let trusted = self.compared_with_can_be_trusted();
        let allowed = self.policy.allow_nonfinite_mismatch;
        let mut results: Vec<RuleResult> =
            finite(self.evidence, self.cell, allowed, self.visited())?.into_iter().collect();
        results.push(compared_with(self.evidence, self.cell, trusted, &self.opinion));
        results.extend(same_as_host(self.evidence, self.cell, self.visited())?);
        results.extend(stop::reason_to_stop(self)?);
        results.extend(no_fallback(self.evidence, self.policy, self.cell));
        Ok(results)
    }

    /// Results of a rule on this cell: one, or one per slice, or none where it does not apply.
    pub fn results(&self, rule: &Rule) -> Result<Vec<RuleResult>, GateError> {
        if rule.metric == SLICE_GAP {
            return self.gap_results(rule);
        }
        if rule.slice.is_some() || rule.metric == SLICE_DROP {
            return self.slice_results(rule);
        }
        let (limit, reason) = self.limit(rule);
        let known = self.number(rule, limit)?;
        Ok(self.result(rule, None, known, limit, reason).into_iter().collect())
    }

    /// The limit in force: the model's own, if it has set one for this metric, else the rule's.
    pub(super) fn limit(&self, rule: &Rule) -> (f64, String) {
        let fits = |t: &&boardproof_record::plan::Tolerance| t.metric == rule.metric;
        let here = self.model.tolerances.iter().filter(fits).find(|t| t.target.as_ref() == Some(&self.cell.target));
        let anywhere = || self.model.tolerances.iter().filter(fits).find(|t| t.target.is_none());
        match here.or_else(anywhere) {
            Some(own) => (own.limit, own_limit(rule, own)),
            None => (rule.limit, format!("policy: {}", rule.reason)),
        }
    }

    pub(super) fn result(
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
            Known::TooFew { samples, samples_more, why } => {
                result.verdict = Verdict::Inconclusive;
                (result.samples, result.samples_more, result.detail) = (samples, samples_more, why);
            }
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
                if let Some(stale) = stale(rule, number, limit) {
                    result.detail = format!("{}; {stale}", result.detail);
                }
            }
        }
        Some(result)
    }

    /// What was measured, and what was wanted where that is not the same.
    fn in_words(&self, rule: &Rule, result: &RuleResult, number: Number, detail: &str) -> String {
        let metric = rule.metric.as_str();
        let drop = metric.ends_with(".drop") || [F1_DROP, TPR_DROP].contains(&metric);
        let grows = [SLICE_GAP, FPR_RISE, ECE_CHANGE].contains(&metric);
        let points = (drop || grows) && rule.unit == "share";
        let show =
            |v: f64| if points { format!("{:.2} points", v * 100.0) } else { crate::report::amount(v, &rule.unit) };
        let wanted = match rule.direction {
            Direction::AtMost => "at most",
            Direction::AtLeast => "at least",
        };
        let limit = show(result.limit);
        let loss = match () {
            () if drop => format!(", a loss of {}", show(number.value)),
            () if grows => format!(", it grew by {}", show(number.value)),
            () => String::new(),
        };
        match (result.verdict, number.bounds) {
            (Verdict::Pass, Some((lower, upper))) if rule.decide == Decide::Proven && beyond(rule, number, result) => {
                let (lower, upper) = (show(lower), show(upper));
                format!("{detail}, beyond {limit} but not shown: between {lower} and {upper}")
            }
            (Verdict::Pass, _) => detail.to_owned(),
            (Verdict::Inconclusive, bounds) => {
                let of = match () {
                    () if drop => "the loss",
                    () if grows => "its growth",
                    () => "it",
                };
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
        if !self.cell.passes.iter().any(|p| p.pass == Pass::Latency) {
            let why = self.why_missing("latency").map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!("nothing was timed{why}"));
        }
        let (verdict, _) = clock::check(self.evidence.observation(&self.cell.id)?, self.evidence.clock(&self.cell.id));
        (verdict != Verdict::Pass).then(|| "the timings are not judged".into())
    }

    fn number(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        if TIMINGS.contains(&rule.metric.as_str())
            && let Some(why) = self.clock_is_off()
        {
            return Ok(Known::Missing(why));
        }
        if let Some(metric) = Metric::from_name(&rule.metric) {
            return self.elementwise(rule, metric, None);
        }
        if GRADED.contains(&rule.metric.as_str()) {
            return self.graded(rule, limit, None);
        }
        if CUSTOM.contains(&rule.metric.as_str()) {
            return self.custom(rule, limit, None);
        }
        Ok(match rule.metric.as_str() {
            "task.value" => self.task_value(rule, limit, None),
            "task.drop" => self.task_drop(rule, limit, None),
            "model_bytes" => match self.model.variants[&self.cell.variant].bytes {
                0 => Known::Missing("the plan has no size of the model file".into()),
                bytes => exact(bytes as f64, "model file", "bytes"),
            },
            "memory_peak_bytes" => self.fact(Pass::Memory, "rss_peak_bytes", "peak memory", "bytes"),
            "first_inference_ns" => self.time("first_inference_ns", "first inference"),
            "load_ns" => self.time("load_ns", "loading"),
            "instructions_p50" => self.instructions(Some(0.5))?,
            "instructions_max" => self.instructions(None)?,
            "flash_bytes" => self.fact(Pass::Memory, "flash_bytes", "firmware", "bytes"),
            "arena_bytes" => self.fact(Pass::Memory, "arena_peak_bytes", "arena", "bytes"),
            MEMORY_RATIO => self.memory_ratio(rule, limit),
            INTEGER_OPS_SHARE => self.integer_ops_share(),
            FALLBACK_NODES => self.fallback_nodes(),
            GPU_OTHER_PROCESSES => self.gpu_other_processes(),
            LATENCY_RATIO => self.latency_ratio(rule, limit)?,
            "latency_ns_p50" => self.latency(rule, Some(0.5), limit)?,
            "latency_ns_p90" => self.latency(rule, Some(0.9), limit)?,
            "latency_ns_p99" => self.latency(rule, Some(0.99), limit)?,
            "latency_ns_p999" => self.latency(rule, Some(0.999), limit)?,
            "latency_ns_max" => self.latency(rule, None, limit)?,
            metric if EXACT.contains(&metric) => self.exact_against_baseline(metric)?,
            _ => Known::NotApplicable,
        })
    }

    fn integer_ops_share(&self) -> Known {
        let Some(inspected) = self.evidence.completed(&self.cell.id, Pass::Inspect) else {
            return Known::Missing("what ran is not known: there is no whole inspection".into());
        };
        let lines = operators::lines(inspected);
        match operators::integer_share(&lines) {
            Some(share) => exact(share, "multiply-accumulates on integers", "share"),
            None => Known::Missing("the engine names no operator that multiplies".into()),
        }
    }

    /// Engines without execution providers run everything on the CPU, where it is wanted.
    fn fallback_nodes(&self) -> Known {
        match fallen(self.evidence, self.cell) {
            Err(why) => Known::Missing(why),
            Ok(fallen) => {
                let number = Number { value: fallen.len() as f64, bounds: None };
                Known::Number { number, samples: 1, samples_more: None, detail: in_words(&fallen) }
            }
        }
    }

    /// An engine on the CPU has no GPU to share.
    fn gpu_other_processes(&self) -> Known {
        if !self.cell.is_on_gpu() {
            return Known::NotApplicable;
        }
        let Some(seen) = self.evidence.observation(&self.cell.id) else {
            return Known::Missing("nothing was measured on the GPU".into());
        };
        match others(self.cell, seen) {
            Others::Seen(most) => exact(most as f64, "other processes on the GPU", "count"),
            Others::Unknown(why) => Known::Missing(format!("who else was on the GPU is not known: {why}")),
        }
    }

    pub(super) fn task_value(&self, rule: &Rule, limit: f64, part: Option<&Part>) -> Known {
        let Some(own) = &self.own else { return Known::Missing("no answers".into()) };
        if let Some(unbounded) = self.unbounded(rule) {
            return unbounded;
        }
        let metric = self.model.task.metric();
        match own.value(&self.truth.labels, part.map(|p| p.ranked.as_slice()), limit, self.sure(rule)) {
            None => Known::Missing(no_value(metric)),
            Some(Value { value, lower, upper, samples, samples_more }) => Known::Number {
                number: Number { value, bounds: Some((lower, upper)) },
                samples: part.map_or(samples, Part::size),
                samples_more,
                detail: format!("{}{metric} {}", within(part), crate::report::amount(value, &rule.unit)),
            },
        }
    }

    /// The cell's own answers.
    pub(super) fn own_answers(&self) -> Option<&Answers> {
        self.own.as_ref()
    }

    /// Answers of what the rule compares with, or why there are none.
    pub(super) fn answers_to_compare_with(&self, rule: &Rule) -> Result<&Answers, String> {
        let other = if rule.against == Against::Baseline { &self.earlier } else { &self.reference };
        other.as_ref().map_err(Clone::clone)
    }

    /// Answers of what the rule compares with, and the cell's own, or why there are none.
    pub(super) fn compared(&self, rule: &Rule) -> Result<(&Answers, &Answers), String> {
        let own = self.own.as_ref().ok_or("no answers")?;
        Ok((self.answers_to_compare_with(rule)?, own))
    }

    pub(super) fn task_drop(&self, rule: &Rule, limit: f64, part: Option<&Part>) -> Known {
        let metric = self.model.task.metric();
        let (reference, own) = match self.compared(rule) {
            Ok(both) => both,
            Err(why) => return Known::Missing(why),
        };
        if let Some(unbounded) = self.unbounded(rule) {
            return unbounded;
        }
        let samples = part.map(|p| p.ranked.as_slice());
        let drop = reference.drop(own, &self.truth.labels, samples, pivot(rule, limit), self.sure(rule));
        let Some(drop) = drop else { return Known::Missing(no_value(metric)) };
        let mut known = drop_number(&drop, &format!("{}{metric}", within(part)), rule);
        if let (Known::Number { samples, .. }, Some(part)) = (&mut known, part) {
            *samples = part.size();
        }
        known
    }

    /// An elementwise metric of the worst output, over all samples or those of a part.
    pub(super) fn elementwise(&self, rule: &Rule, metric: Metric, part: Option<&Part>) -> Result<Known, GateError> {
        if silent(&rule.metric, &self.model.variants[&self.cell.variant]) {
            return Ok(Known::NotApplicable);
        }
        let other = match self.outputs_to_compare_with(rule)? {
            Ok(other) => other,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let own = self.own_outputs()?;
        let (Some(mut reference), Some(mut own)) = (other, own) else {
            return Ok(Known::Missing("no outputs of the reference to compare with".into()));
        };
        if let Some(part) = part {
            [&mut reference, &mut own].into_iter().flatten().for_each(|tensor| *tensor = tensor.of(&part.own));
        }
        Ok(match self.worst_output(rule, metric, &reference, &own) {
            Err(why) => Known::Invalid(format!("{}{why}", within(part))),
            Ok(value) => Known::Number {
                number: Number { value, bounds: None },
                samples: part.map_or(self.truth.labels.len() as u64, Part::size),
                samples_more: None,
                detail: format!(
                    "{}{} {}",
                    within(part),
                    crate::report::metric_name(metric.name()),
                    crate::report::amount(value, &rule.unit)
                ),
            },
        })
    }

    /// The metric of the output where it is worst; why not, if any output has none.
    pub(super) fn worst_output(
        &self,
        rule: &Rule,
        metric: Metric,
        reference: &[Tensor<'_>],
        own: &[Tensor<'_>],
    ) -> Result<f64, String> {
        let r: Vec<_> = reference.iter().map(|t| (t.name.as_str(), t.view())).collect();
        let c: Vec<_> = own.iter().map(|t| (t.name.as_str(), t.view())).collect();
        let pairs = pair_outputs(&r, &c).map_err(|why| format!("outputs cannot be compared: {why}"))?;
        let nonfinite = NonFiniteRule::of(self.policy.allow_nonfinite_mismatch);
        let mut worst: Option<f64> = None;
        for (name, r, c) in pairs {
            let summary: Summary = numerics::compare(&r, &c, Options::default())
                .map_err(|why| format!("output '{name}' cannot be compared: {why}"))?;
            let value = summary
                .value_under(metric, nonfinite)
                .map_err(|why| format!("{} of output '{name}': {why}", metric.name()))?;
            let worse = |known: f64| match rule.direction {
                Direction::AtMost => value > known,
                Direction::AtLeast => value < known,
            };
            if worst.is_none_or(worse) {
                worst = Some(value);
            }
        }
        worst.ok_or_else(|| "there is no output".into())
    }

    /// Outputs of the cell that the rule compares with, or why they may not be.
    pub(super) fn outputs_to_compare_with(
        &self,
        rule: &Rule,
    ) -> Result<Result<Option<Vec<Tensor<'a>>>, String>, GateError> {
        if let Err(why) = self.compared(rule) {
            return Ok(Err(why));
        }
        if rule.against == Against::Baseline {
            return match same_cell(self.baseline, self.cell) {
                Ok((baseline, cell)) => Ok(Ok(baseline.first_outputs(&cell.id, self.visited())?)),
                Err(why) => Ok(Err(why)),
            };
        }
        let reference = self.evidence.reference(self.cell);
        let outputs = |cell: &Cell| self.evidence.first_outputs(&cell.id, self.visited());
        Ok(Ok(reference.map(outputs).transpose()?.flatten()))
    }
}

/// The same cell of the baseline.
pub(super) fn same_cell<'a>(baseline: Option<Evidence<'a>>, cell: &Cell) -> Result<(Evidence<'a>, &'a Cell), String> {
    let Some(baseline) = baseline else { return Err("there is no baseline".into()) };
    let same = baseline.record.plan.cells.iter().find(|c| c.id == cell.id);
    same.map(|cell| (baseline, cell)).ok_or_else(|| format!("the baseline has no cell {}", cell.id))
}

/// Is the number on the bad side of its limit, whatever the verdict?
fn beyond(rule: &Rule, number: Number, result: &RuleResult) -> bool {
    match rule.direction {
        Direction::AtMost => number.value > result.limit,
        Direction::AtLeast => number.value < result.limit,
    }
}

pub(super) fn within(part: Option<&Part>) -> String {
    part.map(|part| format!("{} ", part.name)).unwrap_or_default()
}

fn drop_number(drop: &Drop, metric: &str, rule: &Rule) -> Known {
    let show = |v| crate::report::amount(v, &rule.unit);
    let other = if rule.against == Against::Baseline { "baseline" } else { "reference" };
    let detail = format!("{metric} {} ({other} {})", show(drop.candidate), show(drop.reference));
    let number = Number { value: drop.value, bounds: Some((drop.lower, drop.upper)) };
    Known::Number { number, samples: drop.samples, samples_more: drop.samples_more, detail }
}

/// Labels on which a metric says nothing are not the model's doing.
pub(super) fn no_value(metric: &str) -> String {
    match metric {
        "auc" => "auc needs two samples of each label, these have fewer".into(),
        _ => format!("{metric} has no value on these labels"),
    }
}

/// What an interval must leave on one side for the rule to be decided: an alarm asks whether anything was lost at all.
pub(super) fn pivot(rule: &Rule, limit: f64) -> f64 {
    match rule.decide {
        Decide::Shown => limit,
        Decide::Alarm | Decide::Proven => 0.0,
    }
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
