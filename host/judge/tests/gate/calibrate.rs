//! A calibration whose blocks are made here: the limit that so much noise supports, and that nothing is said on blocks of other builds.

use crate::good::{Case, DEVICE_REFERENCE, good, id, ticks};
use boardproof_judge::ab::{AbError, Calibrated, calibrate, judge};
use boardproof_judge::compare::calibration::blocks_ratio;
use boardproof_judge::evidence::Evidence;
use boardproof_record::Digest;
use boardproof_record::ab::{AbRun, Block, Side, Terms, VERSION};
use boardproof_record::observation::Ended;
use boardproof_record::plan::Pass;
use boardproof_record::record::RunEnded;
use boardproof_record::verdict::Verdict;

const ROUND: usize = 8;

/// A block by the build of this layout; `ns` is what an inference takes.
fn block(layout: Option<u32>, ns: f64) -> Case {
    let mut case = good();
    case.ticks(DEVICE_REFERENCE, &ticks(ns as u64));
    case.record.plan.cells.retain(|c| c.id.as_str() == DEVICE_REFERENCE);
    case.record.outcomes.retain(|c, _| c.as_str() == DEVICE_REFERENCE);
    let is_kept = |pass: Pass| matches!(pass, Pass::Latency | Pass::Memory);
    let planned = case.planned(DEVICE_REFERENCE);
    planned.passes.retain(|plan| is_kept(plan.pass));
    case.seen(DEVICE_REFERENCE).passes.retain(|pass| is_kept(pass.pass));
    let digest = Digest::of(format!("runner {layout:?}").as_bytes());
    (case.record.builds[1].layout, case.record.builds[1].digest) = (layout, digest);
    case.seen(DEVICE_REFERENCE).device.runner_digest = Some(digest);
    case
}

fn run_of(blocks: usize) -> AbRun {
    let block = |n: usize| Block { side: Side::of_block(n), folder: format!("blocks/{n}"), digest: Digest::of(b"") };
    AbRun {
        version: VERSION,
        boardproof: "0.0.0".into(),
        started_unix_s: 1_700_000_000,
        ended: RunEnded::Finished,
        a: id(DEVICE_REFERENCE),
        b: id(DEVICE_REFERENCE),
        terms: Terms { limit: 1.0, confidence: 0.99, blocks_max: blocks as u32 },
        round_blocks: Some(ROUND as u32),
        trials: Vec::new(),
        blocks: (0..blocks).map(block).collect(),
    }
}

/// Blocks of so many rounds; a build is off by what `bias` gives for its layout.
fn blocks(rounds: usize, bias: impl Fn(u32) -> f64) -> Vec<Case> {
    let run = run_of(rounds * ROUND);
    (0..rounds * ROUND)
        .map(|n| run.layout(n).unwrap())
        .map(|layout| block(Some(layout), 20_000.0 * (1.0 + bias(layout))))
        .collect()
}

/// The blocks of a quiet unit whose memory is what `added` gives for each block.
fn blocks_that_add(rounds: usize, added: impl Fn(usize) -> u64) -> Vec<Case> {
    let mut cases = blocks(rounds, |_| 0.0);
    for (number, case) in cases.iter_mut().enumerate() {
        let facts = &mut case.pass(DEVICE_REFERENCE, Pass::Memory).facts.numbers;
        facts.insert("rss_start_bytes".into(), 5_000_000);
        facts.insert("rss_peak_bytes".into(), 5_000_000 + added(number));
        facts.insert("alloc_peak_bytes".into(), 700_000);
    }
    cases
}

