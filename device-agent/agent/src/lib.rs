//! The agent of a Linux board: session, store, lease, child processes and facts. Links no engine, opens no port.
//!
//! The binary `boardproof-agent` is [`run`] and nothing else; what else is public here reads bytes from outside, and is there for the
//! fuzz targets.
//!
//! `serve` speaks the protocol over standard input and output; nothing else is ever written to standard output there. `clean` removes
//! the store. `--version` prints the digest of the program itself, so that a shell can tell whether it arrived whole.

mod arguments;
mod clock;
mod device;
mod digest;
mod elf;
mod facts;
mod job;
mod lease;
mod serve;
mod store;
mod upload;

pub use digest::of_reader as digest_of_reader;
pub use elf::Elf;
pub use store::{Store, StoreError, Wish};
pub use upload::{Upload, UploadError};

use crate::arguments::Command;
use crate::clock::Moment;
use crate::lease::LeaseFile;
use std::error::Error;
use std::process::ExitCode;

/// Does what the command line says.
pub fn run() -> ExitCode {
    let command = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("boardproof-agent: {message}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Help => {
            println!("{}", arguments::USAGE);
            Ok(())
        }
        Command::Version => version(),
        Command::Serve(options) => serve::serve(&options).map_err(Into::into),
        Command::Clean(wish) => clean(&wish),
        // Only comes back when the program could not be started.
        Command::Launch(launch) => return job::launch::exec(&launch),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boardproof-agent: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Name, version and digest of the program that runs.
pub(crate) fn build() -> std::io::Result<String> {
    let (digest, _) = digest::of_this_program()?;
    Ok(format!("boardproof-agent {} sha256:{digest}", env!("CARGO_PKG_VERSION")))
}

fn version() -> Result<(), Box<dyn Error>> {
    println!("{}", build()?);
    Ok(())
}

/// Removes the store, unless somebody works with it.
fn clean(wish: &store::Wish) -> Result<(), Box<dyn Error>> {
    let Some(root) = store::Store::existing(wish) else {
        println!("nothing is stored");
        return Ok(());
    };
    if let Some((holder, left_ms)) = LeaseFile::in_folder(&root).holder(&Moment::now())? {
        return Err(format!("the unit is held by '{holder}' for another {left_ms} ms").into());
    }
    let bytes = store::remove_store(&root)?;
    println!("removed {bytes} bytes from {}", root.display());
    Ok(())
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
