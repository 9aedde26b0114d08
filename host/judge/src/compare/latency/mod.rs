//! Times: order statistics with bounds that assume no distribution.
//!
//! Owns quantiles, their confidence bounds, LoadGen's early-stopping bound and the comparison of two medians. Refuses to extrapolate: where the
//! samples cannot bound a quantile the bound is `None`, and the number of samples that could is given. Samples that hang together count as
//! fewer, and a pass that did not keep its level is bounded stretch by stretch (see [`course`]).

mod bounds;
pub mod course;
mod rate;

use super::statistics::{Confidence, Interval, binomial_cdf};
use bounds::{Bounds, order_statistics, sorted};
use course::{Movement, movement};
use serde::Serialize;
use thiserror::Error;

/// Samples that are no latencies.
#[derive(Debug, Clone, PartialEq, Error)]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum LatencyError {
    #[error("no latency was measured")]
    Empty,
    #[error("latency {index} must be finite and not negative, got {got_ns} ns")]
    Sample { index: usize, got_ns: f64 },
    #[error("ticks per second must not be 0")]
    TickRate,
}

/// Latencies of single inferences, in nanoseconds. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    /// As they were taken.
    in_order_ns: Vec<f64>,
    sorted_ns: Vec<f64>,
    movement: Option<Movement>,
}

/// One quantile. `lower_ns` and `upper_ns` are order statistics; each end holds with `(1 + confidence) / 2`, both with `confidence`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantile {
    /// Which one, as a share.
    pub p: f64,
    /// Estimate: the smallest sample with at least `p` of all at or below it (nearest rank).
    pub value_ns: f64,
    /// Lower bound; `None` if there are too few samples.
    pub lower_ns: Option<f64>,
    /// Upper bound; `None` if there are too few samples.
    pub upper_ns: Option<f64>,
    /// Samples it rests on.
    pub samples: u64,
    /// What they are worth in independent samples; the bounds are those of so many.
    pub samples_effective: u64,
    /// Independent samples from which on both bounds exist.
    pub samples_needed: u64,
    /// LoadGen's early-stopping bound, which holds with 99 % for independent samples; `None` if there are too few for it.
    pub early_stopping_ns: Option<f64>,
}

/// What a report shows of one latency pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LatencySummary {
    /// Samples.
    pub samples: u64,
    /// Confidence of all bounds, as a share.
    pub confidence: f64,
    /// p50, p90, p99, p99.9.
    pub quantiles: [Quantile; 4],
    /// How the pass left its level, if it did.
    pub movement: Option<Movement>,
    /// Smallest sample.
    pub min_ns: f64,
    /// Largest sample.
    pub max_ns: f64,
    /// Mean.
    pub mean_ns: f64,
    /// Inferences per second one after the other: `1e9 / mean_ns`; `None` if the mean is 0.
    pub throughput_per_s: Option<f64>,
    /// Lower bound of the rate that half of all blocks of consecutive inferences reach, no higher than the pass's own; `None` if there are too
    /// few samples.
    pub throughput_lower_per_s: Option<f64>,
    /// Upper bound of the same, no lower than the pass's own.
    pub throughput_upper_per_s: Option<f64>,
    /// Samples from which on both bounds exist.
    pub throughput_samples_needed: u64,
}

impl Latencies {
    /// Takes samples in nanoseconds in the order in which they were taken. Errors if there are none or one is negative or not finite.
    pub fn from_ns(samples_ns: Vec<f64>) -> Result<Self, LatencyError> {
        if samples_ns.is_empty() {
            return Err(LatencyError::Empty);
        }
        if let Some((index, got_ns)) = samples_ns.iter().enumerate().find(|(_, ns)| !(ns.is_finite() && **ns >= 0.0)) {
            return Err(LatencyError::Sample { index, got_ns: *got_ns });
        }
        let (sorted_ns, movement) = (sorted(&samples_ns), movement(&samples_ns));
        Ok(Self { in_order_ns: samples_ns, sorted_ns, movement })
    }

    /// Takes ticks of a counter with this rate.
    pub fn from_ticks(ticks: &[u64], ticks_per_s: u64) -> Result<Self, LatencyError> {
        if ticks_per_s == 0 {
            return Err(LatencyError::TickRate);
        }
        Self::from_ns(ticks.iter().map(|ticks| *ticks as f64 * (1e9 / ticks_per_s as f64)).collect())
    }

