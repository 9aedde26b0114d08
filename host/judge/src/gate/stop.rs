//! When an accuracy pass may stop before it has visited all samples: as soon as what they say is certain, and not before.
//!
//! The same looks are taken twice: while the pass runs, by [`Watch`], and again from its record. A pass that stopped where these looks find no
//! reason is incomplete.

use super::GateError;
use super::always::{finite, own, same_as_host};
use super::answers::{Looks, samples_of};
use super::custom::CUSTOM;
use super::decide::{Number, decide};
use super::gap::SLICE_GAP;
use super::graded::GRADED;
use super::metrics::{Desk, SLICE_DROP};
use crate::compare::numerics::Metric;
use crate::evidence::{Evidence, Tensor};
use boardproof_record::RuleId;
use boardproof_record::observation::Stopped;
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::policy::{Decide, Direction, Policy, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};
use std::collections::BTreeSet;

/// Rule that a pass that stopped early must have had reason to, at that look and at none before.
pub const EARLY_STOP: &str = "early-stop";

/// Metrics of right and wrong answers, whose bounds hold at every look.
const BOUNDED: [&str; 4] = ["task.value", "task.drop", SLICE_DROP, SLICE_GAP];

/// Looks at a pass while its samples come in.
#[derive(Debug, Default)]
pub struct Watch {
    /// Results without a bound that were beyond their limit at some look: with them nothing is certain to pass. Were they not remembered, a
    /// number that wavers around its limit would be taken at the moment at which it looks good.
    wavered: BTreeSet<(RuleId, Option<String>)>,
}

/// What a look says of one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is broken, whatever the samples that are left say.
    Broken,
    /// It is kept, by a bound that holds at every look.
    Kept,
    /// It has no such bound and is kept on what was visited, now and at each look before.
    KeptSoFar,
    /// Neither.
    Open,
}

impl Watch {
    /// Looks at a cell whose accuracy pass has come this far: `evidence` holds what it has answered so far as if the pass had ended there. By
    /// the policy of the plan; `None` when nothing is certain yet.
    pub fn look(&mut self, evidence: Evidence<'_>, cell: &Cell) -> Result<Option<Stopped>, GateError> {
        self.look_at(&Desk::new(evidence, None, None, &evidence.record.plan.policy, cell)?)
    }

    fn look_at(&mut self, desk: &Desk<'_>) -> Result<Option<Stopped>, GateError> {
        let always = desk.broken_on_sight()?;
        let (mut broken, mut kept, mut so_far, mut open) = (always, Vec::new(), Vec::new(), false);
        for rule in desk.rules_on_answers() {
            // Numbers of the models' own are computed when all answers are there, and their bounds hold for one look.
            if CUSTOM.contains(&rule.metric.as_str()) {
                open = true;
                continue;
            }
            // A rule is as certain as the least certain of its slices; one broken slice is enough to break it.
            let results = desk.results(rule)?;
            let standings: Vec<Standing> =
                results.iter().map(|result| self.standing(desk, rule, result)).collect::<Result<_, _>>()?;
            let any = |wanted| standings.contains(&wanted);
            match () {
                () if any(Standing::Broken) => broken.push(rule.id.clone()),
                () if any(Standing::Open) => open = true,
                () if any(Standing::KeptSoFar) => so_far.push(rule.id.clone()),
                () if any(Standing::Kept) => kept.push(rule.id.clone()),
                () => {}
            }
        }
        let (samples, of) = (desk.visited(), desk.planned());
        let stopped = |verdict, decided, on_visited| Some(Stopped { samples, of, verdict, decided, on_visited });
        Ok(match () {
            () if !broken.is_empty() => stopped(Verdict::Fail, broken, Vec::new()),
            () if open || kept.is_empty() || !desk.can_pass() => None,
            () => stopped(Verdict::Pass, kept, so_far),
        })
    }

