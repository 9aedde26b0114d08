//! The simulated device: blobs, lease and jobs in memory, and a clock that need not be true.

use crate::{AffineEngine, Assignment, Engine, Work};
use boardproof_core::{BlobState, Device, Lease, Refusal, Step};
use boardproof_protocol::branches::Branches;
use boardproof_protocol::frame::{OVERHEAD, STREAM_FRAME_MAX, decode_event, encode_event};
use boardproof_protocol::{
    Acquire, Begin, Chunk, Coding, DeviceHello, Digest, Ended, Event, Key, RefusalCode, Run, Stream, TextKey,
};
use sha2::Digest as _;
use std::collections::HashMap;
use std::io::Read;
use std::time::Instant;

/// What a device is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hardware {
    /// Room for blobs.
    pub store_bytes: u64,
    /// Memory that a job finds; `None` for as much as it wants.
    pub memory_bytes: Option<u64>,
    /// Seconds that its clock counts while one passes: 1 is true, 0.5 makes everything look twice as fast.
    pub clock_rate: f64,
    /// Largest frame that it takes, and no event of a stream is larger.
    pub frame_max: usize,
    /// Highest rate of its line, in bits per second; `None` for a link without one.
    pub rate_max: Option<u32>,
}

impl Default for Hardware {
    fn default() -> Self {
        Self { store_bytes: 1 << 30, memory_bytes: None, clock_rate: 1.0, frame_max: 2048, rate_max: None }
    }
}

/// Memory that a job may take, and whose limit that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The limit; `None` for none.
    pub bytes: Option<u64>,
    of_unit: bool,
}

impl Memory {
    /// The tighter one of what the host asked for (0: nothing) and what the unit has.
    fn tighter(asked: u64, unit: Option<u64>) -> Self {
        let asked = Some(asked).filter(|bytes| *bytes > 0);
        let of_unit = unit.is_some_and(|unit| asked.is_none_or(|asked| unit < asked));
        Self { bytes: if of_unit { unit } else { asked }, of_unit }
    }

    /// How a job ends that wanted more.
    pub fn ran_out(self) -> Ended {
        Ended::OutOfMemory { limit_bytes: if self.of_unit { 0 } else { self.bytes.unwrap_or(0) } }
    }
}

/// Largest window of a zstd frame that is taken, as in the agent.
const WINDOW_LOG_MAX: u32 = 23;

/// An upload that was begun.
struct Upload {
    begin: Begin,
    bytes: Vec<u8>,
}

/// A job: its events so far, and what more of them come from.
#[derive(Default)]
struct Job {
    events: Vec<Vec<u8>>,
    work: Option<Box<dyn Work>>,
}

/// A device that lives in this process.
pub struct SimDevice {
    engine: Box<dyn Engine>,
    hardware: Hardware,
    blobs: HashMap<Digest, Vec<u8>>,
    upload: Option<Upload>,
    epoch: u64,
    holder: String,
    jobs: HashMap<u32, Job>,
    boot: u64,
    /// When it was switched on.
    since: Instant,
    /// Rate that was agreed on and that the link has not heard of.
    rate: Option<u32>,
}

impl SimDevice {
    /// A fresh device with the toy engine and this much room for blobs.
    pub fn new(seed: u64, store_bytes: u64) -> Self {
        Self::with_engine(Box::new(AffineEngine { seed }), Hardware { store_bytes, ..Hardware::default() })
    }

    /// A fresh device.
    pub fn with_engine(engine: Box<dyn Engine>, hardware: Hardware) -> Self {
        Self {
            engine,
            hardware,
            blobs: HashMap::new(),
            upload: None,
            epoch: 0,
            holder: String::new(),
            jobs: HashMap::new(),
            boot: 1,
            since: Instant::now(),
            rate: None,
        }
    }

    /// Power cycle: blobs, and what came of an upload, are on a disk and stay; so does the highest epoch. Everything else is gone.
    pub fn reset(&mut self) {
        self.jobs.clear();
        self.holder.clear();
        self.boot += 1;
        self.since = Instant::now();
    }

    /// The rate at which the link goes on once the last answer is sent, if that changes.
    pub fn take_rate(&mut self) -> Option<u32> {
        self.rate.take()
    }

    fn free(&self) -> u64 {
        let used: u64 = self.blobs.values().map(|b| b.len() as u64).sum();
        self.hardware.store_bytes.saturating_sub(used)
    }
}

impl Job {
    /// Takes what has come since the last look.
    fn advance(&mut self, hardware: &Hardware) {
        let Some(work) = &mut self.work else { return };
        let events = &mut self.events;
        let mut scratch = vec![0; STREAM_FRAME_MAX];
        let ended = work.advance(&mut |event| told(event, hardware, &mut scratch, events));
        if ended {
            self.work = None;
        }
    }
}

/// Bytes of a stream in one event: small, so that a short answer needs many frames.
const PIECE: usize = 1024;
/// Room that an event of a stream needs around its bytes.
const PIECE_MARGIN: usize = OVERHEAD + 36;

