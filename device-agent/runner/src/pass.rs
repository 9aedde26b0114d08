//! The four passes. Each reports phases, facts and data in the order in which they come to be.

mod gpu;
mod latency;

use crate::clock;
use crate::evalset::Samples;
use crate::freshness::{NotCompared, alike};
use crate::memory::{self, Poisoned};
use crate::options::Options;
use crate::peak;
use crate::wire::Wire;
use boardproof_engines::{
    Engine, EngineFault, LoadOptions, Loaded, Refusal, RunFailure, SelfCheckLimits, SelfCheckOutcome, Tensor,
    TensorError, open_engine, sketches,
};
use boardproof_protocol::{
    CannotRun, Dtype, Event, Key, Output, Pass, Phase, RANK_MAX, Run, SelfCheck, Stage, Stream, TextKey,
};
use std::alloc::{Layout, handle_alloc_error};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;
use std::time::Duration;

/// Batches that a helper may be ahead of the thread that sends their answers.
const ANSWERS_AHEAD: usize = 2;
/// As much stack as the main thread usually has: a deep graph must not end a helper.
const HELPER_STACK_BYTES: usize = 8 * 1024 * 1024;

/// The runner could not do what it was asked. What the engine says about the model is no such error: that is an event.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("could not read the request")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("could not write an event")]
    Write(#[source] std::io::Error),
    #[error("could not read the options")]
    Options(#[source] serde_json::Error),
    #[error("options: expected threads = 1, got {found}")]
    Threads { found: u32 },
    #[error("options: expected 1 to {limit} accuracy workers, got {found}")]
    Workers { limit: u32, found: u32 },
    #[error("worker {worker} of the accuracy pass ended without an answer")]
    Worker { worker: usize },
    #[error("options: sketches are of the accuracy pass of engine micro, got the {pass:?} pass of {engine}")]
    Sketch { engine: String, pass: Pass },
    #[error("options name no inputs")]
    NoInputs,
    #[error("could not open the engine")]
    Engine(#[source] EngineFault),
    #[error("the device under the engine failed: {reason}")]
    Device { reason: String },
    #[error("could not read the head of the evalset")]
    Evalset(#[source] serde_json::Error),
    #[error("the evalset has no tensor '{tensor}'")]
    NoTensor { tensor: String },
    #[error(
        "evalset tensor '{tensor}': bytes {from} to {to} are not its samples, or are not all there ({length} bytes)"
    )]
    Extent { tensor: String, from: u64, to: u64, length: u64 },
    #[error("evalset tensor '{tensor}': expected samples of shape {expected:?}, got {found:?}")]
    Shape { tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("evalset tensor '{tensor}': element type {found} is not supported")]
    Dtype { tensor: String, found: String },
    #[error("could not cut a batch out of the evalset")]
    Tensor(#[source] TensorError),
    #[error("samples {first} to {end} were asked for, the evalset has {count}")]
    Range { first: u64, end: u64, count: usize },
}

impl RunError {
    /// A tensor without dimensions.
    pub fn no_samples(tensor: &str) -> Self {
        Self::Shape { tensor: tensor.into(), expected: vec![], found: vec![] }
    }
}

/// A step that either worked, or found that the engine gives the model up, or failed.
type Step<T> = Result<T, Stop>;

/// Why a pass stops early.
enum Stop {
    /// The engine cannot run the model: reported as an event, and the process ends well.
    Refused { stage: Stage, operator: String, node: String, reason: String },
    /// The runner failed.
    Failed(RunError),
}

impl<E: Into<RunError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        use boardproof_engines::Stage as Found;
        let stage = match refusal.stage {
            Found::Parse => Stage::Parse,
            Found::Operator | Found::Type => Stage::Type,
            Found::Optimize => Stage::Optimize,
            Found::Plan => Stage::Prepare,
            Found::Device => return Self::Failed(RunError::Device { reason: refusal.reason }),
        };
        let reason = refusal.to_string();
        Self::Refused {
            stage,
            operator: refusal.operator.unwrap_or_default(),
            node: refusal.node.unwrap_or_default(),
            reason,
        }
    }
}

