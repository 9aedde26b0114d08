//! Sums over one block of finite pairs, and their addition over blocks.
//!
//! Within a block four interleaved f64 accumulators run side by side, so that the compiler vectorises and no partial sum sees more than a
//! few hundred terms; across blocks the totals are compensated (Neumaier), so that 10^8 pairs lose no more digits than one block. Means
//! and second moments are joined by Chan's formula: sums of squares would cancel when the mean is large against the spread.

use super::Options;
use super::lanes::{Lanes, Machine, each, each2};

/// A compensated sum (Neumaier 1974).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::compare) struct Sum {
    value: f64,
    lost: f64,
}

impl Sum {
    pub(in crate::compare) fn add(&mut self, term: f64) {
        let total = self.value + term;
        self.lost +=
            if self.value.abs() >= term.abs() { (self.value - total) + term } else { (term - total) + self.value };
        self.value = total;
    }

    pub(in crate::compare) fn merge(&mut self, later: Self) {
        self.add(later.value);
        self.add(later.lost);
    }

    /// The total; not finite when a term or the sum left the range of f64.
    pub(in crate::compare) fn total(self) -> f64 {
        self.value + self.lost
    }
}

/// Count, mean and sum of squared deviations from the mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::compare) struct Moments {
    pub(in crate::compare) count: u64,
    pub(in crate::compare) mean: f64,
    pub(in crate::compare) squared_deviations: f64,
}

impl Moments {
    /// Chan, Golub and LeVeque 1979.
    pub(in crate::compare) fn merge(&mut self, later: Self) {
        if later.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, later.count as f64);
        let delta = later.mean - self.mean;
        self.mean += delta * (m / (n + m));
        self.squared_deviations += later.squared_deviations + delta * delta * (n * m / (n + m));
        self.count += later.count;
    }

    /// Variance with `n - 1` in the denominator; `None` below two values.
    pub(in crate::compare) fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squared_deviations / (self.count - 1) as f64)
    }
}

/// What is added up over all finite pairs. `d = candidate - reference`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::compare) struct Totals {
    pub(in crate::compare) pairs: u64,
    pub(in crate::compare) d: Sum,
    pub(in crate::compare) d_abs: Sum,
    pub(in crate::compare) dd: Sum,
    pub(in crate::compare) rr: Sum,
    pub(in crate::compare) cc: Sum,
    pub(in crate::compare) rc: Sum,
    pub(in crate::compare) relative: Sum,
    pub(in crate::compare) within_tolerance: u64,
    pub(in crate::compare) zero_reference_differs: u64,
    pub(in crate::compare) peaks: Peaks,
    pub(in crate::compare) difference: Moments,
    pub(in crate::compare) reference: Moments,
}

/// Largest values over all finite pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::compare) struct Peaks {
    /// `max |d|`
    pub(in crate::compare) d_abs: f64,
    /// `max |d| / |r|` over `r != 0`
    pub(in crate::compare) relative: f64,
    /// The same, with [`ZERO_STAND_IN`] for `r = 0`.
    pub(in crate::compare) relative_stand_in: f64,
    pub(in crate::compare) r_abs: f64,
    pub(in crate::compare) c_abs: f64,
    /// `max c`, signed.
    pub(in crate::compare) c: f64,
}

impl Default for Peaks {
    fn default() -> Self {
        Self { d_abs: 0.0, relative: 0.0, relative_stand_in: 0.0, r_abs: 0.0, c_abs: 0.0, c: f64::NEG_INFINITY }
    }
}

/// What Polygraphy divides by when the reference is zero: the machine epsilon of f64.
pub(in crate::compare) const ZERO_STAND_IN: f64 = f64::EPSILON;

impl Totals {
    pub(in crate::compare) fn merge(&mut self, later: &Self) {
        self.pairs += later.pairs;
        for (sum, other) in [
            (&mut self.d, later.d),
            (&mut self.d_abs, later.d_abs),
            (&mut self.dd, later.dd),
            (&mut self.rr, later.rr),
            (&mut self.cc, later.cc),
            (&mut self.rc, later.rc),
            (&mut self.relative, later.relative),
        ] {
            sum.merge(other);
        }
        self.within_tolerance += later.within_tolerance;
        self.zero_reference_differs += later.zero_reference_differs;
        self.peaks.merge(&later.peaks);
        self.difference.merge(later.difference);
        self.reference.merge(later.reference);
    }

    /// Adds a block of pairs that are finite on both sides. All slices have the same length.
    #[inline(always)]
    pub(super) fn add_block<M: Machine>(
        &mut self,
        machine: M,
        r: &[f64],
        c: &[f64],
        d: &[f64],
        options: &Options,
    ) -> Peaks {
        self.add_differences(machine, r, c, d, &Differences::of(machine, d), options)
    }

