//! Models that read and answer integers of 8 bits, as the same models with numbers at their ends: what is inside can then be held against a float
//! reference, which reads and answers numbers.

use crate::onnx::{GraphProto, I8, NodeProto, U8, ValueInfoProto};

/// A graph whose quantized inputs and outputs are numbers, with the quantizers that its own nodes name for them. What is no quantized end
/// stays as it is.
pub fn in_numbers(mut graph: GraphProto) -> GraphProto {
    for at in 0..graph.input.len() {
        if let Some(steps) = steps_of(&graph, &graph.input[at], &Way::In) {
            let name = graph.input[at].name.clone();
            let integers = integers_of(&name);
            let readers = graph.node.iter_mut().flat_map(|node| &mut node.input);
            readers.filter(|read| **read == name).for_each(|read| read.clone_from(&integers));
            graph.node.insert(0, form("QuantizeLinear", &name, &steps, &integers));
            make_float(&mut graph.input[at]);
        }
    }
    for at in 0..graph.output.len() {
        if let Some(steps) = steps_of(&graph, &graph.output[at], &Way::Out) {
            let name = graph.output[at].name.clone();
            let integers = integers_of(&name);
            let named = graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
            named.filter(|tensor| **tensor == name).for_each(|tensor| tensor.clone_from(&integers));
            graph.node.push(form("DequantizeLinear", &integers, &steps, &name));
            make_float(&mut graph.output[at]);
        }
    }
    graph
}

fn integers_of(name: &str) -> String {
    format!("{name} in integers")
}

enum Way {
    In,
    Out,
}

/// Scale and zero point of a quantized end: those of the nodes that read it, or of the one that makes it, if they are all one quantizer.
fn steps_of(graph: &GraphProto, end: &ValueInfoProto, way: &Way) -> Option<[String; 2]> {
    if !matches!(end.element(), I8 | U8) {
        return None;
    }
    let beside = |node: &&NodeProto| match way {
        Way::In => node.input.contains(&end.name),
        Way::Out => node.output.contains(&end.name),
    };
    let form = match way {
        Way::In => "DequantizeLinear",
        Way::Out => "QuantizeLinear",
    };
    let mut steps = graph.node.iter().filter(beside).map(|node| match &node.input[..] {
        [_, scale, zero_point] if node.op_type == form => Some([scale.clone(), zero_point.clone()]),
        _ => None,
    });
    let first = steps.next()??;
    steps.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

fn form(op_type: &str, from: &str, [scale, zero_point]: &[String; 2], to: &str) -> NodeProto {
    NodeProto {
        input: vec![from.to_owned(), scale.clone(), zero_point.clone()],
        output: vec![to.to_owned()],
        name: format!("{op_type} of {to}"),
        op_type: op_type.to_owned(),
        ..NodeProto::default()
    }
}

fn make_float(end: &mut ValueInfoProto) {
    if let Some(tensor_type) = end.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
        tensor_type.elem_type = crate::onnx::F32;
    }
}
