//! The message table. Enums grow at the end only; a change of meaning is a new version.
//!
//! Messages are encoded with postcard (varint, little endian, borrowed text and bytes). The host asks, the device answers:
//! every [`Request`] is idempotent, so a host that saw no answer asks again with the same sequence number. Events of a job are
//! numbered from 0 and kept by the device until the host pulls the next one; the credit in [`Request::Pull`] is the flow control.
//!
//! | request       | answer                          | may be repeated because                                   |
//! |---------------|---------------------------------|-----------------------------------------------------------|
//! | `Hello`       | `Hello`                         | it starts the session named in the frame anew             |
//! | `Acquire`     | `Leased` or `Held`              | the same epoch and holder renew                           |
//! | `Release`     | `Released`                      | releasing twice changes nothing                           |
//! | `Stat`        | `Stat`                          | it reads                                                  |
//! | `Begin`       | `Ready`                         | it answers where to go on                                 |
//! | `Chunk`       | `Ready`                         | bytes below the offset already stored are ignored         |
//! | `Finish`      | `Stored`                        | a stored blob stays stored                                |
//! | `Run`         | `Accepted`                      | the job number names it                                   |
//! | `Environment` | `Accepted`                      | the job number names it; its events are facts             |
//! | `Pull`        | `Event`s, then `Pending`/`Done` | events are numbered                                       |
//! | `Cancel`      | `Accepted`                      | a cancelled job stays cancelled                           |
//! | `Clean`       | `Cleaned`                       | an empty cache stays empty                                |
//! | `Bye`         | `Bye`                           | the session is over either way                            |
//! | `Part`        | `Ready`                         | bytes below the offset already stored are ignored         |
//! | `Place`       | `Placed`                        | an upload has one place                                   |
//! | `Arrived`     | `Ready`                         | what has arrived has arrived                              |
//! | `Baud`        | `Baud`                          | the same rate again changes nothing                       |
//!
//! Any request may be answered by `Refused`.

use serde::{Deserialize, Serialize};

