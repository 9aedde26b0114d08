//! Operators that move values, and give them other shapes.

use super::read::{axis, integers, numbers, optional, output_of, settled};
use crate::graph::Node;
use crate::lower::{Lowering, Why};
use crate::value::{Layout, Quant, Real, SIZE_MAX, Value, elements};

/// Operators that give the same values another shape.
pub fn lower(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    if node.op == "Dropout" && numbers(l, node, 2)?.is_some_and(|training| training != [0.0]) {
        return Err("it is one of training".into());
    }
    let value = node.inputs.first().and_then(|name| l.values.get(name)).cloned();
    match value {
        Some(value) if matches!(node.op.as_str(), "Identity" | "Dropout") => Ok(value),
        Some(Value::Quant(of)) => {
            let shaped = shaped(l, node, &of)?;
            // Who reads an input of 8-bit values behind this says what they are worth.
            if l.unread.contains(&of.tensor) {
                l.unread.insert(shaped.tensor);
            }
            Ok(Value::Quant(shaped))
        }
        Some(Value::Real(Real::Of(of))) => Ok(Value::Real(Real::Of(shaped(l, node, &of)?))),
        Some(Value::Real(Real::Function { .. })) => Ok(Value::Real(Real::Of({
            let of = settled(l, node, 0)?;
            shaped(l, node, &of)?
        }))),
        _ => Err("it would run in floating point: nothing quantizes what it reads".into()),
    }
}

fn shaped(l: &mut Lowering<'_>, node: &Node, of: &Quant) -> Result<Quant, Why> {
    let all: usize = of.dims.iter().product();
    let dims = match node.op.as_str() {
        "Transpose" => return transpose(l, node, of),
        "Flatten" if node.int("axis", 1) == 1 => vec![all],
        "Flatten" => return Err("it does not keep the sample's dimension".into()),
        "Squeeze" => squeezed(l, node, of)?,
        "Unsqueeze" => unsqueezed(l, node, of)?,
        _ => reshaped(l, node, of)?,
    };
    if elements(&dims) != Some(all) {
        return Err(format!("it makes {dims:?} of {:?}", of.dims));
    }
    l.reshaped(of, &dims, &output_of(node))
}

fn squeezed(l: &Lowering<'_>, node: &Node, of: &Quant) -> Result<Vec<usize>, Why> {
    // Without axes the sample's dimension would go as well.
    let given = integers(l, node, "axes", 1)?.ok_or("its axes are missing")?;
    let axes: Vec<usize> = given.iter().map(|a| axis(*a, of.dims.len())).collect::<Result<_, _>>()?;
    Ok(of.dims.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, size)| *size).collect())
}

fn unsqueezed(l: &Lowering<'_>, node: &Node, of: &Quant) -> Result<Vec<usize>, Why> {
    let given = integers(l, node, "axes", 1)?.ok_or("its axes are missing")?;
    let rank = of.dims.len() + given.len();
    let axes: Vec<usize> = given.iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?;
    let mut kept = of.dims.iter();
    let size = |i: usize| if axes.contains(&i) { Some(1) } else { kept.next().copied() };
    (0..rank).map(size).collect::<Option<_>>().ok_or_else(|| format!("its axes are {given:?}"))
}

/// The shape that Reshape wants, without the sample.
fn reshaped(l: &Lowering<'_>, node: &Node, of: &Quant) -> Result<Vec<usize>, Why> {
    let wanted = optional(l, node, 1)?.ok_or("its shape is missing")?.integers();
    let [first, rest @ ..] = wanted.as_slice() else { return Err("it leaves no dimension for the sample".into()) };
    if !matches!(first, -1..=1) || (node.int("allowzero", 0) != 0 && wanted.contains(&0)) {
        return Err(format!("it makes shape {wanted:?} of one sample"));
    }
    // As in the input at the same place; the sample's dimension was taken off both.
    let size = |(i, d): (usize, &i64)| match (*d, of.dims.get(i)) {
        (-1, _) => Ok(None),
        (0, Some(kept)) => Ok(Some(*kept)),
        (d, _) if d > 0 => Ok(Some(d as usize)),
        (d, _) => Err(format!("it wants a dimension of {d}")),
    };
    let sizes: Vec<Option<usize>> = rest.iter().enumerate().map(size).collect::<Result<_, _>>()?;
    let known: Vec<usize> = sizes.iter().flatten().copied().collect();
    let known = elements(&known).ok_or_else(|| format!("it makes shape {wanted:?} of one sample"))?;
    let left = of.dims.iter().product::<usize>() / known.max(1);
    Ok(sizes.into_iter().map(|size| size.unwrap_or(left)).collect())
}

fn transpose(l: &mut Lowering<'_>, node: &Node, of: &Quant) -> Result<Quant, Why> {
    let rank = of.dims.len();
    let given = node.ints("perm").map(<[i64]>::to_vec).unwrap_or_else(|| (0..=rank as i64).rev().collect());
    let [0, rest @ ..] = given.as_slice() else { return Err("it moves the sample's dimension".into()) };
    let order: Vec<usize> = rest.iter().map(|d| axis(*d, rank)).collect::<Result<_, _>>()?;
    let mut each = order.clone();
    each.sort_unstable();
    if each != (0..rank).collect::<Vec<_>>() || rank > 4 {
        return Err(format!("it gives {rank} dimensions the order {given:?}"));
    }
    let plain = l.plain(of)?;
    let dims: Vec<usize> = order.iter().map(|d| of.dims[*d]).collect();
    let tensor = l.transposed(plain.tensor, &order, &dims, &node.name, &output_of(node));
    Ok(Quant { tensor, dims, layout: Layout::Plain })
}

pub fn concat(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let all = (0..node.inputs.len()).map(|i| settled(l, node, i)).collect::<Result<Vec<_>, Why>>()?;
    let axis = axis(node.int("axis", 1), all.first().map_or(0, |q| q.dims.len()))?;
    Ok(Real::Concat { of: all, axis })
}

pub fn pad(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let of = settled(l, node, 0)?;
    let given = integers(l, node, "pads", 1)?.ok_or("its padding is missing")?;
    let value = numbers(l, node, 2)?.and_then(|v| v.first().copied()).unwrap_or(f64::from(node.float("value", 0.0)));
    if node.text("mode").is_some_and(|mode| mode != "constant") || value != 0.0 {
        return Err("it pads with something else than the number 0".into());
    }
    let rank = of.dims.len();
    let wrong = || format!("its padding is {given:?}");
    let all: Vec<i64> = (0..=rank as i64).collect();
    let axes = optional(l, node, 3)?.map_or(all, |axes| axes.integers());
    if given.len() != 2 * axes.len() || given.iter().any(|p| !(0..=SIZE_MAX as i64).contains(p)) {
        return Err(wrong());
    }
    let (mut before, mut dims) = (vec![0; rank], of.dims.clone());
    for (i, along) in axes.iter().enumerate() {
        let (first, behind) = (given[i] as usize, given[i + axes.len()] as usize);
        if (first, behind) != (0, 0) {
            let along = axis(*along, rank).map_err(|_| wrong())?;
            before[along] += first;
            dims[along] += first + behind;
        }
    }
    Ok(Real::Pad { of, before, dims })
}