impl From<NotCompared> for Stop {
    fn from(why: NotCompared) -> Self {
        match why {
            NotCompared::Run(failure) => failure.into(),
            NotCompared::Load(refusal) => refusal.into(),
        }
    }
}

impl From<RunFailure> for Stop {
    fn from(failure: RunFailure) -> Self {
        if let RunFailure::Device { reason } = failure {
            return Self::Failed(RunError::Device { reason });
        }
        Self::Refused { stage: Stage::Run, operator: String::new(), node: String::new(), reason: failure.to_string() }
    }
}

/// Everything a pass needs.
struct Job<'a> {
    run: Run<'a>,
    options: Options,
    engine: Box<dyn Engine>,
    model: &'a Path,
    samples: Samples,
}

/// Reads the request and runs its pass. The engine's refusal of the model is an event, not an error.
pub fn run(model: &Path, evalset: &Path, wire: &mut Wire) -> Result<(), RunError> {
    let start = clock::now();
    wire.send(&Event::Phase(Phase::Started))?;
    let request = wire.request()?;
    let run = request.run()?;
    let options = Options::parse(run.options)?;
    if options.peak {
        return peak::report(wire);
    }
    // Nothing is timed or weighed while something else than the model works.
    if options.sketch.is_some() && !(run.pass == Pass::Accuracy && sketches(run.engine)) {
        return Err(RunError::Sketch { engine: run.engine.into(), pass: run.pass });
    }
    let samples = Samples::open(evalset, &options)?;
    let end = run.first.saturating_add(run.count);
    if run.count == 0 || end > samples.count() as u64 {
        return Err(RunError::Range { first: run.first, end, count: samples.count() });
    }
    let shipped = options.library.as_deref().map(|digest| beside(model, digest));
    let library = shipped.or_else(|| options.library_file.clone());
    let engine = open_engine(run.engine, library.as_deref()).map_err(RunError::Engine)?;
    engine.check_providers(&options.providers()).map_err(RunError::Engine)?;
    let job = Job { run, options, engine, model, samples };
    gpu::before(wire, job.engine.device())?;
    let done = match job.run.pass {
        Pass::Inspect => job.inspect(wire),
        Pass::Accuracy => job.accuracy(wire),
        Pass::Latency => job.latency(wire),
        Pass::Memory => job.memory(wire),
    };
    gpu::after(wire, job.engine.device())?;
    match done {
        // Last, by the clock of the ticks: the host has its own count of the time since the first event.
        Ok(()) => number(wire, Key::PassWallNs, clock::now() - start),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Refused { reason, .. }) if let Some(layout) = not_allocated(&reason) => handle_alloc_error(layout),
        Err(Stop::Refused { stage, operator, node, reason }) => {
            wire.send(&Event::CannotRun(CannotRun { stage, operator: &operator, node: &node, reason: clip(&reason) }))
        }
    }
}

/// What an engine could not allocate, when that is why it gave up: tract panics then, and the panic looks like a flaw of the model. The
/// process ends as any other does that gets no memory.
fn not_allocated(reason: &str) -> Option<Layout> {
    let (_, size) = reason.split_once("failed to allocate Layout { size: ")?;
    let size = size.split(',').next()?.parse().ok()?;
    Layout::from_size_align(size, 1).ok()
}

/// Another blob of the store that the model lies in: blobs are called by their digests.
fn beside(model: &Path, digest: &str) -> PathBuf {
    model.with_file_name(digest)
}

fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    std::fs::read(path).map_err(|source| RunError::Read { path: path.to_path_buf(), source })
}

