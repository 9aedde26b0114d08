//! Every operator against a slow and obvious way of doing the same, on made-up shapes.
#![cfg(feature = "std")]

use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Dtype, Kind, Model, Multiplier, scratch_bytes};
use proptest::prelude::*;

/// A model of one operator: its inputs, its output, and scratch behind them.
struct One {
    writer: Writer,
    end: usize,
    inputs: usize,
}

/// Tensors of 8-bit values with these shapes and zero points; the last is the output.
fn tensors(all: &[(&[usize], i32)]) -> One {
    let mut one = One { writer: Writer::new(), end: 0, inputs: all.len() - 1 };
    // Inputs first, then the output.
    for (dims, zero_point) in all {
        let spec =
            TensorSpec { name: "t", dtype: Dtype::I8, dims, offset: one.end, scale: 0.5, zero_point: *zero_point };
        one.writer.tensor(&spec);
        one.end += dims.iter().product::<usize>();
    }
    one
}

impl One {
    fn run(mut self, kind: Kind, mut parameters: [i32; 13], row: usize, inputs: &[&[i8]]) -> Vec<i8> {
        let scratch = scratch_bytes(kind, row);
        if scratch > 0 {
            parameters[9] = self.end as i32;
        }
        let ids: Vec<usize> = (0..self.inputs).collect();
        self.writer.operator(&OperatorSpec { name: "o", kind, inputs: &ids, output: self.inputs, parameters });
        let bytes = self.writer.finish(self.inputs as u8, 1, self.end + scratch);
        let model = Model::check(&bytes).unwrap_or_else(|e| panic!("{e}"));
        let answer = |poison: u8| {
            let mut arena = vec![poison; model.arena_bytes()];
            for (i, input) in inputs.iter().enumerate() {
                let bytes: Vec<u8> = input.iter().map(|v| *v as u8).collect();
                arena[model.input(i).range()].copy_from_slice(&bytes);
            }
            model.run(&mut arena).unwrap();
            arena[model.output(0).range()].iter().map(|v| *v as i8).collect::<Vec<_>>()
        };
        let first = answer(0x55);
        assert_eq!(first, answer(0xaa), "the answer depends on what the arena held before");
        first
    }
}

fn pair(a: usize, b: usize) -> i32 {
    (a | b << 16) as i32
}

fn clamp(low: i32, high: i32) -> i32 {
    (low & 0xffff) | high << 16
}

/// `i` made into a value that looks random.
fn noise(seed: u64, i: usize) -> i8 {
    let x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()[5] as i8
}

fn values(seed: u64, count: usize) -> Vec<i8> {
    (0..count).map(|i| noise(seed, i)).collect()
}

fn exact(acc: i64, real: f64, zero: i32, (low, high): (i32, i32)) -> i8 {
    let m = Multiplier::from_real(real).unwrap();
    let right = 32 + m.shift;
    let y = ((i128::from(acc) * i128::from(m.factor)) + (1_i128 << (right - 1))) >> right;
    (y + i128::from(zero)).clamp(low.into(), high.into()) as i8
}

#[derive(Debug, Clone)]
struct Shape {
    input: (usize, usize, usize),
    outputs: usize,
    kernel: (usize, usize),
    strides: (usize, usize),
    padding: (usize, usize),
    dilations: (usize, usize),
    zeros: (i32, i32),
    seed: u64,
}

impl Shape {
    fn output(&self) -> (usize, usize) {
        let side = |size: usize, k: usize, s: usize, p: usize, d: usize| {
            (size + 2 * p).saturating_sub(d * (k - 1) + 1) / s + 1
        };
        (
            side(self.input.0, self.kernel.0, self.strides.0, self.padding.0, self.dilations.0),
            side(self.input.1, self.kernel.1, self.strides.1, self.padding.1, self.dilations.1),
        )
    }

    fn fits(&self) -> bool {
        let side = |size: usize, k: usize, p: usize, d: usize| size + 2 * p > d * (k - 1);
        side(self.input.0, self.kernel.0, self.padding.0, self.dilations.0)
            && side(self.input.1, self.kernel.1, self.padding.1, self.dilations.1)
    }

    /// Calls with each output pixel and tap that lies on the input.
    fn taps(&self, mut act: impl FnMut(usize, usize, usize)) {
        let (height, width) = self.output();
        for y in 0..height {
            for x in 0..width {
                for ky in 0..self.kernel.0 {
                    for kx in 0..self.kernel.1 {
                        let row = (y * self.strides.0 + ky * self.dilations.0) as i64 - self.padding.0 as i64;
                        let column = (x * self.strides.1 + kx * self.dilations.1) as i64 - self.padding.1 as i64;
                        let inside =
                            (0..self.input.0 as i64).contains(&row) && (0..self.input.1 as i64).contains(&column);
                        if inside {
                            let pixel = row as usize * self.input.1 + column as usize;
                            act(y * width + x, ky * self.kernel.1 + kx, pixel);
                        }
                    }
                }
            }
        }
    }

