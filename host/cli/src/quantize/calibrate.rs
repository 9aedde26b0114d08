//! The calibration data, and what the float model computes of them on this machine.

use super::Job;
use crate::reference::why_silent;
use crate::run::{check_inputs, measured};
use anyhow::{Context, Result, bail};
use boardproof_judge::evidence::Evidence;
use boardproof_lab::store::{Opened, RecordFolder, calibration_part, open};
use boardproof_plan::{Counts, Manifest, PlanError, Wanted};
use boardproof_quantize::{Histogram, Method, QuantizeError, Ranges};
use boardproof_record::plan::{Evalset, HOST, Model, Pass, Task, Variant};
use boardproof_record::policy::{Policy, Reference};
use boardproof_record::{Digest, EngineName, VariantName};
use std::collections::BTreeMap;
use std::path::Path;

/// What calibration came to.
pub struct Calibrated {
    /// Ranges by tensor.
    pub ranges: Ranges,
    /// The data, for people.
    pub data: String,
    /// Samples.
    pub samples: u64,
    /// Samples that the evalset, which judges the result, has as well.
    pub judging: u64,
    /// How ranges were chosen, for people.
    pub method: String,
}

/// Runs the float model on the calibration data and takes the ranges of what it computes.
pub fn calibrate(job: &Job<'_>, folder: &RecordFolder) -> Result<Calibrated> {
    let (data, bytes, samples) = data(job)?;
    let model = &job.manifest.model;
    let judging =
        std::fs::read(&model.evalset.file).with_context(|| format!("could not read evalset {}", model.evalset.file))?;
    let part = calibration_part(&bytes, &judging, &model.evalset.inputs, samples)
        .with_context(|| format!("could not read calibration data {data}"))?;
    if part.samples == 0 {
        return Err(PlanError::value(&data, "calibration data", "a sample or more", "none").into());
    }
    folder.keep(FILE, &part.bytes)?;
    let (method, words) = method(job);
    let opened = shown(job, folder, part.samples)?;
    let ranges = ranges(job, &opened, method)?;
    Ok(Calibrated { ranges, data, samples: part.samples, judging: part.judging, method: words })
}

/// File of the calibration samples in the folder of a run.
const FILE: &str = "calibration.safetensors";

fn method(job: &Job<'_>) -> (Method, String) {
    use crate::args::MethodName;
    match job.args.how.method {
        MethodName::Minmax => (Method::MinMax, "min-max".into()),
        MethodName::Entropy => (Method::Entropy, "entropy".into()),
        MethodName::Percentile => {
            let percent = job.args.how.percentile;
            (Method::Percentile(percent), format!("percentile {percent}"))
        }
    }
}

type Data = (String, Vec<u8>, Option<u64>);

/// Name and bytes of the data, and how many samples of them. What judges is refused unless it was asked for by its own name.
fn data(job: &Job<'_>) -> Result<Data> {
    let (how, model) = (&job.args.how, &job.manifest.model);
    let read = |file: &Path| {
        let unreadable = |source| PlanError::Unreadable { file: file.display().to_string(), source };
        std::fs::read(file).map_err(unreadable)
    };
    if let Some(samples) = how.calibrate_on_evalset {
        let file = &model.evalset.file;
        return Ok((format!("{file}, the evalset that judges"), read(Path::new(file))?, Some(samples)));
    }
    let (file, digest) = match (&how.calibration, &job.manifest.calibration) {
        (Some(file), _) => (file.display().to_string(), None),
        (None, Some(named)) => (named.file.clone(), Some(named.digest)),
        (None, None) => {
            let expected =
                "calibration data, there or by --calibration FILE (or --calibrate-on-evalset N for a first look)";
            let file = format!("model.toml of '{}'", model.name);
            return Err(PlanError::value(&file, "[calibration]", expected, "none").into());
        }
    };
    let bytes = read(Path::new(&file))?;
    let found = Digest::of(&bytes);
    if let Some(expected) = digest.filter(|expected| *expected != found) {
        return Err(
            PlanError::value(&file, "it is not what model.toml says", format!("sha256 {expected}"), found).into()
        );
    }
    if found == model.evalset.digest {
        let expected =
            "other data than the evalset, which judges the result (or --calibrate-on-evalset N for a first look)";
        return Err(PlanError::value(&file, "calibration data", expected, "the evalset").into());
    }
    Ok((file, bytes, how.calibration_samples))
}

