//! Great Expectations suites on the table of an evalset: rows of its inputs, labels and slices.
//!
//! The meanings are those of Great Expectations 1.24 on pandas: a value that is no number is missing, shares are of the values that are not
//! missing. What is not known here, a type or an argument, is a raised exception and no success; it is never left out.

mod aggregate;
mod arguments;
mod own;
mod result;
mod shape;
mod suite;
mod table;
mod values;

pub use result::{Validation, validation};
pub use suite::{Expectation, Suite, SuiteError};
pub use table::{Table, TableError};

use crate::file::EvalsetFile;
use crate::finding::{Finding, Kind, Severity};
use arguments::Arguments;
use serde_json::{Value, json};
use std::io::{Read, Seek};

/// What an expectation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The expectation.
    pub expectation: Expectation,
    /// It is met.
    pub success: bool,
    /// What was seen, as Great Expectations writes it.
    pub result: Value,
    /// Why it could not be asked.
    pub exception: Option<String>,
}

/// An answer: met or not, and what was seen.
type Answer = Result<(bool, Value), String>;

/// Asks all expectations of a suite, in its order.
pub fn ask<R: Read + Seek>(
    suite: &Suite,
    table: &mut Table,
    file: &mut EvalsetFile<R>,
) -> Result<Vec<Outcome>, TableError> {
    let mut outcomes = Vec::new();
    for expectation in &suite.expectations {
        let answer = answer(expectation, table, file)?;
        let (success, result, exception) = match answer {
            Ok((success, result)) => (success, result, None),
            Err(why) => (false, json!({}), Some(why)),
        };
        outcomes.push(Outcome { expectation: expectation.clone(), success, result, exception });
    }
    Ok(outcomes)
}

fn answer<R: Read + Seek>(
    expectation: &Expectation,
    table: &mut Table,
    file: &mut EvalsetFile<R>,
) -> Result<Answer, TableError> {
    let mut arguments = Arguments::new(&expectation.kwargs);
    let kind = expectation.kind.as_str();
    if let Some(answer) = shape::answer(kind, &mut arguments, table) {
        return Ok(answer.and_then(|answer| arguments.all_known().map(|()| answer)));
    }
    if !values::knows(kind) && !aggregate::knows(kind) {
        return Ok(Err(format!("boardproof does not know the expectation '{kind}'; it knows {}", known().join(", "))));
    }
    let name = match arguments.text("column") {
        Ok(name) => name,
        Err(why) => return Ok(Err(why)),
    };
    let Some(column) = table.column(&name, file)? else {
        return Ok(Err(table.unknown(&name)));
    };
    let answer = match values::knows(kind) {
        true => values::answer(kind, &mut arguments, column),
        false => aggregate::answer(kind, &mut arguments, column),
    };
    Ok(answer.and_then(|answer| arguments.all_known().map(|()| answer)))
}

/// Types that are known here.
fn known() -> Vec<&'static str> {
    let mut known: Vec<_> = shape::KNOWN.iter().chain(&values::KNOWN).chain(&aggregate::KNOWN).copied().collect();
    known.sort_unstable();
    known
}

/// Findings about the expectations that are not met, and those that could not be asked.
pub fn findings(outcomes: &[Outcome]) -> Vec<Finding> {
    let failed = outcomes.iter().filter(|outcome| !outcome.success);
    failed.map(finding).collect()
}

fn finding(outcome: &Outcome) -> Finding {
    let Expectation { kind, kwargs, severity, .. } = &outcome.expectation;
    let subject = kwargs.get("column").and_then(Value::as_str).unwrap_or_default();
    if let Some(why) = &outcome.exception {
        return Finding::new(Severity::Error, Kind::Expectation, subject, format!("{kind} could not be asked: {why}"));
    }
    let severity = match severity.as_str() {
        "info" => Severity::Note,
        "warning" => Severity::Warning,
        _ => Severity::Error,
    };
    let of = |key: &str| outcome.result.get(key).filter(|value| !value.is_null());
    let seen = match (of("observed_value"), of("unexpected_count"), of("unexpected_percent")) {
        (Some(value), _, _) => format!(", observed {}", short(value)),
        (None, Some(count), Some(percent)) => {
            format!(", {count} values are unexpected ({:.2} %)", percent.as_f64().unwrap_or(0.0))
        }
        _ => String::new(),
    };
    let wanted: serde_json::Map<String, Value> = kwargs
        .iter()
        .filter(|(key, value)| *key != "column" && !value.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let message = format!("{kind} {} is not met{seen}", short(&Value::Object(wanted)));
    Finding::new(severity, Kind::Expectation, subject, message)
}

/// JSON in a line that is not too long.
fn short(value: &Value) -> String {
    const LONG: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
