//! What A against itself shows, over many builds: the finest limit that a unit and a metric can support.
//!
//! A round holds two builds of the same source against each other, in turn. Their functions lie in another order, so the bias of a build is
//! drawn anew in every round, together with everything that differs from process to process.

use super::blocks::{BlockFacts, cell_of, read, texts};
use super::{AbError, check, like, pairs};
use crate::compare::calibration::{RoundNoise, blocks_ratio, limit_of, margin_between, of_round, spreads};
use crate::evidence::Evidence;
use crate::gate::{added_bytes, memory_of};
use crate::report::amount;
use boardproof_record::ab::{AbRun, Side};
use boardproof_record::calibration::{Calibration, MemoryNoise, VERSION};
use boardproof_record::plan::Pass;
use boardproof_record::verdict::Verdict;
use serde::Serialize;
use std::fmt;

/// What a calibration run says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// Pass: there are limits. Incomplete: the blocks do not allow any.
    pub verdict: Verdict,
    /// The limits; `None` where there are none.
    pub calibration: Option<Calibration>,
    /// Round by round.
    pub rounds: Vec<RoundNoise>,
    /// What forbids an answer.
    pub faults: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Each block, in the order in which they were measured.
    pub each: Vec<BlockFacts>,
}

/// Fewer rounds say too little about the next one: with four, Student's quantile at 99 % is 1.4 times that of ten.
pub const ROUNDS_MIN: usize = 5;

