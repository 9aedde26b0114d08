//! What the firmware takes of flash and RAM, and how much of that protocol and link are.
//!
//! Method: three programs are built for the same board (`mps2-an386`, release profile): the agent; `size-empty`, which has start, clock and
//! faults and nothing else; and `size-link`, which has in addition the UART's driver, its ring, the frames, the session and every message,
//! in front of a device that answers anything. What the third has more than the second are protocol core and link. Sections come from the
//! linker: `.text`, `.rodata` and `.data` are flash, `.data` and `.bss` are RAM.

use boardproof_firmware_smoke::{Sizes, build, sizes};

/// Bytes of RAM that are frames and what waits to become some: the ring of the receiver, and the three frames of a line.
const RING_BYTES: u64 = 4096 + 3 * 4;
const FRAMES_BYTES: u64 = 2 * (1024 + 1024 / 254 + 2) + 1024;

fn main() {
    let of = |binary: &str| sizes(&build(binary, "thumbv7em-none-eabihf", ""));
    let (agent, empty, link) = (of("mps2-an386"), of("size-empty"), of("size-link"));
    println!("{:<28} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}", "bytes", "text", "rodata", "data", "bss", "flash", "RAM");
    for (name, sizes) in [("agent with engine", &agent), ("without agent", &empty), ("with protocol and link", &link)] {
        let Sizes { text, rodata, data, bss } = sizes;
        let (flash, ram) = (sizes.flash(), sizes.ram());
        println!("{name:<28} {text:>8} {rodata:>8} {data:>8} {bss:>8} {flash:>8} {ram:>8}");
    }
    let flash = link.flash() - empty.flash();
    let ram = link.ram() - empty.ram();
    println!("protocol core and link: {flash} bytes of flash");
    println!(
        "protocol core and link: {} bytes of static RAM besides frame buffers",
        ram.saturating_sub(RING_BYTES + FRAMES_BYTES)
    );
    println!("frame buffers: {RING_BYTES} bytes of ring, {FRAMES_BYTES} bytes of frames");
}
