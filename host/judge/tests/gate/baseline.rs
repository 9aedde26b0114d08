//! An earlier record as the yardstick: what may not be compared with it, what is exact, what is stale, and a red that is looked at twice.

use crate::good::{Case, JUDGED, good, id, ticks};
use boardproof_judge::gate::{GateError, STALE, confirmed, red_once};
use boardproof_judge::report::summary::summarize;
use boardproof_record::Digest;
use boardproof_record::calibration::{Calibration, MemoryNoise};
use boardproof_record::observation::{Operator, Outcome};
use boardproof_record::plan::Pass;
use boardproof_record::policy::{Against, Decide, Direction, Rule};
use boardproof_record::verdict::{Judgement, RuleResult, Verdict};

/// The good record held against itself, with a rule of 1.1 on its latency.
fn against_itself() -> Case {
    let mut case = good();
    let seen = case.seen(JUDGED);
    seen.environment_before.texts.insert("cpu_model".into(), "Cortex-A72".into());
    seen.environment_before.texts.insert("governor".into(), "performance".into());
    case.rule("latency").against = Against::Baseline;
    case.rule("latency").limit = 1.1;
    case.baseline = Some(Box::new(case.clone()));
    case
}

fn with_rule(mut case: Case, metric: &str, unit: &str, limit: f64) -> Case {
    case.policy.rules.push(Rule {
        id: "exact".to_owned().try_into().unwrap(),
        metric: metric.into(),
        direction: Direction::AtMost,
        limit,
        unit: unit.into(),
        against: Against::Baseline,
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
        reason: "a test".into(),
    });
    case
}

fn result(judgement: &Judgement, rule: &str) -> RuleResult {
    judgement.cells[0].rules.iter().find(|result| result.rule.as_str() == rule).expect("asked").clone()
}

#[track_caller]
fn refused(change: impl Fn(&mut Case), words: &str) {
    let mut case = against_itself();
    change(&mut case);
    let found = result(&case.judge().unwrap(), "latency");
    assert_eq!(found.verdict, Verdict::Incomplete, "{}", found.detail);
    assert!(found.detail.contains(words), "{}", found.detail);
}

#[test]
fn equal_records_are_alike() {
    let judgement = against_itself().judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(result(&judgement, "latency").detail.starts_with("median latency 1.00 times the baseline's"));
}

#[test]
fn unlike_things_are_refused_with_both_values() {
    refused(
        |case| drop(case.seen(JUDGED).environment_before.texts.insert("governor".into(), "powersave".into())),
        "of another governor: 'performance' there, 'powersave' here",
    );
    refused(
        |case| drop(case.seen(JUDGED).environment_before.texts.remove("governor")),
        "of another governor: 'performance' there, not told here",
    );
    refused(|case| case.seen(JUDGED).device.system = "linux 6.2".into(), "of another system: 'linux' there");
    refused(|case| case.seen(JUDGED).device.tick_hz = 500_000_000, "of another tick rate");
    refused(
        |case| {
            let facts = &mut case.pass(JUDGED, Pass::Latency).facts;
            facts.texts.insert("engine".into(), "tract 0.24".into());
        },
        "of another engine: not told there, 'tract 0.24' here",
    );
    // A machine with several GPUs of several makes is one unit.
    for (key, value, words) in [
        ("gpu_name", "NVIDIA Other", "of another GPU: not told there, 'NVIDIA Other' here"),
        ("gpu_driver", "570.1", "of another driver of the GPU: not told there, '570.1' here"),
        ("engine[1]", "/opt/lib/libonnxruntime.so.1", "of another engine: not told there"),
    ] {
        refused(|case| drop(case.pass(JUDGED, Pass::Latency).facts.texts.insert(key.into(), value.into())), words);
    }
    refused(|case| case.record.builds[1].source = Digest::of(b"other source"), "of another build of the runner");
}

#[test]
fn another_layout_of_the_same_source_is_the_same_engine() {
    let mut case = against_itself();
    case.record.builds[1].layout = Some(1);
    case.record.builds[1].digest = Digest::of(b"runner in another order");
    for cell in case.record.plan.cells.clone() {
        case.seen(cell.id.as_str()).device.runner_digest = Some(Digest::of(b"runner in another order"));
    }
    assert_eq!(case.judge().unwrap().verdict, Verdict::Pass);
}

#[test]
fn a_size_is_exact() {
    let one_byte_more = |case: &mut Case| case.model().variants.values_mut().for_each(|variant| variant.bytes += 1);
    let mut case = with_rule(against_itself(), "model_bytes_ratio", "ratio", 1.0);
    assert_eq!(case.judge().unwrap().verdict, Verdict::Pass);
    one_byte_more(&mut case);
    let found = result(&case.judge().unwrap(), "exact");
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.detail.starts_with("model file of 11.0 kB, in the baseline 11.0 kB"), "{}", found.detail);
    let mut case = with_rule(against_itself(), "flash_bytes_ratio", "ratio", 1.0);
    one_byte_more(&mut case);
    assert_eq!(result(&case.judge().unwrap(), "exact").verdict, Verdict::Incomplete, "no firmware, no flash");
}

