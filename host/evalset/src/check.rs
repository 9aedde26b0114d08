//! All findings of an evalset, the gravest first.

use crate::drift;
use crate::finding::{Finding, Kind, Severity};
use crate::snapshot::Snapshot;
use crate::survey::Survey;
use crate::{balance, range, repeats, schema};
use boardproof_record::Digest;
use boardproof_record::plan::Model;

/// What an evalset is held against, where there is something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Against<'a> {
    /// The calibration data, and the digest that model.toml gives for them.
    pub calibration: Option<(&'a Survey, Digest)>,
    /// An earlier evalset.
    pub snapshot: Option<&'a Snapshot>,
}

/// Everything that is to be said about an evalset of this model.
pub fn check(model: &Model, seen: &Survey, against: Against<'_>) -> Vec<Finding> {
    let calibration = against.calibration.map(|(survey, _)| survey);
    let mut found = schema::findings(model, seen);
    found.extend(against.calibration.and_then(|(survey, expected)| other_calibration(survey, expected)));
    found.extend(calibration.and_then(|other| unlike(model, other)));
    found.extend(repeats::findings(seen, calibration));
    found.extend(balance::findings(model, seen));
    found.extend(range::findings(model, seen, calibration));
    if let Some(snapshot) = against.snapshot {
        found.extend(drift::diff(snapshot, &Snapshot::of(model, seen)));
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn other_calibration(survey: &Survey, expected: Digest) -> Option<Finding> {
    let message =
        format!("the calibration data are not those that model.toml names: expected {expected}, got {}", survey.digest);
    (survey.digest != expected).then(|| Finding::new(Severity::Warning, Kind::Calibration, "", message))
}

/// Inputs that the calibration data do not have under the same name: nothing is compared then, and that must be seen.
fn unlike(model: &Model, calibration: &Survey) -> Option<Finding> {
    let has = |tensor: &&String| calibration.inputs.iter().any(|input| input.tensor == **tensor);
    let missing = model.evalset.inputs.iter().find(|tensor| !has(tensor))?;
    let names = calibration.names.join(", ");
    let message = format!("the calibration data have no tensor of this name, they have {names}: nothing was compared");
    Some(Finding::new(Severity::Warning, Kind::Calibration, missing, message))
}
