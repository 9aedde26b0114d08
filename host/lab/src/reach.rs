//! Reaching a unit: from its description to a running agent at the other end of a link.
//!
//! A bare board needs a shell with `cat`, `mkdir`, `mv` and `chmod`: that is enough to receive the agent, which is small and
//! static. The agent proves its own digest before it is used; everything heavier goes through it.

use crate::build::Artifact;
use crate::link::client::{Client, ClientError, Greeting, Patience};
use crate::link::{LinkCommand, LinkError, ProcessLink, SshDestination, classify, ssh_command};
use boardproof_record::plan::{LinkSpec, Target, Unit};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client { source, .. } => source.hint(),
            Self::Link { source, .. } => source.hint(),
            Self::Architecture { .. } => Some("give the unit the target that it is (see `boardproof targets`)".into()),
            Self::Identity { .. } => {
                Some("check address and identity in the inventory: two boards may have been swapped".into())
            }
            Self::Incomplete { missing, .. } => Some(format!("add `{missing}` to the unit in the inventory")),
            Self::Bootstrap { .. } => None,
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
    Emulated { agent: PathBuf, store: PathBuf, emulator: String, sysroot: String },
    Ssh { destination: SshDestination, agent: PathBuf, name: String },
}

/// Folder of the agent on a board, as a shell there works it out. The same rule as in the agent.
const BOARD_FOLDER: &str = r#"d="${BOARDPROOF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/boardproof}"; mkdir -p "$d" 2>/dev/null || { d=/tmp/boardproof-$(id -u); mkdir -p "$d"; }"#;

