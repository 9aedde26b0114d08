//! Which tool builds for a triple, and why that one. Pure: what is installed comes in as [`Tools`].

use super::{BuildError, Program};
use boardproof_record::plan::{BuildSpec, Builder};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Build tools found on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    /// Rust toolchain that the source pins.
    pub channel: String,
    /// Triple of this machine.
    pub host_triple: String,
    /// Triples whose standard library is installed.
    pub triples: Vec<String>,
    /// C compilers found, by program name; they link, too.
    pub compilers: Vec<String>,
    /// `cross` and a container engine that answers, by name.
    pub cross_engine: Option<String>,
    /// `cargo-zigbuild` and `zig` are there.
    pub zig: bool,
}

impl Tools {
    /// Looks for everything that building the source in `root` with the target's compiler could use. There, because rustup chooses the
    /// toolchain by folder: another folder's may have other standard libraries.
    pub fn detect(root: &Path, compiler: Option<&str>) -> Self {
        let (host_triple, triples) = std::thread::scope(|scope| {
            let triples = scope.spawn(|| installed_triples(root));
            (host_triple(root).unwrap_or_default(), triples.join().unwrap_or_default())
        });
        Self {
            channel: channel(root),
            host_triple,
            triples,
            compilers: compiler
                .into_iter()
                .chain([OWN_COMPILER])
                .filter(|name| in_path(name).is_some())
                .map(str::to_owned)
                .collect(),
            cross_engine: in_path("cross").and_then(|_| answering_engine()),
            zig: in_path("cargo-zigbuild").is_some() && (in_path("zig").is_some() || in_path("python-zig").is_some()),
        }
    }

    /// The C compiler for a triple: the target's, or this machine's own for a static program of its architecture.
    pub fn compiler_for<'a>(&self, triple: &str, of_target: Option<&'a str>) -> Option<&'a str> {
        let architecture = |triple: &str| triple.split('-').next().map(str::to_owned);
        let own = is_static(triple) && architecture(triple) == architecture(&self.host_triple);
        of_target.or(own.then_some(OWN_COMPILER))
    }

    /// The command that installs a standard library, for the toolchain of the source and not for whichever is the user's default.
    pub fn add_triple(&self, triple: &str) -> String {
        match self.channel.as_str() {
            "" => format!("rustup target add {triple}"),
            channel => format!("rustup target add --toolchain {channel} {triple}"),
        }
    }
}

/// The toolchain that the source pins.
pub(super) fn channel(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("channel"));
    line.map(|line| line.trim_matches([' ', '=', '"']).to_owned()).unwrap_or_default()
}

/// Triple of a program for a target, and the C compiler that the target names for it.
pub fn needs(program: Program, spec: &BuildSpec) -> (&str, Option<&str>) {
    let triple = match program {
        Program::Agent | Program::Firmware => &spec.agent_triple,
        Program::Runner(_) => &spec.runner_triple,
    };
    (triple, spec.linker.as_deref())
}

/// A builder and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Never `Auto`.
    pub builder: Builder,
    /// Linker to set, when it is not the toolchain's own choice.
    pub linker: Option<String>,
    /// C compiler to set, when it is not the builder's own choice.
    pub compiler: Option<String>,
    /// Container engine, for cross.
    pub engine: Option<String>,
    /// One line: why this one.
    pub reason: String,
}

/// Linker that comes with the Rust toolchain; static musl programs need no other, and no C compiler for glibc can link them.
pub const OWN_LINKER: &str = "rust-lld";
/// C compiler of this machine.
pub const OWN_COMPILER: &str = "cc";

