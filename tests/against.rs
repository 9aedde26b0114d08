//! A run against an earlier one, and two variants in turn: what is exact is decided exactly, what is noise never decides a test here.

use crate::material::Copy;
use crate::tool::{Ended, Home, root};
use boardproof_record::verdict::{Judgement, RuleResult, Verdict};
use std::path::Path;
use std::process::Command;

const CELL: &str = "adult_mlp/int8_qdq_pc@host/tract";

fn models() -> String {
    root().join("models").display().to_string()
}

fn check(home: &Home, models: &str, out: &str, more: &[&str]) -> Ended {
    let usual =
        ["check", "adult_mlp", "-v", "int8_qdq_pc", "--models", models, "--samples", "500", "--iterations", "300"];
    home.run(usual.iter().chain(more).chain(&["--out", out, "--quiet"]))
}

fn rule(home: &Home, out: &str, baseline: &str, name: &str) -> RuleResult {
    let ended = home.run(["gate", out, "--baseline", baseline, "--json"]);
    let judgement: Judgement =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    let cell = judgement.cells.iter().find(|cell| cell.cell.as_str() == CELL).expect("judged");
    cell.rules.iter().find(|rule| rule.rule.as_str() == name).unwrap_or_else(|| panic!("no rule {name}")).clone()
}

/// The default policy without what is about time, and with this rule against the baseline.
fn policy(home: &Home, metric: &str, limit: f64) -> String {
    let text = format!(
        "schema = 1\n[policy]\nname = 'one rule'\n[[rule]]\nid = 'one'\nmetric = '{metric}'\ndirection = 'at_most'\n\
         limit = {limit}\nunit = 'ratio'\nagainst = 'baseline'\nreason = 'a test'\n"
    );
    std::fs::write(home.path("policy.toml"), text).expect("could not write a policy");
    "policy.toml".into()
}

#[test]
fn a_run_is_held_against_an_earlier_one_of_the_same() {
    let home = Home::new();
    let first = check(&home, &models(), "first", &[]);
    assert!(home.path("first/record.json").is_file(), "{}", first.stderr);
    let second = check(&home, &models(), "second", &["--against", "first"]);
    assert!(second.stdout.contains("against-model-size"), "{}{}", second.stdout, second.stderr);
    for exact in ["against-model-size", "against-integers"] {
        let found = rule(&home, "second", "first", exact);
        assert_eq!(found.verdict, Verdict::Pass, "{exact}: {}", found.detail);
    }
    let answers = rule(&home, "second", "first", "against-accuracy");
    assert_eq!(answers.observed, Some(0.0), "the same model answers the same: {}", answers.detail);
    let time = rule(&home, "second", "first", "against-latency");
    assert!(time.detail.contains("times the baseline's"), "{}", time.detail);

    let trend = home.run(["trend", "second", "first"]);
    assert_eq!(trend.code, Some(0), "{}", trend.stderr);
    let words = "1 records before the latest are like it; bands need 5";
    assert!(trend.stdout.contains(words) && trend.stdout.contains("second: nothing is out"), "{}", trend.stdout);

    // A limit that nothing keeps: red, looked at again by another build in another lease, and red again.
    let policy = policy(&home, "latency_ratio_p50", 0.001);
    let red = check(&home, &models(), "red", &["--against", "first", "--policy", &policy]);
    assert_eq!(red.code, Some(1), "{}{}", red.stdout, red.stderr);
    assert!(red.stdout.contains("measured again with another build in another lease: confirmed"), "{}", red.stdout);
    let layouts = |record: &str| -> Vec<Option<u32>> {
        let builds = home.record(record).builds;
        builds.iter().filter(|build| build.program == "runner").map(|build| build.layout).collect()
    };
    assert!(layouts("red").iter().all(Option::is_none));
    assert!(layouts("red/confirmation").contains(&Some(1)), "{:?}", layouts("red/confirmation"));
}

