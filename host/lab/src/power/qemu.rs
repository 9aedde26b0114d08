//! A board in QEMU: booted for a run, switched through its monitor, gone when this process is gone.
//!
//! Its timings are an emulator's. Everything that a wait here ends on is a state that the board or its monitor shows.

use super::keys::{self, Keys};
use super::qmp::{Qmp, QmpError};
use super::run_folder::RunFolder;
use super::{Power, PowerError, PowerState};
use crate::interrupt::interrupted;
use crate::link::SshDestination;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// What to boot.
#[derive(Debug, Clone)]
pub struct QemuSpec {
    /// Folder with `Image` and `initramfs`.
    pub image: PathBuf,
    /// Memory.
    pub memory_mb: u32,
    /// Processors.
    pub cpus: u32,
    /// Machine id that the board answers with.
    pub machine_id: String,
    /// Size of the user's home, in KiB; `None` for the image's own.
    pub home_kb: Option<u32>,
}

/// A board that cannot be booted or switched.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// A program is not installed.
    #[error("could not boot the board: {program} was not found")]
    Missing {
        /// The program.
        program: &'static str,
        /// Debian's package of it.
        package: &'static str,
    },
    /// Something on this machine is broken.
    #[error("could not {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU ended by itself.
    #[error("QEMU ended ({status}) before the board was up: {said}")]
    Ended {
        /// Exit status.
        status: String,
        /// What it wrote, and the last lines of the console.
        said: String,
    },
    /// The board did not come up.
    #[error("the board was not up within {waited_s} s; its console ends with: {console}")]
    NotUp {
        /// Seconds waited.
        waited_s: u64,
        /// Last lines of the console.
        console: String,
    },
    /// The user interrupted the wait.
    #[error("interrupted while the board was booting")]
    Interrupted,
    /// The monitor would not.
    #[error("could not switch the board")]
    Monitor(#[from] QmpError),
}

impl QemuError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { package, .. } => Some(format!("apt-get install {package}")),
            Self::NotUp { .. } => {
                Some("a machine under heavy load boots it slowly: try again when there is less".into())
            }
            _ => None,
        }
    }
}

/// A board. Dropping it switches it off and removes its folder.
#[derive(Debug)]
pub struct QemuBoard {
    spec: QemuSpec,
    life: Life,
    // Before the folder: QEMU ends first.
    running: Option<Running>,
    folder: RunFolder,
    keys: Keys,
    destination: SshDestination,
}

/// A board that was left running for the user. It goes on without this process.
#[derive(Debug, Clone)]
pub struct KeptBoard {
    /// Where SSH reaches it.
    pub destination: SshDestination,
    /// Keys, monitor and console. Removed by the next boot after the board's end.
    pub folder: PathBuf,
    /// QEMU's process id: ending it switches the board off.
    pub process: u32,
}

/// How long QEMU may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// No longer than this process.
    WithUs,
    /// As long as the user wants.
    Kept,
}

/// What the board's init says when it takes logins.
const UP: &str = "boardproof: the board is up";
/// Between two looks at the console.
const LOOK: Duration = Duration::from_millis(20);
const PROGRAMS: [(&str, &str); 3] =
    [("qemu-system-aarch64", "qemu-system-arm"), ("ssh-keygen", "openssh-client"), ("setpriv", "util-linux")];

impl QemuBoard {
    /// Boots a board and waits until it takes logins, at most `patience`.
    pub fn boot(spec: &QemuSpec, patience: Duration) -> Result<Self, QemuError> {
        Self::boot_for(spec, Life::WithUs, patience)
    }

    /// Boots a board that goes on when this process ends.
    pub fn boot_to_keep(spec: &QemuSpec, patience: Duration) -> Result<KeptBoard, QemuError> {
        let mut board = Self::boot_for(spec, Life::Kept, patience)?;
        let process = board.running.take().map_or(0, |running| running.child.id());
        Ok(KeptBoard { destination: board.destination.clone(), folder: board.folder.keep(), process })
    }

