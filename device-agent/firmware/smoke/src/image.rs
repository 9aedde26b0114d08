//! What is flashed of an ELF file.

use std::path::Path;

/// The bytes of flash from address 0 on: all that is loaded, where it is stored. QEMU is given these instead of the file, because it would
/// clear the memory that the file says is left alone.
///
/// # Panics
/// When this is no such file.
pub fn image(elf: &Path) -> Vec<u8> {
    let bytes = std::fs::read(elf).unwrap_or_else(|error| panic!("{}: {error}", elf.display()));
    assert!(bytes.starts_with(b"\x7fELF\x01\x01"), "{} is no 32-bit little-endian ELF file", elf.display());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (table, size, count) = (word(28), half(42), half(44));
    let mut image = Vec::new();
    for entry in (0..count).map(|i| table + i * size) {
        let (kind, from, stored_at, length) = (word(entry), word(entry + 4), word(entry + 12), word(entry + 16));
        if kind != 1 || length == 0 {
            continue;
        }
        if image.len() < stored_at + length {
            image.resize(stored_at + length, 0xff);
        }
        image[stored_at..stored_at + length].copy_from_slice(&bytes[from..from + length]);
    }
    image
}
