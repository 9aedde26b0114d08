//! Reaching a unit: from its description to a running agent at the other end of a link.
//!
//! A bare board needs a shell with `cat`, `mkdir`, `mv` and `chmod`: that is enough to receive the agent, which is small and
//! static. A board that has `gzip` too gets it at half its size. The agent proves its own digest before it is used; everything
//! heavier goes through it.

use crate::build::Artifact;
use crate::link::client::{Client, ClientError, Greeting};
use crate::link::once::{OnceError, once};
use crate::link::{
    AddressError, ByteAddress, ByteLink, Bytes, Link, LinkCommand, LinkError, ProcessLink, SimUnit, SshDestination,
    SshProblem, UnitLink, Waits, classify, ssh_command,
};
use crate::sysroot;
use boardproof_record::plan::{LinkSpec, Target, Unit};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// A unit that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// There is no link, or the agent does not greet.
    #[error("could not reach unit '{unit}'")]
    Client {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// There is no link.
    #[error("could not reach unit '{unit}'")]
    Link {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: LinkError,
    },
    /// The agent could not be brought there.
    #[error("could not bring the agent to unit '{unit}': {what}")]
    Bootstrap {
        /// The unit.
        unit: String,
        /// What the unit said.
        what: String,
    },
    /// The agent does not run there.
    #[error("unit '{unit}' cannot run the agent for {expected}: its machine is '{found}'")]
    Architecture {
        /// The unit.
        unit: String,
        /// Architecture of the target.
        expected: String,
        /// What `uname -m` says there.
        found: String,
    },
    /// The unit takes its time and more.
    #[error("could not bring the agent to unit '{unit}': no end after {deadline_s} s")]
    Stuck {
        /// The unit.
        unit: String,
        /// Time it had.
        deadline_s: u64,
    },
    /// The simulated device has no place to be.
    #[error("could not make a place for the simulated unit '{unit}' in {}", folder.display())]
    Simulate {
        /// The unit.
        unit: String,
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What an emulated process is to see could not be laid out.
    #[error("could not lay out what the emulated unit '{unit}' sees in {}", folder.display())]
    Sysroot {
        /// The unit.
        unit: String,
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It has another firmware than the one that was built.
    #[error("unit '{unit}' runs another firmware than this one: expected build {expected}, its agent says '{found}'")]
    Firmware {
        /// The unit.
        unit: String,
        /// Build that was made.
        expected: String,
        /// What the unit greeted with.
        found: String,
    },
    /// Its address names no line.
    #[error("could not reach unit '{unit}'")]
    Address {
        /// The unit.
        unit: String,
        /// What is wrong with it.
        #[source]
        source: AddressError,
    },
    /// It is another unit.
    #[error("this is not unit '{unit}': expected identity {expected}, got {found}")]
    Identity {
        /// The unit.
        unit: String,
        /// Identity in the inventory.
        expected: String,
        /// Identity that the agent read.
        found: String,
    },
    /// The description lacks something.
    #[error("unit '{unit}' has no {missing}")]
    Incomplete {
        /// The unit.
        unit: String,
        /// What is missing.
        missing: &'static str,
    },
}

impl ReachError {
    /// Nothing came back in time.
    pub fn timed_out(&self) -> bool {
        match self {
            Self::Client { source, .. } => source.timed_out(),
            Self::Link { source, .. } => source.timed_out(),
            Self::Stuck { .. } => true,
            _ => false,
        }
    }

    /// It may be gone by itself: a unit that is starting looks like this.
    pub fn may_pass(&self) -> bool {
        let link = match self {
            Self::Client { source: ClientError::Link { source, .. }, .. } | Self::Link { source, .. } => Some(source),
            _ => None,
        };
        self.timed_out() || link.is_some_and(|link| link.ssh().is_some_and(SshProblem::may_pass) || link.is_unplugged())
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client { source, .. } => source.hint(),
            Self::Link { source, .. } => source.hint(),
            Self::Architecture { .. } => Some("give the unit the target that it is (see `boardproof targets`)".into()),
            Self::Identity { .. } => {
                Some("check address and identity in the inventory: two boards may have been swapped".into())
            }
            Self::Firmware { .. } => Some("flash it: give the target a [probe] that grants `flash`".into()),
            Self::Incomplete { missing, .. } => Some(format!("add `{missing}` to the unit in the inventory")),
            Self::Bootstrap { what, .. } if what.contains("No space left") => {
                Some("`boardproof agent clean` frees what boardproof stored; the agent itself needs 1 MB".into())
            }
            Self::Bootstrap { what, .. } if what.contains("Permission denied") => {
                Some("the unit's user needs a folder for programs: ~/.cache or /tmp, not mounted noexec".into())
            }
            Self::Stuck { .. } => Some("is the unit overloaded, or its link very slow?".into()),
            Self::Bootstrap { .. } | Self::Simulate { .. } | Self::Sysroot { .. } | Self::Address { .. } => None,
        }
    }
}

/// Everything needed to start an agent on a unit again and again.
#[derive(Debug, Clone)]
pub struct Reach {
    unit: String,
    identity: Option<String>,
    architecture: String,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Local { agent: PathBuf, store: PathBuf },
    Emulated { agent: PathBuf, store: PathBuf, emulator: String, sysroot: PathBuf },
    Ssh { destination: SshDestination, agent: PathBuf, name: String },
    Line(Line),
    Sim(SimUnit),
}

/// A line for bytes to a firmware.
#[derive(Debug, Clone)]
struct Line {
    place: Place,
    faster: Vec<u32>,
    /// Build that the firmware must greet with.
    build: String,
}

/// Where a line is.
#[derive(Debug, Clone)]
enum Place {
    Address { address: String, baud: u32 },
    Carrier(Carrier),
}

/// A way for bytes to a unit that the lab does not know, opened for each session.
#[derive(Clone)]
pub struct Carrier(Rc<dyn Fn() -> io::Result<Box<dyn Bytes>>>);

impl Carrier {
    /// A way that `open` opens.
    pub fn new(open: impl Fn() -> io::Result<Box<dyn Bytes>> + 'static) -> Self {
        Self(Rc::new(open))
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carrier")
    }
}

/// Where a unit is that boardproof has switched on itself, or reaches through its debug probe.
#[derive(Debug, Clone)]
pub enum Destination {
    /// Behind SSH.
    Ssh(SshDestination),
    /// At the other end of a line, by its address (`unix:/path`).
    Line(String),
    /// Behind its debug probe.
    Carrier(Carrier),
}

/// Folder of the agent on a board, as a shell there works it out. The same rule as in the agent. A folder in /tmp must be one's own: what
/// lies there is executed.
const BOARD_FOLDER: &str = r#"d="${BOARDPROOF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/boardproof}"; mkdir -p "$d" 2>/dev/null || { d=/tmp/boardproof-$(id -u); mkdir -p "$d" && chmod 700 "$d" || exit 8; }"#;

/// A script for `sh`, whatever shell the unit's user has. It must hold no single quote.
fn posix(script: &str) -> String {
    debug_assert!(!script.contains('\''), "{script}");
    format!("exec sh -c '{BOARD_FOLDER}; {script}'")
}

impl Reach {
    /// Works out how this unit is reached. `destination` is where a board that boardproof switched on itself listens; `stores` is a folder
    /// of this machine for the stores of units that are on it. Only a simulated unit needs no agent; a firmware is one.
    pub fn new(
        unit: &Unit,
        target: &Target,
        agent: Option<&Artifact>,
        stores: &Path,
        destination: Option<Destination>,
    ) -> Result<Self, ReachError> {
        let store = stores.join(unit.name.as_str());
        let agent = || agent.expect("every unit that is not simulated has an agent");
        let way = match &target.link {
            LinkSpec::Sim { seed, faults } => {
                Way::Sim(SimUnit::new(*seed, faults, store.clone()).map_err(|source| ReachError::Simulate {
                    unit: unit.name.to_string(),
                    folder: store,
                    source,
                })?)
            }
            LinkSpec::Local => Way::Local { agent: agent().path.clone(), store },
            LinkSpec::Emulated { emulator, sysroot } => {
                let folder = stores.with_file_name("sysroots").join(unit.name.as_str());
                let sysroot = sysroot::prepared(Path::new(sysroot), &target.architecture, &folder)
                    .map_err(|source| ReachError::Sysroot { unit: unit.name.to_string(), folder, source })?;
                Way::Emulated { agent: agent().path.clone(), store, emulator: emulator.clone(), sysroot }
            }
            LinkSpec::Ssh => {
                let destination = match destination {
                    Some(Destination::Ssh(destination)) => destination,
                    _ => inventory_destination(unit)?,
                };
                let agent = agent();
                Way::Ssh { destination, agent: agent.path.clone(), name: format!("agent-{}", agent.build.digest) }
            }
            LinkSpec::Serial { baud, faster } => {
                let missing = || ReachError::Incomplete { unit: unit.name.to_string(), missing: "address" };
                let address = match destination {
                    Some(Destination::Line(address)) => address,
                    _ => unit.address.clone().ok_or_else(missing)?,
                };
                let build = agent().build.source.short();
                let place = Place::Address { address, baud: *baud };
                Way::Line(Line { place, faster: faster.clone(), build })
            }
            LinkSpec::Rtt => {
                let Some(Destination::Carrier(carrier)) = destination else {
                    return Err(ReachError::Incomplete { unit: unit.name.to_string(), missing: "probe" });
                };
                let build = agent().build.source.short();
                Way::Line(Line { place: Place::Carrier(carrier), faster: Vec::new(), build })
            }
        };
        Ok(Self {
            unit: unit.name.to_string(),
            identity: unit.identity.clone(),
            architecture: target.architecture.clone(),
            way,
        })
    }

    /// Starts an agent there, brings it there first where needed, greets it, and proves that it is this unit.
    pub fn connect(&self, interrupted: fn() -> bool) -> Result<(Client<UnitLink>, Greeting), ReachError> {
        let first = self.greeted(interrupted);
        let (client, greeting) = match self.lacks_agent(&first) {
            Some(answer) => {
                drop(first);
                self.bring_agent(answer, interrupted)?;
                self.greeted(interrupted)?
            }
            None => first?,
        };
        self.prove(&greeting)?;
        Ok((client, greeting))
    }

    /// A board whose shell had no whole agent to start, and what it answered in the place of one.
    fn lacks_agent(&self, first: &Result<(Client<UnitLink>, Greeting), ReachError>) -> Option<Option<String>> {
        let Way::Ssh { name, .. } = &self.way else { return None };
        match first {
            // The agent reads its own digest when it starts.
            Ok((_, greeting)) if greeting.build.contains(name.trim_start_matches("agent-")) => None,
            Ok(_) => Some(None),
            Err(ReachError::Client { source: ClientError::Link { source, .. }, .. }) => match source {
                LinkError::NoPreamble { found, .. } => Some(Some(found.clone()).filter(|text| text.contains(MACHINE))),
                LinkError::Closed { .. } => Some(None),
                _ => None,
            },
            Err(_) => None,
        }
    }

    fn greeted(&self, interrupted: fn() -> bool) -> Result<(Client<UnitLink>, Greeting), ReachError> {
        let link = self.link()?;
        let patience = link.patience();
        let mut client = Client::new(link, patience, interrupted);
        let failed = |source| ReachError::Client { unit: self.unit.clone(), source };
        let greeting = match &self.way {
            Way::Line(line) => {
                let greeting = client.hello_at(&line.faster).map_err(failed)?;
                client.quicken(&line.faster).map_err(failed)?;
                greeting
            }
            _ => client.hello().map_err(failed)?,
        };
        Ok((client, greeting))
    }

    fn link(&self) -> Result<UnitLink, ReachError> {
        let command = match &self.way {
            Way::Sim(device) => return Ok(Box::new(device.connect())),
            Way::Line(line) => return self.line(line),
            Way::Local { agent, store } => {
                let mut command = Command::new(agent);
                command.arg("serve").arg("--store").arg(store);
                command
            }
            Way::Emulated { agent, store, emulator, sysroot } => {
                let mut command = Command::new(emulator);
                command.arg("-L").arg(sysroot).arg(agent).arg("serve").arg("--store").arg(store);
                command
            }
            Way::Ssh { destination, name, .. } => ssh_command(destination, &posix(&start_script(name))),
        };
        let ssh = matches!(self.way, Way::Ssh { .. });
        let link = ProcessLink::start(LinkCommand { unit: self.unit.clone(), command, ssh });
        let link = link.map_err(|source| ReachError::Link { unit: self.unit.clone(), source })?;
        Ok(Box::new(link))
    }

    fn line(&self, line: &Line) -> Result<UnitLink, ReachError> {
        let failed = |source| ReachError::Link { unit: self.unit.clone(), source };
        let (address, baud) = match &line.place {
            Place::Address { address, baud } => (address, *baud),
            Place::Carrier(Carrier(open)) => {
                let bytes = open().map_err(|source| failed(LinkError::Carrier { unit: self.unit.clone(), source }))?;
                return Ok(Box::new(ByteLink::new(&self.unit, bytes, Waits::default())));
            }
        };
        let address: ByteAddress =
            address.parse().map_err(|source| ReachError::Address { unit: self.unit.clone(), source })?;
        Ok(Box::new(ByteLink::open(&self.unit, &address, baud, Waits::default()).map_err(failed)?))
    }

    /// A firmware is at the other end of a line.
    pub fn is_line(&self) -> bool {
        matches!(self.way, Way::Line(_))
    }

    /// Bytes that go there take time, so that they are worth coding: it is not a process of this machine, or plays that it is not. A
    /// firmware takes blobs as they are.
    pub fn is_far(&self) -> bool {
        !matches!(self.way, Way::Local { .. } | Way::Emulated { .. } | Way::Line(_))
    }

    fn prove(&self, greeting: &Greeting) -> Result<(), ReachError> {
        if greeting.architecture != self.architecture {
            let (expected, found) = (self.architecture.clone(), greeting.architecture.clone());
            return Err(ReachError::Architecture { unit: self.unit.clone(), expected, found });
        }
        if let Way::Line(Line { build, .. }) = &self.way
            && !greeting.build.split_whitespace().any(|word| word == build)
        {
            let (expected, found) = (build.clone(), greeting.build.clone());
            return Err(ReachError::Firmware { unit: self.unit.clone(), expected, found });
        }
        match &self.identity {
            Some(expected) if *expected != greeting.identity => {
                let (expected, found) = (expected.clone(), greeting.identity.clone());
                Err(ReachError::Identity { unit: self.unit.clone(), expected, found })
            }
            _ => Ok(()),
        }
    }

    /// Removes the store and the agent itself; returns what the unit said.
    pub fn clean(&self) -> Result<String, ReachError> {
        let interrupted = crate::interrupt::interrupted;
        let mut command = match &self.way {
            // What a run that was killed has left in its folder went when this device took it over.
            Way::Sim(_) => return Ok("nothing is kept: a simulated device forgets everything with its run".into()),
            Way::Line(_) => {
                return Ok("nothing is kept: a microcontroller forgets models and samples without power".into());
            }
            Way::Local { agent, store } => {
                let mut command = Command::new(agent);
                command.arg("clean").arg("--store").arg(store);
                command
            }
            Way::Emulated { agent, store, emulator, sysroot } => {
                let mut command = Command::new(emulator);
                command.arg("-L").arg(sysroot).arg(agent).arg("clean").arg("--store").arg(store);
                command
            }
            Way::Ssh { destination, name, .. } => {
                self.bring_agent(None, interrupted)?;
                let script = format!(
                    r#""$d/{name}" clean --store "$d" && rm -f "$d"/agent-* "$d"/part-* && {{ rmdir "$d" 2>/dev/null; true; }}"#
                );
                ssh_command(destination, &posix(&script))
            }
        };
        Ok(self.say(&mut command, None, interrupted)?.trim().to_owned())
    }

    /// Makes sure that the agent is on the board, whole. `answer` is what the board has said to [`ask_script`], if it was asked.
    fn bring_agent(&self, answer: Option<String>, interrupted: fn() -> bool) -> Result<(), ReachError> {
        let Way::Ssh { destination, agent, name } = &self.way else { return Ok(()) };
        let digest = name.trim_start_matches("agent-");
        let answer = match answer {
            Some(answer) => answer,
            None => self.say(&mut ssh_command(destination, &posix(&ask_script(name))), None, interrupted)?,
        };
        let machine = answer.lines().find_map(|line| line.strip_prefix(MACHINE)).unwrap_or_default();
        if !may_run(&self.architecture, machine) {
            return Err(self.wrong_architecture(machine));
        }
        if answer.contains(digest) {
            return Ok(());
        }
        let bytes = std::fs::read(agent).map_err(|e| self.bootstrap(format!("{}: {e}", agent.display())))?;
        let put = |unpack: &str, bytes: Vec<u8>| {
            let script = posix(&put_script(name, digest, unpack));
            let answer = self.say(&mut ssh_command(destination, &script), Some(bytes), interrupted)?;
            self.arrived(&answer, digest, machine)
        };
        if answer.lines().any(|line| line == UNPACKS) {
            match put("gzip -dc", packed(&bytes)) {
                // Whatever its `gzip` is: a plain copy is worth a try, and then its error is the one to tell.
                Err(ReachError::Bootstrap { .. }) => {}
                done => return done,
            }
        }
        put("cat", bytes)
    }

    /// What the board said when the agent had arrived.
    fn arrived(&self, answer: &str, digest: &str, machine: &str) -> Result<(), ReachError> {
        match answer.split_once("refused: ") {
            Some((_, words)) if is_of_another_machine(words) => Err(self.wrong_architecture(machine)),
            Some((_, words)) => {
                Err(self
                    .bootstrap(format!("it arrived and does not run: {}", words.lines().next().unwrap_or_default())))
            }
            None if answer.contains(digest) => Ok(()),
            None => Err(self.bootstrap(format!("expected its digest, got {:?}", answer.trim()))),
        }
    }

    /// Runs a command to its end; returns its standard output if it worked.
    fn say(
        &self,
        command: &mut Command,
        input: Option<Vec<u8>>,
        interrupted: fn() -> bool,
    ) -> Result<String, ReachError> {
        let unit = self.unit.clone();
        let said = once(command, input, BOOTSTRAP_DEADLINE, interrupted).map_err(|error| match error {
            OnceError::Start { program, source } => {
                ReachError::Link { unit, source: LinkError::Start { program, source } }
            }
            OnceError::Stuck { deadline_s } => ReachError::Stuck { unit, deadline_s },
            OnceError::Interrupted => ReachError::Client { unit, source: ClientError::Interrupted },
        })?;
        if said.status.success() {
            return Ok(said.stdout);
        }
        match classify(&said.stderr) {
            Some(problem) if matches!(self.way, Way::Ssh { .. }) => {
                let source = LinkError::Ssh { unit: self.unit.clone(), problem, stderr: said.stderr };
                Err(ReachError::Link { unit: self.unit.clone(), source })
            }
            _ => Err(self.bootstrap(format!("{} ({})", said.stderr.trim(), said.status))),
        }
    }

    fn wrong_architecture(&self, machine: &str) -> ReachError {
        let (expected, found) = (self.architecture.clone(), machine.to_owned());
        ReachError::Architecture { unit: self.unit.clone(), expected, found }
    }

    fn bootstrap(&self, what: String) -> ReachError {
        ReachError::Bootstrap { unit: self.unit.clone(), what }
    }
}

/// A unit behind SSH, to be asked and left as it is.
fn bystander(unit: &Unit, target: &Target) -> Result<(Reach, SshDestination), ReachError> {
    let destination = inventory_destination(unit)?;
    let way = Way::Ssh { destination: destination.clone(), agent: PathBuf::new(), name: String::new() };
    let architecture = target.architecture.clone();
    Ok((Reach { unit: unit.name.to_string(), identity: None, architecture, way }, destination))
}

/// What a unit behind SSH answers to a question for its shell. Leaves nothing there.
pub(crate) fn ask(unit: &Unit, target: &Target, script: &str, interrupted: fn() -> bool) -> Result<String, ReachError> {
    let (reach, destination) = bystander(unit, target)?;
    reach.say(&mut ssh_command(&destination, script), None, interrupted)
}

/// Asks a unit behind SSH what it is, and leaves nothing there. One line: its machine, kernel and C library.
pub fn look_at(unit: &Unit, target: &Target, interrupted: fn() -> bool) -> Result<String, ReachError> {
    let (reach, destination) = bystander(unit, target)?;
    let answer = reach.say(&mut ssh_command(&destination, LOOK_SCRIPT), None, interrupted)?;
    let mut lines = answer.lines().map(str::trim);
    let machine = lines.next().unwrap_or_default();
    if !may_run(&reach.architecture, machine) {
        return Err(reach.wrong_architecture(machine));
    }
    let more: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    Ok(format!("answers: {machine}, {}", more.join(", ")))
}

/// Machine, kernel, and what `ldd` calls the C library (musl's says its name on the first line of an error).
const LOOK_SCRIPT: &str = "exec sh -c 'uname -m; uname -sr; ldd --version 2>&1 | head -n 1'";

/// What a board's answer about itself begins with.
const MACHINE: &str = "machine ";
/// Word of a board that can unpack what [`packed`] made.
const UNPACKS: &str = "unpacks";

/// The agent as it travels to a board that can unpack it.
pub fn packed(agent: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let written = encoder.write_all(agent).and_then(|()| encoder.finish());
    written.expect("memory takes everything")
}

/// Tells the machine, whether it can unpack, and the version of the agent if one is there. One that is there but does not run was damaged by a power cut, and
/// is replaced like one that is not there.
fn ask_script(name: &str) -> String {
    format!(
        r#"echo "{MACHINE}$(uname -m)"; command -v gzip >/dev/null 2>&1 && echo {UNPACKS}; if [ -x "$d/{name}" ]; then "$d/{name}" --version 2>/dev/null; fi; true"#
    )
}

/// Becomes the agent; a board without one answers as it does to [`ask_script`]. So one session is enough where an agent is, and the
/// greeting proves what it is.
fn start_script(name: &str) -> String {
    format!(r#"if [ -x "$d/{name}" ]; then exec "$d/{name}" serve --store "$d"; fi; {}"#, ask_script(name))
}

/// Takes the agent from standard input. It gets its name only after it has proved itself: a link that is cut looks like the end of the
/// file to `cat`. Until then it has a name of its shell's own: two hosts may bring the same agent at once, and the last rename wins
/// with the same bytes. `unpack` is the command that makes the agent of what comes.
fn put_script(name: &str, digest: &str, unpack: &str) -> String {
    format!(
        r#"umask 077; p="$d/part-$$"; {unpack} > "$p" && chmod 700 "$p" || {{ rm -f "$p"; exit 9; }}; v=$("$p" --version 2>&1); case "$v" in *{digest}*) mv "$p" "$d/{name}" && echo "$v";; *) rm -f "$p"; echo "refused: $v";; esac"#
    )
}

/// Can a machine that `uname -m` calls so run programs of this architecture? One with a name unknown here may try: what cannot run does
/// not prove itself.
fn may_run(architecture: &str, machine: &str) -> bool {
    let runs: &[&str] = match machine {
        "aarch64" | "arm64" => &["aarch64", "arm"],
        "x86_64" | "amd64" => &["x86_64", "x86"],
        "riscv64" => &["riscv64"],
        m if m.starts_with("armv") => &["arm"],
        m if m.len() == 4 && m.starts_with('i') && m.ends_with("86") => &["x86"],
        _ => return true,
    };
    runs.contains(&architecture)
}

/// What shells say about a program for another machine: the kernel's own words, or those of a shell that took it for a script.
fn is_of_another_machine(words: &str) -> bool {
    ["Exec format error", "cannot execute binary", "syntax error", "not found"].iter().any(|sign| words.contains(sign))
}

fn inventory_destination(unit: &Unit) -> Result<SshDestination, ReachError> {
    let address =
        unit.address.clone().ok_or(ReachError::Incomplete { unit: unit.name.to_string(), missing: "address" })?;
    Ok(SshDestination {
        address,
        port: unit.port,
        user: unit.user.clone(),
        identity_file: unit.identity_file.as_deref().map(in_home),
        known_hosts_file: None,
        config_file: unit.ssh_config.as_deref().map(in_home),
    })
}

/// A file of the inventory: `~/` at its beginning is the user's home.
pub fn in_home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(file),
    }
}

