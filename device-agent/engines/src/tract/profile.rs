//! What each operator of a planned graph costs: time by a clock around each, arithmetic and output size by tract's own account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tract_onnx::prelude::{TValue, TVec, TractResult, TypedModel};
use tract_onnx::tract_core::internal::{Cost, TypedNode, TypedSimpleState};
use tract_onnx::tract_core::plan::eval;

use super::operators::works;
use crate::engine::OperatorCost;

/// Runs the plan once to warm up and then so many times, with each operator timed.
pub(super) fn profile(
    state: &mut TypedSimpleState,
    inputs: &TVec<TValue>,
    inferences: u32,
) -> TractResult<Vec<OperatorCost>> {
    let mut spent: HashMap<usize, Duration> = HashMap::new();
    for number in 0..=inferences {
        state.run_plan_with_eval(inputs.clone(), |context, own, node, input| {
            let start = Instant::now();
            let done = eval(context, own, node, input);
            if number > 0 {
                *spent.entry(node.id).or_default() += start.elapsed();
            }
            done
        })?;
    }
    let plan = Arc::clone(state.plan());
    let graph = plan.model();
    let order = plan.order_without_consts().iter().map(|id| graph.node(*id)).filter(|node| works(node));
    let cost = |(index, node): (usize, &TypedNode)| OperatorCost {
        index,
        time_ns: spent.get(&node.id).map(|time| time.as_nanos() as u64 / u64::from(inferences.max(1))),
        output_bytes: output_bytes(node),
        macs: macs(graph, node),
    };
    Ok(order.enumerate().map(cost).collect())
}

pub(super) fn output_bytes(node: &TypedNode) -> Option<u64> {
    let size = |outlet: &tract_onnx::prelude::Outlet<_>| {
        let fact: &tract_onnx::prelude::TypedFact = &outlet.fact;
        let elements: usize = fact.shape.as_concrete()?.iter().product();
        Some((elements * fact.datum_type.size_of()) as u64)
    };
    node.outputs.iter().map(size).sum()
}

/// Multiply-accumulates as the operator itself counts them; `None` where it counts none.
pub(super) fn macs(graph: &TypedModel, node: &TypedNode) -> Option<u64> {
    let facts = graph.node_input_facts(node.id).ok()?;
    let costs = node.op.cost(&facts).ok()?;
    let fused = costs.iter().filter(|(what, _)| matches!(what, Cost::FMA(_)));
    let total: i64 = fused.filter_map(|(_, count)| count.to_i64().ok()).sum();
    u64::try_from(total).ok().filter(|macs| *macs > 0)
}
