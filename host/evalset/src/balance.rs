//! Labels and slices: is there enough of each to say something about it?

use crate::finding::{Finding, Kind, Severity};
use crate::survey::Survey;
use boardproof_record::plan::{Model, Task};

/// Share of one label above which a model that always says the same looks good.
const MAJORITY: f64 = 0.9;
/// Samples below which a class or a slice supports no claim: of 20, one more mistake is five points.
const ENOUGH: u64 = 20;

/// Counts of labels and slices that say little.
pub fn findings(model: &Model, seen: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(labels) = &seen.labels {
        found.extend(of_labels(model, labels));
    }
    for (slice, values) in &model.evalset.slices {
        let Some(codes) = seen.slices.get(slice) else { continue };
        found.extend(of_slice(slice, values, codes));
    }
    found
}

/// Names of the labels of a task; none where they are numbers.
pub fn label_names(task: &Task) -> Vec<String> {
    match task {
        Task::Classification { classes } => classes.clone(),
        Task::Binary { positive } => vec![format!("not {positive}"), positive.clone()],
        Task::Anomaly => vec!["normal".into(), "anomaly".into()],
        Task::Regression => Vec::new(),
    }
}

/// How often each code occurs; codes beyond are left out, they are an error of their own.
pub fn counts(codes: &[i64], names: usize) -> Vec<u64> {
    let mut counts = vec![0; names];
    for code in codes {
        if let Some(count) = usize::try_from(*code).ok().and_then(|code| counts.get_mut(code)) {
            *count += 1;
        }
    }
    counts
}

fn of_labels(model: &Model, labels: &[i64]) -> Vec<Finding> {
    let subject = &model.evalset.labels;
    let names = label_names(&model.task);
    if names.is_empty() {
        let same = labels.first().is_some_and(|first| labels.iter().all(|label| label == first));
        let message = "every label is the same value: nothing tells a good answer from a constant one";
        return same.then(|| Finding::new(Severity::Error, Kind::Balance, subject, message)).into_iter().collect();
    }
    let counts = counts(labels, names.len());
    let (all, present) = (labels.len() as u64, counts.iter().filter(|n| **n > 0).count());
    let mut found = Vec::new();
    let most = (0..counts.len()).max_by_key(|i| counts[*i]).unwrap_or(0);
    if present < 2 {
        let message = format!("all {all} labels are '{}': nothing tells a good model from a constant one", names[most]);
        return vec![Finding::new(Severity::Error, Kind::Balance, subject, message).of(all, all)];
    }
    let share = counts[most] as f64 / all as f64;
    if share > MAJORITY && matches!(model.task, Task::Classification { .. }) {
        let message = format!(
            "{:.1} % of the labels are '{}': a model that always says so has that accuracy",
            share * 100.0,
            names[most]
        );
        found.push(Finding::new(Severity::Warning, Kind::Balance, subject, message).of(counts[most], all));
    }
    found.extend(few(Kind::Balance, subject, "class", &names, &counts));
    found
}

fn of_slice(slice: &str, values: &[String], codes: &[i64]) -> Vec<Finding> {
    few(Kind::Slices, slice, "value", values, &counts(codes, values.len()))
}

/// Names that nothing has, and those that too few samples have for a claim.
fn few(kind: Kind, subject: &str, what: &str, names: &[String], counts: &[u64]) -> Vec<Finding> {
    let (all, total) = (names.len() as u64, counts.iter().sum::<u64>());
    let with = |wanted: fn(u64) -> bool| -> Vec<String> {
        let wanted = names.iter().zip(counts).filter(|(_, count)| wanted(**count));
        wanted.map(|(name, count)| if *count == 0 { name.clone() } else { format!("{name} ({count})") }).collect()
    };
    let mut found = Vec::new();
    let none = with(|count| count == 0);
    if !none.is_empty() {
        let message = format!("no sample of {what} {}: nothing is said about it", listed(&none));
        found.push(Finding::new(Severity::Warning, kind, subject, message).of(none.len() as u64, all));
    }
    let short = with(|count| (1..ENOUGH).contains(&count));
    if !short.is_empty() && total > 0 {
        let message = format!("fewer than {ENOUGH} samples of {what} {}: too few for a claim", listed(&short));
        found.push(Finding::new(Severity::Note, kind, subject, message).of(short.len() as u64, all));
    }
    found
}

/// The first of some names.
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
