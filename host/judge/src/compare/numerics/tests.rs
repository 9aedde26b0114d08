//! What users and peers can see of a comparison. The names of many tests are defects that were found in other comparers.

use super::*;
use crate::compare::validity::Invalid;
use proptest::prelude::*;

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn options() -> Options {
    Options { atol: 0.01, rtol: 0.1, top_k: 2 }
}

fn compare_bytes(dtype: DType, shape: &[usize], reference: &[u8], candidate: &[u8]) -> Summary {
    let view = |bytes| TensorView::new(dtype, shape, bytes).unwrap();
    compare(&view(reference), &view(candidate), options()).unwrap()
}

fn compare_f32(shape: &[usize], reference: &[f32], candidate: &[f32]) -> Summary {
    compare_bytes(DType::F32, shape, &f32_bytes(reference), &f32_bytes(candidate))
}

fn compare_i8(reference: &[i8], candidate: &[i8]) -> Summary {
    let bytes = |values: &[i8]| values.iter().map(|v| *v as u8).collect::<Vec<u8>>();
    compare_bytes(DType::I8, &[1, reference.len()], &bytes(reference), &bytes(candidate))
}

/// Metrics that are counts and not figures: they have a value on any input.
const COUNTS: [Metric; 3] = [Metric::NonfiniteMismatch, Metric::NonfiniteReference, Metric::NonfiniteCandidate];

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 * 8.0 - 4.0
        })
        .collect()
}

#[test]
fn every_metric_by_hand() {
    // r = [1, 2, -3, 0], c = [1.5, 2, -2, 0.5]; c - r = [.5, 0, 1, .5], |r|^2 = 14, |c|^2 = 10.5, r.c = 11.5
    let summary = compare_f32(&[1, 4], &[1.0, 2.0, -3.0, 0.0], &[1.5, 2.0, -2.0, 0.5]);
    let cosine = 11.5 / (14.0_f64.sqrt() * 10.5_f64.sqrt());
    for (metric, expected) in [
        (Metric::MaxAbs, 1.0),
        (Metric::MeanAbs, 0.5),
        (Metric::Bias, 0.5),
        (Metric::Mse, 0.375),
        (Metric::Rmse, 0.375_f64.sqrt()),
        (Metric::RelativeL2, (1.5_f64 / 14.0).sqrt()),
        (Metric::MaxRelative, 0.5),
        (Metric::Cosine, cosine),
        (Metric::CosineMean, cosine),
        (Metric::CosineMin, cosine),
        (Metric::SqnrDb, 10.0 * (14.0_f64 / 1.5).log10()),
        (Metric::PsnrDb, 20.0 * (3.0 / 0.375_f64.sqrt()).log10()),
        (Metric::AgreementTop1, 1.0),
        (Metric::AgreementTopK, 1.0),
        // Limits 0.11, 0.21, 0.31, 0.01.
        (Metric::ToleranceShare, 0.25),
    ] {
        let value = summary.value(metric).unwrap();
        assert!((value - expected).abs() < 1e-14, "{}: {value}, expected {expected}", metric.name());
    }
    assert_eq!((summary.elements(), summary.samples(), summary.finite_pairs()), (4, 1, 4));
    assert_eq!(summary.errors().total(), 4);
    for metric in [Metric::KlMean, Metric::LsbMax, Metric::SaturationShareCandidate] {
        assert!(matches!(summary.value(metric), Err(Invalid::NotApplicable(_))), "{}", metric.name());
    }
}

#[test]
fn nan_or_infinity_anywhere_makes_every_metric_invalid() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // 2,500 elements are several blocks; the positions cover vector lanes, rests and block ends.
        for position in [0, 1, 2, 3, 1019, 1023, 1024, 2497, 2499] {
            for in_reference in [false, true] {
                let (mut reference, mut candidate) = (numbers(2500, 1), numbers(2500, 1));
                if in_reference {
                    reference[position] = bad
                } else {
                    candidate[position] = bad
                }
                let summary = compare_f32(&[500, 5], &reference, &candidate);
                for metric in Metric::ALL.into_iter().filter(|metric| !COUNTS.contains(metric)) {
                    let value = summary.value(metric);
                    assert_eq!(value, Err(Invalid::NonFiniteMismatch { mismatches: 1 }), "{} {bad}", metric.name());
                }
                assert_eq!(summary.value(Metric::NonfiniteMismatch), Ok(1.0));
                let operand = if in_reference { Metric::NonfiniteReference } else { Metric::NonfiniteCandidate };
                assert_eq!(summary.value(operand), Ok(1.0));
            }
        }
    }
}

