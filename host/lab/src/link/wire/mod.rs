//! A wire in memory, byte for byte: two lines that each carry a start bit, eight bits of data and a stop bit per byte at their rate, a board
//! at the far end, and a seeded dice that drops, changes and repeats bytes. The board is the simulated one, or whatever is a [`FarEnd`]: tests
//! hang the agent of the firmware there.
//!
//! Time is virtual: it goes on when the host waits, to the next thing that happens and no further. Nothing here ever sleeps, and a
//! deadline of the host is a deadline of this clock.

mod simulated;

pub use simulated::Board;

use super::bytes::{ByteLink, Bytes, Waits};
use boardproof_sim::{Dice, SimDevice};
use simulated::SimBoard;
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
    /// Requests of a million at which the device is reset before it answers.
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

/// What hangs at the far end of a wire. Times are nanoseconds of the wire's clock.
pub trait FarEnd: Send {
    /// The rate at which it listens and speaks now, in bits per second.
    fn rate(&mut self, now: u64) -> u32;
    /// A byte arrives at its receiver, whatever it is at. False when there is no place for it.
    fn receive(&mut self, byte: u8) -> bool;
    /// Has it anything to do?
    fn is_due(&self) -> bool;
    /// Goes on, up to the next thing that takes time. What it sends goes to `send`, a whole frame at a time.
    fn turn(&mut self, now: u64, send: &mut dyn FnMut(&[u8])) -> Turn;
    /// What it did in the last turn, and sent, is done at this time.
    fn done(&mut self, at: u64);
    /// Starts anew, as after a reset.
    fn reset(&mut self);
}

/// What a board at the far end did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// Requests that it understood.
    pub requests: u64,
    /// Time that it took, without that of sending.
    pub took: Duration,
}

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
        Self::with(Box::new(SimBoard::new(device, board)), board.boot_time, host_rate, faults, seed)
    }

    /// The same with another board, which hears nothing for `boot_time` after a reset.
    pub fn with(far: Box<dyn FarEnd>, boot_time: Duration, host_rate: u32, faults: WireFaults, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World::new(far, boot_time, host_rate, faults, seed))))
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
    far: Box<dyn FarEnd>,
    boot_ns: u64,
    busy_until: u64,
}

impl World {
    fn new(far: Box<dyn FarEnd>, boot_time: Duration, host_rate: u32, faults: WireFaults, seed: u64) -> Self {
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
            far,
            boot_ns: boot_time.as_nanos() as u64,
            busy_until: 0,
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
        let works = self.far.is_due().then_some(self.busy_until.max(self.now));
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
        let rate = self.far.rate(self.now);
        let Some(byte) = self.heard(flying.byte, flying.rate, rate) else { return };
        self.counts.overruns += u64::from(!self.far.receive(byte));
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

    /// The device does what it has to do; a reset comes before its answers leave.
    fn work(&mut self) {
        let mut answers = Vec::new();
        let turn = self.far.turn(self.now, &mut |answer| answers.push(answer.to_vec()));
        let rate = self.far.rate(self.now);
        self.counts.frames += turn.requests;
        if (0..turn.requests).any(|_| self.hits(self.faults.reset)) {
            return self.reset();
        }
        self.busy_until = self.now + turn.took.as_nanos() as u64;
        if !answers.is_empty() {
            self.counts.frames += answers.len() as u64;
            self.down.free_at = self.down.free_at.max(self.busy_until);
            answers.iter().flatten().for_each(|byte| self.put(Way::Down, *byte, rate));
            // It sends byte by byte and does nothing else meanwhile but fill its receiver.
            self.busy_until = self.busy_until.max(self.down.free_at);
        }
        self.far.done(self.busy_until);
        for _ in 0..turn.requests {
            if self.hits(self.faults.stall) {
                self.busy_until += self.dice.roll() % STALL_NS_MAX;
            }
        }
    }

    fn reset(&mut self) {
        self.far.reset();
        self.busy_until = self.now + self.boot_ns;
        // What it was about to say is cut off.
        let now = self.now;
        self.down.flying.retain(|flying| flying.arrives <= now);
        self.down.free_at = self.busy_until;
        let rate = self.far.rate(now);
        BANNER.iter().for_each(|byte| self.put(Way::Down, *byte, rate));
    }
}
