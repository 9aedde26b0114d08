//! Does a rule say something? A rule of the wrong direction passes what is bad, one in the wrong unit passes nearly anything, and one that is
//! to compare with what its metric is not compared with says less than its author believes. All three are errors, not passes.

use super::baseline::{EXACT, INTEGER_OPS_LOSS};
use super::custom::{self, CUSTOM, CUSTOM_DROP, CUSTOM_VALUE};
use super::gap::SLICE_GAP;
use super::graded::{ECE, F1_VALUE, GRADED, needs_threshold, tasks_of};
use super::is_for;
use super::metrics::{FALLBACK_NODES, GPU_OTHER_PROCESSES, INTEGER_OPS_SHARE, SLICE_DROP};
use crate::compare::numerics::{self, Metric};
use boardproof_record::plan::{Plan, Task};
use boardproof_record::policy::{Against, Direction, OperatingAt, Rule};

/// `Ok` when direction, unit, comparison and confidence fit the metric, else what does not and what would.
pub fn check(plan: &Plan, rule: &Rule) -> Result<(), String> {
    let metric = rule.metric.as_str();
    let tasks: Vec<&Task> = plan.models.values().filter(|m| is_for(rule, m)).map(|m| &m.task).collect();
    if !(rule.confidence > 0.5 && rule.confidence < 1.0) {
        return Err(format!("expected a confidence above 0.5 and below 1, got {}", rule.confidence));
    }
    if rule.slice.is_some() && !has_slices(metric) {
        return Err(format!("{metric} is measured over all samples, not by slice: a rule on it cannot have a slice"));
    }
    if let Some(slice) = rule.slice.as_ref().filter(|slice| metric == SLICE_GAP && slice.contains('=')) {
        return Err(format!("{metric} is between the slices of a column: expected a column, got '{slice}'"));
    }
    if rule.family.is_some() && !walks_slices(rule) {
        return Err(format!(
            "{metric} of this rule is one number: 'family' is for a rule that looks at several slices"
        ));
    }
    check_task(rule)?;
    check_threshold(rule, &tasks)?;
    if let Some(unit) = unit(metric, &tasks).filter(|unit| *unit != rule.unit) {
        return Err(format!("{metric} is measured in '{unit}', the limit is in '{}'", rule.unit));
    }
    let good =
        if CUSTOM.contains(&metric) { custom::directions(plan, rule) } else { directions(metric, &tasks).to_vec() };
    if good.is_empty() {
        return Err(format!(
            "{metric} is to be high for some of these models and low for others: name the tasks, or the models"
        ));
    }
    if !good.contains(&rule.direction) {
        let (wanted, found) = (in_words(good[0]), in_words(rule.direction));
        return Err(format!("expected {wanted} for {metric}, got {found}: it would pass what is bad"));
    }
    let against = comparisons(metric);
    if !against.contains(&rule.against) {
        let name = |a: &Against| format!("{a:?}").to_lowercase();
        let known: Vec<String> = against.iter().map(name).collect();
        return Err(format!("{metric} is compared with: {}; not with: {}", known.join(", "), name(&rule.against)));
    }
    Ok(())
}

/// A result for each of several slices, none of which knows of the others.
fn walks_slices(rule: &Rule) -> bool {
    let column = rule.slice.as_ref().is_some_and(|slice| !slice.contains('='));
    rule.metric != SLICE_GAP && (column || (rule.metric == SLICE_DROP && rule.slice.is_none()))
}

/// A task that the metric says nothing about cannot be asked for.
fn check_task(rule: &Rule) -> Result<(), String> {
    let metric = &rule.metric;
    let Some(known) = tasks_of(metric) else { return Ok(()) };
    match rule.tasks.iter().find(|task| !known.contains(&task.as_str())) {
        Some(found) => Err(format!("{metric} says nothing about the task {found}; it is for: {}", known.join(", "))),
        None => Ok(()),
    }
}

/// Where a scorer says yes must be known where it is asked for, and means nothing elsewhere.
fn check_threshold(rule: &Rule, tasks: &[&Task]) -> Result<(), String> {
    let metric = rule.metric.as_str();
    let needed = tasks.iter().any(|task| needs_threshold(metric, task));
    let rate = |rate: f64| (0.0..=1.0).contains(&rate);
    match rule.at {
        None if needed => Err(format!(
            "{metric} of a score needs to know where the answer is yes: at = {{ fpr_max = 0.01 }}, \
             {{ tpr_min = 0.9 }} or {{ threshold = 0.5 }}"
        )),
        None => Ok(()),
        Some(_) if !needed && !tasks.is_empty() => {
            Err(format!("{metric} of these models has no threshold: take out 'at'"))
        }
        Some(OperatingAt::Threshold(score)) if score.is_finite() => Ok(()),
        Some(OperatingAt::FprMax(share) | OperatingAt::TprMin(share)) if rate(share) => Ok(()),
        Some(found) => Err(format!("expected a finite threshold or a rate of 0 to 1, got {found:?}")),
    }
}

