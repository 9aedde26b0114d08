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
    const ALL: [Self; 5] = [Self::Right, Self::Either, Self::Engine, Self::Open, Self::Wrong];

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

/// One row of the page.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    model: String,
    variant: String,
    target: String,
    worth: Worth,
    /// The whole line.
    text: String,
}

impl Row {
    fn new(expected: &Expectations, judged: &Judged<'_>, again: bool) -> Result<Self> {
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
        let why = if again { format!("{AGAIN}{why}") } else { why };
        let text = format!("| {model} | {variant} | {target} | {wanted} | {verdict} | {} | {why} |", worth.word());
        Ok(Self { model: model.to_string(), variant: variant.into(), target: target.into(), worth, text })
    }

    /// Reads a line of the page; `None` where it is no row.
    fn read(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let mut cell = || cells.next().map(str::to_owned);
        let (model, variant, target, _, _, word) = (cell()?, cell()?, cell()?, cell()?, cell()?, cell()?);
        let worth = Worth::ALL.into_iter().find(|worth| worth.word() == word)?;
        Some(Self { model, variant, target, worth, text: line.to_owned() })
    }
}

/// Stands before the reason of a row that was open at first.
const AGAIN: &str = "measured again: ";

/// Checks all variants of these models on these targets; with `open` only those that the page calls open or does not have. What is open
/// then is measured once more: undecided is what asks for it.
pub fn verdicts(root: &Path, models: &[String], targets: &[String], open: bool) -> Result<()> {
    build_tool()?;
    build_agents(root, targets)?;
    let wanted = |row: &Row| models.contains(&row.model) && targets.contains(&row.target);
    let (mut rows, whole) = if open { (read_page(root)?, true) } else { (Vec::new(), models.len() == MODELS.len()) };
    for (at, model) in models.iter().enumerate() {
        let expected = expectations(root, model)?;
        for target in targets {
            if !open {
                let run = step(&format!("{model} on {target}"), || check(root, model, target, &["all".to_owned()]))?;
                run.judged()?.iter().try_for_each(|judged| {
                    rows.push(Row::new(&expected, judged, false)?);
                    anyhow::Ok(())
                })?;
            }
            measure_again(root, &expected, &mut rows, model, target)?;
        }
        if whole {
            // After each model: on a slow target the whole takes long, and what is known by then is kept.
            let missing = if open { &[] } else { &models[at + 1..] };
            write_page(root, &rows, missing)?;
        }
    }
    let own: Vec<Row> = rows.into_iter().filter(wanted).collect();
    println!("{COLUMNS}{}\n{}", lines(&own), in_words(&own));
    let bad = own.iter().filter(|row| matches!(row.worth, Worth::Wrong | Worth::Open)).count();
    if bad == 0 { Ok(()) } else { bail!("{bad} verdicts are wrong or open") }
}

/// Measures the open rows of a model on a target once more, and puts what comes of it in their place. A variant that has no row yet gets one.
fn measure_again(root: &Path, expected: &Expectations, rows: &mut Vec<Row>, model: &str, target: &str) -> Result<()> {
    let here = |row: &Row| row.model == model && row.target == target;
    let is_open = |variant: &str, rows: &[Row]| {
        let row = rows.iter().find(|row| here(row) && row.variant == variant);
        row.is_none_or(|row| row.worth == Worth::Open)
    };
    let variants: Vec<String> = expected.variants.keys().filter(|variant| is_open(variant, rows)).cloned().collect();
    if variants.is_empty() {
        return Ok(());
    }
    let what = format!("{model} on {target} again: {}", variants.join(", "));
    let run = step(&what, || check(root, model, target, &variants))?;
    for judged in run.judged()? {
        let known = rows.iter().position(|row| here(row) && row.variant == judged.cell.variant.as_str());
        let new = Row::new(expected, &judged, known.is_some())?;
        match known {
            Some(at) => rows[at] = new,
            None => {
                let behind = rows.iter().rposition(here).map_or(rows.len(), |last| last + 1);
                rows.insert(behind, new);
            }
        }
    }
    Ok(())
}

fn read_page(root: &Path) -> Result<Vec<Row>> {
    let path = root.join(PAGE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let rows: Vec<Row> = text.lines().filter_map(Row::read).collect();
    if rows.is_empty() { bail!("{PAGE} has no rows; run without --open") } else { Ok(rows) }
}

fn lines(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}\n", row.text)).collect()
}

fn in_words(rows: &[Row]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.worth.word()).or_default() += 1;
    }
    let parts: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    parts.join(", ")
}

const PAGE: &str = "docs/verdicts.md";

fn write_page(root: &Path, rows: &[Row], missing: &[String]) -> Result<()> {
    let left = match missing {
        [] => String::new(),
        _ => format!(" Not run yet: {}.", missing.join(", ")),
    };
    let mut targets: Vec<&str> = rows.iter().map(|row| row.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let text = format!("{HEAD}\n{}, on {}.{left}\n\n{COLUMNS}{}", in_words(rows), targets.join(" and "), lines(rows));
    std::fs::write(root.join(PAGE), text).context("could not write docs/verdicts.md")
}

const HEAD: &str = "# Verdicts\n\nEvery variant in `models/`, judged by the default policy; made by `cargo xtask bench verdicts`. *right*: as \
`verdicts.json` says, with every reason it names. *either*: too close to a limit to count. *the engine's own*: true of this engine and not of \
onnxruntime, which `verdicts.json` was measured with: an operator that it lacks or gets wrong, or a variant that it runs so much slower than its own \
float model that the policy stops it, as it should. What was open is measured once more, and its row says so.\n";
const COLUMNS: &str =
    "| model | variant | target | expected | verdict | worth | why |\n|---|---|---|---|---|---|---|\n";

fn expectations(root: &Path, model: &str) -> Result<Expectations> {
    let path = root.join("models").join(model).join("verdicts.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("could not read {}", path.display()))
}

fn check(root: &Path, model: &str, target: &str, variants: &[String]) -> Result<Run> {
    let out = fresh_folder(root, &format!("verdicts/{model}-{target}"))?;
    let mut command = tool(root, &["check", model, "--target", target, "--quiet", "--out"]);
    command.arg(&out).stdin(Stdio::null()).stdout(Stdio::null());
    for variant in variants {
        command.args(["--variant", variant]);
    }
    // Its exit code is the worst of all variants, which says nothing here.
    command.status().context("could not start boardproof")?;
    Run::read(&out)
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
    fn rows_are_read_as_they_were_written() {
        let row = |worth: Worth| {
            let (model, variant, target) = ("m".to_owned(), "v".to_owned(), "t".to_owned());
            let text = format!("| m | v | t | fail (drift, task) | fail | {} | SQNR 1 dB \\| and more |", worth.word());
            Row { model, variant, target, worth, text }
        };
        for worth in Worth::ALL {
            assert_eq!(Row::read(&row(worth).text), Some(row(worth)));
        }
        assert_eq!(COLUMNS.lines().find_map(Row::read), None, "the head of the table is no row");
        assert_eq!(Row::read("14 either, 8 open, on host."), None);
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
