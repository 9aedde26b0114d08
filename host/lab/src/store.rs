//! The record on disk: written whole or not at all, file by file, so that a killed host leaves a readable record.

use boardproof_record::observation::FileRef;
use boardproof_record::order::ORDER;
use boardproof_record::record::{FILE, Numbers, ReadError, Record, SHOWN_COLUMNS, SHOWN_INPUT, SHOWN_SAMPLES};
use boardproof_record::{CellId, Digest};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is in use.
    #[error("could not start a record in {}: expected a new or empty folder, it holds {found}", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// A file in it.
        found: String,
    },
    /// A file cannot be written.
    #[error("could not write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `record.json` is not a record.
    #[error("{} is not a record", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// `ab.json` is not what describes an A/B run.
    #[error("{} is not an A/B run", path.display())]
    AbRun {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file does not hold a unit's calibration.
    #[error("{} is no calibration of this unit that this build can read ({why}): measure it again with `boardproof calibrate`, or remove it", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// What it holds.
        why: String,
    },
    /// A file is not what the record says.
    #[error("{} was changed after it was recorded: expected digest {expected}, got {found}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Digest in the record.
        expected: Digest,
        /// Digest of the file.
        found: Digest,
    },
    /// A path in the record leads out of it.
    #[error("the record names a file outside of itself: {path}")]
    Outside {
        /// The path.
        path: String,
    },
    /// A file is a link or no file at all: what it holds could be anywhere, or have no end.
    #[error("the record names {}, expected an ordinary file of {expected} bytes, got {found}", path.display())]
    NotThatFile {
        /// The file.
        path: PathBuf,
        /// Size in the record.
        expected: u64,
        /// What is there.
        found: String,
    },
    /// Tensors cannot be written.
    #[error("could not write the {what}: {why}")]
    Tensors {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// The folder of one record.
#[derive(Debug)]
pub struct RecordFolder {
    root: PathBuf,
}

impl RecordFolder {
    /// Makes the folder. One that holds something is refused: a record is never overwritten.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let write = |source| StoreError::Write { path: root.to_path_buf(), source };
        std::fs::create_dir_all(root).map_err(write)?;
        match std::fs::read_dir(root).map_err(write)?.next() {
            None => Ok(Self { root: root.to_path_buf() }),
            Some(entry) => {
                let found = entry.map(|e| e.file_name().to_string_lossy().into_owned()).unwrap_or_default();
                Err(StoreError::NotEmpty { path: root.to_path_buf(), found })
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Writes `record.json` anew.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.put(Path::new(FILE), record.to_json().as_bytes())
    }

    /// Writes a file of a cell.
    pub fn write(&self, cell: &CellId, name: &str, bytes: &[u8]) -> Result<FileRef, StoreError> {
        self.keep(&format!("cells/{}/{name}", cell.folder()), bytes)
    }

    /// Writes a file anywhere in the record.
    pub fn keep(&self, path: &str, bytes: &[u8]) -> Result<FileRef, StoreError> {
        self.put(Path::new(path), bytes)?;
        Ok(FileRef { path: path.to_owned(), digest: Digest::of(bytes), bytes: bytes.len() as u64 })
    }

    /// An error about tensors that do not fit a file.
    pub fn damaged(&self, what: &'static str, why: &dyn std::fmt::Display) -> StoreError {
        StoreError::Tensors { what, why: why.to_string() }
    }

    fn put(&self, name: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let write = |source| StoreError::Write { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(write)?;
        }
        let part = path.with_extension("part");
        std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &path)).map_err(write)
    }
}

/// A record with the bytes of its files.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The record.
    pub record: Record,
    /// Bytes by path as in the record; every digest was checked.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Opens a record and proves that every file is what was recorded.
pub fn open(root: &Path) -> Result<Opened, StoreError> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let record = Record::from_json(&text).map_err(|source| StoreError::Record { path, source })?;
    let mut files = BTreeMap::new();
    for file in file_refs(&record) {
        files.insert(file.path.clone(), read_checked(root, &file)?);
    }
    Ok(Opened { record, files })
}

