//! Do two samples come from one distribution? Kolmogorov and Smirnov's test, chi-squared, the population stability index, Holm's correction.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Points that are kept of a distribution: its steps are known to 1/256.
const POINTS_MAX: usize = 256;

/// The distribution of a sample: how many values are at or below each of some values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// Values in all.
    pub values: u64,
    /// Every different value is a point.
    pub whole: bool,
    /// Value, and how many are at or below it; ascending, the last holds all.
    #[serde(with = "exact")]
    pub points: Vec<(f64, u64)>,
}

impl Steps {
    /// Of these values; those that are no numbers are left out.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut all: Vec<(f64, u64)> = Vec::new();
        for (i, value) in sorted.iter().enumerate() {
            match all.last_mut() {
                Some((last, count)) if *last == *value => *count = i as u64 + 1,
                _ => all.push((*value, i as u64 + 1)),
            }
        }
        let whole = all.len() <= POINTS_MAX;
        let points = if whole { all } else { thinned(&all, sorted.len() as u64) };
        Self { values: sorted.len() as u64, whole, points }
    }

    /// Is it one that [`Steps::of`] can have made?
    pub fn is_sound(&self) -> bool {
        let ascending = self.points.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
        let finite = self.points.iter().all(|(value, _)| value.is_finite());
        ascending && finite && self.points.last().map_or(0, |(_, count)| *count) == self.values
    }

    /// Least and greatest share of values that can be at or below `x`. One number where `x` is a point, or every value is.
    fn share(&self, x: f64) -> (f64, f64) {
        let after = self.points.partition_point(|(value, _)| *value <= x);
        let of = |i: usize| self.points.get(i).map_or(1.0, |(_, count)| *count as f64 / self.values as f64);
        let low = if after == 0 { 0.0 } else { of(after - 1) };
        // Below the first point there is nothing: it is the least value.
        let exact = self.whole || after == 0 || self.points[after - 1].0 == x;
        (low, if exact { low } else { of(after) })
    }

    /// Share at or below, the middle of what it can be.
    fn middle(&self, x: f64) -> f64 {
        let (low, high) = self.share(x);
        f64::midpoint(low, high)
    }

    /// The value at or below which a share of all are, to the next point.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = (share * self.values as f64).ceil().max(1.0) as u64;
        let at = self.points.partition_point(|(_, count)| *count < wanted);
        self.points.get(at).or(self.points.last()).map(|(value, _)| *value)
    }
}

