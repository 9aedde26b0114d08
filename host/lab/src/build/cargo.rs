//! Running the builder and keeping what it made, by digest.

use super::choose::{Choice, OWN_COMPILER, Tools, channel, choose, host_triple, is_static, needs, rustc};
use super::source::{SourceError, find_source, source_digest};
use super::{Program, prebuilt};
use boardproof_record::Digest;
use boardproof_record::plan::{BuildSpec, Builder, MICRO, TRACT};
use boardproof_record::record::Build;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The source is not there or cannot be read.
    #[error("could not find what to build")]
    Source(#[from] SourceError),
    /// No tool here can build for this triple.
    #[error("nothing here can build for {triple}: {}", refusals.join("; "))]
    NoBuilder {
        /// The triple.
        triple: String,
        /// Why each builder was left out.
        refusals: Vec<String>,
    },
    /// The builder could not be started.
    #[error("could not start {program}")]
    Start {
        /// What was to be started.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The builder ended with an error.
    #[error("{command} failed ({status}):\n{log}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit status.
        status: String,
        /// Its last lines.
        log: String,
    },
    /// Only one way to put the code in order is known for this program.
    #[error("could not build {program} for {triple} in another layout: {why}")]
    Layout {
        /// The program.
        program: &'static str,
        /// The triple.
        triple: String,
        /// What stands against it.
        why: String,
    },
    /// A program that should have been built beforehand is not there, or is another.
    #[error("could not take {name} out of {}: {why}", folder.display())]
    NotPrebuilt {
        /// Its name.
        name: String,
        /// Where it should be.
        folder: PathBuf,
        /// Why not.
        why: String,
    },
    /// The result could not be read or kept.
    #[error("could not keep {}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl BuildError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(SourceError::NotFound { .. }) => {
                Some("run inside a checkout of boardproof, or set BOARDPROOF_SOURCE to one".into())
            }
            Self::NoBuilder { .. } => {
                Some("`boardproof doctor --target NAME` lists what is missing and how to get it".into())
            }
            Self::NotPrebuilt { .. } => {
                Some(format!("make it with `boardproof agent build --out FOLDER`, or unset {}", prebuilt::VARIABLE))
            }
            _ => None,
        }
    }
}

/// A program that is ready to ship.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub path: PathBuf,
    /// How it was made; goes into the record.
    pub build: Build,
}

/// What [`command_line`] does to a program beyond its source; to be changed with it, so that no older program is taken for one
/// that was made this way.
const RECIPE: &str = "2: stripped, runners for gnu at a fixed address";

/// Builds programs from one source tree.
#[derive(Debug, Clone)]
pub struct Workshop {
    root: PathBuf,
    profile: String,
    /// Folder of programs that were built beforehand: nothing is built then.
    prebuilt: Option<PathBuf>,
}

impl Workshop {
    /// Finds the source, or the folder of programs that `BOARDPROOF_PROGRAMS` names in its place.
    pub fn open() -> Result<Self, BuildError> {
        let prebuilt = prebuilt::named();
        let root = if prebuilt.is_some() { PathBuf::new() } else { find_source()? };
        let profile = std::env::var("BOARDPROOF_PROFILE").unwrap_or_else(|_| "release".into());
        Ok(Self { root, profile, prebuilt })
    }

    /// Copies a program into a folder from which `BOARDPROOF_PROGRAMS` takes it elsewhere.
    pub fn put(
        &self,
        folder: &Path,
        program: Program,
        spec: &BuildSpec,
        artifact: &Artifact,
    ) -> Result<(), BuildError> {
        let name = prebuilt::file_name(program, program.binary(spec), needs(program, spec).0);
        let keep = |source| BuildError::Keep { path: folder.join(&name), source };
        prebuilt::put(folder, &name, artifact).map_err(keep)
    }

    /// The program for this target: from the cache when source, lock file, toolchain, compiler and flags are what they were, else built.
    /// `say` hears one line per step and per crate that the builder compiles.
    pub fn artifact(
        &self,
        program: Program,
        spec: &BuildSpec,
        say: &mut dyn FnMut(&str),
    ) -> Result<Artifact, BuildError> {
        self.artifact_in(program, spec, None, say)
    }

