//! Element by element, and softmax.

use super::{Multiplier, Values, dequantize, quantize, word};

/// `(x * f0 + y * f1 + half) >> shift`, zero points taken off and added again.
pub fn add(
    (factors, shift): ([i32; 2], u32),
    (zeros, zero_out): ([i32; 2], i32),
    (low, high): (i32, i32),
    inputs: [&[u8]; 2],
    output: &mut [u8],
) {
    let half = 1_i32 << (shift - 1);
    for ((output, x), y) in output.iter_mut().zip(inputs[0]).zip(inputs[1]) {
        let (x, y) = (i32::from(*x as i8) - zeros[0], i32::from(*y as i8) - zeros[1]);
        // Factors are below 2^22 and values below 2^8, so that this fits.
        let sum = x * factors[0] + y * factors[1];
        *output = ((sum.saturating_add(half) >> shift) + zero_out).clamp(low, high) as i8 as u8;
    }
}

/// The product, zero points taken off and added again.
pub fn mul(by: Multiplier, zeros: [i32; 2], values: Values, inputs: [&[u8]; 2], output: &mut [u8]) {
    for ((output, x), y) in output.iter_mut().zip(inputs[0]).zip(inputs[1]) {
        let product = (i32::from(*x as i8) - zeros[0]) * (i32::from(*y as i8) - zeros[1]);
        *output = values.of_one(by, product);
    }
}

/// A function of one value, looked up.
pub fn table(table: &[u8; 256], input: &[u8], output: &mut [u8]) {
    for (output, value) in output.iter_mut().zip(input) {
        // The value plus 128: its sign bit turned.
        *output = table[usize::from(*value ^ 0x80)];
    }
}

/// Softmax over rows of `width`.
pub fn softmax(
    exponentials: &[u8],
    inverse: i32,
    zero_out: i32,
    (low, high): (i32, i32),
    (width, input): (usize, &[u8]),
    output: &mut [u8],
) {
    let width = width.max(1);
    for (input, output) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        let most = input.iter().map(|value| *value as i8).max().unwrap_or(0);
        let power = |value: u8| {
            let below = (i32::from(most) - i32::from(value as i8)) as usize;
            word(exponentials, 255_usize.saturating_sub(below)) as u32
        };
        let sum: u64 = input.iter().map(|value| u64::from(power(*value))).sum::<u64>().max(1);
        for (output, value) in output.iter_mut().zip(input) {
            // To nearest; all are positive. 2^23 times 2^31 and half of a sum fit into 64 bit.
            let scaled = u64::from(power(*value)) * u64::from(inverse as u32);
            let near = (scaled + (sum << 15)) / (sum << 16);
            *output = (near.min(1 << 20) as i32 + zero_out).clamp(low, high) as i8 as u8;
        }
    }
}

/// Numbers to values.
pub fn from_numbers(scale: f32, zero_point: i32, input: &[u8], output: &mut [u8]) {
    for (output, number) in output.iter_mut().zip(input.as_chunks::<4>().0) {
        *output = quantize(f32::from_le_bytes(*number), scale, zero_point) as u8;
    }
}

/// Values to numbers; `add` holds a number for each element of the last dimension.
pub fn to_numbers(scale: f32, zero_point: i32, add: Option<&[u8]>, input: &[u8], output: &mut [u8]) {
    let add = add.map(|add| add.as_chunks::<4>().0).filter(|add| !add.is_empty());
    for (i, (output, value)) in output.as_chunks_mut::<4>().0.iter_mut().zip(input).enumerate() {
        let number = dequantize(*value as i8, scale, zero_point);
        let number = add.map_or(number, |add| number + f32::from_le_bytes(add[i % add.len()]));
        *output = number.to_le_bytes();
    }
}
