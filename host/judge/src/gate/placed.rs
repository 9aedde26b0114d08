//! Did the operators run where they were wanted? An engine that has execution providers runs on the CPU, without a word, what the wanted one
//! does not take: a model that is sold as running on an accelerator would pass with the CPU's answers and times.

use super::always::own;
use super::applies;
use super::metrics::FALLBACK_NODES;
use crate::compare::operators::{self, OperatorLine};
use crate::evidence::Evidence;
use boardproof_record::plan::{CPU_PROVIDER, Cell, Fallback, ONNXRUNTIME, Pass};
use boardproof_record::policy::{Policy, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};

/// Rule that every operator must have run on the execution provider that was wanted, unless target or policy allow others.
pub const NO_FALLBACK: &str = "no-fallback";
/// Operators that are named.
const NAMED: usize = 3;

/// The result, where somebody wants a provider or an operator fell back. A rule of the policy on the number of them, or a target that allows
/// them, takes its place.
pub fn no_fallback(evidence: Evidence<'_>, policy: &Policy, cell: &Cell) -> Option<RuleResult> {
    let counted = |rule: &Rule| rule.metric == FALLBACK_NODES && applies(rule, &evidence.record.plan, cell);
    let wanted = wanted(evidence, cell);
    if policy.rules.iter().any(counted) || matches!(wanted, Some((_, Fallback::Allowed))) {
        return None;
    }
    let wanted = wanted.filter(|(provider, _)| *provider != CPU_PROVIDER).map(|(provider, _)| provider);
    Some(match (fallen(evidence, cell), wanted) {
        (Ok(fallen), None) if fallen.is_empty() => return None,
        // An engine of a GPU that does not say where its operators ran may have run all of them on the CPU.
        (Err(why), None) if cell.is_on_gpu() => own(NO_FALLBACK, Verdict::Incomplete, why),
        (Err(_), None) => return None,
        (Ok(fallen), Some(provider)) if fallen.is_empty() => {
            own(NO_FALLBACK, Verdict::Pass, format!("every operator ran on {provider}"))
        }
        (Ok(fallen), _) => own(NO_FALLBACK, Verdict::Fail, in_words(&fallen)),
        (Err(why), Some(_)) => own(NO_FALLBACK, Verdict::Incomplete, why),
    })
}

/// Why a cell that others are compared with ran elsewhere than was wanted, if more than `allowed` of its operators did: its times would be
/// another device's. A target that allows it allows all.
pub fn elsewhere(evidence: Evidence<'_>, cell: &Cell, allowed: f64) -> Option<String> {
    let wanted = wanted(evidence, cell);
    if matches!(wanted, Some((_, Fallback::Allowed))) {
        return None;
    }
    let is_asked = cell.is_on_gpu() || wanted.is_some_and(|(provider, _)| provider != CPU_PROVIDER);
    match fallen(evidence, cell) {
        Ok(fallen) => (fallen.len() as f64 > allowed).then(|| in_words(&fallen)),
        Err(why) => is_asked.then_some(why),
    }
}

/// The same by the word of the target alone, where there is no policy: nothing where it names no provider.
pub fn refused(evidence: Evidence<'_>, cell: &Cell) -> Option<String> {
    wanted(evidence, cell)?;
    elsewhere(evidence, cell, 0.0)
}

/// The least that a rule of the policy on this metric says of the cell, if any does. `limit` is what is in force of a rule.
pub fn least(
    evidence: Evidence<'_>,
    policy: &Policy,
    cell: &Cell,
    metric: &str,
    limit: impl Fn(&Rule) -> f64,
) -> Option<f64> {
    let rules = policy.rules.iter().filter(|rule| rule.metric == metric && applies(rule, &evidence.record.plan, cell));
    rules.map(limit).reduce(f64::min)
}

/// The provider that the cell's target wants, and what it thinks of others.
fn wanted<'a>(evidence: Evidence<'a>, cell: &Cell) -> Option<(&'a str, Fallback)> {
    let how = evidence.record.plan.targets.get(&cell.target)?.onnxruntime.as_ref()?;
    (cell.engine.as_str() == ONNXRUNTIME).then_some((how.providers.first()?.as_str(), how.fallback))
}

/// The operators that fell back, or why nobody knows.
pub fn fallen(evidence: Evidence<'_>, cell: &Cell) -> Result<Vec<OperatorLine>, String> {
    let Some(inspected) = evidence.completed(&cell.id, Pass::Inspect) else {
        return Err("where the operators ran is not known: there is no whole inspection".into());
    };
    if inspected.operators.is_empty() {
        return Err("where the operators ran is not known: the engine names none".into());
    }
    Ok(operators::lines(inspected).into_iter().filter(|line| line.fell_back_from.is_some()).collect())
}

/// How many fell back, from where, and the first of them.
pub fn in_words(fallen: &[OperatorLine]) -> String {
    let one = |line: &OperatorLine| format!("{} ({})", line.operator.op, line.operator.name);
    let named: Vec<String> = fallen.iter().take(NAMED).map(one).collect();
    let more = if fallen.len() > NAMED { ", ..." } else { "" };
    let from = fallen.first().and_then(|line| line.fell_back_from.as_deref()).unwrap_or("nowhere");
    match fallen.len() {
        0 => "no operator fell back".into(),
        1 => format!("1 operator fell back from {from}: {}", named.join(", ")),
        count => format!("{count} operators fell back from {from}: {}{more}", named.join(", ")),
    }
}