/// Chooses the builder for a triple. `wanted` other than `Auto` is obeyed or refused, never replaced.
pub fn choose(triple: &str, wanted: Builder, compiler: Option<&str>, tools: &Tools) -> Result<Choice, BuildError> {
    let add = tools.add_triple(triple);
    let has_std = tools.triples.iter().any(|t| t == triple);
    let cargo = || -> Result<Choice, String> {
        if !has_std {
            return Err(format!("cargo: no standard library for {triple} ({add})"));
        }
        if triple == tools.host_triple {
            return Ok(pick(Builder::Cargo, "cargo: the triple is this machine's own"));
        }
        if is_bare(triple) {
            return Ok(pick(Builder::Cargo, "cargo: bare metal, linked by the toolchain itself"));
        }
        let compiler =
            tools.compiler_for(triple, compiler).ok_or(format!("cargo: the target names no linker for {triple}"))?;
        if !tools.compilers.iter().any(|found| found == compiler) {
            return Err(format!("cargo: {compiler} was not found"));
        }
        let (linker, reason) = linker(triple, compiler);
        let (linker, compiler) = (Some(linker.to_owned()), Some(compiler.to_owned()));
        Ok(Choice { linker, compiler, ..pick(Builder::Cargo, &reason) })
    };
    let zig = || -> Result<Choice, String> {
        if !tools.zig {
            return Err("zig: cargo-zigbuild or zig was not found (pip install cargo-zigbuild ziglang)".into());
        }
        if !has_std {
            return Err(format!("zig: no standard library for {triple} ({add})"));
        }
        Ok(pick(Builder::Zig, "cargo-zigbuild: standard library and zig are installed"))
    };
    let cross = || match &tools.cross_engine {
        Some(engine) => {
            let choice = pick(Builder::Cross, &format!("cross: the container engine {engine} answers"));
            Ok(Choice { engine: Some(engine.clone()), ..choice })
        }
        None => Err("cross: cross or a container engine that answers was not found (cargo install cross --locked; \
                     apt-get install podman)"
            .to_owned()),
    };
    let attempts: Vec<Result<Choice, String>> = match wanted {
        Builder::Cargo => vec![cargo()],
        Builder::Zig => vec![zig()],
        Builder::Cross => vec![cross()],
        Builder::Auto => vec![cargo(), zig(), cross()],
    };
    let mut refusals = Vec::new();
    for attempt in attempts {
        match attempt {
            Ok(choice) if wanted != Builder::Auto => {
                return Ok(Choice { reason: format!("{}; asked for by name", choice.reason), ..choice });
            }
            Ok(choice) => return Ok(choice),
            Err(reason) => refusals.push(reason),
        }
    }
    Err(BuildError::NoBuilder { triple: triple.to_owned(), refusals })
}

/// What links for a triple when this compiler compiles, and why.
fn linker<'c>(triple: &str, compiler: &'c str) -> (&'c str, String) {
    if is_static(triple) && !links_static(compiler) {
        let reason =
            format!("cargo: a static musl program, C by {compiler}, linked by the toolchain's own {OWN_LINKER}");
        return (OWN_LINKER, reason);
    }
    (compiler, format!("cargo: standard library and linker {compiler} are installed"))
}

fn pick(builder: Builder, reason: &str) -> Choice {
    Choice { builder, linker: None, compiler: None, engine: None, reason: reason.to_owned() }
}

/// Whether programs for this triple bring their C library along, and need none of the machine that builds them.
pub fn is_static(triple: &str) -> bool {
    triple.contains("-musl")
}

/// Whether a triple has no operating system: nothing of one is linked, and no C compiler is needed.
fn is_bare(triple: &str) -> bool {
    triple.contains("-none-")
}

/// Whether a compiler's own C library is musl, so that it links static musl programs too. Those of a distribution link its glibc.
fn links_static(compiler: &str) -> bool {
    Path::new(compiler).file_name().is_some_and(|name| name.to_string_lossy().contains("musl"))
}

