//! Bounds that hold at every sample at once, so that one may look after each of them and stop when one likes: a confidence sequence by betting
//! (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting").
//!
//! Against each mean somebody bets with a capital of 1. Were it the true one, his capital would be worth no more at the end than at the start,
//! and would ever reach 1 / error with a probability of at most `error` (Ville 1939). A mean against which it does is ruled out for good.

use super::special::increasing_root;
use super::{Confidence, Interval, Position};
use serde::Serialize;

/// Numbers of samples by their value: -1, 0 or 1, as differences of right and wrong are, or 0 or 1, as right and wrong are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Samples of value -1.
    pub minus: u64,
    /// Samples of value 0.
    pub none: u64,
    /// Samples of value 1.
    pub plus: u64,
}

/// What values there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// 0 and 1.
    Shares,
    /// -1, 0 and 1.
    Differences,
}

/// Parts of what may be lost on a sample that are staked: each by a gambler of his own, who began with [`PURSES`]. Large ones win on samples
/// that hardly differ, small ones on many that do.
const STAKES: [f64; 10] = stakes();
/// What each began with: together 1, and more for large stakes, because variants mostly hardly differ.
const PURSES: [f64; 10] = purses();

const fn stakes() -> [f64; 10] {
    let (mut stakes, mut i, mut stake) = ([0.0; 10], 0, 0.98);
    while i < 10 {
        stakes[i] = stake;
        (i, stake) = (i + 1, stake / 2.0);
    }
    stakes
}

const fn purses() -> [f64; 10] {
    let (mut purses, mut sum, mut i) = ([0.0; 10], 0.0, 0);
    while i < 10 {
        purses[i] = 1.0 / (i + 1) as f64;
        (sum, i) = (sum + purses[i], i + 1);
    }
    i = 0;
    while i < 10 {
        (purses[i], i) = (purses[i] / sum, i + 1);
    }
    purses
}

impl Tally {
    /// Counts pairs: what the reference had right and the candidate wrong is 1, the other way round -1. The mean is the loss.
    pub fn of_losses(reference: &[bool], candidate: &[bool]) -> Self {
        let mut tally = Self::default();
        for pair in reference.iter().zip(candidate) {
            match pair {
                (true, false) => tally.plus += 1,
                (false, true) => tally.minus += 1,
                _ => tally.none += 1,
            }
        }
        tally
    }

    /// Counts right answers as 1.
    pub fn of_hits(right: &[bool]) -> Self {
        let plus = right.iter().filter(|right| **right).count() as u64;
        Self { minus: 0, none: right.len() as u64 - plus, plus }
    }

    /// Samples.
    pub fn samples(&self) -> u64 {
        self.minus + self.none + self.plus
    }

