//! The whole way on this machine: every planned cell has an outcome, every file is what the record says, nothing is sent twice.

use crate::material::Copy;
use crate::schemas::assert_valid;
use crate::targets::patient_policy;
use crate::tool::{Ended, Home, root};
use boardproof_record::Digest;
use boardproof_record::observation::{Ended as PassEnded, Observation, Outcome};
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::record::{Record, RunEnded};

/// A short check of the good model on this machine.
fn short_check(home: &Home, out: &str) -> Ended {
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let small = ["--samples", "64", "--iterations", "700"];
    let ended = home
        .run([&["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--out", out], &small[..]].concat());
    // 64 samples cannot decide about one point of accuracy.
    ended.expect_code(3);
    ended
}

fn measured(record: &Record) -> Vec<&Observation> {
    let seen = record.outcomes.iter().map(|(cell, outcome)| match outcome {
        Outcome::Measured(seen) => &**seen,
        other => panic!("{cell}: {other:?}"),
    });
    seen.collect()
}

#[test]
fn a_run_leaves_a_whole_record_and_a_second_one_sends_nothing() {
    let home = Home::new();
    short_check(&home, "first");
    let first = home.record("first");
    assert_eq!(first.ended, RunEnded::Finished);
    assert_eq!(first.outcomes.len(), first.plan.cells.len());
    for seen in measured(&first) {
        assert!(seen.passes.iter().all(|p| p.ended == PassEnded::Completed), "{:?}", seen.passes);
        assert!(seen.attempts.iter().all(|a| a.error.is_none()), "{:?}", seen.attempts);
        let accuracy = seen.pass(Pass::Accuracy).expect("accuracy was planned");
        // The reference answers, and is not timed: another engine runs the variants.
        let latency = seen.pass(Pass::Latency);
        assert_eq!((accuracy.inferences, latency.map_or(700, |pass| pass.inferences)), (64, 700));
        for file in [Some(&accuracy.outputs), latency.map(|pass| &pass.ticks)].into_iter().flatten() {
            let file = file.as_ref().expect("the pass has its file");
            let bytes = std::fs::read(home.path("first").join(&file.path)).unwrap();
            assert_eq!((Digest::of(&bytes), bytes.len() as u64), (file.digest, file.bytes), "{}", file.path);
        }
    }
    let text = std::fs::read_to_string(home.path("first/record.json")).unwrap();
    assert_eq!(first.to_json(), text, "reading and writing a record changes it");

    short_check(&home, "second");
    for seen in measured(&home.record("second")) {
        let shipped = seen.shipped;
        assert_eq!((shipped.content_bytes, shipped.wire_bytes), (0, 0), "something was sent again");
        // The reference's answers are those of the first run: nothing of it had to be there.
        let kept = seen.attempts.iter().any(|attempt| attempt.action == "answers from an earlier run");
        assert!(kept || shipped.cached_bytes > 5_000_000, "runner, model and evalset were there: {shipped:?}");
    }
}

