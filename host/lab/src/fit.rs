//! Can this program work on this unit? What it needs stands in its head; what the unit has stands in the agent's greeting.
//!
//! Refuses what cannot work, before a byte of it is shipped. What cannot be told here is let through: the agent says how a program
//! ends that does not start.

use crate::link::client::Greeting;
use crate::ship::Blob;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef, elf};
use std::fmt;
use std::fs::File;
use std::path::Path;

/// A program that cannot work on the unit.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// It is made for another processor.
    #[error("the {what} cannot work on this unit: expected a program for {expected}, got one for {found}")]
    Architecture {
        /// The program.
        what: String,
        /// Architecture of the unit.
        expected: String,
        /// Architecture of the program.
        found: String,
    },
    /// It needs another C library than the unit has, or a newer one.
    #[error("the {what} cannot start on this unit: it needs {needed}, the unit has {found}")]
    CLibrary {
        /// The program.
        what: String,
        /// C library that it needs.
        needed: String,
        /// C library of the unit.
        found: String,
    },
}

impl FitError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Architecture { .. } => "set `runner_triple` of the target to one for the unit's architecture".into(),
            Self::CLibrary { .. } => STATIC_RUNNER.into(),
        }
    }
}

/// The ways out of trouble with C libraries.
pub const STATIC_RUNNER: &str = "build the runner against a C library as old as the unit's (an older distribution's compiler as `linker`), or \
     update the unit's system; a musl `runner_triple` would need no C library of the unit, but no such runner has been built yet";

/// Refuses a program that cannot work on the unit that greeted so. A file that is no program for Linux is let through.
pub fn check(program: &Blob, unit: &Greeting) -> Result<(), FitError> {
    match File::open(&program.path).ok().and_then(|file| Needs::of(&ReadCache::new(file))) {
        Some(needs) => needs.met_by(&program.what, &unit.architecture, &unit.system),
        None => Ok(()),
    }
}

/// Architecture that a program or library is made for, as Rust names it; `None` when it is none for Linux, or for one that no board has.
pub(crate) fn architecture_of(file: &Path) -> Option<String> {
    Needs::of(&ReadCache::new(File::open(file).ok()?))?.architecture.map(ToOwned::to_owned)
}

/// What a program needs of the unit that runs it.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    /// Architecture as Rust names it, when it is one that boards have.
    architecture: Option<&'static str>,
    /// Newest version of glibc that it names; `None` when it names none.
    glibc: Option<Version>,
    /// It is started by a loader, which must be on the unit.
    loader: Option<String>,
}

/// Version of a C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self(major, minor))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Needs {
    /// Those of a program; `None` when it is none that this can read.
    fn of<'data, R: ReadRef<'data>>(data: R) -> Option<Self> {
        match FileKind::parse(data).ok()? {
            FileKind::Elf32 => Self::of_elf::<elf::FileHeader32<Endianness>, R>(data),
            FileKind::Elf64 => Self::of_elf::<elf::FileHeader64<Endianness>, R>(data),
            _ => None,
        }
    }

    fn of_elf<'data, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Option<Self> {
        let header = Elf::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, data).ok()?;
        let loader = segments.iter().find_map(|s| s.interpreter(endian, data).ok().flatten());
        Some(Self {
            architecture: architecture(header.e_machine(endian), header.is_class_64()),
            glibc: glibc_needed(header, endian, data),
            loader: loader.map(|path| String::from_utf8_lossy(path).into_owned()),
        })
    }

    fn met_by(&self, what: &str, architecture: &str, system: &str) -> Result<(), FitError> {
        if let Some(found) = self.architecture.filter(|own| *own != architecture) {
            let (expected, found) = (architecture.to_owned(), found.to_owned());
            return Err(FitError::Architecture { what: what.to_owned(), expected, found });
        }
        // A library names no loader: what loads it does.
        let needs_glibc = self.glibc.is_some() || self.loader.as_ref().is_some_and(|it| it.contains("/ld-linux"));
        let needed = match (self.glibc, &self.loader) {
            (Some(version), _) => format!("glibc {version} or later"),
            (None, None) => return Ok(()),
            (None, Some(_)) if needs_glibc => "glibc".to_owned(),
            (None, Some(loader)) => format!("the loader {loader}"),
        };
        let refuse = |found: String| Err(FitError::CLibrary { what: what.to_owned(), needed: needed.clone(), found });
        // `linux gnu 2.36 (a note)`, as the agent writes it.
        let mut words = system.split_whitespace().skip(1);
        match (words.next(), words.next().and_then(Version::parse)) {
            (Some("none"), _) => refuse("no C library".into()),
            (Some("musl"), _) if needs_glibc => refuse("musl".into()),
            (Some("gnu"), Some(found)) if self.glibc.is_some_and(|needed| needed > found) => {
                refuse(format!("glibc {found}"))
            }
            _ => Ok(()),
        }
    }
}

/// The newest version of glibc among those that the program asks of its libraries.
fn glibc_needed<'data, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(
    header: &Elf,
    endian: Endianness,
    data: R,
) -> Option<Version> {
    let sections = header.sections(endian, data).ok()?;
    let (mut libraries, strings) = sections.gnu_verneed(endian, data).ok()??;
    let strings = sections.strings(endian, data, strings).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut versions))) = libraries.next() {
        while let Ok(Some(version)) = versions.next() {
            let name = version.name(endian, strings).ok().and_then(|n| std::str::from_utf8(n).ok());
            newest = newest.max(name.and_then(|n| Version::parse(n.strip_prefix("GLIBC_")?)));
        }
    }
    newest
}

