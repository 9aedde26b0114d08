//! The built tool, run in a home of its own: owns where it is found, what it sees of this machine, and how long it may take.

use boardproof_record::record::Record;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
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
        // The libraries of engines, as `cargo xtask test` has brought them.
        let engines = root().join("target/boardproof-tests/cache/boardproof/host/engines");
        std::os::unix::fs::symlink(&engines, host.join("engines")).expect("could not link the libraries of engines");
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
        command
            .env("BOARDPROOF_SOURCE", root())
            .env("NO_COLOR", "1")
            .env_remove("BOARDPROOF_PROFILE")
            .env_remove("BOARDPROOF_PROGRAMS");
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_STATE_HOME", self.path("state"));
        // Units of other tests have the same names and are others.
        command.env("BOARDPROOF_LEASES", self.path("state/boardproof/leases"));
        command
    }

    /// Starts the tool.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        Running::of(self.command(arguments))
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
    child: Child,
    stdout: Words,
    stderr: Words,
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
    /// Starts it.
    pub fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("could not start the tool");
        let (stdout, stderr) = (Words::of(child.stdout.take()), Words::of(child.stderr.take()));
        Self { child, stdout, stderr, start: Instant::now() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("could not watch the tool").is_some()
    }

    /// Has it written this to stderr yet?
    pub fn has_said(&self, part: &str) -> bool {
        self.stderr.so_far().contains(part)
    }

    /// What it has written to stdout so far.
    pub fn told(&self) -> String {
        self.stdout.so_far()
    }

    /// Waits for its end and fails after [`PATIENCE`].
    pub fn end(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("could not watch the tool") {
                break status;
            }
            assert!(self.start.elapsed() < PATIENCE, "no end within {PATIENCE:?}\n{}", self.stderr.so_far());
            pause();
        };
        let elapsed = self.start.elapsed();
        Ended { code: status.code(), stdout: self.stdout.whole(), stderr: self.stderr.whole(), elapsed }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pipe has brought, read by a thread of its own so that the tool never waits for a test.
struct Words {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Words {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut pipe = pipe.expect("it is piped");
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                kept.lock().expect("no reader panics").extend_from_slice(&piece[..length]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no reader panics")).into_owned()
    }

    /// All of it; the writer has ended.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
        self.so_far()
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
