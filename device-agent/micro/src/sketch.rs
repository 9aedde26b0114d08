//! Sketches: what a device without room for a tensor can tell of it in 64 bytes.
//!
//! A sketch holds moments, a digest and eleven projections of a layer's values on random signs. All of it is whole numbers, so that two
//! machines that computed the same have the same sketch, bit for bit. It is linear in the values: the difference of two sketches under one
//! seed is the sketch of the difference `d`, and the square of each projection of it is `|d|^2` on average over seeds, with a variance of at
//! most `2 |d|^4` (Alon, Matias, Szegedy: The space complexity of approximating the frequency moments, 1996).
//!
//! Signs and digest weights come from a hash of seed, layer and element, by counter: nothing is kept, and no two layers share them.
//!
//! | byte | |
//! |---|---|
//! | 0 | sum of the values, i32 |
//! | 4 | sum of their squares, u64 |
//! | 12 | least value as stored, i8; 13: greatest |
//! | 14 | element type; 15: version of this form, 1 |
//! | 16 | digest: sum of each value times the hash of its place, modulo 2^32 |
//! | 20 | projections: sum of each value times its sign, i32 each |
//!
//! All numbers are little endian, and sums are modulo 2^32 or 2^64. A value is `q - zero_point`; of a tensor of `f32` the values are its
//! bytes, of which only the digest says something.

use crate::format::{Dtype, Model};

/// Bytes of a sketch.
pub const SKETCH_BYTES: usize = 64;
/// Projections in it.
pub const PROJECTIONS: usize = 11;
/// Version of its form.
pub const SKETCH_VERSION: u8 = 1;
const _: () = assert!(20 + 4 * PROJECTIONS == SKETCH_BYTES);

/// Sketches values as they lie in memory. `layer` is the number of the operator that made them.
pub fn sketch(seed: u32, layer: u32, (dtype, zero_point): (Dtype, i32), bytes: &[u8]) -> [u8; SKETCH_BYTES] {
    let stream = mixed(seed ^ mixed(layer.wrapping_add(1)));
    let zero_point = if dtype == Dtype::I8 { zero_point } else { 0 };
    let (mut sum, mut squares, mut digest) = (0_i32, 0_u64, 0_u32);
    let (mut least, mut greatest) = (i8::MAX, i8::MIN);
    let mut projections = [0_i32; PROJECTIONS];
    for (place, byte) in (0_u32..).zip(bytes) {
        let stored = *byte as i8;
        let value = i32::from(stored) - zero_point;
        let hash = mixed(stream.wrapping_add(place.wrapping_mul(0x9e37_79b9)));
        (least, greatest) = (least.min(stored), greatest.max(stored));
        sum = sum.wrapping_add(value);
        squares = squares.wrapping_add(u64::from((value * value) as u32));
        digest = digest.wrapping_add((hash | 1).wrapping_mul(value as u32));
        // The lowest bit weighs the digest; signs are of those above it.
        let mut signs = hash >> 1;
        for projection in &mut projections {
            // Minus one is all bits: the value with its sign changed, or as it is.
            let flip = -((signs & 1) as i32);
            *projection = projection.wrapping_add((value ^ flip).wrapping_sub(flip));
            signs >>= 1;
        }
    }
    let mut out = [0; SKETCH_BYTES];
    out[..4].copy_from_slice(&sum.to_le_bytes());
    out[4..12].copy_from_slice(&squares.to_le_bytes());
    out[12..16].copy_from_slice(&[least as u8, greatest as u8, dtype as u8, SKETCH_VERSION]);
    out[16..20].copy_from_slice(&digest.to_le_bytes());
    for (to, projection) in out[20..].as_chunks_mut::<4>().0.iter_mut().zip(&projections) {
        *to = projection.to_le_bytes();
    }
    out
}

impl Model<'_> {
    /// Sketches what an operator has just made: before the next one runs, which may use its place. One past the last makes nothing.
    pub fn sketch(&self, seed: u32, index: usize, arena: &[u8]) -> Option<[u8; SKETCH_BYTES]> {
        let made = self.tensor(self.operator(index)?.output.into());
        let bytes = arena.get(made.range())?;
        Some(sketch(seed, index as u32, (made.dtype, made.zero_point), bytes))
    }
}