/// Keeps an event as this device tells it: by its own clock, and in its own pieces.
fn told(event: &Event<'_>, hardware: &Hardware, scratch: &mut [u8], events: &mut Vec<Vec<u8>>) {
    let piece_bytes = PIECE.min(hardware.frame_max.saturating_sub(PIECE_MARGIN)).max(1);
    let slowed = |time: u64| (time as f64 * hardware.clock_rate) as u64;
    let mut keep = |event: &Event<'_>| {
        let payload = encode_event(event, scratch).expect("what an engine tells has been a frame before");
        events.push(payload.to_vec());
    };
    match event {
        Event::Number { key, index, value } if is_time(*key) => {
            keep(&Event::Number { key: *key, index: *index, value: slowed(*value) });
        }
        Event::Data { stream, offset, bytes } => {
            let (ticks, rest) = bytes.as_chunks::<8>();
            let by_own_clock: Vec<u8>;
            let bytes = if *stream == Stream::Ticks && rest.is_empty() {
                by_own_clock = ticks.iter().flat_map(|t| slowed(u64::from_le_bytes(*t)).to_le_bytes()).collect();
                &by_own_clock[..]
            } else {
                *bytes
            };
            for (i, piece) in bytes.chunks(piece_bytes).enumerate() {
                keep(&Event::Data { stream: *stream, offset: offset + (i * piece_bytes) as u64, bytes: piece });
            }
        }
        other => keep(other),
    }
}

/// Was this number read from the device's clock?
fn is_time(key: Key) -> bool {
    use Key::{FirstInferenceNs, LoadNs, MeasuredWallNs, PassWallNs, TimerOverheadNs, TimerStepNs, UptimeMs};
    matches!(key, LoadNs | FirstInferenceNs | TimerOverheadNs | TimerStepNs | MeasuredWallNs | PassWallNs | UptimeMs)
}

