//! One layer as a model of its own: what the reference has before it comes in, what the layer makes of it goes out.

use crate::models::{Both, fixed, with_names};
use crate::onnx::{F32, GraphProto, ModelProto, NodeProto, TensorName, ValueInfoProto};
use crate::walk::Stretch;
use prost::Message;
use std::collections::BTreeSet;

/// A tensor that comes in, with its shape behind the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its name in the reference.
    pub tensor: String,
    /// Shape of one sample.
    pub shape: Vec<u64>,
}

/// The layer in both forms; inputs and the output have the names that the reference gives them.
pub struct Excerpt {
    /// As the reference has it.
    pub reference: Vec<u8>,
    /// As the variant has it.
    pub variant: Vec<u8>,
}

/// Cuts a layer out. `of_reference` are the reference's nodes of it.
pub fn excerpt(both: &Both<'_>, of_reference: &Stretch, layer: usize, given: &[Given]) -> Excerpt {
    let tensor = &both.alignment.pairs[layer].tensor;
    let empty = || GraphProto {
        name: "layer".into(),
        input: given.iter().map(|g| ValueInfoProto::batch(&g.tensor, &g.shape)).collect(),
        output: vec![ValueInfoProto::float(tensor)],
        ..GraphProto::default()
    };
    let mut reference = empty();
    let r = both.reference;
    reference.node = of_reference.nodes.iter().map(|at| r.proto.node[*at].clone()).collect();
    let constants: BTreeSet<&str> = of_reference.constants.iter().map(String::as_str).collect();
    reference.node.splice(0..0, r.proto.node.iter().filter(|n| is_open(n, &constants, r)).cloned());
    reference.initializer = initializers(&r.proto, |name| constants.contains(name).then(|| name.to_owned()));

    let mut variant = empty();
    let (v, stretch) = (both.variant, &both.stretches[layer]);
    let needed: BTreeSet<&str> = stretch.constants.iter().map(String::as_str).collect();
    // Scales of what comes in belong to other layers.
    let steps: BTreeSet<&str> = both
        .alignment
        .pairs
        .iter()
        .filter_map(|p| p.steps.as_ref())
        .flat_map(|(s, z)| [s.as_str(), z.as_str()])
        .collect();
    variant.initializer =
        initializers(&v.proto, |name| (needed.contains(name) || steps.contains(name)).then(|| fixed(name)));
    let made =
        |node: &&NodeProto| is_open(node, &needed, v) || stretch.nodes.iter().any(|at| v.proto.node[*at] == **node);
    let constant = v.proto.node.iter().filter(|node| v.is_fixed(&node.output[0])).filter(made);
    variant.node = constant.map(|node| with_names(node, "variant/", fixed)).collect();
    both.add_bare_layer(&mut variant, layer);
    let model = |graph: GraphProto, of: &ModelProto| ModelProto { graph: Some(graph), ..of.clone() }.encode_to_vec();
    Excerpt { reference: model(reference, &r.model), variant: model(variant, &v.model) }
}

/// A Constant node whose value is read.
fn is_open(node: &NodeProto, constants: &BTreeSet<&str>, graph: &crate::graph::Graph) -> bool {
    let output = node.output[0].as_str();
    constants.contains(output) && graph.is_fixed(output)
}

fn initializers(graph: &GraphProto, keep: impl Fn(&str) -> Option<String>) -> Vec<Vec<u8>> {
    let one = |bytes: &Vec<u8>| {
        let name = TensorName::decode(bytes.as_slice()).ok()?.name;
        Some(crate::onnx::renamed(bytes, &keep(&name)?))
    };
    graph.initializer.iter().filter_map(one).collect()
}

impl ValueInfoProto {
    /// A tensor of F32 with any number of samples.
    fn batch(name: &str, shape: &[u64]) -> Self {
        let dims = std::iter::once(Dim { dim_value: None, dim_param: Some("N".into()) })
            .chain(shape.iter().map(|size| Dim { dim_value: Some(*size as i64), dim_param: None }));
        let shape = Shape { dim: dims.collect() }.encode_to_vec();
        let tensor_type = crate::onnx::TensorType { elem_type: F32, shape: Some(shape) };
        Self { name: name.into(), r#type: Some(crate::onnx::TypeProto { tensor_type: Some(tensor_type) }) }
    }
}

/// `TensorShapeProto` there.
#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dim>,
}

/// One dimension.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Dim {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}
