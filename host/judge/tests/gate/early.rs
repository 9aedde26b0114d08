//! Accuracy passes that may stop early: what a pass that stopped must show, and what is certain when.

use crate::good::{Case, HOST_VARIANT, JUDGED, REFERENCE, good, id, label};
use boardproof_judge::gate::{EARLY_STOP, Watch};
use boardproof_judge::report::{markdown, summary::summarize, text};
use boardproof_record::observation::Stopped;
use boardproof_record::order::{ORDER, order, seed, strata};
use boardproof_record::plan::{Cell, Ordered, Pass};
use boardproof_record::policy::{Against, Decide};
use boardproof_record::verdict::{RuleResult, Verdict};
use boardproof_record::{Digest, RuleId};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const SAMPLES: usize = 2000;
const STAGE: u64 = 100;

/// What a variant says to the samples of the evalset, by their numbers there.
#[derive(Clone, Copy)]
struct Says {
    /// Answers that it loses.
    lost: fn(usize) -> bool,
    /// Noise on its outputs, by the place in which a sample is visited.
    noise: fn(usize) -> f32,
}

const GOOD: Says = Says { lost: |_| false, noise: |_| 0.02 };

/// Code of a sample's slice.
type Sides = fn(usize) -> u8;

fn visited_in(sides: Sides) -> Vec<usize> {
    let codes: Vec<Vec<u8>> = (0..SAMPLES).map(|i| vec![sides(i)]).collect();
    let numbers = order(seed(&Digest::of(b"shapes")), &strata(&codes));
    numbers.into_iter().map(|number| number as usize).collect()
}

fn outputs(order: &[usize], says: Says) -> Vec<f32> {
    let row = |(place, sample): (usize, usize)| {
        let wrong = sample % 20 == 19 || (says.lost)(sample);
        let said = (label(sample) + i64::from(wrong)) % 3;
        (0..3).map(move |class| {
            let wobble = ((sample * 31 + class * 17) % 13) as f32 / 13.0 - 0.5;
            let sure = if class as i64 == said { 4.0 } else { -1.0 };
            sure + 0.5 * wobble + (says.noise)(place) * (((sample * 5 + class * 3) % 7) as f32 - 3.0)
        })
    };
    order.iter().copied().enumerate().flat_map(row).collect()
}

/// A record whose judged cell may stop early and has visited all samples.
fn whole(says: Says, sides: Sides) -> Case {
    let mut case = good();
    let of = case.model().evalset.digest;
    let evalset = &mut case.model().evalset;
    evalset.samples = SAMPLES as u64;
    evalset.order = Some(Ordered { of, seed: seed(&of) });
    evalset.slices.insert("side".into(), ["left", "right", "rear"].map(str::to_owned).into());
    for cell in [REFERENCE, HOST_VARIANT, JUDGED] {
        let plan = case.planned(cell).passes.iter_mut().find(|plan| plan.pass == Pass::Accuracy).unwrap();
        plan.samples = SAMPLES as u64;
        plan.stage = if cell == JUDGED { STAGE } else { 0 };
        case.pass(cell, Pass::Accuracy).inferences = SAMPLES as u64;
    }
    let order = visited_in(sides);
    keep_evalset(&mut case, &order, sides);
    case.answers(REFERENCE, &outputs(&order, Says { noise: |_| 0.0, ..GOOD }));
    case.answers(HOST_VARIANT, &outputs(&order, says));
    case.answers(JUDGED, &outputs(&order, says));
    case
}

fn keep_evalset(case: &mut Case, order: &[usize], sides: Sides) {
    let of = |values: Vec<i64>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let labels = of(order.iter().map(|i| label(*i)).collect());
    let numbers = of(order.iter().map(|i| *i as i64).collect());
    let codes: Vec<u8> = order.iter().map(|i| sides(*i)).collect();
    let view = |dtype, bytes| TensorView::new(dtype, vec![order.len()], bytes).unwrap();
    let views = [
        ("labels", view(Dtype::I64, &labels)),
        ("ids", view(Dtype::I64, &numbers)),
        (ORDER, view(Dtype::I64, &numbers)),
        ("slice.side", view(Dtype::U8, &codes)),
    ];
    let bytes = safetensors::serialize(views, None).unwrap();
    let file = case.record.evalsets.values_mut().next().unwrap();
    (file.digest, file.bytes) = (Digest::of(&bytes), bytes.len() as u64);
    case.files.insert(file.path.clone(), bytes);
}

