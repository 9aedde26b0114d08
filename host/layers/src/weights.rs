//! Weights of both forms beside each other. Needs no run: what a variant's whole numbers stand for is known.

use crate::constant::Constant;
use crate::graph::{Graph, attribute};
use crate::onnx::{F16, F32, F64, I8, I32, U8};
use crate::quantized::{Steps, steps_of};
use crate::walk::Stretch;
use boardproof_record::layers::Weights;

/// Noise below which two channels are the same but for quantization. 8-bit weights are 30 to 45 dB apart from their floats.
const SAME_DB: f64 = 20.0;
/// Share of elements beyond rounding from which on a channel counts as another one.
const OFF_SHARE: f64 = 0.05;
/// In floating point: a half keeps 11 bits, and what is apart by more than 8 bits of the largest weight is no rounding.
const FLOAT_TOLERANCE: f64 = 1.0 / 256.0;
/// A factor that is no rounding.
const GAIN: f64 = 0.02;

/// The weights of one layer, in the order of the reference.
pub fn of_layer(reference: (&Graph, &Stretch), variant: (&Graph, &Stretch), layer: usize) -> Vec<Weights> {
    let (graph, stretch) = reference;
    let mut open: Vec<&String> = variant.1.constants.iter().filter(|name| is_weight(variant.0, name)).collect();
    let mut found = Vec::new();
    for name in stretch.constants.iter().filter(|name| is_float(graph, name)) {
        let constant = &graph.constants[name];
        let Some(at) = counterpart(name, constant, variant.0, &open) else { continue };
        found.push(compare(graph, name, variant.0, open.remove(at), layer));
    }
    found
}

fn is_float(graph: &Graph, name: &str) -> bool {
    graph.constants.get(name).is_some_and(|c| matches!(c.element, F32 | F16 | F64) && c.values.len() > 1)
}

/// Not a scale, a zero point or a shape.
fn is_weight(graph: &Graph, name: &str) -> bool {
    let Some(constant) = graph.constants.get(name) else { return false };
    let is_scale = || {
        graph.readers(name).any(|node| {
            let place = node.input.iter().position(|input| input == name);
            node.op_type.contains("Linear") && place.is_some_and(|at| at > 0)
        })
    };
    match constant.element {
        F32 | F16 | F64 => constant.values.len() > 1 && !is_scale(),
        U8 | I8 | I32 => constant.values.len() > 1 && steps_of(graph, name).is_some(),
        _ => false,
    }
}

/// The reference's name of a constant, as quantizers make theirs of it.
fn stem(name: &str) -> &str {
    let name = name.strip_suffix("_quantized").unwrap_or(name);
    name.strip_suffix("_Transposed").unwrap_or(name)
}

/// By its name; where names were lost, by a shape that only one has.
fn counterpart(name: &str, constant: &Constant, variant: &Graph, open: &[&String]) -> Option<usize> {
    if let Some(at) = open.iter().position(|other| stem(other) == name) {
        return Some(at);
    }
    let fits = |other: &&String| {
        let dims = &variant.constants[*other].dims;
        *dims == constant.dims || dims.iter().rev().eq(constant.dims.iter())
    };
    let mut fitting = open.iter().enumerate().filter(|(_, other)| fits(other));
    let first = fitting.next()?.0;
    fitting.next().is_none().then_some(first)
}

fn compare(reference: &Graph, name: &str, variant: &Graph, seen_as: &str, layer: usize) -> Weights {
    let (float, held) = (&reference.constants[name], &variant.constants[seen_as]);
    let steps = steps_of(variant, seen_as).filter(|_| held.ends().is_some());
    let axis = channel_axis(reference, name, float.dims.len());
    let turned = float.dims.len() == 2 && axis.zip(channel_axis(variant, seen_as, 2)).is_some_and(|(r, v)| r != v);
    let mut facts = Weights {
        tensor: name.into(),
        seen_as: seen_as.into(),
        layer,
        dtype: dtype(held.element).into(),
        unlike: None,
        elements: float.values.len(),
        is_matrix: float.dims.len() > 1,
        sqnr_db: None,
        off_share: 0.0,
        clipped_share: 0.0,
        range_used_min: 1.0,
        channels: 1,
        channels_off: 0,
        channels_scaled: 0,
        channels_shifted: 0,
        channels_exchanged: 0,
        non_finite: 0,
    };
    let numbers = Numbers::of(held, steps.as_ref());
    let numbers = if turned { numbers.and_then(Numbers::transposed) } else { numbers };
    match numbers.filter(|numbers| numbers.dims == float.dims) {
        Some(numbers) => {
            let axis = axis.filter(|_| facts.is_matrix);
            fill(&mut facts, float, &numbers, axis);
        }
        None => facts.unlike = Some((float.dims.clone(), held.dims.clone())),
    }
    facts
}

