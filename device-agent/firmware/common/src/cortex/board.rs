//! A board: what every Cortex-M has, and a chip.

use super::clock::{self, Source, Timer};
use super::{fault, memory, read};
use crate::{About, Budget, Fault, Hardware, Sections, Text};

/// What a chip adds to a Cortex-M.
///
/// All functions are called from the main loop but [`Self::receive`], which is the receive interrupt's.
pub trait Chip: 'static {
    /// Name of the board.
    const BOARD: &'static str;
    /// Clock of the processor as [`Self::start`] leaves it, per second.
    const CORE_HZ: u64;
    /// Rate of the line after a start, in bits per second.
    const START_RATE: u32;
    /// A timer, for chips whose cycle counter may not count.
    const TIMER: Option<Timer>;
    /// Time after which the watchdog starts the chip anew unless [`Self::alive`] is called, at least: by the fastest count that its clock's
    /// tolerance allows it. `None` where it has none.
    const WATCHDOG_MS: Option<u32>;
    /// Number of the interrupt that comes when the line has received something.
    const RECEIVE_INTERRUPT: i16;

    /// Starts clocks, pins, the line at its first rate, and the watchdog. Called once.
    fn start();
    /// Hands received bytes to `take`, and to `lost` how many the hardware says it has lost.
    fn receive(take: &mut dyn FnMut(u8), lost: &mut dyn FnMut(u32));
    /// Sends bytes; returns when the last one is on its way.
    fn send(bytes: &[u8]);
    /// Waits until everything was sent.
    fn drain();
    /// Can the line go at this rate?
    fn can_rate(rate: u32) -> bool;
    /// Changes the rate of the line.
    fn set_rate(rate: u32);
    /// Tells the watchdog that the main loop lives.
    fn alive();
    /// Makes the watchdog's time short: a program that hangs on purpose need not be waited for.
    fn hurry();
    /// Why the chip started, when its own registers say so; empty else.
    fn reset_reason() -> &'static str;
    /// What names this one chip; empty where nothing does.
    fn identity() -> Text<32>;
}

/// A chip with all that a Cortex-M has. There is one.
pub struct Board<C> {
    source: Source,
    hz: u64,
    clock: Text<96>,
    cpu: Text<32>,
    features: Text<32>,
    identity: Text<32>,
    starts: u32,
    reset_reason: &'static str,
    crash: Text<320>,
    lost: fn() -> u32,
    chip: core::marker::PhantomData<C>,
}

/// The build, told by whoever builds.
const BUILD: &str = match option_env!("BOARDPROOF_BUILD") {
    Some(build) => build,
    None => "unknown",
};

impl<C: Chip> Board<C> {
    /// Gets the board ready; `lost` counts bytes that the receiver lost. To be called once.
    pub fn start(lost: fn() -> u32) -> Self {
        let (starts, left, crash) = fault::look_back();
        let told = C::reset_reason();
        C::start();
        let (source, hz, clock) = clock::start(C::CORE_HZ, C::TIMER.as_ref());
        let number = <C as Chip>::RECEIVE_INTERRUPT as u16;
        // SAFETY: all that the interrupt touches is a ring, which is ready.
        unsafe { cortex_m::peripheral::NVIC::unmask(Interrupt(number)) };
        let (cpu, features) = (cpu(), features());
        // What our own record says is more than a register of the chip does.
        let reset_reason = if told.is_empty() || matches!(left, "fault" | "watchdog") { left } else { told };
        let identity = C::identity();
        let chip = core::marker::PhantomData;
        Self { source, hz, clock, cpu, features, identity, starts, reset_reason, crash, lost, chip }
    }

    /// Waits for something to happen, unless something has: `nothing` is asked with interrupts off, and one that comes after that still
    /// ends the wait. A cycle counter may stand still while the processor sleeps, so a chip that has one does not.
    pub fn wait(&mut self, nothing: impl Fn() -> bool) {
        // And no interrupt tells that a debug probe has written something.
        if cfg!(feature = "rtt") || matches!(self.source, Source::Cycles) {
            clock::now();
            return;
        }
        cortex_m::interrupt::free(|_| {
            if nothing() {
                cortex_m::asm::wfi();
            }
        });
    }
}

/// The receive interrupt, for the interrupt controller.
#[derive(Clone, Copy)]
struct Interrupt(u16);

