//! One class out of several: accuracy, top-k accuracy, F1.

use super::{TaskError, check_length};
use crate::compare::numerics::{argmax, rank};
use crate::compare::statistics::Proportion;
use std::collections::BTreeMap;

/// Outputs of all samples, one row each, row after row.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f64],
    row_elements: usize,
}

impl<'a> Rows<'a> {
    /// Errors unless `values` fills whole rows of at least one element.
    pub fn new(values: &'a [f64], row_elements: usize) -> Result<Self, TaskError> {
        if row_elements == 0 || !values.len().is_multiple_of(row_elements) {
            return Err(TaskError::Rows { values: values.len(), row_elements });
        }
        Ok(Self { values, row_elements })
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.values.len() / self.row_elements
    }

    /// Elements of a row.
    pub fn row_elements(&self) -> usize {
        self.row_elements
    }

    pub(super) fn iter(&self) -> std::slice::ChunksExact<'a, f64> {
        self.values.chunks_exact(self.row_elements)
    }
}

/// Which samples were answered correctly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correctness {
    /// One per sample; feed two of these to [`crate::compare::statistics::Paired::of`].
    pub correct: Vec<bool>,
    /// Samples whose output holds a NaN or an infinity. They are wrong.
    pub non_finite: u64,
}

impl Correctness {
    /// Accuracy.
    pub fn accuracy(&self) -> Proportion {
        Proportion::of(&self.correct)
    }
}

/// Whether the label is among the `k` largest outputs of its row (`k` = 1: accuracy).
///
/// Ties: of equal outputs the lower class comes first, as in numpy and ONNX. A row with any element that is not finite is wrong.
pub fn correct_top_k(outputs: Rows, labels: &[i64], k: usize) -> Result<Correctness, TaskError> {
    let classes = check_labels(outputs, labels)?;
    let mut non_finite = 0;
    let correct = outputs
        .iter()
        .zip(classes)
        .map(|(row, label)| {
            let finite = row.iter().all(|value| value.is_finite());
            non_finite += u64::from(!finite);
            finite && rank(row, label) < k
        })
        .collect();
    Ok(Correctness { correct, non_finite })
}

/// The class of each row: its largest output, the lower class of equals; `None` if any element is not finite.
pub fn predictions(outputs: Rows) -> Vec<Option<usize>> {
    outputs.iter().map(|row| row.iter().all(|value| value.is_finite()).then(|| argmax(row))).collect()
}

/// Mean over classes of `2 tp / (2 tp + fp + fn)`, over the classes that occur among labels or predictions (as scikit-learn's `macro`). A
/// prediction of `None` is a miss of its label and a hit of no class. `None` without samples.
pub fn f1_macro(predictions: &[Option<usize>], labels: &[i64]) -> Result<Option<f64>, TaskError> {
    check_length("labels", predictions.len(), labels.len())?;
    let mut classes: BTreeMap<i64, [u64; 3]> = BTreeMap::new();
    for (prediction, label) in predictions.iter().zip(labels) {
        let prediction = prediction.and_then(|class| i64::try_from(class).ok());
        if prediction == Some(*label) {
            classes.entry(*label).or_default()[0] += 1;
            continue;
        }
        classes.entry(*label).or_default()[2] += 1;
        if let Some(class) = prediction {
            classes.entry(class).or_default()[1] += 1;
        }
    }
    // A class that occurs has at least one count, so nothing is divided by zero.
    let f1 = |[tp, fp, missed]: &[u64; 3]| (2 * tp) as f64 / (2 * tp + fp + missed) as f64;
    Ok((!classes.is_empty()).then(|| classes.values().map(f1).sum::<f64>() / classes.len() as f64))
}

fn check_labels(outputs: Rows, labels: &[i64]) -> Result<Vec<usize>, TaskError> {
    check_length("labels", outputs.count(), labels.len())?;
    let classes = outputs.row_elements();
    let class = |(sample, label): (usize, &i64)| {
        usize::try_from(*label).ok().filter(|class| *class < classes).ok_or(TaskError::Label {
            sample,
            label: *label,
            classes,
        })
    };
    labels.iter().enumerate().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_labels_must_fit() {
        assert!(Rows::new(&[1.0; 7], 3).is_err() && Rows::new(&[], 0).is_err());
        let rows = Rows::new(&[1.0; 6], 3).unwrap();
        assert_eq!(correct_top_k(rows, &[0], 1), Err(TaskError::Length { what: "labels", expected: 2, got: 1 }));
        for label in [-1, 3, i64::MAX] {
            assert_eq!(correct_top_k(rows, &[0, label], 1), Err(TaskError::Label { sample: 1, label, classes: 3 }));
        }
    }

    #[test]
    fn an_output_that_is_not_finite_is_wrong_wherever_it_stands() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for position in 0..3 {
                let mut values = [9.0, 1.0, 2.0];
                values[position] = bad;
                let rows = Rows::new(&values, 3).unwrap();
                let result = correct_top_k(rows, &[0], 3).unwrap();
                assert_eq!((result.correct, result.non_finite), (vec![false], 1), "{bad} at {position}");
                assert_eq!(predictions(rows), [None]);
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_class() {
        let rows = Rows::new(&[0.5, 0.5, 0.0, 0.5, 0.5, 0.0], 3).unwrap();
        assert_eq!(correct_top_k(rows, &[0, 1], 1).unwrap().correct, [true, false]);
        assert_eq!(correct_top_k(rows, &[0, 1], 2).unwrap().correct, [true, true]);
        assert_eq!(correct_top_k(rows, &[2, 2], 2).unwrap().accuracy().share(), Some(0.0));
    }

    #[test]
    fn accuracy_rests_on_all_samples_and_not_on_the_last() {
        let rows = Rows::new(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], 2).unwrap();
        let accuracy = correct_top_k(rows, &[1, 1, 1], 1).unwrap().accuracy();
        assert_eq!((accuracy.hits(), accuracy.total()), (1, 3));
    }

    #[test]
    fn f1_equals_sklearn() {
        // sklearn.metrics.f1_score([0,0,1,1,2,2], [0,1,1,1,2,0], average='macro')
        let predicted = [0, 1, 1, 1, 2, 0].map(Some);
        let f1 = f1_macro(&predicted, &[0, 0, 1, 1, 2, 2]).unwrap().unwrap();
        assert!((f1 - 0.6555555555555556).abs() < 1e-15, "{f1}");
        // A missing prediction is a miss: class 0 falls from 1 to 2/3.
        assert_eq!(f1_macro(&[Some(0), None], &[0, 0]), Ok(Some(2.0 / 3.0)));
        assert_eq!(f1_macro(&[], &[]), Ok(None));
    }
}
