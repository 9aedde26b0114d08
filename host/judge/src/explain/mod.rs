//! Where a variant parts from its reference, layer by layer, and why.
//!
//! Owns the comparison of layers and the names of causes. Takes no cause from a name or a purpose: every cause comes with the numbers that
//! speak for it, and where none do it says that nothing explains the drift. Right numbers under wrong names (labels exchanged in data or
//! in what follows the model) are no drift of any layer and are not seen here.

mod bisected;
mod causes;
mod samples;
mod sides;
mod sketches;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub use bisected::{Bisected, Tried, held_against, parts};
pub use causes::{Cause, Label};
use samples::Parted;
pub use samples::SampleSeen;
pub use sides::{Apart, Difference, Fit, Row, Seen, Side, Steps};
pub use sketches::{Sketched, SketchedLayer};
pub use text::render;

use crate::evidence::{Evidence, EvidenceError, Tensor};
use boardproof_record::CellId;
use boardproof_record::layers::{Inquiry, Site};
use boardproof_record::observation::{Outcome, SelfCheck};
use boardproof_record::plan::Pass;
use serde::Serialize;
use std::collections::BTreeMap;

/// An explained variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// `model/variant`.
    pub subject: String,
    /// Samples that were compared.
    pub samples: u64,
    /// Least ratio of the answers, in dB.
    pub budget_db: f64,
    /// Where it was run, in the order of [`Row::sides`].
    pub sites: Vec<SiteSummary>,
    /// A line per layer.
    pub rows: Vec<Row>,
    /// The samples whose answer is another or below the budget, at most ten of each site: those of which the reference was surest first.
    pub worst: Vec<SampleSeen>,
    /// The samples whose answer flipped in the record that is explained, on every site whose layers were seen. Empty where a model is
    /// explained, and no record.
    pub flipped: Vec<SampleSeen>,
    /// Sites that tell sketches of their layers, against the first that does: microcontrollers against this machine.
    pub sketched: Vec<Sketched>,
    /// The first layer of a site that parts from this machine's, by models cut behind a layer, where somebody had that looked for.
    pub bisected: Option<Bisected>,
    /// What explains the drift, the first to break the answers first. Empty when there is no drift to speak of.
    pub causes: Vec<Cause>,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
}

/// What is known of one place where the variant was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteSummary {
    /// Unit and engine.
    pub name: String,
    /// What the variant answers as it ships, against the reference.
    pub answers: Option<Seen>,
    /// These answers are below the budget.
    pub is_broken: bool,
    /// First layer below the budget, when the answers are: a line of [`Explanation::rows`]. `None` also where no layer that was shown is.
    pub first_broken: Option<usize>,
    /// The engine answers the same with its layers shown as without. `None` where that is not known.
    pub shown_is_whole: Option<bool>,
}

/// What was found on one site.
struct Found<'a> {
    site: &'a Site,
    shown: Option<Vec<Tensor<'a>>>,
    alone: Option<Vec<Tensor<'a>>>,
    /// The variant's answers as it ships.
    whole: Option<Vec<f64>>,
    self_check: Option<&'a SelfCheck>,
    shown_is_whole: Option<bool>,
}

/// Compares what the cells of an inquiry answered.
///
/// # Errors
/// A file of the record does not hold what it says.
pub fn explain(evidence: Evidence<'_>, inquiry: &Inquiry) -> Result<Explanation, EvidenceError> {
    let mut notes = Vec::new();
    let reference = outputs(evidence, &inquiry.reference_shown, "the reference", &mut notes)?;
    let mut found = Vec::new();
    for site in &inquiry.sites {
        found.push(look(evidence, site, inquiry.layers.layers.len(), &mut notes)?);
    }
    let rows = match &reference {
        Some(reference) => sides::rows(&inquiry.layers.layers, reference, &found),
        None => Vec::new(),
    };
    let last =
        reference.as_ref().and_then(|reference| by_layer(reference).last_entry().map(|last| last.get().to_f64()));
    let sites = found.iter().enumerate().map(|(at, found)| site_summary(at, found, &rows, last.as_deref(), inquiry));
    let sites: Vec<SiteSummary> = sites.collect();
    let (mut worst, mut flipped) = (Vec::new(), Vec::new());
    for found in &found {
        let Some(parted) = samples_of(found, reference.as_deref(), inquiry) else { continue };
        worst.extend(parted.worst());
        if found.site.shown.is_some() && found.shown.is_some() && found.shown_is_whole != Some(false) {
            flipped.extend(parted.of(inquiry.of.iter().flat_map(|of| &of.flipped).copied()));
        }
    }
    let checks: Vec<_> = found.iter().map(|found| (found.site.name.as_str(), found.self_check)).collect();
    let sketched = sketches::sketched(evidence, &inquiry.sites, &mut notes)?;
    let causes = causes::causes(inquiry, &rows, (&sites, &sketched), &checks);
    notes.extend(general_notes(inquiry, &sites));
    let samples = reference.iter().flatten().next().and_then(|t| t.shape.first()).copied().unwrap_or(0) as u64;
    let subject = format!("{}/{}", inquiry.model, inquiry.variant);
    Ok(Explanation {
        subject,
        samples,
        budget_db: inquiry.budget_db,
        sites,
        rows,
        worst,
        flipped,
        sketched,
        bisected: None,
        causes,
        notes,
    })
}

