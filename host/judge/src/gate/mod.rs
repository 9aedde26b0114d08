//! The gate: from a record and a policy to a verdict, rule by rule.
//!
//! It walks the plan, never the results, so that nothing planned can be missing without being seen. It fails closed: what was not
//! measured makes the run incomplete, what is not a number never passes, and a rule that looks at nothing is an error.

mod always;
mod answers;
mod baseline;
mod chance;
mod clock;
mod confirm;
mod custom;
mod decide;
mod gap;
mod graded;
mod meaning;
mod metrics;
mod placed;
mod second;
mod sense;
mod slices;
mod stop;
mod timed;

pub use always::{ALWAYS, CLOCK, COMPARED_WITH, FINITE, FLASH, RAM, RUNS, SAME_AS_HOST, SELF_CHECK, fit, pass_name};
pub use answers::{Answers, Drop, Looks, Sure, Value, answers, samples_of, slice_samples};
pub use baseline::{STALE, finest_memory, is_of_this_unit, is_too_fine};
pub use confirm::{confirmed, red_once};
pub use decide::{Number, decide};
pub use metrics::{Known, LATENCY_RATIO, LOOSER, MEMORY_RATIO, TIMED_RATIOS, known_metrics};
pub use placed::{NO_FALLBACK, refused};
pub use stop::{EARLY_STOP, Watch};
pub use timed::{BASELINES, added_bytes, memory_of};

use crate::each::each;
use crate::evidence::{Evidence, EvidenceError};
use boardproof_record::consistency::Inconsistent;
use boardproof_record::observation::{CannotRun, Outcome};
use boardproof_record::plan::{Cell, Model, Plan, Tolerance};
use boardproof_record::policy::{Policy, Rule};
use boardproof_record::verdict::{CellJudgement, Judgement, RuleResult, Verdict};
use boardproof_record::{CellId, Digest, ModelName, RuleId};
use metrics::Desk;

/// Version of the judgement format.
pub const JUDGEMENT_VERSION: u32 = 1;

/// A gate that cannot judge.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum GateError {
    #[error("the policy has no rules: it would pass everything")]
    EmptyPolicy,
    #[error("rule '{rule}': no metric is called '{found}'; known: {}", known.join(", "))]
    UnknownMetric { rule: RuleId, found: String, known: Vec<String> },
    #[error("rule '{rule}' matches nothing in this run: {why}")]
    MatchesNothing { rule: RuleId, why: String },
    #[error("rule '{rule}': the limit is {limit}, which is not a finite number")]
    Limit { rule: RuleId, limit: f64 },
    #[error("model '{model}' sets a limit for '{metric}', and no rule of policy '{policy}' would hold it against that")]
    IdleTolerance { model: ModelName, metric: String, policy: String },
    #[error("no rule of policy '{policy}' looks at {cell}: it would pass unseen")]
    NothingLooks { policy: String, cell: CellId },
    #[error("the baseline was measured on another evalset of '{model}': expected {expected}, got {found}")]
    OtherEvalset { model: ModelName, expected: Digest, found: Digest },
    #[error("rule '{rule}' compares with a baseline, and none was given")]
    NoBaseline { rule: RuleId },
    #[error("the second measurement beside the record is of something else than the first, see {cell}")]
    NoRepetition { cell: CellId },
    #[error("rule '{rule}': {why}")]
    Meaningless { rule: RuleId, why: String },
    #[error("model '{model}': its tolerance for {metric} is {limit}, which is not a finite number")]
    Tolerance { model: ModelName, metric: String, limit: f64 },
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

