//! Samples that are there more than once: an interval rests on independent samples, and a repeated one is none.

use crate::finding::{Finding, Kind, Severity};
use crate::survey::Survey;
use std::collections::{BTreeMap, BTreeSet};

/// Share of repeats above which every interval of a verdict is clearly too narrow: by a tenth and more.
const REPEATS_ERROR: f64 = 0.2;
/// Share of repeats from which on it is said aloud.
const REPEATS_WARNING: f64 = 0.01;
/// Share of equal samples with different labels above which the labels cannot be those of these samples.
const CONFLICTS_ERROR: f64 = 0.1;
/// Share of samples that are in the calibration data, too, above which the evalset is the calibration data.
const OVERLAP_ERROR: f64 = 0.5;

/// Repeats within the evalset, and samples that it shares with the calibration data.
pub fn findings(seen: &Survey, calibration: Option<&Survey>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut groups: BTreeMap<u128, Vec<usize>> = BTreeMap::new();
    for (sample, print) in seen.prints.iter().enumerate() {
        groups.entry(*print).or_default().push(sample);
    }
    found.extend(duplicates(&groups, seen.prints.len()));
    found.extend(seen.labels.as_ref().and_then(|labels| conflicts(&groups, labels)));
    found.extend(calibration.and_then(|other| overlap(seen, other)));
    found
}

fn weigh(count: u64, all: u64, warning: f64, error: f64) -> Severity {
    match count as f64 / all.max(1) as f64 {
        share if share > error => Severity::Error,
        share if share > warning => Severity::Warning,
        _ => Severity::Note,
    }
}

fn percent(count: u64, all: u64) -> String {
    format!("{:.1} %", count as f64 * 100.0 / all.max(1) as f64)
}

fn duplicates(groups: &BTreeMap<u128, Vec<usize>>, samples: usize) -> Option<Finding> {
    let mut again: Vec<u64> = groups.values().flat_map(|group| &group[1..]).map(|sample| *sample as u64).collect();
    again.sort_unstable();
    let (count, all) = (again.len() as u64, samples as u64);
    if count == 0 {
        return None;
    }
    let message = format!(
        "{count} of {all} samples ({}) repeat an earlier one, bit for bit: a verdict rests on {} samples",
        percent(count, all),
        all - count
    );
    let severity = weigh(count, all, REPEATS_WARNING, REPEATS_ERROR);
    Some(Finding::new(severity, Kind::Duplicates, "", message).of(count, all).at(again))
}

/// Equal samples with different labels: no model can be right about all of them.
fn conflicts(groups: &BTreeMap<u128, Vec<usize>>, labels: &[i64]) -> Option<Finding> {
    let differ = |group: &&Vec<usize>| {
        let mut of_group = group.iter().filter_map(|sample| labels.get(*sample));
        let first = of_group.next();
        of_group.any(|label| Some(label) != first)
    };
    let mut at: Vec<u64> = groups.values().filter(differ).flatten().map(|sample| *sample as u64).collect();
    at.sort_unstable();
    let (count, all) = (at.len() as u64, labels.len() as u64);
    if count == 0 {
        return None;
    }
    let message = format!(
        "{count} samples ({}) are equal to one that has another label: no model can be right about all of them",
        percent(count, all)
    );
    let severity = weigh(count, all, 0.0, CONFLICTS_ERROR);
    Some(Finding::new(severity, Kind::LabelConflict, "", message).of(count, all).at(at))
}

fn overlap(seen: &Survey, calibration: &Survey) -> Option<Finding> {
    let known: BTreeSet<u128> = calibration.prints.iter().copied().collect();
    let shared = (0..).zip(&seen.prints).filter(|(_, print)| known.contains(print)).map(|(sample, _)| sample);
    let at: Vec<u64> = shared.collect();
    let (count, all) = (at.len() as u64, seen.prints.len() as u64);
    if count == 0 {
        return None;
    }
    let message = format!(
        "{count} of {all} samples ({}) are in the calibration data as well: what was calibrated on is not judged fairly",
        percent(count, all)
    );
    let severity = weigh(count, all, REPEATS_WARNING, OVERLAP_ERROR);
    Some(Finding::new(severity, Kind::CalibrationOverlap, "", message).of(count, all).at(at))
}
