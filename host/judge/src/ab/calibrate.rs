//! What A against itself shows, over many builds: the finest limit that a unit and a metric can support.
//!
//! A round holds two builds of the same source against each other, in turn. Their functions lie in another order, so the bias of a build is
//! drawn anew in every round, together with everything that differs from process to process.

use super::blocks::{BlockFacts, cell_of, read, texts};
use super::{AbError, check, like, pairs};
use crate::compare::calibration::{RoundNoise, blocks_ratio, limit_of, of_round, spreads};
use crate::evidence::Evidence;
use boardproof_record::ab::{AbRun, Side};
use boardproof_record::calibration::{Calibration, VERSION};
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
    let calibration = if faults.is_empty() { of_rounds(run, records, &rounds) } else { None };
    let verdict = if calibration.is_some() { Verdict::Pass } else { Verdict::Incomplete };
    Ok(Calibrated { verdict, calibration, rounds, faults, notes: like::notes(run, records, &each), each })
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
        )
    }
}
