//! The blob store: content-addressed files in one private folder. Owns the folder's layout, its room and what counts as verified.
//!
//! ```text
//! blobs/<sha256>                        verified content; 0700 for programs, 0600 else
//! stamps/<sha256>                       what the file looked like when its digest was last verified
//! partial/<sha256>.<coding>.<size>      coded bytes of an upload, as far as they came
//! partial/<sha256>.decoded              content being decoded; worthless after a restart
//! lease, lease.lock                     see [`crate::lease`]
//! ```
//!
//! A blob is present when its file is a plain file whose size, inode, change and modification times and boot are those of its stamp.
//! Otherwise its digest is computed anew, and a blob that does not have it is removed. So content is verified at least once per boot:
//! a file that a power cut tore is found out. A change in the very tick of the clock in which the stamp was made shows only on kernels
//! with fine-grained times; the folder is closed to other users, so that is nobody's attack. Symbolic links inside the store are never
//! followed.

use crate::digest;
use boardproof_protocol::Digest;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Room that stays free on the file system, in bytes: leases and stamps must always be writable.
const RESERVE_BYTES: u64 = 256 * 1024;
/// Folders of the store.
const FOLDERS: [&str; 3] = ["blobs", "stamps", "partial"];

/// The store could not do its work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum StoreError {
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("not enough room in {}: expected {needed} bytes, got {free}", path.display())]
    NoSpace { path: PathBuf, needed: u64, free: u64 },
    #[error("{} is not a folder that belongs to this user alone (a link, another owner or a file)", path.display())]
    NotOurs { path: PathBuf },
    #[error("no folder for the store: tried {}", tried.join(", "))]
    Nowhere { tried: Vec<String> },
}

impl StoreError {
    /// Makes an I/O error that names action and path; a full disk is told apart.
    pub fn io(action: &'static str, path: &Path, needed: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path: path.to_owned(), needed, free: file_system_free(path).unwrap_or(0) }
            }
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }
}

/// Where the store may be, in the order of preference.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Given on the command line or by `BOARDPROOF_CACHE`: used or an error.
    pub folder: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Where to go when there is no writable home.
    pub fallback: PathBuf,
    /// Largest sum of file sizes, in bytes.
    pub limit_bytes: Option<u64>,
}

impl Wish {
    /// What the environment and the command line say.
    pub fn from_environment(folder: Option<PathBuf>, limit_bytes: Option<u64>) -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let user = rustix::process::getuid().as_raw();
        Self {
            folder: folder.or_else(|| absolute("BOARDPROOF_CACHE")),
            cache_home: absolute("XDG_CACHE_HOME"),
            home: absolute("HOME"),
            fallback: PathBuf::from(format!("/tmp/boardproof-{user}")),
            limit_bytes,
        }
    }

    /// Folders to try.
    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(folder) = &self.folder {
            return vec![folder.clone()];
        }
        let under_home = self.home.as_ref().map(|h| h.join(".cache"));
        let cache = self.cache_home.clone().or(under_home).map(|c| c.join("boardproof"));
        cache.into_iter().chain([self.fallback.clone()]).collect()
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    note: Option<String>,
    limit_bytes: Option<u64>,
    boot: u64,
}

impl Store {
    /// Opens the first folder that can be written, making what is missing. `boot` names the boot for the stamps.
    pub fn open(wish: &Wish, boot: u64) -> Result<Self, StoreError> {
        let mut tried = Vec::new();
        let candidates = wish.candidates();
        for (index, folder) in candidates.iter().enumerate() {
            match prepare(folder, folder == &wish.fallback) {
                Ok(root) => {
                    let note = (index > 0).then(|| format!("store in {}: no writable home", root.display()));
                    return Ok(Self { root, note, limit_bytes: wish.limit_bytes, boot });
                }
                // A folder that the user named is used or refused, never replaced.
                Err(error) if candidates.len() == 1 => return Err(error),
                Err(error) => tried.push(format!("{} ({})", folder.display(), crate::chain(&error))),
            }
        }
        Err(StoreError::Nowhere { tried })
    }

    /// The store's folder if there is one already; makes nothing.
    pub fn existing(wish: &Wish) -> Option<PathBuf> {
        wish.candidates().into_iter().find(|folder| folder.join("blobs").is_dir())
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is unusual about where the store is.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Where a blob lies when it is present.
    pub fn blob(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs").join(digest.to_string())
    }

    /// Folder of uploads that are not complete.
    pub fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// Bytes that may still be stored.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let on_disk = file_system_free(&self.root)
            .map_err(StoreError::io("ask the free space of", &self.root, 0))?
            .saturating_sub(RESERVE_BYTES);
        match self.limit_bytes {
            Some(limit) => Ok(on_disk.min(limit.saturating_sub(self.used_bytes()?))),
            None => Ok(on_disk),
        }
    }

