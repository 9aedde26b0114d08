//! Do a reference's answers have anything to do with the labels? Labels of another evalset, or labels in another order, leave reference and
//! variant equally wrong: no loss, no drift, a pass. A reference that cannot be told from guessing is therefore no reference.

use super::answers::Answers;
use crate::compare::statistics::roc_auc;
use crate::compare::task::{Rows, predictions};
use crate::evidence::{Evidence, EvidenceError, Truth};
use boardproof_record::plan::Cell;
use std::collections::BTreeMap;

/// Standard deviations above guessing that a reference must reach: guessing gets there once in a hundred times.
const Z_MIN: f64 = 2.326;

/// `Ok` when the reference knows something about the labels, else why not. Labels of one kind only leave nothing to know and are let by:
/// what has no meaning on them says so itself.
pub fn sense(
    evidence: Evidence<'_>,
    cell: &Cell,
    truth: &Truth<'_>,
    found: &Answers,
) -> Result<Result<(), String>, EvidenceError> {
    let labels = &truth.labels;
    if labels.iter().all(|label| Some(label) == labels.first()) {
        return Ok(Ok(()));
    }
    let z = match found {
        Answers::Right(_) => {
            let outputs = evidence.outputs(&cell.id)?.unwrap_or_default();
            let Some(first) = outputs.first() else { return Ok(Err("it has no answers".into())) };
            let values = first.to_f64();
            match Rows::new(&values, first.row_elements()) {
                Ok(rows) => above_chance(&predictions(rows), labels),
                Err(why) => return Ok(Err(why.to_string())),
            }
        }
        Answers::Scores(scores) => above_coin(scores, labels),
        Answers::Errors(errors) => return Ok(better_than_constant(errors, labels)),
    };
    Ok(match z {
        Some(z) if z >= Z_MIN => Ok(()),
        _ => Err(format!("on these {} samples its answers cannot be told from guessing", labels.len())),
    })
}

/// How many standard deviations more answers are right than if the same answers were dealt out to the samples at random (the mean and
/// variance of matches under a random permutation). `None` when it always answers the same.
fn above_chance(predicted: &[Option<usize>], labels: &[i64]) -> Option<f64> {
    let n = labels.len() as f64;
    let label = |class: &Option<usize>| class.and_then(|class| i64::try_from(class).ok());
    let right = predicted.iter().zip(labels).filter(|(p, l)| label(p) == Some(**l)).count() as f64;
    let mut answers: BTreeMap<Option<i64>, f64> = BTreeMap::new();
    let mut truths: BTreeMap<i64, f64> = BTreeMap::new();
    predicted.iter().for_each(|p| *answers.entry(label(p)).or_default() += 1.0);
    labels.iter().for_each(|l| *truths.entry(*l).or_default() += 1.0);
    let count = |class: i64| truths.get(&class).copied().unwrap_or(0.0);
    let asked = |class: i64| answers.get(&Some(class)).copied().unwrap_or(0.0);
    // Shares of rows, columns and of the whole in which answer and label match.
    let all = truths.iter().map(|(class, b)| asked(*class) * b).sum::<f64>() / (n * n);
    let mut square = 0.0;
    for (answer, a) in &answers {
        let row = answer.map_or(0.0, count) / n;
        for (class, b) in &truths {
            let here = f64::from(u8::from(*answer == Some(*class)));
            square += a * b * (here - row - asked(*class) / n + all).powi(2);
        }
    }
    let deviation = (square / (n - 1.0)).sqrt();
    (deviation > 0.0).then(|| (right - n * all) / deviation)
}

/// The same for ranks: the Mann-Whitney statistic without ties.
fn above_coin(scores: &[f64], labels: &[i64]) -> Option<f64> {
    let positive: Vec<bool> = labels.iter().map(|l| *l == 1).collect();
    let auc = roc_auc(scores, &positive).ok().flatten()?;
    let m = positive.iter().filter(|p| **p).count() as f64;
    let n = labels.len() as f64 - m;
    Some((auc - 0.5) / ((m + n + 1.0) / (12.0 * m * n)).sqrt())
}

/// A mean error no smaller than that of always answering the median knows nothing.
fn better_than_constant(errors: &[f64], labels: &[i64]) -> Result<(), String> {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    let n = sorted.len() as f64;
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0) as f64;
    let constant = sorted.iter().map(|label| (*label as f64 - median).abs()).sum::<f64>() / n;
    let own = errors.iter().sum::<f64>() / n;
    if own < constant {
        Ok(())
    } else {
        Err(format!("its mean error is {own:.4}, always answering {median} would give {constant:.4}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_what_a_permutation_gives() {
        // Two of each class, all right: 4 matches, a random deal gives 2 with variance 4/3.
        let z = above_chance(&[0, 0, 1, 1].map(Some), &[0, 0, 1, 1]).unwrap();
        assert!((z - 2.0 / (4.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{z}");
        assert_eq!(above_chance(&[0, 0, 0, 0].map(Some), &[0, 0, 1, 1]), None, "always the same answer");
        let z = above_chance(&[1, 1, 0, 0].map(Some), &[0, 0, 1, 1]).unwrap();
        assert!(z < -1.7, "always wrong: {z}");
    }

    #[test]
    fn an_imbalanced_model_below_the_majority_still_knows_something() {
        // 90 negatives of which 12 are called positive, 10 positives all found: 88 % right, always saying no would give 90 %.
        let labels: Vec<i64> = (0..100).map(|i| i64::from(i >= 90)).collect();
        let predicted: Vec<Option<usize>> = (0..100).map(|i| Some(usize::from(i >= 78))).collect();
        assert!(above_chance(&predicted, &labels).unwrap() > 5.0);
    }

    #[test]
    fn ranks_and_errors_are_held_against_a_coin_and_a_constant() {
        let labels: Vec<i64> = (0..40).map(|i| i % 2).collect();
        let good: Vec<f64> = labels.iter().map(|l| *l as f64).collect();
        let blind: Vec<f64> = (0..40).map(|i| f64::from(i / 2)).collect();
        assert!(above_coin(&good, &labels).unwrap() > 4.0);
        assert!(above_coin(&blind, &labels).unwrap() < 1.0);
        assert!(better_than_constant(&[0.1; 4], &[1, 2, 3, 4]).is_ok());
        assert!(better_than_constant(&[1.0; 4], &[1, 2, 3, 4]).is_err());
        assert!(better_than_constant(&[f64::INFINITY; 4], &[1, 2, 3, 4]).is_err());
        assert!(better_than_constant(&[f64::NAN; 4], &[1, 2, 3, 4]).is_err());
    }
}
