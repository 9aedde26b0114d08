//! From a record to a verdict on the screen and on disk. The judging itself is `boardproof-judge`'s; this reads, writes and prints.

use crate::args::{CheckArgs, Format, GateArgs, ReportArgs};
use crate::exit::Exit;
use crate::out::put;
use crate::project::read_policy;
use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate::{check_policy, judge};
use boardproof_judge::report::summary::{Summary, summarize};
use boardproof_judge::report::text::{Paint, render};
use boardproof_judge::report::{html, json, junit, markdown};
use boardproof_lab::reference::FROM_CACHE;
use boardproof_lab::store::{Opened, open};
use boardproof_record::observation::{Ended, Outcome};
use boardproof_record::plan::Plan;
use boardproof_record::policy::Policy;
use boardproof_record::verdict::Judgement;
use std::io::IsTerminal;
use std::path::Path;

/// A record that was opened and judged.
struct Judged {
    judgement: Judgement,
    summary: Summary,
    policy: Policy,
}

fn judged(record: &Path, policy: Option<&str>, baseline: Option<&Path>) -> Result<Judged> {
    let opened = open(record)?;
    let baseline = baseline.map(open).transpose().context("could not open the baseline")?;
    let policy = match policy {
        Some(asked) => read_policy(asked, Path::new(""))?,
        None => opened.record.plan.policy.clone(),
    };
    let judgement = judge(evidence(&opened), &policy, baseline.as_ref().map(evidence))?;
    let summary = summarize(evidence(&opened), &judgement)?;
    Ok(Judged { judgement, summary, policy })
}

fn evidence(opened: &Opened) -> Evidence<'_> {
    Evidence { record: &opened.record, files: &opened.files }
}

/// What is wrong with policy or baseline must be said before an hour of measuring, not after it.
pub fn before_check(plan: &Plan, args: &CheckArgs) -> Result<()> {
    let baseline = args.baseline.as_deref().map(open).transpose().context("could not open the baseline")?;
    Ok(check_policy(plan, &plan.policy, baseline.is_some())?)
}

/// Judges the record that a check has just written, prints the verdict and writes the reports beside it.
pub fn after_check(folder: &Path, args: &CheckArgs) -> Result<Exit> {
    let seen = judged(folder, None, args.baseline.as_deref())?;
    write_reports(folder, &seen)?;
    if args.json {
        put(to_json(&seen.judgement)?);
    } else {
        put(render(&seen.summary, paint()));
    }
    if !args.quiet {
        eprintln!("record {}, report {}", folder.display(), folder.join("report.html").display());
    }
    Ok(seen.judgement.verdict.into())
}

/// Judges the record of one check among several and writes the reports beside it; prints nothing.
pub fn after_attempt(folder: &Path) -> Result<(Judgement, Summary)> {
    let seen = judged(folder, None, None)?;
    write_reports(folder, &seen)?;
    Ok((seen.judgement, seen.summary))
}

fn write_reports(folder: &Path, seen: &Judged) -> Result<()> {
    write(folder, "judgement.json", &to_json(&seen.judgement)?)?;
    let reports = [("report.html", Format::Html), ("report.md", Format::Markdown), ("report.junit.xml", Format::Junit)];
    reports.into_iter().try_for_each(|(name, format)| write(folder, name, &rendered(seen, format)?))
}

/// Judges a record again.
pub fn gate(args: &GateArgs) -> Result<Exit> {
    let seen = judged(&args.record, args.policy.as_deref(), args.baseline.as_deref())?;
    if args.json {
        put(to_json(&seen.judgement)?);
    } else {
        put(render(&seen.summary, paint()));
    }
    Ok(seen.judgement.verdict.into())
}

/// Renders a record again. The exit code says whether that worked, not what the verdict is.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    let seen = judged(&args.record, args.policy.as_deref(), args.baseline.as_deref())?;
    let text = rendered(&seen, args.format)?;
    match &args.output {
        Some(file) => std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))?,
        None => put(text),
    }
    Ok(Exit::Pass)
}

fn rendered(seen: &Judged, format: Format) -> Result<String> {
    Ok(match format {
        Format::Text => render(&seen.summary, Paint::Plain),
        Format::Json => json::render(&seen.judgement, &seen.summary)?,
        Format::Junit => junit::render(&seen.summary, seen.policy.inconclusive_blocks),
        Format::Markdown => markdown::render(&seen.summary),
        Format::Html => html::render(&seen.summary),
    })
}

fn to_json(judgement: &Judgement) -> Result<String> {
    Ok(serde_json::to_string_pretty(judgement)? + "\n")
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    std::fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))
}

/// Colour on a terminal, unless the user said no (see no-color.org).
fn paint() -> Paint {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { Paint::Colour } else { Paint::Plain }
}

/// An outcome in a word or two, for the progress line.
pub fn in_a_word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NotRun => "not run".into(),
        Outcome::Measured(seen) if seen.attempts.iter().any(|a| a.action == FROM_CACHE) => FROM_CACHE.into(),
        Outcome::Measured(seen) => match seen.passes.iter().find(|p| p.ended != Ended::Completed) {
            None => "measured".into(),
            Some(pass) => format!("measured, but the {:?} pass ended as {:?}", pass.pass, pass.ended).to_lowercase(),
        },
        Outcome::BuildFailed(fault) => format!("not built: {}", fault.causes.join(": ")),
        Outcome::ShipFailed(fault) => format!("not shipped: {}", fault.causes.join(": ")),
        Outcome::DeviceFault(fault) => format!("device fault: {}", fault.causes.join(": ")),
        Outcome::TimedOut(fault) => format!("timed out: {}", fault.causes.join(": ")),
        Outcome::Skipped { reason } => format!("skipped: {reason}"),
    }
}
