//! The agent of microcontrollers: everything that is not a board's own.
//!
//! Owns the device behind the protocol: blobs in memory, lease, jobs and their events, without allocation; and, on a Cortex-M, start, clock,
//! stack and faults. Refuses to know a peripheral: a board gives it its line, its watchdog and memory.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod clock;
#[cfg(target_arch = "arm")]
pub mod cortex;
mod crash;
mod device;
mod engine;
mod environment;
mod events;
mod histogram;
mod job;
mod lease;
mod line;
mod micro;
mod rate;
mod ring;
mod store;
mod text;
#[cfg(feature = "tiny")]
mod tiny;

pub use clock::Extended;
pub use crash::Crash;
pub use device::{Agent, Memory};
pub use engine::{EDGE_RANK_MAX, Edge, Engine, Failed, Loaded, OperatorFacts, Reason, Unfit};
pub use events::EVENTS_BYTES;
pub use job::Fault;
pub use line::{CODED_BYTES, Frames, Heard, Line, Pushed};
pub use micro::{Micro, MicroModel};
pub use ring::Ring;
pub use store::{BLOBS_MAX, HEAD_BYTES};
pub use text::Text;

/// What names a board and its parts, in words that live as long as the board is asked.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Build of the firmware.
    pub build: &'a str,
    /// The board.
    pub board: &'a str,
    /// The processor.
    pub cpu: &'a str,
    /// Its features, separated by spaces.
    pub features: &'a str,
    /// What counts the ticks, and how it was found.
    pub clock: &'a str,
    /// Why it started last.
    pub reset_reason: &'a str,
    /// What the last fault left behind, in words; empty where there was none.
    pub crash: &'a str,
    /// What names this one chip; empty where nothing does.
    pub identity: &'a str,
    /// Clock of the processor, per second.
    pub core_hz: u64,
    /// Time after which its watchdog starts it anew, at least; `None` where it has none.
    pub watchdog_ms: Option<u32>,
}

/// What the program takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sections {
    /// Code, vectors included.
    pub code: u32,
    /// Constants.
    pub constants: u32,
    /// Initial values of variables.
    pub initial: u32,
    /// Variables and buffers: RAM that is taken whatever runs, without stack, arena and store.
    pub static_ram: u32,
    /// Room of the stack.
    pub stack: u32,
}

impl Sections {
    /// Flash in all.
    pub fn flash(&self) -> u32 {
        self.code + self.constants + self.initial
    }
}

/// What a product of this kind has, in bytes. The board may have more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// For firmware and model.
    pub flash: u64,
    /// For variables, stack and arena.
    pub ram: u64,
}

/// A board, as far as the agent needs it.
pub trait Hardware {
    /// What it is.
    fn about(&self) -> About<'_>;
    /// Number of this start, counted as long as memory is kept.
    fn starts(&self) -> u32;
    /// Ticks of its clock per second.
    fn hz(&self) -> u64;
    /// Its clock: never goes back, never wraps.
    fn now(&mut self) -> u64;
    /// Keeps interrupts away from what is measured, and the line silent: nothing is on its way when this calls `act`, once, with the clock.
    fn undisturbed(&mut self, act: &mut dyn FnMut(&mut dyn FnMut() -> u64));
    /// Puts fresh paint on the free part of the stack.
    fn paint_stack(&mut self);
    /// Bytes of the stack that were used since it was painted; all of its room when none of the paint is left.
    fn stack_peak(&self) -> u32;
    /// What the program takes.
    fn sections(&self) -> Sections;
    /// What it may take.
    fn budget(&self) -> Budget;
    /// Bytes that the receiver lost, since the start.
    fn overruns(&self) -> u32;
    /// Can the line go at this rate, in bits per second?
    fn can_rate(&self, rate: u32) -> bool;
    /// Changes the rate of the line when everything was sent.
    fn set_rate(&mut self, rate: u32);
    /// The rate that the line starts with.
    fn start_rate(&self) -> u32;
    /// Keeps in mind, across a crash, which job is at which step (see [`Crash::PHASES`]).
    fn mark(&mut self, job: u32, phase: u32);
    /// Tells the watchdog that the main loop lives.
    fn alive(&mut self);
    /// Crashes in this way, because the host asked for it.
    fn crash_on_purpose(&mut self, fault: Fault);
}