/// A multiplication in this datatype, the only one that the cell did.
fn multiplies(case: &mut Case, dtype: &str) {
    let pass = case.pass(JUDGED, Pass::Inspect);
    pass.operators = vec![Operator {
        index: 0,
        name: "m".into(),
        op: "MatMul".into(),
        kernel: format!("gemm accumulates in {dtype}"),
        dtypes: dtype.into(),
    }];
    pass.facts.numbers.insert("operator_macs".into(), 1000);
}

#[test]
fn an_operator_that_left_the_integers_is_no_noise() {
    let mut case = with_rule(against_itself(), "integer_ops_loss", "share", 0.0);
    multiplies(case.baseline.as_mut().unwrap(), "i32");
    multiplies(&mut case, "i32");
    assert_eq!(result(&case.judge().unwrap(), "exact").verdict, Verdict::Pass);
    multiplies(&mut case, "f32");
    let found = result(&case.judge().unwrap(), "exact");
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.detail.contains("0.0 % of the multiply-accumulates on integers, in the baseline 100.0 %"));
    case.pass(JUDGED, Pass::Inspect).operators.clear();
    assert_eq!(result(&case.judge().unwrap(), "exact").verdict, Verdict::Incomplete);
}

#[test]
fn exact_metrics_are_of_a_baseline_and_nothing_else() {
    let mut case = with_rule(against_itself(), "model_bytes_ratio", "ratio", 1.0);
    case.rule("exact").against = Against::Reference;
    assert!(matches!(case.judge(), Err(GateError::Meaningless { .. })));
}

#[test]
fn a_baseline_that_was_far_worse_is_called_stale() {
    let mut case = against_itself();
    case.ticks(JUDGED, &ticks(6_000));
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(result(&judgement, "latency").detail.contains(STALE));
    let summary = summarize(case.evidence(), &judgement).unwrap();
    assert!(summary.cells[0].notes.iter().any(|note| note.contains("the baseline is stale (latency)")));
    case.ticks(JUDGED, &ticks(11_500));
    assert!(!result(&case.judge().unwrap(), "latency").detail.contains(STALE), "within the band");
}

fn calibration() -> Calibration {
    Calibration {
        version: 1,
        measured_unix_s: 0,
        unit: "board".to_owned().try_into().unwrap(),
        identity: "1".into(),
        processor: "Cortex-A72".into(),
        governor: "performance".into(),
        cell: id(JUDGED),
        rounds: 10,
        false_alarms: 0.01,
        latency_ratio: 1.2,
        builds_spread: 0.01,
        pairs_spread: 0.05,
        memory: None,
    }
}

#[test]
fn a_limit_finer_than_the_units_noise_is_held_against_nothing() {
    let told = |case: &Case| {
        let judgement = case.judge().unwrap();
        let notes = summarize(case.evidence(), &judgement).unwrap().cells[0].notes.join("\n");
        (result(&judgement, "latency"), notes)
    };
    let mut case = against_itself();
    let (found, notes) = told(&case);
    assert_eq!(found.verdict, Verdict::Pass);
    assert!(notes.contains("unit board was never calibrated"), "{notes}");
    case.record.calibrations.insert("board".to_owned().try_into().unwrap(), calibration());
    let (found, _) = told(&case);
    assert_eq!(found.verdict, Verdict::Incomplete);
    assert!(found.detail.contains("a limit of 1.1 is finer than board supports: 1.200"), "{}", found.detail);
    case.rule("latency").limit = 1.25;
    let (found, notes) = told(&case);
    assert_eq!(found.verdict, Verdict::Pass);
    assert!(!notes.contains("calibrated"), "{notes}");
    // Another specimen has its own noise.
    case.rule("latency").limit = 1.1;
    case.seen(JUDGED).device.identity = "2".into();
    case.baseline.as_mut().unwrap().seen(JUDGED).device.identity = "2".into();
    let (found, notes) = told(&case);
    assert_eq!(found.verdict, Verdict::Pass);
    assert!(notes.contains("unit board was calibrated in another state"), "{notes}");
}