    /// The same where the differences have been summed already.
    #[inline(always)]
    pub(super) fn add_differences<M: Machine>(
        &mut self,
        machine: M,
        r: &[f64],
        c: &[f64],
        d: &[f64],
        differences: &Differences,
        options: &Options,
    ) -> Peaks {
        let (products, relative) = (products(machine, r, c), relative(machine, r, d, options));
        let peaks = Peaks {
            d_abs: differences.max_abs,
            relative: relative.max,
            relative_stand_in: relative.max_stand_in,
            ..peaks(machine, r, c)
        };
        self.pairs += r.len() as u64;
        self.d.add(differences.sum);
        self.d_abs.add(differences.sum_abs);
        self.dd.add(differences.squares);
        self.rr.add(products.rr);
        self.cc.add(products.cc);
        self.rc.add(products.rc);
        self.relative.add(relative.sum);
        self.within_tolerance += relative.within;
        self.zero_reference_differs += relative.zero_reference_differs;
        self.peaks.merge(&peaks);
        self.difference.merge(moments(machine, d, differences.sum));
        self.reference.merge(moments(machine, r, products.r));
        peaks
    }
}

impl Peaks {
    fn merge(&mut self, later: &Self) {
        self.d_abs = self.d_abs.max(later.d_abs);
        self.relative = self.relative.max(later.relative);
        self.relative_stand_in = self.relative_stand_in.max(later.relative_stand_in);
        self.r_abs = self.r_abs.max(later.r_abs);
        self.c_abs = self.c_abs.max(later.c_abs);
        self.c = self.c.max(later.c);
    }
}

/// Sums of `d` and its largest magnitude.
pub(in crate::compare) struct Differences {
    sum: f64,
    sum_abs: f64,
    squares: f64,
    max_abs: f64,
}

impl Differences {
    #[inline(always)]
    pub(super) fn of<M: Machine>(machine: M, d: &[f64]) -> Self {
        let [mut sum, mut sum_abs, mut squares, mut max_abs] = [Lanes::zero(machine); 4];
        each(
            machine,
            d,
            0.0,
            #[inline(always)]
            |d| {
                let d_abs = d.abs();
                sum = sum.add(d);
                sum_abs = sum_abs.add(d_abs);
                squares = squares.add(d.mul(d));
                max_abs = max_abs.max(d_abs);
            },
        );
        Self { sum: sum.sum(), sum_abs: sum_abs.sum(), squares: squares.sum(), max_abs: max_abs.largest() }
    }

    /// Whether every difference is certainly finite, and so both operands: a NaN or an infinity anywhere spoils the sum of squares.
    /// (So does an overflow; then looking closer finds nothing.)
    pub(in crate::compare) fn all_finite(&self) -> bool {
        self.squares.is_finite()
    }
}

struct Products {
    r: f64,
    rr: f64,
    cc: f64,
    rc: f64,
}

#[inline(always)]
fn products<M: Machine>(machine: M, r: &[f64], c: &[f64]) -> Products {
    let [mut sum, mut rr, mut cc, mut rc] = [Lanes::zero(machine); 4];
    each2(
        machine,
        r,
        c,
        [0.0; 2],
        #[inline(always)]
        |r, c| {
            sum = sum.add(r);
            rr = rr.add(r.mul(r));
            cc = cc.add(c.mul(c));
            rc = rc.add(r.mul(c));
        },
    );
    Products { r: sum.sum(), rr: rr.sum(), cc: cc.sum(), rc: rc.sum() }
}

struct Relative {
    sum: f64,
    max: f64,
    max_stand_in: f64,
    within: u64,
    zero_reference_differs: u64,
}

/// Everything that is relative to the reference's element. The quotients go through a small buffer: one plain loop each for division, sums
/// and counts is faster than one loop with too many accumulators.
#[inline(always)]
fn relative<M: Machine>(machine: M, r: &[f64], d: &[f64], options: &Options) -> Relative {
    let Options { atol, rtol, .. } = *options;
    let mut buffer = [0.0; 256];
    let [mut sum, mut max] = [Lanes::zero(machine); 2];
    let (mut within, mut zeros) = (0, 0);
    for (r, d) in r.chunks(buffer.len()).zip(d.chunks(buffer.len())) {
        let quotients = &mut buffer[..r.len()];
        for ((quotient, r), d) in quotients.iter_mut().zip(r).zip(d) {
            *quotient = d.abs() / if *r == 0.0 { ZERO_STAND_IN } else { r.abs() };
        }
        each(
            machine,
            quotients,
            0.0,
            #[inline(always)]
            |quotient| {
                sum = sum.add(quotient);
                max = max.max(quotient);
            },
        );
        for (r, d) in r.iter().zip(d) {
            within += u64::from(d.abs() <= atol + rtol * r.abs());
            zeros += u64::from(*r == 0.0);
        }
    }
    let max_stand_in = max.largest();
    let (max, zero_reference_differs) =
        if zeros == 0 { (max_stand_in, 0) } else { relative_around_zeros(machine, r, d) };
    Relative { sum: sum.sum(), max, max_stand_in, within, zero_reference_differs }
}

