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
    pub between_sites: Option<Steps>,
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

/// The same layer on two sites, in steps of its quantizer, or in the terms of its floats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steps {
    /// Largest difference in steps behind the same numbers (layer alone), where it is quantized.
    pub alone_max: Option<f64>,
    /// Largest difference in steps behind each site's own layers, where it is quantized.
    pub accumulated_max: Option<f64>,
    /// Share of elements that differ behind the same numbers.
    pub alone_share: Option<f64>,
    /// One site against the other behind the same numbers.
    pub alone: Option<Seen>,
    /// One site against the other.
    pub accumulated: Option<Seen>,
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
        let shown: Vec<_> = sites.iter().map(|(shown, alone)| (values(shown.get(&at)), values(alone.get(&at)))).collect();
        let side = |(accumulated, alone): &(Option<Vec<f64>>, Option<Vec<f64>>)| Side {
            accumulated: accumulated.as_ref().map(|v| Seen::between(&float, v)),
            alone: alone.as_ref().map(|v| Seen::between(&float, v)),
            at_ends_share: accumulated.as_ref().zip(layer.quantizer.as_ref()).map(|(v, q)| at_ends_share(v, q)),
        };
        rows.push(Row {
            tensor: layer.tensor.clone(),
            operator: layer.operator.clone(),
            node: layer.node.clone(),
            reference_rms: (float.iter().map(|r| r * r).sum::<f64>() / float.len().max(1) as f64).sqrt(),
            fit: layer.quantizer.as_ref().map(|quantizer| Fit::of(quantizer, &float)),
            sides: shown.iter().map(side).collect(),
            between_sites: match shown.as_slice() {
                [first, second, ..] => Some(between(first, second, layer.quantizer.as_ref())),
                _ => None,
            },
        });
    }
    rows
}

fn at_ends_share(values: &[f64], quantizer: &Quantizer) -> f64 {
    let half = quantizer.scale / 2.0;
    let at_end = |v: &&f64| **v <= quantizer.low() + half || **v >= quantizer.high() - half;
    values.iter().filter(at_end).count() as f64 / values.len().max(1) as f64
}

type Both = (Option<Vec<f64>>, Option<Vec<f64>>);

fn between(first: &Both, second: &Both, quantizer: Option<&Quantizer>) -> Steps {
    let accumulated = first.0.as_ref().zip(second.0.as_ref());
    let alone = first.1.as_ref().zip(second.1.as_ref());
    let steps = |a: &Vec<f64>, b: &Vec<f64>| {
        let scale = quantizer?.scale;
        Some(a.iter().zip(b).map(|(a, b)| ((a - b) / scale).round().abs()).fold(0.0, f64::max))
    };
    let share = |a: &Vec<f64>, b: &Vec<f64>| {
        a.iter().zip(b).filter(|(a, b)| a != b).count() as f64 / a.len().max(1) as f64
    };
    Steps {
        alone_max: alone.and_then(|(a, b)| steps(a, b)),
        accumulated_max: accumulated.and_then(|(a, b)| steps(a, b)),
        alone_share: alone.map(|(a, b)| share(a, b)),
        alone: alone.map(|(a, b)| Seen::between(a, b)),
        accumulated: accumulated.map(|(a, b)| Seen::between(a, b)),
    }
}
