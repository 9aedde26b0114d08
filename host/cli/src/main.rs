//! The binary `boardproof`: arguments in, the order of the stages, error text and hints, exit codes out. Decides nothing.

mod ab;
mod against;
mod agent;
mod args;
mod board;
mod calibrate;
mod compare;
mod doctor;
mod engine;
mod evalset;
mod exit;
mod explain;
mod hands;
mod length;
mod list;
mod out;
mod power;
mod probe;
mod progress;
mod project;
mod quantize;
mod reference;
mod rtt;
mod run;
mod shown;
mod simulate;
mod table;
mod trend;
mod verdict;

use crate::args::{AgentCommand, Cli, Command, DataCommand, EngineCommand, PlanCommand};
use crate::engine::Origin;
use crate::exit::Exit;
use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    told(|| dispatch(cli.command))
}

/// Does the work; what went wrong is told, and which kind of trouble it was is the exit code.
fn told(work: impl FnOnce() -> Result<Exit> + std::panic::UnwindSafe) -> ExitCode {
    match std::panic::catch_unwind(work) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            print_error(&error);
            Exit::of(&error).into()
        }
        // The panic itself has been printed; a bug must never look like a verdict.
        Err(_) => {
            eprintln!("error: this is a bug of boardproof; nothing was judged");
            ExitCode::from(exit::BUG)
        }
    }
}

fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Check(args) => run::check(&args),
        Command::Ab(args) => ab::ab(&args),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Plan { command: PlanCommand::Power(args) } => power::power(&args),
        Command::Init(args) => list::init(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Data { command: DataCommand::Check(args) } => evalset::check(&args),
        Command::Data { command: DataCommand::Snapshot(args) } => evalset::snapshot(&args),
        Command::Data { command: DataCommand::Diff(args) } => evalset::diff(&args),
        Command::Targets(args) => list::targets(&args),
        Command::Models(args) => list::models(&args),
        Command::Agent { command: AgentCommand::Build { target, engine, builder, out, places, json } } => {
            agent::build(&target, &engine, agent::Building { builder, out: out.as_deref() }, &places, json)
        }
        Command::Engine { command: EngineCommand::Add { engine, target, version, from, places, json } } => {
            engine::add(&engine, &target, &Origin { version, from }, &places, json)
        }
        Command::Engine { command: EngineCommand::List { places, json } } => engine::list(&places, json),
        Command::Completions { shell } => Ok(list::completions(shell)),
        Command::Man { folder } => list::man(&folder),
        Command::Agent { command: AgentCommand::Clean { target, places } } => agent::clean(&target, &places),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Gate(args) => verdict::gate(&args),
        Command::Report(args) => verdict::report(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Quantize(args) => quantize::quantize(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Trend(args) => trend::trend(&args),
        Command::Reference(args) => reference::reference(&args),
    }
}

/// `error:`, the causes, then `hint:` lines.
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        for (i, line) in cause.to_string().lines().enumerate() {
            eprintln!("  {} {line}", if i == 0 { "because:" } else { "        " });
        }
    }
    for hint in hints(error) {
        eprintln!("hint: {hint}");
    }
}

fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut hints = Vec::new();
    for cause in error.chain() {
        let hint = cause
            .downcast_ref::<boardproof_plan::PlanError>()
            .and_then(boardproof_plan::PlanError::hint)
            .or_else(|| cause.downcast_ref::<evalset::Unfit>().map(evalset::Unfit::hint))
            .or_else(|| cause.downcast_ref::<explain::Unreadable>().map(explain::Unreadable::hint))
            .or_else(|| cause.downcast_ref::<boardproof_lab::build::BuildError>().and_then(|e| e.hint()))
            .or_else(|| cause.downcast_ref::<boardproof_lab::library::LibraryError>().and_then(|e| e.hint()))
            .or_else(|| cause.downcast_ref::<boardproof_judge::gate::GateError>().and_then(|e| e.hint()))
            .or_else(|| cause.downcast_ref::<boardproof_lab::power::QemuError>().and_then(|e| e.hint()))
            .or_else(|| cause.downcast_ref::<boardproof_lab::reach::ReachError>().and_then(|e| e.hint()));
        hints.extend(hint);
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_looks_like_no_verdict() {
        assert_eq!(told(|| panic!("what no test has seen")), ExitCode::from(exit::BUG));
        for exit in [Exit::Pass, Exit::Fail, Exit::Inconclusive, Exit::Incomplete] {
            assert_ne!(ExitCode::from(exit), ExitCode::from(exit::BUG));
        }
    }
}
