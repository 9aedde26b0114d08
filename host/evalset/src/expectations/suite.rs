//! A suite as Great Expectations writes it, of version 1 and of those before.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A text that is no suite.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Not JSON of this shape.
    #[error("not a Great Expectations suite")]
    Json(#[from] serde_json::Error),
    /// A suite that asks nothing.
    #[error("the suite '{name}' has no expectations: it would accept everything")]
    Empty {
        /// Its name.
        name: String,
    },
}

/// Expectations with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// What it asks, in its order.
    pub expectations: Vec<Expectation>,
}

/// One expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Its type, as `expect_column_to_exist`.
    pub kind: String,
    /// Its arguments.
    pub kwargs: Map<String, Value>,
    /// What its owner wrote beside it.
    pub meta: Value,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// `critical`, `warning` or `info`.
    pub severity: String,
}

#[derive(Deserialize)]
struct RawSuite {
    #[serde(alias = "expectation_suite_name")]
    name: String,
    expectations: Vec<RawExpectation>,
}

#[derive(Deserialize)]
struct RawExpectation {
    #[serde(rename = "type", alias = "expectation_type")]
    kind: String,
    #[serde(default)]
    kwargs: Map<String, Value>,
    #[serde(default)]
    meta: Value,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    severity: Option<String>,
}

impl Suite {
    /// Reads a suite.
    pub fn from_json(text: &str) -> Result<Self, SuiteError> {
        let raw: RawSuite = serde_json::from_str(text)?;
        if raw.expectations.is_empty() {
            return Err(SuiteError::Empty { name: raw.name });
        }
        let expectation = |raw: RawExpectation| Expectation {
            kind: raw.kind,
            kwargs: raw.kwargs,
            meta: if raw.meta.is_null() { Value::Object(Map::new()) } else { raw.meta },
            id: raw.id,
            // The word of those that have none, as of Great Expectations.
            severity: raw.severity.unwrap_or_else(|| "critical".into()),
        };
        Ok(Self { name: raw.name, expectations: raw.expectations.into_iter().map(expectation).collect() })
    }
}
