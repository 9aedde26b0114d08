//! A model's graph as it was written, checked as far as everything after it relies on.

use crate::CompileError;
use crate::constant::{Constant, ElementType};
use crate::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetProto, ValueInfoProto};
use crate::operators::OPSETS;
use crate::value::elements;
use prost::Message;
use std::collections::BTreeMap;

/// A graph: nodes in an order in which each finds its inputs.
pub struct Graph {
    pub nodes: Vec<Node>,
    pub constants: BTreeMap<String, Constant>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<String>,
    /// Version of ONNX's own operators.
    pub opset: i64,
}

/// An input: its shape without the sample.
pub struct Input {
    pub name: String,
    pub element: ElementType,
    pub dims: Vec<usize>,
}

impl Input {
    pub fn report(&self) -> crate::InputReport {
        crate::InputReport { name: self.name.clone(), dtype: format!("{:?}", self.element), dims: self.dims.clone() }
    }
}

/// A node.
pub struct Node {
    pub op: String,
    /// Whose operator it is; empty for ONNX's own.
    pub domain: String,
    pub name: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl Node {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attributes.iter().find(|a| a.name == name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f)
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(|a| std::str::from_utf8(&a.s).ok())
    }

    /// The value of a Constant node.
    pub fn constant(&self) -> Option<Result<Constant, CompileError>> {
        let vector = |element, values: Vec<f64>| Constant { element, dims: vec![values.len()], values };
        self.attributes.iter().find_map(|a| match a.name.as_str() {
            "value" => a.t.as_ref().map(Constant::read),
            "value_float" => {
                Some(Ok(Constant { element: ElementType::F32, dims: Vec::new(), values: vec![f64::from(a.f)] }))
            }
            "value_int" => Some(Ok(Constant { element: ElementType::I64, dims: Vec::new(), values: vec![a.i as f64] })),
            "value_ints" => Some(Ok(vector(ElementType::I64, a.ints.iter().map(|v| *v as f64).collect()))),
            "value_floats" => Some(Ok(vector(ElementType::F32, a.floats.iter().map(|v| f64::from(*v)).collect()))),
            _ => None,
        })
    }
}

/// Reads a model.
pub fn read(bytes: &[u8]) -> Result<Graph, CompileError> {
    let model = ModelProto::decode(bytes).map_err(|e| CompileError::Malformed(format!("it is no ONNX model: {e}")))?;
    let opset = opset(&model.opset_import)?;
    let is_known = |domain: &str| is_own(domain) || domain == "com.microsoft";
    if let Some(function) = model.functions.iter().find(|function| is_known(&function.domain)) {
        return Err(CompileError::Malformed(format!("it defines operator {} itself", function.name)));
    }
    let graph = model.graph.ok_or_else(|| CompileError::Malformed("it has no graph".into()))?;
    let mut constants = BTreeMap::new();
    for tensor in &graph.initializer {
        constants.insert(tensor.name.clone(), Constant::read(tensor)?);
    }
    let given = graph.input.iter().filter(|input| !constants.contains_key(&input.name));
    let inputs: Vec<Input> = given.map(input).collect::<Result<_, _>>()?;
    let nodes = ordered(&graph, &constants, &inputs)?;
    let outputs = graph.output.iter().map(|o| o.name.clone()).collect();
    Ok(Graph { nodes, constants, inputs, outputs, opset })
}

/// The version of ONNX's own operators; one that is not known may mean something else by the same name.
fn opset(imports: &[OperatorSetProto]) -> Result<i64, CompileError> {
    let own = imports.iter().find(|import| is_own(&import.domain)).map_or(1, |import| import.version);
    if OPSETS.contains(&own) {
        return Ok(own);
    }
    let (first, last) = (OPSETS.start(), OPSETS.end());
    Err(CompileError::Malformed(format!("its operators are of version {own} of ONNX: expected {first} to {last}")))
}

/// The domain of ONNX's own operators has two names.
fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn input(info: &ValueInfoProto) -> Result<Input, CompileError> {
    let name = info.name.clone();
    let wrong = |what: String| CompileError::Malformed(format!("input '{name}': {what}"));
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).ok_or_else(|| wrong("no type".into()))?;
    let element = ElementType::from_onnx(tensor.elem_type)
        .ok_or_else(|| wrong(format!("element type {} is not read here", tensor.elem_type)))?;
    let shape = tensor.shape.as_ref().ok_or_else(|| wrong("no shape".into()))?;
    let [batch, rest @ ..] = shape.dim.as_slice() else { return Err(wrong("no dimension for the sample".into())) };
    if batch.dim_value > 1 {
        return Err(wrong(format!("its batch is fixed at {}, a microcontroller takes one sample", batch.dim_value)));
    }
    let fixed = |d: &crate::onnx::DimProto| {
        let size = usize::try_from(d.dim_value).ok().filter(|size| *size > 0);
        size.ok_or_else(|| wrong(format!("dimension '{}' has no fixed size", d.dim_param)))
    };
    let dims: Vec<usize> = rest.iter().map(fixed).collect::<Result<_, _>>()?;
    match elements(&dims) {
        Some(_) => Ok(Input { element, dims, name: name.clone() }),
        None => Err(wrong(format!("shape {dims:?} is too large"))),
    }
}

/// Nodes that an output needs, each behind those that it needs itself.
fn ordered(
    graph: &GraphProto,
    constants: &BTreeMap<String, Constant>,
    inputs: &[Input],
) -> Result<Vec<Node>, CompileError> {
    let mut made_by: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if made_by.insert(output, i).is_some() {
                return Err(CompileError::Malformed(format!("'{output}' is made by two nodes")));
            }
        }
    }
    let known = |name: &str| name.is_empty() || constants.contains_key(name) || inputs.iter().any(|i| i.name == name);
    let mut order = Vec::new();
    // 0: not seen; 1: on the way; 2: done.
    let mut state = vec![0_u8; graph.node.len()];
    let mut stack: Vec<(usize, bool)> = Vec::new();
    let find = |name: &str| {
        made_by.get(name).copied().ok_or_else(|| CompileError::Malformed(format!("nothing makes '{name}'")))
    };
    for output in graph.output.iter().filter(|o| !known(&o.name)) {
        stack.push((find(&output.name)?, false));
        while let Some((at, left)) = stack.pop() {
            if left {
                state[at] = 2;
                order.push(at);
                continue;
            }
            match state[at] {
                0 => state[at] = 1,
                _ => continue,
            }
            stack.push((at, true));
            for name in graph.node[at].input.iter().filter(|name| !known(name)) {
                let from = find(name)?;
                match state[from] {
                    0 => stack.push((from, false)),
                    1 => return Err(CompileError::Malformed(format!("'{name}' needs itself"))),
                    _ => {}
                }
            }
        }
    }
    Ok(order.into_iter().map(|i| node(&graph.node[i])).collect())
}

fn node(proto: &NodeProto) -> Node {
    Node {
        op: proto.op_type.clone(),
        domain: if is_own(&proto.domain) { String::new() } else { proto.domain.clone() },
        name: proto.name.clone(),
        inputs: proto.input.clone(),
        outputs: proto.output.clone(),
        attributes: proto.attribute.clone(),
    }
}
