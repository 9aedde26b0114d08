//! Area under the ROC curve by ranks, and the difference of two of them on the same samples (DeLong, DeLong and Clarke-Pearson 1988, computed
//! from sorted scores as Sun and Xu 2014).

use super::{Confidence, Interval, Position, StatisticsError, growth_needed};
use serde::Serialize;

/// Probability that a positive sample scores higher than a negative one, ties counting half. `None` when a class is missing.
///
/// A score that is not finite counts as the worst it can be: below everything for a positive sample, above everything for a negative one.
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> Result<Option<f64>, StatisticsError> {
    let Some(placements) = Placements::of(scores, positive)? else { return Ok(None) };
    Ok(Some(mean(&placements.positives)))
}

/// One AUC with its spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Auc {
    /// The area.
    pub value: f64,
    /// DeLong's variance of it.
    pub variance: f64,
    /// Samples of the positive class.
    pub positives: u64,
    /// Samples of the negative class.
    pub negatives: u64,
}

/// Area under the curve with DeLong's variance. `None` when a class has fewer than two samples.
pub fn auc(scores: &[f64], positive: &[bool]) -> Result<Option<Auc>, StatisticsError> {
    let Some(placements) = Placements::of(scores, positive)? else { return Ok(None) };
    let (high, low) = (&placements.positives, &placements.negatives);
    let (Some(among_high), Some(among_low)) = (variance(high), variance(low)) else { return Ok(None) };
    Ok(Some(Auc {
        value: mean(high),
        variance: among_high / high.len() as f64 + among_low / low.len() as f64,
        positives: high.len() as u64,
        negatives: low.len() as u64,
    }))
}

impl Auc {
    /// DeLong's interval on the scale of log odds, which keeps it within 0..=1 and right near the ends, widened to what the smaller class could
    /// hide (see [`PairedAuc::cautious_interval`]): a perfect ranking of few samples is not certainty.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        self.grown(1.0, confidence)
    }

    /// The interval if there were `factor` times as many samples of the same kind.
    fn grown(&self, factor: f64, confidence: Confidence) -> Interval {
        let (a, z) = (self.value, confidence.z());
        let hidden = hidden(self.positives.min(self.negatives) as f64 * factor, z);
        let half = z * (self.variance / factor).sqrt() / (a * (1.0 - a));
        let (lower, upper) = if a > 0.0 && a < 1.0 {
            let odds = (a / (1.0 - a)).ln();
            let share = |odds: f64| 1.0 / (1.0 + (-odds).exp());
            (share(odds - half), share(odds + half))
        } else {
            (a, a)
        };
        Interval { lower: lower.min(a - hidden).max(0.0), upper: upper.max(a + hidden).min(1.0) }
    }

    /// About how many samples more, in the same proportion of classes, until the interval leaves `limit` on one side.
    pub fn samples_more(&self, limit: f64, confidence: Confidence) -> Option<u64> {
        let total = (self.positives + self.negatives) as f64;
        let decided = |factor: f64| self.grown(factor, confidence).against(limit) != Position::Straddles;
        growth_needed(total, decided).map(|factor| ((factor - 1.0) * total).ceil() as u64)
    }
}

/// What `n` samples without a single difference could hide.
fn hidden(n: f64, z: f64) -> f64 {
    z * z / (n + z * z)
}

/// Two AUCs on the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedAuc {
    /// AUC of the reference.
    pub reference: f64,
    /// AUC of the candidate.
    pub candidate: f64,
    /// DeLong's variance of their difference.
    pub variance: f64,
    /// Samples of the positive class.
    pub positives: u64,
    /// Samples of the negative class.
    pub negatives: u64,
    /// Scores of the reference that are not finite.
    pub reference_non_finite: u64,
    /// Scores of the candidate that are not finite.
    pub candidate_non_finite: u64,
}

/// Compares the scores of reference and candidate on the same samples. `None` when a class is missing, or has one sample only and so no
/// variance.
pub fn paired_auc(
    reference: &[f64],
    candidate: &[f64],
    positive: &[bool],
) -> Result<Option<PairedAuc>, StatisticsError> {
    let (Some(r), Some(c)) = (Placements::of(reference, positive)?, Placements::of(candidate, positive)?) else {
        return Ok(None);
    };
    let (Some(among_positives), Some(among_negatives)) =
        (variance_of_difference(&r.positives, &c.positives), variance_of_difference(&r.negatives, &c.negatives))
    else {
        return Ok(None);
    };
    let non_finite = |scores: &[f64]| scores.iter().filter(|score| !score.is_finite()).count() as u64;
    Ok(Some(PairedAuc {
        reference: mean(&r.positives),
        candidate: mean(&c.positives),
        variance: among_positives / r.positives.len() as f64 + among_negatives / r.negatives.len() as f64,
        positives: r.positives.len() as u64,
        negatives: r.negatives.len() as u64,
        reference_non_finite: non_finite(reference),
        candidate_non_finite: non_finite(candidate),
    }))
}