/// Largest `|d| / |r|` over `r != 0`, and how many `r = 0` have `d != 0`.
#[inline(always)]
fn relative_around_zeros<M: Machine>(machine: M, r: &[f64], d: &[f64]) -> (f64, u64) {
    let mut max = Lanes::zero(machine);
    // Nothing over nothing is NaN, and where the reference is zero the quotient is not wanted anyway.
    each2(
        machine,
        r,
        d,
        [1.0, 0.0],
        #[inline(always)]
        |r, d| {
            let quotient = r.abs().choose_if_above(Lanes::zero(machine), d.abs().divide(r.abs()), Lanes::zero(machine));
            max = max.max(quotient);
        },
    );
    let differs = r.iter().zip(d).map(|(r, d)| u64::from((*r == 0.0) & (*d != 0.0))).sum();
    (max.largest(), differs)
}

/// The peaks of the operands themselves.
#[inline(always)]
fn peaks<M: Machine>(machine: M, r: &[f64], c: &[f64]) -> Peaks {
    let [mut r_abs, mut c_abs] = [Lanes::zero(machine); 2];
    let mut c_signed = Lanes::splat(machine, f64::NEG_INFINITY);
    // Filled with elements that are there.
    let fill = [r, c].map(|x| x.first().copied().unwrap_or(0.0));
    each2(
        machine,
        r,
        c,
        fill,
        #[inline(always)]
        |r, c| {
            r_abs = r_abs.max(r.abs());
            c_abs = c_abs.max(c.abs());
            c_signed = c_signed.max(c);
        },
    );
    Peaks { r_abs: r_abs.largest(), c_abs: c_abs.largest(), c: c_signed.largest(), ..Peaks::default() }
}

#[inline(always)]
fn moments<M: Machine>(machine: M, x: &[f64], sum: f64) -> Moments {
    if x.is_empty() {
        return Moments::default();
    }
    let mean = sum / x.len() as f64;
    let (mut squares, mean_lanes) = (Lanes::zero(machine), Lanes::splat(machine, mean));
    each(
        machine,
        x,
        mean,
        #[inline(always)]
        |x| {
            let deviation = x.subtract(mean_lanes);
            squares = squares.add(deviation.mul(deviation));
        },
    );
    Moments { count: x.len() as u64, mean, squared_deviations: squares.sum() }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Any;
    use super::*;

    #[test]
    fn compensation_keeps_what_plain_addition_loses() {
        let mut sum = Sum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn variance_survives_a_mean_that_is_large_against_the_spread() {
        // Deviations -1, 0, 1 around 1e9: sums of squares would give 0 or worse.
        let mut joined = Moments::default();
        for value in [1e9 - 1.0, 1e9, 1e9 + 1.0] {
            joined.merge(moments(Any, &[value], value));
        }
        assert_eq!(joined.variance(), Some(1.0));
    }

    #[test]
    fn lanes_that_are_only_padding_change_nothing() {
        for n in 1..10 {
            let r: Vec<f64> = (0..n).map(|i| f64::from(i) - 20.0).collect();
            let c: Vec<f64> = r.iter().map(|x| x - 0.5).collect();
            let d = vec![-0.5; r.len()];
            let mut totals = Totals::default();
            totals.add_block(Any, &r, &c, &d, &Options { atol: 1.0, ..Options::default() });
            assert_eq!(totals.within_tolerance, r.len() as u64);
            assert_eq!(totals.peaks.c, c[r.len() - 1], "the largest candidate is negative");
            assert_eq!(totals.d_abs.total(), 0.5 * r.len() as f64);
            assert!((totals.relative.total() - r.iter().map(|r| 0.5 / r.abs()).sum::<f64>()).abs() < 1e-12);
        }
    }

    #[test]
    fn one_value_that_is_not_finite_is_found_anywhere() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for position in 0..9 {
                let mut d = [1.0; 9];
                assert!(Differences::of(Any, &d).all_finite());
                d[position] = bad;
                assert!(!Differences::of(Any, &d).all_finite());
            }
        }
    }
}
