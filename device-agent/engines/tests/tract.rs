//! What tract does with the models of this workspace: failures first, then agreement with onnxruntime's recorded answers.
#![cfg(feature = "tract")]

mod recorded;

use boardproof_engines::{
    DType, Engine, LoadOptions, Loaded, Refusal, RunFailure, SelfCheck, SelfCheckLimits, SelfCheckOutcome, Stage,
    Tensor, TensorView, TractEngine, parting,
};
use recorded::{FOLDERS, case, model};

fn refusal(bytes: &[u8], options: &LoadOptions) -> Refusal {
    match TractEngine.load(bytes, options) {
        Ok(_) => panic!("expected a refusal, got a loaded model"),
        Err(refusal) => refusal,
    }
}

fn loaded(name: &str, batch: usize) -> Box<dyn Loaded> {
    let options = LoadOptions { batch: Some(batch), ..LoadOptions::default() };
    TractEngine.load(&model(name), &options).unwrap_or_else(|refusal| panic!("{name}: {refusal}"))
}

fn self_check(folder: &str, variant: &str, limits: &SelfCheckLimits) -> SelfCheck {
    let (input, _) = case(folder, "f32");
    let options = LoadOptions { batch: Some(8), ..LoadOptions::default() };
    let bytes = model(&format!("{folder}/{variant}.onnx"));
    let mut loaded = TractEngine.load(&bytes, &options).expect("a loadable model");
    TractEngine.self_check(&bytes, &options, loaded.as_mut(), &[vec![input.view()]], limits).expect("a loadable model")
}

#[test]
fn bytes_that_are_no_model_are_refused_at_parsing() {
    for bytes in [&b""[..], b"\x00\x01garbage", &model("adult_mlp/f32.onnx")[..1000]] {
        let refusal = refusal(bytes, &LoadOptions::default());
        assert_eq!(refusal.stage, Stage::Parse, "{refusal}");
    }
}

#[test]
fn damaged_models_are_refused_and_never_panic() {
    let whole = model("vowels_dscnn/int8_qdq_pc.onnx");
    for position in (0..whole.len()).step_by(whole.len() / 200) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x55;
        // Either outcome is right: a flipped weight still loads. What must not happen is a panic that leaves `load`.
        let _ = TractEngine.load(&damaged, &LoadOptions::default());
    }
}

#[test]
fn an_unsupported_operator_is_named_with_its_node() {
    let refusal = refusal(&model("adult_mlp/int8_qop.onnx"), &LoadOptions::default());
    assert_eq!(refusal.stage, Stage::Operator);
    assert_eq!(refusal.unsupported.len(), 4);
    let text = refusal.to_string();
    assert!(
        text.starts_with("operator com.microsoft.QGemm (node /b/b.0/Gemm_quant): not implemented by tract"),
        "{text}"
    );
}

#[test]
fn an_operator_that_does_not_type_is_named_with_its_node() {
    let refusal = refusal(&model("mnist_dscnn/f16.onnx"), &LoadOptions::default());
    assert_eq!(
        (refusal.stage, refusal.operator.as_deref(), refusal.node.as_deref()),
        (Stage::Type, Some("Gemm"), Some("/fc/Gemm"))
    );
    assert!(refusal.reason.contains("expected 1,10,F16 got 1,10,F32"), "{refusal}");
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
    let raw = Tensor::new(DType::U8, vec![1, 62], vec![0; 62]).unwrap();
    let text = loaded.prepare(&[raw.view()]).unwrap_err().to_string();
    assert_eq!(text, "prepare input input: convert tensor: expected f32, got u8, and no exact conversion exists");
}

#[test]
fn answers_belong_to_the_prepared_inputs() {
    let (input, _) = case("adult_mlp", "f32");
    let mut loaded = loaded("adult_mlp/f32.onnx", 8);
    loaded.prepare(&[input.view()]).unwrap();
    loaded.run().unwrap();
    let first = loaded.answers().unwrap();
    loaded.run().unwrap();
    assert_eq!(loaded.answers().unwrap(), first, "a second run over the same inputs");
    loaded.prepare(&[input.view()]).unwrap();
    assert_eq!(loaded.answers(), Err(RunFailure::NotRun));
}

#[test]
fn facts_say_what_the_model_declares_and_what_was_loaded() {
    use boardproof_engines::Dim;
    let loaded = loaded("mnist_dscnn/f32.onnx", 4);
    let input = &loaded.inputs()[0];
    assert_eq!((input.name.as_str(), input.dtype, input.shape.as_slice()), ("input", DType::F32, &[4, 1, 28, 28][..]));
    assert_eq!(input.declared[0], Dim::Symbol("N".into()));
    assert_eq!(loaded.outputs()[0].shape, [4, 10]);
}

#[test]
fn a_fixed_batch_stays() {
    let loaded = loaded("mnist_dscnn/f32_b1.onnx", 4);
    assert_eq!(loaded.inputs()[0].shape, [1, 1, 28, 28]);
}