/// Metrics that are taken sample by sample. Times, memory and sizes are a cell's.
fn has_slices(metric: &str) -> bool {
    matches!(metric, "task.value" | "task.drop" | SLICE_DROP | SLICE_GAP)
        || GRADED.contains(&metric)
        || CUSTOM.contains(&metric)
        || Metric::from_name(metric).is_some()
}

fn in_words(direction: Direction) -> &'static str {
    match direction {
        Direction::AtMost => "at_most",
        Direction::AtLeast => "at_least",
    }
}

/// Unit of a metric; `None` when it is the model's own (errors of a regression) or differs between the tasks concerned.
fn unit(metric: &str, tasks: &[&Task]) -> Option<&'static str> {
    if let Some(metric) = Metric::from_name(metric) {
        return Some(metric.unit());
    }
    match metric {
        graded if GRADED.contains(&graded) => Some("share"),
        CUSTOM_VALUE | CUSTOM_DROP => Some(custom::UNIT),
        "task.value" | "task.drop" | SLICE_DROP | SLICE_GAP => {
            let shares = tasks.iter().all(|task| !matches!(task, Task::Regression));
            shares.then_some("share")
        }
        INTEGER_OPS_LOSS => Some("share"),
        "latency_ratio_p50" | "memory_ratio" => Some("ratio"),
        _ if EXACT.contains(&metric) => Some("ratio"),
        "memory_peak_bytes" | "model_bytes" | "flash_bytes" | "arena_bytes" => Some("bytes"),
        "instructions_p50" | "instructions_max" => Some("instructions"),
        INTEGER_OPS_SHARE => Some("share"),
        FALLBACK_NODES | GPU_OTHER_PROCESSES => Some("count"),
        _ => Some("ns"),
    }
}

/// Directions in which a limit on the metric means something; empty when the tasks concerned disagree.
fn directions(metric: &str, tasks: &[&Task]) -> &'static [Direction] {
    if let Some(metric) = Metric::from_name(metric) {
        return match metric.direction() {
            numerics::Direction::Lower => &[Direction::AtMost],
            numerics::Direction::Higher => &[Direction::AtLeast],
            numerics::Direction::Zero => &[Direction::AtMost, Direction::AtLeast],
        };
    }
    if [INTEGER_OPS_SHARE, F1_VALUE].contains(&metric) {
        return &[Direction::AtLeast];
    }
    if metric != "task.value" {
        return &[Direction::AtMost];
    }
    let errors = tasks.iter().filter(|task| matches!(task, Task::Regression)).count();
    match errors {
        0 => &[Direction::AtLeast],
        n if n == tasks.len() => &[Direction::AtMost],
        _ => &[],
    }
}

fn comparisons(metric: &str) -> &'static [Against] {
    match metric {
        F1_VALUE | ECE | CUSTOM_VALUE => &[Against::Absolute],
        graded if GRADED.contains(&graded) => &[Against::Reference, Against::Baseline],
        "task.drop" | CUSTOM_DROP | SLICE_DROP | SLICE_GAP | "latency_ratio_p50" | "memory_ratio" => {
            &[Against::Reference, Against::Baseline]
        }
        _ if EXACT.contains(&metric) => &[Against::Baseline],
        _ if Metric::from_name(metric).is_some() => &[Against::Reference, Against::Baseline],
        _ => &[Against::Absolute],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_direction_a_unit_and_a_comparison() {
        let classes = Task::Classification { classes: vec!["a".into(), "b".into()] };
        for metric in super::super::known_metrics() {
            assert!(unit(metric, &[&classes]).is_some(), "{metric}");
            assert!(!directions(metric, &[&classes]).is_empty(), "{metric}");
            assert!(!comparisons(metric).is_empty(), "{metric}");
        }
    }

    #[test]
    fn accuracy_is_to_be_high_and_an_error_low() {
        let classes = Task::Classification { classes: vec!["a".into(), "b".into()] };
        assert_eq!(directions("task.value", &[&classes]), [Direction::AtLeast]);
        assert_eq!(directions("task.value", &[&Task::Regression]), [Direction::AtMost]);
        assert!(directions("task.value", &[&Task::Regression, &classes]).is_empty());
        assert_eq!(unit("task.drop", &[&Task::Regression, &classes]), None);
    }
}
