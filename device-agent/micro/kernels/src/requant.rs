//! From accumulators to 8-bit values and back to numbers.

/// A real multiplier as `factor / 2^(32 + shift)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multiplier {
    /// In `[2^30, 2^31)`, or 0.
    pub factor: i32,
    /// Right shift beyond 32; negative for multipliers of a quarter and more.
    pub shift: i8,
}

/// Largest right shift beyond 32: smaller multipliers make 0 of every accumulator.
pub const SHIFT_MAX: i8 = 30;
/// Largest left shift: larger multipliers have no place in a model for 8-bit values.
pub const SHIFT_MIN: i8 = -24;

impl Multiplier {
    /// The nearest multiplier; `None` when it is negative, no number, or larger than `2^22`.
    pub fn from_real(real: f64) -> Option<Self> {
        if !(0.0..=4_194_304.0).contains(&real) {
            return None;
        }
        if real == 0.0 {
            return Some(Self { factor: 0, shift: 0 });
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
        match i8::try_from(shift) {
            Ok(shift) if shift <= SHIFT_MAX => Some(Self { factor: factor as i32, shift }),
            _ => Some(Self { factor: 0, shift: 0 }),
        }
    }

    /// Is this one that [`Self::apply`] may be asked with?
    pub fn is_valid(self) -> bool {
        self.factor >= 0 && (SHIFT_MIN..=SHIFT_MAX).contains(&self.shift)
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
        let right = 32 + i32::from(self.shift);
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
    low: i32,
    high: i32,
}

impl Values {
    /// With this zero point and these ends.
    pub fn new(zero_point: i32, (low, high): (i32, i32)) -> Self {
        Self { zero_point, low, high }
    }

    /// The values of accumulators that share a multiplier, held within 8 bit only: see [`Self::hold`].
    #[inline(always)]
    pub fn of<const N: usize>(self, by: Multiplier, accs: [i32; N]) -> [u8; N] {
        let right = (i32::from(by.shift) - 1) as u32;
        let mut values = accs;
        if right < 32 {
            let one_and_zero = 1 + 2 * self.zero_point;
            for value in &mut values {
                *value = shorten(*value, by.factor, right, one_and_zero);
            }
        } else {
            for value in &mut values {
                *value = large(by.factor, by.shift, *value, self.zero_point);
            }
        }
        values.map(|value| value.clamp(-128, 127) as u8)
    }

    /// The values of accumulators that have a multiplier each, all of them below a half.
    #[inline(always)]
    pub fn put_four(self, factors: &[[u8; 4]; 4], shifts: [u8; 4], accs: [i32; 4], output: &mut [u8; 4]) {
        let one_and_zero = 1 + 2 * self.zero_point;
        // All four less one at once. No shift is 0, so none borrows from the next, and none is 32 or more: the mask says so.
        let rights = u32::from_le_bytes(shifts).wrapping_sub(0x0101_0101) & 0x1f1f_1f1f;
        for lane in 0..4 {
            let right = rights >> (8 * lane) & 0xff;
            let value = shorten(accs[lane], i32::from_le_bytes(factors[lane]), right, one_and_zero);
            output[lane] = value.clamp(-128, 127) as u8;
        }
    }

    /// The values of two accumulators that share a multiplier, which is below a half.
    #[inline(always)]
    pub fn put_two(self, factor: [u8; 4], shift: u8, accs: [i32; 2], outputs: [&mut u8; 2]) {
        let right = u32::from(shift).wrapping_sub(1) & 31;
        for (output, acc) in outputs.into_iter().zip(accs) {
            *output = shorten(acc, i32::from_le_bytes(factor), right, 1 + 2 * self.zero_point).clamp(-128, 127) as u8;
        }
    }

    /// Holds values within ends that are narrower than those of 8 bit, after the kernel: most layers have no such ends, and their loops
    /// need not know of them.
    pub fn hold(self, values: &mut [u8]) {
        let (low, high) = (self.low as i8, self.high as i8);
        if (low, high) != (i8::MIN, i8::MAX) {
            values.iter_mut().for_each(|value| *value = (*value as i8).max(low).min(high) as u8);
        }
    }

    /// The value of one accumulator.
    #[inline(always)]
    pub fn of_one(self, by: Multiplier, acc: i32) -> u8 {
        let [value] = self.of(by, [acc]);
        value
    }
}

/// As [`Multiplier::apply`] with the zero point added, in fewer steps: the half and the zero point are added one bit early. `right` is the
/// shift less one.
#[inline(always)]
fn shorten(acc: i32, factor: i32, right: u32, one_and_zero: i32) -> i32 {
    let high = ((i64::from(acc) * i64::from(factor)) >> 32) as i32;
    ((high >> right) + one_and_zero) >> 1
}

/// Multipliers of a half and more are rare.
#[cold]
#[inline(never)]
fn large(factor: i32, shift: i8, acc: i32, zero_point: i32) -> i32 {
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
            let values = Values::new(zero, (low, high));
            let mut one = [values.of_one(m, acc)];
            values.hold(&mut one);
            prop_assert_eq!(one[0] as i8, expected);
        }

        #[test]
        fn one_rounding_of_the_exact_product(real in 1e-9_f64..1e6, acc in any::<i32>()) {
            let m = Multiplier::from_real(real).unwrap();
            prop_assert!(m.is_valid());
            // In 128 bit, without any shortcut.
            let right = 32 + i32::from(m.shift);
            let exact = ((i128::from(acc) * i128::from(m.factor)) + (1_i128 << (right - 1))) >> right;
            let expected = exact.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32;
            prop_assert_eq!(m.apply(acc), expected);
            let error = (f64::from(m.factor) / 2_f64.powi(right) / real - 1.0).abs();
            prop_assert!(m.factor == 0 || error < 1e-9, "{}", error);
        }
    }
}
