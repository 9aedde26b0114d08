//! Ranges of activations, from all the values that calibration saw, and the quantizers that they make.

use crate::QuantizeError;
use boardproof_record::layers::Quantizer;

/// Cells of a histogram on each side of zero.
const HALF: usize = 4096;
/// Cells of magnitudes that the divergence is taken over; TensorRT has as many.
const MAGNITUDES: usize = 2048;

/// How a range is chosen from a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// From the smallest value to the largest: nothing that was seen is cut off.
    MinMax,
    /// So that this share of the values, in percent, lies within; half of the others on either side.
    Percentile(f64),
    /// The magnitude beyond which cutting off loses the least information.
    Entropy,
}

/// Element type of quantized activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// -128 to 127.
    Int8,
    /// 0 to 255.
    Uint8,
}

impl Activation {
    fn ends(self) -> (f64, f64) {
        match self {
            Self::Int8 => (-128.0, 127.0),
            Self::Uint8 => (0.0, 255.0),
        }
    }
}

/// All values of one tensor, counted in cells of one width, in bounded memory whatever comes.
///
/// The outermost edge is a power of two and doubles when a value lies beyond it; two cells become one then. So the counts do not depend on
/// the order in which values come.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    /// Outermost edge; 0 until a value that is not zero has come.
    edge: f64,
    /// Values that came while there was no edge: zeros.
    zeros: u64,
    min: f64,
    max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Vec::new(), edge: 0.0, zeros: 0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Histogram {
    /// Counts values. `tensor` names them in errors.
    ///
    /// # Errors
    /// One of them is NaN or infinite: no range holds it.
    pub fn add(&mut self, tensor: &str, values: impl IntoIterator<Item = f64>) -> Result<(), QuantizeError> {
        for value in values {
            if !value.is_finite() {
                return Err(QuantizeError::NonFinite { tensor: tensor.into(), found: value });
            }
            self.count(value);
        }
        Ok(())
    }

    fn count(&mut self, value: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if self.edge == 0.0 {
            if value == 0.0 {
                self.zeros += 1;
                return;
            }
            self.edge = power_of_two_beyond(value.abs());
            self.counts = vec![0; 2 * HALF];
            self.counts[HALF] = self.zeros;
        }
        while value.abs() >= self.edge {
            self.double();
        }
        let cell = ((value / self.edge + 1.0) * HALF as f64).floor() as usize;
        self.counts[cell.min(2 * HALF - 1)] += 1;
    }

    fn double(&mut self) {
        let mut wider = vec![0; 2 * HALF];
        for (cell, count) in self.counts.iter().enumerate() {
            wider[HALF / 2 + cell / 2] += count;
        }
        self.counts = wider;
        self.edge *= 2.0;
    }

    /// Values that were counted.
    pub fn values(&self) -> u64 {
        self.counts.iter().sum::<u64>().max(self.zeros)
    }

    /// The range of the method, within what was seen; `None` before any value.
    pub fn range(&self, method: Method) -> Option<(f64, f64)> {
        if self.values() == 0 {
            return None;
        }
        if self.edge == 0.0 {
            return Some((0.0, 0.0));
        }
        Some(match method {
            Method::MinMax => (self.min, self.max),
            Method::Percentile(percent) => self.percentile(percent),
            Method::Entropy => {
                let most = self.least_divergence();
                (self.min.max(-most), self.max.min(most))
            }
        })
    }

    fn lower_edge(&self, cell: usize) -> f64 {
        (cell as f64 / HALF as f64 - 1.0) * self.edge
    }

    /// The cells in which the shares are reached, with their outer edges.
    fn percentile(&self, percent: f64) -> (f64, f64) {
        let outside = self.values() as f64 * (1.0 - percent / 100.0) / 2.0;
        let low = self.reached(0..2 * HALF, outside).map_or(self.min, |cell| self.lower_edge(cell));
        let high = self.reached((0..2 * HALF).rev(), outside).map_or(self.max, |cell| self.lower_edge(cell + 1));
        (low.max(self.min), high.min(self.max))
    }

    /// The first of the cells up to which there are more values than so many.
    fn reached(&self, mut cells: impl Iterator<Item = usize>, outside: f64) -> Option<usize> {
        let mut sum = 0.0;
        cells.find(|cell| {
            sum += self.counts[*cell] as f64;
            sum > outside
        })
    }

    /// The magnitude at which to cut off so that the Kullback-Leibler divergence of what is left from what was seen is least.
    ///
    /// S. Migacz, "8-bit Inference with TensorRT", GTC 2017: for every candidate, the distribution P is the cells below it with all that
    /// lies beyond added to the last; Q is these cells (without what was added) merged into as many levels as the integers have, and
    /// spread again over the cells that are not empty. The candidate with the least sum of P log(P / Q) wins, the larger of two that are
    /// equal. Levels: 128 where values have both signs, 256 where only one; the empty ones of Q count as one 10 000th of a value.
    fn least_divergence(&self) -> f64 {
        let magnitudes = self.magnitudes();
        let levels = if self.min >= 0.0 || self.max <= 0.0 { 256 } else { 128 };
        let used = magnitudes.iter().rposition(|count| *count > 0.0).map_or(0, |last| last + 1);
        let divergences = (levels..=used.max(levels)).map(|cells| (cells, divergence(&magnitudes, cells, levels)));
        let best =
            divergences.fold((used.max(levels), f64::INFINITY), |best, own| if own.1 <= best.1 { own } else { best });
        best.0 as f64 / MAGNITUDES as f64 * self.edge
    }

    /// Counts by magnitude. Those of the first cell are taken for those of the second, as in NVIDIA's pytorch-quantization: behind Relu most
    /// values are 0, which every quantizer holds exactly, and merging that peak with its neighbours would outweigh all else.
    fn magnitudes(&self) -> Vec<f64> {
        let merged = HALF / MAGNITUDES;
        let mut magnitudes = vec![0.0; MAGNITUDES];
        for cell in 0..HALF {
            magnitudes[cell / merged] += (self.counts[HALF + cell] + self.counts[HALF - 1 - cell]) as f64;
        }
        magnitudes[0] = magnitudes[1];
        magnitudes
    }
}