/// Leaves of the judged cell's answers the first ones.
fn cut(case: &mut Case, says: Says, sides: Sides, samples: u64) {
    case.answers(JUDGED, &outputs(&visited_in(sides)[..samples as usize], says));
    case.pass(JUDGED, Pass::Accuracy).inferences = samples;
}

fn judged_cell(case: &Case) -> Cell {
    case.record.plan.cells.iter().find(|cell| cell.id == id(JUDGED)).unwrap().clone()
}

/// Runs the pass: a look after each stage, as while it is measured. Returns the record that it leaves.
fn ran_with(says: Says, sides: Sides, change: impl Fn(&mut Case)) -> Case {
    let mut whole = whole(says, sides);
    change(&mut whole);
    whole.record.plan.policy = whole.policy.clone();
    let mut watch = Watch::default();
    for samples in (STAGE..SAMPLES as u64).step_by(STAGE as usize) {
        let mut so_far = whole.clone();
        cut(&mut so_far, says, sides, samples);
        if let Some(stopped) = watch.look(so_far.evidence(), &judged_cell(&so_far)).unwrap() {
            so_far.pass(JUDGED, Pass::Accuracy).stopped = Some(stopped);
            return so_far;
        }
    }
    whole
}

fn ran(says: Says) -> Case {
    ran_with(says, two_sides, |_| {})
}

fn two_sides(sample: usize) -> u8 {
    (sample % 2) as u8
}

fn stopped(case: &mut Case) -> Option<Stopped> {
    case.pass(JUDGED, Pass::Accuracy).stopped.clone()
}

fn rules(names: &[&str]) -> Vec<RuleId> {
    names.iter().map(|name| RuleId::new(*name).unwrap()).collect()
}

#[track_caller]
fn verdict(case: &Case) -> (Verdict, RuleResult) {
    let judgement = case.judge().unwrap();
    let cell = &judgement.cells[0];
    let stop = cell.rules.iter().find(|rule| rule.rule.as_str() == EARLY_STOP).expect("always in force").clone();
    (cell.verdict, stop)
}

#[test]
fn a_pass_that_was_cut_short_is_incomplete() {
    let reason = stopped(&mut ran(GOOD)).expect("it stops");
    for samples in [STAGE, reason.samples - STAGE, reason.samples, reason.samples + STAGE, SAMPLES as u64 - STAGE] {
        let claims = [
            None,
            Some(Stopped { samples, ..reason.clone() }),
            Some(Stopped { samples, decided: rules(&["accuracy-drop"]), on_visited: Vec::new(), ..reason.clone() }),
        ];
        for claim in claims {
            let mut case = whole(GOOD, two_sides);
            cut(&mut case, GOOD, two_sides, samples);
            let is_true = claim.as_ref() == Some(&reason);
            case.pass(JUDGED, Pass::Accuracy).stopped = claim;
            let (verdict, stop) = verdict(&case);
            if is_true {
                assert_eq!(verdict, Verdict::Pass, "{}", stop.detail);
            } else {
                assert_eq!(verdict, Verdict::Incomplete, "{samples}: {}", stop.detail);
                assert!(stop.detail.contains("gives no such reason to stop there"), "{}", stop.detail);
            }
        }
    }
}

#[test]
fn a_pass_that_ended_within_a_stage_or_lost_answers_is_not_whole() {
    let mut case = ran(GOOD);
    let samples = stopped(&mut case).unwrap().samples;
    cut(&mut case, GOOD, two_sides, samples - 1);
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Incomplete);
    assert!(judgement.cells[0].reason.contains("a multiple of 100, or all 2000, inferences"), "{judgement:?}");
    // As many as are said to be there must be there.
    case.pass(JUDGED, Pass::Accuracy).inferences = samples;
    assert!(case.judge().unwrap_err().to_string().contains("samples, expected"));
    let mut case = whole(GOOD, two_sides);
    case.pass(JUDGED, Pass::Accuracy).stopped = stopped(&mut ran(GOOD));
    assert_eq!(verdict(&case).0, Verdict::Incomplete, "it says that it stopped and has visited all");
}

