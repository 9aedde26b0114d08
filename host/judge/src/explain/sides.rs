//! The numbers of each layer: accumulated and alone, on each site, and how its quantizer fits what the reference computes.

use super::{Found, by_layer};
use crate::evidence::Tensor;
use boardproof_record::layers::{Layer, Quantizer};
use serde::Serialize;

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its tensor in the reference.
    pub tensor: String,
    /// Operator that computes it in the variant.
    pub operator: String,
    /// Node of that operator.
    pub node: String,
    /// Root mean square of the reference's numbers.
    pub reference_rms: f64,
    /// How well the variant's quantizer fits the reference's numbers, where it has one.
    pub fit: Option<Fit>,
    /// By site.
    pub sides: Vec<Side>,
    /// The second site against the first, where there are two.
    pub between_sites: Option<Apart>,
}

/// A layer on one site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Side {
    /// Behind the variant's own layers.
    pub accumulated: Option<Seen>,
    /// Behind the reference's.
    pub alone: Option<Seen>,
    /// Share of the variant's elements at the ends of their integer type.
    pub at_ends_share: Option<f64>,
}

/// A tensor against the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seen {
    /// `10 log10(sum r^2 / sum (v - r)^2)` over elements that are finite in both; `None` where they are equal.
    pub sqnr_db: Option<f64>,
    /// Largest `|v - r|`.
    pub max_abs: f64,
    /// Elements that are NaN or infinite in one and not in the other.
    pub non_finite: u64,
}

impl Seen {
    /// Compares two tensors of as many elements.
    pub fn between(reference: &[f64], variant: &[f64]) -> Self {
        let (mut signal, mut noise, mut max_abs, mut non_finite) = (0.0, 0.0, 0.0_f64, 0);
        for (r, v) in reference.iter().zip(variant) {
            if r.is_finite() && v.is_finite() {
                signal += r * r;
                noise += (v - r) * (v - r);
                max_abs = max_abs.max((v - r).abs());
            } else {
                non_finite += u64::from(!(r == v || (r.is_nan() && v.is_nan())));
            }
        }
        Self { sqnr_db: decibel(signal, noise), max_abs, non_finite }
    }

    /// Is it noisier than this, or not a number?
    pub fn is_below(&self, db: f64) -> bool {
        self.non_finite > 0 || self.sqnr_db.is_some_and(|own| own < db)
    }
}

/// `10 log10(signal / noise)`; `None` without noise.
pub(super) fn decibel(signal: f64, noise: f64) -> Option<f64> {
    // A signal that is zero everywhere has no noise that is small beside it.
    (noise > 0.0).then(|| 10.0 * (signal / noise).log10().max(-30.0))
}

/// How a quantizer fits the numbers that the reference computes: known without running the variant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fit {
    /// Smallest number that it can stand for.
    pub low: f64,
    /// Largest.
    pub high: f64,
    /// Smallest number of the reference.
    pub least: f64,
    /// Largest.
    pub most: f64,
    /// Ratio of the signal to what is cut off beyond the ends; `None` where nothing is.
    pub clipping_db: Option<f64>,
    /// Ratio of the signal to what rounding takes within the ends.
    pub rounding_db: Option<f64>,
    /// Share of elements beyond the ends by more than half a step.
    pub beyond_share: f64,
}

impl Fit {
    fn of(quantizer: &Quantizer, reference: &[f64]) -> Self {
        let (low, high) = (quantizer.low(), quantizer.high());
        let (mut signal, mut clipped, mut rounded, mut beyond) = (0.0, 0.0, 0.0, 0_usize);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for r in reference.iter().copied().filter(|r| r.is_finite()) {
            let within = r.clamp(low, high);
            let stands_for = quantizer.number(quantizer.whole(r));
            signal += r * r;
            clipped += (within - r) * (within - r);
            rounded += (stands_for - within) * (stands_for - within);
            beyond += usize::from((within - r).abs() > quantizer.scale / 2.0);
            (least, most) = (least.min(r), most.max(r));
        }
        Self {
            low,
            high,
            least,
            most,
            clipping_db: decibel(signal, clipped),
            rounding_db: decibel(signal, rounded),
            beyond_share: beyond as f64 / reference.len().max(1) as f64,
        }
    }

    /// The quantizer is wide enough and stands in the wrong place: only its zero point keeps the numbers out.
    pub fn is_misplaced(&self) -> bool {
        self.most.max(0.0) - self.least.min(0.0) <= (self.high - self.low) * 1.02
    }

    /// Share of the quantizer's range that the reference's numbers use.
    pub fn used(&self) -> f64 {
        let used = self.most.min(self.high).max(0.0) - self.least.max(self.low).min(0.0);
        used / (self.high - self.low)
    }
}

/// The same layer on two sites.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Apart {
    /// Behind each site's own layers.
    pub accumulated: Option<Difference>,
    /// Behind the same numbers, the reference's.
    pub alone: Option<Difference>,
}

/// Two tensors that should be the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// As numbers.
    pub seen: Seen,
    /// Share of elements that differ.
    pub share: f64,
    /// In steps of the quantizer, where the tensor is quantized.
    pub steps: Option<Steps>,
}

