//! The device behind the protocol.

use crate::Hardware;
use crate::events::Events;
use crate::job::{Job, Place};
use crate::store::Store;
use boardproof_core::{BlobState, Device, Lease, Refusal, Step};
use boardproof_protocol::frame::BYTE_FRAME_MAX;
use boardproof_protocol::{
    Acquire, Begin, Chunk, DeviceHello, Digest, Ended, Event, Key, Part, RefusalCode, Run, TextKey,
};

/// Memory that the board gives.
#[derive(Debug)]
pub struct Memory<'m> {
    /// For activations.
    pub arena: &'m mut [u8],
    /// For models and samples.
    pub store: &'m mut [u8],
}

/// Longest name of a holder.
const HOLDER_MAX: usize = 64;
/// Chunks that may be on their way: two fill the line while one is taken, and both fit into a ring of 4 KiB.
const CHUNK_WINDOW: u16 = 3;

#[derive(Debug)]
struct Held {
    epoch: u64,
    holder: [u8; HOLDER_MAX],
    length: usize,
    /// In ticks.
    until: u64,
}

impl Held {
    fn holder(&self) -> &str {
        core::str::from_utf8(&self.holder[..self.length]).unwrap_or("somebody")
    }
}

/// The rate of the line, while it is being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    /// As it started, or proved.
    Settled,
    /// To be set when the answer is sent.
    Wanted(u32),
    /// Set, and nothing was understood at it yet. In ticks: when it is given up.
    OnTrial(u64),
}

/// Time in which something must be understood at a new rate.
const TRIAL_S: u64 = 2;

/// The agent.
pub struct Agent<'m, H> {
    /// The board.
    pub hardware: H,
    store: Store<'m>,
    arena: &'m mut [u8],
    held: Option<Held>,
    /// Highest epoch ever seen.
    epoch: u64,
    job: Option<Job>,
    /// Number of the last job: asked for again it changes nothing.
    last: Option<u32>,
    events: Events,
    rate: Rate,
}

