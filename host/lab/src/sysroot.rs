//! What an emulated process sees of a machine: the C library of its target, and processors of its own architecture.
//!
//! An emulator in user mode looks into the folder of its C library for every absolute path, and shows this machine's file where there is
//! none. Before version 8.1 QEMU shows `/proc/cpuinfo` that way, which describes no ARM processor on another machine: a library that looks
//! there for its processor finds none, and onnxruntime 1.32.0 follows a null pointer while it is loaded. So the emulated process gets a
//! folder that has all of the C library's, and that file.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where this machine says how many processors it has; an emulated process sees the same file.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
/// The file that is described, below a folder.
const CPUINFO: &str = "proc/cpuinfo";

/// The folder to give an emulator of this architecture: `sysroot` itself where nothing has to be added, else `folder` with links to all that
/// is in it.
pub fn prepared(sysroot: &Path, architecture: &str, folder: &Path) -> io::Result<PathBuf> {
    // Of the others nothing is known that would need it; a folder that is not there is found out by whoever looks for the C library.
    if architecture != "aarch64" || sysroot.join(CPUINFO).exists() || !sysroot.is_dir() {
        return Ok(sysroot.to_path_buf());
    }
    std::fs::create_dir_all(folder.join("proc"))?;
    for entry in std::fs::read_dir(sysroot)? {
        let entry = entry?;
        if entry.file_name() != "proc" {
            link(&entry.path(), &folder.join(entry.file_name()))?;
        }
    }
    let processors = std::fs::read_to_string(POSSIBLE).ok().and_then(|text| last_of(&text)).map_or(1, |last| last + 1);
    let text = cpuinfo(processors);
    let file = folder.join(CPUINFO);
    if std::fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return Ok(folder.to_path_buf());
    }
    // Another run may read it now: it is whole at every moment.
    let part = folder.join(format!("proc/cpuinfo-{}", std::process::id()));
    std::fs::write(&part, text)?;
    std::fs::rename(&part, &file)?;
    Ok(folder.to_path_buf())
}

/// A link that is there already may lead elsewhere: the target file may have been changed.
fn link(to: &Path, at: &Path) -> io::Result<()> {
    if std::fs::read_link(at).is_ok_and(|found| found == to) {
        return Ok(());
    }
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match symlink(to, at) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The highest number of `0-3,8`.
fn last_of(ranges: &str) -> Option<usize> {
    ranges.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// The processors of QEMU's `max` as version 8.1 and later tell of them, with no more features than every 64-bit ARM has: nobody may choose
/// a kernel by what this machine's emulator might not do.
fn cpuinfo(processors: usize) -> String {
    let one = |number: usize| {
        format!(
            "processor\t: {number}\nBogoMIPS\t: 100.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x00\nCPU architecture: 8\n\
             CPU variant\t: 0x0\nCPU part\t: 0x051\nCPU revision\t: 0\n\n"
        )
    };
    (0..processors).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulated_arm_finds_its_c_library_and_a_processor_of_its_kind_for_each_of_this_machine() {
        let home = tempfile::tempdir().unwrap();
        let (sysroot, folder) = (home.path().join("sysroot"), home.path().join("seen"));
        std::fs::create_dir_all(sysroot.join("lib")).unwrap();
        std::fs::write(sysroot.join("lib/libc.so.6"), "c").unwrap();
        for _ in 0..2 {
            assert_eq!(prepared(&sysroot, "aarch64", &folder).unwrap(), folder);
            assert_eq!(std::fs::read_to_string(folder.join("lib/libc.so.6")).unwrap(), "c");
        }
        let text = std::fs::read_to_string(folder.join(CPUINFO)).unwrap();
        let last = std::fs::read_to_string(POSSIBLE).ok().and_then(|text| last_of(&text)).unwrap_or(0);
        assert_eq!(text.matches("CPU implementer").count(), last + 1);
        assert!(!text.contains("model name"), "{text}");
        // The target has another C library from now on.
        let other = home.path().join("other");
        std::fs::create_dir_all(other.join("lib")).unwrap();
        std::fs::write(other.join("lib/libc.so.6"), "other").unwrap();
        prepared(&other, "aarch64", &folder).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("lib/libc.so.6")).unwrap(), "other");
    }

    #[test]
    fn a_folder_that_needs_nothing_is_used_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("seen");
        let sysroot = home.path().join("sysroot");
        assert_eq!(prepared(&sysroot, "aarch64", &folder).unwrap(), sysroot, "it is not there");
        std::fs::create_dir_all(sysroot.join("proc")).unwrap();
        assert_eq!(prepared(&sysroot, "arm", &folder).unwrap(), sysroot);
        std::fs::write(sysroot.join(CPUINFO), "processor : 0\n").unwrap();
        assert_eq!(prepared(&sysroot, "aarch64", &folder).unwrap(), sysroot, "it describes its processors itself");
        assert!(!folder.exists());
    }

    #[test]
    fn processors_are_counted_by_the_last_of_their_ranges() {
        for (text, last) in
            [("0\n", Some(0)), ("0-1\n", Some(1)), ("0-3,8-11", Some(11)), ("0-1,6", Some(6)), ("", None)]
        {
            assert_eq!(last_of(text), last, "{text}");
        }
    }
}
