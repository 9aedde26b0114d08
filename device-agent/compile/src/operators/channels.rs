//! Constants that scale and move numbers: one per channel or one for all.

use super::functions::{map, two};
use super::read::{numbers, real, shape_of};
use crate::graph::Node;
use crate::lower::{Lowering, Why};
use crate::value::{ENDS, Real, RealSums};
use std::rc::Rc;

/// Numbers per channel, from constants with one per channel or one for all.
fn per_channel(values: &[f64], dims: &[usize]) -> Result<Vec<f64>, Why> {
    let channels = dims.first().copied().unwrap_or(1);
    match values {
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(format!("its constant has {} numbers for {channels} channels", many.len())),
    }
}

/// `factor * x + offset` of numbers, where that can be folded into what makes them.
fn scaled(l: &Lowering<'_>, real: Real, factors: &[f64], offsets: &[f64]) -> Result<Real, Why> {
    let dims = real.dims().map(<[usize]>::to_vec).unwrap_or_default();
    let per = |values: &[f64]| per_channel(values, &dims);
    match real {
        Real::Sums(sums) if sums.ends == ENDS => {
            let (factors, offsets) = (per(factors)?, per(offsets)?);
            let row = (sums.weights.len() / factors.len().max(1)).max(1);
            // A step is worth more than nothing: below 0 it is the weights that turn.
            let sign = |channel: usize| if factors[channel] < 0.0 { -1 } else { 1 };
            let weights = sums.weights.iter().enumerate().map(|(i, w)| w * sign(i / row)).collect();
            let steps = sums.steps.iter().zip(&factors).map(|(s, f)| s * f.abs()).collect();
            let biases = sums.biases.iter().zip(factors.iter().zip(&offsets)).map(|(b, (f, o))| b * f + o).collect();
            Ok(Real::Sums(Rc::new(RealSums { weights, steps, biases, ..(*sums).clone() })))
        }
        Real::Of(of) => Ok(Real::Affine { of, factors: per(factors)?, offsets: per(offsets)?, ends: ENDS }),
        Real::Affine { of, factors: before, offsets: added, ends } if ends == ENDS => {
            let (factors, offsets) = (per(factors)?, per(offsets)?);
            let both = before.iter().zip(&factors).map(|(a, b)| a * b).collect();
            let sum = added.iter().zip(factors.iter().zip(&offsets)).map(|(a, (f, o))| a * f + o).collect();
            Ok(Real::Affine { of, factors: both, offsets: sum, ends })
        }
        real => match (single(factors), single(offsets)) {
            (Some(f), Some(o)) => map(l, &real, |x| x * f + o),
            _ => Err("it scales numbers per channel that nothing quantizes".into()),
        },
    }
}

/// The number that all of them are.
pub fn single(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    values.iter().all(|v| *v == first).then_some(first)
}

pub fn batch_norm(l: &Lowering<'_>, node: &Node) -> Result<Real, Why> {
    if node.int("training_mode", 0) != 0 || node.outputs.len() > 1 {
        return Err("it is one of training".into());
    }
    let real = real(l, node, 0)?;
    let channels = real.dims().and_then(<[usize]>::first).copied();
    let part = |index: usize| -> Result<Vec<f64>, Why> {
        let numbers = numbers(l, node, index)?.ok_or("one of its parameters is missing")?;
        match channels == Some(numbers.len()) {
            true => Ok(numbers),
            false => Err(format!("it has {} parameters for {} channels", numbers.len(), channels.unwrap_or(0))),
        }
    };
    let [gamma, beta, mean, variance] = [part(1)?, part(2)?, part(3)?, part(4)?];
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let factors: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let offsets: Vec<f64> = beta.iter().zip(mean.iter().zip(&factors)).map(|(b, (m, f))| b - m * f).collect();
    scaled(l, real, &factors, &offsets)
}

/// Add, Sub, Mul and Div: of two that were computed, or of one and a constant.
pub fn binary(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let is_constant = [0, 1].map(|index| shape_of(l, node, index).is_some());
    let (other, constant) = match is_constant {
        [false, false] => {
            let (one, other) = (real(l, node, 0)?, real(l, node, 1)?);
            return two(l, node, one, other);
        }
        [true, true] => return Err("both of its inputs are constants".into()),
        [true, false] => (real(l, node, 1)?, 0),
        [false, true] => (real(l, node, 0)?, 1),
    };
    along_channels(l, node, constant, &other)?;
    let values = numbers(l, node, constant)?.unwrap_or_default();
    let negative: Vec<f64> = values.iter().map(|v| -v).collect();
    match (node.op.as_str(), constant) {
        ("Add", _) => scaled(l, other, &[1.0], &values),
        ("Sub", 1) => scaled(l, other, &[1.0], &negative),
        ("Mul", _) => scaled(l, other, &values, &[0.0]),
        ("Div", 1) if values.iter().all(|v| *v != 0.0) => {
            scaled(l, other, &values.iter().map(|v| 1.0 / v).collect::<Vec<_>>(), &[0.0])
        }
        _ => Err("one of its inputs is a constant where it must not be".into()),
    }
}

/// A constant with several numbers varies along the channels and no other dimension, and adds none. Shapes are aligned at their ends, as
/// ONNX does.
fn along_channels(l: &Lowering<'_>, node: &Node, index: usize, other: &Real) -> Result<(), Why> {
    let constant = shape_of(l, node, index).unwrap_or_default();
    let dims = other.dims().ok_or("it works on numbers that nothing quantizes")?;
    let fits =
        |(from_end, size): (usize, &usize)| *size == 1 || (from_end + 1 == dims.len() && dims.first() == Some(size));
    if constant.len() <= dims.len() + 1 && constant.iter().rev().enumerate().all(fits) {
        return Ok(());
    }
    Err(format!("its constant of shape {constant:?} varies along another dimension than the channels of {dims:?}"))
}
