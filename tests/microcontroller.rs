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

/// int8 at both ends, as tools for microcontrollers export it: the host quantizes what goes in, and judges the numbers that come out.
#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_variant_that_reads_and_answers_integers_is_worth_what_the_same_with_floats_is() {
    let home = Home::new();
    let models = models();
    let check =
        ["check", "mnist_dscnn", "--models", &models, "--target", "mps2-an386", "--samples", "120", "--out", "out"];
    let ended = home.run([&check[..], &["-v", "int8_qdq_pc", "-v", "int8_io"]].concat());
    let said = "100.00 % of 1200 elements within one step of the variant on the host (0 at most)";
    assert_eq!(ended.stdout.matches(said).count(), 1, "{}", ended.stdout);
    let lines = |word: &str| ended.stdout.lines().filter(|line| line.contains(word)).map(str::trim).collect::<Vec<_>>();
    for word in ["drift   quantization", "calibration expected error"] {
        let [one, other] = lines(word)[..] else { panic!("{}", ended.stdout) };
        assert_eq!(one, other);
    }
    assert!(lines("drift   quantization")[0].contains("deployment infinite (identical)"), "{}", ended.stdout);
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

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn sketches_of_a_good_board_are_the_hosts_in_every_layer() {
    let home = Home::new();
    let models = models();
    let explain = ["explain", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", &models, "--target", "mps2-an386"];
    let ended = home.run([&explain[..], &["--samples", "8", "--out", "out", "--json"]].concat());
    ended.expect_code(0);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let sketched = &told[0]["sketched"][0];
    let layers = sketched["layers"].as_array().expect("layers");
    assert!(layers.len() > 10 && sketched["first_apart"].is_null(), "{sketched}");
    assert!(layers.iter().all(|layer| layer["samples_apart"] == 0), "{sketched}");
    assert_eq!((&sketched["site"], &sketched["against"]), (&"mps2-an386/micro".into(), &"host/micro".into()));
    // The same again, offline.
    let again = home.run(["explain", "out"]);
    assert!(again.stdout.contains("layers are host/micro's, bit for bit, in 8 samples"), "{}", again.stdout);
}

/// A home whose board is `mps2-an386` with a kernel that is wrong in one layer.
fn with_a_broken_board() -> Home {
    let home = Home::new();
    let known = std::fs::read_to_string(root().join("targets/mps2-an386.toml")).unwrap();
    let broken = known
        .replace("name = \"mps2-an386\"", "name = \"broken\"")
        .replace("binary = \"mps2-an386\"", "binary = \"mps2-an386-broken\"");
    std::fs::create_dir(home.path("targets")).unwrap();
    std::fs::write(home.path("targets/broken.toml"), broken).unwrap();
    let project =
        format!("schema = 1\nmodels = [{:?}]\ntargets = [\"broken\"]\ntarget_folder = \"targets\"\n", models());
    std::fs::write(home.path("boardproof.toml"), project).unwrap();
    home
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_wrong_kernel_on_a_board_is_found_in_its_layer() {
    let home = with_a_broken_board();
    let explain = ["explain", "mnist_dscnn", "-v", "int8_qdq_pc", "--target", "broken", "--samples", "8", "--json"];
    let ended = home.run([&explain[..], &["--bisect", "--out", "out"]].concat());
    ended.expect_code(0);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let sketched = &told[0]["sketched"][0];
    assert_eq!(sketched["first_apart"], 3, "{sketched}");
    assert_eq!(sketched["layers"][2]["samples_apart"], 0, "{sketched}");
    let cause = &told[0]["causes"][0];
    assert_eq!(cause["label"], "kernel_error", "{told}");
    assert!(cause["evidence"].as_str().unwrap().contains("layer 3 of the compiled model"), "{cause}");
    // Models cut behind a layer find the same one, in as few runs as halving takes.
    let bisected = &told[0]["bisected"];
    let runs = bisected["tried"].as_array().expect("runs");
    let first = runs.iter().find(|run| run["layer"] == bisected["first"]).expect("a layer that parts");
    assert_eq!(first["tensor"], "/body/body.1/body.1.1/body.1.1.2/Relu_output_0", "{bisected}");
    assert!((3..=4).contains(&runs.len()), "{bisected}");
    let again = home.run(["explain", "out"]);
    assert!(again.stdout.contains("by bisection the first layer that parts from host/micro is"), "{}", again.stdout);
}