    fn boot_for(spec: &QemuSpec, life: Life, patience: Duration) -> Result<Self, QemuError> {
        let end = Instant::now() + patience;
        for (program, package) in PROGRAMS {
            if !on_path(program) {
                return Err(QemuError::Missing { program, package });
            }
        }
        let folder = RunFolder::make(&std::env::temp_dir()).map_err(failed("make a folder for the board"))?;
        let keys = keys::make(folder.path()).map_err(failed("make the board's keys"))?;
        let destination = SshDestination {
            address: "127.0.0.1".into(),
            port: None,
            user: Some("bp".into()),
            identity_file: Some(keys.identity_file.clone()),
            known_hosts_file: Some(folder.path().join("known_hosts")),
            config_file: None,
        };
        let mut board = Self { spec: spec.clone(), life, running: None, folder, keys, destination };
        board.start(patience, end)?;
        Ok(board)
    }

    /// Where SSH reaches it. The port is another one after the board was off.
    pub fn destination(&self) -> SshDestination {
        self.destination.clone()
    }

    /// Its console so far, of all boots.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    fn start(&mut self, patience: Duration, end: Instant) -> Result<(), QemuError> {
        self.write_initramfs().map_err(failed("write the board's image"))?;
        let said = File::create(self.folder.path().join("qemu.log")).map_err(failed("keep QEMU's words"))?;
        let image = self.spec.image.canonicalize().map_err(failed("find the board's image"))?;
        let mut command = command(&self.spec, &image, self.life);
        command.current_dir(self.folder.path()).stderr(said);
        command.stdin(self.folder.hold().map_err(failed("lock the board's folder"))?);
        let boots = self.boots() + 1;
        self.running = Some(Running::start(command).map_err(failed("start qemu-system-aarch64"))?);
        let mut monitor = self.wait(patience, end, Self::first_contact)?;
        self.set_port(forwarded_port(&monitor.ask_as_human("info usernet")?)?)?;
        self.wait(patience, end, |board| Ok((board.boots() >= boots).then_some(())))
    }

    /// The kernel takes archives one behind the other when each begins at a multiple of four.
    fn write_initramfs(&self) -> io::Result<()> {
        let mut whole = std::fs::read(self.spec.image.join("initramfs"))?;
        whole.resize(whole.len().next_multiple_of(4), 0);
        whole.extend_from_slice(&self.keys.archive);
        std::fs::write(self.folder.path().join("initramfs"), whole)
    }

    /// The monitor, once QEMU has made it.
    fn first_contact(&mut self) -> Result<Option<Qmp>, QemuError> {
        match Qmp::connect(&self.folder.path().join("qmp"), MONITOR) {
            Ok(monitor) => Ok(Some(monitor)),
            Err(QmpError::Io { source, .. }) if not_there_yet(&source) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn set_port(&mut self, port: u16) -> Result<(), QemuError> {
        let file = self.folder.path().join("known_hosts");
        std::fs::write(file, keys::known_hosts(port, &self.keys)).map_err(failed("write the board's known hosts"))?;
        self.destination.port = Some(port);
        Ok(())
    }

    fn monitor(&self, limit: Duration) -> Result<Qmp, QemuError> {
        Ok(Qmp::connect(&self.folder.path().join("qmp"), limit)?)
    }

    fn boots(&self) -> usize {
        self.console().matches(UP).count()
    }

    /// How QEMU ended, if it did.
    fn ended(&mut self) -> Result<Option<String>, QemuError> {
        let Some(running) = &mut self.running else { return Ok(Some("switched off".into())) };
        let status = running.child.try_wait().map_err(failed("watch QEMU"))?;
        Ok(status.map(|status| status.to_string()))
    }

    /// Asks `ready` until it has something, QEMU ends, the user has enough or `end` comes.
    fn wait<T>(
        &mut self,
        patience: Duration,
        end: Instant,
        mut ready: impl FnMut(&mut Self) -> Result<Option<T>, QemuError>,
    ) -> Result<T, QemuError> {
        loop {
            let ended = self.ended()?;
            if let Some(status) = ended {
                let said = std::fs::read_to_string(self.folder.path().join("qemu.log")).unwrap_or_default();
                let said = [said.trim().to_owned(), last_lines(&self.console())].join(" / ");
                return Err(QemuError::Ended { status, said: said.trim_matches([' ', '/']).to_owned() });
            }
            if let Some(found) = ready(self)? {
                return Ok(found);
            }
            if interrupted() {
                return Err(QemuError::Interrupted);
            }
            if Instant::now() >= end {
                let console = last_lines(&self.console());
                return Err(QemuError::NotUp { waited_s: patience.as_secs(), console });
            }
            std::thread::sleep(LOOK);
        }
    }

    fn switch_off(&mut self) {
        // The board has no disk: there is nothing that a sudden end could damage.
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    fn power_cycle(&mut self, limit: Duration) -> Result<(), QemuError> {
        let end = Instant::now() + limit;
        if self.ended()?.is_some() {
            self.switch_off();
            return self.start(limit, end);
        }
        let mut monitor = self.monitor(limit.min(MONITOR))?;
        // It stands still while its past boots are counted, and a board that hangs stays so until it is told to go on.
        monitor.tell("stop")?;
        let boots = self.boots() + 1;
        monitor.tell("system_reset")?;
        monitor.wait_for_event("RESET")?;
        monitor.tell("cont")?;
        drop(monitor);
        self.wait(limit, end, |board| Ok((board.boots() >= boots).then_some(())))
    }
}

/// The monitor answers at once or not at all; a machine under load gets this much.
const MONITOR: Duration = Duration::from_secs(10);

impl Power for QemuBoard {
    fn on(&mut self, limit: Duration) -> Result<(), PowerError> {
        if self.ended()?.is_some() {
            self.switch_off();
            self.start(limit, Instant::now() + limit)?;
        }
        Ok(())
    }

    fn off(&mut self, _limit: Duration) -> Result<(), PowerError> {
        self.switch_off();
        Ok(())
    }

    fn reset(&mut self, limit: Duration) -> Result<(), PowerError> {
        Ok(self.power_cycle(limit)?)
    }

    fn hang(&mut self, limit: Duration) -> Result<(), PowerError> {
        self.monitor(limit)?.tell("stop").map_err(QemuError::from)?;
        Ok(())
    }

    fn resume(&mut self, limit: Duration) -> Result<(), PowerError> {
        self.monitor(limit)?.tell("cont").map_err(QemuError::from)?;
        Ok(())
    }

    fn state(&mut self, limit: Duration) -> Result<PowerState, PowerError> {
        if self.ended()?.is_some() {
            return Ok(PowerState::Off);
        }
        let answer = self.monitor(limit)?.tell("query-status").map_err(QemuError::from)?;
        let running = answer.get("running").and_then(serde_json::Value::as_bool).unwrap_or(false);
        Ok(if running { PowerState::On } else { PowerState::Hung })
    }
}

impl Drop for QemuBoard {
    fn drop(&mut self) {
        self.switch_off();
    }
}

/// QEMU, and the thread that started it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    // The kernel ends QEMU with the thread that started it, not with the process: that thread must not be a caller's, which may end
    // sooner. It waits for this to be dropped.
    _starter: Sender<()>,
}

impl Running {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let (hand_over, started) = channel();
        let (starter, dropped) = channel::<()>();
        std::thread::Builder::new().name("qemu starter".into()).spawn(move || {
            let _ = hand_over.send(command.spawn());
            let _ = dropped.recv();
        })?;
        let child = started.recv().map_err(|_| io::Error::other("the thread that starts it ended"))??;
        Ok(Self { child, _starter: starter })
    }
}

