//! What candle does with the models of this workspace and with single operators: failures first, then agreement with onnxruntime's
//! recorded answers.
#![cfg(feature = "candle")]

mod recorded;

use boardproof_engines::{
    CandleEngine, DType, Engine, LoadOptions, Loaded, Refusal, RunFailure, SelfCheck, SelfCheckLimits,
    SelfCheckOutcome, Stage, Tensor, TensorView, parting,
};
use recorded::{FOLDERS, case, model, plain, rows};
use safetensors::SafeTensors;

/// Floats that are summed in another order.
const FLOAT: f64 = 1e-5;
/// Halves that are rounded at another place.
const HALF: f64 = 5e-3;
/// 8-bit values that another order of summation puts on the other side of a rounding edge: one step, in few elements.
const EDGE: f64 = 2e-2;

fn options(batch: usize) -> LoadOptions {
    LoadOptions { batch: Some(batch), ..LoadOptions::default() }
}

fn loaded(name: &str, batch: usize) -> Box<dyn Loaded> {
    CandleEngine.load(&model(name), &options(batch)).unwrap_or_else(|refusal| panic!("{name}: {refusal}"))
}

fn refusal(bytes: &[u8]) -> Refusal {
    match CandleEngine.load(bytes, &LoadOptions::default()) {
        Ok(_) => panic!("expected a refusal, got a loaded model"),
        Err(refusal) => refusal,
    }
}

