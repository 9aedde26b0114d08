//! The programs that the other commands need built: `boardproof` itself, and through it what travels to boards.

use crate::python;
use crate::step::{cargo, program, run, step};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tool, as `cargo build --release` leaves it.
pub const TOOL: &str = "target/release/boardproof";

/// Builds the tool.
pub fn build_tool() -> Result<()> {
    step("build boardproof", || run(cargo(&["build", "--release", "--locked", "--package", "boardproof"])))
}

/// Builds agent and runner for each target, or finds them in the cache: the tool does it as it would for a user.
pub fn build_agents(root: &Path, targets: &[String]) -> Result<()> {
    step(&format!("agent and runner for {}", targets.join(", ")), || {
        let mut command = tool(root, &["agent", "build"]);
        for target in targets {
            command.args(["--target", target]);
        }
        run(command)
    })
}

/// Folder of what the tests' homes share: a cache as the tool keeps one.
const SHARED_CACHE: &str = "target/boardproof-tests/cache";
/// Engine that is a library of its own.
const LIBRARY_ENGINE: &str = "onnxruntime";
/// Targets on which tests use it.
const LIBRARY_TARGETS: [&str; 2] = ["host", "qemu-aarch64"];

/// Keeps the engine's library for the targets whose tests use it. Brought once, by pip.
pub fn add_libraries(root: &Path) -> Result<()> {
    let cache = root.join(SHARED_CACHE);
    let folder = cache.join("boardproof/host/engines").join(LIBRARY_ENGINE);
    if ["x86_64", "aarch64"].iter().all(|architecture| folder.join(architecture).join("library.json").is_file()) {
        return Ok(());
    }
    step(&format!("library of {LIBRARY_ENGINE}"), || {
        let mut command = tool(root, &["engine", "add", LIBRARY_ENGINE]);
        for target in LIBRARY_TARGETS {
            command.args(["--target", target]);
        }
        command.env("XDG_CACHE_HOME", &cache);
        // The tool asks the `python3` of the PATH for pip, which a system's own may lack.
        let python = python::environment()?;
        let own = python.parent().map(Path::to_path_buf).into_iter();
        let others = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", std::env::join_paths(own.chain(std::env::split_paths(&others)))?);
        run(command)
    })
}

/// The engine's library for this machine, as [`add_libraries`] has kept it; `None` before.
pub fn library_here(root: &Path) -> Option<PathBuf> {
    let folder = root.join(SHARED_CACHE).join("boardproof/host/engines").join(LIBRARY_ENGINE);
    let folder = folder.join(std::env::consts::ARCH);
    let description: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("library.json")).ok()?).ok()?;
    Some(folder.join(description["file"].as_str()?))
}

/// A command line of the tool.
pub fn tool(root: &Path, arguments: &[&str]) -> Command {
    let mut command = program(&root.join(TOOL).to_string_lossy(), arguments);
    command.env("BOARDPROOF_SOURCE", root);
    command
}

/// An empty folder under `target/xtask`, whatever an earlier run has left there.
pub fn fresh_folder(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = root.join("target/xtask").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The triple of this machine.
pub fn host_triple() -> Result<String> {
    let text = crate::step::output(program("rustc", &["-vV"]))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("`rustc -vV` does not name its host"))
}
