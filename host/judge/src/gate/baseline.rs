//! An earlier record of the same cell as the yardstick: what may be compared with it, numbers that are exact in both, and when it is stale.

use super::GateError;
use super::decide::Number;
use super::metrics::{Desk, Known, LATENCY_RATIO, MEMORY_RATIO, same_cell};
use super::timed::number_of;
use crate::compare::latency::Latencies;
use crate::compare::operators;
use crate::compare::statistics::Confidence;
use crate::evidence::Evidence;
use boardproof_record::calibration::Calibration;
use boardproof_record::observation::{Facts, Observation};
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::policy::{Against, Direction, Rule};
use std::collections::BTreeSet;

/// Metrics that are exact here and in the baseline: a limit of 1 allows not a byte more.
pub const EXACT: [&str; 5] = [MODEL_BYTES, FLASH_BYTES, ARENA_BYTES, INSTRUCTIONS, INTEGER_OPS_LOSS];

const MODEL_BYTES: &str = "model_bytes_ratio";
const FLASH_BYTES: &str = "flash_bytes_ratio";
const ARENA_BYTES: &str = "arena_bytes_ratio";
const INSTRUCTIONS: &str = "instructions_ratio_p50";
/// Share of the multiply-accumulates that ran on integers in the baseline and do no more.
pub const INTEGER_OPS_LOSS: &str = "integer_ops_loss";

/// Words in the detail of a rule whose baseline is far worse than what it is held against.
pub const STALE: &str = "the baseline is stale";

impl<'a> Desk<'a> {
    /// The same cell of the baseline and this one, if time and memory of the two may be compared.
    pub(super) fn alike(&self) -> Result<(Evidence<'a>, &'a Cell), String> {
        let (baseline, cell) = same_cell(self.baseline, self.cell)?;
        if cell.target != self.cell.target {
            let (now, then) = (&self.cell.target, &cell.target);
            return Err(format!("the baseline was measured on target '{then}', this run on '{now}'"));
        }
        if let (Some(then), Some(now)) = (baseline.observation(&cell.id), self.evidence.observation(&self.cell.id)) {
            same_processor(then, now)?;
            unlike((baseline, then), (self.evidence, now)).map_or(Ok(()), Err)?;
        }
        Ok((baseline, cell))
    }

    /// Why a limit cannot be held against this unit's times: what it would tell apart, the unit does not.
    pub(super) fn too_fine(&self, rule: &Rule, limit: f64) -> Option<String> {
        let found = self.evidence.record.calibrations.get(&self.cell.unit)?;
        let finest = found.latency_ratio;
        (is_of_this_unit(found, self.evidence.observation(&self.cell.id)?) && is_too_fine(rule, limit, found)).then(
            || {
                let (unit, rounds) = (&self.cell.unit, found.rounds);
                format!(
                    "a limit of {limit} is finer than {unit} supports: {finest:.3}, by {rounds} rounds against itself"
                )
            },
        )
    }

    /// The same of the memory that a model adds, `there` bytes in the baseline.
    pub(super) fn finer_than_memory(&self, rule: &Rule, limit: f64, there: f64) -> Option<String> {
        let found = self.evidence.record.calibrations.get(&self.cell.unit)?;
        let finest = finest_memory(rule, limit, found, there)?;
        is_of_this_unit(found, self.evidence.observation(&self.cell.id)?).then(|| {
            let (unit, bytes) = (&self.cell.unit, |bytes| crate::report::amount(bytes, "bytes"));
            let noise = found.memory.as_ref().map_or(0.0, |noise| noise.bytes as f64);
            format!(
                "a limit of {limit} on the {} that the model adds in the baseline is finer than {unit} supports: {finest:.3}, since equal \
                 runs lie up to {} apart",
                bytes(there),
                bytes(noise)
            )
        })
    }

