//! Numbers as text, without `core::fmt`: its code for floats alone is larger than the rest of this crate.

/// Digits of the largest `f32`.
const DIGITS: usize = 39;

/// Writes `value` in decimal, as C's `%u` does. 32 bits: a division of 64 bits is a function of its own on a microcontroller.
pub fn unsigned(value: u32, out: &mut impl FnMut(&[u8])) {
    let mut digits = [0; 10];
    let mut first = digits.len();
    let mut rest = value;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out(&digits[first..]);
}

/// Writes `value` in decimal, as C's `%d` does.
pub fn signed(value: i32, out: &mut impl FnMut(&[u8])) {
    if value < 0 {
        out(b"-");
    }
    unsigned(value.unsigned_abs(), out);
}

/// Writes `value` with three decimals, as C's `%0.3f` does: the exact value of the `f32`, rounded half to even; `nan`, `inf` and `-inf`
/// for what is no number, and a minus before a negative zero.
pub fn thousandths(value: f32, out: &mut impl FnMut(&[u8])) {
    if value.is_nan() {
        return out(b"nan");
    }
    if value.is_sign_negative() {
        out(b"-");
    }
    if value.is_infinite() {
        return out(b"inf");
    }
    let bits = value.to_bits();
    let (mantissa, exponent) = match (bits >> 23) & 0xff {
        0 => (bits & 0x7f_ffff, -149),
        biased => ((bits & 0x7f_ffff) | 0x80_0000, biased as i32 - 150),
    };
    match u32::try_from(exponent) {
        Ok(doublings) => whole(mantissa, doublings, out),
        Err(_) => fraction(mantissa, exponent.unsigned_abs(), out),
    }
}

/// `mantissa * 2^doublings`, at most 39 digits. By doubling a decimal number: rare in outputs of models, so small before fast.
fn whole(mantissa: u32, doublings: u32, out: &mut impl FnMut(&[u8])) {
    let mut digits = [0u8; DIGITS];
    let mut rest = mantissa;
    for digit in digits.iter_mut().rev() {
        *digit = (rest % 10) as u8;
        rest /= 10;
    }
    for _ in 0..doublings {
        let mut carry = 0;
        for digit in digits.iter_mut().rev() {
            let doubled = *digit * 2 + carry;
            (*digit, carry) = (doubled % 10, doubled / 10);
        }
    }
    let first = digits.iter().position(|digit| *digit != 0).unwrap_or(DIGITS - 1);
    for digit in &digits[first..] {
        out(&[b'0' + digit]);
    }
    out(b".000");
}

/// `mantissa / 2^halvings` with `mantissa < 2^24`.
fn fraction(mantissa: u32, halvings: u32, out: &mut impl FnMut(&[u8])) {
    let mut whole = mantissa.checked_shr(halvings).unwrap_or(0);
    let mut part = part_of_1000(mantissa, halvings);
    if part == 1000 {
        whole += 1;
        part = 0;
    }
    unsigned(whole, out);
    out(&[b'.', b'0' + (part / 100) as u8, b'0' + (part / 10 % 10) as u8, b'0' + (part % 10) as u8]);
}

/// The part behind the point in thousandths, 0 to 1000, rounded half to even.
fn part_of_1000(mantissa: u32, halvings: u32) -> u32 {
    // 2^24 * 1000 < 2^34: from 2^35 on the quotient is below one half.
    if halvings > 34 {
        return 0;
    }
    let one = 1u64 << halvings;
    let scaled = (u64::from(mantissa) & (one - 1)) * 1000;
    let (floor, rest) = ((scaled >> halvings) as u32, scaled & (one - 1));
    // Even or odd is a matter of the last digit printed, and 1000 times anything before the point is even.
    let up = rest * 2 > one || (rest * 2 == one && floor % 2 == 1);
    floor + u32::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f32) -> String {
        let mut text = String::new();
        thousandths(value, &mut |bytes| text.push_str(core::str::from_utf8(bytes).expect("ASCII")));
        text
    }

    #[test]
    fn numbers_read_as_c_prints_them() {
        for (value, expected) in [
            (0.0, "0.000"),
            (-0.0, "-0.000"),
            (1.0, "1.000"),
            (-1.5, "-1.500"),
            (0.9999, "1.000"),
            (0.0625, "0.062"),
            (0.1875, "0.188"),
            (-0.0001, "-0.000"),
            (16_777_216.0, "16777216.000"),
            (f32::MIN_POSITIVE, "0.000"),
            (f32::MAX, "340282346638528859811704183484516925440.000"),
            (f32::NAN, "nan"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(value), expected, "{value}");
        }
    }

    #[test]
    fn integers_have_all_their_digits() {
        for (value, expected) in [(0, "0"), (7, "7"), (-70, "-70"), (i32::MAX, "2147483647"), (i32::MIN, "-2147483648")]
        {
            let mut text = Vec::new();
            signed(value, &mut |bytes| text.extend_from_slice(bytes));
            assert_eq!(text, expected.as_bytes());
        }
        let mut text = Vec::new();
        unsigned(u32::MAX, &mut |bytes| text.extend_from_slice(bytes));
        assert_eq!(text, b"4294967295");
    }

    proptest! {
        /// The standard library prints exactly, too, and rounds half to even.
        #[test]
        fn every_finite_number_reads_as_the_standard_library_prints_it(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(value), format!("{value:.3}"));
        }

        #[test]
        fn scores_read_as_the_standard_library_prints_them(value in -300.0f32..300.0) {
            prop_assert_eq!(text(value), format!("{value:.3}"));
        }

        /// Sixteenths are where halves of a thousandth are exact.
        #[test]
        fn halves_of_a_thousandth_go_to_the_even_digit(sixteenths in -100_000i32..100_000) {
            let value = sixteenths as f32 / 16.0;
            prop_assert_eq!(text(value), format!("{value:.3}"));
        }
    }
}
