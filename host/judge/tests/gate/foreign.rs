//! Firmware of somebody else in the place of the board: what it can tell is judged, what it cannot tell is missing and never a pass.

use crate::good::{Case, HOST_VARIANT, answers, good, id};
use boardproof_judge::gate::GateError;
use boardproof_judge::report::{summary::summarize, text};
use boardproof_record::dialect::Dialect;
use boardproof_record::observation::{Ended, Outcome};
use boardproof_record::plan::{FOREIGN, LinkSpec, Pass};
use boardproof_record::policy::{Against, Decide, Direction, Rule};
use boardproof_record::verdict::Verdict;
use boardproof_record::{Digest, EngineName, RuleId};

const INSIDE: &str = "shapes/int8@board/foreign";

/// The good record with a firmware that speaks MLPerf Tiny as its board.
fn foreign() -> Case {
    let mut case = good();
    let plan = &mut case.record.plan;
    plan.cells.retain(|cell| cell.id.as_str() != "shapes/f32@board/tract");
    case.record.outcomes.remove(&id("shapes/f32@board/tract"));
    let cell = plan.cells.iter_mut().find(|cell| cell.judged).expect("one is judged");
    let Some(Outcome::Measured(mut seen)) = case.record.outcomes.remove(&cell.id) else { panic!("it was measured") };
    (cell.id, cell.engine) = (id(INSIDE), EngineName::new(FOREIGN).unwrap());
    cell.passes.retain(|plan| matches!(plan.pass, Pass::Accuracy | Pass::Latency));
    seen.passes.retain(|pass| matches!(pass.pass, Pass::Accuracy | Pass::Latency));
    for pass in &mut seen.passes {
        pass.facts.numbers.retain(|name, _| name.ends_with("wall_ns") || name.starts_with("host_wall_ns"));
    }
    seen.device.protocol = 0;
    (seen.device.agent_digest, seen.device.runner_digest) = (None, None);
    seen.environment_before.missing.insert("rss_peak_bytes".into(), "MLPerf Tiny does not tell it".into());
    case.record.outcomes.insert(id(INSIDE), Outcome::Measured(seen));
    let board = plan.targets.values_mut().find(|target| target.name.as_str() == "board").expect("a board");
    board.engine = EngineName::new(FOREIGN).unwrap();
    board.link = LinkSpec::Serial { baud: 115_200, faster: Vec::new() };
    board.dialect = Some(Dialect::MlperfTiny {
        model: "kws01".into(),
        input: Default::default(),
        channels: Default::default(),
        confirm_samples: true,
        relay: false,
    });
    case
}

fn rule(metric: &str, direction: Direction, limit: f64, unit: &str, against: Against) -> Rule {
    Rule {
        id: RuleId::new("asked").unwrap(),
        metric: metric.into(),
        direction,
        limit,
        unit: unit.into(),
        against,
        decide: Decide::Shown,
        confidence: 0.95,
        min_samples: 1,
        tasks: Vec::new(),
        models: Vec::new(),
        targets: Vec::new(),
        slice: None,
        at: None,
        custom: None,
        family: None,
        reason: "r".into(),
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut Case), verdict: Verdict, said: &str) {
    let mut case = foreign();
    change(&mut case);
    let judgement = case.judge().unwrap();
    let cell = &judgement.cells[0];
    assert_eq!((cell.verdict, judgement.verdict), (verdict, verdict), "{}", cell.reason);
    assert!(cell.reason.contains(said), "{}", cell.reason);
}

