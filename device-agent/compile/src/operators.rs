//! ONNX's operators, one by one: what each makes of the numbers before it.

use crate::constant::{Constant, ElementType};
use crate::graph::Node;
use crate::lower::{Lowering, Steps, Why, as_image};
use crate::value::{ENDS, Layout, Quant, Real, RealSums, Value, Weights, Window};
use boardproof_micro::Kind;
use std::rc::Rc;

/// Operators that are known.
pub const KNOWN: [&str; 46] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "Pad",
    "QGemm",
    "QLinearAdd",
    "QLinearConcat",
    "QLinearConv",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMatMul",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
];

/// What a node makes.
pub fn lower(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    match node.op.as_str() {
        "QuantizeLinear" => quantize_linear(l, node),
        "DequantizeLinear" => dequantize_linear(l, node),
        "Conv" => {
            let (of, weights) = (quant(&real(l, node, 0)?)?, weights(l, node, 1)?);
            conv(l, node, &of, &weights, numbers(l, node, 2).as_deref())
        }
        "Gemm" => {
            let (of, weights) = (quant(&real(l, node, 0)?)?, weights(l, node, 1)?);
            gemm(l, node, &of, &weights, numbers(l, node, 2).as_deref(), node.int("transB", 0) != 0)
        }
        "MatMul" => {
            let (of, weights) = (quant(&real(l, node, 0)?)?, weights(l, node, 1)?);
            gemm(l, node, &of, &weights, None, false)
        }
        op if op.starts_with('Q') => quantized(l, node),
        "BatchNormalization" => batch_norm(l, node),
        "Relu" => held(real(l, node, 0)?, l, (0.0, f64::INFINITY)).map(Value::Real),
        "Clip" => clip(l, node),
        "Add" | "Sub" | "Mul" | "Div" => binary(l, node),
        "MaxPool" | "AveragePool" => pool(l, node),
        "GlobalAveragePool" | "ReduceMean" => mean(l, node),
        "Softmax" => {
            let of = quant(&real(l, node, 0)?)?;
            softmax_axis(node, &of)?;
            Ok(Value::Real(Real::Softmax(of)))
        }
        "Reshape" | "Flatten" | "Squeeze" | "Transpose" | "Identity" | "Dropout" => shape(l, node),
        "Concat" => {
            let all = (0..node.inputs.len()).map(|i| quant(&real(l, node, i)?)).collect::<Result<Vec<_>, Why>>()?;
            let axis = axis(node.int("axis", 1), all.first().map_or(0, |q| q.dims.len()))?;
            Ok(Value::Real(Real::Concat { of: all, axis }))
        }
        "Pad" => pad(l, node),
        _ => function(l, node),
    }
}

