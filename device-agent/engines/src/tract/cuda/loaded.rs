//! A graph on the GPU, ready to run: the only file of this engine whose `run` is timed.
//!
//! tract-cuda hands kernels over and comes back; answers that leave the graph may still lie on the GPU until somebody reads them. So `run` ends
//! when they are in this process's memory: what is timed is from inputs here to answers here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::CudaEvent;
use cudarc::driver::sys::CUevent_flags;
use tract_cuda::with_cuda_stream;
use tract_onnx::prelude::{TValue, TVec, TractResult};
use tract_onnx::tract_core::internal::{TypedNode, TypedSimpleState};
use tract_onnx::tract_core::plan::eval;

use super::super::guard::guard;
use super::super::loaded::TractModel;
use super::super::operators::works;
use super::super::profile::output_bytes;
use super::fault::sorted;
use super::units::{Unit, macs_of, name_units};
use crate::device::Split;
use crate::engine::{Loaded, OperatorCost, OperatorFacts, RunFailure, TensorFacts};
use crate::tensor::{Tensor, TensorView};

/// A model that tract has planned for the GPU.
pub(super) struct CudaModel {
    inner: TractModel,
}

impl CudaModel {
    pub(super) fn new(mut inner: TractModel) -> Self {
        let plan = Arc::clone(inner.state.plan());
        name_units(&mut inner.operators, plan.model(), plan.order_without_consts());
        Self { inner }
    }
}

impl Loaded for CudaModel {
    fn inputs(&self) -> &[TensorFacts] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorFacts] {
        self.inner.outputs()
    }

    fn operators(&self) -> &[OperatorFacts] {
        self.inner.operators()
    }

    fn prepare(&mut self, inputs: &[TensorView<'_>]) -> Result<(), RunFailure> {
        self.inner.prepare(inputs)
    }

    fn run(&mut self) -> Result<(), RunFailure> {
        self.inner.run().map_err(sorted)?;
        let answers = self.inner.answers.as_ref().ok_or(RunFailure::NotRun)?;
        guard(|| bring(answers)).map_err(|trouble| sorted(trouble.fail())).inspect_err(|_| self.inner.answers = None)
    }

    fn answers(&self) -> Result<Vec<Tensor>, RunFailure> {
        self.inner.answers()
    }

    fn profile(&mut self, inferences: u32) -> Result<Vec<OperatorCost>, RunFailure> {
        let inputs = self.inner.prepared.clone().ok_or(RunFailure::NotPrepared)?;
        guard(|| costs(&mut self.inner.state, &inputs, inferences)).map_err(|trouble| sorted(trouble.fail()))
    }

    fn splits(&mut self, inferences: u32) -> Result<Vec<Split>, RunFailure> {
        let inputs = self.inner.prepared.clone().ok_or(RunFailure::NotPrepared)?;
        let splits = guard(|| (0..inferences).map(|_| split(&mut self.inner.state, &inputs)).collect());
        splits.map_err(|trouble| sorted(trouble.fail()))
    }
}

/// Waits until the answers are in this process's memory.
fn bring(answers: &TVec<TValue>) -> TractResult<()> {
    answers.iter().try_for_each(|answer| answer.try_as_plain_ram().map(drop))
}

/// A moment on the GPU: when everything that was handed over before is done.
fn mark() -> TractResult<CudaEvent> {
    with_cuda_stream(|stream| Ok(stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?))
}

/// Time between two moments on the GPU; waits for the later one.
fn between(start: &CudaEvent, end: &CudaEvent) -> TractResult<Duration> {
    Ok(Duration::from_secs_f64(f64::from(start.elapsed_ms(end)?).max(0.0) / 1e3))
}

/// What each operator costs: those on the GPU by its own clock, the others by the host's. Runs once to warm up.
fn costs(state: &mut TypedSimpleState, inputs: &TVec<TValue>, inferences: u32) -> TractResult<Vec<OperatorCost>> {
    let mut spent: HashMap<usize, Duration> = HashMap::new();
    for number in 0..=inferences {
        let mut marks: Vec<(usize, CudaEvent, CudaEvent)> = Vec::new();
        let answers = state.run_plan_with_eval(inputs.clone(), |context, own, node, input| {
            let on_cpu = Unit::of(node) == Unit::Cpu;
            let (start, clock) = (if on_cpu { None } else { Some(mark()?) }, Instant::now());
            let done = eval(context, own, node, input);
            match start {
                Some(start) => marks.push((node.id, start, mark()?)),
                None if number > 0 => *spent.entry(node.id).or_default() += clock.elapsed(),
                None => {}
            }
            done
        })?;
        bring(&answers)?;
        for (id, start, end) in marks.iter().filter(|_| number > 0) {
            *spent.entry(*id).or_default() += between(start, end)?;
        }
    }
    let plan = Arc::clone(state.plan());
    let graph = plan.model();
    let order = plan.order_without_consts().iter().map(|id| graph.node(*id)).filter(|node| works(node));
    let cost = |(index, node): (usize, &TypedNode)| OperatorCost {
        index,
        time_ns: spent.get(&node.id).map(|time| time.as_nanos() as u64 / u64::from(inferences.max(1))),
        output_bytes: output_bytes(node),
        macs: macs_of(graph, node),
    };
    Ok(order.enumerate().map(cost).collect())
}

/// One inference, with a mark on the GPU wherever copies, kernels and operators on the CPU take turns.
fn split(state: &mut TypedSimpleState, inputs: &TVec<TValue>) -> TractResult<Split> {
    let mut marks: Vec<(Unit, CudaEvent)> = Vec::new();
    let mut enqueue = Duration::ZERO;
    let answers = state.run_plan_with_eval(inputs.clone(), |context, own, node, input| {
        let unit = Unit::of(node);
        if works(node) && marks.last().is_none_or(|(latest, _)| *latest != unit) {
            marks.push((unit, mark()?));
        }
        let start = Instant::now();
        let done = eval(context, own, node, input);
        if unit == Unit::Gpu {
            enqueue += start.elapsed();
        }
        done
    })?;
    // Answers that still lie on the GPU are copied here.
    marks.push((Unit::ToHost, mark()?));
    bring(&answers)?;
    marks.push((Unit::ToHost, mark()?));
    let mut split = Split { enqueue_ns: enqueue.as_nanos() as u64, ..Split::default() };
    for pair in marks.windows(2) {
        let time = between(&pair[0].1, &pair[1].1)?.as_nanos() as u64;
        match pair[0].0 {
            Unit::Gpu => split.compute_ns += time,
            Unit::ToDevice => split.to_device_ns += time,
            Unit::ToHost => split.to_host_ns += time,
            Unit::Cpu => split.on_cpu_ns += time,
        }
    }
    Ok(split)
}
