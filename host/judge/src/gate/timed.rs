//! Numbers that were counted on the unit: times, memory. What they are compared with must have been measured on the same processor and in
//! the same way, or there is no ratio.

use super::GateError;
use super::always::{fit, pass_name};
use super::decide::Number;
use super::metrics::{Desk, FALLBACK_NODES, GPU_OTHER_PROCESSES, Known};
use super::placed::{elsewhere, least};
use crate::compare::gpu::{Others, others};
use crate::compare::latency::course::MovementKind;
use crate::compare::latency::{Latencies, MedianRatio};
use crate::compare::statistics::Confidence;
use crate::evidence::Evidence;
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::policy::{Against, Rule};

impl<'a> Desk<'a> {
    pub(super) fn fact(&self, pass: Pass, key: &str, what: &str, unit: &str) -> Known {
        match number_of(self.evidence, self.cell, pass, key) {
            Some(value) => exact(value, what, unit),
            None => Known::Missing(match self.why_missing(key) {
                Some(why) => format!("{what} was not measured: {why}"),
                None => format!("{what} was not measured"),
            }),
        }
    }

    /// What the unit's facts say of a number that nobody could measure on it.
    pub(super) fn why_missing(&self, key: &str) -> Option<&'a str> {
        let seen = self.evidence.observation(&self.cell.id)?;
        seen.environment_before.missing.get(key).map(String::as_str)
    }

    /// A time that was told as one number.
    pub(super) fn time(&self, key: &str, what: &str) -> Known {
        match self.evidence.clock(&self.cell.id).is_time() {
            true => self.fact(Pass::Latency, key, what, "ns"),
            false => Known::Missing(format!("{} counts instructions and no time", self.cell.unit)),
        }
    }

    /// The cell that latency and memory are compared with, if its pass can be relied on and was done in the same way.
    fn timed_reference(&self, rule: &Rule, pass: Pass) -> Result<(Evidence<'a>, &'a Cell), String> {
        let (evidence, cell) = match rule.against {
            Against::Baseline => self.alike()?,
            Against::Reference | Against::Absolute => {
                let cell = self.evidence.reference_on_unit(self.cell);
                (self.evidence, cell.ok_or("the reference was not planned on this unit")?)
            }
        };
        fit(evidence, cell, pass)?;
        if let Some(why) = self.another_device(evidence, cell) {
            return Err(format!("{} cannot be compared with: {why}", cell.id));
        }
        let batch = |cell: &Cell| cell.passes.iter().find(|p| p.pass == pass).map_or(0, |p| p.batch);
        match (batch(self.cell), batch(cell)) {
            (own, other) if own == other => Ok((evidence, cell)),
            (own, other) => {
                Err(format!("batches differ: {own} samples per inference here, {other} in what it is compared with"))
            }
        }
    }

    /// Why times and memory of a cell that this one is compared with are another device's, if they are: operators that fell back, or a GPU that
    /// others used, more of them than the policy lets the cell itself have. It would look slow, and this one fast beside it.
    fn another_device(&self, evidence: Evidence<'_>, cell: &Cell) -> Option<String> {
        let least = |metric| least(evidence, self.policy, cell, metric, |rule| self.limit(rule).0);
        elsewhere(evidence, cell, least(FALLBACK_NODES).unwrap_or(0.0)).or_else(|| {
            let most = least(GPU_OTHER_PROCESSES).filter(|_| cell.is_on_gpu())?;
            match others(cell, evidence.observation(&cell.id)?) {
                Others::Seen(seen) if seen as f64 <= most => None,
                Others::Seen(seen) => Some(format!("{seen} other processes were on the GPU, at most {most} wanted")),
                Others::Unknown(why) => Some(format!("who else was on the GPU is not known: {why}")),
            }
        })
    }

    /// What loading and running the model added to the process, as a ratio.
    pub(super) fn memory_ratio(&self, rule: &Rule, limit: f64) -> Known {
        let ratio = self.timed_reference(rule, Pass::Memory).and_then(|(evidence, reference)| {
            let there = added_bytes(evidence, reference)?;
            self.finer_than_memory(rule, limit, there).map_or(Ok(()), Err)?;
            Ok(added_bytes(self.evidence, self.cell)? / there)
        });
        match ratio {
            Ok(ratio) => exact(ratio, &format!("memory added by the model against {}", whose(rule)), "ratio"),
            Err(why) => Known::Missing(why),
        }
    }

    /// Instructions of an inference at this quantile (`None`: the most of all). Exact: an emulator that counts them counts the same in every
    /// run of the same samples.
    pub(super) fn instructions(&self, p: Option<f64>) -> Result<Known, GateError> {
        let Some(counts) = self.evidence.instructions(&self.cell.id)? else {
            return Ok(Known::Missing("this unit does not count instructions: only an emulated processor does".into()));
        };
        let counts = match Latencies::from_ns(counts) {
            Ok(counts) => counts,
            Err(why) => return Ok(Known::Missing(why.to_string())),
        };
        let value = match p {
            Some(p) => counts.quantile(p, Confidence::P95).value_ns,
            None => counts.sorted_ns().last().copied().unwrap_or(f64::NAN),
        };
        Ok(exact(value, "an inference took", "instructions"))
    }

    /// Latencies of a cell, or why there are none that a limit could be held against.
    fn latencies(&self, evidence: Evidence<'_>, cell: &Cell) -> Result<Result<Latencies, String>, GateError> {
        if !evidence.clock(&cell.id).is_time() {
            let why = format!("{} counts instructions and no time: name a metric of instructions", cell.unit);
            return Ok(Err(why));
        }
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

    /// How many times as long as the float model on the unit, or as the baseline. A float model that was timed before and after all others is
    /// held against the variant twice, and the bounds are those of both: what slowed it down one time makes nothing pass.
    pub(super) fn latency_ratio(&self, rule: &Rule, limit: f64) -> Result<Known, GateError> {
        if let Some(why) = self.too_fine(rule, limit) {
            return Ok(Known::Missing(why));
        }
        let first = match self.ratio_against(rule, limit, self.timed_reference(rule, Pass::Latency))? {
            Ok(first) => first,
            Err(known) => return Ok(known),
        };
        let Some(reference) = self.second_reference(rule) else { return Ok(first.known(whose(rule))) };
        Ok(match self.ratio_against(rule, limit, reference)? {
            Ok(second) => first.and(&second).known(whose(rule)),
            Err(known) => known,
        })
    }

    /// The float model's second latency pass; `None` where none was planned.
    fn second_reference(&self, rule: &Rule) -> Option<Result<(Evidence<'a>, &'a Cell), String>> {
        let again = self.again.filter(|_| rule.against == Against::Reference)?;
        let cell = again.reference_on_unit(self.cell)?;
        let planned = cell.passes.iter().any(|pass| pass.pass == Pass::Latency && pass.again);
        let fits = || {
            let alike =
                fit(again, cell, Pass::Latency).and_then(|()| self.another_device(again, cell).map_or(Ok(()), Err));
            alike.map(|()| (again, cell)).map_err(|why| format!("timed again after all others, {why}"))
        };
        planned.then(fits)
    }

    fn ratio_against(
        &self,
        rule: &Rule,
        limit: f64,
        reference: Result<(Evidence<'a>, &'a Cell), String>,
    ) -> Result<Result<Ratio, Known>, GateError> {
        let (evidence, reference) = match reference {
            Ok(found) => found,
            Err(why) => return Ok(Err(Known::Missing(why))),
        };
        let (slow, own) = match (self.latencies(evidence, reference)?, self.latencies(self.evidence, self.cell)?) {
            (Ok(slow), Ok(own)) => (slow, own),
            (Err(why), _) | (_, Err(why)) => return Ok(Err(Known::Missing(why))),
        };
        let Ok(both) = Confidence::new(2.0 * rule.confidence - 1.0) else {
            return Ok(Err(Known::Invalid("the rule's confidence cannot be used".into())));
        };
        let ratio = slow.median_ratio(&own, both);
        let (Some(value), Some(interval)) = (ratio.ratio, ratio.interval) else {
            return Ok(Err(too_few_for_a_ratio(&slow, &own, &ratio)));
        };
        let bounds = (interval.lower, interval.upper);
        let moves = slow.movement().or(own.movement()).is_some();
        Ok(Ok(Ratio {
            values: vec![value],
            bounds,
            samples: ratio.samples_candidate,
            samples_more: if moves { None } else { more_by_width(value, bounds, limit, ratio.samples_candidate) },
            apart: false,
            moved: format!("{}{}", moved(&own, "the pass"), moved(&slow, &format!("{} pass", whose(rule)))),
        }))
    }

    pub(super) fn latency(&self, rule: &Rule, p: Option<f64>, limit: f64) -> Result<Known, GateError> {
        let own = match self.latencies(self.evidence, self.cell)? {
            Ok(own) => own,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let Ok(both) = Confidence::new(2.0 * rule.confidence - 1.0) else {
            return Ok(Known::Invalid("the rule's confidence cannot be used".into()));
        };
        let Some(p) = p else { return Ok(longest(&own)) };
        let q = own.quantile_of_pass(p, both);
        let worth = (q.samples_effective < q.samples).then(|| {
            format!(", {} inferences that hang together like {} independent ones", q.samples, q.samples_effective)
        });
        let detail = format!(
            "p{} latency {}{}{}",
            p * 100.0,
            crate::report::amount(q.value_ns, "ns"),
            worth.unwrap_or_default(),
            moved(&own, "the pass")
        );
        let (bounds, more) = match (q.lower_ns, q.upper_ns) {
            (Some(lower), Some(upper)) => ((lower, upper), more_by_width(q.value_ns, (lower, upper), limit, q.samples)),
            _ => {
                let each = q.samples.div_ceil(q.samples_effective.max(1));
                ((0.0, f64::INFINITY), Some((q.samples_needed * each).saturating_sub(q.samples).max(1)))
            }
        };
        let samples_more = if own.movement().is_some() { None } else { more };
        let number = Number { value: q.value_ns, bounds: Some(bounds) };
        Ok(Known::Number { number, samples: q.samples, samples_more, detail })
    }
}

/// Of what a ratio against a baseline is one, in words.
pub const BASELINES: &str = "the baseline's";

/// Of what a ratio is one.
fn whose(rule: &Rule) -> &'static str {
    if rule.against == Against::Baseline { BASELINES } else { "the reference's" }
}