    /// `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        let samples = self.samples();
        (samples > 0).then(|| (self.plus as f64 - self.minus as f64) / samples as f64)
    }

    /// Bounds of the mean, each of which holds at all samples together with `(1 + confidence) / 2`: looking at them after every sample and
    /// stopping at will makes them wrong no more often. They do not depend on the order of the samples so far.
    pub fn interval(&self, confidence: Confidence, values: Values) -> Interval {
        let least = match values {
            Values::Shares => 0.0,
            Values::Differences => -1.0,
        };
        let wanted = -confidence.tail().ln();
        let turned = Self { minus: self.plus, none: self.none, plus: self.minus };
        // The capital against a mean grows with it from the mean of the samples on.
        let upper = increasing_root(least, 1.0, |mean| self.ln_capital_against(mean, 1.0) - wanted);
        let lower = match values {
            Values::Differences => -increasing_root(-1.0, 1.0, |mean| turned.ln_capital_against(mean, 1.0) - wanted),
            // Turned over, 0 and 1 are 0 and -1.
            Values::Shares => -increasing_root(-1.0, 0.0, |mean| turned.ln_capital_against(mean, 0.0) - wanted),
        };
        Interval { lower, upper }
    }

    /// The interval on one side of `limit`, or not; the same as asking for it, without solving.
    pub fn against(&self, limit: f64, confidence: Confidence, values: Values) -> Position {
        let wanted = -confidence.tail().ln();
        let turned = Self { minus: self.plus, none: self.none, plus: self.minus };
        let least = match values {
            Values::Shares => 0.0,
            Values::Differences => 1.0,
        };
        let above = turned.ln_capital_against(-limit, least) >= wanted;
        let below = self.ln_capital_against(limit, 1.0) >= wanted;
        match (above, below) {
            (true, true) => Position::At,
            (true, false) => Position::Above,
            (false, true) => Position::Below,
            (false, false) => Position::Straddles,
        }
    }

    /// About how many more samples would put the interval on one side of `limit`, if the shares of the values stay what they are. `None`: none
    /// within a million times as many.
    pub fn samples_more(&self, limit: f64, confidence: Confidence, values: Values) -> Option<u64> {
        let times = |factor: f64| {
            let of = |count: u64| (count as f64 * factor).round() as u64;
            Self { minus: of(self.minus), none: of(self.none), plus: of(self.plus) }
        };
        let decided = |factor: f64| times(factor).against(limit, confidence, values) != Position::Straddles;
        let mut most = 1.0;
        while !decided(most) {
            most *= 2.0;
            if most > 1e6 || self.samples() == 0 {
                return None;
            }
        }
        let mut least = most / 2.0;
        while most > 1.0 && (most - least) * self.samples() as f64 > 1.0 {
            let middle = f64::midpoint(least, most);
            if decided(middle) { most = middle } else { least = middle }
        }
        Some(times(most).samples().saturating_sub(self.samples()))
    }

    /// Logarithm of the capital of somebody who bets that the true mean is below `mean`. A gambler with stake `k` puts `k / (most - mean)` on
    /// each sample: one of the value `most` leaves him `1 - k` of what he had, one below wins.
    fn ln_capital_against(&self, mean: f64, most: f64) -> f64 {
        let room = most - mean;
        if room <= 0.0 {
            return f64::INFINITY;
        }
        let factor = |stake: f64, value: f64| (stake * (mean - value) / room).ln_1p();
        let counts = [(self.minus, -1.0), (self.none, 0.0), (self.plus, 1.0)];
        let of = |(stake, purse): (&f64, &f64)| {
            let won = counts.iter().filter(|(n, _)| *n > 0).map(|(n, value)| *n as f64 * factor(*stake, *value));
            purse.ln() + won.sum::<f64>()
        };
        let each: Vec<f64> = STAKES.iter().zip(&PURSES).map(of).collect();
        let largest = each.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest + each.iter().map(|ln| (ln - largest).exp()).sum::<f64>().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::statistics::{Paired, PairedMethod, Proportion};

    fn tally(minus: u64, none: u64, plus: u64) -> Tally {
        Tally { minus, none, plus }
    }

    #[test]
    fn a_gambler_who_is_wrong_wins_nothing_on_average() {
        // Over all outcomes of one sample, weighted as the mean says, the capital stays 1: values -1, 0, 1 and values 0, 1.
        for mean in [-0.5, -0.01, 0.0, 0.02, 0.3] {
            let (plus, minus) = (0.2 + f64::max(mean, 0.0), 0.2 - f64::min(mean, 0.0));
            let none = 1.0 - plus - minus;
            let after = |t: Tally| t.ln_capital_against(mean, 1.0).exp();
            let average = plus * after(tally(0, 0, 1)) + none * after(tally(0, 1, 0)) + minus * after(tally(1, 0, 0));
            assert!((average - 1.0).abs() < 1e-12, "{mean}: {average}");
        }
        let after = |t: Tally| t.ln_capital_against(-0.3, 0.0).exp();
        assert!((0.7 * after(tally(0, 1, 0)) + 0.3 * after(tally(1, 0, 0)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn bounds_hold_the_mean_turn_with_the_values_and_are_wider_than_those_of_one_look() {
        for (minus, none, plus) in [(0, 370, 0), (1, 368, 1), (4, 1987, 9), (30, 1910, 60), (140, 9760, 100)] {
            let counts = tally(minus, none, plus);
            let found = counts.interval(Confidence::P95, Values::Differences);
            let mean = counts.mean().unwrap();
            assert!(found.lower < mean && mean < found.upper, "{counts:?} {found:?}");
            let turned = tally(plus, none, minus).interval(Confidence::P95, Values::Differences);
            assert!((turned.lower + found.upper).abs() < 1e-9 && (turned.upper + found.lower).abs() < 1e-9);
            let pairs = Paired { both: none, reference_only: plus, candidate_only: minus, neither: 0 };
            let once = pairs.interval(Confidence::P95, PairedMethod::Score);
            for limit in [-0.02, -0.005, 0.0, 0.001, 0.01, 0.02] {
                let asked = counts.against(limit, Confidence::P95, Values::Differences);
                assert_eq!(asked, found.against(limit), "{counts:?} {limit}");
            }
            assert!(found.lower < -once.upper && found.upper > -once.lower, "{found:?} {once:?}");
        }
        for (hits, misses) in [(0, 50), (50, 0), (180, 20), (1, 1)] {
            let found = tally(0, misses, hits).interval(Confidence::P95, Values::Shares);
            let once = Proportion::of_hits_and_misses(hits, misses).wilson(Confidence::P95);
            assert!(found.lower <= once.lower + 1e-9 && found.upper >= once.upper - 1e-9, "{found:?} {once:?}");
            assert!(found.lower >= 0.0 && found.upper <= 1.0);
        }
    }

    #[test]
    fn no_samples_say_nothing() {
        let none = tally(0, 0, 0);
        assert_eq!(none.mean(), None);
        let found = none.interval(Confidence::P95, Values::Differences);
        assert!(found.lower < -0.999 && found.upper > 0.999, "{found:?}");
        let found = none.interval(Confidence::P95, Values::Shares);
        assert!(found.lower < 1e-3 && found.upper > 0.999, "{found:?}");
    }

    #[test]
    fn as_many_more_samples_as_are_told_decide() {
        for (counts, limit) in [(tally(0, 100, 0), 0.01), (tally(2, 380, 1), 0.01), (tally(2, 380, 12), 0.0)] {
            let more = counts.samples_more(limit, Confidence::P95, Values::Differences).unwrap();
            let of = |samples: u64| {
                let part = |n: u64| (n as f64 * samples as f64 / counts.samples() as f64).round() as u64;
                let scaled = tally(part(counts.minus), part(counts.none), part(counts.plus));
                scaled.against(limit, Confidence::P95, Values::Differences)
            };
            let enough = counts.samples() + more;
            assert_ne!(of(enough + 2), Position::Straddles, "{counts:?}: {more}");
            // Of so few that differ, parts are rounded.
            assert_eq!(of(enough * 2 / 3), Position::Straddles, "{counts:?}: {more}");
        }
        assert_eq!(tally(0, 0, 0).samples_more(0.01, Confidence::P95, Values::Differences), None);
        assert_eq!(tally(1, 98, 1).samples_more(0.0, Confidence::P95, Values::Differences), None);
        assert_eq!(tally(0, 900, 0).samples_more(0.01, Confidence::P95, Values::Differences), Some(0));
    }

    #[test]
    fn samples_that_do_not_differ_rule_out_a_point_after_some_hundreds() {
        let one_sided = Confidence::new(0.9).unwrap();
        let upper = |n: u64| tally(0, n, 0).interval(one_sided, Values::Differences).upper;
        assert!(upper(350) > 0.01 && upper(450) < 0.01, "{} {}", upper(350), upper(450));
    }
}
