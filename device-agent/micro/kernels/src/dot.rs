//! Sums of products, the plain way. A word of a column holds two values in 16 bit, and the weights for them stand together: those of one
//! channel at even bytes, of the other at odd ones. Steps are small on purpose: what is loaded ahead must fit into the registers. Sums
//! wrap as the DSP instructions' do.
//! Lengths are even: rows are filled up to four elements, which are two words.

use super::{Group, Weights, Word};

#[inline(always)]
fn add(acc: &mut i32, weight: u8, value: i32) {
    *acc = acc.wrapping_add(i32::from(weight as i8) * value);
}

/// Two channels on two columns: `[channel 0 column 0, channel 0 column 1, channel 1 column 0, channel 1 column 1]`, added to `acc`.
#[inline(always)]
pub fn two_by_two(weights: &[Weights], columns: &[[Word; 2]], mut acc: [i32; 4]) -> [i32; 4] {
    for (w, words) in weights.iter().zip(columns) {
        let [x, y] = words.map(i32::from_le_bytes);
        // A core with halfword multiplication reads the halves without taking them apart.
        for (n, x, y) in [(0, i32::from(x as i16), i32::from(y as i16)), (2, x >> 16, y >> 16)] {
            add(&mut acc[0], w[n], x);
            add(&mut acc[1], w[n], y);
            add(&mut acc[2], w[n + 1], x);
            add(&mut acc[3], w[n + 1], y);
        }
    }
    acc
}

/// Four channels, two and two, on one column.
#[inline(always)]
pub fn four_by_one(weights: [&[Weights]; 2], column: &[Word], mut acc: [i32; 4]) -> [i32; 4] {
    for ((w, v), word) in weights[0].iter().zip(weights[1]).zip(column) {
        let x = i32::from_le_bytes(*word);
        for (n, x) in [(0, i32::from(x as i16)), (2, x >> 16)] {
            add(&mut acc[0], w[n], x);
            add(&mut acc[1], w[n + 1], x);
            add(&mut acc[2], v[n], x);
            add(&mut acc[3], v[n + 1], x);
        }
    }
    acc
}

/// Four values as 16-bit values: those with numbers 0 and 2, then 1 and 3.
#[inline(always)]
pub fn widen(values: Group) -> [Word; 2] {
    let wide = |at: usize| i16::from(values[at] as i8).to_le_bytes();
    [(0, 2), (1, 3)].map(|(low, high)| {
        let ([a, b], [c, d]) = (wide(low), wide(high));
        [a, b, c, d]
    })
}

/// Four channels of a depthwise convolution under one tap.
#[inline(always)]
pub fn lanes(weights: &Group, values: &Group, mut acc: [i32; 4]) -> [i32; 4] {
    for lane in 0..4 {
        add(&mut acc[lane], weights[lane], i32::from(values[lane] as i8));
    }
    acc
}
