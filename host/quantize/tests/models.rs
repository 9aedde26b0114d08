//! The rewritten graph: of small models made here, whose numbers are known, and of the models of the pack.

use boardproof_layers::graph::Graph;
use boardproof_layers::onnx::{
    AttributeProto, F32, GraphProto, I8, ModelProto, NodeProto, OperatorSetProto, TensorProto, ValueInfoProto,
};
use boardproof_quantize::{Activation, Granularity, Network, QuantizeError, Ranges, Settings};
use prost::Message;
use std::collections::BTreeSet;
use std::path::PathBuf;

const MODELS: [&str; 5] = ["adult_mlp", "mnist_dscnn", "shuttle_ae", "vowels_dscnn", "vowels_former"];
const PER_CHANNEL: Settings = Settings { granularity: Granularity::Channel, activation: Activation::Int8 };
const PER_TENSOR: Settings = Settings { granularity: Granularity::Tensor, ..PER_CHANNEL };

fn float_model(model: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models");
    std::fs::read(root.join(model).join("f32.onnx")).unwrap()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    let words = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
    NodeProto {
        input: words(inputs),
        output: words(&[output]),
        name: format!("node/{output}"),
        op_type: operator.into(),
        ..NodeProto::default()
    }
}

fn constant(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto { dims: dims.to_vec(), data_type: F32, name: name.into(), raw_data, ..TensorProto::default() }
        .encode_to_vec()
}

fn model(opset: i64, node: Vec<NodeProto>, initializer: Vec<Vec<u8>>) -> Vec<u8> {
    let output = node.last().unwrap().output[0].clone();
    let graph = GraphProto {
        node,
        initializer,
        input: vec![ValueInfoProto::float("x")],
        output: vec![ValueInfoProto::float(&output)],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetProto { domain: String::new(), version: opset }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() }.encode_to_vec()
}

/// `y = softmax(relu(x * w + b) * v)`, with `w` of 2 x 3 turned and `v` of 2 x 2.
fn small(opset: i64) -> Vec<u8> {
    let mut gemm = node("Gemm", &["x", "w", "b"], "a");
    gemm.attribute = vec![AttributeProto::int("transB", 1)];
    let nodes = vec![gemm, node("Relu", &["a"], "r"), node("MatMul", &["r", "v"], "m"), node("Softmax", &["m"], "y")];
    let constants = vec![
        constant("w", &[2, 3], &[1.0, -2.0, 0.5, 10.0, 20.0, -40.0]),
        constant("b", &[2], &[0.5, -3.0]),
        constant("v", &[2, 2], &[0.25, -1.0, 1.0, 0.5]),
    ];
    model(opset, nodes, constants)
}

fn small_ranges() -> Ranges {
    [("x", (-1.0, 1.55)), ("r", (0.0, 5.1)), ("m", (-4.0, 4.0)), ("y", (0.0, 1.0))]
        .into_iter()
        .map(|(tensor, range)| (tensor.to_owned(), range))
        .collect()
}

fn network(model: &[u8]) -> Network {
    Network::read(model).unwrap()
}

#[track_caller]
fn refused(model: &[u8], says: &str) {
    let error = Network::read(model).err().expect("it was not refused").to_string();
    assert!(error.contains(says), "{error}");
}

fn operators(graph: &Graph) -> Vec<&str> {
    graph.proto.node.iter().map(|node| node.op_type.as_str()).collect()
}

#[test]
fn what_cannot_be_quantized_is_refused_with_its_reason() {
    refused(b"no model", "could not read the float model");
    refused(
        &model(17, vec![node("QuantizeLinear", &["x", "s"], "y")], vec![constant("s", &[], &[1.0])]),
        "it is quantized already",
    );
    refused(&model(17, vec![node("Sqrt", &["x"], "y")], Vec::new()), "no operator that can be quantized; it has: Sqrt");
    refused(&small(9), "expected operators of version 10 or later, got 9");
}

#[test]
fn scales_per_channel_need_operators_that_have_them() {
    let old = network(&small(12));
    let error = old.quantized(&small_ranges(), PER_CHANNEL, &BTreeSet::new()).unwrap_err().to_string();
    assert!(error.contains("version 13, got 12") && error.contains("per tensor"), "{error}");
    assert!(old.quantized(&small_ranges(), PER_TENSOR, &BTreeSet::new()).is_ok());
}