#[test]
fn infinities_of_opposite_sign_do_not_match() {
    let summary = compare_f32(&[1, 3], &[f32::INFINITY, 1.0, 2.0], &[f32::NEG_INFINITY, 1.0, 2.0]);
    assert_eq!(summary.non_finite().mismatched, 1);
    assert!(summary.value(Metric::MaxAbs).is_err());
}

#[test]
fn matched_values_that_are_not_finite_are_counted_and_left_out() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, 2.0, 3.0];
    let summary = compare_f32(&[2, 3], &values, &values);
    let counts = summary.non_finite();
    assert_eq!((counts.matched, counts.mismatched, counts.reference(), counts.candidate()), (3, 0, 3, 3));
    assert_eq!((counts.reference_nan, counts.candidate_positive, counts.candidate_negative), (1, 1, 1));
    assert_eq!(summary.value(Metric::MaxAbs), Ok(0.0));
    assert_eq!(summary.finite_pairs(), 3);
    assert_eq!(summary.value(Metric::AgreementTop1), Ok(0.5), "a vector with a NaN agrees on nothing");
    assert_eq!(summary.value(Metric::CosineMin), Ok(1.0), "of the finite sample");
}

#[test]
fn nothing_finite_is_no_pass() {
    let summary = compare_f32(&[1, 2], &[f32::NAN; 2], &[f32::NAN; 2]);
    assert_eq!(summary.value(Metric::MaxAbs), Err(Invalid::NoPairs));
    let empty = compare_f32(&[0, 4], &[], &[]);
    assert_eq!(empty.value(Metric::SqnrDb), Err(Invalid::NoPairs));
    assert_eq!(compare_f32(&[3, 0], &[], &[]).value(Metric::AgreementTop1), Err(Invalid::NoPairs));
}

#[test]
fn mismatches_are_left_out_only_when_asked() {
    let summary = compare_f32(&[1, 3], &[1.0, 2.0, 3.0], &[1.5, f32::NAN, 3.0]);
    assert!(summary.value(Metric::MaxAbs).is_err());
    assert_eq!(summary.value_under(Metric::MaxAbs, NonFiniteRule::LeaveOut), Ok(0.5));
    assert_eq!(summary.value_under(Metric::AgreementTop1, NonFiniteRule::LeaveOut), Ok(0.0));
    assert_eq!(summary.max_abs(), Some(At { value: 0.5, index: 0 }));
}

#[test]
fn indices_survive_values_that_are_left_out() {
    let (mut reference, mut candidate) = (numbers(2500, 3), numbers(2500, 3));
    reference[1100] = f32::NAN;
    candidate[1300] += 100.0;
    let summary = compare_f32(&[500, 5], &reference, &candidate);
    assert_eq!(summary.max_abs().unwrap().index, 1300);
}

