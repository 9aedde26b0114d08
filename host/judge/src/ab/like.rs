//! May the blocks be compared? What must be the same in all of them, and what must stay within its band.

use super::blocks::{BlockFacts, cell_of, middle, numbers, texts};
use crate::evidence::Evidence;
use crate::report::summary::throttled;
use boardproof_record::Digest;
use boardproof_record::ab::{AbRun, Side};
use boardproof_record::observation::{Facts, Observation};
use boardproof_record::plan::Pass;
use std::collections::{BTreeMap, BTreeSet};

/// Sides whose blocks began at temperatures further apart than this were not measured alike: a board throttles, and leaks, by degrees.
const SIDES_APART_C: f64 = 3.0;
/// A unit that went through more than this was not in one state: it was still warming up, or its cooling came and went.
const RUN_APART_C: f64 = 15.0;
/// Share of its frequency that a core which is to keep it may lose from one block to another; as for a single pass.
const FREQUENCY_SHARE: f64 = 0.2;
/// Load averages of the sides further apart than this, and by more than half, mean that one had more company.
const LOAD_APART: f64 = 1.0;

/// What must be the same in every block, by name, with the first block that differs.
pub(super) fn unlike(run: &AbRun, records: &[Evidence<'_>]) -> Vec<String> {
    let mut first: BTreeMap<(String, Option<Side>), (usize, String)> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for (number, (block, evidence)) in run.blocks.iter().zip(records).enumerate() {
        for (what, of_side, value) in circumstances(run, *evidence) {
            let key = (what.clone(), of_side.then_some(block.side));
            let (then, was) = first.entry(key).or_insert_with(|| (number, value.clone()));
            if *was != value && told.insert(what.clone()) {
                found.push(format!("unlike: {what} was '{was}' in block {then} and is '{value}' in block {number}"));
            }
        }
    }
    found
}

/// What a time depends on besides the variant: its name, whether it may differ between the sides, and what it is here.
fn circumstances(run: &AbRun, evidence: Evidence<'_>) -> Vec<(String, bool, String)> {
    let cell = cell_of(evidence);
    let model = evidence.model(cell);
    let of_run = |what: &str, value: String| (what.to_owned(), false, value);
    let mut all = vec![
        ("model file".into(), true, model.variants[&cell.variant].digest.to_string()),
        of_run("evalset", model.evalset.digest.to_string()),
        of_run("target", cell.target.to_string()),
    ];
    if let Some(plan) = cell.passes.iter().find(|plan| plan.pass == Pass::Latency) {
        all.push(of_run("samples per inference", plan.batch.to_string()));
        all.push(of_run("inferences of a block", format!("{} after {}", plan.iterations, plan.warmup)));
    }
    if let Some(seen) = evidence.observation(&cell.id) {
        all.extend(of_unit(seen, runner(run, evidence, seen)).into_iter().map(|(what, value)| of_run(what, value)));
    }
    all
}

/// The runner's content; in a calibration what it was built from, since its functions are to lie elsewhere.
fn runner(run: &AbRun, evidence: Evidence<'_>, seen: &Observation) -> Option<Digest> {
    let digest = seen.device.runner_digest;
    let build = || evidence.record.builds.iter().find(|build| Some(build.digest) == digest);
    if run.round_blocks.is_some() { build().map(|build| build.source) } else { digest }
}

fn of_unit(seen: &Observation, runner: Option<Digest>) -> Vec<(&'static str, String)> {
    let device = &seen.device;
    let digest = |digest: Option<Digest>| digest.map(|d| d.short()).unwrap_or_default();
    let told = |word: &'static str| {
        let texts = seen.pass(Pass::Latency).map(|pass| texts(&pass.facts, word).cloned().collect::<Vec<_>>());
        texts.unwrap_or_default().join(", ")
    };
    let both = [&seen.environment_before, &seen.environment_after];
    let governors: BTreeSet<&String> = both.into_iter().flat_map(|facts| texts(facts, "governor")).collect();
    let processor = texts(&seen.environment_before, "cpu_model").next();
    vec![
        ("identity of the unit", device.identity.clone()),
        ("boot of the unit", device.boot.to_string()),
        ("system", device.system.clone()),
        ("processor", processor.cloned().unwrap_or_default()),
        ("governor", governors.into_iter().cloned().collect::<Vec<_>>().join(", ")),
        ("agent", format!("{} {}", device.agent_build, digest(device.agent_digest))),
        ("runner", digest(runner)),
        ("engine", told("engine")),
        ("GPU", told("gpu_name")),
        ("driver of the GPU", told("gpu_driver")),
        ("tick rate", device.tick_hz.to_string()),
    ]
}

