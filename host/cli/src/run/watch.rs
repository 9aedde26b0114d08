//! Looks at an accuracy pass that may stop early: what it has answered so far goes to the judge, who says whether that is certain.

use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate::Watch;
use boardproof_lab::measure::SoFar;
use boardproof_lab::store::{Opened, RecordFolder, open};
use boardproof_record::Digest;
use boardproof_record::observation::{
    Device, Ended, Facts, FileRef, Observation, Outcome, PassObservation, Shipped, Stopped,
};
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::record::Record;
use std::collections::BTreeMap;

/// Path of the answers so far, in the record as the judge sees it.
const SO_FAR: &str = "so-far";

/// Somebody who looks at the pass of one cell.
pub struct Watcher<'a> {
    record: &'a Record,
    folder: &'a RecordFolder,
    cell: &'a Cell,
    /// The record as it is on disk, with all that the cell is compared with; read at the first look.
    files: Option<BTreeMap<String, Vec<u8>>>,
    watch: Watch,
    /// Samples at the last look.
    seen: u64,
    /// Why the pass cannot be looked at: then it visits all of its samples.
    blind: Option<String>,
}

impl<'a> Watcher<'a> {
    pub fn new(record: &'a Record, folder: &'a RecordFolder, cell: &'a Cell) -> Self {
        Self { record, folder, cell, files: None, watch: Watch::default(), seen: 0, blind: None }
    }

    /// Why nothing could be seen, if that was so.
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Is it certain?
    pub fn look(&mut self, so_far: SoFar) -> Option<Stopped> {
        if self.blind.is_some() {
            return None;
        }
        if so_far.samples <= self.seen {
            // The pass has begun anew.
            self.watch = Watch::default();
        }
        self.seen = so_far.samples;
        self.certain(so_far).unwrap_or_else(|error| {
            self.blind = Some(format!("{error:#}"));
            None
        })
    }

    fn certain(&mut self, so_far: SoFar) -> anyhow::Result<Option<Stopped>> {
        let mut files = match self.files.take() {
            Some(files) => files,
            None => {
                let Opened { files, .. } = open(self.folder.path())?;
                files
            }
        };
        let mut record = self.record.clone();
        let outputs =
            FileRef { path: SO_FAR.into(), digest: Digest::of(&so_far.outputs), bytes: so_far.outputs.len() as u64 };
        record.outcomes.insert(self.cell.id.clone(), Outcome::Measured(Box::new(answered(outputs, so_far.samples))));
        files.insert(SO_FAR.into(), so_far.outputs);
        let found = self.watch.look(Evidence { record: &record, files: &files }, self.cell);
        self.files = Some(files);
        Ok(found?)
    }
}

/// An observation of nothing but answers: no rule that looks at anything else is asked.
fn answered(outputs: FileRef, inferences: u64) -> Observation {
    let pass = PassObservation {
        pass: Pass::Accuracy,
        ended: Ended::Completed,
        cannot_run: None,
        facts: Facts::default(),
        operators: Vec::new(),
        self_check: None,
        outputs: Some(outputs),
        ticks: None,
        inferences,
        stopped: None,
    };
    let device = Device {
        protocol: 0,
        agent_build: String::new(),
        agent_digest: None,
        runner_digest: None,
        architecture: String::new(),
        system: String::new(),
        identity: String::new(),
        tick_hz: 0,
        boot: 0,
    };
    Observation {
        emulated: false,
        device,
        environment_before: Facts::default(),
        environment_after: Facts::default(),
        passes: vec![pass],
        attempts: Vec::new(),
        shipped: Shipped::default(),
    }
}