#[test]
fn a_record_is_judged_again_with_the_same_bytes_and_not_at_all_when_a_file_was_changed() {
    let home = Home::new();
    let at_once = short_check(&home, "record").stdout;
    let gate = home.run(["gate", "record"]);
    assert_eq!(gate.expect_code(3).stdout, at_once);
    let json = home.run(["gate", "--json", "record"]).stdout;
    assert_eq!(json, std::fs::read_to_string(home.path("record/judgement.json")).unwrap());
    assert_valid("judgement", &json);
    assert_valid("record", &std::fs::read_to_string(home.path("record/record.json")).unwrap());
    assert_valid("report", &home.run(["report", "record", "-f", "json"]).expect_code(0).stdout);
    for (format, name) in [("html", "report.html"), ("markdown", "report.md"), ("junit", "report.junit.xml")] {
        let again = home.run(["report", "record", "-f", format]);
        assert!(
            again.expect_code(0).stdout == std::fs::read_to_string(home.path("record").join(name)).unwrap(),
            "{name}"
        );
    }
    let record = home.record("record");
    let seen = measured(&record)[0];
    let file = &seen.pass(Pass::Accuracy).unwrap().outputs.as_ref().unwrap().path;
    let mut bytes = std::fs::read(home.path("record").join(file)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(home.path("record").join(file), bytes).unwrap();
    for command in [&["gate", "record"][..], &["report", "record"]] {
        home.run(command).expect_code(5).expect_said(&["was changed after it was recorded", "expected digest"]);
    }
}

#[test]
fn a_model_that_the_engine_refuses_is_a_verdict_and_no_fault() {
    let home = Home::new();
    let copy = Copy::of("mnist_dscnn", &home.path("models"));
    copy.change("int8_qdq_pc.onnx", |bytes| bytes[..bytes.len() / 2].to_vec());
    let small = ["--samples", "64", "--iterations", "700", "--models", "models", "--out", "record"];
    let ended = home.run([&["check", "mnist_dscnn", "-v", "int8_qdq_pc"][..], &small].concat());
    ended.expect_code(1);
    assert!(ended.stdout.to_lowercase().contains("cannot run"), "{}", ended.stdout);
    let record = home.record("record");
    let cell = record.plan.cells.iter().find(|c| c.judged).unwrap();
    let Outcome::Measured(seen) = &record.outcomes[&cell.id] else { panic!("{:?}", record.outcomes[&cell.id]) };
    let pass = seen.passes.last().unwrap();
    assert_eq!(pass.ended, PassEnded::CannotRun);
    assert!(!pass.cannot_run.as_ref().unwrap().reason.is_empty());
}

#[test]
fn a_model_that_the_engine_cannot_read_here_is_not_shipped_anywhere() {
    let home = Home::new();
    std::fs::create_dir(home.path("targets")).unwrap();
    let elsewhere = std::fs::read_to_string(root().join("targets/host.toml")).unwrap();
    std::fs::write(home.path("targets/elsewhere.toml"), elsewhere.replace("name = \"host\"", "name = \"elsewhere\""))
        .unwrap();
    let models = root().join("models");
    let small = ["--samples", "64", "--iterations", "700", "--models", models.to_str().unwrap(), "--out", "record"];
    let place = ["-v", "int8_qop", "-t", "elsewhere", "--target-folder", "targets"];
    let ended = home.run([&["check", "mnist_dscnn"][..], &place, &small].concat());
    ended.expect_code(1);
    assert!(ended.stdout.contains("cannot run: operator com.microsoft."), "{}", ended.stdout);
    let record = home.record("record");
    let cell = record.plan.cells.iter().find(|c| c.judged).unwrap();
    let Outcome::Skipped { .. } = &record.outcomes[&cell.id] else { panic!("{:?}", record.outcomes[&cell.id]) };
    // Judged again from the record alone, it is the same verdict.
    home.run(["gate", "record"]).expect_code(1);
}

/// Three workers, and samples that fill neither the last batch nor the last round.
#[test]
fn several_workers_of_the_accuracy_pass_answer_as_one_does() {
    let home = Home::new();
    std::fs::create_dir(home.path("targets")).unwrap();
    let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "host").expect("it is builtin");
    let several = text.replace("name = \"host\"", "name = \"several\"") + "accuracy_workers = 3\n";
    std::fs::write(home.path("targets/several.toml"), several).unwrap();
    let models = root().join("models");
    let small = ["--samples", "100", "--iterations", "50", "--models", models.to_str().unwrap(), "--out", "record"];
    let place = ["-v", "f32", "-v", "int8_qdq_pc", "-t", "several", "--target-folder", "targets"];
    // So few timed inferences say nothing on a busy machine.
    std::fs::write(home.path("policy.toml"), patient_policy()).unwrap();
    let policy = ["--policy", "policy.toml"];
    home.run([&["check", "mnist_dscnn"][..], &place, &policy, &small].concat()).expect_code(3);
    let record = home.record("record");
    let answers = |unit: &str, cell: &Cell| {
        let same = |c: &&Cell| c.unit.as_str() == unit && c.variant == cell.variant && c.engine == cell.engine;
        let found = record.plan.cells.iter().find(same).expect("both are planned");
        let Outcome::Measured(seen) = &record.outcomes[&found.id] else { panic!("{:?}", record.outcomes[&found.id]) };
        seen.pass(Pass::Accuracy).and_then(|pass| pass.outputs.as_ref()).map(|file| file.digest)
    };
    for cell in record.plan.cells.iter().filter(|c| c.judged) {
        assert!(answers("host", cell).is_some());
        assert_eq!(answers("several", cell), answers("host", cell), "{}", cell.id);
    }
}
