//! The MPS2 boards: registers of their UART, timer and watchdog, and what cortex-m-rt wants of a program.
//!
//! Registers are those of ARM's CMSDK (DDI 0479): APB UART, APB timer, APB watchdog.

use boardproof_firmware_common::{About, Extended, Hardware, Ring, Sections, Sink};
use core::cell::RefCell;
use core::fmt::Write as _;
use core::mem::MaybeUninit;
use core::ptr::{addr_of, addr_of_mut};
use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::{NVIC, SCB};
use cortex_m_rt::{ExceptionFrame, exception};

/// The board runs at 25 MHz, and so do its timers.
const HZ: u64 = 25_000_000;
/// UART 0 asks for interrupt 0 when it has a byte.
const UART_RECEIVE: i16 = 0;
const UART: usize = 0x4000_4000;
const TIMER: usize = 0x4000_0000;
const WATCHDOG: usize = 0x4000_8000;
/// It resets the board at its second turn: longer than any host waits for one inference.
const WATCHDOG_S: u32 = 60;
/// Rate of the line after a start.
const START_RATE: u32 = 115_200;
/// Stack as in `memory.x`.
const STACK_BYTES: u32 = 16 * 1024;
/// What free stack is painted with.
const PAINT: u32 = 0xb0a2_d0f5;
/// Room for activations.
const ARENA_BYTES: usize = 1024 * 1024;
/// Room for models and samples.
const STORE_BYTES: usize = 12 * 1024 * 1024;

/// Bytes from the receive interrupt.
pub static RECEIVED: Ring<4096> = Ring::new();

#[unsafe(link_section = ".arena")]
static mut ARENA: MaybeUninit<[u8; ARENA_BYTES]> = MaybeUninit::uninit();
#[unsafe(link_section = ".store")]
static mut STORE: MaybeUninit<[u8; STORE_BYTES]> = MaybeUninit::uninit();

/// What a fault leaves behind, and what counts starts. Not cleared by a start.
#[repr(C)]
struct Crash {
    magic: u32,
    starts: u32,
    fault: u32,
    pc: u32,
    lr: u32,
    psr: u32,
    cfsr: u32,
    hfsr: u32,
    mmfar: u32,
    bfar: u32,
}

/// The record holds something that was written by this firmware.
const MAGIC: u32 = 0xb0a2_c4a5;
/// A fault was written into it and not told yet.
const FAULT: u32 = 0xdead_fa17;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.crash")]
static mut BOARDPROOF_CRASH: MaybeUninit<Crash> = MaybeUninit::uninit();

fn read(base: usize, offset: usize) -> u32 {
    // SAFETY: a register of the board, at an address of this file.
    unsafe { core::ptr::read_volatile((base + offset) as *const u32) }
}

fn write(base: usize, offset: usize, value: u32) {
    // SAFETY: a register of the board, at an address of this file.
    unsafe { core::ptr::write_volatile((base + offset) as *mut u32, value) }
}

/// The UART, for sending.
pub struct Uart;

impl Uart {
    const DATA: usize = 0;
    const STATE: usize = 4;
    const CTRL: usize = 8;
    const INTERRUPT: usize = 12;
    const DIVIDER: usize = 16;

    fn start() {
        Self::rate(START_RATE);
        // Send, receive, and an interrupt for what was received.
        write(UART, Self::CTRL, 0b1011);
        // SAFETY: everything that the interrupt touches is ready.
        unsafe { NVIC::unmask(Received) };
    }

    fn rate(rate: u32) {
        write(UART, Self::DIVIDER, (HZ as u32 / rate).max(16));
    }
}

impl Sink for Uart {
    fn send(&mut self, bytes: &[u8]) {
        for byte in bytes {
            while read(UART, Self::STATE) & 1 != 0 {}
            write(UART, Self::DATA, u32::from(*byte));
        }
    }
}

/// The receive interrupt, for the interrupt controller.
#[derive(Clone, Copy)]
struct Received;