    fn parameters(&self) -> [i32; 13] {
        let mut parameters = [0; 13];
        parameters[4] = pair(self.kernel.0, self.kernel.1);
        parameters[5] = pair(self.strides.0, self.strides.1);
        parameters[6] = pair(self.padding.0, self.padding.1);
        parameters[7] = pair(self.dilations.0, self.dilations.1);
        parameters
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let input = (1_usize..8, 1_usize..8, 1_usize..14);
    let small = || (1_usize..5, 1_usize..6);
    let zeros = (-128_i32..=127, -128_i32..=127);
    let rest = (small(), (1_usize..4, 1_usize..4), (0_usize..3, 0_usize..3), (1_usize..3, 1_usize..3));
    (input, 1_usize..11, rest, zeros, any::<u64>())
        .prop_map(|(input, outputs, (kernel, strides, padding, dilations), zeros, seed)| Shape {
            input,
            outputs,
            kernel,
            strides,
            padding,
            dilations,
            zeros,
            seed,
        })
        .prop_filter("the kernel is no larger than the input", Shape::fits)
}

/// Multiplier of a channel. Those of a half and more are rare, and have a way of their own through the kernels.
fn real(seed: u64, channel: usize) -> f64 {
    let scale = if seed.is_multiple_of(3) { 100.0 } else { 40_000.0 };
    (f64::from(noise(seed ^ 3, channel)).abs() + 1.0) / scale
}

/// Runs a convolution and works it out again; `depthwise` has a channel for a channel.
fn convolution(shape: &Shape, depthwise: bool) -> (Vec<i8>, Vec<i8>) {
    let (height, width) = shape.output();
    let (channels, taps) = (shape.input.2, shape.kernel.0 * shape.kernel.1);
    let outputs = if depthwise { channels } else { shape.outputs };
    let elements = if depthwise { taps } else { taps * channels };
    let input = values(shape.seed, shape.input.0 * shape.input.1 * channels);
    let weights = values(shape.seed ^ 1, outputs * elements);
    let biases: Vec<i32> = (0..outputs).map(|c| i32::from(noise(shape.seed ^ 2, c)) * 50).collect();
    let reals: Vec<f64> = (0..outputs).map(|c| real(shape.seed, c)).collect();
    let ends = (-100, 110);

    let mut sums: Vec<i64> = (0..height * width * outputs).map(|i| i64::from(biases[i % outputs])).collect();
    shape.taps(|pixel, tap, from| {
        for output in 0..outputs {
            let ins = if depthwise { output..output + 1 } else { 0..channels };
            for (n, channel) in ins.enumerate() {
                let weight = if depthwise {
                    weights[output * taps + tap]
                } else {
                    weights[output * elements + tap * channels + n]
                };
                let value = i64::from(input[from * channels + channel]) - i64::from(shape.zeros.0);
                sums[pixel * outputs + output] += value * i64::from(weight);
            }
        }
    });
    let expected =
        sums.iter().enumerate().map(|(i, sum)| exact(*sum, reals[i % outputs], shape.zeros.1, ends)).collect();

    let (dims_in, dims_out) = ([shape.input.0, shape.input.1, channels], [height, width, outputs]);
    let mut one = tensors(&[(&dims_in, shape.zeros.0), (&dims_out, shape.zeros.1)]);
    let mut parameters = shape.parameters();
    parameters[0] = if depthwise { one.writer.lanes(&weights, taps) } else { one.writer.rows(&weights, elements) };
    let folded = (0..outputs).map(|c| {
        let row =
            if depthwise { &weights[c * taps..(c + 1) * taps] } else { &weights[c * elements..(c + 1) * elements] };
        biases[c] - shape.zeros.0 * row.iter().map(|w| i32::from(*w)).sum::<i32>()
    });
    let multipliers = reals.iter().map(|r| Multiplier::from_real(*r).unwrap());
    parameters[1] = one.writer.channels(folded.zip(multipliers).collect::<Vec<_>>());
    parameters[8] = clamp(ends.0, ends.1);
    let kind = if depthwise { Kind::DepthwiseConv2d } else { Kind::Conv2d };
    (one.run(kind, parameters, if depthwise { channels } else { elements }, &[&input]), expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn convolutions(shape in shapes()) {
        let (answer, expected) = convolution(&shape, false);
        prop_assert_eq!(answer, expected);
    }

    #[test]
    fn depthwise_convolutions(shape in shapes()) {
        let (answer, expected) = convolution(&shape, true);
        prop_assert_eq!(answer, expected);
    }

    #[test]
    fn fully_connected(ins in 1_usize..70, outs in 1_usize..20, zero in -128_i32..=127, seed in any::<u64>()) {
        let shape = Shape { input: (1, 1, ins), outputs: outs, kernel: (1, 1), strides: (1, 1), padding: (0, 0),
            dilations: (1, 1), zeros: (zero, 3), seed };
        let (input, weights) = (values(seed, ins), values(seed ^ 1, ins * outs));
        let (answer, expected) = convolution(&shape, false);
        prop_assert_eq!(&answer, &expected);
        // The same as a convolution with a kernel of one on one pixel.
        let mut one = tensors(&[(&[ins], zero), (&[outs], 3)]);
        let mut parameters = [0; 13];
        parameters[0] = one.writer.rows(&weights, ins);
        let folded: Vec<i32> = (0..outs).map(|c| {
            let sum: i32 = weights[c * ins..(c + 1) * ins].iter().map(|w| i32::from(*w)).sum();
            i32::from(noise(seed ^ 2, c)) * 50 - zero * sum
        }).collect();
        let multipliers = (0..outs).map(|c| Multiplier::from_real(real(seed, c)).unwrap());
        parameters[1] = one.writer.channels(folded.into_iter().zip(multipliers));
        parameters[8] = clamp(-100, 110);
        prop_assert_eq!(one.run(Kind::FullyConnected, parameters, ins, &[&input]), expected);
    }

    #[test]
    fn pools(shape in shapes()) {
        let shape = Shape { dilations: (1, 1), ..shape };
        prop_assume!(shape.fits() && shape.padding.0 < shape.kernel.0 && shape.padding.1 < shape.kernel.1);
        let (height, width) = shape.output();
        let channels = shape.input.2;
        let input = values(shape.seed, shape.input.0 * shape.input.1 * channels);
        let mut under: Vec<Vec<i8>> = vec![Vec::new(); height * width * channels];
        shape.taps(|pixel, _, from| {
            for c in 0..channels { under[pixel * channels + c].push(input[from * channels + c]); }
        });
        let dims = ([shape.input.0, shape.input.1, channels], [height, width, channels]);
        let most: Vec<i8> = under.iter().map(|v| v.iter().copied().max().unwrap_or(i8::MIN)).collect();
        let one = tensors(&[(&dims.0, shape.zeros.0), (&dims.1, shape.zeros.0)]);
        prop_assert_eq!(one.run(Kind::MaxPool, shape.parameters(), 0, &[&input]), most);

        let mean: Vec<i8> = under.iter().map(|v| {
            let sum: i64 = v.iter().map(|x| i64::from(*x) - i64::from(shape.zeros.0)).sum();
            exact(sum, 1.3 / v.len().max(1) as f64, shape.zeros.1, (-128, 127))
        }).collect();
        let mut one = tensors(&[(&dims.0, shape.zeros.0), (&dims.1, shape.zeros.1)]);
        let mut parameters = shape.parameters();
        let all = (1..=shape.kernel.0 * shape.kernel.1).map(|n| (0, Multiplier::from_real(1.3 / n as f64).unwrap()));
        parameters[1] = one.writer.channels(all);
        parameters[8] = clamp(-128, 127);
        prop_assert_eq!(one.run(Kind::AveragePool, parameters, 0, &[&input]), mean);
    }

    #[test]
    fn sums_and_products(count in 1_usize..40, zeros in (-128_i32..=127, -128_i32..=127), seed in any::<u64>()) {
        let (x, y) = (values(seed, count), values(seed ^ 1, count));
        let dims = [count];
        let all: [(&[usize], i32); 3] = [(&dims, zeros.0), (&dims, zeros.1), (&dims, -7)];
        let mut parameters = [0; 13];
        (parameters[0], parameters[1], parameters[2]) = (3_000_000, -1_234_567, 22);
        parameters[8] = clamp(-128, 127);
        let expected: Vec<i8> = x.iter().zip(&y).map(|(x, y)| {
            let sum = (i64::from(*x) - i64::from(zeros.0)) * 3_000_000 + (i64::from(*y) - i64::from(zeros.1)) * -1_234_567;
            (((sum + (1 << 21)) >> 22) - 7).clamp(-128, 127) as i8
        }).collect();
        prop_assert_eq!(tensors(&all).run(Kind::Add, parameters, 0, &[&x, &y]), expected);
        let m = Multiplier::from_real(0.0123).unwrap();
        (parameters[0], parameters[1], parameters[2]) = (m.factor, m.shift, 0);
        let expected: Vec<i8> = x.iter().zip(&y).map(|(x, y)| {
            exact((i64::from(*x) - i64::from(zeros.0)) * (i64::from(*y) - i64::from(zeros.1)), 0.0123, -7, (-128, 127))
        }).collect();
        prop_assert_eq!(tensors(&all).run(Kind::Mul, parameters, 0, &[&x, &y]), expected);
    }

    #[test]
    fn softmax_is_within_one_step(width in 1_usize..12, rows in 1_usize..4, scale in 0.01_f64..0.5, seed in any::<u64>()) {
        let x = values(seed, width * rows);
        let dims = [rows, width];
        let mut one = tensors(&[(&dims, 5), (&dims, -128)]);
        let table = (0..256).map(|i| ((scale * f64::from(i - 255)).exp() * 8_388_608.0).round() as i32);
        let mut parameters = [0; 13];
        parameters[0] = one.writer.words(table.collect::<Vec<_>>());
        parameters[1] = 65_536 * 256;
        parameters[8] = clamp(-128, 127);
        let answer = one.run(Kind::Softmax, parameters, 0, &[&x]);
        for (x, y) in x.chunks(width).zip(answer.chunks(width)) {
            let sum: f64 = x.iter().map(|x| (scale * f64::from(*x)).exp()).sum();
            for (x, y) in x.iter().zip(y) {
                let expected = ((scale * f64::from(*x)).exp() / sum * 256.0 - 128.0).min(127.0);
                prop_assert!((f64::from(*y) - expected).abs() <= 0.51, "{} {}", y, expected);
            }
        }
    }
}

#[test]
fn layouts() {
    let x: Vec<i8> = (0..24).collect();
    let mut parameters = [0; 13];
    parameters[..4].copy_from_slice(&[1, 2, 0, 3]);
    let moved = tensors(&[(&[2, 3, 4], 0), (&[3, 4, 2], 0)]).run(Kind::Transpose, parameters, 0, &[&x]);
    let expected: Vec<i8> =
        (0..3).flat_map(|a| (0..4).flat_map(move |b| (0..2).map(move |c| (c * 12 + a * 4 + b) as i8))).collect();
    assert_eq!(moved, expected);

    parameters[..4].copy_from_slice(&[1, 0, 0, 0]);
    let padded = tensors(&[(&[1, 2], -9), (&[3, 3], -9)]).run(Kind::Pad, parameters, 0, &[&[1, 2]]);
    assert_eq!(padded, [-9, -9, -9, 1, 2, -9, -9, -9, -9]);

    parameters[..4].copy_from_slice(&[1, 0, 0, 0]);
    let all: [(&[usize], i32); 3] = [(&[2, 2], 0), (&[2, 1], 0), (&[2, 3], 0)];
    let both = tensors(&all).run(Kind::Concat, parameters, 0, &[&[1, 2, 3, 4], &[5, 6]]);
    assert_eq!(both, [1, 2, 5, 3, 4, 6]);

    let copied = tensors(&[(&[2, 2], 0), (&[4], 0)]).run(Kind::Copy, [0; 13], 0, &[&[1, 2, 3, 4]]);
    assert_eq!(copied, [1, 2, 3, 4]);
}

#[test]
fn tables_and_means() {
    let mut one = tensors(&[(&[3], 0), (&[3], 0)]);
    let table: Vec<u8> = (0..256).map(|i| (255 - i) as u8 ^ 0x80).collect();
    let mut parameters = [0; 13];
    parameters[0] = one.writer.constant(&table);
    assert_eq!(one.run(Kind::Table, parameters, 0, &[&[-128, 0, 127]]), [127, -1, -128]);

    let m = Multiplier::from_real(0.5 / 4.0).unwrap();
    let mut parameters = [0; 13];
    (parameters[0], parameters[1], parameters[8]) = (m.factor, m.shift, clamp(-128, 127));
    let one = tensors(&[(&[2, 2, 2], 1), (&[2], -3)]);
    // Means less the zero point: 9 and -5; halved, halves up, and the other zero point added.
    assert_eq!(one.run(Kind::GlobalAveragePool, parameters, 0, &[&[4, -2, 8, -4, 12, -6, 16, -4]]), [2, -5]);
}
