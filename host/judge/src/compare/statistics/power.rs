//! How many samples it takes, asked before anything is measured.

use super::normal_quantile;
use super::paired::holds_above;
use super::special::binomial_cdf;
use serde::Serialize;

/// What is expected of a candidate and what is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Expected {
    /// Largest loss that may pass, as a share: the limit of the rule.
    pub margin: f64,
    /// True loss, as a share; below the margin.
    pub drop: f64,
    /// Share of the samples on which reference and candidate part, one right and the other wrong.
    pub discordant: f64,
    /// Confidence of the rule, one-sided.
    pub confidence: f64,
}

/// An expectation that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum PowerError {
    #[error("a margin lies above 0 and below 1, got {got}")]
    Margin { got: f64 },
    #[error("a loss of {drop} cannot be shown to be below {margin}: it must be smaller")]
    Drop { drop: f64, margin: f64 },
    #[error(
        "a loss of {drop} needs at least as large a share of samples on which the answers part, and at most 1; got {got}"
    )]
    Discordant { drop: f64, got: f64 },
    #[error("{what} lies above {above} and below 1, got {got}")]
    Share { what: &'static str, above: f64, got: f64 },
    #[error("not even {samples} samples would do")]
    TooMany { samples: u64 },
}

/// Nobody collects more.
const SAMPLES_MAX: u64 = 10_000_000;

impl Expected {
    fn check(&self) -> Result<(), PowerError> {
        let Self { margin, drop, discordant, confidence } = *self;
        match () {
            () if !(margin > 0.0 && margin < 1.0) => Err(PowerError::Margin { got: margin }),
            // Written so that what is not a number is refused, too.
            () if !(drop < margin && drop > -1.0) => Err(PowerError::Drop { drop, margin }),
            () if !(discordant >= drop.abs() && discordant <= 1.0) => {
                Err(PowerError::Discordant { drop: drop.abs(), got: discordant })
            }
            () => check_share("a confidence", 0.5, confidence),
        }
    }

    fn z(&self) -> f64 {
        normal_quantile(self.confidence)
    }

    /// Probability that the gate's rule on `samples` pairs passes: Tango's bound of the loss at most the margin. Exact: the sum over all counts
    /// of samples on which the answers part (binomial) and of losses among them (binomial again), each held against the rule itself.
    pub fn power_paired(&self, samples: u64) -> Result<f64, PowerError> {
        self.check()?;
        Ok(self.power(samples))
    }

    fn power(&self, samples: u64) -> f64 {
        let passes = |parted: u64, lost: u64| holds_above(parted - lost, lost, samples, -self.margin, self.z());
        if self.discordant <= 0.0 {
            return f64::from(u8::from(passes(0, 0)));
        }
        let lost_share = (self.discordant + self.drop) / (2.0 * self.discordant);
        let (n, d) = (samples as f64, self.discordant);
        // What lies further out adds less than 1e-15 of probability.
        let reach = 9.0 * (n * d * (1.0 - d)).sqrt() + 9.0;
        let (first, last) = ((n * d - reach).max(0.0) as u64, ((n * d + reach) as u64).min(samples));
        let mut below = if first == 0 { 0.0 } else { binomial_cdf(first - 1, samples, d) };
        let mut sum = 0.0;
        for parted in first..=last {
            let up_to = binomial_cdf(parted, samples, d);
            if let Some(lost) = most_lost(parted, |lost| passes(parted, lost)) {
                sum += (up_to - below) * binomial_cdf(lost, parted, lost_share);
            }
            below = up_to;
        }
        sum.clamp(0.0, 1.0)
    }

    /// Pairs from which on the rule passes with this probability.
    pub fn samples_paired(&self, power: f64) -> Result<u64, PowerError> {
        self.check()?;
        check_share("a power", 0.0, power)?;
        least(|samples| self.power(samples) >= power)
    }

    /// Samples *of each side* when reference and candidate answer different samples, both about as often right as `accuracy` says:
    /// `2 p (1 - p) ((z_confidence + z_power) / (margin - drop))^2` (Farrington and Manning 1990, with the variance of the alternative). The
    /// gate has no such rule, since it always has pairs; it shows what they save.
    pub fn samples_unpaired(&self, accuracy: f64, power: f64) -> Result<u64, PowerError> {
        self.check()?;
        check_share("a power", 0.0, power)?;
        check_share("an accuracy", 0.0, accuracy)?;
        let after = (accuracy - self.drop).clamp(0.0, 1.0);
        let variance = accuracy * (1.0 - accuracy) + after * (1.0 - after);
        let z = self.z() + normal_quantile(power);
        // Less than half the power is reached by chance.
        let samples = (variance * (z.max(0.0) / (self.margin - self.drop)).powi(2)).ceil().max(1.0);
        if samples > SAMPLES_MAX as f64 {
            Err(PowerError::TooMany { samples: SAMPLES_MAX })
        } else {
            Ok(samples as u64)
        }
    }

    /// The smallest margin that so many pairs show with this power, to a thousandth of a point; `None` if none does.
    pub fn margin_shown_by(&self, samples: u64, power: f64) -> Option<f64> {
        /// A thousandth of a point.
        const STEP: f64 = 1e-5;
        let shown = |steps: u64| Self { margin: steps as f64 * STEP, ..*self }.power(samples) >= power;
        let lowest = (self.drop.max(0.0) / STEP) as u64 + 1;
        let highest = (1.0 / STEP) as u64 - 1;
        let (mut low, mut high) = (lowest, highest);
        if !shown(high) {
            return None;
        }
        while low < high {
            let middle = low.midpoint(high);
            if shown(middle) { high = middle } else { low = middle + 1 }
        }
        Some(high as f64 * STEP)
    }
}

