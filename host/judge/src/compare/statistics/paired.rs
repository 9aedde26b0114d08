//! The same samples answered by reference and candidate: only those on which they part say anything about the difference.

use super::proportion::{Position, exact};
use super::special::{binomial_cdf, increasing_root};
use super::{Confidence, Interval, StatisticsError, growth_needed};
use serde::Serialize;

/// Samples by who was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Paired {
    /// Both right.
    pub both: u64,
    /// Only the reference right: what the candidate lost.
    pub reference_only: u64,
    /// Only the candidate right: what it won.
    pub candidate_only: u64,
    /// Both wrong.
    pub neither: u64,
}

/// Which interval for the difference of two paired shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairedMethod {
    /// Score interval of Tango (1998). Close to its confidence, also where few or no samples differ; the one to use.
    Score,
    /// Difference of two exact intervals, each at half the error. Never covers less often than it says; wider.
    Exact,
}

impl Paired {
    /// Counts two columns of the same samples.
    pub fn of(reference: &[bool], candidate: &[bool]) -> Result<Self, StatisticsError> {
        if reference.len() != candidate.len() {
            return Err(StatisticsError::Length { expected: reference.len(), got: candidate.len() });
        }
        let mut counts = Self::default();
        for pair in reference.iter().zip(candidate) {
            match pair {
                (true, true) => counts.both += 1,
                (true, false) => counts.reference_only += 1,
                (false, true) => counts.candidate_only += 1,
                (false, false) => counts.neither += 1,
            }
        }
        Ok(counts)
    }

    /// Samples.
    pub fn total(&self) -> u64 {
        self.both + self.reference_only + self.candidate_only + self.neither
    }

    /// Candidate's share minus reference's; `None` without samples.
    pub fn difference(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| (self.candidate_only as f64 - self.reference_only as f64) / total as f64)
    }

    /// Exact McNemar test, two-sided: the probability of samples that part at least this unevenly if neither is better.
    pub fn mcnemar_p(&self) -> f64 {
        let discordant = self.reference_only + self.candidate_only;
        (2.0 * binomial_cdf(self.reference_only.min(self.candidate_only), discordant, 0.5)).min(1.0)
    }

    /// Exact McNemar test, one-sided: the probability of at least so many losses among the samples that part if the candidate is not worse.
    pub fn regression_p(&self) -> f64 {
        let discordant = self.reference_only + self.candidate_only;
        // At least `reference_only` losses are at most `candidate_only` wins.
        binomial_cdf(self.candidate_only, discordant, 0.5)
    }

    /// Interval for [`Paired::difference`]. Without samples it is -1..=1.
    pub fn interval(&self, confidence: Confidence, method: PairedMethod) -> Interval {
        self.scaled(1.0).interval(confidence, method)
    }

    /// About how many samples more until the interval leaves `limit` (a difference, negative for a loss) on one side, if the shares stay what
    /// they are. 0 if it does now; `None` if no reachable number would do.
    pub fn samples_more(&self, limit: f64, confidence: Confidence, method: PairedMethod) -> Option<u64> {
        let total = self.total() as f64;
        let decided =
            |factor: f64| self.scaled(factor).interval(confidence, method).against(limit) != Position::Straddles;
        growth_needed(total, decided).map(|factor| ((factor - 1.0) * total).ceil() as u64)
    }

    fn scaled(&self, factor: f64) -> Discordant {
        Discordant {
            won: self.candidate_only as f64 * factor,
            lost: self.reference_only as f64 * factor,
            total: self.total() as f64 * factor,
        }
    }
}

/// Does Tango's lower bound, `z` standard deviations away, lie at or above `difference`? The same as asking for the interval, without solving.
pub(super) fn holds_above(won: u64, lost: u64, total: u64, difference: f64, z: f64) -> bool {
    let counts = Discordant { won: won as f64, lost: lost as f64, total: total as f64 };
    total > 0 && counts.score(difference) >= z
}

