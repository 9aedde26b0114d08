//! The agent of microcontrollers: everything that is not a board's own.
//!
//! Owns the device behind the protocol: blobs in memory, lease, jobs and their events, without allocation. Refuses to touch a register: a
//! board gives it [`Hardware`], memory, and bytes of a line.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod device;
mod events;
mod histogram;
mod job;
mod line;
mod ring;
mod store;
mod ticks;

pub use device::{Agent, Memory};
pub use job::pass_room;
pub use line::{FRAME_BYTES, Line, Sink};
pub use ring::Ring;
pub use ticks::Extended;

/// What names a board and its parts.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Version and build of the firmware.
    pub build: &'static str,
    /// The board.
    pub board: &'static str,
    /// The processor.
    pub cpu: &'static str,
    /// Its features, separated by spaces.
    pub features: &'static str,
    /// What counts the ticks, and how it was found.
    pub clock: &'static str,
    /// Why it started last.
    pub reset_reason: &'static str,
    /// What names this one chip; empty where nothing does.
    pub identity: &'static str,
    /// Changes with every start; 0 where it cannot tell.
    pub boot: u64,
}

/// What the program takes, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sections {
    /// Code.
    pub code: u32,
    /// Constants.
    pub constants: u32,
    /// Initial values of variables.
    pub initial: u32,
    /// Variables and buffers: RAM that is taken whatever runs.
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

/// A board, as far as the agent needs it.
pub trait Hardware {
    /// What it is.
    fn about(&self) -> About;
    /// Ticks of its clock per second.
    fn hz(&self) -> u64;
    /// Its clock: never goes back, never wraps.
    fn now(&mut self) -> u64;
    /// Keeps interrupts away from what is measured, and the line silent: nothing is on its way when this calls `act`.
    fn undisturbed(&mut self, act: &mut dyn FnMut(&mut dyn FnMut() -> u64));
    /// Puts the paint on the free part of the stack.
    fn paint_stack(&mut self);
    /// Bytes of the stack that were used since it was painted.
    fn stack_peak(&self) -> u32;
    /// What the program takes.
    fn sections(&self) -> Sections;
    /// Bytes that the receiver lost, since the start.
    fn overruns(&self) -> u32;
    /// What the last fault left behind, once told in words.
    fn crash(&self) -> Option<&str>;
    /// Can the line go at this rate? It does once [`Self::set_rate`] is called.
    fn can_rate(&self, rate: u32) -> bool;
    /// Changes the rate of the line when everything was sent.
    fn set_rate(&mut self, rate: u32);
    /// The rate that the line starts with.
    fn start_rate(&self) -> u32;
}
