//! Depthwise convolutions whose kernel is three wide, with the DSP instructions: all groups of four channels of a pixel at once, where no tap
//! lies in the padding.

use crate::{Channel, Channels, Group, Inside, Values, Window};

/// A tap: weights in `t` and `u`, values in `v` and `r`, bytes 0 and 2 and then 1 and 3 as halves.
#[cfg(all(feature = "dsp", target_arch = "arm"))]
#[rustfmt::skip]
macro_rules! tap {
    ($place:literal) => {
        concat!(
            "ldr {t}, [{w}], #4\n sxtb16 {u}, {t}, ror #8\n sxtb16 {t}, {t}\n",
            "ldr {v}, [{x}", $place, "]\n sxtb16 {r}, {v}, ror #8\n sxtb16 {v}, {v}\n",
            "smlabb {a}, {t}, {v}, {a}\n smlabb {b}, {u}, {r}, {b}\n",
            "smlatt {c}, {t}, {v}, {c}\n smlatt {d}, {u}, {r}, {d}"
        )
    };
}

/// A sum becomes a value as in [`Values::of_small`], by the factor and shift of its channel, which stand at `t`.
#[cfg(all(feature = "dsp", target_arch = "arm"))]
#[rustfmt::skip]
macro_rules! value {
    ($sum:literal $factor:literal $shift:literal) => {
        concat!(
            "ldr {u}, [{t}, #", $factor, "]\n ldr {v}, [{t}, #", $shift, "]\n sub {v}, {v}, #1\n",
            "smmul ", $sum, ", ", $sum, ", {u}\n asr ", $sum, ", ", $sum, ", {v}\n add ", $sum, ", ", $sum, ", {r}\n",
            "ssat ", $sum, ", #8, ", $sum, ", asr #1\n strb ", $sum, ", [{x}], #1"
        )
    };
}

/// A layer whose kernel is three wide and whose multipliers are below a quarter.
pub struct ThreeWide<'l> {
    /// At least one group.
    channels: &'l [[Channel; 4]],
    /// Of each group as many rows of taps as the window has, at least one.
    weights: &'l [[Group; 3]],
    rows: usize,
    /// From a row of the window to the next, and from a tap to the next.
    below: usize,
    step: usize,
    /// Values, from the window's first one on, that all groups need.
    reach: usize,
    values: Values,
}

impl<'l> ThreeWide<'l> {
    /// `None` where it is another layer.
    pub fn of(window: &Window, inside: &Inside, channels: &Channels<'l>, weights: &'l [Group]) -> Option<Self> {
        let (rows, columns) = window.kernel;
        let groups = channels.all.as_chunks().0;
        let (below, step) = (inside.below, window.dilations.1.checked_mul(window.input.2)?);
        let weights = weights.as_chunks().0.get(..rows.checked_mul(groups.len())?)?;
        let reach = rows.checked_sub(1)?.checked_mul(below)?.checked_add(step.checked_mul(2)?)?;
        let reach = reach.checked_add(4 * groups.len())?;
        let is_one = columns == 3 && !groups.is_empty() && channels.are_small();
        is_one.then_some(Self { channels: groups, weights, rows, below, step, reach, values: channels.values })
    }

    /// Whole groups of a pixel, `values` from the window's first one on; returns how many there are. None where the values do not reach.
    pub fn pixel(&self, values: &[u8], output: &mut [u8]) -> usize {
        let count = self.channels.len();
        if values.len() < self.reach || output.len() < 4 * count {
            return 0;
        }
        self.groups(values, output);
        count
    }

    /// The plain way, for the tests.
    #[cfg(not(all(feature = "dsp", target_arch = "arm")))]
    fn groups(&self, values: &[u8], output: &mut [u8]) {
        let groups = self.channels.iter().zip(self.weights.chunks_exact(self.rows));
        for (n, (output, (four, rows))) in output.as_chunks_mut::<4>().0.iter_mut().zip(groups).enumerate() {
            let mut acc = four.map(|channel| crate::numbers(&channel).0);
            for (row, tap) in (0..self.rows).flat_map(|row| (0..3).map(move |tap| (row, tap))) {
                let at = 4 * n + row * self.below + tap * self.step;
                let values = values[at..].first_chunk().expect("the values reach to the last tap");
                acc = super::dsp::lanes(&rows[row][tap], values, acc);
            }
            for lane in 0..4 {
                [output[lane]] = self.values.of_small(crate::numbers(&four[lane]).1, [acc[lane]]);
            }
        }
    }

