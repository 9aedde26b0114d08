//! A link over the standard streams of a process on this machine: a local agent, an emulated one, or an SSH client.
//!
//! Threads do the blocking reads and writes, so that every call here keeps its deadline whatever the other side does.

use super::ssh::classify;
use super::{Link, LinkError};
use crate::kill::kill_group;
use boardproof_protocol::frame::{Deframed, PREAMBLE, PreambleScanner, STREAM_FRAME_MAX, StreamDeframer};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How to start the program at this end of the link.
#[derive(Debug)]
pub struct LinkCommand {
    /// Name of the unit, for messages.
    pub unit: String,
    /// The program with its arguments.
    pub command: Command,
    /// It is an SSH client: what it writes to its standard error is read as such.
    pub ssh: bool,
}

/// Payloads that may wait in either direction.
const QUEUE: usize = 64;
/// Text kept of what comes before the preamble, and of standard error.
const TEXT_MAX: usize = 4096;

/// What the reader thread found.
enum Arrived {
    Payload(Vec<u8>),
    Broken { length: usize, limit: usize },
    NoPreamble(String),
}

/// A running process with a framed stream in each direction. Dropping it ends the process and its group.
pub struct ProcessLink {
    unit: String,
    ssh: bool,
    child: Child,
    outgoing: Option<SyncSender<Vec<u8>>>,
    incoming: Receiver<Arrived>,
    stderr: Arc<Mutex<String>>,
    /// Is disconnected when all of the standard error was read.
    stderr_read: Receiver<()>,
    sent: u64,
    received: u64,
}

impl ProcessLink {
    /// Starts the program. Its first bytes are read by the first [`Link::receive`].
    pub fn start(spec: LinkCommand) -> Result<Self, LinkError> {
        let LinkCommand { unit, mut command, ssh } = spec;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|source| LinkError::Start { program, source })?;
        let (stdin, stdout, stderr) = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
            _ => unreachable!("all three are piped"),
        };
        let (outgoing, to_write) = sync_channel(QUEUE);
        let (arrived, incoming) = sync_channel(QUEUE);
        let said = Arc::new(Mutex::new(String::new()));
        std::thread::spawn(move || write_all(stdin, &to_write));
        std::thread::spawn(move || read_all(stdout, &arrived));
        let keep = Arc::clone(&said);
        let (reading, stderr_read) = sync_channel(0);
        std::thread::spawn(move || {
            keep_text(stderr, &keep);
            drop(reading);
        });
        let outgoing = Some(outgoing);
        Ok(Self { unit, ssh, child, outgoing, incoming, stderr: said, stderr_read, sent: 0, received: 0 })
    }

    /// The other side is gone: says how, as exactly as this end knows.
    fn closed(&mut self) -> LinkError {
        // The process may still be on its way out; its status is worth a moment, and no more than that.
        let end = Instant::now() + Duration::from_secs(2);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => break "it still runs".into(),
                Err(error) => break error.to_string(),
            }
        };
        // The last words may still be on their way to the thread that reads them. Somebody who inherited the stream may hold it open
        // (a shared SSH connection that stays), so this too is worth a moment only.
        let _ = self.stderr_read.recv_timeout(Duration::from_millis(500));
        let stderr = self.stderr.lock().map(|text| text.clone()).unwrap_or_default();
        let unit = self.unit.clone();
        match classify(&stderr) {
            Some(problem) if self.ssh => LinkError::Ssh { unit, problem, stderr },
            _ => LinkError::Closed { unit, status, stderr },
        }
    }
}

impl Link for ProcessLink {
    fn send(&mut self, payload: &[u8], deadline: Instant) -> Result<(), LinkError> {
        let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(payload);
        self.sent += frame.len() as u64;
        loop {
            let Some(outgoing) = &self.outgoing else { return Err(self.closed()) };
            match outgoing.try_send(frame) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(self.closed()),
                Err(TrySendError::Full(_)) if Instant::now() >= deadline => {
                    return Err(LinkError::Stuck { unit: self.unit.clone() });
                }
                Err(TrySendError::Full(back)) => frame = back,
            }
            // The queue holds many frames: when it is full, the wire is what is waited for.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        let unit = || self.unit.clone();
        match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Arrived::Payload(payload)) => {
                self.received += payload.len() as u64 + 4;
                Ok(Some(payload))
            }
            Ok(Arrived::Broken { length, limit }) => Err(LinkError::Frame { unit: unit(), length, limit }),
            Ok(Arrived::NoPreamble(found)) if !found.is_empty() => match classify(&found) {
                Some(problem) if self.ssh => Err(LinkError::Ssh { unit: unit(), problem, stderr: found }),
                _ => Err(LinkError::NoPreamble { unit: unit(), found }),
            },
            Ok(Arrived::NoPreamble(_)) | Err(RecvTimeoutError::Disconnected) => Err(self.closed()),
            Err(RecvTimeoutError::Timeout) => Ok(None),
        }
    }

    fn traffic(&self) -> (u64, u64) {
        (self.sent, self.received)
    }
}

impl Drop for ProcessLink {
    fn drop(&mut self) {
        // Closing its input tells an agent that the host is gone; it ends its children and itself. What does not end is killed.
        self.outgoing = None;
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // It still runs, so its number is still its own and its group's.
        kill_group(&mut self.child);
        let _ = self.child.wait();
    }
}

