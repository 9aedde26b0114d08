//! Cells of one unit, measured again and again as a schedule asks: each time a record of its own, all in one lease and over one link.

use super::{Ready, Run, Seat, now_s};
use anyhow::{Context, Result};
use boardproof_lab::events::{Event, Events};
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::store::RecordFolder;
use boardproof_record::CellId;
use boardproof_record::plan::{Cell, Pass, Plan};
use boardproof_record::record::{Record, RunEnded};
use std::path::PathBuf;

/// What is to be measured next.
pub struct NextBlock {
    /// A cell of the plan.
    pub cell: CellId,
    /// Folder for its record.
    pub folder: PathBuf,
    /// Counted from 1, for people.
    pub number: usize,
    /// As many as there may be.
    pub of: usize,
    /// One of the schedule's layouts; `None` where it asks for none.
    pub layout: Option<u32>,
    /// Inferences to time; `None` for as many as are planned.
    pub inferences: Option<u32>,
}

/// Says what is measured next, one block after the other.
pub trait Schedule {
    /// Layouts of the runner that its blocks will ask for; none where the usual one does.
    fn layouts(&self) -> Vec<u32> {
        Vec::new()
    }
    /// The next block; `None` when it is enough.
    fn next_block(&mut self) -> Result<Option<NextBlock>>;
    /// The block has its record. Returns what to tell of it, if anything.
    fn measured(&mut self) -> Result<Option<String>>;
}

impl Run<'_> {
    pub(super) fn measure_blocks(
        &mut self,
        schedule: &mut dyn Schedule,
        cells: &[Cell],
        seat: &mut Seat,
        ready: &Ready<'_>,
    ) -> Result<()> {
        while !interrupted()
            && let Some(block) = schedule.next_block()?
        {
            let cell = cells.iter().find(|cell| cell.id == block.cell);
            let cell = cell.with_context(|| format!("{} was asked for and not planned", block.cell))?;
            let (number, of) = (block.number, block.of);
            self.layout = block.layout;
            self.progress.hear(Event::CellStarted { cell: cell.id.clone(), number, of });
            let cell = &timed(cell, block.inferences);
            let prepared = self.begin_block(cell, RecordFolder::create(&block.folder)?);
            let done = self.measure_one(cell, seat, ready);
            self.record.ended = if interrupted() { RunEnded::Interrupted } else { RunEnded::Finished };
            let saved = done.and_then(|()| self.save());
            (self.record, self.folder) = prepared;
            saved?;
            if interrupted() {
                break;
            }
            if let Some(line) = schedule.measured()? {
                self.progress.hear(Event::Said(line));
            }
        }
        Ok(())
    }

    /// Puts a record of this cell alone in the place of the one that was prepared, and returns that one.
    fn begin_block(&mut self, cell: &Cell, folder: RecordFolder) -> (Record, RecordFolder) {
        let plan = Plan { cells: vec![cell.clone()], ..self.record.plan.clone() };
        let mut own = Record::new(plan, self.record.boardproof.clone(), now_s());
        own.builds.clone_from(&self.record.builds);
        (std::mem::replace(&mut self.record, own), std::mem::replace(&mut self.folder, folder))
    }
}

/// The cell with so many inferences to time.
fn timed(cell: &Cell, inferences: Option<u32>) -> Cell {
    let mut cell = cell.clone();
    for pass in cell.passes.iter_mut().filter(|pass| pass.pass == Pass::Latency) {
        pass.iterations = inferences.unwrap_or(pass.iterations);
    }
    cell
}