/// SHA-256 of a blob's content (of the plain content, never of its compressed form).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::fmt::Display for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What the host asks. See the table at the top of this module.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Opens a session; the only request that is answered outside one.
    Hello(HostHello<'a>),
    /// Takes or renews the unit's lease.
    #[serde(borrow)]
    Acquire(Acquire<'a>),
    /// Gives the lease back, if this epoch holds it.
    Release {
        /// Epoch that was acquired.
        epoch: u64,
    },
    /// Is this blob here, and how much of it?
    Stat {
        /// Content asked about.
        digest: Digest,
    },
    /// Starts or resumes the upload of a blob.
    Begin(Begin),
    /// A numbered piece of the blob that was begun.
    Chunk(Chunk<'a>),
    /// The blob is complete: verify its digest, then keep it.
    Finish {
        /// Epoch that was acquired.
        epoch: u64,
        /// Content that must result.
        digest: Digest,
    },
    /// Starts a job: one cell, one pass.
    Run(Run<'a>),
    /// Starts a job whose events are facts about the unit.
    Environment {
        /// Number of the job, chosen by the host.
        job: u32,
    },
    /// Asks for the events of a job from a number on; all earlier ones may be forgotten.
    Pull {
        /// The job.
        job: u32,
        /// First event wanted; also acknowledges all before it.
        from: u32,
        /// At most this many events may be sent for this request.
        credit: u16,
    },
    /// Ends a job early. Its last event is `Ended(Cancelled)`.
    Cancel {
        /// The job.
        job: u32,
    },
    /// Removes what boardproof stored on the unit.
    Clean {
        /// Epoch that was acquired.
        epoch: u64,
    },
    /// Ends the session; running jobs are cancelled.
    Bye,
    /// A piece of the blob that was begun, for links on which every byte counts. Since version 3.
    Part(Part<'a>),
    /// Where in the unit's memory do the bytes of the begun upload go? For a debug probe that writes them there. Since version 3.
    Place {
        /// Epoch that was acquired.
        epoch: u64,
        /// Content that was begun.
        digest: Digest,
    },
    /// All bytes of the begun upload below this offset were written by a debug probe. Since version 3.
    Arrived {
        /// Epoch that was acquired.
        epoch: u64,
        /// Content that was begun.
        digest: Digest,
        /// Coded bytes that are there.
        offset: u64,
    },
    /// From the answer to this on, both sides speak at another rate. A device that understands nothing at the new rate goes back to the
    /// one it started with. Since version 3.
    Baud {
        /// Bits per second.
        rate: u32,
    },
}

/// What the device answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// Who the device is.
    #[serde(borrow)]
    Hello(DeviceHello<'a>),
    /// The lease is held by the asker.
    Leased {
        /// Epoch now in force.
        epoch: u64,
        /// Time until it expires unless renewed.
        ttl_ms: u32,
    },
    /// Somebody else holds the lease.
    Held {
        /// Who, in the holder's own words.
        holder: &'a str,
        /// Their epoch.
        epoch: u64,
        /// Time until their lease expires.
        remaining_ms: u32,
    },
    /// The lease is not held by the asker (any more).
    Released,
    /// What is known of a blob.
    Stat {
        /// Complete and verified.
        present: bool,
        /// Bytes received so far, in the coding of the begun upload.
        received: u64,
    },
    /// The upload goes on at this offset (in coded bytes).
    Ready {
        /// Next offset wanted.
        offset: u64,
    },
    /// The blob is complete, verified and kept.
    Stored {
        /// Its content.
        digest: Digest,
    },
    /// The job was taken (or had been taken before).
    Accepted {
        /// The job.
        job: u32,
    },
    /// One event of a job.
    Event {
        /// The job.
        job: u32,
        /// Number of the event, from 0 without gaps.
        index: u32,
        /// The event.
        event: Event<'a>,
    },
    /// No event with this number exists yet; ask again.
    Pending {
        /// The job.
        job: u32,
        /// Number the next event will have.
        next: u32,
    },
    /// The job has ended and every event was pulled.
    Done {
        /// The job.
        job: u32,
        /// How many events it had.
        events: u32,
    },
    /// The cache is empty.
    Cleaned {
        /// Bytes freed.
        bytes: u64,
    },
    /// The session is over.
    Bye,
    /// The request was not carried out.
    Refused(Refused<'a>),
    /// Where the bytes of the begun upload go. Since version 3.
    Placed {
        /// Address of its first byte.
        address: u64,
    },
    /// The rate that is in force after this answer. Since version 3.
    Baud {
        /// Bits per second.
        rate: u32,
    },
}

/// The host's side of the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHello<'a> {
    /// Oldest protocol version the host speaks.
    pub version_min: u16,
    /// Newest protocol version the host speaks.
    pub version_max: u16,
    /// Digest of the message table the host was built with.
    pub schema: u64,
    /// Build of the host, for the unit's log.
    pub build: &'a str,
    /// Largest frame the host can take, in bytes.
    pub frame_max: u32,
}

/// The device's side of the greeting: what a host must know before it ships anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceHello<'a> {
    /// Version chosen: the newest that both speak.
    pub version: u16,
    /// Digest of the message table the device was built with.
    pub schema: u64,
    /// Build of the agent: version and digest of its binary.
    pub build: &'a str,
    /// Architecture as Rust names it (`aarch64`, `x86_64`, ...).
    pub architecture: &'a str,
    /// Operating system and C library found on the unit (`linux gnu 2.36`, `linux musl`, `linux none` where no program can
    /// start that needs one, `linux unknown`).
    pub system: &'a str,
    /// What names this one unit: machine id or serial number; empty when it has none.
    pub identity: &'a str,
    /// Ticks of the measuring clock per second.
    pub tick_hz: u64,
    /// Memory for models and tensors, in bytes.
    pub memory_bytes: u64,
    /// Room for blobs, in bytes: what is free, and what would be if blobs went that the unit lets go by itself.
    pub store_free_bytes: u64,
    /// Engines linked into the agent itself (`name version`, separated by `;`); empty when engines are shipped as runners.
    pub engines: &'a str,
    /// Largest frame the device can take, in bytes.
    pub frame_max: u32,
    /// Chunks the host may send before it must wait for an answer.
    pub chunk_window: u16,
    /// Changes with every boot of the unit; 0 when the unit cannot tell.
    pub boot: u64,
}

/// Wish for the unit's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire<'a> {
    /// Grows with every holder; the agent refuses writes of a lower one.
    pub epoch: u64,
    /// Who asks: user, host, process.
    pub holder: &'a str,
    /// How long the lease lasts without renewal.
    pub ttl_ms: u32,
}

/// How a blob's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// As they are.
    Plain,
    /// One zstd frame.
    Zstd,
    /// One zstd frame of an AArch64 program whose calls were made into addresses, see [`crate::branches`].
    ZstdArm64,
}

/// Start of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Epoch that was acquired.
    pub epoch: u64,
    /// Content that will result.
    pub digest: Digest,
    /// Size of the content, in bytes.
    pub size: u64,
    /// Size as it travels, in bytes.
    pub coded_size: u64,
    /// How it travels.
    pub coding: Coding,
    /// The content is a program: make it executable.
    pub program: bool,
}

