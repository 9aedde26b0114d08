//! Writes the models that are measured, and what the host answers on them, bit for bit.

use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Dtype, Kind, Model, Multiplier, scratch_bytes};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A layer that is measured on its own.
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
}

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
    Layer { name, kind, input, output, kernel, stride, padding }
}

/// Numbers without a pattern, the same in every build.
struct Noise(u32);

impl Noise {
    fn byte(&mut self) -> i8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as i8
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
    let biases = writer.words((0..channels).map(|c| 37 * c as i32 - 100));
    let reals = (0..channels).map(|c| 0.4 / (1.0 + c as f64) / (taps * depth) as f64);
    let multipliers: Vec<Multiplier> = reals.filter_map(Multiplier::from_real).collect();
    let (factors, shifts) = writer.multipliers(&multipliers);
    let pair = |a: usize, b: usize| (a | b << 16) as i32;
    let clamp = pair(0xff80, 0x007f);
    let strides = pair(layer.stride.min(layer.input[0]), layer.stride);
    let kernel = pair(layer.kernel[0], layer.kernel[1]);
    let padding = pair(layer.padding[0], layer.padding[1]);
    let parameters =
        [weights, biases, factors, shifts, kernel, strides, padding, pair(1, 1), clamp, scratch_at as i32, 0, 0, 0];
    writer.operator(&OperatorSpec { name: layer.name, kind: layer.kind, inputs: &[0], output: 1, parameters });
    writer.finish(1, 1, scratch_at + scratch_bytes(layer.kind, row))
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let mut noise = Noise(1);
    let mut cases = String::new();
    for (index, layer) in LAYERS.iter().enumerate() {
        let bytes = model(layer, &mut noise);
        let model = Model::check(&bytes).unwrap_or_else(|e| panic!("{}: {e}", layer.name));
        let mut arena = vec![0; model.arena_bytes()];
        let input: Vec<u8> = noise.bytes(model.input(0).bytes).iter().map(|x| *x as u8).collect();
        arena[model.input(0).range()].copy_from_slice(&input);
        model.run(&mut arena).unwrap_or_else(|e| panic!("{}: {e}", layer.name));
        let answer = &arena[model.output(0).range()];
        let file = |part: &str, bytes: &[u8]| write(&out, &format!("{index}.{part}"), bytes);
        let (model, input, answer) = (file("model", &bytes), file("input", &input), file("answer", answer));
        writeln!(cases, "Case {{ name: {:?}, model: {model}, input: {input}, answer: {answer} }},", layer.name)
            .expect("text grows");
    }
    std::fs::write(out.join("cases.rs"), format!("&[{cases}]")).expect("the build folder takes files");
}

/// Writes a file; returns the expression that includes it.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the build folder takes files");
    format!("include_bytes!({path:?})")
}
