//! Nucleo-F446RE: USART2 on PA2 and PA3, HSI at 16 MHz.

use crate::{ResetFlags, Sender, Watchdog, change, divider, identity};
use boardproof_firmware_common::Text;
use boardproof_firmware_common::cortex::{Chip, Timer, read, write};

/// The board.
pub struct F446;

const HZ: u32 = 16_000_000;
const RCC: usize = 0x4002_3800;
const GPIOA: usize = 0x4002_0000;
const USART2: usize = 0x4000_4400;
const SR: usize = USART2;
const DR: usize = USART2 + 0x04;
const BRR: usize = USART2 + 0x08;
const CR1: usize = USART2 + 0x0c;
const WATCHDOG: Watchdog = Watchdog(0x4000_3000);
const UNIQUE: usize = 0x1fff_7a10;

const SENDER: Sender = Sender { state: SR, byte: DR };
const RESET: ResetFlags = ResetFlags {
    register: RCC + 0x74,
    clear: 1 << 24,
    watchdog: 1 << 29 | 1 << 30,
    power: 1 << 27 | 1 << 25,
    software: 1 << 28,
    pin: 1 << 26,
};

const OVERRUN: u32 = 1 << 3;
const RECEIVED: u32 = 1 << 5;

impl Chip for F446 {
    const BOARD: &'static str = "Nucleo-F446RE";
    const CORE_HZ: u64 = HZ as u64;
    const START_RATE: u32 = 115_200;
    const TIMER: Option<Timer> = None;
    /// Its low-speed clock goes at 47 kHz at most (datasheet DS10693).
    const WATCHDOG_MS: Option<u32> = Some(Watchdog::ms(47_000));
    const RECEIVE_INTERRUPT: i16 = 38;

    fn start() {
        // SAFETY: registers of this chip; nothing else uses these pins, this line or the watchdog.
        unsafe {
            change(RCC + 0x30, 0, 1);
            change(RCC + 0x40, 0, 1 << 17);
            // PA2 and PA3: alternate function 7.
            change(GPIOA + 0x20, 0xff << 8, 0x77 << 8);
            change(GPIOA, 0xf << 4, 0xa << 4);
            Self::set_rate(Self::START_RATE);
            // On, with an interrupt for what was received; send; receive.
            write(CR1, 1 << 13 | 1 << 5 | 1 << 3 | 1 << 2);
        }
        WATCHDOG.start();
    }

    fn receive(take: &mut dyn FnMut(u8), lost: &mut dyn FnMut(u32)) {
        // SAFETY: registers of the line. Reading the state and then the byte clears both flags.
        unsafe {
            loop {
                let state = read(SR);
                if state & (RECEIVED | OVERRUN) == 0 {
                    return;
                }
                if state & OVERRUN != 0 {
                    lost(1);
                }
                let byte = read(DR) as u8;
                if state & RECEIVED != 0 {
                    take(byte);
                }
            }
        }
    }

    fn send(bytes: &[u8]) {
        SENDER.send(bytes);
    }

    fn drain() {
        SENDER.drain();
    }

    fn can_rate(rate: u32) -> bool {
        divider(HZ, rate).is_some()
    }

    fn set_rate(rate: u32) {
        if let Some(divider) = divider(HZ, rate) {
            // SAFETY: a register of the line, which is silent.
            unsafe { write(BRR, divider) };
        }
    }

    fn alive() {
        WATCHDOG.feed();
    }

    fn hurry() {
        WATCHDOG.hurry();
    }

    fn reset_reason() -> &'static str {
        RESET.take()
    }

    fn identity() -> Text<32> {
        identity(UNIQUE)
    }
}