/// A piece of a blob, in its coded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk<'a> {
    /// Epoch that was acquired.
    pub epoch: u64,
    /// Content that will result.
    pub digest: Digest,
    /// Where these bytes belong, in coded bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A piece of the upload that was begun, in its coded form, without what the device knows already. The device checks that the epoch of
/// `Begin` still holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part<'a> {
    /// The first four bytes of the digest that was begun, little endian.
    pub upload: u32,
    /// Where these bytes belong, in coded bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Digest {
    /// How a [`Part`] names the upload of this content.
    pub fn upload(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// One kind of measurement. Each runs in a fresh process, so that none contaminates another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pass {
    /// Load, list the operators, check the optimized against the unoptimized graph.
    Inspect,
    /// Run the evalset and return every output.
    Accuracy,
    /// Run one sample at a time and return the ticks of every inference.
    Latency,
    /// Load and run with memory accounting.
    Memory,
}

/// One cell, one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<'a> {
    /// Epoch that was acquired.
    pub epoch: u64,
    /// Number of the job, chosen by the host; asking twice with one number starts one job.
    pub job: u32,
    /// The runner to start; all zero when the agent has the engine itself.
    pub runner: Digest,
    /// The model.
    pub model: Digest,
    /// The evalset.
    pub evalset: Digest,
    /// Name of the engine.
    pub engine: &'a str,
    /// What to do.
    pub pass: Pass,
    /// Samples per inference.
    pub batch: u32,
    /// First sample of the evalset to use.
    pub first: u64,
    /// Samples to use.
    pub count: u64,
    /// Inferences before the measured ones.
    pub warmup: u32,
    /// Measured inferences (latency pass); they walk the samples round and round.
    pub iterations: u32,
    /// Wall time after which the job is ended as `DeadlineExceeded`.
    pub deadline_ms: u32,
    /// Limit on the runner's memory (address space or cgroup, as the unit allows); 0 for none.
    pub memory_limit_bytes: u64,
    /// Options of the runner as JSON (inputs, preprocessing, threads); empty for the defaults. Opaque to the session.
    pub options: &'a str,
}

/// Why a request was not carried out. Codes grow at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// No common protocol version.
    Version,
    /// The request belongs to no open session.
    NoSession,
    /// The epoch does not hold the lease (any more).
    NotHolder,
    /// The offset is not the next one wanted.
    Offset,
    /// The content does not have the digest that was announced.
    DigestMismatch,
    /// Not enough free space.
    NoSpace,
    /// A limit of the device was exceeded.
    Limit,
    /// A blob that the job needs is not stored.
    MissingBlob,
    /// No such job.
    UnknownJob,
    /// Another job is running.
    Busy,
    /// This engine is not here.
    UnknownEngine,
    /// The request could not be decoded.
    Malformed,
    /// The device could not read or write its store, or start a process.
    Device,
}

/// A refusal: what was expected and what was found, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused<'a> {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// What was wanted, found or to be done.
    pub detail: &'a str,
    /// A number that belongs to the code: offset wanted, bytes free, epoch in force.
    pub number: u64,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The process runs.
    Started,
    /// The model is being loaded.
    Loading,
    /// Warm-up inferences.
    Warming,
    /// Measured inferences.
    Measuring,
}

