//! An A/B run whose blocks are made here: what it says of good ones, and that it says nothing of those that may not be compared.

use crate::good::{Case, DEVICE_REFERENCE, JUDGED, good, id, ticks};
use boardproof_judge::ab::{AbError, AbJudgement, INFERENCES_MIN, Stopped, inferences_of_a_block, judge};
use boardproof_judge::evidence::Evidence;
use boardproof_record::Digest;
use boardproof_record::ab::{AbRun, Block, Side, Terms, VERSION};
use boardproof_record::observation::{Facts, Outcome};
use boardproof_record::plan::Pass;
use boardproof_record::record::RunEnded;
use boardproof_record::verdict::Verdict;

/// Usual time of an inference in ns.
const USUAL: u64 = 20_000;

/// A block of this side whose inferences take about so long.
fn block(side: Side, ns: u64) -> Case {
    let cell = if side == Side::A { DEVICE_REFERENCE } else { JUDGED };
    let mut case = good();
    case.ticks(cell, &ticks(ns));
    case.record.plan.cells.retain(|c| c.id.as_str() == cell);
    case.record.outcomes.retain(|c, _| c.as_str() == cell);
    let planned = case.planned(cell);
    planned.judged = false;
    planned.passes.retain(|plan| plan.pass == Pass::Latency);
    case.seen(cell).passes.retain(|pass| pass.pass == Pass::Latency);
    case
}

/// Blocks in their order; B takes `ratio` times as long, each block is off by a share that `off` gives.
fn blocks(count: usize, ratio: f64, off: impl Fn(usize) -> f64) -> Vec<Case> {
    let ns = |number, side| USUAL as f64 * (1.0 + off(number)) * if side == Side::A { 1.0 } else { ratio };
    (0..count).map(|n| (n, Side::of_block(n))).map(|(n, side)| block(side, ns(n, side) as u64)).collect()
}

fn run_of(cases: &[Case], blocks_max: u32) -> AbRun {
    let block = |n: usize| Block { side: Side::of_block(n), folder: format!("blocks/{n}"), digest: Digest::of(b"") };
    AbRun {
        version: VERSION,
        boardproof: "0.0.0".into(),
        started_unix_s: 1_700_000_000,
        ended: RunEnded::Finished,
        a: id(DEVICE_REFERENCE),
        b: id(JUDGED),
        terms: Terms { limit: 1.02, confidence: 0.99, blocks_max },
        round_blocks: None,
        trials: Vec::new(),
        blocks: (0..cases.len()).map(block).collect(),
    }
}

