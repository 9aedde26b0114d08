//! Records that were damaged, forged or cut short, and what must come out of each. Never a pass.
//!
//! Paths that leave the record and files that were changed are refused when the record is opened: see `host/lab/src/store.rs`.

use crate::good::{
    Case, DEVICE_REFERENCE, HOST_VARIANT, INFERENCES, JUDGED, Output, REFERENCE, SAMPLES, answers, good, id, label,
    ticks,
};
use boardproof_judge::gate::check_policy;
use boardproof_judge::report::summary::summarize;
use boardproof_record::observation::{Attempt, Ended, Fault, Outcome, SelfCheck, Shipped};
use boardproof_record::plan::{Pass, PassPlan, Role, Task, TensorSpec, Tolerance};
use boardproof_record::policy::{Against, Direction, Family, OperatingAt};
use boardproof_record::record::{Record, RunEnded};
use boardproof_record::verdict::Verdict;
use boardproof_record::{Digest, ModelName, TargetName};
use safetensors::Dtype;

type Damage = (&'static str, fn(&mut Case));

fn fault() -> Fault {
    Fault {
        action: "accuracy pass".into(),
        causes: vec!["the link broke".into()],
        hints: Vec::new(),
        console: Vec::new(),
        attempts: vec![Attempt { action: "accuracy pass".into(), elapsed_ms: 5, error: Some("cut".into()) }],
        passes: Vec::new(),
        shipped: Shipped::default(),
    }
}

fn with_baseline(case: &mut Case, damage: fn(&mut Case)) {
    let mut baseline = case.clone();
    damage(&mut baseline);
    case.baseline = Some(Box::new(baseline));
    for rule in &mut case.policy.rules {
        rule.against = Against::Baseline;
    }
}

/// A baseline that only times and memory are compared with.
fn with_timed_baseline(case: &mut Case, damage: fn(&mut Case)) {
    processor(case, "Cortex-A72", "1");
    let mut baseline = case.clone();
    damage(&mut baseline);
    case.baseline = Some(Box::new(baseline));
    case.rule("latency").against = Against::Baseline;
}

fn processor(case: &mut Case, model: &str, identity: &str) {
    let seen = case.seen(JUDGED);
    seen.environment_before.texts.insert("cpu_model".into(), model.into());
    seen.device.identity = identity.into();
}

fn rename_target(case: &mut Case, name: &str) {
    let plan = &mut case.record.plan;
    let (old, new) = (TargetName::new("board").unwrap(), TargetName::new(name).unwrap());
    let mut target = plan.targets.remove(&old).expect("a target");
    target.name = new.clone();
    plan.targets.insert(new.clone(), target);
    plan.units.values_mut().filter(|u| u.target == old).for_each(|u| u.target = new.clone());
    plan.cells.iter_mut().filter(|c| c.target == old).for_each(|c| c.target = new.clone());
}

/// Lets the latency pass of a cell end after `enough` inferences; it did `inferences` and left `ticks` times.
fn early(case: &mut Case, cell: &str, enough: u32, inferences: usize, left: usize) {
    let pass = case.planned(cell).passes.iter_mut().find(|p| p.pass == Pass::Latency).expect("a latency pass");
    pass.enough = enough;
    case.pass(cell, Pass::Latency).inferences = inferences as u64;
    let all: Vec<u64> = ticks(12_000).into_iter().cycle().take(left).collect();
    case.ticks(cell, &all);
}

fn too_late(case: &mut Case, cell: &str, pass: Pass, inferences: u64) {
    let seen = case.pass(cell, pass);
    (seen.ended, seen.inferences) = (Ended::DeadlineExceeded { deadline_ms: 60_000 }, inferences);
}

fn batch(case: &mut Case, cell: &str, pass: Pass, batch: u32) {
    case.planned(cell).passes.iter_mut().filter(|p| p.pass == pass).for_each(|p| p.batch = batch);
}

fn check_of(case: &mut Case, cell: &str) -> SelfCheck {
    case.pass(cell, Pass::Inspect).self_check.clone().expect("a self-check")
}

fn disagree(case: &mut Case, cell: &str) {
    let check = check_of(case, cell);
    let found = SelfCheck { agree: false, sqnr_db: Some(4.0), operator: "Softmax".into(), ..check };
    case.pass(cell, Pass::Inspect).self_check = Some(found);
}

fn unchecked(case: &mut Case, cell: &str) {
    let check = check_of(case, cell);
    let found = SelfCheck { agree: false, samples: 0, detail: "not compared: too slow".into(), ..check };
    case.pass(cell, Pass::Inspect).self_check = Some(found);
}

/// Sets element 4 of the answers of these cells, or all of them.
fn poison(case: &mut Case, cells: &[(&str, f32)], value: f32, all: bool) {
    for (cell, noise) in cells {
        let mut said = answers(*noise);
        if all {
            said.fill(value);
        }
        said[4] = value;
        case.answers(cell, &said);
    }
}

const BOTH: [(&str, f32); 2] = [(REFERENCE, 0.0), (JUDGED, 0.02)];

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn named(name: &str) -> Output<'_> {
    (name, Dtype::F32, vec![SAMPLES, 3], f32s(&answers(0.02)))
}

fn labels(case: &mut Case, of: impl Fn(usize) -> i64) {
    let labels: Vec<i64> = (0..SAMPLES).map(of).collect();
    let sides: Vec<u8> = (0..SAMPLES).map(|i| (i % 2) as u8).collect();
    case.evalset(&labels, &sides, &(0..SAMPLES as i64).collect::<Vec<_>>());
}

/// The good record as one of a binary task: the score is the first of three elements.
fn binary(case: &mut Case) {
    case.model().task = Task::Binary { positive: "disc".into() };
    labels(case, |i| i64::from(label(i) == 0));
}