    /// Refuses when fewer than `needed` bytes are free. Uploads that were given up are removed first.
    pub fn make_room(&self, needed: u64, keep: Digest) -> Result<(), StoreError> {
        if self.free_bytes()? >= needed {
            return Ok(());
        }
        let kept = keep.to_string();
        for path in files(&self.partial())? {
            if !name_of(&path).starts_with(&kept) {
                remove(&path)?;
            }
        }
        match self.free_bytes()? {
            free if free >= needed => Ok(()),
            free => Err(StoreError::NoSpace { path: self.root.clone(), needed, free }),
        }
    }

    /// Is the blob here with the content that its name says? Verifies it unless its stamp says that nothing changed.
    pub fn present(&self, digest: Digest) -> Result<bool, StoreError> {
        let path = self.blob(digest);
        let Some(mut file) = open_plain(&path)? else { return Ok(false) };
        let stamp = self.stamp_of(&file).map_err(StoreError::io("ask the state of", &path, 0))?;
        if fs::read_to_string(self.stamp(digest)).is_ok_and(|known| known == stamp) {
            return Ok(true);
        }
        let found = digest::of_reader(&mut file).map_err(StoreError::io("read", &path, 0))?;
        if found != digest {
            remove(&path)?;
            remove(&self.stamp(digest))?;
            return Ok(false);
        }
        self.write_stamp(digest, &stamp)?;
        Ok(true)
    }

    /// Takes a file whose content was verified while it was written: gives it its mode, its place and its stamp.
    pub fn keep(&self, verified: &Path, digest: Digest, program: bool) -> Result<(), StoreError> {
        let mode = if program { 0o700 } else { 0o600 };
        fs::set_permissions(verified, Permissions::from_mode(mode)).map_err(StoreError::io(
            "set the mode of",
            verified,
            0,
        ))?;
        let path = self.blob(digest);
        fs::rename(verified, &path).map_err(StoreError::io("rename to", &path, 0))?;
        self.restamp(digest)
    }

    /// Makes a present blob executable.
    pub fn make_program(&self, digest: Digest) -> Result<(), StoreError> {
        let path = self.blob(digest);
        let metadata = fs::symlink_metadata(&path).map_err(StoreError::io("ask the state of", &path, 0))?;
        if metadata.mode() & 0o100 != 0 {
            return Ok(());
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(StoreError::io(
            "set the mode of",
            &path,
            0,
        ))?;
        self.restamp(digest)
    }

    /// Coded bytes of an upload that did not complete; 0 when there is none.
    pub fn received(&self, digest: Digest) -> Result<u64, StoreError> {
        let prefix = format!("{digest}.");
        let coded = |path: &PathBuf| name_of(path).starts_with(&prefix) && !name_of(path).ends_with(".decoded");
        let partial = files(&self.partial())?.into_iter().filter(coded);
        Ok(partial.filter_map(|p| fs::symlink_metadata(p).ok()).map(|m| m.len()).max().unwrap_or(0))
    }

    /// Removes all blobs and uploads; returns the bytes freed. The lease stays: whoever cleans still holds it.
    pub fn clean(&self) -> Result<u64, StoreError> {
        let freed = self.used_bytes()?;
        for folder in FOLDERS {
            for path in files(&self.root.join(folder))? {
                remove(&path)?;
            }
        }
        Ok(freed)
    }

    fn used_bytes(&self) -> Result<u64, StoreError> {
        let mut used = 0;
        for folder in FOLDERS {
            let sizes = files(&self.root.join(folder))?.into_iter().filter_map(|p| fs::symlink_metadata(p).ok());
            used += sizes.map(|m| m.len()).sum::<u64>();
        }
        Ok(used)
    }

    fn stamp(&self, digest: Digest) -> PathBuf {
        self.root.join("stamps").join(digest.to_string())
    }

    /// What the file looks like. The change time cannot be set back by a user, so content that changed shows.
    fn stamp_of(&self, file: &File) -> io::Result<String> {
        let m = file.metadata()?;
        let (size, inode, boot) = (m.len(), m.ino(), self.boot);
        Ok(format!(
            "{size} {inode} {}.{:09} {}.{:09} {boot:016x}\n",
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec()
        ))
    }

    fn restamp(&self, digest: Digest) -> Result<(), StoreError> {
        let path = self.blob(digest);
        let Some(file) = open_plain(&path)? else { return Err(StoreError::NotOurs { path }) };
        let stamp = self.stamp_of(&file).map_err(StoreError::io("ask the state of", &path, 0))?;
        self.write_stamp(digest, &stamp)
    }

    /// A torn stamp only costs a verification, so it is replaced as a whole but not forced to the disk.
    fn write_stamp(&self, digest: Digest, stamp: &str) -> Result<(), StoreError> {
        let path = self.stamp(digest);
        let new = path.with_extension("new");
        remove(&new)?;
        fs::write(&new, stamp).map_err(StoreError::io("write", &new, stamp.len() as u64))?;
        fs::rename(&new, &path).map_err(StoreError::io("rename to", &path, 0))
    }
}

/// Removes a store and the agents that were shipped into it; returns the bytes freed. Files that boardproof does not know stay.
pub fn remove_store(root: &Path) -> Result<u64, StoreError> {
    let mut freed = 0;
    let mut take = |path: &Path| -> Result<(), StoreError> {
        freed += fs::symlink_metadata(path).map(|m| m.len()).unwrap_or(0);
        remove(path)
    };
    for folder in FOLDERS.map(|f| root.join(f)) {
        // A link in the place of a folder is removed, not walked.
        if fs::symlink_metadata(&folder).is_ok_and(|m| m.is_dir()) {
            files(&folder)?.iter().try_for_each(|p| take(p))?;
            fs::remove_dir(&folder).map_err(StoreError::io("remove", &folder, 0))?;
        } else {
            take(&folder)?;
        }
    }
    for path in files(root)? {
        let name = name_of(&path);
        if name == "lease" || name.starts_with("lease.") || name.starts_with("agent-") {
            take(&path)?;
        }
    }
    // The folder goes only when nothing of somebody else's is in it.
    match fs::remove_dir(root) {
        Ok(()) => Ok(freed),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(freed),
        Err(source) => Err(StoreError::Io { action: "remove", path: root.to_owned(), source }),
    }
}

/// Opens a plain file without following a link; anything else in its place is removed. `None` when there is none.
pub fn open_plain(path: &Path) -> Result<Option<File>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(metadata) if metadata.is_dir() => return Err(StoreError::NotOurs { path: path.to_owned() }),
        Ok(_) => {
            remove(path)?;
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { action: "ask the state of", path: path.to_owned(), source }),
    }
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    opened.map(Some).map_err(StoreError::io("open", path, 0))
}

