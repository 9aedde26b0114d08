//! Two STM32 boards over the serial line of their ST-LINK, at the clocks that they start with.
//!
//! Registers are those of the reference manuals RM0390 (F446) and RM0433 (H743). `proved = false`: this builds, and no board has run it yet.
#![no_std]

mod f446;
mod h743;

pub use f446::F446;
pub use h743::H743;

use boardproof_firmware_common::Text;
use boardproof_firmware_common::cortex::{read, write};

/// The independent watchdog, which all of the family have, by its base: 32.8 s at the 32 kHz of its clock and no longer, and it only ever
/// resets.
struct Watchdog(usize);

impl Watchdog {
    /// Time that it counts by a clock of so many hertz: 4096 times 256 of its periods.
    const fn ms(hz: u32) -> u32 {
        (4096 * 256 * 1000_u64 / hz as u64) as u32
    }

    fn start(&self) {
        // SAFETY: registers of the watchdog, which nothing else uses.
        unsafe {
            write(self.0, 0xcccc);
            write(self.0, 0x5555);
            write(self.0 + 4, 6);
            write(self.0 + 8, 0xfff);
            write(self.0, 0xaaaa);
        }
    }

    fn feed(&self) {
        // SAFETY: as above.
        unsafe { write(self.0, 0xaaaa) };
    }

    /// Resets soon: 64 counts at the same pace.
    fn hurry(&self) {
        // SAFETY: as above.
        unsafe {
            write(self.0, 0x5555);
            write(self.0 + 8, 64);
            write(self.0, 0xaaaa);
        }
    }
}

/// What the family's lines have in common: where state and bytes to send lie.
struct Sender {
    state: usize,
    byte: usize,
}

impl Sender {
    const SENT: u32 = 1 << 6;
    const EMPTY: u32 = 1 << 7;

    fn send(&self, bytes: &[u8]) {
        for byte in bytes {
            // SAFETY: registers of the line, which nothing else writes.
            unsafe {
                while read(self.state) & Self::EMPTY == 0 {}
                write(self.byte, u32::from(*byte));
            }
        }
    }

    fn drain(&self) {
        // SAFETY: as above.
        while unsafe { read(self.state) } & Self::SENT == 0 {}
    }
}

/// The register that says why the chip was reset, and the bits in it: several may be set, those named first tell most.
struct ResetFlags {
    register: usize,
    clear: u32,
    watchdog: u32,
    power: u32,
    software: u32,
    pin: u32,
}

impl ResetFlags {
    /// Why the chip was reset. The flags are cleared for the next start.
    fn take(&self) -> &'static str {
        // SAFETY: a register of the reset control.
        let flags = unsafe { read(self.register) };
        // SAFETY: as above.
        unsafe { change(self.register, 0, self.clear) };
        let reasons =
            [(self.watchdog, "watchdog"), (self.power, "power on"), (self.software, "software"), (self.pin, "pin")];
        reasons.iter().find(|(bits, _)| flags & bits != 0).map_or("", |(_, reason)| reason)
    }
}

/// Divider of the line's clock for a rate, when the rate that results is within 2 % of it.
fn divider(clock: u32, rate: u32) -> Option<u32> {
    let divider = clock.checked_add(rate / 2)?.checked_div(rate)?;
    let made = clock.checked_div(divider)?;
    ((16..=0xffff).contains(&divider) && made.abs_diff(rate) <= rate / 50).then_some(divider)
}

/// The chip's number of 96 bits.
fn identity(address: usize) -> Text<32> {
    // SAFETY: memory of the system, written by the maker.
    let [a, b, c] = unsafe { [read(address), read(address + 4), read(address + 8)] };
    Text::of(format_args!("{a:08x}{b:08x}{c:08x}"))
}

/// Sets and clears bits of a register.
///
/// # Safety
/// As for [`write`].
unsafe fn change(address: usize, clear: u32, set: u32) {
    // SAFETY: the caller's.
    unsafe { write(address, read(address) & !clear | set) };
}
