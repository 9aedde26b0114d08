//! `cargo xtask setup`: what the targets need and this machine lacks, installed, or named with the command that would.
//!
//! What is needed stands in `targets/*.toml`, so a new board brings its own packages and triples. Those triples that the usual targets need
//! are pinned in `rust-toolchain.toml` besides, and rustup has brought them by now, unless it was told not to. Looks before it acts: with all
//! there it takes a fraction of a second and changes nothing.

use crate::deny;
use crate::step::{output, program, run, step, works};
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Targets that tests and demo use: one of each kind that needs no hardware.
pub const USUAL: [&str; 4] = ["host", "qemu-aarch64", "virtual-board-aarch64", "mps2-an386"];
/// Architecture on which every `no_std` crate is built alone.
pub const BARE: &str = "thumbv7em-none-eabihf";
/// Architectures of all firmware, which `check` builds.
const FIRMWARE: [&str; 3] = [BARE, "thumbv7m-none-eabi", "thumbv8m.main-none-eabihf"];
/// C compiler for boards without an operating system.
const C_FOR_BOARDS: &str = "gcc-arm-none-eabi";
/// Components of the toolchain that `check` calls.
const COMPONENTS: [&str; 2] = ["clippy", "rustfmt"];

/// Arguments of `setup`.
#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Target to set up for; may be given again [default: host, qemu-aarch64, virtual-board-aarch64, mps2-an386]
    #[arg(long = "target", short = 't', value_name = "TARGET")]
    pub target: Vec<String>,
    /// Every target in targets/
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
    /// Only say what is missing; fail when something is
    #[arg(long)]
    pub look: bool,
}

/// The command: what the targets need and what `check` asks for besides.
pub fn setup(root: &Path, arguments: &Arguments) -> Result<()> {
    let names = if arguments.all { every_target(root)? } else { named_or_usual(&arguments.target) };
    step("setup", || {
        let mut wanted = wanted(root, &names)?;
        let extras = deny::missing(root);
        if !extras.is_empty() && deny::python().is_none() {
            wanted.packages.insert(deny::PACKAGE.to_owned());
        }
        for extra in &extras {
            print_missing(extra.what, &extra.how);
        }
        if arguments.look {
            let missing = look(&wanted)?;
            return if missing.is_empty() && extras.is_empty() {
                Ok(())
            } else {
                bail!("something is missing; `cargo xtask setup` without --look installs it")
            };
        }
        let done = get(root, &names, &wanted);
        for extra in extras {
            if let Err(error) = (extra.get)(root) {
                eprintln!("not got: {}: {error:#}; `cargo xtask check` leaves out what needs it", extra.what);
            }
        }
        done
    })
}

/// What these targets need and nothing else: for commands that use them.
pub fn for_targets(root: &Path, names: &[String]) -> Result<()> {
    step("setup", || get(root, names, &wanted(root, names)?))
}

/// What the tests need: their targets', a Python that can make an environment for pip, and for microcontrollers a C compiler, with which the
/// example of an engine in C is built.
pub fn for_tests(root: &Path, names: &[String]) -> Result<()> {
    let mut wanted = wanted(root, names)?;
    if deny::python().is_none() {
        wanted.packages.insert(deny::PACKAGE.to_owned());
    }
    if wanted.triples.contains(BARE) {
        wanted.packages.insert(C_FOR_BOARDS.to_owned());
    }
    step("setup", || get(root, names, &wanted))
}