/// Names of the numbers a device reports. Units end the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Time to load and optimize the model.
    LoadNs,
    /// Time of the very first inference.
    FirstInferenceNs,
    /// Cost of reading the measuring clock once, median.
    TimerOverheadNs,
    /// Smallest step of the measuring clock that was seen.
    TimerStepNs,
    /// Resident set when the runner was ready, before the model.
    RssStartBytes,
    /// Resident set after loading.
    RssAfterLoadBytes,
    /// Resident set after the first inference.
    RssAfterFirstBytes,
    /// Largest resident set (kernel's high-water mark).
    RssPeakBytes,
    /// Largest sum of live heap allocations after the runner was ready.
    AllocPeakBytes,
    /// Page faults without I/O during the measured inferences.
    MinorFaults,
    /// Page faults with I/O during the measured inferences.
    MajorFaults,
    /// Instructions retired per measured inference, mean times 1000.
    InstructionsMilli,
    /// Cycles per measured inference, mean times 1000.
    CyclesMilli,
    /// Wall time of all measured inferences together.
    MeasuredWallNs,
    /// Processors of the unit.
    CpuCount,
    /// Frequency of a core now (`index` is the core).
    CpuFrequencyHz,
    /// Highest frequency of a core.
    CpuFrequencyMaxHz,
    /// Temperature of a zone in thousandths of a degree Celsius (`index` is the zone).
    TemperatureMilliC,
    /// Throttling events counted by a core since boot.
    ThrottleCount,
    /// Load average over one minute times 1000.
    LoadMilli,
    /// Memory of the unit.
    MemoryTotalBytes,
    /// Memory available on the unit.
    MemoryAvailableBytes,
    /// Core the runner is pinned to.
    PinnedCore,
    /// Wall clock of the unit, seconds since 1970.
    WallClockUnixS,
    /// Monotonic clock of the unit since boot.
    UptimeMs,
    /// Size of the runner binary.
    RunnerBytes,
    /// Size of the agent binary.
    AgentBytes,
    /// Resident set of the agent itself.
    AgentRssBytes,
    /// Time of the pass by the measuring clock, from the runner's first event to this one. The host holds its own clock against it.
    /// Since version 2.
    PassWallNs,
    /// Flash of the agent with its engine; `index` 0 is all of it, 1 code, 2 constants, 3 initial values of variables. Since version 3.
    FlashBytes,
    /// RAM that the agent takes whatever it runs: variables and buffers, without stack, arena and store. Since version 3.
    StaticRamBytes,
    /// Largest extent of the arena that the pass used: activations and scratch of the model. Since version 3.
    ArenaPeakBytes,
    /// Room that the arena has. Since version 3.
    ArenaBytes,
    /// Largest stack of the pass, by its paint. Since version 3.
    StackPeakBytes,
    /// Room that the stack has. Since version 3.
    StackBytes,
    /// Size of the model as it lies in flash, constants and tables. Since version 3.
    ModelBytes,
    /// Bytes that the receiver of the link lost because nobody took them in time, since boot. Since version 3.
    LinkOverruns,
    /// Inferences by their ticks: `index` is a bin of a logarithmic histogram, see [`ticks_bin`]; a count stops at 65,535. Since version 3.
    TicksHistogram,
    /// Mean time of one run of an operator, when each is timed by itself; `index` is the operator's. Since version 4.
    OperatorNs,
    /// Size of an operator's outputs; `index` is the operator's. Since version 4.
    OperatorOutBytes,
    /// Multiply-accumulates of one run of an operator; `index` is the operator's. Since version 4.
    OperatorMacs,
    /// Multiply-accumulates of 32-bit floats that the runner's probe got out of one core in a second. Since version 4.
    PeakF32MacPerS,
    /// The same of 8-bit integers, summed in 32 bits. Since version 4.
    PeakI8MacPerS,
    /// Bytes that the probe read out of main memory in a second. Since version 4.
    PeakReadBytesPerS,
    /// Wall time of the inferences before the measured ones, from the first to the last of them. Since version 5.
    WarmupWallNs,
    /// Copies to the GPU in one inference, by the GPU's clock; `index` is the inference, in a few of their own. Since version 5.
    GpuToDeviceNs,
    /// Kernels of the same inference, with the gaps between them. Since version 5.
    GpuComputeNs,
    /// Copies from the GPU in the same inference. Since version 5.
    GpuToHostNs,
    /// Time of the same inference in which the GPU waited because operators ran on the CPU instead. Since version 5.
    GpuOnCpuNs,
    /// The host's time to hand the kernels of the same inference over, by its own clock. Since version 5.
    GpuEnqueueNs,
    /// Memory of the GPU. Since version 5.
    GpuTotalBytes,
    /// Memory of the GPU in use by whomever when the runner was ready, before the model. Since version 5.
    GpuUsedStartBytes,
    /// The same after loading. Since version 5.
    GpuUsedAfterLoadBytes,
    /// The same after the first inference. Since version 5.
    GpuUsedAfterFirstBytes,
    /// The same at the end of the pass. Since version 5.
    GpuUsedEndBytes,
    /// Largest sum of what this process was given by the driver's memory pool. Since version 5.
    GpuPoolPeakBytes,
    /// Frequency of the GPU's cores; here and below `index` 0 is before the pass and 1 after it. Since version 5.
    GpuClockHz,
    /// Highest frequency of the GPU's cores. Since version 5.
    GpuClockMaxHz,
    /// Frequency of the GPU's memory. Since version 5.
    GpuMemoryClockHz,
    /// Power that the GPU takes. Since version 5.
    GpuPowerMilliW,
    /// Power that the GPU may take. Since version 5.
    GpuPowerLimitMilliW,
    /// Temperature of the GPU in thousandths of a degree Celsius. Since version 5.
    GpuTemperatureMilliC,
    /// Share of the driver's latest sampling period in which the GPU did something, times 1000. Since version 5.
    GpuUtilizationMilli,
    /// Processes that have the GPU open, without the runner. Since version 5.
    GpuOtherProcesses,
    /// Time after which the unit's watchdog starts it anew unless it comes to look at its link, by the unit's own clock: at least so long,
    /// whatever that clock's tolerance. Since version 6.
    WatchdogMs,
}

