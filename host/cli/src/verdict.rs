//! From a record to a verdict on the screen and on disk. The judging itself is `boardproof-judge`'s.

use crate::args::CheckArgs;
use crate::exit::Exit;
use anyhow::Result;
use boardproof_record::observation::{Ended, Outcome};
use std::path::Path;

/// Judges the record that a check has just written.
pub fn after_check(folder: &Path, args: &CheckArgs) -> Result<Exit> {
    let _ = (folder, args);
    Ok(Exit::Incomplete)
}

/// An outcome in a word or two, for the progress line.
pub fn in_a_word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NotRun => "not run".into(),
        Outcome::Measured(seen) => match seen.passes.iter().find(|p| p.ended != Ended::Completed) {
            None => "measured".into(),
            Some(pass) => format!("measured, but the {:?} pass ended as {:?}", pass.pass, pass.ended).to_lowercase(),
        },
        Outcome::BuildFailed(fault) => format!("not built: {}", fault.causes.join(": ")),
        Outcome::ShipFailed(fault) => format!("not shipped: {}", fault.causes.join(": ")),
        Outcome::DeviceFault(fault) => format!("device fault: {}", fault.causes.join(": ")),
        Outcome::TimedOut(fault) => format!("timed out: {}", fault.causes.join(": ")),
        Outcome::Skipped { reason } => format!("skipped: {reason}"),
    }
}
