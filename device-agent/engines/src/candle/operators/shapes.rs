//! Operators that move elements, or look at shapes alone.

use candle_core::{DType as Held, Device, Tensor, bail};

use super::products::Axis;
use super::{Build, Known, Run, axis, one};
use crate::candle::value::{Value, carrier, constant, element_type};
use crate::tensor::DType;

pub(super) fn find(operator: &str) -> Option<Build> {
    Some(match operator {
        "Cast" => cast,
        "Concat" => concat,
        "Constant" => constant_operator,
        "Expand" => expand,
        "Flatten" => flatten,
        "Gather" => gather,
        "Pad" => pad_operator,
        "Reshape" => reshape,
        "Shape" => shape,
        "Slice" => slice,
        "Split" => split,
        "Squeeze" => squeeze,
        "Transpose" => transpose,
        "Unsqueeze" => unsqueeze,
        _ => return None,
    })
}

/// A constant that stands in the node itself.
fn constant_operator(known: &Known<'_>) -> Result<Run, String> {
    let node = known.node;
    let numbers = |element: DType, numbers: Vec<f64>, is_list: bool| -> Result<Value, String> {
        let shape = if is_list { vec![numbers.len()] } else { Vec::new() };
        let held = Tensor::from_vec(numbers, shape, &Device::Cpu)
            .and_then(|held| held.to_dtype(carrier(element, known.width)))
            .map_err(|error| error.to_string())?;
        Ok(Value { element, held })
    };
    let value = if let Some(tensor) = node.tensor("value") {
        Value::from_plain(&constant(tensor)?, known.width).map_err(|error| error.to_string())?
    } else if let Some(number) = node.float("value_float") {
        numbers(DType::F32, vec![number.into()], false)?
    } else if let Some(list) = node.floats("value_floats") {
        numbers(DType::F32, list.iter().map(|number| f64::from(*number)).collect(), true)?
    } else if let Some(list) = node.ints("value_ints") {
        numbers(DType::I64, list.iter().map(|number| *number as f64).collect(), true)?
    } else if let Some(number) = node.int("value_int") {
        numbers(DType::I64, vec![number as f64], false)?
    } else {
        return Err("expected a tensor or numbers, got another kind of constant".into());
    };
    Ok(Box::new(move |_| one(value.clone())))
}

/// Between floats, from integers, and from floats to wide integers, which cuts the fraction off.
fn cast(known: &Known<'_>) -> Result<Run, String> {
    let number = known.node.int("to").unwrap_or(0);
    let to = element_type(number).ok_or_else(|| format!("element type {number} of onnx.proto is not read here"))?;
    let width = known.width;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let held = match (x.element, to) {
            (from, to) if from == to => x.held.clone(),
            (_, DType::Bool) => x.held.ne(0.0)?,
            (_, to) if to.is_float() => x.held.clone(),
            (from, DType::I32 | DType::I64) if from.is_float() => x.held.to_dtype(Held::I64)?,
            (DType::Bool | DType::U8, _) | (DType::I8 | DType::I16 | DType::U16, DType::I32 | DType::I64) => {
                x.held.clone()
            }
            (DType::I32 | DType::U32, DType::I64) => x.held.clone(),
            (from, to) => bail!("from {from} to {to} is not implemented: it does not keep every value"),
        };
        one(Value { element: to, held: held.to_dtype(carrier(to, width))? })
    }))
}

fn shape(known: &Known<'_>) -> Result<Run, String> {
    if known.node.int("start").unwrap_or(0) != 0 || known.node.int("end").is_some() {
        return Err("expected the whole shape, got a start or an end".into());
    }
    Ok(Box::new(|inputs| {
        let extents: Vec<f64> = inputs.get(0)?.held.dims().iter().map(|extent| *extent as f64).collect();
        one(Value { element: DType::I64, held: Tensor::new(extents, &Device::Cpu)? })
    }))
}