/// A ratio without bounds: too few inferences, or enough that hang together like too few.
fn too_few_for_a_ratio(slow: &Latencies, own: &Latencies, ratio: &MedianRatio) -> Known {
    let (samples, needed) = (ratio.samples_candidate, ratio.samples_needed);
    if samples.min(ratio.samples_reference) < needed {
        return Known::Missing(format!("a ratio of medians needs {needed} inferences on each side"));
    }
    let why = format!(
        "a ratio of medians needs {needed} independent inferences on each side, these hang together like fewer{}{}",
        moved(own, "the pass"),
        moved(slow, "the reference's pass")
    );
    Known::TooFew { samples, samples_more: None, why }
}

/// How many times as long a variant takes as what it is held against, once or twice.
struct Ratio {
    values: Vec<f64>,
    bounds: (f64, f64),
    samples: u64,
    samples_more: Option<u64>,
    moved: String,
    /// The bounds of the two have nothing in common: what they were held against took another time the second time.
    apart: bool,
}

impl Ratio {
    /// What holds for both: the number is the geometric mean, the bounds are the outer ones.
    fn and(mut self, later: &Self) -> Self {
        self.values.extend(&later.values);
        self.apart = self.bounds.1 < later.bounds.0 || later.bounds.1 < self.bounds.0;
        self.bounds = (self.bounds.0.min(later.bounds.0), self.bounds.1.max(later.bounds.1));
        // More inferences would only make the two surer of what they contradict each other in.
        let more = self.samples_more.zip(later.samples_more).filter(|_| !self.apart);
        self.samples_more = more.map(|(a, b)| a.max(b));
        if !self.moved.contains(&later.moved) {
            self.moved += &later.moved;
        }
        self
    }