const OUTCOMES: &[Damage] = &[
    ("judged cell not run", |c| c.set(JUDGED, Outcome::NotRun)),
    ("judged cell not built", |c| c.set(JUDGED, Outcome::BuildFailed(fault()))),
    ("judged cell not shipped", |c| c.set(JUDGED, Outcome::ShipFailed(fault()))),
    ("judged cell, device fault", |c| c.set(JUDGED, Outcome::DeviceFault(fault()))),
    ("judged cell timed out", |c| c.set(JUDGED, Outcome::TimedOut(fault()))),
    ("judged cell skipped", |c| c.set(JUDGED, Outcome::Skipped { reason: "asked for".into() })),
    ("reference not run", |c| c.set(REFERENCE, Outcome::NotRun)),
    ("reference not built", |c| c.set(REFERENCE, Outcome::BuildFailed(fault()))),
    ("reference not shipped", |c| c.set(REFERENCE, Outcome::ShipFailed(fault()))),
    ("reference, device fault", |c| c.set(REFERENCE, Outcome::DeviceFault(fault()))),
    ("reference timed out", |c| c.set(REFERENCE, Outcome::TimedOut(fault()))),
    ("reference skipped", |c| c.set(REFERENCE, Outcome::Skipped { reason: "asked for".into() })),
    ("device reference not run", |c| c.set(DEVICE_REFERENCE, Outcome::NotRun)),
    ("device reference, device fault", |c| c.set(DEVICE_REFERENCE, Outcome::DeviceFault(fault()))),
    ("device reference timed out, no rule asks for times", |c| {
        c.set(DEVICE_REFERENCE, Outcome::TimedOut(fault()));
        c.policy.rules.retain(|r| !r.metric.starts_with("latency"));
    }),
    ("host variant not run", |c| c.set(HOST_VARIANT, Outcome::NotRun)),
    ("host variant skipped", |c| c.set(HOST_VARIANT, Outcome::Skipped { reason: "asked for".into() })),
    ("run killed before anything was measured", |c| {
        c.record = Record::new(c.record.plan.clone(), "0.0.0".into(), 0);
        assert_eq!(c.record.ended, RunEnded::Running);
    }),
    ("baseline not run", |c| with_baseline(c, |b| b.set(JUDGED, Outcome::NotRun))),
    ("baseline, device fault", |c| with_baseline(c, |b| b.set(JUDGED, Outcome::DeviceFault(fault())))),
    ("baseline crashed", |c| {
        with_baseline(c, |b| b.pass(JUDGED, Pass::Accuracy).ended = Ended::Signalled { signal: 11 })
    }),
    ("baseline disagrees with itself", |c| with_baseline(c, |b| disagree(b, JUDGED))),
    ("baseline of other cells", |c| {
        with_baseline(c, |b| {
            b.record.plan.cells.retain(|cell| cell.id.as_str() != JUDGED);
            b.record.outcomes.remove(&id(JUDGED));
        })
    }),
    ("baseline of another evalset", |c| with_baseline(c, |b| b.model().evalset.digest = Digest::of(b"other"))),
    ("baseline of fewer samples", |c| {
        with_baseline(c, |b| {
            let pass = |p: &mut PassPlan| p.samples = if p.pass == Pass::Accuracy { 100 } else { p.samples };
            b.planned(JUDGED).passes.iter_mut().for_each(pass);
            b.pass(JUDGED, Pass::Accuracy).inferences = 100;
            b.answers(JUDGED, &answers(0.02)[..300]);
        })
    }),
    ("baseline of another target of the same unit name", |c| with_timed_baseline(c, |b| rename_target(b, "other"))),
    ("baseline of another processor", |c| with_timed_baseline(c, |b| processor(b, "Cortex-A53", ""))),
    ("baseline of another specimen", |c| with_timed_baseline(c, |b| processor(b, "Cortex-A72", "2"))),
    ("baseline of a processor that nobody knows", |c| with_timed_baseline(c, |b| processor(b, "unknown (why)", ""))),
    ("baseline of an emulator", |c| with_timed_baseline(c, |b| b.seen(JUDGED).emulated = true)),
    ("memory of a baseline of another processor", |c| {
        with_timed_baseline(c, |b| processor(b, "Cortex-A53", ""));
        memory_rule(c, "memory_ratio", "ratio", Against::Baseline);
    }),
    ("baseline damaged", |c| with_baseline(c, |b| drop(b.record.outcomes.remove(&id(REFERENCE))))),
    ("baseline wanted and none given", |c| c.rule("drift").against = Against::Baseline),
];

