//! Operators that look at one element at a time, or at one of each operand.

use candle_core::{DType as Held, Tensor, bail};

use super::{Build, Inputs, Known, Made, Run, one};
use crate::tensor::DType;

pub(super) fn find(operator: &str) -> Option<Build> {
    Some(match operator {
        "Add" => |_| binary(|a, b| a.broadcast_add(b)),
        "Sub" => |_| binary(|a, b| a.broadcast_sub(b)),
        "Mul" => |_| binary(|a, b| a.broadcast_mul(b)),
        "Div" => |_| float_binary(|a, b| a.broadcast_div(b)),
        "Max" => |_| many(|a, b| a.broadcast_maximum(b)),
        "Min" => |_| many(|a, b| a.broadcast_minimum(b)),
        "Sum" => |_| many(|a, b| a.broadcast_add(b)),
        "Pow" => pow,
        "Abs" => |_| unary(Tensor::abs),
        "Neg" => |_| unary(Tensor::neg),
        "Relu" => |_| unary(Tensor::relu),
        "Ceil" => |_| float_unary(Tensor::ceil),
        "Cos" => |_| float_unary(Tensor::cos),
        "Erf" => |_| float_unary(Tensor::erf),
        "Exp" => |_| float_unary(Tensor::exp),
        "Floor" => |_| float_unary(Tensor::floor),
        "Log" => |_| float_unary(Tensor::log),
        "Reciprocal" => |_| float_unary(Tensor::recip),
        "Round" => |_| float_unary(round_even),
        "Sigmoid" => |_| float_unary(sigmoid),
        "Sin" => |_| float_unary(Tensor::sin),
        "Sqrt" => |_| float_unary(Tensor::sqrt),
        "Tanh" => |_| float_unary(Tensor::tanh),
        "Gelu" => gelu,
        "HardSigmoid" => hard_sigmoid,
        "HardSwish" => |_| float_unary(|x| x * x.affine(1.0 / 6.0, 0.5)?.clamp(0.0, 1.0)?),
        "LeakyRelu" => leaky_relu,
        "Clip" => clip,
        "BatchNormalization" => batch_normalization,
        "Identity" => |_| unary(|x| Ok(x.clone())),
        "Dropout" => dropout,
        _ => return None,
    })
}

type Unary = fn(&Tensor) -> candle_core::Result<Tensor>;
type Binary = fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>;

fn unary(compute: Unary) -> Result<Run, String> {
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        one(x.like(compute(&x.held)?))
    }))
}

/// Of floats only: an integer's answer would not be one.
fn float_unary(compute: Unary) -> Result<Run, String> {
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        must_be_float(x.element)?;
        one(x.like(compute(&x.held)?))
    }))
}

fn must_be_float(element: DType) -> candle_core::Result<()> {
    if element.is_float() { Ok(()) } else { bail!("expected a float, got {element}") }
}

/// Two operands that are stretched over each other.
fn binary(compute: Binary) -> Result<Run, String> {
    Ok(Box::new(move |inputs| pair(inputs, compute)))
}

fn float_binary(compute: Binary) -> Result<Run, String> {
    Ok(Box::new(move |inputs| {
        must_be_float(inputs.get(0)?.element)?;
        pair(inputs, compute)
    }))
}

fn pair(inputs: &Inputs<'_>, compute: Binary) -> candle_core::Result<Made> {
    let (a, b) = (inputs.get(0)?, inputs.get(1)?);
    if a.element != b.element {
        bail!("expected operands of one type, got {} and {}", a.element, b.element);
    }
    one(a.like(compute(&a.held, &b.held)?))
}

/// Any number of operands.
fn many(compute: Binary) -> Result<Run, String> {
    Ok(Box::new(move |inputs| {
        let mut result = inputs.get(0)?.clone();
        for next in inputs.iter().flatten().skip(1) {
            if next.element != result.element {
                bail!("expected operands of one type, got {} and {}", result.element, next.element);
            }
            result.held = compute(&result.held, &next.held)?;
        }
        one(result)
    }))
}

/// To a constant power: of two tensors candle goes by logarithms, which negative numbers do not have.
fn pow(known: &Known<'_>) -> Result<Run, String> {
    let exponents = known.numbers(1, "exponent")?;
    let [exponent] = exponents[..] else {
        return Err(format!("expected one exponent, got {}", exponents.len()));
    };
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        must_be_float(x.element)?;
        one(x.like(if exponent == 2.0 { x.held.sqr()? } else { x.held.powf(exponent)? }))
    }))
}