// SAFETY: the number is that of the board's UART 0.
unsafe impl cortex_m::interrupt::InterruptNumber for Received {
    fn number(self) -> u16 {
        UART_RECEIVE as u16
    }
}

/// Takes what was received. The flag is cleared first: a byte that comes in between asks again.
pub fn receive() {
    write(UART, Uart::INTERRUPT, 0b0010);
    loop {
        let state = read(UART, Uart::STATE);
        if state & 0b1000 != 0 {
            write(UART, Uart::STATE, 0b1000);
            RECEIVED.count_lost(1);
        }
        if state & 0b0010 == 0 {
            return;
        }
        RECEIVED.push(read(UART, Uart::DATA) as u8);
    }
}

/// What counts.
#[derive(Clone, Copy)]
enum Clock {
    /// The processor's own counter of cycles.
    Cycles,
    /// The board's timer, which counts down.
    Timer,
    /// The timer of every Cortex-M: 24 bit, down.
    SysTick,
}

/// The clock that moves, best first, and what it counts.
fn find_clock() -> (Clock, &'static str) {
    const DEMCR: usize = 0xe000_edfc;
    const DWT_CTRL: usize = 0xe000_1000;
    const DWT_CYCCNT: usize = 0xe000_1004;
    let moves = |look: &dyn Fn() -> u32| {
        let before = look();
        (0..64).any(|_| look() != before)
    };
    write(DEMCR, 0, read(DEMCR, 0) | 1 << 24);
    write(DWT_CTRL, 0, read(DWT_CTRL, 0) | 1);
    if moves(&|| read(DWT_CYCCNT, 0)) {
        return (Clock::Cycles, "DWT CYCCNT");
    }
    write(TIMER, 8, u32::MAX);
    write(TIMER, 4, u32::MAX);
    write(TIMER, 0, 1);
    if moves(&|| read(TIMER, 4)) {
        return (Clock::Timer, "CMSDK TIMER0 (DWT CYCCNT does not move)");
    }
    const SYST: usize = 0xe000_e010;
    write(SYST, 4, 0xff_ffff);
    write(SYST, 8, 0);
    write(SYST, 0, 0b101);
    (Clock::SysTick, "SysTick (neither DWT CYCCNT nor TIMER0 moves)")
}

impl Clock {
    #[inline(always)]
    fn raw(self) -> u32 {
        match self {
            Self::Cycles => read(0xe000_1004, 0),
            Self::Timer => !read(TIMER, 4),
            Self::SysTick => 0xff_ffff - (read(0xe000_e018, 0) & 0xff_ffff),
        }
    }

    fn bits(self) -> u32 {
        if matches!(self, Self::SysTick) { 24 } else { 32 }
    }
}

/// The clock, also for the interrupt that must not miss its turns.
static TICKS: Mutex<RefCell<Option<(Clock, Extended)>>> = Mutex::new(RefCell::new(None));

fn ticks() -> u64 {
    interrupt::free(|token| match &mut *TICKS.borrow(token).borrow_mut() {
        Some((clock, extended)) => extended.at(clock.raw()),
        None => 0,
    })
}

/// The board.
pub struct Board {
    about: About,
    crash: Words,
}

/// Words without allocation.
pub struct Words {
    bytes: [u8; 160],
    filled: usize,
}

impl core::fmt::Write for Words {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.len() - self.filled;
        let length = text.len().min(room);
        self.bytes[self.filled..self.filled + length].copy_from_slice(&text.as_bytes()[..length]);
        self.filled += length;
        Ok(())
    }
}

impl Board {
    /// Gets the board ready. To be called once.
    pub fn start(board: &'static str, cpu: &'static str, features: &'static str) -> Self {
        let (clock, source) = find_clock();
        let extended = Extended::new(clock.bits(), clock.raw());
        interrupt::free(|token| *TICKS.borrow(token).borrow_mut() = Some((clock, extended)));
        let (boot, reset_reason, crash) = look_back();
        const BUILD: &str = match option_env!("BOARDPROOF_BUILD") {
            Some(build) => build,
            None => "unknown",
        };
        let about =
            About { build: concat_build(BUILD), board, cpu, features, clock: source, reset_reason, identity: "", boot };
        watch();
        Uart::start();
        Self { about, crash }
    }
}