const PASSES: &[Damage] = &[
    ("accuracy pass missing", |c| c.seen(JUDGED).passes.retain(|p| p.pass != Pass::Accuracy)),
    ("latency pass missing, no rule asks for times", |c| {
        c.seen(JUDGED).passes.retain(|p| p.pass != Pass::Latency);
        c.policy.rules.retain(|r| !r.metric.starts_with("latency"));
    }),
    ("inspect pass missing", |c| c.seen(JUDGED).passes.retain(|p| p.pass != Pass::Inspect)),
    ("no passes at all", |c| c.seen(JUDGED).passes.clear()),
    ("a pass twice", |c| {
        let again = c.pass(JUDGED, Pass::Accuracy).clone();
        c.seen(JUDGED).passes.push(again);
    }),
    ("a pass that was not planned", |c| c.planned(JUDGED).passes.retain(|p| p.pass != Pass::Memory)),
    ("a pass planned twice", |c| {
        let again = c.planned(JUDGED).passes[0].clone();
        c.planned(JUDGED).passes.push(again);
    }),
    ("accuracy pass without outputs", |c| c.pass(JUDGED, Pass::Accuracy).outputs = None),
    ("accuracy pass without outputs, only size is asked for", |c| {
        c.pass(JUDGED, Pass::Accuracy).outputs = None;
        c.policy.rules.truncate(1);
        let rule = &mut c.policy.rules[0];
        (rule.metric, rule.unit, rule.against) = ("model_bytes".into(), "bytes".into(), Against::Absolute);
        rule.limit = 1e9;
    }),
    ("accuracy pass of fewer samples", |c| c.pass(JUDGED, Pass::Accuracy).inferences = 12),
    ("accuracy pass of the reference of fewer samples", |c| c.pass(REFERENCE, Pass::Accuracy).inferences = 12),
    ("judged cell crashed", |c| c.pass(JUDGED, Pass::Memory).ended = Ended::Signalled { signal: 11 }),
    ("judged cell cannot run", |c| c.pass(JUDGED, Pass::Inspect).ended = Ended::CannotRun),
    ("judged cell cancelled", |c| c.pass(JUDGED, Pass::Latency).ended = Ended::Cancelled),
    ("accuracy pass not done in time", |c| too_late(c, JUDGED, Pass::Accuracy, 250)),
    ("latency pass not done in time", |c| too_late(c, JUDGED, Pass::Latency, 1)),
    ("accuracy pass that did nothing in time", |c| too_late(c, JUDGED, Pass::Accuracy, 0)),
    ("latency pass that did nothing in time", |c| too_late(c, JUDGED, Pass::Latency, 0)),
    ("memory pass not done in time", |c| too_late(c, JUDGED, Pass::Memory, 3)),
    ("latency pass of the device reference not done in time", |c| too_late(c, DEVICE_REFERENCE, Pass::Latency, 3)),
    ("not done in time, and crashed besides", |c| {
        too_late(c, JUDGED, Pass::Accuracy, 250);
        c.pass(JUDGED, Pass::Latency).ended = Ended::Signalled { signal: 4 };
    }),
    ("judged cell out of memory", |c| c.pass(JUDGED, Pass::Memory).ended = Ended::OutOfMemory { limit_bytes: 0 }),
    ("reference crashed", |c| c.pass(REFERENCE, Pass::Accuracy).ended = Ended::Signalled { signal: 6 }),
    ("device reference out of memory", |c| {
        c.pass(DEVICE_REFERENCE, Pass::Latency).ended = Ended::OutOfMemory { limit_bytes: 1 }
    }),
    ("another runner", |c| c.seen(JUDGED).device.runner_digest = Some(Digest::of(b"elsewhere"))),
    ("another agent", |c| c.seen(JUDGED).device.agent_digest = Some(Digest::of(b"elsewhere"))),
    ("no runner named", |c| c.seen(JUDGED).device.runner_digest = None),
    ("another runner for the reference", |c| c.seen(REFERENCE).device.runner_digest = Some(Digest::of(b"old"))),
    ("another runner for the device reference", |c| {
        c.seen(DEVICE_REFERENCE).device.runner_digest = Some(Digest::of(b"old"))
    }),
    ("no builds", |c| c.record.builds.clear()),
];

const SELF_CHECKS: &[Damage] = &[
    ("self-check absent", |c| c.pass(JUDGED, Pass::Inspect).self_check = None),
    ("self-check disagrees", |c| disagree(c, JUDGED)),
    ("self-check over 0 samples", |c| unchecked(c, JUDGED)),
    ("self-check over 0 samples, undecided does not block", |c| {
        unchecked(c, JUDGED);
        c.policy.inconclusive_blocks = false;
    }),
    ("self-check of the reference absent", |c| c.pass(REFERENCE, Pass::Inspect).self_check = None),
    ("self-check of the reference disagrees", |c| disagree(c, REFERENCE)),
    ("self-check of the reference over 0 samples", |c| unchecked(c, REFERENCE)),
];

