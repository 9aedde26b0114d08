//! Rules on answers that are more than right or wrong: calibration, F1, rates at a threshold; slices held together; what all confidences come to.

use crate::good::{Case, JUDGED, REFERENCE, SAMPLES, answers, good, label};
use boardproof_judge::gate::check_policy;
use boardproof_judge::report::{html, json, markdown, summary::summarize, text};
use boardproof_record::plan::Task;
use boardproof_record::policy::{Against, Decide, Direction, Family, OperatingAt, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};
use proptest::prelude::*;
use safetensors::Dtype;

/// Makes the first rule one on this metric, alone.
fn only(case: &mut Case, metric: &str, limit: f64, against: Against, at: Option<OperatingAt>) {
    case.policy.rules.truncate(1);
    let rule = &mut case.policy.rules[0];
    let direction = if metric == "task.f1" { Direction::AtLeast } else { Direction::AtMost };
    let (metric, unit) = (metric.into(), "share".into());
    *rule = Rule { metric, limit, unit, against, at, direction, tasks: Vec::new(), ..rule.clone() };
}

fn result(case: &Case) -> RuleResult {
    let judgement = case.judge().unwrap();
    judgement.cells[0].rules.iter().find(|r| r.rule == case.policy.rules[0].id).expect("a result").clone()
}

fn refused(case: &Case) -> String {
    check_policy(&case.record.plan, &case.policy, false).unwrap_err().to_string()
}

/// One score per sample: of label 1 half of the samples, a few of them scored wrongly.
fn scorer(score: impl Fn(usize) -> f32 + Copy, candidate: impl Fn(f32) -> f32) -> Case {
    let mut case = good();
    case.model().task = Task::Binary { positive: "disc".into() };
    case.policy.rules.iter_mut().for_each(|rule| rule.tasks = vec!["binary".into()]);
    let labels: Vec<i64> = (0..SAMPLES).map(|i| i64::from(i % 2 == 0)).collect();
    let sides: Vec<u8> = (0..SAMPLES).map(|i| u8::from(i % 3 == 0)).collect();
    case.evalset(&labels, &sides, &(0..SAMPLES as i64).collect::<Vec<_>>());
    let bytes = |of: &dyn Fn(usize) -> f32| (0..SAMPLES).flat_map(|i| of(i).to_le_bytes()).collect::<Vec<u8>>();
    let all: [(&str, Vec<u8>); 3] = [
        (REFERENCE, bytes(&score)),
        (crate::good::HOST_VARIANT, bytes(&|i| candidate(score(i)))),
        (JUDGED, bytes(&|i| candidate(score(i)))),
    ];
    for (cell, bytes) in all {
        case.outputs(cell, &[("scores", Dtype::F32, vec![SAMPLES, 1], bytes)]);
    }
    case
}

/// Between 0 and 1, mostly on the right side of one half.
fn share(sample: usize) -> f32 {
    let wobble = (sample * 37 % 101) as f32 / 101.0 * 0.45;
    let yes = sample.is_multiple_of(2);
    if yes == (sample % 25 != 7) { 0.52 + wobble } else { 0.48 - wobble }
}

#[test]
fn a_detector_whose_scores_have_moved_keeps_its_auc_and_fails_at_the_threshold_that_ships() {
    let mut case = scorer(share, |score| 0.7 * score + 0.3);
    only(&mut case, "task.drop", 0.03, Against::Reference, None);
    assert_eq!(result(&case).verdict, Verdict::Pass, "the ranks are the same");
    only(&mut case, "task.fpr_rise", 0.02, Against::Reference, Some(OperatingAt::FprMax(0.05)));
    let rise = result(&case);
    assert_eq!(rise.verdict, Verdict::Fail, "{rise:?}");
    assert!(rise.lower.unwrap() > 0.4 && rise.samples == 200, "{rise:?}");
    assert!(rise.detail.starts_with("false-positive rate") && rise.detail.contains("at a threshold of"), "{rise:?}");
    only(&mut case, "task.tpr_drop", 0.02, Against::Reference, Some(OperatingAt::TprMin(0.9)));
    assert_eq!(result(&case).verdict, Verdict::Pass, "whoever says yes to all finds all");
    let mut lower = scorer(share, |score| 0.7 * score);
    only(&mut lower, "task.tpr_drop", 0.02, Against::Reference, Some(OperatingAt::Threshold(0.5)));
    assert_eq!(result(&lower).verdict, Verdict::Fail);
    only(&mut lower, "task.f1_drop", 0.02, Against::Reference, Some(OperatingAt::Threshold(0.5)));
    assert_eq!(result(&lower).verdict, Verdict::Fail);
}

