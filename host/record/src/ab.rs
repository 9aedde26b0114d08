//! Two variants on one unit, block after block, in one folder:
//!
//! ```text
//! OUT/
//!   ab.json                 this type
//!   prepared/               record of what was planned and built; a fault before the first block is there
//!   trials/000-a/, 001-b/   what the length of a block was taken from; judged by nobody
//!   blocks/000-a/, 001-b/   an ordinary record each: one cell, its latency pass
//! ```
//!
//! Each block is a record of its own because a record has one outcome per cell, and because every check of a record then holds for every
//! block: programs, clock, digests, environment before and after.

use crate::record::RunEnded;
use crate::{CellId, Digest};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of `ab.json` that this build writes and reads.
pub const VERSION: u32 = 1;
/// Name of the file in its folder.
pub const FILE: &str = "ab.json";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What the other is held against.
    A,
    /// What is judged.
    B,
}

impl Side {
    /// The side of a block, counted from 0: A B B A and again, so that a drift in a straight line meets both alike.
    pub fn of_block(number: usize) -> Self {
        if matches!(number % 4, 0 | 3) { Self::A } else { Self::B }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::A { "a" } else { "b" })
    }
}

/// An A/B run on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AbRun {
    /// Version of the format.
    pub version: u32,
    /// Version of boardproof that wrote it.
    pub boardproof: String,
    /// When the run started, seconds since 1970 on the host's clock.
    pub started_unix_s: u64,
    /// How the run ended as a whole.
    pub ended: RunEnded,
    /// The cell of side A.
    pub a: CellId,
    /// The cell of side B; the same as A's when a variant is held against itself.
    pub b: CellId,
    /// What was decided before anything was measured.
    pub terms: Terms,
    /// A calibration: blocks of a round, in which two builds that no other round has are held against each other; a multiple of 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_blocks: Option<u32>,
    /// Blocks of which only the length of the others was taken; none where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<Block>,
    /// The blocks in the order in which they were measured.
    pub blocks: Vec<Block>,
}

impl AbRun {
    /// The cell of a side.
    pub fn cell(&self, side: Side) -> &CellId {
        if side == Side::A { &self.a } else { &self.b }
    }

    /// Layout of the runner of a block, counted from 0; `None` where the usual runner does it.
    pub fn layout(&self, block: usize) -> Option<u32> {
        let round = block as u32 / self.round_blocks.filter(|blocks| *blocks > 0)?;
        Some(2 * round + if Side::of_block(block) == Side::A { 1 } else { 2 })
    }
}

/// The question and what may be spent on it; fixed before the first block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Terms {
    /// B fails when it is shown to take more than this many times as long as A.
    pub limit: f64,
    /// Confidence of each one-sided answer, over all looks together.
    pub confidence: f64,
    /// Most blocks, both sides together; a multiple of 4.
    pub blocks_max: u32,
}

/// One block: a fresh process that timed inferences of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Block {
    /// Which side.
    pub side: Side,
    /// Folder of its record, relative to `ab.json`.
    pub folder: String,
    /// Content of its `record.json`.
    pub digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_drift_meets_both_sides_alike() {
        let at = |side| (0..8).filter(|n| Side::of_block(*n) == side).sum::<usize>();
        assert_eq!(at(Side::A), at(Side::B));
        let word: String = (0..8).map(|n| Side::of_block(n).to_string()).collect();
        assert_eq!(word, "abbaabba");
    }
}
