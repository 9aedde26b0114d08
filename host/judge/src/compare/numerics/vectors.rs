//! What needs a whole sample or a whole class vector at once: cosine per sample, agreement of the top classes, divergence of probabilities.

use super::block::Sum;
use super::lanes::{Lanes, WIDTH, each, each2};
use super::logarithm::ln;
use super::summary::At;

/// Probabilities below this count as this much, so that the logarithm exists; all are then divided by their new sum. The value is near the
/// rounding error of an f32 softmax.
pub(super) const PROBABILITY_FLOOR: f64 = 1e-7;

/// Smallest sum of squares in which no digits have been lost to underflow.
const SQUARES_MIN: f64 = 1e-280;

/// Cosine per sample, for samples of at least three elements: of one or two it says next to nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SampleCosines {
    pub(super) samples: u64,
    /// Samples with an element that is not finite; they have no cosine.
    pub(super) non_finite: u64,
    /// Samples whose squares left the range of f64.
    pub(super) out_of_range: u64,
    pub(super) sum: Sum,
    pub(super) min: Option<At>,
}

impl SampleCosines {
    /// Samples that have a cosine.
    pub(super) fn counted(&self) -> u64 {
        self.samples - self.non_finite - self.out_of_range
    }

    pub(super) fn add(&mut self, sample: OpenSample) {
        let index = self.samples;
        self.samples += 1;
        match cosine(sample.rr, sample.cc, sample.rc) {
            Some(value) => {
                self.sum.add(value);
                if self.min.is_none_or(|min| value < min.value) {
                    self.min = Some(At { value, index });
                }
            }
            None if sample.finite() => self.out_of_range += 1,
            None => self.non_finite += 1,
        }
    }

    pub(super) fn merge(&mut self, later: &Self) {
        let shifted = later.min.map(|min| At { index: min.index + self.samples, ..min });
        if shifted.is_some_and(|min| self.min.is_none_or(|own| min.value < own.value)) {
            self.min = shifted;
        }
        self.samples += later.samples;
        self.non_finite += later.non_finite;
        self.out_of_range += later.out_of_range;
        self.sum.merge(later.sum);
    }
}

/// Sums of one sample, which may arrive in several pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct OpenSample {
    rr: f64,
    cc: f64,
    rc: f64,
}

impl OpenSample {
    pub(super) fn add(&mut self, r: &[f64], c: &[f64]) {
        let [mut rr, mut cc, mut rc] = [Lanes::ZERO; 3];
        each2(r, c, [0.0; 2], |r, c| {
            rr = rr.add(r.mul(r));
            cc = cc.add(c.mul(c));
            rc = rc.add(r.mul(c));
        });
        self.rr += rr.sum();
        self.cc += cc.sum();
        self.rc += rc.sum();
    }

    fn finite(&self) -> bool {
        self.rr.is_finite() && self.cc.is_finite()
    }
}

/// Cosine similarity by sums of squares: both zero -> 1, one zero -> 0, clamped to -1..=1. `None` when a sum is not finite or so small that
/// underflow may have eaten it.
pub(super) fn cosine(rr: f64, cc: f64, rc: f64) -> Option<f64> {
    let usable = |squares: f64| squares.is_finite() && (squares == 0.0 || squares >= SQUARES_MIN);
    if !usable(rr) || !usable(cc) || !rc.is_finite() {
        return None;
    }
    Some(match (rr == 0.0, cc == 0.0) {
        (true, true) => 1.0,
        (true, false) | (false, true) => 0.0,
        (false, false) => (rc / (rr.sqrt() * cc.sqrt())).clamp(-1.0, 1.0),
    })
}

/// Agreement and divergence over class vectors (the last axis).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ClassVectors {
    pub(super) vectors: u64,
    pub(super) top1_agree: u64,
    pub(super) top_k_agree: u64,
    /// Vectors with a NaN, which has no order; they agree on nothing.
    pub(super) nan: u64,
    pub(super) divergence: Divergence,
}

/// Kullback-Leibler divergence in nats, for as long as the reference's vectors are probabilities.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Divergence {
    pub(super) vectors: u64,
    pub(super) sum: Sum,
    pub(super) max: Option<At>,
    /// One vector is enough: then the output is no distribution and no divergence is computed any more.
    pub(super) reference_is_no_distribution: bool,
    pub(super) candidate_no_distribution: u64,
}

impl ClassVectors {
    /// Adds the vector pair `r`, `c` (at least two classes).
    pub(super) fn add(&mut self, r: &[f64], c: &[f64], top_k: usize, may_have_nan: bool) {
        self.vectors += 1;
        if may_have_nan && r.iter().chain(c).any(|value| value.is_nan()) {
            self.nan += 1;
            return;
        }
        let index = self.vectors - 1;
        let (reference_top, candidate_top) = (argmax(r), argmax(c));
        let agree = reference_top == candidate_top;
        self.top1_agree += u64::from(agree);
        self.top_k_agree += u64::from(agree || rank(c, reference_top) < top_k);
        self.divergence.add(r, c, index);
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.divergence.merge(&later.divergence, self.vectors);
        self.vectors += later.vectors;
        self.top1_agree += later.top1_agree;
        self.top_k_agree += later.top_k_agree;
        self.nan += later.nan;
    }
}

