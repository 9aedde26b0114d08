//! Bounds of numbers that have no formula of their own: the bootstrap, bias-corrected and accelerated (BCa; Efron 1987, "Better bootstrap
//! confidence intervals"; Efron and Tibshirani 1993, chapter 14).
//!
//! Samples are drawn whole: what reference and candidate said to one of them stays together. The draws come from a generator with a fixed
//! seed, so that a record has the same bounds on every machine and each time.

use super::special::normal_cdf;
use super::{Confidence, Interval, normal_quantile};

/// Draws per interval. The level of a bound at 95 % is then off by half a point (one standard error), the same for every judge of a record.
pub const RESAMPLES: u32 = 2000;
/// Fewest draws, for very many samples: the level is then off by 1.1 points, of bounds that lie close together.
pub const RESAMPLES_MIN: u32 = 400;
/// Samples drawn in all, so that a report on a hundred thousand samples still comes within seconds.
const DRAWN_MAX: u64 = 20_000_000;

/// Draws for so many samples: [`RESAMPLES`] for up to ten thousand.
fn resamples(samples: usize) -> u32 {
    let affordable = DRAWN_MAX / samples.max(1) as u64;
    u32::try_from(affordable).unwrap_or(RESAMPLES).clamp(RESAMPLES_MIN, RESAMPLES)
}

/// Where the generator starts. Not the user's to choose: of many seeds one would give the wanted verdict.
const SEED: u64 = 0x626f_6172_6470_726f;

/// A number taken of samples that can be taken of other draws of them, too.
pub trait Resampled {
    /// Samples.
    fn samples(&self) -> usize;

    /// The number on these samples, each as often as it is named. `None` where it has no meaning on them.
    fn on(&self, drawn: &[u32]) -> Option<f64>;

    /// The number without one sample.
    fn without(&self, sample: usize) -> Option<f64> {
        let others: Vec<u32> = (0..self.samples()).filter(|i| *i != sample).map(|i| i as u32).collect();
        self.on(&others)
    }
}

/// A number that its samples enter through sums only: each sample adds to some of `slots` sums, `number` is made of the sums.
pub struct Sums<F> {
    terms: Vec<(u32, f64)>,
    ends: Vec<usize>,
    all: Vec<f64>,
    number: F,
}

impl<F: Fn(&[f64]) -> Option<f64>> Sums<F> {
    /// `terms` of each sample: which sums it adds to, below `slots`, and what.
    pub fn new<T: IntoIterator<Item = (usize, f64)>>(
        slots: usize,
        samples: impl IntoIterator<Item = T>,
        number: F,
    ) -> Self {
        let (mut terms, mut ends, mut all) = (Vec::new(), Vec::new(), vec![0.0; slots]);
        for sample in samples {
            for (slot, value) in sample {
                all[slot] += value;
                terms.push((slot as u32, value));
            }
            ends.push(terms.len());
        }
        Self { terms, ends, all, number }
    }

    fn of(&self, sample: usize) -> &[(u32, f64)] {
        let start = sample.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.terms[start..self.ends[sample]]
    }

    /// The sums over all samples.
    pub fn all(&self) -> &[f64] {
        &self.all
    }

    /// The number on all samples, each once.
    pub fn value(&self) -> Option<f64> {
        (self.number)(&self.all)
    }
}

impl<F: Fn(&[f64]) -> Option<f64>> Resampled for Sums<F> {
    fn samples(&self) -> usize {
        self.ends.len()
    }

    fn on(&self, drawn: &[u32]) -> Option<f64> {
        let mut sums = vec![0.0; self.all.len()];
        for sample in drawn {
            self.of(*sample as usize).iter().for_each(|(slot, value)| sums[*slot as usize] += value);
        }
        (self.number)(&sums)
    }

    fn without(&self, sample: usize) -> Option<f64> {
        let mut sums = self.all.clone();
        self.of(sample).iter().for_each(|(slot, value)| sums[*slot as usize] -= value);
        (self.number)(&sums)
    }
}

/// What the draws of a number look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    estimate: f64,
    /// The number on each draw, in ascending order.
    draws: Vec<f64>,
    /// `z0`: how far the estimate lies beside the middle of its draws, in standard deviations.
    bias: f64,
    /// `a`: how fast the spread changes with the number; from the jackknife.
    acceleration: f64,
}

