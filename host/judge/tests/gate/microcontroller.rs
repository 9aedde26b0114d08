//! A microcontroller in the place of the board: an engine for integers, a firmware, a clock that counts instructions, budgets of a product.

use crate::good::{Case, HOST_VARIANT, JUDGED, SAMPLES, answers, good, id};
use boardproof_judge::gate::GateError;
use boardproof_judge::report::{summary::summarize, text};
use boardproof_record::observation::Ended;
use boardproof_record::plan::{Clock, Firmware, LinkSpec, MICRO, Pass, PowerSpec};
use boardproof_record::policy::{Against, Direction, Rule};
use boardproof_record::verdict::Verdict;
use boardproof_record::{EngineName, RuleId};

const ON_HOST: &str = "shapes/int8@host/micro";
const ON_BOARD: &str = "shapes/int8@board/micro";
const FLASH: u64 = 100_000;
const RAM: u64 = 50_000;

/// The good record with a microcontroller as its board.
fn microcontroller() -> Case {
    let mut case = good();
    let engine = EngineName::new(MICRO).unwrap();
    let plan = &mut case.record.plan;
    plan.cells.retain(|cell| cell.id.as_str() != "shapes/f32@board/tract");
    case.record.outcomes.remove(&id("shapes/f32@board/tract"));
    for cell in plan.cells.iter_mut().filter(|cell| cell.variant.as_str() == "int8") {
        let new = if cell.id.as_str() == HOST_VARIANT { ON_HOST } else { ON_BOARD };
        let seen = case.record.outcomes.remove(&cell.id).expect("measured");
        cell.id = id(new);
        cell.engine = engine.clone();
        case.record.outcomes.insert(cell.id.clone(), seen);
    }
    let board = plan.targets.values_mut().find(|t| t.name.as_str() == "board").expect("a board");
    board.engine = engine;
    board.build.firmware = Some(Firmware { package: "fw".into(), binary: "board".into(), features: Vec::new() });
    board.link = LinkSpec::Serial { baud: 115_200, faster: Vec::new() };
    board.power = PowerSpec::Machine { machine: "m".into(), instruction_shift: 5 };
    board.clock = Clock::Instructions { ns_each: 32 };
    board.emulated = true;
    (board.limits.flash_bytes, board.limits.memory_bytes) = (Some(FLASH), Some(RAM));
    let seen = case.seen(ON_BOARD);
    seen.device.runner_digest = None;
    seen.device.tick_hz = 25_000_000;
    seen.emulated = true;
    let memory = &mut case.pass(ON_BOARD, Pass::Memory).facts.numbers;
    memory.clear();
    for (key, value) in [
        ("flash_bytes", 40_000),
        ("model_bytes", 30_000),
        ("static_ram_bytes", 10_000),
        ("arena_peak_bytes", 20_000),
        ("stack_peak_bytes", 2_000),
    ] {
        memory.insert(key.into(), value);
    }
    case
}

fn number(case: &mut Case, key: &str, value: Option<u64>) {
    let numbers = &mut case.pass(ON_BOARD, Pass::Memory).facts.numbers;
    match value {
        Some(value) => numbers.insert(key.into(), value),
        None => numbers.remove(key),
    };
}

#[track_caller]
fn check(change: impl FnOnce(&mut Case), verdict: Verdict, said: &str) {
    let mut case = microcontroller();
    change(&mut case);
    let judgement = case.judge().unwrap();
    let cell = &judgement.cells[0];
    assert_eq!((cell.verdict, judgement.verdict), (verdict, verdict), "{}", cell.reason);
    assert!(cell.reason.contains(said), "{}", cell.reason);
}

#[test]
fn a_good_one_passes_though_there_is_no_float_model_on_it() {
    let case = microcontroller();
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.cells[0].reason);
    let rules: Vec<&str> = judgement.cells[0].rules.iter().map(|r| r.rule.as_str()).collect();
    for rule in ["flash-budget", "ram-budget", "same-as-host", "accuracy-drop", "drift"] {
        assert!(rules.contains(&rule), "{rule} is not among {rules:?}");
    }
    assert!(!rules.contains(&"latency"), "there is nothing that it could be compared with: {rules:?}");
    let report = text::render(&summarize(case.evidence(), &judgement).unwrap(), text::Paint::Plain);
    // 12,000 to 12,100 ticks of 40 ns, 32 ns per instruction.
    assert!(report.contains("per inference 15.06 k instructions"), "{report}");
    assert!(report.contains("no cycles and no time") && report.contains("no float model on the unit"), "{report}");
    assert!(!report.contains(" ms") && !report.contains("µs"), "an emulated instruction is no time: {report}");
}