#[test]
fn missing_extra_renamed_and_repeated_outputs_are_errors() {
    let bytes = [0; 4];
    let view = TensorView::new(DType::F32, &[1], &bytes).unwrap();
    let (a, b, c) = (("a", view), ("b", view), ("c", view));
    let missing = pair_outputs(&[a, b], &[a]).unwrap_err();
    assert_eq!(missing, Incomparable::MissingOutput { name: "b".into(), present: "a".into() });
    let extra = pair_outputs(&[a], &[a, b]).unwrap_err();
    assert_eq!(extra, Incomparable::ExtraOutput { name: "b".into(), present: "a".into() });
    assert!(matches!(pair_outputs(&[a, b], &[a, c]), Err(Incomparable::ExtraOutput { .. })), "renamed");
    assert!(matches!(pair_outputs(&[a, b], &[]), Err(Incomparable::MissingOutput { .. })));
    assert_eq!(pair_outputs(&[a, a], &[a]).unwrap_err(), Incomparable::RepeatedOutput { name: "a".into() });
    assert_eq!(pair_outputs(&[a], &[a, a]).unwrap_err(), Incomparable::RepeatedOutput { name: "a".into() });
    let names: Vec<&str> = pair_outputs(&[a, b], &[b, a]).unwrap().iter().map(|pair| pair.0).collect();
    assert_eq!(names, ["a", "b"], "order does not matter");
}

#[test]
fn shapes_and_dtypes_that_differ_are_incomparable() {
    let bytes = [0_u8; 8];
    let view = |dtype, shape| TensorView::new(dtype, shape, &bytes).unwrap();
    let (wide, tall) = (view(DType::F32, &[1, 2]), view(DType::F32, &[2, 1]));
    assert!(matches!(compare(&wide, &tall, options()), Err(Incomparable::Shape { .. })));
    let integers = view(DType::I32, &[1, 2]);
    assert!(matches!(compare(&wide, &integers, options()), Err(Incomparable::DType { .. })));
    let (signed, unsigned) = (view(DType::I8, &[1, 8]), view(DType::U8, &[1, 8]));
    assert!(matches!(compare(&signed, &unsigned, options()), Err(Incomparable::DType { .. })));
}

#[test]
fn float_widths_compare_by_value() {
    let reference = f32_bytes(&[1.0, -0.5, 65504.0]);
    // The same in f16: 0x3C00, 0xB800, 0x7BFF.
    let candidate = [0x00, 0x3C, 0x00, 0xB8, 0xFF, 0x7B];
    let r = TensorView::new(DType::F32, &[1, 3], &reference).unwrap();
    let c = TensorView::new(DType::F16, &[1, 3], &candidate).unwrap();
    let summary = compare(&r, &c, options()).unwrap();
    assert_eq!(summary.value(Metric::MaxAbs), Ok(0.0));
    assert_eq!(summary.dtypes(), (DType::F32, DType::F16));
}

#[test]
fn a_chunk_of_half_a_sample_is_refused() {
    let layout = Layout::of_shape(&[10, 4]);
    let mut accumulator = Accumulator::new(DType::F32, DType::F32, layout, options()).unwrap();
    let partial = accumulator.push_bytes(&[0; 24], &[0; 24]).unwrap_err();
    assert_eq!(partial, Incomparable::PartialSample { elements: 6, sample_elements: 4 });
    assert!(matches!(accumulator.push_bytes(&[0; 17], &[0; 17]), Err(Incomparable::PartialSample { .. })));
    assert!(matches!(accumulator.push_bytes(&[0; 16], &[0; 32]), Err(Incomparable::Shape { .. })));
    assert_eq!(accumulator.summary().elements(), 0);
}

#[test]
fn accumulators_of_different_kind_do_not_merge() {
    let new =
        |dtype, classes, options| Accumulator::new(dtype, dtype, Layout::of_shape(&[1, classes]), options).unwrap();
    let mut one = new(DType::F32, 4, options());
    for other in [new(DType::F64, 4, options()), new(DType::F32, 5, options()), new(DType::F32, 4, Options::default())]
    {
        assert_eq!(one.merge(&other), Err(Incomparable::Merge));
    }
}

#[test]
fn int8_extremes_do_not_wrap() {
    let summary = compare_i8(&[-128, 127, -128, 0], &[127, -128, -128, 0]);
    assert_eq!(summary.value(Metric::MaxAbs), Ok(255.0));
    assert_eq!(summary.value(Metric::LsbMax), Ok(255.0));
    assert_eq!(summary.value(Metric::Mse), Ok(255.0 * 255.0 / 2.0));
    let lsb = summary.lsb().unwrap();
    assert_eq!((lsb.below, lsb.steps[8], lsb.above), (1, 2, 1));
    assert_eq!(summary.value(Metric::LsbWithinOne), Ok(0.5));
    assert_eq!(summary.value(Metric::SaturationShareReference), Ok(0.75));
    let (reference, candidate) = summary.saturation().unwrap();
    assert_eq!((reference.low, reference.high, candidate.low, candidate.high), (2, 1, 2, 1));
}

