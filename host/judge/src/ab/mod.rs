//! Judges an A/B run: two variants on one unit, measured in turn, each block a record of its own.
//!
//! Owns the order of the questions. First whether the blocks may be compared at all: what was not measured, what is unlike, and what was out
//! of band is a fault of the measurement, and then there is no verdict, whatever the numbers say. Then whether they answer. The same blocks
//! give the same verdict at any time: looks are made where they would have been made while measuring, and what came after the look that
//! answered decides nothing.

mod blocks;
mod calibrate;
mod length;
mod like;
mod text;

pub use calibrate::{Calibrated, ROUNDS_MIN, calibrate};
pub use length::{INFERENCES_MIN, inferences_of_a_block};

use crate::compare::paired_blocks::{Answer, Estimate, Looks, Orders, Pair, orders};
use crate::evidence::{Evidence, EvidenceError};
use blocks::{BlockFacts, read};
use boardproof_record::CellId;
use boardproof_record::ab::{AbRun, Side, Terms, VERSION};
use boardproof_record::verdict::Verdict;
use serde::Serialize;

/// What an A/B run says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AbJudgement {
    /// Version of the format.
    pub version: u32,
    /// Pass: B takes no more than limit times as long as A. Fail: it takes more. Incomplete: nothing is said about either.
    pub verdict: Verdict,
    /// Why no further block was measured.
    pub stopped: Stopped,
    /// Side A's cell.
    pub a: CellId,
    /// Side B's cell.
    pub b: CellId,
    /// The question.
    pub terms: Terms,
    /// Blocks that the answer rests on.
    pub blocks: usize,
    /// How many times as long B takes; `None` while there is no pair of each order, or one was not measured.
    pub estimate: Option<Estimate>,
    /// Smallest true ratio that these blocks would have shown to be beyond the limit about half of the time.
    pub resolved_ratio: Option<f64>,
    /// The ratio by which side came first.
    pub orders: Option<Orders>,
    /// What forbids an answer.
    pub faults: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Each block, in the order in which they were measured.
    pub each: Vec<BlockFacts>,
}

/// Why no further block is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// A look answered.
    Answered,
    /// As many blocks as were allowed, and no answer.
    BudgetSpent,
    /// The blocks may not be compared.
    Fault,
    /// It did not stop of itself: more blocks are wanted.
    NotYet,
}

/// A run whose parts contradict each other.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum AbError {
    #[error("ab.json has version {found}, this build reads {VERSION}")]
    Version { found: u32 },
    #[error("the A/B run is damaged: {what}: expected {expected}, got {found}")]
    Damaged { what: String, expected: String, found: String },
    #[error("no answer is possible with {blocks} blocks at a confidence of {confidence}, expected {needed} or more")]
    BudgetTooSmall { blocks: u32, confidence: f64, needed: usize },
    #[error("{what}: expected {expected}, got {found}")]
    Terms { what: &'static str, expected: &'static str, found: f64 },
    #[error("this is an A/B run of two variants and no calibration: judge it with `boardproof ab --again`")]
    NoCalibration,
    #[error("this is the calibration of a unit and no A/B run: judge it with `boardproof calibrate --again`")]
    IsCalibration,
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

impl AbError {
    /// What was asked for cannot be had; otherwise the run on disk is damaged.
    pub fn is_of_the_terms(&self) -> bool {
        matches!(self, Self::BudgetTooSmall { .. } | Self::Terms { .. } | Self::NoCalibration | Self::IsCalibration)
    }
}

/// Most blocks that a run may ask for: days on any board.
const BLOCKS_MAX: u32 = 10_000;

/// The looks of these terms; refuses terms that no number of seconds could answer.
pub fn looks(terms: &Terms) -> Result<Looks, AbError> {
    let Terms { limit, confidence, blocks_max } = *terms;
    if !(limit.is_finite() && limit > 0.0) {
        return Err(AbError::Terms { what: "the limit", expected: "a finite number above 0", found: limit });
    }
    if !(confidence > 0.5 && confidence < 1.0) {
        return Err(AbError::Terms { what: "the confidence", expected: "above 0.5 and below 1", found: confidence });
    }
    if !blocks_max.is_multiple_of(4) || blocks_max > BLOCKS_MAX {
        let expected = "a multiple of 4, at most 10000";
        return Err(AbError::Terms { what: "the number of blocks", expected, found: f64::from(blocks_max) });
    }
    let of = |blocks: u32| Looks::new(blocks as usize / 2, 1.0 - confidence);
    let found = of(blocks_max);
    if found.pairs_first().is_none() {
        let enough = (4..=BLOCKS_MAX).step_by(4).find(|blocks| of(*blocks).pairs_first().is_some());
        let needed = enough.map_or(usize::MAX, |blocks| blocks as usize);
        return Err(AbError::BudgetTooSmall { blocks: blocks_max, confidence, needed });
    }
    Ok(found)
}

