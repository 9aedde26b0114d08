//! The engine against itself: does its optimizer keep the model's answers?
//!
//! Owns the words of the result and the comparison of two answers. Needs no second engine: the graph before optimization is the
//! reference. Refuses to say that the model is good: both graphs can be wrong in the same way, which is why drift is measured too.

use std::time::Duration;

use crate::engine::OperatorFacts;
#[cfg(any(feature = "tract-graph", feature = "onnxruntime", feature = "candle", test))]
use crate::tensor::DType;
use crate::tensor::Tensor;

/// How far a self-check may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfCheckLimits {
    /// Checked before each graph that is run; when it has passed the check ends with what it has found.
    pub deadline: Duration,
}

impl Default for SelfCheckLimits {
    fn default() -> Self {
        SelfCheckLimits { deadline: Duration::from_secs(30) }
    }
}

/// How far two answers are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parting {
    /// L2 norm of the difference over the L2 norm of the reference, over all samples of one output; the largest over outputs.
    /// Infinite when shapes differ or when one answer is finite where the other is not.
    pub relative_l2: f64,
    /// Largest absolute difference of one element.
    pub max_abs: f64,
}

impl Parting {
    /// Signal-to-noise ratio of the candidate against the reference in dB: `-20 log10(relative_l2)`; infinite when identical.
    #[must_use]
    pub fn sqnr_db(&self) -> f64 {
        -20.0 * self.relative_l2.log10()
    }
}

/// What a self-check found.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfCheck {
    /// Samples that both graphs ran.
    pub samples: usize,
    /// How far the answers of the shipped graph are from those of the unoptimized one.
    pub parting: Parting,
    /// The largest `relative_l2` that counts as agreement for this model.
    pub tolerance: f64,
    /// The conclusion.
    pub outcome: SelfCheckOutcome,
}

/// The conclusion of a self-check.
#[derive(Debug, Clone, PartialEq)]
pub enum SelfCheckOutcome {
    /// The optimizer kept the answers.
    Agrees,
    /// The optimizer changed the answers; the first operator that did, where it was found in time.
    Parts {
        /// The optimizer's pass or stage in which it happened.
        stage: String,
        /// The operator after the rewrite.
        operator: Option<Box<OperatorFacts>>,
        /// Operators of the graph just before the rewrite that it replaced, as `op (node)`.
        replaced: Vec<String>,
    },
    /// There is nothing to compare with, with the reason.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Compares answers sample by sample: `reference[sample][output]` against `candidate[sample][output]`.
#[must_use]
pub fn parting(reference: &[Vec<Tensor>], candidate: &[Vec<Tensor>]) -> Parting {
    let outputs = reference.first().map_or(0, Vec::len);
    let mut worst = Parting { relative_l2: 0.0, max_abs: 0.0 };
    if reference.len() != candidate.len() || reference.iter().chain(candidate).any(|answers| answers.len() != outputs) {
        return Parting { relative_l2: f64::INFINITY, max_abs: f64::INFINITY };
    }
    for output in 0..outputs {
        let pairs = reference.iter().zip(candidate).map(|(left, right)| (&left[output], &right[output]));
        let apart = parting_of_output(pairs);
        worst.relative_l2 = worst.relative_l2.max(apart.relative_l2);
        worst.max_abs = worst.max_abs.max(apart.max_abs);
    }
    worst
}

fn parting_of_output<'a>(pairs: impl Iterator<Item = (&'a Tensor, &'a Tensor)>) -> Parting {
    let (mut noise, mut signal, mut max_abs) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (left, right) in pairs {
        if left.shape() != right.shape() {
            return Parting { relative_l2: f64::INFINITY, max_abs: f64::INFINITY };
        }
        for (a, b) in left.view().to_f64().into_iter().zip(right.view().to_f64()) {
            let apart = difference(a, b);
            noise += apart * apart;
            signal += if a.is_finite() { a * a } else { 0.0 };
            max_abs = max_abs.max(apart);
        }
    }
    let relative_l2 = if noise == 0.0 { 0.0 } else { (noise / signal).sqrt() };
    Parting { relative_l2, max_abs }
}

/// Absolute difference; equal non-finite values agree, any other non-finite pair is infinitely apart.
fn difference(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let apart = (a - b).abs();
    if apart.is_finite() { apart } else { f64::INFINITY }
}

