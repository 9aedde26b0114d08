//! A board in QEMU for one test. Its sockets lie in a folder of its own; it is gone when the test is.

use boardproof_probe::{AttachOptions, Permission, Probe, ProbeSource, StubAddress};
use boardproof_record::plan::{Grant, Probe as ProbeSpec};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For whatever a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Board {
    chip: &'static str,
    qemu: Child,
    tcp: Option<String>,
    folder: tempfile::TempDir,
}

impl Board {
    /// A board with nothing in its memory, whose core stands still.
    pub fn blank(chip: &'static str) -> Self {
        Self::start(chip, "socket,id=probe,path=probe,server=on,wait=off", false)
    }

    /// The same, with its stub on a port that the kernel picks.
    pub fn over_tcp(chip: &'static str) -> Self {
        Self::start(chip, "socket,id=probe,host=127.0.0.1,port=0,nodelay=on,server=on,wait=off", true)
    }

    /// A board that was flashed and runs.
    pub fn running(chip: &'static str, elf: &[u8]) -> Self {
        let board = Self::blank(chip);
        let target = ProbeSpec { chip: chip.into(), grants: vec![Grant::Flash] };
        let permission = Permission::granted(Grant::Flash, &target).unwrap();
        let probe = Probe::attach(&board.source(), chip, AttachOptions::default()).unwrap();
        probe.flash(elf, true, &permission).unwrap();
        probe.reset().unwrap();
        board
    }

    fn start(chip: &'static str, stub: &str, over_tcp: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("qemu-system-arm");
        command.args([
            "-M",
            chip,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-nic",
            "none",
            "-S",
            "-icount",
            "shift=5",
        ]);
        command.args(["-chardev", stub, "-gdb", "chardev:probe", "-qmp", "unix:qmp,server=on,wait=off"]);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(folder.path().join("qemu.log")).unwrap());
        let qemu = command.spawn().expect("these tests need qemu-system-arm");
        let mut board = Self { chip, qemu, tcp: None, folder };
        // QEMU makes its sockets in the order of its options.
        until("QEMU's monitor", || board.ask("query-status").is_some());
        if over_tcp {
            let chardevs = board.ask("query-chardev").unwrap();
            let at = chardevs.split("tcp:").nth(1).unwrap();
            board.tcp = Some(at.split(',').next().unwrap().to_owned());
        }
        board
    }

    pub fn chip(&self) -> &'static str {
        self.chip
    }

    pub fn source(&self) -> ProbeSource {
        let unix = || StubAddress::Unix(self.path("probe"));
        ProbeSource::Virtual { stub: self.tcp.clone().map_or_else(unix, StubAddress::Tcp) }
    }

    /// Does the machine run? Asked of its monitor, not of the probe.
    pub fn is_running(&self) -> bool {
        self.ask("query-status").unwrap().contains("\"running\": true")
    }

    /// Stops QEMU itself, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &self.qemu.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal}");
    }

    pub fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// One question to the monitor; `None` as long as it is not there.
    fn ask(&self, what: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.path("qmp")).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        lines.next()?.ok()?;
        let mut answer = None;
        for question in ["qmp_capabilities", what] {
            socket.write_all(format!("{{\"execute\":\"{question}\"}}").as_bytes()).ok()?;
            // Events come in between.
            answer = lines.by_ref().map_while(Result::ok).find(|line| line.contains("\"return\""));
        }
        answer
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("QEMU said: {}", std::fs::read_to_string(self.path("qemu.log")).unwrap_or_default());
        }
    }
}

/// Asks until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::yield_now();
    }
}

/// An error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