fn power_of_two_beyond(magnitude: f64) -> f64 {
    let edge = magnitude.log2().floor().exp2();
    // Logarithms round; the edge must lie beyond.
    if edge > magnitude { edge } else { 2.0 * edge }
}

/// Divergence of the first cells, quantized to so many levels, from all of them.
fn divergence(all: &[f64], cells: usize, levels: usize) -> f64 {
    const EMPTY: f64 = 1e-4;
    let kept = &all[..cells];
    let beyond: f64 = all[cells..].iter().sum();
    let mut spread = vec![0.0; cells];
    for level in 0..levels {
        let (from, to) = (level * cells / levels, (level + 1) * cells / levels);
        let filled = kept[from..to].iter().filter(|count| **count > 0.0).count();
        let mean = kept[from..to].iter().sum::<f64>() / filled.max(1) as f64;
        (from..to).filter(|cell| kept[*cell] > 0.0).for_each(|cell| spread[cell] = mean);
    }
    let total = kept.iter().sum::<f64>() + beyond;
    let total_spread = spread.iter().map(|count| count.max(EMPTY)).sum::<f64>();
    let seen = |cell: usize| kept[cell] + if cell + 1 == cells { beyond } else { 0.0 };
    let term = |cell: usize| match seen(cell) / total {
        p if p > 0.0 => p * (p * total_spread / spread[cell].max(EMPTY)).ln(),
        _ => 0.0,
    };
    (0..cells).map(term).sum()
}

