//! `quantize` from end to end: what it refuses before anything runs, a variant that passes, one that is repaired, and why nothing is searched.

use crate::material::Copy;
use crate::tool::{Ended, Home};
use boardproof_record::Digest;
use safetensors::SafeTensors;

/// Runs `quantize` on a model of the home.
fn quantize(home: &Home, model: &str, arguments: &[&str]) -> Ended {
    home.run([&["quantize", model, "--record", "record"], arguments].concat())
}

/// Refused for wrong use, with these words, before anything was made.
#[track_caller]
fn refused(home: &Home, model: &str, arguments: &[&str], says: &[&str]) {
    quantize(home, model, arguments).expect_code(2).expect_said(says);
    assert!(!home.path("record/record.json").exists() && !home.path(model).join("int8.onnx").exists());
}

fn said(home: &Home, model: &str, arguments: &[&str], code: i32) -> serde_json::Value {
    let ended = quantize(home, model, &[&["--json", "--quiet"], arguments].concat());
    ended.expect_code(code);
    serde_json::from_str(&ended.stdout).expect("stdout is JSON")
}

#[test]
fn without_calibration_data_it_says_where_they_could_come_from() {
    let home = Home::new();
    let copy = Copy::of("vowels_dscnn", &home.path(""));
    let text = std::fs::read_to_string(copy.folder.join("model.toml")).unwrap();
    let (before, behind) = text.split_once("[calibration]").unwrap();
    let (_, behind) = behind.split_once("[reference]").unwrap();
    std::fs::write(copy.folder.join("model.toml"), format!("{before}[reference]{behind}")).unwrap();
    let says = ["[calibration]", "got none", "--calibration FILE", "--calibrate-on-evalset N"];
    refused(&home, "./vowels_dscnn", &[], &says);
}

#[test]
fn what_judges_is_no_calibration_data() {
    let home = Home::new();
    Copy::of("vowels_dscnn", &home.path(""));
    let evalset = ["--calibration", "vowels_dscnn/data/test.safetensors"];
    refused(&home, "./vowels_dscnn", &evalset, &["other data than the evalset", "--calibrate-on-evalset N"]);
}

