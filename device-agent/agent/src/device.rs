//! The board as the session sees it: ties store, lease, uploads, jobs and facts together and words its refusals.

use crate::clock::{self, Moment};
use crate::facts::{self, Identity};
use crate::job::{self, Assignment, Job, JobError, Limits};
use crate::lease::{Answer, LeaseError, LeaseFile};
use crate::store::{Store, StoreError, Wish};
use crate::upload::{Upload, UploadError};
use boardproof_core::{BlobState, Device, Lease, Refusal, Step};
use boardproof_protocol::frame::{STREAM_FRAME_MAX, decode_event};
use boardproof_protocol::{Acquire, Begin, Chunk, DeviceHello, Digest, RefusalCode, Run};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Chunks a host may send without waiting.
const CHUNK_WINDOW: u16 = 8;
/// Jobs whose number is remembered after the next one started.
const PAST_JOBS_MAX: usize = 4096;

/// The agent could not begin to serve.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error("could not read the agent's own program")]
    Program(#[source] std::io::Error),
    #[error("could not open the store")]
    Store(#[from] StoreError),
}

/// A refusal with its own words.
struct Denied {
    code: RefusalCode,
    detail: String,
    number: u64,
}

impl Denied {
    fn new(code: RefusalCode, detail: impl Into<String>, number: u64) -> Self {
        Self { code, detail: detail.into(), number }
    }

    fn of(error: &(dyn Error + 'static), code: RefusalCode, number: u64) -> Self {
        Self::new(code, crate::chain(error), number)
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace { free, .. } => Self::of(&error, RefusalCode::NoSpace, free),
            _ => Self::of(&error, RefusalCode::Device, 0),
        }
    }
}

impl From<LeaseError> for Denied {
    fn from(error: LeaseError) -> Self {
        let code = if error.is_for_want_of_room() { RefusalCode::NoSpace } else { RefusalCode::Device };
        Self::of(&error, code, 0)
    }
}

impl From<JobError> for Denied {
    fn from(error: JobError) -> Self {
        Self::of(&error, RefusalCode::Device, 0)
    }
}

impl From<UploadError> for Denied {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Store(error) => error.into(),
            UploadError::Offset { expected, .. } => Self::of(&error, RefusalCode::Offset, expected),
            UploadError::TooLong { expected, .. } => Self::of(&error, RefusalCode::Limit, expected),
            UploadError::Incomplete { got, .. } => Self::of(&error, RefusalCode::Offset, got),
            UploadError::Mismatch { .. } => Self::of(&error, RefusalCode::DigestMismatch, 0),
        }
    }
}

/// The holder of the lease as this agent granted it.
struct Held {
    epoch: u64,
    holder: String,
}

/// A Linux board.
pub struct Board {
    identity: Identity,
    store: Store,
    lease: LeaseFile,
    held: Option<Held>,
    /// When the lease ends unless renewed, in milliseconds since boot; a job looks at it too.
    lease_ends_ms: Arc<AtomicU64>,
    upload: Option<Upload>,
    job: Option<Job>,
    /// Jobs before that one: number and count of events.
    past: Vec<(u32, u32)>,
    /// The event that was handed out last; the session borrows it.
    event: Arc<[u8]>,
    /// Words of the last refusal; the session borrows them.
    detail: String,
    /// Holder named in the last answer; the session borrows it.
    holder: String,
}

impl Board {
    /// Opens the store and learns who the unit is.
    pub fn open(wish: &Wish) -> Result<Self, BoardError> {
        let store = Store::open(wish, clock::boot_number())?;
        let build = crate::build().map_err(BoardError::Program)?;
        let identity = Identity::read(build, store.note());
        let lease = LeaseFile::in_folder(store.root());
        Ok(Self {
            identity,
            store,
            lease,
            held: None,
            lease_ends_ms: Arc::default(),
            upload: None,
            job: None,
            past: Vec::new(),
            event: Arc::from([]),
            detail: String::new(),
            holder: String::new(),
        })
    }

    /// Version and digest of the agent.
    pub fn build(&self) -> &str {
        &self.identity.build
    }

    /// The store's folder.
    pub fn store_root(&self) -> &Path {
        self.store.root()
    }

    /// The host ended the session in order: nobody waits for the lease to expire.
    pub fn say_goodbye(&mut self) {
        if let Some(held) = self.held.take() {
            // A lease that cannot be given back expires by itself.
            let _ = self.lease.release(held.epoch, &held.holder);
        }
    }

