//! A board of QEMU with our firmware on it, and the plainest host that speaks to it: asks, repeats, waits no longer than a deadline.
//!
//! For tests of the firmware alone. The host of the product has its own link.

mod image;
mod sizes;

pub use image::image;
pub use sizes::{Sizes, sizes};

use boardproof_protocol::frame::{
    BYTE_FRAME_MAX, CobsDeframer, Deframed, Header, decode_reply, encode_cobs, encode_request,
};
use boardproof_protocol::{Begin, Coding, Digest, HostHello, Reply, Request, SCHEMA, VERSION_CURRENT, VERSION_MIN};
use sha2::Digest as _;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for one answer, repeats included.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// An answer that has not come by then is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Builds a board's firmware in the release profile and says where it lies. `features` may be empty.
///
/// # Panics
/// When it cannot be built.
pub fn build(binary: &str, triple: &str, features: &str) -> PathBuf {
    build_in("..", "boardproof-firmware-mps2", binary, triple, features)
}

/// Builds a program that has the engine and no agent, with its DSP kernels, and says where it lies.
///
/// # Panics
/// When it cannot be built.
pub fn build_engine(binary: &str) -> PathBuf {
    build_in("../../micro/bench-firmware", "boardproof-micro-bench", binary, "thumbv7em-none-eabihf", "dsp")
}

fn build_in(workspace: &str, package: &str, binary: &str, triple: &str, features: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join(workspace);
    let mut target = std::env::var_os("CARGO_TARGET_DIR").map_or(workspace.join("target"), PathBuf::from);
    // Each set of features has a folder: their programs have one name.
    if !features.is_empty() {
        target.push(features);
    }
    let mut cargo = Command::new(env!("CARGO"));
    // Flags of the processor stand in the workspace's `.cargo/config.toml`, which cargo looks for where it is started.
    cargo.current_dir(&workspace).args(["build", "--release", "--quiet", "--package", package]);
    cargo.args(["--bin", binary, "--target", triple, "--features", features, "--target-dir"]).arg(&target);
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "{binary} could not be built: {status}");
    target.join(triple).join("release").join(binary)
}

/// A running board. It ends with this value.
#[derive(Debug)]
pub struct Board {
    qemu: Child,
    line: UnixStream,
    session: u32,
    seq: u32,
    buffer: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Board {
    /// Starts a machine with this firmware; nothing is said to it yet.
    ///
    /// # Panics
    /// When QEMU is not here or does not start.
    pub fn start(machine: &str, firmware: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket can be made");
        let socket = folder.path().join("line");
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-M", machine, "-nographic", "-monitor", "none", "-icount", "shift=5", "-serial", "chardev:line"]);
        qemu.arg("-chardev").arg(format!("socket,id=line,path={},server=on,wait=on", socket.display()));
        let flash = folder.path().join("flash.bin");
        std::fs::write(&flash, image(firmware)).expect("the board's flash can be written");
        qemu.arg("-kernel").arg(flash).stdin(Stdio::null()).stdout(Stdio::null());
        let qemu = qemu.spawn().expect("qemu-system-arm can be started (Debian package qemu-system-arm)");
        let end = Instant::now() + PATIENCE;
        let line = loop {
            match UnixStream::connect(&socket) {
                Ok(line) => break line,
                Err(error) => assert!(Instant::now() < end, "QEMU opens no socket: {error}"),
            }
            std::thread::yield_now();
        };
        Self { qemu, line, session: 1, seq: 0, buffer: vec![0; 2 * BYTE_FRAME_MAX], folder }
    }

    /// Where the machine's files lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another session: the board forgets jobs of the one before.
    pub fn new_session(&mut self) {
        self.session += 1;
    }

    /// Writes bytes as they are.
    ///
    /// # Panics
    /// When the board is gone.
    pub fn write(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).expect("the board's line takes bytes");
    }

