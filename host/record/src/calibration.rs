//! What a unit's own noise allows to claim: measured by holding a model against itself, with builds that have nothing in common but their
//! source.

use crate::{CellId, UnitName};
use serde::{Deserialize, Serialize};

/// Version that this build writes and reads.
pub const VERSION: u32 = 1;

/// The finest limits that a unit supports, and in what state it was when that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Calibration {
    /// Version of the format.
    pub version: u32,
    /// When it was measured, seconds since 1970 on the host's clock.
    pub measured_unix_s: u64,
    /// The unit.
    pub unit: UnitName,
    /// What the unit said it is.
    pub identity: String,
    /// Its processor; empty where it does not tell.
    pub processor: String,
    /// Its governors, each once; empty where it does not tell.
    pub governor: String,
    /// What was held against itself.
    pub cell: CellId,
    /// Pairs of builds that were held against each other.
    pub rounds: u32,
    /// Share of comparisons of equal things that the limits below let look slower, at most.
    pub false_alarms: f64,
    /// Smallest limit on the ratio of one latency pass to another, as `check` compares them.
    pub latency_ratio: f64,
    /// Standard deviation of the logarithm of the ratio that belongs to a pair of builds, whatever is measured how often.
    pub builds_spread: f64,
    /// Standard deviation of the logarithm of the ratio of one pair of blocks, of the same two builds.
    pub pairs_spread: f64,
}
