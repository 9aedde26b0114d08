//! Options of the runner as JSON: which tensor of the evalset feeds which input, and how raw values become inputs.

use boardproof_record::plan::{Limits, Model, Variant};
use serde_json::{Value, json};

/// Samples that the self-check compares.
const SELF_CHECK_SAMPLES: u32 = 8;

/// Options for a variant of a model on a target.
pub fn options(model: &Model, variant: &Variant, limits: &Limits) -> String {
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
            input
        })
        .collect();
    // Copies of the model would count against a limit that is meant for one.
    let workers = if limits.memory_bytes.is_some() { 1 } else { limits.accuracy_workers };
    let (threads, samples) = (1, SELF_CHECK_SAMPLES);
    json!({ "inputs": inputs, "threads": threads, "accuracy_workers": workers, "self_check_samples": samples })
        .to_string()
}
