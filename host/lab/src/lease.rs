//! One holder per unit on this machine: a lock file that the kernel frees when its holder dies, and an epoch that only grows.
//!
//! The lock says who may talk to the unit; the epoch is what the agent on the unit enforces, so that a host that was stopped and
//! wakes up late cannot write.
//!
//! Units are the machine's and not a user's, so the locks lie where all users meet. Strangers may write there: nothing is followed, and nothing
//! is written that is not a file of its own.

use boardproof_record::UnitName;
use boardproof_record::plan::{LinkSpec, PowerSpec, Target};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
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

/// Names another folder for all leases.
pub const VARIABLE: &str = "BOARDPROOF_LEASES";
/// Where all users of this machine may write, and what lies there outlives a reboot, so that epochs only grow.
const MEETING_PLACE: &str = "/var/tmp/boardproof-leases";

/// Folder of what boardproof keeps for this user.
pub fn state_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.filter(|p| p.is_absolute()).or_else(home).unwrap_or_else(std::env::temp_dir).join("boardproof")
}

/// Where the lock files of a target's units lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// Why only this user is kept out of a unit that is held, where others should be too.
    pub alone: Option<String>,
}

impl Place {
    /// The folder that [`VARIABLE`] names; else one for all users of this machine, if it can be had; else this user's own. Units in software
    /// are made anew for each run: their users need not wait for each other.
    pub fn of(target: &Target) -> Self {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from).filter(|folder| folder.is_absolute());
        if let Some(folder) = named {
            return Self { folder, alone: None };
        }
        let own = state_folder().join("leases");
        if is_software(target) {
            return Self { folder: own, alone: None };
        }
        match open_to_all(Path::new(MEETING_PLACE)) {
            Ok(()) => Self { folder: MEETING_PLACE.into(), alone: None },
            Err(error) => Self { folder: own, alone: Some(format!("{MEETING_PLACE}: {error}")) },
        }
    }
}

/// A unit that exists as long as its run does.
fn is_software(target: &Target) -> bool {
    matches!(target.link, LinkSpec::Sim { .. } | LinkSpec::Emulated { .. })
        || matches!(target.power, PowerSpec::Qemu { .. } | PowerSpec::Machine { .. })
}

/// A folder in which everybody may make files and nobody may remove another's, made if it is not there.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    const STICKY: u32 = 0o1777;
    match std::fs::create_dir(folder) {
        // What the user's mask takes away belongs to it all the same.
        Ok(()) => std::fs::set_permissions(folder, Permissions::from_mode(STICKY))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    while_it_is_made(|| {
        let found = std::fs::symlink_metadata(folder)?;
        let mode = found.permissions().mode() & 0o7777;
        if !found.is_dir() {
            return Err(std::io::Error::other("expected a folder, got something else"));
        }
        if mode != STICKY {
            let what = format!("expected a folder with the mode {STICKY:o}, got {mode:o}");
            return Err(std::io::Error::new(ErrorKind::PermissionDenied, what));
        }
        Ok(())
    })
}

/// Tries again for a moment when permissions are missing: who makes something is about to give them.
fn while_it_is_made<T>(mut attempt: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    const MOMENT: Duration = Duration::from_millis(500);
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && start.elapsed() < MOMENT => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Opens a lock file, made if it is not there, for everybody to use. Where strangers may write: no link is followed, and a file that has
/// another name elsewhere is none of ours.
fn open_lock(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    // In two steps: kernels that protect such folders let nobody open another user's file there with the wish to make it.
    let file = match while_it_is_made(|| options.open(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => match options.create_new(true).open(path) {
            Ok(made) => {
                made.set_permissions(Permissions::from_mode(0o666))?;
                made
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                options.create_new(false);
                while_it_is_made(|| options.open(path))?
            }
            Err(error) => return Err(error),
        },
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(std::io::Error::other("expected a file with one name, got something else"));
    }
    Ok(file)
}

/// Whether the file is still the one under this name: what cleans up temporary folders may have removed it before it was locked.
fn is_there(path: &Path, file: &File) -> std::io::Result<bool> {
    let ours = file.metadata()?;
    Ok(std::fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())))
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
        let mut file = open_lock(&path).map_err(failed)?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) if is_there(&path, &file).map_err(failed)? => break,
                Ok(()) => {
                    file = open_lock(&path).map_err(failed)?;
                    continue;
                }
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
    fn what_strangers_lay_in_the_way_is_neither_followed_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, victim) = (folder.path().join("board"), folder.path().join("victim"));
        std::fs::write(&victim, "precious").unwrap();
        let refused = |what: &str| {
            let error = take(folder.path(), Duration::ZERO).unwrap_err();
            assert!(matches!(error, LeaseError::File { .. }), "{what}: {error}");
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{what}");
            if lock.is_dir() { std::fs::remove_dir(&lock) } else { std::fs::remove_file(&lock) }.unwrap();
        };
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        refused("a link");
        std::os::unix::fs::symlink(folder.path().join("none"), &lock).unwrap();
        refused("a link to nothing");
        std::fs::hard_link(&victim, &lock).unwrap();
        refused("another name");
        std::fs::create_dir(&lock).unwrap();
        refused("a folder");
        assert!(std::process::Command::new("mkfifo").arg(&lock).status().unwrap().success());
        refused("a pipe");
        drop(take(folder.path(), Duration::ZERO).unwrap());
        assert_eq!(std::fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o666, "others may use it");
    }

    #[test]
    fn the_meeting_place_is_for_all_or_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("leases");
        open_to_all(&place).unwrap();
        open_to_all(&place).unwrap();
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o1777);
        std::fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
        assert!(open_to_all(&place).unwrap_err().to_string().contains("got 755"));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&place, &link).unwrap();
        assert!(open_to_all(&link).is_err(), "a link");
        assert!(open_to_all(&root.path().join("none/below")).is_err(), "no folder to make it in");
    }

    #[test]
    fn a_lock_that_was_cleaned_away_while_it_was_waited_for_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let first = take(folder.path(), Duration::ZERO).unwrap();
        let (told, hears) = std::sync::mpsc::channel();
        let here = folder.path().to_path_buf();
        let waiter = std::thread::spawn(move || {
            let mut say = |text: &str| told.send(text.to_owned()).unwrap();
            let unit = UnitName::new("board").unwrap();
            Lease::take(&here, &unit, Duration::from_secs(60), || false, &mut say).unwrap()
        });
        assert!(hears.recv().unwrap().contains("waiting"));
        std::fs::remove_file(&path).unwrap();
        drop(first);
        let second = waiter.join().unwrap();
        assert!(is_there(&path, &second.file).unwrap());
        assert!(matches!(take(folder.path(), Duration::ZERO), Err(LeaseError::Held { .. })));
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
