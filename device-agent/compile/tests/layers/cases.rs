//! Small models of one operator or of what stands next to it: each is within one step, layer by layer, or refused in words.

use super::fixture::{Fixture, cases};
use super::layer::{Layer, Subject};
use boardproof_compile::{Edges, compile};
use boardproof_micro::Model;
use std::collections::BTreeMap;

/// Cases that are refused, and words of the reason. All others are compiled.
const REFUSED: [(&str, &str); 27] = [
    ("clip_at_a_computed_end", "is no constant"),
    ("constant_along_a_row", "varies along another dimension than the channels"),
    ("constant_along_the_height", "varies along another dimension than the channels"),
    ("constant_along_the_width", "varies along another dimension than the channels"),
    ("constant_of_more_dimensions", "varies along another dimension than the channels"),
    ("constant_that_makes_more", "varies along another dimension than the channels"),
    ("conv_computed_bias", "is no constant"),
    ("conv_of_microsoft", "operator Conv (node conv9): it is none of the operators"),
    ("input_of_bytes_read_in_two_ways", "it reads values of scale 1 and zero point 0 as 0.5 and 0"),
    ("mean_over_the_width", "it takes the mean along [3] of [4, 5, 6]"),
    ("norm_in_training", "it is one of training"),
    ("pad_with_a_number", "it pads with something else than the number 0"),
    ("pad_with_an_attribute", "it pads with something else than the number 0"),
    ("pool_that_counts_padding", "its padding counts in the mean"),
    ("pool_with_ceiling", "ceil_mode"),
    ("qgemm_of_onnx", "operator QGemm (node qgemm7): it is none of the operators"),
    ("qlinear_conv_channels_last", "its channels are last"),
    ("qlinear_softmax_of_all", "it works along another dimension than the last"),
    ("relu_of_somebody_else", "operator Relu (node relu5): it is none of the operators"),
    ("reshape_of_samples", "it makes [4] of [3, 4]"),
    ("softmax_along_channels", "it works along another dimension than the last"),
    ("softmax_of_old_over_all", "it works along another dimension than the last"),
    ("sum_of_two_shapes", "shapes [3, 5, 4] and [3, 1, 1] differ"),
    ("weights_in_blocks", "its scales are of blocks"),
    ("version_before_quantization", "its operators are of version 9 of ONNX: expected 10 to 28"),
    ("squeeze_of_all_ones", "its axes are missing"),
    ("clip_of_values", "is quantized where it wants numbers"),
];

/// How each case ended: its layers, or why it was refused.
pub fn outcomes() -> BTreeMap<String, Result<Vec<Layer>, String>> {
    cases().into_iter().map(|(name, fixture)| (name, outcome(&fixture))).collect()
}

fn outcome(fixture: &Fixture) -> Result<Vec<Layer>, String> {
    let compiled = compile(fixture.onnx(), Edges::DeviceQuantizes).map_err(|error| error.to_string())?;
    let subject = Subject { model: Model::check(&compiled.bytes).unwrap(), fixture };
    subject.expect_shapes();
    Ok(subject.layers())
}

/// What is wrong with an outcome, if anything.
fn complaint(case: &str, outcome: &Result<Vec<Layer>, String>) -> Option<String> {
    let refused = REFUSED.iter().find(|(name, _)| *name == case).map(|(_, words)| *words);
    match (outcome, refused) {
        (Ok(layers), None) if !layers.is_empty() && layers.iter().all(|layer| layer.alone.by_more == 0) => None,
        (Err(error), Some(words)) if error.contains(words) => None,
        (outcome, refused) => Some(format!("{case}: expected {refused:?}, got {outcome:?}")),
    }
}

#[test]
fn every_case_is_within_one_step_or_refused_in_words() {
    let outcomes = outcomes();
    let wrong: Vec<String> = outcomes.iter().filter_map(|(name, outcome)| complaint(name, outcome)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let gone: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).filter(|name| !outcomes.contains_key(*name)).collect();
    assert!(gone.is_empty(), "no such cases: {gone:?}");
}

/// Damages of each model, always the same ones.
const DAMAGES: u64 = 40;

/// A model with some bytes changed, or cut short.
fn damaged(onnx: &[u8], seed: u64) -> Vec<u8> {
    // SplitMix64.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let mut bytes = onnx.to_vec();
    for _ in 0..=next() % 4 {
        let at = next() as usize % bytes.len();
        bytes[at] = if next() % 2 == 0 { next() as u8 } else { bytes[at] ^ (1 << (next() % 8)) };
    }
    if next().is_multiple_of(8) {
        bytes.truncate(next() as usize % bytes.len());
    }
    bytes
}

#[test]
fn damaged_models_are_compiled_or_refused_and_never_panic() {
    let mut refused = 0;
    for (name, fixture) in cases() {
        for seed in 0..DAMAGES {
            let bytes = damaged(fixture.onnx(), seed);
            let made = std::panic::catch_unwind(|| compile(&bytes, Edges::HostQuantizes));
            let made = made.unwrap_or_else(|_| panic!("{name}, damage {seed}"));
            refused += usize::from(made.is_err());
        }
    }
    assert!(refused > 0, "no damage was noticed");
}

#[test]
fn it_makes_no_difference_who_quantizes_the_inputs() {
    for (name, fixture) in cases() {
        let compiled = [Edges::HostQuantizes, Edges::DeviceQuantizes].map(|edges| compile(fixture.onnx(), edges));
        let [Ok(host), Ok(device)] = compiled else { continue };
        let subject = |bytes| Subject { model: Model::check(bytes).unwrap(), fixture: &fixture };
        let (host, device) = (subject(&host.bytes), subject(&device.bytes));
        for sample in 0..fixture.samples() {
            assert_eq!(host.answers(sample), device.answers(sample), "{name}, sample {sample}");
        }
    }
}
