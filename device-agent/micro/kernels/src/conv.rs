//! Convolutions and fully connected layers: columns of values against rows of weights.

use crate::path::{four_by_one, two_by, two_by_one, widen};
use crate::{Channel, Channels, Inside, PIXELS, Step, Values, Weights, Window, Word, numbers, row_bytes};

/// A convolution. `input` and `output` are NHWC without the sample; `weights` has two and two rows, one per output channel, interleaved;
/// `scratch` has room for [`PIXELS`] columns of 16-bit values, also interleaved.
#[inline(never)]
pub fn conv(
    window: &Window,
    channels: &Channels<'_>,
    zero_point: u8,
    (input, weights): (&[u8], &[u8]),
    output: &mut [u8],
    scratch: &mut [u8],
) {
    let elements = window.kernel.0 * window.kernel.1 * window.input.2;
    let stride = (row_bytes(elements) / 2).max(1);
    let Some(columns) = scratch.as_chunks_mut().0.as_chunks_mut().0.get_mut(..stride) else { return };
    let count = channels.all.len().max(1);
    let rows = Rows { channels, is_small: channels.are_small(), weights: weights.as_chunks().0, stride };
    let filling = Filling::of(window, zero_point, input);
    let mut pixels = (0..window.output.0).flat_map(|y| (0..window.output.1).map(move |x| (y, x)));
    let mut twos = output.chunks_exact_mut(PIXELS * count);
    for outputs in twos.by_ref() {
        (0..PIXELS).zip(pixels.by_ref()).for_each(|(slot, at)| filling.fill(at, columns, slot));
        let done = rows.two_pixels(columns, outputs);
        rows.others(done, columns, outputs);
    }
    for (output, at) in twos.into_remainder().chunks_exact_mut(count).zip(pixels) {
        filling.fill(at, columns, 0);
        let done = rows.one_pixel(columns, output);
        rows.others(done, columns, output);
    }
}

/// Rows of weights against columns.
struct Rows<'l> {
    channels: &'l Channels<'l>,
    is_small: bool,
    weights: &'l [Weights],
    /// From the rows of two channels to those of the next two, in weights.
    stride: usize,
}

impl<'l> Rows<'l> {
    /// Pairs of channels with their rows. None where not all multipliers are below a quarter, as those of almost all layers are.
    #[inline(always)]
    fn pairs(&self) -> impl Iterator<Item = (&'l [Channel; 2], &'l [Weights])> + use<'l> {
        let pairs = if self.is_small { self.channels.all.as_chunks().0 } else { &[] };
        pairs.iter().zip(self.weights.chunks_exact(self.stride))
    }

    /// All pairs of channels of two pixels; returns how many channels these are.
    #[inline(never)]
    fn two_pixels(&self, columns: &[Step], outputs: &mut [u8]) -> usize {
        let values = self.channels.values;
        let count = self.channels.all.len();
        let (one, two) = outputs.split_at_mut(count.min(outputs.len()));
        let [one, two] = [one, two].map(|output| output.as_chunks_mut::<2>().0);
        for (((pair, rows), one), two) in self.pairs().zip(one).zip(two) {
            let acc = two_by(rows, columns, pair.map(|channel| [numbers(&channel).0; PIXELS]));
            let [first, second] = put_pair(values, pair, acc);
            *one = [first[0], second[0]];
            *two = [first[1], second[1]];
        }
        if self.is_small { count & !1 } else { 0 }
    }

    /// All pairs of channels of the first pixel; returns how many channels these are.
    #[inline(never)]
    fn one_pixel(&self, columns: &[Step], output: &mut [u8]) -> usize {
        let values = self.channels.values;
        for ((pair, rows), output) in self.pairs().zip(output.as_chunks_mut::<2>().0) {
            let acc = two_by(rows, columns, pair.map(|channel| [numbers(&channel).0]));
            let [first, second] = put_pair(values, pair, acc);
            *output = [first[0], second[0]];
        }
        if self.is_small { self.channels.all.len() & !1 } else { 0 }
    }

    /// Channels from `done` on, which is even, in any number and with any multiplier, of as many pixels as there are outputs for.
    fn others(&self, done: usize, columns: &[Step], outputs: &mut [u8]) {
        if done < self.channels.all.len() {
            self.slowly(done, columns, outputs);
        }
    }

    #[inline(never)]
    fn slowly(&self, done: usize, columns: &[Step], outputs: &mut [u8]) {
        let rows = self.weights.chunks_exact(self.stride).skip(done / 2);
        for (i, rows) in (done / 2..).zip(rows) {
            let acc = two_by(rows, columns, [[0; PIXELS]; 2]);
            for (acc, n) in acc.into_iter().zip(2 * i..) {
                let Some((bias, by)) = self.channels.all.get(n).map(numbers) else { continue };
                for (acc, output) in acc.into_iter().zip(outputs.chunks_exact_mut(self.channels.all.len())) {
                    output[n] = self.channels.values.of_one(by, acc.wrapping_add(bias));
                }
            }
        }
    }
}