    /// Samples, shortest first.
    pub fn sorted_ns(&self) -> &[f64] {
        &self.sorted_ns
    }

    /// How the pass left its level, if it did.
    pub fn movement(&self) -> Option<&Movement> {
        self.movement.as_ref()
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.sorted_ns.len() as u64
    }

    /// Everything a report shows.
    pub fn summary(&self, confidence: Confidence) -> LatencySummary {
        let mean_ns = self.sorted_ns.iter().sum::<f64>() / self.sorted_ns.len() as f64;
        let rate = rate::bounds(&self.in_order_ns, mean_ns, self.movement.as_ref(), confidence);
        LatencySummary {
            samples: self.count(),
            confidence: confidence.share(),
            quantiles: [0.5, 0.9, 0.99, 0.999].map(|p| self.quantile_of_pass(p, confidence)),
            movement: self.movement,
            min_ns: self.at_rank(1),
            max_ns: self.at_rank(self.count()),
            mean_ns,
            throughput_per_s: (mean_ns > 0.0).then(|| 1e9 / mean_ns),
            throughput_lower_per_s: rate.0,
            throughput_upper_per_s: rate.1,
            throughput_samples_needed: rate::samples_needed(confidence),
        }
    }

    /// The `p` quantile, `0 < p < 1`, with its distribution-free bounds: of `n` samples, as many lie below the true quantile as a binomial
    /// variable `B(n, p)` says, so order statistics bound it (David and Nagaraja, Order Statistics, 7.1). Takes the samples for independent;
    /// [`Latencies::quantile_of_pass`] does not.
    pub fn quantile(&self, p: f64, confidence: Confidence) -> Quantile {
        let found = order_statistics(&self.sorted_ns, self.count(), p, confidence);
        self.with_bounds(p, confidence, self.count(), found)
    }

    /// The same quantile with bounds for samples that follow each other: those of as many independent samples as these are worth, at the same
    /// shares of all samples. Of a pass that left its level, each stretch is bounded alone and the widest ends count, so that a limit is kept,
    /// or broken, in all of them; and a ramp may go on, as far again as it went.
    pub fn quantile_of_pass(&self, p: f64, confidence: Confidence) -> Quantile {
        let effective = bounds::effective(&self.in_order_ns, self.at_rank(rank_of(p, self.count())), confidence);
        let found = bounds::of_pass(&self.in_order_ns, self.movement.as_ref(), p, confidence);
        self.with_bounds(p, confidence, effective, found)
    }

    fn with_bounds(
        &self,
        p: f64,
        confidence: Confidence,
        samples_effective: u64,
        (lower_ns, upper_ns): Bounds,
    ) -> Quantile {
        Quantile {
            p,
            value_ns: self.at_rank(rank_of(p, self.count())),
            lower_ns,
            upper_ns,
            samples: self.count(),
            samples_effective,
            samples_needed: samples_needed(p, confidence),
            early_stopping_ns: self.early_stopping_bound_ns(p),
        }
    }

    /// LoadGen's early-stopping estimate of a quantile: an upper bound that holds with 99 %. With `t` the largest number of samples that may be
    /// over the quantile ([`early_stopping_minimum`]), the `t - 1` highest are discarded and the highest of the rest is reported. `None` with
    /// fewer samples than `t` = 1 needs.
    pub fn early_stopping_bound_ns(&self, p: f64) -> Option<f64> {
        let n = self.count();
        if early_stopping_minimum(p, 1)? > n {
            return None;
        }
        let fits = |t: u64| early_stopping_minimum(p, t).is_some_and(|minimum| minimum <= n);
        let t = largest_that(1, n, fits);
        Some(self.at_rank(n - t + 1))
    }

