//! One cell, one pass: a few steps between frames, each at most one inference.
//!
//! Each pass begins with an arena that holds nothing but poison and with fresh paint on the stack. Facts become events in the order in which
//! they come to be; when these have no room any more the job waits until the host has taken some.

mod answers;
mod inspect;
mod latency;
mod memory;
mod start;

use crate::Hardware;
use crate::engine::{Engine, Loaded};
use crate::events::{EVENTS_BYTES, Events, Full};
use crate::histogram::Histogram;
use answers::Kept;
use boardproof_protocol::{CannotRun, Digest, Ended, Event, Key, Pass, Run, Stage};

/// Bytes of a stream in one event.
const PIECE: usize = 512;
/// Room that any one step may need in the events: a piece, and the facts around it.
const ROOM: usize = 1024;
const _: () = assert!(ROOM > PIECE + 128 && 2 * ROOM < EVENTS_BYTES);
/// Words on how far a pass is, at most.
const PROGRESS_STEPS: u64 = 20;
/// What the arena holds before a first and a second look.
const POISON: [u8; 2] = [0x55, 0xaa];

/// What the host asked for.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    job: u32,
    pass: Pass,
    pub(crate) model: Digest,
    pub(crate) evalset: Digest,
    first: u64,
    count: u64,
    warmup: u32,
    iterations: u32,
    deadline_ms: u32,
    memory_limit_bytes: u64,
    /// A fault that was asked for by `crash=...`.
    fault: Option<Fault>,
    /// Seed of the sketches that were asked for by `sketch=...`, in the place of answers.
    sketch: Option<u32>,
}

/// Faults on purpose: what a crash looks like from outside can be proved on any board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `crash=udf`: an undefined instruction.
    Undefined,
    /// `crash=bus`: an access where nothing is.
    Bus,
    /// `crash=hang`: never comes back; the watchdog's to find.
    Hang,
    /// `crash=panic`: a mistake that the firmware finds itself.
    Panic,
    /// `crash=stuck`: never comes back and keeps the watchdog quiet, as if there were none.
    Stuck,
}

impl Fault {
    /// The fault that a job's options ask for.
    pub fn asked(options: &str) -> Option<Self> {
        match options.strip_prefix("crash=")? {
            "udf" => Some(Self::Undefined),
            "bus" => Some(Self::Bus),
            "hang" => Some(Self::Hang),
            "panic" => Some(Self::Panic),
            "stuck" => Some(Self::Stuck),
            _ => None,
        }
    }
}

impl Order {
    /// The order of a request.
    pub fn of(run: &Run<'_>) -> Self {
        Self {
            job: run.job,
            pass: run.pass,
            model: run.model,
            evalset: run.evalset,
            first: run.first,
            count: run.count,
            warmup: run.warmup,
            iterations: run.iterations,
            deadline_ms: run.deadline_ms,
            memory_limit_bytes: run.memory_limit_bytes,
            fault: Fault::asked(run.options),
            // Never of a pass that times or weighs: there the model works, and nothing else.
            sketch: run
                .options
                .strip_prefix("sketch=")
                .filter(|_| run.pass == Pass::Accuracy)
                .and_then(|s| s.parse().ok()),
        }
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Load,
    Operator(usize),
    Check(u64),
    Announce(usize),
    Sample(u64),
    /// Sample and layer, where sketches are wanted.
    Layer(u64, usize),
    /// Sample, output, and the first of its bytes that is not told yet.
    Answer(u64, usize, usize),
    Warm(u32),
    Measure(u32),
    Bin(usize),
    Memory(u32),
    Sections,
    Finish,
    Done,
}

impl At {
    /// Number of the step in [`crate::Crash::PHASES`].
    fn phase(self) -> u32 {
        match self {
            Self::Start | Self::Load => 1,
            Self::Operator(_) => 2,
            Self::Check(_) => 3,
            Self::Sample(_) | Self::Layer(..) | Self::Warm(_) | Self::Measure(_) | Self::Memory(_) => 4,
            Self::Announce(_) | Self::Answer(..) | Self::Bin(_) | Self::Sections | Self::Finish => 5,
            Self::Done => 0,
        }
    }
}

/// A job on a model and samples that stay as they are for `'m`.
pub struct Job<'m, E: Engine> {
    order: Order,
    model: &'m [u8],
    samples: &'m [u8],
    loaded: Option<E::Loaded<'m>>,
    at: At,
    started: u64,
    /// When measuring began.
    measuring: u64,
    kept: Kept,
    histogram: Histogram,
    /// Digest of the answers of the first look, and whether any second look had others.
    answers: u64,
    differ: bool,
}

/// How a step ended that did not simply go on.
enum Halt {
    /// The events are full.
    Full,
    /// The job is over.
    Over(Ended),
}

impl From<Full> for Halt {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

type Step = Result<(), Halt>;

impl<'m, E: Engine> Job<'m, E> {
    /// A job that begins at this tick.
    pub fn new(order: Order, model: &'m [u8], samples: &'m [u8], now: u64) -> Self {
        Self {
            order,
            model,
            samples,
            loaded: None,
            at: At::Start,
            started: now,
            measuring: now,
            kept: Kept::new(),
            histogram: Histogram::new(),
            answers: 0,
            differ: false,
        }
    }

