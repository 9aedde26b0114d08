//! Defects that were found in other tools that compare models, and where it is shown that this one does not have them. One table; each
//! defect that concerns the host is a test, here or where it is named, and a test below sees to it that every named test exists.

use crate::good::{Case, HOST_VARIANT, INFERENCES, JUDGED, REFERENCE, SAMPLES, answers, good, id, ticks};
use boardproof_judge::compare::dialect::Dialect;
use boardproof_judge::compare::latency::Latencies;
use boardproof_judge::compare::numerics::{Metric, Options, Summary, compare, pair_outputs};
use boardproof_judge::compare::statistics::{Confidence, Proportion};
use boardproof_judge::compare::tensor::{DType, TensorView};
use boardproof_judge::gate::confirmed;
use boardproof_record::observation::{Fault, Outcome};
use boardproof_record::plan::Pass;
use boardproof_record::policy::{Against, Decide};
use boardproof_record::verdict::Verdict;
use boardproof_tiny::{Dut, Tiny};
use safetensors::Dtype;
use std::cell::RefCell;

/// Number, defect, and the file and test that show its absence, or in words why it cannot be here.
const DEFECTS: [(&str, &str, Where); 35] = [
    ("1", "a NaN in the candidate passes every figure of trtexec", Here("a_nan_anywhere_never_passes")),
    ("1", "an unknown output name is a warning and passes", Here("an_output_that_does_not_match_never_passes")),
    (
        "1",
        "an element type that is not supported is a warning and passes",
        Here("an_unknown_element_type_never_passes"),
    ),
    ("1", "nothing measured passes", Here("nothing_to_compare_never_passes")),
    ("2", "a limit is parsed and never compared", Here("every_limit_is_compared")),
    (
        "2",
        "regressions were found and the exit code is 0",
        Elsewhere("host/cli/src/exit.rs", "no_verdict_but_a_pass_is_zero"),
    ),
    ("2", "with a NaN, SNR and PSNR are infinite and pass", Here("a_nan_anywhere_never_passes")),
    ("3", "the maximum is taken of a list with a NaN in it", Here("a_maximum_does_not_depend_on_where_the_nan_stands")),
    ("3", "a NaN is never greater than a limit", Here("a_nan_anywhere_never_passes")),
    ("4", "a NaN is made a number before the cosine", Here("a_nan_anywhere_never_passes")),
    ("5", "any element type is read as f32", Here("elements_are_read_in_their_own_type")),
    ("5", "a maximum that drops NaN", Here("a_nan_anywhere_never_passes")),
    ("6", "the operands are exchanged, so the range is the device's", Here("the_peak_is_the_references")),
    ("6", "outputs are paired by position and the rest is dropped", Here("an_output_that_does_not_match_never_passes")),
    ("7", "errors of opposite sign cancel", Here("errors_of_opposite_sign_do_not_cancel")),
    ("7", "the ends of int8 are never seen", Here("the_ends_of_int8_do_not_wrap")),
    ("8", "int8 differences wrap", Here("the_ends_of_int8_do_not_wrap")),
    ("8", "only the last sample counts", Here("every_sample_counts")),
    ("8", "results are cut to whole percent", Here("a_small_drift_is_not_rounded_away")),
    ("9a", "a message that is too long leaves an oversized buffer", Here("what_was_refused_is_not_received")),
    (
        "9a",
        "the same in our own protocol",
        Elsewhere("device-agent/protocol/src/frame.rs", "a_buffer_that_is_too_small_is_an_error_at_every_size"),
    ),
    ("9b", "more data than announced is written past the end", Here("what_was_not_announced_is_not_received")),
    (
        "9b",
        "the same in our own protocol",
        Elsewhere("device-agent/agent/src/upload.rs", "more_than_announced_is_refused"),
    ),
    ("9c", "an empty command is read as a pointer to nothing", Here("an_empty_command_is_answered")),
    ("9d", "three decimals hide drift", Here("a_small_drift_is_not_rounded_away")),
    ("9e", "printing happens within the timed window", Here("nothing_is_printed_within_the_timed_window")),
    ("9f", "only a mean of times", Here("a_rare_slow_inference_is_seen")),
    ("10", "a counter that wraps", Here("a_counter_that_wrapped_is_no_time")),
    ("10", "host wall time for a latency", Here("a_latency_is_the_devices_and_not_the_hosts")),
    ("11", "a time-out on the link is silent", Here("a_time_out_is_told_and_never_passes")),
    ("12", "bit-level noise fails", Here("noise_in_the_last_bit_never_fails")),
    ("12", "the first missing key ends the whole suite", Here("what_is_missing_of_one_cell_leaves_the_others_judged")),
    ("14", "keeping the best of several runs", Here("the_better_of_two_runs_is_not_kept")),
    ("15", "largest absolute and largest relative error of different elements", Here("both_peaks_keep_their_elements")),
    ("15", "a relative error with a zero in the reference", Here("a_zero_in_the_reference_is_counted_apart")),
];

