//! Metrics that a model's owner computes: the command is run, what it gives is judged, and what it does not give passes nothing.

use crate::material::Copy;
use crate::tool::{Ended, Home};
use boardproof_record::Digest;
use boardproof_record::record::Numbers;
use std::collections::BTreeMap;

const SAMPLES: usize = 64;

const POLICY: &str = r#"schema = 1
[policy]
name = "own"
[[rule]]
id = "own"
metric = "custom.drop"
custom = "own"
direction = "at_most"
limit = 0.2
unit = "own"
against = "reference"
reason = "a test"
"#;

/// A model whose metric is computed by this script for a shell, and one rule on it.
fn checked(home: &Home, script: &str) -> Ended {
    checked_by(home, script, POLICY)
}

fn checked_by(home: &Home, script: &str, policy: &str) -> Ended {
    let copy = Copy::of("mnist_dscnn", &home.path("models"));
    let manifest = copy.folder.join("model.toml");
    let text = std::fs::read_to_string(&manifest).expect("could not read model.toml");
    let metric = "[[metric]]\nname = 'own'\ncommand = ['sh', 'own.sh']\nbetter = 'higher'\nrange = [0, 1]\n";
    std::fs::write(&manifest, format!("{text}\n{metric}")).expect("could not write model.toml");
    std::fs::write(copy.folder.join("own.sh"), script).expect("could not write the script");
    std::fs::write(home.path("policy.toml"), policy).expect("could not write the policy");
    let samples = SAMPLES.to_string();
    let asked = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--policy", "policy.toml", "--out", "record", "--quiet"];
    home.run(asked.iter().copied().chain(["--samples", samples.as_str(), "--iterations", "20"]))
}

#[test]
fn what_the_command_gives_is_judged_now_and_later() {
    let home = Home::new();
    // The outputs of both sides, the labels and the numbers are told; the variant of the two gets less.
    let script = "test -s \"$1\" && test -s \"$2\" || exit 1\n\
                  case \"$1\" in *int8_qdq_pc*) number=0.5;; *) number=1;; esac\n\
                  yes $number | head -n 64 > \"$3\"\n";
    let ended = checked(&home, script);
    ended.expect_code(1);
    assert!(ended.stdout.contains("own 0.5000 (reference 1.0000)"), "{}", ended.stdout);
    std::fs::remove_dir_all(home.path("models")).expect("could not remove the models");
    let again = home.run(["gate", "record", "--policy", "policy.toml"]);
    again.expect_code(1);
    let line =
        |ended: &Ended| ended.stdout.lines().find(|line| line.trim_start().starts_with("own ")).map(str::to_owned);
    assert!(line(&again).is_some() && line(&again) == line(&ended), "{}{}", ended.stdout, again.stdout);
    let record = std::fs::read_to_string(home.path("record/record.json")).expect("could not read the record");
    crate::schemas::assert_valid("record", &record);
    let computed: Vec<Numbers> = home.record("record").custom.into_values().flat_map(BTreeMap::into_values).collect();
    let by_this = |numbers: &Numbers| match numbers {
        Numbers::Given { programs, .. } => programs.get("own.sh") == Some(&Digest::of(script.as_bytes())),
        Numbers::Failed { .. } => false,
    };
    assert!(!computed.is_empty() && computed.iter().all(by_this), "{computed:?}");
}

#[test]
fn a_command_that_fails_leaves_no_verdict_and_its_words() {
    let home = Home::new();
    let ended = checked(&home, "echo 'no dictionary for this language' >&2; exit 7\n");
    ended.expect_code(4);
    assert!(ended.stdout.contains("no dictionary for this language"), "{}", ended.stdout);
    let record = home.record("record");
    assert!(record.custom.values().flat_map(|metrics| metrics.values()).count() >= 2, "each cell says so");
}

#[test]
fn a_rule_on_a_metric_that_no_model_has_is_refused_before_anything_is_measured() {
    let home = Home::new();
    std::fs::write(home.path("policy.toml"), POLICY).expect("could not write the policy");
    let copy = Copy::of("mnist_dscnn", &home.path("models"));
    let ended = home.run(["check", "mnist_dscnn", "--policy", "policy.toml", "--out", "record"]);
    ended.expect_code(2);
    assert!(ended.stderr.contains("no model of the plan has a metric 'own'; they have: none"), "{}", ended.stderr);
    copy.replace(
        "[reference]\nvariant",
        "[[metric]]\nname = 'own'\ncommand = []\nbetter = 'higher'\nrange = [0, 1]\n\n[reference]\nvariant",
    );
    let ended = home.run(["check", "mnist_dscnn", "--policy", "policy.toml", "--out", "record"]);
    ended.expect_code(2);
    assert!(ended.stderr.contains("expected a program and its arguments, got none"), "{}", ended.stderr);
}

#[test]
fn a_command_that_no_rule_asks_for_is_not_run() {
    let home = Home::new();
    let ran = home.path("ran");
    let policy = POLICY
        .replace("custom.drop", "task.drop")
        .replace("custom = \"own\"\n", "")
        .replace("\"own\"\nagainst", "\"share\"\nagainst");
    let ended = checked_by(&home, &format!("touch '{}'\n", ran.display()), &policy);
    ended.expect_code(0);
    assert!(!ran.exists(), "the model's program was run");
    assert!(home.record("record").custom.is_empty());
}
