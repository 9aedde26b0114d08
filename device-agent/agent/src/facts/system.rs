//! Kernel, C library, operating system, board, memory, load and identity.

use crate::elf::Elf;
use crate::facts::{Reading, read};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Kernel name, release and version.
pub fn kernel() -> String {
    let name = rustix::system::uname();
    let words = [name.sysname(), name.release(), name.version(), name.machine()];
    words.map(|w| w.to_string_lossy().into_owned()).join(" ")
}

/// The board's C library for programs of the agent's own architecture: `gnu 2.36`, `gnu` when it does not tell its version, `musl`,
/// `none` when no program can start that needs one, or why that cannot be said.
pub fn libc() -> Reading<String> {
    libc_below(Path::new("/"))
}

fn libc_below(root: &Path) -> Reading<String> {
    let own = Elf::this();
    let is_own = |path: &PathBuf| Elf::of(path) == own;
    let loader = glibc_loader().map(|name| root.join(name));
    // Without its loader a C library is of no use; programs name the loader by a path that never changes.
    if loader.as_ref().is_none_or(is_own)
        && let Some(library) = glibc_paths(root, loader.as_deref()).into_iter().find(is_own)
    {
        return Ok(glibc_version(&library).map_or_else(|| "gnu".into(), |version| format!("gnu {version}")));
    }
    let loaders = fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
    let mut musl =
        loaders.filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with("ld-musl-"))).map(|e| e.path());
    match (musl.any(|path| is_own(&path)), loader) {
        (true, _) => Ok("musl".into()),
        (false, Some(loader)) if !loader.exists() => Ok("none".into()),
        (false, _) => Err("neither glibc nor musl was found at its usual place".into()),
    }
}

/// Where every program that was linked with glibc looks for its loader, below the root; `None` for an architecture not listed.
fn glibc_loader() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "aarch64" => Some("lib/ld-linux-aarch64.so.1"),
        "arm" => Some("lib/ld-linux-armhf.so.3"),
        "riscv64" => Some("lib/ld-linux-riscv64-lp64d.so.1"),
        "x86" => Some("lib/ld-linux.so.2"),
        "x86_64" => Some("lib64/ld-linux-x86-64.so.2"),
        _ => None,
    }
}

/// Where the C library may lie: beside its loader's own file, or where distributions put it.
fn glibc_paths(root: &Path, loader: Option<&Path>) -> Vec<PathBuf> {
    let arch = std::env::consts::ARCH;
    let tuple = match arch {
        "arm" => "arm-linux-gnueabihf".to_owned(),
        "x86" => "i386-linux-gnu".to_owned(),
        _ => format!("{arch}-linux-gnu"),
    };
    let folders =
        [format!("lib/{tuple}"), format!("usr/lib/{tuple}"), "lib64".into(), "usr/lib64".into(), "lib".into()];
    let usual = folders.into_iter().chain(["usr/lib".into()]).map(|f| root.join(f));
    let beside = loader.and_then(|l| Some(fs::canonicalize(l).ok()?.parent()?.to_owned()));
    beside.into_iter().chain(usual).map(|folder| folder.join("libc.so.6")).collect()
}

