//! `cargo xtask bench`: the figures that the project promises about itself. Prints them; keeps what belongs into docs/.

mod verdicts;

use crate::check::DEVICE_FOLDER;
use crate::programs::{build_tool, host_triple, tool};
use crate::step::{cargo, output, run, step};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which
    #[arg(value_enum)]
    name: Name,
    /// Target; may be given again [default: host and virtual-board-aarch64]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    target: Vec<String>,
    /// Model; may be given again [default: all]
    #[arg(long = "model", short = 'm', value_name = "MODEL")]
    model: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// Time of an inference through the harness against a bare loop over the same engine
    Overhead,
    /// Bytes per second of the metrics
    Judge,
    /// How often the gate's rules are wrong, simulated
    GateErrors,
    /// Bytes of agent and runner
    Size,
    /// Every variant of every model against the verdict it must get; writes docs/verdicts.md
    Verdicts,
}

/// Largest ratio of a time through the harness to a bare one.
const OVERHEAD_MAX: f64 = 1.02;

/// Takes the figures.
pub fn bench(root: &Path, arguments: &Arguments) -> Result<()> {
    let targets = or_usual(&arguments.target, &["host", "virtual-board-aarch64"]);
    let models = or_usual(&arguments.model, &verdicts::MODELS);
    match arguments.name {
        Name::Overhead => overhead(&models),
        Name::Judge => step("judge", || run(cargo(&["bench", "--locked", "--package", "boardproof-judge"]))),
        Name::GateErrors => {
            let example = ["run", "--quiet", "--release", "--locked", "--package", "boardproof-judge", "--example"];
            step("gate-errors", || run(cargo(&[&example[..], &["gate_errors"]].concat())))
        }
        Name::Size => size(root, &targets),
        Name::Verdicts => verdicts::verdicts(root, &models, &targets),
    }
}

fn or_usual(given: &[String], usual: &[&str]) -> Vec<String> {
    if given.is_empty() { usual.iter().map(|&name| name.to_owned()).collect() } else { given.to_vec() }
}

fn overhead(models: &[String]) -> Result<()> {
    let triple = host_triple()?;
    let mut over = Vec::new();
    for model in models {
        let file = format!("models/{model}/f32.onnx");
        let mut command = cargo(&["run", "--quiet", "--release", "--locked", "--package", "boardproof-engines"]);
        command.args(["--example", "overhead", "--target", &triple, "--target-dir", DEVICE_FOLDER, "--", &file]);
        let line = step(&format!("overhead on {model}"), || output(command))?;
        print!("{line}");
        if ratio(&line)? > OVERHEAD_MAX {
            over.push(model.as_str());
        }
    }
    if over.is_empty() { Ok(()) } else { bail!("more than {OVERHEAD_MAX} times the bare loop: {}", over.join(", ")) }
}

/// The number behind the word `ratio`.
fn ratio(line: &str) -> Result<f64> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "ratio").skip(1);
    let word = words.next().with_context(|| format!("expected a ratio, got '{}'", line.trim()))?;
    let ratio: f64 = word.parse().with_context(|| format!("expected a number behind 'ratio', got '{word}'"))?;
    // NaN is above no limit.
    if ratio.is_finite() { Ok(ratio) } else { bail!("expected a finite ratio, got {ratio}") }
}

fn size(root: &Path, targets: &[String]) -> Result<()> {
    build_tool()?;
    let mut command = tool(root, &["agent", "build"]);
    for target in targets {
        command.args(["--target", target]);
    }
    step("size", || run(command))
}

#[cfg(test)]
mod tests {
    use super::ratio;

    #[test]
    fn a_line_without_a_ratio_is_no_pass() {
        assert_eq!(ratio("a.onnx | ours 12 ns | bare 12 ns | ratio 1.0100\n").unwrap(), 1.01);
        assert!(ratio("a.onnx | ours 12 ns\n").is_err());
        assert!(ratio("ratio NaN\n").is_err());
    }
}
