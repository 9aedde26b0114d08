//! Depthwise convolutions: four channels at once over all taps.

use super::{Channels, Window};

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
use super::dot::four_lanes;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
use super::dsp::four_lanes;

/// A depthwise convolution. `weights` are `[channels / 4][taps][4]`; `padding` is a pixel of scratch.
pub fn depthwise(
    window: &Window,
    channels: &Channels<'_>,
    zero_point: i32,
    (input, weights): (&[u8], &[u8]),
    output: &mut [u8],
    padding: &mut [u8],
) {
    padding.fill(zero_point as u8);
    match window.kernel {
        (3, 3) => fixed::<9>(window, channels, (input, weights), output, padding),
        (1, 3) | (3, 1) => fixed::<3>(window, channels, (input, weights), output, padding),
        (1, 1) => fixed::<1>(window, channels, (input, weights), output, padding),
        _ => any(window, channels, (input, weights), output, padding),
    }
}

/// The pixel under a tap, or one of padding.
#[inline(always)]
fn tap<'i>(window: &Window, input: &'i [u8], padding: &'i [u8], at: (usize, usize), tap: usize) -> &'i [u8] {
    let channels = window.input.2;
    let found = window.pixel(at, (tap / window.kernel.1, tap % window.kernel.1));
    found.and_then(|pixel| input.get(pixel * channels..(pixel + 1) * channels)).unwrap_or(padding)
}

/// Kernels whose number of taps is known when this is compiled.
fn fixed<const TAPS: usize>(
    window: &Window,
    channels: &Channels<'_>,
    (input, weights): (&[u8], &[u8]),
    output: &mut [u8],
    padding: &[u8],
) {
    let (count, width) = (window.input.2, window.output.1.max(1));
    let groups = weights.as_chunks::<4>().0.as_chunks::<TAPS>().0;
    for (pixel, output) in output.chunks_exact_mut(count.max(1)).enumerate() {
        let at = (pixel / width, pixel % width);
        let taps: [&[u8]; TAPS] = core::array::from_fn(|t| tap(window, input, padding, at, t));
        let (whole, rest) = output.as_chunks_mut::<4>();
        let whole_count = whole.len();
        for (g, (group, output)) in groups.iter().zip(whole).enumerate() {
            let biases = [0, 1, 2, 3].map(|lane| channels.bias(4 * g + lane));
            let values = taps.iter().map(|tap| tap.as_chunks::<4>().0.get(g).copied().unwrap_or_default());
            let acc = four_lanes(group, values, biases);
            *output = core::array::from_fn(|lane| channels.value(4 * g + lane, acc[lane]));
        }
        if let (false, Some(group)) = (rest.is_empty(), groups.get(whole_count)) {
            last(whole_count, group, taps.iter().copied(), channels, rest);
        }
    }
}

/// Any kernel.
fn any(window: &Window, channels: &Channels<'_>, (input, weights): (&[u8], &[u8]), output: &mut [u8], padding: &[u8]) {
    let (count, width, taps) = (window.input.2, window.output.1.max(1), window.kernel.0 * window.kernel.1);
    for (pixel, output) in output.chunks_exact_mut(count.max(1)).enumerate() {
        let at = (pixel / width, pixel % width);
        let groups = weights.as_chunks::<4>().0.chunks_exact(taps.max(1));
        for (g, (group, output)) in groups.zip(output.chunks_mut(4)).enumerate() {
            let taps = (0..taps).map(|t| tap(window, input, padding, at, t));
            last(g, group, taps, channels, output);
        }
    }
}

/// A group of up to four channels.
fn last<'i>(
    group: usize,
    weights: &[[u8; 4]],
    taps: impl Iterator<Item = &'i [u8]>,
    channels: &Channels<'_>,
    output: &mut [u8],
) {
    let biases = [0, 1, 2, 3].map(|lane| channels.bias(4 * group + lane));
    let values = taps.map(|tap| {
        let mut four = [0; 4];
        let here = tap.get(4 * group..).unwrap_or_default();
        four.iter_mut().zip(here).for_each(|(four, value)| *four = *value);
        four
    });
    let acc = four_lanes(weights, values, biases);
    for (lane, output) in output.iter_mut().enumerate().take(4) {
        *output = channels.value(4 * group + lane, acc[lane]);
    }
}
