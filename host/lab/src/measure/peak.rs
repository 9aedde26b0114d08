//! What one core of the unit can do at most, so that a model's time has something to be held against. Measured by the runner in a process of
//! its own, and kept on this machine by unit, processor and governor. What else runs there only ever takes some away, so of all that was found
//! the highest counts; it is measured again when it is old, when the unit was busy, and when a model reached more. It decides nothing:
//! whatever goes wrong here is told in the environment of the cell and nowhere else.

use super::pass::{Asked, gather};
use super::{Bench, BenchError, Job, Part};
use crate::events::{Event, Events};
use crate::link::client::Slow;
use crate::reference::processor;
use boardproof_record::Digest;
use boardproof_record::observation::{Facts, Operator, PassObservation};
use boardproof_record::plan::{CPU_PROVIDER, Cell, LinkSpec, ONNXRUNTIME, Pass, PassPlan, Target};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names of the numbers, as in [`Facts`].
const NAMES: [&str; 3] = [FLOATS, INTEGERS, READ];
const FLOATS: &str = "peak_f32_mac_per_s";
const INTEGERS: &str = "peak_i8_mac_per_s";
const READ: &str = "peak_read_bytes_per_s";
/// Text with the instructions that gave the first two, and text with what was read for the third.
const BY: &str = "peak_by";
const READ_OF: &str = "peak_read_of";
/// Options of the runner for it.
const OPTIONS: &str = r#"{"inputs":[],"peak":true}"#;
/// A second on a board, a few under an emulator; a runner that hangs is found out by the passes.
const DEADLINE_MS: u32 = 30_000;
/// Changes with the loops of the probe (`device-agent/runner/src/peak/`): peaks of others are not mixed with theirs.
const PROBE: &str = "probe 2";
/// Peaks that are older are measured again: a new kernel, a new power supply, a dusty fan.
const FRESH_S: u64 = 7 * 24 * 3600;
/// A unit that was busy each time is asked so often, and no more.
const PROBES_OF_A_BUSY_UNIT: u32 = 8;
/// What is kept is measured again so often in a run.
const PROBES_OF_A_RUN: u32 = 2;

/// The highest peaks that were found of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// When they were measured last, in seconds since 1970 by this machine.
    probed_unix_s: u64,
    /// How often.
    probes: u32,
    /// At least once with more than half of its cores idle.
    at_rest: bool,
    peaks: Facts,
}

impl Kept {
    /// What is known after another probe: the higher of each, with what gave it.
    fn after(before: Option<Self>, found: Facts, probed_unix_s: u64, at_rest: bool) -> Self {
        let Some(mut kept) = before else { return Self { probed_unix_s, probes: 1, at_rest, peaks: found } };
        for (names, text) in [(&[FLOATS, INTEGERS][..], BY), (&[READ], READ_OF)] {
            for name in names {
                let Some(value) = found.numbers.get(*name) else { continue };
                if kept.peaks.numbers.get(*name).is_some_and(|known| known >= value) {
                    continue;
                }
                kept.peaks.numbers.insert((*name).to_owned(), *value);
                kept.peaks.missing.remove(*name);
                kept.peaks.texts.extend(found.texts.get(text).map(|by| (text.to_owned(), by.clone())));
            }
        }
        let (probes, at_rest) = (kept.probes.saturating_add(1), kept.at_rest || at_rest);
        Self { probed_unix_s, probes, at_rest, ..kept }
    }

    /// Is it better to look again? A clock that was set back makes them old, too.
    fn is_doubtful(&self, now_unix_s: u64) -> bool {
        let is_old = now_unix_s.abs_diff(self.probed_unix_s) > FRESH_S;
        is_old || (!self.at_rest && self.probes < PROBES_OF_A_BUSY_UNIT)
    }
}

impl Bench {
    /// Adds the peaks of the cell's unit to its environment, or why there are none.
    pub(super) fn add_peaks(&mut self, job: &Job<'_>, part: &Part, environment: &mut Facts, events: &mut dyn Events) {
        if !job.cell.passes.iter().any(|plan| plan.pass == Pass::Latency) {
            return;
        }
        let found = match job.target.link {
            LinkSpec::Sim { .. } => Err("a simulated device has no processor of its own".to_owned()),
            _ if job.runner.is_none() => Err("a firmware has no probe for it".to_owned()),
            _ if is_accelerated(job.cell, job.target) => {
                Err("the probe measures a core of the processor, and the model runs elsewhere".to_owned())
            }
            _ => self.peaks(job, part, environment, Kept::is_doubtful, events),
        };
        match found {
            Ok(peaks) => put(peaks, environment),
            Err(why) => environment.missing.extend(NAMES.map(|name| (name.to_owned(), why.clone()))),
        }
    }

