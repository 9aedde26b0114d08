//! What is read out of each block's record.

use super::AbError;
use crate::compare::latency::Latencies;
use crate::evidence::Evidence;
use crate::gate::{fit, refused};
use boardproof_record::ab::{AbRun, Side};
use boardproof_record::observation::{Facts, Observation};
use boardproof_record::plan::{Cell, Pass};
use serde::Serialize;

/// One block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockFacts {
    /// Counted from 0.
    pub block: usize,
    /// Which side.
    pub side: Side,
    /// Median of its inferences; `None`: they cannot be used, see the faults.
    pub median_ns: Option<f64>,
    /// Inferences.
    pub inferences: u64,
    /// How its inferences left their level, in words.
    pub movement: Option<String>,
    /// Hottest zone before and after.
    pub temperature_c: [Option<f64>; 2],
    /// Highest frequency of a core before and after.
    pub frequency_hz: [Option<u64>; 2],
    /// Governors, each once.
    pub governors: Vec<String>,
    /// Load average over one minute before and after.
    pub load: [Option<f64>; 2],
}

/// Reads all blocks; what cannot be used says why in `faults`.
pub(super) fn read(
    run: &AbRun,
    records: &[Evidence<'_>],
    faults: &mut Vec<String>,
) -> Result<Vec<BlockFacts>, AbError> {
    let mut each = Vec::new();
    for (number, (block, evidence)) in run.blocks.iter().zip(records).enumerate() {
        let cell = cell_of(*evidence);
        let times = times(*evidence, cell)?;
        let mut facts = facts(number, block.side, evidence.observation(&cell.id));
        match times {
            Ok(times) => {
                facts.median_ns = Some(middle(times.sorted_ns()));
                facts.inferences = times.count();
                facts.movement = times.movement().map(ToString::to_string);
            }
            Err(why) => faults.push(format!("block {number} ({}) cannot be used: {why}", block.side)),
        }
        each.push(facts);
    }
    Ok(each)
}

/// The one cell of a block; that there is one was proved before.
pub(super) fn cell_of(evidence: Evidence<'_>) -> &Cell {
    &evidence.record.plan.cells[0]
}

/// Times of a block's inferences, or why they cannot be used.
pub(super) fn times(evidence: Evidence<'_>, cell: &Cell) -> Result<Result<Latencies, String>, AbError> {
    if let Err(why) = fit(evidence, cell, Pass::Latency) {
        return Ok(Err(why));
    }
    if let Some(why) = refused(evidence, cell) {
        return Ok(Err(why));
    }
    if !evidence.clock(&cell.id).is_time() {
        return Ok(Err(format!("{} counts instructions and no time", cell.unit)));
    }
    let Some(ns) = evidence.latencies_ns(&cell.id)? else { return Ok(Err("it has no times".into())) };
    let times = Latencies::from_ns(ns).map_err(|why| why.to_string());
    Ok(times.and_then(|times| {
        let coarse = middle(times.sorted_ns()) <= 0.0;
        if coarse { Err("an inference takes no tick of the unit's clock".into()) } else { Ok(times) }
    }))
}

/// Of an even number the mean of the two in the middle, so that a coarse clock does not pull it down.
pub(super) fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
}

fn facts(block: usize, side: Side, seen: Option<&Observation>) -> BlockFacts {
    let both = |of: fn(&Facts) -> Option<u64>| {
        seen.map_or([None, None], |seen| [of(&seen.environment_before), of(&seen.environment_after)])
    };
    let milli = |of: fn(&Facts) -> Option<u64>| both(of).map(|value| value.map(|milli| milli as f64 / 1000.0));
    let after = seen.map(|seen| &seen.environment_after);
    let mut governors: Vec<String> = after.into_iter().flat_map(|facts| texts(facts, "governor")).cloned().collect();
    governors.sort();
    governors.dedup();
    BlockFacts {
        block,
        side,
        median_ns: None,
        inferences: 0,
        movement: None,
        temperature_c: milli(|facts| highest(facts, "temperature_milli_c")),
        frequency_hz: both(|facts| highest(facts, "cpu_frequency_hz")),
        governors,
        load: milli(|facts| highest(facts, "load_milli")),
    }
}

/// The numbers of this name, of each item that has one.
pub(super) fn numbers<'f>(facts: &'f Facts, word: &'static str) -> impl Iterator<Item = (&'f String, u64)> {
    facts.numbers.iter().filter(move |(key, _)| key.split('[').next() == Some(word)).map(|(key, value)| (key, *value))
}

/// The texts of this name, of each item that has one.
pub(super) fn texts<'f>(facts: &'f Facts, word: &'static str) -> impl Iterator<Item = &'f String> {
    facts.texts.iter().filter(move |(key, _)| key.split('[').next() == Some(word)).map(|(_, value)| value)
}

fn highest(facts: &Facts, word: &'static str) -> Option<u64> {
    numbers(facts, word).map(|(_, value)| value).max()
}