    /// The same program with its functions in another order, which `layout` draws. Where code lies decides what shares a line of a cache
    /// and how branches are told apart: a bias of several per cent that belongs to a build and that no new process clears. Two layouts
    /// stand for two builds of the same source; only the last step is done again.
    pub fn artifact_in(
        &self,
        program: Program,
        spec: &BuildSpec,
        layout: Option<u32>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Artifact, BuildError> {
        let (triple, compiler) = needs(program, spec);
        if let Some(folder) = &self.prebuilt {
            if layout.is_some() {
                let why = "it was built beforehand, in one order".into();
                return Err(BuildError::Layout { program: program.name(), triple: triple.into(), why });
            }
            return prebuilt::take(folder, &prebuilt::file_name(program, program.binary(spec), triple));
        }
        let choice = choose(triple, spec.builder, compiler, &Tools::detect(&self.root, compiler))?;
        let order = layout.map(|seed| self.order(program, triple, &choice, seed)).transpose()?;
        let source = self.digest(program, spec, &choice)?;
        let engine = match program {
            Program::Runner(engine) if engine != TRACT => format!("-{engine}"),
            _ => String::new(),
        };
        let name = format!("{}{engine}", program.binary(spec));
        let suffix = layout.map(|seed| format!("-layout-{seed}")).unwrap_or_default();
        let kept = self.root.join("target/device/kept").join(format!("{name}-{triple}-{}{suffix}", source.short()));
        let cached = kept.is_file();
        if !cached {
            let of_layout = layout.map(|seed| format!(", layout {seed}")).unwrap_or_default();
            say(&format!("building {} for {triple} ({}){of_layout}", program.name(), choice.reason));
            let job = Made { program, spec, triple, choice: &choice, source, order };
            let made = self.build(&job, say)?;
            keep(&made, &kept)?;
        }
        let bytes = std::fs::read(&kept).map_err(|source| BuildError::Keep { path: kept.clone(), source })?;
        let build = Build {
            program: program.name().into(),
            triple: triple.into(),
            builder: choice.reason,
            source,
            digest: Digest::of(&bytes),
            bytes: bytes.len() as u64,
            cached,
            layout,
        };
        Ok(Artifact { path: kept, build })
    }

    /// What the compiler is told to put the functions into the order of a seed. Only lld can; the toolchain brings one.
    fn order(&self, program: Program, triple: &str, choice: &Choice, seed: u32) -> Result<Vec<String>, BuildError> {
        let refuse =
            |why: &str| Err(BuildError::Layout { program: program.name(), triple: triple.into(), why: why.into() });
        if program.name() != "runner" || !triple.contains("-gnu") {
            return refuse("only runners for glibc can be linked in another order");
        }
        if !matches!(choice.builder, Builder::Cargo | Builder::Auto) {
            return refuse(&format!("{} chooses the linker; build with --builder cargo", tool_name(choice.builder)));
        }
        let sysroot = rustc(&self.root, "--print=sysroot").unwrap_or_default();
        let host = host_triple(&self.root).unwrap_or_default();
        let folder = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld");
        if !folder.join("ld.lld").is_file() {
            return refuse("the Rust toolchain has no ld.lld");
        }
        Ok(vec![
            "link-arg=-fuse-ld=lld".into(),
            format!("link-arg=-B{}", folder.display()),
            format!("link-arg=-Wl,--shuffle-sections=.text*={seed}"),
        ])
    }

    /// Digest of everything that decides what is built.
    fn digest(&self, program: Program, spec: &BuildSpec, choice: &Choice) -> Result<Digest, SourceError> {
        let (triple, _) = needs(program, spec);
        let mut flags = vec![
            RECIPE.to_owned(),
            triple.to_owned(),
            format!("{} {}", program.package(spec), program.binary(spec)),
            program.features(spec).join(" "),
            tool_name(choice.builder).to_owned(),
            choice.linker.clone().unwrap_or_default(),
            choice.compiler.clone().unwrap_or_default(),
            self.profile.clone(),
            rustc(&self.root, "-vV").unwrap_or_default(),
            compiler_version(choice),
        ];
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        flags.extend(of_the_build(variables));
        source_digest(&self.root, program.folders(), &flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn build(&self, made: &Made<'_>, say: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
        let Made { program, spec, triple, choice, .. } = made;
        let folder = self.root.join(folder(*program, choice.builder));
        let mut command = command_line(made, &self.profile, &channel(&self.root), &folder);
        command.current_dir(self.root.join(program.workspace()));
        let line = format!("{command:?}");
        let start = |source| BuildError::Start { program: tool_name(choice.builder).into(), source };
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(start)?;
        let mut log: Vec<String> = Vec::new();
        let stderr = child.stderr.take().expect("stderr is piped");
        for text in BufReader::new(stderr).lines().map_while(Result::ok) {
            say(text.trim());
            log.push(text);
        }
        let status = child.wait().map_err(start)?;
        if !status.success() {
            let tail = log.len().saturating_sub(40);
            return Err(BuildError::Failed { command: line, status: status.to_string(), log: log[tail..].join("\n") });
        }
        Ok(folder.join(triple).join(&self.profile).join(program.binary(spec)))
    }
}

/// A program that is to be made.
struct Made<'a> {
    program: Program,
    spec: &'a BuildSpec,
    triple: &'a str,
    choice: &'a Choice,
    /// Digest of all that decides what it will be, but the order of its functions.
    source: Digest,
    /// Options of the compiler that put its functions into another order.
    order: Option<Vec<String>>,
}

/// What the C compiler says first of itself; the agent holds C. Nothing where the builder brings a compiler of its own.
fn compiler_version(choice: &Choice) -> String {
    let compiler = match (&choice.compiler, choice.builder) {
        (Some(compiler), _) => compiler.as_str(),
        (None, Builder::Cargo | Builder::Auto) => OWN_COMPILER,
        (None, Builder::Zig | Builder::Cross) => return String::new(),
    };
    let said = Command::new(compiler).arg("--version").stdin(Stdio::null()).output();
    said.ok()
        .and_then(|said| Some(String::from_utf8_lossy(&said.stdout).lines().next()?.to_owned()))
        .unwrap_or_default()
}

/// Those of the environment's variables that change what cargo and the C compiler make, as `NAME=VALUE` in order.
fn of_the_build(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let decides = |name: &str| {
        let flags = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CC", "CFLAGS"];
        let of_target =
            name.starts_with("CARGO_TARGET_") && (name.ends_with("_RUSTFLAGS") || name.ends_with("_LINKER"));
        let begins = ["CARGO_PROFILE_", "CC_", "CFLAGS_"].iter().any(|begin| name.starts_with(begin));
        flags.contains(&name) || of_target || begins
    };
    let mut found: Vec<_> =
        variables.filter(|(name, _)| decides(name)).map(|(name, value)| format!("{name}={value}")).collect();
    found.sort();
    found
}

/// Variable that tells a firmware which build it is: it cannot read its own digest, and says this in its greeting.
const BUILD_VARIABLE: &str = "BOARDPROOF_BUILD";

/// `cargo rustc` (or the same through zigbuild or cross). Only the last step strips, so that the dependencies are those of every other
/// build in this profile. A firmware keeps its symbols, which are not flashed: by them a crash is found.
fn command_line(made: &Made<'_>, profile: &str, channel: &str, folder: &Path) -> Command {
    let Made { program, spec, triple, choice, source, order } = made;
    let mut command = Command::new(tool_name(choice.builder));
    if choice.builder == Builder::Cross {
        // cross 0.2.5 misreads the word "active" that newer rustup prints behind the default toolchain, and then tries to install it:
        // naming the toolchain avoids that.
        command.arg(format!("+{channel}"));
    }
    command.arg("rustc");
    command.args(["--locked", "--profile", profile, "--package", program.package(spec), "--bin", program.binary(spec)]);
    command.args(program.features(spec));
    command.args(["--target", triple, "--target-dir"]).arg(folder);
    if *program == Program::Firmware {
        command.env(BUILD_VARIABLE, source.short());
        return command;
    }
    command.args(["--", "-C", "strip=symbols"]);
    if program.name() == "runner" && triple.contains("-gnu") {
        // A program at a fixed address needs no relocations: 7 % smaller, see docs/decisions/0003-runner-size.md.
        command.args(["-C", "link-arg=-no-pie"]);
    }
    for option in order.iter().flatten() {
        command.args(["-C", option]);
    }
    if let Some(linker) = &choice.linker {
        command.env(format!("CARGO_TARGET_{}_LINKER", triple.to_ascii_uppercase().replace('-', "_")), linker);
    }
    if let Some(compiler) = &choice.compiler {
        let suffix = triple.replace('-', "_");
        command.env(format!("CC_{suffix}"), compiler);
        if is_static(triple) {
            // Some distributions' compilers call checked functions that only glibc has.
            command.env(format!("CFLAGS_{suffix}"), "-U_FORTIFY_SOURCE");
        }
    }
    if let Some(engine) = &choice.engine {
        // cross asks for docker first: without this the reason given for the choice might not be what happens.
        command.env("CROSS_CONTAINER_ENGINE", engine);
    }
    command
}

/// Copies the result into the cache under a name that only a complete file ever has.
fn keep(made: &Path, kept: &Path) -> Result<(), BuildError> {
    let error = |source| BuildError::Keep { path: kept.to_path_buf(), source };
    std::fs::create_dir_all(kept.parent().expect("the cache has a folder")).map_err(error)?;
    let part = kept.with_extension(format!("part-{}", std::process::id()));
    std::fs::copy(made, &part).map_err(error)?;
    std::fs::rename(&part, kept).map_err(error)
}

/// Where a builder works. Each has its own: cargo does not link again because another linker is asked for, and what a container has
/// built for itself does not run outside of it. So has each set of features: their programs have one name.
fn folder(program: Program, builder: Builder) -> &'static str {
    match (program, builder) {
        (Program::Firmware, _) => "target/device/firmware",
        (Program::Runner(MICRO), _) => "target/device/micro",
        (_, Builder::Cargo | Builder::Auto) => "target/device",
        (_, Builder::Cross) => "target/device/cross",
        (_, Builder::Zig) => "target/device/zig",
    }
}

fn tool_name(builder: Builder) -> &'static str {
    match builder {
        Builder::Cargo | Builder::Auto => "cargo",
        Builder::Cross => "cross",
        Builder::Zig => "cargo-zigbuild",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::plan::Firmware;

    fn choice(builder: Builder) -> Choice {
        Choice { builder, linker: None, compiler: None, engine: None, reason: "a test".into() }
    }

    #[track_caller]
    fn check(program: Program, triple: &str, choice: &Choice, begins: &str, ends: &str) {
        let command = command_of(program, triple, choice);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(line.starts_with(begins) && line.ends_with(ends), "{line}");
        assert!(
            line.contains(&format!(" --locked --profile release --package {} ", program.package(&spec()))),
            "{line}"
        );
    }

    fn spec() -> BuildSpec {
        let firmware = Firmware { package: "fw".into(), binary: "board".into(), features: vec!["x".into()] };
        BuildSpec {
            runner_triple: String::new(),
            agent_triple: String::new(),
            builder: Builder::Auto,
            linker: None,
            packages: Vec::new(),
            firmware: Some(firmware),
        }
    }

    fn command_of(program: Program, triple: &str, choice: &Choice) -> Command {
        let made = Made { program, spec: &spec(), triple, choice, source: Digest::of(b""), order: None };
        command_line(&made, "release", "1.95.0", Path::new(folder(program, choice.builder)))
    }

    #[test]
    fn flags_of_the_environment_and_the_compilers_version_decide_what_is_built() {
        let pair = |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
        let deciding = [
            "CARGO_BUILD_RUSTFLAGS=-g",
            "CARGO_ENCODED_RUSTFLAGS=-g",
            "CARGO_PROFILE_RELEASE_OPT_LEVEL=0",
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS=-Ctarget-cpu=native",
            "CC_aarch64_unknown_linux_musl=clang",
            "CFLAGS=-O0",
            "RUSTFLAGS=-Ctarget-cpu=native",
        ];
        let others = ["PATH=/bin", "CARGO_TARGET_DIR=x", "CARGO_HOME=y", "RUST_LOG=debug"];
        let all = others.iter().chain(deciding.iter().rev());
        assert_eq!(of_the_build(all.map(pair)), deciding);
        let said =
            |compiler: &str| compiler_version(&Choice { compiler: Some(compiler.into()), ..choice(Builder::Cargo) });
        assert_eq!((said("no-such-compiler"), said("echo")), (String::new(), first_line("echo")));
        assert_eq!(compiler_version(&choice(Builder::Zig)), "");
    }

    fn first_line(program: &str) -> String {
        let said = Command::new(program).arg("--version").output().unwrap();
        String::from_utf8(said.stdout).unwrap().lines().next().unwrap().to_owned()
    }

    #[test]
    fn every_builder_is_asked_for_the_same_program() {
        let triple = "aarch64-unknown-linux-musl";
        for (builder, begins, folder) in [
            (Builder::Cargo, "cargo rustc ", "target/device"),
            (Builder::Zig, "cargo-zigbuild rustc ", "target/device/zig"),
            (Builder::Cross, "cross +1.95.0 rustc ", "target/device/cross"),
        ] {
            let ends = format!("--target {triple} --target-dir {folder} -- -C strip=symbols");
            check(Program::Agent, triple, &choice(builder), begins, &ends);
        }
    }

    #[test]
    fn only_a_runner_that_links_glibc_stands_at_a_fixed_address() {
        let cargo = choice(Builder::Cargo);
        check(
            Program::Runner(TRACT),
            "riscv64gc-unknown-linux-gnu",
            &cargo,
            "cargo",
            "-C strip=symbols -C link-arg=-no-pie",
        );
        check(Program::Agent, "armv7-unknown-linux-gnueabihf", &cargo, "cargo", "-C strip=symbols");
        check(Program::Runner(TRACT), "aarch64-unknown-linux-musl", &cargo, "cargo", "-C strip=symbols");
    }

    #[test]
    fn a_runner_for_microcontrollers_has_their_engine_alone_and_a_firmware_keeps_its_symbols_and_knows_its_build() {
        let cargo = choice(Builder::Cargo);
        let ends = "--target-dir target/device/micro -- -C strip=symbols -C link-arg=-no-pie";
        check(Program::Runner(MICRO), "x86_64-unknown-linux-gnu", &cargo, "cargo", ends);
        let ends = "--bin board --features=x --target thumbv7em-none-eabihf --target-dir target/device/firmware";
        check(Program::Firmware, "thumbv7em-none-eabihf", &cargo, "cargo", ends);
        let command = command_of(Program::Firmware, "thumbv7em-none-eabihf", &cargo);
        let build = Digest::of(b"").short();
        assert!(command.get_envs().any(|(name, value)| name == BUILD_VARIABLE && value == Some(build.as_ref())));
    }

    #[test]
    fn linker_and_container_engine_are_those_of_the_choice() {
        let variables = |choice: &Choice| -> Vec<String> {
            let command = command_of(Program::Agent, "armv7-unknown-linux-gnueabihf", choice);
            let text = |word: Option<&std::ffi::OsStr>| word.unwrap_or_default().to_string_lossy().into_owned();
            command.get_envs().map(|(name, value)| format!("{}={}", text(Some(name)), text(value))).collect()
        };
        let linker = Choice { linker: Some("ld".into()), ..choice(Builder::Cargo) };
        assert_eq!(variables(&linker), ["CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=ld"]);
        let compiler = Choice { compiler: Some("gcc".into()), ..choice(Builder::Cargo) };
        assert_eq!(variables(&compiler), ["CC_armv7_unknown_linux_gnueabihf=gcc"]);
        let engine = Choice { engine: Some("podman".into()), ..choice(Builder::Cross) };
        assert_eq!(variables(&engine), ["CROSS_CONTAINER_ENGINE=podman"]);
        assert!(variables(&choice(Builder::Zig)).is_empty());
    }

    #[test]
    fn only_what_the_toolchains_own_linker_links_has_another_layout() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf();
        let workshop = Workshop { root, profile: "release".into(), prebuilt: None };
        let (gnu, musl) = ("aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl");
        let runner = Program::Runner(TRACT);
        let order = workshop.order(runner, gnu, &choice(Builder::Cargo), 7).unwrap();
        assert!(order.contains(&"link-arg=-Wl,--shuffle-sections=.text*=7".to_owned()), "{order:?}");
        for (program, triple, builder, why) in [
            (runner, gnu, Builder::Zig, "cargo-zigbuild chooses the linker"),
            (runner, gnu, Builder::Cross, "cross chooses the linker"),
            (runner, musl, Builder::Cargo, "only runners for glibc"),
            (Program::Agent, gnu, Builder::Cargo, "only runners for glibc"),
        ] {
            let refused = workshop.order(program, triple, &choice(builder), 7).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
