//! No agent: start, clock and faults alone. What `size-link` has more than this are protocol and link.
#![no_std]
#![no_main]

use boardproof_firmware_common::Hardware;
use boardproof_firmware_common::cortex::Board;
use boardproof_firmware_mps2::Mps2;

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut board = Board::<Mps2<386>>::start(|| 0);
    loop {
        core::hint::black_box(board.now());
        board.wait(|| true);
    }
}