#[test]
fn a_good_one_passes_by_what_it_tells() {
    let case = foreign();
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.cells[0].reason);
    let rules: Vec<&str> = judgement.cells[0].rules.iter().map(|r| r.rule.as_str()).collect();
    for rule in ["runs", "clock", "finite", "compared-with", "accuracy-drop", "drift"] {
        assert!(rules.contains(&rule), "{rule} is not among {rules:?}");
    }
    for rule in ["latency", "self-check", "same-as-host", "flash-budget"] {
        assert!(!rules.contains(&rule), "nothing is known for {rule}: {rules:?}");
    }
    let report = text::render(&summarize(case.evidence(), &judgement).unwrap(), text::Paint::Plain);
    assert!(report.contains("that int8 is inside is what was said, it calls its model 'kws01'"), "{report}");
    // The host's engine stands in for the one that nobody knows.
    assert!(report.contains("drift   quantization") && report.contains("deployment"), "{report}");
}

#[test]
fn what_it_cannot_tell_never_passes() {
    for (metric, unit) in [("memory_peak_bytes", "bytes"), ("load_ns", "ns"), ("arena_bytes", "bytes")] {
        let asked = rule(metric, Direction::AtMost, 1e12, unit, Against::Absolute);
        check(|case| case.policy.rules.push(asked), Verdict::Incomplete, "was not measured");
    }
    let asked = rule("memory_peak_bytes", Direction::AtMost, 1e12, "bytes", Against::Absolute);
    check(|case| case.policy.rules.push(asked), Verdict::Incomplete, "was not measured: MLPerf Tiny does not tell it");
    let asked = rule("latency_ns_p50", Direction::AtMost, 1e12, "ns", Against::Absolute);
    let untimed = |case: &mut Case| {
        case.policy.rules.push(asked);
        case.planned(INSIDE).passes.retain(|plan| plan.pass == Pass::Accuracy);
        let seen = case.seen(INSIDE);
        seen.passes.retain(|pass| pass.pass == Pass::Accuracy);
        seen.environment_before.missing.insert("latency".into(), "nobody can check its clock".into());
    };
    check(untimed, Verdict::Incomplete, "nothing was timed: nobody can check its clock");
}

#[test]
fn its_clock_is_held_against_the_hosts() {
    let times = |case: &mut Case, name: &str, value: Option<u64>| {
        let numbers = &mut case.pass(INSIDE, Pass::Latency).facts.numbers;
        match value {
            Some(value) => numbers.insert(name.into(), value),
            None => numbers.remove(name),
        };
    };
    check(|case| times(case, "pass_wall_ns", Some(300_000_000)), Verdict::Incomplete, "the clocks disagree");
    check(|case| times(case, "pass_wall_ns", None), Verdict::Incomplete, "cannot be checked");
}

#[test]
fn wrong_answers_fail_and_half_of_them_are_no_verdict() {
    let other: Vec<f32> = answers(0.02).iter().rev().copied().collect();
    check(|case| case.answers(INSIDE, &other), Verdict::Fail, "");
    let late = |case: &mut Case| {
        let pass = case.pass(INSIDE, Pass::Accuracy);
        (pass.ended, pass.inferences, pass.outputs) = (Ended::DeadlineExceeded { deadline_ms: 1000 }, 7, None);
    };
    check(late, Verdict::Incomplete, "raise limits.pass_deadline_s");
    let agent = |case: &mut Case| case.seen(INSIDE).device.agent_digest = Some(Digest::of(b"who"));
    check(agent, Verdict::Incomplete, "is not one that this run made");
}

#[test]
fn engine_and_target_agree_about_who_made_the_firmware() {
    let mut ours = foreign();
    ours.record.plan.targets.values_mut().for_each(|target| target.dialect = None);
    let mut theirs = foreign();
    let host = theirs.record.plan.targets.values_mut().find(|target| target.name.as_str() == "host").unwrap();
    host.dialect = Some(Dialect::Stm32msg {
        model: "m".into(),
        signature: None,
        channels: Default::default(),
        packets: Default::default(),
        clock_believed: false,
    });
    for (case, cell) in [(ours, INSIDE), (theirs, HOST_VARIANT)] {
        let Err(GateError::Inconsistent(error)) = case.judge() else { panic!("{cell} was judged") };
        assert!(error.to_string().contains("do not agree"), "{error}");
    }
}