#[test]
fn a_tensor_that_calibration_did_not_see_is_named() {
    let mut ranges = small_ranges();
    ranges.remove("m");
    let error = network(&small(17)).quantized(&ranges, PER_CHANNEL, &BTreeSet::new()).unwrap_err();
    assert_eq!(error, QuantizeError::NoRange { tensor: "m".into() });
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let nodes = vec![node("MatMul", &["x", "w"], "y")];
    let bad = network(&model(17, nodes, vec![constant("w", &[1, 2], &[1.0, f32::NAN])]));
    let ranges = Ranges::from([("x".into(), (0.0, 1.0)), ("y".into(), (0.0, 1.0))]);
    let error = bad.quantized(&ranges, PER_CHANNEL, &BTreeSet::new()).unwrap_err().to_string();
    assert!(error.starts_with("tensor 'w' holds NaN"), "{error}");
}

#[test]
fn every_number_of_a_small_model_is_the_one_that_onnx_defines() {
    let bytes = network(&small(17)).quantized(&small_ranges(), PER_CHANNEL, &BTreeSet::new()).unwrap();
    let graph = Graph::read("small", &bytes).unwrap();
    let values = |name: &str| graph.constants[name].values.clone();
    let f32s = |all: &[f64]| all.iter().map(|v| f64::from(*v as f32)).collect::<Vec<f64>>();
    assert_eq!(values("x_scale"), f32s(&[2.55 / 255.0]));
    assert_eq!(values("x_zero_point"), [-28.0]);
    assert_eq!(values("r_scale"), f32s(&[5.1 / 255.0]));
    assert_eq!(values("r_zero_point"), [-128.0]);
    assert_eq!(values("w_scale"), f32s(&[2.0 / 127.0, 40.0 / 127.0]));
    assert_eq!(values("w_quantized"), [64.0, -127.0, 32.0, 32.0, 64.0, -127.0]);
    assert_eq!(graph.constants["w_quantized"].element, I8);
    // Along its second dimension: MatMul's outputs.
    assert_eq!(values("v_scale"), f32s(&[1.0 / 127.0, 1.0 / 127.0]));
    let steps = f64::from((2.55_f64 / 255.0) as f32) * f64::from((2.0_f64 / 127.0) as f32);
    assert_eq!(values("b_quantized")[0], (0.5 / steps).round());
    // The ends of r's steps are what Relu cuts off: it is gone. What is an output keeps its name behind its steps.
    assert!(!operators(&graph).contains(&"Relu"), "{:?}", operators(&graph));
    assert_eq!(graph.maker("y").unwrap().op_type, "DequantizeLinear");
    assert_eq!(graph.maker("r").unwrap().op_type, "Gemm");
    // The floats that became whole numbers are not carried along.
    assert!(!graph.has("w") && !graph.has("b") && !graph.has("v"));
}

#[test]
fn an_activation_stays_where_the_ends_do_not_stand_for_it() {
    // Steps are widened to 0, and Clip to 1 and more cuts off more.
    let nodes = vec![node("MatMul", &["x", "w"], "a"), node("Clip", &["a", "low", "high"], "y")];
    let constants = vec![constant("w", &[1, 1], &[1.0]), constant("low", &[], &[1.0]), constant("high", &[], &[6.0])];
    let ranges = Ranges::from([("x".into(), (0.0, 9.0)), ("y".into(), (1.0, 6.0))]);
    let clipped = network(&model(17, nodes, constants));
    let bytes = clipped.quantized(&ranges, PER_CHANNEL, &BTreeSet::new()).unwrap();
    assert!(operators(&Graph::read("clip", &bytes).unwrap()).contains(&"Clip"));
}

#[test]
fn a_layer_with_weights_that_is_left_has_its_floats() {
    let network = network(&small(17));
    assert_eq!(network.layers.iter().map(|l| l.tensor.as_str()).collect::<Vec<_>>(), ["r", "m", "y"]);
    assert_eq!(
        [network.find("node/a"), network.find("node/r"), network.find("a"), network.find("y")],
        [Some(0), Some(0), None, Some(2)]
    );
    let bytes = network.quantized(&small_ranges(), PER_CHANNEL, &BTreeSet::from([0])).unwrap();
    let graph = Graph::read("left", &bytes).unwrap();
    assert!(graph.has("w") && !graph.has("w_quantized") && !graph.has("x_scale"));
    assert_eq!(graph.maker("a").unwrap().input, ["x", "w", "b"]);
    assert_eq!(graph.maker("r").unwrap().op_type, "Relu");
    // The next layer reads steps.
    assert!(graph.has("r_DequantizeLinear_Output") && graph.has("v_quantized"));
}

#[test]
fn a_layer_without_weights_that_is_left_reads_what_is_not_rounded() {
    let bytes = network(&small(17)).quantized(&small_ranges(), PER_CHANNEL, &BTreeSet::from([2])).unwrap();
    let graph = Graph::read("left", &bytes).unwrap();
    let softmax = graph.maker("y").unwrap();
    assert_eq!((softmax.op_type.as_str(), softmax.input[0].as_str()), ("Softmax", "m"));
    assert_eq!(graph.maker("m").unwrap().op_type, "MatMul");
    assert!(!graph.has("m_scale"), "nobody reads its steps");
}

