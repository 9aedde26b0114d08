//! The lines of the new variant in `model.toml`.

use super::Job;
use super::calibrate::Calibrated;
use anyhow::{Context, Result};
use boardproof_plan::parse_model;
use boardproof_quantize::{Activation, Granularity};
use boardproof_record::Digest;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How the variant is quantized, as the shipped models say it.
pub fn quantization(job: &Job<'_>) -> String {
    let granularity = match job.settings.granularity {
        Granularity::Tensor => "per tensor",
        Granularity::Channel => "per channel",
    };
    let activations = match job.settings.activation {
        Activation::Int8 => "S8S8",
        Activation::Uint8 => "U8S8",
    };
    format!("int8 QDQ, {granularity}, {activations}")
}

/// The table of the variant.
pub fn entry(job: &Job<'_>, calibrated: &Calibrated, left: &BTreeSet<usize>, bytes: &[u8]) -> String {
    let floats = match left.len() {
        0 => String::new(),
        n => format!(", {n} of {} layers in float", job.network.layers.len()),
    };
    let names =
        if left.is_empty() { String::new() } else { format!("; in float: {}", job.layer_names(left).join(", ")) };
    let from = if calibrated.judging > 0 {
        format!(" ({} of them are in the evalset)", calibrated.judging)
    } else {
        String::new()
    };
    let prefix = format!("{}/", folder(job).display());
    let data = calibrated.data.strip_prefix(&prefix).unwrap_or(&calibrated.data);
    let note = format!(
        "boardproof quantize: {} over {} samples of {}{from}{names}",
        calibrated.method, calibrated.samples, data
    );
    let batch = job.reference().batch.map_or_else(|| "\"N\"".into(), |batch| batch.to_string());
    format!(
        "[[variant]]\nname = {}\nfile = {}\nsha256 = \"{}\"\nbytes = {}\nformat = \"onnx\"\nquantization = {}\nbatch = {batch}\n\
         same_weights = true\npurpose = \"release\"\nnote = {}\n",
        quoted(job.name.as_str()),
        quoted(&relative(job)),
        Digest::of(bytes),
        bytes.len(),
        quoted(&(quantization(job) + &floats)),
        quoted(&note),
    )
}

fn folder(job: &Job<'_>) -> PathBuf {
    Path::new(&job.reference().file).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The file as model.toml names it: within its folder, or by its whole path.
fn relative(job: &Job<'_>) -> String {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let (file, folder) = (whole(&job.file), whole(&folder(job)));
    let inside = file.strip_prefix(&folder).map(Path::to_path_buf);
    inside.unwrap_or(file).display().to_string()
}

/// Adds the table to `model.toml`. What would not be read again is not written.
pub fn add(job: &Job<'_>, entry: &str) -> Result<()> {
    let file = folder(job).join("model.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    let longer = format!("{}\n\n{entry}", text.trim_end());
    parse_model(&file.display().to_string(), &folder(job).display().to_string(), &longer)
        .with_context(|| format!("could not add variant '{}' to {}", job.name, file.display()))?;
    let part = file.with_extension("part");
    let written = std::fs::write(&part, longer).and_then(|()| std::fs::rename(&part, &file));
    written.with_context(|| format!("could not write {}", file.display()))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped: String =
        text.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
    format!("\"{escaped}\"")
}
