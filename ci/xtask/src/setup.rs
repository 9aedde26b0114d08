//! `cargo xtask setup`: what the targets need and this machine lacks, installed, or named with the command that would.
//!
//! What is needed stands in `targets/*.toml`, so a new board brings its own packages and triples. Looks before it acts: with all there it
//! takes a fraction of a second and changes nothing.

use crate::step::{output, program, run, step, works};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Targets that tests and demo use: one of each kind that needs no hardware.
pub const USUAL: [&str; 3] = ["host", "qemu-aarch64", "virtual-board-aarch64"];
/// Architecture on which every `no_std` crate is built alone.
pub const BARE: &str = "thumbv7em-none-eabihf";
/// Components of the toolchain that `check` calls.
const COMPONENTS: [&str; 2] = ["clippy", "rustfmt"];

/// Arguments of `setup`.
#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Target to set up for; may be given again [default: host, qemu-aarch64, virtual-board-aarch64]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Vec<String>,
    /// Every target in targets/
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
    /// Only say what is missing; fail when something is
    #[arg(long)]
    pub look: bool,
}

/// Installs what is missing.
pub fn setup(root: &Path, arguments: &Arguments) -> Result<()> {
    let names = if arguments.all { every_target(root)? } else { named_or_usual(&arguments.target) };
    step("setup", || {
        let wanted = wanted(root, &names)?;
        let missing = wanted.missing(&Present::look(&wanted)?);
        for (what, command) in missing.lines() {
            eprintln!("missing: {what:<32} {command}");
        }
        if missing.is_empty() {
            return Ok(());
        }
        if arguments.look {
            bail!("something is missing; `cargo xtask setup` without --look installs it");
        }
        install(&missing)?;
        let left = wanted.missing(&Present::look(&wanted)?);
        if left.is_empty() { Ok(()) } else { bail!("installed without an error, and still missing: {left:?}") }
    })
}

fn named_or_usual(names: &[String]) -> Vec<String> {
    if names.is_empty() { USUAL.map(str::to_owned).to_vec() } else { names.to_vec() }
}

/// The names of all target files, sorted.
pub fn every_target(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("targets")).context("could not list targets/")? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|e| e == "toml");
        match path.file_stem().and_then(|stem| stem.to_str()) {
            Some(stem) if is_target && !stem.contains('.') => names.push(stem.to_owned()),
            _ => {}
        }
    }
    names.sort();
    Ok(names)
}

/// The part of a target file that matters here; the rest is `plan`'s.
#[derive(Debug, Deserialize)]
struct TargetFile {
    build: BuildTable,
}

#[derive(Debug, Deserialize)]
struct BuildTable {
    runner_triple: String,
    agent_triple: String,
    #[serde(default)]
    packages: Vec<String>,
}

/// A set of things, needed or missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Things {
    components: BTreeSet<String>,
    triples: BTreeSet<String>,
    packages: BTreeSet<String>,
}

/// What is there.
#[derive(Debug, Default)]
struct Present {
    things: Things,
    /// This is a Debian or a child of it.
    apt: bool,
}

fn wanted(root: &Path, names: &[String]) -> Result<Things> {
    let mut things = Things { components: COMPONENTS.map(str::to_owned).into(), ..Things::default() };
    things.triples.insert(BARE.to_owned());
    for name in names {
        let path = root.join("targets").join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).with_context(|| {
            let known = every_target(root).unwrap_or_default().join(", ");
            format!("no target is called '{name}'; known: {known}")
        })?;
        let file: TargetFile = toml::from_str(&text).with_context(|| format!("targets/{name}.toml cannot be read"))?;
        things.add(file);
    }
    Ok(things)
}

impl Things {
    fn add(&mut self, file: TargetFile) {
        self.triples.extend([file.build.runner_triple, file.build.agent_triple]);
        self.packages.extend(file.build.packages);
    }

    fn missing(&self, present: &Present) -> Self {
        let without = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        let there = &present.things;
        Self {
            components: without(&self.components, &there.components),
            triples: without(&self.triples, &there.triples),
            packages: without(&self.packages, &there.packages),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each thing with the command that gets it.
    fn lines(&self) -> Vec<(&str, String)> {
        let mut lines: Vec<(&str, String)> = Vec::new();
        lines.extend(self.components.iter().map(|c| (c.as_str(), format!("rustup component add {c}"))));
        lines.extend(self.triples.iter().map(|t| (t.as_str(), format!("rustup target add {t}"))));
        lines.extend(self.packages.iter().map(|p| (p.as_str(), format!("apt-get install {p}"))));
        lines
    }

    /// What rustup must do, then what root must do, as shell words: one line each.
    fn rustup_commands(&self) -> Vec<Vec<String>> {
        let command = |noun: &str, names: &BTreeSet<String>| {
            let head = ["rustup", noun, "add"].map(str::to_owned);
            (!names.is_empty()).then(|| head.into_iter().chain(names.iter().cloned()).collect())
        };
        [command("component", &self.components), command("target", &self.triples)].into_iter().flatten().collect()
    }

    fn root_commands(&self) -> Vec<Vec<String>> {
        if self.packages.is_empty() {
            return Vec::new();
        }
        // Without a bound, apt waits for ever for whoever holds its lock.
        let apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"];
        let command = |more: &[&str]| apt.iter().chain(more).map(|&word| word.to_owned()).collect::<Vec<_>>();
        let mut install = command(&["install", "-y", "--no-install-recommends"]);
        install.extend(self.packages.iter().cloned());
        vec![command(&["update"]), install]
    }
}

impl Present {
    fn look(wanted: &Things) -> Result<Self> {
        let sysroot = output(program("rustc", &["--print", "sysroot"]))?;
        let sysroot = Path::new(sysroot.trim());
        let has = |path: &str| sysroot.join(path).exists();
        let is_there = |names: &BTreeSet<String>, test: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
            names.iter().filter(|name| test(name)).cloned().collect()
        };
        let apt = works("apt-get", &["--version"]) && works("dpkg-query", &["--version"]);
        let mut things = Things {
            components: is_there(&wanted.components, &|c| has(component_program(c))),
            triples: is_there(&wanted.triples, &|t| has(&format!("lib/rustlib/{t}/lib"))),
            ..Things::default()
        };
        if apt {
            things.packages = is_there(&wanted.packages, &is_installed);
        }
        Ok(Self { things, apt })
    }
}

fn component_program(component: &str) -> &'static str {
    if component == "rustfmt" { "bin/rustfmt" } else { "bin/cargo-clippy" }
}