#[test]
fn a_layer_alone_is_rounded_whoever_reads_it() {
    let network = network(&small(17));
    let graph = |bytes: Vec<u8>| Graph::read("alone", &bytes).unwrap();
    let alone = graph(network.alone(&small_ranges(), PER_CHANNEL, 1).unwrap());
    assert!(alone.has("w") && alone.has("v_quantized") && !alone.has("y_scale"));
    assert_eq!(alone.maker("y").unwrap().input, ["m_DequantizeLinear_Output"]);
    // Beside others that are left it is not.
    let left = graph(network.quantized(&small_ranges(), PER_CHANNEL, &BTreeSet::from([0, 2])).unwrap());
    assert_eq!(left.maker("y").unwrap().input, ["m"]);
}

#[test]
fn nothing_is_changed_where_all_layers_are_left() {
    let network = network(&small(17));
    let bytes = network.quantized(&small_ranges(), PER_CHANNEL, &(0..3).collect()).unwrap();
    assert_eq!(operators(&Graph::read("left", &bytes).unwrap()), ["Gemm", "Relu", "MatMul", "Softmax"]);
}

#[test]
fn a_normalization_becomes_part_of_the_weights_before_it() {
    let mut gemm = node("Gemm", &["x", "w", "b"], "a");
    gemm.attribute = vec![AttributeProto::int("transB", 1)];
    let nodes = vec![gemm, node("BatchNormalization", &["a", "g", "s", "mean", "var"], "n"), node("Relu", &["n"], "y")];
    let constants = vec![
        constant("w", &[2, 1], &[2.0, 3.0]),
        constant("b", &[2], &[1.0, 0.0]),
        constant("g", &[2], &[4.0, 1.0]),
        constant("s", &[2], &[0.5, -1.0]),
        constant("mean", &[2], &[3.0, 2.0]),
        constant("var", &[2], &[4.0, 1.0]),
    ];
    let network = network(&model(17, nodes, constants));
    assert_eq!(network.layers.len(), 1);
    let bytes = network.quantized(&Ranges::new(), PER_CHANNEL, &BTreeSet::from([0])).unwrap();
    let graph = Graph::read("folded", &bytes).unwrap();
    assert_eq!(operators(&graph), ["Gemm", "Relu"]);
    let near = |name: &str, expected: [f64; 2]| {
        let found = &graph.constants[name].values;
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-4), "{name} {found:?}");
    };
    // Gains 4 / sqrt(4) and 1 / sqrt(1), but for an epsilon of 1e-5.
    near("w_folded", [4.0, 3.0]);
    near("b_folded", [(1.0 - 3.0) * 2.0 + 0.5, (0.0 - 2.0) - 1.0]);
}

#[test]
fn constants_that_are_added_are_whole_numbers_with_ends_around_zero() {
    let nodes = vec![node("Add", &["x", "c"], "y")];
    let network = network(&model(17, nodes, vec![constant("c", &[2], &[2.0, 6.0])]));
    let ranges = Ranges::from([("x".into(), (-1.0, 1.0)), ("y".into(), (2.0, 7.0))]);
    let bytes = network.quantized(&ranges, PER_CHANNEL, &BTreeSet::new()).unwrap();
    let graph = Graph::read("add", &bytes).unwrap();
    assert_eq!(graph.constants["c_zero_point"].values, [-128.0]);
    assert_eq!(graph.constants["c_quantized"].values, [-43.0, 127.0]);
}

#[test]
fn models_of_the_pack_are_quantized_whole_and_in_part() {
    for (name, layers) in MODELS.into_iter().zip([4, 11, 8, 9, 48]) {
        let network = network(&float_model(name));
        assert_eq!(network.layers.len(), layers, "{name}");
        let ranges: Ranges = network.tensors().into_iter().map(|tensor| (tensor.to_owned(), (-3.0, 5.0))).collect();
        assert!(Graph::read("shown", &network.shown()).is_ok(), "{name}");
        for left in [BTreeSet::new(), BTreeSet::from([0]), (1..layers).collect(), (0..layers).step_by(2).collect()] {
            for settings in [PER_CHANNEL, PER_TENSOR] {
                let bytes = network.quantized(&ranges, settings, &left).unwrap();
                let graph = Graph::read("quantized", &bytes).unwrap_or_else(|e| panic!("{name} {left:?}: {e}"));
                assert!(operators(&graph).contains(&"QuantizeLinear"), "{name} {left:?}");
            }
        }
    }
}
