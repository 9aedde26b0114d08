//! The boardproof protocol: message table, frames, versions and limits.
//!
//! Owns every byte that crosses a link. Refuses to do I/O, to allocate, to keep a clock, or to judge.
//! The message table is [`message`]; how messages become frames is [`frame`].
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

pub mod frame;
pub mod message;

pub use message::*;

/// Oldest protocol version this crate can speak.
pub const VERSION_MIN: u16 = 1;
/// Newest protocol version this crate speaks.
pub const VERSION_CURRENT: u16 = 1;

/// Digest of the message table. Host and device print it, so that two builds that differ are told apart; the test
/// `the_schema_is_that_of_the_golden_bytes` says when it must change.
pub const SCHEMA: u64 = 0xe500_27ae_3416_43c9;
