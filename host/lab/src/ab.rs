//! An A/B run on disk: `ab.json` and the record of each block.

use crate::store::{Opened, RecordFolder, StoreError, open, read_checked};
use boardproof_record::Digest;
use boardproof_record::ab::{AbRun, Block, FILE, Side};
use boardproof_record::observation::FileRef;
use boardproof_record::record::FILE as RECORD;
use std::path::Path;

/// Writes `ab.json` anew.
pub fn save(folder: &RecordFolder, run: &AbRun) -> Result<(), StoreError> {
    let mut text = serde_json::to_string_pretty(run).expect("an A/B run has string keys only");
    text.push('\n');
    folder.keep(FILE, text.as_bytes()).map(drop)
}

/// Folder of a block, relative to `ab.json`.
pub fn block_folder(number: usize, side: Side) -> String {
    format!("blocks/{number:03}-{side}")
}

/// The same of a block that is measured to learn how long one should be.
pub fn trial_folder(number: usize, side: Side) -> String {
    format!("trials/{number:03}-{side}")
}

/// A block that has just been measured into its folder, with its record.
pub fn measured(root: &Path, folder: String, side: Side) -> Result<(Block, Opened), StoreError> {
    let path = root.join(&folder).join(RECORD);
    let bytes = std::fs::read(&path).map_err(|source| StoreError::Read { path, source })?;
    let opened = open(&root.join(&folder))?;
    Ok((Block { side, folder, digest: Digest::of(&bytes) }, opened))
}

/// Opens a run and proves that every block's record, and every file of it, is what was recorded.
pub fn open_run(root: &Path) -> Result<(AbRun, Vec<Opened>), StoreError> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let run: AbRun = serde_json::from_str(&text).map_err(|source| StoreError::AbRun { path, source })?;
    run.trials.iter().try_for_each(|trial| open_block(root, trial).map(drop))?;
    let blocks = run.blocks.iter().map(|block| open_block(root, block)).collect::<Result<_, _>>()?;
    Ok((run, blocks))
}

fn open_block(root: &Path, block: &Block) -> Result<Opened, StoreError> {
    let path = format!("{}/{RECORD}", block.folder);
    // What is larger than any record is none; what is within is read once to prove it and once to use it.
    let bytes = std::fs::symlink_metadata(root.join(&path)).map_or(0, |seen| seen.len());
    read_checked(root, &FileRef { path, digest: block.digest, bytes })?;
    open(&root.join(&block.folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::ab::{Terms, VERSION};
    use boardproof_record::plan::Plan;
    use boardproof_record::record::{Record, RunEnded};
    use serde_json::json;

    fn record() -> Record {
        let plan = json!({
            "models": {}, "targets": {}, "units": {}, "cells": [],
            "policy": { "name": "none", "rules": [], "allow_nonfinite_mismatch": false, "inconclusive_blocks": true },
        });
        Record::new(serde_json::from_value::<Plan>(plan).unwrap(), "test".into(), 0)
    }

    fn run_of(blocks: Vec<Block>) -> AbRun {
        let cell = |variant: &str| format!("m/{variant}@host/tract").try_into().unwrap();
        let terms = Terms { limit: 1.02, confidence: 0.99, blocks_max: 64 };
        let (boardproof, ended) = ("test".into(), RunEnded::Finished);
        let (a, b) = (cell("x"), cell("y"));
        AbRun {
            version: VERSION,
            boardproof,
            started_unix_s: 0,
            ended,
            a,
            b,
            terms,
            round_blocks: None,
            trials: Vec::new(),
            blocks,
        }
    }

    #[test]
    fn a_run_reads_back_and_a_changed_or_foreign_block_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = RecordFolder::create(root.path()).unwrap();
        let name = block_folder(0, Side::A);
        assert_eq!(name, "blocks/000-a");
        RecordFolder::create(&root.path().join(&name)).unwrap().save(&record()).unwrap();
        let (block, _) = measured(root.path(), name.clone(), Side::A).unwrap();
        let run = run_of(vec![block.clone()]);
        save(&folder, &run).unwrap();
        let (read, blocks) = open_run(root.path()).unwrap();
        assert_eq!((&read, blocks.len()), (&run, 1));

        save(&folder, &run_of(vec![Block { folder: "../elsewhere".into(), ..block }])).unwrap();
        assert!(matches!(open_run(root.path()), Err(StoreError::Outside { .. })));
        save(&folder, &run).unwrap();
        RecordFolder::create(&root.path().join("other")).unwrap().save(&Record { elapsed_ms: 7, ..record() }).unwrap();
        std::fs::copy(root.path().join("other/record.json"), root.path().join(name).join("record.json")).unwrap();
        assert!(matches!(open_run(root.path()), Err(StoreError::Changed { .. })));
    }
}