    fn refuse<T>(&mut self, result: Result<T, Denied>) -> Result<T, Refusal<'_>> {
        result.map_err(|denied| {
            self.detail = denied.detail;
            Refusal { code: denied.code, detail: &self.detail, number: denied.number }
        })
    }

    fn try_acquire(&mut self, wish: &Acquire<'_>) -> Result<Answer, Denied> {
        let answer = self.lease.acquire(wish.epoch, wish.holder, wish.ttl_ms, &Moment::now())?;
        match &answer {
            Answer::Leased { epoch, expires_ms, .. } => {
                self.held = Some(Held { epoch: *epoch, holder: wish.holder.to_owned() });
                self.lease_ends_ms.store(*expires_ms, Relaxed);
            }
            Answer::Held { .. } => {}
            Answer::Outdated { epoch } => {
                let detail = format!("the lease is free: expected an epoch above {epoch}, got {}", wish.epoch);
                return Err(Denied::new(RefusalCode::NotHolder, detail, *epoch));
            }
        }
        Ok(answer)
    }

    fn try_release(&mut self, epoch: u64) -> Result<(), Denied> {
        match self.held.take_if(|h| h.epoch == epoch) {
            Some(held) => {
                // A job of this holder has lost its ground too.
                self.lease_ends_ms.store(0, Relaxed);
                Ok(self.lease.release(epoch, &held.holder)?)
            }
            None => Ok(()),
        }
    }

    fn try_begin(&mut self, begin: &Begin) -> Result<u64, Denied> {
        if self.store.present(begin.digest)? {
            if begin.program {
                self.store.make_program(begin.digest)?;
            }
            self.upload = None;
            return Ok(begin.coded_size);
        }
        if let Some(upload) = self.upload.as_ref().filter(|u| u.is(begin) && !u.has_failed()) {
            return Ok(upload.offset());
        }
        // The one before lets go of its files first.
        self.upload = None;
        Ok(self.upload.insert(Upload::begin(&self.store, begin)?).offset())
    }

    fn try_chunk(&mut self, chunk: &Chunk<'_>) -> Result<u64, Denied> {
        match self.upload.as_mut().filter(|u| u.digest() == chunk.digest) {
            Some(upload) => Ok(upload.chunk(chunk.offset, chunk.bytes)?),
            // A piece that comes again after its blob was finished is an echo.
            None if self.store.present(chunk.digest)? => Ok(chunk.offset.saturating_add(chunk.bytes.len() as u64)),
            None => Err(Denied::new(RefusalCode::Offset, format!("upload of {} was not begun", chunk.digest), 0)),
        }
    }

    fn try_finish(&mut self, digest: Digest) -> Result<(), Denied> {
        match self.upload.take_if(|u| u.digest() == digest) {
            Some(upload) => Ok(upload.finish(&self.store)?),
            None if self.store.present(digest)? => Ok(()),
            None => Err(Denied::new(RefusalCode::Offset, format!("upload of {digest} was not begun"), 0)),
        }
    }

    fn known(&self, job: u32) -> bool {
        self.job.as_ref().is_some_and(|j| j.number() == job) || self.past.iter().any(|(n, _)| *n == job)
    }

    /// Makes place for a new job; the one before must have ended.
    fn retire(&mut self) -> Result<(), Denied> {
        let Some(job) = &self.job else { return Ok(()) };
        let Some(events) = job.ended() else {
            let number = job.number();
            return Err(Denied::new(RefusalCode::Busy, format!("job {number} is running"), u64::from(number)));
        };
        if self.past.len() == PAST_JOBS_MAX {
            self.past.remove(0);
        }
        self.past.push((job.number(), events));
        self.job = None;
        Ok(())
    }

    fn try_run(&mut self, run: &Run<'_>) -> Result<(), Denied> {
        if self.known(run.job) {
            return Ok(());
        }
        self.retire()?;
        if run.runner == Digest([0; 32]) {
            let detail = format!("this agent has no engine '{}' of its own: ship a runner", run.engine);
            return Err(Denied::new(RefusalCode::UnknownEngine, detail, 0));
        }
        for (what, digest) in [("runner", run.runner), ("model", run.model), ("evalset", run.evalset)] {
            if !self.store.present(digest)? {
                return Err(Denied::new(RefusalCode::MissingBlob, format!("{what} {digest} is not stored"), 0));
            }
        }
        self.store.make_program(run.runner)?;
        let assignment = Assignment::of(run, |digest| self.store.blob(digest))?;
        let limits = Limits { lease_ends_ms: Arc::clone(&self.lease_ends_ms), ..Limits::default() };
        self.job = Some(Job::start(run.job, assignment, limits)?);
        Ok(())
    }

    fn try_environment(&mut self, job: u32) -> Result<(), Denied> {
        self.retire()?;
        self.job = Some(Job::of_facts(job, &facts::environment())?);
        Ok(())
    }

    fn try_clean(&mut self) -> Result<u64, Denied> {
        self.retire()?;
        self.upload = None;
        Ok(self.store.clean()?)
    }
}

