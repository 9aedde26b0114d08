//! Rules on metrics that the models' owners compute.

use crate::good::{Case, JUDGED, REFERENCE, SAMPLES, good, id};
use boardproof_judge::gate::{GateError, check_policy};
use boardproof_record::Digest;
use boardproof_record::plan::{Better, CustomMetric};
use boardproof_record::policy::{Against, Direction, Rule};
use boardproof_record::record::{NUMBERS, Numbers};
use boardproof_record::verdict::{RuleResult, Verdict};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;

/// A model with a metric of its own, and one rule on it.
fn with_metric(better: Better, metric: &str, limit: f64) -> Case {
    let mut case = good();
    let command = vec!["score".into()];
    case.model().custom =
        vec![CustomMetric { name: "own".into(), command, folder: ".".into(), better, range: [0.0, 1.0] }];
    case.policy.rules.truncate(1);
    let rule = &mut case.policy.rules[0];
    let value = metric == "custom.value";
    let direction = if value && better == Better::Higher { Direction::AtLeast } else { Direction::AtMost };
    let against = if value { Against::Absolute } else { Against::Reference };
    let (metric, unit, custom) = (metric.into(), "own".into(), Some("own".into()));
    *rule = Rule { metric, limit, unit, against, direction, custom, tasks: Vec::new(), ..rule.clone() };
    give(&mut case, REFERENCE, |i| if i % 10 == 0 { 0.0 } else { 1.0 });
    give(&mut case, JUDGED, |i| if i % 10 == 0 { 0.0 } else { 1.0 });
    case
}

/// The numbers of a cell.
fn give(case: &mut Case, cell: &str, number: impl Fn(usize) -> f64) {
    give_so_many(case, cell, SAMPLES, number);
}

fn give_so_many(case: &mut Case, cell: &str, samples: usize, number: impl Fn(usize) -> f64) {
    let bytes: Vec<u8> = (0..samples).flat_map(|i| number(i).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F64, vec![samples], &bytes).unwrap();
    let bytes = safetensors::serialize([(NUMBERS, view)], None).unwrap();
    let file = case.keep(&format!("cells/{}/custom-own.safetensors", id(cell).folder()), bytes);
    let numbers = Numbers::Given { file, programs: BTreeMap::new() };
    case.record.custom.entry(id(cell)).or_default().insert("own".into(), numbers);
}

/// Says that the numbers of a cell were computed by a script that held this.
fn by(case: &mut Case, cell: &str, script: &str) {
    match case.record.custom.get_mut(&id(cell)).unwrap().get_mut("own") {
        Some(Numbers::Given { programs, .. }) => programs.insert("own.py".into(), Digest::of(script.as_bytes())),
        other => panic!("{cell}: {other:?}"),
    };
}

fn result(case: &Case) -> RuleResult {
    let judgement = case.judge().unwrap();
    judgement.cells[0].rules.iter().find(|r| r.rule == case.policy.rules[0].id).expect("a result").clone()
}

/// A few samples more are wrong than the reference has wrong.
fn worse(sample: usize) -> f64 {
    if sample.is_multiple_of(5) { 0.0 } else { 1.0 }
}

#[test]
fn a_loss_is_held_against_the_reference_whichever_numbers_are_good() {
    let mut case = with_metric(Better::Higher, "custom.drop", 0.02);
    let equal = result(&case);
    assert_eq!((equal.verdict, equal.observed), (Verdict::Pass, Some(0.0)), "{equal:?}");
    assert!(equal.upper.unwrap() > 0.005, "samples without a difference could hide one: {equal:?}");
    give(&mut case, JUDGED, worse);
    let lost = result(&case);
    assert_eq!(lost.verdict, Verdict::Fail, "{lost:?}");
    assert!((lost.observed.unwrap() - 0.1).abs() < 1e-12 && lost.detail.contains("own 0.8000 (reference 0.9000)"));
    // The same numbers, as errors, are a gain.
    case.model().custom[0].better = Better::Lower;
    assert_eq!(result(&case).verdict, Verdict::Pass);
}

#[test]
fn a_value_is_held_against_a_limit_and_by_slice() {
    let mut case = with_metric(Better::Higher, "custom.value", 0.8);
    assert_eq!(result(&case).verdict, Verdict::Pass);
    case.policy.rules[0].limit = 0.9;
    assert_eq!(result(&case).verdict, Verdict::Inconclusive, "the limit itself is not shown");
    case.policy.rules[0].limit = 0.99;
    assert_eq!(result(&case).verdict, Verdict::Fail);
    case.policy.rules[0].slice = Some("side=left".into());
    let left = result(&case);
    assert_eq!((left.samples, left.verdict), (200, Verdict::Fail), "{left:?}");
    let mut errors = with_metric(Better::Lower, "custom.value", 0.95);
    assert_eq!(result(&errors).verdict, Verdict::Pass);
    errors.policy.rules[0].limit = 0.5;
    assert_eq!(result(&errors).verdict, Verdict::Fail);
}