    fn known(self, whose: &str) -> Known {
        let value = (self.values.iter().map(|value| value.ln()).sum::<f64>() / self.values.len() as f64).exp();
        let each: Vec<String> = self.values.iter().map(|value| format!("{value:.2}")).collect();
        let twice = match each.as_slice() {
            [first, last] if self.apart => format!(" ({first} by its time before, {last} by that after)"),
            _ => String::new(),
        };
        Known::Number {
            number: Number { value, bounds: Some(self.bounds) },
            samples: self.samples,
            samples_more: self.samples_more,
            detail: format!("median latency {value:.2} times {whose}{twice}{}", self.moved),
        }
    }
}

/// The longest inference: no more than what was seen, unless the pass was on its way up.
fn longest(own: &Latencies) -> Known {
    let value = own.sorted_ns().last().copied().unwrap_or(f64::NAN);
    let Some(movement) = own.movement() else { return exact(value, "longest inference", "ns") };
    let further = if movement.kind == MovementKind::Ramp { movement.factor.max(1.0) } else { 1.0 };
    let detail = format!("longest inference {}{}", crate::report::amount(value, "ns"), moved(own, "the pass"));
    let number = Number { value, bounds: Some((value, value * further)) };
    Known::Number { number, samples: own.count(), samples_more: None, detail }
}

