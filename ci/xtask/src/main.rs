//! `cargo xtask`: the one list of what is checked, tested, shown and measured, the same on a desk and in CI.
//!
//! Owns the order of commands and what this machine needs for them. Knows nothing of models, boards or verdicts: those it asks
//! `boardproof` for, as anybody else would.
#![forbid(unsafe_code)]

mod bench;
mod check;
mod demo;
mod deny;
mod firmware;
mod fuzz;
mod gpu;
mod linked;
mod programs;
mod python;
mod runs;
mod setup;
mod step;
mod suite;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Checks, tests, demo and benches of boardproof.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the targets need and this machine lacks
    Setup(setup::Arguments),
    /// Format, lints, documentation, licences, bare-metal builds, tidiness
    Check(check::Arguments),
    /// All tests, after building the programs that travel to boards
    Test(suite::Arguments),
    /// Boot the virtual board; prove one good variant and stop one bad one
    Demo,
    /// Measure what the project promises about itself
    Bench(bench::Arguments),
    /// Put what `ci/gpu-check` needs on a machine with a GPU into one folder
    GpuBundle(gpu::Arguments),
    /// Feed the decoders with made-up bytes for longer than the tests do
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Not returned from main: that would print a backtrace of no use where RUST_BACKTRACE is set.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    let root = step::enter_root()?;
    match command {
        Command::Setup(arguments) => setup::setup(&root, &arguments),
        Command::Check(arguments) => check::check(&root, &arguments),
        Command::Test(arguments) => suite::test(&root, &arguments),
        Command::Demo => demo::demo(&root),
        Command::Bench(arguments) => bench::bench(&root, &arguments),
        Command::GpuBundle(arguments) => gpu::bundle(&root, &arguments),
        Command::Fuzz(arguments) => fuzz::fuzz(&root, &arguments),
    }
}