    /// The sums of a group (`a` to `d`) and what is at work in them take every register; what groups go by waits on the stack meanwhile.
    #[cfg(all(feature = "dsp", target_arch = "arm"))]
    #[expect(unsafe_code, reason = "the compiler keeps sums in memory where they need every register")]
    #[inline(never)]
    #[rustfmt::skip]
    fn groups(&self, values: &[u8], output: &mut [u8]) {
        // SAFETY: all groups have their weights and channels, as `of` has seen, and the values reach to the last tap of the last group and the
        // output to its end, as `pixel` has. These cores read words at any address. 24 bytes of stack are taken and given back.
        unsafe {
            core::arch::asm!(
                "sub sp, sp, #24",
                "str {a}, [sp]",        // channels
                "str {x}, [sp, #4]",    // values
                "str {n}, [sp, #8]",    // rows
                "str {b}, [sp, #12]",   // output
                "str {c}, [sp, #16]",   // one more than twice the zero point
                "str {d}, [sp, #20]",   // groups that are left
                "2:",
                "ldr {t}, [sp]", "ldr {a}, [{t}]", "ldr {b}, [{t}, #12]", "ldr {c}, [{t}, #24]", "ldr {d}, [{t}, #36]",
                "ldr {x}, [sp, #4]", "ldr {n}, [sp, #8]",
                "3:",
                tap!(""), tap!(", {s}"), tap!(", {s}, lsl #1"),
                "add {x}, {x}, {below}", "subs {n}, {n}, #1", "bne 3b",
                "ldr {t}, [sp]", "ldr {x}, [sp, #12]", "ldr {r}, [sp, #16]",
                value!("{a}" "4" "8"), value!("{b}" "16" "20"), value!("{c}" "28" "32"), value!("{d}" "40" "44"),
                "add {t}, {t}, #48", "str {t}, [sp]", "str {x}, [sp, #12]",
                "ldr {u}, [sp, #4]", "add {u}, {u}, #4", "str {u}, [sp, #4]",
                "ldr {v}, [sp, #20]", "subs {v}, {v}, #1", "str {v}, [sp, #20]", "bne 2b",
                "add sp, sp, #24",
                w = inout(reg) self.weights.as_ptr() => _,
                x = inout(reg) values.as_ptr() => _,
                n = inout(reg) self.rows => _,
                s = in(reg) self.step,
                below = in(reg) self.below,
                a = inout(reg) self.channels.as_ptr() => _,
                b = inout(reg) output.as_mut_ptr() => _,
                c = inout(reg) self.values.one_and_zero() => _,
                d = inout(reg) self.channels.len() => _,
                t = out(reg) _, u = out(reg) _, v = out(reg) _, r = out(reg) _,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Multiplier, depthwise};
    use proptest::prelude::*;
    use std::vec::Vec;

    fn many<T: Arbitrary>(count: usize) -> impl Strategy<Value = Vec<T>> {
        proptest::collection::vec(any::<T>(), count)
    }

    proptest! {
        #[test]
        fn pixels_inside_have_the_values_that_they_have_anyhow(
            (height, width, groups, rows, stride, dilation) in
                (1_usize..9, 1_usize..9, 1_usize..4, 1_usize..4, 1_usize..3, 1_usize..3),
            padding in 0_usize..3,
            (input, weights) in (many::<u8>(8 * 8 * 12), many::<u8>(12 * 9)),
            real in 1e-6_f64..0.2,
            zero in -128_i32..128,
        ) {
            let reach = (rows - 1) * dilation + 1;
            prop_assume!(height + 2 * padding >= reach && width + 2 * padding > 2 * dilation);
            let count = 4 * groups;
            let output = ((height + 2 * padding - reach) / stride + 1, (width + 2 * padding - 2 * dilation - 1) / stride + 1);
            let window = Window {
                input: (height, width, count),
                output,
                kernel: (rows, 3),
                strides: (stride, stride),
                padding: (padding, padding),
                dilations: (dilation, dilation),
            };
            let by = Multiplier::from_real(real).unwrap();
            let all: Vec<_> = (0..count as i32).map(|c| [100 * c - 300, by.factor, by.shift].map(i32::to_le_bytes)).collect();
            let channels = Channels { all: &all, values: Values::new(zero) };
            let input = &input[..height * width * count];
            let mut expected = std::vec![0; output.0 * output.1 * count];
            depthwise(&window, &channels, 7, (input, &weights), &mut expected, &mut std::vec![0; count]);

            let inside = window.all_inside();
            let three = ThreeWide::of(&window, &inside, &channels, weights.as_chunks().0).unwrap();
            for (pixel, expected) in expected.chunks_exact(count).enumerate() {
                let at = (pixel / output.1, pixel % output.1);
                let taps = (0..rows).flat_map(|ky| (0..3).map(move |kx| (ky, kx)));
                let is_inside = taps.into_iter().all(|tap| window.pixel(at, tap).is_some());
                let first = inside.first(at);
                prop_assert_eq!(first.is_some(), is_inside, "{:?}", at);
                let Some(first) = first else { continue };
                let mut found = std::vec![0; count];
                prop_assert_eq!(three.pixel(&input[first..], &mut found), groups);
                prop_assert_eq!(found, expected);
                // Values that end before the last tap are left alone.
                prop_assert_eq!(three.pixel(&input[first..first + three.reach - 1], &mut std::vec![0; count]), 0);
            }
        }
    }
}