/// The numbers of an input.
fn real(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Real, Why> {
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

/// The quantized tensor that numbers are of.
fn quant(real: &Real) -> Result<Quant, Why> {
    match real {
        Real::Of(of) => Ok(of.clone()),
        _ => Err("it would run in floating point: nothing quantizes what it reads".into()),
    }
}

/// A constant as numbers, whatever it is kept as.
fn numbers(l: &Lowering<'_>, node: &Node, index: usize) -> Option<Vec<f64>> {
    match l.values.get(node.inputs.get(index)?)? {
        Value::Constant(constant) => Some(constant.values.clone()),
        Value::Weights(weights) => {
            let inner: usize = weights.ints.dims.iter().skip(weights.axis + 1).product();
            let extent = weights.ints.dims.get(weights.axis).copied().unwrap_or(1).max(1);
            let number = |(i, v): (usize, &f64)| v * weights.scale(i / inner.max(1) % extent);
            Some(weights.ints.values.iter().enumerate().map(number).collect())
        }
        _ => None,
    }
}

fn weights(l: &Lowering<'_>, node: &Node, index: usize) -> Result<Rc<Weights>, Why> {
    match node.inputs.get(index).and_then(|name| l.values.get(name)) {
        Some(Value::Weights(weights)) => Ok(weights.clone()),
        Some(Value::Constant(_)) => Err("its weights are floating point: quantize the model statically".into()),
        _ => Err("its weights are no constant".into()),
    }
}

/// Scale and zero point from two inputs; the element type of the zero point is that of the values.
fn steps(l: &Lowering<'_>, node: &Node, scale: usize, zero: usize) -> Result<Steps, Why> {
    let scale = l.constant(node, scale).and_then(|c| c.scalar());
    let scale = scale.ok_or("its scale is no single number")?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(format!("its scale is {scale}"));
    }
    let zero_point = match l.constant(node, zero) {
        None => -128,
        Some(c) if c.element == ElementType::U8 => c.scalar().ok_or("its zero point is no single number")? as i32 - 128,
        Some(c) if c.element == ElementType::I8 => c.scalar().ok_or("its zero point is no single number")? as i32,
        Some(c) => return Err(format!("its values are {:?}: expected 8 bit", c.element)),
    };
    Ok(Steps { scale, zero_point })
}

fn quantize_linear(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    if node.int("output_dtype", 0) != 0 || node.int("block_size", 0) != 0 {
        return Err("output_dtype and block_size are not known here".into());
    }
    let steps = steps(l, node, 1, 2)?;
    let name = node.outputs.first().cloned().unwrap_or_default();
    let value = node.inputs.first().and_then(|name| l.values.get(name)).cloned();
    Ok(Value::Quant(match value {
        Some(Value::Input(index)) => l.quantize_input(index, steps, &name)?,
        Some(Value::Real(real)) => l.quantize(&real, steps, &maker(l, node), &name)?,
        _ => return Err("it quantizes a constant".into()),
    }))
}

/// Name of the node whose numbers a QuantizeLinear quantizes: the operator is that one's.
fn maker(l: &Lowering<'_>, node: &Node) -> String {
    let input = node.inputs.first();
    let found = l.graph.nodes.iter().find(|n| n.outputs.first() == input && n.op != "DequantizeLinear");
    found.unwrap_or(node).name.clone()
}

fn dequantize_linear(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let value = node.inputs.first().and_then(|name| l.values.get(name)).cloned();
    match value {
        Some(Value::Constant(constant)) => {
            constant_weights(l, node, &constant, (1, 2)).map(|w| Value::Weights(Rc::new(w)))
        }
        Some(Value::Quant(of)) => {
            let mut steps = steps(l, node, 1, 2)?;
            if node.inputs.get(2).is_none_or(String::is_empty) {
                // Without a zero point it is the 0 of the type that the values have.
                steps.zero_point = l.steps(of.tensor).zero_point;
            }
            match_steps(l, &of, steps)?;
            Ok(Value::Real(Real::Of(of)))
        }
        _ => Err("it dequantizes what is no 8-bit value".into()),
    }
}

/// A tensor is read with the steps that it was written with. An input of the model learns them from its first reader.
fn match_steps(l: &mut Lowering<'_>, of: &Quant, steps: Steps) -> Result<(), Why> {
    let own = l.steps(of.tensor);
    if own == steps {
        return Ok(());
    }
    if l.program.inputs.contains(&of.tensor) && own.scale == 1.0 {
        let tensor = &mut l.program.tensors[of.tensor];
        (tensor.scale, tensor.zero_point) = (steps.scale as f32, steps.zero_point);
        return Ok(());
    }
    Err(format!(
        "it reads values of scale {} and zero point {} as {} and {}",
        own.scale, own.zero_point, steps.scale, steps.zero_point
    ))
}

/// Integers without their zero point, from a constant, its scale and its zero point.
fn constant_weights(
    l: &Lowering<'_>,
    node: &Node,
    ints: &Constant,
    (scale, zero): (usize, usize),
) -> Result<Weights, Why> {
    let scales = l.constant(node, scale).ok_or("the scale of its weights is no constant")?;
    let zeros = l.constant(node, zero);
    let rank = ints.dims.len() as i64;
    let axis = node.int("axis", if node.op == "DequantizeLinear" { 1 } else { 0 });
    let axis = if axis < 0 { axis + rank } else { axis };
    let axis = if scales.values.len() == 1 { 0 } else { axis as usize };
    let extent = ints.dims.get(axis).copied().unwrap_or(1).max(1);
    if scales.values.len() != 1 && scales.values.len() != extent {
        return Err(format!("its weights have {} scales for {extent} channels", scales.values.len()));
    }
    let many_zeros = zeros.as_ref().is_some_and(|z| z.values.len() > 1 && z.values.iter().any(|v| *v != 0.0));
    if many_zeros && matches!(node.op.as_str(), "QGemm" | "QLinearMatMul") {
        return Err("its weights have a zero point per output".into());
    }
    let inner: usize = ints.dims.iter().skip(axis + 1).product();
    let zero_of = |i: usize| {
        let list = zeros.as_ref().map_or(&[][..], |z| z.values.as_slice());
        list.get(if list.len() == 1 { 0 } else { i / inner.max(1) % extent }).copied().unwrap_or(0.0)
    };
    let values = ints.values.iter().enumerate().map(|(i, v)| v - zero_of(i)).collect();
    Ok(Weights { ints: Constant { values, ..ints.clone() }, scales: scales.values.clone(), axis })
}

fn pair(values: Option<&[i64]>, default: usize) -> Result<(usize, usize), Why> {
    let size = |v: i64| usize::try_from(v).map_err(|_| format!("a size of its window is {v}"));
    match values {
        None => Ok((default, default)),
        Some([w]) => Ok((1, size(*w)?)),
        Some([h, w]) => Ok((size(*h)?, size(*w)?)),
        Some(other) => Err(format!("its window has {} dimensions, 1 or 2 are possible", other.len())),
    }
}

/// The window that a node names; its kernel may stand in the weights.
fn window(node: &Node, kernel: (usize, usize), (height, width): (usize, usize)) -> Result<Window, Why> {
    let (strides, dilations) = (pair(node.ints("strides"), 1)?, pair(node.ints("dilations"), 1)?);
    let strides = if height == 1 && kernel.0 == 1 { (1, strides.1) } else { strides };
    let pads = match node.ints("pads") {
        None => [0; 4],
        Some([l, r]) => [0, *l, 0, *r],
        Some([t, l, b, r]) => [*t, *l, *b, *r],
        Some(other) => return Err(format!("it has {} paddings", other.len())),
    };
    if pads.iter().any(|p| *p < 0) {
        return Err("its padding is negative".into());
    }
    let mut pads = pads.map(|p| p as usize);
    match node.text("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" | "" => {}
        "VALID" => pads = [0; 4],
        same @ ("SAME_UPPER" | "SAME_LOWER") => {
            let need = |size: usize, k: usize, s: usize, d: usize| {
                let out = size.div_ceil(s.max(1));
                ((out - 1) * s + d * (k - 1) + 1).saturating_sub(size)
            };
            let (v, h) =
                (need(height, kernel.0, strides.0, dilations.0), need(width, kernel.1, strides.1, dilations.1));
            let (small, large) = ((v / 2, h / 2), (v - v / 2, h - h / 2));
            let (before, behind) = if same == "SAME_UPPER" { (small, large) } else { (large, small) };
            pads = [before.0, before.1, behind.0, behind.1];
        }
        other => return Err(format!("its auto_pad '{other}' is not known")),
    }
    Ok(Window { kernel, strides, padding: (pads[0], pads[1]), padding_behind: (pads[2], pads[3]), dilations })
}

fn conv(l: &mut Lowering<'_>, node: &Node, of: &Quant, weights: &Weights, bias: Option<&[f64]>) -> Result<Value, Why> {
    let of = l.image(of)?;
    let (channels, height, width) = as_image(&of.dims)?;
    let dims = weights.ints.dims.clone();
    let (outputs, inner, kernel) = match dims.as_slice() {
        [m, c, w] => (*m, *c, (1, *w)),
        [m, c, h, w] => (*m, *c, (*h, *w)),
        _ => return Err(format!("its weights have shape {dims:?}")),
    };
    let group = usize::try_from(node.int("group", 1)).unwrap_or(0);
    let depthwise = group == channels && channels == outputs && inner == 1 && group > 1;
    if !depthwise && (group != 1 || inner != channels) {
        return Err(format!("its {group} groups of {channels} channels are neither one nor one per channel"));
    }
    if weights.scales.len() > 1 && weights.axis != 0 {
        return Err("its weights are quantized along another axis than the output channels".into());
    }
    let window = window(node, kernel, (height, width))?;
    let (oh, ow) = window.output((height, width)).ok_or("its window is larger than the image")?;
    let taps = kernel.0 * kernel.1;
    let at = |m: usize, tap: usize, c: usize| weights.ints.values[(m * inner + c) * taps + tap] as i32;
    let rows = (0..outputs).flat_map(|m| (0..taps).flat_map(move |t| (0..inner).map(move |c| (m, t, c))));
    let own = l.steps(of.tensor).scale;
    let biases = bias.map_or_else(|| vec![0.0; outputs], <[f64]>::to_vec);
    if biases.len() != outputs {
        return Err(format!("it has {} biases for {outputs} channels", biases.len()));
    }
    Ok(Value::Real(Real::Sums(Rc::new(RealSums {
        kind: if depthwise { Kind::DepthwiseConv2d } else { Kind::Conv2d },
        weights: rows.map(|(m, t, c)| at(m, t, c)).collect(),
        steps: (0..outputs).map(|m| own * weights.scale(m)).collect(),
        biases,
        window,
        dims: if of.dims.len() == 2 { vec![outputs, ow] } else { vec![outputs, oh, ow] },
        layout: Layout::Image,
        ends: ENDS,
        of,
    }))))
}

fn gemm(
    l: &mut Lowering<'_>,
    node: &Node,
    of: &Quant,
    weights: &Weights,
    bias: Option<&[f64]>,
    transposed: bool,
) -> Result<Value, Why> {
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
    Ok(Value::Real(Real::Sums(Rc::new(RealSums {
        kind: Kind::FullyConnected,
        weights: rows.map(|(o, i)| ints.values[o * inputs + feature(i)] as i32).collect(),
        steps: (0..outputs).map(|o| alpha * own * weights.scale(o)).collect(),
        biases,
        window: Window::ONE,
        dims: vec![outputs],
        layout: Layout::Plain,
        ends: ENDS,
        of: of.clone(),
    }))))
}

/// Operators that take and give 8-bit values.
fn quantized(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let (value, output) = match node.op.as_str() {
        "QLinearConcat" => return quantized_concat(l, node),
        "QLinearConv" | "QGemm" | "QLinearMatMul" => quantized_product(l, node)?,
        "QLinearAdd" => (quantized_pair(l, node, Kind::Add)?, 6),
        "QLinearMul" => (quantized_pair(l, node, Kind::Mul)?, 6),
        _ => (quantized_one(l, node)?, 3),
    };
    let Value::Real(real) = value else { return Err("it makes no numbers".into()) };
    let steps = steps(l, node, output, output + 1)?;
    let name = node.outputs.first().cloned().unwrap_or_default();
    Ok(Value::Quant(l.quantize(&real, steps, &node.name, &name)?))
}

/// The value at an input, with its scale and zero point at the next two.
fn quantized_input(l: &mut Lowering<'_>, node: &Node, at: usize) -> Result<Quant, Why> {
    let name = node.inputs.get(at).ok_or("an input is missing")?;
    let Some(Value::Quant(of)) = l.values.get(name).cloned() else {
        return Err(format!("'{name}' is no 8-bit value that was computed"));
    };
    let steps = steps(l, node, at + 1, at + 2)?;
    match_steps(l, &of, steps)?;
    Ok(of)
}

/// Sums of products with constant weights, and where the steps of the output stand.
fn quantized_product(l: &mut Lowering<'_>, node: &Node) -> Result<(Value, usize), Why> {
    let of = quantized_input(l, node, 0)?;
    let ints = l.constant(node, 3).ok_or("its weights are no constant")?;
    let weights = constant_weights(l, node, &ints, (4, 5))?;
    let own = l.steps(of.tensor).scale;
    // A bias of 32 bit is in steps of its channel's sum.
    let bias = |l: &Lowering<'_>, at: usize, own: f64, weights: &Weights| {
        let ints = l.constant(node, at)?;
        Some(ints.values.iter().enumerate().map(|(i, b)| b * own * weights.scale(i)).collect::<Vec<f64>>())
    };
    match node.op.as_str() {
        "QLinearConv" => {
            let bias = bias(l, 8, own, &weights);
            Ok((conv(l, node, &of, &weights, bias.as_deref())?, 6))
        }
        "QGemm" => {
            let transposed = node.int("transB", 0) != 0;
            let weights = Weights { axis: usize::from(!transposed), ..weights };
            let bias = bias(l, 6, f64::from(node.float("alpha", 1.0)) * own, &weights);
            Ok((gemm(l, node, &of, &weights, bias.as_deref(), transposed)?, 7))
        }
        _ => {
            let weights = Weights { axis: 1, ..weights };
            Ok((gemm(l, node, &of, &weights, None, false)?, 6))
        }
    }
}

