//! From a record to a verdict on the screen and on disk. The judging itself is `boardproof-judge`'s; this reads, writes and prints.

use crate::against::{Yardstick, same_evalsets};
use crate::args::{CheckArgs, Format, GateArgs, ReportArgs};
use crate::exit::Exit;
use crate::explain;
use crate::out::put;
use crate::project::read_policy;
use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate::{added_bytes, check_policy, confirmed, finest_memory, is_too_fine, judge, red_once};
use boardproof_judge::report::summary::{Summary, summarize};
use boardproof_judge::report::text::{Paint, render};
use boardproof_judge::report::{html, json, junit, markdown};
use boardproof_lab::calibration::{folder as calibrations, kept};
use boardproof_lab::reference::FROM_CACHE;
use boardproof_lab::store::{Opened, open};
use boardproof_plan::PlanError;
use boardproof_record::CellId;
use boardproof_record::calibration::Calibration;
use boardproof_record::observation::{Ended, Outcome};
use boardproof_record::plan::{Cell, Plan};
use boardproof_record::policy::{Policy, Rule};
use boardproof_record::verdict::{Judgement, Verdict};
use std::io::IsTerminal;
use std::path::Path;

/// Folder beside a record in which what was red is measured a second time.
pub const CONFIRMATION: &str = "confirmation";

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
    let baseline = baseline.as_ref().map(evidence);
    let mut judgement = judge(evidence(&opened), &policy, baseline)?;
    let again = record.join(CONFIRMATION);
    if again.is_dir() {
        let again = open(&again).context("could not open the second measurement beside the record")?;
        let second = judge(evidence(&again), &policy, baseline)?;
        judgement = confirmed((evidence(&opened), judgement), (evidence(&again), &second), &policy)?;
    }
    let summary = summarize(evidence(&opened), &judgement)?;
    Ok(Judged { judgement, summary, policy })
}

fn evidence(opened: &Opened) -> Evidence<'_> {
    Evidence { record: &opened.record, files: &opened.files }
}

/// What is wrong with policy or baseline must be said before an hour of measuring, not after it.
pub fn before_check(plan: &Plan, yardstick: Option<&Yardstick>) -> Result<()> {
    let baseline =
        yardstick.and_then(Yardstick::record).map(open).transpose().context("could not open the baseline")?;
    if let Some(baseline) = &baseline {
        same_evalsets(plan, &baseline.record.plan)?;
    }
    for unit in plan.units.keys() {
        if let Some(found) = kept(&calibrations(), unit)? {
            refuse_too_fine(plan, &found)?;
            refuse_finer_than_memory(plan, &found, baseline.as_ref().map(evidence))?;
        }
    }
    Ok(check_policy(plan, &plan.policy, yardstick.is_some())?)
}

/// A limit against a baseline that the unit's own noise breaks.
fn refuse_too_fine(plan: &Plan, found: &Calibration) -> Result<(), PlanError> {
    let on_unit = |rule: &&Rule| is_too_fine(rule, rule.limit, found) && asked_of(plan, rule, found).next().is_some();
    let Some(rule) = plan.policy.rules.iter().find(on_unit) else { return Ok(()) };
    let (unit, finest) = (&found.unit, found.latency_ratio);
    let expected = format!("{finest:.3} or more, the finest that unit '{unit}' supports by its calibration");
    Err(PlanError::value("policy", format!("limit of rule '{}'", rule.id), expected, rule.limit))
}

/// The same of what models add to their process: as much as the baseline says of each, or the calibration of its own model.
fn refuse_finer_than_memory(plan: &Plan, found: &Calibration, baseline: Option<Evidence<'_>>) -> Result<(), PlanError> {
    let Some(noise) = &found.memory else { return Ok(()) };
    let there = |cell: &Cell| match baseline {
        Some(baseline) => added_bytes(baseline, cell).ok(),
        None => (cell.id == found.cell).then_some(noise.added_bytes[0] as f64),
    };
    for rule in &plan.policy.rules {
        let finer =
            |cell: &Cell| finest_memory(rule, rule.limit, found, there(cell)?).map(|finest| (cell.id.clone(), finest));
        let Some((cell, finest)) = asked_of(plan, rule, found).find_map(finer) else { continue };
        let (unit, bytes) = (&found.unit, noise.bytes);
        let expected = format!(
            "{finest:.3} or more: unit '{unit}' lets equal runs of {cell} lie up to {bytes} bytes apart, by its calibration"
        );
        return Err(PlanError::value("policy", format!("limit of rule '{}'", rule.id), expected, rule.limit));
    }
    Ok(())
}

/// The cells of a calibrated unit that a rule judges.
fn asked_of<'p>(plan: &'p Plan, rule: &'p Rule, found: &'p Calibration) -> impl Iterator<Item = &'p Cell> {
    plan.cells.iter().filter(move |cell| {
        cell.judged
            && cell.unit == found.unit
            && (rule.targets.is_empty() || rule.targets.contains(&cell.target))
            && (rule.models.is_empty() || rule.models.contains(&cell.model))
    })
}

/// Is anything red in time or memory against the baseline, and nothing else?
pub fn is_red_once(folder: &Path, baseline: Option<&Path>) -> Result<bool> {
    // Without a baseline nothing can be red against it, and judging takes its time.
    if baseline.is_none() {
        return Ok(false);
    }
    let seen = judged(folder, None, baseline)?;
    Ok(!red_once(&seen.judgement, &seen.policy).is_empty())
}

/// Judges the record that a check has just written, prints the verdict and writes the reports beside it.
pub fn after_check(folder: &Path, baseline: Option<&Path>, args: &CheckArgs) -> Result<Exit> {
    let mut seen = judged(folder, None, baseline)?;
    if args.explain {
        let failed = seen.judgement.cells.iter().filter(|cell| cell.verdict == Verdict::Fail);
        let failed: Vec<CellId> = failed.map(|cell| cell.cell.clone()).collect();
        explain::after_check(folder, &failed, args);
        // No verdict depends on it.
        match explain::kept(folder) {
            Ok(explained) => seen.summary.explain(explained),
            Err(error) => eprintln!("warning: the report does not explain what fails: {error:#}"),
        }
    }
    write_reports(folder, &seen)?;
    if args.json {
        put(to_json(&seen.judgement)?);
    } else {
        put(render(&seen.summary, paint()));
    }
    if !args.quiet {
        eprintln!("record {}, report {}", folder.display(), folder.join("report.html").display());
        if let Some(baseline) = baseline {
            let (folder, baseline) = (folder.display(), baseline.display());
            eprintln!("to judge it again: boardproof gate {folder} --baseline {baseline}");
        }
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
    let mut seen = judged(&args.record, args.policy.as_deref(), args.baseline.as_deref())?;
    if args.format == Format::Html {
        seen.summary.explain(explain::kept(&args.record)?);
    }
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
