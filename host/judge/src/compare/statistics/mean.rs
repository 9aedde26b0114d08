//! The mean of numbers of unknown spread.

use super::special::student_quantile;
use super::{Confidence, Interval};
use serde::Serialize;

/// A mean and the variance of what it was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// Variance of the values, with `n - 1`; 0 for one value.
    pub variance: f64,
    /// Values.
    pub samples: u64,
}

impl Mean {
    /// `None` without values. A value that is not finite makes mean and bounds so.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let value = values.iter().sum::<f64>() / n;
        let square: f64 = values.iter().map(|v| (v - value) * (v - value)).sum();
        Some(Self { value, variance: square / (n - 1.0).max(1.0), samples: values.len() as u64 })
    }

    /// Student's interval. One value bounds nothing. Right for values whose mean is about normal: with a long tail (absolute errors have one)
    /// it needs some hundreds of samples, and values that are all equal give no width at all.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        if self.samples < 2 {
            return Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY };
        }
        let n = self.samples as f64;
        let half = student_quantile(1.0 - confidence.tail(), n - 1.0) * (self.variance / n).sqrt();
        Interval { lower: self.value - half, upper: self.value + half }
    }

    /// About how many samples more until the interval leaves `limit` on one side, if mean and spread stay what they are.
    pub fn samples_more(&self, limit: f64, confidence: Confidence) -> Option<u64> {
        let growth = super::growth_needed(self.samples as f64, |factor| {
            let half = confidence.z() * (self.variance / (self.samples as f64 * factor)).sqrt();
            half <= (self.value - limit).abs() && self.value != limit
        });
        growth.map(|factor| ((factor - 1.0) * self.samples as f64).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_scipy() {
        // scipy.stats.t.interval(0.9, 4, loc=3, scale=scipy.stats.sem([1, 2, 3, 4, 5]))
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let interval = mean.interval(Confidence::new(0.9).unwrap());
        assert!((interval.lower - 1.4925565).abs() < 1e-6 && (interval.upper - 4.5074435).abs() < 1e-6, "{interval:?}");
    }

    #[test]
    fn too_little_bounds_nothing_and_nan_stays_nan() {
        assert_eq!(Mean::of(&[]), None);
        let one = Mean::of(&[2.0]).unwrap().interval(Confidence::P95);
        assert_eq!(one, Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY });
        for bad in [f64::NAN, f64::INFINITY] {
            let interval = Mean::of(&[1.0, bad, 2.0]).unwrap().interval(Confidence::P95);
            assert!(interval.upper.is_nan() && interval.lower.is_nan());
        }
    }

    #[test]
    fn the_promised_samples_decide() {
        let mean = Mean { value: 1.0, variance: 4.0, samples: 50 };
        let more = mean.samples_more(1.2, Confidence::P95).unwrap();
        let later = Mean { samples: 50 + more, ..mean };
        assert!((later.interval(Confidence::P95).upper - 1.2).abs() < 0.01);
        assert_eq!(mean.samples_more(9.0, Confidence::P95), Some(0));
        assert_eq!(mean.samples_more(1.0, Confidence::P95), None);
    }
}