fn quantized_pair(l: &mut Lowering<'_>, node: &Node, kind: Kind) -> Result<Value, Why> {
    let of = [quantized_input(l, node, 0)?, quantized_input(l, node, 3)?];
    Ok(Value::Real(Real::Both { kind, of, ends: ENDS }))
}

/// Operators of one 8-bit value.
fn quantized_one(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let of = quantized_input(l, node, 0)?;
    let real = match node.op.as_str() {
        "QLinearSigmoid" => map(l, &Real::Of(of), sigmoid)?,
        "QLinearLeakyRelu" => {
            let alpha = f64::from(node.float("alpha", 0.01));
            map(l, &Real::Of(of), |x| if x < 0.0 { alpha * x } else { x })?
        }
        "QLinearSoftmax" => {
            softmax_axis(node, &of)?;
            Real::Softmax(of)
        }
        _ => {
            if node.int("channels_last", 0) != 0 {
                return Err("its channels are last".into());
            }
            let dims = vec![of.dims[0]].into_iter().chain(of.dims.iter().skip(1).map(|_| 1)).collect();
            global(of, dims)
        }
    };
    Ok(Value::Real(real))
}

/// Output's steps first, then each input with its own.
fn quantized_concat(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let to = steps(l, node, 0, 1)?;
    let mut all = Vec::new();
    for at in (2..node.inputs.len()).step_by(3) {
        let Some(Value::Quant(of)) = l.values.get(&node.inputs[at]).cloned() else {
            return Err(format!("'{}' is no 8-bit value that was computed", node.inputs[at]));
        };
        let steps = steps(l, node, at + 1, at + 2)?;
        match_steps(l, &of, steps)?;
        all.push(of);
    }
    let axis = axis(node.int("axis", 1), all.first().map_or(0, |q| q.dims.len()))?;
    let name = node.outputs.first().cloned().unwrap_or_default();
    Ok(Value::Quant(l.quantize(&Real::Concat { of: all, axis }, to, &node.name, &name)?))
}