/// Judges the blocks of a calibration.
pub fn calibrate(run: &AbRun, records: &[Evidence<'_>]) -> Result<Calibrated, AbError> {
    check(run, records)?;
    let Some(blocks) = run.round_blocks else { return Err(AbError::NoCalibration) };
    let mut faults = Vec::new();
    let each = read(run, records, &mut faults)?;
    faults.extend(like::unlike(run, records));
    faults.extend(like::out_of_band(run, records));
    faults.extend(wrong_layouts(run, records));
    let usable = pairs(&each);
    let rounds: Vec<RoundNoise> = usable.chunks_exact(blocks as usize / 2).filter_map(of_round).collect();
    if rounds.len() < ROUNDS_MIN {
        faults.push(format!("{} whole rounds, {ROUNDS_MIN} or more are needed", rounds.len()));
    }
    let mut calibration = if faults.is_empty() { of_rounds(run, records, &rounds) } else { None };
    let verdict = if calibration.is_some() { Verdict::Pass } else { Verdict::Incomplete };
    let mut notes = like::notes(run, records, &each);
    if let Some(found) = &mut calibration {
        match memory(records, blocks as usize, found.false_alarms) {
            Ok(noise) => found.memory = Some(noise),
            Err(why) => notes.push(format!("memory is not calibrated: {why}")),
        }
    }
    Ok(Calibrated { verdict, calibration, rounds, faults, notes, each })
}

/// How far the memory passes of whole rounds lie apart, or why that is not known. What is known of times stands without it.
fn memory(records: &[Evidence<'_>], round: usize, false_alarms: f64) -> Result<MemoryNoise, String> {
    let whole = &records[..records.len() / round * round];
    let of = |(number, evidence): (usize, &Evidence<'_>)| {
        let cell = cell_of(*evidence);
        if cell.passes.iter().all(|pass| pass.pass != Pass::Memory) {
            return Err("no memory pass was planned".to_owned());
        }
        added_bytes(*evidence, cell).map_err(|why| format!("block {number}: {why}"))
    };
    let added = whole.iter().enumerate().map(of).collect::<Result<Vec<f64>, String>>()?;
    let rounds: Vec<Vec<f64>> = added.chunks_exact(round).map(<[f64]>::to_vec).collect();
    let margin = margin_between(&rounds, false_alarms).ok_or("there are no two whole rounds")?;
    let of_all = |key: &str| {
        let seen = whole.iter().map(|evidence| memory_of(*evidence, cell_of(*evidence), key));
        Some(extent(&seen.collect::<Option<Vec<f64>>>()?))
    };
    Ok(MemoryNoise {
        bytes: margin.ceil() as u64,
        processes: whole.len() as u32,
        builds: 2 * rounds.len() as u32,
        added_bytes: extent(&added),
        peak_bytes: of_all("rss_peak_bytes").ok_or("the peak of the resident set was not measured in every block")?,
        heap_bytes: of_all("alloc_peak_bytes"),
    })
}

/// The least and the most of some bytes.
fn extent(bytes: &[f64]) -> [u64; 2] {
    let of = |from: f64, pick: fn(f64, f64) -> f64| bytes.iter().copied().fold(from, pick) as u64;
    [of(f64::INFINITY, f64::min), of(0.0, f64::max)]
}

/// A block that was not measured with the build that was asked for says nothing about builds.
fn wrong_layouts(run: &AbRun, records: &[Evidence<'_>]) -> Option<String> {
    records.iter().enumerate().find_map(|(number, evidence)| {
        let wanted = run.layout(number);
        let seen = evidence.observation(&cell_of(*evidence).id)?;
        let build = evidence.record.builds.iter().find(|build| Some(build.digest) == seen.device.runner_digest)?;
        let told = |layout: Option<u32>| layout.map_or("none".to_owned(), |layout| layout.to_string());
        (build.layout != wanted)
            .then(|| format!("block {number} ran in layout {}, expected {}", told(build.layout), told(wanted)))
    })
}

fn of_rounds(run: &AbRun, records: &[Evidence<'_>], rounds: &[RoundNoise]) -> Option<Calibration> {
    let false_alarms = 1.0 - run.terms.confidence;
    let cell = cell_of(*records.first()?);
    let seen = records.first()?.observation(&cell.id)?;
    let spreads = spreads(rounds)?;
    let mut governors: Vec<String> = texts(&seen.environment_before, "governor").cloned().collect();
    governors.sort();
    governors.dedup();
    Some(Calibration {
        version: VERSION,
        measured_unix_s: run.started_unix_s,
        unit: cell.unit.clone(),
        identity: seen.device.identity.clone(),
        processor: texts(&seen.environment_before, "cpu_model").next().cloned().unwrap_or_default(),
        governor: governors.join(", "),
        cell: run.cell(Side::A).clone(),
        rounds: rounds.len() as u32,
        false_alarms,
        latency_ratio: limit_of(rounds.iter().map(|round| round.pair_square), false_alarms)?,
        builds_spread: spreads.builds,
        pairs_spread: spreads.pairs,
        memory: None,
    })
}

impl fmt::Display for Calibrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
        for (number, round) in self.rounds.iter().enumerate() {
            let (a, b) = (2 * number + 1, 2 * number + 2);
            writeln!(
                f,
                "round {:>2}  build {b:>2} takes {:>7} against build {a:>2}; single pairs lie {} around none",
                number + 1,
                percent(round.log_ratio.exp()),
                percent(round.pair_square.sqrt().exp()).replace('+', "±")
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "fault: {fault}"))?;
        let Some(found) = &self.calibration else {
            return writeln!(f, "INCOMPLETE: a fault of the measurement, nothing is said about the unit");
        };
        let alarms = found.false_alarms * 100.0;
        writeln!(f, "finest limits that {} supports, each with at most {alarms:.1} % false alarms:", found.unit)?;
        writeln!(f, "  one latency pass against another (check --against)  {:.3}", found.latency_ratio)?;
        for blocks in [16, 80, 400] {
            let ratio = blocks_ratio(found, blocks).unwrap_or(f64::NAN);
            writeln!(f, "  {blocks:>3} blocks in turn (ab)                              {ratio:.3}")?;
        }
        let spread = |log: f64| format!("{:.1} %", (log.exp() - 1.0) * 100.0);
        writeln!(
            f,
            "two builds differ by {}, two blocks of the same builds by {} (standard deviations)",
            spread(found.builds_spread),
            spread(found.pairs_spread)
        )?;
        found.memory.iter().try_for_each(|noise| tell_memory(f, found, noise))
    }
}

fn tell_memory(f: &mut fmt::Formatter<'_>, found: &Calibration, noise: &MemoryNoise) -> fmt::Result {
    let bytes = |bytes: u64| amount(bytes as f64, "bytes");
    let range = |[least, most]: [u64; 2]| {
        if least == most { bytes(least) } else { format!("{} to {}", bytes(least), bytes(most)) }
    };
    let MemoryNoise { processes, builds, added_bytes, .. } = noise;
    writeln!(
        f,
        "  memory that a model adds (check --against)          {} more: {:.3} of the {} here",
        bytes(noise.bytes),
        noise.ratio(added_bytes[0] as f64),
        bytes(added_bytes[0])
    )?;
    let heap = noise.heap_bytes.map(|heap| format!(", heap peak {}", range(heap))).unwrap_or_default();
    writeln!(
        f,
        "{processes} processes by {builds} builds: the model added {}, peak {}{heap}; equal ones lie further apart in at most {:.1} % of \
         comparisons, whatever the noise is like",
        range(*added_bytes),
        range(noise.peak_bytes),
        noise.false_alarms_at_most().max(found.false_alarms) * 100.0
    )
}
