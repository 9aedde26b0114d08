//! Bytes into lines.

use crate::bytes::read_some;
use crate::{Bytes, LineError};
use std::time::Instant;

/// Longest line that is taken; results of the largest benchmark need 6 kB.
const LINE_MAX: usize = 64 * 1024;
/// Most bytes that are thrown away at once; who sends more never stops.
const STALE_MAX: usize = 1024 * 1024;
/// What is shown of a line.
const SHOWN: usize = 160;

/// Why there is no line.
pub(super) enum NoLine {
    /// The deadline passed; this much of a line is here.
    Late(String),
    /// It does not end.
    Long(String),
    /// The line to the device failed.
    Line(LineError),
}

pub(super) struct Lines<B> {
    pub(super) line: B,
    received: Vec<u8>,
}

impl<B: Bytes> Lines<B> {
    pub(super) fn new(line: B) -> Self {
        Self { line, received: Vec::new() }
    }

    /// The next line without its end. Carriage returns and NULs are left out wherever they are, as the public runner does.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<String, NoLine> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=searched + end).collect();
                return Ok(text(&line[..line.len() - 1]));
            }
            searched = self.received.len();
            if searched > LINE_MAX {
                let begin = shown(&text(&self.received));
                self.received.clear();
                return Err(NoLine::Long(begin));
            }
            let mut piece = [0; 512];
            match read_some(&mut self.line, &mut piece, deadline) {
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(LineError::TimedOut) => return Err(NoLine::Late(shown(&text(&self.received)))),
                Err(error) => return Err(NoLine::Line(error)),
            }
            // A line that never ends must not outlive the deadline by giving a byte each time it is asked.
            if Instant::now() > deadline && !self.received.contains(&b'\n') {
                return Err(NoLine::Late(shown(&text(&self.received))));
            }
        }
    }

    /// Takes away what has arrived by now: whole lines, and a last one that may not be.
    pub(super) fn stale(&mut self) -> Result<Vec<String>, LineError> {
        let mut piece = [0; 512];
        let mut taken = std::mem::take(&mut self.received);
        while taken.len() < STALE_MAX {
            match read_some(&mut self.line, &mut piece, Instant::now()) {
                Ok(count) => taken.extend_from_slice(&piece[..count]),
                Err(LineError::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken.split(|byte| *byte == b'\n').map(text).filter(|line| !line.is_empty()).collect())
    }
}

fn text(bytes: &[u8]) -> String {
    let kept: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).collect();
    String::from_utf8_lossy(&kept).into_owned()
}

/// A line as it can be shown: its beginning.
pub(super) fn shown(line: &str) -> String {
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
