//! Expectations about each value of a column.

use super::Answer;
use super::arguments::Arguments;
use super::table::{Cell, Cells};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Types that are known here.
pub const KNOWN: [&str; 8] = [
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_null",
    "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_unique",
    "expect_column_values_to_not_be_in_set",
    "expect_column_values_to_not_be_null",
];

/// Unexpected values that a result lists.
const LISTED: usize = 20;

/// Is it one of these?
pub fn knows(kind: &str) -> bool {
    KNOWN.contains(&kind)
}

/// The answer to an expectation about the values of a column.
pub fn answer(kind: &str, arguments: &mut Arguments<'_>, column: &Cells) -> Answer {
    match kind {
        "expect_column_values_to_be_of_type" => {
            let wanted = arguments.text("type_")?;
            arguments.mostly()?;
            Ok((wanted == column.dtype, json!({ "observed_value": column.dtype })))
        }
        "expect_column_values_to_be_in_type_list" => {
            let wanted = arguments.list("type_list")?;
            arguments.mostly()?;
            Ok((wanted.iter().any(|name| *name == column.dtype), json!({ "observed_value": column.dtype })))
        }
        "expect_column_values_to_be_null" => nulls(arguments, column, false),
        "expect_column_values_to_not_be_null" => nulls(arguments, column, true),
        "expect_column_values_to_be_between" => {
            let bounds = arguments.bounds()?;
            if column.values.iter().any(|cell| matches!(cell, Cell::Text(_))) {
                return Err("the column holds texts, and boardproof compares numbers".into());
            }
            let fits = |cell: &Cell| matches!(cell, Cell::Number(value) if bounds.hold(*value));
            each(arguments, column, fits)
        }
        "expect_column_values_to_be_in_set" => {
            let set = arguments.list("value_set")?;
            each(arguments, column, |cell| set.iter().any(|value| cell.is(value)))
        }
        "expect_column_values_to_not_be_in_set" => {
            let set = arguments.list("value_set")?;
            each(arguments, column, |cell| !set.iter().any(|value| cell.is(value)))
        }
        _ => {
            let mut times: BTreeMap<String, u64> = BTreeMap::new();
            column.values.iter().for_each(|cell| *times.entry(key(cell)).or_default() += 1);
            each(arguments, column, |cell| times[&key(cell)] == 1)
        }
    }
}

fn key(cell: &Cell) -> String {
    match cell {
        Cell::Missing => String::new(),
        // One text per number: -0 is 0.
        Cell::Number(value) => format!("n{:x}", (value + 0.0).to_bits()),
        Cell::Text(text) => format!("t{text}"),
    }
}

fn percent(count: usize, all: usize) -> Value {
    // As Great Expectations: of nothing there is no share.
    if all == 0 { Value::Null } else { json!(count as f64 / all as f64 * 100.0) }
}

/// Missing values are what is asked for here, so that all count.
fn nulls(arguments: &mut Arguments<'_>, column: &Cells, unwanted: bool) -> Answer {
    let mostly = arguments.mostly()?;
    let all = column.values.len();
    let bad: Vec<&Cell> = column.values.iter().filter(|cell| (**cell == Cell::Missing) == unwanted).collect();
    let success = all == 0 || (all - bad.len()) as f64 / all as f64 >= mostly;
    let result = json!({
        "element_count": all,
        "unexpected_count": bad.len(),
        "unexpected_percent": percent(bad.len(), all),
        "partial_unexpected_list": listed(&bad, column.whole),
        "partial_unexpected_counts": counted(&bad, column.whole),
    });
    Ok((success, result))
}

/// Every value that is not missing.
fn each(arguments: &mut Arguments<'_>, column: &Cells, expected: impl Fn(&Cell) -> bool) -> Answer {
    let mostly = arguments.mostly()?;
    let all = column.values.len();
    let present: Vec<&Cell> = column.values.iter().filter(|cell| **cell != Cell::Missing).collect();
    let bad: Vec<&Cell> = present.iter().copied().filter(|cell| !expected(cell)).collect();
    let (count, missing) = (bad.len(), all - present.len());
    let success = present.is_empty() || (present.len() - count) as f64 / present.len() as f64 >= mostly;
    let result = json!({
        "element_count": all,
        "unexpected_count": count,
        "unexpected_percent": percent(count, present.len()),
        "partial_unexpected_list": listed(&bad, column.whole),
        "missing_count": missing,
        "missing_percent": percent(missing, all),
        "unexpected_percent_total": percent(count, all),
        "unexpected_percent_nonmissing": percent(count, present.len()),
        "partial_unexpected_counts": counted(&bad, column.whole),
    });
    Ok((success, result))
}

fn listed(bad: &[&Cell], whole: bool) -> Vec<Value> {
    bad.iter().take(LISTED).map(|cell| cell.json(whole)).collect()
}

/// The most frequent of the listed values.
fn counted(bad: &[&Cell], whole: bool) -> Vec<Value> {
    let mut counts: BTreeMap<String, (usize, Value)> = BTreeMap::new();
    for cell in bad.iter().take(LISTED) {
        counts.entry(key(cell)).or_insert_with(|| (0, cell.json(whole))).0 += 1;
    }
    let mut counts: Vec<(usize, Value)> = counts.into_values().collect();
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    counts.into_iter().map(|(count, value)| json!({ "value": value, "count": count })).collect()
}
