//! Quantized operators, computed in floats that hold every integer on the way: f32 holds all 8-bit values, f64 all sums of their products.
//! Rounding is that of ONNX: to the nearest, of two equally near to the even one.

use candle_core::{DType as Held, Tensor, bail};
use smallvec::smallvec;

use super::elementwise::{channel_shape, round_even};
use super::products::{Convolution, matmul};
use super::{Build, Inputs, Known, Made, Run, axis, one};
use crate::candle::value::{Value, carrier, element_type};
use crate::tensor::DType;

pub(super) fn find(operator: &str) -> Option<Build> {
    Some(match operator {
        "QuantizeLinear" => quantize,
        "DequantizeLinear" => dequantize,
        "DynamicQuantizeLinear" => dynamic_quantize,
        "MatMulInteger" => matmul_integer,
        "ConvInteger" => conv_integer,
        "QLinearMatMul" => qlinear_matmul,
        "QLinearConv" => qlinear_conv,
        _ => return None,
    })
}

/// Smallest and largest value of an integer type; none where values of that type are not made here.
fn limits(element: DType) -> candle_core::Result<(f64, f64)> {
    Ok(match element {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65_535.0),
        DType::I16 => (-32_768.0, 32_767.0),
        other => bail!("expected an integer of 8 or 16 bits, got {other}"),
    })
}

/// One number for all, or one per entry of an axis, in a shape that stretches.
fn spread(numbers: &Tensor, number: i64, rank: usize) -> candle_core::Result<Tensor> {
    match numbers.elem_count() {
        1 => numbers.reshape(()),
        count if numbers.rank() == 1 => numbers.reshape(channel_shape(count, axis(number, rank)?, rank)),
        _ => bail!("expected one number or one per entry of an axis, got shape {:?}", numbers.dims()),
    }
}

fn refuse_blocks(known: &Known<'_>) -> Result<i64, String> {
    match known.node.int("block_size").unwrap_or(0) {
        0 => Ok(known.node.int("axis").unwrap_or(1)),
        size => Err(format!("expected no blocks, got block_size = {size}")),
    }
}

/// `clamp(round(x / scale) + zero point)`.
fn quantize(known: &Known<'_>) -> Result<Run, String> {
    let number = refuse_blocks(known)?;
    let declared = known.node.int("output_dtype").filter(|number| *number != 0);
    let declared = match declared {
        Some(number) => element_type(number).ok_or_else(|| format!("output_dtype {number} is not known"))?,
        None => DType::U8,
    };
    Ok(Box::new(move |inputs| {
        let (x, scale, zero) = (inputs.get(0)?, inputs.get(1)?, inputs.optional(2));
        let element = zero.map_or(declared, |zero| zero.element);
        let rank = x.held.rank();
        let scale = spread(&scale.held.to_dtype(wide(&x.held))?, number, rank)?;
        let zero = zero.map(|zero| spread(&zero.held, number, rank)).transpose()?;
        let steps = x.held.to_dtype(wide(&x.held))?.broadcast_div(&scale)?;
        one(to_integers(&steps, zero.as_ref(), element)?)
    }))
}

/// Halves are quantized in f32.
fn wide(x: &Tensor) -> Held {
    if x.dtype() == Held::F64 { Held::F64 } else { Held::F32 }
}

/// Rounds, adds the zero point and saturates.
fn to_integers(steps: &Tensor, zero: Option<&Tensor>, element: DType) -> candle_core::Result<Value> {
    let (low, high) = limits(element)?;
    let mut rounded = round_even(steps)?;
    if let Some(zero) = zero {
        rounded = rounded.broadcast_add(&zero.to_dtype(rounded.dtype())?)?;
    }
    let held = rounded.clamp(low, high)?.to_dtype(carrier(element, super::Width::Written))?;
    Ok(Value { element, held })
}

/// `(x - zero point) * scale`.
fn dequantize(known: &Known<'_>) -> Result<Run, String> {
    let number = refuse_blocks(known)?;
    Ok(Box::new(move |inputs| {
        let (x, scale) = (inputs.get(0)?, inputs.get(1)?);
        let rank = x.held.rank();
        let steps = match inputs.optional(2) {
            Some(zero) => x.held.broadcast_sub(&spread(&zero.held.to_dtype(x.held.dtype())?, number, rank)?)?,
            None => x.held.clone(),
        };
        let factor = spread(&scale.held.to_dtype(wide(&scale.held))?, number, rank)?;
        let product = steps.to_dtype(factor.dtype())?.broadcast_mul(&factor)?;
        one(scale.like(product.to_dtype(scale.held.dtype())?))
    }))
}

/// Scale and zero point of what comes, over a range that always holds 0. In f32, as ONNX defines it.
fn dynamic_quantize(_: &Known<'_>) -> Result<Run, String> {
    Ok(Box::new(|inputs| {
        let x = inputs.get(0)?;
        let extreme = |found: Tensor| found.to_dtype(Held::F32)?.to_scalar::<f32>();
        let (low, high) = (extreme(x.held.min_all()?)?.min(0.0), extreme(x.held.max_all()?)?.max(0.0));
        let scale = if low == high { 1.0 } else { (high - low) / 255.0 };
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
        let number = |number: f32, held: Held| Tensor::full(number, (), x.held.device())?.to_dtype(held);
        let steps = x.held.broadcast_div(&number(scale, x.held.dtype())?)?;
        let zero = number(zero, Held::F32)?;
        let quantized = to_integers(&steps, Some(&zero), DType::U8)?;
        Ok(smallvec![quantized, x.like(number(scale, x.held.dtype())?), Value { element: DType::U8, held: zero }])
    }))
}

