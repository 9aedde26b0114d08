//! From model bytes to a checked list of nodes: parse, refuse what no operator here does, fix every axis.

use std::collections::{BTreeMap, BTreeSet};

use boardproof_compile::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use prost::Message;

use super::VERSION;
use super::operators;
use super::value::{constant, element_type};
use crate::engine::{Dim, LoadOptions, Refusal, Stage};
use crate::tensor::{DType, Tensor};

/// Versions of ONNX's own operators that are known here: another one may mean something else by the same name.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=21;

/// A parsed model file.
pub(super) struct Source {
    /// Nodes in an order in which each finds its inputs, as the format demands.
    pub(super) nodes: Vec<Node>,
    /// Constants by name.
    pub(super) constants: BTreeMap<String, Tensor>,
    /// Inputs that somebody has to give.
    pub(super) inputs: Vec<Input>,
    /// Declared outputs by name.
    pub(super) outputs: Vec<(String, Vec<Dim>)>,
    /// Version of ONNX's own operators.
    pub(super) opset: i64,
}

/// An input of the model.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) element: DType,
    pub(super) declared: Vec<Dim>,
}

/// A node of the model file.
pub(super) struct Node {
    /// Name, or the first output's name where the node has none.
    pub(super) name: String,
    /// Operator type, with its domain when that is not ONNX's own.
    pub(super) operator: String,
    /// Names of the inputs; empty where an optional one is left out.
    pub(super) inputs: Vec<String>,
    /// Names of the outputs; empty where nobody wants one.
    pub(super) outputs: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl Node {
    fn read(node: NodeProto) -> Self {
        let name = if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name };
        let operator = if is_own(&node.domain) { node.op_type } else { format!("{}.{}", node.domain, node.op_type) };
        Node { name, operator, inputs: node.input, outputs: node.output, attributes: node.attribute }
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name).map(|attribute| attribute.f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|attribute| attribute.floats.as_slice())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name).and_then(|attribute| attribute.t.as_ref())
    }

    /// A refusal that blames this node.
    pub(super) fn refuse(&self, stage: Stage, reason: &str) -> Refusal {
        Refusal {
            stage,
            operator: Some(self.operator.clone()),
            node: Some(self.name.clone()),
            reason: format!("candle {VERSION}: {reason}"),
            unsupported: Vec::new(),
        }
    }
}

pub(super) fn plain_refusal(stage: Stage, reason: String) -> Refusal {
    Refusal { stage, operator: None, node: None, reason, unsupported: Vec::new() }
}

impl Source {
    /// Parses ONNX bytes.
    pub(super) fn parse(model: &[u8]) -> Result<Self, Refusal> {
        let malformed = |reason: String| plain_refusal(Stage::Parse, reason);
        let proto = ModelProto::decode(model).map_err(|error| malformed(format!("it is no ONNX model: {error}")))?;
        let own = proto.opset_import.iter().find(|import| is_own(&import.domain));
        let opset = own.map_or(1, |import| import.version);
        if let Some(function) = proto.functions.first() {
            return Err(malformed(format!("it defines operator {} itself, which is not read here", function.name)));
        }
        let graph = proto.graph.filter(|graph| !graph.node.is_empty());
        let graph = graph.ok_or_else(|| malformed("expected a graph with nodes, got none".into()))?;
        if !OPSETS.contains(&opset) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(malformed(format!("expected operators of version {first} to {last} of ONNX, got {opset}")));
        }
        let source = Self::read(graph, opset)?;
        source.refuse_unknown()?;
        source.check_order()?;
        Ok(source)
    }

    fn read(graph: GraphProto, opset: i64) -> Result<Self, Refusal> {
        let mut constants = BTreeMap::new();
        for tensor in &graph.initializer {
            let value = constant(tensor).map_err(|reason| {
                plain_refusal(Stage::Parse, format!("candle {VERSION}: constant {}: {reason}", tensor.name))
            })?;
            constants.insert(tensor.name.clone(), value);
        }
        let given = graph.input.iter().filter(|input| !constants.contains_key(&input.name));
        let inputs = given.map(read_input).collect::<Result<_, _>>()?;
        let outputs = graph.output.iter().map(|output| (output.name.clone(), declared_shape(output))).collect();
        let nodes = graph.node.into_iter().map(Node::read).collect();
        Ok(Source { nodes, constants, inputs, outputs, opset })
    }

    /// Refuses operators that are not here, all of them by name.
    fn refuse_unknown(&self) -> Result<(), Refusal> {
        let unknown = self.nodes.iter().filter(|node| operators::find(&node.operator).is_none());
        let missing: Vec<(String, String)> = unknown.map(|node| (node.operator.clone(), node.name.clone())).collect();
        let Some((operator, node)) = missing.first().cloned() else { return Ok(()) };
        Err(Refusal {
            stage: Stage::Operator,
            operator: Some(operator),
            node: Some(node),
            reason: format!("not implemented on candle {VERSION}"),
            unsupported: missing,
        })
    }

    /// Refuses a node that needs what nothing before it makes.
    fn check_order(&self) -> Result<(), Refusal> {
        let mut known: BTreeSet<&str> = self.constants.keys().map(String::as_str).collect();
        known.extend(self.inputs.iter().map(|input| input.name.as_str()));
        for node in &self.nodes {
            let missing = node.inputs.iter().find(|name| !name.is_empty() && !known.contains(name.as_str()));
            if let Some(name) = missing {
                return Err(node.refuse(Stage::Parse, &format!("nothing before it makes its input {name}")));
            }
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if !known.insert(output) {
                    return Err(node.refuse(Stage::Parse, &format!("its output {output} is made twice")));
                }
            }
        }
        match self.outputs.iter().find(|(name, _)| !known.contains(name.as_str())) {
            Some((name, _)) => Err(plain_refusal(Stage::Parse, format!("nothing makes the model's output {name}"))),
            None => Ok(()),
        }
    }
}

/// The domain of ONNX's own operators has two names.
fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn read_input(info: &ValueInfoProto) -> Result<Input, Refusal> {
    let number = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()).map_or(0, |tensor| tensor.elem_type);
    let element = element_type(number.into()).ok_or_else(|| {
        let reason = format!("input {}: element type {number} of onnx.proto is not read here", info.name);
        plain_refusal(Stage::Type, reason)
    })?;
    Ok(Input { name: info.name.clone(), element, declared: declared_shape(info) })
}

fn declared_shape(info: &ValueInfoProto) -> Vec<Dim> {
    let tensor = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).map_or(&[][..], |shape| &shape.dim);
    let dim = |dim: &boardproof_compile::onnx::DimProto| match usize::try_from(dim.dim_value) {
        // A name excludes an extent; 0 and negative extents are how some exporters write "open".
        Ok(extent) if extent > 0 && dim.dim_param.is_empty() => Dim::Fixed(extent),
        _ => Dim::Symbol(dim.dim_param.clone()),
    };
    dims.iter().map(dim).collect()
}

/// The shape of an input with every axis fixed.
pub(super) fn concrete_shape(input: &Input, options: &LoadOptions) -> Result<Vec<usize>, Refusal> {
    let fix = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Fixed(extent) => Ok(*extent),
        Dim::Symbol(symbol) => {
            options.dims.get(symbol).copied().or_else(|| (axis == 0).then(|| options.batch.unwrap_or(1))).ok_or_else(
                || {
                    let name = &input.name;
                    plain_refusal(
                        Stage::Type,
                        format!("input {name}: axis {axis} is open ({symbol:?}) and no extent was given"),
                    )
                },
            )
        }
    };
    input.declared.iter().enumerate().map(fix).collect()
}
