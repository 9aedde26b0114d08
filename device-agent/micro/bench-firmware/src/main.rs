//! Runs each kernel once, compares its answer with the host's, and prints the instructions it took.
//!
//! Meant for QEMU with `-icount shift=0`, where an instruction takes one nanosecond of the emulated clock: the figures are counts of
//! instructions, not cycles. Exits with an error when an answer differs by one bit.
#![no_std]
#![no_main]

use boardproof_micro::Model;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use cortex_m_semihosting::{debug, hprintln};

/// A model of one layer.
struct Case {
    name: &'static str,
    model: &'static [u8],
    input: &'static [u8],
    answer: &'static [u8],
}

/// What is measured.
static CASES: &[Case] = include!(concat!(env!("OUT_DIR"), "/cases.rs"));
/// Of other shapes, whose answers alone count: the host's tests do not see the instructions of this core.
static SHAPES: &[Case] = include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Lies as models and arenas do in the agent.
#[repr(align(16))]
struct Aligned<T>(T);

/// Nanoseconds of one tick of the timer, which counts at 25 MHz.
const TICK_NS: u32 = 40;
const ARENA_BYTES: usize = 32 * 1024;

/// CMSDK TIMER0 of the MPS2 boards: counts down.
const TIMER_CTRL: *mut u32 = 0x4000_0000 as *mut u32;
const TIMER_VALUE: *mut u32 = 0x4000_0004 as *mut u32;
const TIMER_RELOAD: *mut u32 = 0x4000_0008 as *mut u32;

fn start_timer() {
    // SAFETY: the registers exist on the boards this is built for, and nothing else uses the timer.
    unsafe {
        TIMER_RELOAD.write_volatile(u32::MAX);
        TIMER_VALUE.write_volatile(u32::MAX);
        TIMER_CTRL.write_volatile(1);
    }
}

fn ticks() -> u32 {
    // SAFETY: as above; reading has no effect.
    u32::MAX - unsafe { TIMER_VALUE.read_volatile() }
}

#[entry]
fn main() -> ! {
    start_timer();
    let mut arena = Aligned([0; ARENA_BYTES]);
    let arena = &mut arena.0;
    let path = if cfg!(feature = "dsp") { "dsp" } else { "plain" };
    let mut good = true;
    for case in CASES {
        good &= measure(case, path, arena);
    }
    for (index, case) in SHAPES.iter().enumerate() {
        if !run(case, arena) {
            hprintln!("{:5} {} {}: DIFFERENT", path, case.name, index);
            good = false;
        }
    }
    debug::exit(if good { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        core::hint::spin_loop();
    }
}

/// Prints one line; is the answer the host's?
fn measure(case: &Case, path: &str, arena: &mut [u8]) -> bool {
    let model = match Model::check(case.model) {
        Ok(model) => model,
        Err(error) => {
            hprintln!("{}: {}", case.name, error);
            return false;
        }
    };
    arena[model.input(0).range()].copy_from_slice(case.input);
    let before = ticks();
    let ran = model.run(arena);
    let instructions = u64::from(ticks().wrapping_sub(before)) * u64::from(TICK_NS);
    let macs: u64 = model.operators().map(|operator| model.macs(&operator)).sum();
    let hundredths = instructions * 100 / macs.max(1);
    let same = ran.is_ok() && arena[model.output(0).range()] == *case.answer;
    let verdict = if same { "equal" } else { "DIFFERENT" };
    hprintln!(
        "{:5} {:28} {:7} macs {:8} instructions {}.{:02} each, {}",
        path,
        case.name,
        macs,
        instructions,
        hundredths / 100,
        hundredths % 100,
        verdict
    );
    same
}

/// Is the answer the host's?
fn run(case: &Case, arena: &mut [u8]) -> bool {
    let Ok(model) = Model::check(case.model) else { return false };
    arena[model.input(0).range()].copy_from_slice(case.input);
    model.run(arena).is_ok() && arena[model.output(0).range()] == *case.answer
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {
        core::hint::spin_loop();
    }
}

#[exception]
unsafe fn HardFault(_frame: &ExceptionFrame) -> ! {
    hprintln!("hard fault");
    debug::exit(debug::EXIT_FAILURE);
    loop {
        core::hint::spin_loop();
    }
}
