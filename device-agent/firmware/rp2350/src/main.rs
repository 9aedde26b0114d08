//! The agent for the Raspberry Pi Pico 2 (RP2350, Cortex-M33), over UART0 on GPIO 0 and 1, at its crystal's 12 MHz.
//!
//! Registers are those of the RP2350 datasheet; the line is ARM's PL011. `proved = false`: this builds, and no board has run it yet.
#![no_std]
#![no_main]

use boardproof_firmware_common::cortex::{Chip, Timer, read, write};
use boardproof_firmware_common::{Micro, Text, firmware};

/// The board.
pub struct Pico2;

const HZ: u32 = 12_000_000;
const CLOCKS: usize = 0x4001_0000;
const CLK_REF_CTRL: usize = CLOCKS + 0x30;
const CLK_REF_SELECTED: usize = CLOCKS + 0x38;
const CLK_PERI_CTRL: usize = CLOCKS + 0x48;
const XOSC: usize = 0x4004_8000;
const RESETS: usize = 0x4002_0000;
const IO_BANK0: usize = 0x4002_8000;
const PADS_BANK0: usize = 0x4003_8000;
const PSM_WDSEL: usize = 0x4001_8008;
const TICKS_WATCHDOG: usize = 0x4010_8030;
const WATCHDOG: usize = 0x400d_8000;
const UART0: usize = 0x4007_0000;
const DR: usize = UART0;
const FR: usize = UART0 + 0x18;
const IBRD: usize = UART0 + 0x24;
const FBRD: usize = UART0 + 0x28;
const LCR_H: usize = UART0 + 0x2c;
const CR: usize = UART0 + 0x30;
const IMSC: usize = UART0 + 0x38;
const ICR: usize = UART0 + 0x44;
const CHIP_ID: usize = 0x4013_0000;

/// Cycles of the crystal to one tick of the watchdog, of 511 at most. Usual is 12, which makes it 16 s long: shorter than an inference may take.
const WATCHDOG_CYCLES: u32 = 480;
const WATCHDOG_S: u32 = 600;
/// What it counts down from.
const WATCHDOG_TICKS: u32 = HZ / WATCHDOG_CYCLES * WATCHDOG_S;
const _: () = assert!(WATCHDOG_TICKS < 1 << 24 && HZ.is_multiple_of(WATCHDOG_CYCLES));
/// All parts of the chip that start in order, but the ring oscillator and the crystal.
const RESETS_ALL: u32 = 0x01ff_ffff & !(1 << 2 | 1 << 3);

const BUSY: u32 = 1 << 3;
const RECEIVER_EMPTY: u32 = 1 << 4;
const SENDER_FULL: u32 = 1 << 5;
/// Set by the hardware on a byte before which others were lost.
const OVERRUN: u32 = 1 << 11;
/// What was received, at once and when nothing follows.
const INTERRUPTS: u32 = 1 << 4 | 1 << 6;

/// Tells the boot ROM that this is a program for the secure state of the ARM cores.
#[unsafe(link_section = ".start_block")]
#[used]
static START_BLOCK: [u32; 5] = [0xffff_ded3, 0x1021_0142, 0x0000_01ff, 0x0000_0000, 0xab12_3579];

impl Chip for Pico2 {
    const BOARD: &'static str = "Raspberry Pi Pico 2";
    const CORE_HZ: u64 = HZ as u64;
    const START_RATE: u32 = 115_200;
    const TIMER: Option<Timer> = None;
    /// A crystal's: a thousandth is more than it may be off by.
    const WATCHDOG_MS: Option<u32> = Some(WATCHDOG_S * 999);
    const RECEIVE_INTERRUPT: i16 = 33;