/// Cannot be here: 13 (paths put together without a separator) is a defect of a script for one lab, and paths are `Path::join` here; 16 (a
/// session is not freed after a failed test) is the agent's, which starts every pass in a process of its own: `tests/faults.rs`.
enum Where {
    /// A test of this file.
    Here(&'static str),
    /// A file, and a test of its own in it.
    Elsewhere(&'static str, &'static str),
}
use Where::{Elsewhere, Here};

#[test]
fn every_defect_of_the_table_is_looked_after() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = include_str!("defects.rs").to_owned();
    for (number, defect, place) in &DEFECTS {
        let (text, test) = match place {
            Here(test) => (own.clone(), test),
            Elsewhere(path, test) => (std::fs::read_to_string(root.join(path)).unwrap_or_default(), test),
        };
        let is_test = text
            .lines()
            .zip(text.lines().skip(1))
            .any(|(before, line)| before.trim() == "#[test]" && line.trim().starts_with(&format!("fn {test}()")));
        assert!(is_test, "{number} {defect}: no test {test}");
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(reference: &[f32], candidate: &[f32]) -> Summary {
    let (r, c, shape) = (bytes(reference), bytes(candidate), [1, reference.len()]);
    let view = |bytes| TensorView::new(DType::F32, &shape, bytes).unwrap();
    compare(&view(&r), &view(&c), Options::default()).unwrap()
}

fn int8(reference: &[i8], candidate: &[i8]) -> Summary {
    let of = |values: &[i8]| values.iter().map(|v| *v as u8).collect::<Vec<u8>>();
    let (r, c, shape) = (of(reference), of(candidate), [1, reference.len()]);
    let view = |bytes| TensorView::new(DType::I8, &shape, bytes).unwrap();
    compare(&view(&r), &view(&c), Options::default()).unwrap()
}

/// Counts have a value on any input; that is what they are for.
fn is_count(metric: Metric) -> bool {
    metric.name().starts_with("nonfinite_")
}

#[test]
fn a_nan_anywhere_never_passes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 1, SAMPLES * 3 / 2, SAMPLES * 3 - 1] {
            let mut said = answers(0.0);
            said[at] = bad;
            let summary = floats(&answers(0.0), &said);
            for metric in Metric::ALL.into_iter().filter(|metric| !is_count(*metric)) {
                assert!(summary.value(metric).is_err(), "{} has a value with {bad} at {at}", metric.name());
            }
            assert!(Dialect::ALL.iter().all(|d| d.value(&summary).is_err()), "{bad} at {at}");
            let mut case = good();
            case.answers(JUDGED, &said);
            assert_eq!(case.judge().unwrap().verdict, Verdict::Fail, "{bad} at {at}");
        }
    }
}

#[test]
fn a_maximum_does_not_depend_on_where_the_nan_stands() {
    for at in 0..4 {
        let mut said = vec![1.0_f32, 2.0, 3.0, 4.0];
        said.insert(at, f32::NAN);
        let mut truth = vec![1.0_f32, 2.0, 3.0, 9.0];
        truth.insert(at, 0.0);
        let summary = floats(&truth, &said);
        assert!(summary.value(Metric::MaxAbs).is_err());
        assert_eq!(summary.max_abs().unwrap().value, 5.0, "over what is finite, wherever the NaN stands");
    }
}

