//! How far two measurements of the same thing lie apart, and the limit that so much noise supports.

use super::paired_blocks::Pair;
use super::statistics::student_quantile;
use boardproof_record::calibration::Calibration;
use serde::Serialize;
use std::f64::consts::FRAC_PI_2;

/// One round: two builds against each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RoundNoise {
    /// Median of the logarithms of its pairs' ratios.
    pub log_ratio: f64,
    /// Mean square of the logarithms of its pairs' ratios: around none, which is the truth.
    pub pair_square: f64,
    /// Variance of the same within the round.
    pub within: f64,
    /// Its pairs.
    pub pairs: usize,
}

/// What lies between builds, and what between blocks of the same two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spreads {
    /// Standard deviation of a round's true logarithm.
    pub builds: f64,
    /// Standard deviation of a pair's around it.
    pub pairs: f64,
}

/// Divides the noise of rounds into that of builds and that of blocks: the mean square of the rounds' medians holds both, and a median of `n`
/// pairs has `pi / 2` times the variance of their mean (normal noise; Kenney and Keeping 1962, section 13.13). Never below 0.
pub fn spreads(rounds: &[RoundNoise]) -> Option<Spreads> {
    let mean = |of: fn(&RoundNoise) -> f64| rounds.iter().map(of).sum::<f64>() / rounds.len() as f64;
    if rounds.is_empty() {
        return None;
    }
    let within = mean(|round| round.within);
    let of_median = mean(|round| FRAC_PI_2 * round.within / round.pairs as f64);
    let builds = (mean(|round| round.log_ratio.powi(2)) - of_median).max(0.0);
    Some(Spreads { builds: builds.sqrt(), pairs: within.sqrt() })
}

/// The finest limit on the median ratio of so many blocks in turn, by the rounds of a calibration.
pub fn blocks_ratio(found: &Calibration, blocks: u32) -> Option<f64> {
    let of_median = FRAC_PI_2 * found.pairs_spread.powi(2) / f64::from(blocks / 2).max(1.0);
    let square = found.builds_spread.powi(2) + of_median;
    limit_of(std::iter::repeat_n(square, found.rounds as usize), found.false_alarms)
}

/// The noise of a round's pairs; `None` with fewer than two.
pub fn of_round(pairs: &[Pair]) -> Option<RoundNoise> {
    let mut sorted: Vec<f64> = pairs.iter().map(|pair| pair.log_ratio).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    if n < 2 {
        return None;
    }
    let log_ratio = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
    let square = |around: f64| sorted.iter().map(|ratio| (ratio - around).powi(2)).sum::<f64>();
    let mean = sorted.iter().sum::<f64>() / n as f64;
    let within = square(mean) / (n - 1) as f64;
    Some(RoundNoise { log_ratio, pair_square: square(0.0) / n as f64, within, pairs: n })
}

/// The ratio that the next comparison of equal things exceeds with this probability.
///
/// The logarithm of a ratio of equal things is about normal around 0, of unknown spread; `R` independent rounds give its mean square `s^2` with
/// `R` degrees of freedom, none being spent on the mean. The next one divided by `s` follows Student's distribution with `R` degrees (the
/// one-sided prediction interval of a normal value with known mean: Hahn and Meeker 1991, "Statistical Intervals", section 4.7), so the
/// limit is `exp(t(1 - alpha, R) s)`. `None` for fewer than two rounds, or numbers that are none.
pub fn limit_of(squares: impl Iterator<Item = f64>, alpha: f64) -> Option<f64> {
    margin_of(squares, alpha).map(f64::exp).filter(|limit| limit.is_finite())
}

/// The difference that the next two equal things exceed with this probability: [`limit_of`] without the logarithm.
fn margin_of(squares: impl Iterator<Item = f64>, alpha: f64) -> Option<f64> {
    let squares: Vec<f64> = squares.collect();
    let rounds = squares.len() as f64;
    if squares.len() < 2 || !(alpha > 0.0 && alpha < 0.5) {
        return None;
    }
    let spread = (squares.iter().sum::<f64>() / rounds).sqrt();
    let margin = student_quantile(1.0 - alpha, rounds) * spread;
    margin.is_finite().then_some(margin)
}

