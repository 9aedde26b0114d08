//! Writes the models that are measured, and what the host answers on them, bit for bit.

use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Dtype, Kind, Model, Multiplier, scratch_bytes};
use std::path::{Path, PathBuf};

/// A layer on its own.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    kind: Kind,
    /// Height, width, channels.
    input: [usize; 3],
    output: [usize; 3],
    /// Height, width.
    kernel: [usize; 2],
    stride: usize,
    /// Above and left.
    padding: [usize; 2],
    dilation: usize,
    /// The largest multiplier, of sums that are about as large as there are weights in a row.
    scale: f64,
}

/// Layers of made-up shapes that are only held against the host's answers.
const SHAPES: usize = 90;

/// What is measured.
const LAYERS: &[Layer] = &[
    layer("conv 1x1 64->64 on 8x8", Kind::Conv2d, [8, 8, 64], [8, 8, 64], [1, 1], 1, [0, 0]),
    layer("conv 1x1 16->32 on 14x14", Kind::Conv2d, [14, 14, 16], [14, 14, 32], [1, 1], 1, [0, 0]),
    layer("conv 3x3 16->32 on 14x14", Kind::Conv2d, [14, 14, 16], [14, 14, 32], [3, 3], 1, [1, 1]),
    layer("conv 3x3 1->16 on 28x28/2", Kind::Conv2d, [28, 28, 1], [14, 14, 16], [3, 3], 2, [1, 1]),
    layer("fully connected 256->64", Kind::FullyConnected, [1, 1, 256], [1, 1, 64], [1, 1], 1, [0, 0]),
    layer("fully connected 64->10", Kind::FullyConnected, [1, 1, 64], [1, 1, 10], [1, 1], 1, [0, 0]),
    layer("depthwise 3x3 64 on 8x8", Kind::DepthwiseConv2d, [8, 8, 64], [8, 8, 64], [3, 3], 1, [1, 1]),
    layer("depthwise 3x3 16 on 14x14/2", Kind::DepthwiseConv2d, [14, 14, 16], [7, 7, 16], [3, 3], 2, [1, 1]),
    layer("depthwise 1x3 32 on 1x32", Kind::DepthwiseConv2d, [1, 32, 32], [1, 32, 32], [1, 3], 1, [0, 1]),
    layer("depthwise 1x5 32 on 1x32", Kind::DepthwiseConv2d, [1, 32, 32], [1, 32, 32], [1, 5], 1, [0, 2]),
];

const fn layer(
    name: &'static str,
    kind: Kind,
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
) -> Layer {
    Layer { name, kind, input, output, kernel, stride, padding, dilation: 1, scale: 0.4 }
}

/// Numbers without a pattern, the same in every build.
struct Noise(u32);

