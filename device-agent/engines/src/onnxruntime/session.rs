//! A session of the library with its inputs: the only file whose `run` is timed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::SessionInputValue;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, Outlet, ValueType};

use super::profile::{Ran, ran};
use super::providers::{register, wanted};
use super::refusal::{failure, reason, refusal, refuse};
use super::values::{dtype_of, from_ort, poison, to_ort};
use crate::engine::{Dim, LoadOptions, Loaded, OperatorCost, OperatorFacts, Refusal, RunFailure, Stage, TensorFacts};
use crate::preprocess::Preprocess;
use crate::tensor::{Tensor, TensorView};

/// Inferences of the session that is profiled; the first tells which nodes run, the others for how long.
const PROFILED_RUNS: usize = 21;

/// A model that the library has loaded.
pub(super) struct OrtModel {
    session: Session,
    inputs: Vec<TensorFacts>,
    outputs: Vec<TensorFacts>,
    preprocess: Vec<Option<Preprocess>>,
    ran: Vec<Ran>,
    operators: Vec<OperatorFacts>,
    prepared: Option<Vec<DynValue>>,
    answers: Option<Vec<DynValue>>,
}

impl OrtModel {
    pub(super) fn load(
        environment: &Environment,
        model: &[u8],
        options: &LoadOptions,
        level: GraphOptimizationLevel,
    ) -> Result<Self, Refusal> {
        let mut builder = builder(environment, options, level)?;
        let session = builder.commit_from_memory(model).map_err(|error| refuse(&error))?;
        let inputs = facts(session.inputs(), options, "input")?;
        let outputs = facts(session.outputs(), options, "output")?;
        let preprocess = inputs.iter().map(|input| options.preprocess.get(&input.name).cloned()).collect();
        let ran = if options.describe { described(environment, model, &inputs, options, level)? } else { Vec::new() };
        let operators = ran.iter().map(|ran| ran.facts.clone()).collect();
        Ok(Self { session, inputs, outputs, preprocess, ran, operators, prepared: None, answers: None })
    }

    fn prepare_one(&self, index: usize, raw: TensorView<'_>) -> Result<DynValue, RunFailure> {
        let facts = &self.inputs[index];
        let converted = facts.read(raw, self.preprocess[index].as_ref())?;
        to_ort(converted.view()).map_err(|error| facts.refuse(reason(&error)))
    }
}

fn builder(
    environment: &Environment,
    options: &LoadOptions,
    level: GraphOptimizationLevel,
) -> Result<SessionBuilder, Refusal> {
    let builder = Session::builder(environment).map_err(|error| refuse(&error))?;
    let builder = builder.with_optimization_level(level).map_err(|error| refuse(&error))?;
    let builder = builder.with_intra_threads(1).map_err(|error| refuse(&error))?;
    let builder = builder.with_inter_threads(1).map_err(|error| refuse(&error))?;
    let refused = |(provider, why)| refusal(Stage::Plan, format!("execution provider {provider}: {why}"));
    register(builder, &options.providers).map_err(refused)
}

/// Inputs or outputs as declared, with every symbolic extent fixed: the first axis is the batch.
fn facts(outlets: &[Outlet], options: &LoadOptions, what: &str) -> Result<Vec<TensorFacts>, Refusal> {
    outlets.iter().map(|outlet| fact(outlet, options, what)).collect()
}

fn fact(outlet: &Outlet, options: &LoadOptions, what: &str) -> Result<TensorFacts, Refusal> {
    let refuse = |why: String| refusal(Stage::Type, format!("{what} {}: {why}", outlet.name()));
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(refuse(format!("expected a tensor, got {}", outlet.dtype())));
    };
    let dtype = dtype_of(*ty).ok_or_else(|| refuse(format!("datatype {ty:?} cannot travel")))?;
    let mut declared = Vec::new();
    let mut fixed = Vec::new();
    for (axis, extent) in shape.iter().enumerate() {
        let symbol = dimension_symbols.get(axis).cloned().unwrap_or_default();
        match usize::try_from(*extent) {
            Ok(extent) => {
                declared.push(Dim::Fixed(extent));
                fixed.push(extent);
            }
            Err(_) => {
                let named = options.dims.get(&symbol).copied();
                fixed.push(named.or(options.batch.filter(|_| axis == 0)).unwrap_or(1));
                declared.push(Dim::Symbol(symbol));
            }
        }
    }
    Ok(TensorFacts { name: outlet.name().to_owned(), dtype, declared, shape: fixed })
}