    /// Ratio of medians, `candidate / self` with `self` the reference, with an interval: each median's bounds at half the error, their ends
    /// divided crosswise (Bonferroni), of each pass as it went ([`Latencies::quantile_of_pass`]). Bounds are `None` with too few samples on either side or a reference bound of 0.
    pub fn median_ratio(&self, candidate: &Self, confidence: Confidence) -> MedianRatio {
        let each = confidence.of_each_of_two();
        let (reference, candidate) = (self.quantile_of_pass(0.5, each), candidate.quantile_of_pass(0.5, each));
        let divide = |numerator: Option<f64>, denominator: Option<f64>| match (numerator, denominator) {
            (Some(numerator), Some(denominator)) if denominator > 0.0 => Some(numerator / denominator),
            _ => None,
        };
        let lower = divide(candidate.lower_ns, reference.upper_ns);
        let upper = divide(candidate.upper_ns, reference.lower_ns);
        MedianRatio {
            ratio: divide(Some(candidate.value_ns), Some(reference.value_ns)),
            interval: lower.zip(upper).map(|(lower, upper)| Interval { lower, upper }),
            samples_reference: reference.samples,
            samples_candidate: candidate.samples,
            samples_needed: reference.samples_needed,
        }
    }

    /// The `rank`-th shortest sample, counted from 1.
    fn at_rank(&self, rank: u64) -> f64 {
        self.sorted_ns[(rank.clamp(1, self.count()) - 1) as usize]
    }
}

/// How many times as long the candidate takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MedianRatio {
    /// `median(candidate) / median(reference)`; `None` if the reference's is 0.
    pub ratio: Option<f64>,
    /// Where the true ratio lies; `None` with too few samples.
    pub interval: Option<Interval>,
    /// Samples of the reference.
    pub samples_reference: u64,
    /// Samples of the candidate.
    pub samples_candidate: u64,
    /// Samples that each side needs for an interval.
    pub samples_needed: u64,
}

/// Nearest rank of the `p` quantile of `n` samples, from 1.
fn rank_of(p: f64, n: u64) -> u64 {
    // The product may miss a whole number by rounding: 0.9 of 10 is the 9th.
    ((p * n as f64 - 1e-9).ceil() as u64).clamp(1, n)
}

/// Largest rank `r` for which the true quantile lies below the `r`-th sample with at most `tail` probability: `P(B < r) <= tail`.
fn lower_rank(n: u64, p: f64, tail: f64) -> Option<u64> {
    let below = |rank: u64| binomial_cdf(rank - 1, n, p) <= tail;
    (n > 0 && below(1)).then(|| largest_that(1, n, below))
}

/// Smallest rank `r` for which the true quantile lies above the `r`-th sample with at most `tail` probability: `P(B >= r) <= tail`.
fn upper_rank(n: u64, p: f64, tail: f64) -> Option<u64> {
    let above = |rank: u64| 1.0 - binomial_cdf(rank - 1, n, p) > tail;
    if n == 0 || above(n) {
        return None;
    }
    Some(if above(1) { largest_that(1, n, above) + 1 } else { 1 })
}

/// Samples from which on both bounds of a quantile exist: `p^n <= tail` (some sample above it) and `(1 - p)^n <= tail` (some below).
pub fn samples_needed(p: f64, confidence: Confidence) -> u64 {
    let rarer = p.max(1.0 - p);
    // The quotient may exceed a whole number by rounding alone.
    (confidence.tail().ln() / rarer.ln() - 1e-9).ceil() as u64
}

/// Samples in all that LoadGen's early stopping needs when `t` of them may be over the quantile: `h + t` with the smallest `h` for which
/// `I_p(h, t + 1) <= 1 - 0.99`. `None` unless `0 < p < 1` and `t >= 1`.
pub fn early_stopping_minimum(p: f64, t: u64) -> Option<u64> {
    const ERROR: f64 = 0.01;
    if !(p > 0.0 && p < 1.0) || t == 0 {
        return None;
    }
    // I_p(h, t + 1) is the probability of at most t samples over the quantile among h + t; it falls as h grows.
    let too_likely = |h: u64| binomial_cdf(t, h + t, 1.0 - p) > ERROR;
    let mut high = 1;
    while too_likely(high) {
        high *= 2;
    }
    let h = if too_likely(1) { largest_that(1, high, too_likely) + 1 } else { 1 };
    Some(h + t)
}

