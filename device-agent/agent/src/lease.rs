//! The unit's lease on disk: who may write, and until when. Owns the files `lease` and `lease.lock` of the store.
//!
//! The epoch only ever grows and survives restarts of the agent; that is what keeps a host that lost its lease from writing. The
//! expiry counts from the unit's boot and carries the boot's id: a jump of the wall clock changes nothing, and a reboot frees the
//! lease. Every change happens under a lock on `lease.lock` and replaces `lease` as a whole.

use crate::clock::Moment;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest lease that is given, whatever is asked for.
pub const TTL_MAX_MS: u32 = 60 * 60 * 1000;
/// Longest name of a holder that is kept, in characters.
const HOLDER_MAX: usize = 200;
/// First line of the file.
const HEADER: &str = "boardproof-lease 1";

/// The lease could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("could not read the lease in {}: expected '{HEADER}' and its five lines, got something else", path.display())]
    Damaged { path: PathBuf },
}

impl LeaseError {
    /// The file system is full.
    pub fn is_for_want_of_room(&self) -> bool {
        let full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source))
    }
}

/// What a wish for the lease came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The asker holds it until the moment given (milliseconds since boot).
    Leased { epoch: u64, ttl_ms: u32, expires_ms: u64 },
    /// Somebody else does.
    Held { holder: String, epoch: u64, remaining_ms: u32 },
    /// The lease is free, but this epoch was used before: a higher one is needed.
    Outdated { epoch: u64 },
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    epoch: u64,
    expires_ms: u64,
    boot: String,
    holder: String,
}

impl Entry {
    fn remaining_ms(&self, now: &Moment) -> u64 {
        if self.boot == now.boot { self.expires_ms.saturating_sub(now.since_boot_ms) } else { 0 }
    }

    fn text(&self) -> String {
        let Self { epoch, expires_ms, boot, holder } = self;
        format!("{HEADER}\nepoch {epoch}\nexpires_ms {expires_ms}\nboot {boot}\nholder {holder}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|l| *l == HEADER)?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let epoch = field("epoch")?.parse().ok()?;
        let expires_ms = field("expires_ms")?.parse().ok()?;
        Some(Self { epoch, expires_ms, boot: field("boot")?, holder: field("holder")? })
    }
}

/// The lease of one store.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    lock_path: PathBuf,
}

impl LeaseFile {
    /// The lease kept in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("lease"), lock_path: folder.join("lease.lock") }
    }

    /// Takes or renews the lease. The same epoch with the same holder renews; a higher epoch takes a lease that is free or one's
    /// own; everything else is answered by who holds it or by the epoch in force.
    pub fn acquire(&self, epoch: u64, holder: &str, ttl_ms: u32, now: &Moment) -> Result<Answer, LeaseError> {
        let _lock = self.lock()?;
        let holder = one_line(holder);
        let before = self.read()?;
        if let Some(before) = &before {
            let remaining = before.remaining_ms(now);
            let own = before.holder == holder;
            if remaining > 0 && !own {
                let remaining_ms = u32::try_from(remaining).unwrap_or(u32::MAX);
                return Ok(Answer::Held { holder: before.holder.clone(), epoch: before.epoch, remaining_ms });
            }
            if epoch < before.epoch || (epoch == before.epoch && !own) {
                return Ok(Answer::Outdated { epoch: before.epoch });
            }
        }
        let ttl_ms = ttl_ms.min(TTL_MAX_MS);
        let expires_ms = now.since_boot_ms + u64::from(ttl_ms);
        self.write(&Entry { epoch, expires_ms, boot: now.boot.clone(), holder })?;
        Ok(Answer::Leased { epoch, ttl_ms, expires_ms })
    }

    /// Gives the lease back if this epoch and holder have it. The epoch stays remembered.
    pub fn release(&self, epoch: u64, holder: &str) -> Result<(), LeaseError> {
        let _lock = self.lock()?;
        match self.read()? {
            Some(entry) if entry.epoch == epoch && entry.holder == one_line(holder) => {
                self.write(&Entry { expires_ms: 0, ..entry })
            }
            _ => Ok(()),
        }
    }

    /// Is this the epoch and the holder in force, and not expired?
    pub fn holds(&self, epoch: u64, holder: &str, now: &Moment) -> Result<bool, LeaseError> {
        let entry = self.read()?;
        Ok(entry.is_some_and(|e| e.epoch == epoch && e.holder == one_line(holder) && e.remaining_ms(now) > 0))
    }

    /// Who holds the lease and for how many more milliseconds; `None` when it is free.
    pub fn holder(&self, now: &Moment) -> Result<Option<(String, u64)>, LeaseError> {
        let entry = self.read()?;
        Ok(entry.map(|e| (e.remaining_ms(now), e)).filter(|(left, _)| *left > 0).map(|(left, e)| (e.holder, left)))
    }

    /// The lock, held until the file is dropped.
    fn lock(&self) -> Result<File, LeaseError> {
        let fail = |source| LeaseError::Io { action: "lock", path: self.lock_path.clone(), source };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&self.lock_path).map_err(fail)?;
        // Held for a few file operations only, so waiting for it is short.
        file.lock().map_err(fail)?;
        Ok(file)
    }

    fn read(&self) -> Result<Option<Entry>, LeaseError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Entry::parse(&text).map(Some).ok_or_else(|| LeaseError::Damaged { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LeaseError::Io { action: "read", path: self.path.clone(), source }),
        }
    }

    fn write(&self, entry: &Entry) -> Result<(), LeaseError> {
        let new = self.path.with_extension("new");
        let fail = |action| move |source| LeaseError::Io { action, path: self.path.clone(), source };
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&new).map_err(fail("write"))?;
        file.write_all(entry.text().as_bytes()).map_err(fail("write"))?;
        // The epoch must survive a power cut, or a host that was fenced off could come back.
        file.sync_all().map_err(fail("write"))?;
        fs::rename(&new, &self.path).map_err(fail("replace"))
    }
}

