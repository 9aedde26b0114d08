//! Operators that ran elsewhere than was wanted: a failure unless somebody has allowed it, and never overlooked.

use crate::good::{Case, DEVICE_REFERENCE, JUDGED, good, id};
use boardproof_judge::gate::NO_FALLBACK;
use boardproof_judge::report::{html, markdown, summary::summarize, text};
use boardproof_record::observation::{Operator, Outcome, PassObservation};
use boardproof_record::plan::{Fallback, ONNXRUNTIME, Onnxruntime, Pass};
use boardproof_record::policy::{Against, Decide, Direction, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};
use boardproof_record::{EngineName, RuleId};

const WANTED: &str = "CUDAExecutionProvider";
const CPU: &str = "CPUExecutionProvider";
const FALLEN: &str = "CPU (fell back from CUDA) accumulates in f32";

/// Operators that ran with these kernels.
fn ran(pass: &mut PassObservation, kernels: &[&str]) {
    let operator = |(index, kernel): (usize, &&str)| Operator {
        index: index as u32,
        name: format!("node {index}"),
        op: "Conv".into(),
        dtypes: "f32,f32->f32".into(),
        kernel: (*kernel).to_owned(),
    };
    pass.operators = kernels.iter().enumerate().map(operator).collect();
}

/// The board's cells by onnxruntime: the variant with these kernels, the float model with those.
fn by_onnxruntime(kernels: &[&str], float_kernels: &[&str]) -> Case {
    let mut case = good();
    let inspection = case.pass(JUDGED, Pass::Inspect).clone();
    ran(case.pass(JUDGED, Pass::Inspect), kernels);
    let plan = case.planned(JUDGED).passes.iter().find(|plan| plan.pass == Pass::Inspect).cloned().expect("planned");
    case.planned(DEVICE_REFERENCE).passes.insert(0, plan);
    case.seen(DEVICE_REFERENCE).passes.insert(0, inspection);
    ran(case.pass(DEVICE_REFERENCE, Pass::Inspect), float_kernels);
    // The host's cells keep their engine: what is compared here are times on the board.
    for cell in case.record.plan.cells.iter_mut().filter(|cell| cell.unit.as_str() == "board") {
        let seen = case.record.outcomes.remove(&cell.id).expect("measured");
        cell.engine = EngineName::new(ONNXRUNTIME).unwrap();
        cell.id = id(&cell.id.as_str().replace("/tract", "/onnxruntime"));
        case.record.outcomes.insert(cell.id.clone(), seen);
    }
    case
}

fn want(case: &mut Case, providers: &[&str], fallback: Fallback) {
    let board = case.record.plan.targets.values_mut().find(|target| target.name.as_str() == "board").expect("a board");
    let providers = providers.iter().map(|name| (*name).to_owned()).collect();
    board.onnxruntime = Some(Onnxruntime { providers, fallback, options: Default::default(), library: None });
}

fn at_most(nodes: f64) -> Rule {
    Rule {
        id: RuleId::new("on-the-gpu").unwrap(),
        metric: "fallback_nodes".into(),
        direction: Direction::AtMost,
        limit: nodes,
        unit: "count".into(),
        against: Against::Absolute,
        decide: Decide::Shown,
        confidence: 0.95,
        min_samples: 1,
        tasks: Vec::new(),
        models: Vec::new(),
        targets: Vec::new(),
        slice: None,
        at: None,
        custom: None,
        family: Default::default(),
        reason: "r".into(),
    }
}

fn results(case: &Case, rule: &str) -> Vec<RuleResult> {
    let judgement = case.judge().unwrap();
    judgement.cells[0].rules.iter().filter(|result| result.rule.as_str() == rule).cloned().collect()
}

#[track_caller]
fn expect(case: &Case, rule: &str, verdict: Verdict, said: &str) {
    let found = results(case, rule);
    assert_eq!(found.len(), 1, "{rule}: {found:?}");
    assert!(found[0].verdict == verdict && found[0].detail.contains(said), "{:?}", found[0]);
    let whole = case.judge().unwrap().cells[0].verdict;
    assert!(whole >= verdict, "{whole:?}");
}