/// Installs what is missing. An error names what is still missing and the targets that cannot do without; everything else is in place.
fn get(root: &Path, names: &[String], wanted: &Things) -> Result<()> {
    let missing = look(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let failed = install(&missing);
    let left = wanted.missing(&Present::look(wanted)?);
    if left.is_empty() {
        return Ok(());
    }
    let mut lines = vec![format!("could not get {}", left.names().join(", "))];
    for name in names {
        let without = left.common(&self::wanted(root, std::slice::from_ref(name))?);
        lines.push(match without.names() {
            lacks if lacks.is_empty() => format!("  ready:     {name}"),
            lacks => format!("  NOT READY: {name}, for want of {}", lacks.join(", ")),
        });
    }
    lines.extend(failed.iter().map(|error| format!("  because: {error:#}")));
    bail!("{}", lines.join("\n"))
}

/// What is missing, said and returned.
fn look(wanted: &Things) -> Result<Things> {
    let missing = wanted.missing(&Present::look(wanted)?);
    for (what, command) in missing.lines() {
        print_missing(what, &command);
    }
    Ok(missing)
}

fn print_missing(what: &str, command: &str) {
    eprintln!("missing: {what:<32} {command}");
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
    runner_triple: Option<String>,
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
}

fn wanted(root: &Path, names: &[String]) -> Result<Things> {
    let mut things = Things { components: COMPONENTS.map(str::to_owned).into(), ..Things::default() };
    things.triples.extend(FIRMWARE.map(str::to_owned));
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
        self.triples.extend(file.build.runner_triple.into_iter().chain([file.build.agent_triple]));
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

    /// What is in both.
    fn common(&self, other: &Self) -> Self {
        let both = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.intersection(b).cloned().collect();
        Self {
            components: both(&self.components, &other.components),
            triples: both(&self.triples, &other.triples),
            packages: both(&self.packages, &other.packages),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn names(&self) -> Vec<&str> {
        [&self.components, &self.triples, &self.packages].into_iter().flatten().map(String::as_str).collect()
    }

    /// Each thing with the command that gets it.
    fn lines(&self) -> Vec<(&str, String)> {
        let mut lines: Vec<(&str, String)> = Vec::new();
        lines.extend(self.components.iter().map(|c| (c.as_str(), format!("rustup component add {c}"))));
        lines.extend(self.triples.iter().map(|t| (t.as_str(), format!("rustup target add {t}"))));
        lines.extend(self.packages.iter().map(|p| (p.as_str(), format!("apt-get install {p}"))));
        lines
    }

    /// What rustup must do, as shell words: one thing a command, because it stops at the first that it cannot get.
    fn rustup_commands(&self) -> Vec<Vec<String>> {
        let command = |noun: &str, name: &String| ["rustup", noun, "add", name].map(str::to_owned).to_vec();
        let components = self.components.iter().map(|name| command("component", name));
        components.chain(self.triples.iter().map(|name| command("target", name))).collect()
    }

    /// What root must do.
    fn root_commands(&self) -> Vec<Vec<String>> {
        if self.packages.is_empty() {
            return Vec::new();
        }
        // Without a bound, apt waits for ever for whoever holds its lock.
        let apt =
            ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"];
        let command = |more: &[&str]| apt.iter().chain(more).map(|&word| word.to_owned()).collect::<Vec<_>>();
        let mut install = command(&["install", "-y", "--no-install-recommends"]);
        install.extend(self.packages.iter().cloned());
        vec![command(&["update"]), install]
    }

    /// Its packages, each alone.
    fn package_by_package(&self) -> impl Iterator<Item = Self> {
        self.packages.iter().map(|name| Self { packages: [name.clone()].into(), ..Self::default() })
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
        let mut things = Things {
            components: is_there(&wanted.components, &|c| has(component_program(c))),
            triples: is_there(&wanted.triples, &|t| has(&format!("lib/rustlib/{t}/lib"))),
            ..Things::default()
        };
        if has_apt() {
            things.packages = is_there(&wanted.packages, &is_installed);
        }
        Ok(Self { things })
    }
}

/// This is a Debian or a child of it.
fn has_apt() -> bool {
    works("apt-get", &["--version"]) && works("dpkg-query", &["--version"])
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

/// Gets everything that can be got: one source that fails does not keep the others from being asked. Returns what went wrong.
fn install(missing: &Things) -> Vec<anyhow::Error> {
    let mut failed: Vec<_> = missing.rustup_commands().iter().filter_map(|command| run_words(command).err()).collect();
    failed.extend(install_packages(missing));
    failed
}

fn install_packages(missing: &Things) -> Vec<anyhow::Error> {
    if missing.packages.is_empty() {
        return Vec::new();
    }
    if !has_apt() {
        let names: Vec<_> = missing.packages.iter().map(String::as_str).collect();
        let names = names.join(", ");
        return vec![anyhow!("this machine has no apt; get what these Debian packages hold by its own means: {names}")];
    }
    let rights = Rights::find();
    if rights == Rights::No {
        let line = by_hand(&missing.root_commands());
        return vec![anyhow!(
            "packages need root and sudo asks for a password: type this once, then try again\n\n    {line}\n"
        )];
    }
    let Err(error) = run_as_root(&missing.root_commands(), rights) else { return Vec::new() };
    if missing.packages.len() == 1 {
        return vec![error];
    }
    // apt installs nothing of a list in which it does not know a name.
    missing.package_by_package().filter_map(|one| run_as_root(&one.root_commands()[1..], rights).err()).collect()
}

fn run_as_root(commands: &[Vec<String>], rights: Rights) -> Result<()> {
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
    // What installers say is for people; standard output is for data.
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
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
    fn the_toolchain_is_pinned_with_what_the_usual_targets_need() {
        #[derive(Deserialize)]
        struct Pinned {
            toolchain: Toolchain,
        }
        #[derive(Deserialize)]
        struct Toolchain {
            components: BTreeSet<String>,
            targets: BTreeSet<String>,
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let text = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
        let Pinned { toolchain } = toml::from_str(&text).unwrap();
        let wanted = wanted(root, &USUAL.map(str::to_owned)).unwrap();
        assert_eq!((toolchain.targets, toolchain.components), (wanted.triples, wanted.components));
    }

    #[test]
    fn nothing_missing_means_nothing_to_do() {
        let present = Present { things: board() };
        let missing = board().missing(&present);
        assert!(missing.is_empty());
        assert!(missing.rustup_commands().is_empty() && missing.root_commands().is_empty());
    }

    #[test]
    fn what_is_missing_is_named_with_its_command() {
        let present = Present { things: Things { packages: set(&["cpio"]), ..Things::default() } };
        let missing = board().missing(&present);
        let lines = missing.lines();
        assert!(lines.contains(&("qemu-system-arm", "apt-get install qemu-system-arm".to_owned())), "{lines:?}");
        assert!(!lines.iter().any(|(what, _)| *what == "cpio"), "{lines:?}");
    }

    #[test]
    fn what_one_source_lacks_is_asked_for_alone() {
        let words: Vec<_> = board().rustup_commands().iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            words,
            ["rustup target add aarch64-unknown-linux-gnu", "rustup target add aarch64-unknown-linux-musl"]
        );
        let packages: Vec<_> = board().package_by_package().map(|one| one.root_commands()[1].last().cloned()).collect();
        assert_eq!(packages, [Some("cpio".to_owned()), Some("qemu-system-arm".to_owned())]);
    }

    #[test]
    fn a_target_is_ready_when_nothing_of_its_own_is_missing() {
        let left = Things { packages: set(&["cpio", "podman"]), ..Things::default() };
        assert_eq!(left.common(&board()).names(), ["cpio"]);
        let left = Things { triples: set(&["riscv64gc-unknown-linux-musl"]), ..Things::default() };
        assert!(left.common(&board()).is_empty());
    }

    #[test]
    fn without_rights_one_line_to_type_holds_everything_for_root() {
        let line = by_hand(&board().root_commands());
        assert!(line.starts_with("sudo sh -c 'apt-get -q -o "), "{line}");
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
