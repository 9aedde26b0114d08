//! Answers of one cell against the truth, sample by sample, so that two cells can be compared pair by pair.

use crate::compare::statistics::{
    Confidence, Interval, Mean, Paired, PairedMethod, Proportion, Tally, Values, auc, paired_auc, roc_auc,
};
use crate::compare::task::{Rows, anomaly_scores, correct_top_k, select};
use crate::evidence::{Evidence, EvidenceError, Tensor, Truth};
use boardproof_record::plan::{Cell, Model, Pass, Preprocess, Task};

/// What a cell answered, in the form that its task is judged in.
#[derive(Clone)]
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

/// How often one looks at samples while they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Once, when all are there.
    Once,
    /// Again and again, and stops when one likes: right and wrong answers then have bounds that hold at every look (a confidence sequence).
    Many,
}

/// How sure each one-sided bound is, and at how many looks together.
#[derive(Debug, Clone, Copy)]
pub struct Sure {
    /// As a share.
    pub confidence: f64,
    /// Looks that it holds at.
    pub looks: Looks,
}

/// A task metric with one-sided bounds, each at the rule's confidence.
pub struct Value {
    /// The metric.
    pub value: f64,
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Samples that it rests on.
    pub samples: u64,
    /// About how many more would put the interval on one side of the limit.
    pub samples_more: Option<u64>,
}

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
        Task::Anomaly => Answers::Scores(scores(model, &values, first, truth).map_err(failed)?),
        Task::Regression => {
            let predicted = values.chunks(first.row_elements()).map(|row| row[0]);
            // An answer that is not a number is as wrong as can be.
            let error = |(p, l): (f64, &i64)| if p.is_finite() { (p - *l as f64).abs() } else { f64::INFINITY };
            Answers::Errors(predicted.zip(&truth.labels).map(error).collect())
        }
    }))
}

fn scores(model: &Model, values: &[f64], output: &Tensor<'_>, truth: &Truth<'_>) -> Result<Vec<f64>, String> {
    let input = truth.inputs.first().ok_or("the record has no inputs to score against")?;
    let elements = output.row_elements();
    if input.row_elements() != elements {
        return Err(format!("an output of {elements} elements to an input of {}", input.row_elements()));
    }
    let mut inputs = input.to_f64();
    inputs.truncate(values.len());
    if let Some(preprocess) = model.inputs.first().and_then(|spec| spec.preprocess.as_ref()) {
        // The score is the distance from what the model saw, not from what the evalset holds.
        let channels = input.shape.get(1).copied().unwrap_or(1).max(1);
        inputs.chunks_mut(elements).for_each(|row| as_seen(preprocess, channels, row));
    }
    let rows = |v| Rows::new(v, elements).map_err(|e| e.to_string());
    let scored = anomaly_scores(rows(&inputs)?, rows(values)?).map_err(|e| e.to_string())?;
    Ok(scored.scores)
}

fn as_seen(preprocess: &Preprocess, channels: usize, row: &mut [f64]) {
    let width = row.len().div_ceil(channels);
    let of = |list: &[f64], channel: usize| list.get(channel).or(list.first()).copied();
    for (i, value) in row.iter_mut().enumerate() {
        let mean = of(&preprocess.mean, i / width).unwrap_or(0.0);
        let std = of(&preprocess.std, i / width).unwrap_or(1.0);
        *value = (*value * preprocess.scale - mean) / std;
    }
}

/// Number of samples that a cell was asked for.
pub fn samples_of(cell: &Cell) -> u64 {
    cell.passes.iter().find(|p| p.pass == Pass::Accuracy).map_or(0, |p| p.samples)
}

impl Answers {
    /// Those to the first samples.
    #[must_use]
    pub fn first(self, samples: u64) -> Self {
        let samples = usize::try_from(samples).unwrap_or(usize::MAX);
        match self {
            Self::Right(mut right) => {
                right.truncate(samples);
                Self::Right(right)
            }
            Self::Scores(mut scores) => {
                scores.truncate(samples);
                Self::Scores(scores)
            }
            Self::Errors(mut errors) => {
                errors.truncate(samples);
                Self::Errors(errors)
            }
        }
    }

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

