//! Options of the runner as JSON: which tensor of the evalset feeds which input, how raw values become inputs, and how much is done.

use boardproof_record::Digest;
use boardproof_record::plan::{Cell, Model, ONNXRUNTIME, Pass, Target, Variant};
use serde_json::{Value, json};

/// Samples that the self-check compares.
const SELF_CHECK_SAMPLES: u32 = 8;
/// Time after which a latency pass that may end early does so: on an emulator because it is slow, elsewhere because what lasts so long tells
/// of more than a moment.
const ENOUGH_MS_EMULATED: u32 = 2000;
const ENOUGH_MS: u32 = 250;

/// Options of a cell's passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOptions {
    /// As the target has it.
    pub usual: String,
    /// With one worker in the accuracy pass, where the target has several: their copies of the model may be too many for the unit.
    pub alone: Option<String>,
}

impl From<&str> for JobOptions {
    fn from(usual: &str) -> Self {
        Self { usual: usual.into(), alone: None }
    }
}

impl JobOptions {
    /// Those of a firmware, which knows one word: a crash on purpose, or the seed of sketches.
    pub fn of_firmware(cell: &Cell, crash: &str) -> Self {
        match sketch_of(cell) {
            Some(seed) if crash.is_empty() => Self::from(format!("sketch={seed}").as_str()),
            _ => Self::from(crash),
        }
    }
}

/// Seed of the sketches that a cell is asked for.
fn sketch_of(cell: &Cell) -> Option<u32> {
    cell.passes.iter().find_map(|plan| plan.sketch)
}

/// Options for a variant of a model in a cell on a target. `library` is that of the engine, when it is shipped.
pub fn options(model: &Model, variant: &Variant, target: &Target, cell: &Cell, library: Option<Digest>) -> JobOptions {
    let Target { limits, onnxruntime, .. } = target;
    let how = onnxruntime.as_ref().filter(|_| cell.engine.as_str() == ONNXRUNTIME);
    let inputs: Vec<Value> = model
        .inputs
        .iter()
        .zip(&model.evalset.inputs)
        .enumerate()
        .map(|(i, (spec, tensor))| {
            let dtype = variant.input_dtypes.get(i).unwrap_or(&spec.dtype);
            let mut input = json!({ "tensor": tensor, "name": spec.name, "shape": spec.shape, "dtype": dtype });
            if let Some(p) = &spec.preprocess {
                input["preprocess"] = json!({ "scale": p.scale, "mean": p.mean, "std": p.std });
            }
            if let Some(affine) = variant.input_quantization.get(i) {
                input["quantize"] = json!({ "scale": affine.scale, "zero_point": affine.zero_point });
            }
            input
        })
        .collect();
    let enough = cell.passes.iter().find(|plan| plan.pass == Pass::Latency && plan.enough > 0);
    let after_ms = if target.emulated { ENOUGH_MS_EMULATED } else { ENOUGH_MS };
    let enough = enough.map(|plan| json!({ "iterations": plan.enough, "after_ms": after_ms }));
    let sketch = sketch_of(cell);
    let text = |workers: u32| {
        let (threads, samples) = (1, SELF_CHECK_SAMPLES);
        let mut all = json!({
            "inputs": inputs, "threads": threads, "accuracy_workers": workers, "latency_enough": enough,
            "self_check_samples": samples,
        });
        if let Some(library) = library {
            all["library"] = library.to_string().into();
        }
        if let Some(seed) = sketch {
            all["sketch"] = seed.into();
        }
        if let Some(how) = how {
            all["providers"] = json!(how.providers);
            all["provider_options"] = json!(how.options);
            all["library_file"] = json!(how.library);
        }
        all.to_string()
    };
    // Copies of the model would count against a limit that is meant for one.
    let workers = if limits.memory_bytes.is_some() { 1 } else { limits.accuracy_workers };
    JobOptions { usual: text(workers), alone: (workers > 1).then(|| text(1)) }
}
