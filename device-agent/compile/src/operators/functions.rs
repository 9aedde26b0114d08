//! Operators that work element by element: they become tables.

use super::channels::single;
use super::read::{numbers, real, settle};
use crate::graph::Node;
use crate::lower::{Lowering, Why, number_of};
use crate::value::{ENDS, Quant, Real, RealSums};
use boardproof_micro::Kind;
use std::rc::Rc;

/// Numbers as a function of one quantized tensor, if they are that.
pub fn as_function(l: &Lowering<'_>, real: &Real) -> Option<(Quant, Rc<Vec<f64>>)> {
    match real {
        Real::Of(of) => {
            let steps = l.steps(of.tensor);
            Some((of.clone(), Rc::new((-128..=127).map(|q| number_of(q, steps)).collect())))
        }
        Real::Function { of, table } => Some((of.clone(), table.clone())),
        Real::Affine { of, factors, offsets, ends } => {
            let (factor, offset) = (single(factors)?, single(offsets)?);
            let (_, own) = as_function(l, &Real::Of(of.clone()))?;
            let table = own.iter().map(|x| (x * factor + offset).clamp(ends.0, ends.1)).collect();
            Some((of.clone(), Rc::new(table)))
        }
        _ => None,
    }
}

/// A function of numbers that are themselves one of a quantized tensor.
pub fn map(l: &Lowering<'_>, real: &Real, f: impl Fn(f64) -> f64) -> Result<Real, Why> {
    let (of, table) = as_function(l, real).ok_or("it would run in floating point: nothing quantizes what it reads")?;
    Ok(Real::Function { of, table: Rc::new(table.iter().map(|x| f(*x)).collect()) })
}

/// Sum, difference or product of two that were computed.
pub fn two(l: &mut Lowering<'_>, node: &Node, one: Real, other: Real) -> Result<Real, Why> {
    // Two functions of the same values are one.
    if let (Some((a, f)), Some((b, g))) = (as_function(l, &one), as_function(l, &other))
        && a == b
        && node.op != "Div"
    {
        let act = |(x, y): (&f64, &f64)| match node.op.as_str() {
            "Add" => x + y,
            "Sub" => x - y,
            _ => x * y,
        };
        return Ok(Real::Function { of: a, table: Rc::new(f.iter().zip(g.iter()).map(act).collect()) });
    }
    let kind = match node.op.as_str() {
        "Add" => Kind::Add,
        "Mul" => Kind::Mul,
        _ => return Err("a difference or quotient of two tensors is not known here".into()),
    };
    let name = |at: usize| node.inputs.get(at).map_or("", String::as_str);
    Ok(Real::Both { kind, of: [settle(l, node, one, name(0))?, settle(l, node, other, name(1))?], ends: ENDS })
}

/// Holds numbers between two ends.
pub fn held(real: Real, l: &Lowering<'_>, (low, high): (f64, f64)) -> Result<Real, Why> {
    let both = |(a, b): (f64, f64)| (a.clamp(low, high), b.clamp(low, high));
    Ok(match real {
        Real::Sums(sums) => Real::Sums(Rc::new(RealSums { ends: both(sums.ends), ..(*sums).clone() })),
        Real::Affine { of, factors, offsets, ends } => Real::Affine { of, factors, offsets, ends: both(ends) },
        Real::Both { kind, of, ends } => Real::Both { kind, of, ends: both(ends) },
        Real::Pool { kind, of, window, dims, ends } => Real::Pool { kind, of, window, dims, ends: both(ends) },
        real => map(l, &real, |x| x.clamp(low, high))?,
    })
}

pub fn clip(l: &Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let end = |index: usize, name: &str, default: f64| -> Result<f64, Why> {
        let attribute = f64::from(node.float(name, default as f32));
        Ok(numbers(l, node, index)?.and_then(|v| v.first().copied()).unwrap_or(attribute))
    };
    let (low, high) = (end(1, "min", f64::NEG_INFINITY)?, end(2, "max", f64::INFINITY)?);
    if low.is_nan() || high.is_nan() || low > high {
        return Err(format!("it holds numbers between {low} and {high}"));
    }
    held(real(l, node, 0)?, l, (low, high))
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub fn leaky(alpha: f64) -> impl Fn(f64) -> f64 {
    move |x| if x < 0.0 { alpha * x } else { x }
}

/// Abramowitz and Stegun 7.1.26: within 2e-7 of the error function.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - p * (-x * x).exp()).copysign(x)
}

/// `x` times a share of it, by the error function or by what ONNX gives in its place.
fn gelu(node: &Node) -> Result<fn(f64) -> f64, Why> {
    match node.text("approximate").unwrap_or("none") {
        "none" => Ok(|x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))),
        "tanh" => Ok(|x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())),
        other => Err(format!("its approximation '{other}' is not known")),
    }
}

/// Functions by name.
pub fn function(l: &Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let real = real(l, node, 0)?;
    let alpha = |default: f32| f64::from(node.float("alpha", default));
    match node.op.as_str() {
        "Sigmoid" => map(l, &real, sigmoid),
        "Tanh" => map(l, &real, f64::tanh),
        "HardSwish" => map(l, &real, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), f64::from(node.float("beta", 0.5)));
            map(l, &real, |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "LeakyRelu" => map(l, &real, leaky(alpha(0.01))),
        "Elu" => {
            let alpha = alpha(1.0);
            map(l, &real, |x| if x < 0.0 { alpha * (x.exp() - 1.0) } else { x })
        }
        "Erf" => map(l, &real, erf),
        "Gelu" => map(l, &real, gelu(node)?),
        "Exp" => map(l, &real, f64::exp),
        "Neg" => map(l, &real, |x| -x),
        other => Err(format!("{other} is not known here")),
    }
}
