//! The binary `boardproof-runner`: one cell, one pass, one engine, one fresh process.
//!
//! Reads a `Run` request from standard input and the files named by its arguments, writes protocol events to standard output, and
//! ends. Reports raw facts; knows no limits, no reference and no host. With the engine of microcontrollers it can also be what is inside
//! of a simulated firmware.

mod clock;
mod counters;
mod evalset;
mod freshness;
#[cfg(feature = "micro")]
mod inside;
mod memory;
mod options;
mod pass;
mod peak;
mod wire;

use crate::wire::Wire;
use std::path::PathBuf;
use std::process::ExitCode;

/// Counts live bytes when the memory pass asks for it; otherwise one relaxed load per allocation.
#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// What the process is for, with its paths.
enum Arguments {
    /// One pass, for an agent.
    Pass { model: PathBuf, evalset: PathBuf },
    /// Answers to samples, for a simulated firmware.
    Inside { model: PathBuf },
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => return failed(&message),
    };
    match arguments {
        Arguments::Pass { model, evalset } => {
            ended(Wire::open().and_then(|mut wire| pass::run(&model, &evalset, &mut wire)))
        }
        #[cfg(feature = "micro")]
        Arguments::Inside { model } => ended(inside::run(&model)),
        #[cfg(not(feature = "micro"))]
        Arguments::Inside { model } => {
            failed(&format!("could not take {} inside: this runner is built without the engine micro", model.display()))
        }
    }
}

fn ended<E: std::error::Error>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |e| e.source());
            failed(&causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
        }
    }
}

fn arguments() -> Result<Option<Arguments>, String> {
    const USAGE: &str = "usage: boardproof-runner --model FILE --evalset FILE < request, or --inside MODEL < samples";
    let (mut model, mut evalset, mut inside) = (None, None, None);
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
            Some("--inside") => inside = words.next().map(PathBuf::from),
            Some("--evalset") => evalset = words.next().map(PathBuf::from),
            _ => return Err(format!("unknown argument {word:?}; {USAGE}")),
        }
    }
    match (model, evalset, inside) {
        (Some(model), Some(evalset), None) => Ok(Some(Arguments::Pass { model, evalset })),
        (None, None, Some(model)) => Ok(Some(Arguments::Inside { model })),
        _ => Err(USAGE.into()),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("boardproof-runner: {message}");
    ExitCode::from(boardproof_protocol::RUNNER_FAULT)
}
