//! An evalset that a unit has no room for goes to it in parts, one after the other.
//!
//! Only the accuracy pass needs every sample: the others look at those of the first part, and at no more than they were asked for.

use super::{BenchError, Job};
use crate::micro::slice;
use crate::ship::Blob;
use boardproof_record::plan::PassPlan;
use std::path::Path;

/// Samples that are on a unit at a time.
#[derive(Debug, Clone)]
pub struct Part {
    /// The samples.
    pub blob: Blob,
    /// Place of the first in the whole evalset.
    pub first: u64,
    /// Number of them.
    pub samples: u64,
}

impl Part {
    /// Samples of it that a pass asks for.
    pub fn asked(&self, plan: &PassPlan) -> u64 {
        plan.samples.saturating_sub(self.first).min(self.samples)
    }
}

/// Blobs begin at a multiple of this in a unit's memory.
const ALIGN: u64 = 16;

/// The parts of a job's samples for a unit with this room for model and samples together, in bytes: a single one where all fit.
///
/// # Errors
/// No room for the model and one sample, or a file that cannot be read or kept.
pub(super) fn cut(job: &Job<'_>, room: u64, cache: &Path) -> Result<Vec<Part>, BenchError> {
    let whole = || Part { blob: job.evalset.clone(), first: 0, samples: u64::MAX };
    let Some(sample) = job.sample_bytes else { return Ok(vec![whole()]) };
    let (model, all) = (job.model.bytes()?, job.evalset.bytes()?);
    let taken = model.next_multiple_of(ALIGN) + ALIGN;
    let left = room.saturating_sub(taken);
    if all <= left {
        return Ok(vec![whole()]);
    }
    let each = left / sample.max(1);
    if each == 0 {
        return Err(BenchError::NoRoom { room, needed: taken + sample });
    }
    let count = all / sample;
    let part = |first: u64| {
        let samples = each.min(count - first);
        let blob = slice(&job.evalset, first * sample..(first + samples) * sample, cache)?;
        Ok(Part { blob, first, samples })
    };
    (0..count).step_by(usize::try_from(each).unwrap_or(usize::MAX)).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::Digest;
    use boardproof_record::plan::Pass;
    use serde_json::json;

    #[test]
    fn a_pass_asks_a_part_for_what_lies_in_it() {
        let blob = Blob { what: "evalset".into(), path: "x".into(), digest: Digest::of(b""), program: false };
        let part = Part { blob, first: 100, samples: 50 };
        let asks = |samples| {
            let (pass, warmup, iterations, enough, stage, deadline_ms) = (Pass::Accuracy, 0, 0, 0, 0, 1);
            let memory_limit_bytes = None;
            part.asked(&PassPlan {
                pass,
                batch: 1,
                samples,
                warmup,
                iterations,
                enough,
                again: false,
                stage,
                deadline_ms,
                sketch: None,
                memory_limit_bytes,
            })
        };
        assert_eq!([asks(8), asks(100), asks(120), asks(150), asks(200)], [0, 0, 20, 50, 50]);
    }

    /// Cuts ten samples of three bytes for a unit with room for a model of 16 bytes and `room` more.
    fn cut_for(room: u64, act: impl FnOnce(Result<Vec<Part>, BenchError>)) {
        let folder = tempfile::tempdir().unwrap();
        let blob = |what: &str, content: Vec<u8>| {
            let path = folder.path().join(what);
            std::fs::write(&path, &content).unwrap();
            Blob { what: what.into(), path, digest: Digest::of(&content), program: false }
        };
        let cell = serde_json::from_value(json!({
            "id": "m/v@b/micro", "model": "m", "variant": "v", "unit": "b", "target": "b", "engine": "micro",
            "role": "device", "judged": true, "passes": [],
        }));
        let target = serde_json::from_value(json!({
            "name": "b", "summary": "", "architecture": "arm", "proved": true, "proved_note": "", "emulated": false,
            "build": { "runner_triple": "", "agent_triple": "a", "builder": "auto", "linker": null, "packages": [] },
            "link": { "kind": "local" }, "power": { "kind": "none" },
            "limits": { "memory_bytes": null, "pass_deadline_s": 1, "slowdown": 1 },
        }));
        let job = Job {
            cell: &cell.unwrap(),
            runner: None,
            library: None,
            model: blob("model", vec![7; 16]),
            evalset: blob("evalset", (0..30).collect()),
            sample_bytes: Some(3),
            options: "".into(),
            target: &target.unwrap(),
            agent_digest: None,
        };
        act(cut(&job, 16 + ALIGN + room, folder.path()));
    }

    #[test]
    fn samples_that_fit_go_as_they_are() {
        cut_for(30, |parts| {
            let [part] = &parts.unwrap()[..] else { panic!("one part") };
            assert!(part.blob.path.ends_with("evalset") && part.first == 0);
        });
    }

    #[test]
    fn parts_follow_one_another_and_hold_every_sample_once() {
        cut_for(14, |parts| {
            let parts = parts.unwrap();
            assert_eq!(parts.iter().map(|p| (p.first, p.samples)).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 2)]);
            let joined: Vec<u8> = parts.iter().flat_map(|part| std::fs::read(&part.blob.path).unwrap()).collect();
            assert_eq!(joined, (0..30).collect::<Vec<u8>>());
            assert!(parts.iter().all(|p| p.blob.digest == Digest::of(&std::fs::read(&p.blob.path).unwrap())));
        });
    }

    #[test]
    fn a_unit_without_room_for_one_sample_is_told_with_both_sizes() {
        cut_for(2, |parts| {
            let error = parts.unwrap_err();
            assert!(error.to_string().ends_with("expected 35 bytes, got 34"), "{error}");
        });
    }
}
