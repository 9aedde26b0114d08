//! The gate: from a record and a policy to a verdict, rule by rule.
//!
//! It walks the plan, never the results, so that nothing planned can be missing without being seen. It fails closed: what was not
//! measured makes the run incomplete, what is not a number never passes, and a rule that looks at nothing is an error.

mod answers;
mod clock;
mod decide;
mod metrics;

pub use answers::{Answers, Drop, answers, samples_of, slice_samples};
pub use metrics::{Known, known_metrics};

use crate::evidence::{Evidence, EvidenceError};
use boardproof_record::observation::{CannotRun, Ended, Observation, Outcome, PassObservation};
use boardproof_record::plan::{Cell, Model, Pass, Plan};
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
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

impl GateError {
    /// The policy is wrong or does not fit the run; otherwise the record is damaged.
    pub fn is_of_the_policy(&self) -> bool {
        !matches!(self, Self::Evidence(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBaseline { .. } => Some("give one with --baseline RECORD".into()),
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
    check_policy(&evidence.record.plan, policy, baseline.is_some())?;
    let judged: Vec<&Cell> = evidence.record.plan.cells.iter().filter(|c| c.judged).collect();
    let cells =
        judged.iter().map(|cell| judge_cell(evidence, policy, baseline, cell)).collect::<Result<Vec<_>, _>>()?;
    for rule in &policy.rules {
        let looked = cells.iter().any(|c| c.rules.iter().any(|r| r.rule == rule.id));
        // A cell that has no numbers has its verdict already; that is not the rule's mistake.
        let could = judged.iter().zip(&cells).any(|(cell, seen)| applies(rule, evidence, cell) && has_numbers(seen));
        let nowhere = judged.iter().all(|cell| !applies(rule, evidence, cell)) && !only_other_tasks(evidence, rule);
        if !looked && (could || nowhere) {
            let why = "no judged cell has what it looks at".to_owned();
            return Err(GateError::MatchesNothing { rule: rule.id.clone(), why });
        }
    }
    // A run without a judged cell has no verdict to give.
    let verdict = cells.iter().map(|c| c.verdict).max().unwrap_or(Verdict::Incomplete);
    Ok(Judgement { version: JUDGEMENT_VERSION, policy: policy.name.clone(), verdict, cells })
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
    }
    plan.models.values().try_for_each(|model| check_tolerances(model, policy))
}

/// A limit that a model sets for itself and nothing looks at would be a promise that nobody keeps.
fn check_tolerances(model: &Model, policy: &Policy) -> Result<(), GateError> {
    let used = |metric: &str| policy.rules.iter().any(|rule| rule.metric == metric && is_for(rule, model));
    match model.tolerances.iter().find(|t| !used(&t.metric)) {
        None => Ok(()),
        Some(idle) => Err(GateError::IdleTolerance {
            model: model.name.clone(),
            metric: idle.metric.clone(),
            policy: policy.name.clone(),
        }),
    }
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
    let tasks = evidence.record.plan.models.values().map(|m| m.task.kind());
    !rule.tasks.is_empty() && tasks.into_iter().all(|task| !rule.tasks.iter().any(|t| t == task))
}

fn judge_cell(
    evidence: Evidence<'_>,
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
        other => return closed(Verdict::Incomplete, not_measured(other)),
    };
    let mut rules = own_rules(cell, seen);
    let desk = Desk::new(evidence, baseline, policy, cell)?;
    // A model that could not be run has no numbers to hold against limits: the reason is enough.
    if rules.iter().all(|r| r.rule.as_str() != RUNS || r.verdict == Verdict::Pass) {
        for rule in policy.rules.iter().filter(|r| applies(r, evidence, cell)) {
            rules.extend(desk.results(rule)?);
        }
        if rules.iter().all(|r| [RUNS, SELF_CHECK, CLOCK].contains(&r.rule.as_str())) {
            return Err(GateError::NothingLooks { policy: policy.name.clone(), cell: cell.id.clone() });
        }
    }
    let blocking =
        |v: Verdict| if v == Verdict::Inconclusive && !policy.inconclusive_blocks { Verdict::Pass } else { v };
    let verdict = rules.iter().map(|r| blocking(r.verdict)).max().unwrap_or(Verdict::Incomplete);
    let reason = decide::reason(verdict, &rules);
    Ok(CellJudgement { cell: cell.id.clone(), verdict, reason, rules })
}

/// A cell that was left out because the engine could not read its model on the host has its verdict from there.
fn unreadable_on_host<'a>(evidence: Evidence<'a>, cell: &Cell) -> Option<&'a CannotRun> {
    evidence.observation(&evidence.on_host(cell)?.id)?.unreadable()
}

fn applies(rule: &Rule, evidence: Evidence<'_>, cell: &Cell) -> bool {
    is_for(rule, evidence.model(cell)) && (rule.targets.is_empty() || rule.targets.contains(&cell.target))
}

fn is_for(rule: &Rule, model: &Model) -> bool {
    (rule.tasks.is_empty() || rule.tasks.iter().any(|t| t == model.task.kind()))
        && (rule.models.is_empty() || rule.models.contains(&model.name))
}

fn not_measured(outcome: &Outcome) -> String {
    let fault = |what: &str, f: &boardproof_record::observation::Fault| format!("{what}: {}", f.causes.join(": "));
    match outcome {
        Outcome::NotRun => "not measured: the run ended before this cell".into(),
        Outcome::Skipped { reason } => format!("not measured: {reason}"),
        Outcome::BuildFailed(f) => fault("not measured, the programs could not be built", f),
        Outcome::ShipFailed(f) => fault("not measured, the unit could not be prepared", f),
        Outcome::DeviceFault(f) => fault("not measured, the unit failed", f),
        Outcome::TimedOut(f) => fault("not measured, the unit did not answer in time", f),
        Outcome::Measured(_) => "measured".into(),
    }
}

