//! The engine that starts the runner that was shipped: a real program, one fresh process per job, as the agent of a board does it.
//!
//! How a job ended is told by the agent's rules. Only one kind of failure is not seen here: a runner that ends well and delivered less
//! than it promised. The host sees that for itself.

use crate::{Assignment, Engine, Memory, Work};
use boardproof_core::Refusal;
use boardproof_protocol::frame::{Deframed, Header, STREAM_FRAME_MAX, StreamDeframer, decode_event, encode_request};
use boardproof_protocol::{Digest, Ended, Event, Key, RefusalCode, Request, Run, TextKey};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Starts runners from files in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct ProcessEngine {
    folder: PathBuf,
}

impl ProcessEngine {
    /// Takes this folder for itself: what an engine that was killed has left there is removed.
    pub fn in_folder(folder: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        Ok(Self { folder })
    }

    /// A blob as a file. Its name is its digest, so one that is there is the right one.
    fn place(&self, digest: Digest, content: &[u8], mode: u32) -> io::Result<PathBuf> {
        let path = self.folder.join(digest.to_string());
        if !path.exists() {
            let part = self.folder.join("part");
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
            file.write_all(content)?;
            drop(file);
            fs::rename(part, &path)?;
        }
        Ok(path)
    }

    fn try_start(&self, assignment: &Assignment<'_>, runner: &[u8]) -> io::Result<Process> {
        let run = assignment.run;
        let program = self.place(run.runner, runner, 0o700)?;
        let model = self.place(run.model, assignment.model, 0o600)?;
        let evalset = self.place(run.evalset, assignment.evalset, 0o600)?;
        let frame = request_frame(run)?;
        let mut child = spawn(&program, &model, &evalset)?;
        if assignment.memory.bytes.is_some() {
            // It reads its request first, so no model has been loaded yet.
            let limit = Rlimit { current: assignment.memory.bytes, maximum: assignment.memory.bytes };
            prlimit(Some(Pid::from_child(&child)), Resource::Data, limit)?;
        }
        let (stdin, stdout, stderr) = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
            _ => unreachable!("all three are piped"),
        };
        let (arrived, events) = channel();
        let (words, last_words) = channel();
        thread::spawn(move || feed(stdin, &frame));
        thread::spawn(move || read_events(stdout, &arrived));
        thread::spawn(move || {
            let _ = words.send(end_of(stderr));
        });
        Ok(Process {
            child,
            events,
            last_words,
            started: Instant::now(),
            deadline_ms: run.deadline_ms,
            memory: assignment.memory,
            runner_bytes: Some(runner.len() as u64),
            killed: None,
            cannot_run: false,
            garbage: None,
        })
    }
}

impl Drop for ProcessEngine {
    fn drop(&mut self) {
        // What stays is removed by the next one.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Engine for ProcessEngine {
    fn names(&self) -> &'static str {
        ""
    }

    fn start(&mut self, assignment: &Assignment<'_>) -> Result<Box<dyn Work>, Refusal<'static>> {
        let Some(runner) = assignment.runner else {
            return Err(Refusal { code: RefusalCode::MissingBlob, detail: "the runner is not here", number: 0 });
        };
        // The request was carried out; that nothing came of it is the job's to tell.
        Ok(match self.try_start(assignment, runner) {
            Ok(process) => Box::new(process),
            Err(error) => Box::new(NotStarted { why: format!("could not start a process: {error}") }),
        })
    }
}

fn request_frame(run: &Run<'_>) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4 + STREAM_FRAME_MAX];
    let length = encode_request(Header { session: 0, seq: 0 }, &Request::Run(*run), &mut frame[4..])
        .map_err(|_| io::Error::other("the request does not fit a frame"))?
        .len();
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    frame.truncate(4 + length);
    Ok(frame)
}

/// Variables that a runner keeps; all others are cleared, so that two runs see one environment.
const KEPT: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];
/// Set for every runner: engines use one thread, and candle reads the processor's description at every product where nobody says how many.
const ONE_THREAD: (&str, &str) = ("RAYON_NUM_THREADS", "1");

fn spawn(program: &Path, model: &Path, evalset: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg("--model").arg(model).arg("--evalset").arg(evalset).env_clear().process_group(0);
    command.env(ONE_THREAD.0, ONE_THREAD.1);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // A thread that started another program at the same moment has the file still open for writing there, until that one has begun.
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < end => {
                thread::yield_now();
            }
            started => return started,
        }
    }
}

/// A job that came to nothing.
struct NotStarted {
    why: String,
}

impl Work for NotStarted {
    fn advance(&mut self, emit: &mut dyn FnMut(&Event<'_>)) -> bool {
        emit(&Event::Text { key: TextKey::Stderr, index: STDERR_OF_DEVICE, value: &self.why });
        emit(&Event::Ended(Ended::NotStarted));
        true
    }
}

/// Which of the texts a job leaves behind: the runner's standard error, and what the device has to say about it.
const STDERR_OF_RUNNER: u16 = 0;
const STDERR_OF_DEVICE: u16 = 1;

/// Why a runner was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Deadline,
    Garbage,
}

/// A runner at work.
struct Process {
    child: Child,
    /// Encoded events, or what is wrong with what it wrote. Ends with its standard output.
    events: Receiver<Result<Vec<u8>, String>>,
    /// End of its standard error, once that has ended.
    last_words: Receiver<String>,
    started: Instant,
    deadline_ms: u32,
    memory: Memory,
    /// Told first, once.
    runner_bytes: Option<u64>,
    killed: Option<Kill>,
    cannot_run: bool,
    garbage: Option<String>,
}

