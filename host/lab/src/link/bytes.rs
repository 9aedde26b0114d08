//! Frames over anything that carries bytes: a serial port, a socket, a debug probe's RTT, a wire in memory.
//!
//! A line may lose, add and change bytes, and so may the device at its other end be reset at any time. What comes out here is whole
//! frames and nothing else; who asked for one that did not come asks again. A carrier that vanishes (a plug that was pulled) is waited
//! for within a bound.

use super::client::Patience;
use super::{Link, LinkError, Narrow};
use boardproof_protocol::frame::{BYTE_FRAME_MAX, CobsDeframer, DecodeError, Deframed, decode_reply, encode_cobs};
use std::io;
use std::time::{Duration, Instant};

/// Something that carries bytes both ways, and may lose some.
///
/// Every call ends at its deadline. An error says that the carrier is gone, and that only [`Bytes::reopen`] may help; the one exception is
/// [`io::ErrorKind::TimedOut`] of a write.
pub trait Bytes {
    /// Sends all of these bytes. Returns when the carrier has taken them.
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;
    /// Appends what has arrived, and waits for it until the deadline; returns how many bytes that were, 0 at the deadline only.
    fn read(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize>;
    /// Bits per second, where the carrier has such a thing.
    fn rate(&self) -> Option<u32> {
        None
    }
    /// Goes on at another rate: everything written before has left at the old one.
    fn set_rate(&mut self, rate: u32) -> io::Result<()> {
        let _ = rate;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Tries once to find a carrier again that is gone; at the rate it started with.
    fn reopen(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The time, by the clock that deadlines are read from.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Lets time pass.
    fn rest(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl<B: Bytes + ?Sized> Bytes for Box<B> {
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        (**self).write(bytes, deadline)
    }

    fn read(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        (**self).read(into, deadline)
    }

    fn rate(&self) -> Option<u32> {
        (**self).rate()
    }

    fn set_rate(&mut self, rate: u32) -> io::Result<()> {
        (**self).set_rate(rate)
    }

    fn reopen(&mut self) -> io::Result<()> {
        (**self).reopen()
    }

    fn now(&self) -> Instant {
        (**self).now()
    }

    fn rest(&mut self, time: Duration) {
        (**self).rest(time);
    }
}

/// How long a line is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// For one answer besides the time that bytes take on the line, and how often a question is asked.
    pub answer: Patience,
    /// For a greeting: a board that boots hears nothing, and what it says when it has is lost as long as nobody listens. So it is asked
    /// in short intervals for as long as a boot takes.
    pub greeting: Patience,
    /// For a carrier that has vanished.
    pub replug: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            answer: Patience { answer: Duration::from_secs(3), asks: 5 },
            greeting: Patience { answer: Duration::from_millis(500), asks: 40 },
            replug: Duration::from_secs(10),
        }
    }
}

/// Bytes of the largest frame as it travels, its delimiter included.
pub(super) const CODED_MAX: usize = BYTE_FRAME_MAX + BYTE_FRAME_MAX / 254 + 2;
/// Bytes of noise that are kept to be shown.
const NOISE_SHOWN: usize = 48;
/// Between two looks for a carrier that is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Frames that may be on their way in both directions before one that is waited for.
const FRAMES_AHEAD: u32 = 8;

/// What arrived and was no frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noise {
    /// Pieces between two delimiters.
    pub pieces: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How it began.
    pub began: Vec<u8>,
}

/// Cuts what arrives at delimiters.
#[derive(Debug)]
pub(super) struct Pieces {
    arrived: Vec<u8>,
    /// Bytes of `arrived` that hold no delimiter.
    searched: usize,
    buffer: Vec<u8>,
    pub(super) noise: Noise,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { arrived: Vec::new(), searched: 0, buffer: vec![0; CODED_MAX], noise: Noise::default() }
    }

    /// Where bytes go that arrive.
    pub(super) fn arrived(&mut self) -> &mut Vec<u8> {
        &mut self.arrived
    }

    /// Forgets a piece whose end is not here.
    pub(super) fn forget(&mut self) {
        self.arrived.clear();
        self.searched = 0;
    }

    /// The next payload that `whole` takes for one; everything before it is noise.
    pub(super) fn next(&mut self, whole: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        while let Some(end) = self.arrived[self.searched..].iter().position(|byte| *byte == 0) {
            let end = self.searched + end;
            let piece = &self.arrived[..=end];
            let found = match CobsDeframer::new(&mut self.buffer).push(&mut &piece[..]) {
                Deframed::Payload(payload) if whole(payload) => Some(payload.to_vec()),
                Deframed::Incomplete => None,
                Deframed::Payload(_) | Deframed::Broken { .. } => {
                    self.noise.take(&self.arrived[..end]);
                    None
                }
            };
            self.arrived.drain(..=end);
            self.searched = 0;
            if found.is_some() {
                return found;
            }
        }
        self.searched = self.arrived.len();
        // However long it goes on, no frame began with these.
        if self.arrived.len() > CODED_MAX {
            self.noise.take(&self.arrived[..CODED_MAX]);
            self.arrived.drain(..CODED_MAX);
            self.searched = self.arrived.len();
        }
        None
    }
}

