//! The device behind the protocol.

use crate::engine::Engine;
use crate::events::Events;
use crate::job::{Job, Order};
use crate::lease::Leases;
use crate::line::Heard;
use crate::rate::{Change, Rate};
use crate::store::Store;
use crate::{Crash, Hardware, environment};
use boardproof_core::{BlobState, Device, Lease, Refusal, Step};
use boardproof_protocol::frame::BYTE_FRAME_MAX;
use boardproof_protocol::{Acquire, Begin, Chunk, DeviceHello, Digest, Ended, Event, Part, RefusalCode, Run};

/// Memory that the board gives.
#[derive(Debug)]
pub struct Memory<'m> {
    /// For activations.
    pub arena: &'m mut [u8],
    /// For models and samples.
    pub store: &'m mut [u8],
    /// For events that wait: [`crate::EVENTS_BYTES`].
    pub events: &'m mut [u8],
    /// Bytes that the receiver can keep while the agent is busy.
    pub receiver: usize,
}

/// The agent.
pub struct Agent<'m, H, E: Engine> {
    hardware: H,
    engine: E,
    store: Store<'m>,
    arena: &'m mut [u8],
    leases: Leases,
    job: Option<Job<'m, E>>,
    /// Number of the last job: asked for again it changes nothing.
    last: Option<u32>,
    events: Events<'m>,
    rate: Rate,
    window: u16,
    /// Made at the first greeting.
    boot: u64,
    /// A sample of the text protocol, and whether the arena holds its answer.
    #[cfg(feature = "tiny")]
    text: (&'m mut [u8], bool),
}

const fn refuse(code: RefusalCode, detail: &'static str, number: u64) -> Refusal<'static> {
    Refusal { code, detail, number }
}

impl<'m, H: Hardware, E: Engine> Agent<'m, H, E> {
    /// An agent on this board, with this engine.
    pub fn new(hardware: H, engine: E, memory: Memory<'m>) -> Self {
        // All frames on the way must fit into the receiver: the agent may be at an inference when they come.
        #[cfg(feature = "tiny")]
        let (blobs, text) =
            memory.store.split_at_mut(memory.store.len() - crate::tiny::sample_bytes(memory.store.len()));
        #[cfg(not(feature = "tiny"))]
        let blobs = memory.store;
        let window = memory.receiver / (crate::line::CODED_BYTES + 1);
        Self {
            hardware,
            engine,
            store: Store::new(blobs),
            arena: memory.arena,
            leases: Leases::default(),
            job: None,
            last: None,
            events: Events::new(memory.events),
            rate: Rate::new(),
            window: u16::try_from(window).unwrap_or(u16::MAX).max(1),
            boot: 0,
            #[cfg(feature = "tiny")]
            text: (text, false),
        }
    }

    /// Answers a command of the text protocol.
    #[cfg(feature = "tiny")]
    #[inline(never)]
    pub(crate) fn answer_text(&mut self, tiny: &mut boardproof_tiny::Tiny, mut send: &mut dyn FnMut(&[u8])) {
        let busy = self.job.is_some();
        let (sample, answered) = (&mut *self.text.0, &mut self.text.1);
        *answered &= !busy;
        let mut dut = crate::tiny::TextDut {
            hardware: &mut self.hardware,
            engine: &mut self.engine,
            arena: self.arena,
            store: &mut self.store,
            sample,
            loaded: None,
            answered,
            busy,
        };
        dut.recall();
        tiny.answer(&mut dut, &mut send);
        drop(dut);
        if !busy {
            self.end_job();
        }
    }

    /// The board.
    pub fn hardware(&mut self) -> &mut H {
        &mut self.hardware
    }

    /// Goes on with a job: at most one inference. False when there is nothing to do before the host says something.
    #[inline(never)]
    pub fn work(&mut self) -> bool {
        let Some(job) = &mut self.job else { return false };
        let went_on = job.go_on(&mut self.hardware, &mut self.engine, self.arena, &mut self.events);
        if job.is_done() {
            self.end_job();
        }
        went_on
    }

    /// Ends a job, if there is one; true if so.
    #[expect(unsafe_code, reason = "only here is it known that nothing works on blobs any more")]
    fn end_job(&mut self) -> bool {
        let ended = self.job.take().is_some();
        self.hardware.mark(Crash::NO_JOB, 0);
        // SAFETY: blobs are lent to jobs and to nothing else, and the only job is gone.
        unsafe { self.store.take_back() };
        ended
    }

    /// The rate of the line changes with the next [`Self::watch_rate`].
    pub fn wants_rate(&self) -> bool {
        self.rate.is_asked()
    }

    /// Keeps watch over the rate of the line. To be called when every answer is on its way; see [`Rate::watch`]. True when it has changed:
    /// half a frame at the rate before is none.
    pub fn watch_rate(&mut self, heard: Heard) -> bool {
        let clock = (self.hardware.now(), self.hardware.hz());
        let start = self.hardware.start_rate();
        match self.rate.watch(heard.bytes, heard.request, clock, start) {
            Change::No => return false,
            Change::To(rate) => self.hardware.set_rate(rate),
            Change::Back => self.hardware.set_rate(start),
        }
        true
    }

    /// The host said goodbye: the lease is given back, and the rate.
    pub fn closed(&mut self) {
        self.leases.end();
        self.rate.end();
    }

    /// In a frame of its own, which is the largest: a job is made before it is put into its place.
    #[inline(never)]
    fn begin_job(&mut self, job: u32, order: Order, model: &'m [u8], samples: &'m [u8]) {
        #[cfg(feature = "tiny")]
        {
            self.text.1 = false;
        }
        self.events.clear();
        self.last = Some(job);
        self.job = Some(Job::new(order, model, samples, self.hardware.now()));
    }

    /// May a job with this number begin? `false` when it has already.
    fn new_job(&mut self, job: u32) -> Result<bool, Refusal<'static>> {
        if self.last == Some(job) {
            return Ok(false);
        }
        if self.job.is_some() {
            let number = self.last.map_or(0, u64::from);
            return Err(refuse(RefusalCode::Busy, "another job is running: the number is it", number));
        }
        Ok(true)
    }

    /// Not zero, and another one with every start: counted while memory is kept, and mixed with the time that the first host took.
    fn boot(&mut self) -> u64 {
        if self.boot == 0 {
            let now = self.hardware.now();
            self.boot = (u64::from(self.hardware.starts()) << 40 | now & 0xff_ffff_ffff).max(1);
        }
        self.boot
    }
}

