//! Every variant of every model against the cause that it was made with. Writes `docs/causes.md`.
//!
//! What was done to a variant is known from its recipe; `boardproof explain` sees files and answers only. A good variant may be called
//! quantization at most, unless the engine itself changes its answers or cannot run it.

use crate::bench::verdicts::MODELS;
use crate::programs::{build_agents, build_tool, fresh_folder, tool};
use crate::step::step;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// As much of an explanation as is looked at.
#[derive(Debug, Deserialize)]
struct Explanation {
    subject: String,
    sites: Vec<Site>,
    causes: Vec<Cause>,
    notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Site {
    answers: Option<Seen>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    sqnr_db: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    label: String,
    evidence: String,
}

/// What a label is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// What was done to the variant, or nothing where nothing was.
    Right,
    /// The engine's own: it changes the answers or cannot run the model.
    Engine,
    /// Not what was done.
    Wrong,
}

impl Worth {
    fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Engine => "the engine's own",
            Self::Wrong => "**wrong**",
        }
    }
}

/// Explains all variants of these models on this machine.
pub fn causes(root: &Path, models: &[String]) -> Result<()> {
    build_tool()?;
    build_agents(root, &["host".into()])?;
    let mut table = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for model in models {
        for explanation in step(model, || explained(root, model))? {
            let worth = add_row(&mut table, &explanation)?;
            *counts.entry(worth.word()).or_default() += 1;
        }
    }
    let counted: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    println!("{COLUMNS}{table}\n{}", counted.join(", "));
    if models.len() == MODELS.len() {
        let text = format!("{HEAD}\n{}.\n\n{COLUMNS}{table}", counted.join(", "));
        std::fs::write(root.join("docs/causes.md"), text).context("could not write docs/causes.md")?;
    }
    match counts.get(Worth::Wrong.word()) {
        None => Ok(()),
        Some(wrong) => bail!("{wrong} causes are wrong"),
    }
}

const HEAD: &str = "# Causes\n\nEvery variant in `models/`, explained on this machine; made by `cargo xtask bench causes`. *right*: the first cause \
that is not the engine's own is what the variant was made with, or a good variant is called quantization at most. *the engine's own*: the engine changes the answers of a \
good variant, or cannot run it.\n";
const COLUMNS: &str = "| variant | made with | found | SQNR dB | worth | evidence |\n|---|---|---|---|---|---|\n";

fn explained(root: &Path, model: &str) -> Result<Vec<Explanation>> {
    let out = fresh_folder(root, &format!("causes/{model}"))?;
    let mut command = tool(root, &["explain", model, "--variant", "all", "--json", "--quiet", "--out"]);
    command.arg(&out);
    // Variants that the engine cannot run make it incomplete, and are told as such.
    let answer = command.output().context("could not start boardproof")?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let said = || format!("boardproof explain {model}: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_str(&text).with_context(said)
}

/// The cause that a variant was made with, by its recipe; `None` for a form of the reference.
fn made_with(model: &str, variant: &str) -> Option<&'static str> {
    Some(match (model, variant) {
        (_, "bad_calib_3" | "bad_calib_clip") => "saturation",
        (_, "bad_corrupt") => "corrupted_weights",
        (_, "bad_labels") => "outputs_exchanged",
        (_, "bad_preproc") => "preprocessing_mismatch",
        (_, "bad_slice") | ("mnist_dscnn", "heavy") => "other_model",
        _ => return None,
    })
}

fn add_row(table: &mut String, explanation: &Explanation) -> Result<Worth> {
    let (model, variant) = explanation.subject.split_once('/').context("an explanation has no subject")?;
    let made = made_with(model, variant);
    let labels: Vec<&str> = explanation.causes.iter().map(|cause| cause.label.as_str()).collect();
    let answers = explanation.sites.iter().find_map(|site| site.answers.as_ref());
    let worth = worth(made, &labels, answers.is_some());
    let noise = match answers {
        None => "not run".to_owned(),
        Some(Seen { sqnr_db: None }) => "exact".to_owned(),
        Some(Seen { sqnr_db: Some(db) }) => format!("{db:.1}"),
    };
    let evidence = match (explanation.causes.first(), answers) {
        (Some(cause), _) => &cause.evidence,
        (None, None) => explanation.notes.first().map_or("", String::as_str),
        (None, Some(_)) => "",
    };
    let (found, made) = (if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }, made.unwrap_or("-"));
    let evidence = evidence.replace('|', "\\|").replace('\n', " ");
    writeln!(table, "| {} | {made} | {found} | {noise} | {} | {evidence} |", explanation.subject, worth.word())?;
    Ok(worth)
}

/// An engine that changes the answers does so to bad variants, too: what it does is its own.
fn worth(made: Option<&str>, labels: &[&str], ran: bool) -> Worth {
    let others: Vec<&str> = labels.iter().copied().filter(|label| *label != "kernel_error").collect();
    let benign = others.iter().all(|label| ["quantization", "kernel_rounding"].contains(label));
    match made {
        Some(made) if others.first() == Some(&made) => Worth::Right,
        None if benign && others.len() == labels.len() && ran => Worth::Right,
        None if benign => Worth::Engine,
        _ => Worth::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_must_be_the_one_that_was_put_in() {
        assert_eq!(worth(Some("saturation"), &["saturation", "kernel_error"], true), Worth::Right);
        assert_eq!(worth(Some("saturation"), &["kernel_error", "saturation"], true), Worth::Right);
        assert_eq!(worth(Some("saturation"), &["quantization", "saturation"], true), Worth::Wrong);
        assert_eq!(worth(Some("saturation"), &["kernel_error"], true), Worth::Wrong);
        assert_eq!(worth(Some("saturation"), &[], true), Worth::Wrong);
    }

    #[test]
    fn a_good_variant_is_quantization_at_most() {
        assert_eq!(worth(None, &[], true), Worth::Right);
        assert_eq!(worth(None, &["quantization"], true), Worth::Right);
        assert_eq!(worth(None, &[], false), Worth::Engine);
        assert_eq!(worth(None, &["kernel_error"], true), Worth::Engine);
        assert_eq!(worth(None, &["saturation"], true), Worth::Wrong);
        assert_eq!(worth(None, &["unexplained"], true), Worth::Wrong);
    }
}