#[test]
fn integers_of_64_bits_are_subtracted_exactly() {
    let bytes = |values: [i64; 2]| values.map(i64::to_le_bytes).concat();
    let summary = compare_bytes(DType::I64, &[1, 2], &bytes([i64::MAX - 1, i64::MIN]), &bytes([i64::MAX, i64::MAX]));
    assert_eq!(summary.max_abs(), Some(At { value: 18446744073709551615.0, index: 1 }));
    assert_eq!(summary.lsb().unwrap().steps[9], 1, "one step, although both round to the same f64");
    let words = |values: [u64; 2]| values.map(u64::to_le_bytes).concat();
    let unsigned = compare_bytes(DType::U64, &[1, 2], &words([u64::MAX, 0]), &words([0, u64::MAX]));
    assert_eq!(unsigned.value(Metric::Bias), Ok(0.0));
    assert_eq!(unsigned.value(Metric::MaxAbs), Ok(18446744073709551615.0));
}

#[test]
fn errors_of_opposite_sign_cancel_in_the_bias_only() {
    let summary = compare_i8(&[0, 0, 10, 10], &[1, -1, 11, 9]);
    assert_eq!(summary.value(Metric::Bias), Ok(0.0));
    for metric in [Metric::MaxAbs, Metric::MeanAbs, Metric::Mse, Metric::Rmse] {
        assert_eq!(summary.value(metric), Ok(1.0), "{}", metric.name());
    }
    let lsb = summary.lsb().unwrap();
    assert_eq!((lsb.steps[7], lsb.steps[9]), (2, 2));
}

#[test]
fn small_drift_is_not_rounded_away() {
    let reference = vec![1.0_f32; 1000];
    let mut candidate = reference.clone();
    candidate[999] = 1.0 + f32::EPSILON;
    let summary = compare_f32(&[1000, 1], &reference, &candidate);
    assert_eq!(summary.value(Metric::MaxAbs), Ok(f64::from(f32::EPSILON)));
    assert!(summary.value(Metric::SqnrDb).unwrap().is_finite());
    assert_eq!(summary.errors().zero, 999);
}

#[test]
fn identical_operands_are_never_red() {
    for (shape, values) in [
        (vec![50, 7], numbers(350, 5)),
        (vec![3, 1500], numbers(4500, 6)),
        (vec![2, 3, 5], numbers(30, 7)),
        (vec![4, 3], vec![0.0; 12]),
        (vec![9], numbers(9, 8)),
        (vec![], vec![1.5]),
    ] {
        let summary = compare_f32(&shape, &values, &values);
        for metric in Metric::ALL {
            let perfect = match (metric, summary.value(metric)) {
                (Metric::SqnrDb | Metric::PsnrDb, value) => value == Ok(f64::INFINITY),
                (_, Err(Invalid::NotApplicable(_))) => true,
                (_, Err(_)) => false,
                (metric, Ok(value)) => match metric.direction() {
                    Direction::Higher => (value - 1.0).abs() < 1e-15,
                    Direction::Lower | Direction::Zero => value == 0.0,
                },
            };
            assert!(perfect, "{} of shape {shape:?}: {:?}", metric.name(), summary.value(metric));
        }
    }
}

