//! Depthwise convolutions: four channels at once over all taps.

use crate::path::{ThreeWide, lanes};
use crate::{Channel, Channels, Group, Inside, Values, Window, numbers};

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
    let (count, taps) = (window.input.2, window.kernel.0 * window.kernel.1);
    let (inside, weights) = (window.all_inside(), weights.as_chunks().0);
    let three_wide = ThreeWide::of(window, &inside, channels, weights);
    let layer = Layer { window, inside, channels, input, padding, weights };
    let is_small = channels.are_small();
    let mut places: [&[u8]; TAPS_MAX] = [&[]; TAPS_MAX];
    let pixels = (0..window.output.0).flat_map(|y| (0..window.output.1).map(move |x| (y, x)));
    for (at, output) in pixels.zip(output.chunks_exact_mut(count.max(1))) {
        let first = three_wide.as_ref().and_then(|three| Some((three, layer.inside.first(at)?)));
        let done = match (first, places.get_mut(..taps)) {
            (Some((three, first)), _) => three.pixel(input.get(first..).unwrap_or_default(), output),
            (None, Some(places)) if is_small => {
                layer.find(at, places);
                layer.whole(places, output)
            }
            _ => 0,
        };
        if 4 * done < count {
            layer.rest(at, done, output);
        }
    }
}

/// A layer at work.
struct Layer<'l> {
    window: &'l Window,
    inside: Inside,
    channels: &'l Channels<'l>,
    input: &'l [u8],
    padding: &'l [u8],
    weights: &'l [Group],
}

impl<'l> Layer<'l> {
    /// What lies under all taps, from its pixel on; or padding.
    #[inline(never)]
    fn find(&self, at: (usize, usize), places: &mut [&'l [u8]]) {
        let rows = places.chunks_exact_mut(self.window.kernel.1.max(1));
        if let Some(mut first) = self.inside.first(at) {
            let step = self.window.dilations.1 * self.window.input.2;
            for places in rows {
                let mut from = first;
                for place in places {
                    *place = self.input.get(from..).unwrap_or_default();
                    from += step;
                }
                first += self.inside.below;
            }
            return;
        }
        for (ky, places) in rows.enumerate() {
            let row = self.window.values(self.input, at.0, ky);
            let (mut from, step) = self.window.walk(at.1);
            for place in places {
                *place = if from < row.len() { &row[from..] } else { self.padding };
                from = from.wrapping_add(step);
            }
        }
    }

    /// All whole groups; returns how many there are.
    #[inline(never)]
    fn whole(&self, places: &[&[u8]], output: &mut [u8]) -> usize {
        let output = output.as_chunks_mut::<4>().0;
        let count = output.len();
        let Some(channels) = self.channels.all.as_chunks().0.get(..count) else { return 0 };
        if let Ok(nine) = places.try_into() {
            return nine_taps((channels, self.channels.values), self.weights, nine, output);
        }
        let groups = channels.iter().zip(self.weights.chunks_exact(places.len().max(1)));
        for (n, (output, (four, weights))) in output.iter_mut().zip(groups).enumerate() {
            let mut acc = four.map(|channel| numbers(&channel).0);
            for (weights, place) in weights.iter().zip(places) {
                acc = lanes(weights, place.as_chunks().0.get(n).unwrap_or(&[0; 4]), acc);
            }
            put_four(self.channels.values, four, acc, output);
        }
        count
    }

    /// All groups from one on, by any taps.
    #[inline(never)]
    fn rest(&self, at: (usize, usize), done: usize, output: &mut [u8]) {
        output.chunks_mut(4).enumerate().skip(done).for_each(|(group, output)| self.some(at, group, output));
    }

    /// A group of up to four channels under any taps.
    #[inline(always)]
    fn some(&self, (y, x): (usize, usize), group: usize, output: &mut [u8]) {
        let taps = self.window.kernel.0 * self.window.kernel.1;
        let (mut acc, (first, step)) = ([0; 4], self.window.walk(x));
        let all = self.weights.get(group * taps..).unwrap_or_default();
        for (ky, weights) in all.chunks(self.window.kernel.1.max(1)).enumerate().take(self.window.kernel.0) {
            let row = self.window.values(self.input, y, ky);
            let mut from = first;
            for weights in weights {
                let pixel = if from < row.len() { &row[from..] } else { self.padding };
                let mut values = [0; 4];
                let here = pixel.get(4 * group..).unwrap_or_default();
                values.iter_mut().zip(here).for_each(|(value, here)| *value = *here);
                acc = lanes(weights, &values, acc);
                from = from.wrapping_add(step);
            }
        }
        let channels = self.channels.all.get(4 * group..).unwrap_or_default();
        for ((output, channel), acc) in output.iter_mut().zip(channels).zip(acc) {
            let (bias, by) = numbers(channel);
            *output = self.channels.values.of_one(by, acc.wrapping_add(bias));
        }
    }
}

/// Nine taps, without a check in the loop.
#[inline(never)]
fn nine_taps(
    (channels, values): (&[[Channel; 4]], Values),
    weights: &[Group],
    places: &[&[u8]; 9],
    output: &mut [Group],
) -> usize {
    let count = output.len();
    let (Some(weights), Some(channels)) = (weights.as_chunks::<9>().0.get(..count), channels.get(..count)) else {
        return 0;
    };
    let [a, b, c, d, e, f, g, h, i] = places.map(|place| place.as_chunks::<4>().0.get(..count));
    let (Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h), Some(i)) = (a, b, c, d, e, f, g, h, i)
    else {
        return 0;
    };
    for (n, output) in output.iter_mut().enumerate() {
        let w = &weights[n];
        let mut acc = channels[n].map(|channel| numbers(&channel).0);
        acc = lanes(&w[2], &c[n], lanes(&w[1], &b[n], lanes(&w[0], &a[n], acc)));
        acc = lanes(&w[5], &f[n], lanes(&w[4], &e[n], lanes(&w[3], &d[n], acc)));
        acc = lanes(&w[8], &i[n], lanes(&w[7], &h[n], lanes(&w[6], &g[n], acc)));
        put_four(values, &channels[n], acc, output);
    }
    count
}

/// The values of four channels with multipliers below a quarter.
#[inline(always)]
fn put_four(values: Values, channels: &[Channel; 4], acc: [i32; 4], output: &mut Group) {
    for lane in 0..4 {
        [output[lane]] = values.of_small(numbers(&channels[lane]).1, [acc[lane]]);
    }
}
