//! Sections of an ELF file.

use std::path::Path;

/// Bytes of a program, by section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Table of vectors.
    pub vectors: u64,
    /// Code.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Variables with initial values: in flash and in RAM.
    pub data: u64,
    /// Variables without.
    pub bss: u64,
}

impl Sizes {
    /// Flash.
    pub fn flash(&self) -> u64 {
        self.vectors + self.text + self.rodata + self.data
    }

    /// RAM, without stack and arena.
    pub fn ram(&self) -> u64 {
        self.data + self.bss
    }
}

/// The sections of an ELF file for 32 bit.
///
/// # Panics
/// When this is no such file.
pub fn sizes(elf: &Path) -> Sizes {
    let bytes = std::fs::read(elf).unwrap_or_else(|error| panic!("{}: {error}", elf.display()));
    assert!(bytes.starts_with(b"\x7fELF\x01\x01"), "{} is no 32-bit little-endian ELF file", elf.display());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (table, size, count, names) = (word(32), half(46), half(48), half(50));
    let names = word(table + names * size + 16);
    let mut sizes = Sizes::default();
    for entry in (0..count).map(|i| table + i * size) {
        let name = &bytes[names + word(entry)..];
        let length = word(entry + 20) as u64;
        match name.split(|byte| *byte == 0).next().unwrap_or_default() {
            b".vector_table" => sizes.vectors += length,
            b".text" => sizes.text += length,
            b".rodata" => sizes.rodata += length,
            b".data" => sizes.data += length,
            b".bss" => sizes.bss += length,
            _ => {}
        }
    }
    sizes
}
