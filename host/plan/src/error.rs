//! Everything that can be wrong with what people write: where, what was expected, what was found, what to do.

use boardproof_record::consistency::Inconsistent;
use boardproof_record::ids::BadName;

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is not there, or may not be read.
    #[error("could not read {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not TOML of the right shape.
    #[error("could not read {file}")]
    Toml {
        /// The file.
        file: String,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A name that cannot be used.
    #[error("could not use a name in {file}")]
    Name {
        /// The file.
        file: String,
        /// Which.
        #[source]
        source: BadName,
    },
    /// A version this build does not read.
    #[error("{file}: expected schema = {expected}, got {found}")]
    Schema {
        /// The file.
        file: String,
        /// What this build reads.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// A value that contradicts another or makes no sense.
    #[error("{file}: {what}: expected {expected}, got {found}")]
    Value {
        /// The file.
        file: String,
        /// Which value.
        what: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name that nothing has.
    #[error("no {kind} is called '{found}'; known: {}", known.join(", "))]
    Unknown {
        /// What it should name.
        kind: &'static str,
        /// The name found.
        found: String,
        /// The known names, nearest first.
        known: Vec<String>,
    },
    /// The evalset's bytes do not hold what the manifest says.
    #[error("evalset {file} cannot be used")]
    Evalset {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: crate::evalset::EvalsetError,
    },
    /// What was asked for cannot be in one plan.
    #[error("could not make one plan of what was asked for")]
    Inconsistent(#[from] Inconsistent),
    /// Nothing to do.
    #[error("there is nothing to check: {0}")]
    Empty(String),
}

impl PlanError {
    /// What to do about it, if there is something short to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { kind: "target", .. } => Some("list targets with `boardproof targets`".into()),
            Self::Unknown { kind: "model" | "variant", .. } => Some("list models with `boardproof models`".into()),
            Self::Unknown { kind: "unit", .. } => {
                Some("units are listed in the inventory (see targets/inventory.example.toml)".into())
            }
            Self::Empty(_) => Some(
                "a model is a folder with a model.toml: name it (`boardproof check PATH`), or put it where boardproof.toml looks \
                 (`boardproof init` writes that file); the sources of boardproof have some to try in their folder models"
                    .into(),
            ),
            _ => None,
        }
    }

    /// A value that is not what it should be: where, what, what was expected, what was found.
    pub fn value(file: &str, what: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> Self {
        Self::Value { file: file.into(), what: what.into(), expected: expected.into(), found: found.to_string() }
    }
}

/// Known names, the one most like `found` first.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<_> = known.into_iter().map(str::to_owned).collect();
    names.sort_by_key(|name| (strsim::damerau_levenshtein(found, name), name.clone()));
    names
}

/// Parses a TOML text, naming the file in the error.
pub(crate) fn from_toml<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, PlanError> {
    toml::from_str(text).map_err(|e| PlanError::Toml { file: file.into(), source: Box::new(e) })
}

/// Checks the schema number of a text.
pub(crate) fn check_schema(file: &str, found: u32) -> Result<(), PlanError> {
    const EXPECTED: u32 = 1;
    if found == EXPECTED { Ok(()) } else { Err(PlanError::Schema { file: file.into(), expected: EXPECTED, found }) }
}