    fn standing(&mut self, desk: &Desk<'_>, rule: &Rule, result: &RuleResult) -> Result<Standing, GateError> {
        let bounded = desk.looks() == Looks::Many && BOUNDED.contains(&rule.metric.as_str());
        if bounded {
            return Ok(match result.verdict {
                Verdict::Fail if wholly(rule, result, Side::Bad) => Standing::Broken,
                Verdict::Pass if desk.has_seen_small_slices(rule)? => match rule.decide {
                    _ if wholly(rule, result, Side::Good) => Standing::Kept,
                    Decide::Proven => Standing::KeptSoFar,
                    Decide::Shown | Decide::Alarm => Standing::Open,
                },
                _ => Standing::Open,
            });
        }
        let Some(metric) = Metric::from_name(&rule.metric) else { return Ok(Standing::Open) };
        let key = (rule.id.clone(), result.slice.clone());
        Ok(match (result.verdict, result.observed) {
            // What is no number or has another shape is so whatever else is answered.
            (Verdict::Fail, None) => Standing::Broken,
            (Verdict::Fail, Some(_)) => {
                self.wavered.insert(key);
                if desk.breaks_in_any_case(rule, metric, result)? { Standing::Broken } else { Standing::Open }
            }
            (Verdict::Pass, _) if !self.wavered.contains(&key) => Standing::KeptSoFar,
            _ => Standing::Open,
        })
    }
}

/// A side of a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Good,
    Bad,
}

/// Do the bounds of a result leave it on this side of its limit alone? That is more than an alarm asks, which fails when a number is beyond its
/// limit and any loss is shown: at one of many looks a number may be beyond by chance.
fn wholly(rule: &Rule, result: &RuleResult, side: Side) -> bool {
    let (Some(lower), Some(upper)) = (result.lower, result.upper) else { return false };
    match (rule.direction, side) {
        (Direction::AtMost, Side::Good) => upper <= result.limit,
        (Direction::AtMost, Side::Bad) => lower > result.limit,
        (Direction::AtLeast, Side::Good) => lower >= result.limit,
        (Direction::AtLeast, Side::Bad) => upper < result.limit,
    }
}

/// Metrics that no answers are better for than the reference's own: with those in the place of what is not visited yet, the whole evalset
/// cannot come out better.
fn is_best_at_the_reference(metric: Metric) -> bool {
    !matches!(
        metric,
        Metric::Bias
            | Metric::Cosine
            | Metric::SaturationShareReference
            | Metric::SaturationShareCandidate
            | Metric::NonfiniteReference
            | Metric::NonfiniteCandidate
    )
}

impl<'a> Desk<'a> {
    /// Rules of the policy that rest on answers, for this cell.
    fn rules_on_answers(&self) -> impl Iterator<Item = &'a Rule> {
        let (plan, cell) = (&self.evidence.record.plan, self.cell);
        let on_answers = |metric: &str| {
            let listed = BOUNDED.contains(&metric) || GRADED.contains(&metric) || CUSTOM.contains(&metric);
            listed || Metric::from_name(metric).is_some()
        };
        self.policy().rules.iter().filter(move |rule| on_answers(&rule.metric) && super::applies(rule, plan, cell))
    }

    /// Rules that no policy can switch off and that the answers so far break for good.
    fn broken_on_sight(&self) -> Result<Vec<RuleId>, GateError> {
        let allowed = self.policy().allow_nonfinite_mismatch;
        let numbers = finite(self.evidence, self.cell, allowed, self.visited())?;
        let same = same_as_host(self.evidence, self.cell, self.visited())?;
        // A policy that allows some values that are not finite looks for one that is, which may still come.
        let numbers = numbers.filter(|_| !allowed);
        let broken = numbers.into_iter().chain(same).filter(|result| result.verdict == Verdict::Fail);
        Ok(broken.map(|result| result.rule).collect())
    }

    /// Is there nothing besides the rules on answers that keeps the cell from passing, as far as more samples could change it?
    fn can_pass(&self) -> bool {
        matches!(self.compared_with_can_be_trusted(), Ok(()))
    }

    /// Has every slice that is large enough for the rule in the whole evalset enough samples already? A rule that walks slices leaves out
    /// those that are too small: stopping must not make them so.
    fn has_seen_small_slices(&self, rule: &Rule) -> Result<bool, GateError> {
        let walks = [SLICE_DROP, SLICE_GAP].contains(&rule.metric.as_str());
        if !walks || self.visited() >= self.planned() {
            return Ok(true);
        }
        let whole = self.evidence.truth(self.model, samples_of(self.cell))?;
        let wanted = rule.min_samples.max(1);
        let count = |codes: &[i64], code: i64| codes.iter().filter(|known| **known == code).count() as u64;
        let asked = |column: &str, value: &str| {
            rule.slice.as_ref().is_none_or(|asked| asked == column || *asked == format!("{column}={value}"))
        };
        let unseen = |(column, values): (&String, &Vec<String>)| {
            values.iter().zip(0..).filter(|(value, _)| asked(column, value)).any(|(_, code)| {
                count(&whole.slices[column], code) >= wanted && count(&self.truth.slices[column], code) < wanted
            })
        };
        Ok(!self.model.evalset.slices.iter().any(unseen))
    }

    /// Would an elementwise metric over the whole evalset be beyond its limit even if every sample that is left were answered as the reference
    /// answers it? Then it is beyond in any case: this is arithmetic and no estimate.
    fn breaks_in_any_case(&self, rule: &Rule, metric: Metric, result: &RuleResult) -> Result<bool, GateError> {
        let Some(reference) = self.evidence.reference(self.cell) else { return Ok(false) };
        if rule.slice.is_some() || !is_best_at_the_reference(metric) {
            return Ok(false);
        }
        let (Some(all), Some(own)) = (self.evidence.outputs(&reference.id)?, self.own_outputs()?) else {
            return Ok(false);
        };
        let completed = |tensor: &Tensor<'_>| {
            let same = all.iter().find(|other| other.name == tensor.name);
            same.and_then(|other| tensor.completed_by(other))
        };
        let Some(best) = own.iter().map(completed).collect::<Option<Vec<_>>>() else { return Ok(false) };
        let Ok(value) = self.worst_output(rule, metric, &all, &best) else { return Ok(false) };
        let number = Number { value, bounds: None };
        Ok(decide(number, rule.direction, result.limit, rule.decide) == Verdict::Fail)
    }
}

