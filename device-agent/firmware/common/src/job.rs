//! One cell, one pass: a few steps between frames, each at most one inference.
//!
//! The model is looked at anew before every inference: a bit that has turned over in memory is found, and nothing runs on it.

use crate::events::{EVENTS_BYTES, Events, Full};
use crate::histogram::Histogram;
use crate::store::Store;
use crate::{About, Hardware};
use boardproof_micro::{Dtype as Values, Model, RunError};
use boardproof_protocol as wire;
use boardproof_protocol::{
    CannotRun, Digest, Ended, Event, Key, Output, Pass, Phase, Run, SelfCheck, Stage, Stream, TextKey,
};

/// What a job works on.
pub struct Place<'a> {
    /// Blobs.
    pub store: &'a Store<'a>,
    /// Activations.
    pub arena: &'a mut [u8],
    /// Where its facts go.
    pub events: &'a mut Events,
}

/// Bytes of answers in one event.
const PIECE: usize = 512;
/// Ticks in one event.
const TICKS: usize = 32;
/// Room that any one step may need in the events: a piece, and the facts around it.
const ROOM: usize = 1024;
/// Inferences between two words on how far it is.
const PROGRESS_EVERY: u64 = 16;
/// What the arena holds before a first and a second look.
const POISON: [u8; 2] = [0x55, 0xaa];

/// Bytes of events that a step needs free: a board must have more than this.
pub const fn pass_room() -> usize {
    assert!(ROOM < EVENTS_BYTES);
    ROOM
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Operator(usize),
    Check(u64),
    Sample(u64),
    Warm(u32),
    Measure(u32),
    Bin(usize),
    Finish,
    Done,
}

