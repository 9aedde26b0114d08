//! The engine and nothing else: checks a model and runs it. Less what `bare` takes, its sections are the engine's own flash.
#![no_std]
#![no_main]

use boardproof_micro::Model;
use core::hint::black_box;
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let mut arena = [0; 16];
    // Unknown to the compiler, so that no operator is left out.
    let bytes: &[u8] = black_box(&[]);
    if let Ok(model) = Model::check(bytes) {
        black_box(model.run(black_box(&mut arena)).is_ok());
    }
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
