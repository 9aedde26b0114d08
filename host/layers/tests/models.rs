//! What can be said of the models of the pack without running them.

use boardproof_layers::{Apart, take_apart};
use boardproof_record::layers::Weights;
use std::path::PathBuf;

const MODELS: [&str; 5] = ["adult_mlp", "mnist_dscnn", "shuttle_ae", "vowels_dscnn", "vowels_former"];
/// Forms of the reference: nothing may be said against their weights.
const GOOD: [&str; 14] = [
    "f32",
    "f32_b1",
    "f16",
    "f16_io",
    "f16_portable",
    "int8_qdq_pc",
    "int8_qdq_pc_b1",
    "int8_qdq_pt",
    "int8_qop",
    "int8_qop_portable",
    "int8_dyn",
    "bad_calib_3",
    "bad_calib_clip",
    "bad_preproc",
];

fn file(model: &str, variant: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models");
    std::fs::read(root.join(model).join(format!("{variant}.onnx"))).unwrap()
}

fn apart(model: &str, variant: &str) -> Apart {
    take_apart(&file(model, "f32"), &file(model, variant)).unwrap()
}

/// Integers at the ends are numbers for whoever looks inside, by the quantizers that the model names.
#[test]
fn a_model_with_integers_at_its_ends_has_the_layers_of_the_one_with_numbers() {
    let (numbers, integers) = (apart("mnist_dscnn", "int8_qdq_pc"), apart("mnist_dscnn", "int8_io"));
    assert_eq!(integers.layers.not_alone, None);
    let told = |apart: &Apart| apart.layers.layers.iter().map(|l| (l.tensor.clone(), l.quantizer)).collect::<Vec<_>>();
    assert_eq!(told(&integers), told(&numbers));
    assert!(told(&integers).iter().all(|(_, quantizer)| quantizer.is_some()), "input and output too");
}

/// Tensors of weights with channels that are no rounding of the reference's.
fn off(apart: &Apart) -> Vec<&Weights> {
    apart.layers.weights.iter().filter(|w| w.is_matrix && w.channels_off > 0).collect()
}

#[test]
fn a_form_of_the_reference_has_its_weights() {
    for model in MODELS {
        for variant in GOOD {
            let apart = apart(model, variant);
            let matrices = apart.layers.weights.iter().filter(|w| w.is_matrix);
            assert!(matrices.clone().count() >= 3, "{model}/{variant}: {} matrices", matrices.count());
            assert_eq!(off(&apart), Vec::<&Weights>::new(), "{model}/{variant}");
            let most_noise = matrices.filter_map(|w| w.sqnr_db).fold(f64::INFINITY, f64::min);
            assert!(most_noise > 25.0, "{model}/{variant}: {most_noise} dB");
        }
    }
}

#[test]
fn one_damaged_tensor_is_one() {
    for (model, tensor) in [
        ("adult_mlp", "b.3.weight"),
        ("mnist_dscnn", "onnx::Conv_102"),
        ("shuttle_ae", "net.21.weight"),
        ("vowels_dscnn", "onnx::Conv_81"),
        ("vowels_former", "onnx::MatMul_195"),
    ] {
        let apart = apart(model, "bad_corrupt");
        let off = off(&apart);
        assert_eq!(off.iter().map(|w| w.tensor.as_str()).collect::<Vec<_>>(), [tensor], "{model}");
        assert!(off[0].channels_exchanged < off[0].channels_off, "{model}: {:?}", off[0]);
    }
}

#[test]
fn exchanged_answers_are_channels_of_the_reference() {
    for model in MODELS {
        let apart = apart(model, "bad_labels");
        let off = off(&apart);
        assert_eq!(off.len(), 1, "{model}");
        assert_eq!(off[0].channels_exchanged, off[0].channels_off, "{model}");
        let last = apart.layers.weights.iter().filter(|w| w.is_matrix).map(|w| w.layer).max();
        assert_eq!(Some(off[0].layer), last, "{model}");
    }
}

#[test]
fn weights_of_another_training_differ_everywhere() {
    for model in ["shuttle_ae", "vowels_dscnn", "vowels_former"] {
        let apart = apart(model, "bad_slice");
        let (off, all) = (off(&apart).len(), apart.layers.weights.iter().filter(|w| w.is_matrix).count());
        assert!(off * 2 > all, "{model}: {off} of {all}");
    }
    let wider = apart("mnist_dscnn", "heavy");
    assert!(wider.layers.weights.iter().any(|w| w.unlike.is_some()));
}

