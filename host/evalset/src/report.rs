//! Findings for people and for machines.

use crate::finding::{Finding, Severity};
use boardproof_record::{Digest, ModelName};
use serde::Serialize;
use std::fmt;

/// What a look at an evalset came to.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Version of this document.
    version: u32,
    /// The model.
    pub model: ModelName,
    /// The evalset.
    pub evalset: Digest,
    /// Samples of it.
    pub samples: u64,
    /// Findings that are errors.
    pub errors: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// Findings that are notes.
    pub notes: usize,
    /// All of them, the gravest first.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Of the findings about an evalset.
    pub fn new(model: ModelName, evalset: Digest, samples: u64, findings: Vec<Finding>) -> Self {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
        Self { version: 1, model, evalset, samples, errors, warnings, notes, findings }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{:<8} {:<19} {finding}", finding.severity.word(), finding.kind.name())?;
        }
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let counts = [(self.errors, "error"), (self.warnings, "warning"), (self.notes, "note")];
        let counts = counts.map(|(n, what)| plural(n, what)).join(", ");
        writeln!(f, "{}: {} samples, {counts}", self.model, self.samples)
    }
}