impl<H: Hardware, E: Engine> Device for Agent<'_, H, E> {
    fn hello(&mut self) -> DeviceHello<'_> {
        let (boot, tick_hz, chunk_window) = (self.boot(), self.hardware.hz(), self.window);
        let about = self.hardware.about();
        DeviceHello {
            version: 0,
            schema: 0,
            build: about.build,
            architecture: "arm",
            system: "bare metal",
            identity: about.identity,
            tick_hz,
            memory_bytes: self.arena.len() as u64,
            store_free_bytes: self.store.capacity() as u64,
            engines: E::TITLE,
            frame_max: BYTE_FRAME_MAX as u32,
            chunk_window,
            boot,
        }
    }

    fn acquire(&mut self, wish: &Acquire<'_>) -> Result<Lease<'_>, Refusal<'_>> {
        let (now, hz) = (self.hardware.now(), self.hardware.hz());
        self.leases.acquire(wish, now, hz)
    }

    fn release(&mut self, epoch: u64) -> Result<(), Refusal<'_>> {
        self.leases.release(epoch);
        Ok(())
    }

    fn holds(&mut self, epoch: u64) -> bool {
        let now = self.hardware.now();
        self.leases.holds(epoch, now)
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
        self.store.place(digest)
    }

    fn arrived(&mut self, digest: Digest, offset: u64) -> Result<u64, Refusal<'_>> {
        self.store.arrived(digest, offset)
    }

    fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'_>> {
        self.store.finish(digest)
    }

    fn run(&mut self, run: &Run<'_>) -> Result<(), Refusal<'_>> {
        if !self.new_job(run.job)? {
            return Ok(());
        }
        if run.engine != E::NAME {
            return Err(refuse(RefusalCode::UnknownEngine, E::TITLE, 0));
        }
        if run.batch != 1 {
            let detail = "this unit takes one sample at a time: the number is what was asked for";
            return Err(refuse(RefusalCode::Limit, detail, u64::from(run.batch)));
        }
        let order = Order::of(run);
        let blobs = (self.store.blob(order.model), self.store.blob(order.evalset));
        let (Some(model), Some(samples)) = blobs else {
            self.end_job();
            return Err(refuse(RefusalCode::MissingBlob, "the model or the samples are not here", 0));
        };
        self.begin_job(run.job, order, model, samples);
        Ok(())
    }

    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        if !self.new_job(job)? {
            return Ok(());
        }
        self.events.clear();
        self.last = Some(job);
        environment::tell(&mut self.hardware, &mut self.events)
            .map_err(|_| refuse(RefusalCode::Limit, "the facts have no room", 0))
    }

    fn event(&mut self, job: u32, index: u32) -> Step<'_> {
        if self.last != Some(job) || self.events.is_gone(index) {
            return Step::Unknown;
        }
        let (running, events) = (self.job.is_some(), self.events.count());
        match self.events.get(index) {
            Some(event) => Step::Event(event),
            None if running => Step::Pending,
            None if index >= events => Step::Done { events },
            None => Step::Unknown,
        }
    }

    fn acknowledged(&mut self, job: u32, below: u32) {
        if self.last == Some(job) {
            self.events.acknowledge(below.min(self.events.count()));
        }
    }

    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        if self.last != Some(job) || !self.end_job() {
            return Ok(());
        }
        // Room is kept for it: a step needs more than this.
        self.events
            .push(&Event::Ended(Ended::Cancelled))
            .map_err(|_| refuse(RefusalCode::Limit, "no room for the end", 0))
    }

    fn clean(&mut self) -> Result<u64, Refusal<'_>> {
        self.store.clean()
    }

    fn reset_session(&mut self) {
        self.end_job();
        self.last = None;
        self.events.clear();
    }

    fn baud(&mut self, rate: u32) -> Result<u32, Refusal<'_>> {
        if !self.hardware.can_rate(rate) {
            let detail = "this line cannot go at that rate: the number is the one of its start";
            return Err(refuse(RefusalCode::Limit, detail, u64::from(self.hardware.start_rate())));
        }
        self.rate.ask(rate);
        Ok(rate)
    }
}