/// `1 / (1 + exp(-x))`; for large negative numbers the exponential is infinite and the answer 0, as it should be.
fn sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// To the nearest integer, of two equally near to the even one, as IEEE 754 and ONNX round; candle's own goes away from zero.
///
/// Adding and taking away 1.5 times the power of two whose last bit is 1 leaves no room for a fraction (f32: 2^23, f64: 2^52). Larger
/// numbers than half of that have no fraction and stay; halves go by f32, which holds all of theirs.
pub(super) fn round_even(x: &Tensor) -> candle_core::Result<Tensor> {
    let (wide, limit) = match x.dtype() {
        Held::F64 => (x.clone(), 4_503_599_627_370_496.0),
        _ => (x.to_dtype(Held::F32)?, 8_388_608.0),
    };
    let rounded = wide.affine(1.0, 1.5 * limit)?.affine(1.0, -1.5 * limit)?;
    let is_small = wide.abs()?.lt(limit / 2.0)?;
    is_small.where_cond(&rounded, &wide)?.to_dtype(x.dtype())
}

fn gelu(known: &Known<'_>) -> Result<Run, String> {
    match known.node.text("approximate").unwrap_or("none") {
        "none" => float_unary(Tensor::gelu_erf),
        "tanh" => float_unary(Tensor::gelu),
        other => Err(format!("expected approximate = none or tanh, got {other}")),
    }
}

fn hard_sigmoid(known: &Known<'_>) -> Result<Run, String> {
    let alpha = f64::from(known.node.float("alpha").unwrap_or(0.2));
    let beta = f64::from(known.node.float("beta").unwrap_or(0.5));
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        must_be_float(x.element)?;
        one(x.like(x.held.affine(alpha, beta)?.clamp(0.0, 1.0)?))
    }))
}

fn leaky_relu(known: &Known<'_>) -> Result<Run, String> {
    let alpha = f64::from(known.node.float("alpha").unwrap_or(0.01));
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        must_be_float(x.element)?;
        one(x.like((x.held.maximum(0.0)? + (x.held.minimum(0.0)? * alpha)?)?))
    }))
}

/// Limits are attributes up to version 6 and inputs after that; each may be left out.
fn clip(known: &Known<'_>) -> Result<Run, String> {
    let limit = |index: usize, name: &str| -> Result<Option<f64>, String> {
        if known.opset < 11 {
            return Ok(known.node.float(name).map(f64::from));
        }
        if !known.has(index) {
            return Ok(None);
        }
        match known.numbers(index, name)?[..] {
            [one] => Ok(Some(one)),
            ref other => Err(format!("expected one number as its {name}, got {}", other.len())),
        }
    };
    let (min, max) = (limit(1, "min")?, limit(2, "max")?);
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let mut held = x.held.clone();
        if let Some(min) = min {
            held = held.maximum(min)?;
        }
        if let Some(max) = max {
            held = held.minimum(max)?;
        }
        one(x.like(held))
    }))
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` per channel, as one factor and one summand.
fn batch_normalization(known: &Known<'_>) -> Result<Run, String> {
    if known.node.int("training_mode").unwrap_or(0) != 0 {
        return Err("expected training_mode = 0, got another".into());
    }
    known.one_output()?;
    let epsilon = f64::from(known.node.float("epsilon").unwrap_or(1e-5));
    let (scale, bias) = (known.must(1, "scale")?, known.must(2, "bias")?);
    let (mean, variance) = (known.must(3, "mean")?, known.must(4, "variance")?);
    let fold = || -> candle_core::Result<(Tensor, Tensor)> {
        let factor = (&scale.held / (&variance.held + epsilon)?.sqrt()?)?;
        let summand = (&bias.held - (&mean.held * &factor)?)?;
        Ok((factor, summand))
    };
    let (factor, summand) = fold().map_err(|error| error.to_string())?;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let shape = channel_shape(factor.elem_count(), 1, x.held.rank());
        let (factor, summand) = (factor.reshape(shape.as_slice())?, summand.reshape(shape.as_slice())?);
        one(x.like(x.held.broadcast_mul(&factor)?.broadcast_add(&summand)?))
    }))
}

/// The shape in which one number per channel is stretched over a tensor of this rank.
pub(super) fn channel_shape(channels: usize, axis: usize, rank: usize) -> Vec<usize> {
    (0..rank).map(|dim| if dim == axis { channels } else { 1 }).collect()
}

/// Nothing when a model is used, and its mask is of no use then.
fn dropout(known: &Known<'_>) -> Result<Run, String> {
    known.one_output()?;
    unary(|x| Ok(x.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn halves_round_to_the_even_neighbour() {
        let values = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.499_999_97, 8_388_609.0, -3e9, 1e30];
        let rounded = [0.0, 2.0, 2.0, 0.0, -2.0, -2.0, 0.0, 8_388_609.0, -3e9, 1e30];
        for held in [Held::F32, Held::F64] {
            let x = Tensor::new(&values, &Device::Cpu).unwrap().to_dtype(held).unwrap();
            let expected = Tensor::new(&rounded, &Device::Cpu).unwrap().to_dtype(held).unwrap();
            let apart = (round_even(&x).unwrap() - expected).unwrap().abs().unwrap();
            let worst = apart.max_all().unwrap().to_dtype(Held::F64).unwrap().to_scalar::<f64>().unwrap();
            assert_eq!(worst, 0.0, "{held:?}");
        }
    }
}
