//! A validation result as Great Expectations 1 writes it.

use super::own::as_expectations;
use super::{Outcome, Suite};
use crate::report::Checked;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a suite and our own look at an evalset came to.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    success: bool,
    results: Vec<Value>,
    suite_name: String,
    suite_parameters: Map<String, Value>,
    statistics: Statistics,
    meta: Value,
    id: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Statistics {
    evaluated_expectations: usize,
    successful_expectations: usize,
    unsuccessful_expectations: usize,
    success_percent: Option<f64>,
}

/// The suite's expectations first, in its order, then one for each kind of finding of ours.
pub fn validation(checked: &Checked, suite: Option<(&Suite, &[Outcome])>) -> Validation {
    let asked = suite.map_or(&[][..], |(_, outcomes)| outcomes);
    let own = as_expectations(checked);
    let all: Vec<&Outcome> = asked.iter().chain(&own).collect();
    let (evaluated, successful) = (all.len(), all.iter().filter(|outcome| outcome.success).count());
    Validation {
        success: evaluated == successful,
        results: all.into_iter().map(written).collect(),
        suite_name: suite.map_or_else(|| format!("boardproof {}", checked.model), |(suite, _)| suite.name.clone()),
        suite_parameters: Map::new(),
        statistics: Statistics {
            evaluated_expectations: evaluated,
            successful_expectations: successful,
            unsuccessful_expectations: evaluated - successful,
            success_percent: (evaluated > 0).then(|| successful as f64 * 100.0 / evaluated as f64),
        },
        meta: json!({
            "validated_by": format!("boardproof {}", env!("CARGO_PKG_VERSION")),
            "model": checked.model,
            "evalset": checked.evalset,
        }),
        id: None,
    }
}

fn written(outcome: &Outcome) -> Value {
    let expectation = &outcome.expectation;
    let mut config = json!({
        "type": expectation.kind,
        "kwargs": expectation.kwargs,
        "meta": expectation.meta,
        "severity": expectation.severity,
    });
    if let Some(id) = &expectation.id {
        config["id"] = json!(id);
    }
    json!({
        "success": outcome.success,
        "expectation_config": config,
        "result": outcome.result,
        "meta": {},
        "exception_info": {
            "raised_exception": outcome.exception.is_some(),
            "exception_traceback": null,
            "exception_message": outcome.exception,
        },
    })
}
