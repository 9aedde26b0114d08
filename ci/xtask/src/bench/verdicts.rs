//! Every variant of every model against the verdict that its `verdicts.json` names. Writes `docs/verdicts.md`.
//!
//! `verdicts.json` was measured with onnxruntime on a desktop. What the engine at hand does differently is a truth about that engine, and
//! is shown as such: it cannot run an operator, is slow where the other is fast, or its optimizer changes the answers. A good variant
//! stopped for any other reason, and a bad one let through or stopped without its reason, is wrong.

use crate::programs::{build_agents, build_tool, fresh_folder, tool};
use crate::runs::{Judged, Run};
use crate::step::step;
use anyhow::{Context, Result, bail};
use boardproof_record::verdict::Verdict;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;

/// The models of the pack.
pub const MODELS: [&str; 5] = ["adult_mlp", "mnist_dscnn", "shuttle_ae", "vowels_dscnn", "vowels_former"];

#[derive(Debug, Deserialize)]
struct Expectations {
    variants: BTreeMap<String, Expectation>,
}

#[derive(Debug, Clone, Deserialize)]
struct Expectation {
    expect: String,
    must_trip: Vec<String>,
}

/// What a cell's verdict is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// As `verdicts.json` says.
    Right,
    /// Not counted there either: too close to a limit.
    Either,
    /// True of this engine, and not of the one that `verdicts.json` was measured with.
    Engine,
    /// Neither pass nor fail.
    Open,
    /// boardproof is wrong, or its policy is.
    Wrong,
}

impl Worth {
    fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Either => "either",
            Self::Engine => "the engine's own",
            Self::Open => "open",
            Self::Wrong => "**wrong**",
        }
    }
}

/// Checks all variants of these models on these targets.
pub fn verdicts(root: &Path, models: &[String], targets: &[String]) -> Result<()> {
    build_tool()?;
    build_agents(root, targets)?;
    let whole = models.len() == MODELS.len();
    let mut table = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, model) in models.iter().enumerate() {
        let expected = expectations(root, model)?;
        for target in targets {
            let run = step(&format!("{model} on {target}"), || check(root, model, target))?;
            for judged in run.judged()? {
                let worth = add_row(&mut table, &expected, &judged)?;
                *counts.entry(worth.word()).or_default() += 1;
            }
        }
        if whole {
            // After each model: on a slow target the whole takes long, and what is known by then is kept.
            write_page(root, &table, &counts, targets, &models[at + 1..])?;
        }
    }
    println!("{COLUMNS}{table}\n{}", in_words(&counts));
    let bad = [Worth::Wrong, Worth::Open].iter().filter_map(|worth| counts.get(worth.word())).sum::<usize>();
    if bad == 0 { Ok(()) } else { bail!("{bad} verdicts are wrong or open") }
}

fn in_words(counts: &BTreeMap<&str, usize>) -> String {
    let parts: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    parts.join(", ")
}

fn write_page(
    root: &Path,
    table: &str,
    counts: &BTreeMap<&str, usize>,
    targets: &[String],
    missing: &[String],
) -> Result<()> {
    let left = match missing {
        [] => String::new(),
        _ => format!(" Not run yet: {}.", missing.join(", ")),
    };
    let text = format!("{HEAD}\n{}, on {}.{left}\n\n{COLUMNS}{table}", in_words(counts), targets.join(" and "));
    std::fs::write(root.join("docs/verdicts.md"), text).context("could not write docs/verdicts.md")
}

const HEAD: &str = "# Verdicts\n\nEvery variant in `models/`, judged by the default policy; made by `cargo xtask bench verdicts`. *right*: as \
`verdicts.json` says, with every reason it names. *either*: too close to a limit to count. *the engine's own*: true of this engine and not of \
onnxruntime, which `verdicts.json` was measured with: an operator that it lacks or gets wrong, or a variant that it runs so much slower than its own \
float model that the policy stops it, as it should.\n";
const COLUMNS: &str =
    "| model | variant | target | expected | verdict | worth | why |\n|---|---|---|---|---|---|---|\n";

