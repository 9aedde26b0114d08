//! The mean of numbers whose range is known and whose spread is not, with bounds.

use crate::compare::statistics::{Bootstrap, Confidence, Interval, Resampled};

/// A mean with bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanBounds {
    /// The mean.
    pub value: f64,
    /// BCa bootstrap by samples, no narrower than what these samples could hide.
    pub interval: Interval,
}

/// Mean of `numbers`, each within `range`. The bounds are those of the BCa bootstrap (Efron 1987), widened at each end to what a share of
/// `z^2 / (n + z^2)` of samples at that end of the range would add, so that numbers that are all equal are no certainty. `None` below two
/// numbers.
pub fn mean_with_bounds(numbers: &[f64], range: [f64; 2], confidence: Confidence) -> Option<MeanBounds> {
    let n = numbers.len() as f64;
    let found = Bootstrap::of(&Average { numbers, sum: numbers.iter().sum() })?;
    let (value, drawn) = (found.estimate(), found.bca(confidence));
    let hidden = confidence.hidden_in(n);
    let [least, most] = range;
    let lower = drawn.lower.min(value - hidden * (value - least)).max(least);
    let upper = drawn.upper.max(value + hidden * (most - value)).min(most);
    Some(MeanBounds { value, interval: Interval { lower, upper } })
}

/// A mean, drawn as fast as it can be: millions of numbers are added up for one pair of bounds.
struct Average<'n> {
    numbers: &'n [f64],
    sum: f64,
}

impl Resampled for Average<'_> {
    fn samples(&self) -> usize {
        self.numbers.len()
    }

    fn on(&self, drawn: &[u32]) -> Option<f64> {
        let sum: f64 = drawn.iter().map(|sample| self.numbers[*sample as usize]).sum();
        (!drawn.is_empty()).then(|| sum / drawn.len() as f64)
    }

    fn without(&self, sample: usize) -> Option<f64> {
        let others = self.numbers.len() - 1;
        (others > 0).then(|| (self.sum - self.numbers[sample]) / others as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_no_certainty() {
        let found = mean_with_bounds(&[1.0; 100], [0.0, 1.0], Confidence::P95).unwrap();
        // z^2 / (n + z^2) at 1.96.
        assert!((found.interval.lower - (1.0 - 0.036_99)).abs() < 1e-4, "{found:?}");
        assert_eq!((found.value, found.interval.upper), (1.0, 1.0));
        let none = mean_with_bounds(&[0.0; 100], [-1.0, 1.0], Confidence::P95).unwrap();
        assert!(
            (none.interval.upper - 0.036_99).abs() < 1e-4 && (none.interval.lower + 0.036_99).abs() < 1e-4,
            "{none:?}"
        );
        assert_eq!(mean_with_bounds(&[0.5], [0.0, 1.0], Confidence::P95), None);
    }

    #[test]
    fn bounds_lie_around_the_mean_as_wide_as_those_of_a_share() {
        let numbers: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i % 10 == 0))).collect();
        let found = mean_with_bounds(&numbers, [0.0, 1.0], Confidence::P95).unwrap();
        assert!((found.value - 0.1).abs() < 1e-12);
        // Wilson's for 100 of 1000 is 0.0829 to 0.1202.
        assert!(
            (found.interval.lower - 0.083).abs() < 0.003 && (found.interval.upper - 0.120).abs() < 0.003,
            "{found:?}"
        );
    }
}