#[test]
fn zero_vectors_are_defined() {
    let check = |reference: &[f32], candidate: &[f32], cosine: f64, sqnr: f64, relative: Result<f64, Invalid>| {
        let summary = compare_f32(&[1, 3], reference, candidate);
        assert_eq!(summary.value(Metric::Cosine), Ok(cosine));
        assert_eq!(summary.value(Metric::CosineMin), Ok(cosine));
        assert_eq!(summary.value(Metric::SqnrDb), Ok(sqnr));
        assert_eq!(summary.value(Metric::PsnrDb), Ok(sqnr));
        assert_eq!(summary.value(Metric::RelativeL2), relative);
        assert_eq!(summary.value(Metric::MaxRelative), relative);
    };
    check(&[0.0; 3], &[0.0; 3], 1.0, f64::INFINITY, Ok(0.0));
    check(&[0.0; 3], &[0.0, 1.0, 0.0], 0.0, f64::NEG_INFINITY, Err(Invalid::ZeroReference));
    let silent = compare_f32(&[1, 3], &[0.0, 1.0, 0.0], &[0.0; 3]);
    assert_eq!(silent.value(Metric::Cosine), Ok(0.0));
    assert_eq!(silent.value(Metric::SqnrDb), Ok(0.0));
}

#[test]
fn swapped_operands_differ_where_the_formula_has_roles() {
    let (one, two) = (numbers(60, 9), numbers(60, 10));
    let (there, back) = (compare_f32(&[20, 3], &one, &two), compare_f32(&[20, 3], &two, &one));
    for metric in [Metric::SqnrDb, Metric::PsnrDb, Metric::RelativeL2, Metric::MaxRelative] {
        assert_ne!(there.value(metric), back.value(metric), "{}", metric.name());
    }
    assert_eq!(there.value(Metric::Bias).unwrap(), -back.value(Metric::Bias).unwrap());
    for metric in [Metric::MaxAbs, Metric::Mse, Metric::AgreementTop1] {
        assert_eq!(there.value(metric), back.value(metric), "{}", metric.name());
    }
}

#[test]
fn largest_absolute_and_largest_relative_error_keep_their_own_elements() {
    let summary = compare_f32(&[1, 4], &[1000.0, 0.001, 5.0, 0.0], &[1001.0, 0.003, 5.0, 0.5]);
    assert_eq!(summary.max_abs(), Some(At { value: 1.0, index: 0 }));
    let relative = summary.max_relative().unwrap();
    assert_eq!(relative.index, 1);
    assert!((relative.value - 2.0).abs() < 1e-6, "and not 0.5 / 2e-16 at the zero");
    assert_eq!(summary.zero_reference_differs(), 1);
}

#[test]
fn the_first_of_equal_peaks_is_named() {
    let summary = compare_f32(&[1, 5], &[0.0; 5], &[0.0, 2.0, -2.0, 1.0, 2.0]);
    assert_eq!(summary.max_abs(), Some(At { value: 2.0, index: 1 }));
}

#[test]
fn values_out_of_the_range_of_squares_are_invalid_and_not_perfect() {
    let bytes = |values: [f64; 3]| values.map(f64::to_le_bytes).concat();
    for (reference, candidate) in [
        ([1e200, 1e200, 1.0], [-1e200, 1e200, 1.0]),
        ([1e-200, 1e-200, 0.0], [-1e-200, 1e-200, 0.0]),
        ([f64::MAX, 0.0, 1.0], [f64::MIN, 0.0, 1.0]),
    ] {
        let summary = compare_bytes(DType::F64, &[1, 3], &bytes(reference), &bytes(candidate));
        assert_eq!(summary.value(Metric::NonfiniteMismatch), Ok(0.0));
        for metric in
            [Metric::Mse, Metric::SqnrDb, Metric::PsnrDb, Metric::Cosine, Metric::CosineMin, Metric::RelativeL2]
        {
            assert_eq!(summary.value(metric), Err(Invalid::Range), "{} of {reference:?}", metric.name());
        }
    }
}

#[test]
fn cosine_and_agreement_refuse_outputs_that_are_too_small_for_them() {
    let scalar = compare_f32(&[4, 1], &[0.1, 0.2, 0.3, 0.4], &[0.4, 0.3, 0.2, 0.1]);
    for metric in [Metric::CosineMean, Metric::CosineMin, Metric::AgreementTop1, Metric::AgreementTopK] {
        assert!(matches!(scalar.value(metric), Err(Invalid::NotApplicable(_))), "{}", metric.name());
    }
    let pair = compare_f32(&[2, 2], &[0.1, 0.2, 0.3, 0.4], &[0.4, 0.3, 0.2, 0.1]);
    assert!(matches!(pair.value(Metric::CosineMin), Err(Invalid::NotApplicable(_))));
    assert_eq!(pair.value(Metric::AgreementTop1), Ok(0.0));
}

