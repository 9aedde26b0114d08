//! Answers of cells on this machine, kept between runs: the float reference does not change while model, data, engine and programs
//! stay what they are. Only cells whose time and memory nobody asks for are kept; a timing is never taken from a cache.

use crate::library::is_library;
use crate::measure::Job;
use crate::store::{RecordFolder, StoreError};
use boardproof_record::Digest;
use boardproof_record::observation::{Attempt, Ended, Observation, Shipped};
use boardproof_record::plan::{LinkSpec, Pass};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Words in the record for an observation that was taken from here.
pub const FROM_CACHE: &str = "answers from an earlier run";

/// Where a job's answers are kept; `None` when they may not be. What another machine than this one answered is never taken from here,
/// whoever planned it: the proof would be about this machine's processor.
fn place(cache: &Path, job: &Job<'_>) -> Option<PathBuf> {
    let only_answers = job.cell.passes.iter().all(|p| matches!(p.pass, Pass::Inspect | Pass::Accuracy));
    let on_this_machine = matches!(job.target.link, LinkSpec::Local) && !job.target.emulated;
    let of_this_target = job.cell.target == job.target.name;
    // A library of the unit's own may be another one tomorrow, and nothing here would know.
    let is_known_whole = job.library.is_some() || !is_library(job.cell.engine.as_str());
    if !(only_answers && on_this_machine && of_this_target && is_known_whole) {
        return None;
    }
    let (agent, runner) = (job.agent_digest?, job.runner.as_ref()?.digest);
    let passes = serde_json::to_string(&job.cell.passes).ok()?;
    let parts = [
        job.model.digest.to_string(),
        job.evalset.digest.to_string(),
        runner.to_string(),
        agent.to_string(),
        job.cell.engine.to_string(),
        job.options.usual.clone(),
        passes,
        processor(&std::fs::read_to_string("/proc/cpuinfo").ok()?)?,
    ];
    Some(cache.join("answers").join(Digest::of(parts.join("\n").as_bytes()).to_string()))
}

