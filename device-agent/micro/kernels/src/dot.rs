//! Sums of products, the plain way. A word of a column holds two values in 16 bit, and the weights for them stand together: those of one
//! channel at even bytes, of the other at odd ones. Steps are small on purpose: what is loaded ahead must fit into the registers. Sums
//! wrap as the DSP instructions' do.

use super::{Channels, Group, Inside, Step, Weights, Window, Word};

#[inline(always)]
fn add(acc: &mut i32, weight: u8, value: i32) {
    *acc = acc.wrapping_add(i32::from(weight as i8) * value);
}

/// Two channels on the first `N` of the columns, added to `acc`: `[channel][column]`.
#[inline(always)]
pub fn two_by<const N: usize>(weights: &[Weights], columns: &[Step], mut acc: [[i32; N]; 2]) -> [[i32; N]; 2] {
    for (w, words) in weights.iter().zip(columns) {
        let x: [i32; N] = core::array::from_fn(|column| i32::from_le_bytes(words[column]));
        // A core with halfword multiplication reads the halves without taking them apart.
        for (n, half) in [(0, x.map(|x| i32::from(x as i16))), (2, x.map(|x| x >> 16))] {
            for column in 0..N {
                add(&mut acc[0][column], w[n], half[column]);
                add(&mut acc[1][column], w[n + 1], half[column]);
            }
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

/// Two channels on one column.
#[inline(always)]
pub fn two_by_one(weights: &[Weights], column: &[Word], mut acc: [i32; 2]) -> [i32; 2] {
    for (w, word) in weights.iter().zip(column) {
        let x = i32::from_le_bytes(*word);
        for (n, x) in [(0, i32::from(x as i16)), (2, x >> 16)] {
            add(&mut acc[0], w[n], x);
            add(&mut acc[1], w[n + 1], x);
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

/// Depthwise convolutions whose kernel is three wide, which have no way of their own here.
pub enum ThreeWide {}

impl ThreeWide {
    pub fn of(_: &Window, _: &Inside, _: &Channels<'_>, _: &[Group]) -> Option<Self> {
        None
    }

    pub fn pixel(&self, _: &[u8], _: &mut [u8]) -> usize {
        match *self {}
    }
}
