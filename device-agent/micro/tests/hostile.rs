//! Bytes that are no model, or one that would do harm: refused, and never a panic, whatever they are.
#![cfg(feature = "std")]

use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Dtype, Kind, Model, Multiplier, What, scratch_bytes};
use proptest::prelude::*;

/// A little network with several kinds of operators.
fn network() -> Vec<u8> {
    let mut writer = Writer::new();
    let dims: [&[usize]; 5] = [&[4, 4, 2], &[3], &[4, 4, 3], &[3], &[3]];
    let dtypes = [Dtype::I8, Dtype::F32, Dtype::I8, Dtype::I8, Dtype::I8];
    let offsets = [0, 80, 32, 92, 96];
    for (i, (dims, dtype)) in dims.iter().zip(dtypes).enumerate() {
        writer.tensor(&TensorSpec { name: "t", dtype, dims, offset: offsets[i], scale: 0.1, zero_point: 2 });
    }
    let m = [Multiplier::from_real(0.01).unwrap(); 3];
    let mut conv = [0; 13];
    conv[0] = writer.rows(&[3; 54], 18);
    conv[1] = writer.channels([1, 2, 3].into_iter().zip(m));
    let ones = 1 | 1 << 16;
    (conv[4], conv[5], conv[6], conv[7]) = (3 | 3 << 16, ones, ones, ones);
    (conv[8], conv[9]) = ((-128 & 0xffff) | 127 << 16, 100);
    let mut mean = [0; 13];
    (mean[0], mean[1], mean[8]) = (m[0].factor, m[0].shift, conv[8]);
    let mut table = [0; 13];
    table[0] = writer.constant(&[7; 256]);
    let mut numbers = [0; 13];
    numbers[0] = -1;
    for (kind, input, output, parameters) in [
        (Kind::Conv2d, 0, 2, conv),
        (Kind::GlobalAveragePool, 2, 3, mean),
        (Kind::Table, 3, 4, table),
        (Kind::Dequantize, 4, 1, numbers),
    ] {
        writer.operator(&OperatorSpec { name: kind.name(), kind, inputs: &[input], output, parameters });
    }
    writer.finish(1, 1, 100 + scratch_bytes(Kind::Conv2d, 18))
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}

/// Makes the checksum right again, so that what is behind it is looked at.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() > 16 {
        let length = (bytes.len() as u32).to_le_bytes();
        bytes[8..12].copy_from_slice(&length);
        let crc = crc32(&bytes[16..]).to_le_bytes();
        bytes[12..16].copy_from_slice(&crc);
    }
    bytes
}

/// If it is taken for a model it runs, whatever it is.
fn run(bytes: &[u8]) -> bool {
    let Ok(model) = Model::check(bytes) else { return false };
    if model.arena_bytes() > 1 << 20 {
        return true;
    }
    let mut arena = vec![0x5a; model.arena_bytes()];
    model.run(&mut arena).expect("what was checked runs");
    for operator in model.operators() {
        assert!(model.operator_name(&operator).len() < 256 && model.macs(&operator) < u64::MAX);
    }
    true
}

#[test]
fn the_network_runs_and_every_cut_and_flip_is_found() {
    let whole = network();
    assert!(run(&whole));
    for length in 0..whole.len() {
        assert!(Model::check(&whole[..length]).is_err(), "{length} bytes");
    }
    for bit in 0..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Model::check(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn any_byte_behind_a_right_checksum_is_harmless() {
    let whole = network();
    let mut taken = 0;
    for at in 4..whole.len() {
        for value in [0, 1, 2, 3, 127, 128, 254, 255, whole[at].wrapping_add(1)] {
            let mut bad = whole.clone();
            bad[at] = value;
            taken += u32::from(run(&sealed(bad)));
        }
    }
    // Weights may be any; places may not.
    assert!(taken > 1000, "{taken}");
}

#[test]
fn errors_name_what_is_wrong_with_both_values() {
    let check = |at: usize, value: &[u8], what: What, said: &str| {
        let mut bad = network();
        bad[at..at + value.len()].copy_from_slice(value);
        let error = Model::check(&sealed(bad)).unwrap_err();
        assert_eq!(error.what, what, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    };
    check(0, b"nope", What::Magic, "does not begin as a model does");
    check(4, &[9, 0], What::Version, "expected 2, got 9");
    let tensors = 48;
    check(tensors, &[255, 255, 0, 0], What::TensorPlace, "outside of its arena (number 0)");
    check(tensors + 16, &[7], What::TensorType, "(number 0): expected 1, got 7");
    check(tensors + 20, &f32::NAN.to_le_bytes(), What::TensorScale, "scale");
    let operators = tensors + 5 * 32;
    check(operators, &[200], What::OperatorKind, "not known");
    check(operators + 2, &[4, 0], What::OperatorOrder, "not made yet");
    check(operators + 2, &[99, 0], What::OperatorTensor, "expected 4, got 99");
    check(operators + 8, &[0, 0, 1, 0], What::OperatorConstant, "constants");
    // The scratch of the convolution onto its input.
    check(operators + 8 + 36, &[0, 0, 0, 0], What::Overlap, "overwrite");
    // The output of the convolution onto its input.
    check(tensors + 2 * 32, &[0, 0, 0, 0], What::Overlap, "overwrite");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn made_up_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        run(&bytes);
        let mut headed = network();
        headed.truncate(48);
        headed.extend(bytes);
        run(&sealed(headed));
    }

    #[test]
    fn several_changed_bytes_do_no_harm(changes in proptest::collection::vec((16_usize..800, any::<u8>()), 1..6)) {
        let mut bytes = network();
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        run(&sealed(bytes));
    }
}
