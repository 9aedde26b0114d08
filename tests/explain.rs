//! Layer by layer, from outside: the cause of a variant that was damaged on purpose, told again offline, and its layer alone.

use crate::tool::{Home, root};
use serde_json::Value;

fn models() -> String {
    root().join("models").display().to_string()
}

#[test]
fn a_damaged_layer_is_named_told_again_and_handed_over_alone() {
    let home = Home::new();
    let models = models();
    let asked = ["explain", "adult_mlp", "-v", "bad_corrupt", "--models", &models, "--samples", "100", "--quiet"];
    let ended = home.run(asked.iter().chain(&["--out", "seen", "--reproduce", "alone"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let broken = "the first layer that breaks the budget is '/b/b.3/Gemm_output_0'";
    assert!(ended.stdout.contains(broken), "{}", ended.stdout);
    assert!(ended.stdout.contains("cause: corrupted weights: weights 'b.3.weight'"), "{}", ended.stdout);
    let of_samples = ended.stdout.split("SAMPLE  SITE").nth(1).expect("samples are told");
    let parted = of_samples.lines().filter(|line| line.contains("/b/b.3/Gemm_output_0")).count();
    assert!(parted > 0, "a sample parts where its layer was damaged: {of_samples}");
    let again = home.run(["explain", "seen", "--quiet"]);
    assert_eq!((again.code, &again.stdout), (Some(0), &ended.stdout), "{}", again.stderr);

    // Its one bad layer, as a model of its own that the tool takes like any other.
    let alone = home.run(["explain", "alone", "-v", "layer", "--quiet", "--json"]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let told: Value = serde_json::from_str(&alone.stdout).unwrap_or_else(|error| panic!("{error}: {}", alone.stdout));
    assert_eq!(told[0]["causes"][0]["label"], "corrupted_weights", "{told}");
    assert_eq!(told[0]["rows"].as_array().map(Vec::len), Some(2), "its input and itself: {told}");
    let checked = home.run(["check", "alone", "-v", "layer", "--samples", "100", "--iterations", "50", "--quiet"]);
    assert_eq!(checked.code, Some(1), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn the_cells_of_a_record_that_fail_are_explained() {
    let home = Home::new();
    let models = models();
    let asked = ["check", "adult_mlp", "-v", "bad_calib_clip", "-v", "int8_qdq_pc", "--models", &models];
    let checked =
        home.run(asked.iter().chain(&["--samples", "500", "--iterations", "50", "--out", "record", "--quiet"]));
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    let ended = home.run(["explain", "record", "--models", &models, "--quiet", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout));
    let explained = told.as_array().expect("a list");
    assert_eq!(explained.len(), 1, "the good variant has nothing to be explained: {told}");
    assert_eq!(explained[0]["causes"][0]["label"], "saturation", "{told}");
}

#[test]
fn what_cannot_be_explained_is_refused_with_what_is_there() {
    let home = Home::new();
    let unknown = home.run(["explain", "adult_mlp", "-v", "int8_qdp_pc", "--models", &models()]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("no variant is called 'int8_qdp_pc'; known: int8_qdq_pc"), "{}", unknown.stderr);
    std::fs::create_dir(home.path("empty")).expect("could not make a folder");
    let nothing = home.run(["explain", "./empty"]);
    assert_eq!(nothing.code, Some(2), "{}", nothing.stderr);
}
