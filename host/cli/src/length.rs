//! How many inferences the blocks of a run in turn have: as asked for, or found out by one block of each side before the first.

use crate::run::NextBlock;
use anyhow::Result;
use boardproof_judge::ab::inferences_of_a_block;
use boardproof_judge::evidence::Evidence;
use boardproof_lab::ab::{measured, save, trial_folder};
use boardproof_lab::store::{Opened, RecordFolder};
use boardproof_record::ab::{AbRun, Side};
use std::path::Path;

/// One trial of each side.
const TRIALS: usize = 2;

/// Inferences of a block, or what is known of them so far.
pub struct Length {
    inferences: Option<u32>,
    trials: Vec<Opened>,
}

impl Length {
    /// As many as were asked for; `None`: to be found out.
    pub fn new(asked: Option<u32>) -> Self {
        Self { inferences: asked, trials: Vec::new() }
    }

    /// Inferences of a block; `None` before they are known.
    pub fn inferences(&self) -> Option<u32> {
        self.inferences
    }

    /// The block to learn from next; `None` when it is known.
    pub fn next_trial(&self, run: &AbRun, root: &Path) -> Option<NextBlock> {
        let (done, side) = (self.trials.len(), Side::of_block(self.trials.len()));
        self.inferences.is_none().then(|| NextBlock {
            cell: run.cell(side).clone(),
            folder: root.join(trial_folder(done, side)),
            number: done + 1,
            of: TRIALS,
            layout: run.layout(done),
            inferences: None,
        })
    }

    /// A trial has its record. Says how long blocks will be once that is known.
    pub fn measured(&mut self, run: &mut AbRun, folder: &RecordFolder) -> Result<Option<String>> {
        let (done, side) = (self.trials.len(), Side::of_block(self.trials.len()));
        let (block, opened) = measured(folder.path(), trial_folder(done, side), side)?;
        run.trials.push(block);
        self.trials.push(opened);
        save(folder, run)?;
        if self.trials.len() < TRIALS {
            return Ok(None);
        }
        let seen: Vec<Evidence<'_>> =
            self.trials.iter().map(|trial| Evidence { record: &trial.record, files: &trial.files }).collect();
        let inferences = inferences_of_a_block(&seen);
        self.inferences = Some(inferences);
        Ok(Some(format!("a block is {inferences} inferences")))
    }
}