impl Work for Process {
    fn advance(&mut self, emit: &mut dyn FnMut(&Event<'_>)) -> bool {
        if let Some(value) = self.runner_bytes.take() {
            emit(&Event::Number { key: Key::RunnerBytes, index: 0, value });
        }
        loop {
            match self.events.try_recv() {
                Ok(Ok(payload)) if self.garbage.is_none() => self.take(&payload, emit),
                Ok(Ok(_)) => {}
                Ok(Err(garbage)) => self.is_garbage(garbage),
                Err(TryRecvError::Empty) => {
                    self.enforce_deadline();
                    return false;
                }
                Err(TryRecvError::Disconnected) => return self.end(emit),
            }
        }
    }
}

impl Process {
    fn take(&mut self, payload: &[u8], emit: &mut dyn FnMut(&Event<'_>)) {
        match decode_event(payload) {
            // How a job ended is for the device to say: it sees the process, the runner only itself.
            Ok(Event::Ended(_)) => {}
            Ok(event) => {
                self.cannot_run |= matches!(event, Event::CannotRun(_));
                emit(&event);
            }
            Err(error) => self.is_garbage(format!("a frame on its standard output is no event: {error:?}")),
        }
    }

    fn is_garbage(&mut self, what: String) {
        self.garbage = Some(what);
        self.kill(Kill::Garbage);
    }

    fn enforce_deadline(&mut self) {
        if self.started.elapsed() >= Duration::from_millis(u64::from(self.deadline_ms)) {
            self.kill(Kill::Deadline);
        }
    }

    fn kill(&mut self, why: Kill) {
        if self.killed.is_none() {
            self.killed = Some(why);
            // A group that is gone already is what is wanted.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
    }

    /// Its standard output has ended; the process mostly has too. Tells how, or that it is still to be waited for.
    fn end(&mut self, emit: &mut dyn FnMut(&Event<'_>)) -> bool {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) => {
                self.enforce_deadline();
                return false;
            }
            Err(error) => {
                NotStarted { why: format!("could not learn how the runner ended: {error}") }.advance(emit);
                return true;
            }
        };
        // Somebody who inherited its standard error may hold it open: its last words are worth a moment and no more.
        let stderr = self.last_words.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
        if !stderr.trim().is_empty() {
            emit(&Event::Text { key: TextKey::Stderr, index: STDERR_OF_RUNNER, value: &stderr });
        }
        if let Some(garbage) = &self.garbage {
            emit(&Event::Text { key: TextKey::Stderr, index: STDERR_OF_DEVICE, value: garbage });
        }
        emit(&Event::Ended(self.how(status, &stderr)));
        true
    }

    fn how(&self, status: ExitStatus, stderr: &str) -> Ended {
        match (status.signal(), self.killed, status.code().unwrap_or(-1)) {
            (Some(KILL), Some(Kill::Deadline), _) => Ended::DeadlineExceeded { deadline_ms: self.deadline_ms },
            (Some(KILL), Some(Kill::Garbage), _) => Ended::NotStarted,
            (Some(_), ..) if tells_of_memory(stderr) => self.memory.ran_out(),
            (Some(signal), ..) => Ended::Signalled { signal },
            (None, _, 0) if self.garbage.is_some() => Ended::Exited { code: 0 },
            (None, _, 0) if self.cannot_run => Ended::CannotRun,
            (None, _, 0) => Ended::Completed,
            (None, ..) if tells_of_memory(stderr) => self.memory.ran_out(),
            (None, _, code) => Ended::Exited { code },
        }
    }
}

/// Number of SIGKILL.
const KILL: i32 = Signal::KILL.as_raw();

impl Drop for Process {
    fn drop(&mut self) {
        // Not reaped yet, so that the group's number is still its own; an ended one takes no notice.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Does this text say that an allocation failed? These are the words of Rust, of C++ and of the C library.
fn tells_of_memory(stderr: &str) -> bool {
    (stderr.contains("memory allocation of ") && stderr.contains(" bytes failed"))
        || stderr.contains("std::bad_alloc")
        || stderr.contains("Cannot allocate memory")
}

fn feed(mut stdin: impl Write, frame: &[u8]) {
    // A runner that does not want its request will say why, or not deliver.
    let _ = stdin.write_all(frame);
}

fn read_events(mut stdout: impl Read, arrived: &Sender<Result<Vec<u8>, String>>) {
    let mut buffer = vec![0; STREAM_FRAME_MAX];
    let mut deframer = StreamDeframer::new(&mut buffer);
    let mut piece = vec![0; 64 * 1024];
    let mut inside = false;
    while let Ok(length @ 1..) = stdout.read(&mut piece) {
        let mut bytes = &piece[..length];
        while !bytes.is_empty() {
            let found = match deframer.push(&mut bytes) {
                Deframed::Incomplete => {
                    inside = true;
                    continue;
                }
                Deframed::Payload(payload) => Ok(payload.to_vec()),
                Deframed::Broken { length, limit } => Err(format!(
                    "its standard output is no stream of events: a frame of {length} bytes, expected at most {limit}"
                )),
            };
            inside = false;
            let broken = found.is_err();
            if arrived.send(found).is_err() || broken {
                return;
            }
        }
    }
    if inside {
        let _ = arrived.send(Err("its standard output ends inside a frame".into()));
    }
}

/// The end of a text stream, where the reason stands.
fn end_of(mut stderr: impl Read) -> String {
    const KEPT_BYTES: usize = 4096;
    let mut kept = Vec::new();
    let mut piece = [0; KEPT_BYTES];
    while let Ok(length @ 1..) = stderr.read(&mut piece) {
        kept.extend_from_slice(&piece[..length]);
        let excess = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
