//! Channel 0 of RTT as a stream of bytes: a second way to the firmware, where no serial line leads out of the board.

use crate::error::ProbeError;
use crate::probe::Probe;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Between two looks at the channel. Nobody tells the host when there is something, and a look at a board in QEMU stops it for a moment.
const LOOK: Duration = Duration::from_millis(2);

/// A stream of bytes. Reads give what is there as soon as something is; both directions fail with `TimedOut` at the deadline.
#[derive(Debug)]
pub struct RttStream {
    probe: Probe,
    limit: Duration,
}

impl RttStream {
    pub(crate) fn new(probe: Probe) -> Self {
        Self { probe, limit: Duration::from_secs(1) }
    }

    /// How long a read or a write may wait; a second if nothing else is said.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Looks until `look` has something.
    fn wait<T>(&self, mut look: impl FnMut(&Probe) -> Result<Option<T>, ProbeError>) -> io::Result<T> {
        let end = Instant::now() + self.limit;
        loop {
            if let Some(got) = look(&self.probe).map_err(io::Error::other)? {
                return Ok(got);
            }
            if self.probe.interrupted() {
                return Err(io::Error::other("interrupted while waiting for RTT"));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let words = format!("nothing moved on RTT channel 0 within {} ms", self.limit.as_millis());
                return Err(io::Error::new(ErrorKind::TimedOut, words));
            }
            std::thread::sleep(LOOK.min(left));
        }
    }
}

impl Read for RttStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let length = bytes.len();
        let got = self.wait(|probe| probe.rtt_read(length).map(|got| (!got.is_empty()).then_some(got)))?;
        bytes[..got.len()].copy_from_slice(&got);
        Ok(got.len())
    }
}

impl Write for RttStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.wait(|probe| probe.rtt_write(bytes).map(|count| (count > 0).then_some(count)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
