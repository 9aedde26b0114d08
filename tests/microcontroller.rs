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

/// The board of `mps2-an386`, with a store that 120 samples do not fit into.
#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn an_evalset_goes_in_parts_to_a_board_without_room_for_all_of_it() {
    let home = Home::new();
    let known = std::fs::read_to_string(root().join("targets/mps2-an386.toml")).unwrap();
    let small = known
        .replace("name = \"mps2-an386\"", "name = \"small\"")
        .replace("binary = \"mps2-an386\"", "binary = \"mps2-an386-small\"");
    std::fs::create_dir(home.path("targets")).unwrap();
    std::fs::write(home.path("targets/small.toml"), small).unwrap();
    let project =
        format!("schema = 1\nmodels = [{:?}]\ntargets = [\"small\"]\ntarget_folder = \"targets\"\n", models());
    std::fs::write(home.path("boardproof.toml"), project).unwrap();
    let check = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--samples", "120", "--out", "out"];
    let ended = home.run(check);
    assert!(ended.stdout.contains("deployment infinite (identical)"), "{}\n{}", ended.stdout, ended.stderr);
    let record = home.record("out");
    let (_, outcome) =
        record.outcomes.iter().find(|(cell, _)| cell.as_str().contains("@small/")).expect("it was planned");
    let Outcome::Measured(seen) = outcome else { panic!("{outcome:?}") };
    let parts: Vec<&str> =
        seen.attempts.iter().map(|a| a.action.as_str()).filter(|action| action.starts_with("accuracy pass")).collect();
    assert!(parts.len() > 2 && parts[0] == format!("accuracy pass, part 1 of {}", parts.len()), "{parts:?}");
    assert_eq!(seen.pass(Pass::Accuracy).expect("it was planned").inferences, 120);
    let latency = &seen.pass(Pass::Latency).expect("it was planned").facts.numbers["samples_seen"];
    assert!((1..120).contains(latency), "{latency}");
    let note = format!("note: latency was measured on the first {latency} of 120 samples");
    assert!(ended.stdout.contains(&note), "{}", ended.stdout);
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