/// Bins of [`Key::TicksHistogram`]: 32 octaves of eight, and those below eight one by one.
pub const TICKS_BINS: usize = 8 + 32 * 8;

/// Bin of [`Key::TicksHistogram`] that an inference of so many ticks is counted in. Below eight each number has its own; above, bin
/// `8 * (octave + 1) + eighth` begins at `(8 + eighth) << octave`, so that a bin is at most an eighth wide. The last one has no end.
pub fn ticks_bin(ticks: u64) -> usize {
    if ticks < 8 {
        return ticks as usize;
    }
    let octave = 60 - ticks.leading_zeros() as usize;
    let eighth = (ticks >> octave) as usize & 7;
    (8 * (octave + 1) + eighth).min(TICKS_BINS - 1)
}

/// Names of the texts a device reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TextKey {
    /// Name and version of the engine.
    Engine,
    /// Processor model.
    CpuModel,
    /// Processor features, separated by spaces.
    CpuFeatures,
    /// Governor of a core (`index` is the core).
    Governor,
    /// Name of a thermal zone.
    ThermalZone,
    /// Kernel name, release and version.
    Kernel,
    /// C library and its version.
    Libc,
    /// Board model as the firmware names it.
    Board,
    /// Operating system.
    Os,
    /// Last lines the runner wrote to its standard error.
    Stderr,
    /// Build of the runner.
    RunnerBuild,
    /// What counts the ticks, and how it was found (`DWT CYCCNT`, `SysTick`, a timer by its name). Since version 3.
    ClockSource,
    /// Why the unit started last (`power on`, `watchdog`, `pin`, `software`, `fault`). Since version 3.
    ResetReason,
    /// What a fault handler kept across the reset: kind of fault and registers. Since version 3.
    CrashRecord,
    /// The GPU as its driver names it. Since version 5.
    GpuName,
    /// Version of the GPU's driver. Since version 5.
    GpuDriver,
    /// Why the GPU's clocks are lower than they could be; empty when nothing holds them back. `index` 0 is before the pass and 1 after it. Since version 5.
    GpuThrottle,
}

/// Element types of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE 754 binary64.
    F64,
    /// Signed 8 bit.
    I8,
    /// Unsigned 8 bit.
    U8,
    /// Signed 16 bit.
    I16,
    /// Unsigned 16 bit.
    U16,
    /// Signed 32 bit.
    I32,
    /// Unsigned 32 bit.
    U32,
    /// Signed 64 bit.
    I64,
    /// Unsigned 64 bit.
    U64,
    /// One byte, 0 or 1.
    Bool,
}

/// Largest rank of a tensor on the wire.
pub const RANK_MAX: usize = 8;