impl Divergence {
    fn add(&mut self, r: &[f64], c: &[f64], index: u64) {
        if self.reference_is_no_distribution {
            return;
        }
        if !is_distribution(r, 0.01) {
            self.reference_is_no_distribution = true;
            return;
        }
        // A quantized softmax rounds every class by up to half a step of 1/256, so its sum strays farther.
        if !is_distribution(c, 0.5) {
            self.candidate_no_distribution += 1;
            return;
        }
        let value = kl(r, c);
        self.vectors += 1;
        self.sum.add(value);
        self.max = At::larger(self.max, Some(At { value, index }));
    }

    fn merge(&mut self, later: &Self, vectors_before: u64) {
        let shifted = later.max.map(|max| At { index: max.index + vectors_before, ..max });
        self.max = At::larger(self.max, shifted);
        self.vectors += later.vectors;
        self.sum.merge(later.sum);
        self.reference_is_no_distribution |= later.reference_is_no_distribution;
        self.candidate_no_distribution += later.candidate_no_distribution;
    }
}

/// Index of the largest element, the lowest index among equals (as numpy and ONNX ArgMax).
pub(in crate::compare) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    let mut best_value = f64::NEG_INFINITY;
    for (index, value) in values.iter().enumerate() {
        if *value > best_value {
            (best, best_value) = (index, *value);
        }
    }
    best
}

/// How many elements come before `index` when the largest come first and equals by their index.
pub(in crate::compare) fn rank(values: &[f64], index: usize) -> usize {
    let own = values[index];
    let before = values[..index].iter().filter(|value| **value >= own).count();
    before + values[index + 1..].iter().filter(|value| **value > own).count()
}

fn is_distribution(values: &[f64], sum_slack: f64) -> bool {
    const RANGE_SLACK: f64 = 1e-3;
    let (mut sum, mut low, mut high) = (Lanes::ZERO, Lanes::ZERO, Lanes::ZERO);
    each(values, 0.0, |p| {
        sum = sum.add(p);
        low = low.min(p);
        high = high.max(p);
    });
    // A NaN spoils the sum, so it is found although the comparisons pass it over.
    low.smallest() >= -RANGE_SLACK && high.largest() <= 1.0 + RANGE_SLACK && (sum.sum() - 1.0).abs() <= sum_slack
}

/// `sum p ln(p / q)` in nats, both floored and divided by their sums; not below zero.
fn kl(reference: &[f64], candidate: &[f64]) -> f64 {
    let [mut p_sum, mut q_sum, mut cross] = [Lanes::ZERO; 3];
    let floored = |p: f64| if p > PROBABILITY_FLOOR { p } else { PROBABILITY_FLOOR };
    // The filling adds the floor to both sums; it is taken off again below.
    each2(reference, candidate, [0.0; 2], |p, q| {
        let (p, q) = (p.map(floored), q.map(floored));
        p_sum = p_sum.add(p);
        q_sum = q_sum.add(q);
        cross = cross.add(p.mul(p.zip(q, |p, q| ln(p / q))));
    });
    let filling = (reference.len().next_multiple_of(WIDTH) - reference.len()) as f64 * PROBABILITY_FLOOR;
    let (p_sum, q_sum) = (p_sum.sum() - filling, q_sum.sum() - filling);
    (cross.sum() / p_sum - (p_sum / q_sum).ln()).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_vectors_are_defined() {
        assert_eq!(cosine(0.0, 0.0, 0.0), Some(1.0));
        assert_eq!(cosine(0.0, 4.0, 0.0), Some(0.0));
        assert_eq!(cosine(4.0, 0.0, 0.0), Some(0.0));
        assert_eq!(cosine(4.0, 4.0, -4.0), Some(-1.0));
    }

    #[test]
    fn squares_that_underflow_are_not_a_perfect_match() {
        let mut sample = OpenSample::default();
        sample.add(&[1e-200, 1e-150, 0.0], &[-1e-200, -1e-150, 0.0]);
        assert_eq!(cosine(sample.rr, sample.cc, sample.rc), None);
    }

    #[test]
    fn equal_scores_rank_by_index() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[f64::NEG_INFINITY; 3]), 0);
        assert_eq!([0, 1, 2, 3].map(|i| rank(&[2.0, 5.0, 2.0, 2.0], i)), [1, 0, 2, 3]);
    }

    #[test]
    fn top_k_contains_the_references_choice() {
        let mut classes = ClassVectors::default();
        classes.add(&[9.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 3.0, 1.0], 2, false);
        assert_eq!((classes.top1_agree, classes.top_k_agree), (0, 0));
        classes.add(&[9.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 3.0, 1.0], 3, false);
        assert_eq!((classes.top1_agree, classes.top_k_agree), (0, 1));
    }

    #[test]
    fn divergence_equals_scipy() {
        // scipy.stats.entropy([0.7, 0.2, 0.1], [0.5, 0.3, 0.2])
        assert!((kl(&[0.7, 0.2, 0.1], &[0.5, 0.3, 0.2]) - 0.085_122_825_957_226).abs() < 1e-12);
        assert_eq!(kl(&[0.7, 0.2, 0.1], &[0.7, 0.2, 0.1]), 0.0);
        // A candidate that gives the true class nothing stays finite: ln(1 / 1e-7) nearly.
        let confident = kl(&[1.0, 0.0], &[0.0, 1.0]);
        assert!((confident - 16.118_092_427_313).abs() < 1e-6, "{confident}");
    }

    #[test]
    fn logits_have_no_divergence() {
        let mut classes = ClassVectors::default();
        classes.add(&[0.3, 0.7], &[0.3, 0.7], 1, false);
        classes.add(&[-4.0, 9.0], &[-4.0, 9.0], 1, false);
        assert!(classes.divergence.reference_is_no_distribution);
    }
}
