//! Answers of one cell against the truth, sample by sample, so that two cells can be compared pair by pair.

use crate::compare::statistics::{Confidence, Paired, PairedMethod, paired_auc, roc_auc};
use crate::compare::task::{Rows, anomaly_scores, correct_top_k, select};
use crate::evidence::{Evidence, EvidenceError, Tensor, Truth};
use boardproof_record::plan::{Cell, Pass, Task};

/// What a cell answered, in the form that its task is judged in.
pub enum Answers {
    /// Right or wrong per sample.
    Right(Vec<bool>),
    /// A score per sample; high means label 1.
    Scores(Vec<f64>),
    /// Absolute error per sample.
    Errors(Vec<f64>),
}

/// Which samples to look at: all, or a slice of them.
pub type Samples<'a> = Option<&'a [usize]>;

/// A difference of two task metrics: how much the candidate lost against the reference.
pub struct Drop {
    /// Reference minus candidate: positive is a loss.
    pub value: f64,
    /// One-sided bounds, each at the rule's confidence.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Value of the reference.
    pub reference: f64,
    /// Value of the candidate.
    pub candidate: f64,
    /// Samples that it rests on.
    pub samples: u64,
    /// About how many more would put the interval on one side of the limit.
    pub samples_more: Option<u64>,
}

/// Reads a cell's answers. `None` when the cell has none.
pub fn answers(evidence: Evidence<'_>, cell: &Cell, truth: &Truth<'_>) -> Result<Option<Answers>, EvidenceError> {
    let Some(outputs) = evidence.outputs(&cell.id)? else { return Ok(None) };
    let model = evidence.model(cell);
    let failed = |what: String| EvidenceError::Damaged { path: cell.id.to_string(), what };
    let first = outputs.first().ok_or_else(|| failed("no output".into()))?;
    let values = first.to_f64();
    let rows = Rows::new(&values, first.row_elements()).map_err(|e| failed(e.to_string()))?;
    if rows.count() != truth.labels.len() {
        return Err(failed(format!("{} answers to {} labels", rows.count(), truth.labels.len())));
    }
    Ok(Some(match &model.task {
        Task::Classification { .. } => {
            Answers::Right(correct_top_k(rows, &truth.labels, 1).map_err(|e| failed(e.to_string()))?.correct)
        }
        Task::Binary { .. } => Answers::Scores(values.chunks(first.row_elements()).map(|row| row[0]).collect()),
        Task::Anomaly => Answers::Scores(scores(&values, first, truth).map_err(failed)?),
        Task::Regression => {
            let predicted = values.chunks(first.row_elements()).map(|row| row[0]);
            // An answer that is not a number is as wrong as can be.
            let error = |(p, l): (f64, &i64)| if p.is_finite() { (p - *l as f64).abs() } else { f64::INFINITY };
            Answers::Errors(predicted.zip(&truth.labels).map(error).collect())
        }
    }))
}

fn scores(values: &[f64], output: &Tensor<'_>, truth: &Truth<'_>) -> Result<Vec<f64>, String> {
    let input = truth.inputs.first().ok_or("the record has no inputs to score against")?;
    let mut inputs = input.to_f64();
    inputs.truncate(values.len());
    let rows = |v| Rows::new(v, output.row_elements()).map_err(|e| e.to_string());
    let scored = anomaly_scores(rows(&inputs)?, rows(values)?).map_err(|e| e.to_string())?;
    Ok(scored.scores)
}

/// Number of samples that a cell was asked for.
pub fn samples_of(cell: &Cell) -> u64 {
    cell.passes.iter().find(|p| p.pass == Pass::Accuracy).map_or(0, |p| p.samples)
}

