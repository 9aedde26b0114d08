//! Nucleo-H743ZI2: USART3 on PD8 and PD9, HSI at 64 MHz.

use crate::{ResetFlags, Sender, Watchdog, change, divider, identity};
use boardproof_firmware_common::Text;
use boardproof_firmware_common::cortex::{Chip, Timer, read, write};

/// The board.
pub struct H743;

const HZ: u32 = 64_000_000;
const RCC: usize = 0x5802_4400;
const GPIOD: usize = 0x5802_0c00;
const USART3: usize = 0x4000_4800;
const CR1: usize = USART3;
const BRR: usize = USART3 + 0x0c;
const ISR: usize = USART3 + 0x1c;
const ICR: usize = USART3 + 0x20;
const RDR: usize = USART3 + 0x24;
const TDR: usize = USART3 + 0x28;
const WATCHDOG: Watchdog = Watchdog(0x5800_4800);
const UNIQUE: usize = 0x1ff1_e800;

const SENDER: Sender = Sender { state: ISR, byte: TDR };
const RESET: ResetFlags = ResetFlags {
    register: RCC + 0xd0,
    clear: 1 << 16,
    watchdog: 1 << 26 | 1 << 28,
    power: 1 << 23 | 1 << 21,
    software: 1 << 24,
    pin: 1 << 22,
};

const OVERRUN: u32 = 1 << 3;
const RECEIVED: u32 = 1 << 5;
/// On, receive, send, and an interrupt for what was received.
const ON: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 5;

impl Chip for H743 {
    const BOARD: &'static str = "Nucleo-H743ZI2";
    const CORE_HZ: u64 = HZ as u64;
    const START_RATE: u32 = 115_200;
    const TIMER: Option<Timer> = None;
    /// Its low-speed clock goes at 33.6 kHz at most (datasheet DS12110).
    const WATCHDOG_MS: Option<u32> = Some(Watchdog::ms(33_600));
    const RECEIVE_INTERRUPT: i16 = 39;

    fn start() {
        // SAFETY: registers of this chip; nothing else uses these pins, this line or the watchdog.
        unsafe {
            change(RCC + 0xe0, 0, 1 << 3);
            change(RCC + 0xe8, 0, 1 << 18);
            // The clock has to arrive before the first write does.
            let _ = read(RCC + 0xe8);
            // PD8 and PD9: alternate function 7.
            change(GPIOD + 0x24, 0xff, 0x77);
            change(GPIOD, 0xf << 16, 0xa << 16);
        }
        Self::set_rate(Self::START_RATE);
        WATCHDOG.start();
    }

    fn receive(take: &mut dyn FnMut(u8), lost: &mut dyn FnMut(u32)) {
        // SAFETY: registers of the line.
        unsafe {
            loop {
                let state = read(ISR);
                if state & OVERRUN != 0 {
                    write(ICR, OVERRUN);
                    lost(1);
                }
                if state & RECEIVED == 0 {
                    return;
                }
                take(read(RDR) as u8);
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
            // SAFETY: registers of the line, which is silent; its rate can only be changed while it is off.
            unsafe {
                write(CR1, 0);
                write(BRR, divider);
                write(CR1, ON);
            }
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