/// 0 keeps the input's extent, -1 takes what is left.
fn reshape(known: &Known<'_>) -> Result<Run, String> {
    let wanted = known.integers(1, "shape")?.ok_or("expected a shape, got none")?;
    let keeps_zero = known.node.int("allowzero").unwrap_or(0) != 0;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let have = x.held.dims();
        let mut extents = Vec::new();
        for (dim, extent) in wanted.iter().enumerate() {
            extents.push(match (*extent, have.get(dim)) {
                (0, _) if keeps_zero => 0,
                (0, Some(kept)) => *kept,
                (extent, _) => usize::try_from(extent).unwrap_or(1),
            });
        }
        if let Some(open) = wanted.iter().position(|extent| *extent == -1) {
            extents[open] = x.held.elem_count() / extents.iter().product::<usize>().max(1);
        }
        one(x.like(x.held.reshape(extents)?))
    }))
}

fn flatten(known: &Known<'_>) -> Result<Run, String> {
    let number = known.node.int("axis").unwrap_or(1);
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        // The end is a good axis here: all elements before it, one behind.
        let split = axis(number, x.held.rank() + usize::from(number >= 0))?;
        let rows: usize = x.held.dims()[..split].iter().product();
        let columns: usize = x.held.dims()[split..].iter().product();
        one(x.like(x.held.reshape((rows, columns))?))
    }))
}

fn transpose(known: &Known<'_>) -> Result<Run, String> {
    let order = known.node.ints("perm").map(<[i64]>::to_vec);
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let rank = x.held.rank();
        let order = match &order {
            Some(order) => order.iter().map(|number| axis(*number, rank)).collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).rev().collect(),
        };
        one(x.like(x.held.permute(order)?))
    }))
}

fn squeeze(known: &Known<'_>) -> Result<Run, String> {
    let axes = known.attribute_or_input("axes", 1)?;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let mut extents = x.held.dims().to_vec();
        let mut gone = match &axes {
            Some(axes) => axes.iter().map(|number| axis(*number, extents.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..extents.len()).filter(|dim| extents[*dim] == 1).collect(),
        };
        gone.sort_unstable();
        for dim in gone.into_iter().rev() {
            if extents[dim] != 1 {
                bail!("expected an extent of 1 on axis {dim}, got {}", extents[dim]);
            }
            extents.remove(dim);
        }
        one(x.like(x.held.reshape(extents)?))
    }))
}

fn unsqueeze(known: &Known<'_>) -> Result<Run, String> {
    let axes = known.attribute_or_input("axes", 1)?.ok_or("expected axes, got none")?;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let rank = x.held.rank() + axes.len();
        let mut new = axes.iter().map(|number| axis(*number, rank)).collect::<Result<Vec<_>, _>>()?;
        new.sort_unstable();
        let mut extents = x.held.dims().to_vec();
        for dim in new {
            if dim > extents.len() {
                bail!("expected axes that are new, got {axes:?}");
            }
            extents.insert(dim, 1);
        }
        one(x.like(x.held.reshape(extents)?))
    }))
}

fn expand(known: &Known<'_>) -> Result<Run, String> {
    let wanted = known.integers(1, "shape")?.ok_or("expected a shape, got none")?;
    let wanted: Option<Vec<usize>> = wanted.iter().map(|extent| usize::try_from(*extent).ok()).collect();
    let wanted = wanted.ok_or("expected extents of at least 0, got a negative one")?;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let shape = x.held.shape().broadcast_shape_binary_op(&wanted.as_slice().into(), "Expand")?;
        one(x.like(x.held.broadcast_as(shape)?))
    }))
}

fn concat(known: &Known<'_>) -> Result<Run, String> {
    let number = known.node.int("axis").ok_or("expected an axis, got none")?;
    Ok(Box::new(move |inputs| {
        let first = inputs.get(0)?;
        let parts: Vec<&Value> = inputs.iter().flatten().collect();
        if let Some(other) = parts.iter().find(|part| part.element != first.element) {
            bail!("expected parts of one type, got {} and {}", first.element, other.element);
        }
        let held: Vec<&Tensor> = parts.iter().map(|part| &part.held).collect();
        one(first.like(Tensor::cat(&held, axis(number, first.held.rank())?)?))
    }))
}

