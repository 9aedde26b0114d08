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

/// Compared with the float model, which ran with these kernels there.
fn beside(float_kernels: &[&str]) -> Case {
    let mut case = on_gpu(0, 0);
    case.policy = good().policy;
    let inspection = case.pass(ON_GPU, Pass::Inspect).clone();
    let plan = case.planned(ON_GPU).passes.iter().find(|plan| plan.pass == Pass::Inspect).cloned().expect("planned");
    case.planned(FLOAT_ON_GPU).passes.insert(0, plan);
    case.seen(FLOAT_ON_GPU).passes.insert(0, inspection);
    case.pass(FLOAT_ON_GPU, Pass::Inspect).operators = (0..).zip(float_kernels.iter().copied()).map(operator).collect();
    case
}

#[track_caller]
fn expect_latency(case: &Case, verdict: Verdict, said: &str) {
    let (whole, rule) = judged(case);
    let rule = rule.expect("the policy has it");
    assert!(rule.verdict == verdict && rule.detail.contains(said), "{rule:?}");
    assert_eq!(whole, verdict, "{rule:?}");
}

fn allow(case: &mut Case, metric: &str, limit: f64) {
    let mut rule = case.rule("latency").clone();
    rule.id = boardproof_record::RuleId::new(metric.replace('_', "-")).unwrap();
    rule.metric = metric.into();
    (rule.direction, rule.limit, rule.unit, rule.against) =
        (Direction::AtMost, limit, "count".into(), Against::Absolute);
    case.policy.rules.push(rule);
}

/// A float model whose operators ran on the CPU, between copies there and back, is slow, and any variant beside it fast.
#[test]
fn a_float_model_that_fell_back_from_the_gpu_is_nothing_to_compare_times_with() {
    const FALLEN: &str = "CPU (fell back from CUDA) generic";
    expect_latency(&beside(&["CUDA", "CUDA"]), Verdict::Pass, "times the reference's");
    let mut case = beside(&["CUDA", FALLEN, FALLEN]);
    expect_latency(&case, Verdict::Incomplete, "2 operators fell back from CUDA");
    // What the policy lets the variant have, the float model may have, too, and no more.
    allow(&mut case, "fallback_nodes", 1.0);
    expect_latency(&case, Verdict::Incomplete, "2 operators fell back from CUDA");
    case.rule("fallback-nodes").limit = 2.0;
    expect_latency(&case, Verdict::Pass, "times the reference's");
    allow(&mut case, "memory_ratio", 9.0);
    let rule = case.rule("memory-ratio");
    (rule.unit, rule.against) = ("ratio".into(), Against::Reference);
    case.rule("fallback-nodes").limit = 1.0;
    let judgement = case.judge().unwrap();
    let memory = judgement.cells[0].rules.iter().find(|rule| rule.metric == "memory_ratio").expect("asked");
    assert!(memory.verdict == Verdict::Incomplete && memory.detail.contains("fell back"), "{memory:?}");
}

#[test]
fn a_float_model_that_does_not_say_where_it_ran_is_nothing_to_compare_times_with() {
    expect_latency(&beside(&[]), Verdict::Incomplete, "the engine names none");
    let mut never = beside(&["CUDA"]);
    never.planned(FLOAT_ON_GPU).passes.retain(|plan| plan.pass != Pass::Inspect);
    never.seen(FLOAT_ON_GPU).passes.retain(|pass| pass.pass != Pass::Inspect);
    expect_latency(&never, Verdict::Incomplete, "no whole inspection");
}

#[test]
fn a_float_model_on_a_gpu_that_others_used_is_nothing_to_compare_times_with_where_the_policy_asks() {
    let mut case = beside(&["CUDA"]);
    for pass in &mut case.seen(FLOAT_ON_GPU).passes {
        pass.facts.numbers.insert("gpu_other_processes".into(), 0);
        pass.facts.numbers.insert("gpu_other_processes[1]".into(), 1);
    }
    expect_latency(&case, Verdict::Pass, "times the reference's");
    allow(&mut case, "gpu_other_processes", 0.0);
    expect_latency(&case, Verdict::Incomplete, "1 other processes were on the GPU");
    for pass in &mut case.seen(FLOAT_ON_GPU).passes {
        pass.facts.numbers.insert("gpu_other_processes[1]".into(), 0);
    }
    expect_latency(&case, Verdict::Pass, "times the reference's");
    case.pass(FLOAT_ON_GPU, Pass::Latency).facts.numbers.remove("gpu_other_processes");
    expect_latency(&case, Verdict::Incomplete, "who else was on the GPU is not known");
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
