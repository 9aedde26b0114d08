//! `boardproof.toml`: what `boardproof check` without arguments checks in this folder.

use crate::error::{PlanError, check_schema, from_toml};
use serde::Deserialize;

/// The project file that `boardproof init` writes: it works as it is, beside a `models` folder.
pub const TEMPLATE: &str = include_str!("boardproof.template.toml");

/// A project file. Paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Version of the file.
    pub schema: u32,
    /// Folders with a `model.toml`, or folders of such folders.
    pub models: Vec<String>,
    /// Targets or units to check on.
    pub targets: Vec<String>,
    /// Variants to check; empty: those whose purpose is `release`.
    #[serde(default)]
    pub variants: Vec<String>,
    /// `default` or a policy file.
    #[serde(default = "default_policy")]
    pub policy: String,
    /// Inventory of the lab, when there is one.
    pub inventory: Option<String>,
    /// Folder with the project's own targets, when there is one.
    pub target_folder: Option<String>,
    /// Where records go: each run makes a folder of its own in it.
    #[serde(default = "default_out")]
    pub out: String,
}

fn default_policy() -> String {
    "default".into()
}

fn default_out() -> String {
    "boardproof-out".into()
}

/// Parses a project file.
pub fn parse_project(file: &str, text: &str) -> Result<Project, PlanError> {
    let project: Project = from_toml(file, text)?;
    check_schema(file, project.schema)?;
    for (what, list) in [("models", &project.models), ("targets", &project.targets)] {
        if list.is_empty() {
            return Err(PlanError::value(file, what, "one or more", "none"));
        }
    }
    Ok(project)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_parses() {
        let project = parse_project("boardproof.toml", TEMPLATE).unwrap();
        assert_eq!((project.targets, project.policy.as_str()), (vec!["host".to_owned()], "default"));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let error = parse_project("boardproof.toml", &format!("{TEMPLATE}\npolcy = 1\n")).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("polcy"), "{text}");
    }
}