/// Removes a file; one that is not there is no error.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::Io { action: "remove", path: path.to_owned(), source }),
    }
}

/// Makes the store's folders where they are missing and checks that they are this user's own.
fn prepare(folder: &Path, public_parent: bool) -> Result<PathBuf, StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(StoreError::io(
        "make the folder",
        folder,
        0,
    ))?;
    // In a folder that everybody may write to, a link in our name is somebody's trap. Elsewhere the user may have moved the cache.
    if public_parent {
        own(folder)?;
    }
    let root = fs::canonicalize(folder).map_err(StoreError::io("find", folder, 0))?;
    own(&root)?;
    for name in FOLDERS {
        let inner = root.join(name);
        match DirBuilder::new().mode(0o700).create(&inner) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("make the folder", &inner, 0)(error));
            }
            _ => own(&inner)?,
        }
    }
    writable(&root)?;
    Ok(root)
}

/// A folder, no link, of this user, closed to all others.
fn own(folder: &Path) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(folder).map_err(StoreError::io("ask the state of", folder, 0))?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(StoreError::NotOurs { path: folder.to_owned() });
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(StoreError::io(
            "close to others",
            folder,
            0,
        ))?;
    }
    Ok(())
}

/// Root passes every permission check, so only a real file shows that the file system is not read-only.
fn writable(root: &Path) -> Result<(), StoreError> {
    let probe = root.join("partial").join(format!("probe.{}", std::process::id()));
    File::create(&probe).map_err(StoreError::io("write to", root, 0))?;
    remove(&probe)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect());
    listed.map_err(StoreError::io("list", folder, 0))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