/// A holder is one line of the file, whatever a host sends.
fn one_line(text: &str) -> String {
    text.chars().take(HOLDER_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(since_boot_ms: u64) -> Moment {
        Moment { boot: "first".into(), since_boot_ms }
    }

    fn leased(epoch: u64, expires_ms: u64) -> Answer {
        Answer::Leased { epoch, ttl_ms: 1000, expires_ms }
    }

    fn folder() -> (tempfile::TempDir, LeaseFile) {
        let folder = tempfile::tempdir().unwrap();
        let lease = LeaseFile::in_folder(folder.path());
        (folder, lease)
    }

    #[test]
    fn a_second_host_is_told_who_holds_whatever_its_epoch() {
        let (_folder, lease) = folder();
        assert_eq!(lease.acquire(5, "ann", 1000, &at(0)).unwrap(), leased(5, 1000));
        let held = Answer::Held { holder: "ann".into(), epoch: 5, remaining_ms: 600 };
        for epoch in [0, 5, 6, u64::MAX] {
            assert_eq!(lease.acquire(epoch, "bob", 1000, &at(400)).unwrap(), held, "epoch {epoch}");
        }
        assert!(!lease.holds(5, "bob", &at(400)).unwrap());
        assert!(lease.holds(5, "ann", &at(400)).unwrap());
    }

    #[test]
    fn an_expired_lease_goes_to_a_higher_epoch_only() {
        let (_folder, lease) = folder();
        lease.acquire(5, "ann", 1000, &at(0)).unwrap();
        assert_eq!(lease.acquire(5, "bob", 1000, &at(1000)).unwrap(), Answer::Outdated { epoch: 5 });
        assert_eq!(lease.acquire(4, "ann", 1000, &at(1000)).unwrap(), Answer::Outdated { epoch: 5 });
        assert_eq!(lease.acquire(6, "bob", 1000, &at(1000)).unwrap(), leased(6, 2000));
        assert!(!lease.holds(5, "ann", &at(1001)).unwrap(), "the first holder must not write any more");
    }

    #[test]
    fn the_epoch_survives_a_new_agent_and_a_release() {
        let (folder, lease) = folder();
        lease.acquire(7, "ann", 1000, &at(0)).unwrap();
        lease.release(7, "ann").unwrap();
        let again = LeaseFile::in_folder(folder.path());
        assert_eq!(again.holder(&at(1)).unwrap(), None);
        assert_eq!(again.acquire(6, "bob", 1000, &at(1)).unwrap(), Answer::Outdated { epoch: 7 });
        assert_eq!(again.acquire(7, "ann", 1000, &at(1)).unwrap(), leased(7, 1001));
    }

    #[test]
    fn a_release_by_another_changes_nothing() {
        let (_folder, lease) = folder();
        lease.acquire(7, "ann", 1000, &at(0)).unwrap();
        lease.release(6, "ann").unwrap();
        lease.release(7, "bob").unwrap();
        assert_eq!(lease.holder(&at(1)).unwrap(), Some(("ann".into(), 999)));
    }

    #[test]
    fn a_reboot_frees_the_lease_but_not_the_epoch() {
        let (_folder, lease) = folder();
        lease.acquire(7, "ann", 1000, &at(900_000)).unwrap();
        let rebooted = Moment { boot: "second".into(), since_boot_ms: 10 };
        assert_eq!(lease.holder(&rebooted).unwrap(), None);
        assert_eq!(lease.acquire(7, "bob", 1000, &rebooted).unwrap(), Answer::Outdated { epoch: 7 });
        assert_eq!(lease.acquire(8, "bob", 1000, &rebooted).unwrap(), leased(8, 1010));
    }

    #[test]
    fn a_holder_with_line_breaks_forges_no_line() {
        let (_folder, lease) = folder();
        lease.acquire(7, "ann\nepoch 99", 1000, &at(0)).unwrap();
        assert_eq!(lease.holder(&at(0)).unwrap(), Some(("ann epoch 99".into(), 1000)));
        assert!(lease.holds(7, "ann\nepoch 99", &at(0)).unwrap());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_free_lease() {
        let (_folder, lease) = folder();
        for text in ["", "boardproof-lease 2\n", "boardproof-lease 1\nepoch x\n", "boardproof-lease 1\nepoch 3\n"] {
            fs::write(&lease.path, text).unwrap();
            assert!(matches!(lease.acquire(9, "ann", 1, &at(0)), Err(LeaseError::Damaged { .. })), "{text:?}");
            assert!(lease.holds(9, "ann", &at(0)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn of_two_that_race_one_wins() {
        let (folder, _) = folder();
        let path = folder.path();
        let wins = std::thread::scope(|scope| {
            let ask = |name: String| {
                let answer = LeaseFile::in_folder(path).acquire(1, &name, 1000, &at(0)).unwrap();
                usize::from(matches!(answer, Answer::Leased { .. }))
            };
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || ask(format!("host {i}")))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum::<usize>()
        });
        assert_eq!(wins, 1);
    }
}
