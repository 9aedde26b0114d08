//! Two evalsets against each other: which columns, labels and slices are distributed otherwise.
//!
//! A difference is told when it is both larger than chance, over all columns together, and large enough to matter: of many samples every
//! difference is significant, of few every index is large.

use crate::finding::{Finding, Kind, Severity};
use crate::snapshot::{InputSnapshot, Snapshot};
use crate::statistics::{chi_squared_p, distance, holm, ks_p, psi, psi_of_counts};
use std::collections::BTreeMap;

/// Chance that anything is found between two evalsets of one distribution.
const ALPHA: f64 = 0.01;
/// Stability index from which on a difference is told.
const PSI_NOTE: f64 = 0.1;
/// Stability index of a large difference.
const PSI_WARNING: f64 = 0.25;

/// Something that was compared.
struct Compared {
    subject: String,
    p: f64,
    psi: f64,
    how: String,
}

/// How `new` differs from `base`.
pub fn diff(base: &Snapshot, new: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    if base.model != new.model {
        let message = format!("the snapshot is of model '{}', this is '{}'", base.model, new.model);
        found.push(Finding::new(Severity::Warning, Kind::Drift, "", message));
    }
    if base.evalset == new.evalset {
        return found;
    }
    if base.samples != new.samples {
        let message = format!("{} samples, there were {}", new.samples, base.samples);
        found.push(Finding::new(Severity::Note, Kind::Drift, "", message));
    }
    let mut compared = Vec::new();
    for (tensor, was) in &base.inputs {
        match new.inputs.get(tensor) {
            None => found.push(gone(tensor, "tensor")),
            Some(is) => found.extend(input(tensor, was, is, &mut compared)),
        }
    }
    compared.extend(categories("labels", &base.labels, &new.labels));
    for (slice, was) in &base.slices {
        match new.slices.get(slice) {
            None => found.push(gone(slice, "slice")),
            Some(is) => compared.extend(categories(slice, was, is)),
        }
    }
    let corrected = holm(&compared.iter().map(|c| c.p).collect::<Vec<_>>());
    let of = compared.len();
    found.extend(compared.iter().zip(corrected).filter_map(|(c, p)| told(c, p, of)));
    found
}

fn gone(subject: &str, what: &str) -> Finding {
    Finding::new(Severity::Warning, Kind::Drift, subject, format!("this {what} was there and is no more"))
}

fn told(compared: &Compared, p: f64, of: usize) -> Option<Finding> {
    if p >= ALPHA || compared.psi < PSI_NOTE {
        return None;
    }
    let severity = if compared.psi >= PSI_WARNING { Severity::Warning } else { Severity::Note };
    let message = format!(
        "distributed otherwise: stability index {:.2}, {}, p {} after Holm's correction for {of} comparisons",
        compared.psi,
        compared.how,
        small(p)
    );
    Some(Finding::new(severity, Kind::Drift, &compared.subject, message))
}

fn small(p: f64) -> String {
    if p < 1e-6 { "below 1e-6".into() } else { format!("{p:.2e}") }
}

fn input(tensor: &str, was: &InputSnapshot, is: &InputSnapshot, compared: &mut Vec<Compared>) -> Vec<Finding> {
    if (&was.dtype, &was.shape) != (&is.dtype, &is.shape) {
        let message = format!("was {} {:?}, is {} {:?}", was.dtype, was.shape, is.dtype, is.shape);
        return vec![Finding::new(Severity::Warning, Kind::Drift, tensor, message)];
    }
    let mut found = Vec::new();
    for (name, base) in &was.features {
        let Some(new) = is.features.get(name) else {
            found.push(gone(name, "column"));
            continue;
        };
        let apart = distance(base, new);
        compared.push(Compared {
            subject: name.clone(),
            p: ks_p(apart, base.values, new.values),
            psi: psi(base, new),
            how: format!("Kolmogorov-Smirnov distance {apart:.3}"),
        });
    }
    found
}

fn categories(subject: &str, was: &BTreeMap<String, u64>, is: &BTreeMap<String, u64>) -> Option<Compared> {
    if was.is_empty() || is.is_empty() {
        return None;
    }
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let of = |counts: &BTreeMap<String, u64>| -> Vec<u64> {
        names.iter().map(|name| counts.get(*name).copied().unwrap_or(0)).collect()
    };
    let (base, new) = (of(was), of(is));
    let (all_base, all_new) = (base.iter().sum::<u64>().max(1) as f64, new.iter().sum::<u64>().max(1) as f64);
    let change = |i: &usize| new[*i] as f64 / all_new - base[*i] as f64 / all_base;
    let most = (0..names.len()).max_by(|a, b| change(a).abs().total_cmp(&change(b).abs()))?;
    let name = names.iter().nth(most)?;
    let share = |count: u64, all: f64| format!("{:.1} %", count as f64 * 100.0 / all);
    let how =
        format!("most in '{name}', which was {} and is {}", share(base[most], all_base), share(new[most], all_new));
    Some(Compared { subject: subject.to_owned(), p: chi_squared_p(&base, &new), psi: psi_of_counts(&base, &new), how })
}
