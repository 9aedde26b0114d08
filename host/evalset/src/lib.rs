//! Looks at an evalset before anything is built or measured: is it what the model's file says, can a verdict rest on it, and does it differ
//! from an earlier one?
//!
//! Pure: a reader comes in, findings go out. Samples are read in pieces, each tensor once; what is kept of them is bounded, so that an evalset
//! may be larger than memory. Nothing is repaired and nothing judged: whether a finding stops something is for who asked.
#![forbid(unsafe_code)]

mod balance;
mod check;
mod column;
mod drift;
mod elements;
pub mod expectations;
mod file;
mod finding;
mod layout;
mod noise;
mod range;
mod repeats;
mod report;
mod schema;
mod snapshot;
mod statistics;
mod survey;

pub use check::{Against, check};
pub use drift::diff;
pub use file::{EvalsetFile, ReadError};
pub use finding::{Accepted, Finding, Kind, Severity};
pub use report::Checked;
pub use snapshot::{Snapshot, SnapshotError};
pub use survey::{Survey, survey};
