//! One holder per unit on this machine: a lock file that the kernel frees when its holder dies, and an epoch that only grows.
//!
//! The lock says who may talk to the unit; the epoch is what the agent on the unit enforces, so that a host that was stopped and
//! wakes up late cannot write.

use boardproof_record::UnitName;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A unit that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("unit '{unit}' is held by {holder}; waited {waited_s} s")]
    Held {
        /// The unit.
        unit: UnitName,
        /// Who, in their own words.
        holder: String,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// The lock file cannot be used.
    #[error("could not lock unit '{unit}' with {}", path.display())]
    File {
        /// The unit.
        unit: UnitName,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The user interrupted the wait.
    #[error("interrupted")]
    Interrupted,
}

/// The right to use a unit. Freed when dropped, and by the kernel when the process dies.
#[must_use]
#[derive(Debug)]
pub struct Lease {
    file: File,
    /// Grows with every lease of this unit.
    pub epoch: u64,
    /// What others read while they wait.
    pub holder: String,
    /// Who had the unit before, on this machine. They are done or dead: the lock was theirs.
    pub before: String,
}

/// Folder of the lock files: one per user, kept across reboots so that epochs only grow.
pub fn lease_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.filter(|p| p.is_absolute()).or_else(home).unwrap_or_else(std::env::temp_dir).join("boardproof/leases")
}

impl Lease {
    /// Takes the unit, waiting up to `wait`. `say` is told once who holds it.
    pub fn take(
        folder: &Path,
        unit: &UnitName,
        wait: Duration,
        interrupted: fn() -> bool,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, LeaseError> {
        let path = folder.join(unit.as_str());
        let failed = |source| LeaseError::File { unit: unit.clone(), path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            let (_, holder) = contents(&mut file).map_err(failed)?;
            if start.elapsed() >= wait {
                return Err(LeaseError::Held { unit: unit.clone(), holder, waited_s: wait.as_secs() });
            }
            if interrupted() {
                return Err(LeaseError::Interrupted);
            }
            if !told {
                say(&format!("unit '{unit}' is held by {holder}; waiting up to {} s", wait.as_secs()));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let (last, before) = contents(&mut file).map_err(failed)?;
        // The clock keeps epochs of several machines roughly in order; the file keeps those of this one strictly so.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|t| t.as_secs()).unwrap_or(0);
        let epoch = now.max(last.saturating_add(1));
        let mut lease = Self { file, epoch, holder: me(), before };
        lease.write().map_err(failed)?;
        Ok(lease)
    }

    /// Moves to an epoch above one that the agent has seen from another machine.
    pub fn rise_above(&mut self, seen: u64) -> std::io::Result<()> {
        self.epoch = self.epoch.max(seen.saturating_add(1));
        self.write()
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        write!(self.file, "{}\n{}\n", self.epoch, self.holder)?;
        self.file.sync_data()
    }
}

/// Epoch and holder as written. An empty or damaged file is a unit that nobody has held.
fn contents(file: &mut File) -> std::io::Result<(u64, String)> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    let mut lines = text.lines();
    let epoch = lines.next().and_then(|l| l.parse().ok()).unwrap_or(0);
    Ok((epoch, lines.next().unwrap_or("somebody").to_owned()))
}

/// User, machine and process, for those who wait.
fn me() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "user".into());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{} process {}", machine.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path, wait: Duration) -> Result<Lease, LeaseError> {
        Lease::take(folder, &UnitName::new("board").unwrap(), wait, || false, &mut |_| {})
    }

    #[test]
    fn a_held_unit_is_refused_with_its_holder_and_free_again_after_drop() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path(), Duration::ZERO).unwrap();
        let error = take(folder.path(), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        let epoch = first.epoch;
        drop(first);
        assert!(take(folder.path(), Duration::ZERO).unwrap().epoch > epoch);
    }

    #[test]
    fn a_waiter_gets_the_unit_when_its_holder_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path(), Duration::ZERO).unwrap();
        let path = folder.path().to_path_buf();
        let (told, hears) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let mut say = |text: &str| told.send(text.to_owned()).unwrap();
            Lease::take(&path, &UnitName::new("board").unwrap(), Duration::from_secs(60), || false, &mut say)
                .map(|l| l.epoch)
        });
        assert!(hears.recv().unwrap().contains("waiting"));
        let epoch = first.epoch;
        drop(first);
        assert!(waiter.join().unwrap().unwrap() > epoch);
    }

    #[test]
    fn an_epoch_never_falls_even_when_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut lease = take(folder.path(), Duration::ZERO).unwrap();
        lease.rise_above(u64::MAX / 2).unwrap();
        drop(lease);
        assert_eq!(take(folder.path(), Duration::ZERO).unwrap().epoch, u64::MAX / 2 + 2);
    }
}