/// The samples of a site, one by one; `None` where its answers were not seen.
fn samples_of<'s>(
    found: &'s Found<'_>,
    reference: Option<&'s [Tensor<'s>]>,
    inquiry: &'s Inquiry,
) -> Option<Parted<'s>> {
    // A model whose answers shown are others has its layers elsewhere.
    let shown = found.shown.as_deref().filter(|_| found.shown_is_whole != Some(false));
    Some(Parted {
        site: &found.site.name,
        reference: reference?,
        shown,
        whole: found.whole.as_deref()?,
        numbers: &inquiry.samples,
        budget_db: inquiry.budget_db,
    })
}

/// The answers of a unit that shows nothing else, as the last of the layers.
fn as_last_layer(mut answers: Vec<Tensor<'_>>, layers: usize) -> Vec<Tensor<'_>> {
    answers.truncate(1);
    answers.iter_mut().for_each(|answer| answer.name = format!("layer.{}", layers.saturating_sub(1)));
    answers
}

fn look<'a>(
    evidence: Evidence<'a>,
    site: &'a Site,
    layers: usize,
    notes: &mut Vec<String>,
) -> Result<Found<'a>, EvidenceError> {
    let of = |what: &str| format!("{what} on {}", site.name);
    let whole = outputs(evidence, &site.whole, &of("the variant"), notes)?;
    let shown = match &site.shown {
        Some(cell) => outputs(evidence, cell, &of("the variant with its layers shown"), notes)?,
        None => whole.clone().map(|answers| as_last_layer(answers, layers)),
    };
    let alone = match &site.alone {
        Some(cell) => outputs(evidence, cell, &of("the variant's layers, each alone,"), notes)?,
        None => None,
    };
    let self_check = evidence.completed(&site.whole, Pass::Inspect).and_then(|pass| pass.self_check.as_ref());
    let both = whole.as_ref().zip(shown.as_ref()).filter(|_| site.shown.is_some());
    let shown_is_whole = both.and_then(|(whole, shown)| is_same(whole, shown));
    let whole = whole.and_then(|whole| whole.first().map(Tensor::to_f64));
    Ok(Found { site, shown, alone, whole, self_check, shown_is_whole })
}

/// The answers of the model as it is against its last layer: the engine may do something else where it must show what is inside.
fn is_same(whole: &[Tensor<'_>], shown: &[Tensor<'_>]) -> Option<bool> {
    let (answer, last) = (whole.first()?.to_f64(), shown.last()?.to_f64());
    (answer.len() == last.len()).then(|| {
        let seen = Seen::between(&answer, &last);
        !seen.is_below(JOINED_DB)
    })
}

/// Operators that are joined or not round otherwise here and there, which leaves a quantized model 40 dB and more alike.
const JOINED_DB: f64 = 40.0;

/// Single precision keeps 24 bits; sums in another order leave more than this alike.
const SAME_DB: f64 = 90.0;

/// A cell's outputs by layer, or a note on why there are none.
fn outputs<'a>(
    evidence: Evidence<'a>,
    cell: &CellId,
    what: &str,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Tensor<'a>>>, EvidenceError> {
    let outputs = evidence.outputs(cell)?;
    if outputs.is_none() {
        notes.push(format!("{what} was not seen: {}", why_not(evidence, cell)));
    }
    Ok(outputs)
}