/// An output tensor over all samples: its first dimension is the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output<'a> {
    /// Position among the model's outputs.
    pub index: u16,
    /// Name in the model.
    pub name: &'a str,
    /// Element type as the engine returned it.
    pub dtype: Dtype,
    /// Number of dimensions used in `dims`.
    pub rank: u8,
    /// Shape; dimensions past `rank` are 0.
    pub dims: [u64; RANK_MAX],
}

/// One operator of the plan that really runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator<'a> {
    /// Position in execution order.
    pub index: u32,
    /// Node name.
    pub name: &'a str,
    /// Operator as the engine names it.
    pub op: &'a str,
    /// Element types of inputs and outputs (`i8,i8->i32`).
    pub dtypes: &'a str,
    /// Kernel the engine chose; empty when it does not tell.
    pub kernel: &'a str,
}

/// What the engine's own optimizer did to the answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck<'a> {
    /// Samples compared.
    pub samples: u32,
    /// Optimized and unoptimized graph agree within float rounding.
    pub agree: bool,
    /// Largest absolute difference of any output.
    pub max_abs: f64,
    /// Signal-to-noise ratio of optimized against unoptimized over all outputs; infinite when identical.
    pub sqnr_db: f64,
    /// First operator where they part, as found; empty when they agree.
    pub operator: &'a str,
    /// How the operator was found, or why it could not be.
    pub detail: &'a str,
}

/// Stage at which an engine gave a model up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Reading the file.
    Parse,
    /// Typing and shapes.
    Type,
    /// Optimizing.
    Optimize,
    /// Making it runnable.
    Prepare,
    /// Running it.
    Run,
    /// Reading the evalset.
    Evalset,
}

/// The engine cannot run this model: a statement about the model, not about the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CannotRun<'a> {
    /// Where it gave up.
    pub stage: Stage,
    /// Operator, when known.
    pub operator: &'a str,
    /// Node, when known.
    pub node: &'a str,
    /// The engine's own words.
    pub reason: &'a str,
}

/// How a job ended. Everything but `Completed` and `Cancelled` is an observation of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// All was done.
    Completed,
    /// The engine gave the model up (a `CannotRun` event says why).
    CannotRun,
    /// The runner ended with a code that is not 0.
    Exited {
        /// The code.
        code: i32,
    },
    /// The runner was ended by a signal that neither the agent nor the kernel's memory killer sent.
    Signalled {
        /// The signal.
        signal: i32,
    },
    /// The runner ran out of memory: its limit, or the unit's.
    OutOfMemory {
        /// The limit in force; 0 when the unit's own memory ran out.
        limit_bytes: u64,
    },
    /// The job's wall time ran out.
    DeadlineExceeded {
        /// The deadline.
        deadline_ms: u32,
    },
    /// The host asked for it.
    Cancelled,
    /// The agent could not start or follow the runner, or it ended before its first event: nothing is known of the model (a fault of
    /// the unit or of what was shipped to it).
    NotStarted,
}

/// Bytes that belong to one long thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Bytes of the output with this index, samples in order, little endian.
    Output(u16),
    /// Ticks of each measured inference as u64, little endian.
    Ticks,
}

/// Raw facts of a job, in the order in which they came to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// The job reached a phase.
    Phase(Phase),
    /// A number.
    Number {
        /// Its name and unit.
        key: Key,
        /// Which of several (core, zone); 0 else.
        index: u16,
        /// The number.
        value: u64,
    },
    /// A text.
    Text {
        /// Its name.
        key: TextKey,
        /// Which of several; 0 else.
        index: u16,
        /// The text.
        value: &'a str,
    },
    /// A number that could not be read, and why. Absence has a reason; it is never a zero.
    Missing {
        /// Its name.
        key: Key,
        /// The reason.
        reason: &'a str,
    },
    /// An operator of the plan that runs.
    #[serde(borrow)]
    Operator(Operator<'a>),
    /// An output; its bytes follow in [`Event::Data`].
    Output(Output<'a>),
    /// A piece of a stream, in order and without gaps.
    Data {
        /// The stream.
        stream: Stream,
        /// Where the bytes belong.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Inferences done so far.
    Progress {
        /// Done.
        done: u64,
        /// To do.
        total: u64,
    },
    /// Result of the self-check.
    SelfCheck(SelfCheck<'a>),
    /// The engine gave the model up.
    CannotRun(CannotRun<'a>),
    /// The last event of every job.
    Ended(Ended),
}
