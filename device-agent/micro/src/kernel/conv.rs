//! Convolutions and fully connected layers: columns of 16-bit values against rows of weights.

use super::{Channels, Window, row_bytes};

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
use super::dot::{four_by_one, two_by_two, widen};
#[cfg(all(feature = "dsp", target_arch = "arm"))]
use super::dsp::{four_by_one, two_by_two, widen};

/// A convolution. `input` and `output` are NHWC without the sample; `weights` has a row per output channel; `scratch` two columns.
pub fn conv(
    window: &Window,
    channels: &Channels<'_>,
    zero_point: i32,
    (input, weights): (&[u8], &[u8]),
    output: &mut [u8],
    scratch: &mut [u8],
) {
    let elements = window.kernel.0 * window.kernel.1 * window.input.2;
    let row = row_bytes(elements);
    let (first, second) = scratch.split_at_mut((2 * row).min(scratch.len()));
    // What fills a row up has weight 0; the columns there may hold anything, but the same in every run.
    first.fill(0);
    second.fill(0);
    let (pixels, width) = (window.output.0 * window.output.1, window.output.1.max(1));
    let at = |pixel: usize| (pixel / width, pixel % width);
    let count = output.len() / pixels.max(1);
    let mut pairs = output.chunks_exact_mut((2 * count).max(1));
    let mut pixel = 0;
    for pair in &mut pairs {
        fill(window, zero_point, input, at(pixel), first);
        fill(window, zero_point, input, at(pixel + 1), second);
        let (left, right) = pair.split_at_mut(count);
        two_pixels(channels, weights, row, [first, second], [left, right]);
        pixel += 2;
    }
    let last = pairs.into_remainder();
    if !last.is_empty() {
        fill(window, zero_point, input, at(pixel), first);
        one_pixel(channels, weights, row, first, last);
    }
}

/// A fully connected layer.
pub fn dense(channels: &Channels<'_>, (input, weights): (&[u8], &[u8]), output: &mut [u8], scratch: &mut [u8]) {
    let row = row_bytes(input.len());
    let column = scratch.get_mut(..2 * row).unwrap_or_default();
    column.fill(0);
    widen(input, column);
    one_pixel(channels, weights, row, column, output);
}

/// The column of one output pixel: all taps, channels innermost.
#[inline(always)]
fn fill(window: &Window, zero_point: i32, input: &[u8], at: (usize, usize), column: &mut [u8]) {
    let channels = window.input.2;
    let mut rest = column;
    for ky in 0..window.kernel.0 {
        for kx in 0..window.kernel.1 {
            let (here, more) = rest.split_at_mut((2 * channels).min(rest.len()));
            rest = more;
            let found = window.pixel(at, (ky, kx));
            match found.and_then(|pixel| input.get(pixel * channels..(pixel + 1) * channels)) {
                Some(values) => widen(values, here),
                None => here.as_chunks_mut::<2>().0.fill((zero_point as i16).to_le_bytes()),
            }
        }
    }
}

fn two_pixels(channels: &Channels<'_>, weights: &[u8], row: usize, columns: [&[u8]; 2], [left, right]: [&mut [u8]; 2]) {
    let columns = [columns[0].get(..2 * row).unwrap_or_default(), columns[1].get(..2 * row).unwrap_or_default()];
    let outputs = left.chunks_mut(2).zip(right.chunks_mut(2));
    for (i, (rows, (left, right))) in weights.chunks(2 * row.max(1)).zip(outputs).enumerate() {
        let channel = 2 * i;
        let (one, two) = rows.split_at(row.min(rows.len()));
        let (b0, b1) = (channels.bias(channel), channels.bias(channel + 1));
        // A channel that is left alone at the end is worked out twice, and the second time dropped.
        let two = if two.is_empty() { one } else { two };
        let acc = two_by_two([one, two], columns, [b0, b0, b1, b1]);
        left[0] = channels.value(channel, acc[0]);
        right[0] = channels.value(channel, acc[1]);
        if let ([_, left], [_, right]) = (left, right) {
            *left = channels.value(channel + 1, acc[2]);
            *right = channels.value(channel + 1, acc[3]);
        }
    }
}

fn one_pixel(channels: &Channels<'_>, weights: &[u8], row: usize, column: &[u8], output: &mut [u8]) {
    let column = column.get(..2 * row).unwrap_or_default();
    for (i, (rows, output)) in weights.chunks(4 * row.max(1)).zip(output.chunks_mut(4)).enumerate() {
        let channel = 4 * i;
        let row_of = |n: usize| rows.get(n * row..(n + 1) * row).unwrap_or(&rows[..row.min(rows.len())]);
        let biases = [0, 1, 2, 3].map(|n| channels.bias(channel + n));
        let acc = four_by_one([row_of(0), row_of(1), row_of(2), row_of(3)], column, biases);
        for (n, (output, acc)) in output.iter_mut().zip(acc).enumerate() {
            *output = channels.value(channel + n, acc);
        }
    }
}
