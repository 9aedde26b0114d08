//! The record: all of a run, in one folder.
//!
//! ```text
//! RECORD/
//!   record.json                     this type; the only file with a fixed name that must exist
//!   evalsets/<digest>.safetensors   labels, ids, slices (and inputs where the task needs them), one per evalset
//!   shown/<digest>.safetensors      first input of some samples whose answers flipped: for reports, no rule looks at them
//!   cells/<cell>/outputs.safetensors, ticks.safetensors
//!   console/<unit>.log              console of units that have one
//!   judgement.json, report.*        written after the record, from the record alone
//! ```

use crate::calibration::Calibration;
use crate::consistency::{Inconsistent, unique};
use crate::observation::{FileRef, Outcome};
use crate::plan::{Pass, PassPlan, Plan};
use crate::{CellId, Digest, UnitName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of `record.json` that this build writes.
pub const VERSION: u32 = 1;
/// Oldest version that this build reads.
pub const VERSION_MIN: u32 = 1;
/// Name of the file in the record's folder.
pub const FILE: &str = "record.json";
/// Tensor of the samples' numbers in a file of [`Record::shown`].
pub const SHOWN_SAMPLES: &str = "samples";
/// Tensor of their inputs.
pub const SHOWN_INPUT: &str = "input";
/// Metadata of such a file: names of the columns of a table, a JSON list, where the evalset has names of its own.
pub const SHOWN_COLUMNS: &str = "columns";

/// A run on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// Version of the format.
    pub version: u32,
    /// Version of boardproof that wrote it.
    pub boardproof: String,
    /// When the run started, seconds since 1970 on the host's clock.
    pub started_unix_s: u64,
    /// How long it took.
    pub elapsed_ms: u64,
    /// How the run ended as a whole.
    pub ended: RunEnded,
    /// What was planned.
    pub plan: Plan,
    /// What became of each cell: one entry per planned cell, always.
    #[serde(deserialize_with = "unique")]
    pub outcomes: BTreeMap<CellId, Outcome>,
    /// What became of the latency passes that were made once more (`again` in the plan), when all cells of their unit had been measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique")]
    pub again: BTreeMap<CellId, Outcome>,
    /// Labels and slices by digest of the evalset.
    #[serde(deserialize_with = "unique")]
    pub evalsets: BTreeMap<Digest, FileRef>,
    /// Inputs of some samples, by digest of the evalset: tensors `samples` (I64, numbers in the evalset) and `input`. For reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique")]
    pub shown: BTreeMap<Digest, FileRef>,
    /// Numbers of custom metrics by cell and metric: one per sample of its accuracy pass (tensor `numbers`, F64).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique")]
    pub custom: BTreeMap<CellId, BTreeMap<String, Numbers>>,
    /// How each triple's programs were made.
    pub builds: Vec<Build>,
    /// What is known of the noise of the units.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique")]
    pub calibrations: BTreeMap<UnitName, Calibration>,
}

/// Name of the tensor in a file of a custom metric's numbers.
pub const NUMBERS: &str = "numbers";

/// What the command of a custom metric gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Numbers {
    /// A number for each sample.
    Given {
        /// Where they are.
        file: FileRef,
        /// What the files of the model's folder held that the command names, by their names in it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique")]
        programs: BTreeMap<String, Digest>,
    },
    /// None, or none that can be used.
    Failed {
        /// Why, outermost first.
        causes: Vec<String>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunEnded {
    /// It is still going on, or the host was killed.
    Running,
    /// Every cell was tried.
    Finished,
    /// Somebody interrupted it.
    Interrupted,
}

/// A program that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Build {
    /// `agent` or `runner`.
    pub program: String,
    /// Rust target triple.
    pub triple: String,
    /// Tool that built it, and why that one.
    pub builder: String,
    /// Digest of source, lock file, toolchain and flags.
    pub source: Digest,
    /// Content of the binary.
    pub digest: Digest,
    /// Its size, stripped.
    pub bytes: u64,
    /// It was there already.
    pub cached: bool,
    /// Number that drew the order of its functions; `None`: the linker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<u32>,
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not JSON of this shape.
    #[error("could not read {FILE} as a record")]
    Json(#[from] serde_json::Error),
    /// A version this build does not know.
    #[error("record has version {found}, this build reads {VERSION_MIN} to {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Its parts contradict each other.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

impl Record {
    /// Starts a record: every planned cell is `NotRun`.
    pub fn new(plan: Plan, boardproof: String, started_unix_s: u64) -> Self {
        let outcomes = plan.cells.iter().map(|c| (c.id.clone(), Outcome::NotRun)).collect();
        Self {
            version: VERSION,
            boardproof,
            started_unix_s,
            elapsed_ms: 0,
            ended: RunEnded::Running,
            plan,
            outcomes,
            again: BTreeMap::new(),
            evalsets: BTreeMap::new(),
            shown: BTreeMap::new(),
            custom: BTreeMap::new(),
            builds: Vec::new(),
            calibrations: BTreeMap::new(),
        }
    }

    /// The record as it is with the second latency passes in the place of the first; `None` where none was planned. A second pass that was
    /// planned and not made leaves its cell unmeasured.
    pub fn with_second_passes(&self) -> Option<Self> {
        let is_again = |pass: &PassPlan| pass.pass == Pass::Latency && pass.again;
        let planned: Vec<&CellId> =
            self.plan.cells.iter().filter(|cell| cell.passes.iter().any(is_again)).map(|cell| &cell.id).collect();
        if planned.is_empty() {
            return None;
        }
        let mut second = self.clone();
        for cell in planned {
            let outcome = match (self.outcomes.get(cell), self.again.get(cell)) {
                (Some(Outcome::Measured(first)), Some(Outcome::Measured(again))) => {
                    Outcome::Measured(Box::new(first.with_latency_of(again)))
                }
                (_, Some(failed)) if !matches!(failed, Outcome::Measured(_)) => failed.clone(),
                _ => Outcome::NotRun,
            };
            second.outcomes.insert(cell.clone(), outcome);
        }
        Some(second)
    }

    /// Reads `record.json`; refuses unknown versions and a record whose parts contradict each other.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version: found } = serde_json::from_str(text)?;
        if !(VERSION_MIN..=VERSION).contains(&found) {
            return Err(ReadError::Version { found });
        }
        let record: Self = serde_json::from_str(text)?;
        record.check()?;
        Ok(record)
    }

    /// Text of `record.json`: stable order, two-space indent, final newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a record has string keys only");
        text.push('\n');
        text
    }
}
