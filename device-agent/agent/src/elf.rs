//! What a program file was made for, as far as its first bytes say.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Class and machine of a program or library: those for another architecture may lie beside those that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elf {
    /// 1 for 32 bit, 2 for 64 bit.
    pub class: u8,
    /// The machine's number in the file's own byte order.
    pub machine: [u8; 2],
}

impl Elf {
    /// That of a file; `None` when it is none.
    pub fn of(path: &Path) -> Option<Self> {
        Self::read(File::open(path).ok()?)
    }

    /// That of the bytes that `source` gives.
    pub fn read(mut source: impl Read) -> Option<Self> {
        let mut head = [0; 20];
        source.read_exact(&mut head).ok()?;
        head.starts_with(b"\x7fELF").then(|| Self { class: head[4], machine: [head[18], head[19]] })
    }

    /// That of the agent.
    pub fn this() -> Option<Self> {
        Self::of(Path::new("/proc/self/exe"))
    }
}