fn file_system_free(path: &Path) -> io::Result<u64> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    pub fn digest_of(bytes: &[u8]) -> Digest {
        digest::of_reader(&mut &bytes[..]).unwrap()
    }

    pub fn store(limit_bytes: Option<u64>) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let wish = Wish { folder: Some(folder.path().join("store")), limit_bytes, ..Wish::default() };
        let store = Store::open(&wish, 1).unwrap();
        (folder, store)
    }

    fn put(store: &Store, bytes: &[u8]) -> Digest {
        let digest = digest_of(bytes);
        let path = store.partial().join("x");
        fs::write(&path, bytes).unwrap();
        store.keep(&path, digest, false).unwrap();
        digest
    }

    #[test]
    fn a_blob_that_was_changed_behind_our_back_is_removed() {
        let (_folder, store) = store(None);
        let digest = put(&store, b"content");
        assert!(store.present(digest).unwrap());
        fs::write(store.blob(digest), b"content!").unwrap();
        assert!(!store.present(digest).unwrap());
        assert!(!store.blob(digest).exists());
    }

    #[test]
    fn a_change_that_sets_size_and_mtime_back_is_found_by_the_change_time() {
        let (_folder, store) = store(None);
        let digest = put(&store, b"content");
        let before = fs::metadata(store.blob(digest)).unwrap();
        // Kernels that stamp times by the tick show a change only when the next one has come.
        let changed = |_: &u32| {
            fs::write(store.blob(digest), b"CONTENT").unwrap();
            fs::metadata(store.blob(digest)).unwrap().ctime_nsec() != before.ctime_nsec()
        };
        (0..1_000_000).find(changed).expect("the change time moves");
        let file = File::options().write(true).open(store.blob(digest)).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        assert!(!store.present(digest).unwrap());
    }

    #[test]
    fn after_a_reboot_content_is_verified_anew() {
        let (folder, store) = store(None);
        let digest = put(&store, b"content");
        let stamp = fs::read_to_string(store.stamp(digest)).unwrap();
        let wish = Wish { folder: Some(folder.path().join("store")), ..Wish::default() };
        let rebooted = Store::open(&wish, 2).unwrap();
        assert!(rebooted.present(digest).unwrap());
        assert_ne!(fs::read_to_string(store.stamp(digest)).unwrap(), stamp);
    }

    #[test]
    fn a_link_in_a_blobs_place_is_not_followed() {
        let (folder, store) = store(None);
        let outside = folder.path().join("outside");
        fs::write(&outside, b"content").unwrap();
        let digest = digest_of(b"content");
        symlink(&outside, store.blob(digest)).unwrap();
        assert!(!store.present(digest).unwrap());
        assert!(outside.exists());
    }

    #[test]
    fn a_link_in_place_of_an_inner_folder_is_refused() {
        let (folder, _store) = store(None);
        let root = folder.path().join("store");
        fs::remove_dir(root.join("blobs")).unwrap();
        symlink(folder.path(), root.join("blobs")).unwrap();
        let wish = Wish { folder: Some(root), ..Wish::default() };
        assert!(matches!(Store::open(&wish, 1), Err(StoreError::NotOurs { .. })));
    }

    #[test]
    fn without_a_writable_home_the_store_goes_to_the_fallback_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        // A home below a file cannot be made, whoever tries.
        let wish = Wish { home: Some(file), fallback: folder.path().join("fallback"), ..Wish::default() };
        let store = Store::open(&wish, 1).unwrap();
        assert!(store.root().ends_with("fallback"));
        assert!(store.note().unwrap().contains("no writable home"));
    }

    #[test]
    fn a_fallback_that_is_a_link_is_a_trap() {
        let folder = tempfile::tempdir().unwrap();
        let fallback = folder.path().join("fallback");
        symlink(folder.path(), &fallback).unwrap();
        let wish = Wish { home: None, fallback, ..Wish::default() };
        assert!(Store::open(&wish, 1).is_err());
    }

    #[test]
    fn room_is_made_by_removing_abandoned_uploads_only() {
        let (_folder, store) = store(Some(100));
        let blob = put(&store, &[1; 40]);
        let other = digest_of(b"other");
        fs::write(store.partial().join(format!("{other}.plain.90")), [0; 40]).unwrap();
        let mine = digest_of(b"mine");
        let used_by_stamp = fs::metadata(store.stamp(blob)).unwrap().len();
        let free = 60_u64.saturating_sub(used_by_stamp);
        assert!(matches!(store.make_room(61, mine), Err(StoreError::NoSpace { needed: 61, .. })));
        assert_eq!(store.free_bytes().unwrap(), free);
        assert_eq!(store.received(other).unwrap(), 0);
        assert!(store.present(blob).unwrap());
    }

    #[test]
    fn what_is_not_ours_stays_when_the_store_is_removed() {
        let (folder, store) = store(None);
        put(&store, b"content");
        let root = folder.path().join("store");
        fs::write(root.join("agent-1"), b"12345").unwrap();
        fs::write(root.join("notes.txt"), b"mine").unwrap();
        assert!(remove_store(&root).unwrap() >= 12);
        let left: Vec<_> = files(&root).unwrap().iter().map(|p| name_of(p).to_owned()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}
