//! Four f64 side by side: the one place that knows how sums are interleaved.
//!
//! The width is part of the result (it fixes the order of additions), so it is the same on every machine and a record judged twice gives the
//! same bytes. Operations are written per lane and compile to vector instructions where the machine has them.

/// Accumulators that run side by side.
pub(super) const WIDTH: usize = 4;

/// Four values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes([f64; WIDTH]);

impl Lanes {
    pub(super) const ZERO: Self = Self::splat(0.0);

    pub(super) const fn splat(value: f64) -> Self {
        Self([value; WIDTH])
    }

    #[inline(always)]
    pub(super) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    pub(super) fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    pub(super) fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    pub(super) fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    pub(super) fn max(self, other: Self) -> Self {
        self.zip(other, larger)
    }

    #[inline(always)]
    pub(super) fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if b < a { b } else { a })
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        self.map(f64::abs)
    }

    pub(super) fn sum(self) -> f64 {
        let [a, b, c, d] = self.0;
        (a + b) + (c + d)
    }

    pub(super) fn largest(self) -> f64 {
        let [a, b, c, d] = self.0;
        larger(larger(a, b), larger(c, d))
    }

    pub(super) fn smallest(self) -> f64 {
        -self.map(|x| -x).largest()
    }

    /// Up to three values, the other lanes filled.
    fn partial(values: &[f64], fill: f64) -> Self {
        Self(match *values {
            [a] => [a, fill, fill, fill],
            [a, b] => [a, b, fill, fill],
            [a, b, c] => [a, b, c, fill],
            _ => [fill; WIDTH],
        })
    }
}

/// A plain comparison compiles to one instruction where `f64::max`, which must treat NaN, does not. A NaN in `b` is passed over.
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
        step(chunks.get(i).map_or_else(|| Lanes::partial(rest, fill), |chunk| Lanes(*chunk)));
    }
}

/// The same over two slices of equal length.
#[inline(always)]
pub(super) fn each2(x: &[f64], y: &[f64], fill: [f64; 2], mut step: impl FnMut(Lanes, Lanes)) {
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks(), y.as_chunks());
    for i in 0..x.len().div_ceil(WIDTH) {
        let (x, y) = match (xs.get(i), ys.get(i)) {
            (Some(x), Some(y)) => (Lanes(*x), Lanes(*y)),
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
    fn smallest_and_largest_look_at_every_lane() {
        for i in 0..WIDTH {
            let mut values = [1.0; WIDTH];
            values[i] = -3.0;
            assert_eq!(Lanes(values).smallest(), -3.0);
            values[i] = 3.0;
            assert_eq!(Lanes(values).largest(), 3.0);
        }
    }
}