#[test]
fn where_nobody_wants_a_provider_nothing_is_asked() {
    assert_eq!(results(&good(), NO_FALLBACK), []);
    let mut case = by_onnxruntime(&["CPU", "CPU"], &["CPU"]);
    assert_eq!(results(&case, NO_FALLBACK), []);
    want(&mut case, &[CPU], Fallback::Refused);
    assert_eq!(results(&case, NO_FALLBACK), []);
}

#[test]
fn an_operator_that_fell_back_fails_the_cell_whatever_engine_says_so() {
    let mut by_tract = good();
    ran(by_tract.pass(JUDGED, Pass::Inspect), &["CUDA", FALLEN]);
    expect(&by_tract, NO_FALLBACK, Verdict::Fail, "1 operator fell back from CUDA: Conv (node 1)");
    let mut case = by_onnxruntime(&[FALLEN, FALLEN, "CUDA", FALLEN, FALLEN], &["CUDA"]);
    want(&mut case, &[WANTED, CPU], Fallback::Refused);
    let said = "4 operators fell back from CUDA: Conv (node 0), Conv (node 1), Conv (node 3), ...";
    expect(&case, NO_FALLBACK, Verdict::Fail, said);
}

#[test]
fn all_on_the_wanted_provider_pass_and_not_knowing_is_no_pass() {
    let mut case = by_onnxruntime(&["CUDA", "CUDA"], &["CUDA"]);
    want(&mut case, &[WANTED, CPU], Fallback::Refused);
    expect(&case, NO_FALLBACK, Verdict::Pass, "every operator ran on CUDAExecutionProvider");
    let mut case = by_onnxruntime(&[], &["CUDA"]);
    want(&mut case, &[WANTED, CPU], Fallback::Refused);
    expect(&case, NO_FALLBACK, Verdict::Incomplete, "the engine names none");
}

#[test]
fn target_and_policy_can_allow_it() {
    let mut case = by_onnxruntime(&["CUDA", FALLEN], &[FALLEN]);
    want(&mut case, &[WANTED, CPU], Fallback::Allowed);
    assert_eq!(results(&case, NO_FALLBACK), []);
    want(&mut case, &[WANTED, CPU], Fallback::Refused);
    case.policy.rules.push(at_most(1.0));
    expect(&case, "on-the-gpu", Verdict::Pass, "1 operator fell back from CUDA");
    assert_eq!(results(&case, NO_FALLBACK), []);
    case.rule("on-the-gpu").limit = 0.0;
    expect(&case, "on-the-gpu", Verdict::Fail, "at most 0 wanted");
    // An engine on the CPU has everything where it is wanted.
    let mut on_cpu = good();
    ran(on_cpu.pass(JUDGED, Pass::Inspect), &["", "avx2 accumulates in f32"]);
    on_cpu.policy.rules.push(at_most(0.0));
    expect(&on_cpu, "on-the-gpu", Verdict::Pass, "no operator fell back");
    ran(on_cpu.pass(JUDGED, Pass::Inspect), &[]);
    expect(&on_cpu, "on-the-gpu", Verdict::Incomplete, "the engine names none");
}

/// On the CPU the float model is slow, and any variant beside it fast.
#[test]
fn a_float_model_that_fell_back_is_nothing_to_compare_times_with() {
    let mut case = by_onnxruntime(&["CUDA"], &[FALLEN]);
    want(&mut case, &[WANTED, CPU], Fallback::Refused);
    expect(&case, "latency", Verdict::Incomplete, "1 operator fell back from CUDA");
    case.policy.rules.push(at_most(1.0));
    expect(&case, "latency", Verdict::Pass, "");
    case.rule("on-the-gpu").limit = 0.0;
    expect(&case, "latency", Verdict::Incomplete, "1 operator fell back from CUDA");
    case.policy.rules.pop();
    want(&mut case, &[WANTED, CPU], Fallback::Allowed);
    expect(&case, "latency", Verdict::Pass, "");
    let mut never_inspected = by_onnxruntime(&["CUDA"], &["CUDA"]);
    want(&mut never_inspected, &[WANTED, CPU], Fallback::Refused);
    let float = "shapes/f32@board/onnxruntime";
    never_inspected.planned(float).passes.retain(|plan| plan.pass != Pass::Inspect);
    never_inspected.seen(float).passes.retain(|pass| pass.pass != Pass::Inspect);
    expect(&never_inspected, "latency", Verdict::Incomplete, "no whole inspection");
}

