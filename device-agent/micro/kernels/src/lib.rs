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
/// The weights of two output channels for the values of a word: channel, channel, channel, channel.
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

/// Biases and multipliers of output channels, and what their values must be.
#[derive(Clone, Copy)]
pub struct Channels<'m> {
    /// i32 per channel.
    pub biases: &'m [[u8; 4]],
    /// i32 per channel.
    pub factors: &'m [[u8; 4]],
    /// i8 per channel.
    pub shifts: &'m [u8],
    /// How values are made.
    pub values: Values,
}

impl Channels<'_> {
    /// Bias of a channel; 0 past the last.
    #[inline(always)]
    pub fn bias(&self, channel: usize) -> i32 {
        self.biases.get(channel).map_or(0, |bias| i32::from_le_bytes(*bias))
    }

    /// Are all multipliers below a half, as those that [`Values::put_four`] takes?
    pub fn are_small(&self) -> bool {
        self.shifts.iter().all(|shift| *shift as i8 >= 1)
    }

    /// The values of a channel's accumulators.
    #[inline(always)]
    pub fn values<const N: usize>(&self, channel: usize, accs: [i32; N]) -> [u8; N] {
        let by = match (self.factors.get(channel), self.shifts.get(channel)) {
            (Some(factor), Some(shift)) => Multiplier { factor: i32::from_le_bytes(*factor), shift: *shift as i8 },
            _ => Multiplier { factor: 0, shift: 0 },
        };
        self.values.of(by, accs)
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

    /// Where the first value under the window lies on the input, and how far it is to that of the window's next row; `None` where a part of
    /// the window is in the padding. Most pixels need not look for it tap by tap.
    #[inline(always)]
    pub fn inside(&self, (y, x): (usize, usize)) -> Option<(usize, usize)> {
        let top = (y * self.strides.0).checked_sub(self.padding.0)?;
        let left = (x * self.strides.1).checked_sub(self.padding.1)?;
        let reach = |taps: usize, dilation: usize| taps.wrapping_sub(1).wrapping_mul(dilation);
        let bottom = top.wrapping_add(reach(self.kernel.0, self.dilations.0));
        let right = left.wrapping_add(reach(self.kernel.1, self.dilations.1));
        let length = self.input.1 * self.input.2;
        (bottom < self.input.0 && right < self.input.1)
            .then(|| (top * length + left * self.input.2, self.dilations.0 * length))
    }

    /// The input's pixel under a tap of the window at an output's pixel; `None` in the padding.
    #[inline(always)]
    pub fn pixel(&self, (y, x): (usize, usize), (ky, kx): (usize, usize)) -> Option<usize> {
        Some(self.row(y, ky)? * self.input.1 + self.column(x, kx)?)
    }
}