fn check_share(what: &'static str, above: f64, got: f64) -> Result<(), PowerError> {
    if got > above && got < 1.0 { Ok(()) } else { Err(PowerError::Share { what, above, got }) }
}

/// The most losses among the parted samples that still pass; the fewer, the better.
fn most_lost(parted: u64, passes: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (0, parted);
    if !passes(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if passes(middle) { low = middle } else { high = middle - 1 }
    }
    Some(low)
}

/// Where the counts allow it for good: chances go up in teeth, because samples are whole.
fn least(holds: impl Fn(u64) -> bool) -> Result<u64, PowerError> {
    let mut high = 1;
    while !holds(high) {
        high *= 2;
        if high > SAMPLES_MAX {
            return Err(PowerError::TooMany { samples: SAMPLES_MAX });
        }
    }
    let mut low = high / 2 + 1;
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    // Past the last tooth that falls below within the next twentieth.
    let step = (high / 400).max(1);
    let later = (1..=20).rev().map(|i| high + i * step).find(|samples| !holds(*samples));
    Ok(later.map_or(high, |tooth| tooth + step))
}

#[cfg(test)]
mod tests {
    use super::super::{Confidence, Paired, PairedMethod};
    use super::*;

    fn expected(margin: f64, drop: f64, discordant: f64) -> Expected {
        Expected { margin, drop, discordant, confidence: 0.95 }
    }

    #[test]
    fn pairing_saves_five_sixths() {
        let found = expected(0.01, 0.003, 0.03);
        // Counts are whole, so the exact number lies a little higher. By the normal distribution 1,660 and 3,790 pairs, 9,940 and 22,720 samples of each side.
        for (power, paired, unpaired) in [(0.5, 1_660.0, 9_940.0), (0.8, 3_790.0, 22_720.0)] {
            let pairs = found.samples_paired(power).unwrap() as f64;
            assert!((pairs / paired - 1.0).abs() < 0.08, "{power}: {pairs}");
            let each = found.samples_unpaired(0.9, power).unwrap() as f64;
            assert!((each / unpaired - 1.0).abs() < 0.03, "{power}: {each}");
        }
    }

    #[test]
    fn power_is_the_share_of_passes_over_all_outcomes() {
        let (asked, samples) = (expected(0.05, 0.01, 0.06), 150_u64);
        let (lose, win) = ((0.06 + 0.01) / 2.0, (0.06 - 0.01) / 2.0);
        let ln_factorial = |n: u64| (1..=n).map(|i| (i as f64).ln()).sum::<f64>();
        let mut sum = 0.0;
        for lost in 0..=40_u64 {
            for won in 0..=40_u64 {
                let rest = samples - won - lost;
                let ln = ln_factorial(samples) - ln_factorial(lost) - ln_factorial(won) - ln_factorial(rest)
                    + lost as f64 * f64::ln(lose)
                    + won as f64 * f64::ln(win)
                    + rest as f64 * (1.0 - lose - win).ln();
                let paired = Paired { both: rest, reference_only: lost, candidate_only: won, neither: 0 };
                let both = Confidence::new(0.9).unwrap();
                if paired.interval(both, PairedMethod::Score).lower >= -0.05 {
                    sum += ln.exp();
                }
            }
        }
        let power = asked.power_paired(samples).unwrap();
        assert!((power - sum).abs() < 1e-9, "{power} {sum}");
    }

    #[test]
    fn identical_answers_pass_from_where_the_bound_does() {
        // z^2 / (n + z^2) <= 0.01
        assert_eq!(expected(0.01, 0.0, 0.0).samples_paired(0.95).unwrap(), 268);
        assert!((expected(0.01, 0.0, 0.0).margin_shown_by(268, 0.95).unwrap() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn the_promised_samples_and_all_after_them_do() {
        let asked = expected(0.02, 0.0, 0.04);
        let samples = asked.samples_paired(0.9).unwrap();
        for more in [0, 1, 7, 50, 400] {
            assert!(asked.power_paired(samples + more).unwrap() >= 0.9 - 1e-3, "{more}");
        }
        assert!(asked.power_paired(samples * 9 / 10).unwrap() < 0.9);
        let margin = asked.margin_shown_by(samples, 0.9).unwrap();
        assert!((0.019..=0.02).contains(&margin), "{margin}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong = |e: Expected| e.samples_paired(0.95).is_err();
        assert!(
            wrong(expected(0.0, 0.0, 0.03)) && wrong(expected(0.01, 0.01, 0.03)) && wrong(expected(f64::NAN, 0.0, 0.1))
        );
        assert!(wrong(expected(0.01, 0.005, 0.001)) && wrong(expected(0.01, f64::NAN, 0.03)));
        assert!(wrong(Expected { confidence: 0.4, ..expected(0.01, 0.0, 0.03) }));
        assert!(expected(0.01, 0.0, 0.03).samples_paired(1.0).is_err());
        assert!(expected(0.01, 0.0, 0.03).samples_unpaired(1.5, 0.9).is_err());
        assert!(matches!(expected(1e-6, 0.0, 0.5).samples_paired(0.9), Err(PowerError::TooMany { .. })));
    }
}