fn of(cases: &[Case]) -> Calibrated {
    calibrate(&run_of(cases.len()), &cases.iter().map(Case::evidence).collect::<Vec<Evidence<'_>>>()).unwrap()
}

/// Two per cent more in every second build.
fn bias(layout: u32) -> f64 {
    if layout.is_multiple_of(2) { 0.02 } else { 0.0 }
}

#[test]
fn every_round_has_two_builds_of_its_own() {
    let run = run_of(2 * ROUND);
    let layouts: Vec<u32> = (0..2 * ROUND).map(|n| run.layout(n).unwrap()).collect();
    assert_eq!(layouts, [1, 2, 2, 1, 1, 2, 2, 1, 3, 4, 4, 3, 3, 4, 4, 3]);
}

#[test]
fn a_bias_of_builds_is_a_limit_that_no_number_of_blocks_lowers() {
    let found = of(&blocks(10, bias));
    assert_eq!(found.verdict, Verdict::Pass, "{found}");
    let calibration = found.calibration.unwrap();
    // t(0.99, 10) = 2.763769 of 2 %.
    let limit = (2.763_769 * 1.02_f64.ln()).exp();
    assert!((calibration.latency_ratio - limit).abs() < 5e-3, "{} and not {limit}", calibration.latency_ratio);
    let many = blocks_ratio(&calibration, 10_000).unwrap();
    assert!((many - limit).abs() < 5e-3, "{many} and not {limit}");
    let quiet = of(&blocks(10, |_| 0.0)).calibration.unwrap();
    assert!(quiet.latency_ratio < 1.001, "{}", quiet.latency_ratio);
}

#[test]
fn the_range_of_all_memory_passes_is_the_finest_difference() {
    // One block of 80 has 96 KiB more: by Student alone it would hardly count.
    let found = of(&blocks_that_add(10, |number| 1_000_000 + if number == 37 { 98_304 } else { 0 }));
    assert_eq!(found.verdict, Verdict::Pass, "{found}");
    let text = found.to_string();
    let noise = found.calibration.unwrap().memory.unwrap();
    assert_eq!((noise.bytes, noise.processes, noise.builds), (98_304, 80, 20));
    assert_eq!((noise.added_bytes, noise.peak_bytes), ([1_000_000, 1_098_304], [6_000_000, 6_098_304]));
    assert_eq!(noise.heap_bytes, Some([700_000, 700_000]));
    assert!(text.contains("1.098 of the 1.00 MB here") && text.contains("at most 9.1 %"), "{text}");
    let same = of(&blocks_that_add(10, |_| 1_000_000)).calibration.unwrap().memory.unwrap();
    assert_eq!(same.bytes, 0);
    // Few processes whose neighbours differ: Student's bound is wider than what was seen. t(0.99, 5) = 3.364930 of 4096 bytes.
    let few =
        of(&blocks_that_add(5, |number| 1_000_000 + number as u64 % 2 * 4096)).calibration.unwrap().memory.unwrap();
    assert_eq!(few.bytes, (3.364_930_f64 * 4096.0).ceil() as u64);
}

#[test]
fn without_every_memory_pass_there_is_no_limit_on_memory_and_times_have_theirs() {
    let untold = |cases: &[Case], words: &str| {
        let found = of(cases);
        assert_eq!(found.verdict, Verdict::Pass, "{found}");
        assert!(found.notes.iter().any(|note| note.contains(words)), "{:?}", found.notes);
        assert_eq!(found.calibration.unwrap().memory, None);
    };
    let mut cases = blocks_that_add(6, |_| 1_000_000);
    cases[9].pass(DEVICE_REFERENCE, Pass::Memory).facts.numbers.remove("rss_start_bytes");
    untold(&cases, "memory is not calibrated: block 9: memory at the start and peak memory of");
    let mut cases = blocks_that_add(6, |_| 1_000_000);
    cases[9].pass(DEVICE_REFERENCE, Pass::Memory).ended = Ended::OutOfMemory { limit_bytes: 0 };
    untold(&cases, "memory is not calibrated: block 9");
    // As measured before memory was looked at.
    let mut cases = blocks_that_add(6, |_| 1_000_000);
    for case in &mut cases {
        case.planned(DEVICE_REFERENCE).passes.retain(|plan| plan.pass == Pass::Latency);
        case.seen(DEVICE_REFERENCE).passes.retain(|pass| pass.pass == Pass::Latency);
    }
    untold(&cases, "memory is not calibrated: no memory pass was planned");
}

#[track_caller]
fn refused(cases: &[Case], words: &str) {
    let found = of(cases);
    assert_eq!((found.verdict, &found.calibration), (Verdict::Incomplete, &None), "{found}");
    assert!(found.faults.iter().any(|fault| fault.contains(words)), "{:?}", found.faults);
}

#[test]
fn there_is_no_limit_without_whole_rounds_of_the_builds_that_were_asked_for() {
    refused(&blocks(4, bias), "4 whole rounds, 5 or more are needed");
    let mut cases = blocks(6, bias);
    cases[9] = block(Some(1), 20_000.0);
    refused(&cases, "block 9 ran in layout 1, expected 4");
    cases[9] = block(None, 20_000.0);
    refused(&cases, "block 9 ran in layout none, expected 4");
    let mut cases = blocks(6, bias);
    cases[9].record.builds[1].source = Digest::of(b"other source");
    refused(&cases, "unlike: runner was");
    let mut cases = blocks(6, bias);
    cases[9].seen(DEVICE_REFERENCE).device.boot += 1;
    refused(&cases, "boot of the unit");
}

#[test]
fn a_calibration_is_no_verdict_on_a_variant_and_an_ab_run_no_calibration() {
    let cases = blocks(5, bias);
    let records: Vec<Evidence<'_>> = cases.iter().map(Case::evidence).collect();
    let run = run_of(cases.len());
    assert!(matches!(judge(&run, &records), Err(AbError::IsCalibration)));
    let ab = AbRun { round_blocks: None, ..run };
    assert!(matches!(calibrate(&ab, &records), Err(AbError::NoCalibration)));
}
