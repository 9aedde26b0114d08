//! `cargo xtask check`: the one list of checks. All run, whatever becomes of the one before.

use crate::deny;
use crate::firmware;
use crate::linked;
use crate::programs::host_triple;
use crate::setup::BARE;
use crate::step::{Steps, cargo, output, program, run};
use crate::tidy;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Crates that must build for a device without an operating system, each alone: a build of the whole workspace unifies features and
/// hides what only works with `std`.
const BARE_CRATES: [&str; 2] = ["boardproof-protocol", "boardproof-core"];
/// Crates that hold an inference engine: kept out of the workspace's default members because they take minutes.
const HEAVY_CRATES: [&str; 2] = ["boardproof-engines", "boardproof-runner"];
/// Builds of crates that travel to boards have a folder of their own, shared with `boardproof agent build`.
pub const DEVICE_FOLDER: &str = "target/device";
/// Engines, each in a runner of its own: so they are checked and tested, too. Together they would want other features of what they share
/// than each alone, and be built once more.
pub const ENGINES: [&str; 4] = ["tract", "candle", "micro", "onnxruntime"];

/// The engine for GPUs: checked as the others are, and tested where there is time, because it takes as long to build as all of them.
pub const GPU_ENGINE: &str = "cuda";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave out the crates with an inference engine, which take minutes the first time
    #[arg(long)]
    quick: bool,
}

/// Runs all checks.
pub fn check(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("tidy", || tidy::tidy(root));
    steps.run("fmt", || run(cargo(&["fmt", "--all", "--check"])));
    steps.run("digests of models", || digests(root));
    steps.run("runtimes in what is built by default", linked::check);
    steps.run("clippy", || clippy(&[], &[]));
    if arguments.quick {
        steps.skip("clippy of the engines", "left out by --quick");
    } else {
        for engine in ENGINES.into_iter().chain([GPU_ENGINE]) {
            steps.run(&format!("clippy of the engine {engine}"), || clippy_heavy(engine));
        }
    }
    steps.run("clippy of the fuzz driver", clippy_fuzz_driver);
    for name in BARE_CRATES {
        steps.run(&format!("{name} for {BARE}"), || {
            run(cargo(&["build", "--release", "--locked", "--package", name, "--target", BARE]))
        });
    }
    steps.run("documentation", documentation);
    firmware::check(root, &mut steps);
    deny::check(root, &mut steps);
    steps.finish("check")
}

fn clippy(packages: &[&str], more: &[&str]) -> Result<()> {
    let mut command = cargo(&["clippy", "--release", "--locked", "--all-targets"]);
    for package in packages {
        command.args(["--package", package]);
    }
    command.args(more).args(["--", "-D", "warnings"]);
    run(command)
}

fn clippy_heavy(engine: &str) -> Result<()> {
    let (triple, feature) = (host_triple()?, format!("boardproof-runner/{engine}"));
    let engine = ["--no-default-features", "--features", &feature];
    clippy(&HEAVY_CRATES, &[&engine[..], &["--target", &triple, "--target-dir", DEVICE_FOLDER]].concat())
}

/// The part of the fuzz crate that the ordinary build leaves out. Nothing is linked, so libFuzzer itself need not be compiled: told that
/// it is somewhere, its crate does not ask for a C++ compiler.
fn clippy_fuzz_driver() -> Result<()> {
    let mut command =
        cargo(&["clippy", "--release", "--locked", "--package", "boardproof-fuzz", "--features", "libfuzzer"]);
    command.env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a").args(["--bin", "libfuzzer", "--", "-D", "warnings"]);
    run(command)
}

fn documentation() -> Result<()> {
    let mut command = cargo(&["doc", "--release", "--locked", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}

/// `models/SHA256SUMS` against the files, and the files against it: one that no line names would go unchecked.
fn digests(root: &Path) -> Result<()> {
    let folder = root.join("models");
    let mut verify = program("sha256sum", &["--check", "--quiet", "--strict", "SHA256SUMS"]);
    verify.current_dir(&folder);
    run(verify)?;
    let text = std::fs::read_to_string(folder.join("SHA256SUMS")).context("could not read models/SHA256SUMS")?;
    let mut list = program("git", &["ls-files", "*.onnx", "*.safetensors", "*.json"]);
    list.current_dir(&folder);
    match unnamed(&text, &output(list)?) {
        files if files.is_empty() => Ok(()),
        files => bail!("models/SHA256SUMS names no digest for {}", files.join(", ")),
    }
}

fn unnamed(sums: &str, files: &str) -> Vec<String> {
    let named: Vec<_> = sums.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name).collect();
    files.lines().filter(|file| !named.contains(file)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::unnamed;

    #[test]
    fn a_file_without_a_digest_is_found() {
        let sums = "00ff  a/f32.onnx\n11ee  a/data/test.safetensors\n";
        assert_eq!(unnamed(sums, "a/f32.onnx\na/data/test.safetensors\n"), Vec::<String>::new());
        assert_eq!(unnamed(sums, "a/f32.onnx\na/f16.onnx\n"), ["a/f16.onnx"]);
    }
}
