//! Answers of cells on this machine, kept between runs: the float reference does not change while model, data, engine and programs
//! stay what they are. Only cells whose time and memory nobody asks for are kept; a timing is never taken from a cache.

use crate::measure::Job;
use crate::store::{RecordFolder, StoreError};
use boardproof_record::Digest;
use boardproof_record::observation::{Attempt, Ended, Observation};
use boardproof_record::plan::Pass;
use std::path::{Path, PathBuf};

/// Words in the record for an observation that was taken from here.
pub const FROM_CACHE: &str = "answers from an earlier run";

/// Where a job's answers are kept; `None` when they may not be.
fn place(cache: &Path, job: &Job<'_>) -> Option<PathBuf> {
    let only_answers = job.cell.passes.iter().all(|p| matches!(p.pass, Pass::Inspect | Pass::Accuracy));
    if !only_answers || job.emulated {
        return None;
    }
    let agent = job.agent_digest?;
    let passes = serde_json::to_string(&job.cell.passes).ok()?;
    let parts = [
        job.model.digest.to_string(),
        job.evalset.digest.to_string(),
        job.runner.digest.to_string(),
        agent.to_string(),
        job.cell.engine.to_string(),
        job.options.clone(),
        passes,
    ];
    Some(cache.join("answers").join(Digest::of(parts.join("\n").as_bytes()).to_string()))
}

/// Takes a job's answers from the cache into the record. Anything unexpected there is a miss: measuring is always right.
pub fn take(cache: &Path, job: &Job<'_>, folder: &RecordFolder) -> Option<Observation> {
    let place = place(cache, job)?;
    let text = std::fs::read_to_string(place.join("observation.json")).ok()?;
    let mut seen: Observation = serde_json::from_str(&text).ok()?;
    let outputs = seen.passes.iter_mut().find_map(|p| p.outputs.as_mut())?;
    let bytes = std::fs::read(place.join("outputs.safetensors")).ok()?;
    if Digest::of(&bytes) != outputs.digest {
        return None;
    }
    *outputs = folder.write(&job.cell.id, "outputs.safetensors", &bytes).ok()?;
    seen.attempts = vec![Attempt { action: FROM_CACHE.into(), elapsed_ms: 0, error: None }];
    Some(seen)
}

/// Keeps a job's answers, if all of its passes were completed.
pub fn keep(cache: &Path, job: &Job<'_>, seen: &Observation, folder: &RecordFolder) -> Result<(), StoreError> {
    let Some(place) = place(cache, job) else { return Ok(()) };
    let whole = seen.passes.len() == job.cell.passes.len() && seen.passes.iter().all(|p| p.ended == Ended::Completed);
    let Some(outputs) = seen.passes.iter().find_map(|p| p.outputs.as_ref()).filter(|_| whole) else { return Ok(()) };
    let write = |source| StoreError::Write { path: place.clone(), source };
    let part = place.with_extension(format!("part-{}", std::process::id()));
    std::fs::create_dir_all(&part).map_err(write)?;
    std::fs::copy(folder.path().join(&outputs.path), part.join("outputs.safetensors")).map_err(write)?;
    let text = serde_json::to_string(seen).map_err(|e| write(std::io::Error::other(e)))?;
    std::fs::write(part.join("observation.json"), text).map_err(write)?;
    // Somebody else may have kept the same meanwhile: then theirs is as good.
    if std::fs::rename(&part, &place).is_err() {
        let _ = std::fs::remove_dir_all(&part);
    }
    Ok(())
}
