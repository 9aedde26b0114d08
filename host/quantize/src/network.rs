//! A float model as layers that can be quantized.

use crate::QuantizeError;
use crate::fold::{fold, is_plain_gemm, output_axis};
use crate::write::Constants;
use boardproof_layers::graph::{Graph, attribute};
use boardproof_layers::onnx::{F32, ModelProto, NodeProto};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Operators that only move numbers or pick some of them: what comes out lies on the steps of what comes in.
const MOVES: [&str; 12] = [
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Split",
    "Slice",
    "Gather",
    "Identity",
    "Expand",
    "MaxPool",
    "Pad",
];
/// Operators of one tensor that get steps of their own behind them.
const OF_ONE: [&str; 20] = [
    "Relu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "Softmax",
    "LeakyRelu",
    "HardSigmoid",
    "HardSwish",
    "Elu",
    "Gelu",
    "Erf",
    "Exp",
    "Neg",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "BatchNormalization",
    "LayerNormalization",
    "Resize",
];
/// Operators of several tensors, all of them quantized.
const OF_ALL: [&str; 5] = ["Add", "Sub", "Mul", "Div", "Concat"];

/// A layer: one operator with the activation behind it. What is left in float is left by layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The tensor that it makes: its name.
    pub tensor: String,
    /// Its operator.
    pub operator: String,
    /// Name of that operator's node.
    pub node: String,
    pub(crate) at: usize,
    /// Node of the activation.
    pub(crate) activation: Option<usize>,
    /// Constant weights and the axis of its outputs; `None` where all it reads is treated alike.
    pub(crate) weights: Option<usize>,
    /// Places of its inputs that are quantized as activations.
    pub(crate) operands: Vec<usize>,
}

/// An operator that is not quantized, whatever is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unquantized {
    /// Its operator.
    pub operator: String,
    /// Its node.
    pub node: String,
    /// Why.
    pub why: String,
}

/// A float model that was read, with its normalizations folded into the weights before them.
pub struct Network {
    pub(crate) graph: Graph,
    /// Layers that can be quantized, in the order of the graph.
    pub layers: Vec<Layer>,
    /// What cannot.
    pub unquantized: Vec<Unquantized>,
}

impl Network {
    /// Reads a float model.
    ///
    /// # Errors
    /// It is no ONNX model, its operators are older than version 10, it is quantized already, has graphs inside of operators or functions, or
    /// nothing in it can be quantized.
    pub fn read(model: &[u8]) -> Result<Self, QuantizeError> {
        let read = Graph::read("float model", model)?;
        check(&read)?;
        let graph = folded(&read)?;
        let mut layers: Vec<Layer> = Vec::new();
        let mut unquantized = Vec::new();
        for (at, node) in graph.proto.node.iter().enumerate() {
            if layers.iter().any(|layer| layer.activation == Some(at)) || is_beside_the_point(&graph, node) {
                continue;
            }
            match layer(&graph, at, node) {
                Ok(layer) => layers.push(layer),
                Err(why) => {
                    unquantized.push(Unquantized { operator: node.op_type.clone(), node: node.name.clone(), why });
                }
            }
        }
        if layers.is_empty() {
            let operators: BTreeSet<&str> = unquantized.iter().map(|one| one.operator.as_str()).collect();
            let found = operators.into_iter().collect::<Vec<_>>().join(", ");
            return Err(QuantizeError::NothingToQuantize { found });
        }
        Ok(Self { graph, layers, unquantized })
    }

    /// Tensors whose ranges are needed, in the order of [`Network::shown`]'s outputs.
    pub fn tensors(&self) -> Vec<&str> {
        let mut tensors: Vec<&str> = Vec::new();
        for layer in &self.layers {
            let operands = layer.operands.iter().map(|place| self.graph.proto.node[layer.at].input[*place].as_str());
            for tensor in operands.map(|tensor| self.root(tensor)).chain([layer.tensor.as_str()]) {
                if !self.graph.constants.contains_key(tensor) && !tensors.contains(&tensor) {
                    tensors.push(tensor);
                }
            }
        }
        tensors
    }

    /// The float model with the tensors whose ranges are needed for its outputs, each a line of F32 per sample.
    pub fn shown(&self) -> Vec<u8> {
        boardproof_layers::with_outputs(&self.graph, &self.tensors())
    }

    /// Version of ONNX's operators.
    pub fn opset(&self) -> i64 {
        self.graph.opset()
    }

    /// The layer of a name: its tensor's, or its node's.
    pub fn find(&self, name: &str) -> Option<usize> {
        let activation = |layer: &Layer| layer.activation.map(|at| self.graph.proto.node[at].name.as_str());
        let is_it = |layer: &Layer| layer.tensor == name || layer.node == name || activation(layer) == Some(name);
        self.layers.iter().position(is_it)
    }

    /// The tensor whose numbers these are: behind operators that only move them, the one before.
    pub(crate) fn root<'a>(&'a self, tensor: &'a str) -> &'a str {
        let mut tensor = tensor;
        while let Some(node) = self.graph.maker(tensor).filter(|node| is_move(&self.graph, node)) {
            tensor = &node.input[0];
        }
        tensor
    }
}

