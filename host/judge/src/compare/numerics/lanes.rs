//! Four f64 side by side: the one place that knows how sums are interleaved, and what a machine has for it.
//!
//! The width is part of the result (it fixes the order of additions), so it is the same on every machine and a record judged twice gives the
//! same bytes. The vectors are those of libraries: of arrays, the compiler makes single operations again as soon as a loop keeps several.

use wide::f64x4;

/// Accumulators that run side by side.
pub(super) const WIDTH: usize = 4;

/// How a machine computes with four f64. Each operation rounds as IEEE 754 says, so all machines give the same bits.
pub(super) trait Machine: Copy {
    /// Four values.
    type Four: Copy;

    fn four(self, values: [f64; WIDTH]) -> Self::Four;
    fn values(self, a: Self::Four) -> [f64; WIDTH];
    fn add(self, a: Self::Four, b: Self::Four) -> Self::Four;
    fn subtract(self, a: Self::Four, b: Self::Four) -> Self::Four;
    fn mul(self, a: Self::Four, b: Self::Four) -> Self::Four;
    fn divide(self, a: Self::Four, b: Self::Four) -> Self::Four;
    fn abs(self, a: Self::Four) -> Self::Four;
    /// The larger of each, `b` where one is NaN.
    fn max(self, a: Self::Four, b: Self::Four) -> Self::Four;
    /// The smaller of each, `b` where one is NaN.
    fn min(self, a: Self::Four, b: Self::Four) -> Self::Four;
    /// Per lane: `yes` where `a > b`, else `no`; where one is NaN, `no`.
    fn choose_if_above(self, a: Self::Four, b: Self::Four, yes: Self::Four, no: Self::Four) -> Self::Four;
    /// A bit per lane, the lowest for the first: set where `a >= b`; where one is NaN it is not.
    fn at_least(self, a: Self::Four, b: Self::Four) -> u32;
}

/// What every machine of an architecture has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Any;

impl Machine for Any {
    type Four = f64x4;

    #[inline(always)]
    fn four(self, values: [f64; WIDTH]) -> f64x4 {
        f64x4::new(values)
    }

    #[inline(always)]
    fn values(self, a: f64x4) -> [f64; WIDTH] {
        a.to_array()
    }

    #[inline(always)]
    fn add(self, a: f64x4, b: f64x4) -> f64x4 {
        a + b
    }

    #[inline(always)]
    fn subtract(self, a: f64x4, b: f64x4) -> f64x4 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f64x4, b: f64x4) -> f64x4 {
        a * b
    }

    #[inline(always)]
    fn divide(self, a: f64x4, b: f64x4) -> f64x4 {
        a / b
    }

    #[inline(always)]
    fn abs(self, a: f64x4) -> f64x4 {
        a.abs()
    }

    /// The instruction of x86-64 gives its second operand where one is NaN, those of other architectures do not.
    #[inline(always)]
    fn max(self, a: f64x4, b: f64x4) -> f64x4 {
        if cfg!(target_arch = "x86_64") { a.fast_max(b) } else { self.choose_if_above(a, b, a, b) }
    }

    #[inline(always)]
    fn min(self, a: f64x4, b: f64x4) -> f64x4 {
        if cfg!(target_arch = "x86_64") { a.fast_min(b) } else { self.choose_if_above(b, a, a, b) }
    }

    #[inline(always)]
    fn choose_if_above(self, a: f64x4, b: f64x4, yes: f64x4, no: f64x4) -> f64x4 {
        a.simd_gt(b).bitselect(yes, no)
    }

    #[inline(always)]
    fn at_least(self, a: f64x4, b: f64x4) -> u32 {
        a.simd_ge(b).to_bitmask()
    }
}

/// A machine with AVX2, whose vectors are as wide; there is one only where it was asked for. Nothing is fused: a fused product and sum round once.
#[cfg(target_arch = "x86_64")]
impl Machine for pulp::x86::V3 {
    type Four = pulp::f64x4;

    #[inline(always)]
    fn four(self, values: [f64; WIDTH]) -> pulp::f64x4 {
        pulp::cast(values)
    }

    #[inline(always)]
    fn values(self, a: pulp::f64x4) -> [f64; WIDTH] {
        pulp::cast(a)
    }

    #[inline(always)]
    fn add(self, a: pulp::f64x4, b: pulp::f64x4) -> pulp::f64x4 {
        self.add_f64x4(a, b)
    }

    #[inline(always)]
    fn subtract(self, a: pulp::f64x4, b: pulp::f64x4) -> pulp::f64x4 {
        self.sub_f64x4(a, b)
    }