/// Name, version and build in one text, made when this is compiled.
const fn concat_build(build: &'static str) -> &'static str {
    // The build stands alone: the host looks for it among the words.
    build
}

/// What the start before this one left: number of this start, why it came, and the fault in words.
fn look_back() -> (u64, &'static str, Words) {
    // SAFETY: only the fault handler uses the record besides this, and it never returns. Any bits are a `Crash`.
    let crash = unsafe { (*addr_of_mut!(BOARDPROOF_CRASH)).assume_init_mut() };
    let mut words = Words { bytes: [0; 160], filled: 0 };
    if crash.magic != MAGIC {
        *crash = Crash { magic: MAGIC, starts: 1, fault: 0, pc: 0, lr: 0, psr: 0, cfsr: 0, hfsr: 0, mmfar: 0, bfar: 0 };
        return (1, "power on", words);
    }
    crash.starts = crash.starts.wrapping_add(1).max(1);
    let starts = u64::from(crash.starts);
    if crash.fault != FAULT {
        return (starts, "reset", words);
    }
    crash.fault = 0;
    let Crash { pc, lr, psr, cfsr, hfsr, mmfar, bfar, .. } = *crash;
    let _ = write!(words, "hard fault at pc {pc:#010x}, lr {lr:#010x}, psr {psr:#010x}, cfsr {cfsr:#010x}, ");
    let _ = write!(words, "hfsr {hfsr:#010x}, mmfar {mmfar:#010x}, bfar {bfar:#010x}");
    (starts, "fault", words)
}

fn watch() {
    const UNLOCK: u32 = 0x1acc_e551;
    write(WATCHDOG, 0xc00, UNLOCK);
    write(WATCHDOG, 0, WATCHDOG_S * HZ as u32);
    // Counts, and resets at the second turn.
    write(WATCHDOG, 8, 0b11);
}

/// Tells the watchdog that the main loop lives.
pub fn alive() {
    write(WATCHDOG, 0, WATCHDOG_S * HZ as u32);
}

unsafe extern "C" {
    static mut __sbss: u32;
    static mut __ebss: u32;
    static mut __sdata: u32;
    static mut __edata: u32;
    static mut __stext: u32;
    static mut __etext: u32;
    static mut __srodata: u32;
    static mut __erodata: u32;
    static mut _stack_end: u32;
    static mut _stack_start: u32;
    static mut __vector_table: u32;
}

impl Hardware for Board {
    fn about(&self) -> About {
        self.about
    }

    fn hz(&self) -> u64 {
        HZ
    }

    fn now(&mut self) -> u64 {
        ticks()
    }

    fn undisturbed(&mut self, act: &mut dyn FnMut(&mut dyn FnMut() -> u64)) {
        // What was sent is on its way when the transmitter has taken it; the line's own time is not the processor's.
        while read(UART, Uart::STATE) & 1 != 0 {}
        interrupt::free(|token| {
            let mut clock = TICKS.borrow(token).borrow_mut();
            let mut now = || clock.as_mut().map_or(0, |(clock, extended)| extended.at(clock.raw()));
            act(&mut now);
        });
    }

    fn paint_stack(&mut self) {
        let mut at = addr_of_mut!(_stack_end);
        // A little below what is in use now.
        let end = cortex_m::register::msp::read() as usize - 64;
        while (at as usize) < end {
            // SAFETY: below the stack pointer nothing lives, and interrupts push below it only what they pop again; the margin keeps this
            // function's own frame out of it.
            unsafe {
                core::ptr::write_volatile(at, PAINT);
                at = at.add(1);
            }
        }
    }

    fn stack_peak(&self) -> u32 {
        let (mut at, start) = (addr_of!(_stack_end), addr_of!(_stack_start));
        // SAFETY: reads the stack's own memory, between the symbols of the linker script.
        while (at as usize) < start as usize && unsafe { core::ptr::read_volatile(at) } == PAINT {
            at = at.wrapping_add(1);
        }
        (start as usize - at as usize) as u32
    }

    fn sections(&self) -> Sections {
        let size = |from: *const u32, to: *const u32| (to as usize - from as usize) as u32;
        let initial = size(addr_of!(__sdata), addr_of!(__edata));
        Sections {
            code: size(addr_of!(__vector_table), addr_of!(__etext)),
            constants: size(addr_of!(__srodata), addr_of!(__erodata)),
            initial,
            static_ram: initial + size(addr_of!(__sbss), addr_of!(__ebss)),
            stack: STACK_BYTES,
        }
    }

    fn overruns(&self) -> u32 {
        RECEIVED.lost()
    }

    fn crash(&self) -> Option<&str> {
        let words = core::str::from_utf8(&self.crash.bytes[..self.crash.filled]).ok();
        words.filter(|words| !words.is_empty())
    }

    fn can_rate(&self, rate: u32) -> bool {
        (1200..=HZ as u32 / 16).contains(&rate)
    }

    fn set_rate(&mut self, rate: u32) {
        while read(UART, Uart::STATE) & 1 != 0 {}
        Uart::rate(rate);
    }

    fn start_rate(&self) -> u32 {
        START_RATE
    }
}

/// The memory for activations and for blobs. To be called once.
pub fn memory() -> (&'static mut [u8], &'static mut [u8]) {
    // SAFETY: called once, at the start, and nothing else names these statics. Any bytes are bytes; they are written first so that what
    // was there before has no say.
    unsafe {
        let arena = addr_of_mut!(ARENA).cast::<u8>();
        arena.write_bytes(0, ARENA_BYTES);
        let store = addr_of_mut!(STORE).cast::<u8>();
        store.write_bytes(0, STORE_BYTES);
        (core::slice::from_raw_parts_mut(arena, ARENA_BYTES), core::slice::from_raw_parts_mut(store, STORE_BYTES))
    }
}

/// Interrupts of the board.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == UART_RECEIVE {
        receive();
    }
    // The watchdog's first turn comes as one that cannot be masked (-14): the second one resets.
}

