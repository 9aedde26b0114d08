//! What one core of the unit can do at most, so that a model's time has something to be held against. Measured by the runner in a process of
//! its own, once per unit, processor and program; kept on this machine from then on. It decides nothing: whatever goes wrong here is told in
//! the environment of the cell and nowhere else.

use super::pass::{Asked, gather};
use super::{Bench, BenchError, Job, Part};
use crate::events::{Event, Events};
use crate::reference::processor;
use boardproof_record::Digest;
use boardproof_record::observation::Facts;
use boardproof_record::plan::{LinkSpec, Pass, PassPlan};
use std::path::{Path, PathBuf};

/// Names of the numbers, as in [`Facts`].
const NAMES: [&str; 3] = ["peak_f32_mac_per_s", "peak_i8_mac_per_s", "peak_read_bytes_per_s"];
/// Text with the instructions that gave them.
const BY: &str = "peak_by";
/// Options of the runner for it.
const OPTIONS: &str = r#"{"inputs":[],"peak":true}"#;
/// A second on a board, a few under an emulator; a runner that hangs is found out by the passes.
const DEADLINE_MS: u32 = 30_000;

impl Bench {
    /// Adds the peaks of the cell's unit to its environment, or why there are none.
    pub(super) fn add_peaks(&mut self, job: &Job<'_>, part: &Part, environment: &mut Facts, events: &mut dyn Events) {
        if !job.cell.passes.iter().any(|plan| plan.pass == Pass::Latency) {
            return;
        }
        let found = match job.target.link {
            LinkSpec::Sim { .. } => Err("a simulated device has no processor of its own".to_owned()),
            _ if job.runner.is_none() => Err("a firmware has no probe for it".to_owned()),
            _ => self.peaks(job, part, environment, events),
        };
        match found {
            Ok(peaks) => {
                environment.numbers.extend(peaks.numbers);
                environment.texts.extend(peaks.texts);
                environment.missing.extend(peaks.missing);
            }
            Err(why) => environment.missing.extend(NAMES.map(|name| (name.to_owned(), why.clone()))),
        }
    }

    fn peaks(
        &mut self,
        job: &Job<'_>,
        part: &Part,
        environment: &Facts,
        events: &mut dyn Events,
    ) -> Result<Facts, String> {
        let identity = self.session().map_err(|error| error.to_string())?.1.identity.clone();
        let place = place(&self.cache, job, &identity, environment);
        if let Some(kept) = place.as_deref().and_then(take) {
            return Ok(kept);
        }
        events.hear(Event::Said("measuring what one core of the unit can do".into()));
        let peaks = match self.measured_peaks(job, part, events) {
            Ok(peaks) => peaks,
            Err(error) => {
                // Whatever it is, the next pass shall not find the same broken line.
                self.session = None;
                return Err(super::causes(&error).join(": "));
            }
        }?;
        if let Some(place) = place {
            keep(&place, &peaks);
        }
        Ok(peaks)
    }

    fn measured_peaks(
        &mut self,
        job: &Job<'_>,
        part: &Part,
        events: &mut dyn Events,
    ) -> Result<Result<Facts, String>, BenchError> {
        let plan = PassPlan {
            pass: Pass::Inspect,
            batch: 1,
            samples: 1,
            warmup: 0,
            iterations: 0,
            enough: 0,
            again: false,
            stage: 0,
            deadline_ms: DEADLINE_MS,
            sketch: None,
            memory_limit_bytes: None,
        };
        let number = self.next_job();
        self.session()?;
        let (epoch, holder) = (self.epoch, self.holder.clone());
        let Self { session: Some((client, _)), .. } = self else { unreachable!("the session was made above") };
        let (first, count, deadline_ms) = (0, plan.samples, DEADLINE_MS);
        let (options, holder, at_work) = (OPTIONS, holder.as_str(), &|| false);
        let plan = &plan;
        let asked = Asked { job, plan, part, first, count, deadline_ms, options, number, epoch, holder, at_work };
        let seen = gather(client, &asked, events)?;
        self.renewed = None;
        Ok(if seen.is_whole() {
            Ok(of_interest(seen.into_facts()))
        } else {
            Err(format!("the probe did not come to its end: {}", seen.in_words()))
        })
    }
}

/// The numbers, the reasons for those that are missing, and what gave them.
fn of_interest(facts: Facts) -> Facts {
    let Facts { mut numbers, mut texts, mut missing } = facts;
    numbers.retain(|name, _| NAMES.contains(&name.as_str()));
    missing.retain(|name, _| NAMES.contains(&name.as_str()));
    let by = texts.remove("cpu_features").map(|by| (BY.to_owned(), by));
    Facts { numbers, texts: by.into_iter().collect(), missing }
}

/// Where they are kept: by unit, its processor and the programs. Those of an emulated unit are this machine's doing as well. `None` where
/// nothing tells the processor.
fn place(cache: &Path, job: &Job<'_>, identity: &str, environment: &Facts) -> Option<PathBuf> {
    let emulator = match job.target.emulated {
        true => processor(&std::fs::read_to_string("/proc/cpuinfo").ok()?)?,
        false => String::new(),
    };
    let parts = [
        job.cell.unit.to_string(),
        identity.to_owned(),
        environment.texts.get("cpu_model")?.clone(),
        environment.texts.get("cpu_features").cloned().unwrap_or_default(),
        emulator,
        job.runner.as_ref()?.digest.to_string(),
        job.agent_digest?.to_string(),
    ];
    Some(cache.join("peaks").join(format!("{}.json", Digest::of(parts.join("\n").as_bytes()))))
}

/// Anything unexpected there is a miss.
fn take(place: &Path) -> Option<Facts> {
    serde_json::from_str(&std::fs::read_to_string(place).ok()?).ok()
}

/// A cache that cannot be written costs a second and nothing else.
fn keep(place: &Path, peaks: &Facts) {
    let Some(folder) = place.parent() else { return };
    let part = place.with_extension(format!("part-{}", std::process::id()));
    let text = serde_json::to_string(peaks).unwrap_or_default();
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&part, text));
    if written.and_then(|()| std::fs::rename(&part, place)).is_err() {
        let _ = std::fs::remove_file(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(numbers: &[(&str, u64)], texts: &[(&str, &str)], missing: &[(&str, &str)]) -> Facts {
        Facts {
            numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            texts: texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            missing: missing.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect(),
        }
    }

    #[test]
    fn only_the_peaks_of_a_probe_are_kept_with_what_gave_them() {
        let seen = facts(
            &[("peak_f32_mac_per_s", 7), ("pass_wall_ns", 1)],
            &[("cpu_features", "fma avx512vnni"), ("engine", "none")],
            &[("peak_read_bytes_per_s", "no room"), ("minor_faults", "no")],
        );
        let found = of_interest(seen);
        let expected =
            facts(&[("peak_f32_mac_per_s", 7)], &[(BY, "fma avx512vnni")], &[("peak_read_bytes_per_s", "no room")]);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_kept_is_taken_and_damage_is_a_miss() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("peaks/one.json");
        let peaks = facts(&[("peak_f32_mac_per_s", 7)], &[(BY, "fma")], &[]);
        assert_eq!(take(&place), None);
        keep(&place, &peaks);
        assert_eq!(take(&place), Some(peaks));
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        std::fs::write(&place, "{").unwrap();
        assert_eq!(take(&place), None);
    }
}
