//! Depthwise convolutions: four channels at once over all taps.

use crate::path::lanes;
use crate::{Channels, Group, Values, Window};

/// Most taps whose places are worked out once per pixel; kernels with more work them out for every four channels.
const TAPS_MAX: usize = 32;

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
    let (taps, weights) = (window.kernel.0 * window.kernel.1, weights.as_chunks().0);
    let is_fast = taps <= TAPS_MAX && channels.are_small();
    let mut places: [&[u8]; TAPS_MAX] = [&[]; TAPS_MAX];
    for (pixel, output) in output.chunks_exact_mut(count.max(1)).enumerate() {
        let at = (pixel / width, pixel % width);
        let done = match places.get_mut(..taps) {
            Some(places) if is_fast => {
                find(window, (input, padding), at, places);
                whole(channels, weights, places, output)
            }
            _ => 0,
        };
        for (group, output) in output.chunks_mut(4).enumerate().skip(done) {
            let weights = weights.get(group * taps..).unwrap_or_default();
            let under = (0..taps).map(|tap| {
                let found = window.pixel(at, (tap / window.kernel.1, tap % window.kernel.1));
                found.and_then(|pixel| input.get(pixel * count..(pixel + 1) * count)).unwrap_or(padding)
            });
            some(group, weights, under, channels, output);
        }
    }
}

/// What lies under all taps, from its pixel on; or padding.
#[inline(never)]
fn find<'i>(window: &Window, (input, padding): (&'i [u8], &'i [u8]), (y, x): (usize, usize), places: &mut [&'i [u8]]) {
    if let Some((mut first, below)) = window.inside((y, x)) {
        let step = window.dilations.1 * window.input.2;
        for places in places.chunks_exact_mut(window.kernel.1.max(1)) {
            let mut from = first;
            for place in places {
                *place = input.get(from..).unwrap_or_default();
                from += step;
            }
            first += below;
        }
        return;
    }
    for (ky, places) in places.chunks_exact_mut(window.kernel.1.max(1)).enumerate() {
        let row = window.values(input, y, ky);
        let (mut from, step) = window.walk(x);
        for place in places {
            *place = if from < row.len() { &row[from..] } else { padding };
            from = from.wrapping_add(step);
        }
    }
}

/// All whole groups; returns how many there are.
#[inline(never)]
fn whole(channels: &Channels<'_>, weights: &[Group], places: &[&[u8]], output: &mut [u8]) -> usize {
    let output = output.as_chunks_mut::<4>().0;
    let count = output.len();
    let Some(scales) = Scales::of(channels, count) else { return 0 };
    if let Ok(nine) = places.try_into() {
        return nine_taps(&scales, weights, nine, output);
    }
    for (n, (output, weights)) in output.iter_mut().zip(weights.chunks_exact(places.len().max(1))).enumerate() {
        let mut acc = scales.biases[n].map(i32::from_le_bytes);
        for (weights, place) in weights.iter().zip(places) {
            acc = lanes(weights, place.as_chunks().0.get(n).unwrap_or(&[0; 4]), acc);
        }
        scales.values.put_four(&scales.factors[n], scales.shifts[n], acc, output);
    }
    count
}

/// [`Channels`] in groups of four.
struct Scales<'m> {
    biases: &'m [[[u8; 4]; 4]],
    factors: &'m [[[u8; 4]; 4]],
    shifts: &'m [[u8; 4]],
    values: Values,
}

impl<'m> Scales<'m> {
    #[inline(always)]
    fn of(channels: &Channels<'m>, count: usize) -> Option<Self> {
        Some(Self {
            biases: channels.biases.as_chunks().0.get(..count)?,
            factors: channels.factors.as_chunks().0.get(..count)?,
            shifts: channels.shifts.as_chunks().0.get(..count)?,
            values: channels.values,
        })
    }
}

/// Nine taps, without a check in the loop.
#[inline(never)]
fn nine_taps(scales: &Scales<'_>, weights: &[Group], places: &[&[u8]; 9], output: &mut [Group]) -> usize {
    let count = output.len();
    let Some(weights) = weights.as_chunks::<9>().0.get(..count) else { return 0 };
    let [a, b, c, d, e, f, g, h, i] = places.map(|place| place.as_chunks::<4>().0.get(..count));
    let (Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h), Some(i)) = (a, b, c, d, e, f, g, h, i)
    else {
        return 0;
    };
    let (Some(biases), Some(factors), Some(shifts)) =
        (scales.biases.get(..count), scales.factors.get(..count), scales.shifts.get(..count))
    else {
        return 0;
    };
    for (n, output) in output.iter_mut().enumerate() {
        let w = &weights[n];
        let mut acc = biases[n].map(i32::from_le_bytes);
        acc = lanes(&w[2], &c[n], lanes(&w[1], &b[n], lanes(&w[0], &a[n], acc)));
        acc = lanes(&w[5], &f[n], lanes(&w[4], &e[n], lanes(&w[3], &d[n], acc)));
        acc = lanes(&w[8], &i[n], lanes(&w[7], &h[n], lanes(&w[6], &g[n], acc)));
        scales.values.put_four(&factors[n], shifts[n], acc, output);
    }
    count
}

/// A group of up to four channels under any taps.
#[inline(never)]
fn some<'i>(
    group: usize,
    weights: &[Group],
    taps: impl Iterator<Item = &'i [u8]>,
    channels: &Channels<'_>,
    output: &mut [u8],
) {
    let biases = [0, 1, 2, 3].map(|lane| channels.bias(4 * group + lane));
    let acc = weights.iter().zip(taps).fold(biases, |acc, (weights, tap)| {
        let mut values = [0; 4];
        let here = tap.get(4 * group..).unwrap_or_default();
        values.iter_mut().zip(here).for_each(|(value, here)| *value = *here);
        lanes(weights, &values, acc)
    });
    for (lane, output) in output.iter_mut().enumerate().take(4) {
        [*output] = channels.values(4 * group + lane, [acc[lane]]);
    }
}