/// Finds a program in `PATH`.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn output_of(program: &str, args: &[&str], folder: &Path) -> Option<String> {
    let mut command = std::process::Command::new(program);
    let output = command.args(args).current_dir(folder).stdin(std::process::Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What rustc answers in a folder. Asked once per process: each time costs as much as a small model's whole pass.
pub(super) fn rustc(root: &Path, question: &'static str) -> Option<String> {
    static ANSWERS: Mutex<BTreeMap<(PathBuf, &str), Option<String>>> = Mutex::new(BTreeMap::new());
    let answers = || ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (root.to_owned(), question);
    if let Some(known) = answers().get(&key) {
        return known.clone();
    }
    // Without the lock: another question may be asked meanwhile.
    let answer = output_of("rustc", &[question], root);
    answers().entry(key).or_insert(answer).clone()
}

/// The triple of this machine.
pub(super) fn host_triple(root: &Path) -> Option<String> {
    rustc(root, "-vV")?.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// Triples with a standard library under the sysroot. Asks rustc alone: rustup need not be there.
fn installed_triples(root: &Path) -> Vec<String> {
    let Some(sysroot) = rustc(root, "--print=sysroot") else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(PathBuf::from(sysroot.trim()).join("lib/rustlib")) else { return Vec::new() };
    let has_std = |path: &PathBuf| path.join("lib").is_dir();
    let mut triples: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(has_std)
        .filter_map(|path| path.file_name().map(|n| n.to_string_lossy().into_owned()))
        .collect();
    triples.sort();
    triples
}

fn answering_engine() -> Option<String> {
    ["podman", "docker"]
        .into_iter()
        .find(|engine| output_of(engine, &["info"], Path::new(".")).is_some())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Tools {
        Tools {
            channel: "1.95.0".into(),
            host_triple: "x86_64-unknown-linux-gnu".into(),
            triples: vec![
                "x86_64-unknown-linux-gnu".into(),
                "aarch64-unknown-linux-gnu".into(),
                "aarch64-unknown-linux-musl".into(),
            ],
            compilers: vec!["cc".into(), "aarch64-linux-gnu-gcc".into()],
            ..Tools::default()
        }
    }

    #[track_caller]
    fn check(
        triple: &str,
        wanted: Builder,
        compiler: Option<&str>,
        tools: &Tools,
        expected: Result<(Builder, Option<&str>), &str>,
    ) {
        match (choose(triple, wanted, compiler, tools), expected) {
            (Ok(choice), Ok((builder, linker))) => {
                assert_eq!((choice.builder, choice.linker.as_deref()), (builder, linker), "{}", choice.reason);
            }
            (Err(error), Err(part)) => assert!(format!("{error}").contains(part), "{error} lacks {part}"),
            (got, expected) => panic!("expected {expected:?}, got {got:?}"),
        }
    }

    #[test]
    fn nothing_installed_names_every_refusal_with_its_command() {
        check(
            "aarch64-unknown-linux-gnu",
            Builder::Auto,
            Some("ld"),
            &Tools::default(),
            Err("rustup target add aarch64-unknown-linux-gnu"),
        );
        check(
            "aarch64-unknown-linux-gnu",
            Builder::Auto,
            Some("ld"),
            &Tools::default(),
            Err("pip install cargo-zigbuild ziglang"),
        );
        check("aarch64-unknown-linux-gnu", Builder::Auto, Some("ld"), &Tools::default(), Err("apt-get install podman"));
    }

    #[test]
    fn a_builder_that_was_asked_for_is_never_replaced() {
        check("aarch64-unknown-linux-gnu", Builder::Zig, Some("aarch64-linux-gnu-gcc"), &tools(), Err("zig"));
        check("aarch64-unknown-linux-gnu", Builder::Cross, Some("aarch64-linux-gnu-gcc"), &tools(), Err("cross"));
    }

    #[test]
    fn cargo_comes_first_when_it_can() {
        check("x86_64-unknown-linux-gnu", Builder::Auto, None, &tools(), Ok((Builder::Cargo, None)));
        check(
            "aarch64-unknown-linux-gnu",
            Builder::Auto,
            Some("aarch64-linux-gnu-gcc"),
            &tools(),
            Ok((Builder::Cargo, Some("aarch64-linux-gnu-gcc"))),
        );
    }

    #[test]
    fn a_static_program_is_linked_by_the_toolchain_and_has_its_c_compiled_for_its_own_architecture() {
        let tools =
            Tools { triples: vec!["x86_64-unknown-linux-musl".into(), "aarch64-unknown-linux-musl".into()], ..tools() };
        let (here, there) = ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl");
        let gcc = Some("aarch64-linux-gnu-gcc");
        let compiler = |triple, compiler| choose(triple, Builder::Cargo, compiler, &tools).unwrap().compiler;
        check(here, Builder::Auto, None, &tools, Ok((Builder::Cargo, Some("rust-lld"))));
        assert_eq!(compiler(here, None).as_deref(), Some("cc"));
        check(there, Builder::Auto, gcc, &tools, Ok((Builder::Cargo, Some("rust-lld"))));
        assert_eq!(compiler(there, gcc).as_deref(), gcc);
        check(there, Builder::Cargo, None, &tools, Err("names no linker"));
        let bare = Tools { compilers: Vec::new(), ..tools.clone() };
        check(here, Builder::Cargo, None, &bare, Err("cc was not found"));
        check(there, Builder::Cargo, gcc, &bare, Err("aarch64-linux-gnu-gcc was not found"));
    }

    #[test]
    fn a_compiler_for_musl_links_what_it_compiles() {
        let gcc = "aarch64-linux-musl-gcc";
        let tools = Tools { compilers: vec![gcc.into()], ..tools() };
        let expected = Ok((Builder::Cargo, Some(gcc)));
        check("aarch64-unknown-linux-musl", Builder::Auto, Some(gcc), &tools, expected);
    }

    #[test]
    fn zig_and_cross_step_in_when_the_linker_is_missing() {
        let zig = Tools { compilers: Vec::new(), zig: true, ..tools() };
        check(
            "aarch64-unknown-linux-gnu",
            Builder::Auto,
            Some("aarch64-linux-gnu-gcc"),
            &zig,
            Ok((Builder::Zig, None)),
        );
        let cross = Tools { compilers: Vec::new(), cross_engine: Some("podman".into()), ..tools() };
        check(
            "aarch64-unknown-linux-gnu",
            Builder::Auto,
            Some("aarch64-linux-gnu-gcc"),
            &cross,
            Ok((Builder::Cross, None)),
        );
    }

    #[test]
    fn bare_metal_needs_no_linker() {
        let triple = "thumbv7em-none-eabihf";
        let bare = Tools { triples: vec![triple.into()], ..tools() };
        let choice = choose(triple, Builder::Auto, None, &bare).expect("the library is there");
        assert_eq!((choice.builder, choice.linker, choice.compiler), (Builder::Cargo, None, None));
        let missing = choose(triple, Builder::Cargo, None, &tools()).unwrap_err().to_string();
        assert!(missing.contains("rustup target add"), "{missing}");
    }

    #[test]
    fn zig_is_no_standard_library() {
        let zig = Tools { triples: Vec::new(), zig: true, ..tools() };
        check(
            "aarch64-unknown-linux-musl",
            Builder::Zig,
            None,
            &zig,
            Err("rustup target add --toolchain 1.95.0 aarch64-unknown-linux-musl"),
        );
    }

    #[test]
    fn the_reason_tells_a_choice_from_a_wish() {
        let reason = |wanted| {
            choose("aarch64-unknown-linux-musl", wanted, Some("aarch64-linux-gnu-gcc"), &tools()).unwrap().reason
        };
        assert!(!reason(Builder::Auto).contains("asked for"), "{}", reason(Builder::Auto));
        assert!(reason(Builder::Cargo).ends_with("; asked for by name"), "{}", reason(Builder::Cargo));
    }
}