/// Judges the blocks of a run, each with its record, in the order in which they were measured.
pub fn judge(run: &AbRun, records: &[Evidence<'_>]) -> Result<AbJudgement, AbError> {
    check(run, records)?;
    if run.round_blocks.is_some() {
        return Err(AbError::IsCalibration);
    }
    let looks = looks(&run.terms)?;
    let mut faults = Vec::new();
    let each = read(run, records, &mut faults)?;
    faults.extend(like::unlike(run, records));
    faults.extend(like::out_of_band(run, records));
    let pairs = pairs(&each);
    let found = looks.answer(&pairs, run.terms.limit);
    let blocks = found.map_or(each.len(), |(estimate, _)| estimate.pairs * 2);
    let orders = orders(&pairs[..pairs.len().min(blocks / 2)]);
    // Looked at once, when there is something to say: at every look it would cry wolf at some.
    let ends = found.is_some_and(|(_, answer)| answer != Answer::CannotTell) || is_spent(run);
    faults.extend(orders.filter(|orders| ends && orders.disagree).map(|orders| contradiction(&orders)));
    let (verdict, stopped) = verdict(run, &faults, found.map(|(_, answer)| answer));
    let estimate = found.map(|(estimate, _)| estimate);
    let lower = estimate.and_then(|e| e.lower.map(|lower| e.ratio / lower));
    Ok(AbJudgement {
        version: VERSION,
        verdict,
        stopped,
        a: run.a.clone(),
        b: run.b.clone(),
        terms: run.terms,
        blocks,
        estimate,
        resolved_ratio: lower.map(|width| width * run.terms.limit),
        orders,
        faults,
        notes: like::notes(run, records, &each),
        each,
    })
}

/// Proves that the blocks are those of the run.
fn check(run: &AbRun, records: &[Evidence<'_>]) -> Result<(), AbError> {
    let damaged =
        |what: &str, expected: String, found: String| Err(AbError::Damaged { what: what.into(), expected, found });
    if run.version != VERSION {
        return Err(AbError::Version { found: run.version });
    }
    let most = run.terms.blocks_max as usize;
    if run.blocks.len() > most {
        return damaged("number of blocks", format!("at most {most}"), run.blocks.len().to_string());
    }
    if run.blocks.len() != records.len() {
        return damaged("number of records", run.blocks.len().to_string(), records.len().to_string());
    }
    for (number, (block, evidence)) in run.blocks.iter().zip(records).enumerate() {
        let side = Side::of_block(number);
        if block.side != side {
            return damaged(&format!("side of block {number}"), side.to_string(), block.side.to_string());
        }
        let cells: Vec<String> = evidence.record.plan.cells.iter().map(|cell| cell.id.to_string()).collect();
        let expected = run.cell(side).to_string();
        if cells != [expected.clone()] {
            return damaged(&format!("cells of block {number}"), expected, cells.join(", "));
        }
    }
    Ok(())
}

/// Neighbours, as far as both were measured without a gap before them.
fn pairs(each: &[BlockFacts]) -> Vec<Pair> {
    let median = |block: &BlockFacts| block.median_ns.map(f64::ln);
    let pair = |two: &[BlockFacts]| {
        let (first, second) = (median(&two[0])?, median(&two[1])?);
        let b_first = two[0].side == Side::B;
        Some(Pair { log_ratio: if b_first { first - second } else { second - first }, b_first })
    };
    each.chunks_exact(2).map_while(pair).collect()
}

fn is_spent(run: &AbRun) -> bool {
    run.blocks.len() >= run.terms.blocks_max as usize
}

fn verdict(run: &AbRun, faults: &[String], answer: Option<Answer>) -> (Verdict, Stopped) {
    match answer {
        _ if !faults.is_empty() => (Verdict::Incomplete, Stopped::Fault),
        Some(Answer::Slower) => (Verdict::Fail, Stopped::Answered),
        Some(Answer::NotSlower) => (Verdict::Pass, Stopped::Answered),
        _ if is_spent(run) => (Verdict::Inconclusive, Stopped::BudgetSpent),
        _ => (Verdict::Incomplete, Stopped::NotYet),
    }
}

fn contradiction(orders: &Orders) -> String {
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    format!(
        "the order decides: b takes {:+.1} % where a came first and {:+.1} % where b did, further apart than chance would bring them: what \
         ran before leaves the unit in another state (heat, caches); wait between runs, cool it, or fix its clocks",
        percent(orders.a_first.ratio),
        percent(orders.b_first.ratio)
    )
}