#[test]
fn an_output_that_does_not_match_never_passes() {
    let one = bytes(&[1.0]);
    let view = TensorView::new(DType::F32, &[1], &one).unwrap();
    for (reference, candidate) in [
        (vec![("a", view), ("b", view)], vec![("a", view)]),
        (vec![("a", view)], vec![("a", view), ("b", view)]),
        (vec![("a", view)], vec![("b", view)]),
        (vec![("a", view)], vec![]),
    ] {
        assert!(pair_outputs(&reference, &candidate).is_err());
    }
    let mut case = good();
    case.outputs(JUDGED, &[("other", Dtype::F32, vec![SAMPLES, 3], bytes(&answers(0.0)))]);
    assert_eq!(case.judge().unwrap().verdict, Verdict::Fail);
}

#[test]
fn an_unknown_element_type_never_passes() {
    let mut case = good();
    let nothing = || vec![("scores", Dtype::F8_E5M2, vec![SAMPLES, 3], vec![0; SAMPLES * 3])];
    case.outputs(JUDGED, &nothing());
    assert!(case.judge().is_err());
    case.outputs(REFERENCE, &nothing());
    assert!(case.judge().is_err());
}

#[test]
fn nothing_to_compare_never_passes() {
    let empty = floats(&[], &[]);
    for metric in Metric::ALL.into_iter().filter(|metric| !is_count(*metric)) {
        assert!(empty.value(metric).is_err(), "{}", metric.name());
    }
    assert!(Dialect::ALL.iter().all(|d| d.value(&empty).is_err()));
    assert_eq!(Proportion::new(0, 0).unwrap().share(), None);
}

/// Each rule of the default policy decides on its own: with a limit that cannot be kept it fails, whatever the others say.
#[test]
fn every_limit_is_compared() {
    for rule in good().policy.rules {
        let mut case = good();
        let mut said = answers(0.3);
        if rule.decide == Decide::Proven {
            // A limit alone proves nothing: the right side loses what the left one keeps.
            (1..SAMPLES).step_by(4).for_each(|sample| said[sample * 3..sample * 3 + 3].rotate_right(1));
        }
        case.answers(JUDGED, &said);
        let impossible = if rule.unit == "dB" { 500.0 } else { -1.0 };
        case.rule(rule.id.as_str()).limit = impossible;
        let judged = case.judge().unwrap();
        let results: Vec<_> = judged.cells[0].rules.iter().filter(|r| r.rule == rule.id).collect();
        assert!(!results.is_empty() && results.iter().all(|r| r.verdict != Verdict::Pass), "{}", rule.id);
        assert_ne!(judged.verdict, Verdict::Pass, "{}", rule.id);
    }
}

#[test]
fn elements_are_read_in_their_own_type() {
    // Bytes 0x00 0x3C are 1.0 in f16, 15360 in u16 and no f32 at all.
    let raw = [0x00, 0x3C];
    let read = |dtype, shape: &[usize]| TensorView::new(dtype, shape, &raw).unwrap().to_f64();
    assert_eq!(read(DType::F16, &[1]), [1.0]);
    assert_eq!(read(DType::U16, &[1]), [15360.0]);
    assert_eq!(read(DType::U8, &[2]), [0.0, 60.0]);
    assert!(TensorView::new(DType::F32, &[1], &raw).is_err());
}

#[test]
fn the_peak_is_the_references() {
    let (small, large) = (floats(&[1.0, -2.0], &[1.0, 20.0]), floats(&[1.0, 20.0], &[1.0, -2.0]));
    let psnr = |summary: &Summary| summary.value(Metric::PsnrDb).unwrap();
    assert!((psnr(&large) - psnr(&small) - 20.0).abs() < 1e-12, "the same error against a peak ten times as high");
}

#[test]
fn errors_of_opposite_sign_do_not_cancel() {
    let summary = int8(&[10, 20, 30, 40], &[11, 19, 31, 39]);
    assert_eq!(summary.value(Metric::Bias), Ok(0.0));
    for metric in [Metric::MeanAbs, Metric::Rmse, Metric::MaxAbs, Metric::LsbMax] {
        assert_eq!(summary.value(metric), Ok(1.0), "{}", metric.name());
    }
}

#[test]
fn the_ends_of_int8_do_not_wrap() {
    let summary = int8(&[-128, 127, -128, 127], &[127, -128, -128, 127]);
    assert_eq!(summary.value(Metric::MaxAbs), Ok(255.0));
    assert_eq!(summary.value(Metric::Mse), Ok(255.0 * 255.0 / 2.0));
    assert_eq!(summary.value(Metric::SaturationShareReference), Ok(1.0));
}

