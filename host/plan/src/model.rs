//! `model.toml`: one model, its variants, its evalset, its tolerances.

use crate::error::{PlanError, check_schema, from_toml};
use boardproof_record::plan::{
    Affine, Better, CustomMetric, Evalset, Model, Preprocess, Shows, Task, TensorSpec, Tolerance, Variant,
};
use boardproof_record::{Digest, ModelName, TargetName, VariantName};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A model as its manifest describes it, with what the plan needs but the record does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The model with all its variants.
    pub model: Model,
    /// What each variant is for.
    pub purposes: BTreeMap<VariantName, Purpose>,
    /// Recipe that makes the variants, relative to the manifest.
    pub recipe: Option<String>,
    /// Data that the variants were calibrated on.
    pub calibration: Option<Calibration>,
    /// Findings about the evalset that its owner accepts: kind to reason.
    pub accepts: BTreeMap<String, String>,
    /// Great Expectations suite that the evalset is held against, as given.
    pub suite: Option<String>,
}

/// Data that variants were calibrated on: a safetensors file with the evalset's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// File, as given.
    pub file: String,
    /// Its content.
    pub digest: Digest,
}

/// What a variant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// It may ship: checked when no variant is named.
    Release,
    /// The float model that others are compared with.
    Reference,
    /// There to show that the gate works; checked only when named.
    TestMaterial,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    schema: u32,
    model: RawModel,
    #[serde(default)]
    input: Vec<RawTensor>,
    #[serde(default)]
    output: Vec<RawTensor>,
    evalset: RawEvalset,
    calibration: Option<RawCalibration>,
    reference: RawReference,
    variant: Vec<RawVariant>,
    #[serde(default)]
    tolerance: Vec<RawTolerance>,
    #[serde(default)]
    metric: Vec<RawMetric>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    name: String,
    task: String,
    summary: String,
    licence: String,
    provenance: String,
    recipe: Option<String>,
    #[serde(default)]
    classes: Vec<String>,
    score: Option<String>,
    positive: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    name: String,
    dtype: String,
    shape: Vec<RawDim>,
    preprocess: Option<RawPreprocess>,
    #[expect(dead_code, reason = "documentation of the file; the engine tells what is really there")]
    quantization: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawDim {
    Fixed(u64),
    Symbol(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPreprocess {
    scale: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvalset {
    file: String,
    sha256: Digest,
    bytes: u64,
    samples: u64,
    inputs: OneOrMany,
    labels: String,
    ids: Option<String>,
    #[serde(default)]
    slices: BTreeMap<String, Vec<String>>,
    shows: Option<Shows>,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    accepts: BTreeMap<String, String>,
    suite: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCalibration {
    file: String,
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    variant: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariant {
    name: String,
    file: String,
    sha256: Digest,
    bytes: u64,
    format: String,
    quantization: String,
    batch: RawBatch,
    same_weights: bool,
    purpose: Purpose,
    #[serde(default)]
    input_dtypes: Vec<String>,
    #[serde(default)]
    input_quantization: Vec<RawAffine>,
    #[serde(default)]
    output_quantization: Vec<RawAffine>,
    #[expect(dead_code, reason = "for the reader of the manifest")]
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAffine {
    scale: f64,
    zero_point: i32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawBatch {
    Fixed(u32),
    Free(FreeBatch),
}

/// `batch = "N"`: the file leaves it open.
#[derive(Deserialize)]
enum FreeBatch {
    N,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTolerance {
    metric: String,
    limit: f64,
    reason: String,
    target: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetric {
    name: String,
    command: Vec<String>,
    better: Better,
    range: [f64; 2],
}

/// Parses a `model.toml`. `file` names it in errors; `folder` is put before the relative paths in it.
pub fn parse_model(file: &str, folder: &str, text: &str) -> Result<Manifest, PlanError> {
    let mut raw: RawManifest = from_toml(file, text)?;
    check_schema(file, raw.schema)?;
    let named = |source| PlanError::Name { file: file.into(), source };
    let name = ModelName::new(raw.model.name.clone()).map_err(named)?;
    let (variants, purposes) = variants(file, folder, raw.variant)?;
    let reference = VariantName::new(raw.reference.variant).map_err(named)?;
    if !variants.contains_key(&reference) {
        let known = crate::nearest(reference.as_str(), variants.keys().map(VariantName::as_str));
        return Err(PlanError::Unknown { kind: "variant", found: reference.to_string(), known });
    }
    let accepts = std::mem::take(&mut raw.evalset.accepts);
    let suite = raw.evalset.suite.take().map(|suite| join(folder, &suite));
    let calibration = raw.calibration.map(|c| Calibration { file: join(folder, &c.file), digest: c.sha256 });
    let model = Model {
        name,
        task: task(file, &raw.model)?,
        summary: raw.model.summary,
        licence: raw.model.licence,
        provenance: raw.model.provenance,
        inputs: tensors(file, "input", raw.input)?,
        outputs: tensors(file, "output", raw.output)?,
        evalset: evalset(file, folder, raw.evalset)?,
        reference,
        variants,
        tolerances: tolerances(file, raw.tolerance)?,
        custom: custom(file, folder, raw.metric)?,
    };
    if model.evalset.inputs.len() != model.inputs.len() {
        let (want, got) = (model.inputs.len(), model.evalset.inputs.len());
        return Err(PlanError::value(file, "evalset.inputs", format!("{want} tensors, one per [[input]]"), got));
    }
    check_shown(file, &model)?;
    check_quantized(file, &model)?;
    Ok(Manifest { model, purposes, recipe: raw.model.recipe, calibration, accepts, suite })
}

fn custom(file: &str, folder: &str, raw: Vec<RawMetric>) -> Result<Vec<CustomMetric>, PlanError> {
    let mut seen = BTreeSet::new();
    raw.into_iter()
        .map(|RawMetric { name, command, better, range }| {
            let place = format!("[[metric]] '{name}'");
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
            if !is_name {
                return Err(PlanError::value(file, place, "a name of letters, digits, '_' and '-'", name));
            }
            if !seen.insert(name.clone()) {
                return Err(PlanError::value(file, place, "each name once", "two"));
            }
            if command.first().is_none_or(String::is_empty) {
                return Err(PlanError::value(file, format!("{place} command"), "a program and its arguments", "none"));
            }
            let [least, most] = range;
            if !(least.is_finite() && most.is_finite() && least < most) {
                let expected = "the least and the most that a sample can get, two finite numbers";
                return Err(PlanError::value(file, format!("{place} range"), expected, format!("{range:?}")));
            }
            Ok(CustomMetric { name, command, folder: folder.to_owned(), better, range })
        })
        .collect()
}

fn task(file: &str, raw: &RawModel) -> Result<Task, PlanError> {
    let task = match raw.task.as_str() {
        "classification" if raw.classes.len() >= 2 => Task::Classification { classes: raw.classes.clone() },
        "classification" => {
            return Err(PlanError::value(file, "model.classes", "two or more names", raw.classes.len()));
        }
        "binary" => Task::Binary { positive: raw.positive.clone().unwrap_or_else(|| "1".into()) },
        "anomaly" => Task::Anomaly,
        "regression" => Task::Regression,
        other => {
            return Err(PlanError::value(file, "model.task", "classification, binary, anomaly or regression", other));
        }
    };
    let score = match task {
        Task::Classification { .. } => "argmax",
        Task::Binary { .. } | Task::Regression => "output[:,0]",
        Task::Anomaly => "mean((output-input)^2)",
    };
    match &raw.score {
        Some(found) if found != score => {
            Err(PlanError::value(file, "model.score", format!("'{score}' for this task"), found))
        }
        _ => Ok(task),
    }
}

fn tensors(file: &str, what: &str, raw: Vec<RawTensor>) -> Result<Vec<TensorSpec>, PlanError> {
    if raw.is_empty() {
        return Err(PlanError::value(file, format!("[[{what}]]"), "one or more", "none"));
    }
    raw.into_iter().map(|t| tensor(file, what, t)).collect()
}

fn tensor(file: &str, what: &str, raw: RawTensor) -> Result<TensorSpec, PlanError> {
    let place = format!("[[{what}]] {}", raw.name);
    let mut dims = raw.shape.into_iter();
    if !matches!(dims.next(), Some(RawDim::Symbol(_) | RawDim::Fixed(1))) {
        return Err(PlanError::value(file, format!("{place} shape"), "the sample dimension first (\"N\")", "none"));
    }
    let shape = dims
        .map(|dim| match dim {
            RawDim::Fixed(n) if n > 0 => Ok(n),
            RawDim::Fixed(n) => Err(PlanError::value(file, format!("{place} shape"), "sizes above 0", n)),
            RawDim::Symbol(s) => {
                Err(PlanError::value(file, format!("{place} shape"), "a number (only the first may be a symbol)", s))
            }
        })
        .collect::<Result<_, _>>()?;
    let dtype = dtype(file, &place, &raw.dtype)?;
    let preprocess = raw.preprocess.map(|p| preprocess(file, &place, p)).transpose()?;
    Ok(TensorSpec { name: raw.name, dtype, shape, preprocess })
}

/// Element types by safetensors name; the field's usual spellings are taken too.
fn dtype(file: &str, place: &str, found: &str) -> Result<String, PlanError> {
    let upper = found.to_ascii_uppercase();
    let name = match upper.as_str() {
        "FLOAT32" => "F32",
        "FLOAT16" => "F16",
        "INT8" => "I8",
        "UINT8" => "U8",
        "INT32" => "I32",
        "INT64" => "I64",
        known @ ("F32" | "F16" | "BF16" | "F64" | "I8" | "U8" | "I16" | "U16" | "I32" | "U32" | "I64" | "U64"
        | "BOOL") => known,
        _ => return Err(PlanError::value(file, format!("{place} dtype"), "F32, F16, I8, U8, I32, I64, ...", found)),
    };
    Ok(name.to_owned())
}

fn preprocess(file: &str, place: &str, raw: RawPreprocess) -> Result<Preprocess, PlanError> {
    let finite = raw.mean.iter().chain(&raw.std).chain([&raw.scale]).all(|v| v.is_finite());
    if raw.mean.is_empty() || raw.mean.len() != raw.std.len() || !finite || raw.std.contains(&0.0) {
        let found = format!("scale {}, mean {:?}, std {:?}", raw.scale, raw.mean, raw.std);
        let expected = "finite scale, as many means as stds, no std of 0";
        return Err(PlanError::value(file, format!("{place} preprocess"), expected, found));
    }
    Ok(Preprocess { scale: raw.scale, mean: raw.mean, std: raw.std })
}

fn evalset(file: &str, folder: &str, raw: RawEvalset) -> Result<Evalset, PlanError> {
    if raw.samples == 0 {
        return Err(PlanError::value(file, "evalset.samples", "one or more", 0));
    }
    Ok(Evalset {
        file: join(folder, &raw.file),
        digest: raw.sha256,
        bytes: raw.bytes,
        samples: raw.samples,
        inputs: match raw.inputs {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        },
        labels: raw.labels,
        ids: raw.ids,
        slices: raw.slices,
        shows: raw.shows,
        columns: raw.columns,
        order: None,
    })
}

/// What the samples are said to be must fit their shape: a report would show something else.
fn check_shown(file: &str, model: &Model) -> Result<(), PlanError> {
    let (evalset, shape) = (&model.evalset, &model.inputs[0].shape);
    let columns = shape.first().copied().filter(|_| shape.len() == 1);
    if !evalset.columns.is_empty() && columns != Some(evalset.columns.len() as u64) {
        let (expected, found) = (format!("one name per column of shape {shape:?}"), evalset.columns.len());
        return Err(PlanError::value(file, "evalset.columns", expected, found));
    }
    match evalset.shows {
        Some(shows) if !shows.fits(shape) => {
            let expected = format!("{} for samples of shape {shape:?}", Shows::fitting(shape));
            Err(PlanError::value(file, "evalset.shows", expected, shows.name()))
        }
        _ => Ok(()),
    }
}

type Variants = (BTreeMap<VariantName, Variant>, BTreeMap<VariantName, Purpose>);

fn variants(file: &str, folder: &str, raw: Vec<RawVariant>) -> Result<Variants, PlanError> {
    let (mut variants, mut purposes) = (BTreeMap::new(), BTreeMap::new());
    for v in raw {
        let name = VariantName::new(v.name).map_err(|source| PlanError::Name { file: file.into(), source })?;
        let batch = match v.batch {
            RawBatch::Fixed(n) if n > 0 => Some(n),
            RawBatch::Fixed(n) => return Err(PlanError::value(file, format!("variant {name} batch"), "above 0", n)),
            RawBatch::Free(FreeBatch::N) => None,
        };
        if v.format != "onnx" && v.format != "affine" {
            return Err(PlanError::value(file, format!("variant {name} format"), "onnx", v.format));
        }
        let place = format!("variant {name}");
        let known = v.input_dtypes.iter().map(|found| dtype(file, &format!("{place} input_dtypes:"), found));
        let input_dtypes = known.collect::<Result<_, _>>()?;
        let input_quantization = affines(file, &format!("{place} input_quantization"), v.input_quantization)?;
        let output_quantization = affines(file, &format!("{place} output_quantization"), v.output_quantization)?;
        let variant = Variant {
            name: name.clone(),
            file: join(folder, &v.file),
            digest: v.sha256,
            bytes: v.bytes,
            quantization: v.quantization,
            batch,
            same_weights: v.same_weights,
            input_dtypes,
            input_quantization,
            output_quantization,
        };
        purposes.insert(name.clone(), v.purpose);
        if variants.insert(name.clone(), variant).is_some() {
            return Err(PlanError::value(file, "variant names", "each once", format!("'{name}' twice")));
        }
    }
    Ok((variants, purposes))
}

fn affines(file: &str, place: &str, raw: Vec<RawAffine>) -> Result<Vec<Affine>, PlanError> {
    let affine = |RawAffine { scale, zero_point }| {
        // As f32, which is what computes with it.
        let usable = (scale as f32).is_normal() && scale > 0.0 && (-32_768..=65_535).contains(&zero_point);
        let expected = "a scale above 0 and a zero point within 16 bits";
        let found = || format!("scale {scale}, zero_point {zero_point}");
        if usable { Ok(Affine { scale, zero_point }) } else { Err(PlanError::value(file, place, expected, found())) }
    };
    raw.into_iter().map(affine).collect()
}

/// Which integers stand for what must be said for every input that is one where the reference's is none, for no other, and for each output or
/// none.
fn check_quantized(file: &str, model: &Model) -> Result<(), PlanError> {
    let is_small = |dtype: &str| matches!(dtype, "I8" | "U8" | "I16" | "U16");
    for variant in model.variants.values() {
        let Variant { name, input_dtypes, input_quantization: inputs, output_quantization: outputs, .. } = variant;
        let refuse = |what: &str, expected: String, found: String| {
            Err(PlanError::value(file, format!("variant {name} {what}"), expected, found))
        };
        let own = |i: usize| input_dtypes.get(i).unwrap_or(&model.inputs[i].dtype);
        let is_quantized = |i: usize| is_small(own(i)) && model.inputs[i].dtype.starts_with('F');
        let quantized = (0..model.inputs.len()).filter(|i| is_quantized(*i)).count();
        if quantized > 0 && quantized < model.inputs.len() {
            let found = format!("{quantized} of {}", model.inputs.len());
            return refuse("input_dtypes", "all inputs or none in integers of 8 or 16 bits".into(), found);
        }
        if inputs.len() != quantized {
            let expected =
                format!("{quantized} entries {{ scale, zero_point }}, one per input that is a quantized float");
            return refuse("input_quantization", expected, inputs.len().to_string());
        }
        if !outputs.is_empty() && outputs.len() != model.outputs.len() {
            let expected = format!("{} entries {{ scale, zero_point }}, one per output, or none", model.outputs.len());
            return refuse("output_quantization", expected, outputs.len().to_string());
        }
    }
    Ok(())
}

fn tolerances(file: &str, raw: Vec<RawTolerance>) -> Result<Vec<Tolerance>, PlanError> {
    let mut seen = BTreeSet::new();
    raw.into_iter()
        .map(|t| {
            let place = format!("[[tolerance]] {}", t.metric);
            if !t.limit.is_finite() {
                return Err(PlanError::value(file, place, "a finite limit", t.limit));
            }
            if t.metric.starts_with("custom.") {
                let expected = "the limit in the policy's rule, which names the metric that it is for";
                return Err(PlanError::value(file, place, expected, t.metric));
            }
            if t.reason.trim().is_empty() {
                return Err(PlanError::value(file, place, "a reason", "none"));
            }
            if !seen.insert((t.metric.clone(), t.target.clone())) {
                return Err(PlanError::value(file, place, "one per metric and target", "two"));
            }
            let target = t
                .target
                .map(TargetName::new)
                .transpose()
                .map_err(|source| PlanError::Name { file: file.into(), source })?;
            Ok(Tolerance { metric: t.metric, limit: t.limit, reason: t.reason, target })
        })
        .collect()
}

fn join(folder: &str, relative: &str) -> String {
    if folder.is_empty() { relative.to_owned() } else { format!("{folder}/{relative}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &str = "input_quantization = [{ scale = 0.012728233821690083, zero_point = -95 }]";
    const OUTPUT: &str = "output_quantization = [{ scale = 0.09427506476640701, zero_point = -3 }]";

    /// The manifest of a model that has a variant with integers at both ends, with one part of it changed.
    fn read(from: &str, to: &str) -> Result<Manifest, PlanError> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mnist_dscnn/model.toml");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{from}");
        parse_model("model.toml", "model", &text.replacen(from, to, 1))
    }

    #[test]
    fn what_integers_stand_for_is_read() {
        let manifest = read(INPUT, INPUT).unwrap();
        let variant = manifest.model.variants.values().find(|variant| variant.name.as_str() == "int8_io").unwrap();
        assert_eq!(variant.input_quantization, [Affine { scale: 0.012_728_233_821_690_083, zero_point: -95 }]);
        assert_eq!(variant.output_quantization, [Affine { scale: 0.094_275_064_766_407_01, zero_point: -3 }]);
    }

    #[test]
    fn element_types_of_inputs_are_read_in_every_usual_spelling_and_no_other() {
        for spelling in ["i8", "INT8", "int8"] {
            let manifest = read("input_dtypes = [\"I8\"]", &format!("input_dtypes = [\"{spelling}\"]")).unwrap();
            let variant = manifest.model.variants.values().find(|variant| variant.name.as_str() == "int8_io").unwrap();
            assert_eq!(variant.input_dtypes, ["I8"], "{spelling}");
        }
        is_refused("input_dtypes = [\"I8\"]", "input_dtypes = [\"octet\"]", &["int8_io input_dtypes", "octet"]);
    }

    #[track_caller]
    fn is_refused(from: &str, to: &str, words: &[&str]) {
        let error = read(from, to).expect_err(to).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn integers_that_stand_for_nothing_known_are_refused() {
        let what = "variant int8_io input_quantization";
        is_refused(INPUT, "", &[what, "1 entries", "got 0"]);
        is_refused("input_dtypes = [\"I8\"]", "", &[what, "0 entries", "got 1"]);
        let two = format!("{}, {{ scale = 1.0, zero_point = 0 }}]", OUTPUT.trim_end_matches(']'));
        is_refused(OUTPUT, &two, &["variant int8_io output_quantization", "1 entries", "got 2"]);
        for affine in ["scale = 0.0, zero_point = 0", "scale = -1.0, zero_point = 0", "scale = nan, zero_point = 0"] {
            let line = format!("output_quantization = [{{ {affine} }}]");
            is_refused(OUTPUT, &line, &["a scale above 0 and a zero point within 16 bits"]);
        }
        is_refused(OUTPUT, "output_quantization = [{ scale = 1.0, zero_point = 70000 }]", &["zero_point 70000"]);
    }
}