impl Noise {
    fn take(&mut self, piece: &[u8]) {
        self.pieces += 1;
        self.bytes += piece.len() as u64;
        let room = NOISE_SHOWN - self.began.len();
        self.began.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// Frames over a carrier of bytes.
pub struct ByteLink<B> {
    unit: String,
    bytes: B,
    waits: Waits,
    pieces: Pieces,
    /// A delimiter first: whatever stands on the line before it is no part of the next frame.
    resync: bool,
    gone: Option<Gone>,
    /// Whole frames that arrived.
    heard: u64,
    sent: u64,
    received: u64,
}

/// A carrier that has vanished.
struct Gone {
    since: Instant,
    why: io::Error,
}

impl<B: Bytes> ByteLink<B> {
    /// A link to the unit at the other end; nothing is sent yet.
    pub fn new(unit: impl Into<String>, bytes: B, waits: Waits) -> Self {
        let pieces = Pieces::new();
        Self { unit: unit.into(), bytes, waits, pieces, resync: true, gone: None, heard: 0, sent: 0, received: 0 }
    }

    /// Gives the carrier back.
    pub fn into_bytes(self) -> B {
        self.bytes
    }

    /// What arrived so far and was no frame.
    pub fn noise(&self) -> &Noise {
        &self.pieces.noise
    }

    fn vanished(&mut self, why: io::Error) {
        self.gone = Some(Gone { since: self.bytes.now(), why });
    }

    /// Looks for a carrier that is gone until the deadline. True when there is one.
    fn is_there(&mut self, deadline: Instant) -> Result<bool, LinkError> {
        while let Some(gone) = &self.gone {
            match self.bytes.reopen() {
                Ok(()) => {
                    self.gone = None;
                    self.resync = true;
                    self.pieces.forget();
                    break;
                }
                Err(error) => {
                    let now = self.bytes.now();
                    let never = error.kind() == io::ErrorKind::Unsupported;
                    if never || now >= gone.since + self.waits.replug {
                        let waited_s = now.saturating_duration_since(gone.since).as_secs();
                        let why = io::Error::new(gone.why.kind(), gone.why.to_string());
                        return Err(LinkError::Gone { unit: self.unit.clone(), waited_s, source: why });
                    }
                    if now >= deadline {
                        return Ok(false);
                    }
                    self.bytes.rest(LOOK_EVERY.min(deadline.saturating_duration_since(now)));
                }
            }
        }
        Ok(true)
    }
}

/// Time that so many frames take at this rate: a start bit, eight of data and a stop bit a byte.
fn time_of(frames: u32, rate: Option<u32>) -> Duration {
    let Some(rate) = rate.filter(|rate| *rate > 0) else { return Duration::ZERO };
    Duration::from_secs(10 * CODED_MAX as u64 * u64::from(frames)) / rate
}

impl<B: Bytes> Link for ByteLink<B> {
    fn send(&mut self, payload: &[u8], deadline: Instant) -> Result<(), LinkError> {
        // What is sent while nobody carries it is lost like any other frame: it will be sent again.
        if !self.is_there(self.bytes.now())? {
            return Ok(());
        }
        let mut frame = vec![0; payload.len() + payload.len() / 254 + 3];
        let first = usize::from(self.resync);
        let Ok(used) = encode_cobs(payload, &mut frame[first..]) else {
            let (length, limit) = (payload.len(), BYTE_FRAME_MAX);
            return Err(LinkError::Frame { unit: self.unit.clone(), length, limit });
        };
        frame.truncate(first + used);
        match self.bytes.write(&frame, deadline) {
            Ok(()) => {
                self.resync = false;
                self.sent += frame.len() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.resync = true;
                return Err(LinkError::Stuck { unit: self.unit.clone() });
            }
            Err(error) => self.vanished(error),
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            let whole = |payload: &[u8]| !matches!(decode_reply(payload), Err(DecodeError::Crc | DecodeError::Short));
            if let Some(payload) = self.pieces.next(whole) {
                self.heard += 1;
                return Ok(Some(payload));
            }
            if !self.is_there(deadline)? {
                return Ok(None);
            }
            match self.bytes.read(self.pieces.arrived(), deadline) {
                Ok(0) => {
                    self.resync = true;
                    return Ok(None);
                }
                Ok(count) => self.received += count as u64,
                Err(error) => self.vanished(error),
            }
        }
    }

    fn traffic(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    fn patience(&self) -> Patience {
        let Patience { answer, asks } = self.waits.answer;
        Patience { answer: answer + time_of(FRAMES_AHEAD, self.bytes.rate()), asks }
    }

    fn narrow(&self) -> Option<Narrow> {
        let rate = self.bytes.rate();
        let Patience { answer, asks } = self.waits.greeting;
        Some(Narrow { rate, greeting: Patience { answer: answer + time_of(1, rate), asks } })
    }

    fn set_rate(&mut self, rate: u32) -> Result<(), LinkError> {
        self.resync = true;
        let port = self.unit.clone();
        self.bytes.set_rate(rate).map_err(|source| LinkError::Rate { unit: port, rate, source })
    }

    fn silence(&self) -> Option<LinkError> {
        if self.heard > 0 {
            return None;
        }
        let mut noise = self.pieces.noise.clone();
        noise.take(&self.pieces.arrived);
        let (unit, rate) = (self.unit.clone(), self.bytes.rate());
        if noise.bytes == 0 {
            return Some(LinkError::Mute { unit, rate });
        }
        let began = String::from_utf8_lossy(&noise.began).into_owned();
        Some(LinkError::Noise { unit, bytes: noise.bytes, began, rate })
    }

    fn now(&self) -> Instant {
        self.bytes.now()
    }

    fn rest(&mut self, time: Duration) {
        self.bytes.rest(time);
    }
}
