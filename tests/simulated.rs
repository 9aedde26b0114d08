//! The simulated device as a target: the whole job with the real runner, on a good link and on bad ones. An answer is the right one or there
//! is none; a clock that is not true, too little memory and a full store are each told as what they are.

use crate::tool::{Ended, Home, root};
use boardproof_record::Digest;
use boardproof_record::observation::{Ended as PassEnded, Fault, Observation, Outcome};
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::record::{Record, RunEnded};
use std::time::Duration;

/// Everything here ends by then, however bad the link.
const SOON: Duration = Duration::from_secs(240);

/// Writes a target like `sim` with these lines as its fault plan.
fn write_target(home: &Home, name: &str, seed: u64, faults: &str) {
    let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "sim").expect("it is builtin");
    let text =
        text.replace("name = \"sim\"", &format!("name = \"{name}\"")).replace("seed = 1", &format!("seed = {seed}"));
    std::fs::create_dir_all(home.path("targets")).unwrap();
    std::fs::write(home.path("targets").join(format!("{name}.toml")), format!("{text}\n[link.faults]\n{faults}\n"))
        .unwrap();
}

/// A short check of the good model on a target of this home.
fn check(home: &Home, target: &str, iterations: &str) -> Ended {
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--samples", "64"];
    std::fs::create_dir_all(home.path("targets")).unwrap();
    let ended = home.run(
        [&fixed[..], &["--target-folder", "targets", "-t", target, "--out", target, "--iterations", iterations]]
            .concat(),
    );
    assert!(ended.elapsed < SOON, "{:?}\n{}", ended.elapsed, ended.stderr);
    ended
}

fn cells<'r>(record: &'r Record, unit: &str) -> Vec<(&'r Cell, &'r Outcome)> {
    let of_unit = record.plan.cells.iter().filter(|c| c.unit.as_str() == unit);
    of_unit.map(|c| (c, &record.outcomes[&c.id])).collect()
}