impl Reach {
    /// Works out how this unit is reached. `destination` is where a board that boardproof boots itself listens; `stores` is a folder
    /// of this machine for the stores of local and emulated units.
    pub fn new(
        unit: &Unit,
        target: &Target,
        agent: &Artifact,
        stores: &Path,
        destination: Option<SshDestination>,
    ) -> Result<Self, ReachError> {
        let store = stores.join(unit.name.as_str());
        let way = match &target.link {
            LinkSpec::Local | LinkSpec::Sim { .. } => Way::Local { agent: agent.path.clone(), store },
            LinkSpec::Emulated { emulator, sysroot } => {
                Way::Emulated { agent: agent.path.clone(), store, emulator: emulator.clone(), sysroot: sysroot.clone() }
            }
            LinkSpec::Ssh => {
                let destination = match destination {
                    Some(destination) => destination,
                    None => inventory_destination(unit)?,
                };
                Way::Ssh { destination, agent: agent.path.clone(), name: format!("agent-{}", agent.build.digest) }
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
    pub fn connect(&self, interrupted: fn() -> bool) -> Result<(Client<ProcessLink>, Greeting), ReachError> {
        let command = match &self.way {
            Way::Local { agent, store } => {
                let mut command = Command::new(agent);
                command.arg("serve").arg("--store").arg(store);
                command
            }
            Way::Emulated { agent, store, emulator, sysroot } => {
                let mut command = Command::new(emulator);
                command.args(["-L", sysroot]).arg(agent).arg("serve").arg("--store").arg(store);
                // Without a kernel that knows foreign programs, what the agent starts must be started by the emulator too.
                command.env("BOARDPROOF_EMULATOR", format!("{emulator} -L {sysroot}"));
                command
            }
            Way::Ssh { destination, name, .. } => {
                self.bring_agent()?;
                ssh_command(destination, &format!(r#"{BOARD_FOLDER}; exec "$d/{name}" serve --store "$d""#))
            }
        };
        let ssh = matches!(self.way, Way::Ssh { .. });
        let link = ProcessLink::start(LinkCommand { unit: self.unit.clone(), command, ssh });
        let link = link.map_err(|source| ReachError::Link { unit: self.unit.clone(), source })?;
        let mut client = Client::new(link, Patience::default(), interrupted);
        let greeting = client.hello().map_err(|source| ReachError::Client { unit: self.unit.clone(), source })?;
        self.prove(&greeting)?;
        Ok((client, greeting))
    }

    fn prove(&self, greeting: &Greeting) -> Result<(), ReachError> {
        if greeting.architecture != self.architecture {
            let (expected, found) = (self.architecture.clone(), greeting.architecture.clone());
            return Err(ReachError::Architecture { unit: self.unit.clone(), expected, found });
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
        let output = match &self.way {
            Way::Local { agent, store } => run(Command::new(agent).arg("clean").arg("--store").arg(store), None),
            Way::Emulated { agent, store, emulator, sysroot } => run(
                Command::new(emulator).args(["-L", sysroot]).arg(agent).arg("clean").arg("--store").arg(store),
                None,
            ),
            Way::Ssh { destination, name, .. } => {
                self.bring_agent()?;
                let script = format!(
                    r#"{BOARD_FOLDER}; "$d/{name}" clean --store "$d"; s=$?; rm -f "$d"/agent-*; rmdir "$d" 2>/dev/null; exit $s"#
                );
                run(&mut ssh_command(destination, &script), None)
            }
        };
        let output = output.map_err(|what| ReachError::Bootstrap { unit: self.unit.clone(), what })?;
        self.check(&output)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Makes sure that the agent is on the board, whole.
    fn bring_agent(&self) -> Result<(), ReachError> {
        let Way::Ssh { destination, agent, name } = &self.way else { return Ok(()) };
        let digest = name.trim_start_matches("agent-");
        let ask = format!(r#"{BOARD_FOLDER}; if [ -x "$d/{name}" ]; then "$d/{name}" --version; else echo absent; fi"#);
        let answer = self.ssh(destination, &ask, None)?;
        if answer.contains(digest) {
            return Ok(());
        }
        let bytes = std::fs::read(agent).map_err(|e| self.bootstrap(format!("{}: {e}", agent.display())))?;
        // A name of its own for the part: two hosts may bring the same agent at once, and the last rename wins with the same bytes.
        let put = format!(
            r#"{BOARD_FOLDER}; umask 077; p="$d/part-$$"; cat > "$p" && chmod 700 "$p" && mv "$p" "$d/{name}" || {{ rm -f "$p"; exit 9; }}; "$d/{name}" --version || uname -m"#
        );
        let answer = self.ssh(destination, &put, Some(&bytes))?;
        if answer.contains(digest) {
            return Ok(());
        }
        let machine = answer.lines().last().unwrap_or_default().to_owned();
        Err(ReachError::Architecture { unit: self.unit.clone(), expected: self.architecture.clone(), found: machine })
    }

    fn ssh(&self, destination: &SshDestination, script: &str, input: Option<&[u8]>) -> Result<String, ReachError> {
        let output = run(&mut ssh_command(destination, script), input).map_err(|what| self.bootstrap(what))?;
        self.check(&output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn check(&self, output: &Output) -> Result<(), ReachError> {
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        match classify(&stderr) {
            Some(problem) => {
                let source = LinkError::Ssh { unit: self.unit.clone(), problem, stderr };
                Err(ReachError::Link { unit: self.unit.clone(), source })
            }
            None => Err(self.bootstrap(format!("{} ({})", stderr.trim(), output.status))),
        }
    }

    fn bootstrap(&self, what: String) -> ReachError {
        ReachError::Bootstrap { unit: self.unit.clone(), what }
    }
}

fn inventory_destination(unit: &Unit) -> Result<SshDestination, ReachError> {
    let address =
        unit.address.clone().ok_or(ReachError::Incomplete { unit: unit.name.to_string(), missing: "address" })?;
    let identity_file =
        unit.identity_file.as_deref().map(|file| match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(file),
        });
    Ok(SshDestination { address, port: unit.port, user: unit.user.clone(), identity_file, known_hosts_file: None })
}

/// Time that bringing the agent may take in all; the agent is small.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(90);

/// Runs a command to its end or to the deadline, feeding it `input`.
fn run(command: &mut Command, input: Option<&[u8]>) -> Result<Output, String> {
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), input.map(<[u8]>::to_vec)) {
        // A thread of its own: a board that takes nothing must not take this thread with it.
        std::thread::spawn(move || stdin.write_all(&bytes));
    }
    let (done, ended) = std::sync::mpsc::channel();
    let id = child.id();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let start = Instant::now();
    match ended.recv_timeout(BOOTSTRAP_DEADLINE) {
        Ok(output) => output.map_err(|e| e.to_string()),
        Err(_) => {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
            Err(format!("no end after {} s", start.elapsed().as_secs()))
        }
    }
}