const fn refuse(code: RefusalCode, detail: &'static str, number: u64) -> Refusal<'static> {
    Refusal { code, detail, number }
}

impl Device for SimDevice {
    fn hello(&mut self) -> DeviceHello<'_> {
        DeviceHello {
            version: 0,
            schema: 0,
            build: concat!("boardproof-sim ", env!("CARGO_PKG_VERSION")),
            architecture: std::env::consts::ARCH,
            system: "simulated",
            identity: "sim",
            tick_hz: 1_000_000_000,
            memory_bytes: self.hardware.memory_bytes.unwrap_or(1 << 30),
            store_free_bytes: self.free(),
            engines: self.engine.names(),
            frame_max: self.hardware.frame_max as u32,
            chunk_window: 4,
            boot: self.boot,
        }
    }

    fn acquire(&mut self, wish: &Acquire<'_>) -> Result<Lease<'_>, Refusal<'_>> {
        if wish.epoch < self.epoch {
            return Err(refuse(RefusalCode::NotHolder, "a later epoch was here", self.epoch));
        }
        (self.epoch, self.holder) = (wish.epoch, wish.holder.to_owned());
        Ok(Lease::Leased { epoch: wish.epoch, ttl_ms: wish.ttl_ms })
    }

    fn release(&mut self, epoch: u64) -> Result<(), Refusal<'_>> {
        if epoch == self.epoch {
            self.holder.clear();
        }
        Ok(())
    }

    fn holds(&mut self, epoch: u64) -> bool {
        epoch == self.epoch && !self.holder.is_empty()
    }

    fn stat(&mut self, digest: Digest) -> Result<BlobState, Refusal<'_>> {
        let of_upload = self.upload.as_ref().filter(|u| u.begin.digest == digest);
        let received = of_upload.map_or(0, |u| u.bytes.len() as u64);
        Ok(BlobState { present: self.blobs.contains_key(&digest), received })
    }

    fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'_>> {
        if self.blobs.contains_key(&begin.digest) {
            return Ok(begin.coded_size);
        }
        if let Some(upload) = self.upload.as_mut().filter(|u| u.begin.digest == begin.digest) {
            // It is resumed by whoever holds the lease now.
            upload.begin.epoch = begin.epoch;
            return Ok(upload.bytes.len() as u64);
        }
        let free = self.free();
        if begin.size > free {
            return Err(refuse(RefusalCode::NoSpace, "the store is full; the number is what is free", free));
        }
        self.upload = Some(Upload { begin: *begin, bytes: Vec::new() });
        Ok(0)
    }

    fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<u64, Refusal<'_>> {
        if self.blobs.contains_key(&chunk.digest) {
            return Ok(chunk.offset.saturating_add(chunk.bytes.len() as u64));
        }
        let Some(upload) = self.upload.as_mut().filter(|u| u.begin.digest == chunk.digest) else {
            return Err(refuse(RefusalCode::Offset, "begin the upload first", 0));
        };
        let have = upload.bytes.len() as u64;
        if chunk.offset > have {
            return Err(refuse(RefusalCode::Offset, "an earlier piece is missing", have));
        }
        let known = (have - chunk.offset) as usize;
        upload.bytes.extend_from_slice(chunk.bytes.get(known..).unwrap_or_default());
        Ok(upload.bytes.len() as u64)
    }

    fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'_>> {
        if self.blobs.contains_key(&digest) {
            return Ok(());
        }
        let Some(upload) = self.upload.take_if(|u| u.begin.digest == digest) else {
            return Err(refuse(RefusalCode::MissingBlob, "no such upload", 0));
        };
        let content = match upload.begin.coding {
            Coding::Plain => Some(upload.bytes),
            Coding::Zstd => decode(&upload.bytes, upload.begin.size),
            Coding::ZstdArm64 => decode(&upload.bytes, upload.begin.size).map(|mut content| {
                Branches::default().to_distances(&mut content);
                content
            }),
        };
        match content {
            Some(content) if sha2::Sha256::digest(&content)[..] == digest.0 => {
                self.blobs.insert(digest, content);
                Ok(())
            }
            _ => Err(refuse(RefusalCode::DigestMismatch, "the content is not what was announced", 0)),
        }
    }

    fn run(&mut self, run: &Run<'_>) -> Result<(), Refusal<'_>> {
        if self.jobs.contains_key(&run.job) {
            return Ok(());
        }
        self.jobs.values_mut().for_each(|job| job.advance(&self.hardware));
        if self.jobs.values().any(|job| job.work.is_some()) {
            return Err(refuse(RefusalCode::Busy, "another job is running", 0));
        }
        let blob = |digest: &Digest| self.blobs.get(digest).map(Vec::as_slice);
        let (Some(model), Some(evalset)) = (blob(&run.model), blob(&run.evalset)) else {
            return Err(refuse(RefusalCode::MissingBlob, "model or evalset is not here", 0));
        };
        let memory = Memory::tighter(run.memory_limit_bytes, self.hardware.memory_bytes);
        let work = self.engine.start(&Assignment { run, runner: blob(&run.runner), model, evalset, memory })?;
        self.jobs.insert(run.job, Job { events: Vec::new(), work: Some(work) });
        Ok(())
    }

    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        let mut known = Job::default();
        let mut scratch = vec![0; STREAM_FRAME_MAX];
        let uptime_ms = self.since.elapsed().as_millis() as u64;
        for event in [
            Event::Number { key: Key::UptimeMs, index: 0, value: uptime_ms },
            Event::Text { key: TextKey::CpuModel, index: 0, value: "simulated" },
            Event::Missing { key: Key::TemperatureMilliC, reason: "a simulation has no temperature" },
            Event::Ended(Ended::Completed),
        ] {
            told(&event, &self.hardware, &mut scratch, &mut known.events);
        }
        self.jobs.entry(job).or_insert(known);
        Ok(())
    }

    fn event(&mut self, job: u32, index: u32) -> Step<'_> {
        let Some(job) = self.jobs.get_mut(&job) else { return Step::Unknown };
        if index as usize >= job.events.len() {
            job.advance(&self.hardware);
        }
        match job.events.get(index as usize).map(|payload| decode_event(payload)) {
            Some(Ok(event)) => Step::Event(event),
            Some(Err(_)) => Step::Unknown,
            None if job.work.is_some() => Step::Pending,
            None => Step::Done { events: job.events.len() as u32 },
        }
    }

    fn acknowledged(&mut self, _: u32, _: u32) {}

    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        self.jobs.remove(&job);
        Ok(())
    }

    fn clean(&mut self) -> Result<u64, Refusal<'_>> {
        let bytes = self.hardware.store_bytes - self.free();
        self.blobs.clear();
        self.upload = None;
        Ok(bytes)
    }

    fn reset_session(&mut self) {
        self.jobs.clear();
    }

    fn upload(&mut self, name: u32) -> Option<(u64, Digest)> {
        let begin = self.upload.as_ref().map(|upload| upload.begin)?;
        (begin.digest.upload() == name).then_some((begin.epoch, begin.digest))
    }

    fn baud(&mut self, rate: u32) -> Result<u32, Refusal<'_>> {
        match self.hardware.rate_max {
            Some(max) if rate <= max => {
                self.rate = Some(rate);
                Ok(rate)
            }
            Some(max) => Err(refuse(RefusalCode::Limit, "this line does not go that fast", u64::from(max))),
            None => Err(refuse(RefusalCode::Limit, "this link has no rate", 0)),
        }
    }
}

/// Decodes no more than was announced, whatever the frame says about itself.
fn decode(coded: &[u8], size: u64) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let mut frame = zstd::stream::read::Decoder::with_buffer(coded).ok()?.single_frame();
    frame.window_log_max(WINDOW_LOG_MAX).ok()?;
    frame.take(size.saturating_add(1)).read_to_end(&mut content).ok()?;
    Some(content)
}
