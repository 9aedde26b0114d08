//! The memory map, as the linker has made it.

use crate::{Budget, Sections};
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicBool, Ordering};

/// What free stack is painted with.
const PAINT: u32 = 0xb0a2_d0f5;
/// Bytes below the stack pointer that are left alone: the frame of the function that paints.
const MARGIN: usize = 128;

unsafe extern "C" {
    static mut __vector_table: u32;
    static mut __etext: u32;
    static mut __srodata: u32;
    static mut __erodata: u32;
    static mut __sdata: u32;
    static mut __edata: u32;
    static mut __sbss: u32;
    static mut __ebss: u32;
    static mut __suninit: u32;
    static mut __euninit: u32;
    static mut _stack_end: u32;
    static mut _stack_start: u32;
    static mut _store_start: u32;
    static mut _store_end: u32;
    static mut _budget_flash: u32;
    static mut _budget_ram: u32;
}

/// The memory for activations and for blobs; `None` after the first time. What the store holds is what the start before this one left.
pub fn take_memory() -> Option<(&'static mut [u8], &'static mut [u8])> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.load(Ordering::Relaxed) {
        return None;
    }
    TAKEN.store(true, Ordering::Relaxed);
    // SAFETY: memory that the linker has given to nothing else, handed out once. Any bytes are bytes.
    unsafe {
        let region = |from: *mut u32, to: *mut u32| {
            let from = from.cast::<u8>();
            core::slice::from_raw_parts_mut(from, (to as usize).saturating_sub(from as usize))
        };
        let arena = region(addr_of_mut!(__euninit), addr_of_mut!(_stack_end));
        let odd = arena.as_ptr().align_offset(16).min(arena.len());
        let store = region(addr_of_mut!(_store_start), addr_of_mut!(_store_end));
        Some((&mut arena[odd..], store))
    }
}

fn size(from: *const u32, to: *const u32) -> u32 {
    (to as usize).saturating_sub(from as usize) as u32
}

/// What the program takes.
pub(super) fn sections() -> Sections {
    let initial = size(addr_of!(__sdata), addr_of!(__edata));
    let zeroed = size(addr_of!(__sbss), addr_of!(__ebss)) + size(addr_of!(__suninit), addr_of!(__euninit));
    Sections {
        code: size(addr_of!(__vector_table), addr_of!(__etext)),
        constants: size(addr_of!(__srodata), addr_of!(__erodata)),
        initial,
        static_ram: initial + zeroed,
        stack: size(addr_of!(_stack_end), addr_of!(_stack_start)),
    }
}

/// What a product has.
pub(super) fn budget() -> Budget {
    // The symbols are no places: their addresses are the numbers.
    Budget { flash: addr_of!(_budget_flash) as u64, ram: addr_of!(_budget_ram) as u64 }
}

/// Puts paint on the free part of the stack.
#[inline(never)]
pub(super) fn paint_stack() {
    let mut at = addr_of_mut!(_stack_end);
    let end = cortex_m::register::msp::read() as usize - MARGIN;
    while (at as usize) < end {
        // SAFETY: below the stack pointer nothing lives, and interrupts push there only what they pop again; the margin keeps this
        // function's own frame out of it.
        unsafe {
            at.write_volatile(PAINT);
            at = at.add(1);
        }
    }
}

/// Bytes of the stack that are not paint.
pub(super) fn stack_peak() -> u32 {
    let (mut at, start) = (addr_of!(_stack_end), addr_of!(_stack_start));
    // SAFETY: reads the stack's own memory, between the symbols of the linker script.
    while (at as usize) < start as usize && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    size(at, start)
}
