//! Which samples: those whose answer is another than the reference's, the most surprising first.
//!
//! Shows, does not judge: rates are the rules' business. The margin is the reference's own: a sample on which it was sure, and the candidate
//! says something else, tells more about what went wrong than one that could have gone either way.

use crate::compare::numerics::argmax;
use crate::evidence::{Evidence, EvidenceError, Tensor, Truth};
use crate::gate::{Answers, answers};
use boardproof_record::plan::{Cell, Model, Task};
use serde::Serialize;
use std::collections::BTreeMap;

/// Samples that are told one by one; all are counted.
const TOLD_MAX: usize = 200;

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// The reference was right, the candidate is wrong.
    Lost,
    /// The reference was wrong, the candidate is right.
    Won,
    /// Both are wrong, each in its own way.
    OtherwiseWrong,
}

impl Turn {
    /// In a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Won => "won",
            Self::OtherwiseWrong => "otherwise wrong",
        }
    }
}

/// A sample with two answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flip {
    /// Number in the evalset, from 0.
    pub sample: u64,
    /// Its id, where the evalset has ids.
    pub id: Option<i64>,
    /// What became of the answer.
    pub turn: Turn,
    /// What is true.
    pub label: String,
    /// What the reference says; `no number` where that is none.
    pub reference: String,
    /// How sure the reference was: the distance of its best output to the second, or of its score to the threshold. `None` where it
    /// said no number.
    pub margin: Option<f64>,
    /// What came second to the reference.
    pub second: Option<String>,
    /// What the candidate says.
    pub candidate: String,
    /// How sure the candidate was.
    pub candidate_margin: Option<f64>,
    /// Value of each slice.
    pub slices: BTreeMap<String, String>,
}

/// All samples of a cell whose answer is another than the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flips {
    /// Samples that both answered.
    pub samples: u64,
    /// Right before, wrong now.
    pub lost: u64,
    /// Wrong before, right now.
    pub won: u64,
    /// Wrong before, and wrong in another way now.
    pub otherwise_wrong: u64,
    /// Score from which on an answer is a yes, where answers are scores: the one at which the reference says yes as often as the labels do.
    pub threshold: Option<f64>,
    /// The samples, the largest margin of the reference first; at most 200.
    pub told: Vec<Flip>,
}