const OUTPUTS: &[Damage] = &[
    ("fewer rows", |c| c.answers(JUDGED, &answers(0.02)[..300])),
    ("more rows", |c| c.answers(JUDGED, &[answers(0.02), vec![0.0; 3]].concat())),
    ("fewer rows in both", |c| {
        c.answers(JUDGED, &answers(0.02)[..300]);
        c.answers(REFERENCE, &answers(0.0)[..300]);
    }),
    ("no rows", |c| c.answers(JUDGED, &[])),
    ("no columns", |c| c.outputs(JUDGED, &[("scores", Dtype::F32, vec![SAMPLES, 0], vec![])])),
    ("another name", |c| c.outputs(JUDGED, &[named("logits")])),
    ("an output too many", |c| c.outputs(JUDGED, &[named("scores"), named("more")])),
    ("an output twice", |c| c.outputs(JUDGED, &[named("scores"), named("scores")])),
    ("an output missing", |c| c.outputs(REFERENCE, &[named("scores"), named("more")])),
    ("no output", |c| c.outputs(JUDGED, &[])),
    ("outputs in another order", |c| {
        let wrong = || ("more", Dtype::F32, vec![SAMPLES, 3], vec![0; SAMPLES * 12]);
        c.outputs(REFERENCE, &[named("scores"), wrong()]);
        c.outputs(JUDGED, &[wrong(), named("scores")]);
    }),
    ("fewer rows in a second output of both", |c| {
        let short = || ("more", Dtype::F32, vec![5, 3], vec![0; 60]);
        c.outputs(REFERENCE, &[named("scores"), short()]);
        c.outputs(JUDGED, &[named("scores"), short()]);
    }),
    ("another shape", |c| c.outputs(JUDGED, &[("scores", Dtype::F32, vec![SAMPLES, 1, 3], f32s(&answers(0.02)))])),
    ("integers for floats", |c| {
        let bytes = answers(0.02).iter().map(|v| *v as i8 as u8).collect();
        c.outputs(JUDGED, &[("scores", Dtype::I8, vec![SAMPLES, 3], bytes)])
    }),
    ("an element type that nothing reads", |c| {
        c.outputs(JUDGED, &[("scores", Dtype::F8_E4M3, vec![SAMPLES, 3], vec![0; SAMPLES * 3])])
    }),
    ("NaN in one answer", |c| poison(c, &BOTH[1..], f32::NAN, false)),
    ("NaN in all answers", |c| poison(c, &BOTH[1..], f32::NAN, true)),
    ("infinity in one answer", |c| poison(c, &BOTH[1..], f32::INFINITY, false)),
    ("infinity in all answers", |c| poison(c, &BOTH[1..], f32::NEG_INFINITY, true)),
    ("NaN in the reference alone", |c| poison(c, &BOTH[..1], f32::NAN, false)),
    ("NaN in all of the reference", |c| poison(c, &BOTH[..1], f32::NAN, true)),
    ("NaN in both at the same place", |c| poison(c, &BOTH, f32::NAN, false)),
    ("infinity in both at the same place", |c| poison(c, &BOTH, f32::INFINITY, false)),
    ("NaN everywhere in both", |c| poison(c, &BOTH, f32::NAN, true)),
    ("NaN everywhere in both, another network", |c| {
        poison(c, &BOTH, f32::NAN, true);
        c.model().variants.values_mut().for_each(|v| v.same_weights = false);
    }),
    ("NaN everywhere in both, mismatches allowed", |c| {
        poison(c, &BOTH, f32::NAN, true);
        c.policy.allow_nonfinite_mismatch = true;
        c.model().variants.values_mut().for_each(|v| v.same_weights = false);
    }),
    ("all answers alike in both", |c| {
        c.answers(REFERENCE, &[1.0, 0.0, 0.0].repeat(SAMPLES));
        c.answers(JUDGED, &[1.0, 0.0, 0.0].repeat(SAMPLES));
    }),
    ("outputs file not read", |c| c.files.retain(|path, _| !path.contains("int8@board"))),
    ("outputs file is noise", |c| c.files.values_mut().for_each(|bytes| bytes.reverse())),
    ("outputs file is empty", |c| c.files.values_mut().for_each(Vec::clear)),
];

const TIMES: &[Damage] = &[
    ("latency pass without times", |c| c.pass(JUDGED, Pass::Latency).ticks = None),
    ("no ticks", |c| c.ticks(JUDGED, &[])),
    ("fewer ticks than inferences", |c| c.ticks(JUDGED, &ticks(12_000)[..100])),
    ("fewer inferences than planned", |c| {
        c.ticks(JUDGED, &ticks(12_000)[..100]);
        c.pass(JUDGED, Pass::Latency).inferences = 100;
    }),
    ("a latency pass that ends before enough", |c| early(c, JUDGED, 100, 99, 99)),
    ("a latency pass that does more than planned", |c| early(c, JUDGED, 100, 701, 701)),
    ("an early end with a time too many", |c| early(c, JUDGED, 100, 150, 151)),
    ("an early end with a time too few", |c| early(c, JUDGED, 100, 150, 149)),
    ("an early end with all times", |c| early(c, JUDGED, 100, 150, 700)),
    ("enough is more than all", |c| early(c, JUDGED, 701, 700, 700)),
    ("an accuracy pass that may end early", |c| {
        c.planned(JUDGED).passes.iter_mut().filter(|p| p.pass == Pass::Accuracy).for_each(|p| p.enough = 1)
    }),
    ("another batch than the device reference", |c| batch(c, JUDGED, Pass::Latency, 4)),
    ("another batch than the device reference, memory", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        batch(c, DEVICE_REFERENCE, Pass::Memory, 4);
    }),
    ("a tick count of 0", |c| c.ticks(JUDGED, &[vec![0], ticks(12_000)[1..].to_vec()].concat())),
    ("all tick counts 0", |c| c.ticks(JUDGED, &vec![0; INFERENCES as usize])),
    ("all tick counts of the device reference 0", |c| c.ticks(DEVICE_REFERENCE, &vec![0; INFERENCES as usize])),
    ("a tick count of 2^64 - 1", |c| c.ticks(JUDGED, &[vec![u64::MAX], ticks(12_000)[1..].to_vec()].concat())),
    ("a tick count of 2^64 - 1 in the device reference", |c| {
        c.ticks(DEVICE_REFERENCE, &[vec![u64::MAX], ticks(12_000)[1..].to_vec()].concat())
    }),
    ("all tick counts of the device reference 2^64 - 1", |c| {
        c.ticks(DEVICE_REFERENCE, &vec![u64::MAX; INFERENCES as usize])
    }),
    ("a clock at half speed", |c| slow_clock(c, JUDGED)),
    ("a clock at half speed in the device reference", |c| slow_clock(c, DEVICE_REFERENCE)),
    ("a clock that says nothing", |c| c.pass(JUDGED, Pass::Latency).facts.numbers.clear()),
    ("tick rate 0", |c| c.seen(JUDGED).device.tick_hz = 0),
    ("tick rate 2^64 - 1", |c| c.seen(JUDGED).device.tick_hz = u64::MAX),
    ("tick rate 1", |c| c.seen(JUDGED).device.tick_hz = 1),
    ("peak memory 0", |c| {
        memory_rule(c, "memory_peak_bytes", "bytes", Against::Absolute);
        c.pass(JUDGED, Pass::Memory).facts.numbers.insert("rss_peak_bytes".into(), 0);
    }),
    ("peak memory absent", |c| {
        memory_rule(c, "memory_peak_bytes", "bytes", Against::Absolute);
        c.pass(JUDGED, Pass::Memory).facts.numbers.clear();
    }),
    ("peak memory 0, as a ratio", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        c.pass(JUDGED, Pass::Memory).facts.numbers.insert("rss_peak_bytes".into(), 0);
    }),
    ("peak memory of the device reference absent", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        c.pass(DEVICE_REFERENCE, Pass::Memory).facts.numbers.clear();
    }),
    ("memory at the start absent, as a ratio", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        c.pass(JUDGED, Pass::Memory).facts.numbers.remove("rss_start_bytes");
    }),
    ("memory that shrank, as a ratio", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        c.pass(JUDGED, Pass::Memory).facts.numbers.insert("rss_start_bytes".into(), 8_000_000);
    }),
    ("memory of the device reference that shrank, as a ratio", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        c.pass(DEVICE_REFERENCE, Pass::Memory).facts.numbers.insert("rss_peak_bytes".into(), 5_000_000);
    }),
    ("a model that adds ten times what the float model adds", |c| {
        memory_rule(c, "memory_ratio", "ratio", Against::Reference);
        c.rule("latency").limit = 2.0;
        // Float: 9 MB of which 6 MB were the runner's. The whole grew fourfold only.
        c.pass(JUDGED, Pass::Memory).facts.numbers.insert("rss_peak_bytes".into(), 36_000_000);
    }),
    ("load time 0", |c| {
        memory_rule(c, "load_ns", "ns", Against::Absolute);
        c.pass(JUDGED, Pass::Latency).facts.numbers.insert("load_ns".into(), 0);
    }),
    ("model file of 0 bytes", |c| {
        memory_rule(c, "model_bytes", "bytes", Against::Absolute);
        c.model().variants.values_mut().for_each(|v| v.bytes = 0);
    }),
];

