//! What the tool says about an evalset before anything is run: `data check`, `data snapshot`, `data diff`, and `check` itself.

use crate::material::Copy;
use crate::tool::Home;
use serde_json::Value;

/// A model's copy in a fresh home.
fn model(home: &Home, model: &str) -> Copy {
    Copy::of(model, &home.path("models"))
}

/// Makes every picture the same grey.
fn blank(copy: &Copy) {
    copy.change_evalset(|name, mut tensor| {
        if name == "inputs" {
            tensor.bytes.fill(7);
        }
        Some(tensor)
    });
}

#[test]
fn good_evalsets_pass_and_blank_ones_fail_in_every_form() {
    let home = Home::new();
    let copy = model(&home, "mnist_dscnn");
    home.run(["data", "check", "mnist_dscnn"]).expect_code(0);
    blank(&copy);
    let ended = home.run(["data", "check", "./models/mnist_dscnn"]);
    ended.expect_code(1);
    assert!(ended.stdout.contains("error    constant"), "{}", ended.stdout);
    let ended = home.run(["data", "check", "mnist_dscnn", "--json"]);
    ended.expect_code(1);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(found["findings"][0]["severity"], "error");
    let ended = home.run(["data", "check", "mnist_dscnn", "-f", "gx"]);
    ended.expect_code(1);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(found["success"], false);
    let constant = |r: &&Value| r["expectation_config"]["type"] == "expect_evalset_to_have_no_constant";
    assert_eq!(found["results"].as_array().unwrap().iter().find(constant).unwrap()["success"], false);
}

#[test]
fn a_check_stops_at_an_unfit_evalset_before_anything_is_built_unless_that_is_accepted() {
    let home = Home::new();
    let copy = model(&home, "mnist_dscnn");
    blank(&copy);
    let ended = home.run(["check", "mnist_dscnn", "--out", "record"]);
    ended.expect_code(2);
    ended.expect_said(&[
        "cannot be judged on: ",
        "have the same value everywhere",
        "hint: `boardproof data check mnist_dscnn`",
    ]);
    assert!(!home.path("record").exists());
    copy.replace("[evalset.slices]", "[evalset.accepts]\nconstant = 'a lens cap'\n\n[evalset.slices]");
    let ended = home.run(["data", "check", "mnist_dscnn"]);
    ended.expect_code(1);
    assert!(ended.stdout.contains("accepted: a lens cap"), "{}", ended.stdout);
    copy.replace("constant = 'a lens cap'", "lens = 'a lens cap'");
    home.run(["data", "check", "mnist_dscnn"]).expect_code(2).expect_said(&["evalset.accepts: expected one of "]);
}

#[test]
fn what_has_drifted_since_a_snapshot_is_told_and_strict_fails_for_it() {
    let home = Home::new();
    let copy = model(&home, "adult_mlp");
    home.run(["data", "snapshot", "adult_mlp", "-o", "before.json"]).expect_code(0);
    let ended = home.run(["data", "diff", "before.json", "adult_mlp"]);
    ended.expect_code(0);
    assert!(ended.stdout.starts_with("the same evalset: "), "{}", ended.stdout);
    copy.change_evalset(|name, mut tensor| {
        if name == "inputs" {
            for bytes in tensor.bytes.as_chunks_mut::<4>().0.iter_mut().step_by(62) {
                *bytes = (f32::from_le_bytes(*bytes) + 1.0).to_le_bytes();
            }
        }
        Some(tensor)
    });
    let ended = home.run(["data", "diff", "before.json", "adult_mlp"]);
    ended.expect_code(0);
    assert!(ended.stdout.contains("drift               age: distributed otherwise"), "{}", ended.stdout);
    home.run(["data", "check", "adult_mlp", "--against", "before.json"]).expect_code(0);
    home.run(["data", "check", "adult_mlp", "--against", "before.json", "--strict"]).expect_code(1);
    std::fs::write(home.path("before.json"), "{\"version\": 9}").unwrap();
    home.run(["data", "diff", "before.json", "adult_mlp"]).expect_code(5).expect_said(&["version 9"]);
}

#[test]
fn a_suite_that_model_toml_names_is_asked_and_calibration_data_may_be_absent() {
    let home = Home::new();
    let copy = model(&home, "adult_mlp");
    std::fs::remove_file(copy.folder.join("data/calib.safetensors")).unwrap();
    let ended = home.run(["data", "check", "adult_mlp"]);
    ended.expect_code(0);
    assert!(ended.stdout.contains("calib.safetensors is not here"), "{}", ended.stdout);
    let suite = r#"{"name": "s", "expectations": [{"type": "expect_column_max_to_be_between",
        "kwargs": {"column": "age", "max_value": 1}}, {"type": "expect_moon", "kwargs": {}}]}"#;
    std::fs::write(copy.folder.join("suite.json"), suite).unwrap();
    copy.replace("ids = \"ids\"", "ids = \"ids\"\nsuite = \"suite.json\"");
    let ended = home.run(["data", "check", "adult_mlp"]);
    ended.expect_code(1);
    for part in ["age: expect_column_max_to_be_between", "does not know the expectation 'expect_moon'"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}