/// A job.
pub struct Job {
    pass: Pass,
    model: Digest,
    samples: Digest,
    first: u64,
    count: u64,
    warmup: u32,
    iterations: u32,
    deadline_ms: u32,
    memory_limit: u64,
    started: u64,
    at: At,
    /// Bytes that wait for an event, and how many of the stream were sent before them.
    kept: [u8; PIECE],
    filled: usize,
    sent: u64,
    ticks: [u64; TICKS],
    histogram: Histogram,
    /// Digest of the answers of the first look.
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

impl Job {
    /// A job that has not begun.
    pub fn new(run: &Run<'_>, now: u64) -> Self {
        Self {
            pass: run.pass,
            model: run.model,
            samples: run.evalset,
            first: run.first,
            count: run.count,
            warmup: run.warmup,
            iterations: run.iterations,
            deadline_ms: run.deadline_ms,
            memory_limit: run.memory_limit_bytes,
            started: now,
            at: At::Start,
            kept: [0; PIECE],
            filled: 0,
            sent: 0,
            ticks: [0; TICKS],
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
    pub fn go_on<H: Hardware>(&mut self, hardware: &mut H, place: Place<'_>) -> bool {
        if place.events.room() < ROOM {
            return false;
        }
        let Place { store, arena, events } = place;
        let mut step = Working { job: self, hardware, store, arena, events };
        match step.go_on() {
            Ok(()) => true,
            Err(Halt::Full) => false,
            Err(Halt::Over(ended)) => {
                let _ = events.push(&Event::Ended(ended));
                self.at = At::Done;
                true
            }
        }
    }
}

struct Working<'a, H> {
    job: &'a mut Job,
    hardware: &'a mut H,
    store: &'a Store<'a>,
    arena: &'a mut [u8],
    events: &'a mut Events,
}

type Step = Result<(), Halt>;

impl<H: Hardware> Working<'_, H> {
    fn go_on(&mut self) -> Step {
        let elapsed = self.hardware.now().saturating_sub(self.job.started);
        if elapsed / self.hardware.hz().max(1) * 1000 >= u64::from(self.job.deadline_ms) {
            return Err(Halt::Over(Ended::DeadlineExceeded { deadline_ms: self.job.deadline_ms }));
        }
        match self.job.at {
            At::Start => self.start(),
            At::Operator(index) => self.operator(index),
            At::Check(done) => self.check(done),
            At::Sample(done) => self.sample(done),
            At::Warm(done) => self.warm(done),
            At::Measure(done) => self.measure(done),
            At::Bin(from) => self.bin(from),
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

    /// The model, looked at.
    fn model(&mut self) -> Result<Model<'_>, Halt> {
        let Some(bytes) = self.store.blob(self.job.model) else { return Err(Halt::Over(Ended::NotStarted)) };
        match Model::check(bytes) {
            Ok(model) => Ok(model),
            Err(invalid) => {
                let event = CannotRun { stage: Stage::Parse, operator: "", node: "", reason: invalid.what.text() };
                self.events.push(&Event::CannotRun(event))?;
                Err(Halt::Over(Ended::CannotRun))
            }
        }
    }

    fn start(&mut self) -> Step {
        let about: About = self.hardware.about();
        self.events.push(&Event::Phase(Phase::Started))?;
        self.events.push(&Event::Text { key: TextKey::Engine, index: 0, value: "micro 1" })?;
        self.events.push(&Event::Text { key: TextKey::RunnerBuild, index: 0, value: about.build })?;
        self.events.push(&Event::Phase(Phase::Loading))?;
        self.hardware.paint_stack();
        self.arena.fill(POISON[0]);
        let before = self.hardware.now();
        let (arena, bytes, per_sample) = {
            let model = self.model()?;
            (model.arena_bytes(), model.bytes(), sample_bytes(&model))
        };
        let took = self.hardware.now().saturating_sub(before);
        self.fits(arena)?;
        let samples = self.store.blob(self.job.samples).map_or(0, <[u8]>::len) as u64;
        let wanted = (self.job.first + self.job.count) * per_sample as u64;
        if samples < wanted || self.job.count == 0 {
            let reason = "the samples are fewer than were asked for";
            let event = CannotRun { stage: Stage::Evalset, operator: "", node: "", reason };
            self.events.push(&Event::CannotRun(event))?;
            return Err(Halt::Over(Ended::NotStarted));
        }
        let load_ns = self.ns(took);
        self.number(Key::LoadNs, 0, load_ns)?;
        self.number(Key::ModelBytes, 0, bytes as u64)?;
        self.job.at = match self.job.pass {
            Pass::Inspect => At::Operator(0),
            Pass::Accuracy => {
                self.announce()?;
                At::Sample(0)
            }
            Pass::Latency => {
                self.clock_facts()?;
                self.job.histogram.clear();
                At::Warm(0)
            }
            Pass::Memory => At::Sample(0),
        };
        Ok(())
    }

    /// Is there room for the arena, in the board's and in the product's memory?
    fn fits(&mut self, needed: usize) -> Step {
        let sections = self.hardware.sections();
        let all = needed as u64 + u64::from(sections.static_ram);
        let limit = if needed > self.arena.len() { self.arena.len() as u64 } else { self.job.memory_limit };
        if needed <= self.arena.len() && (limit == 0 || all <= limit) {
            return Ok(());
        }
        self.number(Key::ArenaPeakBytes, 0, needed as u64)?;
        self.number(Key::StaticRamBytes, 0, u64::from(sections.static_ram))?;
        Err(Halt::Over(Ended::OutOfMemory { limit_bytes: limit }))
    }

    /// Says what outputs will come.
    fn announce(&mut self) -> Step {
        let count = self.job.count;
        let outputs = self.model()?.output_count();
        for index in 0..outputs {
            let Some(bytes) = self.store.blob(self.job.model) else { return Err(Halt::Over(Ended::NotStarted)) };
            let Ok(model) = Model::check(bytes) else { return Err(Halt::Over(Ended::NotStarted)) };
            let output = model.output(index);
            let mut dims = [0; wire::RANK_MAX];
            dims[0] = count;
            output.dims.iter().take(output.rank).enumerate().for_each(|(i, d)| dims[i + 1] = *d as u64);
            let dtype = if output.dtype == Values::F32 { wire::Dtype::F32 } else { wire::Dtype::I8 };
            let (name, rank) = (model.tensor_name(&output), output.rank as u8 + 1);
            self.events.push(&Event::Output(Output { index: index as u16, name, dtype, rank, dims }))?;
        }
        Ok(())
    }

    fn operator(&mut self, index: usize) -> Step {
        let Some(bytes) = self.store.blob(self.job.model) else { return Err(Halt::Over(Ended::NotStarted)) };
        let Ok(model) = Model::check(bytes) else { return Err(Halt::Over(Ended::NotStarted)) };
        let Some(operator) = model.operator(index) else {
            self.job.at = At::Check(0);
            return Ok(());
        };
        let kernel = if cfg!(feature = "dsp") && model.macs(&operator) > 0 { "dsp" } else { "plain" };
        let dtypes = match (model.tensor(operator.inputs[0].into()).dtype, model.tensor(operator.output.into()).dtype) {
            (Values::F32, _) => "f32->i8",
            (_, Values::F32) => "i8->f32",
            _ if operator.kind.inputs() == 2 => "i8,i8->i8",
            _ => "i8->i8",
        };
        let (name, op) = (model.operator_name(&operator), operator.kind.name());
        let event = wire::Operator { index: index as u32, name, op, dtypes, kernel };
        self.events.push(&Event::Operator(event))?;
        self.job.at = At::Operator(index + 1);
        Ok(())
    }

    /// Every sample twice, in an arena that held something else before: no answer may depend on that.
    fn check(&mut self, done: u64) -> Step {
        let (sample, look) = (done / 2, (done % 2) as usize);
        if sample == self.job.count {
            let agree = !self.job.differ;
            let check = SelfCheck {
                samples: self.job.count as u32,
                agree,
                max_abs: if agree { 0.0 } else { f64::INFINITY },
                sqnr_db: if agree { f64::INFINITY } else { 0.0 },
                operator: "",
                detail: "answers in an arena that held something else before",
            };
            self.events.push(&Event::SelfCheck(check))?;
            self.job.at = At::Finish;
            return Ok(());
        }
        self.arena.fill(POISON[look]);
        self.run(sample)?;
        let digest = {
            let (store, job) = (self.store, &self.job);
            let bytes = store.blob(job.model).unwrap_or_default();
            Model::check(bytes).map_or(0, |model| answers_digest(&model, self.arena))
        };
        match look {
            0 => self.job.answers = digest,
            _ => self.job.differ |= digest != self.job.answers,
        }
        self.job.at = At::Check(done + 1);
        Ok(())
    }

    /// Puts a sample into the arena and runs the model on it.
    fn run(&mut self, sample: u64) -> Result<u64, Halt> {
        let Some(bytes) = self.store.blob(self.job.model) else { return Err(Halt::Over(Ended::NotStarted)) };
        let model = match Model::check(bytes) {
            Ok(model) => model,
            Err(_) => {
                let reason = "it was damaged in the unit's memory";
                let event = CannotRun { stage: Stage::Run, operator: "", node: "", reason };
                self.events.push(&Event::CannotRun(event))?;
                return Err(Halt::Over(Ended::NotStarted));
            }
        };
        let size = sample_bytes(&model);
        let from = (self.job.first + sample) as usize * size;
        let samples = self.store.blob(self.job.samples).unwrap_or_default();
        let mut rest = samples.get(from..from + size).unwrap_or_default();
        for index in 0..model.input_count() {
            let input = model.input(index);
            let (now, more) = rest.split_at(input.bytes.min(rest.len()));
            if let Some(room) = self.arena.get_mut(input.range()).filter(|room| room.len() == now.len()) {
                room.copy_from_slice(now);
            }
            rest = more;
        }
        // An answer of the run before must not look like one of this.
        for index in 0..model.output_count() {
            if let Some(room) = self.arena.get_mut(model.output(index).range()) {
                room.fill(POISON[1]);
            }
        }
        let mut ended = Ok(());
        let mut ticks = 0;
        let arena = &mut *self.arena;
        self.hardware.undisturbed(&mut |now| {
            let before = now();
            ended = model.run(arena);
            ticks = now().saturating_sub(before);
        });
        match ended {
            Ok(()) => Ok(ticks),
            Err(RunError::Arena { found, .. }) => Err(Halt::Over(Ended::OutOfMemory { limit_bytes: found as u64 })),
            Err(RunError::Operator { .. }) => Err(Halt::Over(Ended::NotStarted)),
        }
    }

    fn sample(&mut self, done: u64) -> Step {
        if done == self.job.count {
            self.flush()?;
            self.job.at = At::Finish;
            return Ok(());
        }
        let ticks = self.run(done)?;
        if done == 0 {
            let ns = self.ns(ticks);
            self.number(Key::FirstInferenceNs, 0, ns)?;
        }
        if self.job.pass == Pass::Accuracy {
            self.answer(done)?;
        }
        self.progress(done + 1, self.job.count)?;
        self.job.at = At::Sample(done + 1);
        Ok(())
    }

    /// Takes the answers out of the arena: gathered where there is one output, each by itself where there are several.
    fn answer(&mut self, done: u64) -> Step {
        let Some(bytes) = self.store.blob(self.job.model) else { return Err(Halt::Over(Ended::NotStarted)) };
        let Ok(model) = Model::check(bytes) else { return Err(Halt::Over(Ended::NotStarted)) };
        let outputs = model.output_count();
        for index in 0..outputs {
            let output = model.output(index);
            let answer = self.arena.get(output.range()).unwrap_or_default();
            if outputs == 1 && answer.len() <= PIECE {
                if self.job.filled + answer.len() > PIECE {
                    let (kept, filled) = (&self.job.kept, self.job.filled);
                    let data = Event::Data { stream: Stream::Output(0), offset: self.job.sent, bytes: &kept[..filled] };
                    self.events.push(&data)?;
                    self.job.sent += filled as u64;
                    self.job.filled = 0;
                }
                let filled = self.job.filled;
                self.job.kept[filled..filled + answer.len()].copy_from_slice(answer);
                self.job.filled += answer.len();
                continue;
            }
            for (i, piece) in answer.chunks(PIECE).enumerate() {
                let offset = done * output.bytes as u64 + (i * PIECE) as u64;
                let data = Event::Data { stream: Stream::Output(index as u16), offset, bytes: piece };
                // Outputs of several kilobytes have no place in the events at once, and no board has asked for one yet.
                self.events
                    .push(&data)
                    .map_err(|_| Halt::Over(Ended::OutOfMemory { limit_bytes: EVENTS_BYTES as u64 }))?;
            }
        }
        Ok(())
    }

    /// Sends the answers that wait.
    fn flush(&mut self) -> Step {
        if self.job.filled > 0 {
            let bytes = &self.job.kept[..self.job.filled];
            self.events.push(&Event::Data { stream: Stream::Output(0), offset: self.job.sent, bytes })?;
            self.job.sent += self.job.filled as u64;
            self.job.filled = 0;
        }
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) -> Result<(), Full> {
        if done % PROGRESS_EVERY == 0 || done == total {
            self.events.push(&Event::Progress { done, total })
        } else {
            Ok(())
        }
    }

    /// What reading the clock costs, and its smallest step: medians and minima of a few readings.
    fn clock_facts(&mut self) -> Step {
        let mut costs = [0_u64; 15];
        self.hardware.undisturbed(&mut |now| {
            for cost in &mut costs {
                let before = now();
                *cost = now().saturating_sub(before);
            }
        });
        costs.sort_unstable();
        let step = costs.iter().copied().find(|c| *c > 0).unwrap_or(1);
        let (overhead, step) = (self.ns(costs[costs.len() / 2]), self.ns(step));
        self.number(Key::TimerOverheadNs, 0, overhead)?;
        self.number(Key::TimerStepNs, 0, step)?;
        let about = self.hardware.about();
        Ok(self.events.push(&Event::Text { key: TextKey::ClockSource, index: 0, value: about.clock })?)
    }

    fn warm(&mut self, done: u32) -> Step {
        if done == 0 {
            self.events.push(&Event::Phase(Phase::Warming))?;
        }
        if done >= self.job.warmup {
            self.events.push(&Event::Phase(Phase::Measuring))?;
            self.job.at = At::Measure(0);
            return Ok(());
        }
        let ticks = self.run(u64::from(done) % self.job.count)?;
        if done == 0 {
            let ns = self.ns(ticks);
            self.number(Key::FirstInferenceNs, 0, ns)?;
        }
        self.job.at = At::Warm(done + 1);
        Ok(())
    }

    fn measure(&mut self, done: u32) -> Step {
        let waiting = done as usize % TICKS;
        if done > 0 && (waiting == 0 || done == self.job.iterations) {
            let count = if waiting == 0 { TICKS } else { waiting };
            let mut bytes = [0; TICKS * 8];
            for (out, ticks) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.job.ticks) {
                *out = ticks.to_le_bytes();
            }
            if self.job.sent < u64::from(done) * 8 {
                let data = Event::Data { stream: Stream::Ticks, offset: self.job.sent, bytes: &bytes[..count * 8] };
                self.events.push(&data)?;
                self.job.sent = u64::from(done) * 8;
            }
        }
        if done == self.job.iterations {
            self.job.at = At::Bin(0);
            return Ok(());
        }
        let ticks = self.run(u64::from(done) % self.job.count)?;
        self.job.ticks[waiting] = ticks;
        self.job.histogram.add(ticks);
        self.progress(u64::from(done) + 1, u64::from(self.job.iterations))?;
        self.job.at = At::Measure(done + 1);
        Ok(())
    }

