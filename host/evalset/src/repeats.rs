//! Samples that are there more than once: an interval rests on independent samples, and a repeated one is none.

use crate::finding::{Finding, Kind, Severity};
use crate::layout::Layout;
use crate::survey::Survey;
use std::collections::BTreeSet;

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
    let groups = groups(&seen.prints);
    let by_nature = Coincidence::of(seen, calibration);
    found.extend(duplicates(&groups, seen.prints.len(), by_nature));
    found.extend(seen.labels.as_ref().and_then(|labels| conflicts(&groups, labels, by_nature)));
    found.extend(calibration.and_then(|other| overlap(seen, other)));
    found
}

/// Samples that are equal, two or more each, in their order.
fn groups(prints: &[u128]) -> Vec<Vec<usize>> {
    let mut order: Vec<(u128, usize)> = prints.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let equal = order.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
    equal.map(|group| group.iter().map(|(_, sample)| *sample).collect()).collect()
}

/// Can equal samples be different ones? Two pictures are never equal by chance, two rows of a table of ages and flags are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Coincidence {
    /// No.
    Never,
    /// So many of the calibration data's rows repeat another; as a share.
    AsOften(f64),
    /// Nobody knows how many.
    Perhaps,
}

impl Coincidence {
    fn of(seen: &Survey, calibration: Option<&Survey>) -> Self {
        if !seen.inputs.iter().all(|input| matches!(input.layout, Layout::Row { .. })) {
            return Self::Never;
        }
        match calibration.map(|other| &other.prints).filter(|prints| !prints.is_empty()) {
            Some(prints) => {
                let again: usize = groups(prints).iter().map(|group| group.len() - 1).sum();
                Self::AsOften(again as f64 / prints.len() as f64)
            }
            None => Self::Perhaps,
        }
    }

    /// The severity of a share that would be an error if it were no coincidence.
    fn soften(self, severity: Severity, share: f64) -> Severity {
        match self {
            Self::AsOften(natural) if share > 3.0 * natural => severity,
            Self::Never => severity,
            Self::AsOften(_) | Self::Perhaps => severity.min(Severity::Warning),
        }
    }
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

fn duplicates(groups: &[Vec<usize>], samples: usize, by_nature: Coincidence) -> Option<Finding> {
    let mut again: Vec<u64> = groups.iter().flat_map(|group| &group[1..]).map(|sample| *sample as u64).collect();
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
    let severity = by_nature.soften(weigh(count, all, REPEATS_WARNING, REPEATS_ERROR), count as f64 / all as f64);
    Some(Finding::new(severity, Kind::Duplicates, "", message).of(count, all).at(again))
}

/// Equal samples with different labels: no model can be right about all of them.
fn conflicts(groups: &[Vec<usize>], labels: &[i64], by_nature: Coincidence) -> Option<Finding> {
    let differ = |group: &&Vec<usize>| {
        let mut of_group = group.iter().filter_map(|sample| labels.get(*sample));
        let first = of_group.next();
        of_group.any(|label| Some(label) != first)
    };
    let mut at: Vec<u64> = groups.iter().filter(differ).flatten().map(|sample| *sample as u64).collect();
    at.sort_unstable();
    let (count, all) = (at.len() as u64, labels.len() as u64);
    if count == 0 {
        return None;
    }
    let message = format!(
        "{count} samples ({}) are equal to one that has another label: no model can be right about all of them",
        percent(count, all)
    );
    let severity = by_nature.soften(weigh(count, all, 0.0, CONFLICTS_ERROR), count as f64 / all as f64);
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