/// Architecture as Rust names it, by the machine's number.
fn architecture(machine: u16, is_64_bit: bool) -> Option<&'static str> {
    match (machine, is_64_bit) {
        (elf::EM_AARCH64, true) => Some("aarch64"),
        (elf::EM_ARM, false) => Some("arm"),
        (elf::EM_RISCV, false) => Some("riscv32"),
        (elf::EM_RISCV, true) => Some("riscv64"),
        (elf::EM_386, false) => Some("x86"),
        (elf::EM_X86_64, true) => Some("x86_64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Makes a program with this machine's compiler. `version` is one of glibc that the program then needs, real or not.
    fn program(folder: &Path, version: Option<&str>, flags: &[&str]) -> Vec<u8> {
        let file = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let cc = |arguments: &[&str]| {
            let made = Command::new("cc").args(arguments).current_dir(folder).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        let mut arguments = vec!["-o", "program", "program.c"];
        if let Some(version) = version {
            // A library that calls itself the C library and has one function, of that version. The real one would come into its way.
            file("versions", &format!("GLIBC_{version} {{ global: needed; }};"));
            file("library.c", "void needed(void) {}");
            let named = "-Wl,-soname,libc.so.6,--version-script=versions";
            cc(&["-shared", "-nostdlib", named, "-o", "libneeded.so", "library.c"]);
            file("program.c", "void needed(void); void _start(void) { needed(); }");
            arguments.extend(["-nostdlib", "-L.", "-lneeded"]);
        } else {
            file("program.c", "int main(void) { return 0; }");
        }
        arguments.extend(flags);
        cc(&arguments);
        std::fs::read(folder.join("program")).unwrap()
    }

    fn needs(bytes: &[u8]) -> Needs {
        Needs::of(bytes).expect("it is a program")
    }

    #[test]
    fn what_a_program_needs_stands_in_its_head() {
        let folder = tempfile::tempdir().unwrap();
        let plain = needs(&program(folder.path(), None, &[]));
        assert_eq!(plain.architecture, Some(std::env::consts::ARCH));
        assert!(plain.glibc.is_some_and(|v| v >= Version(2, 2)), "{plain:?}");
        assert!(plain.loader.is_some_and(|l| l.contains("/ld-linux")));
        let newer = needs(&program(folder.path(), Some("2.99"), &[]));
        assert_eq!(newer.glibc, Some(Version(2, 99)));
        let alone = needs(&program(folder.path(), None, &["-static"]));
        assert_eq!((alone.glibc, alone.loader), (None, None));
        assert_eq!(Needs::of(&b"#!/bin/sh\n"[..]), None);
    }

    #[test]
    fn damaged_heads_are_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let whole = program(folder.path(), Some("2.99"), &[]);
        for length in 0..whole.len().min(5000) {
            let _ = Needs::of(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = Needs::of(&damaged[..]);
        }
    }

    #[test]
    fn only_what_cannot_work_is_refused() {
        let glibc = |version| Needs {
            architecture: Some("aarch64"),
            glibc: version,
            loader: Some("/lib/ld-linux-aarch64.so.1".into()),
        };
        let musl = Needs { glibc: None, loader: Some("/lib/ld-musl-aarch64.so.1".into()), ..glibc(None) };
        let alone = Needs { glibc: None, loader: None, ..glibc(None) };
        let newer = glibc(Some(Version(2, 38)));
        let check = |needs: &Needs, system: &str, expected: Option<&str>| {
            let found = needs.met_by("runner", "aarch64", system).err().map(|e| e.to_string());
            match expected {
                Some(part) => assert!(found.as_ref().is_some_and(|f| f.contains(part)), "{system}: {found:?}"),
                None => assert_eq!(found, None, "{system}"),
            }
        };
        check(&newer, "linux gnu 2.36", Some("it needs glibc 2.38 or later, the unit has glibc 2.36"));
        check(&newer, "linux gnu 2.9 (store in /tmp)", Some("glibc 2.9"));
        check(&newer, "linux gnu 2.38", None);
        check(&newer, "linux gnu 2.100", None);
        check(&newer, "linux gnu 3.0", None);
        check(&newer, "linux musl", Some("the unit has musl"));
        check(&newer, "linux none", Some("the unit has no C library"));
        // Nothing is known that speaks against it.
        for system in ["linux gnu", "linux unknown", "linux", "", "simulated"] {
            check(&newer, system, None);
        }
        check(&glibc(None), "linux musl", Some("needs glibc, the unit has musl"));
        check(&musl, "linux musl", None);
        check(&musl, "linux none", Some("the loader /lib/ld-musl-aarch64.so.1"));
        for system in ["linux none", "linux musl", "linux gnu 2.1"] {
            check(&alone, system, None);
        }
        let other = alone.met_by("runner", "arm", "linux none").unwrap_err().to_string();
        assert!(other.contains("expected a program for arm, got one for aarch64"), "{other}");
    }
}