/// The values of two channels.
#[inline(always)]
fn put_pair<const N: usize>(values: Values, pair: &[Channel; 2], acc: [[i32; N]; 2]) -> [[u8; N]; 2] {
    let [one, two] = pair.map(|channel| numbers(&channel).1);
    [values.of_small(one, acc[0]), values.of_small(two, acc[1])]
}

/// A fully connected layer. `scratch` has room for a column of 16-bit values.
#[inline(never)]
pub fn dense(channels: &Channels<'_>, (input, weights): (&[u8], &[u8]), output: &mut [u8], scratch: &mut [u8]) {
    let column = scratch.as_chunks_mut().0.as_chunks_mut().0;
    let (whole, rest) = input.as_chunks();
    column.iter_mut().zip(whole).for_each(|(words, four)| *words = widen(*four));
    if let Some(words) = column.get_mut(whole.len()) {
        let mut four = [0; 4];
        four.iter_mut().zip(rest).for_each(|(four, value)| *four = *value);
        *words = widen(four);
    }
    let column = column.as_flattened();
    let (stride, weights) = (column.len().max(1), weights.as_chunks().0);
    let (fours, last) = channels.all.as_chunks::<4>();
    let (whole, end) = output.as_chunks_mut::<4>();
    let parts = fours.chunks(FOURS).zip(weights.chunks(2 * FOURS * stride));
    for ((fours, rows), outputs) in parts.zip(whole.chunks_mut(FOURS)) {
        let mut sums = [[0; 4]; FOURS];
        sums_of_fours(fours, rows, column, &mut sums);
        for ((four, sums), output) in fours.iter().zip(sums).zip(outputs) {
            for lane in 0..4 {
                output[lane] = channels.values.of_one(numbers(&four[lane]).1, sums[lane]);
            }
        }
    }
    let rows = weights.get(2 * stride * fours.len()..).unwrap_or_default().chunks_exact(stride);
    for ((pair, rows), output) in last.chunks(2).zip(rows).zip(end.chunks_mut(2)) {
        let sums = two_by_one(rows, column, [0; 2]);
        for ((channel, sum), output) in pair.iter().zip(sums).zip(output) {
            let (bias, by) = numbers(channel);
            *output = channels.values.of_one(by, sum.wrapping_add(bias));
        }
    }
}

/// Fours of channels of a fully connected layer whose sums wait for their rounding: there are too few registers for both at once.
const FOURS: usize = 4;

/// The sums of four channels each on one column.
#[inline(never)]
fn sums_of_fours(fours: &[[Channel; 4]], weights: &[Weights], column: &[Word], all: &mut [[i32; 4]; FOURS]) {
    let rows = weights.chunks_exact(2 * column.len().max(1));
    for ((four, rows), sums) in fours.iter().zip(rows).zip(all) {
        let (one, two) = rows.split_at(column.len().min(rows.len()));
        *sums = four_by_one([one, two], column, four.map(|channel| numbers(&channel).0));
    }
}

/// Columns of a layer's input.
struct Filling<'l> {
    window: &'l Window,
    inside: Inside,
    /// Rows of the window and values in each, where a row lies in one piece on the input: where there is no dilation.
    rows: usize,
    piece: usize,
    is_in_fours: bool,
    zero_point: u8,
    input: &'l [u8],
}

impl<'l> Filling<'l> {
    fn of(window: &'l Window, zero_point: u8, input: &'l [u8]) -> Self {
        let (depth, inside) = (window.input.2, window.all_inside());
        let inside = if window.dilations.1 == 1 { inside } else { inside.none() };
        let (rows, piece) = (window.kernel.0, window.kernel.1 * depth);
        Self { window, inside, rows, piece, is_in_fours: depth.is_multiple_of(4), zero_point, input }
    }

