//! Operators that take and give 8-bit values.

use super::functions::{leaky, map, sigmoid};
use super::pools::{global, softmax_axis};
use super::read::{axis, optional, output_of};
use super::steps::{constant_weights, match_steps, steps};
use super::sums::{conv, gemm};
use crate::graph::Node;
use crate::lower::{Lowering, Why};
use crate::value::{ENDS, Quant, Real, Value, Weights};
use boardproof_micro::Kind;

/// What such a node makes.
pub fn lower(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    if node.int("channels_last", 0) != 0 {
        return Err("its channels are last".into());
    }
    let (real, output) = match node.op.as_str() {
        "QLinearConcat" => (concat(l, node)?, 0),
        "QLinearConv" => (product(l, node)?, 6),
        "QGemm" => (product(l, node)?, 7),
        "QLinearMatMul" => (product(l, node)?, 6),
        "QLinearAdd" => (two(l, node, Kind::Add)?, 6),
        "QLinearMul" => (two(l, node, Kind::Mul)?, 6),
        _ => (one(l, node)?, 3),
    };
    let steps = steps(l, node, output, output + 1)?;
    Ok(Value::Quant(l.quantize(&real, steps, &node.name, &output_of(node))?))
}

/// The value at an input, with its scale and zero point at the next two.
fn input(l: &mut Lowering<'_>, node: &Node, at: usize) -> Result<Quant, Why> {
    let name = node.inputs.get(at).ok_or("an input is missing")?;
    let Some(Value::Quant(of)) = l.values.get(name).cloned() else {
        return Err(format!("'{name}' is no 8-bit value that was computed"));
    };
    let steps = steps(l, node, at + 1, at + 2)?;
    match_steps(l, &of, steps)?;
    Ok(of)
}

/// Sums of products with constant weights.
fn product(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let of = input(l, node, 0)?;
    let transposed = node.op == "QGemm" && node.int("transB", 0) != 0;
    let axis = i64::from(node.op != "QLinearConv" && !transposed);
    let ints = optional(l, node, 3)?.ok_or("its weights are missing")?;
    let weights = constant_weights(l, node, &ints, (4, 5), axis)?;
    let own = l.steps(of.tensor).scale;
    match node.op.as_str() {
        "QLinearConv" => {
            let bias = bias(l, node, 8, own, &weights)?;
            conv(l, node, &of, &weights, bias.as_deref())
        }
        "QGemm" => {
            let bias = bias(l, node, 6, f64::from(node.float("alpha", 1.0)) * own, &weights)?;
            gemm(l, node, &of, &weights, bias.as_deref(), transposed)
        }
        _ => gemm(l, node, &of, &weights, None, false),
    }
}

/// A bias of 32 bit is in steps of its channel's sum.
fn bias(l: &Lowering<'_>, node: &Node, at: usize, own: f64, weights: &Weights) -> Result<Option<Vec<f64>>, Why> {
    let ints = optional(l, node, at)?;
    Ok(ints.map(|ints| ints.values.iter().enumerate().map(|(i, b)| b * own * weights.scale(i)).collect()))
}

fn two(l: &mut Lowering<'_>, node: &Node, kind: Kind) -> Result<Real, Why> {
    Ok(Real::Both { kind, of: [input(l, node, 0)?, input(l, node, 3)?], ends: ENDS })
}

/// Operators of one value.
fn one(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let of = input(l, node, 0)?;
    match node.op.as_str() {
        "QLinearSigmoid" => map(l, &Real::Of(of), sigmoid),
        "QLinearLeakyRelu" => map(l, &Real::Of(of), leaky(f64::from(node.float("alpha", 0.01)))),
        "QLinearSoftmax" => {
            softmax_axis(node, &of, node.int("opset", 0))?;
            Ok(Real::Softmax(of))
        }
        _ => {
            let dims = of.dims.iter().enumerate().map(|(i, channels)| if i == 0 { *channels } else { 1 }).collect();
            Ok(global(of, dims))
        }
    }
}

/// Behind the output's steps each input with its own.
fn concat(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let all = (2..node.inputs.len()).step_by(3).map(|at| input(l, node, at)).collect::<Result<Vec<_>, _>>()?;
    let axis = axis(node.int("axis", 1), all.first().map_or(0, |q| q.dims.len()))?;
    Ok(Real::Concat { of: all, axis })
}