fn expectations(root: &Path, model: &str) -> Result<Expectations> {
    let path = root.join("models").join(model).join("verdicts.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("could not read {}", path.display()))
}

fn check(root: &Path, model: &str, target: &str) -> Result<Run> {
    let out = fresh_folder(root, &format!("verdicts/{model}-{target}"))?;
    let mut command = tool(root, &["check", model, "--variant", "all", "--target", target, "--quiet", "--out"]);
    command.arg(&out).stdin(Stdio::null()).stdout(Stdio::null());
    // Its exit code is the worst of all variants, which says nothing here.
    command.status().context("could not start boardproof")?;
    Run::read(&out)
}

fn add_row(table: &mut String, expected: &Expectations, judged: &Judged<'_>) -> Result<Worth> {
    let (model, variant, target) = (&judged.cell.model, judged.cell.variant.as_str(), judged.cell.target.as_str());
    let expectation =
        expected.variants.get(variant).with_context(|| format!("verdicts.json has no {model}/{variant}"))?;
    let kinds: Vec<_> = judged.failed_metrics().into_iter().map(kind).collect();
    let worth = worth(expectation, judged.answer.verdict, &kinds, judged.cannot_run().is_some());
    let wanted = match expectation.must_trip.is_empty() {
        true => expectation.expect.clone(),
        false => format!("{} ({})", expectation.expect, expectation.must_trip.join(", ")),
    };
    let verdict = format!("{:?}", judged.answer.verdict).to_lowercase();
    let why = judged.answer.reason.replace('|', "\\|").replace('\n', " ");
    writeln!(table, "| {model} | {variant} | {target} | {wanted} | {verdict} | {} | {why} |", worth.word())?;
    Ok(worth)
}

/// The engine's optimizer changes the answers: whatever else fails follows from that.
const SELF_CHECK: &str = "self-check";

/// The kind of rule that `verdicts.json` calls by one word.
fn kind(metric: &str) -> &str {
    match metric.split('.').next().unwrap_or(metric) {
        "task" => "task",
        "slice" => "slice",
        head if head.starts_with("latency") => "latency",
        "sqnr_db" => "drift",
        _ => metric,
    }
}

fn worth(expectation: &Expectation, verdict: Verdict, kinds: &[&str], cannot_run: bool) -> Worth {
    match (expectation.expect.as_str(), verdict) {
        (_, Verdict::Incomplete) => Worth::Open,
        ("either", _) => Worth::Either,
        (_, Verdict::Inconclusive) => Worth::Open,
        ("pass", Verdict::Pass) => Worth::Right,
        ("pass", Verdict::Fail) if cannot_run || kinds.contains(&SELF_CHECK) => Worth::Engine,
        (_, Verdict::Fail) if cannot_run => Worth::Engine,
        ("pass", Verdict::Fail) if !kinds.is_empty() && kinds.iter().all(|kind| *kind == "latency") => Worth::Engine,
        ("fail", Verdict::Fail) if expectation.must_trip.iter().all(|must| kinds.contains(&must.as_str())) => {
            Worth::Right
        }
        _ => Worth::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expect: &str, must: &[&str], verdict: Verdict, kinds: &[&str], cannot_run: bool, expected: Worth) {
        let must_trip = must.iter().map(|&kind| kind.to_owned()).collect();
        let expectation = Expectation { expect: expect.to_owned(), must_trip };
        assert_eq!(worth(&expectation, verdict, kinds, cannot_run), expected);
    }

    #[test]
    fn a_bad_variant_that_passes_is_wrong_whatever_its_reason() {
        check("fail", &["drift"], Verdict::Pass, &[], false, Worth::Wrong);
        check("fail", &["drift"], Verdict::Fail, &["latency"], false, Worth::Wrong);
        check("fail", &["drift", "task"], Verdict::Fail, &["drift"], false, Worth::Wrong);
        check("fail", &["drift"], Verdict::Fail, &["latency", "drift"], false, Worth::Right);
    }

    #[test]
    fn a_good_variant_may_be_stopped_only_by_what_the_engine_is() {
        check("pass", &[], Verdict::Pass, &[], false, Worth::Right);
        check("pass", &[], Verdict::Fail, &["latency"], false, Worth::Engine);
        check("pass", &[], Verdict::Fail, &[], true, Worth::Engine);
        check("pass", &[], Verdict::Fail, &[], false, Worth::Wrong);
        check("pass", &[], Verdict::Fail, &["self-check", "task"], false, Worth::Engine);
        check("pass", &[], Verdict::Fail, &["latency", "task"], false, Worth::Wrong);
        check("fail", &["drift"], Verdict::Fail, &["self-check"], false, Worth::Wrong);
    }

    #[test]
    fn what_was_not_measured_is_open_even_where_either_is_right() {
        check("either", &[], Verdict::Fail, &["latency"], false, Worth::Either);
        check("either", &[], Verdict::Incomplete, &[], false, Worth::Open);
        check("pass", &[], Verdict::Inconclusive, &[], false, Worth::Open);
    }

    #[test]
    fn metrics_have_one_kind_each() {
        let kinds = ["task.drop", "slice.drop", "sqnr_db", "latency_ratio_p50", "nonfinite_mismatch"].map(kind);
        assert_eq!(kinds, ["task", "slice", "drift", "latency", "nonfinite_mismatch"]);
    }

    #[test]
    fn every_model_of_the_pack_has_expectations_for_its_variants() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for model in MODELS {
            assert!(expectations(root, model).unwrap().variants.contains_key("f32"), "{model}");
        }
    }
}
