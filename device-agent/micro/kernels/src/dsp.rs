//! The same sums with the DSP instructions of Cortex-M4, M7 and M33, two products at once. The answers are those of [`super::dot`]: both
//! add the same products, and 32-bit sums that wrap are the same in any order.

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
use emulated::{dual, even, high, low, odd, spread};
#[cfg(all(feature = "dsp", target_arch = "arm"))]
use instruction::{dual, even, high, low, odd, spread};

use super::{Group, Step, Weights, Word};
#[cfg(all(feature = "dsp", target_arch = "arm"))]
pub use crate::three_wide::ThreeWide;

/// See [`super::dot::two_by`].
#[inline(always)]
pub fn two_by<const N: usize>(weights: &[Weights], columns: &[Step], mut acc: [[i32; N]; 2]) -> [[i32; N]; 2] {
    for (weights, steps) in weights.as_chunks::<2>().0.iter().zip(columns.as_chunks::<2>().0) {
        for (weights, words) in weights.iter().zip(steps) {
            let w = u32::from_le_bytes(*weights);
            let (a, b) = (even(w), odd(w));
            for column in 0..N {
                let x = u32::from_le_bytes(words[column]);
                acc[0][column] = dual(a, x, acc[0][column]);
                acc[1][column] = dual(b, x, acc[1][column]);
            }
        }
    }
    acc
}

/// See [`super::dot::four_by_one`].
#[inline(always)]
pub fn four_by_one(weights: [&[Weights]; 2], column: &[Word], mut acc: [i32; 4]) -> [i32; 4] {
    let [one, two] = weights.map(|weights| weights.as_chunks::<2>().0);
    for ((one, two), words) in one.iter().zip(two).zip(column.as_chunks::<2>().0) {
        for step in 0..2 {
            let [w, v, x] = [one[step], two[step], words[step]].map(u32::from_le_bytes);
            acc =
                [dual(even(w), x, acc[0]), dual(odd(w), x, acc[1]), dual(even(v), x, acc[2]), dual(odd(v), x, acc[3])];
        }
    }
    acc
}

/// See [`super::dot::two_by_one`].
#[inline(always)]
pub fn two_by_one(weights: &[Weights], column: &[Word], mut acc: [i32; 2]) -> [i32; 2] {
    for (weights, words) in weights.as_chunks::<2>().0.iter().zip(column.as_chunks::<2>().0) {
        for step in 0..2 {
            let [w, x] = [weights[step], words[step]].map(u32::from_le_bytes);
            (acc[0], acc[1]) = (dual(even(w), x, acc[0]), dual(odd(w), x, acc[1]));
        }
    }
    acc
}

/// See [`super::dot::widen`].
#[inline(always)]
pub fn widen(values: Group) -> [Word; 2] {
    let word = u32::from_le_bytes(values);
    [even(word), odd(word)].map(u32::to_le_bytes)
}

/// See [`super::dot::lanes`].
#[inline(always)]
pub fn lanes(weights: &Group, values: &Group, mut acc: [i32; 4]) -> [i32; 4] {
    let ((we, wo), (xe, xo)) = (spread(weights), spread(values));
    acc[0] = low(we, xe, acc[0]);
    acc[1] = low(wo, xo, acc[1]);
    acc[2] = high(we, xe, acc[2]);
    acc[3] = high(wo, xo, acc[3]);
    acc
}

