//! A planned model: the only file of this engine whose `run` is timed.

use super::plan::Plan;
use super::source::Source;
use super::value::{Value, Width};
use crate::engine::{LoadOptions, Loaded, OperatorCost, OperatorFacts, Refusal, RunFailure, TensorFacts};
use crate::preprocess::Preprocess;
use crate::tensor::{Tensor, TensorView};

/// A model that is ready to run.
pub(super) struct CandleModel {
    plan: Plan,
    width: Width,
    inputs: Vec<TensorFacts>,
    outputs: Vec<TensorFacts>,
    preprocess: Vec<Option<Preprocess>>,
    prepared: Option<Vec<Value>>,
    answers: Option<Vec<Value>>,
}

impl CandleModel {
    pub(super) fn new(source: &Source, options: &LoadOptions, width: Width) -> Result<Self, Refusal> {
        let plan = Plan::new(source, options, width)?;
        let inputs: Vec<TensorFacts> = plan.inputs.iter().map(|(_, facts)| facts.clone()).collect();
        let outputs = plan.outputs.iter().map(|(_, facts)| facts.clone()).collect();
        let preprocess = inputs.iter().map(|input| options.preprocess.get(&input.name).cloned()).collect();
        Ok(CandleModel { plan, width, inputs, outputs, preprocess, prepared: None, answers: None })
    }

    fn prepare_one(&self, index: usize, raw: TensorView<'_>) -> Result<Value, RunFailure> {
        let facts = &self.inputs[index];
        let converted = facts.read(raw, self.preprocess[index].as_ref())?;
        Value::from_plain(&converted, self.width).map_err(|error| facts.refuse(error.to_string()))
    }

    /// What each step makes of the prepared inputs, in order.
    pub(super) fn trace(&mut self) -> Result<Vec<Vec<Value>>, RunFailure> {
        let inputs = self.prepared.clone().ok_or(RunFailure::NotPrepared)?;
        let mut made = Vec::new();
        self.plan.run(&inputs, |_, values| made.push(values.to_vec()))?;
        Ok(made)
    }
}

impl Loaded for CandleModel {
    fn inputs(&self) -> &[TensorFacts] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorFacts] {
        &self.outputs
    }

    fn operators(&self) -> &[OperatorFacts] {
        &self.plan.operators
    }

    fn prepare(&mut self, inputs: &[TensorView<'_>]) -> Result<(), RunFailure> {
        self.answers = None;
        self.prepared = None;
        self.plan.forget();
        if inputs.len() != self.inputs.len() {
            return Err(RunFailure::InputCount { expected: self.inputs.len(), got: inputs.len() });
        }
        let prepared = inputs.iter().enumerate().map(|(index, raw)| self.prepare_one(index, *raw));
        self.prepared = Some(prepared.collect::<Result<_, _>>()?);
        Ok(())
    }

    fn run(&mut self) -> Result<(), RunFailure> {
        self.answers = None;
        let inputs = self.prepared.as_ref().ok_or(RunFailure::NotPrepared)?;
        self.answers = Some(self.plan.run(inputs, |_, _| {})?);
        Ok(())
    }

    fn answers(&self) -> Result<Vec<Tensor>, RunFailure> {
        let answers = self.answers.as_ref().ok_or(RunFailure::NotRun)?;
        let plain = |(value, facts): (&Value, &TensorFacts)| {
            let refuse = |_| RunFailure::Output { name: facts.name.clone(), dtype: facts.dtype.to_string() };
            value.to_plain().map_err(refuse)
        };
        answers.iter().zip(&self.outputs).map(plain).collect()
    }

    fn profile(&mut self, inferences: u32) -> Result<Vec<OperatorCost>, RunFailure> {
        let inputs = self.prepared.as_ref().ok_or(RunFailure::NotPrepared)?;
        self.plan.profile(inputs, inferences)
    }
}