const fn refuse(code: RefusalCode, detail: &'static str, number: u64) -> Refusal<'static> {
    Refusal { code, detail, number }
}

impl<'m, H: Hardware> Agent<'m, H> {
    /// An agent without anything.
    pub fn new(hardware: H, memory: Memory<'m>) -> Self {
        Self {
            hardware,
            store: Store::new(memory.store),
            arena: memory.arena,
            held: None,
            epoch: 0,
            job: None,
            last: None,
            events: Events::new(),
            rate: Rate::Settled,
        }
    }

    /// Goes on with a job: at most one inference. False when there is nothing to do before the host says something.
    pub fn work(&mut self) -> bool {
        let Some(job) = &mut self.job else { return false };
        let place = Place { store: &self.store, arena: self.arena, events: &mut self.events };
        let went_on = job.go_on(&mut self.hardware, place);
        if job.is_done() {
            self.job = None;
        }
        went_on
    }

    /// To be called when what was answered has been sent, and from time to time: a new rate is set, or given up. `understood` says that a
    /// request was.
    pub fn settle_rate(&mut self, understood: bool) {
        let now = self.hardware.now();
        match self.rate {
            Rate::Settled => {}
            Rate::Wanted(rate) => {
                self.hardware.set_rate(rate);
                self.rate = Rate::OnTrial(now + TRIAL_S * self.hardware.hz());
            }
            Rate::OnTrial(_) if understood => self.rate = Rate::Settled,
            Rate::OnTrial(until) if now >= until => {
                self.hardware.set_rate(self.hardware.start_rate());
                self.rate = Rate::Settled;
            }
            Rate::OnTrial(_) => {}
        }
    }

    /// The session is over: the lease is given back.
    pub fn closed(&mut self) {
        self.held = None;
        self.rate = Rate::Wanted(self.hardware.start_rate());
    }

    fn live(&mut self) -> Option<&Held> {
        let now = self.hardware.now();
        self.held.as_ref().filter(|held| now < held.until)
    }

    fn remaining_ms(&mut self) -> u32 {
        let (now, hz) = (self.hardware.now(), self.hardware.hz());
        self.held.as_ref().map_or(0, |held| (held.until.saturating_sub(now) * 1000 / hz.max(1)) as u32)
    }
}

impl<H: Hardware> Device for Agent<'_, H> {
    fn hello(&mut self) -> DeviceHello<'_> {
        let about = self.hardware.about();
        DeviceHello {
            version: 0,
            schema: 0,
            build: about.build,
            architecture: "arm",
            system: "bare metal",
            identity: about.identity,
            tick_hz: self.hardware.hz(),
            memory_bytes: self.arena.len() as u64,
            store_free_bytes: self.store.free() as u64,
            engines: "micro 1",
            frame_max: BYTE_FRAME_MAX as u32,
            chunk_window: CHUNK_WINDOW,
            boot: about.boot,
        }
    }

    fn acquire(&mut self, wish: &Acquire<'_>) -> Result<Lease<'_>, Refusal<'_>> {
        if wish.epoch < self.epoch {
            return Err(refuse(RefusalCode::NotHolder, "a later epoch was here", self.epoch));
        }
        let somebody_else = self.live().is_some_and(|held| held.holder() != wish.holder && held.epoch != wish.epoch);
        if somebody_else {
            let remaining_ms = self.remaining_ms();
            return match &self.held {
                Some(held) => Ok(Lease::Held { holder: held.holder(), epoch: held.epoch, remaining_ms }),
                None => Err(refuse(RefusalCode::NotHolder, "the lease is just running out", self.epoch)),
            };
        }
        let mut holder = [0; HOLDER_MAX];
        let mut length = wish.holder.len().min(HOLDER_MAX);
        while !wish.holder.is_char_boundary(length) {
            length -= 1;
        }
        holder[..length].copy_from_slice(&wish.holder.as_bytes()[..length]);
        let until = self.hardware.now() + u64::from(wish.ttl_ms) * self.hardware.hz() / 1000;
        self.epoch = wish.epoch;
        self.held = Some(Held { epoch: wish.epoch, holder, length, until });
        Ok(Lease::Leased { epoch: wish.epoch, ttl_ms: wish.ttl_ms })
    }

    fn release(&mut self, epoch: u64) -> Result<(), Refusal<'_>> {
        self.held.take_if(|held| held.epoch == epoch);
        Ok(())
    }

    fn holds(&mut self, epoch: u64) -> bool {
        self.live().is_some_and(|held| held.epoch == epoch)
    }

    fn stat(&mut self, digest: Digest) -> Result<BlobState, Refusal<'_>> {
        Ok(self.store.stat(digest))
    }

    fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'_>> {
        self.store.begin(begin)
    }

    fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<u64, Refusal<'_>> {
        self.store.piece(chunk.digest, chunk.offset, chunk.bytes)
    }

    fn upload(&mut self, name: u32) -> Option<(u64, Digest)> {
        self.store.upload(name)
    }

    fn part(&mut self, _epoch: u64, digest: Digest, part: &Part<'_>) -> Result<u64, Refusal<'_>> {
        self.store.piece(digest, part.offset, part.bytes)
    }

    fn place(&mut self, digest: Digest) -> Result<u64, Refusal<'_>> {
        self.store.place(digest).map(|address| address.addr() as u64)
    }

    fn arrived(&mut self, digest: Digest, offset: u64) -> Result<u64, Refusal<'_>> {
        self.store.arrived(digest, offset)
    }

    fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'_>> {
        self.store.finish(digest)
    }

    fn run(&mut self, run: &Run<'_>) -> Result<(), Refusal<'_>> {
        if self.last == Some(run.job) {
            return Ok(());
        }
        if self.job.is_some() {
            return Err(refuse(RefusalCode::Busy, "another job is running", 0));
        }
        if run.engine != "micro" {
            return Err(refuse(RefusalCode::UnknownEngine, "this unit has the engine micro and no other", 0));
        }
        if run.batch != 1 {
            return Err(refuse(RefusalCode::Limit, "this unit takes one sample at a time", u64::from(run.batch)));
        }
        if self.store.blob(run.model).is_none() || self.store.blob(run.evalset).is_none() {
            return Err(refuse(RefusalCode::MissingBlob, "model or samples are not here", 0));
        }
        self.events.clear();
        self.last = Some(run.job);
        self.job = Some(Job::new(run, self.hardware.now()));
        Ok(())
    }

    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        if self.last == Some(job) {
            return Ok(());
        }
        if self.job.is_some() {
            return Err(refuse(RefusalCode::Busy, "another job is running", 0));
        }
        self.events.clear();
        self.last = Some(job);
        let told = self.tell_environment();
        told.map_err(|_| refuse(RefusalCode::Limit, "the facts have no room", 0))
    }

    fn event(&mut self, job: u32, index: u32) -> Step<'_> {
        if self.last != Some(job) || self.events.is_gone(index) {
            return Step::Unknown;
        }
        let (running, count) = (self.job.is_some(), self.events.count());
        match self.events.get(index) {
            Some(event) => Step::Event(event),
            None if running => Step::Pending,
            None if index >= count => Step::Done { events: count },
            None => Step::Unknown,
        }
    }

    fn acknowledged(&mut self, job: u32, below: u32) {
        if self.last == Some(job) {
            self.events.acknowledge(below.min(self.events.count()));
        }
    }

    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        if self.last == Some(job) && self.job.take().is_some() {
            // A buffer that is full is emptied: what was in it is of no use any more.
            let ended = Event::Ended(Ended::Cancelled);
            if self.events.push(&ended).is_err() {
                self.events.acknowledge(self.events.count());
                let _ = self.events.push(&ended);
            }
        }
        Ok(())
    }

    fn clean(&mut self) -> Result<u64, Refusal<'_>> {
        if self.job.is_some() {
            return Err(refuse(RefusalCode::Busy, "a job is running", 0));
        }
        Ok(self.store.clean())
    }

    fn reset_session(&mut self) {
        self.job = None;
        self.last = None;
        self.events.clear();
    }

    fn baud(&mut self, rate: u32) -> Result<u32, Refusal<'_>> {
        if !self.hardware.can_rate(rate) {
            return Err(refuse(RefusalCode::Limit, "this line cannot go at that rate", u64::from(rate)));
        }
        self.rate = Rate::Wanted(rate);
        Ok(rate)
    }
}