fn judged(run: &AbRun, cases: &[Case]) -> Result<AbJudgement, AbError> {
    judge(run, &cases.iter().map(Case::evidence).collect::<Vec<Evidence<'_>>>())
}

fn of(cases: &[Case]) -> AbJudgement {
    judged(&run_of(cases, 32), cases).unwrap()
}

/// Noise of a percent that favours nobody.
fn noise(number: usize) -> f64 {
    ((number * 7919 % 13) as f64 - 6.0) / 600.0
}

#[test]
fn a_slower_variant_fails_an_equal_one_passes_and_one_at_the_limit_is_undecided() {
    let slower = of(&blocks(32, 1.10, noise));
    assert_eq!((slower.verdict, slower.stopped), (Verdict::Fail, Stopped::Answered), "{slower}");
    assert!(slower.blocks < 32, "it stops early: {slower}");
    let ratio = slower.estimate.unwrap().ratio;
    assert!((1.08..1.12).contains(&ratio), "{ratio}");
    assert_eq!(of(&blocks(32, 1.0, noise)).verdict, Verdict::Pass);
    assert_eq!(of(&blocks(32, 0.9, noise)).verdict, Verdict::Pass);
    let close = of(&blocks(32, 1.02, noise));
    assert_eq!((close.verdict, close.stopped), (Verdict::Inconclusive, Stopped::BudgetSpent), "{close}");
}

#[test]
fn what_came_after_the_answer_decides_nothing() {
    let mut cases = blocks(32, 1.10, noise);
    let before = of(&cases);
    for (n, case) in cases.iter_mut().enumerate().skip(before.blocks) {
        *case = block(Side::of_block(n), USUAL);
    }
    assert_eq!(of(&cases).estimate, before.estimate);
}

#[test]
fn too_few_blocks_are_no_answer() {
    let few = of(&blocks(8, 1.10, noise));
    assert_eq!((few.verdict, few.stopped), (Verdict::Incomplete, Stopped::NotYet), "{few}");
    assert_eq!(of(&[]).verdict, Verdict::Incomplete);
}

#[test]
fn a_stalled_block_and_a_slow_drift_change_no_verdict() {
    let stalls = |n: usize| if n % 10 == 4 { 3.0 } else { noise(n) };
    assert_eq!(of(&blocks(32, 1.10, stalls)).verdict, Verdict::Fail);
    assert_eq!(of(&blocks(32, 1.0, stalls)).verdict, Verdict::Pass);
    let drift = |n: usize| 0.1 * n as f64 / 32.0;
    assert_eq!(of(&blocks(32, 1.0, drift)).verdict, Verdict::Pass);
}

/// Damages block 5 of blocks that would pass: there must be no verdict, and these words.
#[track_caller]
fn refused(damage: impl Fn(usize, &str, &mut Case), words: &str) {
    let mut cases = blocks(32, 1.0, noise);
    for (n, case) in cases.iter_mut().enumerate() {
        let cell = if Side::of_block(n) == Side::A { DEVICE_REFERENCE } else { JUDGED };
        damage(n, cell, case);
    }
    let found = of(&cases);
    assert_eq!((found.verdict, found.stopped), (Verdict::Incomplete, Stopped::Fault), "{found}");
    assert!(found.faults.iter().any(|fault| fault.contains(words)), "{:?}", found.faults);
}

fn governor(facts: &mut Facts, name: &str) {
    facts.texts.insert("governor".into(), name.into());
}

fn temperature(case: &mut Case, cell: &str, milli_c: u64) {
    case.seen(cell).environment_before.numbers.insert("temperature_milli_c".into(), milli_c);
}

#[test]
fn unlike_blocks_are_refused_with_what_differs() {
    refused(|n, cell, case| case.seen(cell).device.boot += u64::from(n >= 5), "boot of the unit was '1' in block 0");
    refused(
        |n, cell, case| {
            governor(&mut case.seen(cell).environment_after, if n == 5 { "powersave" } else { "performance" })
        },
        "governor was 'performance' in block 0 and is 'powersave' in block 5",
    );
    refused(
        |n, cell, case| {
            let name = if n == 5 { "NVIDIA Other" } else { "NVIDIA One" };
            case.pass(cell, Pass::Latency).facts.texts.insert("gpu_name".into(), name.into());
        },
        "GPU was 'NVIDIA One' in block 0 and is 'NVIDIA Other' in block 5",
    );
    refused(
        |n, _, case| {
            if n == 5 {
                case.model().evalset.digest = Digest::of(b"other")
            }
        },
        "evalset",
    );
    refused(|n, cell, case| case.planned(cell).passes[0].batch += u32::from(n % 2 == 1), "samples per inference");
    refused(
        |n, _, case| {
            let variants = &mut case.model().variants;
            variants.values_mut().for_each(|v| {
                if n == 8 {
                    v.digest = Digest::of(b"other")
                }
            });
        },
        "model file",
    );
}

#[test]
fn what_was_out_of_band_is_a_fault_and_no_verdict() {
    refused(
        |n, cell, case| temperature(case, cell, if n % 2 == 0 && n > 20 { 70_000 } else { 50_000 }),
        "more than 15",
    );
    refused(
        |n, cell, case| temperature(case, cell, if Side::of_block(n) == Side::A { 50_000 } else { 54_000 }),
        "more than 3",
    );
    refused(
        |n, cell, case| {
            let seen = case.seen(cell);
            governor(&mut seen.environment_before, "performance");
            governor(&mut seen.environment_after, "performance");
            let hz = if n == 5 { 600_000_000 } else { 1_500_000_000 };
            seen.environment_before.numbers.insert("cpu_frequency_hz".into(), hz);
        },
        "600 to 1500 MHz",
    );
    refused(
        |n, cell, case| {
            let load = if Side::of_block(n) == Side::A { 1_000 } else { 4_000 };
            case.seen(cell).environment_before.numbers.insert("load_milli".into(), load);
        },
        "load was 1.0",
    );
    refused(
        |n, cell, case| {
            let seen = case.seen(cell);
            seen.environment_before.numbers.insert("throttle_count".into(), 1);
            seen.environment_after.numbers.insert("throttle_count".into(), 1 + u64::from(n == 5));
        },
        "throttled",
    );
}

#[test]
fn a_block_without_times_is_a_fault() {
    refused(
        |n, cell, case| {
            if n == 5 {
                case.set(cell, Outcome::NotRun)
            }
        },
        "block 5 (b) cannot be used",
    );
    refused(
        |n, cell, case| {
            if n == 5 {
                case.ticks(cell, &[0; 700])
            }
        },
        "no tick",
    );
    refused(
        |n, cell, case| {
            if n == 5 {
                case.seen(cell).device.runner_digest = Some(Digest::of(b"other"))
            }
        },
        "not one that this run made",
    );
}

#[test]
fn an_order_that_decides_is_a_fault() {
    let second = |n: usize| if n % 2 == 1 { 0.05 + noise(n) / 10.0 } else { noise(n) / 10.0 };
    let found = of(&blocks(32, 1.0, second));
    assert_eq!((found.verdict, found.stopped), (Verdict::Incomplete, Stopped::Fault), "{found}");
    assert!(found.faults[0].contains("the order decides"), "{:?}", found.faults);
}

#[test]
fn a_run_that_is_not_what_it_says_is_refused() {
    let cases = blocks(8, 1.0, noise);
    let run = run_of(&cases, 32);
    let damaged = |run: &AbRun, cases: &[Case]| matches!(judged(run, cases), Err(AbError::Damaged { .. }));
    let mut swapped = run.clone();
    swapped.blocks[1].side = Side::A;
    assert!(damaged(&swapped, &cases));
    assert!(damaged(&AbRun { b: id(DEVICE_REFERENCE), ..run.clone() }, &cases));
    assert!(damaged(&run, &cases[..7]));
    assert!(damaged(&run_of(&cases, 4), &cases), "more blocks than were allowed");
    let version = AbRun { version: VERSION + 1, ..run.clone() };
    assert!(matches!(judged(&version, &cases), Err(AbError::Version { .. })));
    for terms in [
        Terms { limit: f64::NAN, ..run.terms },
        Terms { limit: 0.0, ..run.terms },
        Terms { confidence: 1.0, ..run.terms },
        Terms { blocks_max: 34, ..run.terms },
        Terms { blocks_max: 12, ..run.terms },
    ] {
        let found = judged(&AbRun { terms, blocks: Vec::new(), ..run.clone() }, &[]).unwrap_err();
        assert!(found.is_of_the_terms(), "{found}");
    }
}

/// The same promises as in docs/honesty.md, on fewer runs.
#[test]
fn simulated_runs_are_wrong_as_seldom_as_promised_and_find_what_was_put_in() {
    for row in crate::blocks_in_turn::rows(200) {
        let (wrong, found) = (row.share(row.slower), row.share(row.slower));
        let (same, usual) = (row.truth <= row.limit, row.machine == "10 % drift, 10 % stalls");
        assert!(!same || wrong <= 0.03, "called slower and is not: {row}");
        assert!(same || row.not_slower == 0 || row.share(row.not_slower) <= 0.03, "passed and is slower: {row}");
        let enough = if row.truth > 1.04 { 0.95 } else { 0.6 };
        assert!(!usual || same || found >= enough, "not found: {row}");
        let carried_over = row.machine.starts_with("the second of a pair");
        assert!(!carried_over || row.slower + row.not_slower == 0, "an order that decides was judged: {row}");
        assert!(carried_over || row.share(row.faults) <= 0.02, "an order was blamed: {row}");
    }
}

#[test]
fn a_block_takes_a_tenth_of_a_second_and_has_enough_inferences() {
    let of = |times: &[u64]| {
        let trials: Vec<Case> = times.iter().map(|ns| block(Side::A, *ns)).collect();
        inferences_of_a_block(&trials.iter().map(Case::evidence).collect::<Vec<_>>())
    };
    let about =
        |found: u32, wanted: f64| assert!((f64::from(found) / wanted - 1.0).abs() < 0.1, "{found}, not {wanted}");
    about(of(&[20_000, 25_000]), 5_000.0);
    about(of(&[20_000, 2_000_000]), 500.0);
    assert_eq!(of(&[20_000_000, 20_000_000]), INFERENCES_MIN);
    assert_eq!(of(&[200, 200]), 50_000, "every time is kept");
    assert_eq!(of(&[]), INFERENCES_MIN);
    let mut unusable = block(Side::A, 20_000);
    unusable.seen(DEVICE_REFERENCE).passes.clear();
    assert_eq!(inferences_of_a_block(&[unusable.evidence()]), INFERENCES_MIN);
}