#[test]
fn agreement_runs_over_the_last_axis_and_cosine_over_the_sample() {
    // Two samples of two vectors of three.
    let reference = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    let mut candidate = reference;
    candidate.swap(9, 10);
    let summary = compare_f32(&[2, 2, 3], &reference, &candidate);
    assert_eq!(summary.class_vectors(), (4, 0));
    assert_eq!(summary.value(Metric::AgreementTop1), Ok(0.75));
    assert_eq!(summary.value(Metric::AgreementTopK), Ok(1.0));
    let min = summary.cosine_min().unwrap();
    assert!((min.value - 0.5).abs() < 1e-15 && min.index == 1);
}

#[test]
fn divergence_is_for_probabilities_only() {
    let reference = [0.7, 0.2, 0.1, 0.25, 0.5, 0.25];
    let summary = compare_f32(&[2, 3], &reference, &[0.5, 0.3, 0.2, 0.25, 0.5, 0.25]);
    let expected = 0.085_122_825_957_226;
    assert!((summary.value(Metric::KlMax).unwrap() - expected).abs() < 1e-7);
    assert!((summary.value(Metric::KlMean).unwrap() - expected / 2.0).abs() < 1e-7);
    assert_eq!(summary.kl_max().unwrap().index, 0);
    let broken = compare_f32(&[2, 3], &reference, &[0.5, 0.3, 0.2, 9.0, 0.5, 0.25]);
    assert_eq!(broken.value(Metric::KlMean), Err(Invalid::NotProbabilities { vectors: 1 }));
}

#[test]
fn names_are_unique_found_and_documented() {
    let document = include_str!("../../../../../docs/metrics.md");
    for metric in Metric::ALL {
        assert_eq!(Metric::from_name(metric.name()), Some(metric));
        assert!(document.contains(&format!("| `{}` |", metric.name())), "{} in docs/metrics.md", metric.name());
    }
    for dialect in crate::compare::dialect::Dialect::ALL {
        assert!(document.contains(&format!("| `{}` |", dialect.name())), "{} in docs/metrics.md", dialect.name());
    }
}

/// Two judges of one record must print the same bytes, also when one of them has wider vectors.
#[test]
fn machines_with_and_without_wide_vectors_agree_to_the_last_bit() {
    let (reference, candidate) = (f32_bytes(&numbers(50_000, 11)), f32_bytes(&numbers(50_000, 12)));
    let new = || Accumulator::new(DType::F32, DType::F32, Layout::of_shape(&[1, 10]), options()).unwrap();
    let (mut detected, mut plain) = (new(), new());
    detected.push_bytes(&reference, &candidate).unwrap();
    plain.push_spans(super::lanes::Any, &reference, &candidate);
    assert_eq!(detected.summary(), plain.summary());
}

/// Whether two orders of summation may give these two results. The bias is measured against the mean absolute error: it may cancel.
fn close(metric: Metric, a: &Summary, b: &Summary, rule: NonFiniteRule) -> bool {
    let scale = a.value_under(Metric::MeanAbs, rule).unwrap_or(0.0);
    match (a.value_under(metric, rule), b.value_under(metric, rule)) {
        (Ok(a), Ok(b)) if metric == Metric::Bias => (a - b).abs() <= 1e-13 * scale,
        (Ok(a), Ok(b)) => a == b || (a - b).abs() <= 1e-11 * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    }
}

fn element() -> impl Strategy<Value = f32> {
    prop_oneof![
        20 => -100.0_f32..100.0,
        2 => Just(0.0_f32),
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX), Just(1e-45_f32)],
    ]
}

