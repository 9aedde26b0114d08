//! QEMU's monitor protocol, as much of it as switching a board needs. Every read has a deadline.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The monitor did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// No monitor there, or it went away, or it is silent.
    #[error("could not {action} through the monitor")]
    Io {
        /// What was being done.
        action: String,
        /// Why.
        #[source]
        source: std::io::Error,
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
        /// What came.
        found: String,
    },
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    patience: Duration,
}

impl Qmp {
    /// Connects and leaves negotiation mode.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, QmpError> {
        let failed = |source| QmpError::Io { action: "connect".into(), source };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(patience)).map_err(failed)?;
        stream.set_write_timeout(Some(patience)).map_err(failed)?;
        let mut qmp = Self { reader: BufReader::new(stream), patience };
        let greeting = qmp.read("connect")?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Garbage { action: "connect".into(), found: greeting.to_string() });
        }
        qmp.tell("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Gives a command without arguments and waits for its answer; events in between are passed over.
    pub fn tell(&mut self, command: &str) -> Result<Value, QmpError> {
        let line = format!("{}\n", json!({ "execute": command }));
        let failed = |source| QmpError::Io { action: command.to_owned(), source };
        self.reader.get_mut().write_all(line.as_bytes()).map_err(failed)?;
        let end = Instant::now() + self.patience;
        loop {
            let answer = self.read(command)?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                let detail = error.get("desc").and_then(Value::as_str).unwrap_or("no reason").to_owned();
                return Err(QmpError::Refused { action: command.to_owned(), detail });
            }
            if answer.get("event").is_none() || Instant::now() >= end {
                return Err(QmpError::Garbage { action: command.to_owned(), found: answer.to_string() });
            }
        }
    }

    fn read(&mut self, action: &str) -> Result<Value, QmpError> {
        let mut line = String::new();
        let failed = |source| QmpError::Io { action: action.to_owned(), source };
        match self.reader.read_line(&mut line).map_err(failed)? {
            0 => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
            _ => serde_json::from_str(&line)
                .map_err(|_| QmpError::Garbage { action: action.to_owned(), found: line.trim().to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A monitor that says these lines, one after each line that it reads but the first, which it says at once.
    fn monitor(lines: &'static [&'static str]) -> Result<Value, QmpError> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            for (i, line) in lines.iter().enumerate() {
                if i > 0 {
                    reader.read_line(&mut String::new()).unwrap();
                }
                reader.get_mut().write_all(line.as_bytes()).unwrap();
            }
            // Silence until the other side has had enough.
            let _ = reader.read_line(&mut String::new());
            let _ = reader.read_line(&mut String::new());
        });
        let answer = Qmp::connect(&socket, Duration::from_millis(300)).and_then(|mut qmp| qmp.tell("stop"));
        server.join().unwrap();
        answer
    }

    const HI: &str = "{\"QMP\": {}}\n";
    const OK: &str = "{\"return\": {}}\n";

    #[test]
    fn an_event_before_the_answer_is_passed_over() {
        assert!(monitor(&[HI, OK, "{\"event\": \"STOP\"}\n{\"return\": {}}\n"]).is_ok());
    }

    #[test]
    fn a_refusal_garbage_silence_and_the_end_are_errors() {
        assert!(
            monitor(&[HI, OK, "{\"error\": {\"desc\": \"not now\"}}\n"]).unwrap_err().to_string().contains("not now")
        );
        assert!(matches!(monitor(&["hello\n"]), Err(QmpError::Garbage { .. })));
        assert!(matches!(monitor(&["{\"hello\": 1}\n"]), Err(QmpError::Garbage { .. })));
        assert!(matches!(monitor(&[HI]), Err(QmpError::Io { .. })));
    }
}
