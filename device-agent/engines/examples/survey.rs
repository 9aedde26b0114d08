//! Loads every `.onnx` below a models folder and prints one line per variant: what the engine says about it.
//!
//! `survey MODELS_DIR [FILTER]`. For people choosing variants and for whoever upgrades an engine; no part of a verdict.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use boardproof_engines::{
    DType, Engine, LoadOptions, Loaded, Preprocess, SelfCheckLimits, SelfCheckOutcome, Tensor, TensorView, TractEngine,
    parting,
};
use safetensors::SafeTensors;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("usage: survey MODELS_DIR [FILTER]")?);
    let filter = arguments.next().unwrap_or_default();
    let mut models: Vec<PathBuf> = Vec::new();
    for folder in std::fs::read_dir(&root)?.collect::<Result<Vec<_>, _>>()? {
        let files = std::fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        models.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")));
    }
    models.sort();
    for path in models.iter().filter(|path| path.to_string_lossy().contains(&filter)) {
        let name = path.strip_prefix(&root)?.display();
        let line = survey(path).unwrap_or_else(|error| format!("failed: {error}"));
        println!("{name} | {line}");
    }
    Ok(())
}

fn survey(path: &Path) -> Outcome<String> {
    let model = std::fs::read(path)?;
    let folder = path.parent().ok_or("a model without a folder")?;
    let mut options = LoadOptions::default();
    if folder.ends_with("mnist_dscnn") {
        let pixels = Preprocess { scale: 1.0 / 255.0, mean: vec![0.1307], std: vec![0.3081], ..Preprocess::default() };
        options.preprocess.insert("input".into(), pixels);
    }
    let start = Instant::now();
    let mut loaded = match TractEngine.load(&model, &options) {
        Ok(loaded) => loaded,
        Err(refusal) => return Ok(format!("REFUSED {refusal}")),
    };
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let samples = samples(folder, 32)?;
    loaded.prepare(&[samples[0].view()])?;
    let latency_us = median_us(loaded.as_mut())?;
    let integer = loaded.operators().iter().filter(|facts| facts.accumulator.as_deref() == Some("i32")).count();
    let float = loaded.operators().iter().filter(|facts| facts.accumulator.as_deref() == Some("f32")).count();
    let check = self_check(&model, &options, loaded.as_mut(), &samples)?;
    let case = case(path, &model)?;
    Ok(format!("load {load_ms:.0} ms | run {latency_us:.1} us | mmm i32 {integer} f32 {float} | {check} | {case}"))
}

fn median_us(loaded: &mut dyn Loaded) -> Outcome<f64> {
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < 200 && (times.len() < 5 || begun.elapsed() < Duration::from_secs(1)) {
        let start = Instant::now();
        loaded.run()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn self_check(model: &[u8], options: &LoadOptions, loaded: &mut dyn Loaded, samples: &[Tensor]) -> Outcome<String> {
    let samples: Vec<Vec<TensorView<'_>>> = samples.iter().map(|sample| vec![sample.view()]).collect();
    let start = Instant::now();
    let check = TractEngine.self_check(model, options, loaded, &samples, &SelfCheckLimits::default())?;
    let verdict = match check.outcome {
        SelfCheckOutcome::Agrees => "agrees".to_owned(),
        SelfCheckOutcome::Parts { stage, operator, replaced } => {
            let operator = operator.map_or("an unknown operator".to_owned(), |facts| facts.to_string());
            format!("PARTS in {stage} at {operator}, which replaced {}", replaced.join(", "))
        }
        SelfCheckOutcome::Unavailable { reason } => format!("unavailable: {reason}"),
    };
    Ok(format!(
        "self {:.1e} max {:.1e} {verdict} in {:.0} ms",
        check.parting.relative_l2,
        check.parting.max_abs,
        start.elapsed().as_secs_f64() * 1e3
    ))
}

/// Compares with the recorded answers of onnxruntime, where there are any for the variant.
fn case(path: &Path, model: &[u8]) -> Outcome<String> {
    let name = path.with_extension("safetensors");
    let recorded = path.with_file_name("cases").join(name.file_name().ok_or("a model without a name")?);
    let Ok(bytes) = std::fs::read(recorded) else { return Ok("no case".into()) };
    let tensors = SafeTensors::deserialize(&bytes)?;
    let input = plain(&tensors, "in.input")?;
    let options = LoadOptions { batch: Some(input.shape()[0]), ..LoadOptions::default() };
    let mut loaded = TractEngine.load(model, &options)?;
    loaded.prepare(&[input.view()])?;
    loaded.run()?;
    let apart = parting(&[vec![plain(&tensors, "out.0")?]], &[loaded.answers()?]);
    Ok(format!("case {:.1e} max {:.1e}", apart.relative_l2, apart.max_abs))
}

/// The first `count` rows of the test split, each with a batch axis of one.
fn samples(folder: &Path, count: usize) -> Outcome<Vec<Tensor>> {
    let bytes = std::fs::read(folder.join("data/test.safetensors"))?;
    let inputs = plain(&SafeTensors::deserialize(&bytes)?, "inputs")?;
    let mut shape = inputs.shape().to_vec();
    shape[0] = 1;
    let row_bytes = shape.iter().product::<usize>() * inputs.dtype().size_bytes();
    let rows = inputs.bytes().chunks(row_bytes).take(count);
    Ok(rows.map(|row| Tensor::new(inputs.dtype(), shape.clone(), row.to_vec())).collect::<Result<_, _>>()?)
}

fn plain(tensors: &SafeTensors<'_>, name: &str) -> Outcome<Tensor> {
    let view = tensors.tensor(name)?;
    let dtype = DType::from_name(&format!("{:?}", view.dtype())).ok_or("an unknown datatype")?;
    Ok(Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec())?)
}
