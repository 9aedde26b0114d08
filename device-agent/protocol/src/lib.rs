//! The boardproof protocol: message table, frames, versions and limits.
//!
//! Owns every byte that crosses a link. Refuses to do I/O, to allocate, to keep a clock, or to judge.
//! The message table is [`message`]; how messages become frames is [`frame`]; how programs travel is [`branches`].
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

pub mod branches;
pub mod frame;
pub mod message;
mod wire;

pub use message::*;

/// Oldest protocol version this crate can speak. Older ones do not know every [`Key`]: a host of them would drop such an event and ask for
/// ever, so it is refused in words instead.
pub const VERSION_MIN: u16 = 6;
/// Newest protocol version this crate speaks.
pub const VERSION_CURRENT: u16 = 6;

/// Exit code of a runner that could not do what it was asked for reasons that are not the model's: an evalset that cannot be read, a
/// request that makes no sense. No engine ends with it, so it is a fault and no verdict.
pub const RUNNER_FAULT: u8 = 70;

/// Digest of the message table. Host and device print it, so that two builds that differ are told apart; the test
/// `the_schema_is_that_of_the_golden_bytes` says when it must change.
pub const SCHEMA: u64 = 0xdff4_b90e_59a1_b34d;