    fn start() {
        // SAFETY: registers of this chip; nothing else uses these pins, this line or its clock.
        unsafe {
            // The crystal, as reference and with that as the clock of the system, and as the clock of the line.
            write(XOSC + 0x0c, 47);
            write(XOSC, 0x00fa_baa0);
            while read(XOSC + 4) & 1 << 31 == 0 {}
            write(CLK_REF_CTRL, 2);
            while read(CLK_REF_SELECTED) & 1 << 2 == 0 {}
            write(CLK_PERI_CTRL, 1 << 11 | 4 << 5);
            let parts = 1 << 6 | 1 << 9 | 1 << 26;
            write(RESETS, read(RESETS) & !parts);
            while read(RESETS + 8) & parts != parts {}
            // GPIO 0 and 1: function 2, inputs on, not isolated.
            for pin in [0, 1] {
                write(IO_BANK0 + 8 * pin + 4, 2);
                write(PADS_BANK0 + 4 + 4 * pin, 1 << 6 | 1 << 4);
            }
        }
        Self::set_rate(Self::START_RATE);
        start_watchdog();
    }

    fn receive(take: &mut dyn FnMut(u8), lost: &mut dyn FnMut(u32)) {
        // SAFETY: registers of the line. The flags are cleared first: a byte that comes in between asks again.
        unsafe {
            write(ICR, INTERRUPTS);
            while read(FR) & RECEIVER_EMPTY == 0 {
                let byte = read(DR);
                if byte & OVERRUN != 0 {
                    lost(1);
                }
                take(byte as u8);
            }
        }
    }

    fn send(bytes: &[u8]) {
        for byte in bytes {
            // SAFETY: registers of the line.
            unsafe {
                while read(FR) & SENDER_FULL != 0 {}
                write(DR, u32::from(*byte));
            }
        }
    }

    fn drain() {
        // SAFETY: a register of the line.
        while unsafe { read(FR) } & BUSY != 0 {}
    }

    fn can_rate(rate: u32) -> bool {
        (1200..=HZ / 16).contains(&rate)
    }

    fn set_rate(rate: u32) {
        // In 64ths, rounded.
        let divider = (8 * HZ / rate.max(1)).div_ceil(2);
        // SAFETY: registers of the line, which is silent. What it is divided by counts once the format is written.
        unsafe {
            write(CR, 0);
            write(IBRD, divider >> 6);
            write(FBRD, divider & 63);
            // Eight bits, and its queues.
            write(LCR_H, 3 << 5 | 1 << 4);
            write(IMSC, INTERRUPTS);
            write(CR, 1 << 9 | 1 << 8 | 1);
        }
    }

    fn alive() {
        // SAFETY: starts the count anew.
        unsafe { write(WATCHDOG + 4, WATCHDOG_TICKS) };
    }

    fn hurry() {
        // SAFETY: as above, with a hundredth of a second.
        unsafe { write(WATCHDOG + 4, HZ / WATCHDOG_CYCLES / 100) };
    }

    fn reset_reason() -> &'static str {
        // SAFETY: a register of the watchdog. A reset of any other kind clears it.
        if unsafe { read(WATCHDOG + 8) } & 0b11 != 0 { "watchdog" } else { "" }
    }

    fn identity() -> Text<32> {
        // SAFETY: rows of the one-time memory, 16 bits each, written by the maker.
        let [a, b, c, d] = [0, 4, 8, 12].map(|at| unsafe { read(CHIP_ID + at) } & 0xffff);
        Text::of(format_args!("{d:04x}{c:04x}{b:04x}{a:04x}"))
    }
}

/// Its ticks, what it resets, and then the watchdog itself; a debugger that holds the core stops it.
fn start_watchdog() {
    // SAFETY: registers of the watchdog and of its ticks, which nothing else uses.
    unsafe {
        write(TICKS_WATCHDOG + 4, WATCHDOG_CYCLES);
        write(TICKS_WATCHDOG, 1);
        write(PSM_WDSEL, RESETS_ALL);
        write(WATCHDOG + 4, WATCHDOG_TICKS);
        write(WATCHDOG, 1 << 30 | 0b111 << 24);
    }
}

firmware!(Pico2, Micro, Micro);