/// What a constant stands for, element by element.
struct Numbers {
    dims: Vec<usize>,
    values: Vec<f64>,
    /// Farther than this from the reference is no rounding.
    tolerance: Vec<f64>,
    /// Smallest and largest number that can be stood for; `None` for floats.
    ends: Option<Vec<(f64, f64)>>,
    per_channel: bool,
    /// Of 8 bits.
    is_narrow: bool,
}

impl Numbers {
    fn of(held: &Constant, steps: Option<&Steps>) -> Option<Self> {
        let dims = held.dims.clone();
        let (Some(steps), Some((least, most))) = (steps, held.ends()) else {
            return Some(Self {
                dims,
                values: held.values.clone(),
                tolerance: Vec::new(),
                ends: None,
                per_channel: false,
                is_narrow: false,
            });
        };
        let inner: usize = dims.iter().skip(steps.axis + 1).product();
        let count = steps.scales.len();
        let slice = |i: usize| if count > 1 { (i / inner.max(1)) % count } else { 0 };
        if count > 1 && dims.get(steps.axis) != Some(&count) {
            return None;
        }
        let zero = |i: usize| steps.zeros.get(slice(i)).or(steps.zeros.first()).copied().unwrap_or(0.0);
        let scale = |i: usize| steps.scales[slice(i)];
        let all = 0..held.values.len();
        let number = |i: usize, whole: f64| scale(i) * (whole - zero(i));
        Some(Self {
            values: all.clone().map(|i| number(i, held.values[i])).collect(),
            tolerance: all.clone().map(|i| scale(i).abs() * 1.001).collect(),
            ends: Some(all.map(|i| (number(i, least), number(i, most))).collect()),
            per_channel: count > 1,
            is_narrow: held.element != I32,
            dims,
        })
    }

    fn transposed(self) -> Option<Self> {
        let [rows, columns] = *self.dims.as_slice() else { return None };
        let order: Vec<usize> = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).collect();
        let pick = |of: &[f64]| order.iter().filter_map(|i| of.get(*i).copied()).collect();
        Some(Self {
            dims: vec![columns, rows],
            values: pick(&self.values),
            tolerance: pick(&self.tolerance),
            ends: self.ends.as_ref().map(|ends| order.iter().map(|i| ends[*i]).collect()),
            ..self
        })
    }
}

/// The dimension along which a layer's outputs lie.
fn channel_axis(graph: &Graph, name: &str, rank: usize) -> Option<usize> {
    let reader = graph.readers(name).next()?;
    match reader.op_type.as_str() {
        "Conv" | "QLinearConv" | "ConvInteger" => Some(0),
        "Gemm" | "QGemm" => Some(usize::from(attribute(reader, "transB").is_none_or(|a| a.i == 0))),
        "MatMul" | "QLinearMatMul" | "MatMulInteger" => rank.checked_sub(1),
        "DequantizeLinear" | "Cast" => channel_axis(graph, &reader.output[0], rank),
        _ => None,
    }
}

/// Places of a tensor's elements, channel by channel.
fn channels(dims: &[usize], axis: Option<usize>) -> Vec<Vec<usize>> {
    let elements = dims.iter().product();
    let Some(axis) = axis else { return vec![(0..elements).collect()] };
    let inner: usize = dims.iter().skip(axis + 1).product::<usize>().max(1);
    let mut places = vec![Vec::new(); dims[axis]];
    (0..elements).for_each(|i| places[(i / inner) % dims[axis]].push(i));
    places
}

/// `10 log10(signal / noise)`; `None` where there is no noise.
fn decibel(signal: f64, noise: f64) -> Option<f64> {
    (noise != 0.0).then(|| 10.0 * (signal / noise).log10())
}

