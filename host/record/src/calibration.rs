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
    /// The same of memory; `None`: not measured, or by a version that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryNoise>,
}

/// How far memory passes of the same thing lie apart, each in a fresh process, by builds that have nothing in common but their source.
///
/// In bytes and not as a ratio: a resident set grows in pages, and what the kernel and an allocator add or leave out is as large beside a small
/// model as beside a large one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryNoise {
    /// Smallest difference in what a model adds to its process that a limit may tell apart.
    pub bytes: u64,
    /// Processes that were measured.
    pub processes: u32,
    /// Builds that they ran by.
    pub builds: u32,
    /// Least and most that the model added to its process.
    pub added_bytes: [u64; 2],
    /// Least and largest peak of the resident set.
    pub peak_bytes: [u64; 2],
    /// Least and largest peak of the heap, where the engine's is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_bytes: Option<[u64; 2]>,
}

impl MemoryNoise {
    /// The finest limit on the ratio of what a model adds here to what it added there, `added` bytes. Infinite where it added nothing.
    pub fn ratio(&self, added: f64) -> f64 {
        if added > 0.0 { 1.0 + self.bytes as f64 / added } else { f64::INFINITY }
    }

    /// Share of comparisons of equal things that lie further apart than [`Self::bytes`], at most, however the noise is distributed.
    ///
    /// `n` builds, one process of each, and the two that are compared are `n + 2` values of which any two are as likely to be the last. The
    /// difference of two of them is larger than the range of the rest only if the larger is the largest of all or the smaller the smallest: at
    /// most `2 n + 1` of the `(n + 2) (n + 1)` ordered pairs, less than `2 / (n + 2)`. (Order statistics as prediction bounds: David and
    /// Nagaraja 2003, "Order Statistics", section 7.3; the processes beyond one per build only widen the range.)
    pub fn false_alarms_at_most(&self) -> f64 {
        2.0 / (f64::from(self.builds) + 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calibration_without_memory_is_still_one_and_says_nothing_of_it() {
        let text = r#"{"version":1,"measured_unix_s":0,"unit":"host","identity":"","processor":"","governor":"","cell":"m/x@host/tract",
            "rounds":10,"false_alarms":0.01,"latency_ratio":1.1,"builds_spread":0.01,"pairs_spread":0.02}"#;
        let read: Calibration = serde_json::from_str(text).unwrap();
        assert_eq!(read.memory, None);
        assert!(!serde_json::to_string(&read).unwrap().contains("memory"));
    }

    #[test]
    fn so_many_bytes_are_a_coarse_limit_on_a_small_model_and_a_fine_one_on_a_large() {
        let range = [0, 0];
        let noise = MemoryNoise {
            bytes: 65_536,
            processes: 80,
            builds: 20,
            added_bytes: range,
            peak_bytes: range,
            heap_bytes: None,
        };
        assert_eq!((noise.ratio(65_536.0), noise.ratio(6_553_600.0)), (2.0, 1.01));
        assert_eq!(noise.ratio(0.0), f64::INFINITY);
        assert!((noise.false_alarms_at_most() - 1.0 / 11.0).abs() < 1e-12);
    }
}
