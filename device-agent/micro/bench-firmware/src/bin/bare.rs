//! What `flash` is without the engine.
#![no_std]
#![no_main]

use core::hint::black_box;
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let mut arena = [0_u8; 16];
    black_box(black_box(&mut arena).is_empty());
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
