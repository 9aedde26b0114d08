//! Yes or no at a threshold: the rates that a shipped detector has, which an AUC does not show.

use super::{TaskError, check_length};
use crate::compare::statistics::Proportion;
use serde::Serialize;

/// Where the threshold comes from. It is taken from the *reference's* scores, because that is the threshold that ships; a candidate whose
/// scores have moved is then judged at the wrong place, as it would be in the field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatingPoint {
    /// A fixed score.
    Threshold(f64),
    /// The lowest threshold at which the reference's false-positive rate is at most this share.
    FalsePositiveRateMax(f64),
    /// The highest threshold at which the reference's true-positive rate is at least this share.
    TruePositiveRateMin(f64),
}

impl OperatingPoint {
    /// The threshold; a score at or above it is a yes. Only the reference's finite scores can set it.
    pub fn threshold(self, reference: &[f64], positive: &[bool]) -> Result<f64, TaskError> {
        check_length("scores", positive.len(), reference.len())?;
        let class = |wanted: bool| -> Vec<f64> {
            let of_class = reference.iter().zip(positive).filter(|(score, yes)| **yes == wanted && score.is_finite());
            let mut scores: Vec<f64> = of_class.map(|(score, _)| *score).collect();
            scores.sort_unstable_by(f64::total_cmp);
            scores
        };
        match self {
            Self::Threshold(score) if score.is_finite() => Ok(score),
            Self::Threshold(_) => Err(TaskError::NoThreshold { reason: "the threshold is not finite" }),
            Self::FalsePositiveRateMax(rate) => above_negatives(&class(false), check_rate(rate)?),
            Self::TruePositiveRateMin(rate) => below_positives(&class(true), check_rate(rate)?),
        }
    }
}

fn check_rate(rate: f64) -> Result<f64, TaskError> {
    if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(TaskError::Rate { got: rate }) }
}

/// Just above the highest negative score that must be a no.
fn above_negatives(negatives: &[f64], rate: f64) -> Result<f64, TaskError> {
    if negatives.is_empty() {
        return Err(TaskError::NoThreshold { reason: "no negative sample has a finite score" });
    }
    let allowed = (rate * negatives.len() as f64).floor() as usize;
    match negatives.len().checked_sub(allowed + 1) {
        Some(highest_no) => Ok(negatives[highest_no].next_up()),
        None => Ok(negatives[0]),
    }
}

/// The lowest positive score that must be a yes.
fn below_positives(positives: &[f64], rate: f64) -> Result<f64, TaskError> {
    let needed = ((rate * positives.len() as f64).ceil() as usize).max(1);
    match positives.len().checked_sub(needed) {
        Some(lowest_yes) => Ok(positives[lowest_yes]),
        None => Err(TaskError::NoThreshold { reason: "no positive sample has a finite score" }),
    }
}

/// Answers at a threshold against labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Yes, rightly.
    pub true_positives: u64,
    /// No, wrongly.
    pub false_negatives: u64,
    /// Yes, wrongly.
    pub false_positives: u64,
    /// No, rightly.
    pub true_negatives: u64,
    /// Scores that are not finite; each is among the wrong answers.
    pub non_finite: u64,
    /// Whether each sample was answered rightly; feed two of these to [`crate::compare::statistics::Paired::of`].
    #[serde(skip)]
    pub correct: Vec<bool>,
}

/// Counts answers: a score at or above the threshold is a yes, one that is not finite is wrong whatever its label.
pub fn rates(scores: &[f64], positive: &[bool], threshold: f64) -> Result<Rates, TaskError> {
    check_length("scores", positive.len(), scores.len())?;
    let correct: Vec<bool> =
        scores.iter().zip(positive).map(|(score, yes)| score.is_finite() && (*score >= threshold) == *yes).collect();
    let count = |yes: bool, right: bool| {
        positive.iter().zip(&correct).filter(|(p, c)| (**p, **c) == (yes, right)).count() as u64
    };
    Ok(Rates {
        true_positives: count(true, true),
        false_negatives: count(true, false),
        false_positives: count(false, false),
        true_negatives: count(false, true),
        non_finite: scores.iter().filter(|score| !score.is_finite()).count() as u64,
        correct,
    })
}

impl Rates {
    /// `tp / (tp + fn)`: recall, sensitivity.
    pub fn true_positive_rate(&self) -> Proportion {
        share(self.true_positives, self.false_negatives)
    }

    /// `fp / (fp + tn)`: false alarms.
    pub fn false_positive_rate(&self) -> Proportion {
        share(self.false_positives, self.true_negatives)
    }

    /// `(tp + tn) / all`.
    pub fn accuracy(&self) -> Proportion {
        share(self.true_positives + self.true_negatives, self.false_positives + self.false_negatives)
    }