impl PairedAuc {
    /// Candidate minus reference.
    pub fn difference(&self) -> f64 {
        self.candidate - self.reference
    }

    /// DeLong's interval for the difference: normal, good with some dozens of each class. Its width is zero when every sample keeps its place;
    /// [`PairedAuc::resolution`] says what such samples could have missed.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        let half = confidence.z() * self.variance.sqrt();
        let difference = self.difference();
        Interval { lower: (difference - half).max(-1.0), upper: (difference + half).min(1.0) }
    }

    /// The interval widened, where it is narrower, to a difference that the smaller class could hide: `z^2 / (n + z^2)`, which is what a paired
    /// share of `n` samples without a single difference has. Use it to claim that nothing was lost.
    pub fn cautious_interval(&self, confidence: Confidence) -> Interval {
        self.grown(1.0, confidence)
    }

    /// The cautious interval if there were `factor` times as many samples of the same kind.
    fn grown(&self, factor: f64, confidence: Confidence) -> Interval {
        let plain = confidence.z() * (self.variance / factor).sqrt();
        let hidden = hidden(self.positives.min(self.negatives) as f64 * factor, confidence.z());
        let (difference, half) = (self.difference(), plain.max(hidden));
        Interval { lower: (difference - half).max(-1.0), upper: (difference + half).min(1.0) }
    }

    /// Smallest difference that samples of this number can exclude.
    pub fn resolution(&self, confidence: Confidence) -> f64 {
        hidden(self.positives.min(self.negatives) as f64, confidence.z())
    }

    /// About how many samples more, in the same proportion of classes, until the cautious interval leaves `limit` (a difference, negative for a
    /// loss) on one side, if difference and spread stay what they are. 0 if it does now; `None` if no reachable number would do.
    pub fn samples_more(&self, limit: f64, confidence: Confidence) -> Option<u64> {
        let total = (self.positives + self.negatives) as f64;
        let decided = |factor: f64| self.grown(factor, confidence).against(limit) != Position::Straddles;
        growth_needed(total, decided).map(|factor| ((factor - 1.0) * total).ceil() as u64)
    }
}

/// For each sample, the share of the other class that it beats (positives) or that beats it (negatives), ties half.
struct Placements {
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

impl Placements {
    /// `None` when a class is missing.
    fn of(scores: &[f64], positive: &[bool]) -> Result<Option<Self>, StatisticsError> {
        if scores.len() != positive.len() {
            return Err(StatisticsError::Length { expected: positive.len(), got: scores.len() });
        }
        let (mut high, mut low) = (Vec::new(), Vec::new());
        for (score, positive) in scores.iter().zip(positive) {
            match (positive, score.is_finite()) {
                (true, finite) => high.push(if finite { *score } else { f64::NEG_INFINITY }),
                (false, finite) => low.push(if finite { *score } else { f64::INFINITY }),
            }
        }
        if high.is_empty() || low.is_empty() {
            return Ok(None);
        }
        let (m, n) = (high.len() as f64, low.len() as f64);
        let (sorted_high, sorted_low) = (Sorted::of(&high), Sorted::of(&low));
        let positives = sorted_high.above(&sorted_low).map(|beaten| beaten / n);
        let negatives = sorted_low.above(&sorted_high).map(|beaten| 1.0 - beaten / m);
        Ok(Some(Self { positives: sorted_high.put_back(positives), negatives: sorted_low.put_back(negatives) }))
    }
}

/// Scores in ascending order, each with where it came from. None is NaN.
struct Sorted(Vec<(f64, usize)>);

impl Sorted {
    fn of(scores: &[f64]) -> Self {
        let mut sorted: Vec<(f64, usize)> = scores.iter().copied().zip(0..).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Self(sorted)
    }

    /// For each of these in turn, how many of the others lie below it, equals counting half: its midrank among all less that among its own.
    fn above(&self, others: &Self) -> impl Iterator<Item = f64> {
        let (mut below, mut up_to) = (0, 0);
        self.0.iter().map(move |(score, _)| {
            // `<` and not the order of bits: both zeros are equal.
            below += others.0[below..].iter().take_while(|other| other.0 < *score).count();
            up_to = up_to.max(below);
            up_to += others.0[up_to..].iter().take_while(|other| other.0 <= *score).count();
            below as f64 + (up_to - below) as f64 / 2.0
        })
    }

