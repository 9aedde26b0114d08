//! Firmware that speaks other protocols than ours.
//!
//! Owns the host side of two: [`mlperf_tiny`], the text protocol of MLPerf Tiny and EEMBC, and [`stm32msg`], the packets of ST's validation
//! firmware. Each driver works over any line that is [`Bytes`], gives outputs per sample and latency, and says what is wrong with the
//! line that was wrong. Refuses to open ports, to judge, and to repeat on its own anything that measures: a repetition is the caller's, so
//! that it stays visible.
#![forbid(unsafe_code)]

mod bytes;
mod loopback;
pub mod mlperf_tiny;
pub mod stm32msg;

pub use bytes::{Bytes, LineError};
pub use loopback::{Loopback, Peer};