/// A difference in steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steps {
    /// Largest, in steps.
    pub max: f64,
    /// The second is nearest to the first times this,
    pub gain: f64,
    /// plus so many steps (least squares over elements within the ends of the type),
    pub offset: f64,
    /// with this much left at most, in steps.
    pub left_max: f64,
}

impl Difference {
    fn of(a: &[f64], b: &[f64], quantizer: Option<&Quantizer>) -> Self {
        let differ = a.iter().zip(b).filter(|(a, b)| a != b).count();
        Self {
            seen: Seen::between(a, b),
            share: differ as f64 / a.len().max(1) as f64,
            steps: quantizer.map(|quantizer| Steps::of(a, b, quantizer)),
        }
    }
}

impl Steps {
    fn of(a: &[f64], b: &[f64], quantizer: &Quantizer) -> Self {
        let steps = |values: &[f64]| values.iter().map(|v| (v / quantizer.scale).round()).collect::<Vec<f64>>();
        let (a, b) = (steps(a), steps(b));
        let (low, high) = (quantizer.least - quantizer.zero, quantizer.most - quantizer.zero);
        let within: Vec<(f64, f64)> =
            a.iter().copied().zip(b.iter().copied()).filter(|(a, b)| a.max(*b) < high && a.min(*b) > low).collect();
        let n = within.len().max(1) as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| within.iter().map(of).sum::<f64>() / n;
        let (mean_a, mean_b) = (mean(&|p| p.0), mean(&|p| p.1));
        let variance = mean(&|p| (p.0 - mean_a).powi(2));
        let gain = if variance > 0.0 { mean(&|p| (p.0 - mean_a) * (p.1 - mean_b)) / variance } else { 1.0 };
        let offset = mean_b - gain * mean_a;
        let left = within.iter().map(|(a, b)| (b - gain * a - offset).abs());
        Self {
            max: a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
            gain,
            offset,
            left_max: left.fold(0.0, f64::max),
        }
    }

    /// The second is the first by another scale or zero point: what is left is rounding.
    pub fn is_other_scale(&self) -> bool {
        self.max > 1.0 && self.left_max <= 1.5 && ((self.gain - 1.0).abs() > 0.01 || self.offset.abs() >= 1.0)
    }
}

/// A line per layer, where the reference was seen.
pub(super) fn rows(layers: &[Layer], reference: &[Tensor<'_>], found: &[Found<'_>]) -> Vec<Row> {
    let reference = by_layer(reference);
    let sites: Vec<_> = found
        .iter()
        .map(|f| (by_layer(f.shown.as_deref().unwrap_or(&[])), by_layer(f.alone.as_deref().unwrap_or(&[]))))
        .collect();
    let mut rows = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let Some(float) = reference.get(&at).map(|tensor| tensor.to_f64()) else { continue };
        let values = |tensor: Option<&&Tensor<'_>>| tensor.map(|t| t.to_f64()).filter(|v| v.len() == float.len());
        let shown = sites
            .iter()
            .map(|(shown, alone)| Shown { accumulated: values(shown.get(&at)), alone: values(alone.get(&at)) });
        rows.push(row(layer, &float, &shown.collect::<Vec<_>>()));
    }
    rows
}

/// A layer's numbers on one site.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    /// Behind the variant's own layers.
    pub accumulated: Option<Vec<f64>>,
    /// Behind the reference's.
    pub alone: Option<Vec<f64>>,
}

/// The line of a layer: the reference's numbers, and those of each site.
pub(super) fn row(layer: &Layer, float: &[f64], shown: &[Shown]) -> Row {
    let seen = |values: &Option<Vec<f64>>| values.as_ref().map(|v| Seen::between(float, v));
    let quantizer = layer.quantizer.as_ref();
    let side = |shown: &Shown| Side {
        accumulated: seen(&shown.accumulated),
        alone: seen(&shown.alone),
        at_ends_share: shown.accumulated.as_ref().zip(quantizer).map(|(v, q)| at_ends_share(v, q)),
    };
    Row {
        tensor: layer.tensor.clone(),
        operator: layer.operator.clone(),
        node: layer.node.clone(),
        reference_rms: (float.iter().map(|r| r * r).sum::<f64>() / float.len().max(1) as f64).sqrt(),
        fit: quantizer.map(|quantizer| Fit::of(quantizer, float)),
        sides: shown.iter().map(side).collect(),
        between_sites: match shown {
            [first, second, ..] => Some(between(first, second, quantizer)),
            _ => None,
        },
    }
}

fn at_ends_share(values: &[f64], quantizer: &Quantizer) -> f64 {
    let half = quantizer.scale / 2.0;
    let at_end = |v: &&f64| **v <= quantizer.low() + half || **v >= quantizer.high() - half;
    values.iter().filter(at_end).count() as f64 / values.len().max(1) as f64
}

fn between(first: &Shown, second: &Shown, quantizer: Option<&Quantizer>) -> Apart {
    let pair = |a: &Option<Vec<f64>>, b: &Option<Vec<f64>>| {
        let (a, b) = (a.as_ref()?, b.as_ref()?);
        Some(Difference::of(a, b, quantizer))
    };
    Apart { accumulated: pair(&first.accumulated, &second.accumulated), alone: pair(&first.alone, &second.alone) }
}
