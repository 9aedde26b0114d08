//! The built tool, run in a home of its own: owns where it is found, what it sees of this machine, and how long it may take.

use boardproof_record::record::Record;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No run of the tool here takes longer, even on a busy machine that must first build the programs of a board.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Top of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the workspace")
}

/// A home of its own: cache, leases and stores of one test.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("could not make a temporary folder");
        let host = folder.path().join("cache/boardproof/host");
        // Programs take seconds to compress; what that gives is named by their digest, so that all homes can share it.
        let coded = root().join("target/boardproof-tests/coded");
        std::fs::create_dir_all(&coded).expect("could not make the folder of compressed programs");
        std::fs::create_dir_all(&host).expect("could not make the cache");
        std::os::unix::fs::symlink(&coded, host.join("coded")).expect("could not link the compressed programs");
        Self { folder }
    }

    /// A path in this home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The tool with these arguments, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let tool = root().join("target/release/boardproof");
        assert!(tool.is_file(), "{} is missing; `cargo build --release -p boardproof` makes it", tool.display());
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("BOARDPROOF_SOURCE", root()).env("NO_COLOR", "1").env_remove("BOARDPROOF_PROFILE");
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_STATE_HOME", self.path("state"));
        command
    }

    /// Starts the tool.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("could not start the tool");
        Running { child: Some(child), start: Instant::now() }
    }

    /// Runs the tool to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        self.start(arguments).end()
    }

    /// Reads the record that a run left in this folder of the home.
    pub fn record(&self, name: &str) -> Record {
        let file = self.path(name).join("record.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        Record::from_json(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    }
}

/// The tool at work. Killed when a test gives up on it.
pub struct Running {
    child: Option<Child>,
    start: Instant,
}

/// How the tool ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it was not waited for").id()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().expect("it was not waited for").try_wait().expect("could not watch the tool").is_some()
    }

    /// Waits for its end and fails after [`PATIENCE`].
    pub fn end(mut self) -> Ended {
        let mut child = self.child.take().expect("it is waited for once");
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let status = loop {
            if let Some(status) = child.try_wait().expect("could not watch the tool") {
                break status;
            }
            if self.start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("the tool did not end within {} s", PATIENCE.as_secs());
            }
            pause();
        };
        let text = |t: std::thread::JoinHandle<String>| t.join().expect("a reader of the tool's words ended badly");
        Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr), elapsed: self.start.elapsed() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// Fails with everything it said unless it ended with this code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr holds each of these.
    #[track_caller]
    pub fn expect_said(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in\n{}", self.stderr);
        }
        self
    }
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().expect("could not run kill");
    assert!(status.success(), "no signal {name} for process {process}");
}

/// Waits until `look` has something to tell, and fails after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        pause();
    }
}

/// Between two looks: the machine is small, and a spinning test would take a core from what it tests.
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
