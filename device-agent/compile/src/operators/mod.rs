//! ONNX's operators, one by one: what each makes of the numbers before it.

mod channels;
mod functions;
mod pools;
mod quantized;
mod read;
mod shapes;
mod steps;
mod sums;

use crate::graph::Node;
use crate::lower::{Lowering, Why};
use crate::value::{Real, Value};
use read::{numbers, real, settled, weights};

pub use functions::as_function;

/// Versions of ONNX's operators that are known: the first has QuantizeLinear.
pub const OPSETS: std::ops::RangeInclusive<i64> = 10..=28;

/// ONNX's own operators that are known.
const ONNX: [&str; 39] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "Pad",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// onnxruntime's, in its domain.
const MICROSOFT: [&str; 12] = [
    "DequantizeLinear",
    "Gelu",
    "QGemm",
    "QLinearAdd",
    "QLinearConcat",
    "QLinearConv",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QuantizeLinear",
];

/// Is a node's operator known? One of the same name in another domain may be anything.
pub fn is_known(node: &Node) -> bool {
    let known = match node.domain.as_str() {
        "" => &ONNX[..],
        "com.microsoft" => &MICROSOFT[..],
        _ => &[],
    };
    known.contains(&node.op.as_str())
}

/// What a node makes.
pub fn lower(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    match node.op.as_str() {
        "QuantizeLinear" => steps::quantize_linear(l, node),
        "DequantizeLinear" => steps::dequantize_linear(l, node),
        "Conv" => {
            let (of, weights, bias) = (settled(l, node, 0)?, weights(l, node, 1)?, numbers(l, node, 2)?);
            sums::conv(l, node, &of, &weights, bias.as_deref()).map(Value::Real)
        }
        "Gemm" => {
            let (of, weights, bias) = (settled(l, node, 0)?, weights(l, node, 1)?, sums::row(l, node, 2)?);
            sums::gemm(l, node, &of, &weights, bias.as_deref(), node.int("transB", 0) != 0).map(Value::Real)
        }
        "MatMul" => {
            let (of, weights) = (settled(l, node, 0)?, weights(l, node, 1)?);
            sums::gemm(l, node, &of, &weights, None, false).map(Value::Real)
        }
        op if op.starts_with('Q') => quantized::lower(l, node),
        "BatchNormalization" => channels::batch_norm(l, node).map(Value::Real),
        "Relu" => functions::held(real(l, node, 0)?, l, (0.0, f64::INFINITY)).map(Value::Real),
        "Clip" => functions::clip(l, node).map(Value::Real),
        "Add" | "Sub" | "Mul" | "Div" => channels::binary(l, node).map(Value::Real),
        "MaxPool" | "AveragePool" => pools::pool(l, node).map(Value::Real),
        "GlobalAveragePool" | "ReduceMean" => pools::mean(l, node).map(Value::Real),
        "Softmax" => {
            let of = settled(l, node, 0)?;
            pools::softmax_axis(node, &of, l.graph.opset)?;
            Ok(Value::Real(Real::Softmax(of)))
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity" | "Dropout" => {
            shapes::lower(l, node)
        }
        "Concat" => shapes::concat(l, node).map(Value::Real),
        "Pad" => shapes::pad(l, node).map(Value::Real),
        _ => functions::function(l, node).map(Value::Real),
    }
}
