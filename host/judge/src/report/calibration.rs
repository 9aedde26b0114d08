//! Calibration of a cell beside that of its reference, for reports. No rule looks at this.

use crate::claims::claimed;
use crate::compare::statistics::Confidence;
use crate::compare::task::{ReliabilityBin, Scale};
use crate::evidence::{Evidence, EvidenceError};
use boardproof_record::plan::Cell;
use serde::Serialize;

/// How far what a cell says of its own certainty lies from what comes true.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Calibration {
    /// What the rows of the output were taken for; `None` for a score that is a probability itself.
    pub scale: Option<Scale>,
    /// Expected calibration error.
    pub error: f64,
    /// Bounds of it, each at 95 %.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// The same of the reference, where it has answers.
    pub reference: Option<f64>,
    /// The table behind a reliability diagram.
    pub bins: Vec<ReliabilityBin>,
    /// The same of the reference.
    pub reference_bins: Vec<ReliabilityBin>,
}

impl Calibration {
    /// Of a cell that was measured. `None` where its outputs state no probability.
    pub(super) fn of(evidence: Evidence<'_>, cell: &Cell) -> Result<Option<Self>, EvidenceError> {
        let Some(own) = evidence.outputs(&cell.id)? else { return Ok(None) };
        let model = evidence.model(cell);
        let visited = evidence.visited(&cell.id);
        let truth = evidence.truth(model, visited)?;
        let of_reference = |other: &Cell| evidence.first_outputs(&other.id, visited);
        let reference = evidence.reference(cell).map(of_reference).transpose()?.flatten();
        let Ok(found) = claimed(model, &truth, &own, reference.as_deref()) else { return Ok(None) };
        // Two bounds at 95 % each are the ends of one interval at 90 %.
        let Some(both) = Confidence::new(0.9).ok() else { return Ok(None) };
        let Some((error, interval)) = found.own.error_with_bounds(both) else { return Ok(None) };
        Ok(Some(Self {
            scale: found.scale,
            error,
            lower: interval.lower,
            upper: interval.upper,
            reference: found.reference.as_ref().and_then(|claims| claims.error()),
            bins: found.own.bins(),
            reference_bins: found.reference.map(|claims| claims.bins()).unwrap_or_default(),
        }))
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let show = |v| super::amount(v, "share");
        let of = match self.scale {
            Some(Scale::Logits) => " of the softmax of the outputs",
            Some(Scale::Probabilities) => " of the outputs",
            None => " of the score",
        };
        let reference = self.reference.map(|error| format!("; reference {}", show(error)));
        let (error, lower, upper) = (show(self.error), show(self.lower), show(self.upper));
        format!("expected error{of} {error} ({lower} to {upper}){}", reference.unwrap_or_default())
    }

    /// Rows of a table: bin, claims in it, stated and came true, and the same two of the reference. Bins that neither side fills are left out.
    pub fn rows(&self) -> Vec<[String; 6]> {
        let show = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| super::amount(v, "share"));
        let row = |(i, bin): (usize, &ReliabilityBin)| {
            let other = self.reference_bins.get(i);
            let (stated, came_true) = (other.and_then(|b| b.stated), other.and_then(|b| b.came_true));
            let edges = format!("{:.1} to {:.1} %", bin.from * 100.0, bin.to * 100.0);
            let samples = bin.samples.to_string();
            let row = [edges, samples, show(bin.stated), show(bin.came_true), show(stated), show(came_true)];
            (bin.samples > 0 || stated.is_some()).then_some(row)
        };
        self.bins.iter().enumerate().filter_map(row).collect()
    }
}

/// Heads of [`Calibration::rows`].
pub const HEADING: [&str; 6] = ["stated", "samples", "mean stated", "came true", "reference: stated", "came true"];