/// What the engine chooses its kernels by: a cache may be shared by machines, or come along to another one.
/// `None` where it is not known: then nothing is kept.
pub(crate) fn processor(cpuinfo: &str) -> Option<String> {
    let names = ["model name", "flags", "Features", "CPU implementer", "CPU part", "isa"];
    let says = |line: &&str| names.iter().any(|name| line.split(':').next().is_some_and(|key| key.trim() == *name));
    let lines: BTreeSet<&str> = cpuinfo.lines().filter(says).collect();
    (!lines.is_empty()).then(|| lines.into_iter().collect::<Vec<_>>().join("\n"))
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
    // In this run nothing crossed a link for them.
    seen.shipped = Shipped::default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::Blob;
    use boardproof_record::plan::{Cell, Target};
    use serde_json::{Value, json};

    fn pass(name: &str) -> Value {
        json!({ "pass": name, "batch": 1, "samples": 4, "warmup": 0, "iterations": 0, "deadline_ms": 1000 })
    }

    fn cell(passes: &[&str]) -> Cell {
        let passes: Vec<_> = passes.iter().map(|name| pass(name)).collect();
        let cell = json!({
            "id": "m/f32@host/tract", "model": "m", "variant": "f32", "unit": "host", "target": "host", "engine": "tract",
            "role": "reference", "judged": false, "passes": passes,
        });
        serde_json::from_value(cell).unwrap()
    }

    fn target(name: &str, link: Value, emulated: bool) -> Target {
        let target = json!({
            "name": name, "summary": "", "architecture": "x86_64", "proved": true, "proved_note": "", "emulated": emulated,
            "build": { "runner_triple": "r", "agent_triple": "a", "builder": "auto", "linker": null, "packages": [] },
            "link": link, "power": { "kind": "none" },
            "limits": { "memory_bytes": null, "pass_deadline_s": 1, "slowdown": 1 },
        });
        serde_json::from_value(target).unwrap()
    }

    fn job<'a>(cell: &'a Cell, target: &'a Target) -> Job<'a> {
        let blob = |text: &str| {
            let digest = Digest::of(text.as_bytes());
            Blob { what: text.into(), path: text.into(), digest, program: false }
        };
        Job {
            cell,
            runner: Some(blob("runner")),
            library: None,
            model: blob("model"),
            evalset: blob("evalset"),
            sample_bytes: None,
            options: "{}".into(),
            target,
            agent_digest: Some(Digest::of(b"agent")),
        }
    }

    /// An observation whose accuracy pass has these outputs in the record.
    fn seen(folder: &RecordFolder, cell: &Cell, outputs: &[u8]) -> Observation {
        let file = folder.write(&cell.id, "outputs.safetensors", outputs).unwrap();
        let facts = json!({ "numbers": {}, "texts": {}, "missing": {} });
        let passes: Vec<_> = cell.passes.iter().map(|plan| {
            let outputs = (plan.pass == Pass::Accuracy).then(|| json!(file));
            json!({ "pass": plan.pass, "ended": { "how": "completed" }, "facts": facts, "inferences": 4, "outputs": outputs })
        }).collect();
        let device = json!({
            "protocol": 1, "agent_build": "", "agent_digest": null, "runner_digest": null, "architecture": "x86_64",
            "system": "linux", "identity": "", "tick_hz": 1, "boot": 1,
        });
        let shipped = json!({ "content_bytes": 0, "wire_bytes": 0, "cached_bytes": 0, "elapsed_ms": 0 });
        let seen = json!({
            "emulated": false, "device": device, "environment_before": facts, "environment_after": facts,
            "passes": passes, "attempts": [], "shipped": shipped,
        });
        serde_json::from_value(seen).unwrap()
    }

    #[test]
    fn answers_of_this_machine_are_kept_and_damaged_ones_are_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let record = RecordFolder::create(&folder.path().join("record")).unwrap();
        let (cell, host) = (cell(&["inspect", "accuracy"]), target("host", json!({ "kind": "local" }), false));
        let job = job(&cell, &host);
        assert!(take(&cache, &job, &record).is_none());
        keep(&cache, &job, &seen(&record, &cell, b"answers"), &record).unwrap();
        let kept = take(&cache, &job, &record).expect("it was kept");
        assert_eq!(kept.attempts[0].action, FROM_CACHE);
        let outputs = place(&cache, &job).unwrap().join("outputs.safetensors");
        std::fs::write(outputs, "other answers").unwrap();
        assert!(take(&cache, &job, &record).is_none());
    }

    #[test]
    fn answers_of_any_other_machine_and_timings_are_neither_kept_nor_taken() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let record = RecordFolder::create(&folder.path().join("record")).unwrap();
        let answers = cell(&["accuracy"]);
        let emulated = json!({ "kind": "emulated", "emulator": "qemu-arm", "sysroot": "/" });
        let host = target("host", json!({ "kind": "local" }), false);
        // Kept for this machine: whatever else asks with the same digests must not get it.
        keep(&cache, &job(&answers, &host), &seen(&record, &answers, b"answers"), &record).unwrap();
        for other in [
            target("host", json!({ "kind": "ssh" }), false),
            target("host", emulated, false),
            target("host", json!({ "kind": "local" }), true),
            target("host", json!({ "kind": "sim", "seed": 1 }), false),
            target("board", json!({ "kind": "local" }), false),
        ] {
            let job = job(&answers, &other);
            assert!(take(&cache, &job, &record).is_none(), "{other:?}");
            assert!(place(&cache, &job).is_none(), "{other:?}");
        }
        for passes in [&["accuracy", "latency"][..], &["memory"]] {
            let timed = cell(passes);
            assert!(place(&cache, &job(&timed, &host)).is_none(), "{passes:?}");
        }
    }

    /// Which library the unit's own is, no digest says.
    #[test]
    fn answers_by_a_library_that_nobody_shipped_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (mut cell, host) = (cell(&["accuracy"]), target("host", json!({ "kind": "local" }), false));
        cell.engine = serde_json::from_value(json!("onnxruntime")).unwrap();
        let own = job(&cell, &host);
        assert!(place(folder.path(), &own).is_none());
        let shipped = Job { library: own.runner.clone(), ..job(&cell, &host) };
        assert!(place(folder.path(), &shipped).is_some());
    }

    #[test]
    fn a_processor_is_known_by_what_kernels_are_chosen_by() {
        let one = "processor\t: 0\nmodel name\t: A\ncpu MHz\t: 1\nflags\t: avx avx2\n";
        let same = "processor\t: 1\nmodel name\t: A\ncpu MHz\t: 2\nflags\t: avx avx2\n";
        assert!(processor(one).is_some() && processor(one) == processor(same));
        assert_ne!(processor(one), processor(&one.replace(" avx2", "")));
        assert_eq!(processor("nothing that is known\n"), None);
    }
}
