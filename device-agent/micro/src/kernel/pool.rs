//! Pooling.

use super::{Channels, Multiplier, Values, Window, numbers};

/// The largest value under the window; padding does not count.
pub fn max(window: &Window, input: &[u8], output: &mut [u8]) {
    each(window, input, output, &|under| under.largest as u8);
}

/// The mean under the window. The multiplier with number `n - 1` is for `n` values: padding does not count.
pub fn average(window: &Window, channels: &Channels<'_>, zero_point: i32, input: &[u8], output: &mut [u8]) {
    each(window, input, output, &|under| {
        let sum = under.sum - zero_point * under.count as i32;
        let channel = channels.all.get(under.count.saturating_sub(1)).map(numbers);
        // In the padding alone nothing is summed up.
        channel.map_or(0, |(_, by)| channels.values.of_one(by, sum))
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

/// What lies under the window in one channel.
struct Under {
    largest: i8,
    sum: i32,
    count: usize,
}

/// Both kinds of pooling, by one loop: there is one in the program.
#[inline(never)]
fn each(window: &Window, input: &[u8], output: &mut [u8], value: &dyn Fn(&Under) -> u8) {
    let (width, depth) = (window.output.1.max(1), window.input.2.max(1));
    for (pixel, output) in output.chunks_exact_mut(depth).enumerate() {
        for (channel, output) in output.iter_mut().enumerate() {
            let mut under = Under { largest: i8::MIN, sum: 0, count: 0 };
            for row in (0..window.kernel.0).filter_map(|ky| window.row(pixel / width, ky)) {
                for column in (0..window.kernel.1).filter_map(|kx| window.column(pixel % width, kx)) {
                    let at = (row * window.input.1 + column) * depth + channel;
                    let value = input.get(at).map_or(0, |value| *value as i8);
                    under.largest = under.largest.max(value);
                    under.sum += i32::from(value);
                    under.count += 1;
                }
            }
            *output = value(&under);
        }
    }
}
