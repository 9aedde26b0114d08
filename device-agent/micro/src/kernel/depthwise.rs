//! Depthwise convolutions: four channels at once over all taps.

use super::path::lanes;
use super::{Channels, Window};

/// A depthwise convolution. `weights` are `[channels / 4][taps][4]`; `padding` is a pixel of scratch.
#[inline(never)]
pub fn depthwise(
    window: &Window,
    channels: &Channels<'_>,
    zero_point: u8,
    (input, weights): (&[u8], &[u8]),
    output: &mut [u8],
    padding: &mut [u8],
) {
    padding.fill(zero_point);
    let (count, width) = (window.input.2, window.output.1.max(1));
    let taps = window.kernel.0 * window.kernel.1;
    let weights = weights.as_chunks().0;
    for (pixel, output) in output.chunks_exact_mut(count.max(1)).enumerate() {
        let at = (pixel / width, pixel % width);
        let under = |tap| under(window, input, padding, at, tap);
        let done = if taps == 9 { nine(channels, weights, under, output) } else { 0 };
        for (group, output) in output.chunks_mut(4).enumerate().skip(done) {
            let weights = weights.get(group * taps..).unwrap_or_default();
            some(group, weights, (0..taps).map(under), channels, output);
        }
    }
}

/// The pixel under a tap, or one of padding.
#[inline(always)]
fn under<'i>(window: &Window, input: &'i [u8], padding: &'i [u8], at: (usize, usize), tap: usize) -> &'i [u8] {
    let channels = window.input.2;
    let found = window.pixel(at, (tap / window.kernel.1, tap % window.kernel.1));
    found.and_then(|pixel| input.get(pixel * channels..(pixel + 1) * channels)).unwrap_or(padding)
}

/// All whole groups under nine taps, without a check in the loop; returns how many there are.
#[inline(never)]
fn nine<'i>(
    channels: &Channels<'_>,
    weights: &[[u8; 4]],
    under: impl Fn(usize) -> &'i [u8],
    output: &mut [u8],
) -> usize {
    let output = output.as_chunks_mut::<4>().0;
    let count = output.len();
    let whole = |tap: usize| under(tap).as_chunks::<4>().0.get(..count);
    let all = (whole(0), whole(1), whole(2), whole(3), whole(4), whole(5), whole(6), whole(7), whole(8));
    let (Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h), Some(i)) = all else { return 0 };
    let Some(weights) = weights.as_chunks::<9>().0.get(..count) else { return 0 };
    for (n, output) in output.iter_mut().enumerate() {
        let values = [a[n], b[n], c[n], d[n], e[n], f[n], g[n], h[n], i[n]];
        let biases = [0, 1, 2, 3].map(|lane| channels.bias(4 * n + lane));
        let acc = weights[n].iter().zip(values).fold(biases, |acc, (w, x)| lanes(*w, x, acc));
        *output = [0, 1, 2, 3].map(|lane| {
            let [value] = channels.values(4 * n + lane, [acc[lane]]);
            value
        });
    }
    count
}

/// A group of up to four channels under any taps.
#[inline(never)]
fn some<'i>(
    group: usize,
    weights: &[[u8; 4]],
    taps: impl Iterator<Item = &'i [u8]>,
    channels: &Channels<'_>,
    output: &mut [u8],
) {
    let biases = [0, 1, 2, 3].map(|lane| channels.bias(4 * group + lane));
    let acc = weights.iter().zip(taps).fold(biases, |acc, (weights, tap)| {
        let mut values = [0; 4];
        let here = tap.get(4 * group..).unwrap_or_default();
        values.iter_mut().zip(here).for_each(|(value, here)| *value = *here);
        lanes(*weights, values, acc)
    });
    for (lane, output) in output.iter_mut().enumerate().take(4) {
        [*output] = channels.values(4 * group + lane, [acc[lane]]);
    }
}
