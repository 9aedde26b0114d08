//! Many rules, each a little uncertain: how often a run is judged wrongly by chance.

use boardproof_record::policy::{Decide, Policy, Rule};
use boardproof_record::verdict::{CellJudgement, Chance, RuleResult};
use std::collections::BTreeSet;

/// What the confidences of the rules that an interval decided come to. `None` where none did.
pub fn chance(policy: &Policy, cells: &[CellJudgement]) -> Option<Chance> {
    let decided: Vec<&Rule> = cells.iter().flat_map(|cell| of_cell(policy, cell)).collect();
    let error = |rule: &&Rule| 1.0 - rule.confidence;
    let shown = decided.iter().filter(|rule| rule.decide == Decide::Shown);
    let kept: f64 = decided.iter().map(|rule| rule.confidence).product();
    (!decided.is_empty()).then(|| Chance {
        decisions: decided.len() as u64,
        alarms: (decided.len() - shown.clone().count()) as u64,
        wrong_fail: 1.0 - kept,
        wrong_fail_max: decided.iter().map(error).sum::<f64>().min(1.0),
        // Where what is undecided is let by, a number beyond its limit is let by as often as it is not shown to be.
        wrong_pass_max: shown.map(error).max_by(f64::total_cmp).filter(|_| policy.inconclusive_blocks),
    })
}

/// The rule of each result of a cell that an interval decided; slices that are corrected for each other are one.
fn of_cell<'p>(policy: &'p Policy, cell: &CellJudgement) -> Vec<&'p Rule> {
    let by_interval = |result: &&RuleResult| result.lower.is_some() || result.upper.is_some();
    let mut together = BTreeSet::new();
    let rules = cell.rules.iter().filter(by_interval).filter_map(|result| {
        let rule = policy.rules.iter().find(|rule| rule.id == result.rule)?;
        (rule.family.is_none() || together.insert(&rule.id)).then_some(rule)
    });
    rules.collect()
}
