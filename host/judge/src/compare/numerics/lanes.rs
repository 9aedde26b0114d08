//! Four f64 side by side: the one place that knows how sums are interleaved.
//!
//! The width is part of the result (it fixes the order of additions), so it is the same on every machine and a record judged twice gives the
//! same bytes. The vectors are `wide`'s: of arrays, the compiler makes single operations again as soon as a loop keeps several.

use wide::f64x4;

/// Accumulators that run side by side.
pub(super) const WIDTH: usize = 4;

/// Four values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes(f64x4);

impl Lanes {
    pub(super) const ZERO: Self = Self(f64x4::ZERO);

    #[inline(always)]
    pub(super) fn splat(value: f64) -> Self {
        Self(f64x4::splat(value))
    }

    #[inline(always)]
    pub(super) fn new(values: [f64; WIDTH]) -> Self {
        Self(f64x4::new(values))
    }

    #[inline(always)]
    pub(super) fn values(self) -> [f64; WIDTH] {
        self.0.to_array()
    }

    #[inline(always)]
    pub(super) fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    #[inline(always)]
    pub(super) fn subtract(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    #[inline(always)]
    pub(super) fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }

    #[inline(always)]
    pub(super) fn divide(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }

    /// The larger of each; a NaN in `other` is passed over. The instruction of x86-64 gives its second operand where one is NaN, those of other
    /// machines do not.
    #[inline(always)]
    pub(super) fn max(self, other: Self) -> Self {
        if cfg!(target_arch = "x86_64") {
            Self(other.0.fast_max(self.0))
        } else {
            other.choose_if_above(self, other, self)
        }
    }

    /// The smaller of each, likewise.
    #[inline(always)]
    pub(super) fn min(self, other: Self) -> Self {
        if cfg!(target_arch = "x86_64") {
            Self(other.0.fast_min(self.0))
        } else {
            self.choose_if_above(other, other, self)
        }
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// Per lane: `yes` where `self > other`, else `no`; where one is NaN, `no`.
    #[inline(always)]
    pub(super) fn choose_if_above(self, other: Self, yes: Self, no: Self) -> Self {
        Self(self.0.simd_gt(other.0).bitselect(yes.0, no.0))
    }

    #[inline(always)]
    pub(super) fn sum(self) -> f64 {
        let [a, b, c, d] = self.values();
        (a + b) + (c + d)
    }

    #[inline(always)]
    pub(super) fn largest(self) -> f64 {
        let [a, b, c, d] = self.values();
        larger(larger(a, b), larger(c, d))
    }

    #[inline(always)]
    pub(super) fn smallest(self) -> f64 {
        let [a, b, c, d] = self.values();
        -larger(larger(-a, -b), larger(-c, -d))
    }

    /// Up to three values, the other lanes filled.
    #[inline(always)]
    fn partial(values: &[f64], fill: f64) -> Self {
        Self::new(match *values {
            [a] => [a, fill, fill, fill],
            [a, b] => [a, b, fill, fill],
            [a, b, c] => [a, b, c, fill],
            _ => [fill; WIDTH],
        })
    }
}

/// A plain comparison compiles to one instruction where `f64::max`, which must treat NaN, does not.
fn larger(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// Runs `step` over a slice, four at a time; the last lanes are filled with `fill`, which must not change the result.
///
/// `step` is called in one place only: called in two it would not be inlined, and its accumulators would live in memory.
#[inline(always)]
pub(super) fn each(x: &[f64], fill: f64, mut step: impl FnMut(Lanes)) {
    let (chunks, rest) = x.as_chunks();
    for i in 0..x.len().div_ceil(WIDTH) {
        step(chunks.get(i).map_or_else(|| Lanes::partial(rest, fill), |chunk| Lanes::new(*chunk)));
    }
}

/// The same over two slices of equal length.
#[inline(always)]
pub(super) fn each2(x: &[f64], y: &[f64], fill: [f64; 2], mut step: impl FnMut(Lanes, Lanes)) {
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks(), y.as_chunks());
    for i in 0..x.len().div_ceil(WIDTH) {
        let (x, y) = match (xs.get(i), ys.get(i)) {
            (Some(x), Some(y)) => (Lanes::new(*x), Lanes::new(*y)),
            _ => (Lanes::partial(x_rest, fill[0]), Lanes::partial(y_rest, fill[1])),
        };
        step(x, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_seen_whole() {
        let x: Vec<f64> = (1..=11).map(f64::from).collect();
        for n in 0..x.len() {
            let (mut sum, mut largest, mut products) = (Lanes::ZERO, Lanes::ZERO, Lanes::ZERO);
            each(&x[..n], 0.0, |lanes| (sum, largest) = (sum.add(lanes), largest.max(lanes)));
            each2(&x[..n], &x[..n], [0.0; 2], |a, b| products = products.add(a.mul(b)));
            let n = n as f64;
            assert_eq!(sum.sum(), n * (n + 1.0) / 2.0);
            assert_eq!(largest.largest(), n);
            assert_eq!(products.sum(), n * (n + 1.0) * (2.0 * n + 1.0) / 6.0);
        }
    }

    #[test]
    fn a_nan_is_passed_over_wherever_it_comes() {
        let values = [1.0, 5.0, -7.0, 2.0].map(Lanes::splat);
        for place in 0..=values.len() {
            let (mut largest, mut smallest) = (Lanes::splat(f64::NEG_INFINITY), Lanes::splat(f64::INFINITY));
            let (before, after) = values.split_at(place);
            for value in before.iter().chain(&[Lanes::splat(f64::NAN)]).chain(after) {
                (largest, smallest) = (largest.max(*value), smallest.min(*value));
            }
            assert_eq!((largest.values(), smallest.values()), ([5.0; WIDTH], [-7.0; WIDTH]), "behind {place}");
        }
    }

    #[test]
    fn smallest_and_largest_look_at_every_lane() {
        for i in 0..WIDTH {
            let mut values = [1.0; WIDTH];
            values[i] = -3.0;
            assert_eq!(Lanes::new(values).smallest(), -3.0);
            values[i] = 3.0;
            assert_eq!(Lanes::new(values).largest(), 3.0);
        }
    }
}