impl Bootstrap {
    /// Draws as many samples as there are, with replacement, [`RESAMPLES`] times or less often where there are very many. `None` for fewer than two samples and for a number that
    /// has no meaning or is infinite on them or on any draw of them.
    pub fn of(number: &impl Resampled) -> Option<Self> {
        let samples = number.samples();
        let each: Vec<u32> = (0..u32::try_from(samples).ok()?).collect();
        if samples < 2 {
            return None;
        }
        let mut random = SplitMix(SEED);
        let mut drawn = vec![0_u32; samples];
        let draws = (0..resamples(samples)).map(|_| {
            drawn.iter_mut().for_each(|slot| *slot = random.below(samples as u64) as u32);
            number.on(&drawn)
        });
        let draws = draws.collect::<Option<Vec<f64>>>()?;
        let left_out = (0..samples).map(|sample| number.without(sample)).collect::<Option<Vec<f64>>>()?;
        Self::from_draws(number.on(&each)?, draws, &left_out)
    }

    /// From the number, what it was on each draw, and what it was without each sample. `None` when one of them is not finite or there is
    /// no draw.
    pub fn from_draws(estimate: f64, mut draws: Vec<f64>, left_out: &[f64]) -> Option<Self> {
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        if draws.is_empty() || !estimate.is_finite() || !finite(&draws) || !finite(left_out) {
            return None;
        }
        draws.sort_unstable_by(f64::total_cmp);
        let below = draws.partition_point(|draw| *draw < estimate);
        let up_to = draws.partition_point(|draw| *draw <= estimate);
        // Draws that equal the estimate lie half on either side.
        let bias = normal_quantile((below + up_to) as f64 / (2 * draws.len()) as f64);
        Some(Self { estimate, draws, bias, acceleration: acceleration(left_out) })
    }

    /// The number on the samples as they are.
    pub fn estimate(&self) -> f64 {
        self.estimate
    }

    /// `z0` of Efron (1987).
    pub fn bias(&self) -> f64 {
        self.bias
    }

    /// `a` of Efron (1987).
    pub fn acceleration(&self) -> f64 {
        self.acceleration
    }

    /// The shares of the draws that lie below the ends of the BCa interval: `Phi(z0 + (z0 + z) / (1 - a (z0 + z)))`.
    pub fn levels(&self, confidence: Confidence) -> (f64, f64) {
        (self.level(-confidence.z()), self.level(confidence.z()))
    }

    fn level(&self, z: f64) -> f64 {
        let shifted = self.bias + z;
        let room = 1.0 - self.acceleration * shifted;
        // Where the correction leaves its own range nothing narrower than all draws is known.
        let moved = if room > 0.0 { self.bias + shifted / room } else { shifted.signum() * f64::INFINITY };
        normal_cdf(moved)
    }

    /// The BCa interval. Where all draws lie on one side of the estimate the correction has no value: the interval then is all of them.
    pub fn bca(&self, confidence: Confidence) -> Interval {
        if !self.bias.is_finite() {
            let (first, last) = (self.draws[0], self.draws[self.draws.len() - 1]);
            return Interval { lower: first.min(self.estimate), upper: last.max(self.estimate) };
        }
        let (lower, upper) = self.levels(confidence);
        Interval { lower: self.quantile(lower), upper: self.quantile(upper) }
    }

    /// The basic interval (Davison and Hinkley 1997, 5.2): the draws turned over at the estimate, so that a number which is too large on draws is
    /// taken back by as much.
    pub fn basic(&self, confidence: Confidence) -> Interval {
        let tail = confidence.tail();
        let turned = |p: f64| 2.0 * self.estimate - self.quantile(p);
        Interval { lower: turned(1.0 - tail), upper: turned(tail) }
    }

    /// The interval between two quantiles of the draws themselves (Efron and Tibshirani 1993, 13.3).
    pub fn percentile(&self, confidence: Confidence) -> Interval {
        let tail = confidence.tail();
        Interval { lower: self.quantile(tail), upper: self.quantile(1.0 - tail) }
    }