    fn bin(&mut self, from: usize) -> Step {
        match self.job.histogram.next(from) {
            Some((bin, count)) => {
                self.number(Key::TicksHistogram, bin as u16, u64::from(count))?;
                self.job.at = At::Bin(bin + 1);
            }
            None => self.job.at = At::Finish,
        }
        Ok(())
    }

    fn finish(&mut self) -> Step {
        if matches!(self.job.pass, Pass::Memory | Pass::Inspect) {
            let sections = self.hardware.sections();
            let arena = self.model()?.arena_bytes() as u64;
            let stack = u64::from(self.hardware.stack_peak());
            for (key, index, value) in [
                (Key::FlashBytes, 0, u64::from(sections.flash())),
                (Key::FlashBytes, 1, u64::from(sections.code)),
                (Key::FlashBytes, 2, u64::from(sections.constants)),
                (Key::FlashBytes, 3, u64::from(sections.initial)),
                (Key::StaticRamBytes, 0, u64::from(sections.static_ram)),
                (Key::ArenaPeakBytes, 0, arena),
                (Key::ArenaBytes, 0, self.arena.len() as u64),
                (Key::StackPeakBytes, 0, stack),
                (Key::StackBytes, 0, u64::from(sections.stack)),
            ] {
                self.number(key, index, value)?;
            }
        }
        let wall = self.hardware.now().saturating_sub(self.job.started);
        let ns = self.ns(wall);
        self.number(Key::PassWallNs, 0, ns)?;
        Err(Halt::Over(Ended::Completed))
    }
}

/// Bytes of one sample: all inputs.
fn sample_bytes(model: &Model<'_>) -> usize {
    (0..model.input_count()).map(|i| model.input(i).bytes).sum()
}

/// FNV-1a over all outputs.
fn answers_digest(model: &Model<'_>, arena: &[u8]) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for index in 0..model.output_count() {
        for byte in arena.get(model.output(index).range()).unwrap_or_default() {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    digest
}
