//! The simulated device: blobs, lease and jobs in memory.

use crate::engine;
use boardproof_core::{BlobState, Device, Lease, Refusal, Step};
use boardproof_protocol::frame::{decode_event, encode_event};
use boardproof_protocol::{Acquire, Begin, Chunk, Coding, DeviceHello, Digest, Event, RefusalCode, Run};
use sha2::Digest as _;
use std::collections::HashMap;
use std::io::Read;

/// Largest window of a zstd frame that is taken, as in the agent.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// An upload that was begun.
struct Upload {
    begin: Begin,
    bytes: Vec<u8>,
}

/// A device that lives in this process.
pub struct SimDevice {
    seed: u64,
    room_bytes: u64,
    blobs: HashMap<Digest, Vec<u8>>,
    upload: Option<Upload>,
    epoch: u64,
    holder: String,
    jobs: HashMap<u32, Vec<Vec<u8>>>,
    boot: u64,
}

impl SimDevice {
    /// A fresh device with this much room for blobs.
    pub fn new(seed: u64, room_bytes: u64) -> Self {
        Self {
            seed,
            room_bytes,
            blobs: HashMap::new(),
            upload: None,
            epoch: 0,
            holder: String::new(),
            jobs: HashMap::new(),
            boot: 1,
        }
    }

    /// Power cycle: blobs are on a disk and stay, everything else is gone.
    pub fn reset(&mut self) {
        self.upload = None;
        self.jobs.clear();
        self.boot += 1;
    }

    fn used(&self) -> u64 {
        self.blobs.values().map(|b| b.len() as u64).sum()
    }

    fn start(&mut self, job: u32, emit: impl FnOnce(&mut dyn FnMut(Event<'_>))) {
        let mut events = Vec::new();
        let mut scratch = vec![0; 4096];
        emit(&mut |event| {
            let payload = encode_event(&event, &mut scratch).expect("the toy engine's events are small");
            events.push(payload.to_vec());
        });
        self.jobs.insert(job, events);
    }
}

const fn refuse(code: RefusalCode, detail: &'static str, number: u64) -> Refusal<'static> {
    Refusal { code, detail, number }
}

impl Device for SimDevice {
    fn hello(&mut self) -> DeviceHello<'_> {
        DeviceHello {
            version: 0,
            schema: 0,
            build: "boardproof-sim",
            architecture: std::env::consts::ARCH,
            system: "simulated",
            identity: "sim",
            tick_hz: 1_000_000_000,
            memory_bytes: self.room_bytes,
            store_free_bytes: self.room_bytes - self.used().min(self.room_bytes),
            engines: "affine 1",
            frame_max: 2048,
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
        if let Some(upload) = self.upload.as_ref().filter(|u| u.begin.digest == begin.digest) {
            return Ok(upload.bytes.len() as u64);
        }
        let free = self.room_bytes - self.used().min(self.room_bytes);
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
        if run.engine != "affine" {
            return Err(refuse(RefusalCode::UnknownEngine, "this device has the engine 'affine'", 0));
        }
        if run.iterations > engine::ITERATIONS_MAX {
            let most = u64::from(engine::ITERATIONS_MAX);
            return Err(refuse(
                RefusalCode::Limit,
                "more inferences than a simulation keeps; the number is the most",
                most,
            ));
        }
        let (Some(model), Some(evalset)) = (self.blobs.get(&run.model).cloned(), self.blobs.get(&run.evalset).cloned())
        else {
            return Err(refuse(RefusalCode::MissingBlob, "model or evalset is not here", 0));
        };
        let seed = self.seed;
        self.start(run.job, |emit| engine::run(run, &model, &evalset, seed, emit));
        Ok(())
    }

    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        use boardproof_protocol::{Ended, Key, TextKey};
        self.start(job, |emit| {
            emit(Event::Text { key: TextKey::CpuModel, index: 0, value: "simulated" });
            emit(Event::Missing { key: Key::TemperatureMilliC, reason: "a simulation has no temperature" });
            emit(Event::Ended(Ended::Completed));
        });
        Ok(())
    }

    fn event(&mut self, job: u32, index: u32) -> Step<'_> {
        let Some(events) = self.jobs.get(&job) else { return Step::Unknown };
        match events.get(index as usize).map(|payload| decode_event(payload)) {
            Some(Ok(event)) => Step::Event(event),
            Some(Err(_)) => Step::Unknown,
            None => Step::Done { events: events.len() as u32 },
        }
    }

    fn acknowledged(&mut self, _: u32, _: u32) {}

    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        self.jobs.remove(&job);
        Ok(())
    }

    fn clean(&mut self) -> Result<u64, Refusal<'_>> {
        let bytes = self.used();
        self.blobs.clear();
        self.upload = None;
        Ok(bytes)
    }

    fn reset_session(&mut self) {
        self.jobs.clear();
    }
}

/// Decodes no more than was announced, whatever the frame says about itself.
fn decode(coded: &[u8], size: u64) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let frame = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(coded, WINDOW_BYTES_MAX).ok()?;
    frame.take(size.saturating_add(1)).read_to_end(&mut content).ok()?;
    Some(content)
}