#[test]
fn a_limit_on_memory_finer_than_the_units_noise_is_held_against_nothing() {
    let remembers = |case: &mut Case, added: u64| {
        let facts = &mut case.pass(JUDGED, Pass::Memory).facts.numbers;
        facts.insert("rss_start_bytes".into(), 5_000_000);
        facts.insert("rss_peak_bytes".into(), 5_000_000 + added);
    };
    let mut case = with_rule(against_itself(), "memory_ratio", "ratio", 1.1);
    remembers(&mut case, 1_050_000);
    remembers(case.baseline.as_mut().unwrap(), 1_000_000);
    let told = |case: &Case| {
        let judgement = case.judge().unwrap();
        let notes = summarize(case.evidence(), &judgement).unwrap().cells[0].notes.join("\n");
        (result(&judgement, "exact"), notes)
    };
    let noise = |bytes| MemoryNoise {
        bytes,
        processes: 80,
        builds: 20,
        added_bytes: [1_000_000, 1_000_000 + bytes],
        peak_bytes: [6_000_000, 6_000_000 + bytes],
        heap_bytes: None,
    };
    let calibrated = |case: &mut Case, memory| {
        let found = Calibration { latency_ratio: 1.0, memory, ..calibration() };
        case.record.calibrations.insert("board".to_owned().try_into().unwrap(), found);
    };
    calibrated(&mut case, None);
    let (found, notes) = told(&case);
    assert_eq!(found.verdict, Verdict::Pass, "{}", found.detail);
    assert!(notes.contains("unit board was calibrated without its memory"), "{notes}");
    calibrated(&mut case, Some(noise(150_000)));
    let (found, _) = told(&case);
    assert_eq!(found.verdict, Verdict::Incomplete, "{}", found.detail);
    let words = "a limit of 1.1 on the 1.00 MB that the model adds in the baseline is finer than board supports: 1.150, since equal runs lie";
    assert!(found.detail.contains(words), "{}", found.detail);
    // The same bytes are a finer limit on a model that adds more.
    remembers(&mut case, 10_500_000);
    remembers(case.baseline.as_mut().unwrap(), 10_000_000);
    let (found, notes) = told(&case);
    assert_eq!(found.verdict, Verdict::Pass, "{}", found.detail);
    assert!(!notes.contains("calibrated"), "{notes}");
    // And what is beyond a limit that the unit supports fails.
    remembers(&mut case, 11_500_000);
    assert_eq!(told(&case).0.verdict, Verdict::Fail);
    // Another specimen has its own noise.
    remembers(&mut case, 1_050_000);
    remembers(case.baseline.as_mut().unwrap(), 1_000_000);
    case.seen(JUDGED).device.identity = "2".into();
    case.baseline.as_mut().unwrap().seen(JUDGED).device.identity = "2".into();
    assert_eq!(told(&case).0.verdict, Verdict::Pass);
}

/// A case that is red by its latency alone, and what a second measurement of it took.
fn twice(second: u64) -> (Case, Result<Judgement, GateError>) {
    let mut case = against_itself();
    case.ticks(JUDGED, &ticks(20_000));
    let mut again = case.clone();
    again.ticks(JUDGED, &ticks(second));
    let first = case.judge().unwrap();
    assert_eq!(red_once(&first, &case.policy), [&id(JUDGED)]);
    let seen = again.judge().unwrap();
    let found = confirmed((case.evidence(), first), (again.evidence(), &seen), &case.policy);
    (case, found)
}

#[test]
fn red_twice_fails_and_red_once_is_not_known() {
    let (_, twice_red) = twice(19_000);
    let found = twice_red.unwrap();
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(result(&found, "latency").detail.ends_with("in another lease: confirmed"));
    let (_, once_red) = twice(12_000);
    let found = once_red.unwrap();
    assert_eq!(found.verdict, Verdict::Inconclusive);
    let detail = result(&found, "latency").detail;
    assert!(detail.contains("1.66 times") && detail.contains("but 1.00 when it was measured again"), "{detail}");
    assert!(found.cells[0].reason.contains("red once is not shown"), "{}", found.cells[0].reason);
}

#[test]
fn red_once_passes_under_no_policy() {
    let mut case = against_itself();
    case.policy.inconclusive_blocks = false;
    case.ticks(JUDGED, &ticks(20_000));
    let mut again = case.clone();
    again.ticks(JUDGED, &ticks(12_000));
    let (first, second) = (case.judge().unwrap(), again.judge().unwrap());
    let found = confirmed((case.evidence(), first), (again.evidence(), &second), &case.policy).unwrap();
    assert_eq!(found.verdict, Verdict::Incomplete);
}

#[test]
fn a_second_look_that_saw_nothing_leaves_the_first() {
    let mut case = against_itself();
    case.ticks(JUDGED, &ticks(20_000));
    let mut again = case.clone();
    again.set(JUDGED, Outcome::NotRun);
    let (first, second) = (case.judge().unwrap(), again.judge().unwrap());
    let found = confirmed((case.evidence(), first), (again.evidence(), &second), &case.policy).unwrap();
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(result(&found, "latency").detail.contains("it could not be measured again"));
}

#[test]
fn a_second_look_at_something_else_is_none() {
    let mut case = against_itself();
    case.ticks(JUDGED, &ticks(20_000));
    let mut again = case.clone();
    again.model().variants.values_mut().for_each(|variant| variant.digest = Digest::of(b"another model"));
    let (first, second) = (case.judge().unwrap(), again.judge().unwrap());
    let found = confirmed((case.evidence(), first), (again.evidence(), &second), &case.policy);
    assert!(matches!(found, Err(GateError::NoRepetition { .. })));
}

#[test]
fn what_fails_by_its_answers_too_is_not_looked_at_twice() {
    let mut case = against_itself();
    case.ticks(JUDGED, &ticks(20_000));
    case.rule("drift").limit = 500.0;
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(red_once(&judgement, &case.policy).is_empty());
}
