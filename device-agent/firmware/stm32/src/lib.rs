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

/// The independent watchdog, which all of the family have: at most 32.7 s, and it only ever resets.
fn start_watchdog(base: usize) {
    // SAFETY: registers of the watchdog, which nothing else uses.
    unsafe {
        write(base, 0xcccc);
        write(base, 0x5555);
        write(base + 4, 6);
        write(base + 8, 0xfff);
        write(base, 0xaaaa);
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
