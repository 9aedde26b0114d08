//! A model of two layers, and the host's answers of the same engine.

use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Dtype, Kind, Model, Multiplier, scratch_bytes};

pub const INPUT: usize = 8 * 8 * 4;
pub const OUTPUT: usize = 10;

/// `i` made into a value that looks random.
pub fn noise(seed: u64, i: usize) -> i8 {
    let x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()[5] as i8
}

fn pair(a: i32, b: i32) -> i32 {
    a | b << 16
}

/// A convolution of 3 x 3 to eight channels and a fully connected layer. `more` makes the arena larger than it need be.
pub fn model(more: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    let hidden = 8 * 8 * 8;
    let mut end = 0;
    for (name, dims) in [("image", &[8, 8, 4][..]), ("scores", &[OUTPUT]), ("hidden", &[8, 8, 8])] {
        let bytes: usize = dims.iter().product();
        writer.tensor(&TensorSpec { name, dtype: Dtype::I8, dims, offset: end, scale: 0.5, zero_point: 0 });
        end = (end + bytes).next_multiple_of(4);
    }
    let scratch = scratch_bytes(Kind::Conv2d, 36).max(scratch_bytes(Kind::FullyConnected, hidden));
    for (name, kind, row, outputs, tensors) in
        [("conv", Kind::Conv2d, 36, 8, [0, 2]), ("dense", Kind::FullyConnected, hidden, OUTPUT, [2, 1])]
    {
        let weights: Vec<i8> = (0..row * outputs).map(|i| noise(row as u64, i) / 2).collect();
        let mut parameters = [0; 13];
        parameters[0] = writer.rows(&weights, row);
        let by = Multiplier::from_real(1.0 / (row as f64 * 40.0)).expect("a multiplier");
        parameters[1] = writer.channels((0..outputs).map(|i| (i32::from(noise(9, i)) * 20, by)));
        if kind == Kind::Conv2d {
            (parameters[4], parameters[5], parameters[6], parameters[7]) =
                (pair(3, 3), pair(1, 1), pair(1, 1), pair(1, 1));
        }
        parameters[8] = (-128 & 0xffff) | 127 << 16;
        parameters[9] = end as i32;
        writer.operator(&OperatorSpec { name, kind, inputs: &tensors[..1], output: tensors[1], parameters });
    }
    writer.finish(1, 1, end + scratch + more)
}

/// Samples, one behind the other.
pub fn samples(count: usize) -> Vec<u8> {
    (0..count * INPUT).map(|i| noise(77, i) as u8).collect()
}

/// What the engine answers on this machine.
pub fn answers(model: &[u8], samples: &[u8]) -> Vec<u8> {
    let model = Model::check(model).expect("a model");
    let mut arena = vec![0; model.arena_bytes()];
    let answer = |sample: &[u8]| {
        arena[model.input(0).range()].copy_from_slice(sample);
        model.run(&mut arena).expect("a run");
        arena[model.output(0).range()].to_vec()
    };
    samples.chunks(INPUT).flat_map(answer).collect()
}
