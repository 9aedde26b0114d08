//! Firmware of a few instructions, assembled by hand, as ELF files.

use std::ops::Range;

/// Where the core starts.
pub const ENTRY: u32 = 0x40;
pub const STACK: u32 = 0x2040_0000;
/// The word that the counter counts in.
pub const COUNTER: u32 = 0x2000_1000;
/// The counter's loop.
pub const COUNTER_LOOP: Range<u32> = ENTRY + 4..ENTRY + 10;
/// The address that the faulting firmware reads, where nothing is.
pub const NOWHERE: u32 = 0x9000_0000;
/// Its faulting instruction.
pub const FAULTING: u32 = ENTRY + 2;
/// Its handler of HardFaults.
pub const HANDLER: u32 = ENTRY + 6;
/// The control block of the echoing firmware.
pub const RTT: u32 = 0x2000_2000;
/// The word that the vandal changes.
pub const VICTIM: u32 = ENTRY + 16;
/// A place for a crash record.
pub const CRASH: u32 = 0x2000_3000;

/// Counts as fast as it can.
pub fn counter() -> Vec<u8> {
    elf(
        0,
        &image(
            &[
                0x4802, //      ldr  r0, =COUNTER
                0x2100, //      movs r1, #0
                0x1c49, // next: adds r1, r1, #1
                0x6001, //      str  r1, [r0]
                0xe7fc, //      b    next
                0xbf00, //      nop
                0x1000, 0x2000,
            ],
            ENTRY,
        ),
    )
}

/// Reads where nothing is; its handler does nothing for ever.
pub fn fault() -> Vec<u8> {
    elf(
        0,
        &image(
            &[
                0x4801, //      ldr  r0, =NOWHERE
                0x6801, //      ldr  r1, [r0]
                0xe7fe, // end: b    end
                0xe7fe, // handler: b handler
                0x0000, 0x9000,
            ],
            HANDLER,
        ),
    )
}

/// Waits for an interrupt that never comes.
pub fn sleeper() -> Vec<u8> {
    elf(
        0,
        &image(
            &[
                0xbf30, // next: wfi
                0xe7fd, //      b    next
            ],
            ENTRY,
        ),
    )
}

/// Takes bytes from RTT's channel 0 and puts them on channel 0 again, one by one.
pub fn echo() -> Vec<u8> {
    elf(
        0,
        &image(
            &[
                0xf8df, 0x0034, // ldr r0, =RTT
                0x6bc1, // next: ldr  r1, [r0, #60]     down: written up to
                0x6c02, //      ldr  r2, [r0, #64]      down: read up to
                0x4291, //      cmp  r1, r2
                0xd0fb, //      beq  next
                0x6b43, //      ldr  r3, [r0, #52]      down: buffer
                0x5c9c, //      ldrb r4, [r3, r2]
                0x1c52, //      adds r2, r2, #1
                0x6b83, //      ldr  r3, [r0, #56]      down: size
                0x429a, //      cmp  r2, r3
                0xd100, //      bne  took
                0x2200, //      movs r2, #0
                0x6402, // took: str r2, [r0, #64]
                0x6a41, //      ldr  r1, [r0, #36]      up: written up to
                0x69c3, //      ldr  r3, [r0, #28]      up: buffer
                0x545c, //      strb r4, [r3, r1]
                0x1c49, //      adds r1, r1, #1
                0x6a03, //      ldr  r3, [r0, #32]      up: size
                0x4299, //      cmp  r1, r3
                0xd100, //      bne  full
                0x2100, //      movs r1, #0
                0x6a83, // full: ldr r3, [r0, #40]      up: read up to
                0x4299, //      cmp  r1, r3
                0xd0fc, //      beq  full
                0x6241, //      str  r1, [r0, #36]
                0xe7e6, //      b    next
                0xbf00, //      nop
                0x2000, 0x2000,
            ],
            ENTRY,
        ),
    )
}

