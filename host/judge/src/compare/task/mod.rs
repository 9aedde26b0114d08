//! Outputs against labels: what the model is for.
//!
//! Owns the task metrics and their rules for ties and for outputs that are not finite: such an output is a wrong answer and is counted, never
//! left out. Refuses to know the pre- and post-processing of a model; what arrives here are its answers and the truth, sample by sample.

mod calibration;
mod classification;
mod custom;
mod f1;
mod regression;
mod slices;
mod threshold;

pub use calibration::{BINS, Claims, ReliabilityBin, Scale};
pub use classification::{Correctness, Rows, correct_top_k, f1_macro, predictions};
pub use custom::{MeanBounds, mean_with_bounds};
pub use f1::{F1, F1Bounds};
pub use regression::{AnomalyScores, Regression, anomaly_scores, regression};
pub use slices::{by_slice, by_slice_against_negatives, select};
pub use threshold::{OperatingPoint, Rates, rates};

use thiserror::Error;

/// Labels and outputs that do not belong together.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TaskError {
    /// Columns of different length.
    #[error("expected {expected} {what}, one per sample, got {got}")]
    Length {
        /// Which column.
        what: &'static str,
        /// Samples.
        expected: usize,
        /// Values.
        got: usize,
    },
    /// Values that do not fill whole rows.
    #[error("{values} values do not fill rows of {row_elements}")]
    Rows {
        /// Values.
        values: usize,
        /// Elements of a row.
        row_elements: usize,
    },
    /// A label that names no class.
    #[error("label of sample {sample} must be 0..{classes}, got {label}")]
    Label {
        /// Sample.
        sample: usize,
        /// Its label.
        label: i64,
        /// Classes of the output.
        classes: usize,
    },
    /// Outputs that state no probability.
    #[error("the output of sample {sample} states no probability")]
    NoProbability {
        /// Sample.
        sample: usize,
    },
    /// A rate outside 0..=1.
    #[error("rate must lie in 0..=1, got {got}")]
    Rate {
        /// What was asked for.
        got: f64,
    },
    /// A reference that cannot set a threshold.
    #[error("cannot take a threshold from the reference: {reason}")]
    NoThreshold {
        /// Why.
        reason: &'static str,
    },
}

fn check_length(what: &'static str, expected: usize, got: usize) -> Result<(), TaskError> {
    if expected == got { Ok(()) } else { Err(TaskError::Length { what, expected, got }) }
}
