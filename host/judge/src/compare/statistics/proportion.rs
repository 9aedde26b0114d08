//! A share of samples, with exact and with short intervals.

use super::special::{beta_regularized, increasing_root};
use super::{Confidence, Interval, StatisticsError, growth_needed};
use serde::Serialize;

/// Where an interval lies against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Wholly at or above.
    Above,
    /// Wholly at or below.
    Below,
    /// The interval is the limit itself.
    At,
    /// On both sides: the samples do not decide.
    Straddles,
}

/// `hits` of `total` samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Proportion {
    hits: u64,
    total: u64,
}

impl Proportion {
    /// Errors if there are more hits than samples.
    pub fn new(hits: u64, total: u64) -> Result<Self, StatisticsError> {
        if hits <= total { Ok(Self { hits, total }) } else { Err(StatisticsError::Proportion { hits, total }) }
    }

    /// Share of `true` in a column.
    pub fn of(flags: &[bool]) -> Self {
        Self { hits: flags.iter().filter(|flag| **flag).count() as u64, total: flags.len() as u64 }
    }

    /// From two counts that cannot contradict each other.
    pub fn of_hits_and_misses(hits: u64, misses: u64) -> Self {
        Self { hits, total: hits + misses }
    }

    /// Hits.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Samples.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// `hits / total`; `None` without samples.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0).then(|| self.hits as f64 / self.total as f64)
    }

    /// Exact interval of Clopper and Pearson (1934): covers the truth at least as often as it says. Without samples it is 0..=1.
    pub fn clopper_pearson(&self, confidence: Confidence) -> Interval {
        exact(self.hits as f64, self.total as f64, confidence)
    }

    /// Interval of Wilson (1927): shorter, right on average, not in every case. Without samples it is 0..=1.
    pub fn wilson(&self, confidence: Confidence) -> Interval {
        if self.total == 0 {
            return Interval { lower: 0.0, upper: 1.0 };
        }
        wilson(self.hits as f64, self.total as f64, confidence.z())
    }

    /// About how many samples more until the exact interval leaves `limit` on one side, if the share stays what it is. 0 if it does now;
    /// `None` if no reachable number would do (the share is the limit, or there are no samples).
    pub fn samples_more(&self, limit: f64, confidence: Confidence) -> Option<u64> {
        /// Beyond, the exact interval and Wilson's are the same to many digits, and the exact one takes long.
        const EXACT_MAX: f64 = 1e5;
        let (hits, total) = (self.hits as f64, self.total as f64);
        let straddles = |interval: Interval| interval.against(limit) == Position::Straddles;
        let exactly = |factor: f64| straddles(exact(hits * factor, total * factor, confidence));
        if total > 0.0 && !exactly(1.0) {
            return Some(0);
        }
        // Wilson's interval is a formula and a little shorter: from where it decides, a few steps lead to where the exact one does.
        let wilson = |factor: f64| wilson(hits * factor, total * factor, confidence.z());
        let mut factor = growth_needed(total, |factor| !straddles(wilson(factor)))?;
        while total * factor < EXACT_MAX && exactly(factor) {
            factor = (factor * 1.02).max(factor + 1.0 / total);
        }
        Some(((factor - 1.0) * total).ceil() as u64)
    }
}

/// Wilson's interval for real-valued counts; `total` is above 0.
fn wilson(hits: f64, total: f64, z: f64) -> Interval {
    let share = hits / total;
    let centre = share + z * z / (2.0 * total);
    let half = z * (share * (1.0 - share) / total + z * z / (4.0 * total * total)).sqrt();
    let scale = 1.0 + z * z / total;
    let lower = if hits <= 0.0 { 0.0 } else { (centre - half) / scale };
    let upper = if hits >= total { 1.0 } else { (centre + half) / scale };
    Interval { lower, upper }
}

/// Clopper-Pearson for real-valued counts, so that a prognosis can scale them.
pub(super) fn exact(hits: f64, total: f64, confidence: Confidence) -> Interval {
    let (misses, tail) = (total - hits, confidence.tail());
    let lower =
        if hits <= 0.0 { 0.0 } else { increasing_root(0.0, 1.0, |p| beta_regularized(hits, misses + 1.0, p) - tail) };
    let upper = if misses <= 0.0 {
        1.0
    } else {
        increasing_root(0.0, 1.0, |p| beta_regularized(hits + 1.0, misses, p) - (1.0 - tail))
    };
    Interval { lower, upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_equal_scipy() {
        // scipy.stats.binomtest(k, n).proportion_ci(0.95, method): exact low, exact high, Wilson low, Wilson high
        for (hits, total, expected) in [
            (8, 20, [0.19119006072557054, 0.6394574126927552, 0.21880653237281705, 0.6134184992377467]),
            (9, 20, [0.23057789677591792, 0.6847218669554515, 0.25819785825562425, 0.6579146575496577]),
            (180, 200, [0.8497872121322442, 0.9378406337459338, 0.8505941875672826, 0.9343295513309041]),
            (0, 10, [0.0, 0.30849710781876294, 0.0, 0.27753279986288926]),
            (10, 10, [0.6915028921812371, 1.0, 0.7224672001371109, 1.0]),
        ] {
            let proportion = Proportion::new(hits, total).unwrap();
            let (exact, wilson) = (proportion.clopper_pearson(Confidence::P95), proportion.wilson(Confidence::P95));
            let values = [exact.lower, exact.upper, wilson.lower, wilson.upper];
            for (value, expected) in values.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-9, "{hits}/{total}: {values:?}, expected {expected:?}");
            }
        }
    }

    #[test]
    fn no_samples_say_nothing() {
        let none = Proportion::new(0, 0).unwrap();
        assert_eq!(none.share(), None);
        for interval in [none.clopper_pearson(Confidence::P95), none.wilson(Confidence::P95)] {
            assert_eq!(interval, Interval { lower: 0.0, upper: 1.0 });
        }
        assert_eq!(none.samples_more(0.5, Confidence::P95), None);
        assert!(Proportion::new(2, 1).is_err());
        assert!([0.0, 1.0, -1.0, f64::NAN].into_iter().all(|share| Confidence::new(share).is_err()));
    }

    #[test]
    fn one_disagreement_in_twenty_decides_nothing() {
        let (eight, nine) = (Proportion::new(8, 20).unwrap(), Proportion::new(9, 20).unwrap());
        assert_eq!(eight.clopper_pearson(Confidence::P95).against(0.45), Position::Straddles);
        assert_eq!(nine.clopper_pearson(Confidence::P95).against(0.40), Position::Straddles);
    }

    #[test]
    fn the_promised_samples_decide() {
        let now = Proportion::new(180, 200).unwrap();
        assert_eq!(now.clopper_pearson(Confidence::P95).against(0.88), Position::Straddles);
        let more = now.samples_more(0.88, Confidence::P95).unwrap();
        let later = Proportion::new((180 * (200 + more)).div_ceil(200), 200 + more).unwrap();
        assert_eq!(later.clopper_pearson(Confidence::P95).against(0.88), Position::Above);
        assert_eq!(now.samples_more(0.5, Confidence::P95), Some(0));
        assert_eq!(now.samples_more(0.9, Confidence::P95), None, "the share is the limit");
    }
}