    /// A number that is exact on both sides, against the baseline's.
    pub(super) fn exact_against_baseline(&self, metric: &str) -> Result<Known, GateError> {
        let (baseline, cell) = match same_cell(self.baseline, self.cell) {
            Ok(found) => found,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let (then, now) = ((baseline, cell), (self.evidence, self.cell));
        Ok(match metric {
            MODEL_BYTES => ratio("model file", "bytes", model_bytes(then), model_bytes(now)),
            FLASH_BYTES => ratio("firmware", "bytes", memory(then, "flash_bytes"), memory(now, "flash_bytes")),
            ARENA_BYTES => ratio("arena", "bytes", memory(then, "arena_peak_bytes"), memory(now, "arena_peak_bytes")),
            INSTRUCTIONS => ratio("an inference", "instructions", instructions(then)?, instructions(now)?),
            _ => match (integer_share(then), integer_share(now)) {
                // As it is: a maximum with 0 would make a number of what is none.
                (Some(then), Some(now)) => Known::Number {
                    number: Number { value: then - now, bounds: None },
                    samples: 1,
                    samples_more: None,
                    detail: format!(
                        "{:.1} % of the multiply-accumulates on integers, in the baseline {:.1} %",
                        now * 100.0,
                        then * 100.0
                    ),
                },
                _ => Known::Missing("what ran on integers is not known of both this run and the baseline".into()),
            },
        })
    }
}

/// Is the limit of a rule on time against a baseline finer than what the unit supports?
pub fn is_too_fine(rule: &Rule, limit: f64, found: &Calibration) -> bool {
    rule.against == Against::Baseline && rule.metric == LATENCY_RATIO && limit < found.latency_ratio
}

/// The finest limit that the unit supports, where that of a rule on memory against a baseline in which the model adds `there` bytes is finer.
pub fn finest_memory(rule: &Rule, limit: f64, found: &Calibration, there: f64) -> Option<f64> {
    let asked = rule.against == Against::Baseline && rule.metric == MEMORY_RATIO;
    let finest = found.memory.as_ref().filter(|_| asked)?.ratio(there);
    (limit < finest).then_some(finest)
}

fn ratio(what: &str, unit: &str, then: Option<f64>, now: Option<f64>) -> Known {
    let (Some(then), Some(now)) = (then, now) else {
        return Known::Missing(format!("{what}: {unit} of this run and of the baseline are not both known"));
    };
    let (was, is) = (crate::report::amount(then, unit), crate::report::amount(now, unit));
    let number = Number { value: now / then, bounds: None };
    let detail = format!("{what} of {is}, in the baseline {was}");
    Known::Number { number, samples: 1, samples_more: None, detail }
}

type Side<'a> = (Evidence<'a>, &'a Cell);

fn model_bytes((evidence, cell): Side<'_>) -> Option<f64> {
    let bytes = evidence.model(cell).variants[&cell.variant].bytes;
    (bytes > 0).then_some(bytes as f64)
}

fn memory((evidence, cell): Side<'_>, key: &str) -> Option<f64> {
    number_of(evidence, cell, Pass::Memory, key)
}

fn instructions((evidence, cell): Side<'_>) -> Result<Option<f64>, GateError> {
    let counts = evidence.instructions(&cell.id)?.and_then(|counts| Latencies::from_ns(counts).ok());
    Ok(counts.map(|counts| counts.quantile(0.5, Confidence::P95).value_ns).filter(|count| *count > 0.0))
}

fn integer_share((evidence, cell): Side<'_>) -> Option<f64> {
    operators::integer_share(&operators::lines(evidence.completed(&cell.id, Pass::Inspect)?))
}

/// Were both measured on the same processor? Times and memory of others say nothing about the model. What cannot be told is no.
fn same_processor(then: &Observation, now: &Observation) -> Result<(), String> {
    if then.emulated != now.emulated {
        return Err("of the baseline and this run one was measured on an emulator".into());
    }
    let known = |text: &String| !text.is_empty() && !text.starts_with("unknown");
    let model = |seen: &Observation| seen.environment_before.texts.get("cpu_model").filter(|text| known(text)).cloned();
    let (models, identities) = ((model(then), model(now)), (&then.device.identity, &now.device.identity));
    match (&models, identities) {
        ((Some(then), Some(now)), _) if then != now => {
            Err(format!("the baseline was measured on another processor: '{then}', this run on '{now}'"))
        }
        (_, (then, now)) if !then.is_empty() && !now.is_empty() => {
            let same = then == now;
            same.then_some(()).ok_or_else(|| format!("the baseline was measured on unit '{then}', this run on '{now}'"))
        }
        ((Some(_), Some(_)), _) => Ok(()),
        _ => Err("it cannot be told whether the baseline was measured on the same processor".into()),
    }
}

/// What else time and memory depend on and is not the same in both, named with both values.
fn unlike(then: (Evidence<'_>, &Observation), now: (Evidence<'_>, &Observation)) -> Option<String> {
    let (then, now) = (circumstances(then), circumstances(now));
    let differ = then.iter().zip(&now).find(|(then, now)| then.1 != now.1);
    differ.map(|((what, was), (_, is))| {
        let told = |text: &str| if text.is_empty() { "not told".to_owned() } else { format!("'{text}'") };
        format!("the baseline is of another {what}: {} there, {} here", told(was), told(is))
    })
}

fn circumstances((evidence, seen): (Evidence<'_>, &Observation)) -> [(&'static str, String); 7] {
    let joined = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>().join(", ");
    let told = |word: &str| joined(seen.passes.iter().flat_map(|pass| texts(&pass.facts, word)).collect());
    // By what it was built from: another order of the same functions is the same engine, measured once more.
    let runner = seen.device.runner_digest;
    let built = evidence.record.builds.iter().find(|build| Some(build.digest) == runner);
    [
        ("system", seen.device.system.clone()),
        ("governor", joined(texts(&seen.environment_before, "governor"))),
        ("engine", told("engine")),
        ("GPU", told("gpu_name")),
        ("driver of the GPU", told("gpu_driver")),
        ("build of the runner", built.map_or_else(String::new, |build| build.source.short())),
        ("tick rate", seen.device.tick_hz.to_string()),
    ]
}

/// Was it measured on this very unit, in the state that it is in now?
pub fn is_of_this_unit(found: &Calibration, seen: &Observation) -> bool {
    let facts = &seen.environment_before;
    let processor = facts.texts.get("cpu_model").cloned().unwrap_or_default();
    let governors: Vec<String> = texts(facts, "governor").into_iter().collect();
    (&found.identity, &found.processor, &found.governor) == (&seen.device.identity, &processor, &governors.join(", "))
}

/// The texts of this name, each once, of each item that has one.
fn texts(facts: &Facts, word: &str) -> BTreeSet<String> {
    let named = facts.texts.iter().filter(|(key, _)| key.split('[').next() == Some(word));
    named.map(|(_, value)| value.clone()).collect()
}

/// That a number is better than the baseline's by more than it may be worse: the next loss of the same size would pass.
pub(super) fn stale(rule: &Rule, number: Number, limit: f64) -> Option<String> {
    if rule.against != Against::Baseline || rule.direction != Direction::AtMost {
        return None;
    }
    let worst = number.bounds.map_or(number.value, |(_, upper)| upper);
    let better = match rule.unit.as_str() {
        "ratio" => limit > 0.0 && worst < 1.0 / limit.max(1.0),
        _ if rule.metric.ends_with("drop") => worst < -limit.abs(),
        _ => false,
    };
    better.then(|| format!("better than the baseline by more than it may be worse: {STALE}"))
}
