//! Sums of products with constant weights: convolutions and rows times matrices.

use super::read::{numbers, shape_of};
use crate::graph::Node;
use crate::lower::{Lowering, Why, as_image};
use crate::value::{ENDS, Layout, Quant, Real, RealSums, Weights, Window, elements};
use boardproof_micro::Kind;
use std::rc::Rc;

pub fn pair(values: Option<&[i64]>, default: usize) -> Result<(usize, usize), Why> {
    let size = |v: i64| usize::try_from(v).map_err(|_| format!("a size of its window is {v}"));
    match values {
        None => Ok((default, default)),
        Some([w]) => Ok((1, size(*w)?)),
        Some([h, w]) => Ok((size(*h)?, size(*w)?)),
        Some(other) => Err(format!("its window has {} dimensions, 1 or 2 are possible", other.len())),
    }
}

/// Largest kernel, stride, dilation and padding, as the format has them.
const WINDOW_MAX: usize = 255;
/// Most weights of a convolution, those of 0 for the channels of other groups included.
const WEIGHTS_MAX: usize = 1 << 24;

/// The window that a node names; its kernel may stand in the weights.
pub fn window(node: &Node, kernel: (usize, usize), (height, width): (usize, usize)) -> Result<Window, Why> {
    let (strides, dilations) = (pair(node.ints("strides"), 1)?, pair(node.ints("dilations"), 1)?);
    let fits = |(h, w): &(usize, usize)| (1..=WINDOW_MAX).contains(h) && (1..=WINDOW_MAX).contains(w);
    if ![kernel, strides, dilations].iter().all(fits) {
        return Err(format!("its window {kernel:?} has strides {strides:?} and dilations {dilations:?}"));
    }
    let pads = match node.ints("pads") {
        None => [0; 4],
        Some([l, r]) => [0, *l, 0, *r],
        Some([t, l, b, r]) => [*t, *l, *b, *r],
        Some(other) => return Err(format!("it has {} paddings", other.len())),
    };
    if pads.iter().any(|p| !(0..=WINDOW_MAX as i64).contains(p)) {
        return Err(format!("its padding is {pads:?}"));
    }
    let pads = match node.text("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" | "" => pads.map(|p| p as usize),
        "VALID" => [0; 4],
        same @ ("SAME_UPPER" | "SAME_LOWER") => {
            let v = same_padding(same, height, (kernel.0, strides.0, dilations.0));
            let h = same_padding(same, width, (kernel.1, strides.1, dilations.1));
            [v.0, h.0, v.1, h.1]
        }
        other => return Err(format!("its auto_pad '{other}' is not known")),
    };
    Ok(Window { kernel, strides, padding: (pads[0], pads[1]), padding_behind: (pads[2], pads[3]), dilations })
}

/// Padding before and behind that makes as many outputs as there are strides.
fn same_padding(side: &str, size: usize, (kernel, stride, dilation): (usize, usize, usize)) -> (usize, usize) {
    let outputs = size.div_ceil(stride);
    let need = ((outputs.max(1) - 1) * stride + dilation * (kernel - 1) + 1).saturating_sub(size);
    let (small, large) = (need / 2, need - need / 2);
    if side == "SAME_UPPER" { (small, large) } else { (large, small) }
}

/// How a convolution's channels belong together: outputs, and inputs of each.
struct Groups {
    count: usize,
    outputs: usize,
    inner: usize,
}

impl Groups {
    fn of(node: &Node, channels: usize, outputs: usize, inner: usize) -> Result<Self, Why> {
        let count = usize::try_from(node.int("group", 1)).unwrap_or(0);
        if count == 0 || inner.checked_mul(count) != Some(channels) || !outputs.is_multiple_of(count) {
            return Err(format!(
                "its {count} groups are for {channels} channels, {inner} inputs each, and {outputs} outputs"
            ));
        }
        Ok(Self { count, outputs, inner })
    }

    fn is_depthwise(&self) -> bool {
        self.count > 1 && self.inner == 1 && self.outputs == self.count
    }

    /// Channels that an output has weights for.
    fn channels(&self) -> usize {
        if self.is_depthwise() { 1 } else { self.inner * self.count }
    }

    /// The input of the group that a channel is for an output, if it is of that group.
    fn input(&self, output: usize, channel: usize) -> Option<usize> {
        let same = channel / self.inner == output / (self.outputs / self.count);
        same.then_some(channel % self.inner)
    }
}