fn why_not(evidence: Evidence<'_>, cell: &CellId) -> String {
    match evidence.record.outcomes.get(cell) {
        Some(Outcome::Measured(seen)) => {
            let pass = seen.passes.iter().find(|pass| pass.ended != boardproof_record::observation::Ended::Completed);
            let refused = pass.and_then(|pass| pass.cannot_run.as_ref());
            match (refused, pass) {
                (Some(refused), _) => {
                    let place = if refused.operator.is_empty() {
                        String::new()
                    } else {
                        format!("operator {} (node {}): ", refused.operator, refused.node)
                    };
                    format!("cannot run: {place}{}", refused.reason)
                }
                (None, Some(pass)) => format!("the {:?} pass ended as {:?}", pass.pass, pass.ended).to_lowercase(),
                (None, None) => "it answered nothing".into(),
            }
        }
        Some(Outcome::Skipped { reason }) => reason.clone(),
        Some(
            Outcome::BuildFailed(fault)
            | Outcome::ShipFailed(fault)
            | Outcome::DeviceFault(fault)
            | Outcome::TimedOut(fault),
        ) => fault.causes.join(": "),
        Some(Outcome::NotRun) | None => "it was not run".into(),
    }
}

fn site_summary(
    at: usize,
    found: &Found<'_>,
    rows: &[Row],
    reference: Option<&[f64]>,
    inquiry: &Inquiry,
) -> SiteSummary {
    let of = |row: &Row| row.sides.get(at).and_then(|side| side.accumulated);
    let whole = found.whole.as_ref().zip(reference).filter(|(whole, reference)| whole.len() == reference.len());
    let answers = whole.map(|(whole, reference)| Seen::between(reference, whole));
    let is_below = |row: &Row| of(row).is_some_and(|seen| seen.is_below(inquiry.budget_db));
    let is_broken = answers.is_some_and(|seen| seen.is_below(inquiry.budget_db));
    SiteSummary {
        name: found.site.name.clone(),
        answers,
        is_broken,
        first_broken: if is_broken { rows.iter().position(is_below) } else { None },
        shown_is_whole: found.shown_is_whole,
    }
}

fn general_notes(inquiry: &Inquiry, sites: &[SiteSummary]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &inquiry.layers.not_alone {
        notes.push(format!("no layer could be run alone: {why}"));
    }
    let other: Vec<&str> =
        sites.iter().filter(|site| site.shown_is_whole == Some(false)).map(|site| site.name.as_str()).collect();
    if !other.is_empty() {
        notes.push(format!(
            "on {} the engine answers otherwise when its layers are shown (it joins operators that lie between them): the lines \
             below are of the model that it did not join",
            other.join(" and ")
        ));
    }
    let unseen = &inquiry.layers.unseen;
    if !unseen.is_empty() {
        let first = unseen.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if unseen.len() > 3 { format!(" and {} more", unseen.len() - 3) } else { String::new() };
        notes.push(format!("in the variant these are part of other layers: {first}{more}"));
    }
    notes
}

/// Tensors of a cell by the layer that they show.
fn by_layer<'t, 'a>(tensors: &'t [Tensor<'a>]) -> BTreeMap<usize, &'t Tensor<'a>> {
    let layer = |tensor: &'t Tensor<'a>| Some((tensor.name.strip_prefix("layer.")?.parse().ok()?, tensor));
    tensors.iter().filter_map(layer).collect()
}

/// The reference's numbers of a layer and of what it reads, to reproduce the layer alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Shape of one sample.
    pub shape: Vec<u64>,
    /// All samples, one after the other.
    pub values: Vec<f32>,
}

/// The reference's tensors by name, with the shapes that the reference told of itself.
///
/// # Errors
/// A file of the record does not hold what it says.
pub fn reference_numbers(
    evidence: Evidence<'_>,
    inquiry: &Inquiry,
) -> Result<BTreeMap<String, Numbers>, EvidenceError> {
    let outputs = evidence.outputs(&inquiry.reference_shown)?.unwrap_or_default();
    let layers = by_layer(&outputs);
    let mut found = BTreeMap::new();
    for (at, layer) in inquiry.layers.layers.iter().enumerate() {
        let shape = outputs.iter().find(|tensor| tensor.name == format!("shape.{at}"));
        let (Some(tensor), Some(shape)) = (layers.get(&at), shape) else { continue };
        let values: Vec<f32> = tensor.to_f64().into_iter().map(|value| value as f32).collect();
        let dims: Vec<u64> = shape.to_f64().into_iter().take(shape.row_elements()).map(|d| d as u64).collect();
        // The first dimension must be the sample's, or a line of samples cannot be made of it.
        if let [1, sample @ ..] = dims.as_slice() {
            found.insert(layer.tensor.clone(), Numbers { shape: sample.to_vec(), values });
        }
    }
    Ok(found)
}