#[test]
fn f1_is_held_against_a_floor_and_against_the_reference() {
    let mut case = good();
    only(&mut case, "task.f1", 0.9, Against::Absolute, None);
    assert_eq!(result(&case).verdict, Verdict::Pass);
    only(&mut case, "task.f1_drop", 0.02, Against::Reference, None);
    assert_eq!(result(&case).verdict, Verdict::Pass);
    // One class of three is lost to another.
    let mut said = answers(0.02);
    for sample in (0..SAMPLES).filter(|i| label(*i) == 2).take(40) {
        said[sample * 3..sample * 3 + 3].rotate_left(1);
    }
    case.answers(JUDGED, &said);
    let drop = result(&case);
    assert_eq!(drop.verdict, Verdict::Fail);
    assert!(drop.detail.contains("a loss of"), "{drop:?}");
    only(&mut case, "task.f1", 0.95, Against::Absolute, None);
    assert_eq!(result(&case).verdict, Verdict::Fail);
    case.policy.rules[0].slice = Some("side=left".into());
    assert!(result(&case).samples == 200);
}

#[test]
fn answers_that_are_surer_than_they_are_right_fail_by_their_calibration_alone() {
    let mut case = good();
    only(&mut case, "calibration.ece", 0.05, Against::Absolute, None);
    let error = result(&case);
    assert!(error.observed.unwrap() < 0.05, "{error:?}");
    only(&mut case, "calibration.ece_change", 0.02, Against::Reference, None);
    assert_eq!(result(&case).verdict, Verdict::Inconclusive, "400 samples could hide a rise of two points");
    case.policy.rules[0].limit = 0.10;
    assert_eq!(result(&case).verdict, Verdict::Pass);
    case.policy.rules[0].limit = 0.02;
    // The same classes, hardly sure of any.
    let blunt: Vec<f32> = answers(0.02).iter().map(|v| v * 0.2).collect();
    case.answers(JUDGED, &blunt);
    let change = result(&case);
    assert_eq!(change.verdict, Verdict::Fail);
    assert!(change.lower.unwrap() > 0.1 && change.detail.contains("it grew by"), "{change:?}");
    only(&mut case, "task.drop", 0.01, Against::Reference, None);
    assert_eq!(result(&case).verdict, Verdict::Pass, "no answer changed");
}

#[test]
fn scores_that_are_no_probabilities_have_no_calibration_and_never_pass_for_it() {
    let mut logits = scorer(|i| 10.0 * share(i) - 5.0, |score| score);
    only(&mut logits, "calibration.ece", 1.0, Against::Absolute, None);
    let found = result(&logits);
    assert_eq!(found.verdict, Verdict::Incomplete, "{found:?}");
    assert!(found.detail.contains("the reference's answers"), "{found:?}");
    let mut beyond = scorer(share, |score| score * 3.0);
    only(&mut beyond, "calibration.ece", 1.0, Against::Absolute, None);
    assert_eq!(result(&beyond).verdict, Verdict::Fail);
    only(&mut beyond, "calibration.ece_change", 1.0, Against::Reference, None);
    assert_eq!(result(&beyond).verdict, Verdict::Fail);
}