/// The largest number in `low..=high` that `holds`, given that it holds at `low` and never again after it first fails.
fn largest_that(low: u64, high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_to(n: u32) -> Latencies {
        // In an order without a trend: a prime step through all of them.
        Latencies::from_ns((1..=n).map(|i| (u64::from(i) * 7919 % u64::from(n) + 1) as f64).collect()).unwrap()
    }

    #[test]
    fn what_is_no_latency_is_refused() {
        assert_eq!(Latencies::from_ns(vec![]), Err(LatencyError::Empty));
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Latencies::from_ns(vec![1.0, bad]), Err(LatencyError::Sample { index: 1, .. })));
        }
        assert_eq!(Latencies::from_ticks(&[1], 0), Err(LatencyError::TickRate));
        assert_eq!(Latencies::from_ticks(&[3], 54_000_000).unwrap().sorted_ns(), [3.0 * (1e9 / 54e6)]);
    }

    #[test]
    fn early_stopping_reproduces_loadgens_table() {
        for (t, expected) in [
            (1, [64, 130, 219, 662, 6636]),
            (2, [81, 165, 277, 838, 8403]),
            (5, [127, 259, 433, 1307, 13105]),
            (10, [197, 398, 667, 2010, 20140]),
        ] {
            let minima = [0.9, 0.95, 0.97, 0.99, 0.999].map(|p| early_stopping_minimum(p, t).unwrap());
            assert_eq!(minima, expected, "t = {t}");
        }
        assert_eq!(early_stopping_minimum(1.0, 1), None);
        assert_eq!(early_stopping_minimum(0.9, 0), None);
    }

    #[test]
    fn early_stopping_discards_one_less_than_it_may() {
        assert_eq!(one_to(63).early_stopping_bound_ns(0.9), None);
        assert_eq!(one_to(64).early_stopping_bound_ns(0.9), Some(64.0));
        assert_eq!(one_to(81).early_stopping_bound_ns(0.9), Some(80.0), "t = 2: one is discarded");
        assert_eq!(one_to(127).early_stopping_bound_ns(0.9), Some(123.0), "t = 5: four are discarded");
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let ten = one_to(10);
        let value = |p| ten.quantile(p, Confidence::P95).value_ns;
        assert_eq!([0.01, 0.5, 0.9, 0.91, 0.99, 0.999].map(value), [1.0, 5.0, 9.0, 10.0, 10.0, 10.0]);
    }

    #[test]
    fn bounds_exist_from_the_promised_number_of_samples_on() {
        for (p, needed) in [(0.5, 6), (0.9, 36), (0.99, 368), (0.999, 3688)] {
            assert_eq!(samples_needed(p, Confidence::P95), needed, "0.025 = p^n");
            let (few, enough) = (one_to(needed as u32 - 1), one_to(needed as u32));
            assert!(few.quantile(p, Confidence::P95).upper_ns.is_none(), "p = {p}");
            let quantile = enough.quantile(p, Confidence::P95);
            assert_eq!(quantile.upper_ns, Some(f64::from(needed as u32)), "the largest sample bounds p = {p}");
            assert!(quantile.lower_ns.is_some());
        }
    }

    #[test]
    fn median_bounds_are_those_of_the_tables() {
        // Binomial(100, 0.5): P(B <= 39) = 0.0176, P(B <= 40) = 0.0284, so ranks 40 and 61.
        let quantile = one_to(100).quantile(0.5, Confidence::P95);
        assert_eq!((quantile.lower_ns, quantile.upper_ns), (Some(40.0), Some(61.0)));
        assert_eq!(quantile.value_ns, 50.0);
    }

    /// The probability that the bounds hold, from the binomial distribution and not from a simulation.
    #[test]
    fn bounds_cover_at_least_as_often_as_they_say() {
        for n in [40_u32, 100, 400, 5000] {
            for p in [0.5, 0.9, 0.99] {
                let quantile = one_to(n).quantile(p, Confidence::P95);
                let n = u64::from(n);
                let missed_below = quantile.lower_ns.map_or(0.0, |rank| binomial_cdf(rank as u64 - 1, n, p));
                let missed_above = quantile.upper_ns.map_or(0.0, |rank| 1.0 - binomial_cdf(rank as u64 - 1, n, p));
                assert!(missed_below <= 0.025 && missed_above <= 0.025, "n = {n}, p = {p}");
            }
        }
    }

    #[test]
    fn large_numbers_of_samples_are_no_problem() {
        let quantile = one_to(200_000).quantile(0.999, Confidence::P95);
        // Normal approximation: 199800 +- 1.96 * sqrt(199.8) = 199772.3 .. 199827.7
        let (lower, upper) = (quantile.lower_ns.unwrap(), quantile.upper_ns.unwrap());
        assert!((lower - 199_772.0).abs() <= 3.0 && (upper - 199_828.0).abs() <= 3.0, "{lower} {upper}");
    }

    #[test]
    fn the_same_samples_are_not_slower_than_themselves() {
        let ratio = one_to(101).median_ratio(&one_to(101), Confidence::P95);
        let interval = ratio.interval.unwrap();
        assert_eq!(ratio.ratio, Some(1.0));
        assert!(interval.lower < 1.0 && interval.upper > 1.0);
        assert_eq!(one_to(5).median_ratio(&one_to(101), Confidence::P95).interval, None);
        let still = Latencies::from_ns(vec![0.0; 50]).unwrap();
        assert_eq!(still.median_ratio(&one_to(50), Confidence::P95).ratio, None);
    }

    #[test]
    fn a_ratio_has_its_reference_below_the_line() {
        let more = |ns: f64| Latencies::from_ns(one_to(101).in_order_ns.iter().map(|v| v + ns).collect()).unwrap();
        let (slow, fast) = (more(1000.0), more(100.0));
        assert!(fast.median_ratio(&slow, Confidence::P95).interval.unwrap().lower > 5.0);
        assert!(slow.median_ratio(&fast, Confidence::P95).interval.unwrap().upper < 0.2);
    }

    #[test]
    fn samples_that_hang_together_count_as_fewer() {
        let tenfold = course::tests::noise(200).iter().flat_map(|v| [*v; 10]).collect();
        let tenfold = Latencies::from_ns(tenfold).unwrap();
        let (alone, together) =
            (tenfold.quantile(0.5, Confidence::P95), tenfold.quantile_of_pass(0.5, Confidence::P95));
        assert_eq!((alone.value_ns, alone.samples_effective), (together.value_ns, 2000));
        assert!((60..300).contains(&together.samples_effective), "{together:?}");
        assert!(together.lower_ns < alone.lower_ns && together.upper_ns > alone.upper_ns, "{together:?}");
        let independent =
            Latencies::from_ns(course::tests::noise(2000)).unwrap().quantile_of_pass(0.5, Confidence::P95);
        assert!(independent.samples_effective > 1500, "{independent:?}");
    }

    #[test]
    fn a_moved_pass_is_bounded_by_its_fastest_and_slowest_stretch() {
        let step = |i: usize| if i < 300 { 1.0 } else { 2.0 };
        let moved = one_to(700).in_order_ns.iter().enumerate().map(|(i, v)| (v + 1000.0) * step(i)).collect();
        let quantile = Latencies::from_ns(moved).unwrap().quantile_of_pass(0.5, Confidence::P95);
        let (lower, upper) = (quantile.lower_ns.unwrap(), quantile.upper_ns.unwrap());
        assert!((1250.0..1400.0).contains(&lower) && (2700.0..2900.0).contains(&upper), "{quantile:?}");
    }

    #[test]
    fn a_ramp_may_go_on() {
        let rising = |(i, v): (usize, &f64)| (v / 100.0 + 1000.0) * (1.0 + i as f64 / 700.0);
        let latencies = Latencies::from_ns(one_to(700).in_order_ns.iter().enumerate().map(rising).collect()).unwrap();
        let factor = latencies.movement().unwrap().factor;
        let upper = latencies.quantile_of_pass(0.5, Confidence::P95).upper_ns.unwrap();
        assert!(upper > latencies.sorted_ns()[699] * factor * 0.9 && factor > 1.8, "{upper} {factor}");
    }

    #[test]
    fn the_summary_shows_mean_maximum_and_throughput() {
        let summary = Latencies::from_ns(vec![1e6, 3e6]).unwrap().summary(Confidence::P95);
        assert_eq!((summary.min_ns, summary.max_ns, summary.mean_ns), (1e6, 3e6, 2e6));
        assert_eq!(summary.throughput_per_s, Some(500.0));
        assert_eq!((summary.throughput_lower_per_s, summary.throughput_samples_needed), (None, 60));
        assert!(summary.quantiles.iter().all(|quantile| quantile.upper_ns.is_none()));
    }
}
