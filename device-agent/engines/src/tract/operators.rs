//! What really runs: the operators of a planned graph with datatypes and linalg kernels.

use tract_onnx::prelude::{DatumType, TypedModel};
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::matmul::optimized::OptMatMul;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::convert::dtype_name;
use super::source::Source;
use crate::engine::OperatorFacts;

/// Every operator of `graph` in the order of execution, without inputs and constants.
pub(super) fn operators(graph: &TypedModel, order: &[usize], source: &Source) -> Vec<OperatorFacts> {
    order
        .iter()
        .map(|id| graph.node(*id))
        .filter(|node| works(node))
        .enumerate()
        .map(|(index, node)| operator(index, node, graph, source))
        .collect()
}

/// Whether a node computes something when the plan runs.
pub(super) fn works(node: &TypedNode) -> bool {
    !node.op_is::<Const>() && !node.op_is::<TypedSource>()
}

/// The facts of one node.
pub(super) fn operator(index: usize, node: &TypedNode, graph: &TypedModel, source: &Source) -> OperatorFacts {
    let facts_in = graph.node_input_facts(node.id).unwrap_or_default();
    let origin = source.origin(&node.name);
    let kernels = node.op_as::<OptMatMul>().map(|matmul| &matmul.mmm);
    OperatorFacts {
        index,
        name: node.name.clone(),
        op: node.op().name().into_owned(),
        source: origin.map(|origin| origin.name.clone()),
        source_op: origin.map(|origin| origin.operator.clone()),
        dtypes_in: facts_in.iter().map(|fact| dtype_name(fact.datum_type)).collect(),
        dtypes_out: node.outputs.iter().map(|outlet| dtype_name(outlet.fact.datum_type)).collect(),
        kernel: kernels.map(|list| list.iter().map(|mmm| mmm.name().to_owned()).collect::<Vec<_>>().join(", ")),
        accumulator: kernels.and_then(|list| list.first()).map(|mmm| dtype_name(mmm.internal_type())),
    }
}

/// Every datatype that appears on an edge of `graph`, constants included.
pub(super) fn datum_types(graph: &TypedModel) -> impl Iterator<Item = DatumType> + '_ {
    graph.nodes().iter().flat_map(|node| node.outputs.iter().map(|outlet| outlet.fact.datum_type))
}