    /// Looks again where the model did more than the core is said to be able to: the unit was busier when that was measured.
    pub(super) fn correct_peaks(
        &mut self,
        job: &Job<'_>,
        part: &Part,
        passes: &[PassObservation],
        environment: &mut Facts,
        events: &mut dyn Events,
    ) {
        if is_beaten(job.cell, passes, environment)
            && let Ok(peaks) = self.peaks(job, part, environment, |_, _| true, events)
        {
            put(peaks, environment);
        }
    }

    /// The peaks that are kept; measured first where there are none or `doubted` says so.
    fn peaks(
        &mut self,
        job: &Job<'_>,
        part: &Part,
        environment: &Facts,
        doubted: impl FnOnce(&Kept, u64) -> bool,
        events: &mut dyn Events,
    ) -> Result<Facts, String> {
        let identity = self.session().map_err(|error| error.to_string())?.1.identity.clone();
        let place = place(&self.cache, job, &identity, environment);
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let kept = place.as_deref().and_then(take);
        match &kept {
            Some(kept) if self.peaks_measured >= PROBES_OF_A_RUN || !doubted(kept, now) => {
                return Ok(kept.peaks.clone());
            }
            _ => {}
        }
        events.hear(Event::Said("measuring what one core of the unit can do".into()));
        self.peaks_measured += 1;
        let found = self.measured_peaks(job, part, events).unwrap_or_else(|error| {
            // Whatever it is, the next pass shall not find the same broken line.
            self.session = None;
            Err(super::causes(&error).join(": "))
        });
        match (found, kept) {
            (Ok(found), kept) => {
                let kept = Kept::after(kept, found, now, is_at_rest(environment));
                if let Some(place) = place {
                    keep(&place, &kept);
                }
                Ok(kept.peaks)
            }
            (Err(_), Some(kept)) => Ok(kept.peaks),
            (Err(why), None) => Err(why),
        }
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
        let (options, holder) = (OPTIONS, holder.as_str());
        let slow = Slow { at_work: &|| false, quiet: None };
        let plan = &plan;
        let asked = Asked { job, plan, part, first, count, deadline_ms, options, number, epoch, holder, slow };
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
    let told = [("cpu_features", BY), ("cpu_features[1]", READ_OF)];
    let texts = told.into_iter().filter_map(|(told, name)| Some((name.to_owned(), texts.remove(told)?))).collect();
    Facts { numbers, texts, missing }
}

/// Puts peaks into an environment, in the place of others.
fn put(peaks: Facts, environment: &mut Facts) {
    environment.missing.retain(|name, _| !peaks.numbers.contains_key(name));
    environment.numbers.extend(peaks.numbers);
    environment.texts.extend(peaks.texts);
    environment.missing.extend(peaks.missing);
}

/// Is the model wanted on something else than the processor, which is all that the probe measures?
fn is_accelerated(cell: &Cell, target: &Target) -> bool {
    let providers = target.onnxruntime.as_ref().filter(|_| cell.engine.as_str() == ONNXRUNTIME);
    let first = providers.and_then(|how| how.providers.first());
    cell.is_on_gpu() || first.is_some_and(|provider| provider != CPU_PROVIDER)
}

/// More than half of the unit's cores had nothing to do in the last minute. What is not known is no rest.
fn is_at_rest(environment: &Facts) -> bool {
    let of = |name: &str| environment.numbers.get(name).copied();
    of("load_milli").zip(of("cpu_count")).is_some_and(|(load_milli, cores)| load_milli <= cores * 500)
}

/// Would the arithmetic of an inference alone, at the peaks, take longer than the inference took? Its mean, which is no less than its median where
/// something was in the way.
fn is_beaten(cell: &Cell, passes: &[PassObservation], unit: &Facts) -> bool {
    let seen = |pass: Pass| passes.iter().find(|seen| seen.pass == pass);
    let batch = |pass: Pass| cell.passes.iter().find(|plan| plan.pass == pass).map(|plan| plan.batch);
    let (Some(inspected), Some(timed)) = (seen(Pass::Inspect), seen(Pass::Latency)) else { return false };
    let wall_ns = timed.facts.numbers.get("measured_wall_ns").filter(|_| timed.inferences > 0);
    let (Some(wall_ns), true) = (wall_ns, batch(Pass::Inspect) == batch(Pass::Latency)) else { return false };
    let seconds = |operator: &Operator| {
        let macs = inspected.facts.number("operator_macs", operator.index);
        let peak = match operator.multiplies_integers(macs) {
            Some(true) => unit.numbers.get(INTEGERS),
            _ => unit.numbers.get(FLOATS),
        };
        macs.zip(peak).filter(|(_, peak)| **peak > 0).map_or(0.0, |(macs, peak)| macs as f64 / *peak as f64)
    };
    let at_peak: f64 = inspected.operators.iter().map(seconds).sum();
    at_peak > *wall_ns as f64 / 1e9 / timed.inferences as f64
}

/// Where they are kept: by unit, its processor and how that is clocked. Those of an emulated unit are this machine's doing as well. `None` where
/// nothing tells the processor.
fn place(cache: &Path, job: &Job<'_>, identity: &str, environment: &Facts) -> Option<PathBuf> {
    let emulator = match job.target.emulated {
        true => processor(&std::fs::read_to_string("/proc/cpuinfo").ok()?)?,
        false => String::new(),
    };
    let governors = environment.texts.iter().filter(|(name, _)| name.split('[').next() == Some("governor"));
    let governors: BTreeSet<&str> = governors.map(|(_, governor)| governor.as_str()).collect();
    let parts = [
        PROBE.to_owned(),
        job.cell.unit.to_string(),
        // Where the same processor runs programs of another kind, it has other instructions.
        job.target.name.to_string(),
        identity.to_owned(),
        environment.texts.get("cpu_model")?.clone(),
        environment.texts.get("cpu_features").cloned().unwrap_or_default(),
        governors.into_iter().collect::<Vec<_>>().join(" "),
        emulator,
    ];
    Some(cache.join("peaks").join(format!("{}.json", Digest::of(parts.join("\n").as_bytes()))))
}

/// Anything unexpected there is a miss.
fn take(place: &Path) -> Option<Kept> {
    serde_json::from_str(&std::fs::read_to_string(place).ok()?).ok()
}

/// A cache that cannot be written costs a second and nothing else.
fn keep(place: &Path, kept: &Kept) {
    let Some(folder) = place.parent() else { return };
    let part = place.with_extension(format!("part-{}", std::process::id()));
    let text = serde_json::to_string(kept).unwrap_or_default();
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&part, text));
    if written.and_then(|()| std::fs::rename(&part, place)).is_err() {
        let _ = std::fs::remove_file(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
            &[("cpu_features", "fma avx512vnni"), ("cpu_features[1]", "a buffer of 64 MiB"), ("engine", "none")],
            &[("peak_read_bytes_per_s", "no room"), ("minor_faults", "no")],
        );
        let found = of_interest(seen);
        let expected =
            facts(&[(FLOATS, 7)], &[(BY, "fma avx512vnni"), (READ_OF, "a buffer of 64 MiB")], &[(READ, "no room")]);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_kept_is_taken_and_damage_is_a_miss() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("peaks/one.json");
        let kept = Kept::after(None, facts(&[(FLOATS, 7)], &[(BY, "fma")], &[]), 5, true);
        assert_eq!(take(&place), None);
        keep(&place, &kept);
        assert_eq!(take(&place), Some(kept));
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        std::fs::write(&place, "{").unwrap();
        assert_eq!(take(&place), None);
        // As it was written before probes were counted.
        std::fs::write(&place, serde_json::to_string(&facts(&[(FLOATS, 7)], &[], &[])).unwrap()).unwrap();
        assert_eq!(take(&place), None);
    }

    #[test]
    fn peaks_only_ever_rise_and_each_says_what_gave_it() {
        let busy = facts(&[(FLOATS, 100), (INTEGERS, 300)], &[(BY, "slow")], &[(READ, "no room")]);
        let idle = facts(&[(FLOATS, 90), (INTEGERS, 400), (READ, 5)], &[(BY, "fast"), (READ_OF, "much")], &[]);
        let kept = Kept::after(Some(Kept::after(None, busy, 1, false)), idle, 2, true);
        let expected = facts(&[(FLOATS, 100), (INTEGERS, 400), (READ, 5)], &[(BY, "fast"), (READ_OF, "much")], &[]);
        assert_eq!(kept, Kept { probed_unix_s: 2, probes: 2, at_rest: true, peaks: expected.clone() });
        let worse = facts(&[(FLOATS, 1), (INTEGERS, 1)], &[(BY, "worse")], &[(READ, "no room")]);
        assert_eq!(Kept::after(Some(kept), worse, 3, false).peaks, expected);
    }

    #[test]
    fn what_is_old_or_was_measured_on_a_busy_unit_is_measured_again_and_not_for_ever() {
        let kept = |probes, at_rest| Kept { probed_unix_s: FRESH_S, probes, at_rest, peaks: Facts::default() };
        let doubted = |probes, at_rest, now| kept(probes, at_rest).is_doubtful(now);
        assert!(!doubted(1, true, FRESH_S) && !doubted(1, true, 2 * FRESH_S));
        assert!(doubted(1, true, 2 * FRESH_S + 1));
        assert!(doubted(1, false, FRESH_S) && !doubted(PROBES_OF_A_BUSY_UNIT, false, FRESH_S));
        // The clock was set back by more than they may be old.
        let ahead = Kept { probed_unix_s: 3 * FRESH_S, ..kept(1, true) };
        assert!(ahead.is_doubtful(FRESH_S));
        let unit = |load, cores| is_at_rest(&facts(&[("load_milli", load), ("cpu_count", cores)], &[], &[]));
        assert!(unit(1000, 2) && !unit(1001, 2) && !is_at_rest(&Facts::default()));
    }

    /// An inspected and timed cell of a thousand float and a thousand integer multiply-accumulates; ten inferences took so long.
    fn timed(wall_ns: u64) -> (Cell, [PassObservation; 2]) {
        let plan = |pass: &str| json!({ "pass": pass, "batch": 1, "samples": 8, "warmup": 0, "iterations": 10, "deadline_ms": 1 });
        let cell = json!({
            "id": "m/f32@host/tract", "model": "m", "variant": "f32", "unit": "host", "target": "host", "engine": "tract",
            "role": "device", "judged": true, "passes": [plan("inspect"), plan("latency")],
        });
        let operator = |index: u32, kernel: &str| json!({ "index": index, "name": "n", "op": "o", "dtypes": "", "kernel": kernel });
        let seen = |pass: &str, numbers: Value, operators: Value| {
            json!({
                "pass": pass, "ended": { "how": "completed" }, "inferences": 10, "operators": operators,
                "facts": { "numbers": numbers, "texts": {}, "missing": {} },
            })
        };
        let operators = json!([operator(0, "accumulates in f32"), operator(1, "accumulates in i32"), operator(2, "")]);
        let inspected = seen("inspect", json!({ "operator_macs": 1000, "operator_macs[1]": 1000 }), operators);
        let latency = seen("latency", json!({ "measured_wall_ns": wall_ns }), json!([]));
        let passes = [inspected, latency].map(|pass| serde_json::from_value(pass).unwrap());
        (serde_json::from_value(cell).unwrap(), passes)
    }

    #[test]
    fn a_model_that_does_more_than_the_core_is_said_to_makes_it_measured_again() {
        // At these peaks a thousand floats take a microsecond, and as many integers half of one.
        let unit = facts(&[(FLOATS, 1_000_000_000), (INTEGERS, 2_000_000_000)], &[], &[]);
        let beaten = |wall_ns| {
            let (cell, passes) = timed(wall_ns);
            is_beaten(&cell, &passes, &unit)
        };
        assert!(beaten(14_999) && !beaten(15_000) && !beaten(90_000));
        let (mut cell, passes) = timed(1);
        assert!(!is_beaten(&cell, &passes[..1], &unit), "nothing was timed");
        assert!(!is_beaten(&cell, &passes, &Facts::default()), "nothing is known to beat");
        cell.passes[0].batch = 4;
        assert!(!is_beaten(&cell, &passes, &unit), "what was counted is not what was timed");
    }
}