    #[inline(always)]
    fn mul(self, a: pulp::f64x4, b: pulp::f64x4) -> pulp::f64x4 {
        self.mul_f64x4(a, b)
    }

    #[inline(always)]
    fn divide(self, a: pulp::f64x4, b: pulp::f64x4) -> pulp::f64x4 {
        self.div_f64x4(a, b)
    }

    #[inline(always)]
    fn abs(self, a: pulp::f64x4) -> pulp::f64x4 {
        self.abs_f64x4(a)
    }

    #[inline(always)]
    fn max(self, a: pulp::f64x4, b: pulp::f64x4) -> pulp::f64x4 {
        self.max_f64x4(a, b)
    }

    #[inline(always)]
    fn min(self, a: pulp::f64x4, b: pulp::f64x4) -> pulp::f64x4 {
        self.min_f64x4(a, b)
    }

    #[inline(always)]
    fn choose_if_above(self, a: pulp::f64x4, b: pulp::f64x4, yes: pulp::f64x4, no: pulp::f64x4) -> pulp::f64x4 {
        self.select_f64x4(self.cmp_gt_f64x4(a, b), yes, no)
    }

    #[inline(always)]
    fn at_least(self, a: pulp::f64x4, b: pulp::f64x4) -> u32 {
        self.avx._mm256_movemask_pd(pulp::cast(self.cmp_ge_f64x4(a, b))).cast_unsigned()
    }
}

/// Four values on a machine.
#[derive(Clone, Copy)]
pub(super) struct Lanes<M: Machine> {
    machine: M,
    four: M::Four,
}

impl<M: Machine> Lanes<M> {
    #[inline(always)]
    pub(super) fn zero(machine: M) -> Self {
        Self::splat(machine, 0.0)
    }

    #[inline(always)]
    pub(super) fn splat(machine: M, value: f64) -> Self {
        Self::new(machine, [value; WIDTH])
    }

    #[inline(always)]
    pub(super) fn new(machine: M, values: [f64; WIDTH]) -> Self {
        Self { machine, four: machine.four(values) }
    }

    #[inline(always)]
    pub(super) fn values(self) -> [f64; WIDTH] {
        self.machine.values(self.four)
    }

    #[inline(always)]
    fn with(self, four: M::Four) -> Self {
        Self { four, ..self }
    }

    #[inline(always)]
    pub(super) fn add(self, other: Self) -> Self {
        self.with(self.machine.add(self.four, other.four))
    }

    #[inline(always)]
    pub(super) fn subtract(self, other: Self) -> Self {
        self.with(self.machine.subtract(self.four, other.four))
    }

    #[inline(always)]
    pub(super) fn mul(self, other: Self) -> Self {
        self.with(self.machine.mul(self.four, other.four))
    }

    #[inline(always)]
    pub(super) fn divide(self, other: Self) -> Self {
        self.with(self.machine.divide(self.four, other.four))
    }

    /// The larger of each; a NaN in `other` is passed over.
    #[inline(always)]
    pub(super) fn max(self, other: Self) -> Self {
        self.with(self.machine.max(other.four, self.four))
    }

    /// The smaller of each, likewise.
    #[inline(always)]
    pub(super) fn min(self, other: Self) -> Self {
        self.with(self.machine.min(other.four, self.four))
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        self.with(self.machine.abs(self.four))
    }

    /// Per lane: `yes` where `self > other`, else `no`; where one is NaN, `no`.
    #[inline(always)]
    pub(super) fn choose_if_above(self, other: Self, yes: Self, no: Self) -> Self {
        self.with(self.machine.choose_if_above(self.four, other.four, yes.four, no.four))
    }

