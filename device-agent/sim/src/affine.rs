//! The toy engine `affine`: `y = W x + b`, so that every answer of the simulation can be worked out by hand.
//!
//! A model is JSON: `{"weights": [[...], ...], "bias": [...]}`, one row of weights per output. Two faults can be planted:
//! `"crash_at": n` ends the runner with a signal at sample n, `"memory_bytes": n` is what the model claims to need.

use crate::{Assignment, Dice, Engine, Work};
use boardproof_core::Refusal;
use boardproof_protocol::frame::{decode_event, encode_event};
use boardproof_protocol::{
    CannotRun, Dtype, Ended, Event, Key, Operator, Output, Pass, Phase, RANK_MAX, RefusalCode, Run, SelfCheck, Stage,
    Stream,
};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

/// Longest reason that is told.
const REASON_CHARS_MAX: usize = 500;
/// Most inferences of a latency pass: their ticks are kept in memory.
const ITERATIONS_MAX: u32 = 1 << 20;

/// A model of the toy engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    /// One row per output.
    pub weights: Vec<Vec<f32>>,
    /// One per output.
    pub bias: Vec<f32>,
    /// Sample at which the runner crashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_at: Option<u64>,
    /// Memory that the model needs.
    #[serde(default)]
    pub memory_bytes: u64,
}

impl Affine {
    /// The answers to these samples, row after row.
    pub fn answers(&self, inputs: &[f32]) -> Vec<f32> {
        let width = self.weights.first().map_or(1, Vec::len).max(1);
        let dot = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        let sample = |x: &[f32]| self.weights.iter().zip(&self.bias).map(|(w, b)| dot(w, x) + b).collect::<Vec<f32>>();
        inputs.chunks_exact(width).flat_map(sample).collect()
    }
}

/// The engine. Its clock is virtual: ticks come from the seed.
#[derive(Debug, Clone, Copy)]
pub struct AffineEngine {
    /// Seed of the ticks.
    pub seed: u64,
}

/// A job whose events are all known.
struct Done(Vec<Vec<u8>>);

impl Engine for AffineEngine {
    fn names(&self) -> &'static str {
        "affine 1"
    }

    fn start(&mut self, assignment: &Assignment<'_>) -> Result<Box<dyn Work>, Refusal<'static>> {
        if assignment.run.engine != "affine" {
            let detail = "this device has the engine 'affine'";
            return Err(Refusal { code: RefusalCode::UnknownEngine, detail, number: 0 });
        }
        if assignment.run.iterations > ITERATIONS_MAX {
            let detail = "more inferences than a simulation keeps; the number is the most";
            return Err(Refusal { code: RefusalCode::Limit, detail, number: u64::from(ITERATIONS_MAX) });
        }
        let mut events = Vec::new();
        let mut scratch = vec![0; 4096];
        run(assignment, self.seed, &mut |event| {
            let payload = encode_event(&event, &mut scratch).expect("the toy engine's events are small");
            events.push(payload.to_vec());
        });
        Ok(Box::new(Done(events)))
    }
}

impl Work for Done {
    fn advance(&mut self, emit: &mut dyn FnMut(&Event<'_>)) -> bool {
        self.0.drain(..).for_each(|payload| emit(&decode_event(&payload).expect("encoded above")));
        true
    }
}

/// Runs a job and hands out its events, as the real runner would.
fn run(assignment: &Assignment<'_>, seed: u64, emit: &mut dyn FnMut(Event<'_>)) {
    emit(Event::Phase(Phase::Started));
    emit(Event::Phase(Phase::Loading));
    match prepare(assignment.run, assignment.model, assignment.evalset) {
        Ok((model, inputs)) => measure(assignment, &model, &inputs, seed, emit),
        Err(reason) => {
            // What is wrong with a file may quote all of it; an event has room for less.
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            emit(Event::CannotRun(CannotRun { stage: Stage::Parse, operator: "", node: "", reason: &reason }));
            emit(Event::Ended(Ended::CannotRun));
        }
    }
}