#[test]
fn operators_before_the_first_weights_are_told() {
    for (model, operator) in
        [("adult_mlp", "Gather"), ("mnist_dscnn", "Transpose"), ("shuttle_ae", "Mul"), ("vowels_former", "Gather")]
    {
        let apart = apart(model, "bad_preproc");
        let other = |layer: &&boardproof_record::layers::Layer| layer.to_input != layer.to_input_reference;
        let layers: Vec<_> = apart.layers.layers.iter().filter(other).collect();
        assert_eq!(layers.len(), 1, "{model}");
        assert!(layers[0].to_input.iter().any(|op| op == operator), "{model}: {:?}", layers[0].to_input);
        assert_eq!(layers[0].reads, layers[0].reads_reference, "{model}");
    }
    for variant in ["int8_qdq_pc", "int8_qop_portable", "int8_dyn", "f16"] {
        for model in MODELS {
            let same = |layer: &boardproof_record::layers::Layer| layer.to_input == layer.to_input_reference;
            assert!(apart(model, variant).layers.layers.iter().all(same), "{model}/{variant}");
        }
    }
}

#[test]
fn every_layer_of_every_form_can_be_shown() {
    for model in MODELS {
        let known = take_apart(&file(model, "f32"), &file(model, "f32")).unwrap().layers.layers.len();
        for variant in GOOD {
            let apart = apart(model, variant);
            let layers = &apart.layers;
            assert_eq!(layers.layers.len() + layers.unseen.len(), known, "{model}/{variant}");
            let inputs = layers.layers.iter().filter(|layer| layer.operator == "Input").map(|layer| &layer.tensor);
            assert_eq!(inputs.collect::<Vec<_>>(), ["input"], "{model}/{variant}");
            assert_eq!(layers.not_alone, None, "{model}/{variant}");
            // What is made is a model again: it can be read, and has the layers for outputs.
            let again = take_apart(&apart.reference_shown(true), &apart.each_alone().unwrap()).unwrap();
            assert!(again.layers.layers.len() >= layers.layers.len(), "{model}/{variant}");
        }
    }
}

#[test]
fn models_that_share_nothing_and_what_is_no_model_are_refused() {
    let none = take_apart(&file("adult_mlp", "f32"), b"no model").map(|_| ()).unwrap_err().to_string();
    assert!(none.starts_with("could not read the variant"), "{none}");
    let other = take_apart(&file("adult_mlp", "f32"), &file("mnist_dscnn", "f32")).map(|a| a.layers.layers.len());
    assert!(other.is_err() || other.is_ok_and(|layers| layers < 4));
}

#[test]
fn a_layer_can_be_cut_out_and_is_the_same_layer() {
    let apart = apart("vowels_former", "int8_qdq_pc");
    let layers = &apart.layers.layers;
    let at = layers.iter().position(|layer| layer.operator == "Softmax").unwrap();
    let shapes: std::collections::BTreeMap<String, Vec<u64>> =
        layers[at].reads.iter().map(|tensor| (tensor.clone(), vec![4, 32, 32])).collect();
    let excerpt = apart.excerpt(at, &shapes).unwrap();
    let alone = take_apart(&excerpt.reference, &excerpt.variant).unwrap().layers;
    let lines: Vec<_> = alone.layers.iter().map(|layer| (layer.tensor.as_str(), layer.operator.as_str())).collect();
    assert_eq!(lines, [(layers[at].reads[0].as_str(), "Input"), (layers[at].tensor.as_str(), "Softmax")]);
    // What is done to an input is told of both forms, also where the variant quantizes it first.
    assert_eq!(alone.layers[1].to_input, ["Softmax"]);
    assert_eq!(alone.layers[1].to_input_reference, ["Softmax"]);
    assert_eq!(alone.layers[1].quantizer, layers[at].quantizer);
    assert!(apart.excerpt(0, &shapes_of_none()).is_none(), "an input is no layer");
}

fn shapes_of_none() -> std::collections::BTreeMap<String, Vec<u64>> {
    std::collections::BTreeMap::new()
}

#[test]
fn a_model_cut_behind_a_layer_holds_what_that_needs_and_no_more() {
    let whole = file("mnist_dscnn", "int8_qdq_pc");
    let apart = apart("mnist_dscnn", "int8_qdq_pc");
    for in_steps in [false, true] {
        let cut = |layer| apart.variant_cut_at(layer, in_steps);
        let layers = apart.layers.layers.len();
        let cuts: Vec<(usize, Vec<u8>)> = (0..layers).filter_map(|layer| Some((layer, cut(layer)?))).collect();
        assert!(cuts.len() > 8 && cut(layers).is_none() && cut(0).is_none(), "an input is no layer");
        assert!(cuts[0].1.len() * 2 < whole.len(), "{} of {} bytes", cuts[0].1.len(), whole.len());
        for (layer, bytes) in &cuts {
            take_apart(bytes, bytes).unwrap_or_else(|error| panic!("layer {layer}: {error}"));
        }
    }
}