/// Time that bringing the agent may take in all; the agent is small.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0123abcd";
    const NAME: &str = "agent-0123abcd";

    /// What a board's shell says to a script.
    fn board(folder: &Path, script: &str, input: Option<&[u8]>) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", &posix(script)]).env("BOARDPROOF_CACHE", folder);
        let said = once(&mut command, input.map(<[u8]>::to_vec), Duration::from_secs(60), || false).unwrap();
        assert!(said.status.success(), "{said:?}");
        said.stdout
    }

    fn names(folder: &Path) -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A program that tells the digest at its very end, so that a part of it does not.
    fn program() -> Vec<u8> {
        format!("#!/bin/sh\n#{}\necho 'boardproof-agent sha256:{DIGEST}'\n", "-".repeat(100_000)).into_bytes()
    }

    #[test]
    fn an_agent_gets_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (ask, put) = (ask_script(NAME), put_script(NAME, DIGEST, "cat"));
        assert!(!board(folder.path(), &ask, None).contains(DIGEST));
        let whole = program();
        for length in [0, 5, 1000, whole.len() - 12] {
            let answer = board(folder.path(), &put, Some(&whole[..length]));
            assert!(answer.starts_with("refused: ") && !answer.contains(DIGEST), "{length}: {answer}");
            assert_eq!(names(folder.path()), Vec::<String>::new(), "{length}");
        }
        assert!(board(folder.path(), &start_script(NAME), None).starts_with(MACHINE));
        assert!(board(folder.path(), &put, Some(&whole)).contains(DIGEST));
        assert_eq!(names(folder.path()), [NAME]);
        assert!(board(folder.path(), &ask, None).contains(DIGEST));
        // The one that is there is started, and nothing is said before it.
        assert_eq!(board(folder.path(), &start_script(NAME), None), format!("boardproof-agent sha256:{DIGEST}\n"));
    }

    #[test]
    fn a_packed_agent_gets_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert!(board(folder.path(), &ask_script(NAME), None).lines().any(|line| line == UNPACKS));
        let (whole, put) = (packed(&program()), put_script(NAME, DIGEST, "gzip -dc"));
        assert!(whole.len() * 2 < program().len());
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        for bytes in [&b""[..], &whole[..whole.len() - 1], &damaged, &program()] {
            let mut command = Command::new("sh");
            command.args(["-c", &posix(&put)]).env("BOARDPROOF_CACHE", folder.path());
            let said = once(&mut command, Some(bytes.to_vec()), Duration::from_secs(60), || false).unwrap();
            assert!(!said.stdout.contains(DIGEST), "{said:?}");
            assert_eq!(names(folder.path()), Vec::<String>::new());
        }
        assert!(board(folder.path(), &put, Some(&whole)).contains(DIGEST));
        assert_eq!(names(folder.path()), [NAME]);
    }

    #[test]
    fn an_agent_that_a_power_cut_has_damaged_is_brought_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        for damaged in [&b""[..], b"\x7fELF and no more", b"#!/no/such/program\n"] {
            std::fs::write(&file, damaged).unwrap();
            let mut mode = std::fs::metadata(&file).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o700);
            std::fs::set_permissions(&file, mode).unwrap();
            let answer = board(folder.path(), &ask_script(NAME), None);
            assert!(answer.starts_with("machine ") && !answer.contains(DIGEST), "{answer}");
            assert!(board(folder.path(), &put_script(NAME, DIGEST, "cat"), Some(&program())).contains(DIGEST));
        }
    }

    #[test]
    fn a_program_for_another_machine_is_told_from_one_that_may_not_run() {
        let folder = tempfile::tempdir().unwrap();
        // The head of a 64 bit program for a machine that nobody has (1).
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x01\0\0\0".to_vec();
        elf.resize(4096, 0);
        let answer = board(folder.path(), &put_script(NAME, DIGEST, "cat"), Some(&elf));
        assert!(is_of_another_machine(&answer), "{answer}");
        assert!(!is_of_another_machine("sh: /home/x/part-1: Permission denied"));
    }

    #[test]
    fn a_machine_runs_its_own_programs_and_those_of_its_ancestors() {
        for (machine, architecture) in
            [("aarch64", "aarch64"), ("aarch64", "arm"), ("armv7l", "arm"), ("i686", "x86"), ("loongarch64", "any")]
        {
            assert!(may_run(architecture, machine), "{architecture} on {machine}");
        }
        for (machine, architecture) in [
            ("armv7l", "aarch64"),
            ("x86_64", "aarch64"),
            ("aarch64", "x86_64"),
            ("riscv64", "aarch64"),
            ("i686", "x86_64"),
        ] {
            assert!(!may_run(architecture, machine), "{architecture} on {machine}");
        }
    }
}
