//! A line of bytes with deadlines.

use std::time::Instant;

/// A way for bytes to a device and back: a serial port, a socket, a pipe, memory.
pub trait Bytes {
    /// Sends all of `bytes` or fails.
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LineError>;
    /// Reads what has arrived, at least one byte, and returns how many. Waits for it until `deadline`; with a deadline that has passed
    /// it gives what is already here and else [`LineError::TimedOut`], without waiting.
    fn read(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, LineError>;
}

impl<B: Bytes + ?Sized> Bytes for &mut B {
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LineError> {
        (**self).write(bytes, deadline)
    }

    fn read(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, LineError> {
        (**self).read(into, deadline)
    }
}

impl<B: Bytes + ?Sized> Bytes for Box<B> {
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LineError> {
        (**self).write(bytes, deadline)
    }

    fn read(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, LineError> {
        (**self).read(into, deadline)
    }
}

/// A line that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The deadline passed.
    #[error("nothing moved before the deadline")]
    TimedOut,
    /// The other end is gone.
    #[error("the line was closed")]
    Closed,
    /// The operating system says no.
    #[error("could not use the line")]
    Io(#[from] std::io::Error),
}

/// Reads at least one byte; a line that gives none is closed, so that nobody can loop on it.
pub(crate) fn read_some(line: &mut impl Bytes, into: &mut [u8], deadline: Instant) -> Result<usize, LineError> {
    match line.read(into, deadline)? {
        0 => Err(LineError::Closed),
        read => Ok(read.min(into.len())),
    }
}
