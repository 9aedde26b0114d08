//! `check --early-stop` from end to end: what it must not do first, then where it stops and what that leaves.

use crate::tool::{Ended, Home, root};
use boardproof_record::observation::{Observation, Outcome};
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::record::Record;
use boardproof_record::verdict::Verdict;

const STAGED: &str = "\"stage\"";

fn check(home: &Home, variant: &str, out: &str, more: &[&str]) -> Ended {
    let models = root().join("models").display().to_string();
    let usual = ["check", "mnist_dscnn", "-v", variant, "--models", &models, "--iterations", "300", "--out", out];
    home.run(usual.iter().chain(more))
}

fn judged(record: &Record) -> (&Cell, &Observation) {
    let cell = record.plan.cells.iter().find(|cell| cell.judged).expect("a judged cell");
    match &record.outcomes[&cell.id] {
        Outcome::Measured(seen) => (cell, seen),
        other => panic!("{other:?}"),
    }
}

/// Bytes of the first output of a cell, in the record's file, and the shape of it.
fn outputs(home: &Home, record: &str, seen: &Observation) -> (Vec<u8>, Vec<usize>) {
    let file = seen.pass(Pass::Accuracy).and_then(|pass| pass.outputs.as_ref()).expect("outputs");
    let bytes = std::fs::read(home.path(record).join(&file.path)).expect("could not read the outputs");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let output = tensors.tensor("output.0").expect("an output");
    (output.data().to_vec(), output.shape().to_vec())
}

#[test]
fn without_the_switch_nothing_is_ordered_or_staged_and_with_a_baseline_it_is_refused() {
    let home = Home::new();
    check(&home, "int8_qdq_pc", "usual", &["--samples", "64"]);
    let text = std::fs::read_to_string(home.path("usual/record.json")).expect("a record");
    for word in [STAGED, "\"order\"", "\"stopped\""] {
        assert!(!text.contains(word), "{word}");
    }
    for other in ["--baseline", "--against"] {
        let refused = check(&home, "int8_qdq_pc", "out", &["--early-stop", other, "usual"]);
        refused.expect_code(2);
        assert!(refused.stderr.contains("cannot be used with"), "{}", refused.stderr);
    }
}

#[test]
fn a_bad_variant_stops_early_on_any_link_and_a_record_that_was_cut_is_incomplete() {
    let home = Home::new();
    let bad = check(&home, "bad_preproc", "good-link", &["-t", "sim", "--early-stop"]);
    bad.expect_code(1);
    assert!(bad.stdout.contains("samples: certainly broken: accuracy-drop"), "{}", bad.stdout);
    let record = home.record("good-link");
    let (cell, seen) = judged(&record);
    let plan = cell.passes.iter().find(|plan| plan.pass == Pass::Accuracy).expect("planned");
    let pass = seen.pass(Pass::Accuracy).expect("measured");
    let stopped = pass.stopped.clone().expect("it stopped early");
    assert_eq!((stopped.verdict, stopped.of), (Verdict::Fail, 2000));
    assert_eq!((stopped.samples, pass.inferences), (plan.stage, plan.stage), "at the first look");
    // Offline the same.
    let gate = |record: &str| home.run(["gate", record, "--json"]);
    let again = gate("good-link");
    again.expect_code(1);
    assert_eq!(again.stdout, std::fs::read_to_string(home.path("good-link/judgement.json")).expect("a judgement"));

    // A link that loses, repeats and cuts frames: stages are repeated and not skipped, so the answers are the same.
    let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "sim").expect("it is builtin");
    let faults = "loss = 8\nrepeat = 10\nreorder = 10\ntruncate = 4\nflip = 4\n";
    std::fs::create_dir_all(home.path("targets")).expect("could not make a folder");
    let text = text.replace("name = \"sim\"", "name = \"bad\"") + "\n[link.faults]\n" + faults;
    std::fs::write(home.path("targets/bad.toml"), text).expect("could not write a target");
    let other = check(&home, "bad_preproc", "bad-link", &["--target-folder", "targets", "-t", "bad", "--early-stop"]);
    other.expect_code(1);
    let bad = home.record("bad-link");
    assert_eq!(outputs(&home, "bad-link", judged(&bad).1), outputs(&home, "good-link", seen));

    // Somebody who takes the reason away leaves a pass that visited fewer than were planned.
    let file = home.path("good-link/record.json");
    let mut forged = record.clone();
    for outcome in forged.outcomes.values_mut() {
        if let Outcome::Measured(seen) = outcome {
            seen.passes.iter_mut().for_each(|pass| pass.stopped = None);
        }
    }
    std::fs::write(&file, forged.to_json()).expect("could not write the record");
    let said = gate("good-link").stdout;
    assert!(said.contains("gives no such reason to stop there"), "{said}");
}

#[test]
fn a_good_variant_is_asked_for_no_more_than_makes_it_certain() {
    let home = Home::new();
    let ended = check(&home, "int8_qdq_pc", "good", &["--early-stop"]);
    let record = home.record("good");
    let (cell, seen) = judged(&record);
    let pass = seen.pass(Pass::Accuracy).expect("measured");
    let all = cell.passes.iter().find(|plan| plan.pass == Pass::Accuracy).expect("planned").samples;
    // Where it stops is the model's and this machine's engine's; that it is told as it was is not.
    match &pass.stopped {
        Some(stopped) => {
            assert_eq!((stopped.verdict, stopped.samples), (Verdict::Pass, pass.inferences));
            assert!(ended.stdout.contains(&format!("stopped after {} of {all}", stopped.samples)), "{}", ended.stdout);
        }
        None => {
            assert_eq!(pass.inferences, all);
            assert!(ended.stdout.contains("nothing was certain before all 2000"), "{}", ended.stdout);
        }
    }
    assert_eq!(outputs(&home, "good", seen).1[0] as u64, pass.inferences);
    crate::schemas::assert_valid("record", &record.to_json());
}
