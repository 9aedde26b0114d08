//! One command, run to its end: a script on a unit, or a program of this machine. Bounded in time, and Ctrl-C ends it.

use crate::kill::kill_group;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a command that ended has said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// It could not be started.
    #[error("could not start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long and was killed.
    #[error("it did not end within {deadline_s} s and was killed")]
    Stuck {
        /// The deadline.
        deadline_s: u64,
    },
    /// The user interrupted it.
    #[error("interrupted")]
    Interrupted,
}

/// Text kept of each stream; what comes after it is read and dropped.
const TEXT_MAX: u64 = 64 * 1024;
/// How long streams may stay open after the process has ended: an SSH connection that is shared stays, and keeps them.
const AFTER_END: Duration = Duration::from_millis(500);

/// Runs a command, feeding it `input`.
pub fn once(
    command: &mut Command,
    input: Option<Vec<u8>>,
    deadline: Duration,
    interrupted: fn() -> bool,
) -> Result<Said, OnceError> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|source| OnceError::Start { program, source })?;
    if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), input) {
        // A thread of its own: a unit that takes nothing must not take this thread with it.
        std::thread::spawn(move || stdin.write_all(&bytes));
    }
    let (stdout, stderr) = (Text::of(child.stdout.take()), Text::of(child.stderr.take()));
    let status = wait(&mut child, deadline, interrupted)?;
    let end = Instant::now() + AFTER_END;
    Ok(Said { status, stdout: stdout.take(end), stderr: stderr.take(end) })
}

fn wait(child: &mut Child, deadline: Duration, interrupted: fn() -> bool) -> Result<ExitStatus, OnceError> {
    let end = Instant::now() + deadline;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(status);
        }
        let error = if interrupted() {
            OnceError::Interrupted
        } else if Instant::now() >= end {
            OnceError::Stuck { deadline_s: deadline.as_secs() }
        } else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        kill_group(child);
        let _ = child.wait();
        return Err(error);
    }
}

/// A stream that a thread reads.
struct Text {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Is disconnected at the end of the stream.
    reading: Receiver<()>,
}

impl Text {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let (end, reading) = sync_channel(0);
        let Some(mut stream) = stream else { return Self { bytes, reading } };
        let keep = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                if (kept.len() as u64) < TEXT_MAX {
                    kept.extend_from_slice(&piece[..length]);
                }
            }
            drop(end);
        });
        Self { bytes, reading }
    }

    fn take(self, end: Instant) -> String {
        let _ = self.reading.recv_timeout(end.saturating_duration_since(Instant::now()));
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, input: Option<Vec<u8>>, deadline: Duration) -> Result<Said, OnceError> {
        once(Command::new("sh").args(["-c", script]), input, deadline, || false)
    }

    #[test]
    fn a_command_takes_its_input_and_tells_its_end() {
        let input = vec![b'x'; 3_000_000];
        let said = shell("wc -c; echo words >&2; exit 9", Some(input), LONG).unwrap();
        assert_eq!((said.status.code(), said.stdout.trim(), said.stderr.trim()), (Some(9), "3000000", "words"));
    }

    #[test]
    fn a_command_that_hangs_is_killed_in_time_and_one_that_takes_no_input_too() {
        let start = Instant::now();
        let error = shell("sleep 600", Some(vec![0; 3_000_000]), Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, OnceError::Stuck { .. }), "{error}");
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn what_a_command_leaves_behind_does_not_hold_up_its_answer() {
        let start = Instant::now();
        let said = shell("echo here; sleep 600 & exit 0", None, LONG).unwrap();
        assert_eq!(said.stdout, "here\n");
        assert!(start.elapsed() < LONG / 2);
    }

    #[test]
    fn an_interrupt_ends_the_wait() {
        let error = once(Command::new("sh").args(["-c", "sleep 600"]), None, LONG, || true).unwrap_err();
        assert!(matches!(error, OnceError::Interrupted), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = once(&mut Command::new("boardproof-no-such"), None, LONG, || false).unwrap_err();
        assert!(error.to_string().contains("boardproof-no-such"), "{error}");
    }
}
