//! tract against itself: the graph as typed, before any rewrite, against the graph that ships, and the first rewrite that changed the
//! answers.
//!
//! tract's optimizer applies rewrites one at a time and can be told to stop after a number of them, so the first wrong one is found by
//! bisection over that number. It costs a logarithm of partial optimizations and a run of the samples for each.

use std::collections::BTreeSet;
use std::time::Instant;

use tract_onnx::prelude::{TractResult, TypedModel};
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::optim::Optimizer;

use super::convert::plain_dtype;
use super::guard::guard;
use super::loaded::TractModel;
use super::operators::{datum_types, operator, works};
use super::source::Source;
use crate::engine::{LoadOptions, Loaded, Refusal, RunFailure};
use crate::self_check::{Arithmetic, Parting, SelfCheck, SelfCheckLimits, SelfCheckOutcome, parting};
use crate::tensor::{Tensor, TensorView};

/// The part of tract's optimizer whose rewrites are counted.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// Rewrites that hold on every machine: fusions, folding of constants.
    Declutter,
    /// Choice of kernels and memory layouts for this machine.
    Codegen,
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Pass::Declutter => "declutter",
            Pass::Codegen => "codegen",
        }
    }

    fn optimizer(self) -> Optimizer {
        match self {
            Pass::Declutter => Optimizer::declutter(),
            Pass::Codegen => Optimizer::codegen(),
        }
    }
}

/// Where the graph that ships runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Runs {
    /// By tract's own kernels.
    OnTheCpu,
    /// On a device: what its translation does is no rewrite that could be counted here.
    #[cfg(feature = "cuda")]
    OnADevice,
}

/// What one check works on.
struct Check<'a> {
    source: &'a Source,
    options: &'a LoadOptions,
    samples: &'a [Vec<TensorView<'a>>],
    /// Answers of the typed graph.
    reference: Vec<Vec<Tensor>>,
    tolerance: f64,
    started: Instant,
    limits: &'a SelfCheckLimits,
    runs: Runs,
}

pub(super) fn self_check(
    source: &Source,
    options: &LoadOptions,
    loaded: &mut dyn Loaded,
    samples: &[Vec<TensorView<'_>>],
    limits: &SelfCheckLimits,
    runs: Runs,
) -> Result<SelfCheck, Refusal> {
    let started = Instant::now();
    let typed = source.typed(options)?;
    let tolerance = runs.tolerance(Arithmetic::of(datum_types(&typed).filter_map(plain_dtype)));
    let nothing = Parting { relative_l2: 0.0, max_abs: 0.0 };
    let unavailable = |samples: usize, reason: String| SelfCheck {
        samples,
        parting: nothing,
        tolerance,
        outcome: SelfCheckOutcome::Unavailable { reason },
    };
    if samples.is_empty() {
        return Ok(unavailable(0, "no samples were given".into()));
    }
    let reference = match answers(source, typed.clone(), options, samples) {
        Ok(reference) => reference,
        Err(failure) => return Ok(unavailable(0, format!("the unoptimized graph does not run: {failure}"))),
    };
    let check = Check { source, options, samples, reference, tolerance, started, limits, runs };
    Ok(check.conclude(typed, loaded))
}

impl Runs {
    /// What comes after decluttering in the place of tract's own choice of kernels.
    fn translation(self) -> Option<&'static str> {
        match self {
            Runs::OnTheCpu => None,
            #[cfg(feature = "cuda")]
            Runs::OnADevice => Some("translation to the device"),
        }
    }

    /// The largest distance between two right evaluations. cuDNN multiplies floats with the eleven bits of a half (TF32) where the GPU
    /// can, unless it is told otherwise, and tract does not tell it otherwise.
    fn tolerance(self, arithmetic: Arithmetic) -> f64 {
        match self {
            Runs::OnTheCpu => arithmetic.tolerance(),
            #[cfg(feature = "cuda")]
            Runs::OnADevice => arithmetic.tolerance().max(Arithmetic::Half.tolerance()),
        }
    }
}

