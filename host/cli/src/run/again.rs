//! Float models that others are timed against, timed once more when all cells of their unit have been measured.

use super::{Ready, Run, Seat, fault_of};
use anyhow::Result;
use boardproof_lab::events::{Event, Events};
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::store::RecordFolder;
use boardproof_record::observation::{FileRef, Outcome, PassObservation};
use boardproof_record::plan::{Cell, Pass};

/// Folder for their files, in that of the record.
const FOLDER: &str = "again";

impl Run<'_> {
    /// Makes the second latency passes of these cells, as far as they are planned.
    pub(super) fn time_again(&mut self, cells: &[Cell], seat: &mut Seat, ready: &Ready<'_>) -> Result<()> {
        let Seat::Agent(bench) = seat else { return Ok(()) };
        let is_again = |cell: &&Cell| cell.passes.iter().any(|pass| pass.again);
        for cell in cells.iter().filter(is_again) {
            let measured = matches!(self.record.outcomes.get(&cell.id), Some(Outcome::Measured(_)));
            // What could not be measured the first time has its outcome.
            if interrupted() || !measured {
                continue;
            }
            let mut cell = cell.clone();
            cell.passes.retain(|pass| pass.pass == Pass::Latency);
            self.progress.hear(Event::Said(format!("{}: timed once more, after all others", cell.id)));
            let folder = RecordFolder::create(&self.folder.path().join(FOLDER).join(cell.id.folder()))?;
            let mut outcome = match self.job(&cell, ready) {
                Ok(job) => bench.measure(&job, &folder, &mut self.progress).0,
                Err(error) => Outcome::ShipFailed(fault_of("prepare model and samples", &error)),
            };
            place(&mut outcome, &format!("{FOLDER}/{}", cell.id.folder()));
            self.record.again.insert(cell.id.clone(), outcome);
            self.save()?;
        }
        Ok(())
    }
}

/// Files that were written into a folder of the record are named from the record on.
fn place(outcome: &mut Outcome, folder: &str) {
    let passes: &mut Vec<PassObservation> = match outcome {
        Outcome::Measured(seen) => &mut seen.passes,
        Outcome::BuildFailed(f) | Outcome::ShipFailed(f) | Outcome::DeviceFault(f) | Outcome::TimedOut(f) => {
            &mut f.passes
        }
        Outcome::NotRun | Outcome::Skipped { .. } => return,
    };
    let prefix = |file: &mut FileRef| file.path = format!("{folder}/{}", file.path);
    passes.iter_mut().flat_map(|pass| [&mut pass.outputs, &mut pass.ticks]).flatten().for_each(prefix);
}
