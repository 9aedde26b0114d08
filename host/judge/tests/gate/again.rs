//! A float model that was timed before and after the variants: what slowed it down one time makes nothing pass.

use crate::good::{Case, DEVICE_REFERENCE, JUDGED, good, id, ticks};
use boardproof_record::observation::{Ended, Outcome};
use boardproof_record::plan::Pass;
use boardproof_record::verdict::{RuleResult, Verdict};

/// The float model takes so long before and after, the variant so long.
fn timed(before: u64, after: u64, variant: u64) -> Case {
    let mut case = good();
    case.planned(DEVICE_REFERENCE).passes.iter_mut().for_each(|pass| pass.again = pass.pass == Pass::Latency);
    case.ticks(DEVICE_REFERENCE, &ticks(after));
    let mut later = case.seen(DEVICE_REFERENCE).clone();
    later.passes.retain(|pass| pass.pass == Pass::Latency);
    let file = later.passes[0].ticks.as_mut().expect("it was timed");
    let bytes = case.files[&file.path].clone();
    file.path = format!("again/{}", file.path);
    case.files.insert(file.path.clone(), bytes);
    case.record.again.insert(id(DEVICE_REFERENCE), Outcome::Measured(Box::new(later)));
    case.ticks(DEVICE_REFERENCE, &ticks(before));
    case.ticks(JUDGED, &ticks(variant));
    case
}

fn latency(case: &Case) -> RuleResult {
    let judgement = case.judge().unwrap();
    judgement.cells[0].rules.iter().find(|result| result.rule.as_str() == "latency").expect("a result").clone()
}

#[test]
fn a_float_model_that_was_slow_once_makes_no_slow_variant_pass_and_no_good_one_fail() {
    // Nine times as long, held against a pass that something slowed down by four.
    let slow = latency(&timed(80_000, 20_000, 180_000));
    assert_eq!(slow.verdict, Verdict::Inconclusive, "{slow:?}");
    assert!(slow.detail.contains("(2.25 by its time before, 8.98 by that after)"), "{slow:?}");
    assert_eq!(slow.samples_more, None, "more inferences would not decide");
    assert!(slow.lower.unwrap() < 2.3 && slow.upper.unwrap() > 8.9, "{slow:?}");
    assert_eq!(latency(&timed(20_000, 80_000, 180_000)).verdict, Verdict::Inconclusive);
    // What both say is said.
    assert_eq!(latency(&timed(20_000, 20_000, 180_000)).verdict, Verdict::Fail);
    let good = latency(&timed(20_000, 20_000, 22_000));
    assert_eq!(good.verdict, Verdict::Pass, "{good:?}");
    assert!(!good.detail.contains("before"), "{good:?}");
    assert_eq!(latency(&timed(20_000, 30_000, 22_000)).verdict, Verdict::Pass, "it is good by either");
}

#[test]
fn a_second_pass_that_was_planned_and_is_not_there_is_missed() {
    let mut case = timed(20_000, 20_000, 22_000);
    case.record.again.clear();
    let missing = latency(&case);
    assert_eq!(missing.verdict, Verdict::Incomplete);
    assert!(missing.detail.contains("timed again after all others"), "{missing:?}");

    let mut case = timed(20_000, 20_000, 22_000);
    let Some(Outcome::Measured(seen)) = case.record.again.get_mut(&id(DEVICE_REFERENCE)) else { panic!("it is there") };
    seen.passes[0].ended = Ended::DeadlineExceeded { deadline_ms: 60_000 };
    assert_eq!(latency(&case).verdict, Verdict::Incomplete);

    let mut case = timed(20_000, 20_000, 22_000);
    let Some(Outcome::Measured(seen)) = case.record.again.get_mut(&id(DEVICE_REFERENCE)) else { panic!("it is there") };
    seen.device.runner_digest = None;
    assert_eq!(latency(&case).verdict, Verdict::Incomplete, "by whose program is not known");
}

#[test]
fn one_that_was_not_planned_is_a_damaged_record() {
    let mut case = timed(20_000, 20_000, 22_000);
    case.planned(DEVICE_REFERENCE).passes.iter_mut().for_each(|pass| pass.again = false);
    let error = case.judge().unwrap_err().to_string();
    assert!(error.contains("was measured again, which was not planned"), "{error}");
}
