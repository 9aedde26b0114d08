//! Convolutions and fully connected layers: columns of values against rows of weights.

use crate::path::{four_by_one, two_by_two, widen};
use crate::{Channels, Values, Weights, Window, Word, row_bytes};

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
    let words = row_bytes(window.kernel.0 * window.kernel.1 * window.input.2) / 2;
    let (pixels, width) = (window.output.0 * window.output.1, window.output.1.max(1));
    let count = output.len() / pixels.max(1);
    let weights = weights.as_chunks().0;
    let pairs = Pairs::of(channels, count / 2);
    // What fills a column up has weight 0, and may hold anything.
    let Some(columns) = scratch.as_chunks_mut().0.as_chunks_mut().0.get_mut(..words) else { return };
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
            let done = pairs.as_ref().map_or(0, |pairs| pairs.two_pixels(weights, columns, (left, right)));
            two_pixels((channels, done), weights, columns, left, right);
        }
    }
}

/// A fully connected layer. `scratch` has room for a column of 16-bit values.
pub fn dense(channels: &Channels<'_>, (input, weights): (&[u8], &[u8]), output: &mut [u8], scratch: &mut [u8]) {
    let column = scratch.as_chunks_mut().0.as_chunks_mut().0;
    let (whole, rest) = input.as_chunks();
    column.iter_mut().zip(whole).for_each(|(words, four)| *words = widen(*four));
    if let Some(words) = column.get_mut(whole.len()) {
        let mut four = [0; 4];
        four.iter_mut().zip(rest).for_each(|(four, value)| *four = *value);
        *words = widen(four);
    }
    four_channels(channels, weights.as_chunks().0, column.as_flattened(), output);
}

/// Writes the column of one output pixel into its slot. Without dilation a row of the window lies in one piece on the input.
#[inline(never)]
fn fill(window: &Window, zero_point: u8, input: &[u8], at: (usize, usize), columns: &mut [[Word; 2]], slot: usize) {
    let (depth, slot) = (window.input.2, slot & 1);
    let length = window.kernel.1 * depth;
    let whole = window.inside(at).filter(|_| window.dilations.1 == 1);
    let mut steps = columns.as_chunks_mut::<2>().0.iter_mut();
    match whole {
        _ if !depth.is_multiple_of(4) => fill_narrow(window, zero_point, input, (at, whole), columns, slot),
        Some((mut from, below)) => {
            for _ in 0..window.kernel.0 {
                let values = input.get(from..from + length).unwrap_or_default();
                // The values first: a step that is taken for none of them would be lost.
                values.as_chunks().0.iter().zip(steps.by_ref()).for_each(|(four, step)| put(step, slot, *four));
                from += below;
            }
        }
        None => {
            for tap in 0..window.kernel.0 * window.kernel.1 {
                let under = window.pixel(at, (tap / window.kernel.1, tap % window.kernel.1));
                let values = under.and_then(|pixel| input.get(pixel * depth..(pixel + 1) * depth));
                let steps = steps.by_ref().take(depth / 4);
                match values {
                    Some(values) => steps.zip(values.as_chunks().0).for_each(|(step, four)| put(step, slot, *four)),
                    None => steps.for_each(|step| put(step, slot, [zero_point; 4])),
                }
            }
        }
    }
}

/// The same where values do not come in fours: one by one. Behind the last, the column holds anything.
#[inline(never)]
fn fill_narrow(
    window: &Window,
    zero_point: u8,
    input: &[u8],
    ((y, x), whole): ((usize, usize), Option<(usize, usize)>),
    columns: &mut [[Word; 2]],
    slot: usize,
) {
    let mut four = Four { steps: columns.as_chunks_mut().0.iter_mut(), slot, last: 0, count: 0 };
    if let Some((mut from, below)) = whole {
        let length = window.kernel.1 * window.input.2;
        for _ in 0..window.kernel.0 {
            input.get(from..from + length).unwrap_or_default().iter().for_each(|value| four.take(*value));
            from += below;
        }
    } else {
        for ky in 0..window.kernel.0 {
            let row = window.values(input, y, ky);
            let (mut from, step) = window.walk(x);
            for _ in 0..window.kernel.1 {
                for channel in 0..window.input.2 {
                    four.take(row.get(from.wrapping_add(channel)).copied().unwrap_or(zero_point));
                }
                from = from.wrapping_add(step);
            }
        }
    }
    four.end();
}

/// The last four values of a column that comes value by value.
struct Four<'c> {
    steps: core::slice::IterMut<'c, [[Word; 2]; 2]>,
    slot: usize,
    last: u32,
    count: u32,
}