/// Where the elements come from must be constant.
fn gather(known: &Known<'_>) -> Result<Run, String> {
    let places = known.must(1, "indices")?;
    let (numbers, shape) = (known.numbers(1, "indices")?, places.held.dims().to_vec());
    let number = known.node.int("axis").unwrap_or(0);
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let dim = axis(number, x.held.rank())?;
        let extent = x.held.dims()[dim];
        let places = numbers.iter().map(|place| axis(*place as i64, extent).map(|place| place as u32));
        let places = Tensor::new(places.collect::<Result<Vec<u32>, _>>()?, &Device::Cpu)?;
        let picked = x.held.contiguous()?.index_select(&places, dim)?;
        let extents = [&x.held.dims()[..dim], &shape, &x.held.dims()[dim + 1..]].concat();
        one(x.like(picked.reshape(extents)?))
    }))
}

/// From version 10 on all is in inputs, which must be constant.
fn slice(known: &Known<'_>) -> Result<Run, String> {
    let starts = known.attribute_or_input("starts", 1)?.ok_or("expected starts, got none")?;
    let ends = known.attribute_or_input("ends", 2)?.ok_or("expected ends, got none")?;
    let axes = known.attribute_or_input("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = known.integers(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(format!("expected {} ends, axes and steps other than 0, got others", starts.len()));
    }
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let mut held = x.held.clone();
        for (((start, end), number), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let dim = axis(*number, held.rank())?;
            let places = places(*start, *end, *step, held.dims()[dim] as i64);
            held = match (step, places.first()) {
                (1, Some(first)) => held.narrow(dim, *first as usize, places.len())?,
                (_, Some(_)) => held.contiguous()?.index_select(&Tensor::new(places, &Device::Cpu)?, dim)?,
                (_, None) => bail!("nothing of axis {dim} is left: empty tensors are not implemented"),
            };
        }
        one(x.like(held))
    }))
}

/// What a slice takes of an axis: negative ends count from behind, and ends beyond the axis are cut.
fn places(start: i64, end: i64, step: i64, extent: i64) -> Vec<u32> {
    let from_front = |place: i64| if place < 0 { place.saturating_add(extent) } else { place };
    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
    let (start, end) = (from_front(start).clamp(low.max(0), high), from_front(end).clamp(low, high));
    let mut places = Vec::new();
    let mut place = start;
    while (step > 0 && place < end) || (step < 0 && place > end) {
        places.push(place as u32);
        place = place.saturating_add(step);
    }
    places
}

fn split(known: &Known<'_>) -> Result<Run, String> {
    let sizes = known.attribute_or_input("split", 1)?;
    let (number, parts) = (known.node.int("axis").unwrap_or(0), known.node.outputs.len());
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let dim = axis(number, x.held.rank())?;
        let extent = x.held.dims()[dim];
        // Without sizes all parts are equal, but for a smaller last one.
        let each = extent.div_ceil(parts);
        let sizes: Vec<usize> = match &sizes {
            Some(sizes) => sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect(),
            None => (0..parts).map(|part| each.min(extent.saturating_sub(part * each))).collect(),
        };
        if sizes.len() != parts || sizes.iter().sum::<usize>() != extent {
            bail!("expected {parts} parts of {extent} elements, got {sizes:?}");
        }
        let mut begin = 0;
        let mut results = Vec::new();
        for size in sizes {
            results.push(x.like(x.held.narrow(dim, begin, size)?));
            begin += size;
        }
        Ok(results.into())
    }))
}

