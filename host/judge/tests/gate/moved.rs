//! Latency passes that did not keep their level: called so by name, and judged by what holds in all of their stretches.

use crate::good::{Case, DEVICE_REFERENCE, INFERENCES, JUDGED, good, ticks};
use boardproof_judge::report::summary::summarize;
use boardproof_record::policy::Against;
use boardproof_record::verdict::{RuleResult, Verdict};

/// Ticks around 12,000 by a factor that depends on the place in the pass.
fn moving(factor: impl Fn(f64) -> f64) -> Vec<u64> {
    let at = |i: usize| i as f64 / f64::from(INFERENCES);
    ticks(12_000).iter().enumerate().map(|(i, t)| (*t as f64 * factor(at(i))) as u64).collect()
}

fn ramp(at: f64) -> f64 {
    1.0 + 0.5 * at
}

fn with(cell: &str, factor: impl Fn(f64) -> f64, metric: &str, limit: f64) -> (Case, RuleResult) {
    let mut case = good();
    case.ticks(cell, &moving(factor));
    let rule = case.rule("latency");
    (rule.metric, rule.limit) = (metric.into(), limit);
    if metric.starts_with("latency_ns") {
        (rule.against, rule.unit) = (Against::Absolute, "ns".into());
    }
    let judged = case.judge().unwrap();
    let rule = judged.cells[0].rules.iter().find(|r| r.rule.as_str() == "latency").unwrap().clone();
    (case, rule)
}

#[test]
fn a_limit_that_the_slowest_stretch_does_not_keep_is_not_passed() {
    for (limit, expected) in [(11_000.0, Verdict::Fail), (15_000.0, Verdict::Inconclusive), (40_000.0, Verdict::Pass)] {
        let step = |at: f64| if at < 0.7 { 1.0 } else { 1.5 };
        let (_, rule) = with(JUDGED, step, "latency_ns_p50", limit);
        assert_eq!(rule.verdict, expected, "{limit}: {rule:?}");
        assert!(rule.detail.contains("not stationary: a step, 1.50 times as long"), "{}", rule.detail);
    }
}

#[test]
fn a_ramp_must_have_room_to_go_on() {
    // It ended at 18 µs, half as long again as it began.
    for (limit, expected) in [(20_000.0, Verdict::Inconclusive), (28_000.0, Verdict::Pass)] {
        let (_, rule) = with(JUDGED, ramp, "latency_ns_p50", limit);
        assert_eq!(rule.verdict, expected, "{limit}: {rule:?}");
        assert!(rule.detail.contains("not stationary: a ramp"), "{}", rule.detail);
    }
    let (_, longest) = with(JUDGED, ramp, "latency_ns_max", 20_000.0);
    assert_eq!(longest.verdict, Verdict::Inconclusive, "{longest:?}");
}

#[test]
fn no_number_of_inferences_of_a_moving_pass_would_decide() {
    let (_, rule) = with(JUDGED, ramp, "latency_ns_p50", 20_000.0);
    assert_eq!(rule.samples_more, None);
    assert!(rule.detail.contains("no number of inferences would decide"), "{}", rule.detail);
}

#[test]
fn a_ratio_names_the_pass_that_moved_also_when_it_is_the_reference_s() {
    let (_, rule) = with(DEVICE_REFERENCE, ramp, "latency_ratio_p50", 3.0);
    assert_eq!(rule.verdict, Verdict::Pass, "{rule:?}");
    assert!(rule.detail.contains("; the reference's pass was not stationary: a ramp"), "{}", rule.detail);
    let (_, rule) = with(DEVICE_REFERENCE, ramp, "latency_ratio_p50", 0.8);
    assert_eq!(rule.verdict, Verdict::Inconclusive, "{rule:?}");
}

#[test]
fn the_report_says_it_whatever_the_verdict() {
    let (case, _) = with(JUDGED, ramp, "latency_ratio_p50", 3.0);
    let judgement = case.judge().unwrap();
    let summary = summarize(case.evidence(), &judgement).unwrap();
    assert!(
        summary.cells[0].notes.iter().any(|note| note.contains("not stationary: a ramp")),
        "{:?}",
        summary.cells[0].notes
    );
    assert_eq!(summary.verdict, Verdict::Pass);
}
