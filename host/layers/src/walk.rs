//! A layer: the nodes between a tensor and those before it that both forms of the model have.

use crate::graph::Graph;
use std::collections::BTreeSet;

/// The nodes of a layer.
#[derive(Debug, Default)]
pub struct Stretch {
    /// Places of its nodes in the graph, first to last.
    pub nodes: Vec<usize>,
    /// Tensors that it reads and that others make.
    pub reads: Vec<String>,
    /// Constants that it reads, also by way of nodes that only constants feed.
    pub constants: Vec<String>,
}

/// Walks back from a tensor. `stops` says of a tensor whether somebody else makes it; `own` are names of the tensor itself, which do not
/// stop the walk.
pub fn back_from(graph: &Graph, tensor: &str, own: &[&str], stops: impl Fn(&str) -> bool) -> Stretch {
    let mut nodes = BTreeSet::new();
    let mut stretch = Stretch::default();
    let mut seen = BTreeSet::new();
    let mut open = vec![tensor.to_owned()];
    while let Some(name) = open.pop() {
        if name.is_empty() || !seen.insert(name.clone()) {
            continue;
        }
        let is_own = name == tensor || own.contains(&name.as_str());
        let maker = graph.place_of_maker(&name);
        if graph.is_fixed(&name) {
            if maker.is_none() || graph.constants.contains_key(&name) {
                stretch.constants.push(name);
                continue;
            }
        } else if (!is_own && stops(&name)) || maker.is_none() {
            stretch.reads.push(name);
            continue;
        }
        if let Some(at) = maker {
            nodes.insert(at);
            open.extend(graph.proto.node[at].input.iter().cloned());
        }
    }
    stretch.nodes = nodes.into_iter().collect();
    stretch.reads.sort();
    stretch
}

/// Operators that have weights.
fn has_weights(operator: &str) -> bool {
    operator.contains("Conv")
        || operator.contains("MatMul")
        || operator.contains("Gemm")
        || operator.contains("Normalization")
}

/// Changes of how numbers are written, not of what they are.
fn is_change_of_form(operator: &str) -> bool {
    matches!(operator, "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "Cast" | "Identity")
}

/// Operators between the inputs of the graph and the first weights behind them, within a layer, by name. `is_input` says of a tensor
/// that the layer reads whether it stands for an input: it may have been quantized on the way.
pub fn operators_to_input(graph: &Graph, stretch: &Stretch, is_input: impl Fn(&str) -> bool) -> Vec<String> {
    let mut from_input: BTreeSet<&str> =
        stretch.reads.iter().map(String::as_str).filter(|read| is_input(read)).collect();
    let mut found = Vec::new();
    for at in &stretch.nodes {
        let node = &graph.proto.node[*at];
        if !node.input.iter().any(|input| from_input.contains(input.as_str())) || has_weights(&node.op_type) {
            continue;
        }
        // Scales that are found out at run time are no part of what becomes of the numbers.
        from_input.extend(node.output.iter().take(1).map(String::as_str));
        if !is_change_of_form(&node.op_type) && !graph.is_fixed(&node.output[0]) {
            found.push(node.op_type.clone());
        }
    }
    found
}