/// The nodes that run, with their times and what they count. A session lays out weights anew for its kernels and forgets the originals, and
/// the profile has no shape for them: they are counted in a session that does not.
fn described(
    environment: &Environment,
    model: &[u8],
    inputs: &[TensorFacts],
    options: &LoadOptions,
    level: GraphOptimizationLevel,
) -> Result<Vec<Ran>, Refusal> {
    let read = |text: &str| ran(text, wanted(options)).map_err(|error| unknown(&error));
    let mut ran = read(&profile(builder(environment, options, level)?, model, inputs, PROFILED_RUNS)?)?;
    let whole = builder(environment, options, level)?.with_prepacking(false).map_err(|error| refuse(&error))?;
    let counted = read(&profile(whole, model, inputs, 1)?)?;
    for node in &mut ran {
        let same = counted.iter().find(|other| other.facts.name == node.facts.name && other.facts.op == node.facts.op);
        node.cost.macs = same.and_then(|other| other.cost.macs);
    }
    Ok(ran)
}

/// The library or this machine did not tell what runs.
fn unknown(why: &dyn std::fmt::Display) -> Refusal {
    refusal(Stage::Plan, format!("what runs could not be found out: {why}"))
}

/// Runs a session of its own with the library's profiler on, over zeros; returns what the profiler wrote.
fn profile(
    builder: SessionBuilder,
    model: &[u8],
    inputs: &[TensorFacts],
    inferences: usize,
) -> Result<String, Refusal> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let prefix = std::env::temp_dir().join(format!("boardproof-profile-{}-{number}", std::process::id()));
    let mut profiled = builder.with_profiling(&prefix).map_err(|error| refuse(&error))?;
    let mut session = profiled.commit_from_memory(model).map_err(|error| refuse(&error))?;
    let zero = |facts: &TensorFacts| {
        let count = facts.shape.iter().product::<usize>() * facts.dtype.size_bytes();
        let tensor = Tensor::new(facts.dtype, facts.shape.clone(), vec![0; count]).map_err(|error| unknown(&error))?;
        to_ort(tensor.view()).map_err(|error| refuse(&error))
    };
    let values = inputs.iter().map(zero).collect::<Result<Vec<DynValue>, Refusal>>()?;
    let done = (0..inferences).try_for_each(|_| {
        let views: Vec<SessionInputValue<'_>> = values.iter().map(SessionInputValue::from).collect();
        session.run(&views[..]).map(drop)
    });
    let file = session.end_profiling().map(PathBuf::from);
    let text = file.map_err(|error| unknown(&reason(&error))).and_then(|file| {
        let text = std::fs::read_to_string(&file).map_err(|error| unknown(&format!("{}: {error}", file.display())));
        let _ = std::fs::remove_file(&file);
        text
    });
    done.map_err(|error| refuse(&error))?;
    text
}

impl Loaded for OrtModel {
    fn inputs(&self) -> &[TensorFacts] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorFacts] {
        &self.outputs
    }

    fn operators(&self) -> &[OperatorFacts] {
        &self.operators
    }

    fn prepare(&mut self, inputs: &[TensorView<'_>]) -> Result<(), RunFailure> {
        // Given back after all of them are poisoned: the library then has their memory for the next run.
        self.answers.iter_mut().flatten().for_each(poison);
        self.answers = None;
        self.prepared = None;
        if inputs.len() != self.inputs.len() {
            return Err(RunFailure::InputCount { expected: self.inputs.len(), got: inputs.len() });
        }
        let prepared = inputs.iter().enumerate().map(|(index, raw)| self.prepare_one(index, *raw));
        self.prepared = Some(prepared.collect::<Result<_, _>>()?);
        Ok(())
    }

    fn run(&mut self) -> Result<(), RunFailure> {
        let prepared = self.prepared.as_ref().ok_or(RunFailure::NotPrepared)?;
        let views: Vec<SessionInputValue<'_>> = prepared.iter().map(SessionInputValue::from).collect();
        self.answers = None;
        let outputs = self.session.run(&views[..]).map_err(|error| failure(&error))?;
        self.answers = Some(outputs.into_iter().map(|(_, value)| value.into_dyn()).collect());
        Ok(())
    }

    fn answers(&self) -> Result<Vec<Tensor>, RunFailure> {
        let answers = self.answers.as_ref().ok_or(RunFailure::NotRun)?;
        let named = answers.iter().zip(&self.outputs);
        let one = |(value, facts): (&DynValue, &TensorFacts)| {
            from_ort(value).map_err(|dtype| RunFailure::Output { name: facts.name.clone(), dtype })
        };
        named.map(one).collect()
    }

    fn profile(&mut self, _inferences: u32) -> Result<Vec<OperatorCost>, RunFailure> {
        Ok(self.ran.iter().map(|ran| ran.cost.clone()).collect())
    }
}
