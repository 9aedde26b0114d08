//! The binary `boardproof-agent`; everything it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    boardproof_agent::run()
}