#[test]
fn an_order_that_nobody_drew_is_refused() {
    let mut case = ran(GOOD);
    let mut chosen = visited_in(two_sides);
    chosen.swap(3, 4);
    keep_evalset(&mut case, &chosen, two_sides);
    let error = case.judge().unwrap_err().to_string();
    assert!(error.contains("not in the order that seed"), "{error}");
    chosen[3] = chosen[4];
    keep_evalset(&mut case, &chosen, two_sides);
    assert!(case.judge().unwrap_err().to_string().contains("twice"));
    let mut case = ran(GOOD);
    let of = Digest::of(b"shapes");
    case.model().evalset.order = Some(Ordered { of, seed: seed(&of) ^ 1 });
    assert!(case.judge().unwrap_err().to_string().contains("not the one that its content gives"));
    case.model().evalset.order = None;
    assert!(case.judge().unwrap_err().to_string().contains("in no order that was drawn"));
}

#[test]
fn another_policy_passes_nothing_by_bounds_of_one_look() {
    let stop = ran(GOOD);
    let judged_by = |change: &dyn Fn(&mut Case)| {
        let mut case = stop.clone();
        change(&mut case);
        verdict(&case)
    };
    assert_eq!(judged_by(&|_| {}).0, Verdict::Pass);
    // By a finer limit nothing is certain where it stopped.
    let (found, result) = judged_by(&|case| case.rule("accuracy-drop").limit = 0.001);
    assert_eq!((found, result.verdict), (Verdict::Inconclusive, Verdict::Inconclusive), "{}", result.detail);
    // A limit that one look at as many samples would have shown.
    let (found, _) = judged_by(&|case| case.rule("accuracy-drop").limit = 0.0062);
    assert_eq!(found, Verdict::Inconclusive);
    let once = {
        let mut case = stop.clone();
        case.rule("accuracy-drop").limit = 0.0062;
        case.planned(JUDGED).passes.iter_mut().for_each(|plan| plan.stage = 0);
        let samples = case.pass(JUDGED, Pass::Accuracy).inferences;
        let plans = [REFERENCE, HOST_VARIANT, JUDGED].map(|cell| case.planned(cell).clone());
        for cell in plans {
            let plan = case.planned(cell.id.as_str()).passes.iter_mut().find(|p| p.pass == Pass::Accuracy).unwrap();
            plan.samples = samples;
            case.pass(cell.id.as_str(), Pass::Accuracy).inferences = samples;
        }
        let first = |says| outputs(&visited_in(two_sides)[..samples as usize], says);
        case.answers(REFERENCE, &first(Says { noise: |_| 0.0, ..GOOD }));
        case.answers(HOST_VARIANT, &first(GOOD));
        case.judge().unwrap()
    };
    let drop = once.cells[0].rules.iter().find(|rule| rule.rule.as_str() == "accuracy-drop").unwrap();
    assert_eq!(drop.verdict, Verdict::Pass, "one look would have shown it: {}", drop.detail);
    // A metric without bounds that hold at every look.
    let (found, result) = judged_by(&|case| {
        let rule = case.rule("accuracy-drop");
        (rule.metric, rule.limit) = ("task.f1_drop".into(), 0.5);
        rule.against = Against::Reference;
    });
    assert_eq!((found, result.verdict), (Verdict::Inconclusive, Verdict::Inconclusive), "{}", result.detail);
    // One that leaves alone what is undecided does not leave this alone.
    let (found, _) = judged_by(&|case| {
        case.rule("accuracy-drop").limit = 0.001;
        case.policy.inconclusive_blocks = false;
    });
    assert_eq!(found, Verdict::Inconclusive);
}

#[test]
fn a_variant_that_loses_much_stops_and_fails() {
    let mut case = ran(Says { lost: |sample| sample % 3 == 0, ..GOOD });
    let reason = stopped(&mut case).expect("it stops");
    assert_eq!((reason.samples, reason.verdict), (STAGE, Verdict::Fail), "{reason:?}");
    assert!(reason.decided.contains(&RuleId::new("accuracy-drop").unwrap()) && reason.on_visited.is_empty());
    let (found, stop) = verdict(&case);
    assert_eq!((found, stop.verdict), (Verdict::Fail, Verdict::Pass), "{}", stop.detail);
    assert!(stop.detail.starts_with("stopped after 100 of 2000 samples: certainly broken: accuracy-drop"));
}

