//! Pooling.

use super::{Channels, Window};
use crate::requant::{Multiplier, Values};

/// The largest value under the window; padding does not count.
pub fn max(window: &Window, input: &[u8], output: &mut [u8]) {
    each(window, output, |at, channel| {
        let values = taps(window, at).filter_map(|pixel| input.get(pixel * window.input.2 + channel));
        values.map(|value| *value as i8).max().unwrap_or(i8::MIN) as u8
    });
}

/// The mean under the window. The multiplier with number `n - 1` is for `n` values: padding does not count.
pub fn average(window: &Window, channels: &Channels<'_>, zero_point: i32, input: &[u8], output: &mut [u8]) {
    each(window, output, |at, channel| {
        let (mut sum, mut count) = (0, 0_usize);
        for value in taps(window, at).filter_map(|pixel| input.get(pixel * window.input.2 + channel)) {
            sum += i32::from(*value as i8) - zero_point;
            count += 1;
        }
        let [value] = channels.values(count.saturating_sub(1), [sum]);
        value
    });
}

/// The mean over all pixels.
pub fn global_average(by: Multiplier, zero_in: i32, values: Values, input: &[u8], output: &mut [u8]) {
    let count = output.len().max(1);
    for (channel, output) in output.iter_mut().enumerate() {
        let pixels = input.iter().skip(channel).step_by(count);
        let sum: i32 = pixels.map(|value| i32::from(*value as i8) - zero_in).sum();
        *output = values.of_one(by, sum);
    }
}

fn taps(window: &Window, at: (usize, usize)) -> impl Iterator<Item = usize> + '_ {
    let all = (0..window.kernel.0).flat_map(|ky| (0..window.kernel.1).map(move |kx| (ky, kx)));
    all.filter_map(move |tap| window.pixel(at, tap))
}

fn each(window: &Window, output: &mut [u8], mut value: impl FnMut((usize, usize), usize) -> u8) {
    let width = window.output.1.max(1);
    for (pixel, output) in output.chunks_exact_mut(window.input.2.max(1)).enumerate() {
        for (channel, output) in output.iter_mut().enumerate() {
            *output = value((pixel / width, pixel % width), channel);
        }
    }
}
