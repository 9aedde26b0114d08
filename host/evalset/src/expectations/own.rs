//! Our own findings in the form of expectations: one of each kind, met where nothing graver than a note was found.

use super::{Expectation, Outcome};
use crate::finding::{Finding, Kind, Severity};
use crate::report::Checked;
use serde_json::{Map, json};

/// One per kind. What a suite was not met by is told by the suite.
pub fn as_expectations(checked: &Checked) -> Vec<Outcome> {
    let own = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Expectation);
    own.map(|kind| {
        let of_kind: Vec<&Finding> = checked.findings.iter().filter(|finding| finding.kind == kind).collect();
        outcome(kind, &of_kind)
    })
    .collect()
}

fn outcome(kind: Kind, findings: &[&Finding]) -> Outcome {
    let gravest = findings.iter().map(|finding| finding.severity).max();
    let severity = match gravest {
        Some(Severity::Error) | None => "critical",
        Some(Severity::Warning) => "warning",
        Some(Severity::Note) => "info",
    };
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Outcome {
        expectation: Expectation {
            kind: format!("expect_evalset_to_have_no_{}", kind.name().replace('-', "_")),
            kwargs: Map::new(),
            meta: json!({}),
            id: None,
            severity: severity.into(),
        },
        success: gravest.is_none_or(|gravest| gravest == Severity::Note),
        result: json!({ "observed_value": findings.len(), "details": { "findings": told } }),
        exception: None,
    }
}
