//! A model's graph with what is asked of it all the time: who makes a tensor, who reads it, what is constant, what type it has.

use crate::LayersError;
use crate::constant::Constant;
use crate::ends::in_numbers;
use crate::onnx::{AttributeProto, F32, GraphProto, I8, I32, I64, ModelProto, NodeProto, TensorProto, U8};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// A model that was read.
pub struct Graph {
    /// As it was written, without the graph.
    pub model: ModelProto,
    /// The graph as it was written, but with numbers where it reads or answers quantized integers.
    pub proto: GraphProto,
    made_by: BTreeMap<String, usize>,
    read_by: BTreeMap<String, Vec<usize>>,
    /// Constants by name, those that could be read.
    pub constants: BTreeMap<String, Constant>,
    /// Element types of initializers and inputs.
    elements: BTreeMap<String, i32>,
    /// Tensors that no input has a part in.
    fixed: BTreeSet<String>,
}

impl Graph {
    /// Reads a model. `what` names it in errors.
    pub fn read(what: &'static str, bytes: &[u8]) -> Result<Self, LayersError> {
        let malformed = |why: String| LayersError::Malformed { what, why };
        let mut model = ModelProto::decode(bytes).map_err(|e| malformed(format!("it is no ONNX model: {e}")))?;
        let proto = model.graph.take().ok_or_else(|| malformed("it has no graph".into()))?;
        let proto = in_numbers(proto);
        if !proto.sparse_initializer.is_empty() {
            return Err(malformed("it has sparse constants".into()));
        }
        let mut graph = Self {
            model,
            proto,
            made_by: BTreeMap::new(),
            read_by: BTreeMap::new(),
            constants: BTreeMap::new(),
            elements: BTreeMap::new(),
            fixed: BTreeSet::new(),
        };
        graph.read_constants().map_err(malformed)?;
        graph.read_nodes().map_err(malformed)?;
        Ok(graph)
    }

    fn read_constants(&mut self) -> Result<(), String> {
        for bytes in &self.proto.initializer {
            let tensor = TensorProto::decode(bytes.as_slice()).map_err(|e| format!("a constant is damaged: {e}"))?;
            if tensor.data_location != 0 {
                return Err(format!("data of constant '{}' lies in another file: save the model as one", tensor.name));
            }
            self.elements.insert(tensor.name.clone(), tensor.data_type);
            self.fixed.insert(tensor.name.clone());
            if let Some(constant) = Constant::read(&tensor) {
                self.constants.insert(tensor.name, constant);
            }
        }
        let inputs: Vec<_> = self.inputs().map(|input| (input.name.clone(), input.element())).collect();
        self.elements.extend(inputs);
        Ok(())
    }

