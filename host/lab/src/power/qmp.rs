//! QEMU's monitor protocol, as much of it as switching a board needs: one command at a time, lines of JSON, events in between.
//!
//! Every call returns by its deadline, whatever the peer says or how slowly it says it. Knows nothing of boards.

use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The monitor did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// No monitor there, or it went away.
    #[error("could not {action} through the monitor")]
    Io {
        /// What was being done.
        action: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said nothing, or not the thing that was waited for.
    #[error("the monitor did not answer {action} within {waited_ms} ms")]
    Deadline {
        /// What was being done.
        action: String,
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// It says no.
    #[error("the monitor refused {action}: {detail}")]
    Refused {
        /// What was being done.
        action: String,
        /// Its words.
        detail: String,
    },
    /// It says something else.
    #[error("the monitor answered {action} with {found}")]
    Garbage {
        /// What was being done.
        action: String,
        /// What came, shortened.
        found: String,
    },
}

/// A connection to a monitor, out of negotiation mode.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    limit: Duration,
    unread: Vec<u8>,
    events: Vec<String>,
}

/// No answer that is read here comes near this.
const LINE_BYTES_MAX: usize = 1 << 20;

impl Qmp {
    /// Connects. `limit` is the time that each call on this connection may take.
    pub fn connect(socket: &Path, limit: Duration) -> Result<Self, QmpError> {
        let failed = |source| QmpError::Io { action: "connect".into(), source };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_write_timeout(Some(limit.max(Duration::from_millis(1)))).map_err(failed)?;
        let mut qmp = Self { stream, limit, unread: Vec::new(), events: Vec::new() };
        let greeting = qmp.message("connect", Instant::now() + limit)?;
        if greeting.get("QMP").is_none() {
            return Err(garbage("connect", &greeting.to_string()));
        }
        qmp.tell("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Gives a command without arguments and waits for its answer.
    pub fn tell(&mut self, command: &str) -> Result<Value, QmpError> {
        self.ask(command, json!({ "execute": command }))
    }

    /// What the monitor for people says to a command of its own.
    pub fn ask_as_human(&mut self, line: &str) -> Result<String, QmpError> {
        let request = json!({ "execute": "human-monitor-command", "arguments": { "command-line": line } });
        let answer = self.ask(line, request)?;
        answer.as_str().map(str::to_owned).ok_or_else(|| garbage(line, &answer.to_string()))
    }

    /// Waits for an event; one that came since the connection was made counts.
    pub fn wait_for_event(&mut self, name: &str) -> Result<(), QmpError> {
        let end = Instant::now() + self.limit;
        while !self.events.iter().any(|event| event == name) {
            let message = self.message(name, end)?;
            self.keep_event(&message).then_some(()).ok_or_else(|| garbage(name, &message.to_string()))?;
        }
        Ok(())
    }

    fn ask(&mut self, action: &str, request: Value) -> Result<Value, QmpError> {
        let end = Instant::now() + self.limit;
        let failed = |source| QmpError::Io { action: action.to_owned(), source };
        self.stream.write_all(format!("{request}\n").as_bytes()).map_err(failed)?;
        loop {
            let mut message = self.message(action, end)?;
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                let detail = error.get("desc").and_then(Value::as_str).unwrap_or("no reason").to_owned();
                return Err(QmpError::Refused { action: action.to_owned(), detail });
            }
            if !self.keep_event(&message) {
                return Err(garbage(action, &message.to_string()));
            }
        }
    }

    fn keep_event(&mut self, message: &Value) -> bool {
        let Some(name) = message.get("event").and_then(Value::as_str) else { return false };
        self.events.push(name.to_owned());
        true
    }

    /// The next line. The limit is for the whole line: a peer that drips bytes gains nothing.
    fn message(&mut self, action: &str, end: Instant) -> Result<Value, QmpError> {
        let failed = |source| QmpError::Io { action: action.to_owned(), source };
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                return serde_json::from_slice(&line).map_err(|_| garbage(action, &String::from_utf8_lossy(&line)));
            }
            if self.unread.len() > LINE_BYTES_MAX {
                return Err(garbage(action, &String::from_utf8_lossy(&self.unread[..LINE_BYTES_MAX])));
            }
            let late = || QmpError::Deadline { action: action.to_owned(), waited_ms: self.limit.as_millis() };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            self.stream.set_read_timeout(Some(left)).map_err(failed)?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(failed(ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(late()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn garbage(action: &str, found: &str) -> QmpError {
    QmpError::Garbage { action: action.to_owned(), found: found.trim().chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    const HI: &str = "{\"QMP\": {}}\n";
    const OK: &str = "{\"return\": {}}\n";

    /// Time for an answer that comes, and for one that does not.
    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(100);

    /// A monitor that says the first of these at once and each other one after a line that it reads. Then it is silent until the other
    /// side goes away.
    fn monitor(says: &'static [&'static str]) -> (tempfile::TempDir, JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("qmp")).unwrap();
        let server = std::thread::spawn(move || {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let mut heard = Vec::new();
            for (i, words) in says.iter().enumerate() {
                if i > 0 {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    heard.push(line);
                }
                reader.get_mut().write_all(words.as_bytes()).unwrap();
            }
            let _ = reader.read_to_end(&mut Vec::new());
            heard
        });
        (folder, server)
    }

    fn stop(says: &'static [&'static str], limit: Duration) -> Result<Value, QmpError> {
        let (folder, server) = monitor(says);
        let answer = Qmp::connect(&folder.path().join("qmp"), limit).and_then(|mut qmp| qmp.tell("stop"));
        server.join().unwrap();
        answer
    }

    #[test]
    fn silence_ends_at_the_deadline_in_every_state() {
        for says in [&[][..], &[HI], &[HI, OK], &[HI, OK, "{\"event\": \"STOP\"}\n"]] {
            let start = Instant::now();
            let error = stop(says, SHORT).unwrap_err();
            assert!(matches!(error, QmpError::Deadline { waited_ms: 100, .. }), "{says:?}: {error}");
            assert!(start.elapsed() < LONG, "{says:?}");
        }
    }

    #[test]
    fn half_a_line_does_not_move_the_deadline() {
        assert!(matches!(stop(&[HI, OK, "{\"return\":"], SHORT), Err(QmpError::Deadline { .. })));
    }

    #[test]
    fn garbage_is_quoted_and_shortened() {
        let said = |says| stop(says, LONG).unwrap_err();
        assert_eq!(said(&["hello\n"]).to_string(), "the monitor answered connect with hello");
        assert!(matches!(said(&["{\"hello\": 1}\n"]), QmpError::Garbage { .. }));
        assert!(matches!(said(&["\u{0}\n"]), QmpError::Garbage { .. }));
        assert!(matches!(said(&[HI, OK, "[]\n"]), QmpError::Garbage { .. }));
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let flood: &'static str = Box::leak("x".repeat(LINE_BYTES_MAX + 4096).into_boxed_str());
        let error = stop(Box::leak(Box::new([flood])), LONG).unwrap_err();
        assert!(matches!(&error, QmpError::Garbage { found, .. } if found.len() == 200), "{error}");
    }

    #[test]
    fn a_refusal_carries_the_reason() {
        let error =
            stop(&[HI, OK, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\n"], LONG).unwrap_err();
        assert_eq!(error.to_string(), "the monitor refused stop: not now");
        assert!(matches!(stop(&[HI, "{\"error\": {}}\n"], LONG), Err(QmpError::Refused { .. })));
    }

    #[test]
    fn a_monitor_that_goes_away_or_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        assert!(matches!(Qmp::connect(&socket, LONG), Err(QmpError::Io { .. })));
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(HI.as_bytes()).unwrap());
        let error = Qmp::connect(&socket, LONG).unwrap_err();
        server.join().unwrap();
        assert!(matches!(error, QmpError::Io { .. }), "{error}");
    }

    #[test]
    fn events_before_an_answer_are_kept_for_those_who_wait_for_them() {
        let (folder, server) =
            monitor(&[HI, OK, "{\"event\": \"STOP\"}\n{\"event\": \"RESET\"}\n{\"return\": {\"running\": false}}\n"]);
        let mut qmp = Qmp::connect(&folder.path().join("qmp"), LONG).unwrap();
        assert_eq!(qmp.tell("query-status").unwrap(), json!({ "running": false }));
        qmp.wait_for_event("RESET").unwrap();
        drop(qmp);
        let heard = server.join().unwrap();
        assert_eq!(heard, ["{\"execute\":\"qmp_capabilities\"}\n", "{\"execute\":\"query-status\"}\n"]);
    }

    #[test]
    fn an_event_that_never_comes_ends_at_the_deadline() {
        let (folder, server) = monitor(&[HI, "{\"return\": {}}\n{\"event\": \"STOP\"}\n"]);
        let mut qmp = Qmp::connect(&folder.path().join("qmp"), SHORT).unwrap();
        assert!(matches!(qmp.wait_for_event("RESET"), Err(QmpError::Deadline { .. })));
        drop(qmp);
        server.join().unwrap();
    }
}