/// Values are written as texts: what reads JSON may round a number by its last bit, and a step that moved would be a difference.
mod exact {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(points: &[(f64, u64)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(points.iter().map(|(value, count)| (value.to_string(), count)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(f64, u64)>, D::Error> {
        let points = Vec::<(String, u64)>::deserialize(deserializer)?;
        let number = |(text, count): (String, u64)| Ok((text.parse().map_err(D::Error::custom)?, count));
        points.into_iter().map(number).collect()
    }
}

/// Some of the steps, in equal shares; the first and the last among them.
fn thinned(all: &[(f64, u64)], values: u64) -> Vec<(f64, u64)> {
    let mut points = vec![all[0]];
    for i in 1..POINTS_MAX as u64 {
        let wanted = values * i / (POINTS_MAX as u64 - 1);
        let at = all.partition_point(|(_, count)| *count < wanted).min(all.len() - 1);
        if points.last().is_some_and(|last| last.0 < all[at].0) {
            points.push(all[at]);
        }
    }
    points
}

/// Largest distance between two distribution functions. Where only some steps are known it is the least that it can be, so that a difference
/// is never made up.
pub fn distance(a: &Steps, b: &Steps) -> f64 {
    let apart = |x: f64| {
        let ((a_low, a_high), (b_low, b_high)) = (a.share(x), b.share(x));
        (a_low - b_high).max(b_low - a_high).max(0.0)
    };
    if a.values == 0 || b.values == 0 {
        return 0.0;
    }
    a.points.iter().chain(&b.points).map(|(x, _)| apart(*x)).fold(0.0, f64::max)
}

/// Probability of a distance as large between two samples of one distribution: Kolmogorov's limit with Stephens' correction for finite samples
/// (M. A. Stephens, Journal of the Royal Statistical Society B 32, 1970; Numerical Recipes, 3rd edition, 14.3.3). Too large where values
/// repeat, never too small.
pub fn ks_p(distance: f64, a: u64, b: u64) -> f64 {
    if a == 0 || b == 0 {
        return 1.0;
    }
    let root = (a as f64 * b as f64 / (a as f64 + b as f64)).sqrt();
    kolmogorov_tail(distance * (root + 0.12 + 0.11 / root))
}

/// `P(K > x)` of Kolmogorov's distribution, by one series for large and one for small `x` (both in W. Feller, Annals of Mathematical
/// Statistics 19, 1948).
pub fn kolmogorov_tail(x: f64) -> f64 {
    use std::f64::consts::PI;
    if x <= 0.0 {
        return 1.0;
    }
    if x < 1.0 {
        let term = |k: i32| (-f64::from((2 * k - 1).pow(2)) * PI * PI / (8.0 * x * x)).exp();
        return 1.0 - (2.0 * PI).sqrt() / x * (1..=6).map(term).sum::<f64>();
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * x * x).exp()
    };
    (1..=8).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// Population stability index: the sum over bins of `(p - q) ln(p / q)`, with bins that hold a tenth each of the base (N. Siddiqi, Credit Risk
/// Scorecards, 2006: below 0.1 is no change, above 0.25 a large one). Half a value is added to each bin, so that an empty one counts and is
/// not infinite. Infinite samples of one distribution have 0.
pub fn psi(base: &Steps, new: &Steps) -> f64 {
    if base.values == 0 || new.values == 0 {
        return 0.0;
    }
    let mut edges: Vec<f64> = (1..10).filter_map(|i| base.quantile(f64::from(i) / 10.0)).collect();
    edges.dedup();
    // A bin above the greatest value of the base: what is new there counts.
    let shares = |steps: &Steps| {
        let mut at: Vec<f64> = edges.iter().map(|edge| steps.middle(*edge)).collect();
        at.push(1.0);
        let mut before = 0.0;
        at.into_iter().map(|share| share - std::mem::replace(&mut before, share)).collect::<Vec<f64>>()
    };
    stability(&shares(base), base.values, &shares(new), new.values)
}

/// The same of categories, by their numbers.
pub fn psi_of_counts(base: &[u64], new: &[u64]) -> f64 {
    let (all_base, all_new) = (base.iter().sum::<u64>(), new.iter().sum::<u64>());
    if all_base == 0 || all_new == 0 {
        return 0.0;
    }
    let shares = |counts: &[u64], all: u64| counts.iter().map(|n| *n as f64 / all as f64).collect::<Vec<f64>>();
    stability(&shares(base, all_base), all_base, &shares(new, all_new), all_new)
}

fn stability(base: &[f64], all_base: u64, new: &[f64], all_new: u64) -> f64 {
    let bins = base.len() as f64;
    let smooth = |share: f64, all: u64| (share * all as f64 + 0.5) / (all as f64 + 0.5 * bins);
    let term = |(b, n): (&f64, &f64)| {
        let (q, p) = (smooth(*b, all_base), smooth(*n, all_new));
        (p - q) * (p / q).ln()
    };
    base.iter().zip(new).map(term).sum()
}

/// Pearson's chi-squared test that two rows of numbers have the same shares: the probability of a difference as large. Categories that expect
/// fewer than five are one (W. G. Cochran, Biometrics 10, 1954).
pub fn chi_squared_p(base: &[u64], new: &[u64]) -> f64 {
    let (all_base, all_new) = (base.iter().sum::<u64>() as f64, new.iter().sum::<u64>() as f64);
    let all = all_base + all_new;
    if all_base == 0.0 || all_new == 0.0 {
        return 1.0;
    }
    let smaller = all_base.min(all_new) / all;
    let (mut rare, mut cells) = ((0.0, 0.0), Vec::new());
    for (b, n) in base.iter().zip(new).map(|(b, n)| (*b as f64, *n as f64)) {
        if (b + n) * smaller < 5.0 {
            rare = (rare.0 + b, rare.1 + n);
        } else {
            cells.push((b, n));
        }
    }
    if rare.0 + rare.1 > 0.0 {
        cells.push(rare);
    }
    let Ok(distribution) = ChiSquared::new(cells.len() as f64 - 1.0) else { return 1.0 };
    let term = |(b, n): &(f64, f64)| {
        let (for_base, for_new) = ((b + n) * all_base / all, (b + n) * all_new / all);
        (b - for_base).powi(2) / for_base + (n - for_new).powi(2) / for_new
    };
    distribution.sf(cells.iter().map(term).sum())
}

/// Holm's correction: probabilities that may be held against one level together (S. Holm, Scandinavian Journal of Statistics 6, 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![1.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, i) in order.into_iter().enumerate() {
        least = least.max((p[i] * (p.len() - rank) as f64).min(1.0));
        corrected[i] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn kolmogorovs_tail_equals_scipys() {
        // scipy.special.kolmogorov
        for (x, expected) in [
            (0.3, 0.9999906941986655),
            (0.5, 0.9639452436648751),
            (0.8, 0.5441424115741981),
            (0.999, 0.27107316411506394),
            (1.0, 0.26999967167735456),
            (1.3580986393225505, 0.050000000000000024),
            (2.0, 0.0006709252557796953),
            (3.0, 3.045995948942526e-08),
        ] {
            near(kolmogorov_tail(x), expected);
        }
        near(kolmogorov_tail(0.0), 1.0);
    }

    #[test]
    fn distance_and_chi_squared_equal_scipys() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i * 37 % 101)).collect();
        let b: Vec<f64> = (0..60).map(|i| f64::from(i * 53 % 97) + 11.0).collect();
        // scipy.stats.ks_2samp(a, b).statistic
        near(distance(&Steps::of(&a), &Steps::of(&b)), 0.125);
        // scipy.stats.chi2_contingency([[50, 30, 20], [40, 45, 35]], correction=False).pvalue
        near(chi_squared_p(&[50, 30, 20], &[40, 45, 35]), 0.040014294807647885);
    }