/// Number of a dimension without the sample.
fn axis(axis: i64, rank: usize) -> Result<usize, Why> {
    let all = rank as i64 + 1;
    let axis = if axis < 0 { axis + all } else { axis };
    if (1..all).contains(&axis) {
        Ok(axis as usize - 1)
    } else {
        Err(format!("it works along dimension {axis}, which is the sample's or none"))
    }
}

fn softmax_axis(node: &Node, of: &Quant) -> Result<(), Why> {
    let axis = axis(node.int("axis", -1), of.dims.len())?;
    if axis + 1 == of.dims.len() { Ok(()) } else { Err("it works along another dimension than the last".into()) }
}

/// Numbers per channel, from constants with one per channel or one for all.
fn per_channel(values: &[f64], of: &Quant) -> Result<Vec<f64>, Why> {
    let channels = of.dims.first().copied().unwrap_or(1);
    match values {
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(format!("its constant has {} numbers for {channels} channels", many.len())),
    }
}

/// `factor * x + offset` of numbers, where that can be folded into what makes them.
fn scaled(l: &Lowering<'_>, real: Real, factors: &[f64], offsets: &[f64]) -> Result<Real, Why> {
    let (one_factor, one_offset) = (single(factors), single(offsets));
    match real {
        Real::Sums(sums) if sums.ends == ENDS && factors.iter().all(|f| *f > 0.0) => {
            let shape = Quant { dims: sums.dims.clone(), ..sums.of.clone() };
            let (factors, offsets) = (per_channel(factors, &shape)?, per_channel(offsets, &shape)?);
            let steps = sums.steps.iter().zip(&factors).map(|(s, f)| s * f).collect();
            let biases = sums.biases.iter().zip(factors.iter().zip(&offsets)).map(|(b, (f, o))| b * f + o).collect();
            Ok(Real::Sums(Rc::new(RealSums { steps, biases, ..(*sums).clone() })))
        }
        Real::Of(of) if of.layout == Layout::Plain && of.dims.len() != 1 && one_factor.is_none() => {
            Err("it scales a tensor per channel that is no image".into())
        }
        Real::Of(of) => {
            let (factors, offsets) = (per_channel(factors, &of)?, per_channel(offsets, &of)?);
            Ok(Real::Affine { of, factors, offsets, ends: ENDS })
        }
        Real::Affine { of, factors: before, offsets: added, ends } if ends == ENDS => {
            let (factors, offsets) = (per_channel(factors, &of)?, per_channel(offsets, &of)?);
            let both = before.iter().zip(&factors).map(|(a, b)| a * b).collect();
            let sum = added.iter().zip(factors.iter().zip(&offsets)).map(|(a, (f, o))| a * f + o).collect();
            Ok(Real::Affine { of, factors: both, offsets: sum, ends })
        }
        real @ Real::Function { .. } => match (one_factor, one_offset) {
            (Some(f), Some(o)) => map(l, &real, |x| x * f + o),
            _ => Err("it scales a function's numbers per channel".into()),
        },
        _ => Err("it would run in floating point: nothing quantizes what it reads".into()),
    }
}

