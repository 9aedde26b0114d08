//! The clock: what counts best on this chip, found by looking whether it moves.

use super::{read, write};
use crate::{Extended, Text};
use core::cell::RefCell;
use cortex_m::interrupt::{self, Mutex};
use cortex_m_rt::exception;

/// A timer of 32 bit in memory, for chips whose cycle counter does not count.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    /// Its name.
    pub name: &'static str,
    /// Its ticks per second.
    pub hz: u64,
    /// Address of its count.
    pub address: usize,
    /// It counts down.
    pub down: bool,
    /// Starts it.
    pub start: fn(),
}

/// What counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// The processor's own counter of cycles.
    Cycles,
    /// The chip's timer.
    Timer { address: usize, flip: u32 },
    /// The timer of every Cortex-M: 24 bit, down.
    SysTick,
}

const DEMCR: usize = 0xe000_edfc;
const DWT_CTRL: usize = 0xe000_1000;
const DWT_CYCCNT: usize = 0xe000_1004;
const DWT_LAR: usize = 0xe000_1fb0;
const SYST_CSR: usize = 0xe000_e010;
const SYST_RVR: usize = 0xe000_e014;
const SYST_CVR: usize = 0xe000_e018;

impl Source {
    #[inline(always)]
    fn raw(self) -> u32 {
        // SAFETY: registers of every Cortex-M, and the timer that the chip has named.
        unsafe {
            match self {
                Self::Cycles => read(DWT_CYCCNT),
                Self::Timer { address, flip } => read(address) ^ flip,
                Self::SysTick => 0xff_ffff - (read(SYST_CVR) & 0xff_ffff),
            }
        }
    }

    fn moves(self) -> bool {
        let before = self.raw();
        (0..64).any(|_| self.raw() != before)
    }
}

static CLOCK: Mutex<RefCell<Option<(Source, Extended)>>> = Mutex::new(RefCell::new(None));

/// Finds the clock and starts it. Returns its source, its ticks per second, and how it was found.
pub(super) fn start(core_hz: u64, timer: Option<&Timer>) -> (Source, u64, Text<96>) {
    // SAFETY: registers of every Cortex-M. SysTick is this module's. Where there is no DWT, it reads 0 and takes writes in silence.
    unsafe {
        write(DEMCR, read(DEMCR) | 1 << 24);
        // The Cortex-M7 has a lock on it.
        write(DWT_LAR, 0xc5ac_ce55);
        write(DWT_CTRL, read(DWT_CTRL) | 1);
        // Runs on every chip: it ends waits, so that the watchdog is fed and no turn of the clock is missed.
        write(SYST_RVR, 0xff_ffff);
        write(SYST_CVR, 0);
        write(SYST_CSR, 0b111);
    }
    let (source, hz, words) = choose(core_hz, timer);
    let extended = Extended::new(if matches!(source, Source::SysTick) { 24 } else { 32 }, source.raw());
    interrupt::free(|token| *CLOCK.borrow(token).borrow_mut() = Some((source, extended)));
    (source, hz, words)
}

fn choose(core_hz: u64, timer: Option<&Timer>) -> (Source, u64, Text<96>) {
    if Source::Cycles.moves() {
        return (Source::Cycles, core_hz, Text::of(format_args!("DWT CYCCNT")));
    }
    let Some(timer) = timer else {
        return (Source::SysTick, core_hz, Text::of(format_args!("SysTick (DWT CYCCNT does not move)")));
    };
    (timer.start)();
    let source = Source::Timer { address: timer.address, flip: if timer.down { u32::MAX } else { 0 } };
    if source.moves() {
        return (source, timer.hz, Text::of(format_args!("{} (DWT CYCCNT does not move)", timer.name)));
    }
    (Source::SysTick, core_hz, Text::of(format_args!("SysTick (neither DWT CYCCNT nor {} moves)", timer.name)))
}

/// Ticks since the start.
pub(super) fn now() -> u64 {
    interrupt::free(|token| match &mut *CLOCK.borrow(token).borrow_mut() {
        Some((source, extended)) => extended.at(source.raw()),
        None => 0,
    })
}

/// Calls `act` with the clock while no interrupt comes. A clock of 32 bit must not turn twice in that time.
pub(super) fn undisturbed(act: &mut dyn FnMut(&mut dyn FnMut() -> u64)) {
    interrupt::free(|token| {
        let mut clock = CLOCK.borrow(token).borrow_mut();
        if let Some((Source::Timer { address, .. }, _)) = *clock {
            settle(address);
        }
        let mut now = || clock.as_mut().map_or(0, |(source, extended)| extended.at(source.raw()));
        act(&mut now);
    });
}

/// Waits for the same place between two ticks of a timer as the last time: there begins every measurement, so that equal work is equally many
/// ticks. Needed, and possible, where instructions and ticks stand in a fixed ratio, as in QEMU with `-icount shift=5`: an instruction takes
/// 32 ns, a tick 40, and two loads in a row see the same tick only where at most 8 ns of it have passed. Where ticks are longer than that,
/// two loads in a row see the same tick nearly always, and this does nothing.
fn settle(address: usize) {
    let mut delay = 1_u32;
    for _ in 0..200 {
        let (first, second): (u32, u32);
        // SAFETY: reads the timer that the chip has named.
        unsafe {
            core::arch::asm!(
                "ldr {first}, [{timer}]",
                "ldr {second}, [{timer}]",
                timer = in(reg) address,
                first = out(reg) first,
                second = out(reg) second,
                options(nostack, readonly, preserves_flags)
            );
        }
        if first == second {
            return;
        }
        // Waits of many lengths: a loop of five instructions would look at the same place for ever.
        delay = delay.wrapping_mul(5).wrapping_add(3) & 0xff;
        (0..delay & 7).for_each(|_| cortex_m::asm::nop());
    }
}

/// Often enough that no turn of the clock is missed.
#[exception]
fn SysTick() {
    now();
}