fn check(graph: &Graph) -> Result<(), QuantizeError> {
    let refuse = |why: String| Err(QuantizeError::Model { why });
    let quantized = |node: &&NodeProto| node.op_type.contains("QuantizeLinear") || node.op_type.starts_with("QLinear");
    if let Some(node) = graph.proto.node.iter().find(quantized) {
        return refuse(format!("it is quantized already: node '{}' is {}", node.name, node.op_type));
    }
    if graph.has_inner_graphs() || !graph.model.functions.is_empty() {
        return refuse("it has functions, or graphs inside of operators: export it without control flow".into());
    }
    let opset = graph.opset();
    if opset < 10 {
        return refuse(format!("expected operators of version 10 or later, got {opset}: export it anew"));
    }
    Ok(())
}

fn folded(graph: &Graph) -> Result<Graph, QuantizeError> {
    let mut constants = Constants::of(graph);
    let mut proto = graph.proto.clone();
    proto.node = fold(graph, &mut constants);
    proto.initializer.extend(constants.added);
    proto.value_info.clear();
    proto.quantization_annotation.clear();
    let model = ModelProto { graph: Some(proto), ..graph.model.clone() };
    Ok(Graph::read("folded model", &model.encode_to_vec())?)
}

fn is_of_onnx(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// Does it move numbers of F32?
pub(crate) fn is_move(graph: &Graph, node: &NodeProto) -> bool {
    let pads_zeros = || match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(value) => graph.constants.get(value).is_some_and(|c| c.values.iter().all(|v| *v == 0.0)),
        None => attribute(node, "value").is_none_or(|a| a.f == 0.0) && attribute(node, "mode").is_none(),
    };
    let of_onnx = is_of_onnx(node) && MOVES.contains(&node.op_type.as_str());
    let is_float = node.input.first().is_some_and(|input| graph.element(input) == F32 && !graph.is_fixed(input));
    of_onnx && is_float && (node.op_type != "Pad" || pads_zeros())
}

/// Makes nothing of samples, no numbers of F32, or moves them only.
fn is_beside_the_point(graph: &Graph, node: &NodeProto) -> bool {
    let output = &node.output[0];
    graph.is_fixed(output) || graph.element(output) != F32 || is_move(graph, node)
}

/// The layer that a node begins, or why it begins none.
fn layer(graph: &Graph, at: usize, node: &NodeProto) -> Result<Layer, String> {
    let (weights, operands) = parts(graph, node)?;
    let is_float = |place: &usize| graph.element(&node.input[*place]) == F32;
    if !operands.iter().all(is_float) {
        return Err("it reads numbers of another type than F32".into());
    }
    let activation = activation(graph, &node.output[0]);
    let tensor = activation.map_or(&node.output[0], |at| &graph.proto.node[at].output[0]).clone();
    Ok(Layer { tensor, operator: node.op_type.clone(), node: node.name.clone(), at, activation, weights, operands })
}

type Parts = (Option<usize>, Vec<usize>);

fn parts(graph: &Graph, node: &NodeProto) -> Result<Parts, String> {
    if !is_of_onnx(node) {
        return Err(format!("it is of the domain '{}'", node.domain));
    }
    let constant = |place: usize| node.input.get(place).and_then(|name| graph.constants.get(name));
    let weight = constant(1).filter(|c| c.element == F32);
    match node.op_type.as_str() {
        "Conv" | "Gemm" => {
            let channels = weight.zip(output_axis(node)).and_then(|(w, axis)| w.dims.get(axis));
            let Some(channels) = channels else { return Err("its weights are not constants of F32".into()) };
            let has_bias = node.input.get(2).is_some_and(|name| !name.is_empty());
            if has_bias && constant(2).is_none_or(|bias| bias.element != F32 || bias.values.len() != *channels) {
                return Err("its bias is not one constant number per output".into());
            }
            if node.op_type == "Gemm" && !is_plain_gemm(node) {
                return Err("it has factors, or its input is turned".into());
            }
            Ok((output_axis(node), vec![0]))
        }
        "MatMul" if weight.is_some_and(|w| w.dims.len() == 2) => Ok((Some(1), vec![0])),
        "MatMul" => Ok((None, vec![0, 1])),
        one if OF_ONE.contains(&one) => Ok((None, vec![0])),
        all if OF_ALL.contains(&all) => Ok((None, (0..node.input.len()).collect())),
        _ => Err("no engine here has it in whole numbers".into()),
    }
}

/// The activation that reads a tensor, where nothing else does: it is computed with the layer before it, or by the ends of its steps.
fn activation(graph: &Graph, tensor: &str) -> Option<usize> {
    if graph.readers(tensor).count() != 1 || graph.proto.output.iter().any(|output| output.name == tensor) {
        return None;
    }
    let reader = graph.readers(tensor).next()?;
    let is_activation = matches!(reader.op_type.as_str(), "Relu" | "Clip") && is_of_onnx(reader);
    graph.place_of_maker(&reader.output[0]).filter(|_| is_activation && reader.input[0] == tensor)
}

/// Least and largest number that an activation lets through; `None` where they are computed.
pub(crate) fn bounds(graph: &Graph, node: &NodeProto) -> Option<(f64, f64)> {
    if node.op_type == "Relu" {
        return Some((0.0, f64::INFINITY));
    }
    let bound = |place: usize, name: &str, none: f64| match node.input.get(place).filter(|input| !input.is_empty()) {
        Some(input) => graph.constants.get(input)?.scalar(),
        None => Some(attribute(node, name).map_or(none, |a| f64::from(a.f))),
    };
    Some((bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?))
}

/// Ranges by tensor.
pub type Ranges = BTreeMap<String, (f64, f64)>;