/// Keeps what is known of a fault across the reset that follows.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // SAFETY: nothing else runs any more. Reads of the system control block have no side effects here.
    unsafe {
        let scb = &*SCB::PTR;
        let crash = (*addr_of_mut!(BOARDPROOF_CRASH)).as_mut_ptr();
        (*crash).fault = FAULT;
        (*crash).pc = frame.pc();
        (*crash).lr = frame.lr();
        (*crash).psr = frame.xpsr();
        (*crash).cfsr = scb.cfsr.read();
        (*crash).hfsr = scb.hfsr.read();
        (*crash).mmfar = scb.mmfar.read();
        (*crash).bfar = scb.bfar.read();
    }
    SCB::sys_reset()
}

/// A mistake of this firmware: as a fault.
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::asm::udf()
}

/// The program of a board.
macro_rules! start {
    ($board:literal, $cpu:literal, $features:literal) => {
        use boardproof_firmware_common::{Agent, FRAME_BYTES, Line, Memory};

        #[cortex_m_rt::entry]
        fn main() -> ! {
            let hardware = board::Board::start($board, $cpu, $features);
            let (arena, store) = board::memory();
            let mut agent = Agent::new(hardware, Memory { arena, store });
            let mut frame = [0; FRAME_BYTES];
            let mut line = Line::new(&mut frame);
            loop {
                let mut understood = false;
                while let Some(byte) = board::RECEIVED.pop() {
                    understood |= line.push(byte, &mut agent, &mut board::Uart);
                }
                agent.settle_rate(understood);
                board::alive();
                if !agent.work() {
                    // Looked at with interrupts off: one that comes in between still ends the wait.
                    cortex_m::interrupt::free(|_| {
                        if board::RECEIVED.is_empty() {
                            cortex_m::asm::wfi();
                        }
                    });
                }
            }
        }
    };
}
pub(crate) use start;