impl Flips {
    /// All of them.
    pub fn count(&self) -> u64 {
        self.lost + self.won + self.otherwise_wrong
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let Self { samples, lost, won, otherwise_wrong, .. } = self;
        let wrong = if *otherwise_wrong > 0 { format!(", {otherwise_wrong} otherwise wrong") } else { String::new() };
        let flipped = self.count();
        let score = self.threshold.map_or_else(String::new, |t| format!(" (yes from a score of {t:.4} on)"));
        format!("{flipped} of {samples} answers are others than the reference's: {lost} lost, {won} won{wrong}{score}")
    }
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Answer {
    class: usize,
    second: Option<usize>,
    margin: f64,
}

/// The samples of a cell whose answer flipped. `None` where the task has no classes, where there is nothing to compare, and for the
/// reference itself.
pub fn flips(evidence: Evidence<'_>, cell: &Cell) -> Result<Option<Flips>, EvidenceError> {
    let model = evidence.model(cell);
    let Some(other) = evidence.reference(cell).filter(|other| other.id != cell.id) else { return Ok(None) };
    if matches!(model.task, Task::Regression) || evidence.observation(&cell.id).is_none() {
        return Ok(None);
    }
    let truth = evidence.truth(model, evidence.visited(&cell.id))?;
    let both = match &model.task {
        Task::Classification { .. } => {
            let samples = truth.labels.len() as u64;
            let (reference, own) = (evidence.first_outputs(&other.id, samples)?, evidence.outputs(&cell.id)?);
            reference.zip(own).map(|(reference, own)| (classes(&reference), classes(&own), None))
        }
        _ => scored(evidence, other, cell, &truth)?,
    };
    let Some((reference, own, threshold)) = both else { return Ok(None) };
    // A part of the evalset may have been asked of one of them: then the first samples are those of both.
    Ok(Some(collect(model, &truth, &reference, &own, threshold)))
}

type Both = (Vec<Option<Answer>>, Vec<Option<Answer>>, Option<f64>);

/// The largest of the first output; of equals the first, as the accuracy has it.
fn classes(outputs: &[Tensor<'_>]) -> Vec<Option<Answer>> {
    let Some(first) = outputs.first() else { return Vec::new() };
    let answer = |row: &[f64]| {
        if row.is_empty() || row.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let class = argmax(row);
        let others = (0..row.len()).filter(|i| *i != class);
        let second = others.max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
        Some(Answer { class, second, margin: second.map_or(0.0, |second| row[class] - row[second]) })
    };
    first.to_f64().chunks(first.row_elements()).map(answer).collect()
}

/// Yes or no by a score.
fn scored(
    evidence: Evidence<'_>,
    reference: &Cell,
    cell: &Cell,
    truth: &Truth<'_>,
) -> Result<Option<Both>, EvidenceError> {
    let scores = |cell: &Cell| -> Result<Option<Vec<f64>>, EvidenceError> {
        // A cell that was asked for fewer samples has fewer labels; of one that has visited more, the first are looked at.
        let (visited, wanted) = (evidence.visited(&cell.id), truth.labels.len() as u64);
        if visited < wanted {
            return Ok(None);
        }
        let of_all = if visited > wanted { &evidence.truth(evidence.model(cell), visited)? } else { truth };
        Ok(match answers(evidence, cell, of_all)?.map(|answers| answers.first(wanted)) {
            Some(Answers::Scores(scores)) => Some(scores),
            _ => None,
        })
    };
    let (Some(reference), Some(own)) = (scores(reference)?, scores(cell)?) else { return Ok(None) };
    let Some(threshold) = threshold(&reference, &truth.labels) else { return Ok(None) };
    let answer = |score: &f64| {
        score.is_finite().then(|| Answer {
            class: usize::from(*score >= threshold),
            second: None,
            margin: (score - threshold).abs(),
        })
    };
    let all = |scores: &[f64]| scores.iter().map(answer).collect::<Vec<_>>();
    Ok(Some((all(&reference), all(&own), Some(threshold))))
}

/// The score from which on the reference says yes as often as the labels do.
fn threshold(scores: &[f64], labels: &[i64]) -> Option<f64> {
    let mut sorted: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let positives = labels.iter().filter(|label| **label == 1).count();
    sorted.get(positives.checked_sub(1)?).copied()
}

fn collect(
    model: &Model,
    truth: &Truth<'_>,
    reference: &[Option<Answer>],
    own: &[Option<Answer>],
    threshold: Option<f64>,
) -> Flips {
    let samples = truth.labels.len().min(reference.len()).min(own.len());
    let mut flips = Flips { samples: samples as u64, lost: 0, won: 0, otherwise_wrong: 0, threshold, told: Vec::new() };
    let class = |answer: &Option<Answer>| answer.map(|answer| answer.class);
    let mut flipped: Vec<(usize, Turn)> = Vec::new();
    for sample in 0..samples {
        let label = usize::try_from(truth.labels[sample]).ok();
        let (was, is) = (class(&reference[sample]), class(&own[sample]));
        if was == is {
            continue;
        }
        // What is no number is wrong, whatever the label.
        let turn = match (was.is_some() && was == label, is.is_some() && is == label) {
            (true, _) => Turn::Lost,
            (false, true) => Turn::Won,
            (false, false) => Turn::OtherwiseWrong,
        };
        let count = match turn {
            Turn::Lost => &mut flips.lost,
            Turn::Won => &mut flips.won,
            Turn::OtherwiseWrong => &mut flips.otherwise_wrong,
        };
        *count += 1;
        flipped.push((sample, turn));
    }
    let margin = |sample: usize| reference[sample].map_or(f64::NEG_INFINITY, |answer| answer.margin);
    flipped.sort_by(|a, b| margin(b.0).total_cmp(&margin(a.0)).then(a.0.cmp(&b.0)));
    flipped.truncate(TOLD_MAX);
    let tell = |(sample, turn)| flip(model, truth, sample, turn, reference[sample], own[sample]);
    flips.told = flipped.into_iter().map(tell).collect();
    flips
}

fn flip(
    model: &Model,
    truth: &Truth<'_>,
    sample: usize,
    turn: Turn,
    reference: Option<Answer>,
    own: Option<Answer>,
) -> Flip {
    let name = |class: usize| class_name(&model.task, class);
    let said = |answer: Option<Answer>| answer.map_or_else(|| "no number".into(), |answer| name(answer.class));
    let label = truth.labels[sample];
    let slice = |(column, values): (&String, &Vec<String>)| {
        let code = usize::try_from(*truth.slices.get(column)?.get(sample)?).ok()?;
        Some((column.clone(), values.get(code)?.clone()))
    };
    Flip {
        sample: truth.number(sample),
        id: truth.ids.as_ref().and_then(|ids| ids.get(sample).copied()),
        turn,
        label: usize::try_from(label).map_or_else(|_| label.to_string(), name),
        reference: said(reference),
        margin: reference.map(|answer| answer.margin),
        second: reference.and_then(|answer| answer.second).map(name),
        candidate: said(own),
        candidate_margin: own.map(|answer| answer.margin),
        slices: model.evalset.slices.iter().filter_map(slice).collect(),
    }
}

/// Name of a class, or its number where it has none.
fn class_name(task: &Task, class: usize) -> String {
    let numbered = || format!("class {class}");
    match task {
        Task::Classification { classes } => classes.get(class).cloned().unwrap_or_else(numbered),
        Task::Binary { positive } if class == 1 => positive.clone(),
        Task::Binary { positive } => format!("not {positive}"),
        Task::Anomaly => if class == 1 { "anomaly" } else { "normal" }.into(),
        Task::Regression => numbered(),
    }
}

/// Samples to keep the inputs of, at most `most` per model: of its judged cells in turn the one whose reference was surest.
pub fn worth_keeping(evidence: Evidence<'_>, most: usize) -> Result<BTreeMap<String, Vec<u64>>, EvidenceError> {
    let mut told: BTreeMap<String, Vec<Vec<u64>>> = BTreeMap::new();
    for cell in evidence.record.plan.cells.iter().filter(|cell| cell.judged) {
        let Some(flips) = flips(evidence, cell)? else { continue };
        told.entry(cell.model.to_string()).or_default().push(flips.told.iter().map(|flip| flip.sample).collect());
    }
    let chosen = told.into_iter().map(|(model, cells)| {
        let longest = cells.iter().map(Vec::len).max().unwrap_or(0);
        let mut samples: Vec<u64> = Vec::new();
        for rank in 0..longest {
            for sample in cells.iter().filter_map(|cell| cell.get(rank)) {
                if samples.len() < most && !samples.contains(sample) {
                    samples.push(*sample);
                }
            }
        }
        (model, samples)
    });
    Ok(chosen.filter(|(_, samples)| !samples.is_empty()).collect())
}