#[test]
fn a_limit_that_the_unit_does_not_support_is_refused_before_anything_is_measured() {
    let home = Home::new();
    check(&home, &models(), "first", &[]);
    let folder = home.path("state/boardproof/calibrations");
    std::fs::create_dir_all(&folder).expect("could not make a folder");
    let calibration = serde_json::json!({
        "version": 1, "measured_unix_s": 0, "unit": "host", "identity": "", "processor": "", "governor": "", "cell": CELL,
        "rounds": 10, "false_alarms": 0.01, "latency_ratio": 1.25, "builds_spread": 0.05, "pairs_spread": 0.05,
    });
    crate::schemas::assert_valid("calibration", &calibration.to_string());
    std::fs::write(folder.join("host.json"), calibration.to_string()).expect("could not write a calibration");
    let refused = check(&home, &models(), "second", &["--against", "first"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let words = "limit of rule 'against-latency': expected 1.250 or more, the finest that unit 'host' supports";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert!(!home.path("second").exists());
    let ab = home.run(["ab", "adult_mlp", "f32", "int8_qdq_pc", "--models", &models(), "--limit", "1.01"]);
    assert_eq!(ab.code, Some(2), "{}", ab.stderr);
    assert!(ab.stderr.contains("the finest that unit 'host' supports"), "{}", ab.stderr);
    // The same of memory: so many bytes are as much on this model as the baseline says that it adds.
    let mut calibration = calibration;
    calibration["latency_ratio"] = serde_json::json!(1.0);
    calibration["memory"] = serde_json::json!({
        "bytes": 1_000_000_000_u64, "processes": 80, "builds": 20, "added_bytes": [1_000_000, 2_000_000], "peak_bytes": [9_000_000, 9_000_000],
    });
    crate::schemas::assert_valid("calibration", &calibration.to_string());
    std::fs::write(folder.join("host.json"), calibration.to_string()).expect("could not write a calibration");
    let refused = check(&home, &models(), "second", &["--against", "first"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for words in [
        "limit of rule 'against-memory': expected",
        "lets equal runs of adult_mlp/",
        "1000000000 bytes apart, by its calibration",
    ] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    assert!(!home.path("second").exists());
    std::fs::write(folder.join("host.json"), "{").expect("could not write a calibration");
    let damaged = check(&home, &models(), "third", &["--against", "first"]);
    assert_eq!(damaged.code, Some(5), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("host.json is no calibration of this unit"), "{}", damaged.stderr);
}

#[test]
fn what_is_no_yardstick_is_refused_before_anything_is_measured() {
    let home = Home::new();
    let unknown = check(&home, &models(), "out", &["--against", "no-such-thing"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("a git revision of this checkout, got 'no-such-thing'"), "{}", unknown.stderr);
    let both = check(&home, &models(), "out", &["--against", "x", "--baseline", "y"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);

    check(&home, &models(), "first", &[]);
    let default = std::fs::read_to_string(root().join("ci/policy/default.toml")).expect("could not read the policy");
    let taken = default.replace("\"accuracy-drop\"", "\"against-accuracy\"");
    std::fs::write(home.path("taken.toml"), taken).expect("could not write a policy");
    let twice = check(&home, &models(), "out", &["--against", "first", "--policy", "taken.toml"]);
    assert_eq!(twice.code, Some(2), "{}", twice.stderr);
    assert!(twice.stderr.contains("`--against` adds a rule of this one, got against-accuracy"), "{}", twice.stderr);

    let other = Copy::of("adult_mlp", &home.path("others"));
    other.change_evalset(|name, mut tensor| {
        if name == "labels" {
            tensor.bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        }
        Some(tensor)
    });
    let models = home.path("others").display().to_string();
    let refused = check(&home, &models, "out", &["--against", "first"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("another evalset of 'adult_mlp'"), "{}", refused.stderr);
    assert!(!home.path("out").exists());
}

#[test]
fn models_of_a_revision_are_measured_first() {
    let home = Home::new();
    let copy = Copy::of("adult_mlp", &home.path("repository"));
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(home.path("repository")).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
        let said = command.args(["-c", "commit.gpgsign=false"]).args(arguments).output().expect("could not start git");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "before"]);
    // Bytes behind a model's end are none of its business, and are bytes.
    let grown = |mut bytes: Vec<u8>| {
        let text = b"a remark";
        bytes.extend([0x32, text.len() as u8].iter().chain(text));
        bytes
    };
    copy.change("int8_qdq_pc.onnx", grown);
    let policy = policy(&home, "model_bytes_ratio", 1.0);
    let more = ["--against", "HEAD", "--policy", &home.path(&policy).display().to_string()];
    let mut command =
        home.command(["check", "adult_mlp", "-v", "int8_qdq_pc", "--samples", "100", "--iterations", "50"]);
    let out = home.path("out").display().to_string();
    command.args(["--models", "."]).args(more).args(["--out", &out]).current_dir(home.path("repository"));
    let ended = crate::tool::Running::of(command).end();
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("first the models of HEAD"), "{}", ended.stderr);
    assert!(Path::new(&out).join("against/record.json").is_file());
    let found = rule(&home, "out", "out/against", "one");
    assert_eq!(
        (found.verdict, found.observed.map(|ratio| ratio > 1.0)),
        (Verdict::Fail, Some(true)),
        "{}",
        found.detail
    );
}

#[test]
fn two_variants_in_turn_are_judged_alike_whenever_they_are_judged() {
    let home = Home::new();
    let models = models();
    let asked = ["--models", &models, "--blocks", "24", "--iterations", "20", "--confidence", "0.9", "--quiet"];
    let ab = |limit: &str, out: &str| {
        let words = ["ab", "adult_mlp", "f32", "int8_qdq_pc", "--limit", limit, "--out", out];
        home.run(words.iter().chain(&asked))
    };
    // Factors that no noise brings. A machine that is busy with one side alone is a fault, and no verdict.
    for (limit, out, verdict) in [("1000", "far-above", 0), ("0.001x", "far-below", 1)] {
        let ended = ab(limit, out);
        assert!([Some(verdict), Some(4)].contains(&ended.code), "{:?}: {}{}", ended.code, ended.stdout, ended.stderr);
        assert_eq!(ended.code == Some(4), ended.stdout.contains("fault: "), "{}", ended.stdout);
        let run = std::fs::read_to_string(home.path(out).join("ab.json")).expect("could not read the run");
        crate::schemas::assert_valid("ab", &run);
        let again = home.run(["ab", "--again", out]);
        assert_eq!((again.code, &again.stdout), (ended.code, &ended.stdout), "{}", again.stderr);
    }
    let calibration = home.run(["calibrate", "--again", "far-above"]);
    assert_eq!(calibration.code, Some(2), "{}", calibration.stderr);
    assert!(calibration.stderr.contains("no calibration"), "{}", calibration.stderr);
    // A block that was changed after it was measured is found.
    let block = home.path("far-above/blocks/000-a/record.json");
    let text = std::fs::read_to_string(&block).expect("could not read a block");
    std::fs::write(&block, text + "\n").expect("could not write a block");
    let damaged = home.run(["ab", "--again", "far-above"]);
    assert_eq!(damaged.code, Some(5), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("was changed after it was recorded"), "{}", damaged.stderr);
}

#[test]
fn a_calibration_that_could_say_nothing_is_not_begun() {
    let home = Home::new();
    for (option, value, words) in [
        ("--rounds", "2", "--rounds: expected at least 5"),
        ("--blocks", "6", "--blocks: expected a multiple of 4, got 6"),
        ("--false-alarms", "0.9", "--false-alarms: expected a share above 0 and below 0.5"),
    ] {
        let ended = home.run(["calibrate", "adult_mlp", "f32", "--models", &models(), option, value]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}