impl Device for Board {
    fn hello(&mut self) -> DeviceHello<'_> {
        DeviceHello {
            version: 0,
            schema: 0,
            build: &self.identity.build,
            architecture: std::env::consts::ARCH,
            system: &self.identity.system,
            identity: &self.identity.unit,
            tick_hz: 1_000_000_000,
            memory_bytes: self.identity.memory_bytes,
            store_free_bytes: self.store.free_bytes().unwrap_or(0),
            engines: "",
            frame_max: STREAM_FRAME_MAX as u32,
            chunk_window: CHUNK_WINDOW,
            boot: clock::boot_number(),
        }
    }

    fn acquire(&mut self, wish: &Acquire<'_>) -> Result<Lease<'_>, Refusal<'_>> {
        match self.try_acquire(wish) {
            Ok(Answer::Leased { epoch, ttl_ms, .. }) => Ok(Lease::Leased { epoch, ttl_ms }),
            Ok(Answer::Held { holder, epoch, remaining_ms }) => {
                self.holder = holder;
                Ok(Lease::Held { holder: &self.holder, epoch, remaining_ms })
            }
            Ok(Answer::Outdated { epoch }) => self.refuse(Err(Denied::new(RefusalCode::NotHolder, "", epoch))),
            Err(denied) => self.refuse(Err(denied)),
        }
    }

    fn release(&mut self, epoch: u64) -> Result<(), Refusal<'_>> {
        let result = self.try_release(epoch);
        self.refuse(result)
    }

    fn holds(&mut self, epoch: u64) -> bool {
        // A lease that cannot be read is not held: writing without one is worse than a refusal.
        self.held.as_ref().is_some_and(|held| {
            held.epoch == epoch && self.lease.holds(epoch, &held.holder, &Moment::now()).unwrap_or(false)
        })
    }

    fn stat(&mut self, digest: Digest) -> Result<BlobState, Refusal<'_>> {
        let state = self.store.present(digest).and_then(|present| {
            let received = if present { 0 } else { self.store.received(digest)? };
            Ok(BlobState { present, received })
        });
        self.refuse(state.map_err(Into::into))
    }

    fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'_>> {
        let result = self.try_begin(begin);
        self.refuse(result)
    }

    fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<u64, Refusal<'_>> {
        let result = self.try_chunk(chunk);
        self.refuse(result)
    }

    fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'_>> {
        let result = self.try_finish(digest);
        self.refuse(result)
    }

    fn run(&mut self, run: &Run<'_>) -> Result<(), Refusal<'_>> {
        let result = self.try_run(run);
        self.refuse(result)
    }

    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        if self.known(job) {
            return Ok(());
        }
        let result = self.try_environment(job);
        self.refuse(result)
    }

    fn event(&mut self, job: u32, index: u32) -> Step<'_> {
        if let Some((_, events)) = self.past.iter().find(|(number, _)| *number == job) {
            return if index >= *events { Step::Done { events: *events } } else { Step::Unknown };
        }
        let Some(job) = self.job.as_mut().filter(|j| j.number() == job) else { return Step::Unknown };
        match job.event(index) {
            job::Found::Event(bytes) => {
                self.event = bytes;
                // It was decoded once before it came into the queue.
                decode_event(&self.event).map_or(Step::Unknown, Step::Event)
            }
            job::Found::Pending => Step::Pending,
            job::Found::Done { events } => Step::Done { events },
            job::Found::Forgotten => Step::Unknown,
        }
    }

    fn acknowledged(&mut self, job: u32, below: u32) {
        if let Some(job) = self.job.as_mut().filter(|j| j.number() == job) {
            job.acknowledged(below);
        }
    }

    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        let result = match &self.job {
            Some(running) if running.number() == job => {
                running.cancel();
                Ok(())
            }
            _ if self.past.iter().any(|(number, _)| *number == job) => Ok(()),
            _ => Err(Denied::new(RefusalCode::UnknownJob, format!("no job {job}"), u64::from(job))),
        };
        self.refuse(result)
    }

    fn clean(&mut self) -> Result<u64, Refusal<'_>> {
        let result = self.try_clean();
        self.refuse(result)
    }

    fn reset_session(&mut self) {
        // Dropping a job kills its runner; an upload keeps what came. Job numbers belong to the session.
        self.job = None;
        self.upload = None;
        self.past.clear();
    }
}