#[test]
fn reports_say_what_fell_back_and_what_is_reached_of_the_peak() {
    let mut case = good();
    ran(case.pass(JUDGED, Pass::Inspect), &["CUDA accumulates in f32", FALLEN]);
    case.pass(JUDGED, Pass::Inspect).facts.numbers.insert("operator_macs".into(), 60_000);
    let peaks = [("f32_mac", 10_000_000_000_u64), ("i8_mac", 40_000_000_000), ("read_bytes", 5_000_000_000)];
    let seen = case.seen(JUDGED);
    seen.environment_before.numbers.extend(peaks.map(|(name, value)| (format!("peak_{name}_per_s"), value)));
    let judgement = case.judge().unwrap();
    let summary = summarize(case.evidence(), &judgement).unwrap();
    let roofline = summary.cells[0].roofs.roofline.clone().expect("all is known");
    // 60,000 in about 12 microseconds are five thousand million in a second: half of the peak.
    assert!((0.45..0.55).contains(&roofline.share_of_peak), "{roofline:?}");
    let plain = text::render(&summary, text::Paint::Plain);
    assert!(
        plain.contains("1 fell back to another provider") && plain.contains("GMAC/s of the 10.00 GMAC/s"),
        "{plain}"
    );
    assert!(markdown::render(&summary).contains("Against the peak of one core"));
    let page = html::render(&summary);
    assert!(page.contains("CPU (fell back from CUDA)") && page.contains("share of the peak"), "{page}");
    let json = serde_json::to_value(&summary).unwrap();
    assert!(json["cells"][0]["roofline"]["bound"].is_string(), "{json}");
    assert_eq!(json["cells"][0]["operators"][1]["fell_back_from"], "CUDA");
}

/// The roofline says why and never whether: whatever a probe found, of a unit that was busy or idle or not at all, the verdict is the same.
#[test]
fn no_peak_moves_a_verdict() {
    let judged = |peak: Option<u64>| {
        let mut case = good();
        ran(case.pass(JUDGED, Pass::Inspect), &["x accumulates in f32"]);
        case.pass(JUDGED, Pass::Inspect).facts.numbers.insert("operator_macs".into(), 60_000);
        for cell in [JUDGED, DEVICE_REFERENCE] {
            let facts = &mut case.seen(cell).environment_before;
            for name in ["peak_f32_mac_per_s", "peak_i8_mac_per_s", "peak_read_bytes_per_s"] {
                match peak {
                    Some(peak) => facts.numbers.insert(name.into(), peak).map(drop),
                    None => facts.missing.insert(name.into(), "no room".into()).map(drop),
                };
            }
        }
        let judgement = case.judge().unwrap();
        let roof = summarize(case.evidence(), &judgement).unwrap().cells[0].roof();
        (judgement, roof.expect("it is told"))
    };
    let (expected, unknown) = judged(None);
    assert!(expected.verdict == Verdict::Pass && unknown.contains("no room"), "{unknown}");
    for (peak, said) in [(1, "more than the"), (10_000_000_000, "bounded by"), (u64::MAX, "overhead")] {
        let (judgement, roof) = judged(Some(peak));
        assert_eq!(judgement, expected, "{peak}");
        assert!(roof.contains(said), "{peak}: {roof}");
    }
}

#[test]
fn a_unit_whose_peak_is_not_known_says_why_and_one_that_was_never_asked_says_nothing() {
    let told = |case: &Case| {
        let judgement = case.judge().unwrap();
        text::render(&summarize(case.evidence(), &judgement).unwrap(), text::Paint::Plain)
    };
    let mut case = good();
    assert!(!told(&case).contains("  roof "), "an old record");
    ran(case.pass(JUDGED, Pass::Inspect), &["x accumulates in f32"]);
    case.pass(JUDGED, Pass::Inspect).facts.numbers.insert("operator_macs".into(), 60_000);
    let why = "a firmware has no probe for it".to_owned();
    case.seen(JUDGED).environment_before.missing.insert("peak_f32_mac_per_s".into(), why);
    assert!(told(&case).contains("roof    not known: a firmware has no probe for it"), "{}", told(&case));
    assert!(matches!(case.record.outcomes[&id(JUDGED)], Outcome::Measured(_)));
}