/// The difference between two values of equal things that so much noise supports; `rounds` has the values of each, those of neighbours one
/// after the other. `None` for fewer than two whole rounds, or numbers that are none.
///
/// Memory is counted in pages, jumps, and is often the same many times over: no distribution can be assumed. So the margin is the range of all
/// that was seen, which needs none (see `MemoryNoise::false_alarms_at_most` for how often the next two lie further apart), and not less
/// than what [`limit_of`] makes of the differences of neighbours, which holds where the noise is about normal and the rounds are few.
pub fn margin_between(rounds: &[Vec<f64>], alpha: f64) -> Option<f64> {
    let square = |round: &Vec<f64>| {
        let pairs = round.chunks_exact(2);
        let count = pairs.len() as f64;
        pairs.map(|pair| (pair[0] - pair[1]).powi(2)).sum::<f64>() / count
    };
    let normal = margin_of(rounds.iter().map(square), alpha)?;
    let all = || rounds.iter().flatten().copied();
    let range = all().fold(f64::NEG_INFINITY, f64::max) - all().fold(f64::INFINITY, f64::min);
    Some(normal.max(range)).filter(|margin| margin.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::UnitName;

    fn pair(log_ratio: f64) -> Pair {
        Pair { log_ratio, b_first: false }
    }

    #[test]
    fn a_round_is_its_median_and_its_spread_around_none() {
        assert_eq!(of_round(&[]), None);
        assert_eq!(of_round(&[pair(0.1)]), None);
        let round = of_round(&[0.03, -0.01, 0.01, 0.02].map(pair)).unwrap();
        assert!((round.log_ratio - 0.015).abs() < 1e-12);
        assert!((round.pair_square - 0.0015 / 4.0).abs() < 1e-12);
        assert!((round.within - 0.000_875 / 3.0).abs() < 1e-12, "{}", round.within);
    }

    #[test]
    fn what_lies_between_builds_is_told_from_what_lies_between_blocks() {
        let round = |log_ratio: f64, within| RoundNoise { log_ratio, pair_square: 0.0, within, pairs: 4 };
        let builds_alone = spreads(&[round(0.02, 0.0), round(-0.02, 0.0)]).unwrap();
        assert_eq!((builds_alone.builds, builds_alone.pairs), (0.02, 0.0));
        let blocks_alone = spreads(&[round(0.01, 0.01), round(-0.01, 0.01)]).unwrap();
        assert_eq!((blocks_alone.builds, blocks_alone.pairs), (0.0, 0.1));
        assert_eq!(spreads(&[]), None);
    }

    #[test]
    fn more_blocks_support_a_finer_limit_and_never_one_finer_than_the_builds() {
        let found = Calibration {
            version: 1,
            measured_unix_s: 0,
            unit: UnitName::new("bench").unwrap(),
            identity: String::new(),
            processor: String::new(),
            governor: String::new(),
            cell: "m/x@bench/tract".to_owned().try_into().unwrap(),
            rounds: 10,
            false_alarms: 0.01,
            latency_ratio: 1.1,
            builds_spread: 0.01,
            pairs_spread: 0.02,
            memory: None,
        };
        let of = |blocks| blocks_ratio(&found, blocks).unwrap();
        assert!(of(8) > of(80) && of(80) > of(10_000));
        // t(0.99, 10) = 2.763769.
        assert!(of(u32::MAX) >= (2.763_769_f64 * 0.01).exp() - 1e-7);
    }

    #[test]
    fn a_margin_is_the_range_of_all_and_no_less_than_students() {
        // Neighbours that differ by 1, in rounds that lie 100 apart: what lies between rounds counts.
        let far = [vec![0.0, 1.0], vec![100.0, 101.0], vec![50.0, 51.0]];
        assert_eq!(margin_between(&far, 0.01), Some(101.0));
        // t(0.99, 2) = 6.964557 of a difference of 1.
        let near = [vec![0.0, 1.0, 1.0, 0.0], vec![1.0, 0.0, 0.0, 1.0]];
        assert!((margin_between(&near, 0.01).unwrap() - 6.964_557).abs() < 1e-5);
        assert_eq!(margin_between(&[vec![7.0; 4], vec![7.0; 4]], 0.01), Some(0.0), "no noise at all was seen");
        assert_eq!(margin_between(&far[..1], 0.01), None);
        assert_eq!(margin_between(&[vec![f64::NAN, 1.0], vec![0.0, 1.0]], 0.01), None);
        assert_eq!(margin_between(&[vec![1.0], vec![1.0]], 0.01), None, "no neighbours");
    }

    #[test]
    fn the_limit_is_students_quantile_of_the_spread() {
        // t(0.99, 10) = 2.763769 (tables); ten rounds of 1 %.
        let limit = limit_of(std::iter::repeat_n(1e-4, 10), 0.01).unwrap();
        assert!((limit - (2.763_769_f64 * 0.01).exp()).abs() < 1e-7, "{limit}");
        let fewer = limit_of(std::iter::repeat_n(1e-4, 4), 0.01).unwrap();
        assert!(fewer > limit, "fewer rounds know less: {fewer}");
        for (count, alpha) in [(1, 0.01), (5, 0.0), (5, 0.5)] {
            assert_eq!(limit_of(std::iter::repeat_n(1e-4, count), alpha), None, "{count} {alpha}");
        }
        assert_eq!(limit_of([f64::NAN, 1.0].into_iter(), 0.01), None);
    }
}