impl GateError {
    /// The policy is wrong or does not fit the run; otherwise the record is damaged.
    pub fn is_of_the_policy(&self) -> bool {
        !matches!(self, Self::Evidence(_) | Self::Inconsistent(_) | Self::NoRepetition { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBaseline { .. } => Some("give one with --baseline RECORD, or --against RECORD in `check`".into()),
            Self::IdleTolerance { .. } => {
                Some("add a rule with this metric to the policy, or take the [[tolerance]] out of model.toml".into())
            }
            Self::UnknownMetric { .. } => Some("metrics are described in docs/metrics.md and docs/gate.md".into()),
            _ => None,
        }
    }
}

/// Judges a record.
pub fn judge(evidence: Evidence<'_>, policy: &Policy, baseline: Option<Evidence<'_>>) -> Result<Judgement, GateError> {
    evidence.record.check()?;
    baseline.map_or(Ok(()), |other| other.record.check())?;
    check_policy(&evidence.record.plan, policy, baseline.is_some())?;
    let judged: Vec<&Cell> = evidence.record.plan.cells.iter().filter(|c| c.judged).collect();
    let second = evidence.record.with_second_passes();
    let again = second.as_ref().map(|record| Evidence { record, files: evidence.files });
    let cells = each(&judged, |cell| judge_cell(evidence, again, policy, baseline, cell))?;
    for rule in &policy.rules {
        let looked = cells.iter().any(|c| c.rules.iter().any(|r| r.rule == rule.id));
        // A cell that has no numbers has its verdict already; that is not the rule's mistake.
        let could = judged
            .iter()
            .zip(&cells)
            .any(|(cell, seen)| looks_at(rule, &evidence.record.plan, cell) && has_numbers(seen));
        let no_float = judged.iter().any(|cell| metrics::has_nothing_on_unit(rule, cell));
        let idle =
            only_other_tasks(evidence, rule) || slices::has_nothing_to_walk(&evidence.record.plan, rule) || no_float;
        let nowhere = judged.iter().all(|cell| !applies(rule, &evidence.record.plan, cell)) && !idle;
        if !looked && (could || nowhere) {
            let why = "no judged cell has what it looks at".to_owned();
            return Err(GateError::MatchesNothing { rule: rule.id.clone(), why });
        }
    }
    let verdict = of_run(evidence, &cells);
    let allow_nonfinite_mismatch = policy.allow_nonfinite_mismatch;
    let chance = chance::chance(policy, &cells);
    let policy = policy.name.clone();
    Ok(Judgement { version: JUDGEMENT_VERSION, policy, allow_nonfinite_mismatch, verdict, chance, cells })
}

/// The worst of all cells. A run without a judged cell has no verdict to give, and one with a hole in it none that is good.
fn of_run(evidence: Evidence<'_>, cells: &[CellJudgement]) -> Verdict {
    let hole = evidence.record.outcomes.values().any(|outcome| !matches!(outcome, Outcome::Measured(_)));
    let least = if hole || cells.is_empty() { Verdict::Incomplete } else { Verdict::Pass };
    cells.iter().map(|c| c.verdict).fold(least, Verdict::max)
}

/// Can this policy judge a run of this plan? Asked before anything is measured, and again by [`judge`].
pub fn check_policy(plan: &Plan, policy: &Policy, baseline: bool) -> Result<(), GateError> {
    if policy.rules.is_empty() {
        return Err(GateError::EmptyPolicy);
    }
    for rule in &policy.rules {
        if !known_metrics().any(|name| name == rule.metric) {
            let mut known: Vec<String> = known_metrics().map(str::to_owned).collect();
            known.sort_by_key(|name| (strsim::damerau_levenshtein(name, &rule.metric), name.clone()));
            return Err(GateError::UnknownMetric { rule: rule.id.clone(), found: rule.metric.clone(), known });
        }
        if !rule.limit.is_finite() {
            return Err(GateError::Limit { rule: rule.id.clone(), limit: rule.limit });
        }
        custom::check(plan, rule)
            .and_then(|()| meaning::check(plan, rule))
            .map_err(|why| GateError::Meaningless { rule: rule.id.clone(), why })?;
        if rule.against == boardproof_record::policy::Against::Baseline && !baseline {
            return Err(GateError::NoBaseline { rule: rule.id.clone() });
        }
        let nothing = |why: String| Err(GateError::MatchesNothing { rule: rule.id.clone(), why });
        if !rule.models.is_empty() && !rule.models.iter().any(|m| plan.models.contains_key(m)) {
            return nothing(format!("none of its models was planned: {}", names(&rule.models)));
        }
        if !rule.targets.is_empty() && !rule.targets.iter().any(|t| plan.targets.contains_key(t)) {
            return nothing(format!("none of its targets was planned: {}", names(&rule.targets)));
        }
        if rule.tasks.is_empty()
            && let Some(known) = graded::tasks_of(&rule.metric)
            && !plan.models.values().any(|model| is_for_kind(rule, model))
        {
            let (metric, known) = (&rule.metric, known.join(", "));
            return nothing(format!("{metric} is for models of the tasks {known}, and none was planned"));
        }
        slices::check(plan, rule).or_else(nothing)?;
    }
    plan.models.values().try_for_each(|model| check_tolerances(model, policy))?;
    let unseen = |cell: &&Cell| cell.judged && !policy.rules.iter().any(|rule| looks_at(rule, plan, cell));
    match plan.cells.iter().find(unseen) {
        Some(cell) => Err(GateError::NothingLooks { policy: policy.name.clone(), cell: cell.id.clone() }),
        None => Ok(()),
    }
}

/// A limit that a model sets for itself and nothing looks at would be a promise that nobody keeps; one that is not a number would hold for
/// anything.
fn check_tolerances(model: &Model, policy: &Policy) -> Result<(), GateError> {
    let used = |metric: &str| policy.rules.iter().any(|rule| rule.metric == metric && is_for(rule, model));
    for Tolerance { metric, limit, .. } in &model.tolerances {
        let (model, metric) = (model.name.clone(), metric.clone());
        if !used(&metric) {
            return Err(GateError::IdleTolerance { model, metric, policy: policy.name.clone() });
        }
        if !limit.is_finite() {
            return Err(GateError::Tolerance { model, metric, limit: *limit });
        }
    }
    Ok(())
}

fn names(list: &[impl std::fmt::Display]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The rules of the policy were asked about this cell.
fn has_numbers(cell: &CellJudgement) -> bool {
    cell.rules.iter().any(|r| r.rule.as_str() == RUNS && r.verdict == Verdict::Pass)
}

/// A rule for other tasks than those of this run may match nothing: that is what its tasks say.
fn only_other_tasks(evidence: Evidence<'_>, rule: &Rule) -> bool {
    let models = &evidence.record.plan.models;
    !rule.tasks.is_empty() && models.values().all(|model| !is_for_kind(rule, model))
}

fn judge_cell(
    evidence: Evidence<'_>,
    again: Option<Evidence<'_>>,
    policy: &Policy,
    baseline: Option<Evidence<'_>>,
    cell: &Cell,
) -> Result<CellJudgement, GateError> {
    let closed =
        |verdict, reason: String| Ok(CellJudgement { cell: cell.id.clone(), verdict, reason, rules: Vec::new() });
    let seen = match &evidence.record.outcomes[&cell.id] {
        Outcome::Measured(seen) => seen,
        Outcome::Skipped { .. } if let Some(found) = unreadable_on_host(evidence, cell) => {
            return closed(
                Verdict::Fail,
                format!("cannot run: {} (seen on this machine, so it was not shipped)", found.reason),
            );
        }
        other => return closed(Verdict::Incomplete, always::not_measured(other)),
    };
    let mut rules = always::ran(evidence, cell, seen);
    // A model that could not be run has no numbers to hold against limits: the reason is enough.
    if rules.iter().all(|r| r.rule.as_str() != RUNS || r.verdict == Verdict::Pass) {
        let desk = Desk::new(evidence, again, baseline, policy, cell)?;
        rules.extend(desk.always()?);
        for rule in policy.rules.iter().filter(|r| applies(r, &evidence.record.plan, cell)) {
            rules.extend(desk.results(rule)?);
        }
        if rules.iter().all(|r| ALWAYS.contains(&r.rule.as_str())) {
            return Err(GateError::NothingLooks { policy: policy.name.clone(), cell: cell.id.clone() });
        }
    }
    let verdict = verdict_of(&rules, policy);
    let reason = decide::reason(verdict, &rules);
    Ok(CellJudgement { cell: cell.id.clone(), verdict, reason, rules })
}

/// The worst of a cell's rules. What no policy can switch off, none can make less.
fn verdict_of(rules: &[RuleResult], policy: &Policy) -> Verdict {
    let blocking = |r: &RuleResult| match r.verdict {
        Verdict::Inconclusive if !policy.inconclusive_blocks && !ALWAYS.contains(&r.rule.as_str()) => Verdict::Pass,
        verdict => verdict,
    };
    rules.iter().map(blocking).max().unwrap_or(Verdict::Incomplete)
}

/// A cell that was left out because the engine could not read its model on the host has its verdict from there.
fn unreadable_on_host<'a>(evidence: Evidence<'a>, cell: &Cell) -> Option<&'a CannotRun> {
    evidence.observation(&evidence.on_host(cell)?.id)?.unreadable()
}

