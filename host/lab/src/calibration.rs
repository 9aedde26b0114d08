//! What is known of the noise of the units that this machine uses, a file each. No cache: it is measured once and says what may be claimed.

use crate::lease::state_folder;
use crate::store::StoreError;
use boardproof_record::UnitName;
use boardproof_record::calibration::{Calibration, VERSION};
use std::path::{Path, PathBuf};

/// Where they are kept: with what is the user's own.
pub fn folder() -> PathBuf {
    state_folder().join("calibrations")
}

fn file(folder: &Path, unit: &UnitName) -> PathBuf {
    folder.join(format!("{unit}.json"))
}

/// Keeps a calibration in place of an earlier one of its unit.
pub fn keep(folder: &Path, calibration: &Calibration) -> Result<(), StoreError> {
    let path = file(folder, &calibration.unit);
    let failed = |source| StoreError::Write { path: path.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let text = serde_json::to_string_pretty(calibration).expect("a calibration has string keys only") + "\n";
    let part = path.with_extension(format!("part-{}", std::process::id()));
    std::fs::write(&part, text).map_err(failed)?;
    std::fs::rename(&part, &path).map_err(failed)
}

/// The calibration of a unit, where it has one. One that cannot be read is an error: what it forbids would pass.
pub fn kept(folder: &Path, unit: &UnitName) -> Result<Option<Calibration>, StoreError> {
    let path = file(folder, unit);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    let read: Result<Calibration, _> = serde_json::from_str(&text);
    let of_this_build = |read: &Calibration| read.version == VERSION && read.unit == *unit;
    match read {
        Ok(read) if of_this_build(&read) => Ok(Some(read)),
        Ok(read) => {
            Err(StoreError::Calibration { path, why: format!("version {} of unit {}", read.version, read.unit) })
        }
        Err(source) => Err(StoreError::Calibration { path, why: source.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_the_latest_and_a_damaged_one_is_no_absence() {
        let root = tempfile::tempdir().unwrap();
        let unit = UnitName::new("bench").unwrap();
        assert!(kept(root.path(), &unit).unwrap().is_none());
        let first = Calibration {
            version: VERSION,
            measured_unix_s: 1,
            unit: unit.clone(),
            identity: "0123".into(),
            processor: "Cortex-A72".into(),
            governor: "performance".into(),
            cell: "m/x@bench/tract".to_owned().try_into().unwrap(),
            rounds: 10,
            false_alarms: 0.01,
            latency_ratio: 1.04,
            builds_spread: 0.005,
            pairs_spread: 0.01,
            memory: None,
        };
        keep(root.path(), &first).unwrap();
        let second = Calibration { latency_ratio: 1.05, ..first };
        keep(root.path(), &second).unwrap();
        assert_eq!(kept(root.path(), &unit).unwrap().unwrap(), second);
        let other = UnitName::new("other").unwrap();
        std::fs::copy(file(root.path(), &unit), file(root.path(), &other)).unwrap();
        assert!(matches!(kept(root.path(), &other), Err(StoreError::Calibration { .. })));
        std::fs::write(file(root.path(), &unit), "{").unwrap();
        assert!(matches!(kept(root.path(), &unit), Err(StoreError::Calibration { .. })));
    }
}