impl Answers {
    /// The task metric over some samples; `None` where it has no meaning (a class is missing).
    pub fn metric(&self, labels: &[i64], samples: Samples<'_>) -> Option<f64> {
        match self {
            Self::Right(right) => {
                let right = pick(right, samples);
                (!right.is_empty()).then(|| right.iter().filter(|r| **r).count() as f64 / right.len() as f64)
            }
            Self::Scores(scores) => {
                let (scores, positive) = (pick(scores, samples), positives(labels, samples));
                roc_auc(&scores, &positive).ok().flatten()
            }
            Self::Errors(errors) => {
                let errors = pick(errors, samples);
                (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
            }
        }
    }

    /// How much `candidate` lost against `self`, with one-sided bounds at `confidence` each. `None` where there is nothing to compare.
    pub fn drop(
        &self,
        candidate: &Self,
        labels: &[i64],
        samples: Samples<'_>,
        limit: f64,
        confidence: f64,
    ) -> Option<Drop> {
        // Two one-sided bounds at confidence c are the ends of one interval at 2c - 1.
        let both = Confidence::new(2.0 * confidence - 1.0).ok()?;
        match (self, candidate) {
            (Self::Right(r), Self::Right(c)) => {
                let paired = Paired::of(&pick(r, samples), &pick(c, samples)).ok()?;
                let value = -paired.difference()?;
                let interval = paired.interval(both, PairedMethod::Score);
                let total = paired.total() as f64;
                Some(Drop {
                    value,
                    lower: -interval.upper,
                    upper: -interval.lower,
                    reference: (paired.both + paired.reference_only) as f64 / total,
                    candidate: (paired.both + paired.candidate_only) as f64 / total,
                    samples: paired.total(),
                    samples_more: paired.samples_more(-limit, both, PairedMethod::Score),
                })
            }
            (Self::Scores(r), Self::Scores(c)) => {
                let positive = positives(labels, samples);
                let paired = paired_auc(&pick(r, samples), &pick(c, samples), &positive).ok().flatten()?;
                let interval = paired.cautious_interval(both);
                Some(Drop {
                    value: -paired.difference(),
                    lower: -interval.upper,
                    upper: -interval.lower,
                    reference: paired.reference,
                    candidate: paired.candidate,
                    samples: paired.positives + paired.negatives,
                    samples_more: paired.samples_more(-limit, both),
                })
            }
            (Self::Errors(r), Self::Errors(c)) => error_rise(&pick(r, samples), &pick(c, samples), confidence),
            _ => None,
        }
    }
}

/// Rise of the mean absolute error, with normal bounds on the paired differences.
fn error_rise(reference: &[f64], candidate: &[f64], confidence: f64) -> Option<Drop> {
    let n = reference.len() as f64;
    if reference.len() < 2 || reference.len() != candidate.len() {
        return None;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (r, c) = (mean(reference), mean(candidate));
    let value = c - r;
    let square: f64 = reference.iter().zip(candidate).map(|(r, c)| (c - r - value).powi(2)).sum();
    let half = crate::compare::statistics::normal_quantile(confidence) * (square / (n - 1.0) / n).sqrt();
    Some(Drop {
        value,
        lower: value - half,
        upper: value + half,
        reference: r,
        candidate: c,
        samples: reference.len() as u64,
        samples_more: None,
    })
}

fn pick<T: Copy>(column: &[T], samples: Samples<'_>) -> Vec<T> {
    samples.map_or_else(|| column.to_vec(), |s| select(column, s))
}

fn positives(labels: &[i64], samples: Samples<'_>) -> Vec<bool> {
    pick(labels, samples).into_iter().map(|l| l == 1).collect()
}

/// The samples that stand for a slice. A slice with one class only (a kind of anomaly) is judged together with all samples of the
/// other class, because alone it has no AUC. A slice of nothing but normal samples says nothing about ranking and is left empty.
pub fn slice_samples(task: &Task, codes: &[i64], code: i64, labels: &[i64]) -> Vec<usize> {
    let own: Vec<usize> = (0..codes.len()).filter(|i| codes[*i] == code).collect();
    let ranked = matches!(task, Task::Binary { .. } | Task::Anomaly);
    let positive = own.iter().filter(|i| labels[**i] == 1).count();
    if !ranked || (positive > 0 && positive < own.len()) {
        return own;
    }
    if positive == 0 {
        return Vec::new();
    }
    (0..codes.len()).filter(|i| codes[*i] == code || labels[*i] != 1).collect()
}
