//! Layers of a device that cannot send them, by their sketches: which are the host's bit for bit, and how far the others are away.
//!
//! What a sketch is, is told where it is made (`device-agent/micro/src/sketch.rs`). Here is what follows from two of them under one seed: the
//! difference of their projections is the projection of the difference.

use crate::evidence::{Evidence, EvidenceError};
use boardproof_record::CellId;
use boardproof_record::layers::Site;
use boardproof_record::observation::Operator;
use boardproof_record::plan::Pass;
use serde::Serialize;

/// Bytes of a sketch, and projections in it.
const BYTES: usize = 64;
const PROJECTIONS: usize = 11;
/// Version of its form.
const VERSION: u8 = 1;
/// Element type whose values are numbers in steps; of any other only equality is told.
const STEPS: u8 = 0;
/// Output that sketches come as.
const OUTPUT: &str = "sketch";

/// What sketches tell of a device, held against this machine by the same engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sketched {
    /// Unit and engine.
    pub site: String,
    /// What it is held against.
    pub against: String,
    /// Seed of the projections.
    pub seed: u32,
    /// Samples.
    pub samples: u64,
    /// Standard error of `|d|^2`, relative, at most: `sqrt(2 / projections)`, however many samples and whatever they have in common.
    pub standard_error: f64,
    /// A line per operator of the compiled model, in order of execution.
    pub layers: Vec<SketchedLayer>,
    /// The first that is not the same: a line of these.
    pub first_apart: Option<usize>,
}

/// One operator's output on a device and on this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SketchedLayer {
    /// Operator of the engine.
    pub operator: String,
    /// Node of the model that it comes from; empty where nobody knows.
    pub node: String,
    /// Samples of which it is not the same, bit for bit.
    pub samples_apart: u64,
    /// Estimate of `|d| / |host's|` over all samples; 0 where it is the same. `None` where its values are no steps, and only equality is known.
    pub relative_l2: Option<f64>,
    /// Estimate of the cosine of both: `(|a|^2 + |b|^2 - |d|^2) / 2|a||b|`, of which only `|d|^2` is one.
    pub cosine: Option<f64>,
    /// Estimate of the ratio in dB: `-20 log10` of the relative L2. `None` where it is the same, or not known.
    pub sqnr_db: Option<f64>,
    /// Sum of the device's values less that of the host's, in steps, on the mean of all samples. Exact; `None` where they are no steps.
    pub sum_moved: Option<f64>,
    /// Root mean square of the device's values over that of the host's. Exact; `None` where they are no steps.
    pub rms_ratio: Option<f64>,
}

/// One sketch, read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sketch<'b> {
    sum: i32,
    squares: u64,
    dtype: u8,
    whole: &'b [u8; BYTES],
}

impl<'b> Sketch<'b> {
    fn read(whole: &'b [u8; BYTES]) -> Option<Self> {
        let [a, b, c, d, squares @ .., _, _, dtype, version] = whole.first_chunk::<16>()?;
        let squares = u64::from_le_bytes(*squares);
        (*version == VERSION).then_some(Self {
            sum: i32::from_le_bytes([*a, *b, *c, *d]),
            squares,
            dtype: *dtype,
            whole,
        })
    }

    /// Mean over the projections of the square of their difference: `|d|^2` on average over seeds.
    fn length_squared(&self, other: &Self) -> f64 {
        let projection = |of: &Self, at: usize| {
            let bytes = of.whole[20 + 4 * at..].first_chunk().copied().unwrap_or_default();
            i32::from_le_bytes(bytes)
        };
        // Sums are modulo 2^32, and so is their difference.
        let difference = |at: usize| f64::from(projection(self, at).wrapping_sub(projection(other, at)));
        (0..PROJECTIONS).map(|at| difference(at).powi(2)).sum::<f64>() / PROJECTIONS as f64
    }
}

/// The sketches of one cell.
struct Told<'a> {
    seed: u32,
    samples: usize,
    layers: usize,
    bytes: std::borrow::Cow<'a, [u8]>,
}

impl Told<'_> {
    fn sketch(&self, sample: usize, layer: usize) -> Option<Sketch<'_>> {
        let from = (sample * self.layers + layer) * BYTES;
        Sketch::read(self.bytes.get(from..)?.first_chunk()?)
    }
}

/// Holds every site that tells sketches against the first that does. What cannot be compared becomes a note.
pub(super) fn sketched(
    evidence: Evidence<'_>,
    sites: &[Site],
    notes: &mut Vec<String>,
) -> Result<Vec<Sketched>, EvidenceError> {
    let mut told = Vec::new();
    for site in sites {
        let Some(cell) = &site.sketched else { continue };
        match read(evidence, cell)? {
            Ok(found) => told.push((site, found)),
            Err(why) => notes.push(format!("no sketches of layers on {}: {why}", site.name)),
        }
    }
    let Some(((first, host), others)) = told.split_first() else { return Ok(Vec::new()) };
    let inspected = sites.iter().filter_map(|site| evidence.completed(&site.whole, Pass::Inspect));
    let operators = inspected.map(|pass| pass.operators.as_slice()).find(|all| !all.is_empty()).unwrap_or_default();
    let mut all = Vec::new();
    for (site, own) in others {
        match unlike(host, own) {
            None => all.push(compared(first, host, site, own, operators)),
            Some(why) => {
                notes.push(format!("sketches of {} cannot be held against those of {}: {why}", site.name, first.name))
            }
        }
    }
    Ok(all)
}