/// The bytes of a file that lies within `root`, proved to be those that were recorded.
pub(crate) fn read_checked(root: &Path, file: &FileRef) -> Result<Vec<u8>, StoreError> {
    let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    if !Path::new(&file.path).components().all(plain) {
        return Err(StoreError::Outside { path: file.path.clone() });
    }
    let path = root.join(&file.path);
    check_file(root, file)?;
    let bytes = std::fs::read(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let found = Digest::of(&bytes);
    if found == file.digest { Ok(bytes) } else { Err(StoreError::Changed { path, expected: file.digest, found }) }
}

/// Every step of the way is a folder of the record and its end a file of the recorded size, so that reading it is bounded.
fn check_file(root: &Path, file: &FileRef) -> Result<(), StoreError> {
    let mut path = root.to_path_buf();
    let mut parts = Path::new(&file.path).components().peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        let seen =
            std::fs::symlink_metadata(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        let last = parts.peek().is_none();
        let found = match seen.file_type() {
            kind if kind.is_symlink() => "a link".to_owned(),
            kind if kind.is_file() && last && seen.len() == file.bytes => continue,
            kind if kind.is_file() && last => format!("one of {} bytes", seen.len()),
            kind if kind.is_dir() && !last => continue,
            _ => "something else".to_owned(),
        };
        return Err(StoreError::NotThatFile { path, expected: file.bytes, found });
    }
    Ok(())
}

fn file_refs(record: &Record) -> Vec<FileRef> {
    use boardproof_record::observation::Outcome;
    let passes = record.outcomes.values().chain(record.again.values()).flat_map(|outcome| match outcome {
        Outcome::Measured(seen) => seen.passes.as_slice(),
        Outcome::BuildFailed(f) | Outcome::ShipFailed(f) | Outcome::DeviceFault(f) | Outcome::TimedOut(f) => {
            f.passes.as_slice()
        }
        Outcome::NotRun | Outcome::Skipped { .. } => &[],
    });
    let of_passes = passes.flat_map(|pass| [&pass.outputs, &pass.ticks]).flatten().cloned();
    let of_custom = record.custom.values().flat_map(|metrics| metrics.values()).filter_map(|numbers| match numbers {
        Numbers::Given { file, .. } => Some(file.clone()),
        Numbers::Failed { .. } => None,
    });
    record.evalsets.values().chain(record.shown.values()).cloned().chain(of_passes).chain(of_custom).collect()
}

/// Most bytes of inputs that a record keeps of one evalset, to show them.
const SHOWN_BYTES_MAX: usize = 2 << 20;

/// The part of an evalset that shows some of its samples: their numbers, and their values of one input. As many of the first as there is
/// room for; `None` where there is room for none. In an evalset that was ordered samples are known by the numbers that they had.
pub fn shown_part(
    evalset: &[u8],
    input: &str,
    samples: &[u64],
) -> Result<Option<Vec<u8>>, safetensors::SafeTensorError> {
    use safetensors::tensor::TensorView;
    let file = safetensors::SafeTensors::deserialize(evalset)?;
    let whole = file.tensor(input)?;
    let row = whole.data().len() / whole.shape().first().copied().unwrap_or(1).max(1);
    let order: Option<HashMap<u64, usize>> = file.tensor(ORDER).ok().map(|order| {
        let numbers = order.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        numbers.zip(0..).collect()
    });
    let place = |sample: &u64| match &order {
        Some(order) => order.get(sample).copied(),
        None => usize::try_from(*sample).ok(),
    };
    let rows = samples.iter().filter_map(|sample| {
        let start = place(sample)?.checked_mul(row)?;
        Some((*sample, whole.data().get(start..start + row)?))
    });
    let rows: Vec<(u64, &[u8])> = rows.take(SHOWN_BYTES_MAX.checked_div(row).unwrap_or(0)).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let numbers: Vec<u8> = rows.iter().flat_map(|(sample, _)| sample.to_le_bytes()).collect();
    let bytes: Vec<u8> = rows.iter().flat_map(|(_, row)| row.iter().copied()).collect();
    let shape = std::iter::once(rows.len()).chain(whole.shape().iter().skip(1).copied()).collect();
    let views = [
        (SHOWN_SAMPLES, TensorView::new(safetensors::Dtype::I64, vec![rows.len()], &numbers)?),
        (SHOWN_INPUT, TensorView::new(whole.dtype(), shape, &bytes)?),
    ];
    safetensors::serialize(views, columns(evalset)).map(Some)
}

/// Names of the columns of a table, as the evalset's own metadata have them: `meta` is JSON with a list `features`.
fn columns(evalset: &[u8]) -> Option<HashMap<String, String>> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(evalset).ok()?;
    let meta: serde_json::Value = serde_json::from_str(metadata.metadata().as_ref()?.get("meta")?).ok()?;
    let names = meta.get("features")?.as_array()?;
    let texts = names.iter().all(serde_json::Value::is_string);
    texts.then(|| HashMap::from([(SHOWN_COLUMNS.to_owned(), serde_json::Value::from(names.clone()).to_string())]))
}