#[track_caller]
fn measured(outcome: &Outcome) -> &Observation {
    match outcome {
        Outcome::Measured(seen) => seen,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn fault(outcome: &Outcome) -> &Fault {
    match outcome {
        Outcome::ShipFailed(fault) | Outcome::DeviceFault(fault) | Outcome::TimedOut(fault) => fault,
        other => panic!("{other:?}"),
    }
}

fn answers(seen: &Observation) -> Option<Digest> {
    seen.pass(Pass::Accuracy)?.outputs.as_ref().map(|file| file.digest)
}

#[test]
fn a_unit_that_cannot_be_switched_off_is_told_also_when_quiet_and_the_others_have_their_turn() {
    let home = Home::new();
    write_target(&home, "stubborn", 1, "");
    let file = home.path("targets/stubborn.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let power =
        "[power]\nkind = \"command\"\non = \"true\"\noff = \"echo the switch is stuck >&2; exit 7\"\ntimeout_s = 20\n";
    let none = "[power]\nkind = \"none\"\n";
    assert!(text.contains(none), "{text}");
    std::fs::write(&file, text.replace(none, power)).unwrap();
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed =
        ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--samples", "64", "--iterations", "700"];
    let more = ["--target-folder", "targets", "-t", "stubborn", "-t", "sim", "--out", "record", "--quiet"];
    let ended = home.run([&fixed[..], &more].concat());
    ended.expect_code(3).expect_said(&["warning: unit 'stubborn' may still be on", "the switch is stuck"]);
    let record = home.record("record");
    assert_eq!(record.ended, RunEnded::Finished);
    for unit in ["stubborn", "sim"] {
        assert!(!cells(&record, unit).is_empty());
        for (_, outcome) in cells(&record, unit) {
            measured(outcome);
        }
    }
}

#[test]
fn the_simulated_device_answers_bit_for_bit_as_this_machine() {
    let home = Home::new();
    // 64 samples cannot decide about one point of accuracy.
    check(&home, "sim", "700").expect_code(3);
    let record = home.record("sim");
    for (cell, outcome) in cells(&record, "sim") {
        let seen = measured(outcome);
        assert_eq!((seen.device.system.as_str(), seen.device.agent_digest), ("simulated", None));
        assert!(seen.emulated && seen.passes.iter().all(|p| p.ended == PassEnded::Completed), "{:?}", seen.passes);
        assert!(seen.attempts.iter().all(|a| a.error.is_none()), "{:?}", seen.attempts);
        let on_host = record.plan.cells.iter().find(|c| c.unit.as_str() == "host" && c.variant == cell.variant);
        let on_host = on_host.map(|c| measured(&record.outcomes[&c.id]));
        if cell.judged {
            assert!(answers(seen).is_some() && answers(seen) == on_host.and_then(answers), "{}", cell.id);
        }
    }
}

#[test]
fn a_bad_link_gives_the_right_answers_or_a_fault() {
    // Asking again is enough; a stall may outlast that, and a connection made anew; resets in mid-pass end a cell.
    const MILD: &str = "loss = 8\nrepeat = 10\nreorder = 10\ntruncate = 4\nflip = 4";
    const STALLS: &str = "loss = 8\nrepeat = 10\nreorder = 10\nstall = 1";
    const HARSH: &str = "loss = 30\nrepeat = 30\nreorder = 30\ntruncate = 10\nflip = 10\nstall = 5\nreset = 2";
    let home = Home::new();
    check(&home, "sim", "700").expect_code(3);
    let clean: Vec<_> = cells(&home.record("sim"), "sim").iter().map(|(_, o)| answers(measured(o))).collect();
    let (mut whole, mut failed) = (0, 0);
    for seed in 0..6 {
        let name = format!("bad-{seed}");
        write_target(&home, &name, seed, [MILD, STALLS, HARSH][seed as usize % 3]);
        let ended = check(&home, &name, "700");
        assert!(matches!(ended.code, Some(0 | 3 | 4)), "seed {seed}: {:?}\n{}", ended.code, ended.stderr);
        let record = home.record(&name);
        for ((_, outcome), clean) in cells(&record, &name).into_iter().zip(&clean) {
            if let Outcome::Measured(seen) = outcome {
                assert!(seen.passes.iter().all(|p| p.ended == PassEnded::Completed), "seed {seed}: {:?}", seen.passes);
                assert!(answers(seen) == *clean, "seed {seed}: another answer");
                whole += 1;
            } else {
                let fault = fault(outcome);
                let told = fault.attempts.last().and_then(|a| a.error.as_ref());
                assert!(told.is_some() && !fault.causes.is_empty(), "seed {seed}: {fault:?}");
                assert_eq!(ended.code, Some(4), "seed {seed}");
                failed += 1;
            }
        }
    }
    println!("{whole} cells came through, {failed} ended with a fault");
    assert!(whole > 0, "no cell came through");
}

#[test]
fn a_clock_that_is_not_true_decides_nothing_about_latency() {
    for (name, rate) in [("slow", "0.1"), ("fast", "10.0")] {
        let home = Home::new();
        write_target(&home, name, 1, &format!("clock_rate = {rate}"));
        let ended = check(&home, name, "5000");
        ended.expect_code(4);
        let text = ended.stdout.clone();
        assert!(text.contains("the clocks disagree: ") && text.contains("s by the unit's clock"), "{text}");
        let judgement: serde_json::Value =
            serde_json::from_str(&home.run(["gate", "--json", name]).stdout).expect("a judgement is JSON");
        let rules = judgement["cells"][0]["rules"].as_array().expect("rules");
        let verdict = |name: &str| rules.iter().find(|r| r["rule"] == name).map(|r| r["verdict"].clone());
        assert_eq!(verdict("clock"), Some("incomplete".into()), "{rules:?}");
        assert_eq!(verdict("latency"), Some("incomplete".into()), "{rules:?}");
        // What no clock has counted is judged as ever.
        assert_eq!(verdict("non-finite"), Some("pass".into()), "{rules:?}");
    }
}

#[test]
fn half_a_clock_is_found_out_where_every_pass_is_short() {
    let home = Home::new();
    write_target(&home, "half", 1, "clock_rate = 0.5");
    let ended = check(&home, "half", "100");
    ended.expect_code(4);
    assert!(ended.stdout.contains("the clocks disagree: "), "{}", ended.stdout);
    let home = Home::new();
    write_target(&home, "whole", 1, "");
    let ended = check(&home, "whole", "100");
    assert!(!ended.stdout.contains("the clocks disagree"), "{}", ended.stdout);
}

#[test]
fn a_runner_that_finds_too_little_memory_is_the_models_failure() {
    let home = Home::new();
    write_target(&home, "small", 1, "memory_bytes = 1200000");
    let ended = check(&home, "small", "700");
    ended.expect_code(1);
    assert!(ended.stdout.contains("ran out of the unit's memory"), "{}", ended.stdout);
    let record = home.record("small");
    let passes: Vec<_> = cells(&record, "small").iter().flat_map(|(_, o)| measured(o).passes.clone()).collect();
    assert!(passes.iter().all(|p| p.ended == PassEnded::OutOfMemory { limit_bytes: 0 }), "{passes:?}");
}

#[test]
fn a_full_store_is_a_fault_with_a_hint() {
    let home = Home::new();
    write_target(&home, "full", 1, "store_bytes = 1000000");
    check(&home, "full", "700").expect_code(4);
    let record = home.record("full");
    for (cell, outcome) in cells(&record, "full") {
        let Outcome::ShipFailed(fault) = outcome else { panic!("{}: {outcome:?}", cell.id) };
        assert!(fault.causes.iter().any(|c| c.contains("the store is full")), "{fault:?}");
        assert!(!fault.hints.is_empty(), "{fault:?}");
    }
}

#[test]
fn a_simulated_target_needs_no_agent_and_keeps_nothing() {
    let home = Home::new();
    let built = home.run(["agent", "build", "-t", "sim"]);
    built.expect_code(0);
    assert!(built.stdout.contains("runner") && !built.stdout.contains("agent"), "{}", built.stdout);
    let doctor = home.run(["doctor", "-t", "sim"]);
    assert!(doctor.expect_code(0).stdout.contains("simulated device"), "{}", doctor.stdout);
    check(&home, "sim", "700").expect_code(3);
    let folder = home.path("cache/boardproof/host/units/sim");
    assert!(!folder.exists(), "{} is left", folder.display());
    // As a run that was killed leaves it.
    std::fs::create_dir_all(folder.join("blob")).unwrap();
    home.run(["agent", "clean", "-t", "sim"]).expect_code(0);
    assert!(!folder.exists(), "{} is left", folder.display());
}
