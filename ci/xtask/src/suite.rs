//! `cargo xtask test`: everything a fresh machine needs, then every test. Cargo's own closing lines stay in view.

use crate::check::{DEVICE_FOLDER, ENGINES, GPU_ENGINE};
use crate::firmware;
use crate::programs::{add_libraries, build_agents, build_tool, host_triple, library_here, tool};
use crate::setup::{self, USUAL, every_target};
use crate::step::{Steps, cargo, run, step};
use anyhow::Result;
use std::path::Path;

/// Package and test binary whose ignored tests boot a board.
const BOARD_TESTS: [[&str; 2]; 2] = [["boardproof-lab", "virtual_board"], ["boardproof-tests", "main"]];

/// Tests that build the runner for GPUs, which takes minutes: they are among those that are ignored.
const GPU_TESTS: &str = "gpu::";

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The engine for GPUs, up to the absence of one, and every target that needs no hardware, not only host, qemu-aarch64, virtual-board-aarch64 and mps2-an386
    #[arg(long)]
    all: bool,
    /// Words for the test binaries, such as a part of a test's name
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs all tests. Stops at the first step that fails: what comes after needs what came before.
pub fn test(root: &Path, arguments: &Arguments) -> Result<()> {
    let targets = targets(root, arguments.all)?;
    setup::for_tests(root, &targets)?;
    build_tool()?;
    build_agents(root, &targets)?;
    add_libraries(root)?;
    if arguments.all {
        step("runner of the engine cuda", || run(tool(root, &["agent", "build", "--engine", GPU_ENGINE])))?;
    }
    let mut tests = Steps::default();
    tests.run("tests of the host's crates", || cargo_test(&[], &arguments.rest, &targets));
    for engine in engines(arguments.all) {
        tests.run(&format!("tests of the engine {engine}"), || {
            let (triple, feature) = (host_triple()?, format!("boardproof-runner/{engine}"));
            let packages = ["--package", "boardproof-engines", "--package", "boardproof-runner"];
            let engine = ["--no-default-features", "--features", &feature];
            let place = ["--target", &triple, "--target-dir", DEVICE_FOLDER];
            cargo_test(&[&packages[..], &engine[..], &place[..]].concat(), &arguments.rest, &targets)
        });
    }
    tests.run("tests of the firmware", || firmware::test(root, &arguments.rest));
    // They boot a board for minutes, so `cargo test` alone leaves them out. Named one by one: elsewhere `ignored` means a program that a
    // test starts, or a measurement that asserts nothing.
    for [package, binary] in BOARD_TESTS {
        tests.run(&format!("tests of {package} that boot a board"), || {
            let selection = ["--package", package, "--test", binary];
            let mut words = vec!["--ignored".to_owned()];
            if !arguments.all {
                words.extend(["--skip".to_owned(), GPU_TESTS.to_owned()]);
            }
            cargo_test(&selection, &[&words[..], &arguments.rest[..]].concat(), &targets)
        });
    }
    tests.finish("test")
}

/// Engines whose tests are run.
fn engines(all: bool) -> impl Iterator<Item = &'static str> {
    ENGINES.into_iter().chain(all.then_some(GPU_ENGINE))
}

fn targets(root: &Path, all: bool) -> Result<Vec<String>> {
    if !all {
        return Ok(USUAL.map(str::to_owned).to_vec());
    }
    let in_process = |name: &String| name == "host" || name == "sim";
    let without_hardware =
        |name: &String| in_process(name) || ["qemu-", "virtual-", "mps2-"].iter().any(|kind| name.starts_with(kind));
    Ok(every_target(root)?.into_iter().filter(without_hardware).collect())
}

fn cargo_test(selection: &[&str], rest: &[String], targets: &[String]) -> Result<()> {
    // One test that fails must not hide what others would say.
    let mut command = cargo(&["test", "--release", "--locked", "--no-fail-fast"]);
    command.args(selection);
    if let Some(library) = library_here(&std::env::current_dir()?) {
        command.env("BOARDPROOF_ONNXRUNTIME", library);
    }
    // Tests that walk targets take these and no others, so that a target that is not set up is never a failure of the code.
    command.env("BOARDPROOF_TEST_TARGETS", targets.join(","));
    if !rest.is_empty() {
        command.arg("--").args(rest);
    }
    run(command)
}

#[cfg(test)]
mod tests {
    use super::targets;
    use std::path::Path;

    #[test]
    fn no_test_run_asks_for_a_board_that_somebody_must_own() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let all = targets(root, true).unwrap();
        assert!(all.contains(&"qemu-riscv64".to_owned()), "{all:?}");
        assert!(!all.iter().any(|name| name.contains("raspberry")), "{all:?}");
        for usual in targets(root, false).unwrap() {
            assert!(all.contains(&usual), "{usual} is in {all:?}");
        }
    }
}