#[test]
fn numbers_of_another_script_of_the_same_name_are_not_compared() {
    let two = |own: &str, other: &str| {
        format!("{} there, {} here", Digest::of(other.as_bytes()).short(), Digest::of(own.as_bytes()).short())
    };
    let incomplete = |case: &Case, words: &str| {
        let found = result(case);
        assert_eq!(found.verdict, Verdict::Incomplete, "{found:?}");
        assert!(found.detail.contains(words), "{words}: {}", found.detail);
    };
    // Edited between one cell of a run and the next.
    let mut case = with_metric(Better::Higher, "custom.drop", 0.02);
    by(&mut case, REFERENCE, "old");
    by(&mut case, JUDGED, "new");
    incomplete(&case, &format!("the reference's 'own' was computed by another own.py: {}", two("new", "old")));
    by(&mut case, REFERENCE, "new");
    assert_eq!(result(&case).verdict, Verdict::Pass);
    // Edited between two runs.
    let mut baseline = case.clone();
    case.policy.rules[0].against = Against::Baseline;
    case.baseline = Some(Box::new(baseline.clone()));
    assert_eq!(result(&case).verdict, Verdict::Pass);
    by(&mut baseline, JUDGED, "old");
    case.baseline = Some(Box::new(baseline.clone()));
    incomplete(&case, &format!("the baseline's 'own' was computed by another own.py: {}", two("new", "old")));
    // A record of a time when nobody wrote it down.
    give(&mut baseline, JUDGED, |_| 1.0);
    case.baseline = Some(Box::new(baseline));
    incomplete(&case, "the baseline's 'own' was computed by another own.py: not told there");
}

#[test]
fn without_numbers_there_is_no_verdict() {
    let mut case = with_metric(Better::Higher, "custom.drop", 0.02);
    let causes = vec!["score in . ended with exit status: 1".into(), "no such label".into()];
    case.record.custom.get_mut(&id(JUDGED)).unwrap().insert("own".into(), Numbers::Failed { causes });
    let failed = result(&case);
    assert_eq!(failed.verdict, Verdict::Incomplete);
    assert!(failed.detail.contains("exit status: 1: no such label"), "{failed:?}");
    for cell in [REFERENCE, JUDGED] {
        let mut case = with_metric(Better::Higher, "custom.drop", 0.02);
        case.record.custom.remove(&id(cell));
        let none = result(&case);
        assert_eq!(none.verdict, Verdict::Incomplete);
        assert!(none.detail.contains("no numbers of own for"), "{none:?}");
    }
}

#[test]
fn numbers_that_the_metric_cannot_have_are_a_damaged_record() {
    for bad in [f64::NAN, f64::INFINITY, -0.01, 1.01] {
        let mut case = with_metric(Better::Higher, "custom.drop", 0.02);
        give(&mut case, JUDGED, |i| if i == 7 { bad } else { 1.0 });
        let error = case.judge().unwrap_err();
        assert!(matches!(error, GateError::Evidence(_)), "{bad}: {error}");
    }
    let mut case = with_metric(Better::Higher, "custom.drop", 0.02);
    give_so_many(&mut case, JUDGED, SAMPLES - 1, |_| 1.0);
    assert!(matches!(case.judge().unwrap_err(), GateError::Evidence(_)), "one sample has no number");
}

#[test]
fn a_rule_that_says_nothing_is_refused() {
    let refused = |change: &dyn Fn(&mut Case)| {
        let mut case = with_metric(Better::Higher, "custom.value", 0.8);
        change(&mut case);
        check_policy(&case.record.plan, &case.policy, false).unwrap_err().to_string()
    };
    let unknown = refused(&|case| case.policy.rules[0].custom = Some("own2".into()));
    assert!(unknown.contains("no model of the plan has a metric 'own2'; they have: own"), "{unknown}");
    let unnamed = refused(&|case| case.policy.rules[0].custom = None);
    assert!(unnamed.contains("custom = \"NAME\""), "{unnamed}");
    let wrong_way = refused(&|case| case.policy.rules[0].direction = Direction::AtMost);
    assert!(wrong_way.contains("expected at_least"), "{wrong_way}");
    let unit = refused(&|case| case.policy.rules[0].unit = "share".into());
    assert!(unit.contains("'own'"), "{unit}");
    let no_custom = refused(&|case| {
        let rule = &mut case.policy.rules[0];
        (rule.metric, rule.unit, rule.direction) = ("task.value".into(), "share".into(), Direction::AtLeast);
    });
    assert!(no_custom.contains("take out custom"), "{no_custom}");
}
