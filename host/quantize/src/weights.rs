//! Weights and biases as whole numbers.

use boardproof_layers::constant::Constant;

/// Largest magnitude of a weight: symmetric, so that -128 is not used.
const WEIGHT_MOST: f64 = 127.0;

/// Weights as whole numbers: `scale * whole`, one scale for all or one per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Whole numbers from -127 to 127.
    pub whole: Vec<f64>,
    /// Scales, each an F32.
    pub scales: Vec<f64>,
}

/// Quantizes weights symmetrically, by channels along an axis or as one.
///
/// `bias` is what is added to each channel's sum, in the steps `input_scale * scale` of a whole number of 32 bits: where it would not fit,
/// the scale is made larger until it does. A channel of zeros takes the smallest scale of the others, so that its bias keeps its digits.
pub fn weights(weights: &Constant, axis: Option<usize>, bias: Option<&[f64]>, input_scale: f64) -> Weights {
    let channels = axis.map_or(1, |axis| weights.dims[axis]);
    let inner = axis.map_or(weights.values.len(), |axis| weights.dims[axis + 1..].iter().product()).max(1);
    let channel = |i: usize| (i / inner) % channels;
    let mut most = vec![0.0_f64; channels];
    for (i, weight) in weights.values.iter().enumerate() {
        most[channel(i)] = most[channel(i)].max(weight.abs());
    }
    let smallest = most.iter().copied().filter(|m| *m > 0.0).fold(f64::INFINITY, f64::min);
    let scale = |own: usize| {
        let most = if most[own] > 0.0 {
            most[own]
        } else if smallest.is_finite() {
            smallest
        } else {
            WEIGHT_MOST
        };
        // One bias for all of a channel; all biases where there is one scale.
        let biases = bias.map(|bias| if axis.is_some() { &bias[own..=own] } else { bias }).unwrap_or_default();
        let largest = biases.iter().fold(0.0_f64, |m, b| m.max(b.abs()));
        as_f32((most / WEIGHT_MOST).max(largest / (f64::from(i32::MAX) * input_scale) * 1.000_001))
    };
    let scales: Vec<f64> = (0..channels).map(scale).collect();
    let whole = |(i, w): (usize, &f64)| (w / scales[channel(i)]).round_ties_even().clamp(-WEIGHT_MOST, WEIGHT_MOST);
    Weights { whole: weights.values.iter().enumerate().map(whole).collect(), scales }
}

/// A bias as whole numbers, and their scales: the product of input's and weights' scale.
pub fn bias(bias: &[f64], scales: &[f64], input_scale: f64) -> (Vec<f64>, Vec<f64>) {
    let scales: Vec<f64> = scales.iter().map(|scale| as_f32(scale * input_scale)).collect();
    let ends = (f64::from(i32::MIN), f64::from(i32::MAX));
    let whole = |(i, b): (usize, &f64)| (b / scales[i % scales.len()]).round_ties_even().clamp(ends.0, ends.1);
    (bias.iter().enumerate().map(whole).collect(), scales)
}

fn as_f32(scale: f64) -> f64 {
    f64::from((scale as f32).max(f32::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(dims: &[usize], values: &[f64]) -> Constant {
        Constant { element: 1, dims: dims.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn each_channel_has_its_own_scale_along_its_axis() {
        let m = matrix(&[2, 3], &[1.0, -2.0, 0.5, 10.0, 20.0, -40.0]);
        let by_row = weights(&m, Some(0), None, 1.0);
        assert_eq!(by_row.scales, [2.0 / 127.0, 40.0 / 127.0].map(|s: f64| f64::from(s as f32)));
        assert_eq!(by_row.whole, [64.0, -127.0, 32.0, 32.0, 64.0, -127.0]);
        let by_column = weights(&m, Some(1), None, 1.0);
        assert_eq!(by_column.scales.len(), 3);
        assert_eq!(by_column.whole, [13.0, -13.0, 2.0, 127.0, 127.0, -127.0]);
        let as_one = weights(&m, None, None, 1.0);
        assert_eq!(as_one.scales.len(), 1);
        assert_eq!(as_one.whole, [3.0, -6.0, 2.0, 32.0, 64.0, -127.0]);
    }

    #[test]
    fn a_channel_of_zeros_keeps_its_bias() {
        let m = matrix(&[2, 2], &[0.0, 0.0, 0.5, 1.27]);
        let w = weights(&m, Some(0), Some(&[0.7, 0.1]), 0.02);
        assert_eq!(w.whole, [0.0, 0.0, 50.0, 127.0]);
        let (whole, scales) = bias(&[0.7, 0.1], &w.scales, 0.02);
        assert!((whole[0] * scales[0] - 0.7).abs() < 1e-3, "{whole:?} {scales:?}");
    }

    #[test]
    fn a_bias_that_does_not_fit_widens_its_scale() {
        let w = weights(&matrix(&[2, 1], &[1e-9, 1.0]), Some(0), Some(&[100.0, 100.0]), 1e-3);
        let (whole, scales) = bias(&[100.0, 100.0], &w.scales, 1e-3);
        for (whole, scale) in whole.iter().zip(&scales) {
            assert!(*whole < f64::from(i32::MAX) && (whole * scale - 100.0).abs() < 1e-3, "{whole} {scale}");
        }
    }

    #[test]
    fn all_zeros_are_zeros() {
        let w = weights(&matrix(&[2, 2], &[0.0; 4]), Some(0), None, 1.0);
        assert_eq!((w.whole, w.scales), (vec![0.0; 4], vec![1.0; 2]));
    }
}
