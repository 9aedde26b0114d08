//! Faults: kept across the reset that follows. Memory, bus and usage faults have no handler of their own, so each becomes a hard fault, and
//! CFSR says which it was.

use super::write;
use crate::{Crash, Fault, Text};
use core::mem::MaybeUninit;
use core::ptr::addr_of_mut;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};

/// The record. A debug probe finds it by this name.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.crash")]
static mut BOARDPROOF_CRASH: MaybeUninit<Crash> = MaybeUninit::uninit();

/// The record, for reading and writing.
///
/// # Safety
/// No other reference to it lives: called at the start, from the main loop for one write, and by handlers that never return.
unsafe fn record() -> &'static mut Crash {
    // SAFETY: the caller's; any bits are a `Crash`.
    unsafe { (*addr_of_mut!(BOARDPROOF_CRASH)).assume_init_mut() }
}

/// What the start before this one left. To be called once, first.
pub(super) fn look_back() -> (u32, &'static str, Text<320>) {
    // SAFETY: nothing else runs yet.
    let crash = unsafe { record() };
    let (reason, words) = crash.look_back();
    (crash.starts, reason, words)
}

/// Keeps in mind where a job is.
pub(super) fn mark(job: u32, phase: u32) {
    // SAFETY: the main loop; the reference is gone when this returns.
    let crash = unsafe { record() };
    (crash.job, crash.phase) = (job, phase);
}

/// Writes what is known, once the frame of an exception is found.
///
/// # Safety
/// Called by a handler that never returns.
unsafe fn keep(kind: u32, sp: u32, [pc, lr, psr]: [u32; 3]) -> ! {
    // SAFETY: the caller's. Reads of the system control block have no side effects here.
    unsafe {
        let (crash, scb) = (record(), &*SCB::PTR);
        // A panic has written its kind before it came here.
        if crash.kind != Crash::PANIC {
            crash.kind = kind;
        }
        (crash.pc, crash.lr, crash.psr, crash.sp) = (pc, lr, psr, sp);
        (crash.cfsr, crash.hfsr) = (scb.cfsr.read(), scb.hfsr.read());
        (crash.mmfar, crash.bfar) = (scb.mmfar.read(), scb.bfar.read());
    }
    SCB::sys_reset()
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    let sp = core::ptr::from_ref(frame) as u32 + size_of::<ExceptionFrame>() as u32;
    // SAFETY: this never returns.
    unsafe { keep(Crash::FAULT, sp, [frame.pc(), frame.lr(), frame.xpsr()]) }
}

/// For the first warning of a watchdog, which comes as an interrupt that cannot be masked: keeps where the program was, and resets.
///
/// # Safety
/// `frame` is the main stack pointer at the entry of the exception, and the caller does nothing after this.
pub unsafe fn record_watchdog(frame: *const u32) -> ! {
    // SAFETY: the processor has put eight words there: r0 to r3, r12, lr, pc, psr.
    unsafe {
        let [lr, pc, psr] = [5, 6, 7].map(|at| frame.add(at).read_volatile());
        keep(Crash::WATCHDOG, frame as u32 + 32, [pc, lr, psr])
    }
}

/// A mistake of this firmware, found by itself: ends as a fault does.
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: what comes next is a fault, and that never returns.
    unsafe { record() }.kind = Crash::PANIC;
    cortex_m::asm::udf()
}

/// A fault because somebody asked for one.
pub(super) fn happen(fault: Fault) {
    match fault {
        Fault::Undefined => cortex_m::asm::udf(),
        // SAFETY: nothing is there; that is the point. The vendor area of the system space takes no write on any of our boards.
        Fault::Bus => unsafe { write(0xffff_fff0, 0) },
        Fault::Hang | Fault::Stuck => loop {
            cortex_m::asm::nop();
        },
        Fault::Panic => panic!(),
    }
}