/// The part of an evalset that has these samples and no others, in this order. `there` is how many the evalset has.
pub fn samples_part(evalset: &[u8], there: u64, samples: &[u64]) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    use safetensors::tensor::TensorView;
    let file = safetensors::SafeTensors::deserialize(evalset)?;
    let mut parts = Vec::new();
    for (name, view) in file.tensors() {
        if view.shape().first().copied() != usize::try_from(there).ok() {
            continue;
        }
        let row = view.data().len() / view.shape()[0].max(1);
        let of = |sample: &u64| {
            let start = usize::try_from(*sample).ok()?.checked_mul(row)?;
            view.data().get(start..start.checked_add(row)?)
        };
        let rows: Vec<&[u8]> = samples.iter().filter_map(of).collect();
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(view.shape().iter().skip(1).copied()).collect();
        parts.push((name, view.dtype(), shape, rows.concat()));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in &parts {
        views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?));
    }
    safetensors::serialize(views, None)
}

/// The part of an evalset that judging needs: labels, ids, slices, and the inputs only where `with_inputs` says so.
pub fn judging_part(
    evalset: &[u8],
    with_inputs: bool,
    inputs: &[String],
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let file = safetensors::SafeTensors::deserialize(evalset)?;
    let wanted = |name: &str| with_inputs || !inputs.iter().any(|input| input == name);
    let mut kept: Vec<_> = file.tensors().into_iter().filter(|(name, _)| wanted(name)).collect();
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    safetensors::serialize(kept, None)
}

/// Samples to calibrate on.
#[derive(Debug)]
pub struct CalibrationPart {
    /// An evalset of them, with labels that say nothing.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub samples: u64,
    /// How many of them the evalset that judges has as well, bit for bit.
    pub judging: u64,
}

/// The first samples of some inputs, as many as asked for or all. `evalset` is what will judge.
pub fn calibration_part(
    data: &[u8],
    evalset: &[u8],
    inputs: &[String],
    samples: Option<u64>,
) -> Result<CalibrationPart, safetensors::SafeTensorError> {
    use safetensors::tensor::TensorView;
    let (file, judging) =
        (safetensors::SafeTensors::deserialize(data)?, safetensors::SafeTensors::deserialize(evalset)?);
    let all = inputs.iter().map(|name| file.tensor(name)).collect::<Result<Vec<_>, _>>()?;
    let held = all.iter().filter_map(|view| view.shape().first()).min().copied().unwrap_or(0);
    let count = samples.map_or(held, |asked| held.min(usize::try_from(asked).unwrap_or(held)));
    let labels = vec![0; 8 * count];
    let mut views = vec![("labels", TensorView::new(safetensors::Dtype::I64, vec![count], &labels)?)];
    for (name, view) in inputs.iter().zip(&all) {
        let width = view.data().len() / view.shape().first().copied().unwrap_or(1).max(1);
        let shape = std::iter::once(count).chain(view.shape().iter().skip(1).copied()).collect();
        views.push((name, TensorView::new(view.dtype(), shape, &view.data()[..width * count])?));
    }
    let first = inputs.first().zip(all.first());
    let judging = match first {
        Some((name, view)) => shared_rows(view, &judging.tensor(name)?, count),
        None => 0,
    };
    Ok(CalibrationPart { bytes: safetensors::serialize(views, None)?, samples: count as u64, judging })
}

/// Of the first rows of one tensor those that another one has, bit for bit.
fn shared_rows(
    some: &safetensors::tensor::TensorView<'_>,
    other: &safetensors::tensor::TensorView<'_>,
    count: usize,
) -> u64 {
    let rows = |view: &safetensors::tensor::TensorView<'_>| view.shape().first().copied().unwrap_or(1).max(1);
    let width = some.data().len() / rows(some);
    if width == 0 || some.dtype() != other.dtype() || width != other.data().len() / rows(other) {
        return 0;
    }
    let known: std::collections::HashSet<&[u8]> = other.data().chunks_exact(width).collect();
    some.data().chunks_exact(width).take(count).filter(|row| known.contains(row)).count() as u64
}