fn fill(facts: &mut Weights, float: &Constant, numbers: &Numbers, axis: Option<usize>) {
    let (f, v) = (&float.values, &numbers.values);
    facts.non_finite = v.iter().filter(|v| !v.is_finite()).count();
    let largest = f.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let tolerance = |i: usize| numbers.tolerance.get(i).copied().unwrap_or(largest * FLOAT_TOLERANCE);
    // What is not a number is off, too.
    // A difference that is no number is off as well.
    let is_within = |i: usize| (v[i] - f[i]).abs() <= tolerance(i);
    let is_off = |i: &usize| !is_within(*i);
    let share = |count: usize| count as f64 / f.len() as f64;
    facts.sqnr_db = decibel(f.iter().map(|x| x * x).sum(), f.iter().zip(v).map(|(f, v)| (v - f).powi(2)).sum());
    facts.off_share = share((0..f.len()).filter(|i| is_off(i)).count());
    if let Some(ends) = &numbers.ends {
        let clipped = |i: &usize| f[*i] > ends[*i].1 + tolerance(*i) || f[*i] < ends[*i].0 - tolerance(*i);
        facts.clipped_share = share((0..f.len()).filter(clipped).count());
    }
    let places = channels(&float.dims, axis);
    facts.channels = places.len();
    facts.range_used_min = range_used_min(f, numbers, &places);
    for (at, own) in places.iter().enumerate() {
        if (own.iter().filter(|i| is_off(i)).count() as f64) <= OFF_SHARE * own.len() as f64 {
            continue;
        }
        let pick = |of: &[f64], places: &[usize]| places.iter().map(|i| of[*i]).collect::<Vec<f64>>();
        let (own_f, own_v) = (pick(f, own), pick(v, own));
        let others = places.iter().enumerate().map(|(other, places)| (other == at, pick(f, places)));
        facts.channels_off += 1;
        match resemblance(&own_f, &own_v, others) {
            Some(Resemblance::Exchanged) => facts.channels_exchanged += 1,
            Some(Resemblance::Scaled) => facts.channels_scaled += 1,
            Some(Resemblance::Shifted) => facts.channels_shifted += 1,
            None => {}
        }
    }
}

/// Smallest share of the range that a scale's elements use. All of a scale that is zero uses none of it, and needs none.
fn range_used_min(f: &[f64], numbers: &Numbers, places: &[Vec<usize>]) -> f64 {
    let Some(ends) = numbers.ends.as_ref().filter(|_| numbers.is_narrow) else { return 1.0 };
    let used = |places: &[usize]| {
        let shares = places.iter().map(|i| if f[*i] >= 0.0 { f[*i] / ends[*i].1 } else { f[*i] / ends[*i].0 });
        shares.filter(|share| share.is_finite()).fold(0.0_f64, f64::max)
    };
    let all: Vec<usize> = (0..f.len()).collect();
    let of_channels = places.iter().map(|places| used(places)).filter(|used| *used > 0.0);
    if numbers.per_channel { of_channels.fold(1.0_f64, f64::min) } else { used(&all).min(1.0) }
}

/// What a channel that is off is instead.
enum Resemblance {
    /// Another channel, or one with its sign changed.
    Exchanged,
    /// Itself times a factor.
    Scaled,
    /// Itself plus a number.
    Shifted,
}

fn resemblance(f: &[f64], v: &[f64], others: impl Iterator<Item = (bool, Vec<f64>)>) -> Option<Resemblance> {
    let energy = |of: &[f64]| of.iter().map(|x| x * x).sum::<f64>();
    let is_near = |of: &[f64], map: &dyn Fn(f64) -> f64| {
        let noise = of.iter().zip(v).map(|(f, v)| (v - map(*f)).powi(2)).sum();
        energy(of) > 0.0 && decibel(energy(of), noise).is_none_or(|db| db >= SAME_DB)
    };
    if is_near(f, &|x| x) {
        return None;
    }
    for (is_itself, other) in others.filter(|(_, other)| other.len() == v.len()) {
        if (!is_itself && is_near(&other, &|x| x)) || is_near(&other, &|x| -x) {
            return Some(Resemblance::Exchanged);
        }
    }
    let gain = f.iter().zip(v).map(|(f, v)| f * v).sum::<f64>() / energy(f);
    if (gain - 1.0).abs() > GAIN && gain > 0.0 && f.len() > 2 {
        let scaled: Vec<f64> = f.iter().map(|x| gain * x).collect();
        if is_near(&scaled, &|x| x) {
            return Some(Resemblance::Scaled);
        }
    }
    let offset = v.iter().zip(f).map(|(v, f)| v - f).sum::<f64>() / f.len() as f64;
    (f.len() > 2 && is_near(f, &|x| x + offset)).then_some(Resemblance::Shifted)
}

fn dtype(element: i32) -> &'static str {
    match element {
        F32 => "F32",
        F64 => "F64",
        F16 => "F16",
        U8 => "U8",
        I8 => "I8",
        I32 => "I32",
        _ => "unknown",
    }
}