/// That a pass did not keep its level, in words: whatever the verdict, it stands beside the number.
fn moved(own: &Latencies, pass: &str) -> String {
    own.movement().map(|moved| format!("; {pass} was {}", crate::report::not_stationary(moved))).unwrap_or_default()
}

/// A number without sampling error.
pub fn exact(value: f64, what: &str, unit: &str) -> Known {
    let detail = format!("{what} {}", crate::report::amount(value, unit));
    Known::Number { number: Number { value, bounds: None }, samples: 1, samples_more: None, detail }
}

/// About how many more samples would bring the bound nearer to the limit than the number is: bounds close in with the root of the count.
fn more_by_width(value: f64, (lower, upper): (f64, f64), limit: f64, samples: u64) -> Option<u64> {
    let (width, distance) = if limit > value { (upper - value, limit - value) } else { (value - lower, value - limit) };
    let more = ((width / distance).powi(2) - 1.0) * samples as f64;
    (more.is_finite() && more < 1e9).then(|| more.ceil().max(0.0) as u64)
}

/// A fact of a completed pass. Nothing that was measured is 0: no memory and no time mean that it was not.
pub(super) fn number_of(evidence: Evidence<'_>, cell: &Cell, pass: Pass, key: &str) -> Option<f64> {
    let value = *evidence.completed(&cell.id, pass)?.facts.numbers.get(key)?;
    (value > 0).then_some(value as f64)
}

/// A number of a completed memory pass; `None` where it was not measured.
pub fn memory_of(evidence: Evidence<'_>, cell: &Cell, key: &str) -> Option<f64> {
    number_of(evidence, cell, Pass::Memory, key)
}

/// What the model added to the runner's memory: its peak without what was there before the model was loaded.
pub fn added_bytes(evidence: Evidence<'_>, cell: &Cell) -> Result<f64, String> {
    let of = |key| memory_of(evidence, cell, key);
    match (of("rss_start_bytes"), of("rss_peak_bytes")) {
        (Some(start), Some(peak)) if peak > start => Ok(peak - start),
        (Some(start), Some(peak)) => {
            Err(format!("the memory of {} peaked at {peak} bytes, it began with {start}", cell.id))
        }
        _ => Err(format!("memory at the start and peak memory of {} were not both measured", cell.id)),
    }
}
