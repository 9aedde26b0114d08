//! Expectations about a column as a whole.

use super::Answer;
use super::arguments::Arguments;
use super::table::{Cell, Cells};
use serde_json::{Value, json};

/// Types that are known here.
pub const KNOWN: [&str; 13] = [
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
    "expect_column_kl_divergence_to_be_less_than",
    "expect_column_max_to_be_between",
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_min_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_unique_value_count_to_be_between",
];

/// Is it one of these?
pub fn knows(kind: &str) -> bool {
    KNOWN.contains(&kind)
}

/// The answer to an expectation about a column as a whole.
pub fn answer(kind: &str, arguments: &mut Arguments<'_>, column: &Cells) -> Answer {
    match kind {
        "expect_column_distinct_values_to_be_in_set" => {
            let set = arguments.list("value_set")?;
            let bad: Vec<Value> = distinct(column).into_iter().filter(|value| !holds(set, value)).collect();
            let result =
                json!({ "observed_value": null, "unexpected_count": bad.len(), "partial_unexpected_list": bad });
            Ok((bad.is_empty(), result))
        }
        "expect_column_distinct_values_to_contain_set" => {
            let missing = missing(arguments.list("value_set")?, &distinct(column));
            let result =
                json!({ "observed_value": null, "missing_count": missing.len(), "partial_missing_list": missing });
            Ok((missing.is_empty(), result))
        }
        "expect_column_distinct_values_to_equal_set" => equal_set(arguments, column),
        "expect_column_kl_divergence_to_be_less_than" => divergence(arguments, column),
        "expect_column_unique_value_count_to_be_between" => {
            let count = distinct(column).len();
            Ok((arguments.bounds()?.hold(count as f64), json!({ "observed_value": count })))
        }
        "expect_column_proportion_of_unique_values_to_be_between" => {
            let present = column.values.iter().filter(|cell| **cell != Cell::Missing).count();
            let share = distinct(column).len() as f64 / present.max(1) as f64;
            Ok((arguments.bounds()?.hold(share), json!({ "observed_value": share })))
        }
        "expect_column_quantile_values_to_be_between" => quantiles(arguments, column),
        _ => {
            let bounds = arguments.bounds()?;
            let value = number(kind, &sorted(column)?)?;
            Ok((bounds.hold(value), json!({ "observed_value": value })))
        }
    }
}

/// The numbers of a column, from the least on.
fn sorted(column: &Cells) -> Result<Vec<f64>, String> {
    let mut numbers = Vec::with_capacity(column.values.len());
    for cell in &column.values {
        match cell {
            Cell::Missing => {}
            Cell::Number(value) => numbers.push(*value),
            Cell::Text(_) => return Err("the column holds texts, and this asks for numbers".into()),
        }
    }
    numbers.sort_unstable_by(f64::total_cmp);
    if numbers.is_empty() { Err("the column holds no numbers".into()) } else { Ok(numbers) }
}

