//! A wire in memory, byte for byte: two lines that each carry a start bit, eight bits of data and a stop bit per byte at their rate, the
//! simulated device at the far end, and a seeded dice that drops, changes and repeats bytes.
//!
//! Time is virtual: it goes on when the host waits, to the next thing that happens and no further. Nothing here ever sleeps, and a
//! deadline of the host is a deadline of this clock.

use super::bytes::{ByteLink, Bytes, CODED_MAX, Pieces, Waits};
use boardproof_core::{Next, Session};
use boardproof_protocol::frame::{BYTE_FRAME_MAX, DecodeError, decode_request, encode_cobs};
use boardproof_sim::{Dice, SimDevice};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What happens on a wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireFaults {
    /// Bytes of a million that do not arrive.
    pub drop: u32,
    /// Bytes of a million of which one bit is wrong.
    pub flip: u32,
    /// Bytes of a million that arrive twice.
    pub repeat: u32,
    /// Requests of a million at which the device is reset instead.
    pub reset: u32,
    /// Requests of a million after which the device does nothing for a while.
    pub stall: u32,
    /// Highest rate that it carries, in bits per second: a byte that is faster arrives as anything or not at all.
    pub rate_max: Option<u32>,
    /// The wire is cut.
    pub cut: Option<Cut>,
}

/// A cut of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that it carried before, in both directions.
    pub after_bytes: u64,
    /// How long it stays cut; `None` for good.
    pub lasts: Option<Duration>,
    /// The host's port vanishes with it, as when a USB plug is pulled; else nothing is heard.
    pub unplugged: bool,
}

/// The board at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// Rate at which it starts, in bits per second.
    pub rate: u32,
    /// Bytes that its receiver keeps while it is busy; what comes then is lost.
    pub ring_bytes: usize,
    /// Time to take one byte out of the receiver.
    pub byte_time: Duration,
    /// Time to carry out one request.
    pub request_time: Duration,
    /// Time from a reset until it hears.
    pub boot_time: Duration,
    /// Once it has understood something at a new rate it stays there, whatever it hears.
    pub stubborn: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            rate: 115_200,
            ring_bytes: 8 * 1024,
            byte_time: Duration::ZERO,
            request_time: Duration::from_micros(200),
            boot_time: Duration::from_millis(300),
            stubborn: false,
        }
    }
}

/// A device that understands nothing at a new rate for so long goes back to the rate of its start.
const FALLBACK_NS: u64 = 2_000_000_000;
/// Longest stall, in nanoseconds: longer than any host waits for one answer.
const STALL_NS_MAX: u64 = 6_000_000_000;
/// What a board says when it boots.
const BANNER: &[u8] = b"\r\nboot 1.0\r\nclock ok\r\n";
/// Bytes that are handed to the host at once, at most.
const READ_MAX: usize = 64;

/// A device at the end of a wire. It outlives the links to it.
#[derive(Clone)]
pub struct WireUnit(Arc<Mutex<World>>);

/// The host's end of the wire.
pub struct WireEnd(WireUnit);

/// How a wire has been so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Requests and answers that were whole where they arrived at the device or left it.
    pub frames: u64,
    /// Bytes that left either end.
    pub bytes: u64,
    /// What happened to them and to the device, each once.
    pub faults: u64,
    /// Bytes that found the device's receiver full.
    pub overruns: u64,
}