fn is_installed(package: &str) -> bool {
    let mut query = program("dpkg-query", &["-W", "-f=${db:Status-Status}", package]);
    let output = query.stderr(std::process::Stdio::null()).output();
    output.is_ok_and(|o| o.status.success() && o.stdout == b"installed")
}

/// How this process can become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    Sudo,
    No,
}

impl Rights {
    fn find() -> Self {
        let id = output(program("id", &["-u"])).unwrap_or_default();
        if id.trim() == "0" {
            Self::Root
        } else if works("sudo", &["-n", "true"]) {
            Self::Sudo
        } else {
            Self::No
        }
    }
}

/// Gets everything that can be got: one source that fails does not keep the others from being asked.
fn install(missing: &Things) -> Result<()> {
    let mut failed = Vec::new();
    for command in missing.rustup_commands() {
        failed.extend(run_words(&command).err());
    }
    let commands = missing.root_commands();
    if !commands.is_empty() {
        failed.extend(install_packages(missing, &commands).err());
    }
    let failed: Vec<_> = failed.iter().map(|error| format!("{error:#}")).collect();
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

fn install_packages(missing: &Things, commands: &[Vec<String>]) -> Result<()> {
    if !Present::look(missing)?.apt {
        let names: Vec<_> = missing.packages.iter().map(String::as_str).collect();
        bail!("this machine has no apt; get what these Debian packages hold by its own means: {}", names.join(", "));
    }
    let rights = Rights::find();
    if rights == Rights::No {
        let line = by_hand(commands);
        bail!("packages need root and sudo asks for a password: type this once, then try again\n\n    {line}\n");
    }
    for command in commands {
        let mut command = command.clone();
        if rights == Rights::Sudo {
            command.splice(0..0, ["sudo", "-n"].map(str::to_owned));
        }
        run_words(&command)?;
    }
    Ok(())
}

/// The one command to type.
fn by_hand(commands: &[Vec<String>]) -> String {
    let lines: Vec<_> = commands.iter().map(|words| words.join(" ")).collect();
    format!("sudo sh -c '{}'", lines.join(" && "))
}

fn run_words(words: &[String]) -> Result<()> {
    let (name, arguments) = words.split_first().context("an empty command")?;
    let mut command = program(name, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn board() -> Things {
        let text = r#"
            [build]
            runner_triple = "aarch64-unknown-linux-gnu"
            agent_triple = "aarch64-unknown-linux-musl"
            packages = ["qemu-system-arm", "cpio"]
        "#;
        let mut things = Things::default();
        things.add(toml::from_str(text).unwrap());
        things
    }

    #[test]
    fn nothing_missing_means_nothing_to_do() {
        let present = Present { things: board(), apt: true };
        let missing = board().missing(&present);
        assert!(missing.is_empty());
        assert!(missing.rustup_commands().is_empty() && missing.root_commands().is_empty());
    }

    #[test]
    fn what_is_missing_is_named_with_its_command() {
        let present = Present { things: Things { packages: set(&["cpio"]), ..Things::default() }, apt: true };
        let missing = board().missing(&present);
        let lines = missing.lines();
        assert!(lines.contains(&("qemu-system-arm", "apt-get install qemu-system-arm".to_owned())), "{lines:?}");
        assert!(!lines.iter().any(|(what, _)| *what == "cpio"), "{lines:?}");
    }

    #[test]
    fn without_rights_one_line_to_type_holds_everything_for_root() {
        let line = by_hand(&board().root_commands());
        assert!(line.starts_with("sudo sh -c 'apt-get -o "), "{line}");
        assert!(line.ends_with("cpio qemu-system-arm'"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn every_committed_target_can_be_read_and_a_wrong_name_lists_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let names = every_target(root).unwrap();
        assert!(names.contains(&"host".to_owned()) && !names.iter().any(|n| n.contains("inventory")), "{names:?}");
        assert!(wanted(root, &names).is_ok());
        let error = wanted(root, &["hsot".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("'hsot'") && error.contains("raspberry-pi-4"), "{error}");
    }
}
