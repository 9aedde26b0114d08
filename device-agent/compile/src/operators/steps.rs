//! QuantizeLinear and DequantizeLinear: between numbers and 8-bit values.

use super::read::{is_given, optional, output_of};
use crate::constant::{Constant, ElementType};
use crate::graph::Node;
use crate::lower::{Lowering, Steps, Why};
use crate::value::{Quant, Real, Value, Weights};
use std::rc::Rc;

/// Scale and zero point from two inputs; the element type of the zero point is that of the values.
pub fn steps(l: &Lowering<'_>, node: &Node, scale: usize, zero: usize) -> Result<Steps, Why> {
    let scale = optional(l, node, scale)?.and_then(|c| c.scalar()).ok_or("its scale is no single number")?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(format!("its scale is {scale}"));
    }
    let Some(zero) = optional(l, node, zero)? else {
        // That it is 0 is defined for these two, which are of unsigned values then.
        let is_defined = matches!(node.op.as_str(), "QuantizeLinear" | "DequantizeLinear");
        return is_defined.then_some(Steps { scale, zero_point: -128 }).ok_or("a zero point is missing".into());
    };
    let number = zero.scalar().ok_or("its zero point is no single number")? as i32;
    match zero.element {
        ElementType::U8 => Ok(Steps { scale, zero_point: number - 128 }),
        ElementType::I8 => Ok(Steps { scale, zero_point: number }),
        other => Err(format!("its values are {other:?}: expected 8 bit")),
    }
}

pub fn quantize_linear(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    if node.int("output_dtype", 0) != 0 || node.int("block_size", 0) != 0 {
        return Err("output_dtype and block_size are not known here".into());
    }
    let (steps, name) = (steps(l, node, 1, 2)?, output_of(node));
    let value = node.inputs.first().and_then(|name| l.values.get(name)).cloned();
    Ok(Value::Quant(match value {
        Some(Value::Input(index)) => l.quantize_input(index, steps, &name)?,
        Some(Value::Real(real)) => l.quantize(&real, steps, &maker(l, node), &name)?,
        _ => return Err("it quantizes what is no number that was computed".into()),
    }))
}

/// Name of the node whose numbers a QuantizeLinear quantizes: the operator is that one's.
fn maker(l: &Lowering<'_>, node: &Node) -> String {
    let input = node.inputs.first();
    let found = l.graph.nodes.iter().find(|n| n.outputs.first() == input && n.op != "DequantizeLinear");
    found.unwrap_or(node).name.clone()
}

pub fn dequantize_linear(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    if node.int("block_size", 0) != 0 {
        return Err("its scales are of blocks".into());
    }
    let value = node.inputs.first().and_then(|name| l.values.get(name)).cloned();
    match value {
        Some(Value::Constant(constant)) => {
            let weights = constant_weights(l, node, &constant, (1, 2), node.int("axis", 1))?;
            Ok(Value::Weights(Rc::new(weights)))
        }
        Some(Value::Quant(of)) => {
            let mut steps = steps(l, node, 1, 2)?;
            if !is_given(node, 2) {
                // Without a zero point it is the 0 of the type that the values have.
                steps.zero_point = l.steps(of.tensor).zero_point;
            }
            match_steps(l, &of, steps)?;
            Ok(Value::Real(Real::Of(of)))
        }
        _ => Err("it dequantizes what is no 8-bit value".into()),
    }
}

/// A tensor is read with the steps that it was written with. An input of 8-bit values learns them from its first reader.
pub fn match_steps(l: &mut Lowering<'_>, of: &Quant, steps: Steps) -> Result<(), Why> {
    if l.unread.remove(&of.tensor) {
        let tensor = &mut l.program.tensors[of.tensor];
        (tensor.scale, tensor.zero_point) = (steps.scale as f32, steps.zero_point);
    }
    let own = l.steps(of.tensor);
    if own == steps {
        return Ok(());
    }
    Err(format!(
        "it reads values of scale {} and zero point {} as {} and {}",
        own.scale, own.zero_point, steps.scale, steps.zero_point
    ))
}

/// Integers without their zero point, from a constant, its scale and its zero point. With several scales there is one per index of the axis.
pub fn constant_weights(
    l: &Lowering<'_>,
    node: &Node,
    ints: &Constant,
    (scale, zero): (usize, usize),
    axis: i64,
) -> Result<Weights, Why> {
    let scales = optional(l, node, scale)?.ok_or("its weights have no scale")?;
    let zeros = optional(l, node, zero)?.map_or_else(|| vec![0.0], |zeros| zeros.values.clone());
    let axis = if axis < 0 { axis + ints.dims.len() as i64 } else { axis };
    let axis = if scales.values.len() == 1 { 0 } else { axis as usize };
    let extent = ints.dims.get(axis).copied().unwrap_or(1).max(1);
    if ![1, extent].contains(&scales.values.len()) || ![1, scales.values.len()].contains(&zeros.len()) {
        let (scales, zeros) = (scales.values.len(), zeros.len());
        return Err(format!("its weights have {scales} scales and {zeros} zero points for {extent} channels"));
    }
    if let Some(scale) = scales.values.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        return Err(format!("a scale of its weights is {scale}"));
    }
    let inner: usize = ints.dims.iter().skip(axis + 1).product();
    let zero_of = |i: usize| if zeros.len() == 1 { zeros[0] } else { zeros[i / inner.max(1) % extent] };
    let values = ints.values.iter().enumerate().map(|(i, v)| v - zero_of(i)).collect();
    Ok(Weights { ints: Constant { values, ..ints.clone() }, scales: scales.values.clone(), axis })
}