/// The arithmetic that decides how much two correct orders of evaluation may differ.
#[cfg(any(feature = "tract-graph", feature = "onnxruntime", feature = "candle", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// Everything in f32 or f64.
    Float,
    /// Something in f16.
    Half,
    /// Something quantized.
    Quantized,
}

#[cfg(any(feature = "tract-graph", feature = "onnxruntime", feature = "candle", test))]
impl Arithmetic {
    /// From the datatypes that appear in a graph.
    pub(crate) fn of(dtypes: impl IntoIterator<Item = DType>) -> Self {
        dtypes.into_iter().fold(Arithmetic::Float, |found, dtype| match (found, dtype) {
            (_, DType::I8 | DType::U8) | (Arithmetic::Quantized, _) => Arithmetic::Quantized,
            (_, DType::F16) | (Arithmetic::Half, _) => Arithmetic::Half,
            _ => Arithmetic::Float,
        })
    }

    /// The largest `relative_l2` between two correct evaluations.
    ///
    /// A rewrite that is right may still sum in another order, keep an intermediate in a wider type or round at another place. Float:
    /// 2^-24 per step grows to about 1e-6 over a deep net; two decades of room. Half: one rounding is 2^-11, so ten unlucky layers reach
    /// 5e-3. Quantized: a value on a rounding edge moves one step of its 8-bit type, at most 1/127 of the range, in a few elements; a
    /// wrong rewrite moves most of them, and lies beyond 0.5 where it was seen.
    pub(crate) fn tolerance(self) -> f64 {
        match self {
            Arithmetic::Float => 1e-4,
            Arithmetic::Half => 1e-2,
            Arithmetic::Quantized => 5e-2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &[f32]) -> Vec<Tensor> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        vec![Tensor::new(DType::F32, vec![values.len()], bytes).unwrap()]
    }

    #[test]
    fn a_missing_sample_is_infinitely_apart() {
        let apart = parting(&[answer(&[1.0]), answer(&[1.0])], &[answer(&[1.0])]);
        assert_eq!(apart.relative_l2, f64::INFINITY);
    }

    #[test]
    fn another_shape_is_infinitely_apart() {
        assert_eq!(parting(&[answer(&[1.0])], &[answer(&[1.0, 1.0])]).max_abs, f64::INFINITY);
    }

    #[test]
    fn a_new_nan_is_infinitely_apart() {
        assert_eq!(parting(&[answer(&[1.0])], &[answer(&[f32::NAN])]).relative_l2, f64::INFINITY);
        assert_eq!(parting(&[answer(&[f32::INFINITY])], &[answer(&[f32::NEG_INFINITY])]).relative_l2, f64::INFINITY);
    }

    #[test]
    fn a_difference_from_zero_is_infinitely_large() {
        assert_eq!(parting(&[answer(&[0.0])], &[answer(&[1e-9])]).relative_l2, f64::INFINITY);
    }

    #[test]
    fn equal_answers_agree_whatever_they_hold() {
        let same = [answer(&[f32::NAN, f32::INFINITY, -2.0])];
        assert_eq!(parting(&same, &same), Parting { relative_l2: 0.0, max_abs: 0.0 });
    }

    #[test]
    fn identical_answers_have_an_infinite_ratio() {
        assert_eq!(Parting { relative_l2: 0.0, max_abs: 0.0 }.sqnr_db(), f64::INFINITY);
        assert!((Parting { relative_l2: 0.1, max_abs: 0.0 }.sqnr_db() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn the_norms_run_over_all_samples() {
        let apart = parting(&[answer(&[3.0]), answer(&[4.0])], &[answer(&[3.0]), answer(&[4.5])]);
        assert!((apart.relative_l2 - 0.1).abs() < 1e-12, "{apart:?}");
        assert!((apart.max_abs - 0.5).abs() < 1e-12, "{apart:?}");
    }

    #[test]
    fn the_coarser_the_datatype_the_more_room_it_has() {
        let room = [Arithmetic::Float, Arithmetic::Half, Arithmetic::Quantized].map(Arithmetic::tolerance);
        assert!(room.is_sorted() && room[0] > 0.0 && room[2] < 0.5, "{room:?}");
    }

    #[test]
    fn the_coarsest_datatype_decides() {
        assert_eq!(Arithmetic::of([DType::F32, DType::F64]), Arithmetic::Float);
        assert_eq!(Arithmetic::of([DType::F16, DType::F32]), Arithmetic::Half);
        assert_eq!(Arithmetic::of([DType::I8, DType::F16]), Arithmetic::Quantized);
    }
}