    /// A bit per lane, the lowest for the first: set where `self >= other`; where one is NaN it is not.
    #[inline(always)]
    pub(super) fn at_least(self, other: Self) -> u32 {
        self.machine.at_least(self.four, other.four)
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
    fn partial(machine: M, values: &[f64], fill: f64) -> Self {
        let values = match *values {
            [a] => [a, fill, fill, fill],
            [a, b] => [a, b, fill, fill],
            [a, b, c] => [a, b, c, fill],
            _ => [fill; WIDTH],
        };
        Self::new(machine, values)
    }
}

/// A plain comparison compiles to one instruction where `f64::max`, which must treat NaN, does not.
fn larger(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// Runs `step` over a slice, four at a time; the last lanes are filled with `fill`, which must not change the result.
///
/// `step` is to be `#[inline(always)]`: a call would cost more than what it does, and its accumulators would live in memory.
#[inline(always)]
pub(super) fn each<M: Machine>(machine: M, x: &[f64], fill: f64, mut step: impl FnMut(Lanes<M>)) {
    let (chunks, rest) = x.as_chunks();
    for chunk in chunks {
        step(Lanes::new(machine, *chunk));
    }
    if !rest.is_empty() {
        step(Lanes::partial(machine, rest, fill));
    }
}

/// The same over two slices of equal length.
#[inline(always)]
pub(super) fn each2<M: Machine>(
    machine: M,
    x: &[f64],
    y: &[f64],
    fill: [f64; 2],
    mut step: impl FnMut(Lanes<M>, Lanes<M>),
) {
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks(), y.as_chunks());
    for (x, y) in xs.iter().zip(ys) {
        step(Lanes::new(machine, *x), Lanes::new(machine, *y));
    }
    if !x_rest.is_empty() {
        step(Lanes::partial(machine, x_rest, fill[0]), Lanes::partial(machine, y_rest, fill[1]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a test on what every machine has, and on what this one has besides.
    macro_rules! on_each_machine {
        ($test:expr) => {
            $test(Any);
            #[cfg(target_arch = "x86_64")]
            if let Some(machine) = pulp::x86::V3::try_new() {
                $test(machine);
            }
        };
    }

    fn sees_every_length_whole<M: Machine>(machine: M) {
        let x: Vec<f64> = (1..=11).map(f64::from).collect();
        for n in 0..x.len() {
            let [mut sum, mut largest, mut products] = [Lanes::zero(machine); 3];
            each(machine, &x[..n], 0.0, |lanes| (sum, largest) = (sum.add(lanes), largest.max(lanes)));
            each2(machine, &x[..n], &x[..n], [0.0; 2], |a, b| products = products.add(a.mul(b)));
            let n = n as f64;
            assert_eq!(sum.sum(), n * (n + 1.0) / 2.0);
            assert_eq!(largest.largest(), n);
            assert_eq!(products.sum(), n * (n + 1.0) * (2.0 * n + 1.0) / 6.0);
        }
    }

    #[test]
    fn every_length_is_seen_whole() {
        on_each_machine!(sees_every_length_whole);
    }

    fn passes_over_a_nan<M: Machine>(machine: M) {
        let splat = |value| Lanes::splat(machine, value);
        let values = [1.0, 5.0, -7.0, 2.0].map(splat);
        for place in 0..=values.len() {
            let (mut largest, mut smallest) = (splat(f64::NEG_INFINITY), splat(f64::INFINITY));
            let (before, after) = values.split_at(place);
            for value in before.iter().chain(&[splat(f64::NAN)]).chain(after) {
                (largest, smallest) = (largest.max(*value), smallest.min(*value));
            }
            assert_eq!((largest.values(), smallest.values()), ([5.0; WIDTH], [-7.0; WIDTH]), "behind {place}");
        }
        let [one, nan] = [splat(1.0), splat(f64::NAN)];
        for (a, b) in [(one, nan), (nan, one), (nan, nan), (one, one)] {
            assert_eq!(a.choose_if_above(b, splat(1.0), splat(2.0)).values(), [2.0; WIDTH], "nothing is above NaN");
        }
        let mixed = Lanes::new(machine, [f64::NAN, 1.0, 0.5, 2.0]);
        assert_eq!((mixed.at_least(one), one.at_least(mixed), mixed.at_least(nan)), (0b1010, 0b0110, 0));
        assert_eq!(splat(2.0).choose_if_above(one, splat(3.0), splat(4.0)).values(), [3.0; WIDTH]);
    }

    #[test]
    fn a_nan_is_passed_over_wherever_it_comes() {
        on_each_machine!(passes_over_a_nan);
    }

    fn looks_at_every_lane<M: Machine>(machine: M) {
        for i in 0..WIDTH {
            let mut values = [1.0; WIDTH];
            values[i] = -3.0;
            assert_eq!(Lanes::new(machine, values).smallest(), -3.0);
            assert_eq!(Lanes::new(machine, values).abs().largest(), 3.0);
            values[i] = 3.0;
            assert_eq!(Lanes::new(machine, values).largest(), 3.0);
        }
        let [a, b] = [[1.0, 2.0, 3.0, 4.0], [8.0, 5.0, 2.0, 16.0]].map(|values| Lanes::new(machine, values));
        assert_eq!(a.subtract(b).values(), [-7.0, -3.0, 1.0, -12.0]);
        assert_eq!(a.divide(b).values(), [0.125, 0.4, 1.5, 0.25]);
    }

    #[test]
    fn every_lane_is_looked_at_in_its_place() {
        on_each_machine!(looks_at_every_lane);
    }
}
