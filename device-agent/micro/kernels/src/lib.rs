//! The kernels of the engine for microcontrollers in which an inference spends its time, and its rounding.
//!
//! Each works on slices that the interpreter has cut out of the arena and the model, and knows nothing of either. A crate of its own, because it is
//! built for speed and the rest of the engine for size: cargo's profiles go by crate.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(feature = "dsp"), forbid(unsafe_code))]

#[cfg(test)]
extern crate std;

mod conv;
mod depthwise;
#[cfg(any(test, not(all(feature = "dsp", target_arch = "arm"))))]
mod dot;
#[cfg(any(test, all(feature = "dsp", target_arch = "arm")))]
mod dsp;
mod requant;
#[cfg(any(test, all(feature = "dsp", target_arch = "arm")))]
mod three_wide;

pub use conv::{conv, dense};
pub use depthwise::depthwise;
pub use requant::{Multiplier, Values, dequantize, quantize};

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
use dot as path;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
use dsp as path;

/// Four values.
pub type Group = [u8; 4];
/// Two values of a column in 16 bit.
pub type Word = [u8; 4];
/// Output pixels that a convolution works out at once: what their sums and two channels' weights need fits into the registers.
pub const PIXELS: usize = 2;
/// The same word of all their columns.
pub type Step = [Word; PIXELS];
/// The weights of two output channels for two values: channel, channel, channel, channel.
pub type Weights = [u8; 4];

/// Bytes of one output channel's weights: its elements, filled up with zeros to a multiple of four.
pub fn row_bytes(elements: usize) -> usize {
    elements.div_ceil(4) * 4
}

/// Bytes of the weights of so many output channels: rows, two and two.
pub fn weight_bytes(channels: usize, elements: usize) -> usize {
    row_bytes(elements).saturating_mul(channels.div_ceil(2) * 2)
}

/// Bytes of depthwise weights: groups of four channels, each with its taps.
pub fn depthwise_weight_bytes(channels: usize, taps: usize) -> usize {
    channels.div_ceil(4) * 4 * taps
}

/// What a model holds of an output channel besides weights: bias, factor and shift, an i32 each.
pub type Channel = [[u8; 4]; 3];

/// Bytes of a [`Channel`].
pub const CHANNEL_BYTES: usize = size_of::<Channel>();

/// Bias and multiplier of a channel.
#[inline(always)]
pub fn numbers(channel: &Channel) -> (i32, Multiplier) {
    let [bias, factor, shift] = channel.map(i32::from_le_bytes);
    (bias, Multiplier { factor, shift })
}

/// Output channels, and what their values must be.
#[derive(Clone, Copy)]
pub struct Channels<'m> {
    /// One for each.
    pub all: &'m [Channel],
    /// How values are made.
    pub values: Values,
}

impl Channels<'_> {
    /// Are all multipliers below a quarter, as those that [`Values::of_small`] takes?
    pub fn are_small(&self) -> bool {
        self.all.iter().all(|channel| numbers(channel).1.is_small())
    }
}

/// The i32 with this number.
#[inline(always)]
pub fn word(bytes: &[u8], index: usize) -> i32 {
    match bytes.get(4 * index..4 * index + 4) {
        Some(b) => i32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        None => 0,
    }
}

/// Where a window lies on the input.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Input: height, width, channels.
    pub input: (usize, usize, usize),
    /// Output: height, width.
    pub output: (usize, usize),
    /// Kernel: height, width.
    pub kernel: (usize, usize),
    /// Strides: height, width.
    pub strides: (usize, usize),
    /// Padding above and left of the input.
    pub padding: (usize, usize),
    /// Dilations: height, width.
    pub dilations: (usize, usize),
}

impl Window {
    /// The input's row under a row of the window; `None` in the padding.
    #[inline(always)]
    pub fn row(&self, y: usize, ky: usize) -> Option<usize> {
        let row = (y * self.strides.0 + ky * self.dilations.0).checked_sub(self.padding.0)?;
        (row < self.input.0).then_some(row)
    }

    /// The input's column under a column of the window; `None` in the padding.
    #[inline(always)]
    pub fn column(&self, x: usize, kx: usize) -> Option<usize> {
        let column = (x * self.strides.1 + kx * self.dilations.1).checked_sub(self.padding.1)?;
        (column < self.input.1).then_some(column)
    }

    /// The values of the input's row under a row of the window; none in the padding.
    #[inline(always)]
    pub fn values<'i>(&self, input: &'i [u8], y: usize, ky: usize) -> &'i [u8] {
        let length = self.input.1 * self.input.2;
        let row = self.row(y, ky).and_then(|row| input.get(row * length..)).and_then(|rest| rest.get(..length));
        row.unwrap_or_default()
    }

    /// Where the first tap of a row of the window lies in these values, and how far it is to the next one. Left of the input this wraps, and
    /// is far right of it.
    #[inline(always)]
    pub fn walk(&self, x: usize) -> (usize, usize) {
        let first = (x * self.strides.1).wrapping_sub(self.padding.1).wrapping_mul(self.input.2);
        (first, self.dilations.1 * self.input.2)
    }

    /// Which pixels of the output have the whole window on the input. Most have, and need not look for it tap by tap.
    pub fn all_inside(&self) -> Inside {
        let length = self.input.1 * self.input.2;
        let range = |output: usize, input: usize, stride: usize, padding: usize, reach: usize| {
            let stride = stride.max(1);
            let end = (input + padding).saturating_sub(reach).div_ceil(stride);
            padding.div_ceil(stride)..end.min(output)
        };
        let reach = |taps: usize, dilation: usize| taps.saturating_sub(1) * dilation;
        let reaches = (reach(self.kernel.0, self.dilations.0), reach(self.kernel.1, self.dilations.1));
        Inside {
            rows: range(self.output.0, self.input.0, self.strides.0, self.padding.0, reaches.0),
            columns: range(self.output.1, self.input.1, self.strides.1, self.padding.1, reaches.1),
            before: self.padding.0 * length + self.padding.1 * self.input.2,
            down: self.strides.0 * length,
            right: self.strides.1 * self.input.2,
            below: self.dilations.0 * length,
        }
    }

    /// The input's pixel under a tap of the window at an output's pixel; `None` in the padding.
    #[inline(always)]
    pub fn pixel(&self, (y, x): (usize, usize), (ky, kx): (usize, usize)) -> Option<usize> {
        Some(self.row(y, ky)? * self.input.1 + self.column(x, kx)?)
    }
}

/// Pixels of the output whose window lies on the input as a whole.
#[derive(Debug, Clone)]
pub struct Inside {
    rows: core::ops::Range<usize>,
    columns: core::ops::Range<usize>,
    /// Values that the padding would take in front of the input.
    before: usize,
    /// Values from the window of a pixel to that of the pixel below, and to that of the next.
    down: usize,
    right: usize,
    /// Values from a row of the window to the next.
    pub below: usize,
}

impl Inside {
    /// The same without any pixels.
    pub fn none(self) -> Self {
        Self { columns: 0..0, ..self }
    }

    /// Where the first value under the window lies on the input; `None` where a part of the window is in the padding.
    #[inline(always)]
    pub fn first(&self, (y, x): (usize, usize)) -> Option<usize> {
        let inside = self.rows.contains(&y) && self.columns.contains(&x);
        inside.then(|| (y * self.down + x * self.right).wrapping_sub(self.before))
    }
}