impl WireUnit {
    /// A device that has just been switched on. `host_rate` is the rate at which the host's end starts.
    pub fn new(device: SimDevice, board: Board, host_rate: u32, faults: WireFaults, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World::new(device, board, host_rate, faults, seed))))
    }

    /// A new link to it.
    pub fn connect(&self) -> ByteLink<WireEnd> {
        self.connect_with(Waits::default())
    }

    /// The same with other waits.
    pub fn connect_with(&self, waits: Waits) -> ByteLink<WireEnd> {
        self.lock().opened();
        ByteLink::new("wire", WireEnd(self.clone()), waits)
    }

    /// Virtual time since the wire was made.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.lock().now)
    }

    /// How it has been so far.
    pub fn counts(&self) -> WireCounts {
        self.lock().counts
    }

    /// Resets the device now.
    pub fn reset(&self) {
        self.lock().reset();
    }

    /// The device does nothing more.
    pub fn silence(&self) {
        self.lock().busy_until = u64::MAX;
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes for WireEnd {
    fn write(&mut self, bytes: &[u8], _: Instant) -> io::Result<()> {
        let mut world = self.0.lock();
        world.plugged_in()?;
        let rate = world.host_rate;
        bytes.iter().for_each(|byte| world.put(Way::Up, *byte, rate));
        Ok(())
    }

    fn read(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        let mut world = self.0.lock();
        let until = world.since_start(deadline);
        let before = into.len();
        loop {
            world.plugged_in()?;
            while let Some(byte) = world.inbox.pop_front() {
                into.push(byte);
                if byte == 0 || into.len() - before >= READ_MAX {
                    return Ok(into.len() - before);
                }
            }
            if !world.step(until) {
                return Ok(into.len() - before);
            }
        }
    }

    fn rate(&self) -> Option<u32> {
        Some(self.0.lock().host_rate)
    }

    fn set_rate(&mut self, rate: u32) -> io::Result<()> {
        self.0.lock().host_rate = rate;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut world = self.0.lock();
        world.plugged_in()?;
        world.opened();
        Ok(())
    }

    fn now(&self) -> Instant {
        let world = self.0.lock();
        world.start + Duration::from_nanos(world.now)
    }

    fn rest(&mut self, time: Duration) {
        let mut world = self.0.lock();
        let until = world.now + time.as_nanos() as u64;
        while world.step(until) {}
    }
}

/// A direction.
#[derive(Clone, Copy)]
enum Way {
    /// To the device.
    Up,
    /// To the host.
    Down,
}

/// One byte on its way.
struct Flying {
    arrives: u64,
    rate: u32,
    byte: u8,
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Line {
    flying: VecDeque<Flying>,
    free_at: u64,
}

/// Both ends, what lies between them, and the time in nanoseconds.
struct World {
    start: Instant,
    now: u64,
    dice: Dice,
    faults: WireFaults,
    counts: WireCounts,
    /// Whether the wire was cut already, and until when it is.
    was_cut: bool,
    cut_until: u64,
    up: Line,
    down: Line,
    inbox: VecDeque<u8>,
    host_rate: u32,
    host_rate_start: u32,
    device: SimDevice,
    session: Session,
    board: Board,
    rate: u32,
    /// When the device goes on at another rate, and at which.
    switch: Option<(u64, u32)>,
    ring: VecDeque<u8>,
    pieces: Pieces,
    busy_until: u64,
    /// Since when bytes come that make no frame.
    puzzled_since: Option<u64>,
    /// Something was understood at the rate in force.
    proved: bool,
    scratch: Vec<u8>,
    coded: Vec<u8>,
}

impl World {
    fn new(device: SimDevice, board: Board, host_rate: u32, faults: WireFaults, seed: u64) -> Self {
        Self {
            start: Instant::now(),
            now: 0,
            dice: Dice::new(seed),
            faults,
            counts: WireCounts::default(),
            was_cut: false,
            cut_until: 0,
            up: Line::default(),
            down: Line::default(),
            inbox: VecDeque::new(),
            host_rate,
            host_rate_start: host_rate,
            device,
            session: Session::default(),
            board,
            rate: board.rate,
            switch: None,
            ring: VecDeque::new(),
            pieces: Pieces::new(),
            busy_until: 0,
            puzzled_since: None,
            proved: false,
            scratch: vec![0; BYTE_FRAME_MAX],
            coded: vec![0; CODED_MAX],
        }
    }

    fn since_start(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The host opens its end: what came while nobody listened is not kept.
    fn opened(&mut self) {
        self.host_rate = self.host_rate_start;
        self.inbox.clear();
    }

    fn plugged_in(&self) -> io::Result<()> {
        let unplugged = self.faults.cut.is_some_and(|cut| cut.unplugged);
        if unplugged && self.now < self.cut_until { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    /// Puts a byte on a line, behind what is on it already.
    fn put(&mut self, way: Way, byte: u8, rate: u32) {
        self.counts.bytes += 1;
        self.may_be_cut();
        let copies = self.mistreat();
        let flip = if self.hits(self.faults.flip) { 1 << (self.dice.roll() % 8) } else { 0 };
        let line = match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        };
        for copy in 0..copies.max(1) {
            line.free_at = line.free_at.max(self.now) + 10_000_000_000 / u64::from(rate.max(1));
            if copies > 0 {
                let byte = if copy == 0 { byte ^ flip } else { byte };
                line.flying.push_back(Flying { arrives: line.free_at, rate, byte });
            }
        }
    }

    /// How often a byte arrives.
    fn mistreat(&mut self) -> u32 {
        if self.hits(self.faults.drop) {
            0
        } else if self.hits(self.faults.repeat) {
            2
        } else {
            1
        }
    }

    fn hits(&mut self, per_million: u32) -> bool {
        let hit = per_million > 0 && self.dice.roll() % 1_000_000 < u64::from(per_million);
        self.counts.faults += u64::from(hit);
        hit
    }

    fn may_be_cut(&mut self) {
        let Some(cut) = self.faults.cut.filter(|cut| !self.was_cut && self.counts.bytes >= cut.after_bytes) else {
            return;
        };
        self.was_cut = true;
        self.counts.faults += 1;
        self.cut_until = cut.lasts.map_or(u64::MAX, |lasts| self.now + lasts.as_nanos() as u64);
    }

    /// Goes on to the next thing that happens; false, and to `until`, when nothing does before it.
    fn step(&mut self, until: u64) -> bool {
        let works = (!self.ring.is_empty()).then_some(self.busy_until.max(self.now));
        let to_device = self.up.flying.front().map(|flying| flying.arrives);
        let to_host = self.down.flying.front().map(|flying| flying.arrives);
        let never = u64::MAX;
        let (works, to_device, to_host) =
            (works.unwrap_or(never), to_device.unwrap_or(never), to_host.unwrap_or(never));
        let next = works.min(to_device).min(to_host);
        if next > until || next == never {
            self.now = self.now.max(until);
            return false;
        }
        self.now = self.now.max(next);
        if next == to_device {
            self.reach_device();
        } else if next == works {
            self.work();
        } else {
            self.reach_host();
        }
        true
    }

    fn reach_host(&mut self) {
        let Some(flying) = self.down.flying.pop_front() else { return };
        if self.now < self.cut_until {
            return;
        }
        let heard = self.heard(flying.byte, flying.rate, self.host_rate);
        self.inbox.extend(heard);
    }

    fn reach_device(&mut self) {
        let Some(flying) = self.up.flying.pop_front() else { return };
        if self.now < self.cut_until {
            return;
        }
        self.settle_rate();
        let Some(byte) = self.heard(flying.byte, flying.rate, self.rate) else { return };
        if self.ring.len() >= self.board.ring_bytes {
            self.counts.overruns += 1;
            return;
        }
        self.ring.push_back(byte);
    }

    /// What a receiver makes of a byte: at another rate than the sender's, or too fast for the wire, anything or nothing.
    fn heard(&mut self, byte: u8, sent_at: u32, heard_at: u32) -> Option<u8> {
        let carried = self.faults.rate_max.is_none_or(|max| sent_at <= max);
        if carried && sent_at.abs_diff(heard_at) <= heard_at / 32 {
            return Some(byte);
        }
        let roll = self.dice.roll();
        (roll & 3 > 0).then_some((roll >> 8) as u8)
    }

    /// The device's rate at this time.
    fn settle_rate(&mut self) {
        if let Some((_, rate)) = self.switch.take_if(|(at, _)| *at <= self.now) {
            (self.rate, self.proved) = (rate, false);
            self.puzzled_since = None;
        }
        let since = *self.puzzled_since.get_or_insert(self.now);
        let stays = self.board.stubborn && self.proved;
        if self.rate != self.board.rate && !stays && self.now - since >= FALLBACK_NS {
            self.rate = self.board.rate;
            self.puzzled_since = None;
        }
    }

    /// The device takes what its receiver holds, up to the end of the next request.
    fn work(&mut self) {
        while let Some(byte) = self.ring.pop_front() {
            self.pieces.arrived().push(byte);
            let byte_ns = self.board.byte_time.as_nanos() as u64;
            if byte == 0 && self.handle() {
                return;
            }
            if byte_ns > 0 {
                self.busy_until = self.now + byte_ns;
                return;
            }
        }
        // Rows without an end are dropped here, too.
        self.handle();
    }

    /// Carries out the next request, if there is a whole one.
    fn handle(&mut self) -> bool {
        let whole = |payload: &[u8]| !matches!(decode_request(payload), Err(DecodeError::Crc | DecodeError::Short));
        let Some(payload) = self.pieces.next(whole) else { return false };
        self.counts.frames += 1;
        (self.puzzled_since, self.proved) = (None, true);
        if self.hits(self.faults.reset) {
            self.reset();
            return true;
        }
        let mut answers = Vec::new();
        let take = &mut |answer: &[u8]| answers.push(answer.to_vec());
        let next = self.session.handle(&mut self.device, &payload, &mut self.scratch, take);
        if next == Next::Close {
            self.session = Session::default();
        }
        self.busy_until = self.now + self.board.request_time.as_nanos() as u64;
        self.down.free_at = self.down.free_at.max(self.busy_until);
        for answer in answers {
            self.answer(&answer);
        }
        // It sends byte by byte and does nothing else meanwhile but fill its receiver.
        self.busy_until = self.busy_until.max(self.down.free_at);
        if let Some(rate) = self.device.take_rate() {
            self.switch = Some((self.busy_until, rate));
        }
        if self.hits(self.faults.stall) {
            self.busy_until += self.dice.roll() % STALL_NS_MAX;
        }
        true
    }

    fn answer(&mut self, payload: &[u8]) {
        self.counts.frames += 1;
        let used =
            encode_cobs(payload, &mut self.coded).expect("an answer is no longer than the scratch it was made in");
        let coded = std::mem::take(&mut self.coded);
        coded[..used].iter().for_each(|byte| self.put(Way::Down, *byte, self.rate));
        self.coded = coded;
    }

    fn reset(&mut self) {
        self.device.reset();
        self.device.take_rate();
        self.session = Session::default();
        self.ring.clear();
        self.pieces.forget();
        (self.rate, self.switch, self.puzzled_since) = (self.board.rate, None, None);
        self.busy_until = self.now + self.board.boot_time.as_nanos() as u64;
        // What it was about to say is cut off.
        let now = self.now;
        self.down.flying.retain(|flying| flying.arrives <= now);
        self.down.free_at = self.busy_until;
        BANNER.iter().for_each(|byte| self.put(Way::Down, *byte, self.board.rate));
    }
}