/// Names of files are relative to the board's folder: QEMU's options give commas a meaning and sockets limit the length of a path.
fn command(spec: &QemuSpec, image: &Path, life: Life) -> Command {
    let mut append = format!("console=ttyAMA0 quiet panic=1 boardproof.machine_id={}", spec.machine_id);
    if let Some(kb) = spec.home_kb {
        append += &format!(" boardproof.home_kb={kb}");
    }
    let mut command = match life {
        Life::Kept => Command::new("qemu-system-aarch64"),
        Life::WithUs => ends_with_us("qemu-system-aarch64"),
    };
    command.args(["-M", "virt", "-cpu", "cortex-a72", "-nodefaults", "-no-user-config", "-display", "none"]);
    command.args(["-smp", &spec.cpus.to_string(), "-m", &spec.memory_mb.to_string()]);
    command.arg("-kernel").arg(image.join("Image")).args(["-initrd", "initramfs", "-append", &append]);
    // Port 0: the kernel chooses one that is free, and keeps it.
    command.args(["-netdev", "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"]);
    command.args(["-device", "virtio-net-pci,netdev=n0,romfile="]);
    command.args(["-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"]);
    command.args(["-qmp", "unix:qmp,server=on,wait=off"]);
    // A group of its own: Ctrl-C is for the host, which ends the board when it has taken what it needs.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdout(Stdio::null());
    command
}

