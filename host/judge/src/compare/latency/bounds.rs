//! How far a quantile of a pass may be off when its samples follow each other, or when the pass left its level on the way.

use super::course::{BLOCKS, Movement, MovementKind, correlation_time};
use super::{lower_rank, rank_of, upper_rank};
use crate::compare::statistics::{Confidence, student_quantile};

/// Lower and upper bound, where the samples suffice.
pub(super) type Bounds = (Option<f64>, Option<f64>);

pub(super) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

fn quantile(samples: &[f64], p: f64) -> f64 {
    sorted(samples)[(rank_of(p, samples.len() as u64) - 1) as usize]
}

/// Bounds of a quantile of these samples, in the order in which they were taken.
pub(super) fn of_pass(samples: &[f64], movement: Option<&Movement>, p: f64, confidence: Confidence) -> Bounds {
    match movement {
        None => of_stretch(samples, p, confidence),
        Some(movement) if movement.kind == MovementKind::Ramp => of_ramp(samples, movement, p, confidence),
        Some(movement) => {
            let of = |stretch: &Vec<f64>| of_stretch(stretch, p, confidence);
            movement.stretches(samples).iter().map(of).reduce(outer).unwrap_or((None, None))
        }
    }
}

/// Samples of one level: order statistics of as many as they are worth.
pub(super) fn of_stretch(samples: &[f64], p: f64, confidence: Confidence) -> Bounds {
    let effective = effective(samples, quantile(samples, p), confidence);
    let found = order_statistics(&sorted(samples), effective, p, confidence);
    let enough_if_independent = upper_rank(samples.len() as u64, p, confidence.tail()).is_some();
    match found {
        (Some(_), Some(_)) => found,
        _ if enough_if_independent => extremes(samples, p).unwrap_or(found),
        _ => found,
    }
}

/// Samples that hang together too long for the binomial distribution: between the lowest and the highest of the same quantile in up to sixteen
/// parts, where a part is large enough to have it. All of them lie on one side of the truth only when the samples never crossed it.
fn extremes(samples: &[f64], p: f64) -> Option<Bounds> {
    let parts = (samples.len() / 10).min(BLOCKS);
    if parts < 4 || (samples.len() / parts) as f64 * (1.0 - p).min(p) < 4.0 {
        return None;
    }
    let of_parts = samples.chunks(samples.len().div_ceil(parts)).map(|part| quantile(part, p));
    let of_parts = sorted(&of_parts.collect::<Vec<_>>());
    Some((of_parts.first().copied(), of_parts.last().copied()))
}

/// A ramp: what is left of the samples when each is divided by the line through the levels of the first and the last eighth, then that
/// quantile at the levels of both ends. The ramp goes on, as far again as it went while it was looked at.
fn of_ramp(samples: &[f64], movement: &Movement, p: f64, confidence: Confidence) -> Bounds {
    let last = (samples.len() - 1).max(1) as f64;
    // Levels are those of the middles of the first and the last eighth.
    let level =
        |i: usize| 1.0 + (movement.factor - 1.0) * ((i as f64 / last - 1.0 / 16.0) / (7.0 / 8.0)).clamp(0.0, 1.0);
    let flat: Vec<f64> = samples.iter().enumerate().map(|(i, ns)| ns / level(i)).collect();
    let (lower, upper) = of_stretch(&flat, p, confidence);
    let factor = movement.factor;
    let (low, high) = if factor > 1.0 { (1.0, factor * factor) } else { (factor * factor, 1.0) };
    (lower.map(|ns| ns * low), upper.map(|ns| ns * high))
}

/// Independent samples that these are worth for saying how many lie at or below `at`: divided by the correlation time, and by `(t / z)^2`
/// because that was estimated from the same samples (as Student allows for a variance that is not known).
pub(super) fn effective(in_order: &[f64], at: f64, confidence: Confidence) -> u64 {
    let time = correlation_time(in_order, at);
    if time.samples <= 1.0 {
        return in_order.len() as u64;
    }
    let wider = student_quantile(1.0 - confidence.tail(), time.degrees) / confidence.z();
    ((in_order.len() as f64 / (time.samples * wider * wider)) as u64).max(1)
}

/// The order statistics at the shares of all samples at which they bound the quantile of `effective` independent ones.
pub(super) fn order_statistics(sorted: &[f64], effective: u64, p: f64, confidence: Confidence) -> Bounds {
    let n = sorted.len() as u64;
    let scale = |rank: u64| rank as f64 * n as f64 / effective as f64;
    let at = |rank: f64| sorted[(rank.clamp(1.0, n as f64) - 1.0) as usize];
    (
        lower_rank(effective, p, confidence.tail()).map(|rank| at((scale(rank) + 1e-9).floor())),
        upper_rank(effective, p, confidence.tail()).map(|rank| at((scale(rank) - 1e-9).ceil())),
    )
}

/// The wider of two bounds at each end; none where one is missing.
fn outer(one: Bounds, other: Bounds) -> Bounds {
    (one.0.zip(other.0).map(|(a, b)| a.min(b)), one.1.zip(other.1).map(|(a, b)| a.max(b)))
}
