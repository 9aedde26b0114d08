//! The device side of the MLPerf Tiny text protocol.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