fn slow_clock(case: &mut Case, cell: &str) {
    for pass in &mut case.seen(cell).passes {
        pass.facts.numbers.insert("pass_wall_ns".into(), 450_000_000);
    }
}

/// 50 answers of the left side are wrong where the reference's are right: 12.5 points of all samples, 25 of that side.
fn lose_left(case: &mut Case) {
    let mut said = answers(0.02);
    for sample in (0..SAMPLES).filter(|i| i % 2 == 0).take(50) {
        said[sample * 3..sample * 3 + 3].rotate_left(1);
    }
    case.answers(JUDGED, &said);
    case.policy.rules.retain(|r| r.metric == "task.drop");
    // Over all samples this loss would pass.
    case.rule("accuracy-drop").limit = 0.17;
}

/// The left side drifts; one sample of the right side is so loud that the whole does not show it.
fn loud_right(case: &mut Case) {
    for cell in [REFERENCE, JUDGED] {
        let mut said = answers(0.0);
        said[3..6].iter_mut().for_each(|v| *v *= 1e4);
        if cell == JUDGED {
            said.iter_mut().enumerate().filter(|(i, _)| i / 3 % 2 == 0).for_each(|(i, v)| *v += (i % 3) as f32);
        }
        case.answers(cell, &said);
    }
}

fn memory_rule(case: &mut Case, metric: &str, unit: &str, against: Against) {
    let rule = case.rule("latency");
    (rule.metric, rule.unit, rule.against, rule.limit) = (metric.into(), unit.into(), against, 1e12);
}

/// The accuracy rule on another metric, with a limit that anything keeps.
fn graded(case: &mut Case, metric: &str, against: Against, at: Option<OperatingAt>) {
    let rule = case.rule("accuracy-drop");
    (rule.metric, rule.against, rule.at, rule.limit) = (metric.into(), against, at, 0.99);
    rule.tasks.clear();
}

const EVALSETS: &[Damage] = &[
    ("a label out of range", |c| labels(c, |i| if i == 7 { 3 } else { label(i) })),
    ("a negative label", |c| labels(c, |i| if i == 7 { -1 } else { label(i) })),
    ("labels of another evalset", |c| labels(c, |i| (i * i % 7 % 3) as i64)),
    ("labels of a longer evalset", |c| {
        let n = SAMPLES + 1;
        c.evalset(&(0..n).map(label).collect::<Vec<_>>(), &vec![0; n], &(0..n as i64).collect::<Vec<_>>());
    }),
    ("labels of a shorter evalset", |c| c.evalset(&[0; 10], &[0; 10], &[0; 10])),
    ("slices of a shorter evalset", |c| {
        let ids: Vec<i64> = (0..SAMPLES as i64).collect();
        c.evalset(&(0..SAMPLES).map(label).collect::<Vec<_>>(), &[0; 10], &ids);
    }),
    ("a slice that has no name", |c| {
        let ids: Vec<i64> = (0..SAMPLES as i64).collect();
        c.evalset(&(0..SAMPLES).map(label).collect::<Vec<_>>(), &[2; SAMPLES], &ids);
    }),
    ("a sample twice", |c| c.evalset(&(0..SAMPLES).map(label).collect::<Vec<_>>(), &[0; SAMPLES], &[1; SAMPLES])),
    ("no evalset", |c| c.record.evalsets.clear()),
    ("evalset under another digest", |c| c.model().evalset.digest = Digest::of(b"other")),
    ("binary, one class only", |c| {
        binary(c);
        labels(c, |_| 1);
    }),
    ("binary, a label of 2", |c| {
        binary(c);
        labels(c, |i| if i == 3 { 2 } else { i64::from(label(i) == 0) });
    }),
    ("binary, scores that know nothing", |c| {
        binary(c);
        labels(c, |i| (i % 2) as i64);
    }),
    ("anomaly, no inputs", |c| {
        binary(c);
        c.model().task = Task::Anomaly;
    }),
    ("regression, no better than the median", |c| {
        c.model().task = Task::Regression;
        c.policy.rules.iter_mut().for_each(|r| r.tasks.clear());
        labels(c, |i| (i % 50) as i64);
    }),
];