#[test]
fn drift_fails_when_no_answers_to_the_rest_could_make_up_for_it() {
    let mut case = ran(Says { noise: |_| 0.4, ..GOOD });
    let reason = stopped(&mut case).expect("it stops");
    assert_eq!((reason.verdict, reason.decided), (Verdict::Fail, rules(&["drift"])));
    // Nearly 10 dB: with a third of the noise it would keep 15 dB.
    assert!((400..=800).contains(&reason.samples), "{}", reason.samples);
    assert_eq!(verdict(&case).0, Verdict::Fail);
}

#[test]
fn a_variant_that_hardly_differs_stops_and_passes_online_as_offline() {
    let mut case = ran(GOOD);
    let reason = stopped(&mut case).expect("it stops");
    assert_eq!(reason.verdict, Verdict::Pass);
    assert!((400..=600).contains(&reason.samples), "{}", reason.samples);
    assert_eq!(reason.decided, rules(&["accuracy-drop", "slice-drop"]));
    assert_eq!(reason.on_visited, rules(&["slice-gap", "drift", "non-finite"]));
    let judgement = case.judge().unwrap();
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.cells[0].reason);
    let summary = summarize(case.evidence(), &judgement).unwrap();
    assert_eq!(summary.cells[0].samples, reason.samples);
    let said = format!(
        "stopped after {} of 2000 samples: certainly kept: accuracy-drop, slice-drop; judged on these alone: slice-gap, drift, non-finite",
        reason.samples
    );
    for report in [text::render(&summary, text::Paint::Plain), markdown::render(&summary)] {
        assert!(report.contains(&said) && report.contains("each slice in proportion"), "{report}");
    }
}

#[test]
fn a_number_without_a_bound_is_not_taken_when_it_looks_good() {
    // The first hundred visited are noisy, all others are not: beyond the limit at the first look, within it at every other.
    let wavering = Says { noise: |place| if place < 100 { 0.6 } else { 0.02 }, ..GOOD };
    let mut case = ran(wavering);
    assert_eq!(stopped(&mut case), None);
    let (found, stop) = verdict(&case);
    assert_eq!(found, Verdict::Pass, "over all samples it keeps its limit");
    assert!(stop.detail.contains("nothing was certain before all 2000"), "{}", stop.detail);
}

#[test]
fn a_small_slice_is_seen_whole_and_an_alarm_that_is_silent_is_not_certain() {
    // 30 of 2000 samples are too few to show that they lost less than five points.
    let sides: Sides = |sample| if sample < 30 { 2 } else { two_sides(sample) };
    let mut case = ran_with(GOOD, sides, |_| {});
    assert_eq!(stopped(&mut case), None);
    assert_eq!(verdict(&case).0, Verdict::Pass);
    // A rule that nothing but proof can break lets the pass stop as soon as it has seen enough of each slice to be asked about it.
    let mut case = ran_with(GOOD, sides, |case| case.rule("slice-drop").decide = Decide::Proven);
    let reason = stopped(&mut case).expect("it stops");
    assert!(reason.samples >= 1300, "20 of 30 are two thirds: {reason:?}");
}

#[test]
fn a_plan_that_may_stop_is_judged_by_its_bounds_to_the_end() {
    // Twelve answers of 2000 lost: shown to be less than a point by one look, not by bounds that hold at every look.
    let some = Says { lost: |sample| sample % 167 == 0, ..GOOD };
    let mut case = ran(some);
    assert_eq!(stopped(&mut case), None);
    let drop = |case: &Case| {
        let judgement = case.judge().unwrap();
        judgement.cells[0].rules.iter().find(|rule| rule.rule.as_str() == "accuracy-drop").unwrap().clone()
    };
    let many = drop(&case);
    case.planned(JUDGED).passes.iter_mut().for_each(|plan| plan.stage = 0);
    let once = drop(&case);
    assert_eq!((many.verdict, once.verdict), (Verdict::Inconclusive, Verdict::Pass), "{}", many.detail);
    assert!(many.upper > once.upper && many.lower < once.lower && many.observed == once.observed);
    assert!(many.samples_more.is_some());
}
