//! Slices that move apart.

use crate::good::{Case, JUDGED, SAMPLES, answers, good};
use boardproof_record::verdict::{RuleResult, Verdict};

/// The answers of the good variant, of which so many are wrong on each side (odd samples are `right`).
fn with_losses(left: usize, right: usize) -> Case {
    let mut case = good();
    let mut said = answers(0.02);
    let once_right = |side: usize| (0..SAMPLES).filter(move |i| i % 2 == side && i % 20 != 19);
    for sample in once_right(0).take(left).chain(once_right(1).take(right)) {
        said[sample * 3..sample * 3 + 3].rotate_right(1);
    }
    case.answers(JUDGED, &said);
    case
}

fn gap(case: &Case) -> RuleResult {
    let judged = case.judge().unwrap();
    judged.cells[0].rules.iter().find(|r| r.rule.as_str() == "slice-gap").unwrap().clone()
}

#[test]
fn a_loss_that_one_side_has_alone_fails() {
    let rule = gap(&with_losses(0, 30));
    assert_eq!((rule.verdict, rule.slice.as_deref()), (Verdict::Fail, Some("side")), "{rule:?}");
    // The wrong answers that were there before are all on the right side.
    assert!((rule.observed.unwrap() - 0.15).abs() < 1e-9, "{rule:?}");
    assert!(rule.detail.contains("side=left") && rule.detail.contains("it grew by 15.00 points"), "{}", rule.detail);
}

#[test]
fn a_loss_that_both_have_is_not_this_rule_s() {
    let rule = gap(&with_losses(30, 30));
    assert_eq!(rule.verdict, Verdict::Pass, "{rule:?}");
    assert!(rule.observed.unwrap().abs() < 1e-9);
}

#[test]
fn a_gap_that_may_be_chance_passes_and_says_so() {
    let rule = gap(&with_losses(6, 12));
    assert_eq!(rule.verdict, Verdict::Pass, "{rule:?}");
    assert!(rule.detail.contains("beyond 2.00 points but not shown"), "{}", rule.detail);
    assert!(rule.lower.unwrap() < rule.observed.unwrap() && rule.observed.unwrap() < rule.upper.unwrap());
}

#[test]
fn a_gap_that_closes_passes() {
    // All answers that were wrong are on the right side: losing some on the left brings them together.
    let rule = gap(&with_losses(15, 0));
    assert_eq!(rule.verdict, Verdict::Pass, "{rule:?}");
    assert!(rule.observed.unwrap() < 0.0, "{rule:?}");
}

#[test]
fn slices_that_are_too_small_support_no_claim_and_one_slice_has_no_gap() {
    let mut case = good();
    case.rule("slice-gap").min_samples = 300;
    let rule = gap(&case);
    assert_eq!(rule.verdict, Verdict::Inconclusive, "{rule:?}");
    case.rule("slice-gap").slice = Some("side=left".into());
    let why = case.judge().unwrap_err().to_string();
    assert!(why.contains("expected a column, got 'side=left'"), "{why}");
}