    /// The task metric with one-sided bounds, each as sure as is asked: exact (Clopper and Pearson) for accuracy, DeLong's for AUC, Student's
    /// for a mean error; for accuracy at many looks those of a confidence sequence. `None` where it has no meaning.
    pub fn value(&self, labels: &[i64], samples: Samples<'_>, limit: f64, sure: Sure) -> Option<Value> {
        let both = both_sides(sure.confidence)?;
        let value = |value, Interval { lower, upper }, samples, samples_more| Value {
            value,
            lower,
            upper,
            samples,
            samples_more,
        };
        match self {
            Self::Right(right) if sure.looks == Looks::Many => {
                let tally = Tally::of_hits(&pick(right, samples));
                let more = tally.samples_more(limit, both, Values::Shares);
                Some(value(tally.mean()?, tally.interval(both, Values::Shares), tally.samples(), more))
            }
            Self::Right(right) => {
                let share = Proportion::of(&pick(right, samples));
                let more = share.samples_more(limit, both);
                Some(value(share.share()?, share.clopper_pearson(both), share.total(), more))
            }
            Self::Scores(scores) => {
                let auc = auc(&pick(scores, samples), &positives(labels, samples)).ok().flatten()?;
                let more = auc.samples_more(limit, both);
                Some(value(auc.value, auc.interval(both), auc.positives + auc.negatives, more))
            }
            Self::Errors(errors) => {
                let mean = Mean::of(&pick(errors, samples))?;
                Some(value(mean.value, mean.interval(both), mean.samples, mean.samples_more(limit, both)))
            }
        }
    }

    /// How much `candidate` lost against `self`, with one-sided bounds, each as sure as is asked. `None` where there is nothing to compare.
    pub fn drop(&self, candidate: &Self, labels: &[i64], samples: Samples<'_>, limit: f64, sure: Sure) -> Option<Drop> {
        let both = both_sides(sure.confidence)?;
        match (self, candidate) {
            (Self::Right(r), Self::Right(c)) => {
                let paired = Paired::of(&pick(r, samples), &pick(c, samples)).ok()?;
                let value = -paired.difference()?;
                let total = paired.total() as f64;
                let (Interval { lower, upper }, samples_more) = loss_bounds(&paired, limit, both, sure.looks);
                Some(Drop {
                    value,
                    lower,
                    upper,
                    reference: (paired.both + paired.reference_only) as f64 / total,
                    candidate: (paired.both + paired.candidate_only) as f64 / total,
                    samples: paired.total(),
                    samples_more,
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
            (Self::Errors(r), Self::Errors(c)) => error_rise(&pick(r, samples), &pick(c, samples), limit, both),
            _ => None,
        }
    }
}

/// Bounds of what was lost, and about how many more samples would put them on one side of the limit.
fn loss_bounds(paired: &Paired, limit: f64, both: Confidence, looks: Looks) -> (Interval, Option<u64>) {
    match looks {
        Looks::Once => {
            let Interval { lower, upper } = paired.interval(both, PairedMethod::Score);
            (Interval { lower: -upper, upper: -lower }, paired.samples_more(-limit, both, PairedMethod::Score))
        }
        Looks::Many => {
            let none = paired.both + paired.neither;
            let tally = Tally { minus: paired.candidate_only, none, plus: paired.reference_only };
            (tally.interval(both, Values::Differences), tally.samples_more(limit, both, Values::Differences))
        }
    }
}

/// Two one-sided bounds at confidence c are the ends of one interval at 2c - 1.
pub(super) fn both_sides(confidence: f64) -> Option<Confidence> {
    Confidence::new(2.0 * confidence - 1.0).ok()
}

/// Rise of the mean absolute error, with Student's bounds on the paired differences.
fn error_rise(reference: &[f64], candidate: &[f64], limit: f64, both: Confidence) -> Option<Drop> {
    if reference.len() != candidate.len() {
        return None;
    }
    let rises: Vec<f64> = reference.iter().zip(candidate).map(|(r, c)| c - r).collect();
    let rise = Mean::of(&rises)?;
    let interval = rise.interval(both);
    Some(Drop {
        value: rise.value,
        lower: interval.lower,
        upper: interval.upper,
        reference: Mean::of(reference)?.value,
        candidate: Mean::of(candidate)?.value,
        samples: rise.samples,
        samples_more: rise.samples_more(limit, both),
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
