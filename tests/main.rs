//! Tests of the whole: the built tool on real input, failure paths first. Nothing is stubbed, nothing outside of temporary folders
//! is written but the cache of device builds.
//!
//! `cargo build --release -p boardproof` makes the tool; a test that does not find it says so. Tests that boot a board are ignored
//! by `cargo test` and run by `cargo xtask test`.

mod against;
mod board;
mod cli;
mod custom;
mod dead_boards;
mod debug_probe;
mod dialect;
mod early_stop;
mod engines;
mod evalset;
mod explain;
mod faults;
mod fixtures;
mod gpu;
mod leases;
mod material;
mod microcontroller;
mod own_firmware;
mod pipeline;
mod processes;
mod quantize;
mod schemas;
mod simulated;
mod simulated_firmware;
mod site;
mod speaker;
mod targets;
mod tool;
mod ways;