/// The library carries a sentence about itself; running it or `ldd` would start a program.
fn glibc_version(path: &Path) -> Option<String> {
    const SENTENCE: &[u8] = b"GNU C Library";
    const VERSION: &[u8] = b"version ";
    let mut reader = BufReader::with_capacity(64 * 1024, File::open(path).ok()?);
    let mut window: Vec<u8> = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = reader.read(&mut piece).ok()?;
        window.extend_from_slice(&piece[..read]);
        let mut from = 0;
        while let Some(at) = find(&window[from..], SENTENCE).map(|at| from + at) {
            let sentence = &window[at..window.len().min(at + 200)];
            if let Some(version) = find(sentence, VERSION).map(|v| &sentence[v + VERSION.len()..]) {
                let digits: Vec<u8> =
                    version.iter().copied().take_while(|b| b.is_ascii_digit() || *b == b'.').collect();
                let version = String::from_utf8(digits).ok()?.trim_end_matches('.').to_owned();
                if !version.is_empty() {
                    return Some(version);
                }
            }
            from = at + SENTENCE.len();
        }
        if read == 0 {
            return None;
        }
        // A sentence may lie across two pieces.
        let keep = window.len().min(256);
        window.drain(..window.len() - keep);
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

/// Name and version of the operating system.
pub fn os() -> Reading<String> {
    let text = read(Path::new("/etc/os-release")).or_else(|_| read(Path::new("/usr/lib/os-release")))?;
    let value = |name: &str| {
        text.lines().find_map(|l| Some(l.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"').to_owned()))
    };
    value("PRETTY_NAME").or_else(|| value("NAME")).ok_or_else(|| "os-release names no system".into())
}

/// Board model as the firmware names it: device tree, else DMI.
pub fn board() -> Reading<String> {
    if let Some(model) = firmware_text("/proc/device-tree/model") {
        return Ok(model);
    }
    let dmi = ["sys_vendor", "product_name"].map(|n| firmware_text(&format!("/sys/class/dmi/id/{n}")));
    let words: Vec<String> = dmi.into_iter().flatten().collect();
    if words.is_empty() { Err("neither device tree nor DMI names the board".into()) } else { Ok(words.join(" ")) }
}

/// What names this one unit: machine id, else serial number of the board, else DMI's id of the product; empty when there is none.
pub fn unit() -> String {
    let sources = ["/etc/machine-id", "/proc/device-tree/serial-number", "/sys/class/dmi/id/product_uuid"];
    sources.into_iter().find_map(firmware_text).unwrap_or_default()
}

/// A text file that may end in zero bytes; `None` when it is missing or empty.
fn firmware_text(path: &str) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    // The id of a system that was never started is this word.
    (!text.is_empty() && text != "uninitialized").then(|| text.to_owned())
}

/// A field of `/proc/meminfo` in bytes.
pub fn memory_bytes(field: &str) -> Reading<u64> {
    kib_field("/proc/meminfo", field)
}

/// Resident set of the agent itself in bytes.
pub fn own_rss_bytes() -> Reading<u64> {
    kib_field("/proc/self/status", "VmRSS")
}

fn kib_field(path: &str, field: &str) -> Reading<u64> {
    let text = read(Path::new(path))?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|k| k * 1024).ok_or_else(|| format!("{path} has no {field} in kB"))
}

/// Load average over one minute times 1000.
pub fn load_milli() -> Reading<u64> {
    let text = read(Path::new("/proc/loadavg"))?;
    let first =
        text.split_whitespace().next().and_then(|t| t.parse::<f64>().ok()).filter(|l| l.is_finite() && *l >= 0.0);
    first.map(|l| (l * 1000.0).round() as u64).ok_or_else(|| format!("/proc/loadavg: expected a number, got '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(root: &Path, folder: &str, name: &str, elf: &Elf, text: &[u8]) {
        let mut bytes = vec![0; 64 * 1024 - 10];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[4] = elf.class;
        bytes[18..20].copy_from_slice(&elf.machine);
        bytes.extend_from_slice(text);
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join(name), bytes).unwrap();
    }

    #[test]
    fn the_c_library_of_the_own_architecture_counts() {
        let own = Elf::this().unwrap();
        let foreign = Elf { class: own.class, machine: [0xfe, 0xca] };
        let root = tempfile::tempdir().unwrap();
        let libc = || libc_below(root.path());
        let (folder, loader) = glibc_loader().unwrap().rsplit_once('/').unwrap();
        assert_eq!(libc().as_deref(), Ok("none"));
        // The sentence lies across the border of two pieces.
        let sentence = b"GNU C Library (Some 2.36-9) stable release version 2.36.\nCopyright";
        library(root.path(), "usr/lib", "libc.so.6", &own, sentence);
        assert_eq!(libc().as_deref(), Ok("none"), "a library without its loader starts nothing");
        library(root.path(), "lib", "ld-musl-any.so.1", &own, b"");
        assert_eq!(libc().as_deref(), Ok("musl"));
        library(root.path(), folder, loader, &foreign, b"");
        library(root.path(), "lib64", "libc.so.6", &foreign, b"GNU C Library stable release version 9.99.\n");
        assert_eq!(libc().as_deref(), Ok("musl"));
        library(root.path(), folder, loader, &own, b"");
        assert_eq!(libc().as_deref(), Ok("gnu 2.36"));
    }

    #[test]
    fn a_c_library_lies_beside_its_loader_and_may_keep_its_version_to_itself() {
        let own = Elf::this().unwrap();
        let root = tempfile::tempdir().unwrap();
        let loader = root.path().join(glibc_loader().unwrap());
        library(root.path(), "opt/system", "ld.so", &own, b"");
        fs::create_dir_all(loader.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(root.path().join("opt/system/ld.so"), loader).unwrap();
        assert!(libc_below(root.path()).is_err(), "there is a loader, so somewhere there is a library");
        library(root.path(), "opt/system", "libc.so.6", &own, b"");
        assert_eq!(libc_below(root.path()).as_deref(), Ok("gnu"));
        library(root.path(), "opt/system", "libc.so.6", &own, b"GNU C Library stable release version 2.41.\n");
        assert_eq!(libc_below(root.path()).as_deref(), Ok("gnu 2.41"));
    }

    #[test]
    fn the_unit_can_say_its_kernel_memory_and_load() {
        assert!(kernel().starts_with("Linux "));
        assert!(memory_bytes("MemTotal").unwrap() > 1 << 20);
        assert!(memory_bytes("NoSuchField").unwrap_err().contains("NoSuchField"));
        load_milli().unwrap();
    }
}