/// Values less their zero point, in f64: sums of their products stay exact there.
fn centred(value: &Value, zero: Option<&Value>, number: i64) -> candle_core::Result<Tensor> {
    let held = value.held.to_dtype(Held::F64)?;
    match zero {
        Some(zero) => held.broadcast_sub(&spread(&zero.held.to_dtype(Held::F64)?, number, held.rank())?),
        None => Ok(held),
    }
}

fn matmul_integer(_: &Known<'_>) -> Result<Run, String> {
    Ok(Box::new(|inputs| {
        // A zero point per row of A, or per column of B.
        let a = centred(inputs.get(0)?, inputs.optional(2), -2)?;
        let b = centred(inputs.get(1)?, inputs.optional(3), -1)?;
        one(Value { element: DType::I32, held: matmul(&a, &b)? })
    }))
}

fn conv_integer(known: &Known<'_>) -> Result<Run, String> {
    let kernel = known.must(1, "kernel")?;
    let zero = if known.has(3) { Some(known.must(3, "kernel's zero point")?) } else { None };
    let kernel = centred(kernel, zero, 0).map_err(|error| error.to_string())?;
    let convolution = Convolution::read(known, &kernel)?;
    Ok(Box::new(move |inputs| {
        let x = centred(inputs.get(0)?, inputs.optional(2), 1)?;
        one(Value { element: DType::I32, held: convolution.run(&x)? })
    }))
}

/// Scales the sums down to the output's steps: `sum * (scale of A * scale of B / scale of the output)`, all in f32, rounded once.
fn rescaled(
    sums: &Tensor,
    inputs: &Inputs<'_>,
    scales: [usize; 3],
    zero: usize,
    number: i64,
) -> candle_core::Result<Made> {
    let scale = |index: usize| inputs.get(index)?.held.to_dtype(Held::F32)?.flatten_all();
    let [a, b, y] = scales;
    let factor = scale(a)?.broadcast_mul(&scale(b)?)?.broadcast_div(&scale(y)?)?;
    let steps = sums.to_dtype(Held::F32)?.broadcast_mul(&spread(&factor, number, sums.rank())?)?;
    let zero = inputs.get(zero)?;
    one(to_integers(&steps, Some(&spread(&zero.held, number, sums.rank())?), zero.element)?)
}

fn qlinear_matmul(_: &Known<'_>) -> Result<Run, String> {
    Ok(Box::new(|inputs| {
        let a = centred(inputs.get(0)?, inputs.optional(2), -2)?;
        let b = centred(inputs.get(3)?, inputs.optional(5), -1)?;
        rescaled(&matmul(&a, &b)?, inputs, [1, 4, 6], 7, -1)
    }))
}

fn qlinear_conv(known: &Known<'_>) -> Result<Run, String> {
    let kernel = known.must(3, "kernel")?;
    let zero = known.must(5, "kernel's zero point")?;
    let kernel = centred(kernel, Some(zero), 0).map_err(|error| error.to_string())?;
    let convolution = Convolution::read(known, &kernel)?;
    Ok(Box::new(move |inputs| {
        let mut sums = convolution.run(&centred(inputs.get(0)?, inputs.optional(2), 1)?)?;
        if let Some(bias) = inputs.optional(8) {
            let shape = channel_shape(convolution.channels_out(), 1, sums.rank());
            sums = sums.broadcast_add(&bias.held.to_dtype(Held::F64)?.reshape(shape)?)?;
        }
        rescaled(&sums, inputs, [1, 4, 6], 7, 1)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn values_beyond_the_type_stay_at_its_end() {
        let steps = Tensor::new(&[-1e9_f32, -128.5, -0.5, 0.5, 1.5, 126.5, 1e9], &Device::Cpu).unwrap();
        let value = to_integers(&steps, None, DType::I8).unwrap();
        assert_eq!(value.numbers().unwrap(), [-128.0, -128.0, 0.0, 0.0, 2.0, 126.0, 127.0]);
        let zero = Tensor::new(128.0_f32, &Device::Cpu).unwrap();
        let value = to_integers(&steps, Some(&zero), DType::U8).unwrap();
        assert_eq!(value.numbers().unwrap(), [0.0, 0.0, 128.0, 128.0, 130.0, 254.0, 255.0]);
    }

    #[test]
    fn sums_that_f32_would_round_stay_exact() {
        let value = |number: f64, count: usize, shape: (usize, usize)| {
            let held = Tensor::from_vec(vec![number as f32; count], shape, &Device::Cpu).unwrap();
            Value { element: DType::U8, held }
        };
        let (a, b) = (value(255.0, 4001, (1, 4001)), value(255.0, 4001, (4001, 1)));
        let product = matmul(&centred(&a, None, -2).unwrap(), &centred(&b, None, -1).unwrap()).unwrap();
        assert_eq!(product.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [4001.0 * 65_025.0]);
    }
}