#[test]
fn a_rule_that_says_nothing_is_refused() {
    let mut case = good();
    only(&mut case, "task.tpr_drop", 0.01, Against::Reference, Some(OperatingAt::FprMax(0.01)));
    case.policy.rules[0].tasks = vec!["classification".into()];
    assert!(refused(&case).contains("says nothing about the task classification"));
    only(&mut case, "task.f1_drop", 0.01, Against::Reference, Some(OperatingAt::FprMax(0.01)));
    assert!(refused(&case).contains("take out 'at'"));
    only(&mut case, "task.f1", 0.5, Against::Reference, None);
    assert!(refused(&case).contains("is compared with: absolute"));
    only(&mut case, "task.f1", 0.5, Against::Absolute, None);
    case.policy.rules[0].direction = Direction::AtMost;
    assert!(refused(&case).contains("it would pass what is bad"));
    only(&mut case, "calibration.ece", 0.5, Against::Absolute, None);
    case.policy.rules[0].family = Some(Family::Holm);
    assert!(refused(&case).contains("'family' is for a rule that looks at several slices"));
    let mut scores = scorer(share, |score| score);
    only(&mut scores, "task.fpr_rise", 0.01, Against::Reference, None);
    assert!(refused(&scores).contains("at = { fpr_max = 0.01 }"));
    for bad in [OperatingAt::Threshold(f64::NAN), OperatingAt::FprMax(1.5), OperatingAt::TprMin(-0.1)] {
        only(&mut scores, "task.fpr_rise", 0.01, Against::Reference, Some(bad));
        assert!(refused(&scores).contains("expected a finite threshold or a rate"), "{bad:?}");
    }
}

/// `lost` answers of each side that the reference has right.
fn lose(case: &mut Case, lost: [usize; 2]) {
    let mut said = answers(0.02);
    for (side, lost) in lost.into_iter().enumerate() {
        for sample in (0..SAMPLES).filter(|i| i % 2 == side && i % 20 != 19).take(lost) {
            said[sample * 3..sample * 3 + 3].rotate_left(1);
        }
    }
    case.answers(JUDGED, &said);
}

#[test]
fn slices_that_are_held_together_need_more_to_fail_and_never_less_to_pass() {
    let mut case = good();
    case.policy.rules.retain(|rule| rule.metric == "slice.drop");
    case.policy.rules[0].limit = 0.005;
    let verdicts = |case: &mut Case, family| {
        case.policy.rules[0].family = family;
        let judgement = case.judge().unwrap();
        let rules = judgement.cells[0].rules.iter().filter(|r| r.metric == "slice.drop");
        rules.map(|r| (r.verdict, r.detail.clone())).collect::<Vec<_>>()
    };
    // Two of two speak for a loss at 0.85, not at 0.925.
    lose(&mut case, [2, 0]);
    assert_eq!(verdicts(&mut case, None).iter().map(|v| v.0).collect::<Vec<_>>(), [Verdict::Fail, Verdict::Pass]);
    let together = verdicts(&mut case, Some(Family::Holm));
    assert_eq!((together[0].0, together[1].0), (Verdict::Inconclusive, Verdict::Pass));
    assert!(together[0].1.ends_with("not shown for all 2 slices together"), "{together:?}");
    // What stands by itself leaves the whole error to the other.
    lose(&mut case, [30, 2]);
    let together = verdicts(&mut case, Some(Family::Holm));
    assert_eq!(together.iter().map(|v| v.0).collect::<Vec<_>>(), [Verdict::Fail, Verdict::Fail]);
}