#[test]
fn calibration_data_must_be_what_model_toml_says_and_hold_numbers() {
    let home = Home::new();
    let copy = Copy::of("vowels_dscnn", &home.path(""));
    let file = copy.folder.join("data/calib.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len();
    // The tensors lie in the order of their names; inputs are in the middle of the file.
    bytes[end / 2..end / 2 + 64].fill(255);
    std::fs::write(&file, &bytes).unwrap();
    refused(&home, "./vowels_dscnn", &[], &["it is not what model.toml says", &Digest::of(&bytes).to_string()]);
    std::fs::remove_dir_all(home.path("record")).unwrap();
    let named = ["--calibration", "vowels_dscnn/data/calib.safetensors"];
    refused(&home, "./vowels_dscnn", &named, &["tensor 'inputs'", "values are not finite"]);
}

#[test]
fn what_nobody_checked_is_not_added() {
    let home = Home::new();
    Copy::of("adult_mlp", &home.path(""));
    let ended = home.run(["quantize", "./adult_mlp", "--no-check", "--add"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("--add") && ended.stderr.contains("--no-check"), "{}", ended.stderr);
}

#[test]
fn an_unknown_layer_lists_the_known_ones() {
    let home = Home::new();
    Copy::of("adult_mlp", &home.path(""));
    let misspelt = ["--leave", "/b/b.2/Relu_output_9"];
    refused(
        &home,
        "./adult_mlp",
        &misspelt,
        &["no layer is called '/b/b.2/Relu_output_9'; known: /b/b.2/Relu_output_0, "],
    );
}

#[test]
fn a_file_or_a_name_that_is_taken_is_left_alone() {
    let home = Home::new();
    let copy = Copy::of("adult_mlp", &home.path(""));
    std::fs::write(copy.folder.join("int8.onnx"), "precious").unwrap();
    quantize(&home, "./adult_mlp", &[]).expect_code(2).expect_said(&["int8.onnx, which is there", "--force"]);
    quantize(&home, "./adult_mlp", &["--name", "int8_qdq_pc"]).expect_code(2).expect_said(&["variant 'int8_qdq_pc'"]);
    quantize(&home, "./adult_mlp", &["--force", "--out", "adult_mlp/../adult_mlp/f32.onnx"])
        .expect_code(2)
        .expect_said(&["the file of another variant"]);
    assert_eq!(std::fs::read_to_string(copy.folder.join("int8.onnx")).unwrap(), "precious");
}

#[test]
fn a_batch_that_is_fixed_is_refused_with_the_reason() {
    let home = Home::new();
    let copy = Copy::of("adult_mlp", &home.path(""));
    copy.replace("batch = \"N\"", "batch = 8");
    refused(&home, "./adult_mlp", &[], &["variant f32 batch", "got 8", "one sample at a time"]);
}

#[test]
fn a_variant_passes_is_added_and_can_be_checked() {
    let home = Home::new();
    let copy = Copy::of("mnist_dscnn", &home.path(""));
    let told = said(&home, "./mnist_dscnn", &["--add", "--iterations", "50", "--policy", &answers_only(&home)], 0);
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert!(attempts[0]["sqnr_db"].as_f64().unwrap() > 33.0, "{attempts:?}");
    assert_eq!(told["calibration"]["samples"], 256);
    let bytes = std::fs::read(copy.folder.join("int8.onnx")).unwrap();
    let manifest = std::fs::read_to_string(copy.folder.join("model.toml")).unwrap();
    assert!(manifest.contains(&Digest::of(&bytes).to_string()));
    // The same data make the same file, and what `check` says of it is what was said of it here.
    let policy = answers_only(&home);
    let check = ["check", "./mnist_dscnn", "-v", "int8", "--policy", &policy, "--iterations", "50", "--out", "checked"];
    home.run(check).expect_code(0);
    home.run(["quantize", "./mnist_dscnn", "--no-check", "--name", "again", "--record", "second"]).expect_code(0);
    assert_eq!(std::fs::read(copy.folder.join("again.onnx")).unwrap(), bytes);
}

/// The default policy without its rule on latency: tests run side by side.
fn answers_only(home: &Home) -> String {
    let default = std::fs::read_to_string(crate::tool::root().join("ci/policy/default.toml")).unwrap();
    let (rules, _) = default.split_once("[[rule]]\nid = \"latency\"").unwrap();
    let file = home.path("answers.toml");
    std::fs::write(&file, rules).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn the_layers_that_an_engine_computes_wrongly_are_found() {
    let home = Home::new();
    let copy = Copy::of("vowels_former", &home.path(""));
    let policy = answers_only(&home);
    let told = said(&home, "./vowels_former", &["--engine", "tract", "--iterations", "50", "--policy", &policy], 0);
    // tract computes a Softmax between whole numbers wrongly: both must stay in float, and no third layer.
    assert_eq!(told["left_in_float"], serde_json::json!(["/Softmax_output_0", "/Softmax_1_output_0"]), "{told:#}");
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!((&attempts[0]["verdict"], &attempts[0]["left_in_float"]), (&"fail".into(), &serde_json::json!([])));
    let last = attempts.last().unwrap();
    assert_eq!((last["record"].as_str(), last["verdict"].as_str()), (Some("confirmation"), Some("pass")));
    // Every attempt is a record that can be judged again, and what is written is what was confirmed.
    for attempt in attempts {
        let record = format!("record/{}", attempt["record"].as_str().unwrap());
        let code = if attempt["verdict"] == "pass" { 0 } else { 1 };
        home.run(["gate", &record]).expect_code(code);
    }
    let written = std::fs::read(copy.folder.join("int8.onnx")).unwrap();
    assert_eq!(written, std::fs::read(home.path("record/models/confirmation.onnx")).unwrap());
}

#[test]
fn where_nothing_passes_it_is_said_and_what_is_written_fails() {
    let home = Home::new();
    let copy = Copy::of("adult_mlp", &home.path(""));
    let policy = answers_only(&home);
    // One sample is no calibration: the last layer's range is wrong, and it is the one that looks most harmless on that sample.
    let arguments = ["--calibration-samples", "1", "--iterations", "50", "--policy", &policy, "--add"];
    let told = said(&home, "./adult_mlp", &arguments, 1);
    assert!(told["outcome"].as_str().unwrap().starts_with("no set of layers passes"), "{told:#}");
    let left: Vec<usize> =
        told["attempts"].as_array().unwrap().iter().map(|a| a["left_in_float"].as_array().unwrap().len()).collect();
    assert_eq!(left, [0, 1, 2, 3]);
    assert_eq!((&told["left_in_float"], &told["added"]), (&serde_json::json!([]), &false.into()));
    assert!(!std::fs::read_to_string(copy.folder.join("model.toml")).unwrap().contains("name = \"int8\""));
    let unsearched = [&arguments[..], &["--force", "--no-search"]].concat();
    let ended = home.run([&["quantize", "./adult_mlp", "--record", "second"], &unsearched[..]].concat());
    ended.expect_code(1);
    assert!(ended.stdout.contains("nothing was searched (--no-search)"), "{}", ended.stdout);
}

#[test]
fn where_only_the_cost_is_too_high_nothing_is_searched() {
    let home = Home::new();
    let copy = Copy::of("adult_mlp", &home.path(""));
    let policy = answers_only(&home);
    let text = std::fs::read_to_string(&policy).unwrap();
    let size = "[[rule]]\nid = \"size\"\nmetric = \"model_bytes\"\ndirection = \"at_most\"\nlimit = 10\nunit = \"bytes\"\n\
                against = \"absolute\"\nreason = \"no model is that small\"\n";
    std::fs::write(&policy, text + size).unwrap();
    let told = said(&home, "./adult_mlp", &["--iterations", "50", "--add", "--policy", &policy], 1);
    assert!(told["outcome"].as_str().unwrap().contains("only rules on what the model costs"), "{told:#}");
    assert_eq!(told["attempts"].as_array().unwrap().len(), 1);
    // What fails is written and not added.
    assert!(copy.folder.join("int8.onnx").is_file());
    assert!(!std::fs::read_to_string(copy.folder.join("model.toml")).unwrap().contains("name = \"int8\""));
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn on_an_engine_of_whole_numbers_no_layer_is_left_in_float() {
    let home = Home::new();
    Copy::of("adult_mlp", &home.path(""));
    let policy = answers_only(&home);
    let narrow = ["--calibration-samples", "1", "--policy", &policy, "--target", "mps2-an386", "--samples", "120"];
    let ended = quantize(&home, "./adult_mlp", &narrow);
    ended.expect_code(1);
    assert!(ended.stdout.contains("computes in whole numbers only"), "{}", ended.stdout);
}

#[test]
fn calibrating_on_what_judges_is_marked() {
    let home = Home::new();
    let copy = Copy::of("adult_mlp", &home.path(""));
    let ended = quantize(&home, "./adult_mlp", &["--calibrate-on-evalset", "200", "--no-check"]);
    ended.expect_code(0);
    for part in ["CALIBRATED ON WHAT JUDGES IT", "the evalset that judges"] {
        assert!(ended.stdout.contains(part), "{part:?} is not in\n{}", ended.stdout);
    }
    let held = std::fs::read(home.path("record/calibration.safetensors")).unwrap();
    assert_eq!(SafeTensors::deserialize(&held).unwrap().tensor("inputs").unwrap().shape()[0], 200);
    assert!(copy.folder.join("int8.onnx").is_file());
}