fn prepare(request: &Run<'_>, model: &[u8], evalset: &[u8]) -> Result<(Affine, Vec<f32>), String> {
    let model: Affine = serde_json::from_slice(model).map_err(|e| e.to_string())?;
    let width = model.weights.first().map_or(0, Vec::len);
    if width == 0 || model.weights.len() != model.bias.len() || model.weights.iter().any(|w| w.len() != width) {
        return Err("weights and bias do not fit together".into());
    }
    let file = SafeTensors::deserialize(evalset).map_err(|e| e.to_string())?;
    let view = file.tensor("inputs").map_err(|e| e.to_string())?;
    let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let end = request.first.saturating_add(request.count);
    let at = |sample: u64| usize::try_from(sample).ok()?.checked_mul(width);
    let range = at(request.first).zip(at(end)).map(|(first, end)| first..end);
    let picked =
        range.and_then(|range| values.get(range)).ok_or("the evalset has fewer samples than were asked for")?;
    Ok((model, picked.to_vec()))
}

fn measure(assignment: &Assignment<'_>, model: &Affine, inputs: &[f32], seed: u64, emit: &mut dyn FnMut(Event<'_>)) {
    let request = assignment.run;
    if assignment.memory.bytes.is_some_and(|limit| model.memory_bytes > limit) {
        return emit(Event::Ended(assignment.memory.ran_out()));
    }
    if model.crash_at.is_some_and(|at| at < request.first.saturating_add(request.count)) {
        return emit(Event::Ended(Ended::Signalled { signal: 11 }));
    }
    emit(Event::Number { key: Key::LoadNs, index: 0, value: 1_000_000 });
    match request.pass {
        Pass::Inspect => inspect(request, emit),
        Pass::Accuracy => accuracy(request, model, inputs, emit),
        Pass::Latency => latency(request, seed, emit),
        Pass::Memory => emit(Event::Number { key: Key::RssPeakBytes, index: 0, value: model.memory_bytes }),
    }
    emit(Event::Ended(Ended::Completed));
}

fn inspect(request: &Run<'_>, emit: &mut dyn FnMut(Event<'_>)) {
    emit(Event::Operator(Operator { index: 0, name: "affine", op: "Affine", dtypes: "f32->f32", kernel: "plain" }));
    let samples = request.count as u32;
    let check = SelfCheck { samples, agree: true, max_abs: 0.0, sqnr_db: f64::INFINITY, operator: "", detail: "" };
    emit(Event::SelfCheck(check));
}

fn accuracy(request: &Run<'_>, model: &Affine, inputs: &[f32], emit: &mut dyn FnMut(Event<'_>)) {
    /// Small pieces, so that a short answer needs many frames.
    const PIECE: usize = 64;
    let mut dims = [0; RANK_MAX];
    (dims[0], dims[1]) = (request.count, model.bias.len() as u64);
    emit(Event::Output(Output { index: 0, name: "y", dtype: Dtype::F32, rank: 2, dims }));
    let bytes: Vec<u8> = model.answers(inputs).iter().flat_map(|y| y.to_le_bytes()).collect();
    for (i, piece) in bytes.chunks(PIECE).enumerate() {
        emit(Event::Data { stream: Stream::Output(0), offset: (i * PIECE) as u64, bytes: piece });
    }
    emit(Event::Progress { done: request.count, total: request.count });
}

/// A quarter of a millisecond, give or take, and now and then a stall of ten: in ticks of a nanosecond.
fn latency(request: &Run<'_>, seed: u64, emit: &mut dyn FnMut(Event<'_>)) {
    let mut dice = Dice::new(seed ^ u64::from(request.job));
    let mut tick = || 250_000 + dice.roll() % 20_000 + if dice.hits(2) { 10_000_000 } else { 0 };
    let ticks: Vec<u8> = (0..request.iterations).flat_map(|_| tick().to_le_bytes()).collect();
    for (i, piece) in ticks.chunks(512).enumerate() {
        emit(Event::Data { stream: Stream::Ticks, offset: (i * 512) as u64, bytes: piece });
    }
}
