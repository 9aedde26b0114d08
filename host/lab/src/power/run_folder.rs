//! The folder of one board while it lives: keys, monitor, console, QEMU's own words. Private, and gone when the board is gone.
//!
//! A lock says whether it is in use. This process holds it, and QEMU inherits it (as its standard input, which it never reads): when
//! both are gone, however they ended, the kernel has freed the lock, and the next board that is booted here removes the folder.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "boardproof-board-";
const LOCK: &str = "lock";

/// A folder in use. Dropping it removes the folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    lock: File,
    kept: bool,
}

impl RunFolder {
    /// Makes one in `base`, after removing those that nobody uses any more.
    pub fn make(base: &Path) -> io::Result<Self> {
        remove_stale(base);
        // It gets its name when it has its lock: a folder with that name and a free lock is always stale.
        let mut builder = tempfile::Builder::new();
        let unnamed = builder.prefix("boardproof-new-").permissions(Permissions::from_mode(0o700)).tempdir_in(base)?;
        let lock = File::create_new(unnamed.path().join(LOCK))?;
        lock.lock()?;
        let name = unnamed.path().file_name().unwrap_or_default().to_string_lossy().replace("boardproof-new-", PREFIX);
        let path = base.join(name);
        std::fs::rename(unnamed.path(), &path)?;
        let _ = unnamed.keep();
        Ok(Self { path, lock, kept: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that keeps the folder from being removed as long as somebody has it open.
    pub fn hold(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Leaves the folder to those who hold it.
    pub fn keep(&mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes the folders of boards that are gone. What cannot be looked at is somebody else's.
fn remove_stale(base: &Path) {
    let Ok(me) = std::fs::metadata("/proc/self").map(|m| m.uid()) else { return };
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let mine = entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == me);
        if !mine || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let in_use = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err());
        if !in_use {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn it_is_private_and_gone_after_drop() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::make(base.path()).unwrap();
        assert_eq!(std::fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        drop(folder);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_that_is_in_use_stays_and_one_that_is_not_goes() {
        let base = tempfile::tempdir().unwrap();
        let used = RunFolder::make(base.path()).unwrap();
        // As a killed host leaves it.
        let stale = RunFolder::make(base.path()).unwrap().keep();
        let foreign = base.path().join("something-else");
        std::fs::create_dir(&foreign).unwrap();
        let _new = RunFolder::make(base.path()).unwrap();
        assert!(used.path().exists() && foreign.exists() && !stale.exists());
    }

    #[test]
    fn a_process_that_holds_it_keeps_it() {
        let base = tempfile::tempdir().unwrap();
        let mut folder = RunFolder::make(base.path()).unwrap();
        let mut holder = Command::new("tail")
            .args(["-f", "/dev/null"])
            .stdin(folder.hold().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let path = folder.keep();
        drop(folder);
        let second = RunFolder::make(base.path()).unwrap();
        assert!(path.exists());
        holder.kill().unwrap();
        holder.wait().unwrap();
        drop(second);
        let _third = RunFolder::make(base.path()).unwrap();
        assert!(!path.exists());
    }
}