fn number(kind: &str, sorted: &[f64]) -> Result<f64, String> {
    let n = sorted.len();
    let sum: f64 = sorted.iter().sum();
    let mean = sum / n as f64;
    Ok(match kind {
        "expect_column_min_to_be_between" => sorted[0],
        "expect_column_max_to_be_between" => sorted[n - 1],
        "expect_column_mean_to_be_between" => mean,
        "expect_column_sum_to_be_between" => sum,
        "expect_column_median_to_be_between" => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
        // Of the sample, as pandas: n - 1 in the denominator.
        "expect_column_stdev_to_be_between" if n > 1 => {
            (sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt()
        }
        _ => return Err(format!("{n} values have no such number")),
    })
}

/// The nearest value to each quantile, as pandas has it with `nearest`.
fn quantiles(arguments: &mut Arguments<'_>, column: &Cells) -> Answer {
    arguments.flag("allow_relative_error", false)?;
    let ranges = arguments.value("quantile_ranges").unwrap_or(&Value::Null);
    let list = |key: &str| {
        let list = ranges.get(key).and_then(Value::as_array);
        list.ok_or_else(|| format!("expected quantile_ranges with a list {key}, got {ranges}"))
    };
    let (shares, wanted) = (list("quantiles")?, list("value_ranges")?);
    if shares.len() != wanted.len() || shares.is_empty() {
        return Err(format!("expected as many value_ranges as quantiles, got {} and {}", wanted.len(), shares.len()));
    }
    let sorted = sorted(column)?;
    let (mut values, mut met) = (Vec::new(), Vec::new());
    for (share, range) in shares.iter().zip(wanted) {
        let share = share.as_f64().filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or("expected quantiles in 0 to 1")?;
        let ends = range.as_array().filter(|ends| ends.len() == 2).ok_or("expected value_ranges of two values each")?;
        let value = sorted[(share * (sorted.len() - 1) as f64).round_ties_even() as usize];
        let end = |at: usize, otherwise: f64| match &ends[at] {
            Value::Null => Ok(otherwise),
            end => end.as_f64().ok_or_else(|| format!("expected a number or null in value_ranges, got {end}")),
        };
        met.push(value >= end(0, f64::NEG_INFINITY)? && value <= end(1, f64::INFINITY)?);
        values.push(value);
    }
    let result = json!({
        "observed_value": { "quantiles": shares, "values": values },
        "details": { "success_details": met },
    });
    Ok((met.iter().all(|met| *met), result))
}

/// Every different value that is not missing, from the least on.
fn distinct(column: &Cells) -> Vec<Value> {
    let mut present: Vec<&Cell> = column.values.iter().filter(|cell| **cell != Cell::Missing).collect();
    present.sort_by(|a, b| match (a, b) {
        (Cell::Number(a), Cell::Number(b)) => a.total_cmp(b),
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        (Cell::Number(_), _) => std::cmp::Ordering::Less,
        _ => std::cmp::Ordering::Greater,
    });
    present.dedup();
    present.into_iter().map(|cell| cell.json(column.whole)).collect()
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}

fn holds(set: &[Value], value: &Value) -> bool {
    set.iter().any(|known| same(known, value))
}

fn missing(set: &[Value], found: &[Value]) -> Vec<Value> {
    set.iter().filter(|value| !holds(found, value)).cloned().collect()
}

fn equal_set(arguments: &mut Arguments<'_>, column: &Cells) -> Answer {
    let set = arguments.list("value_set")?;
    let found = distinct(column);
    let missing = missing(set, &found);
    let bad: Vec<Value> = found.into_iter().filter(|value| !holds(set, value)).collect();
    let success = missing.is_empty() && bad.is_empty();
    let result = json!({
        "observed_value": null,
        "unexpected_count": bad.len(),
        "missing_count": missing.len(),
        "partial_unexpected_list": bad,
        "partial_missing_list": missing,
    });
    Ok((success, result))
}

/// Kullback and Leibler's divergence of the observed shares from the expected ones, of categories: the sum of `p ln(p / q)` over the observed.
/// A category that is not expected makes it infinite.
fn divergence(arguments: &mut Arguments<'_>, column: &Cells) -> Answer {
    let partition =
        arguments.value("partition_object").ok_or("boardproof makes no partition: give partition_object")?;
    let threshold = arguments.number("threshold")?.ok_or("expected threshold to be a number, got null")?;
    let list = |key: &str| {
        let list = partition.get(key).and_then(Value::as_array);
        list.ok_or_else(|| format!("boardproof compares categories: expected partition_object with {key}"))
    };
    let (values, weights) = (list("values")?, list("weights")?);
    let weights: Option<Vec<f64>> = weights.iter().map(Value::as_f64).collect();
    let weights =
        weights.filter(|weights| weights.len() == values.len() && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    let weights = weights.ok_or("expected as many weights as values, with a sum of 1")?;
    let present: Vec<&Cell> = column.values.iter().filter(|cell| **cell != Cell::Missing).collect();
    let mut divergence = 0.0;
    for value in distinct(column) {
        let share = present.iter().filter(|cell| cell.is(&value)).count() as f64 / present.len() as f64;
        let expected = values.iter().position(|known| same(known, &value)).map_or(0.0, |at| weights[at]);
        divergence += share * (share / expected).ln();
    }
    let observed = if divergence.is_finite() { json!(divergence) } else { Value::Null };
    Ok((divergence <= threshold, json!({ "observed_value": observed })))
}