    /// Writes the column of one output pixel into its slot.
    #[inline(never)]
    fn fill(&self, at: (usize, usize), columns: &mut [Step], slot: usize) {
        let slot = slot.min(PIXELS - 1);
        match self.inside.first(at) {
            Some(first) if self.is_in_fours => self.rows_in_fours(first, columns, slot),
            None if self.is_in_fours => self.taps_in_fours(at, columns, slot),
            Some(first) => {
                let mut column = OneByOne::of(columns, slot);
                self.rows(first).for_each(|row| column.take(row));
            }
            None => self.tap_by_tap(at, OneByOne::of(columns, slot)),
        }
    }

    /// The window's rows from a value of the input on.
    #[inline(always)]
    fn rows(&self, first: usize) -> impl Iterator<Item = &'l [u8]> {
        let mut rest = self.input.get(first..).unwrap_or_default();
        (0..self.rows).map_while(move |_| {
            let row = rest.get(..self.piece);
            rest = rest.get(self.inside.below..).unwrap_or_default();
            row
        })
    }

    #[inline(always)]
    fn rows_in_fours(&self, first: usize, columns: &mut [Step], slot: usize) {
        let mut steps = columns.as_chunks_mut::<2>().0.iter_mut();
        for row in self.rows(first) {
            // The values first: a step that is taken for none of them would be lost.
            row.as_chunks().0.iter().zip(steps.by_ref()).for_each(|(four, step)| put(step, slot, *four));
        }
    }

    #[inline(never)]
    fn taps_in_fours(&self, (y, x): (usize, usize), columns: &mut [Step], slot: usize) {
        let depth = self.window.input.2;
        let mut steps = columns.as_chunks_mut::<2>().0.iter_mut();
        for ky in 0..self.window.kernel.0 {
            let row = self.window.values(self.input, y, ky);
            let (mut from, step) = self.window.walk(x);
            for _ in 0..self.window.kernel.1 {
                let steps = steps.by_ref().take(depth / 4);
                match row.get(from..).and_then(|rest| rest.get(..depth)) {
                    Some(values) => steps.zip(values.as_chunks().0).for_each(|(step, four)| put(step, slot, *four)),
                    None => steps.for_each(|step| put(step, slot, [self.zero_point; 4])),
                }
                from = from.wrapping_add(step);
            }
        }
    }

    #[inline(never)]
    fn tap_by_tap(&self, (y, x): (usize, usize), mut column: OneByOne<'_>) {
        let depth = self.window.input.2;
        for ky in 0..self.window.kernel.0 {
            let row = self.window.values(self.input, y, ky);
            let (mut from, step) = self.window.walk(x);
            for _ in 0..self.window.kernel.1 {
                match row.get(from..).and_then(|rest| rest.get(..depth)) {
                    Some(values) => column.take(values),
                    None => (0..depth).for_each(|_| column.take(&[self.zero_point])),
                }
                from = from.wrapping_add(step);
            }
        }
    }
}

/// A column that comes value by value. What fills its last word up has weight 0, and may be anything.
struct OneByOne<'c> {
    halves: &'c mut [[u8; 2]],
    at: usize,
    /// From each of four values to the next: the first and the third share a word, and the second and the fourth the next one.
    ahead: u32,
}

impl<'c> OneByOne<'c> {
    #[inline(always)]
    fn of(columns: &'c mut [Step], slot: usize) -> Self {
        const WORD: i8 = 2 * PIXELS as i8;
        let ahead = [WORD, 1 - WORD, WORD, WORD - 1].map(|halves| halves as u8);
        let halves = columns.as_flattened_mut().as_flattened_mut().as_chunks_mut().0;
        Self { halves, at: 2 * slot, ahead: u32::from_le_bytes(ahead) }
    }

    #[inline(always)]
    fn take(&mut self, values: &[u8]) {
        for value in values {
            if let Some(half) = self.halves.get_mut(self.at) {
                *half = i16::from(*value as i8).to_le_bytes();
            }
            self.at = self.at.wrapping_add_signed(isize::from(self.ahead as i8));
            self.ahead = self.ahead.rotate_right(8);
        }
    }
}

/// Four values into one of the columns.
#[inline(always)]
fn put(step: &mut [Step; 2], slot: usize, four: [u8; 4]) {
    let [first, second] = widen(four);
    step[0][slot] = first;
    step[1][slot] = second;
}
