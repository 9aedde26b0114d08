//! From accumulators to 8-bit values and back to numbers.

/// A real multiplier as `factor / 2^(32 + shift)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multiplier {
    /// In `[2^30, 2^31)`, or 0.
    pub factor: i32,
    /// Right shift beyond 32; negative for multipliers of a half and more.
    pub shift: i32,
}

/// Largest right shift beyond 32: smaller multipliers make 0 of every accumulator.
pub const SHIFT_MAX: i32 = 30;
/// Largest left shift: larger multipliers have no place in a model for 8-bit values.
pub const SHIFT_MIN: i32 = -24;

impl Multiplier {
    /// Makes 0 of every accumulator.
    const ZERO: Self = Self { factor: 0, shift: 1 };

    /// The nearest multiplier; `None` when it is negative, no number, or larger than `2^22`.
    pub fn from_real(real: f64) -> Option<Self> {
        if !(0.0..=4_194_304.0).contains(&real) {
            return None;
        }
        if real == 0.0 {
            return Some(Self::ZERO);
        }
        // Bring `real` into [1/4, 1/2), which is the factor's range over 2^32.
        let (mut scaled, mut shift) = (real, 0_i32);
        while scaled >= 0.5 {
            scaled /= 2.0;
            shift -= 1;
        }
        while scaled < 0.25 {
            scaled *= 2.0;
            shift += 1;
        }
        // To nearest; the number is positive.
        let mut factor = (scaled * 4_294_967_296.0 + 0.5) as i64;
        if factor == 1 << 31 {
            (factor, shift) = (1 << 30, shift - 1);
        }
        Some(if shift <= SHIFT_MAX { Self { factor: factor as i32, shift } } else { Self::ZERO })
    }

    /// Is this one that [`Self::apply`] may be asked with?
    pub fn is_valid(self) -> bool {
        self.factor >= 0 && (SHIFT_MIN..=SHIFT_MAX).contains(&self.shift)
    }

    /// Is it below a quarter? Then the shift is one of a word.
    #[inline(always)]
    pub fn is_small(self) -> bool {
        (1..=32).contains(&self.shift)
    }

    /// `floor(acc * factor / 2^(32 + shift) + 1/2)`, saturated to `i32`.
    #[inline(always)]
    pub fn apply(self, acc: i32) -> i32 {
        let product = i64::from(acc) * i64::from(self.factor);
        if self.shift >= 1 {
            // What is below 2^32 cannot change the result: the half that is added is a multiple of it.
            let high = (product >> 32) as i32;
            let half = 1_i32 << (self.shift - 1);
            return high.wrapping_add(half) >> self.shift;
        }
        let right = 32 + self.shift;
        let rounded = (product + (1_i64 << (right - 1))) >> right;
        rounded.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }
}

/// A value of a real number: `clamp(round_half_even(x / scale) + zero_point)`, as onnxruntime's QuantizeLinear computes it in `f32`. What
/// is no number becomes the zero point.
#[inline]
pub fn quantize(x: f32, scale: f32, zero_point: i32) -> i8 {
    let ratio = x / scale;
    if ratio.is_nan() {
        return zero_point.clamp(-128, 127) as i8;
    }
    let near = round_half_even(ratio.clamp(-1024.0, 1024.0));
    (near + zero_point).clamp(-128, 127) as i8
}

/// To nearest, halves to even; without the standard library, which has it only where there is one.
#[inline]
fn round_half_even(x: f32) -> i32 {
    // In [2^23, 2^24) the spacing of f32 is 1, and additions round halves to even.
    const MAGIC: f32 = 12_582_912.0;
    ((x + MAGIC) - MAGIC) as i32
}

/// The real number of a value: `(q - zero_point) * scale`.
#[inline]
pub fn dequantize(q: i8, scale: f32, zero_point: i32) -> f32 {
    (i32::from(q) - zero_point) as f32 * scale
}

/// How accumulators become values of one tensor.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    zero_point: i32,
    one_and_zero: i32,
}

impl Values {
    /// With this zero point.
    pub fn new(zero_point: i32) -> Self {
        Self { zero_point, one_and_zero: 1 + 2 * zero_point }
    }

    /// One more than twice the zero point.
    #[cfg(all(feature = "dsp", target_arch = "arm"))]
    pub(crate) fn one_and_zero(&self) -> i32 {
        self.one_and_zero
    }

    /// The values of accumulators that share a multiplier, which is below a quarter, held within 8 bit only: see [`Self::hold`].
    #[inline(always)]
    pub fn of_small<const N: usize>(self, by: Multiplier, accs: [i32; N]) -> [u8; N] {
        let right = (by.shift - 1) as u32 & 31;
        accs.map(|acc| shorten(acc, by.factor, right, self.one_and_zero).clamp(-128, 127) as u8)
    }