/// The instructions. `spread` reads four bytes for `even` and `odd`. `even` and `odd` widen bytes 0 and 2, or 1 and 3, to two 16-bit halves;
/// `dual` adds the products of both halves, `low` and `high` that of one.
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod instruction {
    #![expect(unsafe_code, reason = "instructions that stable Rust has no function for; they touch registers only")]

    use core::arch::asm;

    // SAFETY, for all of them: they work on registers alone, and are only built where the core has them. That a sum which overflows sets
    // a sticky flag is of no concern: nothing reads it. They are not `pure`, so that they stay in the order in which they are written here:
    // the compiler's own order needs more registers than there are.

    #[inline(always)]
    pub fn even(x: u32) -> u32 {
        let out;
        unsafe {
            asm!("sxtb16 {o}, {x}", o = lateout(reg) out, x = in(reg) x, options(nomem, nostack, preserves_flags))
        };
        out
    }

    #[inline(always)]
    pub fn odd(x: u32) -> u32 {
        let out;
        unsafe {
            asm!("sxtb16 {o}, {x}, ror #8", o = lateout(reg) out, x = in(reg) x,
                 options(nomem, nostack, preserves_flags));
        }
        out
    }

    #[inline(always)]
    pub fn spread(group: &[u8; 4]) -> (u32, u32) {
        let (even, odd);
        // SAFETY: reads the four bytes of the reference; these cores read words at any address. The read stands here, too, to stay in order.
        unsafe {
            asm!("ldr {o}, [{p}]", "sxtb16 {e}, {o}", "sxtb16 {o}, {o}, ror #8", p = in(reg) group.as_ptr(), e = lateout(reg) even,
                 o = out(reg) odd, options(readonly, nostack, preserves_flags));
        }
        (even, odd)
    }

    macro_rules! accumulate {
        ($($name:ident $instruction:literal)*) => {$(
            #[inline(always)]
            pub fn $name(a: u32, b: u32, acc: i32) -> i32 {
                let out;
                unsafe {
                    asm!(concat!($instruction, " {o}, {a}, {b}, {c}"), o = lateout(reg) out, a = in(reg) a, b = in(reg) b,
                         c = in(reg) acc, options(nomem, nostack, preserves_flags));
                }
                out
            }
        )*};
    }

    accumulate!(dual "smlad" low "smlabb" high "smlatt");
}

/// The same in plain Rust, for the tests.
#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
mod emulated {
    fn pair(low: u8, high: u8) -> u32 {
        u32::from(low as i8 as u16) | u32::from(high as i8 as u16) << 16
    }

    fn parts(x: u32) -> (i32, i32) {
        (i32::from(x as i16), i32::from((x >> 16) as i16))
    }

    pub fn even(x: u32) -> u32 {
        let [a, _, c, _] = x.to_le_bytes();
        pair(a, c)
    }

    pub fn odd(x: u32) -> u32 {
        let [_, b, _, d] = x.to_le_bytes();
        pair(b, d)
    }

    pub fn spread(group: &[u8; 4]) -> (u32, u32) {
        let word = u32::from_le_bytes(*group);
        (even(word), odd(word))
    }

    pub fn low(a: u32, b: u32, acc: i32) -> i32 {
        acc.wrapping_add(parts(a).0 * parts(b).0)
    }

    pub fn high(a: u32, b: u32, acc: i32) -> i32 {
        acc.wrapping_add(parts(a).1 * parts(b).1)
    }

    pub fn dual(a: u32, b: u32, acc: i32) -> i32 {
        high(a, b, low(a, b, acc))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dot;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn many<T: Arbitrary>(count: usize) -> impl Strategy<Value = Vec<T>> {
        proptest::collection::vec(any::<T>(), count)
    }

    proptest! {
        #[test]
        fn both_paths_give_the_same_sums(
            (one, two, values, columns) in
                (1_usize..20).prop_flat_map(|n| (many::<[u8; 4]>(2 * n), many(2 * n), many::<[u8; 4]>(n), many(2 * n))),
            acc in any::<[[i32; 2]; 2]>(),
            four in any::<[i32; 4]>(),
        ) {
            for group in &values {
                prop_assert_eq!(super::widen(*group), dot::widen(*group));
            }
            prop_assert_eq!(super::two_by::<2>(&one, &columns, acc), dot::two_by::<2>(&one, &columns, acc));
            let first = acc.map(|acc| [acc[0]]);
            prop_assert_eq!(super::two_by::<1>(&one, &columns, first), dot::two_by::<1>(&one, &columns, first));
            let column: Vec<_> = values.iter().flat_map(|group| dot::widen(*group)).collect();
            let both = [&one[..], &two[..]];
            prop_assert_eq!(super::four_by_one(both, &column, four), dot::four_by_one(both, &column, four));
            prop_assert_eq!(super::two_by_one(&one, &column, acc[0]), dot::two_by_one(&one, &column, acc[0]));
        }

        #[test]
        fn lanes_give_the_same_sums(weights in any::<[u8; 4]>(), values in any::<[u8; 4]>(), acc in any::<[i32; 4]>()) {
            prop_assert_eq!(super::lanes(&weights, &values, acc), dot::lanes(&weights, &values, acc));
        }
    }
}
