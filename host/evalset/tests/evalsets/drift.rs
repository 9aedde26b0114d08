//! Snapshots and what differs from them.

use crate::material::{Case, MODELS, random};
use boardproof_evalset::{Finding, Severity, Snapshot, diff};

fn snapshot(case: &mut Case) -> Snapshot {
    let seen = case.survey();
    Snapshot::of(&case.manifest.model, &seen)
}

/// Samples of an evalset that a test keeps.
fn part(model: &str, keep: impl Fn(usize) -> bool) -> Case {
    let mut case = Case::of(model);
    let samples = case.inputs().shape[0];
    let kept: Vec<usize> = (0..samples).filter(|sample| keep(*sample)).collect();
    for tensor in case.tensors.values_mut() {
        let row = tensor.row_bytes();
        tensor.bytes = kept.iter().flat_map(|i| tensor.bytes[i * row..(i + 1) * row].to_vec()).collect();
        tensor.shape[0] = kept.len();
    }
    case.manifest.model.evalset.samples = kept.len() as u64;
    case
}

fn warnings(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity >= Severity::Warning).collect()
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    for model in MODELS {
        let before = snapshot(&mut Case::of(model));
        let text = before.to_json();
        assert!(text.len() < 400_000, "{model}: {}", text.len());
        assert_eq!(Snapshot::from_json(&text).unwrap(), before);
    }
    assert!(Snapshot::from_json("{\"version\": 2}").unwrap_err().to_string().contains("version 2"));
    assert!(Snapshot::from_json("[]").is_err());
}

#[test]
fn halves_of_one_evalset_do_not_differ() {
    for model in MODELS {
        for seed in 0..4 {
            let chosen = |sample: usize| random(sample + seed * 100_000) < 0.5;
            let (mut one, mut other) = (part(model, chosen), part(model, |sample| !chosen(sample)));
            let found = diff(&snapshot(&mut one), &snapshot(&mut other));
            assert!(warnings(&found).is_empty(), "{model} {seed}: {:?}", warnings(&found));
        }
    }
}

#[test]
fn a_shifted_column_and_another_mix_of_labels_are_named() {
    let before = snapshot(&mut Case::of("adult_mlp"));
    let mut older = Case::of("adult_mlp");
    older.inputs().each(|i, v| if i % 62 == 0 { v + 1.0 } else { v });
    let found = diff(&before, &snapshot(&mut older));
    let named: Vec<&str> = warnings(&found).iter().map(|f| f.subject.as_str()).collect();
    assert_eq!(named, ["age"]);

    let labels: Vec<i64> = Case::of("mnist_dscnn").survey().labels.unwrap();
    let before = snapshot(&mut Case::of("mnist_dscnn"));
    let mut few_ones = part("mnist_dscnn", |sample| labels[sample] != 1 || sample % 8 == 0);
    let found = diff(&before, &snapshot(&mut few_ones));
    assert!(found.iter().any(|f| f.subject == "labels" && f.message.contains("most in '1'")), "{found:?}");
}