/// Every bit of the result depends on every bit of the number (Chris Wellons' `lowbias32`, <https://nullprogram.com/blog/2018/07/31/>).
fn mixed(number: u32) -> u32 {
    let mut mixed = number;
    mixed = (mixed ^ mixed >> 16).wrapping_mul(0x7feb_352d);
    mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846c_a68b);
    mixed ^ mixed >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const I8: (Dtype, i32) = (Dtype::I8, -3);

    fn projections(of: &[u8; SKETCH_BYTES]) -> Vec<i64> {
        of[20..].as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()
    }

    fn values(seed: u32, count: u32) -> Vec<u8> {
        (0..count).map(|i| mixed(seed.wrapping_mul(77_777).wrapping_add(i)) as u8).collect()
    }

    /// Golden: what a firmware in the field and this host must both make of these bytes.
    #[test]
    fn a_sketch_is_these_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let made = sketch(7, 2, I8, &bytes);
        let hex: std::string::String = made.iter().map(|b| std::format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "80020000805b150000000000807f0001dc3e65dafcfcffff8c02000088f8ffffa2060000b6fdffffc4faffff5002000040feffff08f9ffffe00500004afdffff"
        );
    }

    #[test]
    fn nothing_and_numbers_have_sketches_too() {
        let nothing = sketch(7, 2, I8, &[]);
        assert_eq!(
            (nothing[12] as i8, nothing[13] as i8, projections(&nothing)),
            (127, -128, std::vec![0; PROJECTIONS])
        );
        let number = sketch(7, 2, (Dtype::F32, 55), &1.5_f32.to_le_bytes());
        // Bytes 0, 0, -64 and 63, as they are.
        assert_eq!((number[14], &number[..4]), (Dtype::F32 as u8, &(-1_i32).to_le_bytes()[..]));
    }

    #[test]
    fn seeds_and_layers_have_signs_of_their_own() {
        let bytes = values(1, 500);
        let all =
            [sketch(1, 0, I8, &bytes), sketch(2, 0, I8, &bytes), sketch(1, 1, I8, &bytes), sketch(0, 1, I8, &bytes)];
        for (i, one) in all.iter().enumerate() {
            assert_eq!(one[..16], all[0][..16], "moments are the values'");
            assert!(
                all[..i].iter().all(|other| projections(other) != projections(one) && other[16..20] != one[16..20])
            );
        }
    }

    #[test]
    fn two_values_that_changed_places_have_another_digest() {
        let bytes = values(2, 64);
        let (mut pairs, mut equal) = (0, 0);
        for (i, j) in (0..64).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|(i, j)| bytes[*i] != bytes[*j]) {
            let mut other = bytes.clone();
            other.swap(i, j);
            pairs += 1;
            equal += usize::from(sketch(9, 0, I8, &other)[16..20] == sketch(9, 0, I8, &bytes)[16..20]);
        }
        assert!(pairs > 1900 && equal == 0, "{equal} of {pairs}");
    }

    /// Differences of one element, of few, of all; the mean over seeds is the square of the length, the spread what theory allows.
    #[test]
    fn the_square_of_a_projection_is_the_square_of_the_length() {
        for (changed, spread_max) in [(1_usize, 0.001), (8, 0.45), (1000, 0.45)] {
            let bytes = values(3, 1000);
            let mut other = bytes.clone();
            other.iter_mut().take(changed).for_each(|byte| *byte ^= 0x15);
            let length: f64 = bytes.iter().zip(&other).map(|(a, b)| f64::from(*a as i8 - *b as i8).powi(2)).sum();
            let estimates: Vec<f64> = (0..400)
                .map(|seed| {
                    let both = (projections(&sketch(seed, 0, I8, &bytes)), projections(&sketch(seed, 0, I8, &other)));
                    let squares = both.0.iter().zip(&both.1).map(|(a, b)| ((a - b) as f64).powi(2));
                    squares.sum::<f64>() / PROJECTIONS as f64 / length
                })
                .collect();
            let mean = estimates.iter().sum::<f64>() / 400.0;
            let spread = (estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / 400.0).sqrt();
            // Of 400 means each is off by a twentieth of the spread.
            assert!(
                (mean - 1.0).abs() < 0.07 && spread <= spread_max,
                "{changed} changed: mean {mean}, spread {spread}"
            );
        }
    }
}