/// An evalset of these tensors (name, shape of one sample, all samples), with labels that say nothing: for what is compared with a
/// reference and has no truth of its own.
pub fn evalset_of(tensors: &[(String, Vec<u64>, Vec<f32>)], samples: u64) -> Result<Vec<u8>, StoreError> {
    let failed = |why: &dyn std::fmt::Display| StoreError::Tensors { what: "samples", why: why.to_string() };
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut all: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, shape, values) in tensors {
        let shape = std::iter::once(samples).chain(shape.iter().copied()).map(|size| size as usize).collect();
        all.push((name.clone(), safetensors::Dtype::F32, shape, bytes(values)));
    }
    all.push(("labels".into(), safetensors::Dtype::I64, vec![samples as usize], vec![0; 8 * samples as usize]));
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in &all {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| failed(&e))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, None).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
        let error = RecordFolder::create(folder.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.txt"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("thesis.txt")).unwrap(), "precious");
    }

    #[test]
    fn a_changed_file_and_a_path_that_leads_out_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let record = RecordFolder::create(folder.path()).unwrap();
        let file = record.keep("cells/a/x.bin", b"one").unwrap();
        assert_eq!(read_checked(folder.path(), &file).unwrap(), b"one");
        std::fs::write(folder.path().join("cells/a/x.bin"), "two").unwrap();
        assert!(matches!(read_checked(folder.path(), &file), Err(StoreError::Changed { .. })));
        for path in ["../x", "/etc/passwd", "cells/../../x", "./x"] {
            let file = FileRef { path: path.into(), ..file.clone() };
            assert!(matches!(read_checked(folder.path(), &file), Err(StoreError::Outside { .. })), "{path}");
        }
    }

    #[test]
    fn as_many_samples_are_kept_to_be_shown_as_there_is_room_for() {
        let row = SHOWN_BYTES_MAX / 4;
        let bytes: Vec<u8> = (0..6 * row).map(|i| (i / row) as u8).collect();
        let view = || safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![6, row], &bytes).unwrap();
        let meta = HashMap::from([("meta".to_owned(), "{\"features\": [\"age\"]}".to_owned())]);
        let evalset = safetensors::serialize([("inputs", view())], Some(meta)).unwrap();
        let part = shown_part(&evalset, "inputs", &[5, 99, 1, 0, 2, 3]).unwrap().expect("there is room for four");
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&part).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()[SHOWN_COLUMNS], "[\"age\"]");
        let file = safetensors::SafeTensors::deserialize(&part).unwrap();
        let kept: Vec<u8> = file.tensor(SHOWN_INPUT).unwrap().data().chunks(row).map(|sample| sample[0]).collect();
        assert_eq!(kept, [5, 1, 0, 2]);
        let numbers: Vec<u8> = file.tensor(SHOWN_SAMPLES).unwrap().data().chunks(8).map(|n| n[0]).collect();
        assert_eq!(numbers, kept);
        assert!(shown_part(&evalset, "inputs", &[]).unwrap().is_none());
        let large = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![1, 6 * row], &bytes).unwrap();
        let large = safetensors::serialize([("inputs", large)], None).unwrap();
        assert!(shown_part(&large, "inputs", &[0]).unwrap().is_none());
    }

    #[test]
    fn links_folders_devices_and_other_sizes_are_refused_before_they_are_read() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let record = RecordFolder::create(folder.path()).unwrap();
        let file = record.keep("cells/a/x.bin", b"one").unwrap();
        let refused = |path: &str, bytes, expected: &str| {
            let file = FileRef { path: path.into(), bytes, ..file.clone() };
            match read_checked(folder.path(), &file) {
                Err(StoreError::NotThatFile { found, .. }) => assert_eq!(found, expected, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        };
        // The content is the right one: what is refused is the way to it.
        std::fs::write(outside.path().join("x.bin"), b"one").unwrap();
        std::os::unix::fs::symlink(outside.path().join("x.bin"), folder.path().join("link.bin")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless")).unwrap();
        refused("link.bin", 3, "a link");
        refused("elsewhere/x.bin", 3, "a link");
        refused("endless", 3, "a link");
        refused("cells/a", 3, "something else");
        refused("cells/a/x.bin", 4, "one of 3 bytes");
        refused("cells/a/x.bin/y", 3, "something else");
    }
}