#[test]
fn what_all_confidences_come_to_is_said_once() {
    let case = good();
    let judgement = case.judge().unwrap();
    let chance = judgement.chance.unwrap();
    // accuracy 0.95, two slices 0.85 each, their gap 0.95, latency 0.95
    assert_eq!((chance.decisions, chance.alarms), (5, 3));
    assert!((chance.wrong_fail - (1.0 - 0.95_f64.powi(3) * 0.85_f64.powi(2))).abs() < 1e-12, "{chance:?}");
    assert!((chance.wrong_fail_max - 0.45).abs() < 1e-12 && (chance.wrong_pass_max.unwrap() - 0.05).abs() < 1e-12);
    let summary = summarize(case.evidence(), &judgement).unwrap();
    let said = "of 5 decisions by interval at least one fails wrongly in up to 38.1 % of runs";
    for report in [
        text::render(&summary, text::Paint::Plain),
        markdown::render(&summary),
        html::render(&summary),
        json::render(&judgement, &summary).unwrap(),
    ] {
        assert!(report.contains(said) || report.contains("\"wrong_fail\": 0.38"), "{report}");
    }
    let mut together = case.clone();
    let slices = together.policy.rules.iter_mut().find(|rule| rule.metric == "slice.drop").unwrap();
    slices.family = Some(Family::Holm);
    assert_eq!(together.judge().unwrap().chance.unwrap().decisions, 4);
    let mut lenient = case.clone();
    lenient.policy.inconclusive_blocks = false;
    assert_eq!(lenient.judge().unwrap().chance.unwrap().wrong_pass_max, None, "what is undecided passes");
    let mut certain = case.clone();
    certain.policy.rules.retain(|rule| rule.metric == "sqnr_db");
    assert_eq!(certain.judge().unwrap().chance, None);
}

#[test]
fn reports_show_the_calibration_of_variant_and_reference() {
    let case = good();
    let judgement = case.judge().unwrap();
    let summary = summarize(case.evidence(), &judgement).unwrap();
    let found = summary.cells[0].calibration.as_ref().unwrap();
    assert_eq!(found.bins.iter().map(|bin| bin.samples).sum::<u64>(), SAMPLES as u64);
    assert!(found.lower <= found.error && found.error <= found.upper && found.reference.is_some());
    let sentence = found.sentence();
    assert!(sentence.starts_with("expected error of the softmax of the outputs "), "{sentence}");
    assert!(text::render(&summary, text::Paint::Plain).contains(&sentence));
    assert!(markdown::render(&summary).contains("### Calibration"));
    let page = html::render(&summary);
    assert!(page.contains("How sure, and how often right") && page.contains("Calibration by what was stated"));
    // A score that is no probability is not drawn as one.
    let logits = scorer(|i| 10.0 * share(i) - 5.0, |score| score);
    let judgement = logits.judge().unwrap();
    assert!(summarize(logits.evidence(), &judgement).unwrap().cells[0].calibration.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is lost where: holding slices together turns failures into what is not shown, and nothing else into anything.
    #[test]
    fn holding_slices_together_never_makes_a_pass(left in 0..40_usize, right in 0..40_usize) {
        let mut case = good();
        case.policy.rules.retain(|rule| rule.metric == "slice.drop");
        lose(&mut case, [left, right]);
        let alone = case.judge().unwrap();
        case.policy.rules[0].family = Some(Family::Holm);
        let together = case.judge().unwrap();
        for (a, b) in alone.cells[0].rules.iter().zip(&together.cells[0].rules) {
            prop_assert!(a.verdict == b.verdict || (a.verdict, b.verdict) == (Verdict::Fail, Verdict::Inconclusive));
        }
    }

    /// Bounds hold the number, and the number is the same whatever the confidence.
    #[test]
    fn bounds_hold_the_number(lost in 0..60_usize, confidence in 0.6..0.99_f64) {
        let mut case = good();
        lose(&mut case, [lost, lost / 3]);
        for (metric, against) in [
            ("task.f1", Against::Absolute),
            ("task.f1_drop", Against::Reference),
            ("calibration.ece", Against::Absolute),
            ("calibration.ece_change", Against::Reference),
        ] {
            only(&mut case, metric, 0.02, against, None);
            case.policy.rules[0].decide = Decide::Shown;
            case.policy.rules[0].confidence = confidence;
            let found = result(&case);
            let (value, lower, upper) = (found.observed.unwrap(), found.lower.unwrap(), found.upper.unwrap());
            prop_assert!(lower <= value + 1e-12 && value <= upper + 1e-12, "{metric}: {found:?}");
        }
    }
}
