//! What each layer costs alone: the float model with this one layer in whole numbers, against the float model, on this machine and on the
//! calibration data. The evalset has no part in it.

use super::Job;
use super::calibrate::{on_calibration, on_host};
use anyhow::{Context, Result};
use boardproof_judge::evidence::{Evidence, Tensor};
use boardproof_judge::explain::Seen;
use boardproof_lab::store::RecordFolder;
use boardproof_quantize::Ranges;
use boardproof_record::plan::{Model, Variant};
use boardproof_record::{CellId, VariantName};
use serde::Serialize;
use std::collections::BTreeMap;

/// Calibration samples that are enough to rank by: an order is wanted, not a figure.
const SAMPLES: u64 = 100;

/// A layer with what it costs.
#[derive(Debug, Clone, Serialize)]
pub struct Ranked {
    /// Its place among the layers.
    #[serde(skip)]
    pub layer: usize,
    /// Its tensor.
    pub tensor: String,
    /// Its operator.
    pub operator: String,
    /// Ratio of the float model's answers to what this layer alone adds to them, in dB; `None` where it adds nothing.
    pub alone_db: Option<f64>,
    /// It did not answer, or not with numbers.
    pub silent: bool,
}

/// Ranks the layers that may be left in float, the one that costs most first. `held` is the number of calibration samples.
pub fn rank(job: &Job<'_>, folder: &RecordFolder, ranges: &Ranges, held: u64) -> Result<Vec<Ranked>> {
    let layers: Vec<usize> = (0..job.network.layers.len()).filter(|layer| !job.left.contains(layer)).collect();
    job.say(format_args!("ranking {} layers, each alone in whole numbers on this machine", layers.len()));
    let mut variants = BTreeMap::from([(job.reference().name.clone(), job.reference().clone())]);
    for layer in &layers {
        let variant = alone(job, folder, ranges, *layer)?;
        variants.insert(variant.name.clone(), variant);
    }
    let model = Model { variants, ..on_calibration(job, folder, held)? };
    let (name, reference) = (model.name.clone(), model.reference.clone());
    let opened = on_host(job, model, &folder.path().join("ranking"), SAMPLES.min(held))?;
    let evidence = Evidence { record: &opened.record, files: &opened.files };
    let cell = |variant: &VariantName| {
        let mut cells = opened.record.plan.cells.iter();
        cells.find(|cell| cell.variant == *variant && cell.model == name).map(|cell| &cell.id)
    };
    let float =
        answers(evidence, cell(&reference))?.context("the float model did not answer on the calibration data")?;
    let mut ranked = Vec::new();
    for layer in layers {
        let own = answers(evidence, cell(&named(layer)?))?;
        ranked.push(ranked_by(job, layer, &float, own.as_deref()));
    }
    ranked.sort_by(|a, b| key(a).total_cmp(&key(b)));
    Ok(ranked)
}

fn named(layer: usize) -> Result<VariantName> {
    VariantName::new(format!("only.{layer}")).context("could not name a layer's model")
}

fn alone(job: &Job<'_>, folder: &RecordFolder, ranges: &Ranges, layer: usize) -> Result<Variant> {
    let bytes = job.network.alone(ranges, job.settings, layer)?;
    let name = named(layer)?;
    let kept = folder.keep(&format!("models/{name}.onnx"), &bytes)?;
    let file = folder.path().join(&kept.path).display().to_string();
    Ok(Variant { name, file, digest: kept.digest, bytes: kept.bytes, ..job.reference().clone() })
}

fn answers<'a>(evidence: Evidence<'a>, cell: Option<&CellId>) -> Result<Option<Vec<Tensor<'a>>>> {
    Ok(cell.map(|cell| evidence.outputs(cell)).transpose()?.flatten())
}

fn ranked_by(job: &Job<'_>, layer: usize, float: &[Tensor<'_>], own: Option<&[Tensor<'_>]>) -> Ranked {
    let fits = |own: &&[Tensor<'_>]| own.len() == float.len();
    let seen = own.filter(fits).map(|own| {
        let values = |tensors: &[Tensor<'_>]| tensors.iter().flat_map(Tensor::to_f64).collect::<Vec<f64>>();
        Seen::between(&values(float), &values(own))
    });
    let network = &job.network.layers[layer];
    Ranked {
        layer,
        tensor: network.tensor.clone(),
        operator: network.operator.clone(),
        alone_db: seen.and_then(|seen| seen.sqnr_db),
        silent: seen.is_none_or(|seen| seen.non_finite > 0),
    }
}

/// What does not answer is worse than any noise.
fn key(ranked: &Ranked) -> f64 {
    if ranked.silent { f64::NEG_INFINITY } else { ranked.alone_db.unwrap_or(f64::INFINITY) }
}