pub(super) fn applies(rule: &Rule, plan: &Plan, cell: &Cell) -> bool {
    let model = plan.models.get(&cell.model);
    model.is_some_and(|model| is_for(rule, model))
        && (rule.targets.is_empty() || rule.targets.contains(&cell.target))
        && !metrics::has_nothing_on_unit(rule, cell)
}

/// Does the rule apply to the cell, and does its metric say something about the variant?
fn looks_at(rule: &Rule, plan: &Plan, cell: &Cell) -> bool {
    let variant = plan.models.get(&cell.model).and_then(|model| model.variants.get(&cell.variant));
    applies(rule, plan, cell) && variant.is_some_and(|variant| !metrics::silent(&rule.metric, variant))
}

/// Is the rule for this model? One on a slice is for the models that have it.
fn is_for(rule: &Rule, model: &Model) -> bool {
    is_for_task(rule, model) && slices::has_slice(rule, model) && custom::has(rule, model)
}

fn is_for_task(rule: &Rule, model: &Model) -> bool {
    is_for_kind(rule, model) && (rule.models.is_empty() || rule.models.contains(&model.name))
}

/// Is the rule for what the model does, and does its metric say something about that?
fn is_for_kind(rule: &Rule, model: &Model) -> bool {
    let kind = model.task.kind();
    (rule.tasks.is_empty() || rule.tasks.iter().any(|task| task == kind))
        && graded::tasks_of(&rule.metric).is_none_or(|tasks| tasks.contains(&kind))
}

/// The judgement of a cell, by its id.
pub fn of_cell<'j>(judgement: &'j Judgement, cell: &CellId) -> Option<&'j CellJudgement> {
    judgement.cells.iter().find(|c| c.cell == *cell)
}