fn single(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    values.iter().all(|v| *v == first).then_some(first)
}

fn batch_norm(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let real = real(l, node, 0)?;
    let parts: Option<Vec<Vec<f64>>> = (1..5).map(|i| numbers(l, node, i)).collect();
    let parts = parts.ok_or("one of its parameters is no constant")?;
    let [gamma, beta, mean, variance] = [&parts[0], &parts[1], &parts[2], &parts[3]];
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let factors: Vec<f64> = gamma.iter().zip(variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let offsets: Vec<f64> = beta.iter().zip(mean.iter().zip(&factors)).map(|(b, (m, f))| b - m * f).collect();
    if factors.len() != gamma.len() || offsets.len() != gamma.len() {
        return Err("its parameters differ in number".into());
    }
    scaled(l, real, &factors, &offsets).map(Value::Real)
}

/// Holds numbers between two ends.
fn held(real: Real, l: &Lowering<'_>, (low, high): (f64, f64)) -> Result<Real, Why> {
    let both = |(a, b): (f64, f64)| (a.clamp(low, high), b.clamp(low, high));
    Ok(match real {
        Real::Sums(sums) => Real::Sums(Rc::new(RealSums { ends: both(sums.ends), ..(*sums).clone() })),
        Real::Affine { of, factors, offsets, ends } => Real::Affine { of, factors, offsets, ends: both(ends) },
        Real::Both { kind, of, ends } => Real::Both { kind, of, ends: both(ends) },
        Real::Pool { kind, of, window, dims, ends } => Real::Pool { kind, of, window, dims, ends: both(ends) },
        real => map(l, &real, |x| x.clamp(low, high))?,
    })
}

fn clip(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let end = |index: usize, name: &str, default: f64| {
        let attribute = f64::from(node.float(name, default as f32));
        numbers(l, node, index).and_then(|v| v.first().copied()).unwrap_or(attribute)
    };
    let (low, high) = (end(1, "min", f64::NEG_INFINITY), end(2, "max", f64::INFINITY));
    if low.is_nan() || high.is_nan() || low > high {
        return Err(format!("it holds numbers between {low} and {high}"));
    }
    held(real(l, node, 0)?, l, (low, high)).map(Value::Real)
}

fn binary(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let constant = (numbers(l, node, 0), numbers(l, node, 1));
    match &constant {
        (Some(_), None) => along_channels(l, node, 0, &real(l, node, 1)?)?,
        (None, Some(_)) => along_channels(l, node, 1, &real(l, node, 0)?)?,
        _ => {}
    }
    let scale = |real: Real, factors: Vec<f64>, offsets: Vec<f64>| scaled(l, real, &factors, &offsets).map(Value::Real);
    match (node.op.as_str(), constant) {
        ("Add", (None, Some(c))) => scale(real(l, node, 0)?, vec![1.0], c),
        ("Add", (Some(c), None)) => scale(real(l, node, 1)?, vec![1.0], c),
        ("Sub", (None, Some(c))) => scale(real(l, node, 0)?, vec![1.0], c.iter().map(|v| -v).collect()),
        ("Mul", (None, Some(c))) => scale(real(l, node, 0)?, c, vec![0.0]),
        ("Mul", (Some(c), None)) => scale(real(l, node, 1)?, c, vec![0.0]),
        ("Div", (None, Some(c))) if c.iter().all(|v| *v != 0.0) => {
            scale(real(l, node, 0)?, c.iter().map(|v| 1.0 / v).collect(), vec![0.0])
        }
        (op @ ("Add" | "Mul" | "Sub"), (None, None)) => {
            two(l, op, &real(l, node, 0)?, &real(l, node, 1)?).map(Value::Real)
        }
        _ => Err("one of its inputs is a constant where it must not be".into()),
    }
}

/// A constant with several numbers varies along the channels and no other dimension. Shapes are aligned at their ends, as ONNX does.
fn along_channels(l: &Lowering<'_>, node: &Node, index: usize, other: &Real) -> Result<(), Why> {
    let dims = match node.inputs.get(index).and_then(|name| l.values.get(name)) {
        Some(Value::Constant(constant)) => constant.dims.clone(),
        Some(Value::Weights(weights)) => weights.ints.dims.clone(),
        _ => Vec::new(),
    };
    let rank = match other {
        Real::Of(of) | Real::Affine { of, .. } | Real::Function { of, .. } => of.dims.len(),
        Real::Sums(sums) => sums.dims.len(),
        _ => return Ok(()),
    };
    let wrong = dims.iter().rev().enumerate().any(|(from_end, d)| *d != 1 && from_end + 1 != rank);
    if wrong {
        Err(format!("its constant of shape {dims:?} varies along another dimension than the channels"))
    } else {
        Ok(())
    }
}

/// Sum, difference or product of two that were computed.
fn two(l: &Lowering<'_>, op: &str, one: &Real, other: &Real) -> Result<Real, Why> {
    // Two functions of the same values are one.
    if let (Some((a, f)), Some((b, g))) = (as_function(l, one), as_function(l, other))
        && a.tensor == b.tensor
    {
        let act = |(x, y): (&f64, &f64)| match op {
            "Add" => x + y,
            "Sub" => x - y,
            _ => x * y,
        };
        return Ok(Real::Function { of: a, table: Rc::new(f.iter().zip(g.iter()).map(act).collect()) });
    }
    let kind = match op {
        "Add" => Kind::Add,
        "Mul" => Kind::Mul,
        _ => return Err("a difference of two tensors is not known here".into()),
    };
    Ok(Real::Both { kind, of: [quant(one)?, quant(other)?], ends: ENDS })
}

/// Numbers as a function of one quantized tensor, if they are that.
fn as_function(l: &Lowering<'_>, real: &Real) -> Option<(Quant, Rc<Vec<f64>>)> {
    match real {
        Real::Of(of) => {
            let steps = l.steps(of.tensor);
            let table = (-128..=127).map(|q| f64::from(q - steps.zero_point) * steps.scale).collect();
            Some((of.clone(), Rc::new(table)))
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

fn map(l: &Lowering<'_>, real: &Real, f: impl Fn(f64) -> f64) -> Result<Real, Why> {
    let (of, table) = as_function(l, real).ok_or("it would run in floating point: nothing quantizes what it reads")?;
    Ok(Real::Function { of, table: Rc::new(table.iter().map(|x| f(*x)).collect()) })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Abramowitz and Stegun 7.1.26: within 2e-7 of the error function.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - p * (-x * x).exp()).copysign(x)
}

/// Operators that work element by element.
fn function(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let real = real(l, node, 0)?;
    let alpha = |default: f32| f64::from(node.float("alpha", default));
    let made = match node.op.as_str() {
        "Sigmoid" => map(l, &real, sigmoid),
        "Tanh" => map(l, &real, f64::tanh),
        "HardSwish" => map(l, &real, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), f64::from(node.float("beta", 0.5)));
            map(l, &real, |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            map(l, &real, |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = alpha(1.0);
            map(l, &real, |x| if x < 0.0 { alpha * (x.exp() - 1.0) } else { x })
        }
        "Erf" => map(l, &real, erf),
        "Gelu" if node.text("approximate").is_some_and(|kind| kind != "none") => {
            Err("an approximate Gelu is not known here".into())
        }
        "Gelu" => map(l, &real, |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
        "Exp" => map(l, &real, f64::exp),
        "Neg" => map(l, &real, |x| -x),
        other => Err(format!("{other} is not known here")),
    };
    made.map(Value::Real)
}

fn pool(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let of = quant(&real(l, node, 0)?)?;
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
    let dims = if of.dims.len() == 2 { vec![channels, ow] } else { vec![channels, oh, ow] };
    Ok(Value::Real(Real::Pool { kind, of, window, dims, ends: ENDS }))
}

fn global(of: Quant, dims: Vec<usize>) -> Real {
    Real::Pool { kind: Kind::GlobalAveragePool, of, window: Window::ONE, dims, ends: ENDS }
}

/// The mean over everything but the channels.
fn mean(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let of = quant(&real(l, node, 0)?)?;
    let rank = of.dims.len();
    let mut keep = true;
    if node.op == "ReduceMean" {
        let given = node.ints("axes").map(<[i64]>::to_vec).or_else(|| l.constant(node, 1).map(|c| c.integers()));
        let axes: Vec<usize> = given.unwrap_or_default().iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?;
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        if sorted != (1..rank).collect::<Vec<_>>() || rank < 2 {
            return Err(format!("it takes the mean along {axes:?} of {:?}: expected all but the channels", of.dims));
        }
        keep = node.int("keepdims", 1) != 0;
    }
    let channels = of.dims[0];
    let dims = if keep { std::iter::once(channels).chain((1..rank).map(|_| 1)).collect() } else { vec![channels] };
    Ok(Value::Real(global(of, dims)))
}

/// Operators that give the same values another shape.
fn shape(l: &mut Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let value = node.inputs.first().and_then(|name| l.values.get(name)).cloned();
    match value {
        Some(Value::Quant(of)) => Ok(Value::Quant(shaped(l, node, &of)?)),
        Some(Value::Real(Real::Of(of))) => Ok(Value::Real(Real::Of(shaped(l, node, &of)?))),
        Some(value) if matches!(node.op.as_str(), "Identity" | "Dropout") => Ok(value),
        _ => Err("it would run in floating point: nothing quantizes what it reads".into()),
    }
}

fn shaped(l: &mut Lowering<'_>, node: &Node, of: &Quant) -> Result<Quant, Why> {
    let elements: usize = of.dims.iter().product();
    let dims = match node.op.as_str() {
        "Identity" | "Dropout" => return Ok(of.clone()),
        "Transpose" => return transpose(l, node, of),
        "Flatten" if node.int("axis", 1) == 1 => vec![elements],
        "Flatten" => return Err("it does not keep the sample's dimension".into()),
        "Squeeze" => {
            let given = node.ints("axes").map(<[i64]>::to_vec).or_else(|| l.constant(node, 1).map(|c| c.integers()));
            let axes: Vec<usize> =
                given.unwrap_or_default().iter().map(|a| axis(*a, of.dims.len())).collect::<Result<_, _>>()?;
            let gone = |i: usize, d: usize| if axes.is_empty() { d == 1 } else { axes.contains(&i) };
            of.dims.iter().enumerate().filter(|(i, d)| !gone(*i, **d)).map(|(_, d)| *d).collect()
        }
        _ => reshaped(&l.constant(node, 1).ok_or("its shape is no constant")?.integers(), of)?,
    };
    if dims.iter().product::<usize>() != elements {
        return Err(format!("it makes {dims:?} of {:?}", of.dims));
    }
    let (channels, height, width) = as_image(&of.dims)?;
    let pixels = height * width;
    Ok(match of.layout {
        Layout::Image if dims == [elements] && channels > 1 && pixels > 1 => {
            Quant { tensor: of.tensor, dims, layout: Layout::Flat { channels, pixels } }
        }
        Layout::Image if dims.first() == Some(&channels) && dims.len() > 1 && dims.len() == of.dims.len() => {
            // Height and width in other proportions: as copies of the same rows.
            let stored = as_image(&dims)?;
            let steps = l.steps(of.tensor);
            let name = node.outputs.first().cloned().unwrap_or_default();
            let tensor = l.tensor(&name, boardproof_micro::Dtype::I8, &[stored.1, stored.2, stored.0], steps);
            let body = crate::value::Body::Numbers([0; 4], crate::value::ALL);
            l.push(&node.name, Kind::Copy, &[of.tensor], tensor, body);
            Quant { tensor, dims, layout: Layout::Image }
        }
        Layout::Plain | Layout::Image | Layout::Flat { .. } => {
            let plain = l.plain(of)?;
            if dims.len() > 4 {
                return Err(format!("shape {dims:?} has more than four dimensions"));
            }
            copy(l, node, &plain, dims)
        }
    })
}

/// The same bytes under another shape.
fn copy(l: &mut Lowering<'_>, node: &Node, of: &Quant, dims: Vec<usize>) -> Quant {
    if dims == of.dims || (dims.len() == 1 && of.dims.len() == 1) {
        return Quant { dims, ..of.clone() };
    }
    let steps = l.steps(of.tensor);
    let name = node.outputs.first().cloned().unwrap_or_default();
    let tensor = l.tensor(&name, boardproof_micro::Dtype::I8, &dims, steps);
    let body = crate::value::Body::Numbers([0; 4], crate::value::ALL);
    l.push(&node.name, Kind::Copy, &[of.tensor], tensor, body);
    Quant { tensor, dims, layout: Layout::Plain }
}

/// The shape that Reshape wants, without the sample.
fn reshaped(wanted: &[i64], of: &Quant) -> Result<Vec<usize>, Why> {
    let elements: usize = of.dims.iter().product();
    let [first, rest @ ..] = wanted else { return Err("it leaves no dimension for the sample".into()) };
    if !matches!(first, -1..=1) {
        return Err(format!("it makes {first} samples of one"));
    }
    let known: usize = rest.iter().filter(|d| **d > 0).map(|d| *d as usize).product();
    let size = |(i, d): (usize, &i64)| match d {
        // As in the input at the same place; the sample's dimension was taken off both.
        0 => of.dims.get(i).copied().ok_or_else(|| "it keeps a dimension that is not there".to_owned()),
        -1 if known > 0 => Ok(elements / known),
        d if *d > 0 => Ok(*d as usize),
        d => Err(format!("it wants a dimension of {d}")),
    };
    rest.iter().enumerate().map(size).collect()
}

fn transpose(l: &mut Lowering<'_>, node: &Node, of: &Quant) -> Result<Quant, Why> {
    let rank = of.dims.len();
    let given = node.ints("perm").map(<[i64]>::to_vec).unwrap_or_else(|| (0..=rank as i64).rev().collect());
    let [0, rest @ ..] = given.as_slice() else { return Err("it moves the sample's dimension".into()) };
    let order: Vec<usize> = rest.iter().map(|d| axis(*d, rank)).collect::<Result<_, _>>()?;
    if order.len() != rank || rank > 4 {
        return Err(format!("it gives {rank} dimensions the order {given:?}"));
    }
    let plain = l.plain(of)?;
    let plain = copy_as(l, node, &plain);
    let dims: Vec<usize> = order.iter().map(|d| of.dims[*d]).collect();
    let steps = l.steps(plain.tensor);
    let name = node.outputs.first().cloned().unwrap_or_default();
    let tensor = l.tensor(&name, boardproof_micro::Dtype::I8, &dims, steps);
    let numbers = std::array::from_fn(|i| order.get(i).copied().unwrap_or(i) as i32);
    l.push(
        &node.name,
        Kind::Transpose,
        &[plain.tensor],
        tensor,
        crate::value::Body::Numbers(numbers, crate::value::ALL),
    );
    Ok(Quant { tensor, dims, layout: Layout::Plain })
}

/// A tensor that lies in memory in the dimensions of the ONNX model.
fn copy_as(l: &mut Lowering<'_>, node: &Node, of: &Quant) -> Quant {
    if l.program.tensors[of.tensor].dims == of.dims {
        return of.clone();
    }
    let steps = l.steps(of.tensor);
    let tensor = l.tensor(&format!("{} in order", node.name), boardproof_micro::Dtype::I8, &of.dims, steps);
    let body = crate::value::Body::Numbers([0; 4], crate::value::ALL);
    l.push(&node.name, Kind::Copy, &[of.tensor], tensor, body);
    Quant { tensor, ..of.clone() }
}

fn pad(l: &Lowering<'_>, node: &Node) -> Result<Value, Why> {
    let of = quant(&real(l, node, 0)?)?;
    let pads = node.ints("pads").map(<[i64]>::to_vec).or_else(|| l.constant(node, 1).map(|c| c.integers()));
    let pads = pads.ok_or("its padding is no constant")?;
    let value = numbers(l, node, 2).and_then(|v| v.first().copied()).unwrap_or(0.0);
    if node.text("mode").is_some_and(|mode| mode != "constant") || value != 0.0 {
        return Err("it pads with something else than the number 0".into());
    }
    let rank = of.dims.len() + 1;
    if pads.len() != 2 * rank || pads.iter().any(|p| *p < 0) || pads[0] != 0 || pads[rank] != 0 {
        return Err(format!("its padding is {pads:?}"));
    }
    let before: Vec<usize> = pads[1..rank].iter().map(|p| *p as usize).collect();
    let dims = of.dims.iter().enumerate().map(|(i, d)| d + before[i] + pads[rank + 1 + i] as usize).collect();
    Ok(Value::Real(Real::Pad { of, before, dims }))
}