    /// Quantile of the draws, between two of them by their distance (type 7 of Hyndman and Fan 1996, as numpy).
    fn quantile(&self, p: f64) -> f64 {
        let at = p.clamp(0.0, 1.0) * (self.draws.len() - 1) as f64;
        let (low, high) = (self.draws[at.floor() as usize], self.draws[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }
}

/// `sum u^3 / (6 (sum u^2)^1.5)` with `u` the mean of the jackknife's numbers less each of them; 0 where they are all equal.
fn acceleration(left_out: &[f64]) -> f64 {
    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let (mut square, mut cube) = (0.0, 0.0);
    for value in left_out {
        let u = mean - value;
        square += u * u;
        cube += u * u * u;
    }
    let found = cube / (6.0 * square.powf(1.5));
    if found.is_finite() { found } else { 0.0 }
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in `0..bound`, to within one part in 2^64 / bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean, by sums.
    fn mean(values: &[f64]) -> Sums<impl Fn(&[f64]) -> Option<f64>> {
        let terms = values.iter().map(|value| [(0, *value), (1, 1.0)]);
        Sums::new(2, terms, |sums| (sums[1] > 0.0).then(|| sums[0] / sums[1]))
    }

    /// The same without the shortcut of sums.
    struct Plain<'a>(&'a [f64]);

    impl Resampled for Plain<'_> {
        fn samples(&self) -> usize {
            self.0.len()
        }

        fn on(&self, drawn: &[u32]) -> Option<f64> {
            let sum: f64 = drawn.iter().map(|i| self.0[*i as usize]).sum();
            Some(sum / drawn.len() as f64)
        }
    }

    #[test]
    fn very_many_samples_are_drawn_less_often() {
        assert_eq!([2, 10_000, 20_000, 1_000_000].map(resamples), [2000, 2000, 1000, 400]);
    }

    #[test]
    fn sums_are_a_shortcut_and_nothing_else() {
        let values: Vec<f64> = (0..60).map(|i| f64::from(i * i % 17)).collect();
        let (short, long) = (Bootstrap::of(&mean(&values)).unwrap(), Bootstrap::of(&Plain(&values)).unwrap());
        assert_eq!(short.draws, long.draws);
        assert!((short.acceleration - long.acceleration).abs() < 1e-9);
        assert_eq!(short, Bootstrap::of(&mean(&values)).unwrap(), "the same samples have the same bounds");
    }

    #[test]
    fn a_symmetric_mean_has_the_interval_of_its_standard_error() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20) - 9.5).collect();
        let interval = Bootstrap::of(&mean(&values)).unwrap().bca(Confidence::P95);
        let half = 1.96 * (33.25_f64 / 400.0).sqrt();
        assert!((interval.lower + half).abs() < 0.05 && (interval.upper - half).abs() < 0.05, "{interval:?}");
    }

    #[test]
    fn skewed_values_get_a_skewed_interval() {
        let values: Vec<f64> = (1..=100).map(|i| -(f64::from(i) / 101.0).ln()).collect();
        let found = Bootstrap::of(&mean(&values)).unwrap();
        assert!(found.acceleration() > 0.01, "{}", found.acceleration());
        let interval = found.bca(Confidence::P95);
        assert!(interval.upper - found.estimate() > found.estimate() - interval.lower, "{interval:?}");
    }

    #[test]
    fn what_says_nothing_has_no_bounds_and_equal_values_no_width() {
        assert_eq!(Bootstrap::of(&mean(&[])), None);
        assert_eq!(Bootstrap::of(&mean(&[1.0])), None);
        assert_eq!(Bootstrap::of(&mean(&[1.0, f64::NAN, 2.0])), None);
        assert_eq!(Bootstrap::of(&mean(&[1.0, f64::INFINITY])), None);
        let equal = Bootstrap::of(&mean(&[2.0; 30])).unwrap();
        assert_eq!(equal.bca(Confidence::P95), Interval { lower: 2.0, upper: 2.0 });
        assert_eq!((equal.bias(), equal.acceleration()), (0.0, 0.0));
    }

    #[test]
    fn draws_that_all_lie_on_one_side_give_all_of_them() {
        let found = Bootstrap::from_draws(0.0, vec![3.0, 1.0, 2.0], &[0.0, 1.0]).unwrap();
        assert_eq!(found.bca(Confidence::P95), Interval { lower: 0.0, upper: 3.0 });
        assert_eq!(Bootstrap::from_draws(0.0, Vec::new(), &[]), None);
    }

    #[test]
    fn every_sample_is_drawn_about_equally_often() {
        let mut random = SplitMix(SEED);
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[random.below(7) as usize] += 1);
        assert!(counts.iter().all(|count| (9_700..10_300).contains(count)), "{counts:?}");
    }
}
