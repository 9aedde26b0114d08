//! What the firmware takes of flash and RAM, and how much of that protocol and link are, and the engine.
//!
//! Method: programs are built for the same board (`mps2-an386`, release profile). `agent` is the firmware. `empty` has start, clock and faults
//! and nothing else; `link` has in addition the UART's driver, its ring, the frames, the session and every message, in front of a device that
//! answers anything: what it has more than `empty` are protocol core and link. `engine` checks and runs a model and does nothing else, `bare`
//! does not even that. Sections come from the linker: `.vector_table`, `.text`, `.rodata` and `.data` are flash, `.data` and `.bss` are RAM.

use boardproof_firmware_smoke::{Sizes, build, build_engine, sizes};

/// Bytes of RAM that are frames and what waits to become some: the ring of the receiver, and the three frames of a line.
const RING_BYTES: u64 = 4096 + 3 * 4;
const FRAMES_BYTES: u64 = 2 * (1024 + 1024 / 254 + 2) + 1024;

fn main() {
    let of = |binary: &str| sizes(&build(binary, "thumbv7em-none-eabihf", ""));
    let (agent, empty, link) = (of("mps2-an386"), of("size-empty"), of("size-link"));
    let (engine, bare) = (sizes(&build_engine("flash")), sizes(&build_engine("bare")));
    println!(
        "{:<8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "bytes", "vectors", "text", "rodata", "data", "bss", "flash", "RAM"
    );
    for (name, sizes) in [("agent", &agent), ("empty", &empty), ("link", &link), ("engine", &engine), ("bare", &bare)] {
        let Sizes { vectors, text, rodata, data, bss } = sizes;
        let (flash, ram) = (sizes.flash(), sizes.ram());
        println!("{name:<8} {vectors:>8} {text:>8} {rodata:>8} {data:>8} {bss:>8} {flash:>8} {ram:>8}");
    }
    let frames = RING_BYTES + FRAMES_BYTES;
    println!("flash of protocol core and link: {} bytes", link.flash() - empty.flash());
    println!("flash of the engine with all operators: {} bytes", engine.flash() - bare.flash());
    println!(
        "RAM of protocol core and link besides frame buffers: {} bytes",
        (link.ram() - empty.ram()).saturating_sub(frames)
    );
    println!("RAM of the agent besides frame buffers: {} bytes", agent.ram().saturating_sub(frames));
    println!("RAM of frame buffers: {frames} bytes");
}