impl Four<'_> {
    #[inline(always)]
    fn take(&mut self, value: u8) {
        self.last = self.last >> 8 | u32::from(value) << 24;
        self.count += 1;
        if self.count.is_multiple_of(4) {
            self.put();
        }
    }

    /// Puts what is left: behind it the weights are 0.
    #[inline(always)]
    fn end(mut self) {
        if !self.count.is_multiple_of(4) {
            self.last >>= 8 * (4 - self.count % 4);
            self.put();
        }
    }

    #[inline(always)]
    fn put(&mut self) {
        if let Some(step) = self.steps.next() {
            put(step, self.slot, self.last.to_le_bytes());
        }
    }
}

/// Four values into one of two columns.
#[inline(always)]
fn put(step: &mut [[Word; 2]; 2], slot: usize, four: [u8; 4]) {
    let [first, second] = widen(four);
    step[0][slot] = first;
    step[1][slot] = second;
}

/// [`Channels`] two by two, all of them with multipliers below a half: what almost all layers have.
struct Pairs<'m> {
    biases: &'m [[[u8; 4]; 2]],
    factors: &'m [[[u8; 4]; 2]],
    shifts: &'m [[u8; 2]],
    values: Values,
}

impl<'m> Pairs<'m> {
    fn of(channels: &Channels<'m>, count: usize) -> Option<Self> {
        let biases = channels.biases.as_chunks().0.get(..count)?;
        let factors = channels.factors.as_chunks().0.get(..count)?;
        let shifts = channels.shifts.as_chunks().0.get(..count)?;
        channels.are_small().then_some(Self { biases, factors, shifts, values: channels.values })
    }

    /// All pairs of channels of two pixels; returns how many channels these are.
    #[inline(never)]
    fn two_pixels(&self, weights: &[Weights], columns: &[[Word; 2]], (left, right): (&mut [u8], &mut [u8])) -> usize {
        let rows = weights.chunks_exact(columns.len().max(1));
        let scales = self.biases.iter().zip(self.factors).zip(self.shifts);
        let outputs = left.as_chunks_mut::<2>().0.iter_mut().zip(right.as_chunks_mut::<2>().0);
        for ((rows, ((biases, factors), shifts)), (left, right)) in rows.zip(scales).zip(outputs) {
            let [b0, b1] = biases.map(i32::from_le_bytes);
            let acc = two_by_two(rows, columns, [b0, b0, b1, b1]);
            self.values.put_two(factors[0], shifts[0], [acc[0], acc[1]], [&mut left[0], &mut right[0]]);
            self.values.put_two(factors[1], shifts[1], [acc[2], acc[3]], [&mut left[1], &mut right[1]]);
        }
        2 * self.biases.len()
    }
}

/// The channels of two pixels from `done` on, which is even.
fn two_pixels(
    (channels, done): (&Channels<'_>, usize),
    weights: &[Weights],
    columns: &[[Word; 2]],
    left: &mut [u8],
    right: &mut [u8],
) {
    let rows = weights.chunks_exact(columns.len().max(1));
    let outputs = left.chunks_mut(2).zip(right.chunks_mut(2));
    for (i, (rows, (left, right))) in rows.zip(outputs).enumerate().skip(done / 2) {
        let (b0, b1) = (channels.bias(2 * i), channels.bias(2 * i + 1));
        let acc = two_by_two(rows, columns, [b0, b0, b1, b1]);
        for (n, (left, right)) in left.iter_mut().zip(right).enumerate() {
            [*left, *right] = channels.values(2 * i + n, if n == 0 { [acc[0], acc[1]] } else { [acc[2], acc[3]] });
        }
    }
}

/// All channels of one pixel, the left one.
fn lone_pixel(channels: &Channels<'_>, weights: &[Weights], columns: &[[Word; 2]], output: &mut [u8]) {
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
fn four_channels(channels: &Channels<'_>, weights: &[Weights], column: &[Word], output: &mut [u8]) {
    let words = column.len();
    for (i, (rows, output)) in weights.chunks((2 * words).max(1)).zip(output.chunks_mut(4)).enumerate() {
        let channel = 4 * i;
        let (one, two) = rows.split_at(words.min(rows.len()));
        // Where there is no second pair, the first is worked out twice, and the second time dropped.
        let two = if two.is_empty() { one } else { two };
        let biases = [0, 1, 2, 3].map(|n| channels.bias(channel + n));
        let acc = four_by_one([one, two], column, biases);
        for (n, (output, acc)) in output.iter_mut().zip(acc).enumerate() {
            [*output] = channels.values(channel + n, [acc]);
        }
    }
}