fn answer(loaded: &mut dyn Loaded, inputs: &[TensorView<'_>]) -> Vec<Tensor> {
    loaded.prepare(inputs).unwrap();
    loaded.run().unwrap();
    loaded.answers().unwrap()
}

fn self_check(folder: &str, variant: &str) -> SelfCheck {
    let (input, _) = case(folder, "f32");
    let bytes = model(&format!("{folder}/{variant}.onnx"));
    let mut loaded = CandleEngine.load(&bytes, &options(8)).expect("a loadable model");
    let limits = SelfCheckLimits::default();
    CandleEngine.self_check(&bytes, &options(8), loaded.as_mut(), &[vec![input.view()]], &limits).expect("a model")
}

#[test]
fn bytes_that_are_no_model_are_refused_at_parsing() {
    for bytes in [&b""[..], b"\x00\x01garbage", &model("adult_mlp/f32.onnx")[..1000]] {
        let refusal = refusal(bytes);
        assert_eq!(refusal.stage, Stage::Parse, "{refusal}");
    }
}

#[test]
fn damaged_models_are_refused_and_never_panic() {
    for name in ["vowels_dscnn/int8_qdq_pc.onnx", "vowels_former/f32.onnx"] {
        let whole = model(name);
        for position in (0..whole.len()).step_by(whole.len() / 200) {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x55;
            // Either outcome is right: a flipped weight still loads. What must not happen is a panic that leaves `load`.
            let _ = CandleEngine.load(&damaged, &LoadOptions::default());
        }
    }
}

#[test]
fn all_unsupported_operators_are_named() {
    let refusal = refusal(&model("adult_mlp/int8_qop.onnx"));
    assert_eq!(refusal.stage, Stage::Operator);
    let operators: Vec<&str> = refusal.unsupported.iter().map(|(operator, _)| operator.as_str()).collect();
    let expected =
        ["com.microsoft.QGemm", "com.microsoft.QGemm", "com.microsoft.QGemm", "com.microsoft.QLinearSigmoid"];
    assert_eq!(operators, expected);
    assert_eq!(
        refusal.to_string(),
        "operator com.microsoft.QGemm (node /b/b.0/Gemm_quant): not implemented on candle 0.11.1; 3 more unsupported"
    );
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let mut loaded = loaded("adult_mlp/f32.onnx", 1);
    assert_eq!(loaded.run(), Err(RunFailure::NotPrepared));
    assert_eq!(loaded.answers(), Err(RunFailure::NotRun));
    assert_eq!(loaded.prepare(&[]), Err(RunFailure::InputCount { expected: 1, got: 0 }));
    let long = Tensor::new(DType::F32, vec![2, 62], vec![0; 2 * 62 * 4]).unwrap();
    let text = loaded.prepare(&[long.view()]).unwrap_err().to_string();
    assert_eq!(text, "prepare input input: expected shape [1, 62], got [2, 62]");
}

#[test]
fn answers_belong_to_the_prepared_inputs() {
    let (input, _) = case("adult_mlp", "f32");
    let mut loaded = loaded("adult_mlp/f32.onnx", 8);
    let first = answer(loaded.as_mut(), &[input.view()]);
    loaded.run().unwrap();
    assert_eq!(loaded.answers().unwrap(), first, "a second run over the same inputs");
    loaded.prepare(&[input.view()]).unwrap();
    assert_eq!(loaded.answers(), Err(RunFailure::NotRun));
}

#[test]
fn facts_say_what_runs() {
    let float = loaded("mnist_dscnn/f32.onnx", 4);
    assert_eq!(
        (float.inputs()[0].shape.as_slice(), float.outputs()[0].shape.as_slice()),
        (&[4, 1, 28, 28][..], &[4, 10][..])
    );
    let sums: Vec<_> = float.operators().iter().filter(|facts| facts.accumulator.is_some()).collect();
    assert!(sums.iter().all(|facts| facts.accumulator.as_deref() == Some("f32") && facts.kernel.is_some()), "{sums:?}");
    assert_eq!(sums.iter().filter(|facts| facts.op == "Conv").count(), 9);
    // What is called int8 runs in floats here, and says so.
    let integer = loaded("mnist_dscnn/int8_qop_portable.onnx", 1);
    let convolution = integer.operators().iter().find(|facts| facts.op == "QLinearConv").expect("a convolution");
    assert_eq!(convolution.accumulator.as_deref(), Some("f64"));
    assert!(convolution.dtypes().ends_with("->i8") || convolution.dtypes().ends_with("->u8"), "{convolution}");
}

#[test]
fn answers_equal_those_of_onnxruntime() {
    let tolerances = [
        ("f32", FLOAT),
        ("f16_portable", HALF),
        ("int8_dyn", FLOAT),
        ("int8_qdq_pc", FLOAT),
        ("int8_qop_portable", FLOAT),
    ];
    for folder in FOLDERS {
        for (variant, tolerance) in tolerances {
            // Between its layers it computes in floats, which onnxruntime fuses into integers.
            let tolerance = if (folder, variant) == ("vowels_former", "int8_qdq_pc") { EDGE } else { tolerance };
            let (input, expected) = case(folder, variant);
            let mut loaded = loaded(&format!("{folder}/{variant}.onnx"), 8);
            let apart = parting(&[vec![expected]], &[answer(loaded.as_mut(), &[input.view()])]);
            assert!(apart.relative_l2 <= tolerance, "{folder}/{variant}: {apart:?}");
        }
    }
}

/// The same weights with another batch or in halves: onnxruntime's answers of the float model, as near as halves are.
#[test]
fn other_forms_of_the_float_model_answer_alike() {
    for folder in FOLDERS {
        let (input, expected) = case(folder, "f32");
        let mut single = loaded(&format!("{folder}/f32_b1.onnx"), 8);
        let answers: Vec<_> = rows(&input).iter().map(|row| answer(single.as_mut(), &[row.view()])).collect();
        let expected_rows: Vec<_> = rows(&expected).into_iter().map(|row| vec![row]).collect();
        let apart = parting(&expected_rows, &answers);
        assert!(apart.relative_l2 <= FLOAT, "{folder}/f32_b1: {apart:?}");
        for variant in ["f16", "f16_io"] {
            let mut half = loaded(&format!("{folder}/{variant}.onnx"), 8);
            let apart = parting(&[vec![expected.clone()]], &[answer(half.as_mut(), &[input.view()])]);
            assert!(apart.relative_l2 <= HALF && apart.relative_l2 > 0.0, "{folder}/{variant}: {apart:?}");
        }
    }
}

#[test]
fn every_operator_answers_as_onnxruntime_does() {
    let bytes = include_bytes!("operators/operators.safetensors");
    let tensors = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let names = tensors.names();
    let cases: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".model")).collect();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for name in cases {
        if let Err(reason) = operator(&tensors, name) {
            wrong.push(format!("{name}: {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn operator(tensors: &SafeTensors<'_>, name: &str) -> Result<(), String> {
    let bytes = tensors.tensor(&format!("{name}.model")).map_err(|error| error.to_string())?;
    let mut loaded = CandleEngine.load(bytes.data(), &LoadOptions::default()).map_err(|refusal| refusal.to_string())?;
    let inputs: Vec<Tensor> =
        loaded.inputs().iter().map(|facts| plain(tensors, &format!("{name}.in.{}", facts.name))).collect();
    let expected: Vec<Tensor> =
        (0..loaded.outputs().len()).map(|index| plain(tensors, &format!("{name}.out.{index}"))).collect();
    let views: Vec<TensorView<'_>> = inputs.iter().map(Tensor::view).collect();
    loaded.prepare(&views).and_then(|()| loaded.run()).map_err(|failure| failure.to_string())?;
    let answers = loaded.answers().map_err(|failure| failure.to_string())?;
    for (answer, expected) in answers.iter().zip(&expected) {
        let found = (answer.dtype(), answer.shape());
        if found != (expected.dtype(), expected.shape()) {
            return Err(format!("expected {} of {:?}, got {found:?}", expected.dtype(), expected.shape()));
        }
        let apart = parting(&[vec![expected.clone()]], &[vec![answer.clone()]]);
        let tolerance = if expected.dtype().is_float() { 2e-6 } else { 0.0 };
        if apart.relative_l2 > tolerance {
            return Err(format!("{apart:?}"));
        }
    }
    Ok(())
}

#[test]
fn good_models_agree_with_themselves_in_f64() {
    for folder in FOLDERS {
        for variant in ["f32", "f16_portable", "int8_dyn", "int8_qdq_pc", "int8_qdq_pt", "int8_qop_portable"] {
            let check = self_check(folder, variant);
            assert_eq!(check.outcome, SelfCheckOutcome::Agrees, "{folder}/{variant}: {check:?}");
            assert!(check.samples == 1 && check.parting.relative_l2 > 0.0 || variant.starts_with("int8"), "{check:?}");
        }
    }
}

#[test]
fn no_samples_is_no_agreement() {
    let samples: [Vec<TensorView<'_>>; 0] = [];
    let bytes = model("adult_mlp/f32.onnx");
    let mut loaded = CandleEngine.load(&bytes, &LoadOptions::default()).expect("a loadable model");
    let limits = SelfCheckLimits::default();
    let check = CandleEngine
        .self_check(&bytes, &LoadOptions::default(), loaded.as_mut(), &samples, &limits)
        .expect("a loadable model");
    assert!(matches!(check.outcome, SelfCheckOutcome::Unavailable { .. }), "{check:?}");
}