#[test]
fn int8_that_runs_in_float_is_visible() {
    let accumulators = |name: &str| -> Vec<String> {
        loaded(name, 1).operators().iter().filter_map(|facts| facts.accumulator.clone()).collect()
    };
    let quantize_dequantize = accumulators("shuttle_ae/int8_qdq_pc.onnx");
    assert!(
        !quantize_dequantize.is_empty() && quantize_dequantize.iter().all(|name| name == "f32"),
        "{quantize_dequantize:?}"
    );
    let operator_form = accumulators("shuttle_ae/int8_qop_portable.onnx");
    assert!(!operator_form.is_empty() && operator_form.iter().all(|name| name == "i32"), "{operator_form:?}");
}

#[test]
fn operators_carry_kernel_datatypes_and_the_models_own_name() {
    let loaded = loaded("adult_mlp/f32.onnx", 1);
    let products: Vec<_> = loaded.operators().iter().filter(|facts| facts.kernel.is_some()).collect();
    assert_eq!(products.len(), 3);
    for facts in products {
        assert!(facts.kernel.as_deref().is_some_and(|kernel| kernel.contains("f32")), "{facts:?}");
        // tract folds a normalization into the product before it and keeps the later name.
        assert!(matches!(facts.source_op.as_deref(), Some("Gemm" | "BatchNormalization")), "{facts:?}");
        assert!(facts.dtypes().ends_with("->f32"), "{facts:?}");
    }
}

#[test]
fn answers_equal_those_of_onnxruntime() {
    // Floats: another order of summation. Half: another place to round. Integers: none.
    let tolerances =
        [("f32", 1e-5), ("f16_portable", 5e-3), ("int8_dyn", 1e-5), ("int8_qdq_pc", 1e-5), ("int8_qop_portable", 1e-5)];
    for folder in FOLDERS {
        for (variant, tolerance) in tolerances {
            // tract's optimizer breaks this one; `a_wrong_rewrite_is_caught...` is about it.
            if (folder, variant) == ("vowels_former", "int8_qdq_pc") {
                continue;
            }
            let (input, expected) = case(folder, variant);
            let mut loaded = loaded(&format!("{folder}/{variant}.onnx"), 8);
            loaded.prepare(&[input.view()]).unwrap();
            loaded.run().unwrap();
            let apart = parting(&[vec![expected]], &[loaded.answers().unwrap()]);
            assert!(apart.relative_l2 <= tolerance, "{folder}/{variant}: {apart:?}");
        }
    }
}

#[test]
fn a_wrong_rewrite_is_caught_and_its_operator_named() {
    for variant in ["int8_qdq_pc", "int8_qdq_pt"] {
        let check = self_check("vowels_former", variant, &SelfCheckLimits::default());
        assert!(check.parting.relative_l2 > 0.5, "{variant}: {check:?}");
        let SelfCheckOutcome::Parts { stage, operator: Some(operator), replaced } = check.outcome else {
            panic!("{variant}: expected a named operator, got {check:?}");
        };
        assert_eq!(stage, "declutter");
        assert_eq!(operator.to_string(), "Softmax (/Softmax) running as LookupTable, i8->i8", "{variant}");
        assert!(replaced.contains(&"Softmax (/Softmax)".to_owned()), "{replaced:?}");
    }
}

#[test]
fn out_of_time_still_says_that_the_answers_part() {
    let limits = SelfCheckLimits { deadline: std::time::Duration::ZERO };
    let check = self_check("vowels_former", "int8_qdq_pc", &limits);
    assert!(matches!(check.outcome, SelfCheckOutcome::Parts { operator: None, .. }), "{check:?}");
}

#[test]
fn good_models_agree_with_themselves() {
    for folder in ["adult_mlp", "mnist_dscnn", "shuttle_ae", "vowels_dscnn"] {
        for variant in ["f32", "f16_portable", "int8_dyn", "int8_qdq_pc", "int8_qdq_pt", "int8_qop_portable"] {
            let check = self_check(folder, variant, &SelfCheckLimits::default());
            assert_eq!(check.outcome, SelfCheckOutcome::Agrees, "{folder}/{variant}: {check:?}");
        }
    }
}

#[test]
fn no_samples_is_no_agreement() {
    let samples: [Vec<TensorView<'_>>; 0] = [];
    let (bytes, options) = (model("adult_mlp/f32.onnx"), LoadOptions::default());
    let mut loaded = TractEngine.load(&bytes, &options).expect("a loadable model");
    let limits = SelfCheckLimits::default();
    let check = TractEngine.self_check(&bytes, &options, loaded.as_mut(), &samples, &limits).expect("a loadable model");
    assert!(matches!(check.outcome, SelfCheckOutcome::Unavailable { .. }), "{check:?}");
}
