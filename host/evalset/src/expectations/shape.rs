//! Expectations about the table as a whole.

use super::Answer;
use super::arguments::Arguments;
use super::table::Table;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Types that are known here.
pub const KNOWN: [&str; 7] = [
    "expect_column_to_exist",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
];

/// The answer to an expectation about the table; `None` for one of another kind.
pub fn answer(kind: &str, arguments: &mut Arguments<'_>, table: &Table) -> Option<Answer> {
    let columns = table.names.len() as u64;
    Some(match kind {
        "expect_column_to_exist" => exists(arguments, table),
        "expect_table_column_count_to_be_between" => between(arguments, columns),
        "expect_table_column_count_to_equal" => equals(arguments, columns),
        "expect_table_row_count_to_be_between" => between(arguments, table.rows),
        "expect_table_row_count_to_equal" => equals(arguments, table.rows),
        "expect_table_columns_to_match_ordered_list" => in_order(arguments, table),
        "expect_table_columns_to_match_set" => as_set(arguments, table),
        _ => return None,
    })
}

fn exists(arguments: &mut Arguments<'_>, table: &Table) -> Answer {
    let name = arguments.text("column")?;
    let at = table.names.iter().position(|known| *known == name);
    let wanted = arguments.number("column_index")?;
    Ok((at.is_some_and(|at| wanted.is_none_or(|wanted| wanted == at as f64)), json!({})))
}

fn between(arguments: &mut Arguments<'_>, count: u64) -> Answer {
    Ok((arguments.bounds()?.hold(count as f64), json!({ "observed_value": count })))
}

fn equals(arguments: &mut Arguments<'_>, count: u64) -> Answer {
    let wanted = arguments.number("value")?.ok_or("expected value to be a number, got null")?;
    Ok((wanted == count as f64, json!({ "observed_value": count })))
}

fn names(list: &[Value]) -> Result<Vec<String>, String> {
    let name = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("expected a name, got {value}"));
    list.iter().map(name).collect()
}

fn in_order(arguments: &mut Arguments<'_>, table: &Table) -> Answer {
    let wanted = names(arguments.list("column_list")?)?;
    Ok((wanted == table.names, json!({ "observed_value": table.names })))
}

fn as_set(arguments: &mut Arguments<'_>, table: &Table) -> Answer {
    let wanted: BTreeSet<String> = names(arguments.list("column_set")?)?.into_iter().collect();
    let exact = arguments.flag("exact_match", true)?;
    let found: BTreeSet<String> = table.names.iter().cloned().collect();
    let success = if exact { wanted == found } else { wanted.is_subset(&found) };
    Ok((success, json!({ "observed_value": found })))
}