/// Texts on the wire are for people: long ones are cut at a character.
pub fn clip(text: &str) -> &str {
    const LIMIT: usize = 2000;
    match text.char_indices().find(|(i, c)| i + c.len_utf8() > LIMIT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn number(wire: &mut Wire, key: Key, value: u64) -> Result<(), RunError> {
    wire.send(&Event::Number { key, index: 0, value })
}

fn reading(wire: &mut Wire, key: Key, value: Result<u64, String>) -> Result<(), RunError> {
    match value {
        Ok(value) => number(wire, key, value),
        Err(reason) => wire.send(&Event::Missing { key, reason: clip(&reason) }),
    }
}

impl Job<'_> {
    fn load_options(&self, batch: usize) -> LoadOptions {
        let preprocess = self.options.inputs.iter().filter_map(|input| Some((input.name.clone(), input.step()?)));
        LoadOptions {
            batch: Some(batch),
            preprocess: preprocess.collect(),
            providers: self.options.providers(),
            sketch: self.options.sketch,
            ..LoadOptions::default()
        }
    }

    /// Loads the model and reports how long it took.
    fn load(&self, wire: &mut Wire, batch: usize) -> Step<Box<dyn Loaded>> {
        self.load_with(wire, &self.load_options(batch))
    }

    fn load_with(&self, wire: &mut Wire, options: &LoadOptions) -> Step<Box<dyn Loaded>> {
        wire.send(&Event::Phase(Phase::Loading))?;
        let name = format!("{} {}", self.engine.name(), self.engine.version());
        wire.send(&Event::Text { key: TextKey::Engine, index: 0, value: &name })?;
        if let Some(library) = self.library() {
            wire.send(&Event::Text { key: TextKey::Engine, index: 1, value: clip(&library) })?;
        }
        // Its bytes go when it is loaded: an engine has its own copy of what it needs.
        let model = read(self.model)?;
        let start = clock::now();
        let loaded = self.engine.load(&model, options)?;
        number(wire, Key::LoadNs, clock::now() - start)?;
        self.check_inputs(loaded.as_ref())?;
        Ok(loaded)
    }

    /// Which library the engine is, where it is one: builds of one version may differ. One that was shipped is told by its content.
    fn library(&self) -> Option<String> {
        let shipped = self.options.library.as_ref().map(|digest| format!("library {digest}"));
        let named = || self.options.library_file.as_ref().map(|file| file.display().to_string());
        shipped.or_else(named).or_else(|| self.engine.own_library())
    }

    /// Inputs are matched by position; a model that names them otherwise is refused, because silent reordering would be a lie.
    fn check_inputs(&self, loaded: &dyn Loaded) -> Step<()> {
        let found: Vec<_> = loaded.inputs().iter().map(|i| i.name.as_str()).collect();
        let wanted: Vec<_> = self.options.inputs.iter().map(|i| i.name.as_str()).collect();
        if found != wanted {
            return Err(self.mismatch(format!("inputs: expected {}, got {}", wanted.join(", "), found.join(", "))));
        }
        for (facts, input) in loaded.inputs().iter().zip(&self.options.inputs) {
            if !input.dtype.eq_ignore_ascii_case(facts.dtype.name()) || facts.shape.get(1..) != Some(&input.shape) {
                let (name, dtype, shape) = (&input.name, &input.dtype, &input.shape);
                let found = format!("{} of {:?}", facts.dtype.name(), facts.shape);
                return Err(
                    self.mismatch(format!("input {name}: expected {dtype} with samples of {shape:?}, got {found}"))
                );
            }
        }
        Ok(())
    }

    fn mismatch(&self, reason: String) -> Stop {
        Stop::Refused { stage: Stage::Prepare, operator: String::new(), node: String::new(), reason }
    }

    fn prepare(&self, loaded: &mut dyn Loaded, first: usize, batch: usize) -> Step<()> {
        let batch = self.samples.batch(first, batch)?;
        loaded.prepare(&batch.views()?)?;
        Ok(())
    }

    /// First inference, timed by itself.
    fn first_inference(&self, wire: &mut Wire, loaded: &mut dyn Loaded, batch: usize) -> Step<()> {
        self.prepare(loaded, self.run.first as usize, batch)?;
        let start = clock::now();
        loaded.run()?;
        number(wire, Key::FirstInferenceNs, clock::now() - start)?;
        Ok(())
    }

    fn inspect(&self, wire: &mut Wire) -> Step<()> {
        let batch = self.run.batch.max(1) as usize;
        let mut loaded = self.load_with(wire, &LoadOptions { describe: true, ..self.load_options(batch) })?;
        for op in loaded.operators() {
            let kernel =
                [op.kernel.as_deref(), op.accumulator.as_deref().map(|_| "accumulates in"), op.accumulator.as_deref()];
            let kernel = kernel.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let name = op.source_op.as_deref().filter(|s| *s != op.op).map(|s| format!("{} as {}", s, op.op));
            wire.send(&Event::Operator(boardproof_protocol::Operator {
                index: op.index as u32,
                name: clip(&op.name),
                op: name.as_deref().unwrap_or(&op.op),
                dtypes: clip(&op.dtypes()),
                kernel: clip(&kernel),
            }))?;
        }
        self.first_inference(wire, loaded.as_mut(), batch)?;
        self.costs(wire, loaded.as_mut())?;
        self.self_check(wire, loaded.as_mut(), batch)
    }

    /// What each operator costs, over inferences of their own. An engine that cannot tell does not fail for it.
    fn costs(&self, wire: &mut Wire, loaded: &mut dyn Loaded) -> Step<()> {
        const INFERENCES: u32 = 10;
        let costs = match loaded.profile(INFERENCES) {
            Ok(costs) => costs,
            Err(failure) => {
                let reason = failure.to_string();
                wire.send(&Event::Missing { key: Key::OperatorNs, reason: clip(&reason) })?;
                return Ok(());
            }
        };
        for cost in costs {
            let Ok(index) = u16::try_from(cost.index) else { break };
            for (key, value) in [
                (Key::OperatorNs, cost.time_ns),
                (Key::OperatorOutBytes, cost.output_bytes),
                (Key::OperatorMacs, cost.macs),
            ] {
                if let Some(value) = value {
                    wire.send(&Event::Number { key, index, value })?;
                }
            }
        }
        Ok(())
    }

    /// On the samples that were asked for, one after the other; a model with a fixed batch takes as many at a time.
    fn self_check(&self, wire: &mut Wire, loaded: &mut dyn Loaded, batch: usize) -> Step<()> {
        let count = u64::from(self.options.self_check_samples).min(self.run.count) as usize;
        let first = self.run.first as usize;
        let starts = (first..first + count).step_by(batch);
        let batches = starts.map(|at| self.samples.batch(at, batch)).collect::<Result<Vec<_>, _>>()?;
        let views = batches.iter().map(|b| b.views()).collect::<Result<Vec<_>, _>>()?;
        // The check may take as long as half of the pass: the other half is for everything around it.
        let limits = SelfCheckLimits { deadline: Duration::from_millis(u64::from(self.run.deadline_ms) / 2) };
        let model = read(self.model)?;
        let check = self.engine.self_check(&model, &self.load_options(batch), loaded, &views, &limits)?;
        let (agree, operator, detail) = match &check.outcome {
            SelfCheckOutcome::Agrees => (true, String::new(), String::new()),
            SelfCheckOutcome::Parts { stage, operator, replaced } => {
                let name = operator.as_ref().map(ToString::to_string).unwrap_or_default();
                (false, name, format!("{stage}; replaces {}", replaced.join(", ")))
            }
            SelfCheckOutcome::Unavailable { reason } => (false, String::new(), format!("not compared: {reason}")),
        };
        // Nothing compared is not agreement: 0 samples say so.
        let samples = if matches!(check.outcome, SelfCheckOutcome::Unavailable { .. }) { 0 } else { count as u32 };
        let sqnr_db = check.parting.sqnr_db();
        wire.send(&Event::SelfCheck(SelfCheck {
            samples,
            agree,
            max_abs: check.parting.max_abs,
            sqnr_db,
            operator: clip(&operator),
            detail: clip(&detail),
        }))?;
        Ok(())
    }

    /// Batches go round between this thread and its helpers, one model each, and their answers leave in the order of the samples.
    fn accuracy(&self, wire: &mut Wire) -> Step<()> {
        let batch = self.run.batch.max(1) as usize;
        let mut loaded = self.load(wire, batch)?;
        wire.send(&Event::Phase(Phase::Measuring))?;
        let count = self.run.count as usize;
        // Copies of the model would count against a limit that is meant for one.
        let asked = if self.run.memory_limit_bytes > 0 { 1 } else { self.options.accuracy_workers as usize };
        let start = clock::now();
        let first = std::thread::scope(|scope| {
            let helpers = self.helpers(scope, asked.min(count.div_ceil(batch)));
            let workers = helpers.len() + 1;
            let mut offsets: Vec<u64> = Vec::new();
            let mut first = Vec::new();
            for (number, at) in (0..count).step_by(batch).enumerate() {
                let answers = match number % workers {
                    0 => self.answer(loaded.as_mut(), at, batch)?,
                    worker => helpers[worker - 1].recv().unwrap_or_else(|_| Err(RunError::Worker { worker }.into()))?,
                };
                if at == 0 {
                    offsets = self.announce(wire, loaded.as_ref(), &answers, batch)?;
                    first.clone_from(&answers);
                }
                let real = batch.min(count - at);
                for (index, (answer, offset)) in answers.iter().zip(&mut offsets).enumerate() {
                    let bytes = &answer.bytes()[..answer.bytes().len() / batch * real];
                    wire.data(Stream::Output(index as u16), offset, bytes)?;
                }
                wire.progress((at + real) as u64, count as u64)?;
            }
            Ok::<_, Stop>(first)
        })?;
        number(wire, Key::MeasuredWallNs, clock::now() - start)?;
        // What was answered first must be the answer still, whatever came in between and whatever is in the memory that it is written to.
        let _poisoned = Poisoned::memory();
        if !alike(&first, &self.answer(loaded.as_mut(), 0, batch)?) {
            return Err(self.stale("the first samples were answered otherwise after all others than before them"));
        }
        Ok(())
    }

    /// Starts all workers but the first. A unit that has no room for another thread does with those that it has.
    fn helpers<'s>(&'s self, scope: &'s Scope<'s, '_>, wanted: usize) -> Vec<Receiver<Step<Vec<Tensor>>>> {
        let mut helpers = Vec::new();
        let mut starts = Vec::new();
        for worker in 1..wanted {
            let (answers, answered) = sync_channel(ANSWERS_AHEAD);
            let (start, started) = sync_channel(1);
            let help = move || {
                // How many there are is known when all are there.
                if let Ok(workers) = started.recv() {
                    self.help(worker, workers, &answers);
                }
            };
            if std::thread::Builder::new().stack_size(HELPER_STACK_BYTES).spawn_scoped(scope, help).is_err() {
                break;
            }
            helpers.push(answered);
            starts.push(start);
        }
        for start in starts {
            // A helper that is gone is found out when its answer is due.
            let _ = start.send(helpers.len() + 1);
        }
        helpers
    }

    /// Answers every batch whose turn is this worker's, until all are answered or nobody listens.
    fn help(&self, worker: usize, workers: usize, answers: &SyncSender<Step<Vec<Tensor>>>) {
        let batch = self.run.batch.max(1) as usize;
        let load = || -> Step<Box<dyn Loaded>> { Ok(self.engine.load(&read(self.model)?, &self.load_options(batch))?) };
        let mut loaded = match load() {
            Ok(loaded) => loaded,
            Err(stop) => {
                let _ = answers.send(Err(stop));
                return;
            }
        };
        for at in (0..self.run.count as usize).step_by(batch).skip(worker).step_by(workers) {
            if answers.send(self.answer(loaded.as_mut(), at, batch)).is_err() {
                return;
            }
        }
    }

    /// The answers to the batch that begins with this sample of the run.
    fn answer(&self, loaded: &mut dyn Loaded, at: usize, batch: usize) -> Step<Vec<Tensor>> {
        self.prepare(loaded, self.run.first as usize + at, batch)?;
        loaded.run()?;
        Ok(loaded.answers()?)
    }

    /// Says what outputs there are; returns where each one's bytes begin.
    fn announce(&self, wire: &mut Wire, loaded: &dyn Loaded, answers: &[Tensor], batch: usize) -> Step<Vec<u64>> {
        for (index, (answer, facts)) in answers.iter().zip(loaded.outputs()).enumerate() {
            let shape = answer.shape();
            if shape.first() != Some(&batch) || shape.len() > RANK_MAX {
                return Err(self.mismatch(format!(
                    "output {}: expected {batch} samples in the first of at most {RANK_MAX} dimensions, got {shape:?}",
                    facts.name
                )));
            }
            let mut dims = [0; RANK_MAX];
            dims.iter_mut().zip(shape).for_each(|(d, s)| *d = *s as u64);
            dims[0] = self.run.count;
            let output =
                Output { index: index as u16, name: &facts.name, dtype: dtype(answer), rank: shape.len() as u8, dims };
            wire.send(&Event::Output(output))?;
        }
        Ok(vec![0; answers.len()])
    }

    fn memory(&self, wire: &mut Wire) -> Step<()> {
        reading(wire, Key::RssStartBytes, memory::status_bytes("VmRSS"))?;
        self.gpu_in_use(wire, Key::GpuUsedStartBytes)?;
        memory::start_counting();
        let mut loaded = self.load(wire, self.run.batch.max(1) as usize)?;
        reading(wire, Key::RssAfterLoadBytes, memory::status_bytes("VmRSS"))?;
        self.gpu_in_use(wire, Key::GpuUsedAfterLoadBytes)?;
        self.first_inference(wire, loaded.as_mut(), self.run.batch.max(1) as usize)?;
        reading(wire, Key::RssAfterFirstBytes, memory::status_bytes("VmRSS"))?;
        self.gpu_in_use(wire, Key::GpuUsedAfterFirstBytes)?;
        wire.send(&Event::Phase(Phase::Measuring))?;
        let (first, count) = (self.run.first as usize, self.run.count as usize);
        for i in 0..self.run.iterations as usize {
            self.prepare(loaded.as_mut(), first + i % count, self.run.batch.max(1) as usize)?;
            loaded.run()?;
        }
        let peak = match self.engine.allocates_in_the_process_heap() {
            true => Ok(memory::peak_bytes()),
            false => Err(format!("{} has an allocator of its own, which is not counted", self.engine.name())),
        };
        reading(wire, Key::AllocPeakBytes, peak)?;
        reading(wire, Key::RssPeakBytes, memory::status_bytes("VmHWM"))?;
        self.gpu_at_the_end(wire)?;
        Ok(())
    }
}

fn dtype(tensor: &Tensor) -> Dtype {
    use boardproof_engines::DType as Found;
    match tensor.dtype() {
        Found::Bool => Dtype::Bool,
        Found::U8 => Dtype::U8,
        Found::I8 => Dtype::I8,
        Found::U16 => Dtype::U16,
        Found::I16 => Dtype::I16,
        Found::U32 => Dtype::U32,
        Found::I32 => Dtype::I32,
        Found::U64 => Dtype::U64,
        Found::I64 => Dtype::I64,
        Found::F16 => Dtype::F16,
        Found::F32 => Dtype::F32,
        Found::F64 => Dtype::F64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_told_from_other_panics() {
        let panicked =
            "run model: the engine panicked: failed to allocate Layout { size: 200704, align: 256 (1 << 8) }";
        assert_eq!(not_allocated(panicked).map(|layout| layout.size()), Some(200_704));
        for other in ["the engine panicked: index out of bounds", "failed to allocate Layout { size: many, align: 1 }"]
        {
            assert_eq!(not_allocated(other), None, "{other}");
        }
    }
}