#[test]
fn what_does_not_fit_fails_and_what_was_not_counted_is_no_room() {
    check(
        |case| number(case, "model_bytes", Some(60_001)),
        Verdict::Fail,
        "100001 bytes do not fit into 100000 of flash",
    );
    check(
        |case| number(case, "arena_peak_bytes", Some(38_001)),
        Verdict::Fail,
        "50001 bytes do not fit into 50000 of RAM",
    );
    check(|case| number(case, "arena_peak_bytes", Some(38_000)), Verdict::Pass, "");
    for key in ["flash_bytes", "model_bytes"] {
        check(|case| number(case, key, None), Verdict::Incomplete, "taken of the flash was not measured");
    }
    for key in ["static_ram_bytes", "arena_peak_bytes", "stack_peak_bytes"] {
        check(|case| number(case, key, None), Verdict::Incomplete, "taken of the RAM was not measured");
        check(|case| number(case, key, Some(0)), Verdict::Incomplete, "taken of the RAM was not measured");
    }
    let out_of_memory = Ended::OutOfMemory { limit_bytes: RAM };
    check(|case| case.pass(ON_BOARD, Pass::Accuracy).ended = out_of_memory, Verdict::Fail, "its limit is 50000 bytes");
}

#[test]
fn one_bit_that_is_not_the_hosts_fails() {
    let mut other = answers(0.02);
    other[3 * SAMPLES - 1] = f32::from_bits(other[3 * SAMPLES - 1].to_bits() ^ 1);
    check(|case| case.answers(ON_BOARD, &other), Verdict::Fail, "not those of the same engine on the host");
    check(|case| case.pass(ON_HOST, Pass::Accuracy).outputs = None, Verdict::Incomplete, "left no outputs");
    let gone = |case: &mut Case| {
        case.record.plan.cells.retain(|cell| cell.id.as_str() != ON_HOST);
        case.record.outcomes.remove(&id(ON_HOST));
    };
    check(gone, Verdict::Incomplete, "its engine was not run on the host");
}

#[test]
fn only_a_firmware_brings_its_engine() {
    check(|case| case.seen(ON_BOARD).device.agent_digest = None, Verdict::Incomplete, "its agent (without a digest)");
    let no_firmware = |case: &mut Case| {
        let board = case.record.plan.targets.values_mut().find(|t| t.name.as_str() == "board").unwrap();
        board.build.firmware = None;
    };
    check(no_firmware, Verdict::Incomplete, "its runner (without a digest)");
}

fn rule(metric: &str, limit: f64, unit: &str, against: Against) -> Rule {
    Rule {
        id: RuleId::new("own").unwrap(),
        metric: metric.into(),
        direction: Direction::AtMost,
        limit,
        unit: unit.into(),
        against,
        decide: Default::default(),
        confidence: 0.95,
        min_samples: 1,
        tasks: Vec::new(),
        models: Vec::new(),
        targets: Vec::new(),
        slice: None,
        at: None,
        custom: None,
        family: None,
        reason: "a test".into(),
    }
}

#[test]
fn instructions_have_limits_of_their_own_and_are_never_taken_for_time() {
    let with = |rule: Rule| move |case: &mut Case| case.policy.rules.push(rule);
    let own = |metric: &str, limit: f64| rule(metric, limit, "instructions", Against::Absolute);
    check(with(own("instructions_max", 15_125.0)), Verdict::Pass, "");
    check(with(own("instructions_max", 15_124.0)), Verdict::Fail, "an inference took 15.12 k instructions");
    check(with(own("instructions_p50", 15_063.0)), Verdict::Pass, "");
    check(with(own("instructions_p50", 15_000.0)), Verdict::Fail, "15.06 k instructions");
    for metric in ["latency_ns_p50", "latency_ns_max", "load_ns", "first_inference_ns"] {
        let timed = rule(metric, 1e12, "ns", Against::Absolute);
        check(with(timed), Verdict::Incomplete, "counts instructions and no time");
    }
    let mut case = good();
    case.policy.rules.push(own("instructions_p50", 1.0));
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Incomplete);
    assert!(judgement.cells[0].reason.contains("only an emulated processor"), "{}", judgement.cells[0].reason);
    // Chips of a board are limits as well.
    check(with(rule("arena_bytes", 20_000.0, "bytes", Against::Absolute)), Verdict::Pass, "");
    check(with(rule("flash_bytes", 39_999.0, "bytes", Against::Absolute)), Verdict::Fail, "firmware 40.0 kB");
}

#[test]
fn a_policy_that_only_compares_with_the_float_model_on_the_unit_looks_at_nothing_there() {
    let mut case = microcontroller();
    case.policy.rules.retain(|rule| rule.id.as_str() == "latency");
    match case.judge() {
        Err(GateError::NothingLooks { cell, .. }) => assert_eq!(cell, id(ON_BOARD)),
        other => panic!("{other:?}"),
    }
    // The same rule is in force for a board that has one.
    let mut board = good();
    board.policy.rules.retain(|rule| rule.id.as_str() == "latency");
    let judgement = board.judge().unwrap();
    assert!(judgement.cells[0].rules.iter().any(|r| r.rule.as_str() == "latency"), "{JUDGED}");
}
