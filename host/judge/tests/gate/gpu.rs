//! A cell on a GPU: what it tells of it is shown, and who else was there can fail it.

use crate::good::{Case, DEVICE_REFERENCE, JUDGED, good, id};
use boardproof_judge::report::summary::summarize;
use boardproof_judge::report::text::{Paint, render};
use boardproof_record::EngineName;
use boardproof_record::observation::Operator;
use boardproof_record::plan::{CUDA, Pass};
use boardproof_record::policy::{Against, Direction};
use boardproof_record::verdict::{RuleResult, Verdict};

const ON_GPU: &str = "shapes/int8@board/cuda";
const FLOAT_ON_GPU: &str = "shapes/f32@board/cuda";
const PASSES: [Pass; 4] = [Pass::Inspect, Pass::Accuracy, Pass::Latency, Pass::Memory];

/// The good record with its cells on the board run by the engine for GPUs, so many other processes seen before and after each pass.
fn on_gpu(before: u64, after: u64) -> Case {
    let mut case = good();
    for (was, is) in [(DEVICE_REFERENCE, FLOAT_ON_GPU), (JUDGED, ON_GPU)] {
        let cell = case.planned(was);
        cell.id = id(is);
        cell.engine = EngineName::new(CUDA).unwrap();
        let outcome = case.record.outcomes.remove(&id(was)).expect("measured");
        case.set(is, outcome);
    }
    for pass in &mut case.seen(ON_GPU).passes {
        pass.facts.texts.insert("gpu_name".into(), "NVIDIA Test".into());
        pass.facts.texts.insert("gpu_driver".into(), "1.2".into());
        pass.facts.texts.insert("gpu_throttle".into(), String::new());
        pass.facts.numbers.insert("gpu_other_processes".into(), before);
        pass.facts.numbers.insert("gpu_other_processes[1]".into(), after);
    }
    case.pass(ON_GPU, Pass::Inspect).operators = vec![operator((0, "CUDA"))];
    let rule = case.rule("latency");
    rule.metric = "gpu_other_processes".into();
    (rule.direction, rule.limit, rule.unit, rule.against) = (Direction::AtMost, 0.0, "count".into(), Against::Absolute);
    case
}

fn operator((index, kernel): (u32, &str)) -> Operator {
    Operator { index, name: "n".into(), op: "o".into(), dtypes: "f32->f32".into(), kernel: kernel.into() }
}

#[test]
fn a_gpu_that_does_not_say_where_its_operators_ran_and_one_that_ran_them_elsewhere_do_not_pass() {
    let mut case = on_gpu(0, 0);
    let verdict = |case: &Case| {
        let judgement = case.judge().unwrap();
        let rule = judgement.cells[0].rules.iter().find(|rule| rule.rule.as_str() == "no-fallback").cloned();
        (judgement.verdict, rule.map(|rule| rule.verdict))
    };
    assert_eq!(verdict(&case), (Verdict::Pass, None));
    case.pass(ON_GPU, Pass::Inspect).operators = vec![operator((0, "CPU (fell back from CUDA) generic"))];
    assert_eq!(verdict(&case), (Verdict::Fail, Some(Verdict::Fail)));
    case.pass(ON_GPU, Pass::Inspect).operators.clear();
    assert_eq!(verdict(&case), (Verdict::Incomplete, Some(Verdict::Incomplete)));
}

fn judged(case: &Case) -> (Verdict, Option<RuleResult>) {
    let judgement = case.judge().unwrap();
    let rule = judgement.cells[0].rules.iter().find(|rule| rule.rule.as_str() == "latency");
    (judgement.verdict, rule.cloned())
}

#[test]
fn others_on_the_gpu_fail_the_run_where_the_policy_says_so() {
    for (before, after, expected) in [(0, 0, Verdict::Pass), (1, 0, Verdict::Fail), (0, 2, Verdict::Fail)] {
        let (_, rule) = judged(&on_gpu(before, after));
        let rule = rule.expect("asked");
        assert_eq!(rule.verdict, expected, "{before} and {after}: {}", rule.detail);
    }
}

#[test]
fn others_that_nobody_could_see_are_not_none() {
    let mut case = on_gpu(0, 0);
    let facts = &mut case.pass(ON_GPU, Pass::Latency).facts;
    facts.missing.insert("gpu_other_processes".into(), "NVML does not list this process".into());
    let (verdict, rule) = judged(&case);
    let rule = rule.expect("asked");
    assert_eq!((verdict, rule.verdict), (Verdict::Incomplete, Verdict::Incomplete), "{}", rule.detail);
    assert!(rule.detail.contains("NVML does not list this process"), "{}", rule.detail);
    for pass in PASSES {
        let mut case = on_gpu(0, 0);
        case.pass(ON_GPU, pass).facts.numbers.remove("gpu_other_processes[1]");
        assert_eq!(judged(&case).1.expect("asked").verdict, Verdict::Incomplete, "{pass:?}");
    }
}

#[test]
fn a_run_without_a_gpu_is_none_for_the_rule() {
    let mut case = good();
    let rule = case.rule("latency");
    rule.metric = "gpu_other_processes".into();
    (rule.direction, rule.limit, rule.unit, rule.against) = (Direction::AtMost, 0.0, "count".into(), Against::Absolute);
    let error = case.judge().unwrap_err().to_string();
    assert!(error.contains("no judged cell has what it looks at"), "{error}");
}

#[test]
fn a_report_names_the_gpu_where_the_time_goes_and_what_ran_on_the_cpu() {
    let mut case = on_gpu(0, 3);
    let kernels = [(0, "CUDA"), (1, "CUDA accumulates in f32"), (2, "CPU (fell back from CUDA) generic")];
    case.pass(ON_GPU, Pass::Inspect).operators = kernels.map(operator).into();
    let facts = &mut case.pass(ON_GPU, Pass::Latency).facts;
    for (index, at) in ["", "[1]", "[2]"].iter().enumerate() {
        for (key, ns) in [("to_device", 2000), ("compute", 8000), ("to_host", 3000), ("on_cpu", 0), ("enqueue", 7000)] {
            facts.numbers.insert(format!("gpu_{key}_ns{at}"), ns + 10 * index as u64);
        }
    }
    facts.texts.insert("gpu_throttle[1]".into(), "gpu idle, hw thermal slowdown".into());
    let judgement = case.judge().unwrap();
    let summary = summarize(case.evidence(), &judgement).unwrap();
    let said = render(&summary, Paint::Plain);
    for expected in [
        "NVIDIA Test, driver 1.2; 1 of 3 operators on the CPU",
        "kernels 8.0 µs",
        "3 other processes had the GPU open",
        "held its clocks back around the timed pass (hw thermal slowdown)",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
