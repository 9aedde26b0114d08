//! Normalization behind weights becomes part of them: the same function in one layer, so that nothing between is rounded.

use crate::write::{Constants, float};
use boardproof_layers::graph::{Graph, attribute};
use boardproof_layers::onnx::{F32, NodeProto};

/// What BatchNormalization does to a channel: `number * gain + shift`.
struct Normalization {
    gain: Vec<f64>,
    shift: Vec<f64>,
}

/// Folds every BatchNormalization that stands behind constant weights and nowhere else; the others stay.
pub fn fold(graph: &Graph, constants: &mut Constants) -> Vec<NodeProto> {
    let mut nodes: Vec<Option<NodeProto>> = graph.proto.node.iter().cloned().map(Some).collect();
    for (at, node) in graph.proto.node.iter().enumerate() {
        let Some((before, folded)) = fold_one(graph, node, constants) else { continue };
        nodes[before] = Some(folded);
        nodes[at] = None;
    }
    nodes.into_iter().flatten().collect()
}

fn fold_one(graph: &Graph, node: &NodeProto, constants: &mut Constants) -> Option<(usize, NodeProto)> {
    let between = node.input.first().filter(|_| node.op_type == "BatchNormalization" && node.output.len() == 1)?;
    let is_output = graph.proto.output.iter().any(|output| output.name == *between);
    let at = graph.place_of_maker(between).filter(|_| !is_output && graph.readers(between).count() == 1)?;
    let weighted = &graph.proto.node[at];
    let axis = output_axis(weighted).filter(|_| matches!(weighted.op_type.as_str(), "Conv" | "Gemm"))?;
    let normalization = normalization(graph, node)?;
    let weight = graph.constants.get(&weighted.input[1]).filter(|c| c.element == F32)?;
    let channels = *weight.dims.get(axis)?;
    let bias = match weighted.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => graph.constants.get(name).map(|c| c.values.clone()).filter(|values| values.len() == channels)?,
        None => vec![0.0; channels],
    };
    if normalization.gain.len() != channels || (weighted.op_type == "Gemm" && !is_plain_gemm(weighted)) {
        return None;
    }
    let inner: usize = weight.dims[axis + 1..].iter().product();
    let gain = |i: usize| normalization.gain[(i / inner.max(1)) % channels];
    let weights = weight.values.iter().enumerate().map(|(i, w)| w * gain(i));
    let biases = bias.iter().zip(&normalization.gain).zip(&normalization.shift).map(|((b, g), s)| b * g + s);
    let bias_name = weighted.input.get(2).filter(|name| !name.is_empty()).cloned();
    let folded = [
        constants.add(&format!("{}_folded", weighted.input[1]), &weight.dims, float(weights)),
        constants.add(
            &format!("{}_folded", bias_name.unwrap_or_else(|| format!("{between}_bias"))),
            &[channels],
            float(biases),
        ),
    ];
    let input = std::iter::once(weighted.input[0].clone()).chain(folded).collect();
    Some((at, NodeProto { input, output: node.output.clone(), ..weighted.clone() }))
}

/// The dimension of constant weights along which a layer's outputs lie, where it is known.
pub fn output_axis(node: &NodeProto) -> Option<usize> {
    match node.op_type.as_str() {
        "Conv" => Some(0),
        "Gemm" => Some(usize::from(attribute(node, "transB").is_none_or(|a| a.i == 0))),
        "MatMul" => Some(1),
        _ => None,
    }
}

/// Without factors and without its input turned: a plain layer of weights.
pub fn is_plain_gemm(node: &NodeProto) -> bool {
    let is_one = |name: &str| attribute(node, name).is_none_or(|a| a.f == 1.0);
    is_one("alpha") && is_one("beta") && attribute(node, "transA").is_none_or(|a| a.i == 0)
}

fn normalization(graph: &Graph, node: &NodeProto) -> Option<Normalization> {
    if attribute(node, "training_mode").is_some_and(|a| a.i != 0) {
        return None;
    }
    let values = |place: usize| Some(&graph.constants.get(node.input.get(place)?)?.values);
    let (scale, shift, mean, variance) = (values(1)?, values(2)?, values(3)?, values(4)?);
    let same = [shift, mean, variance].iter().all(|other| other.len() == scale.len());
    let epsilon = attribute(node, "epsilon").map_or(1e-5, |a| f64::from(a.f));
    let gain: Vec<f64> = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let shift = shift.iter().zip(mean).zip(&gain).map(|((b, m), g)| b - m * g).collect();
    same.then_some(Normalization { gain, shift })
}