/// A cell's sketches, or why there are none.
fn read<'a>(evidence: Evidence<'a>, cell: &CellId) -> Result<Result<Told<'a>, String>, EvidenceError> {
    let Some(outputs) = evidence.outputs(cell)? else { return Ok(Err(super::why_not(evidence, cell))) };
    let planned = evidence.record.plan.cells.iter().find(|planned| planned.id == *cell);
    let Some(seed) = planned.and_then(|cell| cell.passes.iter().find_map(|pass| pass.sketch)) else {
        return Ok(Err("none were asked for".into()));
    };
    let found = |what: String| Ok(Err(format!("expected an output '{OUTPUT}' of {BYTES} bytes a layer, got {what}")));
    let [output] = outputs.as_slice() else { return found(format!("{} outputs", outputs.len())) };
    let &[samples, layers, BYTES] = output.shape.as_slice() else {
        return found(format!("'{}' of shape {:?}", output.name, output.shape));
    };
    if output.name != OUTPUT || !output.is_bytes() {
        return found(format!("'{}'", output.name));
    }
    let told = Told { seed, samples, layers, bytes: output.raw() };
    let places = (0..samples).flat_map(|sample| (0..layers).map(move |layer| (sample, layer)));
    let unread = places.into_iter().find(|(sample, layer)| told.sketch(*sample, *layer).is_none());
    if let Some((sample, layer)) = unread {
        return Ok(Err(format!("layer {layer} of sample {sample} is no sketch of version {VERSION}")));
    }
    Ok(Ok(told))
}

/// Why two cells' sketches say nothing of each other.
fn unlike(host: &Told<'_>, own: &Told<'_>) -> Option<String> {
    let expected =
        |what: &str, host: u64, own: u64| (host != own).then(|| format!("expected {what} {host}, got {own}"));
    expected("seed", host.seed.into(), own.seed.into())
        .or_else(|| expected("layers", host.layers as u64, own.layers as u64))
        .or_else(|| expected("samples", host.samples as u64, own.samples as u64))
}

fn compared(first: &Site, host: &Told<'_>, site: &Site, own: &Told<'_>, operators: &[Operator]) -> Sketched {
    let layer = |at: usize| {
        let pairs = (0..host.samples).filter_map(|sample| host.sketch(sample, at).zip(own.sketch(sample, at)));
        let operator = operators.get(at);
        layer(operator.map_or("", |o| &o.op), operator.map_or("", |o| &o.name), &pairs.collect::<Vec<_>>())
    };
    let layers: Vec<SketchedLayer> = (0..host.layers).map(layer).collect();
    Sketched {
        site: site.name.clone(),
        against: first.name.clone(),
        seed: host.seed,
        samples: host.samples as u64,
        standard_error: (2.0 / PROJECTIONS as f64).sqrt(),
        first_apart: layers.iter().position(|layer| layer.samples_apart > 0),
        layers,
    }
}

/// All samples of one layer, the host's first.
fn layer(operator: &str, node: &str, pairs: &[(Sketch<'_>, Sketch<'_>)]) -> SketchedLayer {
    let samples_apart = pairs.iter().filter(|(host, own)| host.whole != own.whole).count() as u64;
    let in_steps = pairs.iter().all(|(host, own)| host.dtype == STEPS && own.dtype == STEPS);
    let total = |of: &dyn Fn(&(Sketch<'_>, Sketch<'_>)) -> f64| pairs.iter().map(of).sum::<f64>();
    let (host, own) = (total(&|(host, _)| host.squares as f64), total(&|(_, own)| own.squares as f64));
    let away = total(&|(host, own)| host.length_squared(own));
    let relative = if samples_apart == 0 { 0.0 } else { (away / host).sqrt() };
    let cosine =
        if samples_apart == 0 { 1.0 } else { ((host + own - away) / (2.0 * (host * own).sqrt())).clamp(-1.0, 1.0) };
    let moved = total(&|(host, own)| f64::from(own.sum.wrapping_sub(host.sum)));
    let known = |value: f64| Some(value).filter(|value| in_steps && value.is_finite());
    SketchedLayer {
        operator: operator.to_owned(),
        node: node.to_owned(),
        samples_apart,
        relative_l2: known(relative),
        cosine: known(cosine),
        sqnr_db: known(-20.0 * relative.log10()),
        sum_moved: known(moved / pairs.len().max(1) as f64),
        rms_ratio: known((own / host).sqrt()),
    }
}
