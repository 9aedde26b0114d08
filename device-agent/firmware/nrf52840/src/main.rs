//! The agent for the nRF52840 DK (Cortex-M4F), over the serial line of its debugger: UART0 on P0.06 and P0.08, 64 MHz.
//!
//! Registers are those of the product specification of the nRF52840. `proved = false`: this builds, and no board has run it yet.
#![no_std]
#![no_main]

use boardproof_firmware_common::cortex::{Chip, Timer, read, write};
use boardproof_firmware_common::{Micro, Text, firmware};
use core::sync::atomic::{AtomicBool, Ordering};

/// The board.
pub struct Nrf52840;

const UART: usize = 0x4000_2000;
const START_RECEIVE: usize = UART;
const START_SEND: usize = UART + 0x008;
const RECEIVED: usize = UART + 0x108;
const SENT: usize = UART + 0x11c;
const ERROR: usize = UART + 0x124;
const INTERRUPT_SET: usize = UART + 0x304;
const ERROR_SOURCE: usize = UART + 0x480;
const ENABLE: usize = UART + 0x500;
const PIN_SEND: usize = UART + 0x50c;
const PIN_RECEIVE: usize = UART + 0x514;
const RXD: usize = UART + 0x518;
const TXD: usize = UART + 0x51c;
const RATE: usize = UART + 0x524;
const WATCHDOG: usize = 0x4001_0000;
const RELOAD: u32 = 0x6e52_4635;
/// Seconds, at 32,768 counts each. Its clock is an oscillator that nothing calibrates here: a twentieth is more than it may be off by.
const WATCHDOG_S: u32 = 600;
const RESET_REASON: usize = 0x4000_0400;
const DEVICE_ID: usize = 0x1000_0060;

/// Rates that the line has, and what its register wants for them.
const RATES: [(u32, u32); 6] = [
    (115_200, 0x01d7_e000),
    (230_400, 0x03af_b000),
    (250_000, 0x0400_0000),
    (460_800, 0x075f_7000),
    (921_600, 0x0ebe_d000),
    (1_000_000, 0x1000_0000),
];

/// A byte is on its way: the line tells when it is out, and not that it is idle.
static SENDS: AtomicBool = AtomicBool::new(false);

impl Chip for Nrf52840 {
    const BOARD: &'static str = "nRF52840 DK";
    const CORE_HZ: u64 = 64_000_000;
    const START_RATE: u32 = 115_200;
    const TIMER: Option<Timer> = None;
    const WATCHDOG_MS: Option<u32> = Some(WATCHDOG_S * 950);
    const RECEIVE_INTERRUPT: i16 = 2;

    fn start() {
        // SAFETY: registers of this chip; nothing else uses these pins, this line or the watchdog.
        unsafe {
            // P0.06 is high before it is an output.
            write(0x5000_0508, 1 << 6);
            write(0x5000_0518, 1 << 6);
            write(PIN_SEND, 6);
            write(PIN_RECEIVE, 8);
            Self::set_rate(Self::START_RATE);
            write(ENABLE, 4);
            write(INTERRUPT_SET, 1 << 2 | 1 << 9);
            write(START_SEND, 1);
            write(START_RECEIVE, 1);
            write(WATCHDOG + 0x504, WATCHDOG_S * 32_768);
            write(WATCHDOG + 0x508, 1);
            write(WATCHDOG, 1);
        }
    }

    fn receive(take: &mut dyn FnMut(u8), lost: &mut dyn FnMut(u32)) {
        // SAFETY: registers of the line. Its six bytes of room are taken one event at a time; the event is cleared before the byte is read.
        unsafe {
            if read(ERROR) != 0 {
                write(ERROR, 0);
                let source = read(ERROR_SOURCE);
                write(ERROR_SOURCE, source);
                if source & 1 != 0 {
                    lost(1);
                }
            }
            while read(RECEIVED) != 0 {
                write(RECEIVED, 0);
                // The write has to arrive before the next look.
                let _ = read(RECEIVED);
                take(read(RXD) as u8);
            }
        }
    }

    fn send(bytes: &[u8]) {
        for byte in bytes {
            Self::drain();
            // SAFETY: registers of the line.
            unsafe {
                write(SENT, 0);
                write(TXD, u32::from(*byte));
            }
            SENDS.store(true, Ordering::Relaxed);
        }
    }

    fn drain() {
        if SENDS.load(Ordering::Relaxed) {
            // SAFETY: a register of the line.
            while unsafe { read(SENT) } == 0 {}
            SENDS.store(false, Ordering::Relaxed);
        }
    }

    fn can_rate(rate: u32) -> bool {
        RATES.iter().any(|(known, _)| *known == rate)
    }

    fn set_rate(rate: u32) {
        if let Some((_, value)) = RATES.iter().find(|(known, _)| *known == rate) {
            // SAFETY: a register of the line, which is silent.
            unsafe { write(RATE, *value) };
        }
    }

    fn alive() {
        // SAFETY: a register of the watchdog.
        unsafe { write(WATCHDOG + 0x600, RELOAD) };
    }

    fn hurry() {
        // Its time cannot be changed once it counts.
    }

    fn reset_reason() -> &'static str {
        // SAFETY: the register is cleared by writing what it says.
        let flags = unsafe {
            let flags = read(RESET_REASON);
            write(RESET_REASON, flags);
            flags
        };
        match flags {
            0 => "power on",
            _ if flags & 1 << 1 != 0 => "watchdog",
            _ if flags & 1 << 2 != 0 => "software",
            _ if flags & 1 != 0 => "pin",
            _ => "",
        }
    }

    fn identity() -> Text<32> {
        // SAFETY: memory of the system, written by the maker.
        let [low, high] = unsafe { [read(DEVICE_ID), read(DEVICE_ID + 4)] };
        Text::of(format_args!("{high:08x}{low:08x}"))
    }
}

firmware!(Nrf52840, Micro, Micro);
