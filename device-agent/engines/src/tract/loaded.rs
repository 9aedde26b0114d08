//! A planned tract graph with its state: the only file whose `run` is timed.

use std::sync::Arc;

use tract_onnx::prelude::{TValue, TVec, TypedModel, tvec};
use tract_onnx::tract_core::internal::{TypedSimplePlan, TypedSimpleState};

use super::convert::{from_tract, plain_dtype, to_tract};
use super::guard::guard;
use super::operators::operators;
use super::profile::profile;
use super::source::Source;
use crate::engine::{Dim, LoadOptions, Loaded, OperatorCost, OperatorFacts, Refusal, RunFailure, Stage, TensorFacts};
use crate::preprocess::Preprocess;
use crate::tensor::{Tensor, TensorView};

/// A model that tract has planned.
pub(super) struct TractModel {
    pub(super) state: TypedSimpleState,
    inputs: Vec<TensorFacts>,
    outputs: Vec<TensorFacts>,
    pub(super) operators: Vec<OperatorFacts>,
    preprocess: Vec<Option<Preprocess>>,
    pub(super) prepared: Option<TVec<TValue>>,
    pub(super) answers: Option<TVec<TValue>>,
}

impl TractModel {
    /// Loads with tract's full optimization: what ships.
    pub(super) fn optimized(source: &Source, options: &LoadOptions) -> Result<Self, Refusal> {
        let typed = source.typed(options)?;
        let graph = guard(|| typed.into_optimized()).map_err(|trouble| source.refuse(Stage::Optimize, &trouble))?;
        Self::planned(source, graph, options)
    }

    /// Plans a graph as it is.
    pub(super) fn planned(source: &Source, graph: TypedModel, options: &LoadOptions) -> Result<Self, Refusal> {
        let plan = guard(|| TypedSimplePlan::new(graph)).map_err(|trouble| source.refuse(Stage::Plan, &trouble))?;
        Self::ready(source, &plan, options)
    }

    /// Makes a plan ready to run.
    pub(super) fn ready(source: &Source, plan: &Arc<TypedSimplePlan>, options: &LoadOptions) -> Result<Self, Refusal> {
        let state = guard(|| TypedSimpleState::new(plan)).map_err(|trouble| source.refuse(Stage::Plan, &trouble))?;
        let inputs = ends(source, plan.model(), &plan.model().inputs, &source.inputs)?;
        let outputs = ends(source, plan.model(), &plan.model().outputs, &source.outputs)?;
        let operators = operators(plan.model(), plan.order_without_consts(), source);
        let preprocess = inputs.iter().map(|input| options.preprocess.get(&input.name).cloned()).collect();
        Ok(TractModel { state, inputs, outputs, operators, preprocess, prepared: None, answers: None })
    }

    fn prepare_one(&self, index: usize, raw: TensorView<'_>) -> Result<TValue, RunFailure> {
        let facts = &self.inputs[index];
        let converted = facts.read(raw, self.preprocess[index].as_ref())?;
        guard(|| to_tract(&converted)).map(TValue::from).map_err(|trouble| facts.refuse(trouble.reason()))
    }
}

impl Loaded for TractModel {
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
        self.answers = None;
        self.prepared = None;
        if inputs.len() != self.inputs.len() {
            return Err(RunFailure::InputCount { expected: self.inputs.len(), got: inputs.len() });
        }
        let mut prepared = tvec!();
        for (index, raw) in inputs.iter().enumerate() {
            prepared.push(self.prepare_one(index, *raw)?);
        }
        self.prepared = Some(prepared);
        Ok(())
    }

    fn run(&mut self) -> Result<(), RunFailure> {
        // Cloning counts references; the tensors themselves are not copied.
        let inputs = self.prepared.clone().ok_or(RunFailure::NotPrepared)?;
        match guard(|| self.state.run(inputs)) {
            Ok(answers) => {
                self.answers = Some(answers);
                Ok(())
            }
            Err(trouble) => {
                self.answers = None;
                Err(trouble.fail())
            }
        }
    }

    fn answers(&self) -> Result<Vec<Tensor>, RunFailure> {
        let answers = self.answers.as_ref().ok_or(RunFailure::NotRun)?;
        answers.iter().zip(&self.outputs).map(|(value, facts)| from_tract(&facts.name, value)).collect()
    }

    fn profile(&mut self, inferences: u32) -> Result<Vec<OperatorCost>, RunFailure> {
        let inputs = self.prepared.clone().ok_or(RunFailure::NotPrepared)?;
        guard(|| profile(&mut self.state, &inputs, inferences)).map_err(|trouble| trouble.fail())
    }
}

/// The facts of the graph's inputs or outputs, named as the model names them.
fn ends(
    source: &Source,
    graph: &TypedModel,
    outlets: &[tract_onnx::prelude::OutletId],
    declared: &[(String, Vec<Dim>)],
) -> Result<Vec<TensorFacts>, Refusal> {
    let refuse = |name: &str, reason: String| Refusal {
        stage: Stage::Type,
        operator: None,
        node: source.origin(name).map(|node| node.name.clone()),
        reason: format!("{name}: {reason}"),
        unsupported: Vec::new(),
    };
    if outlets.len() != declared.len() {
        return Err(refuse("graph", format!("expected {} ends, got {}", declared.len(), outlets.len())));
    }
    let facts_of = |(outlet, (name, dims)): (&tract_onnx::prelude::OutletId, &(String, Vec<Dim>))| {
        let fact = graph.outlet_fact(*outlet).map_err(|error| refuse(name, format!("{error:#}")))?;
        let dtype = plain_dtype(fact.datum_type)
            .ok_or_else(|| refuse(name, format!("datatype {:?} cannot travel", fact.datum_type).to_lowercase()))?;
        let shape = fact
            .shape
            .as_concrete()
            .ok_or_else(|| refuse(name, format!("shape {:?} depends on the data", fact.shape)))?;
        Ok(TensorFacts { name: name.clone(), dtype, declared: dims.clone(), shape: shape.to_vec() })
    };
    outlets.iter().zip(declared).map(facts_of).collect()
}
