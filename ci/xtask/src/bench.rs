//! `cargo xtask bench`: the figures that the project promises about itself. Each is measured by a module of its own; a miss is shown as one.

mod causes;
mod figure;
mod firmware;
mod gate;
mod honesty;
mod job;
mod judge;
mod overhead;
mod real_ab;
mod ship;
mod sim;
mod size;
mod tensors;
mod verdicts;
mod wall;
mod watched;
mod wire;

use crate::step::step;
use anyhow::{Result, bail};
use clap::ValueEnum;
use figure::{Figure, Section};
use std::path::Path;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which [default: all but `honesty`, `verdicts`, `causes` and `real-ab`]
    #[arg(value_enum)]
    name: Option<Name>,
    /// Target; may be given again [default: host and virtual-board-aarch64]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    target: Vec<String>,
    /// Model; may be given again [default: all]
    #[arg(long = "model", short = 'm', value_name = "MODEL")]
    model: Vec<String>,
    /// Comparisons of `real-ab`; each takes seconds
    #[arg(long, default_value_t = 500)]
    comparisons: u32,
    /// Of `verdicts`, only the cells that docs/verdicts.md calls open or does not have
    #[arg(long)]
    open: bool,
    /// Put the tables of all into docs/benchmarks.md; of one, only `firmware` has a table there, and `honesty` a document of its own
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Time of an inference through the harness against a bare loop over the same engine
    Overhead,
    /// Wall time of a check against the time of its inferences
    Check,
    /// Time and memory of `gate` on a large record
    Gate,
    /// Bytes per second of the metrics
    Judge,
    /// How often the gate's rules are wrong and its intervals hold, simulated; for docs/honesty.md
    #[value(alias = "gate-errors")]
    Honesty,
    /// Bytes of agent and runner, stripped and on the wire
    Size,
    /// Shipping to the virtual board against `cat`, the second run, the agent's memory, the boot
    Ship,
    /// Faulty frames through client and core
    Sim,
    /// What a serial line carries of its capacity, and a million frames over a bad one, in virtual time
    Wire,
    /// The whole job on a microcontroller in QEMU
    Job,
    /// The microcontroller's agent and engine: emulated instructions, flash, RAM
    Firmware,
    /// Every variant of every model against the verdict it must get; writes docs/verdicts.md
    Verdicts,
    /// A variant against itself by `ab` with real inferences here, and with slowdowns put in: how often it is called slower
    RealAb,
    /// Every variant of every model against the cause that it was made with, on this machine; writes docs/causes.md
    Causes,
}

impl Name {
    fn has_tables_of_its_own(self) -> bool {
        matches!(self, Self::Honesty | Self::Verdicts | Self::Causes | Self::RealAb)
    }
}

/// Takes the figures and prints a table of those that are this machine's, and one of the firmware's.
pub fn bench(root: &Path, arguments: &Arguments) -> Result<()> {
    let targets = or_usual(&arguments.target, &["host", "virtual-board-aarch64"]);
    let models = or_usual(&arguments.model, &verdicts::MODELS);
    match arguments.name {
        Some(Name::Verdicts) => return verdicts::verdicts(root, &models, &targets, arguments.open),
        Some(Name::Causes) => return causes::causes(root, &models),
        Some(Name::RealAb) => return real_ab::real_ab(root, arguments.comparisons),
        Some(Name::Honesty) => return honesty::honesty(root, arguments.write),
        _ => {}
    }
    if arguments.open {
        bail!("--open is for `verdicts`");
    }
    if arguments.write && !matches!(arguments.name, None | Some(Name::Firmware)) {
        bail!("--write is for the tables of all figures, and for that of `firmware` alone");
    }
    let all = Name::value_variants().iter().copied().filter(|name| !name.has_tables_of_its_own());
    let names = all.filter(|name| arguments.name.is_none_or(|wanted| wanted == *name));
    let (firmware, others): (Vec<_>, Vec<_>) = names.partition(|name| *name == Name::Firmware);
    let mut figures = Vec::new();
    let of_firmware = || firmware::HEAD.to_owned();
    for (section, names, head) in
        [(Section::Machine, others, machine as fn() -> String), (Section::Firmware, firmware, of_firmware)]
    {
        if names.is_empty() {
            continue;
        }
        let (seen, head) = (taken(root, &names, &models, &targets), head());
        println!("{head}\n\n{}", figure::table(&seen));
        if arguments.write {
            figure::write(&root.join("docs/benchmarks.md"), section, &seen, &head)?;
        }
        figures.extend(seen);
    }
    figure::verdict(&figures)
}

/// The figures of these benches; one that cannot be taken is one that was missed.
fn taken(root: &Path, names: &[Name], models: &[String], targets: &[String]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for name in names {
        let word = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let seen = match step(&format!("bench {word}"), || measure(root, *name, models, targets)) {
            Ok(seen) => seen,
            Err(error) => vec![Figure::not_measured(&word, &error)],
        };
        figures.extend(figure::all_by(seen, &word));
    }
    figures
}

fn measure(root: &Path, name: Name, models: &[String], targets: &[String]) -> Result<Vec<Figure>> {
    match name {
        Name::Overhead => overhead::overhead(models),
        Name::Check => wall::wall(root),
        Name::Gate => gate::gate(root),
        Name::Judge => judge::judge(),
        Name::Size => size::size(root, targets),
        Name::Ship => ship::ship(root),
        Name::Sim => sim::sim(),
        Name::Wire => wire::wire(),
        Name::Job => job::job(root),
        Name::Firmware => firmware::firmware(root),
        Name::Honesty | Name::Verdicts | Name::Causes | Name::RealAb => bail!("these are tables, not figures"),
    }
}

fn or_usual(given: &[String], usual: &[&str]) -> Vec<String> {
    if given.is_empty() { usual.iter().map(|&name| name.to_owned()).collect() } else { given.to_vec() }
}

/// What the figures were measured on, as far as it matters to read them: no names.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    let architecture = std::env::consts::ARCH;
    format!(
        "Measured on {cores} {architecture} cores, load average {load} at the end. What is called emulated is an emulator's time."
    )
}
