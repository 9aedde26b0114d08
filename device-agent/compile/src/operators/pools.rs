//! Pools, means and softmax.

use super::read::{axis, integers, settled};
use super::sums::{pair, window};
use crate::graph::Node;
use crate::lower::{Lowering, Why, as_image};
use crate::value::{ENDS, Quant, Real, Window};
use boardproof_micro::Kind;

pub fn pool(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let of = settled(l, node, 0)?;
    let (channels, height, width) = as_image(&of.dims)?;
    let kernel = pair(node.ints("kernel_shape"), 1)?;
    let window = window(node, kernel, (height, width))?;
    let (kind, includes) = match node.op.as_str() {
        "MaxPool" => (Kind::MaxPool, false),
        _ => (Kind::AveragePool, node.int("count_include_pad", 0) != 0),
    };
    let padded = window.padding != (0, 0) || window.padding_behind != (0, 0);
    if includes && padded {
        return Err("its padding counts in the mean".into());
    }
    if node.int("ceil_mode", 0) != 0 || window.dilations != (1, 1) || node.outputs.len() > 1 {
        return Err("ceil_mode, dilations and a second output of pools are not known here".into());
    }
    let (oh, ow) = window.output((height, width)).ok_or("its window is larger than the image")?;
    let dims = match of.dims.len() {
        2 => vec![channels, ow],
        3 => vec![channels, oh, ow],
        _ => return Err(format!("shape {:?} has no pixels", of.dims)),
    };
    Ok(Real::Pool { kind, of, window, dims, ends: ENDS })
}

/// The mean over all pixels of a channel.
pub fn global(of: Quant, dims: Vec<usize>) -> Real {
    Real::Pool { kind: Kind::GlobalAveragePool, of, window: Window::ONE, dims, ends: ENDS }
}

/// The mean over everything but the channels.
pub fn mean(l: &mut Lowering<'_>, node: &Node) -> Result<Real, Why> {
    let of = settled(l, node, 0)?;
    let rank = of.dims.len();
    let mut keep = true;
    if node.op == "ReduceMean" {
        let given = integers(l, node, "axes", 1)?.unwrap_or_default();
        let mut axes: Vec<usize> = given.iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?;
        axes.sort_unstable();
        if axes != (1..rank).collect::<Vec<_>>() || rank < 2 {
            return Err(format!("it takes the mean along {given:?} of {:?}: expected all but the channels", of.dims));
        }
        keep = node.int("keepdims", 1) != 0;
    }
    let channels = of.dims.first().copied().ok_or("it takes the mean of single numbers")?;
    let dims = if keep { std::iter::once(channels).chain((1..rank).map(|_| 1)).collect() } else { vec![channels] };
    Ok(global(of, dims))
}

/// Softmax works along the last dimension. Before version 13 it works along all from its axis on, and its axis is 1 where it names none.
pub fn softmax_axis(node: &Node, of: &Quant, opset: i64) -> Result<(), Why> {
    let default = if opset < 13 { 1 } else { -1 };
    let axis = axis(node.int("axis", default), of.dims.len())?;
    if axis + 1 == of.dims.len() { Ok(()) } else { Err("it works along another dimension than the last".into()) }
}