fn write_all(mut stdin: impl Write, queue: &Receiver<Vec<u8>>) {
    while let Ok(frame) = queue.recv() {
        if stdin.write_all(&frame).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read_all(mut stdout: impl Read, arrived: &SyncSender<Arrived>) {
    let mut buffer = vec![0; STREAM_FRAME_MAX];
    let mut deframer = StreamDeframer::new(&mut buffer);
    let mut piece = vec![0; 64 * 1024];
    let mut scanner = Some((PreambleScanner::default(), String::new()));
    while let Ok(length @ 1..) = stdout.read(&mut piece) {
        let mut input = &piece[..length];
        if let Some((scan, skipped)) = &mut scanner {
            let end = input.iter().position(|b| scan.push(*b));
            let text = &input[..end.map_or(input.len(), |e| e + 1)];
            if skipped.len() < TEXT_MAX {
                skipped.push_str(&String::from_utf8_lossy(text));
            }
            match end {
                Some(end) => input = &input[end + 1..],
                None => continue,
            }
            scanner = None;
        }
        while !input.is_empty() {
            let found = match deframer.push(&mut input) {
                Deframed::Payload(payload) => Arrived::Payload(payload.to_vec()),
                Deframed::Incomplete => break,
                Deframed::Broken { length, limit } => {
                    let _ = arrived.send(Arrived::Broken { length, limit });
                    return;
                }
            };
            if arrived.send(found).is_err() {
                return;
            }
        }
    }
    if let Some((_, skipped)) = scanner {
        let text = skipped.trim_end_matches(|c| PREAMBLE.contains(&(c as u8))).to_owned();
        let _ = arrived.send(Arrived::NoPreamble(if text.trim().is_empty() { String::new() } else { skipped }));
    }
}

fn keep_text(mut stderr: impl Read, keep: &Mutex<String>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece) {
        let Ok(mut text) = keep.lock() else { return };
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
        if text.len() > TEXT_MAX {
            let cut = text.len() - TEXT_MAX;
            let cut = (cut..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            text.drain(..cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ProcessLink {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ProcessLink::start(LinkCommand { unit: "board".into(), command, ssh: false }).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_banner_before_the_preamble_is_skipped() {
        let mut link = shell(r"printf 'Welcome to the board\nBPROOF1\n\003\000\000\000abc'; cat >/dev/null");
        assert_eq!(link.receive(soon()).unwrap().as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn something_that_is_no_agent_is_quoted() {
        let error = shell("echo 'this is not an agent'").receive(soon()).unwrap_err();
        assert!(
            matches!(&error, LinkError::NoPreamble { found, .. } if found.contains("this is not an agent")),
            "{error}"
        );
    }

    #[test]
    fn the_end_of_the_program_and_its_last_words_are_told() {
        let error = shell("echo 'cannot open shared object' >&2; exit 127").receive(soon()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 127") && text.contains("cannot open shared object"), "{text}");
    }

    #[test]
    fn the_last_words_are_told_however_soon_the_program_ends() {
        // The end of standard output is seen before standard error was read, mostly; none of the words may be missing.
        for _ in 0..50 {
            let mut command = Command::new("sh");
            command.args(["-c", "exec >&-; echo 'ssh: connect to host b port 22: Connection refused' >&2; exit 255"]);
            let mut link = ProcessLink::start(LinkCommand { unit: "b".into(), command, ssh: true }).unwrap();
            let error = link.receive(soon()).unwrap_err();
            assert!(matches!(error, LinkError::Ssh { problem: crate::link::SshProblem::Refused, .. }), "{error}");
        }
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        // Whoever holds the lock lives.
        let script = format!(
            "exec 9>{0}/lock; flock 9; sleep 600 & trap '' TERM; printf 'BPROOF1\\n\\001\\000\\000\\000x'; wait; sleep 600",
            folder.path().display()
        );
        let mut link = shell(&script);
        assert!(link.receive(soon()).unwrap().is_some());
        let lock = std::fs::File::open(folder.path().join("lock")).unwrap();
        assert!(lock.try_lock().is_err());
        drop(link);
        let end = soon();
        while lock.try_lock().is_err() {
            assert!(Instant::now() < end, "something outlives the link");
            std::thread::yield_now();
        }
    }

    #[test]
    fn silence_ends_at_the_deadline_and_is_no_error() {
        let mut link = shell("printf 'BPROOF1\\n'; cat >/dev/null");
        assert!(link.receive(Instant::now() + Duration::from_millis(30)).unwrap().is_none());
    }

    #[test]
    fn a_peer_that_takes_nothing_does_not_block_the_host() {
        let mut link = shell("exec tail -f /dev/null");
        let payload = vec![0; STREAM_FRAME_MAX];
        let deadline = Instant::now() + Duration::from_millis(200);
        let error = (0..QUEUE * 4).find_map(|_| link.send(&payload, deadline).err()).expect("the queue is bounded");
        assert!(matches!(error, LinkError::Stuck { .. }), "{error}");
    }

    #[test]
    fn an_impossible_length_is_an_error() {
        let error = shell(r"printf 'BPROOF1\n\377\377\377\377'; cat >/dev/null").receive(soon()).unwrap_err();
        assert!(matches!(error, LinkError::Frame { limit: STREAM_FRAME_MAX, .. }), "{error}");
    }
}
