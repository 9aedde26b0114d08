//! Options of the runner as JSON: which tensor of the evalset feeds which input, and how raw values become inputs.

use boardproof_record::plan::{Model, Variant};
use serde_json::{Value, json};

/// Samples that the self-check compares.
const SELF_CHECK_SAMPLES: u32 = 8;

/// Options for a variant of a model.
pub fn options(model: &Model, variant: &Variant) -> String {
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
    json!({ "inputs": inputs, "threads": 1, "self_check_samples": SELF_CHECK_SAMPLES }).to_string()
}