fn samples(classes: usize) -> impl Strategy<Value = Vec<(f32, f32)>> {
    prop::collection::vec((element(), element()), 0..40 * classes).prop_map(move |mut pairs| {
        pairs.truncate(pairs.len() / classes * classes);
        pairs
    })
}

fn split(pairs: &[(f32, f32)]) -> (Vec<u8>, Vec<u8>) {
    let (reference, candidate): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
    (f32_bytes(&reference), f32_bytes(&candidate))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn chunks_and_merges_equal_the_whole(
        classes in 1_usize..40, pairs in (1_usize..40).prop_flat_map(samples), cut in 0.0_f64..1.0
    ) {
        let pairs = &pairs[..pairs.len() / classes * classes];
        let (reference, candidate) = split(pairs);
        let layout = Layout::of_shape(&[1, classes]);
        let new = || Accumulator::new(DType::F32, DType::F32, layout, options()).unwrap();
        let at = ((pairs.len() / classes) as f64 * cut) as usize * classes * 4;
        let (mut whole, mut fed, mut first, mut second) = (new(), new(), new(), new());
        whole.push_bytes(&reference, &candidate).unwrap();
        for accumulator in [&mut fed, &mut first] {
            accumulator.push_bytes(&reference[..at], &candidate[..at]).unwrap();
        }
        for accumulator in [&mut fed, &mut second] {
            accumulator.push_bytes(&reference[at..], &candidate[at..]).unwrap();
        }
        first.merge(&second).unwrap();
        let whole = whole.summary();
        for other in [fed.summary(), first.summary()] {
            for metric in Metric::ALL {
                for rule in [NonFiniteRule::Invalidate, NonFiniteRule::LeaveOut] {
                    prop_assert!(close(metric, &whole, &other, rule), "{}", metric.name());
                }
            }
            prop_assert_eq!(whole.max_abs(), other.max_abs());
            prop_assert_eq!(whole.max_relative(), other.max_relative());
            prop_assert_eq!(whole.cosine_min(), other.cosine_min());
            prop_assert_eq!(whole.errors(), other.errors());
            prop_assert_eq!(whole.non_finite(), other.non_finite());
        }
    }

    #[test]
    fn the_order_of_samples_does_not_matter(pairs in samples(4), seed in any::<u64>()) {
        let mut order: Vec<&[(f32, f32)]> = pairs.chunks(4).collect();
        let mut state = seed | 1;
        for i in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(i, (state >> 33) as usize % (i + 1));
        }
        let shuffled = order.concat();
        let shape = [pairs.len() / 4, 4];
        let summary = |pairs: &[(f32, f32)]| {
            let (reference, candidate) = split(pairs);
            compare_bytes(DType::F32, &shape, &reference, &candidate)
        };
        let (one, other) = (summary(&pairs), summary(&shuffled));
        for metric in Metric::ALL {
            prop_assert!(close(metric, &one, &other, NonFiniteRule::LeaveOut), "{}", metric.name());
        }
        prop_assert_eq!(one.errors(), other.errors());
    }

    #[test]
    fn no_input_gives_nan_or_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), dtype in 0..DType::ALL.len()) {
        let dtype = DType::ALL[dtype];
        let bytes: Vec<u8> = if dtype == DType::Bool { bytes.iter().map(|b| b & 1).collect() } else { bytes };
        let half = bytes.len() / 2 / (3 * dtype.size_bytes()) * 3 * dtype.size_bytes();
        let shape = [half / dtype.size_bytes() / 3, 3];
        let summary = compare_bytes(dtype, &shape, &bytes[..half], &bytes[half..2 * half]);
        for metric in Metric::ALL {
            for rule in [NonFiniteRule::Invalidate, NonFiniteRule::LeaveOut] {
                let value = summary.value_under(metric, rule);
                prop_assert!(value.is_err() || value.is_ok_and(|value| !value.is_nan()), "{}", metric.name());
            }
        }
        for dialect in crate::compare::dialect::Dialect::ALL {
            prop_assert!(dialect.value(&summary).map_or(true, |value| !value.is_nan()), "{}", dialect.name());
        }
    }
}