pub fn conv(
    l: &mut Lowering<'_>,
    node: &Node,
    of: &Quant,
    weights: &Weights,
    bias: Option<&[f64]>,
) -> Result<Real, Why> {
    let of = l.image(of)?;
    let (channels, height, width) = as_image(&of.dims)?;
    let (outputs, inner, kernel) = match weights.ints.dims.as_slice() {
        [m, c, w] if of.dims.len() == 2 => (*m, *c, (1, *w)),
        [m, c, h, w] if of.dims.len() == 3 => (*m, *c, (*h, *w)),
        dims => return Err(format!("its weights have shape {dims:?} for an image of shape {:?}", of.dims)),
    };
    let groups = Groups::of(node, channels, outputs, inner)?;
    if weights.scales.len() > 1 && weights.axis != 0 {
        return Err("its weights are quantized along another axis than the output channels".into());
    }
    let window = window(node, kernel, (height, width))?;
    let (oh, ow) = window.output((height, width)).ok_or("its window is larger than the image")?;
    let biases = bias.map_or_else(|| vec![0.0; outputs], <[f64]>::to_vec);
    if biases.len() != outputs {
        return Err(format!("it has {} biases for {outputs} channels", biases.len()));
    }
    let taps = kernel.0 * kernel.1;
    if elements(&[outputs, taps, groups.channels()]).is_none_or(|all| all > WEIGHTS_MAX) {
        return Err(format!("it has {outputs} outputs of {taps} taps in {channels} channels: too many weights"));
    }
    let own = l.steps(of.tensor).scale;
    Ok(Real::Sums(Rc::new(RealSums {
        kind: if groups.is_depthwise() { Kind::DepthwiseConv2d } else { Kind::Conv2d },
        weights: taps_first(weights, &groups, taps),
        steps: (0..outputs).map(|m| own * weights.scale(m)).collect(),
        biases,
        window,
        dims: if of.dims.len() == 2 { vec![outputs, ow] } else { vec![outputs, oh, ow] },
        layout: Layout::Image,
        ends: ENDS,
        of,
    })))
}

/// Weights by output, tap and channel. Groups that are not one per channel are one with weights of 0 for the channels of others: as exact,
/// and as large as if it were one.
fn taps_first(weights: &Weights, groups: &Groups, taps: usize) -> Vec<i32> {
    let at = |m: usize, tap: usize, c: usize| weights.ints.values[(m * groups.inner + c) * taps + tap] as i32;
    let mut all = Vec::with_capacity(groups.outputs * taps * groups.channels());
    for m in 0..groups.outputs {
        for tap in 0..taps {
            all.extend((0..groups.channels()).map(|channel| match groups.is_depthwise() {
                true => at(m, tap, 0),
                false => groups.input(m, channel).map_or(0, |c| at(m, tap, c)),
            }));
        }
    }
    all
}

/// A constant that is added to a row of outputs: one number for all, or one each.
pub fn row(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Option<Vec<f64>>, Why> {
    let numbers = numbers(l, node, index)?;
    match shape_of(l, node, index) {
        Some(dims) if dims.iter().rev().skip(1).any(|d| *d != 1) => {
            Err(format!("its constant of shape {dims:?} is no row"))
        }
        _ => Ok(numbers),
    }
}

pub fn gemm(
    l: &mut Lowering<'_>,
    node: &Node,
    of: &Quant,
    weights: &Weights,
    bias: Option<&[f64]>,
    transposed: bool,
) -> Result<Real, Why> {
    if node.int("transA", 0) != 0 {
        return Err("its first input is transposed".into());
    }
    let (alpha, beta) = (f64::from(node.float("alpha", 1.0)), f64::from(node.float("beta", 1.0)));
    let [features] = of.dims.as_slice() else {
        return Err(format!("it works on shape {:?}: expected one row of features", of.dims));
    };
    let [rows, columns] = weights.ints.dims.as_slice() else {
        return Err(format!("its weights have shape {:?}", weights.ints.dims));
    };
    let (outputs, inputs) = if transposed { (*rows, *columns) } else { (*columns, *rows) };
    if inputs != *features {
        return Err(format!("it multiplies {features} features with weights for {inputs}"));
    }
    if weights.scales.len() > 1 && weights.axis != usize::from(!transposed) {
        return Err("its weights are quantized along another axis than the outputs".into());
    }
    let ints = if transposed { weights.ints.clone() } else { weights.ints.transposed(&[1, 0]) };
    // In memory the features of an image are pixels first.
    let feature = |i: usize| match of.layout {
        Layout::Flat { channels, pixels } => i % channels * pixels + i / channels,
        Layout::Plain | Layout::Image => i,
    };
    let rows = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i)));
    let own = l.steps(of.tensor).scale;
    let biases = match bias.unwrap_or_default() {
        [] => vec![0.0; outputs],
        [one] => vec![beta * one; outputs],
        many if many.len() == outputs => many.iter().map(|b| b * beta).collect(),
        many => return Err(format!("it has {} biases for {outputs} outputs", many.len())),
    };
    if alpha.is_nan() || alpha <= 0.0 {
        return Err(format!("its alpha is {alpha}"));
    }
    Ok(Real::Sums(Rc::new(RealSums {
        kind: Kind::FullyConnected,
        weights: rows.map(|(o, i)| ints.values[o * inputs + feature(i)] as i32).collect(),
        steps: (0..outputs).map(|o| alpha * own * weights.scale(o)).collect(),
        biases,
        window: Window::ONE,
        dims: vec![outputs],
        layout: Layout::Plain,
        ends: ENDS,
        of: of.clone(),
    })))
}
