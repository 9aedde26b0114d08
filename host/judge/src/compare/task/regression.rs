//! Numbers against numbers: regression errors, and the reconstruction error by which an autoencoder tells anomalies.

use super::classification::Rows;
use super::{TaskError, check_length};
use crate::compare::validity::{Invalid, Measured};

/// Errors of predicted numbers. With an output that is not finite there is no error to average: it is invalid, not skipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// Mean absolute error, in the unit of the output.
    pub mae: Measured,
    /// Root of the mean squared error, in the unit of the output.
    pub rmse: Measured,
    /// Outputs that are not finite.
    pub non_finite: u64,
}

/// Compares predictions with targets, element by element.
pub fn regression(predictions: &[f64], targets: &[f64]) -> Result<Regression, TaskError> {
    check_length("predictions", targets.len(), predictions.len())?;
    let finite = |(p, t): (&f64, &f64)| p.is_finite() && t.is_finite();
    let non_finite = predictions.iter().zip(targets).filter(|pair| !finite(*pair)).count() as u64;
    let mean = |error: fn(f64) -> f64| {
        if non_finite > 0 {
            return Err(Invalid::NonFinite { elements: non_finite });
        }
        if targets.is_empty() {
            return Err(Invalid::NoPairs);
        }
        let mean = predictions.iter().zip(targets).map(|(p, t)| error(p - t)).sum::<f64>() / targets.len() as f64;
        if mean.is_finite() { Ok(mean) } else { Err(Invalid::Range) }
    };
    Ok(Regression { mae: mean(f64::abs), rmse: mean(|e| e * e).map(f64::sqrt), non_finite })
}

/// Scores of an anomaly detector: high is anomalous.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyScores {
    /// One per sample. Not finite where an output (or input) is not; ranks and rates count such a score as the wrong answer.
    pub scores: Vec<f64>,
    /// Samples without a finite score.
    pub non_finite: u64,
}

/// Mean squared reconstruction error of every sample: `mean (output - input)^2` over its elements.
pub fn anomaly_scores(inputs: Rows, outputs: Rows) -> Result<AnomalyScores, TaskError> {
    check_length("output rows", inputs.count(), outputs.count())?;
    check_length("elements of an output row", inputs.row_elements(), outputs.row_elements())?;
    let elements = inputs.row_elements() as f64;
    let score = |(x, y): (&[f64], &[f64])| x.iter().zip(y).map(|(x, y)| (y - x) * (y - x)).sum::<f64>() / elements;
    let scores: Vec<f64> = inputs.iter().zip(outputs.iter()).map(score).collect();
    let non_finite = scores.iter().filter(|score| !score.is_finite()).count() as u64;
    Ok(AnomalyScores { scores, non_finite })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_opposite_sign_do_not_cancel() {
        let result = regression(&[1.0, -1.0], &[0.0, 0.0]).unwrap();
        assert_eq!((result.mae, result.rmse, result.non_finite), (Ok(1.0), Ok(1.0), 0));
    }

    #[test]
    fn what_is_not_finite_is_invalid_and_counted() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let result = regression(&[1.0, bad], &[1.0, 1.0]).unwrap();
            assert_eq!(result.mae, Err(Invalid::NonFinite { elements: 1 }));
            assert_eq!(result.rmse, Err(Invalid::NonFinite { elements: 1 }));
            let rows = [1.0, bad];
            let scores = anomaly_scores(Rows::new(&[1.0, 1.0], 1).unwrap(), Rows::new(&rows, 1).unwrap()).unwrap();
            assert!(scores.scores[0] == 0.0 && !scores.scores[1].is_finite());
            assert_eq!(scores.non_finite, 1);
        }
        assert_eq!(regression(&[], &[]).unwrap().mae, Err(Invalid::NoPairs));
        assert!(regression(&[1.0], &[]).is_err());
    }

    #[test]
    fn reconstruction_error_is_a_mean_per_sample() {
        let inputs = Rows::new(&[0.0, 0.0, 1.0, 1.0], 2).unwrap();
        let outputs = Rows::new(&[3.0, 1.0, 1.0, 1.0], 2).unwrap();
        assert_eq!(anomaly_scores(inputs, outputs).unwrap().scores, [5.0, 0.0]);
        assert!(anomaly_scores(inputs, Rows::new(&[0.0; 4], 4).unwrap()).is_err());
    }
}
