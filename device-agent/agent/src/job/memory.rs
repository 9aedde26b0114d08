//! The runner's memory limit: a control group of its own where that is free to have, else a resource limit; and the traces that
//! running out of memory leaves.
//!
//! A control group is used only when the unit has version 2 at the usual place with the memory controller already on for children
//! of the root: the agent changes nothing about the unit's own groups.

use crate::arguments::Launch;
use crate::job::launch;
use std::fs;
use std::path::{Path, PathBuf};

/// Where version 2 of the control groups is mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// A limit asked for. Dropping it removes the control group.
#[derive(Debug)]
pub struct MemoryLimit {
    bytes: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Cgroup(PathBuf),
    Data,
    Space,
    /// An emulator in user mode takes the call and does nothing: the limit would be its own.
    Emulated,
}

impl MemoryLimit {
    /// Prepares the best limit that this unit allows.
    pub fn prepare(bytes: u64) -> Self {
        if launch::is_emulated() {
            return Self { bytes, kind: Kind::Emulated };
        }
        let kind = match make_cgroup(Path::new(CGROUP_ROOT), bytes) {
            Some(path) => Kind::Cgroup(path),
            // Since 4.7 the limit on data counts all private writable memory; before, only the heap of brk.
            None if kernel_is_at_least((4, 7)) => Kind::Data,
            None => Kind::Space,
        };
        Self { bytes, kind }
    }

    /// Writes the limit into the launch.
    pub fn apply(&self, launch: &mut Launch) {
        match &self.kind {
            Kind::Cgroup(path) => launch.cgroup = Some(path.clone()),
            Kind::Data => launch.data_limit_bytes = Some(self.bytes),
            Kind::Space => launch.space_limit_bytes = Some(self.bytes),
            Kind::Emulated => {}
        }
    }

    /// One line for the record: how the limit is enforced.
    pub fn words(&self) -> String {
        let how = match &self.kind {
            Kind::Cgroup(_) => "control group, counts resident memory",
            Kind::Data => "RLIMIT_DATA, counts private writable memory",
            Kind::Space => "RLIMIT_AS, counts address space",
            Kind::Emulated => {
                return format!(
                    "memory limit of {} bytes is NOT enforced: the agent runs under an emulator",
                    self.bytes
                );
            }
        };
        format!("memory limit of {} bytes by {how}", self.bytes)
    }

    /// The limit in bytes if something enforces it.
    pub fn enforced_bytes(&self) -> Option<u64> {
        (!matches!(self.kind, Kind::Emulated)).then_some(self.bytes)
    }

    /// Did the kernel kill something in the control group for memory?
    pub fn killed(&self) -> bool {
        let Kind::Cgroup(path) = &self.kind else { return false };
        fs::read_to_string(path.join("memory.events")).is_ok_and(|t| field(&t, "oom_kill").is_some_and(|n| n > 0))
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Kind::Cgroup(path) = &self.kind {
            // It is empty by now; one that is not shows up in the next run's list and does no harm.
            let _ = fs::remove_dir(path);
        }
    }
}

/// A group of our own below the root, or `None` where that cannot be had.
fn make_cgroup(root: &Path, bytes: u64) -> Option<PathBuf> {
    let enabled = fs::read_to_string(root.join("cgroup.subtree_control")).ok()?;
    enabled.split_whitespace().find(|c| *c == "memory")?;
    let path = root.join(format!("boardproof-{}", std::process::id()));
    fs::create_dir(&path).ok()?;
    let limited = fs::write(path.join("memory.max"), bytes.to_string())
        // Swapping would hide the limit behind a slow run; a kernel without swap accounting lacks the file.
        .and_then(|()| fs::write(path.join("memory.swap.max"), "0").or(Ok(())));
    if limited.is_err() {
        let _ = fs::remove_dir(&path);
        return None;
    }
    Some(path)
}

/// Kills for memory that the kernel counted since boot; `None` where it does not count them.
pub fn kernel_kills() -> Option<u64> {
    field(&fs::read_to_string("/proc/vmstat").ok()?, "oom_kill")
}

/// Does this text say that an allocation failed? These are the words of Rust, of C++ and of the C library.
pub fn tells_of_memory(stderr: &str) -> bool {
    const RUST: (&str, &str) = ("memory allocation of ", " bytes failed");
    let rust = stderr
        .split(RUST.0)
        .skip(1)
        .any(|rest| rest.split_once(RUST.1).is_some_and(|(number, _)| number.bytes().all(|b| b.is_ascii_digit())));
    rust || stderr.contains("std::bad_alloc") || stderr.contains("Cannot allocate memory")
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn kernel_is_at_least(wanted: (u32, u32)) -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|found| found >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_made_only_where_the_controller_is_on_already() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(make_cgroup(root.path(), 5), None);
        fs::write(root.path().join("cgroup.subtree_control"), "cpu io\n").unwrap();
        assert_eq!(make_cgroup(root.path(), 5), None);
        fs::write(root.path().join("cgroup.subtree_control"), "cpu memory\n").unwrap();
        let path = make_cgroup(root.path(), 5).unwrap();
        assert_eq!(fs::read_to_string(path.join("memory.max")).unwrap(), "5");
        fs::write(path.join("memory.events"), "max 3\noom 1\noom_kill 1\n").unwrap();
        let limit = MemoryLimit { bytes: 5, kind: Kind::Cgroup(path) };
        assert!(limit.killed());
    }

    #[test]
    fn only_the_words_of_an_allocator_count() {
        assert!(tells_of_memory("memory allocation of 4096 bytes failed\n"));
        assert!(tells_of_memory("terminate called after throwing an instance of 'std::bad_alloc'"));
        assert!(!tells_of_memory("the model says: memory allocation of sorts"));
        assert!(!tells_of_memory("memory allocation of many bytes failed"));
    }
}