/// Real-valued counts, so that a prognosis can scale them.
struct Discordant {
    won: f64,
    lost: f64,
    total: f64,
}

impl Discordant {
    fn interval(&self, confidence: Confidence, method: PairedMethod) -> Interval {
        if self.total <= 0.0 {
            return Interval { lower: -1.0, upper: 1.0 };
        }
        match method {
            PairedMethod::Score => self.score_interval(confidence.z()),
            PairedMethod::Exact => {
                let each = confidence.of_each_of_two();
                let (won, lost) = (exact(self.won, self.total, each), exact(self.lost, self.total, each));
                Interval { lower: won.lower - lost.upper, upper: won.upper - lost.lower }
            }
        }
    }

    fn score_interval(&self, z: f64) -> Interval {
        let estimate = (self.won - self.lost) / self.total;
        Interval {
            lower: increasing_root(-1.0, estimate, |difference| z - self.score(difference)),
            upper: increasing_root(estimate, 1.0, |difference| -z - self.score(difference)),
        }
    }

    /// Tango's score: how many standard deviations the counts lie above what `difference` predicts. Falls as `difference` rises.
    fn score(&self, difference: f64) -> f64 {
        let Self { won, lost, total } = *self;
        let excess = won - lost - total * difference;
        if excess == 0.0 {
            return 0.0;
        }
        // Share of losses that is most likely if the true difference is `difference`: the larger root of a q^2 + b q + c.
        let a = 2.0 * total;
        let b = -won - lost + (2.0 * total - won + lost) * difference;
        let c = -lost * difference * (1.0 - difference);
        let loss_share = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
        let variance = total * (2.0 * loss_share + difference * (1.0 - difference));
        if variance > 0.0 { excess / variance.sqrt() } else { excess * f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(won: u64, lost: u64, total: u64) -> Paired {
        Paired { both: total - won - lost, reference_only: lost, candidate_only: won, neither: 0 }
    }

    #[test]
    fn score_intervals_equal_a_brute_force_likelihood() {
        // Each end found with scipy by maximising the trinomial likelihood numerically under the constraint and solving for the score.
        for (won, lost, total, lower, upper) in [
            (0, 1, 370, -0.015148245190459, 0.007600705448187),
            (4, 9, 2000, -0.006765287895221, 0.001197022816827),
            (12, 2, 50, 0.061112407431046, 0.344708747645492),
            (30, 60, 2000, -0.024704924085674, -0.005827966775982),
        ] {
            let interval = paired(won, lost, total).interval(Confidence::P95, PairedMethod::Score);
            assert!((interval.lower - lower).abs() < 1e-6, "{won} {lost} {total}: {interval:?}");
            assert!((interval.upper - upper).abs() < 1e-6, "{won} {lost} {total}: {interval:?}");
        }
    }

    #[test]
    fn identical_answers_are_not_certainty() {
        for method in [PairedMethod::Score, PairedMethod::Exact] {
            let interval = paired(0, 0, 370).interval(Confidence::P95, method);
            // z^2 / (n + z^2) for the score interval.
            assert!(interval.lower < -0.0098 && interval.upper > 0.0098, "{interval:?}");
            assert!(interval.lower > -0.02);
        }
    }

    #[test]
    fn roles_are_not_symmetric() {
        let (worse, better) = (paired(2, 12, 100), paired(12, 2, 100));
        assert_eq!(worse.difference(), Some(-0.1));
        assert!(worse.regression_p() < 0.01 && better.regression_p() > 0.99);
        assert_eq!(worse.mcnemar_p(), better.mcnemar_p());
        let (a, b) = (
            worse.interval(Confidence::P95, PairedMethod::Score),
            better.interval(Confidence::P95, PairedMethod::Score),
        );
        assert!((a.lower + b.upper).abs() < 1e-12 && (a.upper + b.lower).abs() < 1e-12);
    }

    #[test]
    fn mcnemar_equals_scipy() {
        // scipy.stats.binomtest(k, n, 0.5): two-sided, and one-sided for the losses
        for (won, lost, two_sided, losses) in
            [(4, 9, 0.266845703125, 0.1334228515625), (2, 12, 0.012939453125, 0.0064697265625), (0, 5, 0.0625, 0.03125)]
        {
            let counts = paired(won, lost, 100);
            assert!((counts.mcnemar_p() - two_sided).abs() < 1e-12);
            assert!((counts.regression_p() - losses).abs() < 1e-12);
        }
        assert_eq!(paired(0, 0, 9).mcnemar_p(), 1.0);
        assert_eq!(paired(0, 0, 9).regression_p(), 1.0);
    }

    #[test]
    fn the_promised_samples_decide() {
        let now = paired(1, 2, 370);
        let limit = -0.01;
        assert_eq!(now.interval(Confidence::P95, PairedMethod::Score).against(limit), Position::Straddles);
        let more = now.samples_more(limit, Confidence::P95, PairedMethod::Score).unwrap();
        // The next multiple of what was seen, so that the shares stay exactly the same.
        let times = (370 + more).div_ceil(370);
        let later = paired(times, 2 * times, 370 * times);
        assert_eq!(later.interval(Confidence::P95, PairedMethod::Score).against(limit), Position::Above);
        assert_eq!(now.samples_more(-0.5, Confidence::P95, PairedMethod::Score), Some(0));
    }

    #[test]
    fn pairing_needs_a_sixth_of_the_samples() {
        // 3 % of the samples part, the true loss is 0.3 points, the margin one point, 95 % one-sided: about 1,660 pairs.
        let observed = Paired { both: 89_000, reference_only: 1_650, candidate_only: 1_350, neither: 8_000 };
        let confidence = Confidence::new(0.9).unwrap();
        let few = Paired { both: 890, reference_only: 17, candidate_only: 14, neither: 79 };
        assert!(observed.interval(confidence, PairedMethod::Score).lower > -0.01);
        let needed = few.total() + few.samples_more(-0.01, confidence, PairedMethod::Score).unwrap();
        assert!((1_400..2_000).contains(&needed), "{needed}");
    }

    /// Exact coverage by enumeration over all outcomes, no simulation.
    #[test]
    fn coverage_is_near_or_above_the_confidence() {
        for (win, lose) in [(0.005, 0.005), (0.01, 0.03), (0.05, 0.05), (0.2, 0.1)] {
            for total in [50_u64, 120] {
                let truth = win - lose;
                let (mut score, mut exact) = (0.0, 0.0);
                for won in 0..=total {
                    for lost in 0..=(total - won).min(40) {
                        let probability = trinomial(won, lost, total, win, lose);
                        if probability < 1e-9 {
                            continue;
                        }
                        let covers = |method| {
                            let interval = paired(won, lost, total).interval(Confidence::P95, method);
                            interval.lower <= truth && truth <= interval.upper
                        };
                        score += if covers(PairedMethod::Score) { probability } else { 0.0 };
                        exact += if covers(PairedMethod::Exact) { probability } else { 0.0 };
                    }
                }
                assert!(score > 0.93, "score {score} at {win} {lose} {total}");
                assert!(exact > 0.95, "exact {exact} at {win} {lose} {total}");
            }
        }
    }

    fn trinomial(won: u64, lost: u64, total: u64, win: f64, lose: f64) -> f64 {
        let ln_factorial = |n: u64| (1..=n).map(|i| (i as f64).ln()).sum::<f64>();
        let rest = total - won - lost;
        (ln_factorial(total) - ln_factorial(won) - ln_factorial(lost) - ln_factorial(rest)
            + won as f64 * win.ln()
            + lost as f64 * lose.ln()
            + rest as f64 * (1.0 - win - lose).ln())
        .exp()
    }
}
