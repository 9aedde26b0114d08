//! A simulated device: the protocol core of the real ones on an in-memory link, with a seeded fault plan and a virtual clock.
//!
//! Owns nothing of the protocol: [`SimDevice`] is one more `boardproof_core::Device`, [`SimLink`] one more way for frames to get lost.
//! What runs a job is an [`Engine`]: [`AffineEngine`] is arithmetic that can be worked out by hand, [`ProcessEngine`] starts the runner that
//! was shipped. A firmware that other people's runners score is simulated besides: [`TextDevice`] answers MLPerf Tiny with a model that an
//! [`InsideProcess`] has inside.
#![forbid(unsafe_code)]

mod affine;
mod device;
mod engine;
mod inside;
mod link;
mod process;
mod text;

pub use affine::{Affine, AffineEngine};
pub use device::{Hardware, Memory, SimDevice};
pub use engine::{Assignment, Engine, Work};
pub use inside::{Edge, InsideError, InsideModel, InsideProcess, Network};
pub use link::{FaultPlan, SimLink};
pub use process::ProcessEngine;
pub use text::TextDevice;

/// A small generator (xorshift64*): the same seed gives the same run on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed; 0 is as good as any other.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// True in `per_mille` of a thousand throws.
    pub fn hits(&mut self, per_mille: u32) -> bool {
        self.roll() % 1000 < u64::from(per_mille)
    }
}
