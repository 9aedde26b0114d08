//! What needs a whole sample or a whole class vector at once: cosine per sample, agreement of the top classes, divergence of probabilities.

use super::block::Sum;
use super::lanes::{Any, Lanes, Machine, WIDTH, each, each2};
use super::logarithm::ln;
use super::summary::At;

/// Probabilities below this count as this much, so that the logarithm exists; all are then divided by their new sum. The value is near the
/// rounding error of an f32 softmax.
pub(super) const PROBABILITY_FLOOR: f64 = 1e-7;

/// Samples whose cosines are computed side by side.
pub(super) const TOGETHER: usize = 64;

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

    #[inline(always)]
    pub(super) fn add(&mut self, sample: OpenSample) {
        let index = self.samples;
        self.samples += 1;
        match sample.cosine() {
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

    /// Several samples, at most [`TOGETHER`]. Where all have plain sums their cosines are computed side by side: one after the other, each
    /// waits for the root, the quotient and the sum of the one before.
    #[inline(always)]
    pub(super) fn add_all<M: Machine>(&mut self, machine: M, samples: &[OpenSample]) {
        let mut values = [0.0; TOGETHER];
        let Some(values) = values.get_mut(..samples.len()).filter(|_| samples.iter().all(OpenSample::is_plain)) else {
            samples.iter().for_each(|sample| self.add(*sample));
            return;
        };
        for (value, sample) in values.iter_mut().zip(samples) {
            *value = (sample.rc / (sample.rr * sample.cc).sqrt()).clamp(-1.0, 1.0);
        }
        let (mut sum, mut lowest) = (Lanes::zero(machine), Lanes::splat(machine, f64::INFINITY));
        each(
            machine,
            values,
            0.0,
            #[inline(always)]
            |value| sum = sum.add(value),
        );
        each(
            machine,
            values,
            f64::INFINITY,
            #[inline(always)]
            |value| lowest = lowest.min(value),
        );
        let lowest = lowest.smallest();
        if self.min.is_none_or(|min| lowest < min.value) {
            let place = values.iter().position(|value| *value == lowest);
            self.min = place.map(|place| At { value: lowest, index: self.samples + place as u64 });
        }
        self.sum.add(sum.sum());
        self.samples += samples.len() as u64;
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
    /// Values that are not zero had squares that are.
    underflow: bool,
}

impl OpenSample {
    #[inline(always)]
    pub(super) fn add<M: Machine>(&mut self, machine: M, r: &[f64], c: &[f64]) {
        let [mut rr, mut cc, mut rc] = [Lanes::zero(machine); 3];
        each2(
            machine,
            r,
            c,
            [0.0; 2],
            #[inline(always)]
            |r, c| {
                rr = rr.add(r.mul(r));
                cc = cc.add(c.mul(c));
                rc = rc.add(r.mul(c));
            },
        );
        let (rr, cc) = (rr.sum(), cc.sum());
        // A sum of exactly zero is rare; whether it is the values or underflow can then be looked up.
        self.underflow |= (rr == 0.0 && r.iter().any(|r| *r != 0.0)) || (cc == 0.0 && c.iter().any(|c| *c != 0.0));
        self.rr += rr;
        self.cc += cc;
        self.rc += rc.sum();
    }

    /// Sums whose product is in the range of f64, so that one root is enough; see [`cosine`].
    #[inline(always)]
    fn is_plain(&self) -> bool {
        let plain = |squares: f64| (1e-139..1e139).contains(&squares);
        !self.underflow && plain(self.rr) && plain(self.cc)
    }

    /// `None` if an element is not finite or the squares left the range of f64.
    #[inline(always)]
    fn cosine(&self) -> Option<f64> {
        if self.underflow { None } else { cosine(self.rr, self.cc, self.rc) }
    }

    fn finite(&self) -> bool {
        self.rr.is_finite() && self.cc.is_finite()
    }
}

/// Cosine similarity by sums of squares: both zero -> 1, one zero -> 0, clamped to -1..=1. `None` when a sum is not finite or so small that
/// underflow may have eaten it.
#[inline(always)]
pub(super) fn cosine(rr: f64, cc: f64, rc: f64) -> Option<f64> {
    let usable = |squares: f64| squares.is_finite() && (squares == 0.0 || squares >= SQUARES_MIN);
    if !usable(rr) || !usable(cc) || !rc.is_finite() {
        return None;
    }
    Some(match (rr == 0.0, cc == 0.0) {
        (true, true) => 1.0,
        (true, false) | (false, true) => 0.0,
        (false, false) => {
            // One root instead of two where the product cannot leave the range; that of a square is exact.
            let product = rr * cc;
            let norms = if (1e-280..1e280).contains(&product) { product.sqrt() } else { rr.sqrt() * cc.sqrt() };
            (rc / norms).clamp(-1.0, 1.0)
        }
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
    /// Scratch of one block.
    terms: Vec<f64>,
}

impl ClassVectors {
    /// Adds a block of whole vectors of `classes` (two or more) elements.
    #[inline(always)]
    pub(super) fn add_block<M: Machine>(
        &mut self,
        machine: M,
        [r, c]: [&[f64]; 2],
        classes: usize,
        top_k: usize,
        may_have_nan: bool,
    ) {
        self.divergence.prepare(r, c);
        for (i, (r, c)) in r.chunks_exact(classes).zip(c.chunks_exact(classes)).enumerate() {
            let index = self.vectors;
            self.vectors += 1;
            if may_have_nan && r.iter().chain(c).any(|value| value.is_nan()) {
                self.nan += 1;
                continue;
            }
            let (reference_top, candidate_top) = (argmax_on(machine, r), argmax_on(machine, c));
            let agree = reference_top == candidate_top;
            self.top1_agree += u64::from(agree);
            self.top_k_agree += u64::from(agree || rank(c, reference_top) < top_k);
            if !self.divergence.reference_is_no_distribution {
                self.divergence.add(machine, r, c, i * classes, index);
            }
        }
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
    /// Computes `p ln(p / q)` for every element of a block: a plain loop over all, which vectorises where loops over short vectors do not.
    #[inline(always)]
    fn prepare(&mut self, r: &[f64], c: &[f64]) {
        if self.reference_is_no_distribution {
            return;
        }
        self.terms.resize(r.len(), 0.0);
        for ((term, p), q) in self.terms.iter_mut().zip(r).zip(c) {
            let (p, q) = (floored(*p), floored(*q));
            *term = p * ln(p / q);
        }
    }

    /// Adds the vector whose terms begin at `first`.
    #[inline(always)]
    fn add<M: Machine>(&mut self, machine: M, r: &[f64], c: &[f64], first: usize, index: u64) {
        let (p, q) = (Mass::of(machine, r), Mass::of(machine, c));
        if !p.is_distribution(0.01) {
            self.reference_is_no_distribution = true;
            return;
        }
        // A quantized softmax rounds every class by up to half a step of 1/256, so its sum strays farther.
        if !q.is_distribution(0.5) {
            self.candidate_no_distribution += 1;
            return;
        }
        let mut cross = Lanes::zero(machine);
        each(
            machine,
            &self.terms[first..first + r.len()],
            0.0,
            #[inline(always)]
            |term| cross = cross.add(term),
        );
        // With P and Q the sums of what was floored: sum (p/P) ln((p/P) / (q/Q)) = (sum p ln(p/q)) / P - ln(P / Q).
        let value = (cross.sum() / p.floored - ln(p.floored / q.floored)).max(0.0);
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

/// Vectors up to this length have a bit for each element in one word.
const SHORT: usize = 32;

/// Index of the largest element, the lowest index among equals (as numpy and ONNX ArgMax); NaN is passed over, and a vector of nothing else
/// gives 0.
pub(crate) fn argmax(values: &[f64]) -> usize {
    argmax_on(Any, values)
}

/// The same, on a machine: first the value, then its place.
#[inline(always)]
fn argmax_on<M: Machine>(machine: M, values: &[f64]) -> usize {
    let mut lanes = Lanes::splat(machine, f64::NEG_INFINITY);
    each(
        machine,
        values,
        f64::NEG_INFINITY,
        #[inline(always)]
        |v| lanes = lanes.max(v),
    );
    let largest = lanes.largest();
    if values.len() > SHORT {
        return values.iter().position(|value| *value == largest).unwrap_or(0);
    }
    let (mut found, mut first) = (0, 0);
    each(
        machine,
        values,
        f64::NEG_INFINITY,
        #[inline(always)]
        |v| {
            found |= v.at_least(Lanes::splat(machine, largest)) << first;
            first += WIDTH;
        },
    );
    let place = found.trailing_zeros() as usize;
    if place < values.len() { place } else { 0 }
}

/// How many elements come before `index` when the largest come first and equals by their index.
#[inline(always)]
pub(in crate::compare) fn rank(values: &[f64], index: usize) -> usize {
    let own = values[index];
    let before = values[..index].iter().filter(|value| **value >= own).count();
    before + values[index + 1..].iter().filter(|value| **value > own).count()
}

#[inline(always)]
fn floored(p: f64) -> f64 {
    if p > PROBABILITY_FLOOR { p } else { PROBABILITY_FLOOR }
}

/// What tells whether a vector is a distribution.
struct Mass {
    sum: f64,
    floored: f64,
    low: f64,
    high: f64,
}

impl Mass {
    #[inline(always)]
    fn of<M: Machine>(machine: M, values: &[f64]) -> Self {
        let [mut sum, mut sum_floored, mut low, mut high] = [Lanes::zero(machine); 4];
        let floor = Lanes::splat(machine, PROBABILITY_FLOOR);
        each(
            machine,
            values,
            0.0,
            #[inline(always)]
            |p| {
                sum = sum.add(p);
                sum_floored = sum_floored.add(p.max(floor));
                low = low.min(p);
                high = high.max(p);
            },
        );
        let filling = (values.len().next_multiple_of(WIDTH) - values.len()) as f64 * PROBABILITY_FLOOR;
        Self { sum: sum.sum(), floored: sum_floored.sum() - filling, low: low.smallest(), high: high.largest() }
    }

    /// A NaN spoils the sum, so it is found although the comparisons pass it over.
    fn is_distribution(&self, sum_slack: f64) -> bool {
        const RANGE_SLACK: f64 = 1e-3;
        self.low >= -RANGE_SLACK && self.high <= 1.0 + RANGE_SLACK && (self.sum - 1.0).abs() <= sum_slack
    }
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
        sample.add(Any, &[1e-200, 1e-150, 0.0], &[-1e-200, -1e-150, 0.0]);
        assert_eq!(sample.cosine(), None, "nearly all digits are lost");
        let mut sample = OpenSample::default();
        sample.add(Any, &[1e-200, 0.0, 0.0], &[-1e-200, 0.0, 0.0]);
        assert_eq!(sample.cosine(), None, "the squares are zero, the values are not");
    }

    #[test]
    fn equal_scores_rank_by_index() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[f64::NEG_INFINITY; 3]), 0);
        for n in [1, 2, 5, SHORT, SHORT + 1, SHORT + 2] {
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let mut values = vec![-2.0; n];
                values[i] = -1.0;
                values[j] = -1.0;
                assert_eq!(argmax(&values), i.min(j), "equals at {i} and {j} of {n}");
            }
        }
        for n in [2, SHORT, SHORT + 1, 3 * SHORT] {
            for i in 0..n {
                let mut values: Vec<f64> = (0..n).map(|i| i as f64).collect();
                values[i] = f64::NAN;
                let largest = if i == n - 1 { n - 2 } else { n - 1 };
                assert_eq!(argmax(&values), largest, "a NaN at {i} of {n}");
            }
        }
        assert_eq!([0, 1, 2, 3].map(|i| rank(&[2.0, 5.0, 2.0, 2.0], i)), [1, 0, 2, 3]);
    }

    #[test]
    fn top_k_contains_the_references_choice() {
        let mut classes = ClassVectors::default();
        classes.add_block(Any, [&[9.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 3.0, 1.0]], 4, 2, false);
        assert_eq!((classes.top1_agree, classes.top_k_agree), (0, 0));
        classes.add_block(Any, [&[9.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 3.0, 1.0]], 4, 3, false);
        assert_eq!((classes.top1_agree, classes.top_k_agree), (0, 1));
    }

    #[test]
    fn divergence_equals_scipy() {
        let kl = |p: &[f64], q: &[f64]| {
            let mut classes = ClassVectors::default();
            classes.add_block(Any, [p, q], p.len(), 1, false);
            classes.divergence.max.unwrap().value
        };
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
        classes.add_block(Any, [&[0.3, 0.7], &[0.3, 0.7]], 2, 1, false);
        classes.add_block(Any, [&[-4.0, 9.0], &[-4.0, 9.0]], 2, 1, false);
        assert!(classes.divergence.reference_is_no_distribution);
    }
}
