//! What was found, how much it weighs, and what its owner has accepted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// A verdict on this evalset may mislead.
    Warning,
    /// No verdict on this evalset means anything.
    Error,
}

impl Severity {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The file is not the one that model.toml names.
    Digest,
    /// A tensor is missing.
    Missing,
    /// A tensor has another element type than it should.
    Dtype,
    /// A tensor has another shape or number of samples than it should.
    Shape,
    /// Values that are no numbers.
    NonFinite,
    /// A label that the task does not have.
    Label,
    /// A slice code that has no name.
    SliceCode,
    /// Two samples with one id.
    Id,
    /// Samples that are there more than once.
    Duplicates,
    /// Equal samples with different labels.
    LabelConflict,
    /// Samples that are in the calibration data as well.
    CalibrationOverlap,
    /// Labels that say little: one class, none of a class, nearly all of one.
    Balance,
    /// Slices with few samples or none.
    Slices,
    /// Inputs that look like noise.
    Noise,
    /// Inputs or columns that are the same everywhere.
    Constant,
    /// Values beyond what the calibration data hold.
    Range,
    /// Values on another scale than the calibration data, or than the preprocessing expects.
    Scale,
    /// Values at the ends of their range.
    Saturation,
    /// Another distribution than an earlier evalset.
    Drift,
    /// Calibration data that cannot be compared with.
    Calibration,
    /// An expectation of a suite that is not met, or not known here.
    Expectation,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Digest,
        Self::Missing,
        Self::Dtype,
        Self::Shape,
        Self::NonFinite,
        Self::Label,
        Self::SliceCode,
        Self::Id,
        Self::Duplicates,
        Self::LabelConflict,
        Self::CalibrationOverlap,
        Self::Balance,
        Self::Slices,
        Self::Noise,
        Self::Constant,
        Self::Range,
        Self::Scale,
        Self::Saturation,
        Self::Drift,
        Self::Calibration,
        Self::Expectation,
    ];

    /// Name in reports and in `[evalset.accepts]`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Missing => "missing",
            Self::Dtype => "dtype",
            Self::Shape => "shape",
            Self::NonFinite => "non-finite",
            Self::Label => "label",
            Self::SliceCode => "slice-code",
            Self::Id => "id",
            Self::Duplicates => "duplicates",
            Self::LabelConflict => "label-conflict",
            Self::CalibrationOverlap => "calibration-overlap",
            Self::Balance => "balance",
            Self::Slices => "slices",
            Self::Noise => "noise",
            Self::Constant => "constant",
            Self::Range => "range",
            Self::Scale => "scale",
            Self::Saturation => "saturation",
            Self::Drift => "drift",
            Self::Calibration => "calibration",
            Self::Expectation => "expectation",
        }
    }

    /// May the owner of the data say that it is so by nature? What no runner could read or no judge could use is not among those.
    pub fn can_be_accepted(self) -> bool {
        matches!(
            self,
            Self::Duplicates
                | Self::LabelConflict
                | Self::CalibrationOverlap
                | Self::Balance
                | Self::Slices
                | Self::Noise
                | Self::Constant
                | Self::Range
                | Self::Scale
                | Self::Saturation
                | Self::Drift
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something about an evalset that somebody must know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong.
    pub kind: Kind,
    /// Tensor, column or slice that it is about; empty for the evalset as a whole.
    pub subject: String,
    /// In words, with what was expected and what was found.
    pub message: String,
    /// How many samples, values or columns it is about, and of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<(u64, u64)>,
    /// Numbers of the first samples that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<u64>,
    /// Why the owner of the data has accepted it; it is a note then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

/// Samples that a finding names.
const SAMPLES_MAX: usize = 5;

impl Finding {
    /// A finding about a subject.
    pub fn new(severity: Severity, kind: Kind, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            kind,
            subject: subject.into(),
            message: message.into(),
            count: None,
            samples: Vec::new(),
            accepted: None,
        }
    }

    /// With how many it is about, of how many.
    #[must_use]
    pub fn of(mut self, count: u64, all: u64) -> Self {
        self.count = Some((count, all));
        self
    }

    /// With the first samples that show it.
    #[must_use]
    pub fn at(mut self, samples: impl IntoIterator<Item = u64>) -> Self {
        self.samples = samples.into_iter().take(SAMPLES_MAX).collect();
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        f.write_str(&self.message)?;
        if !self.samples.is_empty() {
            let list: Vec<String> = self.samples.iter().map(u64::to_string).collect();
            let more = if self.count.is_some_and(|(n, _)| n > list.len() as u64) { ", ..." } else { "" };
            write!(f, " (samples {}{more})", list.join(", "))?;
        }
        match &self.accepted {
            Some(reason) => write!(f, "; accepted: {reason}"),
            None => Ok(()),
        }
    }
}

/// What the owner of an evalset has accepted, by kind, each with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted(BTreeMap<Kind, String>);

impl Accepted {
    /// From names as in `[evalset.accepts]`. The error says what is wrong with one of them.
    pub fn new(named: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut kinds = BTreeMap::new();
        for (name, reason) in named {
            let acceptable = || Kind::ALL.into_iter().filter(|kind| kind.can_be_accepted());
            let Some(kind) = acceptable().find(|kind| kind.name() == name) else {
                let mut known: Vec<&str> = acceptable().map(Kind::name).collect();
                known.sort_by_key(|known| (strsim::damerau_levenshtein(known, name), *known));
                return Err(format!("expected one of {}, got '{name}'", known.join(", ")));
            };
            if reason.trim().is_empty() {
                return Err(format!("expected a reason for '{name}', got none"));
            }
            kinds.insert(kind, reason.clone());
        }
        Ok(Self(kinds))
    }

    /// Makes what was accepted notes, and puts the gravest first.
    pub fn apply(&self, findings: &mut [Finding]) {
        for finding in findings.iter_mut() {
            if let Some(reason) = self.0.get(&finding.kind) {
                finding.severity = Severity::Note;
                finding.accepted = Some(reason.clone());
            }
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_so_by_nature_is_accepted_and_only_with_a_reason() {
        let accepts = |name: &str, reason: &str| Accepted::new(&BTreeMap::from([(name.into(), reason.into())]));
        assert!(accepts("nois", "x").unwrap_err().starts_with("expected one of noise,"));
        assert!(accepts("non-finite", "sensors break").is_err());
        assert_eq!(accepts("noise", " ").unwrap_err(), "expected a reason for 'noise', got none");
        let mut findings = vec![
            Finding::new(Severity::Error, Kind::Noise, "x", "all of it"),
            Finding::new(Severity::Warning, Kind::Drift, "x", "some"),
        ];
        accepts("noise", "raw radio samples").unwrap().apply(&mut findings);
        assert_eq!(findings[0].kind, Kind::Drift);
        assert_eq!(findings[1].to_string(), "x: all of it; accepted: raw radio samples");
        assert_eq!(findings[1].severity, Severity::Note);
    }

    #[test]
    fn every_kind_is_listed_once_by_the_name_that_is_written() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let names: std::collections::BTreeSet<_> = Kind::ALL.map(Kind::name).into();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