impl<H: Hardware> Agent<'_, H> {
    /// What is known of the unit, as events of a job.
    fn tell_environment(&mut self) -> Result<(), crate::events::Full> {
        let about = self.hardware.about();
        let text = |key, value| Event::Text { key, index: 0, value };
        let number = |key, value| Event::Number { key, index: 0, value };
        let missing = |key, reason| Event::Missing { key, reason };
        for (key, value) in [
            (TextKey::CpuModel, about.cpu),
            (TextKey::CpuFeatures, about.features),
            (TextKey::Board, about.board),
            (TextKey::Os, "bare metal"),
            (TextKey::ClockSource, about.clock),
            (TextKey::ResetReason, about.reset_reason),
        ] {
            self.events.push(&text(key, value))?;
        }
        if let Some(crash) = self.hardware.crash() {
            self.events.push(&text(TextKey::CrashRecord, crash))?;
        }
        let uptime_ms = self.hardware.now() * 1000 / self.hardware.hz().max(1);
        for event in [
            number(Key::CpuCount, 1),
            number(Key::CpuFrequencyHz, self.hardware.hz()),
            number(Key::MemoryTotalBytes, self.arena.len() as u64),
            number(Key::UptimeMs, uptime_ms),
            number(Key::LinkOverruns, u64::from(self.hardware.overruns())),
            missing(Key::TemperatureMilliC, "this firmware reads no temperature"),
            missing(Key::WallClockUnixS, "this unit has no calendar"),
            missing(Key::LoadMilli, "nothing else runs on this unit"),
            Event::Ended(Ended::Completed),
        ] {
            self.events.push(&event)?;
        }
        Ok(())
    }
}
