//! F1 with bounds: no formula has them, so they are drawn.

use super::{TaskError, check_length};
use crate::compare::statistics::{Bootstrap, Confidence, Interval, Sums};

/// Which F1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum F1 {
    /// Mean over the classes that occur among labels or predictions, as scikit-learn's `macro`.
    Macro,
    /// Of one class.
    Class(usize),
}

/// F1 of one side, or how much smaller that of a candidate is, with bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct F1Bounds {
    /// The number.
    pub value: f64,
    /// BCa bootstrap by samples, no narrower than what the smallest class could hide.
    pub interval: Interval,
    /// F1 of each side: of one, or of reference and candidate.
    pub sides: [f64; 2],
}

impl F1 {
    /// F1 of these predictions. `None` where it has no value on them or on a draw of them.
    ///
    /// # Errors
    /// Labels of another number.
    pub fn value(
        self,
        predictions: &[Option<usize>],
        labels: &[i64],
        confidence: Confidence,
    ) -> Result<Option<F1Bounds>, TaskError> {
        check_length("labels", predictions.len(), labels.len())?;
        Ok(self.bounded(&[predictions], labels, confidence))
    }

    /// How much smaller F1 of `candidate` is than that of `reference` on the same samples, drawn in pairs. `None` as for [`F1::value`].
    ///
    /// # Errors
    /// Columns of another number.
    pub fn drop(
        self,
        reference: &[Option<usize>],
        candidate: &[Option<usize>],
        labels: &[i64],
        confidence: Confidence,
    ) -> Result<Option<F1Bounds>, TaskError> {
        check_length("labels", reference.len(), labels.len())?;
        check_length("predictions", reference.len(), candidate.len())?;
        Ok(self.bounded(&[reference, candidate], labels, confidence))
    }

    fn bounded(self, sides: &[&[Option<usize>]], labels: &[i64], confidence: Confidence) -> Option<F1Bounds> {
        let classes = classes_of(sides, labels);
        let slots = classes * COUNTS;
        let of_side = |counts: &[f64], side: usize| self.of_counts(&counts[side * slots..(side + 1) * slots]);
        let terms = (0..labels.len()).map(|sample| {
            let of = |(side, said): (usize, &&[Option<usize>])| {
                counted(said[sample], labels[sample]).map(move |slot| (side * slots + slot, 1.0))
            };
            sides.iter().enumerate().flat_map(of).collect::<Vec<_>>()
        });
        let last = sides.len() - 1;
        let number = |counts: &[f64]| match last {
            0 => of_side(counts, 0),
            _ => Some(of_side(counts, 0)? - of_side(counts, 1)?),
        };
        let counts = Sums::new(sides.len() * slots, terms, number);
        let found = Bootstrap::of(&counts)?;
        let (value, drawn) = (found.estimate(), found.bca(confidence));
        let hidden = self.hidden(labels, classes, confidence);
        let within = |bound: f64| bound.clamp(if last == 0 { 0.0 } else { -1.0 }, 1.0);
        let lower = within(drawn.lower.min(value - hidden));
        let upper = within(drawn.upper.max(value + hidden));
        let sides = [of_side(counts.all(), 0)?, of_side(counts.all(), last)?];
        Some(F1Bounds { value, interval: Interval { lower, upper }, sides })
    }

    /// From the true positives, false positives and misses of each class.
    fn of_counts(self, counts: &[f64]) -> Option<f64> {
        let of = |class: &[f64]| {
            let all = 2.0 * class[HIT] + class[FALSE] + class[MISSED];
            (all > 0.0).then(|| 2.0 * class[HIT] / all)
        };
        let classes = counts.chunks(COUNTS);
        match self {
            Self::Class(class) => of(classes.clone().nth(class)?),
            Self::Macro => {
                let (sum, n) = classes.filter_map(of).fold((0.0, 0.0), |(sum, n), f1| (sum + f1, n + 1.0));
                (n > 0.0).then(|| sum / n)
            }
        }
    }

    /// The largest change that samples without a single difference could hide: a share of `h = z^2 / (n + z^2)` of the smallest class, `n`
    /// samples, that is missed and given to another as small takes `h / (2 - h)` of F1 from each of the two.
    fn hidden(self, labels: &[i64], classes: usize, confidence: Confidence) -> f64 {
        let count = |class: usize| labels.iter().filter(|label| **label == class as i64).count();
        let (smallest, among) = match self {
            Self::Class(class) => (count(class), 1),
            Self::Macro => {
                let occur: Vec<usize> = (0..classes).map(count).filter(|n| *n > 0).collect();
                (occur.iter().copied().min().unwrap_or(0), occur.len().max(1))
            }
        };
        let share = confidence.hidden_in(smallest as f64);
        2.0 * share / (2.0 - share) / among as f64
    }
}

