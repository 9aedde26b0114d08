//! How errors are spread: octaves of the absolute error, steps of an integer output, and saturation.

use crate::compare::tensor::DType;
use serde::Serialize;

/// Smallest octave told apart: errors below 2^-40 share the first bin.
const EXPONENT_MIN: i32 = -40;
/// Errors of 2^24 and more share the last bin.
const EXPONENT_END: i32 = 24;
/// Below, one per octave, above.
const BINS: usize = (EXPONENT_END - EXPONENT_MIN) as usize + 2;

/// Absolute errors of finite pairs in octaves: bin `i` of `1..=64` holds `2^(i-41) <= |d| < 2^(i-40)`; the first bin holds what is smaller
/// and not zero, the last what is larger. The edges are fixed, so histograms of different runs lie on top of each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorHistogram {
    /// Pairs that are exactly equal.
    pub zero: u64,
    /// Counts, smallest errors first.
    pub bins: Vec<u64>,
}

impl Default for ErrorHistogram {
    fn default() -> Self {
        Self { zero: 0, bins: vec![0; BINS] }
    }
}

impl ErrorHistogram {
    /// `[lower, upper)` of a bin; the first starts at 0, the last ends at infinity.
    pub fn edges(bin: usize) -> (f64, f64) {
        let edge = |bin: usize| 2.0_f64.powi(EXPONENT_MIN + bin as i32 - 1);
        let lower = if bin == 0 { 0.0 } else { edge(bin) };
        let upper = if bin + 1 >= BINS { f64::INFINITY } else { edge(bin + 1) };
        (lower, upper)
    }

    /// Pairs counted.
    pub fn total(&self) -> u64 {
        self.zero + self.bins.iter().sum::<u64>()
    }
}

/// Counts by exponent while a stream lasts; [`Octaves::histogram`] folds them into the published bins.
///
/// The exponent bits of an f64 are its octave, so an element costs a shift and an increment. Two counters per exponent take turns, so that
/// equal neighbours do not wait for each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Octaves {
    counts: Vec<[u64; 2]>,
    zero: u64,
}

impl Default for Octaves {
    fn default() -> Self {
        Self { counts: vec![[0; 2]; EXPONENTS], zero: 0 }
    }
}

/// Values of the exponent field of an f64.
const EXPONENTS: usize = 1 << 11;

impl Octaves {
    /// Adds a block of finite differences.
    #[inline(always)]
    pub(super) fn add(&mut self, d: &[f64]) {
        let Ok(counts) = <&mut [[u64; 2]; EXPONENTS]>::try_from(self.counts.as_mut_slice()) else { return };
        let exponent = |d: f64| (d.to_bits() << 1 >> 53) as usize;
        let (pairs, rest) = d.as_chunks::<2>();
        for [a, b] in pairs {
            counts[exponent(*a)][0] += 1;
            counts[exponent(*b)][1] += 1;
        }
        for last in rest {
            counts[exponent(*last)][0] += 1;
        }
        self.zero += d.iter().map(|d| u64::from(*d == 0.0)).sum::<u64>();
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.zero += later.zero;
        for (count, other) in self.counts.iter_mut().zip(&later.counts) {
            count[0] += other[0];
            count[1] += other[1];
        }
    }

    pub(super) fn histogram(&self) -> ErrorHistogram {
        const BIAS: i32 = 1023;
        let mut histogram = ErrorHistogram { zero: self.zero, ..ErrorHistogram::default() };
        for (field, count) in self.counts.iter().enumerate() {
            let octave = (field as i32 - BIAS).clamp(EXPONENT_MIN - 1, EXPONENT_END);
            histogram.bins[(octave - (EXPONENT_MIN - 1)) as usize] += count[0] + count[1];
        }
        // Zeros share their exponent field with subnormal numbers, at the lower end of the first bin.
        histogram.bins[0] -= self.zero;
        histogram
    }
}

/// Farthest difference, in steps, with a bin of its own.
const STEPS: i32 = 8;

