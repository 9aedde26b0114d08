//! Names. Each kind is a type of its own, so that a model can never be passed where a target is meant.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} name '{found}': expected 1 to 64 of a-z A-Z 0-9 . _ - starting with a letter or digit")]
pub struct BadName {
    /// What it should name.
    pub kind: &'static str,
    /// The text found.
    pub found: String,
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

macro_rules! name {
    ($(#[$doc:meta] $ty:ident $kind:literal;)*) => { $(
        #[$doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $ty(String);

        impl $ty {
            /// Checks the text; names become file names, so nothing else is let in.
            pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                if is_name(&text) { Ok(Self(text)) } else { Err(BadName { kind: $kind, found: text }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $ty {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> { Self::new(text) }
        }

        impl From<$ty> for String {
            fn from(name: $ty) -> String { name.0 }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $ty {
            fn inline_schema() -> bool { true }
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($ty).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" })
            }
        }
    )* };
}

name! {
    /// A model: a network with its evalset and tolerances.
    ModelName "model";
    /// A form of a model: float, a quantization, a precision.
    VariantName "variant";
    /// A kind of hardware.
    TargetName "target";
    /// One device.
    UnitName "unit";
    /// An inference runtime.
    EngineName "engine";
    /// A rule of a policy.
    RuleId "rule";
}

/// One planned combination, `model/variant@unit/engine`. Unique in a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CellId(String);

/// A text that is not a cell id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cell id '{0}': expected model/variant@unit/engine")]
pub struct BadCellId(pub String);

impl TryFrom<String> for CellId {
    type Error = BadCellId;

    /// Checks every part: cell ids become folder names, and a record may come from anywhere.
    fn try_from(text: String) -> Result<Self, BadCellId> {
        let parts =
            text.split_once('@').and_then(|(left, right)| Some((left.split_once('/')?, right.split_once('/')?)));
        match parts {
            Some(((model, variant), (unit, engine))) if [model, variant, unit, engine].iter().all(|p| is_name(p)) => {
                Ok(Self(text))
            }
            _ => Err(BadCellId(text)),
        }
    }
}

impl From<CellId> for String {
    fn from(id: CellId) -> String {
        id.0
    }
}

impl CellId {
    /// Composes the id.
    pub fn new(model: &ModelName, variant: &VariantName, unit: &UnitName, engine: &EngineName) -> Self {
        Self(format!("{model}/{variant}@{unit}/{engine}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as one folder name: the parts are names, so `+` cannot occur in them.
    pub fn folder(&self) -> String {
        self.0.replace('/', "+")
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CellId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CellId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+@[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", "..", "../x", "a/b", "-x", "a b", "a+b", &"x".repeat(65), "é"] {
            assert!(ModelName::new(bad).is_err(), "{bad:?} was taken for a name");
        }
        assert_eq!(ModelName::new("mnist_dscnn-2.0").unwrap().as_str(), "mnist_dscnn-2.0");
    }

    #[test]
    fn cell_ids_are_checked_when_read() {
        let good = "mnist/int8@board-1/tract";
        assert_eq!(
            serde_json::from_str::<CellId>(&format!("\"{good}\"")).unwrap().folder(),
            "mnist+int8@board-1+tract"
        );
        for bad in ["", "a/b@c", "a@b/c", "../b@c/d", "a/b@c/d/e", "a/b@c/../d"] {
            assert!(CellId::try_from(bad.to_owned()).is_err(), "{bad:?} was taken for a cell id");
        }
    }
}