/// Turns one bit of its own flash, which no flash but QEMU's would let it.
pub fn vandal() -> Vec<u8> {
    let code = [
        0x4802, //      ldr  r0, =VICTIM
        0x6801, //      ldr  r1, [r0]
        0x2210, //      movs r2, #16
        0x4051, //      eors r1, r2
        0x6001, //      str  r1, [r0]
        0xe7fe, // end: b    end
        0x0050, 0x0000, // VICTIM
        0x0000, 0x0000,
    ];
    elf(0, &image(&code, ENTRY))
}

/// The same file with another processor in its head.
pub fn for_a_pc() -> Vec<u8> {
    let mut file = counter();
    file[18] = 62;
    file
}

/// A firmware for a chip whose flash lies elsewhere.
pub fn at(address: u32) -> Vec<u8> {
    elf(address, &image(&[0xe7fe], ENTRY))
}

/// The vector table, with one handler for all faults, and the code behind it.
fn image(code: &[u16], handler: u32) -> Vec<u8> {
    let vectors = [STACK, ENTRY | 1].into_iter().chain([handler | 1; 14]);
    let vectors = vectors.flat_map(u32::to_le_bytes);
    vectors.chain(code.iter().copied().flat_map(u16::to_le_bytes)).collect()
}

const HEADER: usize = 52;
const SEGMENT: usize = 32;
const CODE: usize = HEADER + SEGMENT;

/// What is flashed of an ELF file of this module.
pub fn code(elf: &[u8]) -> &[u8] {
    &elf[CODE..][..code_bytes(elf) as usize]
}

/// How much is flashed of an ELF file of this module: the size in its only segment.
pub fn code_bytes(elf: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes(elf[HEADER + 16..HEADER + 20].try_into().unwrap()))
}

fn elf(address: u32, code: &[u8]) -> Vec<u8> {
    file(address, code, None)
}

/// The same firmware with a symbol in its file.
pub fn with_symbol(elf: &[u8], name: &str, address: u32, length: u32) -> Vec<u8> {
    file(0, code(elf), Some((name, address, length)))
}

/// An ELF file for ARM: one segment, one section around it, a table of symbols and the names of all.
fn file(address: u32, code: &[u8], symbol: Option<(&str, u32, u32)>) -> Vec<u8> {
    let (name, place, length) = symbol.unwrap_or(("nothing", 0, 0));
    let names = format!("\0.text\0.symtab\0.strtab\0{name}\0");
    // Entry 0 is empty by the format; a symbol is name, value, size, kind (a global object), visibility, section (absolute).
    let symbols = words(&[0, 0, 0, 0, 23, place, length, 0xfff1_0011]);
    let symbols_at = (CODE + code.len()).next_multiple_of(4);
    let names_at = symbols_at + symbols.len();
    let sections_at = (names_at + names.len()).next_multiple_of(4);
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0\x01\0\0\0".to_vec();
    file.extend(words(&[address + ENTRY + 1, HEADER as u32, sections_at as u32, 0x0500_0200]));
    file.extend([HEADER as u16, SEGMENT as u16, 1, 40, 4, 3].into_iter().flat_map(u16::to_le_bytes));
    let size = code.len() as u32;
    file.extend(words(&[1, CODE as u32, address, address, size, size, 5, 4]));
    file.extend(code);
    file.resize(symbols_at, 0);
    file.extend(symbols);
    file.extend(names.as_bytes());
    file.resize(sections_at, 0);
    file.extend(words(&[0; 10]));
    file.extend(words(&[1, 1, 6, address, CODE as u32, size, 0, 0, 4, 0]));
    file.extend(words(&[7, 2, 0, 0, symbols_at as u32, 32, 3, 1, 4, 16]));
    file.extend(words(&[15, 3, 0, 0, names_at as u32, names.len() as u32, 0, 0, 1, 0]));
    file
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_le_bytes).collect()
}