const PLANS: &[Damage] = &[
    ("no judged cell", |c| c.record.plan.cells.iter_mut().for_each(|cell| cell.judged = false)),
    ("no cells", |c| {
        c.record.plan.cells.clear();
        c.record.outcomes.clear();
    }),
    ("a cell planned twice", |c| {
        let again = c.planned(JUDGED).clone();
        c.record.plan.cells.push(again);
    }),
    ("a cell under another name", |c| c.planned(JUDGED).variant = c.planned(REFERENCE).variant.clone()),
    ("an outcome missing", |c| drop(c.record.outcomes.remove(&id(JUDGED)))),
    ("an outcome too many", |c| c.set("shapes/int4@board/tract", Outcome::NotRun)),
    ("no reference", |c| {
        c.record.plan.cells.retain(|cell| cell.role != Role::Reference);
        c.record.outcomes.remove(&id(REFERENCE));
    }),
    ("the judged cell is its own reference", |c| {
        c.planned(REFERENCE).role = Role::HostVariant;
        c.planned(JUDGED).role = Role::Reference;
    }),
    ("two references", |c| c.planned(HOST_VARIANT).role = Role::Reference),
    ("the reference is another variant", |c| {
        let other = c.planned(JUDGED).variant.clone();
        c.model().reference = other;
    }),
    ("model missing", |c| c.record.plan.models.clear()),
    ("variant missing", |c| c.model().variants.retain(|name, _| name.as_str() == "f32")),
    ("target missing", |c| c.record.plan.targets.retain(|name, _| name.as_str() == "host")),
    ("unit missing", |c| c.record.plan.units.retain(|name, _| name.as_str() == "host")),
    ("a model under another name", |c| c.model().name = ModelName::new("other").unwrap()),
    ("more samples planned than there are", |c| c.planned(JUDGED).passes[1].samples = 401),
];

const POLICIES: &[Damage] = &[
    ("no rules", |c| c.policy.rules.clear()),
    ("two rules of one name in the plan", |c| {
        let again = c.record.plan.policy.rules[0].clone();
        c.record.plan.policy.rules.push(again);
    }),
    ("a metric that nobody knows", |c| c.rule("drift").metric = "sqnr".into()),
    ("a rule for a model that is not here", |c| c.rule("drift").models = vec![ModelName::new("other").unwrap()]),
    ("a rule for a slice that is not here", |c| c.rule("slice-drop").slice = Some("side=up".into())),
    ("a rule on a slice that is nearly here", |c| {
        c.rule("accuracy-drop").slice = Some("side=lefd".into());
    }),
    ("a slice rule for a model without slices", |c| {
        c.model().evalset.slices.clear();
        c.rule("slice-drop").models = vec![ModelName::new("shapes").unwrap()];
    }),
    ("only a slice rule and no slices", |c| {
        c.model().evalset.slices.clear();
        c.policy.rules.retain(|r| r.metric == "slice.drop");
    }),
    ("latency of a slice", |c| c.rule("latency").slice = Some("side=left".into())),
    ("memory of a slice", |c| {
        memory_rule(c, "memory_peak_bytes", "bytes", Against::Absolute);
        c.rule("latency").slice = Some("side".into());
    }),
    ("size of a slice", |c| {
        memory_rule(c, "model_bytes", "bytes", Against::Absolute);
        c.rule("latency").slice = Some("side".into());
    }),
    ("a loss in one slice, the rule is on it", |c| {
        lose_left(c);
        c.rule("accuracy-drop").slice = Some("side=left".into());
    }),
    ("a loss in one slice, the rule is on its column", |c| {
        lose_left(c);
        c.rule("accuracy-drop").slice = Some("side".into());
    }),
    ("accuracy of one slice too low", |c| {
        lose_left(c);
        let rule = c.rule("accuracy-drop");
        (rule.metric, rule.direction, rule.against) = ("task.value".into(), Direction::AtLeast, Against::Absolute);
        (rule.slice, rule.limit) = (Some("side=left".into()), 0.9);
    }),
    ("drift in one slice, the rule is on it", |c| {
        loud_right(c);
        c.policy.rules.retain(|r| r.metric == "sqnr_db");
        c.rule("drift").slice = Some("side=left".into());
    }),
    ("a slice that is named and smaller than the rule wants", |c| {
        c.rule("slice-drop").min_samples = 201;
        c.rule("slice-drop").slice = Some("side=left".into());
    }),
    ("a slice that is named and has no samples", |c| {
        c.evalset(
            &(0..SAMPLES).map(label).collect::<Vec<_>>(),
            &[1; SAMPLES],
            &(0..SAMPLES as i64).collect::<Vec<_>>(),
        );
        c.rule("accuracy-drop").slice = Some("side=left".into());
    }),
    ("only rules for other tasks", |c| {
        c.policy.rules.iter_mut().for_each(|r| r.tasks = vec!["regression".into()]);
    }),
    ("limit NaN", |c| c.rule("drift").limit = f64::NAN),
    ("limit -infinity", |c| c.rule("drift").limit = f64::NEG_INFINITY),
    ("limit +infinity", |c| c.rule("accuracy-drop").limit = f64::INFINITY),
    ("confidence 0.5", |c| c.rule("accuracy-drop").confidence = 0.5),
    ("confidence 1", |c| c.rule("accuracy-drop").confidence = 1.0),
    ("confidence NaN", |c| c.rule("accuracy-drop").confidence = f64::NAN),
    ("the wrong direction", |c| c.rule("drift").direction = Direction::AtMost),
    ("a loss of at least", |c| c.rule("accuracy-drop").direction = Direction::AtLeast),
    ("points for shares", |c| {
        let rule = c.rule("accuracy-drop");
        (rule.unit, rule.limit) = ("points".into(), 1.0);
    }),
    ("milliseconds for nanoseconds", |c| {
        let rule = c.rule("latency");
        (rule.metric, rule.unit, rule.limit) = ("latency_ns_p99".into(), "ms".into(), 50.0);
    }),
    ("a difference against nothing", |c| c.rule("drift").against = Against::Absolute),
    ("more samples wanted than there are", |c| c.rule("drift").min_samples = 401),
    ("slices smaller than the rule wants", |c| c.rule("slice-drop").min_samples = 300),
    ("a rate without a threshold", |c| {
        binary(c);
        graded(c, "task.fpr_rise", Against::Reference, None);
    }),
    ("a rate at a threshold that is not a number", |c| {
        binary(c);
        graded(c, "task.fpr_rise", Against::Reference, Some(OperatingAt::Threshold(f64::NAN)));
    }),
    ("a rate of a classifier", |c| graded(c, "task.tpr_drop", Against::Reference, Some(OperatingAt::TprMin(0.9)))),
    ("F1 of answers that are all NaN", |c| {
        graded(c, "task.f1_drop", Against::Reference, None);
        poison(c, &BOTH[1..], f32::NAN, true);
    }),
    ("calibration of answers that are all NaN", |c| {
        graded(c, "calibration.ece", Against::Absolute, None);
        c.policy.allow_nonfinite_mismatch = true;
        poison(c, &BOTH[1..], f32::NAN, true);
    }),
    ("calibration of scores that are no probabilities", |c| {
        binary(c);
        graded(c, "calibration.ece", Against::Absolute, None);
    }),
    ("slices held together where there is one number", |c| c.rule("accuracy-drop").family = Some(Family::Holm)),
    ("a tolerance that is not a number", |c| {
        let tolerance =
            Tolerance { metric: "task.drop".into(), limit: f64::INFINITY, reason: "none".into(), target: None };
        c.model().tolerances.push(tolerance);
    }),
];

