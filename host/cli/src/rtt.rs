//! RTT of a unit's debug probe as one more carrier of bytes.

use crate::probe::UnitProbe;
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::link::Bytes;
use boardproof_lab::reach::Carrier;
use boardproof_probe::RttStream;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A firmware makes its control block when it starts: it is looked for this long.
const START: Duration = Duration::from_secs(5);
/// Between two looks for it.
const LOOK: Duration = Duration::from_millis(50);
/// What a channel holds at most.
const PIECE: usize = 2048;

/// The way to a firmware through this probe.
pub fn carrier(probe: &Rc<UnitProbe>) -> Carrier {
    let probe = Rc::clone(probe);
    Carrier::new(move || {
        let end = Instant::now() + START;
        loop {
            match Channel::open(&probe) {
                Ok(channel) => return Ok(Box::new(channel)),
                Err(error) if interrupted() || Instant::now() >= end => return Err(error),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    })
}

/// Channel 0 in both directions.
struct Channel {
    probe: Rc<UnitProbe>,
    /// `None` while it is looked for again.
    stream: Option<RttStream>,
}

impl Channel {
    fn open(probe: &Rc<UnitProbe>) -> io::Result<Self> {
        let stream =
            probe.rtt().map_err(|error| io::Error::other(Box::<dyn std::error::Error + Send + Sync>::from(error)))?;
        Ok(Self { probe: Rc::clone(probe), stream: Some(stream) })
    }

    fn until(&mut self, deadline: Instant) -> io::Result<&mut RttStream> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        stream.set_limit(deadline.saturating_duration_since(Instant::now()));
        Ok(stream)
    }
}

impl Bytes for Channel {
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        self.until(deadline)?.write_all(bytes)
    }

    fn read(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        let mut piece = [0; PIECE];
        match self.until(deadline)?.read(&mut piece) {
            Ok(count) => {
                into.extend_from_slice(&piece[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        // A stream holds its probe, and no board takes two.
        self.stream = None;
        *self = Self::open(&self.probe)?;
        Ok(())
    }
}
