//! Convolutions and fully connected layers: columns of values against rows of weights.

use super::path::{four_by_one, two_by_two, widen};
use super::{Both, Channels, Group, Pair, Window, row_bytes};

/// A convolution. `input` and `output` are NHWC without the sample; `weights` has two and two rows, one per output channel, interleaved;
/// `scratch` has room for two columns of 16-bit values, also interleaved.
#[inline(never)]
pub fn conv(
    window: &Window,
    channels: &Channels<'_>,
    zero_point: u8,
    (input, weights): (&[u8], &[u8]),
    output: &mut [u8],
    scratch: &mut [u8],
) {
    let groups = row_bytes(window.kernel.0 * window.kernel.1 * window.input.2) / 4;
    let (pixels, width) = (window.output.0 * window.output.1, window.output.1.max(1));
    let count = output.len() / pixels.max(1);
    let weights = weights.as_chunks().0.as_chunks().0;
    // What fills a column up has weight 0, and may hold anything.
    let columns = scratch.as_chunks_mut().0.as_chunks_mut().0.as_chunks_mut().0;
    let Some(columns) = columns.get_mut(..groups) else { return };
    for (i, pair) in output.chunks_mut((2 * count).max(1)).enumerate() {
        let (left, right) = pair.split_at_mut(count.min(pair.len()));
        for (slot, pixel) in [2 * i, 2 * i + 1].into_iter().enumerate() {
            if pixel < pixels {
                fill(window, zero_point, input, (pixel / width, pixel % width), columns, slot);
            }
        }
        if right.is_empty() {
            // The last pixel stands alone: worked out beside whatever the other column holds.
            lone_pixel(channels, weights, columns, left);
        } else {
            two_pixels(channels, weights, columns, left, right);
        }
    }
}

/// A fully connected layer.
pub fn dense(channels: &Channels<'_>, (input, weights): (&[u8], &[u8]), output: &mut [u8], scratch: &mut [u8]) {
    let weights = weights.as_chunks().0.as_chunks().0;
    if input.len().is_multiple_of(4) {
        return four_channels(channels, weights, input.as_chunks().0, output);
    }
    scratch.iter_mut().zip(input).for_each(|(column, value)| *column = *value);
    four_channels(channels, weights, scratch.as_chunks().0, output);
}

/// Writes the column of one output pixel into its slot.
#[inline(never)]
fn fill(window: &Window, zero_point: u8, input: &[u8], at: (usize, usize), columns: &mut [Both], slot: usize) {
    let (depth, taps) = (window.input.2, window.kernel.0 * window.kernel.1);
    if depth.is_multiple_of(4) {
        let (input, groups) = (input.as_chunks().0, depth / 4);
        for (tap, columns) in columns.chunks_exact_mut(groups.max(1)).enumerate() {
            let pixel = window.pixel(at, (tap / window.kernel.1, tap % window.kernel.1));
            match pixel.and_then(|pixel| input.get(pixel * groups..(pixel + 1) * groups)) {
                Some(values) => columns.iter_mut().zip(values).for_each(|(both, four)| both[slot & 1] = widen(*four)),
                None => columns.iter_mut().for_each(|both| both[slot & 1] = widen([zero_point; 4])),
            }
        }
        return;
    }
    let mut element = 0;
    for tap in 0..taps {
        let pixel = window.pixel(at, (tap / window.kernel.1, tap % window.kernel.1));
        let values = pixel.and_then(|pixel| input.get(pixel * depth..(pixel + 1) * depth));
        for channel in 0..depth {
            let value = values.map_or(zero_point, |values| values[channel]);
            if let Some(both) = columns.get_mut(element / 4) {
                put(&mut both[slot & 1], element & 3, value);
            }
            element += 1;
        }
    }
}

/// Writes one of four values as [`widen`] would.
#[inline(always)]
fn put(wide: &mut super::Wide, index: usize, value: u8) {
    let [low, high] = i16::from(value as i8).to_le_bytes();
    let word = &mut wide[index & 1];
    word[index & 2] = low;
    word[(index & 2) + 1] = high;
}

/// All channels of two pixels.
#[inline(never)]
fn two_pixels(channels: &Channels<'_>, weights: &[Pair], columns: &[Both], left: &mut [u8], right: &mut [u8]) {
    let rows = weights.chunks_exact(columns.len().max(1));
    let outputs = left.chunks_mut(2).zip(right.chunks_mut(2));
    for (i, (rows, (left, right))) in rows.zip(outputs).enumerate() {
        let channel = 2 * i;
        let (b0, b1) = (channels.bias(channel), channels.bias(channel + 1));
        let acc = two_by_two(rows, columns, [b0, b0, b1, b1]);
        let values = channels.values(channel, [acc[0], acc[1]]);
        if let ([l0, l1], [r0, r1]) = (&mut *left, &mut *right) {
            [*l0, *r0] = values;
            [*l1, *r1] = channels.values(channel + 1, [acc[2], acc[3]]);
        } else if let ([l0], [r0]) = (left, right) {
            [*l0, *r0] = values;
        }
    }
}

/// All channels of one pixel, the left one.
fn lone_pixel(channels: &Channels<'_>, weights: &[Pair], columns: &[Both], output: &mut [u8]) {
    let rows = weights.chunks_exact(columns.len().max(1));
    for (i, (rows, output)) in rows.zip(output.chunks_mut(2)).enumerate() {
        let acc = two_by_two(rows, columns, [channels.bias(2 * i), 0, channels.bias(2 * i + 1), 0]);
        for (n, (output, acc)) in output.iter_mut().zip([acc[0], acc[2]]).enumerate() {
            [*output] = channels.values(2 * i + n, [acc]);
        }
    }
}

/// All channels of a column that is still 8 bit, four at once.
#[inline(never)]
fn four_channels(channels: &Channels<'_>, weights: &[Pair], column: &[Group], output: &mut [u8]) {
    let groups = column.len();
    for (i, (rows, output)) in weights.chunks((2 * groups).max(1)).zip(output.chunks_mut(4)).enumerate() {
        let channel = 4 * i;
        let (one, two) = rows.split_at(groups.min(rows.len()));
        // Where there is no second pair, the first is worked out twice, and the second time dropped.
        let two = if two.is_empty() { one } else { two };
        let biases = [0, 1, 2, 3].map(|n| channels.bias(channel + n));
        let acc = four_by_one([one, two], column, biases);
        for (n, (output, acc)) in output.iter_mut().zip(acc).enumerate() {
            [*output] = channels.values(channel + n, [acc]);
        }
    }
}