fn pad_operator(known: &Known<'_>) -> Result<Run, String> {
    let mode = known.node.text("mode").unwrap_or("constant");
    if mode != "constant" {
        return Err(format!("expected mode = constant, got {mode}"));
    }
    let pads = known.attribute_or_input("pads", 1)?.ok_or("expected pads, got none")?;
    if known.has(3) {
        return Err("expected pads for all axes, got some axes".into());
    }
    let fill = match known.has(2) {
        true => known.numbers(2, "value")?.first().copied().unwrap_or(0.0),
        false => f64::from(known.node.float("value").unwrap_or(0.0)),
    };
    let pads: Option<Vec<usize>> = pads.iter().map(|count| usize::try_from(*count).ok()).collect();
    let pads = pads.ok_or("expected pads of at least 0, got a negative one")?;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        let (before, after) = pads.split_at(pads.len() / 2);
        let pads: Vec<(usize, usize)> = before.iter().copied().zip(after.iter().copied()).collect();
        if pads.len() != x.held.rank() {
            bail!("expected pads for {} axes, got {}", x.held.rank(), pads.len());
        }
        one(x.like(pad(&x.held, &pads, fill)?))
    }))
}

/// More elements of one value before and behind each axis.
pub(super) fn pad(x: &Tensor, pads: &[(usize, usize)], fill: f64) -> candle_core::Result<Tensor> {
    let mut padded = x.clone();
    for (dim, (before, after)) in pads.iter().enumerate() {
        let margin = |count: usize| -> candle_core::Result<Option<Tensor>> {
            let mut extents = padded.dims().to_vec();
            extents[dim] = count;
            let margin = || Tensor::full(fill, extents, x.device())?.to_dtype(x.dtype());
            (count > 0).then(margin).transpose()
        };
        let (before, after) = (margin(*before)?, margin(*after)?);
        let parts: Vec<&Tensor> = before.iter().chain([&padded]).chain(&after).collect();
        padded = Tensor::cat(&parts, dim)?;
    }
    Ok(padded)
}

/// A kernel as dilation spreads it: zeros between its elements.
pub(super) fn with_zeros_between(kernel: &Tensor, axes: &[Axis]) -> candle_core::Result<Tensor> {
    let mut spread = kernel.clone();
    for (index, axis) in axes.iter().enumerate() {
        let dim = index + 2;
        let gaps = spread.dims()[dim] - 1;
        if axis.dilation == 1 || gaps == 0 {
            continue;
        }
        let mut parts = Vec::new();
        for place in 0..=gaps {
            let mut pads = vec![(0, 0); spread.rank()];
            pads[dim].1 = if place < gaps { axis.dilation - 1 } else { 0 };
            parts.push(pad(&spread.narrow(dim, place, 1)?, &pads, 0.0)?);
        }
        spread = Tensor::cat(&parts, dim)?;
    }
    Ok(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_what_numpy_takes() {
        let cases: [(i64, i64, i64, &[u32]); 7] = [
            (0, 3, 1, &[0, 1, 2]),
            (-2, i64::MAX, 1, &[3, 4]),
            (1, -1, 2, &[1, 3]),
            (-1, i64::MIN, -1, &[4, 3, 2, 1, 0]),
            (3, 0, -2, &[3, 1]),
            (4, 2, 1, &[]),
            (-9, 2, 1, &[0, 1]),
        ];
        for (start, end, step, expected) in cases {
            assert_eq!(places(start, end, step, 5), expected, "{start}:{end}:{step}");
        }
    }

    #[test]
    fn margins_and_gaps_are_where_they_belong() {
        let kernel = Tensor::new(&[[[1.0_f32, 2.0, 3.0]]], &Device::Cpu).unwrap();
        let axis = Axis { stride: 1, dilation: 2, before: 0, after: 0 };
        let spread = with_zeros_between(&kernel, &[axis]).unwrap();
        assert_eq!(spread.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 0.0, 2.0, 0.0, 3.0]);
        let padded = pad(&kernel, &[(0, 0), (0, 0), (1, 2)], 7.0).unwrap();
        assert_eq!(padded.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [7.0, 1.0, 2.0, 3.0, 7.0, 7.0]);
    }
}
