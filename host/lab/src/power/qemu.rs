//! A board in QEMU: booted for a run, switched through its monitor, gone when this process is gone.

use super::keys;
use super::qmp::{Qmp, QmpError};
use crate::link::SshDestination;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    /// Something on this machine is missing or broken.
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
        /// What it wrote.
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
    /// The monitor would not.
    #[error("could not switch the board")]
    Monitor(#[from] QmpError),
}

/// A running board. Dropping it switches it off.
#[derive(Debug)]
pub struct QemuBoard {
    child: Child,
    folder: tempfile::TempDir,
    destination: SshDestination,
}

/// What the board's init says when it takes logins.
const UP: &str = "boardproof: the board is up";
/// Patience with the monitor.
const MONITOR: Duration = Duration::from_secs(10);

impl QemuBoard {
    /// Boots a board and waits until it takes logins.
    pub fn boot(spec: &QemuSpec, patience: Duration) -> Result<Self, QemuError> {
        let failed = |action| move |source| QemuError::Io { action, source };
        let folder = tempfile::Builder::new()
            .prefix("boardproof-board-")
            .tempdir()
            .map_err(failed("make a folder for the board"))?;
        let port = free_port().map_err(failed("find a free port"))?;
        let keys = keys::make(folder.path(), port).map_err(failed("make the board's keys"))?;
        let initramfs = folder.path().join("initramfs");
        let mut whole = std::fs::read(spec.image.join("initramfs")).map_err(failed("read the board's image"))?;
        // The kernel takes archives one behind the other when each begins at a multiple of four.
        whole.resize(whole.len().next_multiple_of(4), 0);
        whole.extend_from_slice(&keys.archive);
        std::fs::write(&initramfs, whole).map_err(failed("write the board's image"))?;
        let said = File::create(folder.path().join("qemu.log")).map_err(failed("keep QEMU's words"))?;
        let child = command(spec, folder.path(), &initramfs, port)
            .stderr(said)
            .spawn()
            .map_err(failed("start qemu-system-aarch64"))?;
        let destination = SshDestination {
            address: "127.0.0.1".into(),
            port: Some(port),
            user: Some("bp".into()),
            identity_file: Some(keys.identity_file),
            known_hosts_file: Some(keys.known_hosts_file),
        };
        let mut board = Self { child, folder, destination };
        board.wait_up(1, patience)?;
        Ok(board)
    }

    /// Where SSH reaches it.
    pub fn destination(&self) -> SshDestination {
        self.destination.clone()
    }

    /// Its console so far.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// Power cycle; returns when it takes logins again. All that was not on a disk is gone.
    pub fn reset(&mut self, patience: Duration) -> Result<(), QemuError> {
        let boots = self.boots() + 1;
        self.monitor()?.tell("system_reset")?;
        self.wait_up(boots, patience)
    }

    /// Makes it hang: it keeps its state and answers nothing.
    pub fn hang(&self) -> Result<(), QemuError> {
        self.monitor()?.tell("stop")?;
        Ok(())
    }

    /// Lets it go on after [`QemuBoard::hang`].
    pub fn resume(&self) -> Result<(), QemuError> {
        self.monitor()?.tell("cont")?;
        Ok(())
    }

    fn monitor(&self) -> Result<Qmp, QemuError> {
        Ok(Qmp::connect(&self.folder.path().join("qmp"), MONITOR)?)
    }

    fn boots(&self) -> usize {
        self.console().matches(UP).count()
    }

    fn wait_up(&mut self, boots: usize, patience: Duration) -> Result<(), QemuError> {
        let end = Instant::now() + patience;
        loop {
            if self.boots() >= boots {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(|source| QemuError::Io { action: "watch QEMU", source })?;
            if let Some(status) = ended {
                let said = std::fs::read_to_string(self.folder.path().join("qemu.log")).unwrap_or_default();
                return Err(QemuError::Ended { status: status.to_string(), said: said.trim().to_owned() });
            }
            if Instant::now() >= end {
                let console = self.console();
                let tail: Vec<&str> = console.lines().rev().take(5).collect();
                let console = tail.into_iter().rev().collect::<Vec<_>>().join(" / ");
                return Err(QemuError::NotUp { waited_s: patience.as_secs(), console });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for QemuBoard {
    fn drop(&mut self) {
        // The board has no disk: there is nothing that a sudden end could damage.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `setpriv` has the kernel end QEMU when this process ends, however that happens.
fn command(spec: &QemuSpec, folder: &Path, initramfs: &Path, port: u16) -> Command {
    let mut append = format!("console=ttyAMA0 quiet panic=1 boardproof.machine_id={}", spec.machine_id);
    if let Some(kb) = spec.home_kb {
        append += &format!(" boardproof.home_kb={kb}");
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-nodefaults"]);
    command.args(["-smp", &spec.cpus.to_string(), "-m", &spec.memory_mb.to_string(), "-display", "none"]);
    command.arg("-kernel").arg(spec.image.join("Image")).arg("-initrd").arg(initramfs).args(["-append", &append]);
    command.args([
        "-netdev",
        &format!("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        "-device",
        "virtio-net-pci,netdev=n0,romfile=",
    ]);
    command.arg("-serial").arg(format!("file:{}", folder.join("console.log").display()));
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", folder.join("qmp").display()));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A port of the loopback that nobody uses now. QEMU fails to start, and says so, if somebody takes it first.
fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
