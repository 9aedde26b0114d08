//! The binary `boardproof-runner`: one cell, one pass, one engine, one fresh process.
//!
//! Reads a `Run` request from standard input and the files named by its arguments, writes protocol events to standard output, and
//! ends. Reports raw facts; knows no limits, no reference and no host.

mod clock;
mod counters;
mod evalset;
mod freshness;
mod memory;
mod options;
mod pass;
mod wire;

use crate::wire::Wire;
use std::path::PathBuf;
use std::process::ExitCode;

/// Counts live bytes when the memory pass asks for it; otherwise one relaxed load per allocation.
#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Paths given by the agent.
struct Arguments {
    model: PathBuf,
    evalset: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => return failed(&message),
    };
    let outcome = Wire::open().and_then(|mut wire| pass::run(&arguments.model, &arguments.evalset, &mut wire));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
            let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            failed(&text)
        }
    }
}

fn arguments() -> Result<Option<Arguments>, String> {
    const USAGE: &str = "usage: boardproof-runner --model FILE --evalset FILE < request";
    let (mut model, mut evalset) = (None, None);
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--version") => {
                println!(
                    "boardproof-runner {} {}",
                    env!("CARGO_PKG_VERSION"),
                    boardproof_engines::engine_names().join(" ")
                );
                return Ok(None);
            }
            Some("--model") => model = words.next().map(PathBuf::from),
            Some("--evalset") => evalset = words.next().map(PathBuf::from),
            _ => return Err(format!("unknown argument {word:?}; {USAGE}")),
        }
    }
    match (model, evalset) {
        (Some(model), Some(evalset)) => Ok(Some(Arguments { model, evalset })),
        _ => Err(USAGE.into()),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("boardproof-runner: {message}");
    ExitCode::from(boardproof_protocol::RUNNER_FAULT)
}
