//! What `explain` has measured of a record's cells: kept in the record's folder, each attempt in one of its own, judged again for its report.

use super::{INQUIRY_FILE, judged, read_inquiry};
use anyhow::{Context, Result, ensure};
use boardproof_judge::explain::Explanation;
use boardproof_record::layers::EXPLAINED;
use boardproof_record::record::FILE;
use boardproof_record::{CellId, Digest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder that explains nothing of this record.
#[derive(Debug, thiserror::Error)]
#[error("could not read what was explained in {}: {}", folder.display(), why.iter().map(String::as_str).collect::<Vec<_>>().join(": "))]
pub struct Unreadable {
    folder: PathBuf,
    why: Vec<String>,
}

impl Unreadable {
    /// What to do about it.
    pub fn hint(&self) -> String {
        format!(
            "remove {} and the report does without; `boardproof explain RECORD` measures anew",
            self.folder.display()
        )
    }
}

/// The explanation of each cell that has one: the last that has seen layers, else the last.
///
/// # Errors
/// A folder is damaged, or is another record's.
pub fn kept(record: &Path) -> Result<BTreeMap<CellId, Explanation>> {
    let mut explained: BTreeMap<CellId, Explanation> = BTreeMap::new();
    let folder = record.join(EXPLAINED);
    if !folder.is_dir() {
        return Ok(explained);
    }
    let content = std::fs::read(record.join(FILE)).with_context(|| format!("could not read {}", record.display()))?;
    for cell in folders(&folder)? {
        for attempt in folders(&cell)? {
            let unreadable = |error: anyhow::Error| Unreadable {
                folder: attempt.clone(),
                why: error.chain().map(ToString::to_string).collect(),
            };
            let (cell, found) = of_record(&attempt, Digest::of(&content)).map_err(unreadable)?;
            let known = explained.get(&cell);
            if !found.rows.is_empty() || known.is_none_or(|known| known.rows.is_empty()) {
                explained.insert(cell, found);
            }
        }
    }
    Ok(explained)
}

/// The folder for the next attempt at a cell.
pub fn next_folder(record: &Path, cell: &CellId) -> Result<PathBuf> {
    let folder = record.join(EXPLAINED).join(cell.folder());
    let taken = if folder.is_dir() { folders(&folder)? } else { Vec::new() };
    let last = taken.iter().map(|folder| number(folder)).max().unwrap_or(0);
    Ok(folder.join((last + 1).to_string()))
}

fn of_record(folder: &Path, record: Digest) -> Result<(CellId, Explanation)> {
    let inquiry = read_inquiry(&folder.join(INQUIRY_FILE))?;
    let of = inquiry.of.as_ref().context("it explains a model, and no record")?;
    ensure!(of.record == record, "it explains the record {}, this is {record}", of.record);
    Ok((of.cell.clone(), judged(folder, &inquiry)?))
}

/// Folders in a folder, those with numbers for names by these.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || format!("could not read {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort_by_key(|path| (number(path), path.clone()));
    Ok(found)
}

fn number(folder: &Path) -> u64 {
    folder.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}