/// The quantizer of a range: asymmetric, with a whole number for 0, so that padding and what an activation cuts off are exact. A range
/// that does not hold 0 is widened to it; one that is 0 and nothing else gets steps of 1.
pub fn quantizer((low, high): (f64, f64), activation: Activation) -> Quantizer {
    let (least, most) = activation.ends();
    let (low, high) = (low.min(0.0), high.max(0.0));
    // Files have scales of F32.
    let scale = match f64::from(((high - low) / (most - least)) as f32) {
        none if none == 0.0 && low == high => 1.0,
        scale => scale.max(f64::from(f32::MIN_POSITIVE)),
    };
    let zero = (least - low / scale).round_ties_even().clamp(least, most);
    Quantizer { scale, zero, least, most }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = f64>) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add("x", values).unwrap();
        histogram
    }

    #[test]
    fn what_is_no_number_is_told_with_its_tensor() {
        for bad in [f64::NAN, f64::INFINITY] {
            let error = Histogram::default().add("/conv/out", [1.0, bad]).unwrap_err().to_string();
            assert!(error.contains("'/conv/out'") && error.contains(&bad.to_string()), "{error}");
        }
    }

    #[test]
    fn nothing_has_no_range() {
        assert_eq!(Histogram::default().range(Method::MinMax), None);
    }

    #[test]
    fn counts_do_not_depend_on_the_order() {
        let values: Vec<f64> = (0..5000).map(|i| (f64::from(i) * 0.37).sin() * f64::from(i + 1)).collect();
        let (forward, back) = (histogram(values.clone()), histogram(values.iter().rev().copied()));
        assert_eq!((forward.edge, &forward.counts), (back.edge, &back.counts));
        assert_eq!(forward.values(), 5000);
        // Zeros before the first other value are counted, too.
        let (first, last) = (histogram([0.0, 0.0, 3.0]), histogram([3.0, 0.0, 0.0]));
        assert_eq!(first.counts, last.counts);
    }

    #[test]
    fn the_smallest_and_the_largest_value_are_exact() {
        assert_eq!(histogram([0.1, -7.3, 2.9]).range(Method::MinMax), Some((-7.3, 2.9)));
    }

    #[test]
    fn a_percentile_leaves_out_what_is_rare() {
        let values = (0..10_000).map(|i| f64::from(i % 100)).chain([1000.0, -1000.0]);
        let (low, high) = histogram(values).range(Method::Percentile(99.9)).unwrap();
        assert!((-0.3..=0.0).contains(&low) && (99.0..99.6).contains(&high), "{low} {high}");
    }

    #[test]
    fn a_percentile_of_all_is_what_was_seen() {
        let values = || (0..1000).map(|i| f64::from(i) / 7.0 - 20.0);
        assert_eq!(histogram(values()).range(Method::Percentile(100.0)), histogram(values()).range(Method::MinMax));
    }

    #[test]
    fn the_divergence_cuts_a_lone_outlier_and_keeps_an_even_spread() {
        let bell = || (0..20_000).map(|i| (f64::from(i) + 0.5) / 20_000.0).map(|u| (u / (1.0 - u)).ln());
        let (low, high) = histogram(bell().chain([400.0])).range(Method::Entropy).unwrap();
        assert!(high < 100.0 && high > 3.0 && low > -100.0, "{low} {high}");
        // A peak at 0 says nothing about what lies beside it.
        let relu = histogram(bell().map(|x: f64| x.max(0.0)));
        assert!(relu.range(Method::Entropy).unwrap().1 > 5.0, "{:?}", relu.range(Method::Entropy));
        let even = histogram((0..=40_000).map(|i| f64::from(i) / 40_000.0));
        assert!(even.range(Method::Entropy).unwrap().1 > 0.95, "{:?}", even.range(Method::Entropy));
    }

    #[test]
    fn zero_has_a_whole_number_of_its_own() {
        for (low, high) in [(-1.0, 3.0), (0.5, 3.0), (-7.0, -2.0), (0.0, 1e-30), (-0.013, 0.9)] {
            for activation in [Activation::Int8, Activation::Uint8] {
                let q = quantizer((low, high), activation);
                assert_eq!(q.number(q.whole(0.0)), 0.0, "{low} {high}");
                assert!(q.low() <= low.min(0.0) + q.scale && q.high() >= high.max(0.0) - q.scale, "{low} {high} {q:?}");
                assert_eq!(q.scale, f64::from(q.scale as f32));
            }
        }
        assert_eq!(quantizer((0.0, 6.0), Activation::Int8).zero, -128.0);
        assert_eq!(quantizer((0.0, 0.0), Activation::Int8).scale, 1.0);
    }
}