impl Noise {
    fn byte(&mut self) -> i8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as i8
    }

    /// From 1 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        1 + usize::from(self.byte() as u8) * most / 256
    }

    /// Whatever the kernels have ways of their own for: borders, strides, dilations, channels that are no two or four, large multipliers.
    fn shape(&mut self, index: usize) -> Layer {
        let kind = [Kind::Conv2d, Kind::DepthwiseConv2d, Kind::FullyConnected][index % 3];
        let flat = kind == Kind::FullyConnected;
        let side = |noise: &mut Self| if flat { 1 } else { noise.up_to(9) };
        let input = [side(self), side(self), self.up_to(if flat { 80 } else { 14 })];
        let (dilation, stride) = if flat { (1, 1) } else { (self.up_to(2), self.up_to(3)) };
        let mut axis = |size: usize| {
            let kernel = if flat { 1 } else { self.up_to(4) };
            // As much padding as the window needs to fit at all, and at times more.
            let reach = (kernel - 1) * dilation + 1;
            let padding = reach.saturating_sub(size).max(if flat { 0 } else { self.up_to(kernel) - 1 });
            (kernel, padding, (size + 2 * padding - reach) / stride + 1)
        };
        let (rows, columns) = (axis(input[0]), axis(input[1]));
        let channels = if kind == Kind::DepthwiseConv2d { input[2] } else { self.up_to(11) };
        Layer {
            name: "shape",
            kind,
            input,
            output: [rows.2, columns.2, channels],
            kernel: [rows.0, columns.0],
            stride,
            padding: [rows.1, columns.1],
            dilation,
            scale: if self.up_to(3) == 1 { 40.0 } else { 0.4 },
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

fn model(layer: &Layer, noise: &mut Noise) -> Vec<u8> {
    let (bytes_in, bytes_out): (usize, usize) = (layer.input.iter().product(), layer.output.iter().product());
    let (taps, depth, channels) = (layer.kernel[0] * layer.kernel[1], layer.input[2], layer.output[2]);
    let row = if layer.kind == Kind::DepthwiseConv2d { depth } else { taps * depth };
    let scratch_at = (bytes_in + bytes_out).next_multiple_of(4);
    let mut writer = Writer::new();
    for (name, dims, offset) in [("in", &layer.input, 0), ("out", &layer.output, bytes_in)] {
        writer.tensor(&TensorSpec { name, dtype: Dtype::I8, dims, offset, scale: 0.1, zero_point: -3 });
    }
    let weights = if layer.kind == Kind::DepthwiseConv2d {
        writer.lanes(&noise.bytes(taps * channels), taps)
    } else {
        writer.rows(&noise.bytes(row * channels), row)
    };
    let reals = (0..channels).map(|c| layer.scale / (1.0 + c as f64) / (taps * depth) as f64);
    let multipliers = reals.filter_map(Multiplier::from_real).enumerate();
    let all = writer.channels(multipliers.map(|(c, by)| (37 * c as i32 - 100, by)));
    let pair = |a: usize, b: usize| (a | b << 16) as i32;
    let clamp = pair(0xff80, 0x007f);
    let strides = pair(layer.stride.min(layer.input[0]), layer.stride);
    let kernel = pair(layer.kernel[0], layer.kernel[1]);
    let padding = pair(layer.padding[0], layer.padding[1]);
    let parameters = [
        weights,
        all,
        0,
        0,
        kernel,
        strides,
        padding,
        pair(layer.dilation, layer.dilation),
        clamp,
        scratch_at as i32,
        0,
        0,
        0,
    ];
    writer.operator(&OperatorSpec { name: layer.name, kind: layer.kind, inputs: &[0], output: 1, parameters });
    writer.finish(1, 1, scratch_at + scratch_bytes(layer.kind, row))
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let mut noise = Noise(1);
    let shapes: Vec<Layer> = (0..SHAPES).map(|index| noise.shape(index)).collect();
    for (list, layers) in [("cases", LAYERS), ("shapes", &shapes)] {
        let cases: String =
            layers.iter().enumerate().map(|(i, layer)| case(&out, &format!("{list}{i}"), layer, &mut noise)).collect();
        std::fs::write(out.join(format!("{list}.rs")), format!("&[{cases}]")).expect("the build folder takes files");
    }
}

/// An expression of a layer, its input and the host's answer.
fn case(out: &Path, file: &str, layer: &Layer, noise: &mut Noise) -> String {
    let bytes = model(layer, noise);
    let model = Model::check(&bytes).unwrap_or_else(|e| panic!("{} {file}: {e}", layer.name));
    let mut arena = vec![0; model.arena_bytes()];
    let input: Vec<u8> = noise.bytes(model.input(0).bytes).iter().map(|x| *x as u8).collect();
    arena[model.input(0).range()].copy_from_slice(&input);
    model.run(&mut arena).unwrap_or_else(|e| panic!("{} {file}: {e}", layer.name));
    let answer = &arena[model.output(0).range()];
    let place = |part: &str, bytes: &[u8]| write(out, &format!("{file}.{part}"), bytes);
    let (model, input, answer) = (place("model", &bytes), place("input", &input), place("answer", answer));
    format!("Case {{ name: {:?}, model: {model}, input: {input}, answer: {answer} }},", layer.name)
}

/// Writes a file; returns the expression that includes it.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the build folder takes files");
    format!("&Aligned(*include_bytes!({path:?})).0")
}