/// `setpriv` has the kernel end the program when this process ends, however that happens; the shell makes sure that it has not ended
/// before that was arranged.
pub(super) fn ends_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "sh", "-c", r#"[ "$PPID" = "$0" ] && exec "$@""#]);
    command.arg(std::process::id().to_string()).arg(program);
    command
}

/// The port of this machine in QEMU's answer to `info usernet`: `TCP[HOST_FORWARD]  12  127.0.0.1 41234  10.0.2.15  22  0  0`.
fn forwarded_port(table: &str) -> Result<u16, QemuError> {
    let line = table.lines().find(|line| line.contains("HOST_FORWARD"));
    let port = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).filter(|port| *port != 0);
    port.ok_or_else(|| QmpError::Garbage { action: "info usernet".into(), found: table.trim().to_owned() }.into())
}

pub(super) fn not_there_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

fn last_lines(console: &str) -> String {
    let tail: Vec<&str> = console.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
    tail.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

pub(super) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

pub(super) fn failed(action: &'static str) -> impl Fn(io::Error) -> QemuError {
    move |source| QemuError::Io { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_and_an_answer_without_one_is_refused() {
        let table = "Hub -1 (n0):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
                     TCP[HOST_FORWARD]  12       127.0.0.1 41234       10.0.2.15    22     0     0\n";
        assert_eq!(forwarded_port(table).unwrap(), 41234);
        for table in [
            "",
            "TCP[HOST_FORWARD]",
            "TCP[HOST_FORWARD] 12 127.0.0.1 0 10.0.2.15 22",
            "TCP[HOST_FORWARD] 12 127.0.0.1 x y z",
        ] {
            assert!(matches!(forwarded_port(table), Err(QemuError::Monitor(QmpError::Garbage { .. }))), "{table}");
        }
    }

    #[test]
    fn a_program_of_a_process_that_is_gone_does_not_start() {
        let mut command = ends_with_us("true");
        assert!(command.status().unwrap().success());
        // Another process's number where ours should be.
        let arguments: Vec<_> = command
            .get_args()
            .map(|a| if a == std::process::id().to_string().as_str() { "1".into() } else { a.to_owned() })
            .collect();
        assert!(!Command::new("setpriv").args(arguments).status().unwrap().success());
    }

    #[test]
    fn the_last_lines_are_short_and_in_order() {
        assert_eq!(last_lines("1\n\n2\n3\n4\n5\n6\n"), "2 / 3 / 4 / 5 / 6");
        assert_eq!(last_lines(""), "");
    }
}