// SAFETY: the number is the one that the chip has named.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

/// The processor by its own words: part, revision and patch.
fn cpu() -> Text<32> {
    const CPUID: usize = 0xe000_ed00;
    // SAFETY: a register of every Cortex-M.
    let id = unsafe { read(CPUID) };
    let (revision, patch) = (id >> 20 & 15, id & 15);
    let name = match id >> 4 & 0xfff {
        0xc20 => "Cortex-M0",
        0xc60 => "Cortex-M0+",
        0xc23 => "Cortex-M3",
        0xc24 => "Cortex-M4",
        0xc27 => "Cortex-M7",
        0xd20 => "Cortex-M23",
        0xd21 => "Cortex-M33",
        0xd22 => "Cortex-M55",
        0xd23 => "Cortex-M85",
        part => return Text::of(format_args!("part {part:#x} r{revision}p{patch}")),
    };
    Text::of(format_args!("{name} r{revision}p{patch}"))
}

/// What the processor has of DSP and floating point, and whether this program uses the first.
fn features() -> Text<32> {
    const ID_ISAR3: usize = 0xe000_ed6c;
    const MVFR0: usize = 0xe000_ef40;
    // SAFETY: registers of every Cortex-M of ARMv7-M and ARMv8-M with the main extension; where there is no FPU they read 0.
    let (isar3, mvfr0) = unsafe { (read(ID_ISAR3), read(MVFR0)) };
    let dsp = if isar3 >> 4 & 15 >= 3 { "dsp " } else { "" };
    let single = if mvfr0 >> 4 & 15 != 0 { "fpu " } else { "" };
    let double = if mvfr0 >> 8 & 15 != 0 { "fpu64" } else { "" };
    let text: Text<32> = Text::of(format_args!("{dsp}{single}{double}"));
    Text::of(format_args!("{}", text.as_str().trim_end()))
}

impl<C: Chip> Hardware for Board<C> {
    fn about(&self) -> About<'_> {
        About {
            build: BUILD,
            board: C::BOARD,
            cpu: self.cpu.as_str(),
            features: self.features.as_str(),
            clock: self.clock.as_str(),
            reset_reason: self.reset_reason,
            crash: self.crash.as_str(),
            identity: self.identity.as_str(),
            core_hz: C::CORE_HZ,
            watchdog_ms: C::WATCHDOG_MS,
        }
    }

    fn starts(&self) -> u32 {
        self.starts
    }

    fn hz(&self) -> u64 {
        self.hz
    }

    fn now(&mut self) -> u64 {
        clock::now()
    }

    fn undisturbed(&mut self, act: &mut dyn FnMut(&mut dyn FnMut() -> u64)) {
        C::drain();
        if matches!(self.source, Source::SysTick) {
            // It turns within a second: its own interrupt has to come, and only that.
            let line = Interrupt(C::RECEIVE_INTERRUPT as u16);
            cortex_m::peripheral::NVIC::mask(line);
            act(&mut clock::now);
            // SAFETY: as at the start.
            unsafe { cortex_m::peripheral::NVIC::unmask(line) };
        } else {
            clock::undisturbed(act);
        }
    }

    fn paint_stack(&mut self) {
        memory::paint_stack();
    }

    fn stack_peak(&self) -> u32 {
        memory::stack_peak()
    }

    fn sections(&self) -> Sections {
        memory::sections()
    }

    fn budget(&self) -> Budget {
        memory::budget()
    }

    fn overruns(&self) -> u32 {
        (self.lost)()
    }

    fn can_rate(&self, rate: u32) -> bool {
        C::can_rate(rate)
    }

    fn set_rate(&mut self, rate: u32) {
        C::drain();
        C::set_rate(rate);
    }

    fn start_rate(&self) -> u32 {
        C::START_RATE
    }

    fn mark(&mut self, job: u32, phase: u32) {
        fault::mark(job, phase);
    }

    fn alive(&mut self) {
        C::alive();
    }

    fn crash_on_purpose(&mut self, fault: Fault) {
        match fault {
            Fault::Hang => C::hurry(),
            Fault::Stuck => loop {
                C::alive();
            },
            Fault::Undefined | Fault::Bus | Fault::Panic => {}
        }
        fault::happen(fault);
    }
}
