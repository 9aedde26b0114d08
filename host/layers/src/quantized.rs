//! Where quantized operators carry their scales and zero points.

use crate::graph::{Graph, attribute};
use crate::onnx::NodeProto;

/// Names of scale and zero point of a node's first output.
pub fn quantizer_of_output(node: &NodeProto) -> Option<(String, String)> {
    let at = |i: usize| Some((node.input.get(i)?.clone(), node.input.get(i + 1)?.clone()));
    match node.op_type.as_str() {
        "QLinearConv" | "QLinearMatMul" => at(6),
        "QLinearConcat" => at(0),
        "QuantizeLinear" => at(1),
        "QGemm" => at(7),
        other if other.starts_with("QLinear") => at(node.input.len().checked_sub(2)?),
        _ => None,
    }
}

/// How whole numbers stand for numbers: `scale * (whole - zero)`, one for all or one per slice along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// Worth of one step.
    pub scales: Vec<f64>,
    /// What stands for 0.
    pub zeros: Vec<f64>,
    /// Axis of the slices.
    pub axis: usize,
}

/// Scale and zero point of a constant that holds whole numbers, by the node that reads it.
pub fn steps_of(graph: &Graph, tensor: &str) -> Option<Steps> {
    graph.readers(tensor).find_map(|node| steps_for(graph, node, tensor))
}

fn steps_for(graph: &Graph, node: &NodeProto, tensor: &str) -> Option<Steps> {
    let place = node.input.iter().position(|input| input == tensor)?;
    let values = |i: usize| graph.constants.get(node.input.get(i)?).map(|c| c.values.clone());
    let product = |a: usize, b: usize| {
        let (a, b) = (values(a)?, values(b)?);
        Some(b.iter().map(|b| a.first().copied().unwrap_or(1.0) * b).collect::<Vec<f64>>())
    };
    let made = |scales: Vec<f64>, zeros: Option<Vec<f64>>, axis: usize| {
        Some(Steps { zeros: zeros.unwrap_or_else(|| vec![0.0; scales.len()]), scales, axis })
    };
    match (node.op_type.as_str(), place) {
        ("DequantizeLinear", 0) => {
            let axis = attribute(node, "axis").map_or(1, |a| a.i).max(0) as usize;
            made(values(1)?, values(2), axis)
        }
        ("QLinearConv", 3) => made(values(4)?, values(5), 0),
        ("QLinearConv", 8) => made(product(1, 4)?, None, 0),
        ("QLinearMatMul", 3) => made(values(4)?, values(5), 1),
        ("QGemm", 3) => made(values(4)?, values(5), usize::from(attribute(node, "transB").is_none_or(|a| a.i == 0))),
        ("QGemm", 6) => made(product(1, 4)?, None, 0),
        // Here the scale is multiplied later on; quantizers name it after the tensor.
        ("MatMulInteger", 1) | ("ConvInteger", 1) => {
            let scale = format!("{}_scale", tensor.strip_suffix("_quantized")?);
            let axis = usize::from(node.op_type == "MatMulInteger");
            made(graph.constants.get(&scale)?.values.clone(), values(3), axis)
        }
        ("QLinearConv" | "QLinearMatMul", _) => None,
        (other, at @ (0 | 3)) if other.starts_with("QLinear") => made(values(at + 1)?, values(at + 2), 0),
        _ => None,
    }
}
