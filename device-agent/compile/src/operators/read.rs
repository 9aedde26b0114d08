//! What a node reads: numbers that were computed, constants, weights.

use crate::constant::Constant;
use crate::graph::Node;
use crate::lower::{Lowering, Why, number_of};
use crate::value::{Quant, Real, Value, Weights};
use std::rc::Rc;

/// The numbers of an input.
pub fn real(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Real, Why> {
    let name = node.inputs.get(index).ok_or_else(|| format!("input {index} is missing"))?;
    match l.values.get(name) {
        Some(Value::Real(real)) => Ok(real.clone()),
        Some(Value::Input(_)) => {
            Err(format!("it reads input '{name}' in floating point: quantize the model statically"))
        }
        Some(Value::Quant(_)) => Err(format!("'{name}' is quantized where it wants numbers")),
        Some(Value::Constant(_) | Value::Weights(_)) => {
            Err(format!("'{name}' is a constant where it wants what was computed"))
        }
        Some(Value::Refused) | None => Err(format!("nothing makes '{name}'")),
    }
}

/// The quantized tensor that the numbers of an input are of.
pub fn settled(l: &mut Lowering<'_>, node: &Node, index: usize) -> Result<Quant, Why> {
    let real = real(l, node, index)?;
    settle(l, node, real, node.inputs.get(index).map_or("", String::as_str))
}

/// The quantized tensor that numbers are of. A function of one whose results all lie on its steps, as those of Relu do, is looked up: nothing
/// is rounded that the model does not round.
pub fn settle(l: &mut Lowering<'_>, node: &Node, real: Real, name: &str) -> Result<Quant, Why> {
    if let Real::Function { of, table } = &real {
        let steps = l.steps(of.tensor);
        if table.iter().all(|number| (-128..=127).any(|value| number_of(value, steps) == *number)) {
            return l.quantize(&real, steps, &node.name, name);
        }
    }
    match real {
        Real::Of(of) => Ok(of),
        _ => Err("it would run in floating point: nothing quantizes what it reads".into()),
    }
}

/// Is there an input at this place?
pub fn is_given(node: &Node, index: usize) -> bool {
    node.inputs.get(index).is_some_and(|name| !name.is_empty())
}

/// A constant that may be left out. What is computed is refused: nobody would notice that it was taken for nothing.
pub fn optional(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Option<Rc<Constant>>, Why> {
    match l.constant(node, index) {
        Some(constant) => Ok(Some(constant)),
        None if is_given(node, index) => Err(format!("'{}' is no constant", node.inputs[index])),
        None => Ok(None),
    }
}

/// A constant as numbers, whatever it is kept as; `None` where it is left out.
pub fn numbers(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Option<Vec<f64>>, Why> {
    let Some(Value::Weights(weights)) = node.inputs.get(index).and_then(|name| l.values.get(name)) else {
        return Ok(optional(l, node, index)?.map(|constant| constant.values.clone()));
    };
    let inner: usize = weights.ints.dims.iter().skip(weights.axis + 1).product();
    let extent = weights.ints.dims.get(weights.axis).copied().unwrap_or(1).max(1);
    let number = |(i, v): (usize, &f64)| v * weights.scale(i / inner.max(1) % extent);
    Ok(Some(weights.ints.values.iter().enumerate().map(number).collect()))
}

/// Shape of a constant, whatever it is kept as; `None` for what is none.
pub fn shape_of(l: &Lowering<'_>, node: &Node, index: usize) -> Option<Vec<usize>> {
    match node.inputs.get(index).and_then(|name| l.values.get(name)) {
        Some(Value::Constant(constant)) => Some(constant.dims.clone()),
        Some(Value::Weights(weights)) => Some(weights.ints.dims.clone()),
        _ => None,
    }
}

/// Integers that older versions of an operator have as an attribute, and newer ones as an input.
pub fn integers(l: &Lowering<'_>, node: &Node, attribute: &str, index: usize) -> Result<Option<Vec<i64>>, Why> {
    match node.ints(attribute) {
        Some(values) => Ok(Some(values.to_vec())),
        None => Ok(optional(l, node, index)?.map(|constant| constant.integers())),
    }
}

pub fn weights(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Rc<Weights>, Why> {
    match node.inputs.get(index).and_then(|name| l.values.get(name)) {
        Some(Value::Weights(weights)) => Ok(weights.clone()),
        Some(Value::Constant(_)) => Err("its weights are floating point: quantize the model statically".into()),
        _ => Err("its weights are no constant".into()),
    }
}

/// Number of a dimension without the sample.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Why> {
    let all = rank as i64 + 1;
    let axis = if axis < 0 { axis + all } else { axis };
    if (1..all).contains(&axis) {
        Ok(axis as usize - 1)
    } else {
        Err(format!("it works along dimension {axis}, which is the sample's or none"))
    }
}

/// Name of what a node makes.
pub fn output_of(node: &Node) -> String {
    node.outputs.first().cloned().unwrap_or_default()
}