/// The look at which a pass has reason to stop, if any before it has visited more than `desk` shows.
fn first_reason(desk: &Desk<'_>, stage: u64) -> Result<Option<Stopped>, GateError> {
    let mut watch = Watch::default();
    let mut samples = 0;
    while samples < desk.visited() {
        samples = (samples + stage.max(1)).min(desk.visited());
        if let Some(stopped) = watch.look_at(&desk.first(samples))? {
            return Ok(Some(stopped));
        }
    }
    Ok(None)
}

/// Had a pass that may stop early reason to stop where it did? `None` for one that may not.
///
/// It must have had by the policy that it ran under, at that look and at none before: else somebody chose the moment, or cut the record. Where
/// another policy judges it now, something must be certain by that one, too.
pub(super) fn reason_to_stop(desk: &Desk<'_>) -> Result<Option<RuleResult>, GateError> {
    let Some(plan) = desk.cell.passes.iter().find(|plan| plan.may_stop()) else { return Ok(None) };
    let Some(pass) = desk.evidence.completed(&desk.cell.id, Pass::Accuracy) else { return Ok(None) };
    let (samples, all) = (desk.visited(), desk.planned());
    let said = |verdict, words: String| Ok(Some(own(EARLY_STOP, verdict, words)));
    if samples >= all {
        return match pass.stopped {
            None => said(Verdict::Pass, format!("nothing was certain before all {all} samples were visited")),
            Some(_) => said(Verdict::Incomplete, format!("it is said to have stopped early and visited all {all}")),
        };
    }
    let ran_by: &Policy = &desk.evidence.record.plan.policy;
    let first = first_reason(&desk.by(ran_by)?, plan.stage)?;
    let Some(reason) = first.filter(|found| pass.stopped.as_ref() == Some(found)) else {
        let words = format!(
            "the accuracy pass visited {samples} of {all} samples, and the policy that it ran under gives no such reason to stop there"
        );
        return said(Verdict::Incomplete, words);
    };
    if desk.policy() != ran_by && first_reason(desk, plan.stage)?.is_none() {
        let words = format!(
            "the accuracy pass stopped after {samples} of {all} samples by policy '{}', and by this one nothing is certain there",
            ran_by.name
        );
        return said(Verdict::Inconclusive, words);
    }
    said(Verdict::Pass, in_words(&reason))
}

/// What was certain, in a sentence.
fn in_words(reason: &Stopped) -> String {
    let names = |rules: &[RuleId]| rules.iter().map(RuleId::as_str).collect::<Vec<_>>().join(", ");
    let Stopped { samples, of, verdict, decided, on_visited } = reason;
    let is = if *verdict == Verdict::Fail { "broken" } else { "kept" };
    let rest =
        if on_visited.is_empty() { String::new() } else { format!("; judged on these alone: {}", names(on_visited)) };
    format!("stopped after {samples} of {of} samples: certainly {is}: {}{rest}", names(decided))
}