#[test]
fn every_sample_counts() {
    for broken in [0, SAMPLES / 2, SAMPLES - 1] {
        let mut said = answers(0.0);
        said[broken * 3] += 50.0;
        let summary = floats(&answers(0.0), &said);
        assert!(summary.value(Metric::MaxAbs).unwrap() > 49.0, "sample {broken}");
    }
}

#[test]
fn a_small_drift_is_not_rounded_away() {
    let summary = floats(&[0.5, 0.25], &[0.500_01, 0.25]);
    assert!(summary.value(Metric::MaxAbs).unwrap() > 9e-6);
    let share = Proportion::new(9_999, 10_000).unwrap().share().unwrap();
    assert_eq!(share, 0.9999);
}

#[test]
fn a_rare_slow_inference_is_seen() {
    let ns = (0..1000).map(|i| if i % 50 == 0 { 9e6 } else { 1e5 }).collect();
    let summary = Latencies::from_ns(ns).unwrap().summary(Confidence::P95);
    assert_eq!(summary.quantiles[0].value_ns, 1e5);
    assert_eq!(summary.quantiles[2].value_ns, 9e6, "p99");
}

#[test]
fn noise_in_the_last_bit_never_fails() {
    let noisy: Vec<f32> = answers(0.0).iter().map(|v| f32::from_bits(v.to_bits() ^ 1)).collect();
    let mut case = good();
    case.answers(JUDGED, &noisy);
    assert_eq!(case.judge().unwrap().verdict, Verdict::Pass);
    // And a model against itself is never red.
    case.answers(JUDGED, &answers(0.0));
    assert_eq!(case.judge().unwrap().verdict, Verdict::Pass);
}

#[test]
fn both_peaks_keep_their_elements() {
    let summary = floats(&[0.001, 100.0], &[0.002, 101.0]);
    assert_eq!((summary.max_abs().unwrap().index, summary.max_relative().unwrap().index), (1, 0));
}

#[test]
fn a_zero_in_the_reference_is_counted_apart() {
    let summary = floats(&[0.0, 2.0], &[0.5, 2.0]);
    assert_eq!(summary.zero_reference_differs(), 1);
    assert!(summary.value(Metric::MaxRelative).is_err(), "no made-up denominator");
    let zeros = floats(&[0.0, 0.0, 0.0], &[0.0, 0.0, 0.0]);
    assert_eq!(zeros.value(Metric::Cosine), Ok(1.0));
    assert_eq!(zeros.value(Metric::RelativeL2), Ok(0.0));
}

/// A firmware with a buffer of four bytes that writes down what it does, by the code that answers the peer's runner.
struct Firmware<'l> {
    buffer: [u8; 4],
    did: &'l RefCell<Vec<&'static str>>,
    now_us: u32,
}

impl Dut for Firmware<'_> {
    fn vendor(&self) -> &str {
        "boardproof"
    }

    fn model(&self) -> &str {
        "kws01"
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn load(&mut self, _bytes: usize) -> Result<(), &'static str> {
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        self.did.borrow_mut().push("infer");
        Ok(())
    }

    fn outputs(&self) -> usize {
        1
    }

    fn output(&self, _index: usize) -> f32 {
        0.5
    }

    fn now_us(&mut self) -> u32 {
        self.did.borrow_mut().push("clock");
        self.now_us += 1000;
        self.now_us
    }
}

/// What the firmware says to these characters, its buffer afterwards, and what it did in which order.
fn said_to(line: &str) -> (String, [u8; 4], Vec<&'static str>) {
    let did = RefCell::new(Vec::new());
    let mut firmware = Firmware { buffer: [0; 4], did: &did, now_us: 0 };
    let (mut tiny, mut said) = (Tiny::new(), Vec::new());
    for byte in line.bytes() {
        tiny.push(byte, &mut firmware, &mut |bytes| {
            did.borrow_mut().push("print");
            said.extend_from_slice(bytes);
        });
    }
    let buffer = firmware.buffer;
    (String::from_utf8(said).unwrap(), buffer, did.into_inner())
}

#[test]
fn what_was_refused_is_not_received() {
    let (said, buffer, _) = said_to("db load 99999999%db 0102030405060708%");
    assert!(said.starts_with("Supplied buffer size 99999999 exceeds maximum of 4"), "{said}");
    assert_eq!((buffer, said.matches("m-ready").count()), ([0; 4], 2), "{said}");
}

