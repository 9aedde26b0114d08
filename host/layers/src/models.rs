//! Models that show what is inside of others: the same nodes, with more outputs.
//!
//! Every output is one line of F32 per sample (`[1, elements]`), whatever the tensor's own shape and type: engines and protocol need no
//! more than they have, and tensors whose first dimension is not the sample can be seen as well. One sample at a time.

use crate::align::{Alignment, Form, Pair, StepNames};
use crate::cut::needed_only;
use crate::graph::Graph;
use crate::onnx::{AttributeProto, F32, GraphProto, ModelProto, NodeProto, ValueInfoProto, renamed};
use crate::walk::Stretch;
use prost::Message;

/// Name of the output that shows a layer.
pub fn shown(layer: usize) -> String {
    format!("layer.{layer}")
}

/// Name of the output that holds the shape of a layer's tensor.
pub fn shape_of(layer: usize) -> String {
    format!("shape.{layer}")
}

/// A tensor to show.
pub struct Tap<'a> {
    /// Its name.
    pub tensor: &'a str,
    /// It is whole numbers, and this makes numbers of them.
    pub whole: Option<&'a StepNames>,
}

/// The model with these tensors for its outputs, and their shapes where asked for.
pub fn tapped(graph: &Graph, taps: &[Tap<'_>], with_shapes: bool) -> Vec<u8> {
    let mut proto = graph.proto.clone();
    proto.output.clear();
    for (layer, tap) in taps.iter().enumerate() {
        let element = tap.whole.map_or_else(|| graph.element(tap.tensor), |(scale, _)| graph.element(scale));
        show(&mut proto, layer, tap.tensor, element, tap.whole);
        if with_shapes {
            show_shape(&mut proto, layer, tap.tensor);
        }
    }
    ModelProto { graph: Some(proto), ..graph.model.clone() }.encode_to_vec()
}

/// The model with what is quantized and back for its outputs, under the names of layers and in its own shape: for engines of whole numbers,
/// which know neither casts nor lines. `ends` are the tensors by layer.
pub fn tapped_ends(graph: &Graph, ends: &[(usize, &str)]) -> Vec<u8> {
    let mut proto = graph.proto.clone();
    let name = |tensor: &str| match ends.iter().find(|(_, end)| *end == tensor) {
        Some((layer, _)) => shown(*layer),
        None => tensor.to_owned(),
    };
    proto.node = proto.node.iter().map(|node| with_names(node, "", name)).collect();
    proto.output = ends.iter().map(|(layer, _)| ValueInfoProto::float(&shown(*layer))).collect();
    proto.value_info.clear();
    ModelProto { graph: Some(proto), ..graph.model.clone() }.encode_to_vec()
}

/// The model cut behind a tensor, which is its only output, under the name of its layer.
pub fn cut_behind(graph: &Graph, layer: usize, tap: &Tap<'_>) -> Vec<u8> {
    let mut proto = GraphProto { output: Vec::new(), ..graph.proto.clone() };
    let element = tap.whole.map_or_else(|| graph.element(tap.tensor), |(scale, _)| graph.element(scale));
    show(&mut proto, layer, tap.tensor, element, tap.whole);
    whole_or_cut(graph, proto)
}

/// The same in the tensor's own shape, as [`tapped_ends`].
pub fn cut_behind_end(graph: &Graph, end: (usize, &str)) -> Vec<u8> {
    let tapped = ModelProto::decode(tapped_ends(graph, &[end]).as_slice()).ok().and_then(|model| model.graph);
    whole_or_cut(graph, tapped.unwrap_or_default())
}

/// Graphs inside of operators may read any tensor by name: then all stays.
fn whole_or_cut(graph: &Graph, proto: GraphProto) -> Vec<u8> {
    let proto = if graph.has_inner_graphs() { proto } else { needed_only(proto) };
    ModelProto { graph: Some(proto), ..graph.model.clone() }.encode_to_vec()
}

/// Adds an output that shows a tensor of this element type.
fn show(graph: &mut GraphProto, layer: usize, tensor: &str, element: i32, whole: Option<&StepNames>) {
    let own = |step: &str| format!("boardproof/{layer}/{step}");
    let mut tensor = tensor.to_owned();
    if let Some((scale, zero)) = whole {
        let number = own("number");
        graph.node.push(node("DequantizeLinear", &[&tensor, scale, zero], &number, Vec::new()));
        tensor = number;
    }
    if element != F32 {
        let float = own("float");
        graph.node.push(cast(&tensor, &float, F32));
        tensor = float;
    }
    graph.node.push(node("Flatten", &[&tensor], &shown(layer), vec![AttributeProto::int("axis", 0)]));
    graph.output.push(ValueInfoProto::float(&shown(layer)));
}

fn show_shape(graph: &mut GraphProto, layer: usize, tensor: &str) {
    let own = |step: &str| format!("boardproof/{layer}/{step}");
    let (shape, float, name) = (own("shape"), own("shape_float"), shape_of(layer));
    graph.node.push(node("Shape", &[tensor], &shape, Vec::new()));
    graph.node.push(cast(&shape, &float, F32));
    graph.node.push(node("Flatten", &[&float], &name, vec![AttributeProto::int("axis", 0)]));
    graph.output.push(ValueInfoProto::float(&name));
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<Vec<u8>>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("{output}/{operator}"),
        op_type: operator.into(),
        attribute,
        ..NodeProto::default()
    }
}