    #[test]
    fn holm_equals_statsmodels() {
        // statsmodels.stats.multitest.multipletests([0.01, 0.04, 0.03, 0.005], method='holm')
        for (found, expected) in holm(&[0.01, 0.04, 0.03, 0.005]).into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            near(found, expected);
        }
    }

    #[test]
    fn a_thinned_distribution_never_makes_a_difference_larger() {
        let a: Vec<f64> = (0..5000).map(|i| f64::from(i).sqrt()).collect();
        let b: Vec<f64> = (0..3000).map(|i| (f64::from(i) * 1.7).sqrt()).collect();
        let exact = |x: &[f64], y: &[f64]| {
            let share = |of: &[f64], at: f64| of.iter().filter(|v| **v <= at).count() as f64 / of.len() as f64;
            x.iter().chain(y).map(|at| (share(x, *at) - share(y, *at)).abs()).fold(0.0, f64::max)
        };
        let (whole, thin) = (exact(&a, &b), distance(&Steps::of(&a), &Steps::of(&b)));
        assert!(thin <= whole && thin > whole - 0.01, "{thin} of {whole}");
        assert_eq!(distance(&Steps::of(&a), &Steps::of(&a)), 0.0);
        assert!(Steps::of(&a).is_sound() && Steps::of(&a).points.len() <= POINTS_MAX);
        assert!(Steps::of(&[f64::NAN]).is_sound());
    }

    #[test]
    fn the_stability_index_is_small_for_the_same_and_large_for_a_shift() {
        let base: Vec<f64> = (0..1000).map(f64::from).collect();
        let moved: Vec<f64> = (0..1000).map(|i| f64::from(i) + 500.0).collect();
        let odd: Vec<f64> = (0..500).map(|i| f64::from(2 * i)).collect();
        assert!(psi(&Steps::of(&base), &Steps::of(&odd)) < 0.01);
        assert!(psi(&Steps::of(&base), &Steps::of(&moved)) > 1.0);
        assert!(psi_of_counts(&[500, 500], &[510, 490]) < 0.01 && psi_of_counts(&[500, 500], &[900, 100]) > 0.25);
    }
}
