//! Operators that look along axes: means, maxima, norms and probabilities.

use candle_core::{DType as Held, Tensor, bail};

use super::{Build, Known, Run, axis, one};

pub(super) fn find(operator: &str) -> Option<Build> {
    Some(match operator {
        "ReduceMean" => |known| reduce(known, |x, dim| x.mean_keepdim(dim)),
        "ReduceSum" => |known| reduce(known, |x, dim| x.sum_keepdim(dim)),
        "ReduceMax" => |known| reduce(known, |x, dim| x.max_keepdim(dim)),
        "ReduceMin" => |known| reduce(known, |x, dim| x.min_keepdim(dim)),
        "GlobalAveragePool" => |known| global(known, |x, dim| x.mean_keepdim(dim)),
        "GlobalMaxPool" => |known| global(known, |x, dim| x.max_keepdim(dim)),
        "Softmax" => |known| softmax(known, false),
        "LogSoftmax" => |known| softmax(known, true),
        "LayerNormalization" => layer_normalization,
        _ => return None,
    })
}

type Along = fn(&Tensor, usize) -> candle_core::Result<Tensor>;

/// Sums of halves lose what is small: they are added up in f32, and wider floats as they are.
fn in_wide(x: &Tensor, compute: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> candle_core::Result<Tensor> {
    match x.dtype() {
        Held::F16 => compute(&x.to_dtype(Held::F32)?)?.to_dtype(Held::F16),
        _ => compute(x),
    }
}

/// Axes are an attribute in older versions and an input in newer ones; without any, all axes are meant.
fn reduce(known: &Known<'_>, along: Along) -> Result<Run, String> {
    let axes = known.attribute_or_input("axes", 1)?.unwrap_or_default();
    let keeps = known.node.int("keepdims").unwrap_or(1) != 0;
    let does_nothing = axes.is_empty() && known.node.int("noop_with_empty_axes").unwrap_or(0) != 0;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        if does_nothing {
            return one(x.clone());
        }
        let rank = x.held.rank();
        let mut dims = axes.iter().map(|number| axis(*number, rank)).collect::<Result<Vec<_>, _>>()?;
        if dims.is_empty() {
            dims = (0..rank).collect();
        }
        let reduced = in_wide(&x.held, |x| dims.iter().try_fold(x.clone(), |x, dim| along(&x, *dim)))?;
        if keeps {
            return one(x.like(reduced));
        }
        let left: Vec<usize> = (0..rank).filter(|dim| !dims.contains(dim)).map(|dim| x.held.dims()[dim]).collect();
        one(x.like(reduced.reshape(left)?))
    }))
}

/// Over everything behind samples and channels.
fn global(_: &Known<'_>, along: Along) -> Result<Run, String> {
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        one(x.like(in_wide(&x.held, |x| (2..x.rank()).try_fold(x.clone(), |x, dim| along(&x, dim)))?))
    }))
}

/// Up to version 12 everything from the axis on is one row.
fn softmax(known: &Known<'_>, is_log: bool) -> Result<Run, String> {
    let is_flat = known.opset < 13;
    let number = known.node.int("axis").unwrap_or(if is_flat { 1 } else { -1 });
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        if !x.element.is_float() {
            bail!("expected a float, got {}", x.element);
        }
        let dim = axis(number, x.held.rank())?;
        if !is_flat {
            return one(x.like(in_wide(&x.held, |x| probabilities(x, dim, is_log))?));
        }
        let row: usize = x.held.dims()[dim..].iter().product();
        let rows = x.held.reshape(((), row))?;
        one(x.like(in_wide(&rows, |rows| probabilities(rows, 1, is_log))?.reshape(x.held.shape())?))
    }))
}

/// `exp(x - max) / sum(exp(x - max))`: the maximum keeps the exponentials finite and cancels out.
fn probabilities(x: &Tensor, dim: usize, is_log: bool) -> candle_core::Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(dim)?)?;
    let exponentials = shifted.exp()?;
    let total = exponentials.sum_keepdim(dim)?;
    if is_log { shifted.broadcast_sub(&total.log()?) } else { exponentials.broadcast_div(&total) }
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over everything from the axis on.
fn layer_normalization(known: &Known<'_>) -> Result<Run, String> {
    known.one_output()?;
    let number = known.node.int("axis").unwrap_or(-1);
    let epsilon = f64::from(known.node.float("epsilon").unwrap_or(1e-5));
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let dim = axis(number, x.held.rank())?;
        let row: usize = x.held.dims()[dim..].iter().product();
        let normal = in_wide(&x.held, |x| {
            let rows = x.reshape(((), row))?;
            let centred = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
            let variance = centred.sqr()?.mean_keepdim(1)?;
            centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?.reshape(x.shape())
        })?;
        let mut result = normal.broadcast_mul(&inputs.get(1)?.held)?;
        if let Some(bias) = inputs.optional(2) {
            result = result.broadcast_add(&bias.held)?;
        }
        one(x.like(result))
    }))
}