/// Signed differences `candidate - reference` of integer outputs, in steps of the integer (LSB).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LsbHistogram {
    /// Candidate lower by more than 8 steps.
    pub below: u64,
    /// Differences -8 to +8; index 8 is equality.
    pub steps: [u64; 2 * STEPS as usize + 1],
    /// Candidate higher by more than 8 steps.
    pub above: u64,
}

impl LsbHistogram {
    /// Pairs counted.
    pub fn total(&self) -> u64 {
        self.below + self.above + self.steps.iter().sum::<u64>()
    }

    /// Pairs that differ by one step at most.
    pub fn within_one(&self) -> u64 {
        let centre = STEPS as usize;
        self.steps[centre - 1..=centre + 1].iter().sum()
    }

    #[inline(always)]
    pub(super) fn add(&mut self, d: &[f64]) {
        const EDGE: f64 = STEPS as f64 + 1.0;
        let mut counts = [0_u32; 2 * STEPS as usize + 3];
        for value in d {
            counts[(value.clamp(-EDGE, EDGE) + EDGE) as usize] += 1;
        }
        let [below, steps @ .., above] = counts;
        self.below += u64::from(below);
        self.above += u64::from(above);
        for (bin, count) in self.steps.iter_mut().zip(steps) {
            *bin += u64::from(count);
        }
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.below += later.below;
        self.above += later.above;
        for (bin, other) in self.steps.iter_mut().zip(later.steps) {
            *bin += other;
        }
    }
}

/// Elements at the ends of an integer type, where a value that wanted to go further was cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Saturation {
    /// Elements at the type's minimum (-128, 0, ...).
    pub low: u64,
    /// Elements at the type's maximum (127, 255, ...).
    pub high: u64,
}

impl Saturation {
    #[inline(always)]
    pub(super) fn add(&mut self, dtype: DType, values: &[f64]) {
        if let Some((low, high)) = dtype.limits() {
            self.low += values.iter().filter(|v| **v <= low).count() as u64;
            self.high += values.iter().filter(|v| **v >= high).count() as u64;
        }
    }

    pub(super) fn merge(&mut self, later: Self) {
        self.low += later.low;
        self.high += later.high;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_falls_between_the_edges_of_its_bin() {
        for d in [5e-324, 1e-300, 9e-13, 1e-12, 0.3, 0.5, 1.0, 1.5, 2.0, 1e6, 16777215.0, 16777216.0, 1e300] {
            for signed in [d, -d] {
                let mut octaves = Octaves::default();
                octaves.add(&[signed]);
                let histogram = octaves.histogram();
                let bin = histogram.bins.iter().position(|n| *n == 1).unwrap();
                let (lower, upper) = ErrorHistogram::edges(bin);
                assert!(lower <= d && d < upper, "{d} in {lower}..{upper}");
                assert_eq!(histogram.total(), 1);
            }
        }
    }

    #[test]
    fn zeros_of_both_signs_are_equal_pairs() {
        let mut octaves = Octaves::default();
        octaves.add(&[0.0, -0.0, 1.0]);
        let histogram = octaves.histogram();
        assert_eq!((histogram.zero, histogram.total()), (2, 3));
    }

    #[test]
    fn steps_keep_their_sign() {
        let mut histogram = LsbHistogram::default();
        histogram.add(&[-255.0, -9.0, -8.0, -1.0, 0.0, 1.0, 1.0, 8.0, 9.0, 255.0]);
        assert_eq!((histogram.below, histogram.above), (2, 2));
        assert_eq!((histogram.steps[0], histogram.steps[7], histogram.steps[8], histogram.steps[9]), (1, 1, 1, 2));
        assert_eq!((histogram.within_one(), histogram.total()), (4, 10));
    }

    #[test]
    fn saturation_counts_both_ends_by_dtype() {
        let mut saturation = Saturation::default();
        saturation.add(DType::I8, &[-128.0, -127.0, 127.0, 127.0, 0.0]);
        assert_eq!(saturation, Saturation { low: 1, high: 2 });
        let mut floats = Saturation::default();
        floats.add(DType::F32, &[-128.0, 127.0]);
        assert_eq!(floats, Saturation::default());
    }
}