/// What left its band.
pub(super) fn out_of_band(run: &AbRun, records: &[Evidence<'_>]) -> Vec<String> {
    let seen: Vec<(Side, &Observation)> = run
        .blocks
        .iter()
        .zip(records)
        .filter_map(|(block, evidence)| Some((block.side, evidence.observation(&cell_of(*evidence).id)?)))
        .collect();
    let mut found: Vec<String> = seen.iter().find_map(|(_, seen)| throttled(seen)).into_iter().collect();
    found.extend(temperature(&seen));
    found.extend(frequency(&seen));
    found.extend(load(&seen));
    found
}

/// Values at the beginning of blocks, by item.
fn by_item(
    seen: &[(Side, &Observation)],
    word: &'static str,
    of: impl Fn(&Observation) -> Vec<&Facts>,
) -> BTreeMap<String, Vec<(Side, f64)>> {
    let mut all: BTreeMap<String, Vec<(Side, f64)>> = BTreeMap::new();
    for (side, seen) in seen {
        for (key, value) in of(seen).into_iter().flat_map(|facts| numbers(facts, word)) {
            all.entry(key.clone()).or_default().push((*side, value as f64));
        }
    }
    all
}

fn before(seen: &Observation) -> Vec<&Facts> {
    vec![&seen.environment_before]
}

/// The middle of each side; `None` where one has none.
fn of_sides(values: &[(Side, f64)]) -> Option<(f64, f64)> {
    let of = |wanted: Side| {
        let mut own: Vec<f64> = values.iter().filter(|(side, _)| *side == wanted).map(|(_, value)| *value).collect();
        own.sort_unstable_by(f64::total_cmp);
        (!own.is_empty()).then(|| middle(&own))
    };
    of(Side::A).zip(of(Side::B))
}

fn extent(values: &[(Side, f64)]) -> (f64, f64) {
    let all = values.iter().map(|(_, value)| *value);
    (all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max))
}

fn temperature(seen: &[(Side, &Observation)]) -> Option<String> {
    by_item(seen, "temperature_milli_c", before).iter().find_map(|(key, values)| {
        let celsius: Vec<(Side, f64)> = values.iter().map(|(side, milli)| (*side, milli / 1000.0)).collect();
        let (lowest, highest) = extent(&celsius);
        let (a, b) = of_sides(&celsius)?;
        if (a - b).abs() > SIDES_APART_C {
            return Some(format!(
                "blocks of a began at {a:.1} °C and those of b at {b:.1} °C ({key}), more than {SIDES_APART_C} °C apart"
            ));
        }
        let moved = highest - lowest > RUN_APART_C;
        moved.then(|| format!("the unit went from {lowest:.1} to {highest:.1} °C ({key}), more than {RUN_APART_C} °C"))
    })
}

/// Only under a governor that keeps it: with any other a frequency is that of the moment at which it was read.
fn frequency(seen: &[(Side, &Observation)]) -> Option<String> {
    let kept = |seen: &Observation| {
        let mut governors = texts(&seen.environment_before, "governor").peekable();
        governors.peek().is_some() && governors.all(|name| matches!(name.as_str(), "performance" | "userspace"))
    };
    if !seen.iter().all(|(_, seen)| kept(seen)) {
        return None;
    }
    let both = |seen: &'_ Observation| -> [f64; 2] {
        [&seen.environment_before, &seen.environment_after]
            .map(|facts| numbers(facts, "cpu_frequency_hz").map(|(_, hz)| hz as f64).fold(0.0, f64::max))
    };
    let values: Vec<(Side, f64)> =
        seen.iter().flat_map(|(side, seen)| both(seen).map(|hz| (*side, hz))).filter(|(_, hz)| *hz > 0.0).collect();
    let (lowest, highest) = extent(&values);
    (lowest < highest * (1.0 - FREQUENCY_SHARE)).then(|| {
        format!(
            "the unit ran at {:.0} to {:.0} MHz under a governor that keeps its frequency",
            lowest / 1e6,
            highest / 1e6
        )
    })
}

fn load(seen: &[(Side, &Observation)]) -> Option<String> {
    let loads = by_item(seen, "load_milli", before);
    let (a, b) = of_sides(loads.values().next()?)?;
    let (a, b) = (a / 1000.0, b / 1000.0);
    let apart = (a - b).abs() > LOAD_APART && a.max(b) > 1.5 * a.min(b);
    apart.then(|| format!("the unit's load was {a:.1} when blocks of a began and {b:.1} when those of b did"))
}

/// What a reader should know of blocks that may be compared.
pub(super) fn notes(run: &AbRun, records: &[Evidence<'_>], each: &[BlockFacts]) -> Vec<String> {
    let mut notes = Vec::new();
    let moved: Vec<&BlockFacts> = each.iter().filter(|block| block.movement.is_some()).collect();
    if let Some(BlockFacts { block, movement: Some(movement), .. }) = moved.first() {
        let (count, of) = (moved.len(), each.len());
        notes.push(format!("{count} of {of} blocks were not stationary, the first was block {block}: {movement}"));
    }
    let seen = records.iter().find_map(|evidence| evidence.observation(&cell_of(*evidence).id));
    let Some(seen) = seen else { return notes };
    if seen.emulated {
        notes.push("the unit is emulated: its times say nothing about hardware".into());
    }
    let loads: Vec<f64> = each.iter().flat_map(|block| block.load).flatten().collect();
    let processors = seen.environment_before.numbers.get("cpu_count").copied().unwrap_or(1);
    let busy = loads.iter().copied().fold(0.0, f64::max);
    if busy > processors as f64 {
        notes.push(format!("the unit was busy: load averages up to {busy:.1} on {processors} processors"));
    }
    let unknown = ["temperature_milli_c", "cpu_frequency_hz", "throttle_count"];
    let unknown = unknown.iter().filter(|word| numbers(&seen.environment_before, word).next().is_none());
    let mut unknown: Vec<&str> = unknown.copied().collect();
    if texts(&seen.environment_before, "governor").next().is_none() {
        unknown.push("governor");
    }
    if !unknown.is_empty() {
        notes.push(format!("the unit does not tell, so nobody checked: {}", unknown.join(", ")));
    }
    if run.a == run.b {
        notes.push("a and b are the same cell: whatever is found is the unit's own noise".into());
    }
    notes
}
