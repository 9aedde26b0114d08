//! Great Expectations suites: the same answers as Great Expectations itself (`great_expectations/make.py` says of which version, and how they
//! were made), and what is not known is never passed over.

use crate::material::Case;
use boardproof_evalset::expectations::{Outcome, Suite, Table, ask, findings, validation};
use boardproof_evalset::{Checked, EvalsetFile, Kind, Severity};
use serde_json::{Value, json};
use std::io::Cursor;

const SUITE: &str = include_str!("great_expectations/suite.json");
const RESULT: &str = include_str!("great_expectations/result.json");

/// The evalset that the stored result is of: three values are missing.
fn case() -> Case {
    let mut case = Case::of("adult_mlp");
    let missing = [3, 7, 11].map(|row| row * 62 + 1);
    case.inputs().each(|i, v| if missing.contains(&i) { f32::NAN } else { v });
    case
}

fn asked(suite: &Suite) -> Vec<Outcome> {
    let mut case = case();
    let mut file = EvalsetFile::open(Cursor::new(case.file())).unwrap();
    let mut table = Table::of(&case.manifest.model, &[], &file);
    ask(suite, &mut table, &mut file).unwrap()
}

fn one(expectation: Value) -> Outcome {
    let suite = json!({ "name": "one", "expectations": [expectation] });
    asked(&Suite::from_json(&suite.to_string()).unwrap()).remove(0)
}

/// Equal but for the last digits of numbers, which pandas adds up in single precision.
fn alike(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 2e-6 * b.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b))),
        _ => found == expected,
    }
}

#[test]
fn answers_are_those_of_great_expectations() {
    let suite = Suite::from_json(SUITE).unwrap();
    let expected: Vec<Value> = serde_json::from_str(RESULT).unwrap();
    let outcomes = asked(&suite);
    assert_eq!(outcomes.len(), expected.len());
    for (outcome, expected) in outcomes.iter().zip(&expected) {
        let kind = &outcome.expectation.kind;
        assert_eq!(*kind, expected["type"], "{kind}");
        assert_eq!(outcome.exception, None, "{kind}");
        assert_eq!(json!(outcome.success), expected["success"], "{kind} {:?}", outcome.expectation.kwargs);
        // Lists of what was unexpected are in another order where counts are equal; observed partitions are not told.
        let mut result = outcome.result.clone();
        if let Some(result) = result.as_object_mut() {
            result.remove("partial_unexpected_counts");
        }
        assert!(alike(&result, &expected["result"]), "{kind}: {result:#} is not {:#}", expected["result"]);
    }
}

#[test]
fn what_is_not_met_is_a_finding_of_its_severity() {
    let found = findings(&asked(&Suite::from_json(SUITE).unwrap()));
    let of = |severity| found.iter().filter(|f| f.severity == severity).count();
    assert!(found.iter().all(|f| f.kind == Kind::Expectation));
    assert_eq!((of(Severity::Note), of(Severity::Warning)), (1, 0));
    let hours = found.iter().find(|f| f.subject == "hours-per-week").unwrap();
    assert_eq!(hours.severity, Severity::Error);
    assert!(hours.message.contains("422 values are unexpected (7.03 %)"), "{hours}");
}

#[test]
fn what_is_not_known_is_an_error_that_names_it() {
    let refused = |expectation: Value, part: &str| {
        let outcome = one(expectation);
        let why = outcome.exception.clone().unwrap_or_default();
        assert!(!outcome.success && why.contains(part), "{why}");
        assert_eq!(findings(&[outcome])[0].severity, Severity::Error);
    };
    refused(
        json!({ "type": "expect_column_values_to_match_regex", "kwargs": { "column": "age", "regex": "." }, "severity": "info" }),
        "does not know the expectation 'expect_column_values_to_match_regex'",
    );
    refused(
        json!({ "type": "expect_column_values_to_be_between", "kwargs": { "column": "age", "min_value": -9, "row_condition": "sex" } }),
        "does not know the argument 'row_condition'",
    );
    refused(
        json!({ "type": "expect_column_mean_to_be_between", "kwargs": { "column": "ag", "min_value": 0 } }),
        "there is no column 'ag'; known are age",
    );
    refused(
        json!({ "type": "expect_column_mean_to_be_between", "kwargs": { "column": "slice.sex", "min_value": 0 } }),
        "the column holds texts",
    );
    refused(
        json!({ "type": "expect_column_mean_to_be_between", "kwargs": { "column": "age" } }),
        "expected min_value or max_value",
    );
    refused(
        json!({ "type": "expect_column_values_to_be_in_set", "kwargs": { "column": "age", "value_set": [1], "mostly": 2 } }),
        "expected mostly in 0 to 1",
    );
}

#[test]
fn suites_of_old_are_read_and_empty_ones_are_not() {
    let old = json!({
        "expectation_suite_name": "old",
        "expectations": [{ "expectation_type": "expect_column_to_exist", "kwargs": { "column": "age" } }],
        "meta": { "great_expectations_version": "0.18" },
    });
    let suite = Suite::from_json(&old.to_string()).unwrap();
    assert_eq!((suite.name.as_str(), suite.expectations[0].severity.as_str()), ("old", "critical"));
    let empty = Suite::from_json("{\"name\": \"e\", \"expectations\": []}").unwrap_err();
    assert!(empty.to_string().contains("would accept everything"), "{empty}");
}

#[test]
fn a_validation_result_has_the_suite_and_our_own_findings() {
    let suite = Suite::from_json(SUITE).unwrap();
    let outcomes = asked(&suite);
    let mut case = case();
    let findings = case.findings();
    let model = &case.manifest.model;
    let checked = Checked::new(model.name.clone(), model.evalset.digest, 6000, findings);
    let result = serde_json::to_value(validation(&checked, Some((&suite, &outcomes)))).unwrap();
    let results = result["results"].as_array().unwrap();
    assert_eq!(results.len(), outcomes.len() + Kind::ALL.len() - 1);
    let met = results.iter().filter(|r| r["success"] == true).count();
    assert_eq!((&result["success"], &result["suite_name"]), (&json!(false), &json!("adult")));
    assert_eq!(result["statistics"]["successful_expectations"], json!(met));
    let own =
        results.iter().find(|r| r["expectation_config"]["type"] == "expect_evalset_to_have_no_non_finite").unwrap();
    assert_eq!(own["success"], json!(false));
    assert_eq!(own["exception_info"]["raised_exception"], json!(false));
}
