//! `gate` on a large record: a real one of this machine whose samples and latencies are repeated until there are enough.

use super::figure::Figure;
use super::tensors::repeated;
use super::watched::watched;
use crate::programs::{build_tool, fresh_folder, tool};
use crate::runs::Run;
use crate::step::step;
use anyhow::{Context, Result};
use boardproof_record::Digest;
use boardproof_record::observation::{FileRef, Outcome};
use boardproof_record::plan::Pass;
use boardproof_record::record::{FILE, Record};
use std::path::Path;

const SAMPLES: u64 = 100_000;
/// Ten classes, and slices.
const MODEL: &str = "mnist_dscnn";
const VARIANT: &str = "int8_qdq_pc";
const LIMIT_S: f64 = 2.0;
const LIMIT_MB: f64 = 200.0;

/// Time and memory of the whole process.
pub fn gate(root: &Path) -> Result<Vec<Figure>> {
    build_tool()?;
    let folder = fresh_folder(root, "bench/gate")?;
    step("a record to enlarge", || {
        let mut check = tool(root, &["check", MODEL, "--variant", VARIANT, "--target", "host", "--quiet", "--out"]);
        check.arg(&folder);
        watched(check).map(drop)
    })?;
    let mut record = Run::read(&folder)?.record;
    enlarge(&folder, &mut record)?;
    let mut gate = tool(root, &["gate"]);
    gate.arg(&folder);
    let seen = step("gate", || watched(gate))?;
    let (wall_s, peak_mb) = (seen.wall.as_secs_f64(), seen.peak_bytes as f64 / 1e6);
    let what = format!("`gate` on {SAMPLES} samples of ten classes and {SAMPLES} latencies, whole process");
    Ok(vec![
        Figure::at_most(format!("{what}: time"), wall_s, LIMIT_S, "s", format!("{wall_s:.2} s")),
        Figure::at_most(format!("{what}: memory"), peak_mb, LIMIT_MB, "MB", format!("{peak_mb:.0} MB")),
    ])
}

/// Repeats what every cell answered and all labels; the record then says so everywhere.
fn enlarge(folder: &Path, record: &mut Record) -> Result<()> {
    for model in record.plan.models.values_mut() {
        model.evalset.samples = SAMPLES;
    }
    for plan in record.plan.cells.iter_mut().flat_map(|cell| &mut cell.passes) {
        match plan.pass {
            Pass::Accuracy => plan.samples = SAMPLES,
            Pass::Latency => plan.iterations = SAMPLES as u32,
            Pass::Inspect | Pass::Memory => {}
        }
    }
    for outcome in record.outcomes.values_mut() {
        let Outcome::Measured(seen) = outcome else { continue };
        for pass in &mut seen.passes {
            for file in pass.outputs.iter_mut().chain(&mut pass.ticks) {
                enlarge_file(folder, file)?;
                pass.inferences = SAMPLES;
            }
        }
    }
    record.evalsets.values_mut().try_for_each(|file| enlarge_file(folder, file))?;
    std::fs::write(folder.join(FILE), record.to_json()).context("could not write the record")
}

fn enlarge_file(folder: &Path, file: &mut FileRef) -> Result<()> {
    let path = folder.join(&file.path);
    let bytes = std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
    let bytes = repeated(&bytes, SAMPLES as usize).with_context(|| format!("could not repeat {}", path.display()))?;
    std::fs::write(&path, &bytes).with_context(|| format!("could not write {}", path.display()))?;
    (file.digest, file.bytes) = (Digest::of(&bytes), bytes.len() as u64);
    Ok(())
}