/// Counts of a class, and their places.
const COUNTS: usize = 3;
const HIT: usize = 0;
const FALSE: usize = 1;
const MISSED: usize = 2;

/// The counts that a prediction of a sample with this label adds to.
fn counted(prediction: Option<usize>, label: i64) -> impl Iterator<Item = usize> {
    let label = usize::try_from(label).ok();
    let right = prediction.is_some() && prediction == label;
    let hit = label.filter(|_| right).map(|class| class * COUNTS + HIT);
    let missed = label.filter(|_| !right).map(|class| class * COUNTS + MISSED);
    let wrong = prediction.filter(|_| !right).map(|class| class * COUNTS + FALSE);
    [hit, missed, wrong].into_iter().flatten()
}

fn classes_of(sides: &[&[Option<usize>]], labels: &[i64]) -> usize {
    let said = sides.iter().flat_map(|side| side.iter().flatten().copied());
    let labelled = labels.iter().filter_map(|label| usize::try_from(*label).ok());
    said.chain(labelled).max().map_or(0, |largest| largest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::task::f1_macro;

    fn said(n: usize, wrong_every: usize) -> (Vec<Option<usize>>, Vec<i64>) {
        let labels: Vec<i64> = (0..n).map(|i| (i % 3) as i64).collect();
        let said = |(i, label): (usize, &i64)| Some((*label as usize + usize::from(i % wrong_every == 0)) % 3);
        (labels.iter().enumerate().map(said).collect(), labels)
    }

    #[test]
    fn the_value_is_that_of_sklearn() {
        // As in `f1_macro`: sklearn.metrics.f1_score([0,0,1,1,2,2], [0,1,1,1,2,0], average='macro'), and of class 1 alone
        let predicted = [0, 1, 1, 1, 2, 0].map(Some).repeat(20);
        let labels = [0, 0, 1, 1, 2, 2].repeat(20);
        let found = F1::Macro.value(&predicted, &labels, Confidence::P95).unwrap().unwrap();
        assert!((found.value - 0.6555555555555556).abs() < 1e-12);
        let one = F1::Class(1).value(&predicted, &labels, Confidence::P95).unwrap().unwrap();
        assert!((one.value - 0.8).abs() < 1e-12);
        let mut holes = predicted.clone();
        holes[0] = None;
        let found = F1::Macro.value(&holes, &labels, Confidence::P95).unwrap().unwrap();
        assert!((found.value - f1_macro(&holes, &labels).unwrap().unwrap()).abs() < 1e-12);
    }

    #[test]
    fn a_drop_has_a_direction_and_bounds_around_it() {
        let ((good, labels), (bad, _)) = (said(600, 50), said(600, 10));
        let drop = F1::Macro.drop(&good, &bad, &labels, Confidence::P95).unwrap().unwrap();
        assert!(drop.value > 0.05 && (drop.sides[0] - drop.sides[1] - drop.value).abs() < 1e-12);
        assert!(drop.interval.lower > 0.0 && drop.interval.upper > drop.value, "{drop:?}");
        let won = F1::Macro.drop(&bad, &good, &labels, Confidence::P95).unwrap().unwrap();
        assert!((won.value + drop.value).abs() < 1e-12);
    }

    #[test]
    fn no_difference_is_not_certainty() {
        let (good, labels) = said(300, 7);
        let same = F1::Macro.drop(&good, &good, &labels, Confidence::P95).unwrap().unwrap();
        assert_eq!(same.value, 0.0);
        // 100 samples of each of three classes: h = 3.84 / 103.84, and 2 h / (2 - h) / 3.
        assert!((same.interval.upper - 0.0126).abs() < 1e-4, "{same:?}");
        let (perfect, labels) = said(300, usize::MAX - 1);
        let perfect: Vec<_> = perfect.iter().zip(&labels).map(|(_, label)| Some(*label as usize)).collect();
        let value = F1::Macro.value(&perfect, &labels, Confidence::P95).unwrap().unwrap();
        assert!(value.value == 1.0 && value.interval.lower < 0.99 && value.interval.upper == 1.0, "{value:?}");
    }

    #[test]
    fn what_has_no_value_says_so() {
        assert_eq!(F1::Macro.value(&[], &[], Confidence::P95), Ok(None));
        assert_eq!(F1::Class(5).value(&[Some(0); 9], &[0; 9], Confidence::P95), Ok(None));
        assert!(F1::Macro.value(&[Some(0)], &[0, 1], Confidence::P95).is_err());
        assert!(F1::Macro.drop(&[Some(0)], &[], &[0], Confidence::P95).is_err());
    }
}