    /// Values in this order, back where their scores came from.
    fn put_back(&self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut back = vec![0.0; self.0.len()];
        for ((_, from), value) in self.0.iter().zip(values) {
            back[*from] = value;
        }
        back
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Variance, with `n - 1`, of the samplewise difference; `None` below two samples.
fn variance_of_difference(reference: &[f64], candidate: &[f64]) -> Option<f64> {
    variance(&reference.iter().zip(candidate).map(|(r, c)| c - r).collect::<Vec<f64>>())
}

fn variance(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    Some(values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (values.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITIVE: [bool; 10] = [true, false, true, false, true, false, false, true, false, false];
    const REFERENCE: [f64; 10] = [0.9, 0.1, 0.8, 0.3, 0.4, 0.4, 0.2, 0.7, 0.6, 0.05];
    const CANDIDATE: [f64; 10] = [0.8, 0.2, 0.8, 0.3, 0.3, 0.5, 0.2, 0.7, 0.9, 0.05];

    #[test]
    fn equals_sklearn_and_a_direct_delong() {
        // sklearn.metrics.roc_auc_score, and DeLong's variance from the full matrix of comparisons in numpy
        let paired = paired_auc(&REFERENCE, &CANDIDATE, &POSITIVE).unwrap().unwrap();
        assert!((paired.reference - 0.9375).abs() < 1e-15);
        assert!((paired.candidate - 0.7708333333333334).abs() < 1e-15);
        assert!((paired.variance - 0.014236111111111114).abs() < 1e-15);
        assert_eq!((paired.positives, paired.negatives), (4, 6));
        let interval = paired.interval(Confidence::P95);
        assert!((interval.lower + 0.1666666667 + 1.959963984540054 * 0.014236111111111114_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_missing_class_has_no_auc() {
        assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), Ok(None));
        assert_eq!(roc_auc(&[], &[]), Ok(None));
        assert!(roc_auc(&[0.1], &[true, false]).is_err());
        assert_eq!(
            paired_auc(&[0.1, 0.2], &[0.1, 0.2], &[true, false]),
            Ok(None),
            "one sample per class has no variance"
        );
    }

    #[test]
    fn constant_scores_are_a_coin() {
        assert_eq!(roc_auc(&[0.0, -0.0, 0.0], &[true, false, true]), Ok(Some(0.5)));
    }

    #[test]
    fn scores_that_are_not_finite_are_the_worst_possible() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let scores = |at: usize| {
                let mut scores = REFERENCE;
                scores[at] = bad;
                scores
            };
            // A positive loses all six comparisons, a negative all four.
            let paired = paired_auc(&REFERENCE, &scores(0), &POSITIVE).unwrap().unwrap();
            assert!((paired.difference() + 6.0 / 24.0).abs() < 1e-12, "{bad}");
            assert_eq!((paired.reference_non_finite, paired.candidate_non_finite), (0, 1));
            assert!((roc_auc(&scores(1), &POSITIVE).unwrap().unwrap() - (0.9375 - 4.0 / 24.0)).abs() < 1e-12, "{bad}");
        }
    }

    #[test]
    fn identical_scores_differ_by_nothing_but_are_not_certainty() {
        let paired = paired_auc(&REFERENCE, &REFERENCE, &POSITIVE).unwrap().unwrap();
        assert_eq!((paired.difference(), paired.variance), (0.0, 0.0));
        assert_eq!(paired.interval(Confidence::P95), Interval { lower: 0.0, upper: 0.0 });
        let cautious = paired.cautious_interval(Confidence::P95);
        assert!(cautious.lower < -0.4 && cautious.upper > 0.4, "four positives show little: {cautious:?}");
    }

    #[test]
    fn the_promised_samples_decide() {
        let paired = paired_auc(&REFERENCE, &CANDIDATE, &POSITIVE).unwrap().unwrap();
        let more = paired.samples_more(-0.1, Confidence::P95).unwrap();
        let factor = (10.0 + more as f64) / 10.0;
        let grown = |n: u64| (n as f64 * factor).ceil() as u64;
        let (positives, negatives) = (grown(paired.positives), grown(paired.negatives));
        let later = PairedAuc { variance: paired.variance / factor, positives, negatives, ..paired };
        assert!(later.cautious_interval(Confidence::P95).upper <= -0.1);
        let same = paired_auc(&REFERENCE, &REFERENCE, &POSITIVE).unwrap().unwrap();
        assert!(
            same.samples_more(-0.1, Confidence::P95).unwrap() > 20,
            "identical scores of ten samples decide nothing"
        );
        assert_eq!(paired.samples_more(0.9, Confidence::P95), Some(0));
        assert_eq!(paired.samples_more(paired.difference(), Confidence::P95), None);
    }
}
