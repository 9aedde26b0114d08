//! Inferences per second, one after the other, and how far that number may be off.
//!
//! No bound of a mean holds for every distribution: a rare inference that nobody saw may take as long as it likes (Bahadur and Savage 1956). So
//! what is bounded is the rate of a block of consecutive inferences: half of all blocks are faster. Its bounds are order statistics and assume
//! no distribution; of long blocks they are close to the mean's. They are never narrower than what the pass itself did.

use super::bounds::{Bounds, of_stretch};
use super::course::{BLOCKS, Movement, MovementKind};
use crate::compare::statistics::Confidence;

/// Fewest inferences of a block.
const BLOCK_MIN: usize = 10;

/// Samples from which on there are bounds: blocks enough for those of a median.
pub(super) fn samples_needed(confidence: Confidence) -> u64 {
    BLOCK_MIN as u64 * super::samples_needed(0.5, confidence)
}

/// Lower and upper bound of the rate, per second, of samples in nanoseconds in the order in which they were taken.
///
/// The pass is cut into up to sixteen blocks of the same length, as where its course is looked at. The median block's mean is bounded by order
/// statistics of as many blocks as these are worth; blocks that hang together, and those of a pass that left its level, by the fastest and
/// the slowest of them. A ramp goes on, as far again as it went. `whole_ns` is the mean of all samples, which is never outside.
pub(super) fn bounds(
    in_order_ns: &[f64],
    whole_ns: f64,
    movement: Option<&Movement>,
    confidence: Confidence,
) -> Bounds {
    if (in_order_ns.len() as u64) < samples_needed(confidence) {
        return (None, None);
    }
    let mean = |block: &[f64]| block.iter().sum::<f64>() / block.len() as f64;
    let length = in_order_ns.len() / (in_order_ns.len() / BLOCK_MIN).min(BLOCKS);
    let blocks: Vec<f64> = in_order_ns.chunks_exact(length).map(mean).collect();
    let fastest = blocks.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = blocks.iter().copied().fold(0.0, f64::max);
    let (short, long) = match movement {
        None => match of_stretch(&blocks, 0.5, confidence) {
            (Some(short), Some(long)) => (short, long),
            _ => (fastest, slowest),
        },
        Some(movement) if movement.kind == MovementKind::Ramp => {
            (fastest * movement.factor.min(1.0), slowest * movement.factor.max(1.0))
        }
        Some(_) => (fastest, slowest),
    };
    let rate = |ns: f64| (ns > 0.0).then(|| 1e9 / ns);
    (rate(long.max(whole_ns)), rate(short.min(whole_ns)))
}

#[cfg(test)]
mod tests {
    use super::super::Latencies;
    use super::*;

    /// Evenly spread numbers between 0 and 1, the same in every run (SplitMix64).
    fn draws(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as f64 / u64::MAX as f64
        })
    }

    fn of(samples: Vec<f64>) -> (f64, f64, f64) {
        let summary = Latencies::from_ns(samples).unwrap().summary(Confidence::P95);
        let bound = |bound: Option<f64>| bound.unwrap();
        (bound(summary.throughput_lower_per_s), bound(summary.throughput_per_s), bound(summary.throughput_upper_per_s))
    }

    #[test]
    fn there_are_bounds_from_the_promised_number_of_samples_on() {
        let summary = |n: usize| {
            let latencies = Latencies::from_ns(draws(1).take(n).map(|u| 1e6 + u).collect()).unwrap();
            latencies.summary(Confidence::P95)
        };
        let needed = summary(59).throughput_samples_needed;
        assert_eq!((needed, summary(59).throughput_upper_per_s), (60, None));
        assert!(summary(60).throughput_lower_per_s.unwrap() < summary(60).throughput_upper_per_s.unwrap());
    }

    /// Of passes whose true rate is known: long tails of the exponential kind on top of a fixed time, and stalls of thirty times the usual.
    #[test]
    fn bounds_hold_for_the_true_rate_as_often_as_they_say() {
        const PASSES: u64 = 2000;
        type Draw = fn(f64, f64) -> f64;
        let tail: Draw = |u, _| 1e6 * (1.0 - u.max(1e-12).ln());
        let stalls: Draw = |u, v| 1e6 * (1.0 + 0.1 * u + if v < 0.02 { 30.0 } else { 0.0 });
        for (name, draw, mean_ns) in [("tail", tail, 2e6), ("stalls", stalls, 1e6 * (1.05 + 0.6))] {
            let held = (0..PASSES).filter(|pass| {
                let mut numbers = draws(pass * 7919 + 1);
                let mut next = || numbers.next().unwrap();
                let (lower, _, upper) = of((0..700).map(|_| draw(next(), next())).collect());
                lower <= 1e9 / mean_ns && 1e9 / mean_ns <= upper
            });
            let share = held.count() as f64 / PASSES as f64;
            assert!(share >= 0.95, "{name}: {share}");
        }
    }

    #[test]
    fn one_long_stall_is_within_the_bounds() {
        let mut samples: Vec<f64> = draws(3).take(700).map(|u| 1e6 + u * 1e5).collect();
        samples[350] = 1e9;
        let (lower, rate, upper) = of(samples);
        assert!(lower <= rate && rate < 500.0 && upper > 900.0, "{lower} {rate} {upper}");
    }

    #[test]
    fn a_pass_that_left_its_level_has_both_levels_between_its_bounds() {
        let step = |(i, u): (usize, f64)| (1e6 + u * 1e4) * if i < 400 { 1.0 } else { 2.0 };
        let (lower, _, upper) = of(draws(5).take(800).enumerate().map(step).collect());
        assert!(lower < 500.0 && upper > 990.0, "{lower} {upper}");
        let ramp = |(i, u): (usize, f64)| (1e6 + u * 1e4) * (1.0 + i as f64 / 800.0);
        let (lower, _, _) = of(draws(5).take(800).enumerate().map(ramp).collect());
        assert!(lower < 300.0, "it may go on to a quarter: {lower}");
    }

    #[test]
    fn times_of_nothing_have_no_rate() {
        let summary = Latencies::from_ns(vec![0.0; 100]).unwrap().summary(Confidence::P95);
        assert_eq!((summary.throughput_per_s, summary.throughput_upper_per_s), (None, None));
    }
}