    /// Its last event was told.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// One step. False when the host must take events first.
    pub fn go_on<H: Hardware>(
        &mut self,
        hardware: &mut H,
        engine: &mut E,
        arena: &mut [u8],
        events: &mut Events<'_>,
    ) -> bool {
        if self.is_done() || events.room() < ROOM {
            return false;
        }
        hardware.mark(self.order.job, self.at.phase());
        let mut working = Working { job: self, hardware, engine, arena, events };
        match working.step() {
            Ok(()) => true,
            Err(Halt::Full) => false,
            Err(Halt::Over(ended)) => {
                // The room that a step has is more than this needs.
                let _ = events.push(&Event::Ended(ended));
                self.at = At::Done;
                true
            }
        }
    }
}

/// A job at work, with what it works with.
struct Working<'a, 'e, 'm, H, E: Engine> {
    job: &'a mut Job<'m, E>,
    hardware: &'a mut H,
    engine: &'a mut E,
    arena: &'a mut [u8],
    events: &'a mut Events<'e>,
}

impl<H: Hardware, E: Engine> Working<'_, '_, '_, H, E> {
    fn step(&mut self) -> Step {
        let elapsed = self.hardware.now().saturating_sub(self.job.started);
        let deadline = u64::from(self.job.order.deadline_ms).saturating_mul(self.hardware.hz()) / 1000;
        if elapsed >= deadline {
            return Err(Halt::Over(Ended::DeadlineExceeded { deadline_ms: self.job.order.deadline_ms }));
        }
        match self.job.at {
            At::Start => self.start(),
            At::Load => self.load(),
            At::Operator(index) => self.operator(index),
            At::Check(done) => self.check(done),
            At::Announce(index) => self.announce(index),
            At::Sample(done) => self.sample(done),
            At::Layer(sample, layer) => self.layer(sample, layer),
            At::Answer(sample, output, from) => self.answer(sample, output, from),
            At::Warm(done) => self.warm(done),
            At::Measure(done) => self.measure(done),
            At::Bin(from) => self.bin(from),
            At::Memory(done) => self.memory(done),
            At::Sections => self.sections(),
            At::Finish => self.finish(),
            At::Done => Ok(()),
        }
    }

    fn number(&mut self, key: Key, index: u16, value: u64) -> Result<(), Full> {
        self.events.push(&Event::Number { key, index, value })
    }

    fn ns(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * 1_000_000_000 / u128::from(self.hardware.hz().max(1))) as u64
    }

    fn progress(&mut self, done: u64, total: u64) -> Result<(), Full> {
        let every = (total / PROGRESS_STEPS).max(1);
        if done.is_multiple_of(every) || done == total {
            return self.events.push(&Event::Progress { done, total });
        }
        Ok(())
    }

    /// The engine gives the model up.
    fn cannot_run(&mut self, stage: Stage, reason: &str) -> Halt {
        let event = Event::CannotRun(CannotRun { stage, operator: "", node: "", reason });
        match self.events.push(&event) {
            Ok(()) => Halt::Over(Ended::CannotRun),
            Err(Full) => Halt::Full,
        }
    }

    /// Puts a sample of the evalset into the arena.
    fn put(&mut self, sample: u64) -> Step {
        let Some(loaded) = &mut self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        let needed = loaded.arena_bytes();
        // Nothing beyond what the model says that it needs.
        let Some(arena) = self.arena.get_mut(..needed) else { return Err(Halt::Over(Ended::NotStarted)) };
        let size = loaded.sample_bytes();
        let from = (self.job.order.first + sample) as usize * size;
        let mut rest = self.job.samples.get(from..from + size).unwrap_or_default();
        // An answer of the run before must not look like one of this.
        for index in 0..loaded.outputs() {
            arena.get_mut(loaded.output(index).place).unwrap_or_default().fill(POISON[1]);
        }
        for index in 0..loaded.inputs() {
            let room = arena.get_mut(loaded.input(index).place).unwrap_or_default();
            let (bytes, more) = rest.split_at(room.len().min(rest.len()));
            room[..bytes.len()].copy_from_slice(bytes);
            rest = more;
        }
        if let Some(fault) = self.job.order.fault {
            self.hardware.crash_on_purpose(fault);
        }
        Ok(())
    }

    /// Puts a sample into the arena and runs the model on it. Returns the ticks of the inference.
    fn infer(&mut self, sample: u64) -> Result<u64, Halt> {
        self.put(sample)?;
        let Some(loaded) = &mut self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        let needed = loaded.arena_bytes();
        let Some(arena) = self.arena.get_mut(..needed) else { return Err(Halt::Over(Ended::NotStarted)) };
        let (mut ended, mut ticks) = (Ok(()), 0);
        self.hardware.undisturbed(&mut |now| {
            let before = now();
            ended = loaded.run(arena);
            ticks = now().saturating_sub(before);
        });
        match ended {
            Ok(()) => Ok(ticks),
            Err(failed) => Err(self.cannot_run(Stage::Run, failed.reason.as_str())),
        }
    }

    /// What was measured on counts only if neither model nor stack was harmed on the way.
    fn finish(&mut self) -> Step {
        if self.job.loaded.as_ref().is_none_or(|loaded| !loaded.is_unharmed()) {
            // A fault of the unit: it says nothing about the model.
            return Err(Halt::Over(Ended::NotStarted));
        }
        let (peak, room) = (self.hardware.stack_peak(), self.hardware.sections().stack);
        if peak >= room {
            return Err(Halt::Over(Ended::OutOfMemory { limit_bytes: u64::from(room) }));
        }
        let wall = self.hardware.now().saturating_sub(self.job.started);
        let ns = self.ns(wall);
        self.number(Key::PassWallNs, 0, ns)?;
        Err(Halt::Over(Ended::Completed))
    }
}