    /// Asks until there is an answer and gives all of them to `take`, which says `true` at the last one.
    ///
    /// # Panics
    /// When no answer comes in time.
    pub fn ask(&mut self, request: &Request<'_>, take: &mut dyn FnMut(Reply<'_>) -> bool) {
        self.seq += 1;
        let header = Header { session: self.session, seq: self.seq };
        let (mut payload, mut coded) = ([0; BYTE_FRAME_MAX], [0; BYTE_FRAME_MAX + 16]);
        let payload = encode_request(header, request, &mut payload).expect("a request fits into a frame");
        let used = encode_cobs(payload, &mut coded).expect("a payload fits into its frame");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.write(&[0]);
            self.write(&coded[..used]);
            if self.listen(header, take) {
                return;
            }
        }
        panic!("no answer within {PATIENCE:?} to {request:?}");
    }

    fn listen(&mut self, header: Header, take: &mut dyn FnMut(Reply<'_>) -> bool) -> bool {
        let mut deframer = CobsDeframer::new(&mut self.buffer);
        let end = Instant::now() + AGAIN;
        let mut bytes = [0; 512];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.line.set_read_timeout(Some(left)).expect("a socket takes a timeout");
            let read = match self.line.read(&mut bytes) {
                Ok(0) => panic!("the board is gone"),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
                Err(error) => panic!("the board's line: {error}"),
            };
            let mut input = &bytes[..read];
            while !input.is_empty() {
                let Deframed::Payload(payload) = deframer.push(&mut input) else { continue };
                if let Ok((found, reply)) = decode_reply(payload)
                    && found == header
                    && take(reply)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Asks for one answer and makes something of it.
    pub fn one<T>(&mut self, request: &Request<'_>, make: impl Fn(Reply<'_>) -> T) -> T {
        let mut made = None;
        self.ask(request, &mut |reply| {
            made = Some(make(reply));
            true
        });
        made.expect("the answer was taken")
    }

    /// Asks for events and makes something of the answer behind them.
    pub fn last<T>(&mut self, request: &Request<'_>, make: impl Fn(Reply<'_>) -> T) -> T {
        let mut made = None;
        self.ask(request, &mut |reply| {
            if matches!(reply, Reply::Event { .. }) {
                return false;
            }
            made = Some(make(reply));
            true
        });
        made.expect("the answer was taken")
    }

    /// Says a command of MLPerf Tiny; returns the reply, `m-ready` and all.
    ///
    /// # Panics
    /// When no reply comes in time.
    pub fn text(&mut self, command: &str) -> String {
        self.write(command.as_bytes());
        let (end, mut reply) = (Instant::now() + PATIENCE, Vec::new());
        while !reply.ends_with(b"m-ready\r\n") {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no reply within {PATIENCE:?} to {command}: {}", String::from_utf8_lossy(&reply));
            self.line.set_read_timeout(Some(left)).expect("a socket takes a timeout");
            let mut bytes = [0; 512];
            match self.line.read(&mut bytes) {
                Ok(0) => panic!("the board is gone"),
                Ok(read) => reply.extend_from_slice(&bytes[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the board's line: {error}"),
            }
        }
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Greets, and makes something of the greeting.
    pub fn greet<T>(&mut self, make: impl Fn(Reply<'_>) -> T) -> T {
        let (version_min, version_max, frame_max) = (VERSION_MIN, VERSION_CURRENT, BYTE_FRAME_MAX as u32);
        let hello = HostHello { version_min, version_max, schema: SCHEMA, build: "smoke", frame_max };
        self.one(&Request::Hello(hello), make)
    }

    /// Uploads bytes in parts; they are verified at the end.
    ///
    /// # Panics
    /// When the board refuses.
    pub fn upload(&mut self, epoch: u64, bytes: &[u8]) -> Digest {
        let digest = Digest(sha2::Sha256::digest(bytes).into());
        let (size, coding) = (bytes.len() as u64, Coding::Plain);
        let begin = Begin { epoch, digest, size, coded_size: size, coding, program: false };
        let ready = |reply: Reply<'_>| match reply {
            Reply::Ready { offset } => offset as usize,
            other => panic!("expected Ready, got {other:?}"),
        };
        let mut at = self.one(&Request::Begin(begin), ready);
        while at < bytes.len() {
            let piece = &bytes[at..bytes.len().min(at + 900)];
            let part = boardproof_protocol::Part { upload: digest.upload(), offset: at as u64, bytes: piece };
            at = self.one(&Request::Part(part), ready);
        }
        let stored = self.one(&Request::Finish { epoch, digest }, |reply| matches!(reply, Reply::Stored { .. }));
        assert!(stored, "the board does not keep the blob");
        digest
    }

    /// Pulls all events of a job and gives them to `take`.
    ///
    /// # Panics
    /// When the board knows no such job.
    pub fn events(&mut self, job: u32, take: &mut dyn FnMut(boardproof_protocol::Event<'_>)) {
        let mut next = 0;
        let mut done = false;
        while !done {
            self.ask(&Request::Pull { job, from: next, credit: 8 }, &mut |reply| match reply {
                Reply::Event { index, event, .. } => {
                    if index == next {
                        take(event);
                        next += 1;
                    }
                    false
                }
                Reply::Pending { .. } => true,
                Reply::Done { events, .. } => {
                    done = events == next;
                    true
                }
                other => panic!("expected events, got {other:?}"),
            });
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