const GROUPS: [(&str, &[Damage]); 8] = [
    ("outcomes", OUTCOMES),
    ("passes", PASSES),
    ("self-checks", SELF_CHECKS),
    ("outputs", OUTPUTS),
    ("times", TIMES),
    ("evalsets", EVALSETS),
    ("plans", PLANS),
    ("policies", POLICIES),
];

/// The verdict and its reason, or the error with its causes.
fn answer(case: &Case) -> (Option<Verdict>, String) {
    match case.judge() {
        Ok(judgement) => {
            let reasons: Vec<&str> = judgement.cells.iter().map(|c| c.reason.as_str()).collect();
            (Some(judgement.verdict), format!("{:?}: {}", judgement.verdict, reasons.join(" / ")))
        }
        Err(error) => (None, format!("error: {}", causes(&error))),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let chain: Vec<String> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    chain.join(": ")
}

#[test]
fn the_good_record_passes_and_is_read_back_as_it_was_written() {
    let good = good();
    let (verdict, text) = answer(&good);
    assert_eq!(verdict, Some(Verdict::Pass), "{text}");
    assert_eq!(Record::from_json(&good.record.to_json()).unwrap(), good.record);
}

#[test]
fn a_damaged_record_never_passes() {
    let mut table = String::new();
    for (group, damages) in GROUPS {
        table += &format!("== {group}\n");
        for (name, damage) in damages {
            let mut case = good();
            damage(&mut case);
            let (verdict, text) = answer(&case);
            assert_ne!(verdict, Some(Verdict::Pass), "{group}: {name}");
            table += &format!("{name}\n    {text}\n");
        }
    }
    insta::assert_snapshot!("damaged_records", table);
}

type Edit = (&'static str, fn(&str) -> String);

const TEXTS: &[Edit] = &[
    ("version 0", |text| text.replacen("\"version\": 1", "\"version\": 0", 1)),
    ("version 2", |text| text.replacen("\"version\": 1", "\"version\": 2", 1)),
    ("a version beyond u32", |text| text.replacen("\"version\": 1", "\"version\": 99999999999999999999", 1)),
    ("no version", |text| text.replacen("\"version\": 1,", "", 1)),
    ("a version that is text", |text| text.replacen("\"version\": 1", "\"version\": \"1\"", 1)),
    ("empty", |_| String::new()),
    ("cut in the middle", |text| text[..text.len() / 2].to_owned()),
    ("not an object", |_| "[]".into()),
    ("nested a million deep", |_| "[".repeat(1_000_000)),
    ("nested deep where a cell should be", |text| {
        let deep = format!("{}1{}", "{\"state\":".repeat(200_000), "}".repeat(200_000));
        text.replacen("\"outcomes\": {", &format!("\"outcomes\": {{\"{JUDGED}\": {deep},"), 1)
    }),
    ("a limit of 1e999", |text| text.replacen("\"limit\": 15.0", "\"limit\": 1e999", 1)),
    ("a limit of null", |text| text.replacen("\"limit\": 15.0", "\"limit\": null", 1)),
    ("an outcome twice", |text| {
        text.replacen("\"outcomes\": {", &format!("\"outcomes\": {{\"{JUDGED}\": {{\"state\": \"not_run\"}},"), 1)
    }),
    ("an outcome of an unknown kind", |text| text.replacen("\"state\": \"measured\"", "\"state\": \"passed\"", 1)),
    ("a cell name that leaves the folder", |text| text.replace("shapes/int8@board/tract", "../int8@board/tract")),
    ("a digest that is none", |text| text.replacen("\"source\": \"", "\"source\": \"zz", 1)),
    ("an operating point of an unknown kind", |text| {
        text.replacen("\"confidence\":", "\"at\": {\"fpr\": 0.1}, \"confidence\":", 1)
    }),
    ("a correction of an unknown kind", |text| {
        text.replacen("\"confidence\":", "\"family\": \"none\", \"confidence\":", 1)
    }),
    ("negative samples", |text| text.replacen("\"samples\": 400", "\"samples\": -400", 1)),
];

#[test]
fn a_text_that_is_no_record_is_refused() {
    let good = good().record.to_json();
    let mut table = String::new();
    for (name, edit) in TEXTS {
        let text = edit(&good);
        assert_ne!(text, good, "{name}: nothing was changed");
        let error = Record::from_json(&text).expect_err(name);
        // Where in the text it stands says nothing about the record.
        let why = causes(&error);
        table += &format!("{name}\n    {}\n", why.split(" at line ").next().unwrap_or_default());
    }
    insta::assert_snapshot!("refused_texts", table);
}

/// What the tables above damage passes while it is whole: each of these is one step from a case that does not.
#[test]
fn what_is_allowed_passes() {
    let allowed: [Damage; 10] = [
        ("an early end", |c| early(c, JUDGED, 100, 150, 150)),
        ("an early end of the device reference", |c| early(c, DEVICE_REFERENCE, 100, 100, 100)),
        ("no early end", |c| early(c, JUDGED, 100, 700, 700)),
        ("baseline of the same processor", |c| with_timed_baseline(c, |_| {})),
        ("baseline of a unit without identity", |c| with_timed_baseline(c, |b| processor(b, "Cortex-A72", ""))),
        ("answers of a baseline of another processor", |c| {
            with_baseline(c, |b| processor(b, "Cortex-A53", "2"));
            c.rule("latency").against = Against::Reference;
        }),
        ("a loss in one slice, the rule is on the whole", lose_left),
        ("a loss in one slice, the rule is on the other", |c| {
            lose_left(c);
            c.rule("accuracy-drop").slice = Some("side=right".into());
        }),
        ("drift in one slice, the rule is on the whole", loud_right_and_whole),
        ("no slices", |c| {
            c.model().evalset.slices.clear();
            c.policy.rules.retain(|r| r.metric != "latency_ratio_p50");
        }),
    ];
    for (name, step) in allowed {
        let mut case = good();
        step(&mut case);
        let (verdict, text) = answer(&case);
        assert_eq!(verdict, Some(Verdict::Pass), "{name}: {text}");
    }
}

fn loud_right_and_whole(case: &mut Case) {
    loud_right(case);
    case.policy.rules.retain(|r| r.metric == "sqnr_db");
}

/// A model without slices has no number for a rule on slices, and a model beside it that has them does.
#[test]
fn a_rule_on_slices_has_no_number_where_there_are_none() {
    let mut case = good();
    case.model().evalset.slices.clear();
    let judgement = case.judge().unwrap();
    assert!(judgement.cells[0].rules.iter().all(|r| r.rule.as_str() != "slice-drop"), "{judgement:?}");
    let mut alone = case.clone();
    alone.policy.rules.retain(|r| r.metric == "slice.drop");
    let unseen = check_policy(&alone.record.plan, &alone.policy, false).unwrap_err().to_string();
    assert!(unseen.contains("it would pass unseen"), "{unseen}");
    case.rule("slice-drop").slice = Some("side=left".into());
    let before = check_policy(&case.record.plan, &case.policy, false).unwrap_err().to_string();
    assert!(before.contains("side=left") && before.contains("known: none"), "{before}");
    let mut other = case.model().clone();
    other.name = ModelName::new("other").unwrap();
    other.evalset.slices.insert("side".into(), vec!["left".into()]);
    case.record.plan.models.insert(other.name.clone(), other);
    check_policy(&case.record.plan, &case.policy, false).unwrap();
}

/// A ratio of what the model added, not of a process that is mostly the runner.
#[test]
fn memory_is_compared_without_the_runner() {
    let mut case = good();
    memory_rule(&mut case, "memory_ratio", "ratio", Against::Reference);
    let judgement = case.judge().unwrap();
    let rule = judgement.cells[0].rules.iter().find(|r| r.metric == "memory_ratio").unwrap();
    assert_eq!(rule.observed, Some(2.0 / 3.0), "2 MB of 8 MB against 3 MB of 9 MB");
}

/// Not a damage: a model may ask for less than the policy. It must be seen.
#[test]
fn a_tolerance_that_is_looser_than_the_policy_says_so() {
    let mut case = good();
    let reason = "the customer agreed to three points".to_owned();
    case.model().tolerances.push(Tolerance { metric: "task.drop".into(), limit: 0.03, reason, target: None });
    let judgement = case.judge().unwrap();
    let rule = judgement.cells[0].rules.iter().find(|r| r.rule.as_str() == "accuracy-drop").unwrap();
    assert_eq!(rule.limit_reason, "model.toml, looser than the policy's 1.00 %: the customer agreed to three points");
}

/// The report shows the output on which the rule stands.
#[test]
fn of_two_outputs_the_report_shows_the_one_that_the_rule_looks_at() {
    let mut case = good();
    let more = case.model().outputs[0].clone();
    case.model().outputs.push(TensorSpec { name: "more".into(), ..more });
    let noise = |cell: &str| if cell == JUDGED { 0.5 } else { 0.0 };
    for cell in [REFERENCE, HOST_VARIANT, JUDGED] {
        let of = |name: &'static str, noise: f32| {
            let bytes = answers(noise).iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, Dtype::F32, vec![SAMPLES, 3], bytes)
        };
        case.outputs(cell, &[of("scores", 0.0), of("more", noise(cell))]);
    }
    let judgement = case.judge().unwrap();
    let drift = judgement.cells[0].rules.iter().find(|r| r.rule.as_str() == "drift").unwrap();
    let seen = &summarize(case.evidence(), &judgement).unwrap().cells[0];
    let split = seen.drift.unwrap();
    assert!(drift.observed.is_some() && split.total_db == drift.observed, "{split:?} {drift:?}");
    assert_eq!(split.quantization_db, Some(f64::INFINITY));
    assert!(seen.notes.iter().any(|note| note.contains("output 'more', the worst of 2")), "{:?}", seen.notes);
}