#[test]
fn what_was_not_announced_is_not_received() {
    let (said, buffer, _) = said_to("db load 2%db 0102%db 0304%db 05060708%");
    assert_eq!((buffer, said.matches("m-load-done").count()), ([1, 2, 0, 0], 1), "{said}");
}

#[test]
fn an_empty_command_is_answered() {
    for nothing in ["%", " %", "\0%", "\0name%"] {
        assert_eq!(said_to(nothing).0, "e-[Unknown command: ]\r\nm-ready\r\n", "{nothing:?}");
    }
}

#[test]
fn nothing_is_printed_within_the_timed_window() {
    let (said, _, did) = said_to("db load 1%db 01%infer 3 2%");
    let first = did.iter().position(|what| *what == "clock").expect("the window opened");
    assert_eq!(did[first..first + 5], ["clock", "infer", "infer", "infer", "clock"], "{said}");
    assert!(said.contains("m-lap-us-1000\r\nm-lap-us-2000\r\n"), "{said}");
}

#[test]
fn a_counter_that_wrapped_is_no_time() {
    // An end before its beginning by one tick, subtracted without a sign.
    let wrapped = 5_u64.wrapping_sub(6);
    for at in [0, INFERENCES as usize / 2, INFERENCES as usize - 1] {
        let mut case = good();
        let mut taken = ticks(12_000);
        taken[at] = wrapped;
        case.ticks(JUDGED, &taken);
        assert!(case.judge().is_err(), "inference {at}");
    }
}

#[test]
fn a_latency_is_the_devices_and_not_the_hosts() {
    let mut case = good();
    let of = |case: &Case| case.evidence().latencies_ns(&id(JUDGED)).unwrap().expect("times");
    let before = of(&case);
    let facts = &mut case.pass(JUDGED, Pass::Latency).facts.numbers;
    for host in ["host_wall_ns_min", "host_wall_ns_max"] {
        *facts.get_mut(host).expect("the host looked at its clock") *= 1000;
    }
    case.record.elapsed_ms *= 1000;
    assert_eq!(of(&case), before, "a link that takes a thousand times as long");
    case.seen(JUDGED).device.tick_hz *= 2;
    let halves: Vec<f64> = before.iter().map(|ns| ns / 2.0).collect();
    assert_eq!(of(&case), halves, "a device whose ticks are half as long");
}

#[test]
fn a_time_out_is_told_and_never_passes() {
    let mut case = good();
    let causes = vec!["pull events: no answer within 5 s".to_owned()];
    let (action, hints) = ("latency pass".into(), Vec::new());
    let (console, attempts, passes, shipped) = Default::default();
    case.set(JUDGED, Outcome::TimedOut(Fault { action, causes, hints, console, attempts, passes, shipped }));
    let judged = case.judge().unwrap();
    assert_eq!(judged.verdict, Verdict::Incomplete);
    assert!(judged.cells[0].reason.contains("no answer within 5 s"), "{}", judged.cells[0].reason);
}

#[test]
fn what_is_missing_of_one_cell_leaves_the_others_judged() {
    let mut case = good();
    case.planned(HOST_VARIANT).judged = true;
    case.policy.rules.retain(|rule| !rule.metric.starts_with("latency"));
    case.set(JUDGED, Outcome::NotRun);
    let judged = case.judge().unwrap();
    assert_eq!((judged.cells.len(), judged.verdict), (2, Verdict::Incomplete));
    let other = judged.cells.iter().find(|cell| cell.cell == id(HOST_VARIANT)).expect("judged");
    assert_eq!(other.verdict, Verdict::Pass, "{other:?}");
    let asked = |rule: &str| other.rules.iter().any(|result| result.rule.as_str() == rule && result.observed.is_some());
    assert!(asked("accuracy-drop") && asked("drift"), "{other:?}");
}

