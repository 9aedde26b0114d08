//! A port as the drivers of other protocols want it: some bytes with a deadline, and nobody waits longer than until the user interrupts.

use crate::link::{Bytes, Port};
use boardproof_dialect::{Bytes as Line, LineError};
use std::io;
use std::time::{Duration, Instant};

/// How often a wait looks for an interruption.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A port and what has come of it that nobody has read yet.
pub(super) struct PortLine {
    port: Port,
    kept: Vec<u8>,
    taken: usize,
    interrupted: fn() -> bool,
}

impl PortLine {
    pub(super) fn new(port: Port, interrupted: fn() -> bool) -> Self {
        Self { port, kept: Vec::new(), taken: 0, interrupted }
    }

    /// Waits for bytes; an interruption ends the wait as an error of that kind.
    fn fill(&mut self, deadline: Instant) -> Result<(), LineError> {
        (self.taken, self.kept) = (0, Vec::new());
        loop {
            if (self.interrupted)() {
                return Err(LineError::Io(io::ErrorKind::Interrupted.into()));
            }
            let until = deadline.min(Instant::now() + LOOK_EVERY);
            match self.port.read(&mut self.kept, until) {
                Ok(0) if Instant::now() >= deadline => return Err(LineError::TimedOut),
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(of_the_line(error)),
            }
        }
    }
}

impl Line for PortLine {
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LineError> {
        self.port.write(bytes, deadline).map_err(of_the_line)
    }

    fn read(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, LineError> {
        if self.taken == self.kept.len() {
            self.fill(deadline)?;
        }
        let count = into.len().min(self.kept.len() - self.taken);
        into[..count].copy_from_slice(&self.kept[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

fn of_the_line(error: io::Error) -> LineError {
    match error.kind() {
        io::ErrorKind::TimedOut => LineError::TimedOut,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => LineError::Closed,
        _ => LineError::Io(error),
    }
}