    /// Holds values within ends that are narrower than those of 8 bit, after the kernel: most layers have no such ends, and their loops
    /// need not know of them.
    pub fn hold((low, high): (i32, i32), values: &mut [u8]) {
        let (low, high) = (low as i8, high as i8);
        values.iter_mut().for_each(|value| *value = (*value as i8).max(low).min(high) as u8);
    }

    /// The value of one accumulator, with any multiplier.
    #[inline(always)]
    pub fn of_one(self, by: Multiplier, acc: i32) -> u8 {
        let right = (by.shift - 1) as u32;
        let value = if right < 32 {
            shorten(acc, by.factor, right, self.one_and_zero)
        } else {
            large(by.factor, by.shift, acc, self.zero_point)
        };
        value.clamp(-128, 127) as u8
    }
}

/// As [`Multiplier::apply`] with the zero point added, in fewer steps: the half and the zero point are added one bit early. `right` is the
/// shift less one.
#[inline(always)]
fn shorten(acc: i32, factor: i32, right: u32, one_and_zero: i32) -> i32 {
    let high = ((i64::from(acc) * i64::from(factor)) >> 32) as i32;
    ((high >> right) + one_and_zero) >> 1
}

/// Multipliers of a quarter and more are rare.
#[cold]
#[inline(never)]
fn large(factor: i32, shift: i32, acc: i32, zero_point: i32) -> i32 {
    Multiplier { factor, shift }.apply(acc).saturating_add(zero_point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_go_up() {
        let half = Multiplier::from_real(0.5).unwrap();
        for (acc, expected) in [(0, 0), (1, 1), (2, 1), (3, 2), (-1, 0), (-2, -1), (-3, -1), (-5, -2)] {
            assert_eq!(half.apply(acc), expected, "{acc}");
        }
        let eighth = Multiplier::from_real(0.125).unwrap();
        for (acc, expected) in [(3, 0), (4, 1), (11, 1), (12, 2), (-3, 0), (-4, 0), (-5, -1), (-12, -1), (-13, -2)] {
            assert_eq!(eighth.apply(acc), expected, "{acc}");
        }
    }

    #[test]
    fn the_ends_are_held() {
        assert_eq!(Multiplier::from_real(-1.0), None);
        assert_eq!(Multiplier::from_real(f64::NAN), None);
        assert_eq!(Multiplier::from_real(f64::INFINITY), None);
        assert_eq!(Multiplier::from_real(1e-12).map(|m| m.apply(i32::MAX)), Some(0));
        assert_eq!(Multiplier::from_real(4e6).map(|m| m.apply(i32::MIN)), Some(i32::MIN));
        assert_eq!(Multiplier::from_real(1.0).map(|m| m.apply(-7)), Some(-7));
    }

    #[test]
    fn numbers_enter_half_to_even_and_what_is_none_as_zero() {
        for (x, expected) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (1e30, 127), (-1e30, -128), (f32::INFINITY, 127)]
        {
            assert_eq!(quantize(x, 1.0, 0), expected, "{x}");
        }
        assert_eq!(quantize(f32::NAN, 1.0, -5), -5);
        assert_eq!(quantize(1.0, 0.25, -128), -124);
    }

    proptest! {
        #[test]
        fn values_are_rounded_moved_and_held(real in 1e-9_f64..1e3, acc in any::<i32>(), zero in -128_i32..128, ends in (-128_i32..128, -128_i32..128)) {
            let m = Multiplier::from_real(real).unwrap();
            let (low, high) = (ends.0.min(ends.1), ends.0.max(ends.1));
            let expected = m.apply(acc).saturating_add(zero).clamp(low, high) as i8;
            let mut one = [Values::new(zero).of_one(m, acc)];
            Values::hold((low, high), &mut one);
            prop_assert_eq!(one[0] as i8, expected);
        }

        #[test]
        fn one_rounding_of_the_exact_product(real in 1e-9_f64..1e6, acc in any::<i32>()) {
            let m = Multiplier::from_real(real).unwrap();
            prop_assert!(m.is_valid());
            // In 128 bit, without any shortcut.
            let right = 32 + m.shift;
            let exact = ((i128::from(acc) * i128::from(m.factor)) + (1_i128 << (right - 1))) >> right;
            let expected = exact.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32;
            prop_assert_eq!(m.apply(acc), expected);
            let error = (f64::from(m.factor) / 2_f64.powi(right) / real - 1.0).abs();
            prop_assert!(m.factor == 0 || error < 1e-9, "{}", error);
        }
    }
}
