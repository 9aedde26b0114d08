//! Firmware of somebody else with its model inside, as a user meets it: reached over its own protocol, judged by the same gate.

use crate::own_firmware;
use crate::speaker::{Trouble, UNIT, start, write};
use crate::tool::{Ended, Home, root};
use boardproof_record::observation::{Ended as PassEnded, Observation, Outcome};
use boardproof_record::plan::Pass;

/// A short check of a variant on a board with that variant and this trouble.
fn check(home: &Home, variant: &str, trouble: Trouble) -> Ended {
    start(home, variant, trouble);
    run(home, variant)
}

fn run(home: &Home, variant: &str) -> Ended {
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    home.run(
        ["check", "mnist_dscnn", "-v", variant, "--models", models, "--samples", "128", "--iterations", "40"]
            .into_iter()
            .chain(["--unit", UNIT, "--target-folder", "targets", "--inventory", "inventory.toml", "--out", "out"]),
    )
}

fn outcome(home: &Home) -> Outcome {
    let record = home.record("out");
    let judged = record.plan.cells.iter().find(|cell| cell.judged).expect("one cell is judged");
    assert_eq!(judged.id.as_str(), "mnist_dscnn/int8_qdq_pc@bench/foreign");
    record.outcomes[&judged.id].clone()
}

#[track_caller]
fn measured(home: &Home) -> Observation {
    match outcome(home) {
        Outcome::Measured(seen) => *seen,
        other => panic!("{other:?}"),
    }
}

/// Rules of the one judged cell and their verdicts.
fn rules(home: &Home) -> Vec<(String, String)> {
    let judgement: serde_json::Value =
        serde_json::from_str(&home.run(["gate", "--json", "out"]).stdout).expect("a judgement is JSON");
    let rules = judgement["cells"][0]["rules"].as_array().expect("rules").clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    rules.iter().map(|rule| (text(&rule["rule"]), text(&rule["verdict"]))).collect()
}

#[track_caller]
fn check_rule(rules: &[(String, String)], name: &str, verdict: &str) {
    let found: Vec<&str> = rules.iter().filter(|(rule, _)| rule == name).map(|(_, found)| found.as_str()).collect();
    assert!(!found.is_empty() && found.iter().all(|found| *found == verdict), "{name}: {found:?}, {rules:?}");
}

#[test]
fn a_good_model_inside_is_judged_like_any_other_and_what_it_cannot_tell_is_missing() {
    let home = Home::new();
    // 128 samples cannot show a loss below one point: all else passes.
    let ended = check(&home, "int8_qdq_pc", Trouble::None);
    println!("{}\n{}", ended.stdout, ended.stderr);
    ended.expect_code(3);
    assert!(ended.stdout.contains("is what was said, it calls its model 'digits'"), "{}", ended.stdout);
    let seen = measured(&home);
    assert_eq!((seen.device.protocol, seen.device.identity.as_str(), seen.device.runner_digest), (0, "", None));
    let missing = &seen.environment_before.missing;
    for name in ["arena_peak_bytes", "flash_bytes", "model_digest", "operators"] {
        assert!(missing[name].contains("MLPerf Tiny does not tell"), "{name}");
    }
    let latency = seen.pass(Pass::Latency).expect("it was planned");
    assert_eq!(latency.inferences, 40);
    assert!(latency.facts.numbers["pass_wall_ns"] > 0 && latency.facts.numbers["window_ns"] > 0);
    let rules = rules(&home);
    for rule in ["runs", "clock", "finite", "compared-with", "drift", "non-finite"] {
        check_rule(&rules, rule, "pass");
    }
    check_rule(&rules, "accuracy-drop", "inconclusive");
    assert!(rules.iter().all(|(rule, _)| rule != "same-as-host" && rule != "self-check"), "{rules:?}");
}

#[test]
fn wrong_answers_fail() {
    let home = Home::new();
    check(&home, "int8_qdq_pc", Trouble::WrongAnswers).expect_code(1);
    let rules = rules(&home);
    check_rule(&rules, "drift", "fail");
    check_rule(&rules, "accuracy-drop", "fail");
}

#[test]
fn a_clock_that_is_slow_decides_nothing_about_time() {
    let home = Home::new();
    let ended = check(&home, "int8_qdq_pc", Trouble::SlowClock);
    ended.expect_code(4);
    assert!(ended.stdout.contains("the clocks disagree: "), "{}", ended.stdout);
    let rules = rules(&home);
    check_rule(&rules, "clock", "incomplete");
    check_rule(&rules, "drift", "pass");
}

#[test]
fn a_board_that_dies_or_refuses_is_a_fault_and_no_verdict() {
    for (trouble, words) in [
        (Trouble::DiesAt(60), "the line was closed"),
        (Trouble::RefusesAt(60), "`infer 1 0` was refused: \"e-[out of memory]\""),
    ] {
        let home = Home::new();
        check(&home, "int8_qdq_pc", trouble).expect_code(4);
        let Outcome::DeviceFault(fault) = outcome(&home) else { panic!("{:?}", outcome(&home)) };
        let told = fault.causes.join(": ");
        assert!(fault.action == "accuracy pass" && told.contains(words), "{trouble:?}: {told}");
        let last = fault.attempts.last().and_then(|attempt| attempt.error.clone());
        assert!(last.is_some_and(|error| error.contains(words)), "{:?}", fault.attempts);
    }
}

#[test]
fn doctor_says_who_answers_and_with_what_model() {
    let home = Home::new();
    start(&home, "int8_qdq_pc", Trouble::None);
    let places = ["--target-folder", "targets", "--inventory", "inventory.toml"];
    let ended = home.run([&["doctor", "--unit", UNIT], &places[..]].concat());
    ended.expect_code(0);
    assert!(ended.stdout.contains("firmware that speaks MLPerf Tiny"), "{}", ended.stdout);
    assert!(ended.stdout.contains("by somebody else, model 'digits'"), "{}", ended.stdout);
    let file = home.path("targets/inside.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("model = \"digits\"", "model = \"kws01\"")).unwrap();
    let ended = home.run([&["doctor", "--unit", UNIT], &places[..]].concat());
    ended.expect_code(5);
    assert!(ended.stdout.contains("expected 'kws01'"), "{}", ended.stdout);
    // Nor is it measured.
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--samples", "64", "--unit", UNIT];
    home.run([&fixed[..], &places, &["--out", "out"]].concat()).expect_code(4);
    let Outcome::ShipFailed(fault) = outcome(&home) else { panic!("{:?}", outcome(&home)) };
    assert!(fault.causes[0].contains("another model inside: expected model 'kws01', got 'digits'"), "{fault:?}");
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn our_own_firmware_can_be_scored_by_another_runner() {
    let home = Home::new();
    let (board, address) = own_firmware::start(&home, "int8_qdq_pc");
    write(&home, "uploaded", &address, true);
    let ended = run(&home, "int8_qdq_pc");
    drop(board);
    println!("{}\n{}", ended.stdout, ended.stderr);
    let seen = measured(&home);
    assert_eq!(seen.device.system, "firmware of boardproof");
    assert!(seen.passes.iter().all(|pass| pass.ended == PassEnded::Completed), "{:?}", seen.passes);
    let rules = rules(&home);
    check_rule(&rules, "drift", "pass");
    check_rule(&rules, "finite", "pass");
    // QEMU's clock goes by instructions: whether it is near the host's is chance, and nothing else here is.
    assert!(matches!(ended.code, Some(3 | 4)), "{:?}", ended.code);
}
