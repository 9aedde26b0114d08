//! The MPS2 boards as QEMU has them: registers of their UART, timer and watchdog.
//!
//! Registers are those of ARM's CMSDK (DDI 0479): APB UART, APB timer, APB watchdog. The three boards differ in their processor and in where
//! their 16 MB lie, which is the linker's business.
#![no_std]

use boardproof_firmware_common::Text;
use boardproof_firmware_common::cortex::{Chip, Timer, read, record_watchdog, write};
use core::sync::atomic::{AtomicU32, Ordering};

/// The board runs at 25 MHz, and so do its timers.
const HZ: u32 = 25_000_000;
const UART: usize = 0x4000_4000;
const DATA: usize = UART;
const STATE: usize = UART + 4;
const CTRL: usize = UART + 8;
const INTERRUPT: usize = UART + 12;
const DIVIDER: usize = UART + 16;
const SENDS: u32 = 1;
const RECEIVED: u32 = 1 << 1;
const OVERRUN: u32 = 1 << 3;
const TIMER: usize = 0x4000_0000;
const WATCHDOG: usize = 0x4000_8000;
const WATCHDOG_LOCK: usize = WATCHDOG + 0xc00;
/// Seconds of one turn of the watchdog: as long as its 32 bits allow.
const TURN_S: u32 = 170;
/// Turns after which it resets. The board's clock in QEMU goes on by 32 ns with every instruction, up to 32 s in one of the host's: so many
/// that a host, which waits for a pass for minutes of its own clock, is through with waiting first.
const TURNS: u32 = 70;
/// Turns that it has warned of since it was fed.
static WARNED: AtomicU32 = AtomicU32::new(0);

/// One of the boards.
pub struct Mps2<const AN: u32>;

impl<const AN: u32> Chip for Mps2<AN> {
    const BOARD: &'static str = match AN {
        385 => "MPS2 AN385",
        386 => "MPS2 AN386",
        500 => "MPS2 AN500",
        _ => panic!(),
    };
    const CORE_HZ: u64 = HZ as u64;
    const START_RATE: u32 = 115_200;
    const TIMER: Option<Timer> =
        Some(Timer { name: "CMSDK TIMER0", hz: HZ as u64, address: TIMER + 4, down: true, start: start_timer });
    const WATCHDOG_MS: Option<u32> = Some(TURN_S * TURNS * 1000);
    const RECEIVE_INTERRUPT: i16 = 0;

    fn start() {
        Self::set_rate(Self::START_RATE);
        // SAFETY: registers of this board; nothing but this and the interrupt uses the UART, and nothing else the watchdog.
        unsafe {
            // Send, receive, and an interrupt for what was received.
            write(CTRL, 0b1011);
            write(WATCHDOG_LOCK, 0x1acc_e551);
            write(WATCHDOG, TURN_S * HZ);
            // Counts, warns at the end of a turn, and resets at the end of the next unless the warning was heard.
            write(WATCHDOG + 8, 0b11);
        }
    }

    fn receive(take: &mut dyn FnMut(u8), lost: &mut dyn FnMut(u32)) {
        // SAFETY: registers of the UART. The flag is cleared first: a byte that comes in between asks again.
        unsafe {
            write(INTERRUPT, 0b0010);
            loop {
                let state = read(STATE);
                if state & OVERRUN != 0 {
                    write(STATE, OVERRUN);
                    lost(1);
                }
                if state & RECEIVED == 0 {
                    return;
                }
                take(read(DATA) as u8);
            }
        }
    }

    fn send(bytes: &[u8]) {
        for byte in bytes {
            Self::drain();
            // SAFETY: as above.
            unsafe { write(DATA, u32::from(*byte)) };
        }
    }

    fn drain() {
        // SAFETY: as above.
        while unsafe { read(STATE) } & SENDS != 0 {}
    }

    fn can_rate(rate: u32) -> bool {
        (1200..=HZ / 16).contains(&rate)
    }

    fn set_rate(rate: u32) {
        // SAFETY: as above.
        unsafe { write(DIVIDER, (HZ / rate.max(1)).max(16)) };
    }

    fn alive() {
        // SAFETY: starts the count anew.
        unsafe { write(WATCHDOG, TURN_S * HZ) };
        WARNED.store(0, Ordering::Relaxed);
    }

    fn hurry() {
        // The next warning is the last but one.
        WARNED.store(TURNS - 2, Ordering::Relaxed);
        // SAFETY: as above, with a hundredth of a second.
        unsafe { write(WATCHDOG, HZ / 100) };
    }

    fn reset_reason() -> &'static str {
        ""
    }

    fn identity() -> Text<32> {
        // QEMU's boards have no number of their own.
        Text::new()
    }
}

fn start_timer() {
    // SAFETY: registers of the timer, which nothing else uses.
    unsafe {
        write(TIMER + 8, u32::MAX);
        write(TIMER + 4, u32::MAX);
        write(TIMER, 1);
    }
}

core::arch::global_asm!(
    ".section .text.NonMaskableInt, \"ax\"",
    ".global NonMaskableInt",
    ".type NonMaskableInt, %function",
    ".thumb_func",
    "NonMaskableInt:",
    "mrs r0, MSP",
    // Where that returns to is where the exception began: LR is as the processor has set it.
    "b {warned}",
    warned = sym warned,
);

/// The watchdog's warning. Nothing masks it, so it interrupts an inference that takes longer than a turn, by some dozens of instructions in
/// thousands of millions.
unsafe extern "C" fn warned(frame: *const u32) {
    let turns = WARNED.load(Ordering::Relaxed) + 1;
    if turns >= TURNS {
        // SAFETY: the handler above has just been entered, and pushed nothing.
        unsafe { record_watchdog(frame) }
    }
    WARNED.store(turns, Ordering::Relaxed);
    // SAFETY: takes the warning back and lets the next turn begin.
    unsafe { write(WATCHDOG + 12, 1) };
}
