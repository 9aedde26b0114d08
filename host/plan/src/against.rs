//! Rules against an earlier record, for policies that have none.

use crate::error::PlanError;
use crate::{builtin, parse_policy};
use boardproof_record::TargetName;
use boardproof_record::plan::{Plan, Target};
use boardproof_record::policy::{Against, Rule};
use std::collections::BTreeSet;

/// Gives the plan's policy the rules of [`builtin::AGAINST`], each for the planned targets that can have its number. A policy that has a rule
/// against a baseline knows what it wants and stays as it is.
pub fn hold_against_baseline(plan: &mut Plan) -> Result<(), PlanError> {
    if plan.policy.rules.iter().any(|rule| rule.against == Against::Baseline) {
        return Ok(());
    }
    let judged: BTreeSet<&TargetName> = plan.cells.iter().filter(|cell| cell.judged).map(|cell| &cell.target).collect();
    let kinds: BTreeSet<&str> = plan.models.values().map(|model| model.task.kind()).collect();
    let mut rules = parse_policy("the rules against a baseline", builtin::AGAINST)?.rules;
    for rule in &mut rules {
        let has = |name: &&&TargetName| has_number(&plan.targets[**name], &rule.metric);
        rule.targets = judged.iter().filter(has).map(|name| (*name).clone()).collect();
    }
    let of_a_task = |tasks: &[String]| tasks.is_empty() || tasks.iter().any(|task| kinds.contains(task.as_str()));
    rules.retain(|rule| !rule.targets.is_empty() && of_a_task(&rule.tasks));
    // Of two rules of one name nobody knows which a result is of.
    let is_taken = |rule: &&Rule| plan.policy.rules.iter().any(|own| own.id == rule.id);
    if let Some(taken) = rules.iter().find(is_taken) {
        let expected = "another id: `--against` adds a rule of this one";
        return Err(PlanError::value(&format!("policy '{}'", plan.policy.name), "rule", expected, &taken.id));
    }
    plan.policy.rules.extend(rules);
    Ok(())
}

/// Can a cell on this target have the metric at all?
fn has_number(target: &Target, metric: &str) -> bool {
    let (is_firmware, is_foreign) = (target.build.firmware.is_some(), target.dialect.is_some());
    match metric {
        "latency_ratio_p50" => target.clock.is_time(),
        "instructions_ratio_p50" => !target.clock.is_time(),
        "memory_ratio" => !is_firmware && !is_foreign,
        "flash_bytes_ratio" | "arena_bytes_ratio" => is_firmware,
        "integer_ops_loss" => !is_foreign,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_target;

    fn metrics_on(name: &str) -> Vec<String> {
        let (_, text) = builtin::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
        let target = parse_target(name, text).unwrap();
        let rules = parse_policy("x", builtin::AGAINST).unwrap().rules;
        rules.into_iter().map(|rule| rule.metric).filter(|metric| has_number(&target, metric)).collect()
    }

    #[test]
    fn a_target_is_asked_for_what_it_can_have() {
        let anywhere = ["task.drop", "slice.drop", "latency_ratio_p50", "memory_ratio", "model_bytes_ratio"];
        assert_eq!(metrics_on("host"), [anywhere.as_slice(), &["integer_ops_loss"]].concat());
        let emulated = metrics_on("mps2-an386");
        assert!(emulated.contains(&"instructions_ratio_p50".into()) && emulated.contains(&"flash_bytes_ratio".into()));
        assert!(!emulated.contains(&"latency_ratio_p50".into()) && !emulated.contains(&"memory_ratio".into()));
        let board = metrics_on("nucleo-h743zi2");
        assert!(board.contains(&"latency_ratio_p50".into()) && !board.contains(&"instructions_ratio_p50".into()));
    }
}