impl Check<'_> {
    fn conclude(&self, typed: TypedModel, loaded: &mut dyn Loaded) -> SelfCheck {
        let apart = match answers_of(loaded, self.samples) {
            Ok(answers) => parting(&self.reference, &answers),
            // The optimized graph does not even run: as far apart as can be.
            Err(_) => Parting { relative_l2: f64::INFINITY, max_abs: f64::INFINITY },
        };
        let outcome = if apart.relative_l2 <= self.tolerance { SelfCheckOutcome::Agrees } else { self.locate(typed) };
        SelfCheck { samples: self.samples.len(), parting: apart, tolerance: self.tolerance, outcome }
    }

    /// Finds the first rewrite that moves the answers beyond the tolerance.
    fn locate(&self, typed: TypedModel) -> SelfCheckOutcome {
        let Some(decluttered) = rewritten(&typed, Pass::Declutter, None) else {
            return SelfCheckOutcome::Parts {
                stage: Pass::Declutter.name().into(),
                operator: None,
                replaced: Vec::new(),
            };
        };
        let in_declutter = self.parts(decluttered.clone());
        if let (false, Some(stage)) = (in_declutter, self.runs.translation()) {
            return SelfCheckOutcome::Parts { stage: stage.into(), operator: None, replaced: Vec::new() };
        }
        let (pass, start) = if in_declutter { (Pass::Declutter, typed) } else { (Pass::Codegen, decluttered) };
        match self.first_wrong(&start, pass) {
            Some(count) => self.blame(&start, pass, count),
            None => SelfCheckOutcome::Parts { stage: pass.name().into(), operator: None, replaced: Vec::new() },
        }
    }

    /// The smallest found number of rewrites after which the answers part; none when time runs out.
    fn first_wrong(&self, start: &TypedModel, pass: Pass) -> Option<usize> {
        let wrong = |count: usize| Some(self.parts(rewritten(start, pass, Some(count))?));
        let mut high = 1;
        while !wrong(high)? {
            if self.late() || high > MAX_REWRITES {
                return None;
            }
            high *= 2;
        }
        let mut low = high / 2;
        while high - low > 1 {
            if self.late() {
                return None;
            }
            let middle = low + (high - low) / 2;
            if wrong(middle)? { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// Names what rewrite number `count` put in and took out.
    fn blame(&self, start: &TypedModel, pass: Pass, count: usize) -> SelfCheckOutcome {
        let stage = pass.name().to_owned();
        let graphs = rewritten(start, pass, Some(count - 1)).zip(rewritten(start, pass, Some(count)));
        let Some((before, after)) = graphs else {
            return SelfCheckOutcome::Parts { stage, operator: None, replaced: Vec::new() };
        };
        let operator = new_nodes(&after, &before)
            .into_iter()
            // A rewrite may add casts and reshapes around the operator it is about; the operator reads the most.
            .max_by_key(|node| weight(node))
            .map(|node| Box::new(operator(node.id, node, &after, self.source)));
        let replaced = new_nodes(&before, &after)
            .into_iter()
            .map(|node| format!("{} ({})", node.op().name(), node.name))
            .collect();
        SelfCheckOutcome::Parts { stage, operator, replaced }
    }

    fn parts(&self, graph: TypedModel) -> bool {
        match answers(self.source, graph, self.options, self.samples) {
            Ok(answers) => parting(&self.reference, &answers).relative_l2 > self.tolerance,
            Err(_) => true,
        }
    }

    fn late(&self) -> bool {
        self.started.elapsed() >= self.limits.deadline
    }
}

/// More rewrites than any graph that fits on a board takes; bounds the search when the bisection cannot converge.
const MAX_REWRITES: usize = 1 << 20;

/// The graph after `count` rewrites of a pass, or after all of them; none when tract fails on the way.
fn rewritten(start: &TypedModel, pass: Pass, count: Option<usize>) -> Option<TypedModel> {
    let mut graph = start.clone();
    let optimizer = pass.optimizer();
    let optimizer = if let Some(count) = count { optimizer.stopping_at(count) } else { optimizer };
    let optimize = || -> TractResult<TypedModel> {
        optimizer.optimize(&mut graph)?;
        Ok(graph)
    };
    guard(optimize).ok()
}

/// Nodes of `graph` that `other` does not have with the same name, operator and output types.
fn new_nodes<'g>(graph: &'g TypedModel, other: &TypedModel) -> Vec<&'g TypedNode> {
    let key = |node: &TypedNode| {
        let outputs: Vec<String> = node.outputs.iter().map(|outlet| format!("{:?}", outlet.fact.datum_type)).collect();
        (node.name.clone(), format!("{:?}", node.op()), outputs)
    };
    let known: BTreeSet<_> = other.nodes().iter().filter(|node| works(node)).map(key).collect();
    graph.nodes().iter().filter(|node| works(node) && !known.contains(&key(node))).collect()
}

/// Orders the nodes of one rewrite by how likely they compute: reshapes and casts last.
fn weight(node: &TypedNode) -> usize {
    let name = node.op().name();
    let moves_only =
        ["Cast", "AddAxis", "RmAxis", "Reshape", "Move", "Identity"].iter().any(|prefix| name.starts_with(prefix));
    if moves_only { 0 } else { 1 + node.inputs.len() }
}

fn answers(
    source: &Source,
    graph: TypedModel,
    options: &LoadOptions,
    samples: &[Vec<TensorView<'_>>],
) -> Result<Vec<Vec<Tensor>>, String> {
    let mut model = TractModel::planned(source, graph, options).map_err(|refusal| refusal.to_string())?;
    answers_of(&mut model, samples)
}

fn answers_of(model: &mut dyn Loaded, samples: &[Vec<TensorView<'_>>]) -> Result<Vec<Vec<Tensor>>, String> {
    let mut run = |inputs: &[TensorView<'_>]| -> Result<Vec<Tensor>, RunFailure> {
        model.prepare(inputs)?;
        model.run()?;
        model.answers()
    };
    samples.iter().map(|inputs| run(inputs).map_err(|failure| failure.to_string())).collect()
}
