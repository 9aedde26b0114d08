//! How many inferences a block should have.

use super::blocks::{cell_of, middle, times};
use crate::evidence::Evidence;

/// How long the faster side's block should last. A unit that does other things has moments of a few milliseconds: a block that is no longer
/// than one of them tells of the moment, and two neighbours then differ by more than a slowdown that matters.
const BLOCK_NS: f64 = 1e8;
/// How long the slower side's block may last for that.
const BLOCK_NS_MAX: f64 = 1e9;
/// Fewest inferences of a block, however long they take.
pub const INFERENCES_MIN: u32 = 200;
/// Most inferences of a block, however short they are: every time is kept.
const INFERENCES_MAX: u32 = 50_000;

/// Inferences of a block by blocks that were measured to find that out, one of each side or more. They decide nothing else, so their noise
/// makes blocks longer or shorter and favours neither side. [`INFERENCES_MIN`] where none of them can be used.
pub fn inferences_of_a_block(trials: &[Evidence<'_>]) -> u32 {
    let medians_ns: Vec<f64> = trials
        .iter()
        .filter_map(|trial| times(*trial, cell_of(*trial)).ok()?.ok())
        .map(|times| middle(times.sorted_ns()))
        .collect();
    let Some(fastest) = medians_ns.iter().copied().reduce(f64::min) else { return INFERENCES_MIN };
    let slowest = medians_ns.iter().copied().fold(fastest, f64::max);
    let wanted = (BLOCK_NS / fastest).min(BLOCK_NS_MAX / slowest).ceil();
    // A number above the most, as far as that goes, becomes the most.
    (wanted as u32).clamp(INFERENCES_MIN, INFERENCES_MAX)
}