fn cast(from: &str, to: &str, element: i32) -> NodeProto {
    node("Cast", &[from], to, vec![AttributeProto::int("to", i64::from(element))])
}

/// Both forms of a model and what they share.
pub struct Both<'a> {
    /// The reference.
    pub reference: &'a Graph,
    /// The variant.
    pub variant: &'a Graph,
    /// What they share.
    pub alignment: &'a Alignment,
    /// The variant's nodes of each pair.
    pub stretches: &'a [Stretch],
}

impl Both<'_> {
    /// Why a layer of the variant cannot be put behind the reference's; `None` where it can.
    pub fn not_alone(&self) -> Option<String> {
        let (r, v) = (self.reference, self.variant);
        if r.opset() != v.opset() {
            let (r, v) = (r.opset(), v.opset());
            return Some(format!("the variant uses version {v} of ONNX's operators, the reference version {r}"));
        }
        if !v.model.functions.is_empty() || v.has_inner_graphs() || r.has_inner_graphs() {
            return Some("the model has functions or graphs inside of operators".into());
        }
        let known = |tensor: &String| self.alignment.forms.contains_key(tensor);
        let strange = self.stretches.iter().flat_map(|s| s.reads.iter()).find(|tensor| !known(tensor))?;
        Some(format!("the variant reads '{strange}', which the reference has not"))
    }

    /// The reference, and behind it every layer of the variant by itself: each reads what the reference computes, so that what it
    /// answers wrong is its own. Only the layers asked for.
    pub fn alone(&self, layers: &[usize]) -> Vec<u8> {
        let mut graph = GraphProto { output: Vec::new(), value_info: Vec::new(), ..self.reference.proto.clone() };
        graph.quantization_annotation.clear();
        self.add_constants(&mut graph);
        let mut given = Vec::new();
        for layer in layers {
            self.add_layer(&mut graph, *layer, &mut given);
        }
        let mut model = ModelProto { graph: Some(graph), ..self.reference.model.clone() };
        model.ir_version = model.ir_version.max(self.variant.model.ir_version);
        for import in &self.variant.model.opset_import {
            if !model.opset_import.iter().any(|own| own.domain == import.domain) {
                model.opset_import.push(import.clone());
            }
        }
        model.encode_to_vec()
    }

    /// Everything of the variant that is the same for each sample, under names of its own.
    fn add_constants(&self, graph: &mut GraphProto) {
        let v = self.variant;
        for bytes in &v.proto.initializer {
            if let Ok(tensor) = crate::onnx::TensorName::decode(bytes.as_slice()) {
                graph.initializer.push(renamed(bytes, &fixed(&tensor.name)));
            }
        }
        for node in v.proto.node.iter().filter(|node| v.is_fixed(&node.output[0])) {
            graph.node.push(with_names(node, "variant/", fixed));
        }
    }

    fn add_layer(&self, graph: &mut GraphProto, layer: usize, given: &mut Vec<String>) {
        let (v, pair) = (self.variant, &self.alignment.pairs[layer]);
        let shown = self.add_nodes(graph, layer, given, None);
        let whole = pair.whole.as_ref().map(|(scale, zero)| (fixed(scale), fixed(zero)));
        let element = whole.as_ref().map_or_else(|| v.element(&pair.seen_as), |_| F32);
        show(graph, layer, &shown, element, whole.as_ref());
    }

    /// The variant's nodes of a layer, and nothing that shows it: what it makes has the reference's name.
    pub fn add_bare_layer(&self, graph: &mut GraphProto, layer: usize) {
        let pair = &self.alignment.pairs[layer];
        let end = match pair.whole {
            Some(_) => "whole".to_owned(),
            None => pair.tensor.clone(),
        };
        let made = self.add_nodes(graph, layer, &mut Vec::new(), Some(&end));
        if let Some((scale, zero)) = &pair.whole {
            let steps = (fixed(scale), fixed(zero));
            graph.node.push(node("DequantizeLinear", &[&made, &steps.0, &steps.1], &pair.tensor, Vec::new()));
        } else if made != pair.tensor {
            graph.node.push(node("Identity", &[&made], &pair.tensor, Vec::new()));
        }
    }

    /// Adds the nodes of a layer, behind what the reference gives it; returns the name of what they make, which is `end` where one is
    /// given and a node makes it.
    fn add_nodes(&self, graph: &mut GraphProto, layer: usize, given: &mut Vec<String>, end: Option<&str>) -> String {
        let (v, pair, stretch) = (self.variant, &self.alignment.pairs[layer], &self.stretches[layer]);
        let prefix = format!("alone.{layer}/");
        let reads: Vec<(&String, String)> =
            stretch.reads.iter().map(|read| (read, self.give(graph, read, given))).collect();
        let name = |tensor: &str| match reads.iter().find(|(read, _)| *read == tensor) {
            Some((_, instead)) => instead.clone(),
            None if v.is_fixed(tensor) => fixed(tensor),
            None => match end {
                Some(end) if tensor == pair.seen_as => end.to_owned(),
                _ => format!("{prefix}{tensor}"),
            },
        };
        for at in stretch.nodes.iter().filter(|at| !v.is_fixed(&v.proto.node[**at].output[0])) {
            graph.node.push(with_names(&v.proto.node[*at], &prefix, name));
        }
        name(&pair.seen_as)
    }

    /// The reference's tensor in the form in which the variant reads it; made once.
    fn give(&self, graph: &mut GraphProto, read: &str, given: &mut Vec<String>) -> String {
        let Some((at, form)) = self.alignment.forms.get(read) else { return read.to_owned() };
        let pair = &self.alignment.pairs[*at];
        let own = |step: &str| format!("given.{at}/{step}");
        let mut once = |made: NodeProto| {
            let name = made.output[0].clone();
            if !given.contains(&name) {
                given.push(name.clone());
                graph.node.push(made);
            }
            name
        };
        match (form, steps(pair)) {
            (Form::Quantized | Form::Requantized, Some((scale, zero))) => {
                let whole = once(node("QuantizeLinear", &[&pair.tensor, &scale, &zero], &own("whole"), Vec::new()));
                match form {
                    Form::Requantized => {
                        once(node("DequantizeLinear", &[&whole, &scale, &zero], &own("number"), Vec::new()))
                    }
                    _ => whole,
                }
            }
            _ => {
                let (from, to) = (self.reference.element(&pair.tensor), self.variant.element(read));
                if from == to { pair.tensor.clone() } else { once(cast(&pair.tensor, &own("cast"), to)) }
            }
        }
    }
}

fn steps(pair: &Pair) -> Option<StepNames> {
    pair.steps.as_ref().map(|(scale, zero)| (fixed(scale), fixed(zero)))
}

/// A name of the variant among those of the reference.
pub fn fixed(name: &str) -> String {
    format!("variant/{name}")
}

pub fn with_names(node: &NodeProto, prefix: &str, name: impl Fn(&str) -> String) -> NodeProto {
    let new = |old: &String| if old.is_empty() { String::new() } else { name(old) };
    NodeProto {
        input: node.input.iter().map(new).collect(),
        output: node.output.iter().map(new).collect(),
        name: format!("{prefix}{}", node.name),
        ..node.clone()
    }
}
