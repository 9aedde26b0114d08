//! Sums of products, the plain way. Values and weights come in groups of four; two output channels' weights are interleaved, a group of the
//! one and a group of the other, and so are two columns' values. Sums wrap as the DSP instructions' do.

use super::{Both, Group, Pair, Wide};

#[inline(always)]
fn add(acc: &mut i32, weight: u8, value: i32) {
    *acc = acc.wrapping_add(i32::from(weight as i8) * value);
}

/// Two channels on two columns: `[channel 0 column 0, channel 0 column 1, channel 1 column 0, channel 1 column 1]`, added to `acc`.
#[inline(always)]
pub fn two_by_two(weights: &[Pair], columns: &[Both], mut acc: [i32; 4]) -> [i32; 4] {
    for (w, columns) in weights.iter().zip(columns) {
        let [[even, odd], [even_y, odd_y]] = columns;
        for (i, x, y) in [(0, even, even_y), (1, odd, odd_y)] {
            for (at, half) in [(i, 0), (i + 2, 2)] {
                let [x, y] = [x, y].map(|word| i32::from(i16::from_le_bytes([word[half], word[half + 1]])));
                add(&mut acc[0], w[0][at], x);
                add(&mut acc[1], w[0][at], y);
                add(&mut acc[2], w[1][at], x);
                add(&mut acc[3], w[1][at], y);
            }
        }
    }
    acc
}

/// Four channels, two and two, on one column.
#[inline(always)]
pub fn four_by_one(weights: [&[Pair]; 2], column: &[Group], mut acc: [i32; 4]) -> [i32; 4] {
    for ((w, v), x) in weights[0].iter().zip(weights[1]).zip(column) {
        for i in 0..4 {
            let x = i32::from(x[i] as i8);
            add(&mut acc[0], w[0][i], x);
            add(&mut acc[1], w[1][i], x);
            add(&mut acc[2], v[0][i], x);
            add(&mut acc[3], v[1][i], x);
        }
    }
    acc
}

/// Four values as 16-bit values: those with numbers 0 and 2, then 1 and 3.
#[inline(always)]
pub fn widen(values: Group) -> Wide {
    let wide = |at: usize| i16::from(values[at] as i8).to_le_bytes();
    [(0, 2), (1, 3)].map(|(low, high)| {
        let ([a, b], [c, d]) = (wide(low), wide(high));
        [a, b, c, d]
    })
}

/// Four channels of a depthwise convolution under one tap.
#[inline(always)]
pub fn lanes(weights: Group, values: Group, mut acc: [i32; 4]) -> [i32; 4] {
    for lane in 0..4 {
        add(&mut acc[lane], weights[lane], i32::from(values[lane] as i8));
    }
    acc
}