    fn read_nodes(&mut self) -> Result<(), String> {
        for (at, node) in self.proto.node.iter().enumerate() {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                if self.made_by.insert(output.clone(), at).is_some() {
                    return Err(format!("'{output}' is made by two nodes"));
                }
            }
            let mut fixed = true;
            for input in node.input.iter().filter(|i| !i.is_empty()) {
                let known = self.elements.contains_key(input) || self.made_by.get(input).is_some_and(|by| *by < at);
                if !known {
                    return Err(format!("node '{}' reads '{input}', which nothing before it makes", node.name));
                }
                self.read_by.entry(input.clone()).or_default().push(at);
                fixed &= self.fixed.contains(input);
            }
            if fixed {
                self.fixed.extend(node.output.iter().cloned());
            }
            if let Some(constant) = value_of_constant_node(node) {
                self.constants.insert(node.output[0].clone(), constant);
            }
        }
        Ok(())
    }

    /// Inputs that somebody must give.
    pub fn inputs(&self) -> impl Iterator<Item = &crate::onnx::ValueInfoProto> {
        self.proto.input.iter().filter(|input| !self.fixed.contains(&input.name))
    }

    /// Is there such a tensor?
    pub fn has(&self, tensor: &str) -> bool {
        self.elements.contains_key(tensor) || self.made_by.contains_key(tensor)
    }

    /// Is it one of the inputs?
    pub fn is_input(&self, tensor: &str) -> bool {
        self.inputs().any(|input| input.name == tensor)
    }

    /// The same for every sample?
    pub fn is_fixed(&self, tensor: &str) -> bool {
        self.fixed.contains(tensor)
    }

    /// The node that makes a tensor.
    pub fn maker(&self, tensor: &str) -> Option<&NodeProto> {
        self.made_by.get(tensor).map(|at| &self.proto.node[*at])
    }

    /// Its place in the graph.
    pub fn place_of_maker(&self, tensor: &str) -> Option<usize> {
        self.made_by.get(tensor).copied()
    }

    /// Nodes that read a tensor.
    pub fn readers(&self, tensor: &str) -> impl Iterator<Item = &NodeProto> {
        self.read_by.get(tensor).into_iter().flatten().map(|at| &self.proto.node[*at])
    }

    /// The version of ONNX's own operators.
    pub fn opset(&self) -> i64 {
        let own = self.model.opset_import.iter().find(|import| matches!(import.domain.as_str(), "" | "ai.onnx"));
        own.map_or(1, |import| import.version)
    }

    /// A graph inside of a node's attribute may read any tensor of this one by name.
    pub fn has_inner_graphs(&self) -> bool {
        let inner = |bytes: &Vec<u8>| {
            AttributeProto::decode(bytes.as_slice()).map_or(true, |a| a.g.is_some() || !a.graphs.is_empty())
        };
        self.proto.node.iter().any(|node| node.attribute.iter().any(inner))
    }

    /// Element type of a tensor by ONNX's number, found out from the operators that make it.
    pub fn element(&self, tensor: &str) -> i32 {
        let mut tensor = tensor;
        // As deep as the graph at most: every step goes to an earlier node.
        for _ in 0..=self.proto.node.len() {
            if let Some(element) = self.elements.get(tensor) {
                return *element;
            }
            let Some(node) = self.maker(tensor) else { return 0 };
            tensor = match node.op_type.as_str() {
                "Cast" => return attribute(node, "to").map_or(0, |a| a.i as i32),
                "QuantizeLinear" | "DynamicQuantizeLinear" if node.output.first().is_some_and(|o| o == tensor) => {
                    return node.input.get(2).and_then(|zero| self.elements.get(zero)).copied().unwrap_or(U8);
                }
                "DynamicQuantizeLinear" if node.output.get(1).is_some_and(|o| o == tensor) => return F32,
                "DynamicQuantizeLinear" => return U8,
                "MatMulInteger" | "ConvInteger" => return I32,
                "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" => return I64,
                "DequantizeLinear" => node.input.get(1).map_or("", String::as_str),
                "Constant" => return self.constants.get(tensor).map_or(0, |c| c.element),
                quantized if quantized.starts_with("QLinear") || quantized == "QGemm" => {
                    let zero =
                        crate::quantized::quantizer_of_output(node).and_then(|(_, zero)| self.elements.get(&zero));
                    return zero.copied().unwrap_or(I8);
                }
                "Where" => node.input.get(1).map_or("", String::as_str),
                _ => node.input.first().map_or("", String::as_str),
            };
        }
        0
    }
}

/// An attribute of a node.
pub fn attribute(node: &NodeProto, name: &str) -> Option<AttributeProto> {
    let decoded = node.attribute.iter().filter_map(|bytes| AttributeProto::decode(bytes.as_slice()).ok());
    decoded.into_iter().find(|a| a.name == name)
}

fn value_of_constant_node(node: &NodeProto) -> Option<Constant> {
    if node.op_type != "Constant" {
        return None;
    }
    attribute(node, "value").and_then(|a| Constant::read(a.t.as_ref()?))
}
