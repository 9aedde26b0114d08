//! A model cut behind one of its layers: what comes after it is gone, nodes and constants both, so that it fits where the whole does.

use crate::onnx::{GraphProto, TensorName};
use prost::Message;
use std::collections::BTreeSet;

/// Only what the outputs are computed from, and all inputs: a model that is fed less would be another one to whoever feeds it.
pub fn needed_only(mut graph: GraphProto) -> GraphProto {
    let mut needed: BTreeSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept = Vec::new();
    // Nodes come in the order of execution.
    for node in graph.node.into_iter().rev() {
        if node.output.iter().any(|output| !output.is_empty() && needed.contains(output)) {
            needed.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph
        .initializer
        .retain(|bytes| TensorName::decode(bytes.as_slice()).map_or(true, |tensor| needed.contains(&tensor.name)));
    graph.value_info.clear();
    graph.quantization_annotation.clear();
    graph
}