/// The model with the calibration samples in the place of its evalset. Nothing is judged on them.
pub fn on_calibration(job: &Job<'_>, folder: &RecordFolder, samples: u64) -> Result<Model> {
    let model = &job.manifest.model;
    let file = folder.path().join(FILE);
    let bytes = std::fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
    let evalset = Evalset {
        file: file.display().to_string(),
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        samples,
        labels: "labels".into(),
        ids: None,
        slices: BTreeMap::new(),
        shows: None,
        columns: Vec::new(),
        ..model.evalset.clone()
    };
    Ok(Model { evalset, task: Task::Regression, tolerances: Vec::new(), ..model.clone() })
}

/// The answers of variants on this machine, on the calibration samples: the reference's, and those of all others.
pub fn on_host(job: &Job<'_>, model: Model, folder: &Path, samples: u64) -> Result<Opened> {
    let others = model.variants.keys().filter(|name| **name != model.reference || model.variants.len() == 1);
    let engine = engine(job)?;
    let wanted = Wanted {
        models: vec![model.name.to_string()],
        in_folders: Vec::new(),
        variants: others.map(ToString::to_string).collect(),
        places: vec![HOST.into()],
        engines: vec![engine.clone()],
        counts: Counts { samples, ..Counts::default() },
    };
    let policy = Policy { reference: Some(Reference { engine }), ..job.policy.clone() };
    let manifests = BTreeMap::from([(model.name.clone(), Manifest { model, ..job.manifest.clone() })]);
    let mut plan = boardproof_plan::plan(&wanted, &manifests, &job.world.targets, &job.world.units, policy)?;
    for cell in &mut plan.cells {
        cell.passes.retain(|pass| pass.pass == Pass::Accuracy);
    }
    check_inputs(&plan)?;
    let args = super::check_args(job.args);
    let folder = measured(plan, &args, RecordFolder::create(folder)?)?;
    Ok(open(folder.path())?)
}

/// The engine that computes in floating point here: the one that was asked for, else this machine's.
fn engine(job: &Job<'_>) -> Result<EngineName> {
    let host = || job.world.targets.values().find(|target| target.name.as_str() == HOST);
    let own = || host().map(|target| target.engine.clone()).context("there is no target 'host'");
    job.engine.clone().map_or_else(own, Ok)
}

/// The float model with the tensors whose ranges are needed for its outputs, one sample at a time.
fn shown(job: &Job<'_>, folder: &RecordFolder, samples: u64) -> Result<Opened> {
    let bytes = job.network.shown();
    let kept = folder.keep("models/shown.onnx", &bytes)?;
    let name = VariantName::new("shown").context("could not name what shows the inside")?;
    let variant = Variant {
        name: name.clone(),
        file: folder.path().join(&kept.path).display().to_string(),
        digest: kept.digest,
        bytes: kept.bytes,
        batch: Some(1),
        ..job.reference().clone()
    };
    let variants = BTreeMap::from([(name.clone(), variant)]);
    let model = Model { reference: name, variants, ..on_calibration(job, folder, samples)? };
    on_host(job, model, &folder.path().join("calibration"), samples)
}

fn ranges(job: &Job<'_>, opened: &Opened, method: Method) -> Result<Ranges> {
    let evidence = Evidence { record: &opened.record, files: &opened.files };
    let cell = opened.record.plan.cells.first().context("nothing was planned for calibration")?;
    let Some(outputs) = evidence.outputs(&cell.id)? else {
        bail!("the float model computed nothing of the calibration data: {}", why_silent(evidence, cell));
    };
    let mut ranges = Ranges::new();
    for (at, tensor) in job.network.tensors().into_iter().enumerate() {
        let output = outputs.iter().find(|output| output.name == boardproof_layers::shown(at));
        let mut histogram = Histogram::default();
        histogram.add(tensor, output.map(|output| output.to_f64()).unwrap_or_default())?;
        let range = histogram.range(method).ok_or_else(|| QuantizeError::NoRange { tensor: tensor.into() })?;
        ranges.insert(tensor.to_owned(), range);
    }
    Ok(ranges)
}
