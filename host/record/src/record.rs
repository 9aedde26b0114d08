//! The record: all of a run, in one folder.
//!
//! ```text
//! RECORD/
//!   record.json                     this type; the only file with a fixed name that must exist
//!   evalsets/<digest>.safetensors   labels, ids, slices (and inputs where the task needs them), one per evalset
//!   cells/<cell>/outputs.safetensors, ticks.safetensors
//!   console/<unit>.log              console of units that have one
//!   judgement.json, report.*        written after the record, from the record alone
//! ```

use crate::observation::{FileRef, Outcome};
use crate::plan::{Cell, Plan};
use crate::{CellId, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of `record.json` that this build writes.
pub const VERSION: u32 = 1;
/// Oldest version that this build reads.
pub const VERSION_MIN: u32 = 1;
/// Name of the file in the record's folder.
pub const FILE: &str = "record.json";

/// A run on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub outcomes: BTreeMap<CellId, Outcome>,
    /// Labels and slices by digest of the evalset.
    pub evalsets: BTreeMap<Digest, FileRef>,
    /// How each triple's programs were made.
    pub builds: Vec<Build>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A planned cell has no entry, or an entry has no planned cell.
    #[error("record is damaged: planned cells and outcomes differ at '{cell}'")]
    Cells {
        /// The first that differs.
        cell: CellId,
    },
    /// A planned cell is not what its id says, is there twice, or names what the plan does not have.
    #[error("record is damaged: cell '{cell}': expected {expected}, got {found}")]
    Cell {
        /// The cell.
        cell: CellId,
        /// What would be right.
        expected: &'static str,
        /// What is there.
        found: String,
    },
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
            evalsets: BTreeMap::new(),
            builds: Vec::new(),
        }
    }

    /// Reads `record.json`; refuses unknown versions and a record whose cells do not match its plan or each other. Who has read one may
    /// look up whatever a cell names.
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
        record.check_cells()?;
        record.plan.cells.iter().enumerate().try_for_each(|(at, cell)| record.check_cell(at, cell))?;
        Ok(record)
    }

    /// Text of `record.json`: stable order, two-space indent, final newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a record has string keys only");
        text.push('\n');
        text
    }

    fn check_cells(&self) -> Result<(), ReadError> {
        let planned: BTreeMap<_, _> = self.plan.cells.iter().map(|c| (&c.id, ())).collect();
        let differs = planned
            .keys()
            .find(|id| !self.outcomes.contains_key(**id))
            .copied()
            .or_else(|| self.outcomes.keys().find(|id| !planned.contains_key(id)));
        match differs {
            Some(cell) => Err(ReadError::Cells { cell: cell.clone() }),
            None => Ok(()),
        }
    }

    fn check_cell(&self, at: usize, cell: &Cell) -> Result<(), ReadError> {
        let plan = &self.plan;
        let wrong = |expected, found: String| Err(ReadError::Cell { cell: cell.id.clone(), expected, found });
        let id = CellId::new(&cell.model, &cell.variant, &cell.unit, &cell.engine);
        if id != cell.id {
            return wrong("the id of what it names", id.to_string());
        }
        // As many outcomes as cells: then none is there twice, and nothing has to be looked for.
        let twice = plan.cells.len() != self.outcomes.len() && plan.cells[..at].iter().any(|c| c.id == cell.id);
        if twice {
            return wrong("each cell once", "two of it".into());
        }
        let Some(model) = plan.models.get(&cell.model) else {
            return wrong("a model of the plan", format!("'{}'", cell.model));
        };
        if !model.variants.contains_key(&cell.variant) {
            return wrong("a variant of the model", format!("'{}'", cell.variant));
        }
        match plan.units.get(&cell.unit) {
            Some(unit) if unit.target != cell.target => {
                return wrong("the target of its unit", format!("'{}'", cell.target));
            }
            Some(_) => {}
            None => return wrong("a unit of the plan", format!("'{}'", cell.unit)),
        }
        if !plan.targets.contains_key(&cell.target) {
            return wrong("a target of the plan", format!("'{}'", cell.target));
        }
        Ok(())
    }
}