#[test]
fn the_better_of_two_runs_is_not_kept() {
    let mut case = good();
    case.rule("latency").against = Against::Baseline;
    case.rule("latency").limit = 1.1;
    case.baseline = Some(Box::new(case.clone()));
    let mut again = case.clone();
    case.ticks(JUDGED, &ticks(20_000));
    again.ticks(JUDGED, &ticks(12_000));
    let (first, second) = (case.judge().unwrap(), again.judge().unwrap());
    assert_eq!((first.verdict, second.verdict), (Verdict::Fail, Verdict::Pass));
    let both = confirmed((case.evidence(), first), (again.evidence(), &second), &case.policy).unwrap();
    assert_eq!(both.verdict, Verdict::Inconclusive);
    // Nor the best inferences of a run.
    let mixed = (0..1000).map(|i| if i % 10 == 0 { 1e3 } else { 1e5 }).collect();
    assert_eq!(Latencies::from_ns(mixed).unwrap().summary(Confidence::P95).quantiles[0].value_ns, 1e5);
}

/// Every vendor's figure against its formula written down once more, over numbers that are not chosen by hand.
#[test]
fn vendors_figures_equal_their_formulas() {
    let (b, a) = (answers(0.0), answers(0.11));
    let summary = floats(&b, &a);
    let (b, a): (Vec<f64>, Vec<f64>) =
        (b.iter().map(|v| f64::from(*v)).collect(), a.iter().map(|v| f64::from(*v)).collect());
    let n = a.len() as f64;
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(a, b)| f(*a, *b)).sum::<f64>();
    let max = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(a, b)| f(*a, *b)).fold(0.0, f64::max);
    let (aa, bb, ab) = (sum(&|a, _| a * a), sum(&|_, b| b * b), sum(&|a, b| a * b));
    let (dd, d1) = (sum(&|a, b| (a - b).powi(2)), sum(&|a, b| (a - b).abs()));
    let (mse, cosine) = (dd / n, ab / (aa.sqrt() * bb.sqrt()));
    let mean = sum(&|a, b| b - a) / n;
    let mean_b = sum(&|_, b| b) / n;
    let variance_b = sum(&|_, b| (b - mean_b).powi(2)) / (n - 1.0);
    let options = Options::default();
    let relative = |a: f64, b: f64| (a - b).abs() / if b == 0.0 { f64::EPSILON } else { b.abs() };
    for (dialect, expected) in [
        (Dialect::StL2r, dd.sqrt() / aa.sqrt()),
        (Dialect::StRmse, mse.sqrt()),
        (Dialect::StMae, d1 / n),
        (Dialect::StMean, mean),
        (Dialect::StStd, (sum(&|a, b| (b - a - mean).powi(2)) / (n - 1.0)).sqrt()),
        (Dialect::StNse, 1.0 - mse / variance_b),
        (Dialect::StCos, cosine),
        (Dialect::TrtL0, sum(&|a, b| f64::from(u8::from((a - b).abs() > options.atol + options.rtol * b.abs()))) / n),
        (Dialect::TrtL1, d1 / n),
        (Dialect::TrtL2, mse),
        (Dialect::TrtLinf, max(&|a, b| (a - b).abs())),
        (Dialect::TrtCos, 1.0 - cosine),
        (Dialect::PolygraphyAbsdiffMax, max(&|a, b| (a - b).abs())),
        (Dialect::PolygraphyAbsdiffMean, d1 / n),
        (Dialect::PolygraphyReldiffMax, max(&relative)),
        (Dialect::PolygraphyReldiffMean, sum(&relative) / n),
        (Dialect::PolygraphyL2, dd.sqrt()),
        (Dialect::PolygraphyCosine, cosine),
        (Dialect::PolygraphyPsnr, 20.0 * max(&|a, _| a).log10() - 10.0 * mse.log10()),
        (Dialect::PolygraphySnr, 10.0 * (aa / n / mse).log10()),
        (Dialect::OrtSqnr, 20.0 * (bb.sqrt().max(f64::EPSILON) / dd.sqrt().max(f64::EPSILON)).log10()),
        (Dialect::LitertSnr, 10.0 * (bb / dd).log10()),
        (Dialect::LitertPsnr, 20.0 * (max(&|_, b| b.abs()) / mse.sqrt()).log10()),
        (Dialect::ExecutorchSnr, 10.0 * (bb / n / mse).log10()),
        (Dialect::ExecutorchMse, mse),
        (Dialect::ExecutorchL1, d1),
    ] {
        let value = dialect.value(&summary).unwrap();
        let error = (value - expected).abs() / expected.abs().max(1e-3);
        assert!(error < 1e-9, "{}: {value}, its formula gives {expected}", dialect.name());
    }
}
