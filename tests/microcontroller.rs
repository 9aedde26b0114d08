//! A microcontroller board in QEMU, as a user meets it: flashed through its debug probe, reached by its serial line, judged by the same gate.

use crate::tool::{Home, root};
use boardproof_record::observation::Outcome;
use boardproof_record::plan::Pass;

fn models() -> String {
    root().join("models").to_str().expect("a path of text").to_owned()
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_damaged_variant_fails_for_its_drift_and_a_good_one_answers_as_the_host_does() {
    let home = Home::new();
    let models = models();
    let check =
        ["check", "mnist_dscnn", "--models", &models, "--target", "mps2-an386", "--samples", "120", "--out", "out"];
    let ended = home.run([&check[..], &["-v", "int8_qdq_pc", "-v", "bad_calib_3"]].concat());
    ended.expect_code(1);
    assert!(ended.stdout.contains("SQNR") && ended.stdout.contains("at least 15.0 dB wanted"), "{}", ended.stdout);
    assert!(ended.stdout.contains("deployment infinite (identical)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("they are no cycles and no time"), "{}", ended.stdout);
    let record = home.record("out");
    let on_board = record.outcomes.iter().filter(|(cell, _)| cell.as_str().contains("@mps2-an386/"));
    let mut counted = Vec::new();
    for (cell, outcome) in on_board {
        let Outcome::Measured(seen) = outcome else { panic!("{cell}: {outcome:?}") };
        let memory = &seen.pass(Pass::Memory).expect("it was planned").facts.numbers;
        assert!(memory["arena_peak_bytes"] > 1000 && memory["stack_peak_bytes"] > 500, "{cell}: {memory:?}");
        assert_eq!(seen.device.system, "bare metal");
        counted.push(seen.pass(Pass::Latency).expect("it was planned").inferences);
    }
    assert_eq!(counted, [200, 200]);
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_float_model_is_refused_by_name_before_anything_is_flashed() {
    let home = Home::new();
    let models = models();
    let check = ["check", "mnist_dscnn", "--models", &models, "--target", "mps2-an386", "--samples", "120"];
    let ended = home.run([&check[..], &["-v", "f32_b1", "--out", "out"]].concat());
    ended.expect_code(1);
    assert!(ended.stdout.contains("cannot run: operator Conv"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("flashing"), "{}", ended.stderr);
}
