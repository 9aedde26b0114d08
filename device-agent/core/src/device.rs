//! What a device must be able to do; everything else about the protocol is [`crate`]'s own business.

use boardproof_protocol::{Acquire, Begin, Chunk, DeviceHello, Digest, Event, Part, RefusalCode, Run};

/// A refusal by the device, before it becomes a message. `detail` is borrowed from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The kind.
    pub code: RefusalCode,
    /// What was wanted, found or to be done.
    pub detail: &'a str,
    /// A number that belongs to the code (offset wanted, bytes free, epoch in force).
    pub number: u64,
}

/// Answer to a wish for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease<'a> {
    /// The asker holds it.
    Leased {
        /// Epoch now in force.
        epoch: u64,
        /// Time until it expires.
        ttl_ms: u32,
    },
    /// Somebody else does.
    Held {
        /// Who.
        holder: &'a str,
        /// Their epoch.
        epoch: u64,
        /// Time until it expires.
        remaining_ms: u32,
    },
}

/// State of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobState {
    /// Complete and verified.
    pub present: bool,
    /// Coded bytes received of an upload that was begun.
    pub received: u64,
}

/// What pulling one event gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step<'a> {
    /// The event with the number asked for.
    Event(Event<'a>),
    /// It does not exist yet.
    Pending,
    /// The job ended before it; this many events there were.
    Done {
        /// Number of events of the job.
        events: u32,
    },
    /// No such job, or the number was acknowledged before and is forgotten.
    Unknown,
}

/// A device: a Linux board, a microcontroller, a simulation.
///
/// Calls never block for long: work goes on between frames, and [`Device::event`] says `Pending` until there is something. The
/// session has checked the epoch before it calls `begin`, `chunk`, `finish`, `run` and `clean`.
pub trait Device {
    /// Who this is. The session fills in version and schema.
    fn hello(&mut self) -> DeviceHello<'_>;
    /// Takes or renews the lease. Must refuse an epoch lower than one seen before, across restarts of the agent.
    fn acquire(&mut self, wish: &Acquire<'_>) -> Result<Lease<'_>, Refusal<'_>>;
    /// Gives the lease back if `epoch` holds it.
    fn release(&mut self, epoch: u64) -> Result<(), Refusal<'_>>;
    /// Does this epoch hold the lease now?
    fn holds(&mut self, epoch: u64) -> bool;
    /// What is known of a blob.
    fn stat(&mut self, digest: Digest) -> Result<BlobState, Refusal<'_>>;
    /// Starts or resumes an upload; returns the next coded offset wanted.
    fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'_>>;
    /// Takes a piece; pieces below the offset wanted are ignored, above are refused. Returns the next offset wanted.
    fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<u64, Refusal<'_>>;
    /// Verifies and keeps the blob.
    fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'_>>;
    /// Starts a job; a number that is known already changes nothing.
    fn run(&mut self, run: &Run<'_>) -> Result<(), Refusal<'_>>;
    /// Starts the job that lists the unit's facts.
    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>>;
    /// The event with this number; all earlier ones may be forgotten once `acknowledged` has been called with it.
    fn event(&mut self, job: u32, index: u32) -> Step<'_>;
    /// Events below this number were received by the host.
    fn acknowledged(&mut self, job: u32, below: u32);
    /// Ends a job early.
    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>>;
    /// Removes what is stored; returns bytes freed.
    fn clean(&mut self) -> Result<u64, Refusal<'_>>;
    /// A session was opened or closed: cancel jobs of the one before.
    fn reset_session(&mut self);
    /// The upload that a [`Part`] belongs to: the epoch it was begun under and the content that will result.
    fn upload(&mut self, name: u32) -> Option<(u64, Digest)> {
        let _ = name;
        None
    }
    /// Takes a piece like [`Device::chunk`]; `epoch` and `digest` are those of the upload it belongs to.
    fn part(&mut self, epoch: u64, digest: Digest, part: &Part<'_>) -> Result<u64, Refusal<'_>> {
        self.chunk(&Chunk { epoch, digest, offset: part.offset, bytes: part.bytes })
    }
    /// Address at which the begun upload lies, for a debug probe.
    fn place(&mut self, digest: Digest) -> Result<u64, Refusal<'_>> {
        let _ = digest;
        Err(no_such("this device's memory is its own"))
    }
    /// A debug probe has written all bytes of the begun upload below `offset`. Returns the next offset wanted.
    fn arrived(&mut self, digest: Digest, offset: u64) -> Result<u64, Refusal<'_>> {
        let _ = (digest, offset);
        Err(no_such("this device's memory is its own"))
    }
    /// Can the link go at this rate? The rate that it will go at once the answer is sent.
    fn baud(&mut self, rate: u32) -> Result<u32, Refusal<'_>> {
        let _ = rate;
        Err(no_such("this link has no rate"))
    }
}

fn no_such(detail: &'static str) -> Refusal<'static> {
    Refusal { code: RefusalCode::Limit, detail, number: 0 }
}