/// Rule that every pass must have run to its end.
pub const RUNS: &str = "runs";
/// Rule that the engine's optimizer must have kept the answers.
pub const SELF_CHECK: &str = "self-check";

/// Rule that the unit's clock must agree with the host's where timings are judged.
pub const CLOCK: &str = "clock";

/// Three rules that no policy can switch off: every pass ran, the engine agrees with itself, and the unit's clock can be believed.
fn own_rules(cell: &Cell, seen: &Observation) -> Vec<RuleResult> {
    let mut results: Vec<RuleResult> = seen.passes.iter().filter_map(broken_pass).take(1).collect();
    if results.is_empty() {
        let missing = cell.passes.iter().find(|p| seen.pass(p.pass).is_none());
        results.push(match missing {
            Some(plan) => own(RUNS, Verdict::Incomplete, format!("the {} pass is missing", pass_name(plan.pass))),
            None => own(RUNS, Verdict::Pass, "every pass ran to its end".into()),
        });
    }
    if cell.passes.iter().any(|p| p.pass == Pass::Inspect) && results[0].verdict == Verdict::Pass {
        results.push(self_check(seen));
    }
    if cell.passes.iter().any(|p| p.pass == Pass::Latency) && results[0].verdict == Verdict::Pass {
        let (verdict, words) = clock::check(seen);
        results.push(own(CLOCK, verdict, words));
    }
    results
}

fn self_check(seen: &Observation) -> RuleResult {
    match seen.pass(Pass::Inspect).and_then(|p| p.self_check.as_ref()) {
        None => own(SELF_CHECK, Verdict::Incomplete, "the self-check has no result".into()),
        Some(check) if check.samples == 0 => own(
            SELF_CHECK,
            Verdict::Inconclusive,
            format!("the engine could not be compared with itself: {}", check.detail),
        ),
        Some(check) if check.agree => own(
            SELF_CHECK,
            Verdict::Pass,
            format!("optimized and unoptimized graph agree on {} samples", check.samples),
        ),
        Some(check) => {
            let place = if check.operator.is_empty() {
                "an operator that could not be named".to_owned()
            } else {
                check.operator.clone()
            };
            let sqnr = check.sqnr_db.map_or_else(String::new, |db| format!(", {db:.1} dB"));
            own(SELF_CHECK, Verdict::Fail, format!("the engine's optimizer changes the answers at {place}{sqnr}"))
        }
    }
}

fn broken_pass(pass: &PassObservation) -> Option<RuleResult> {
    let name = pass_name(pass.pass);
    let (verdict, detail) = match pass.ended {
        Ended::Completed => return None,
        Ended::CannotRun => (Verdict::Fail, cannot_run(pass)),
        Ended::Exited { code } => {
            (Verdict::Fail, format!("the {name} pass ended with exit code {code}{}", last_words(pass)))
        }
        Ended::Signalled { signal } => {
            (Verdict::Fail, format!("the {name} pass crashed with signal {signal}{}", last_words(pass)))
        }
        Ended::OutOfMemory { limit_bytes: 0 } => {
            (Verdict::Fail, format!("the {name} pass ran out of the unit's memory"))
        }
        Ended::OutOfMemory { limit_bytes } => {
            (Verdict::Fail, format!("the {name} pass ran out of memory: its limit is {limit_bytes} bytes"))
        }
        Ended::DeadlineExceeded { deadline_ms } => {
            (Verdict::Fail, format!("the {name} pass was not done within {} s", f64::from(deadline_ms) / 1000.0))
        }
        Ended::Cancelled => (Verdict::Incomplete, format!("the {name} pass was cancelled")),
        Ended::NotStarted => (Verdict::Incomplete, format!("the {name} pass could not be started{}", last_words(pass))),
    };
    Some(own(RUNS, verdict, detail))
}

fn cannot_run(pass: &PassObservation) -> String {
    match &pass.cannot_run {
        // The reason names operator and node where the engine knows them.
        Some(found) => format!("cannot run: {}", found.reason),
        None => "cannot run".into(),
    }
}

fn last_words(pass: &PassObservation) -> String {
    let words = pass.facts.texts.get("stderr").map(String::as_str).unwrap_or_default();
    words.trim().lines().next_back().map(|line| format!(": {line}")).unwrap_or_default()
}

/// Name of a pass in sentences.
pub fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Inspect => "inspect",
        Pass::Accuracy => "accuracy",
        Pass::Latency => "latency",
        Pass::Memory => "memory",
    }
}

fn own(rule: &str, verdict: Verdict, detail: String) -> RuleResult {
    RuleResult {
        rule: RuleId::new(rule).expect("a name of this file"),
        metric: rule.into(),
        slice: None,
        verdict,
        observed: None,
        lower: None,
        upper: None,
        limit: 0.0,
        limit_reason: "always in force".into(),
        unit: String::new(),
        samples: 0,
        samples_more: None,
        detail,
    }
}

/// The judgement of a cell, by its id.
pub fn of_cell<'j>(judgement: &'j Judgement, cell: &CellId) -> Option<&'j CellJudgement> {
    judgement.cells.iter().find(|c| c.cell == *cell)
}