    /// `2 tp / (2 tp + fp + fn)`; `None` if there is neither a positive sample nor a yes.
    pub fn f1(&self) -> Option<f64> {
        let denominator = 2 * self.true_positives + self.false_positives + self.false_negatives;
        (denominator > 0).then(|| (2 * self.true_positives) as f64 / denominator as f64)
    }
}

fn share(hits: u64, misses: u64) -> Proportion {
    Proportion::of_hits_and_misses(hits, misses)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITIVE: [bool; 8] = [false, false, false, false, true, true, true, true];
    const REFERENCE: [f64; 8] = [0.1, 0.2, 0.3, 0.6, 0.5, 0.7, 0.8, 0.9];

    #[test]
    fn thresholds_come_from_the_reference() {
        let threshold = |point: OperatingPoint| point.threshold(&REFERENCE, &POSITIVE).unwrap();
        assert_eq!(threshold(OperatingPoint::FalsePositiveRateMax(0.0)), 0.6_f64.next_up());
        assert_eq!(threshold(OperatingPoint::FalsePositiveRateMax(0.25)), 0.3_f64.next_up());
        assert_eq!(threshold(OperatingPoint::FalsePositiveRateMax(1.0)), 0.1);
        assert_eq!(threshold(OperatingPoint::TruePositiveRateMin(1.0)), 0.5);
        assert_eq!(threshold(OperatingPoint::TruePositiveRateMin(0.75)), 0.7);
        assert_eq!(threshold(OperatingPoint::Threshold(0.4)), 0.4);
    }

    #[test]
    fn the_operating_point_keeps_its_promise_with_ties() {
        let scores = [0.5, 0.5, 0.5, 0.1, 0.5, 0.9, 0.9, 0.9];
        for allowed in [0.0, 0.25, 0.5, 0.74, 0.75, 1.0] {
            let threshold = OperatingPoint::FalsePositiveRateMax(allowed).threshold(&scores, &POSITIVE).unwrap();
            let rates = rates(&scores, &POSITIVE, threshold).unwrap();
            assert!(rates.false_positive_rate().share().unwrap() <= allowed);
        }
    }

    #[test]
    fn impossible_operating_points_are_errors() {
        let bad = |point: OperatingPoint| point.threshold(&REFERENCE, &POSITIVE).is_err();
        assert!(bad(OperatingPoint::Threshold(f64::NAN)));
        assert!(bad(OperatingPoint::FalsePositiveRateMax(1.5)) && bad(OperatingPoint::TruePositiveRateMin(f64::NAN)));
        assert!(OperatingPoint::FalsePositiveRateMax(0.1).threshold(&[0.5], &[true]).is_err());
        assert!(OperatingPoint::TruePositiveRateMin(0.1).threshold(&[0.5], &[false]).is_err());
        assert!(OperatingPoint::TruePositiveRateMin(0.1).threshold(&[f64::NAN], &[true]).is_err());
    }

    /// An AUC of 1 on both sides, and yet every normal sample raises an alarm.
    #[test]
    fn a_shift_of_all_scores_shows_at_the_shipped_threshold() {
        let reference = [0.1, 0.2, 0.3, 0.35, 0.5, 0.7, 0.8, 0.9];
        let candidate = reference.map(|score| score + 1.0);
        let threshold = OperatingPoint::FalsePositiveRateMax(0.0).threshold(&reference, &POSITIVE).unwrap();
        assert_eq!(rates(&reference, &POSITIVE, threshold).unwrap().false_positive_rate().share(), Some(0.0));
        assert_eq!(rates(&candidate, &POSITIVE, threshold).unwrap().false_positive_rate().share(), Some(1.0));
    }

    #[test]
    fn scores_that_are_not_finite_are_wrong_on_both_sides() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let result = rates(&[bad, bad], &[true, false], 0.5).unwrap();
            assert_eq!((result.false_negatives, result.false_positives, result.non_finite), (1, 1, 2));
            assert_eq!(result.accuracy().share(), Some(0.0));
        }
    }

    #[test]
    fn f1_equals_sklearn() {
        // sklearn.metrics.f1_score(y, score >= 0.5)
        let positive = [true, false, true, false, true, false, false, true, false, false];
        let scores = [0.8, 0.2, 0.8, 0.3, 0.3, 0.5, 0.2, 0.7, 0.9, 0.05];
        let f1 = rates(&scores, &positive, 0.5).unwrap().f1().unwrap();
        assert!((f1 - 0.6666666666666666).abs() < 1e-15);
        assert_eq!(rates(&[0.1], &[false], 0.5).unwrap().f1(), None);
    }
}
