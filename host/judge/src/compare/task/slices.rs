//! Subgroups of an evalset.

use super::{TaskError, check_length};
use std::collections::BTreeMap;

/// Runs `metric` once per slice code, with the indices of its samples in ascending order.
///
/// `positive` or `labels` of the same evalset are picked with [`select`].
pub fn by_slice<T>(codes: &[i64], mut metric: impl FnMut(&[usize]) -> T) -> BTreeMap<i64, T> {
    indices(codes).into_iter().map(|(code, samples)| (code, metric(&samples))).collect()
}

/// The same for metrics that need both classes where a slice is a kind of positive (a kind of anomaly): every slice is judged together with all
/// negative samples. A slice without a positive sample keeps only the negatives and so has no AUC.
pub fn by_slice_against_negatives<T>(
    codes: &[i64],
    positive: &[bool],
    mut metric: impl FnMut(&[usize]) -> T,
) -> Result<BTreeMap<i64, T>, TaskError> {
    check_length("labels", codes.len(), positive.len())?;
    let with_negatives = |code: i64| -> Vec<usize> {
        (0..codes.len()).filter(|sample| !positive[*sample] || codes[*sample] == code).collect()
    };
    Ok(indices(codes).into_keys().map(|code| (code, metric(&with_negatives(code)))).collect())
}

/// The chosen elements of a column, in the order of `samples`. Indices come from [`by_slice`] over a column of the same length.
pub fn select<T: Copy>(column: &[T], samples: &[usize]) -> Vec<T> {
    samples.iter().map(|sample| column[*sample]).collect()
}

fn indices(codes: &[i64]) -> BTreeMap<i64, Vec<usize>> {
    let mut slices: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (sample, code) in codes.iter().enumerate() {
        slices.entry(*code).or_default().push(sample);
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::statistics::roc_auc;

    #[test]
    fn every_sample_is_in_exactly_one_slice() {
        let sizes = by_slice(&[2, 0, 2, -1], |samples| samples.to_vec());
        assert_eq!(sizes, BTreeMap::from([(-1, vec![3]), (0, vec![1]), (2, vec![0, 2])]));
        assert_eq!(select(&[1.5, 2.5, 3.5, 4.5], &sizes[&2]), [1.5, 3.5]);
    }

    #[test]
    fn kinds_of_anomaly_are_judged_against_all_normal_samples() {
        let (codes, positive) = ([0, 0, 1, 2], [false, false, true, true]);
        let scores = [0.1, 0.5, 0.9, 0.3];
        let auc = by_slice_against_negatives(&codes, &positive, |samples| {
            roc_auc(&select(&scores, samples), &select(&positive, samples)).unwrap()
        })
        .unwrap();
        assert_eq!(auc, BTreeMap::from([(0, None), (1, Some(1.0)), (2, Some(0.5))]));
        assert!(by_slice_against_negatives(&codes, &positive[..2], |_| ()).is_err());
    }
}
