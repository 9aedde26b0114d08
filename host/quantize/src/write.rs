//! Constants and nodes that are added to a graph, under names that nothing has.

use boardproof_layers::graph::Graph;
use boardproof_layers::onnx::{AttributeProto, F32, I8, I32, NodeProto, TensorProto, U8};
use prost::Message;
use std::collections::BTreeSet;

/// Element type by ONNX's number, and the bytes of the elements.
pub type Elements = (i32, Vec<u8>);

/// Numbers as F32.
pub fn float(values: impl IntoIterator<Item = f64>) -> Elements {
    (F32, values.into_iter().flat_map(|v| (v as f32).to_le_bytes()).collect())
}

/// Whole numbers of 8 bits: with a sign unless they run from 0.
pub fn bytes(values: impl IntoIterator<Item = f64>, least: f64) -> Elements {
    match least {
        0.0 => (U8, values.into_iter().map(|v| v as u8).collect()),
        _ => (I8, values.into_iter().map(|v| v as i8 as u8).collect()),
    }
}

/// Whole numbers of 32 bits.
pub fn words(values: impl IntoIterator<Item = f64>) -> Elements {
    (I32, values.into_iter().flat_map(|v| (v as i32).to_le_bytes()).collect())
}

/// The constants that are added to a graph.
pub struct Constants {
    taken: BTreeSet<String>,
    /// Messages of type `TensorProto`.
    pub added: Vec<Vec<u8>>,
}

impl Constants {
    /// None yet, for this graph.
    pub fn of(graph: &Graph) -> Self {
        let nodes = graph.proto.node.iter();
        let mut taken: BTreeSet<String> =
            nodes.flat_map(|node| node.input.iter().chain(&node.output).cloned()).collect();
        taken.extend(graph.proto.input.iter().chain(&graph.proto.output).map(|value| value.name.clone()));
        Self { taken, added: Vec::new() }
    }

    /// A name that nothing has, as near to this as there is.
    pub fn name(&mut self, wanted: &str) -> String {
        let numbered = (2..).map(|n| format!("{wanted}_{n}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        let free = names.find(|name| !self.taken.contains(name)).expect("one of endless many");
        self.taken.insert(free.clone());
        free
    }

    /// Adds a constant and returns its name.
    pub fn add(&mut self, wanted: &str, dims: &[usize], (data_type, raw_data): Elements) -> String {
        let name = self.name(wanted);
        let dims = dims.iter().map(|d| *d as i64).collect();
        let tensor = TensorProto { dims, data_type, name: name.clone(), raw_data, ..TensorProto::default() };
        self.added.push(tensor.encode_to_vec());
        name
    }
}

/// A node of ONNX's own, named by its output.
pub fn node(operator: &str, input: &[&str], output: &str, attribute: Vec<Vec<u8>>) -> NodeProto {
    NodeProto {
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("{output}/{operator}"),
        op_type: operator.into(),
        attribute,
        ..NodeProto::default()
    }
}

/// The attribute that says along which dimension scales lie.
pub fn axis(axis: usize) -> Vec<Vec<u8>> {
    vec![AttributeProto::int("axis", axis as i64)]
}
