//! `data check`, `data snapshot`, `data diff`, and the look at an evalset before a check. The looking is `boardproof-evalset`'s; this opens
//! the files and prints.

use crate::args::{DataCheckArgs, DataDiffArgs, DataFormat, DataSnapshotArgs, Places};
use crate::exit::Exit;
use crate::out::{put, put_line};
use crate::project::World;
use anyhow::{Context, Result};
use boardproof_evalset::expectations::{self, Outcome, Suite, Table, ask, validation};
use boardproof_evalset::{Accepted, Against, Checked, EvalsetFile, Finding, Kind, Severity, Snapshot, Survey, survey};
use boardproof_plan::{Manifest, Plan, PlanError};
use boardproof_record::{Digest, ModelName};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// An evalset on which no verdict means anything.
#[derive(Debug, thiserror::Error)]
#[error("evalset {file} of '{model}' cannot be judged on: {}", errors.join("; "))]
pub struct Unfit {
    model: ModelName,
    file: String,
    errors: Vec<String>,
}

impl Unfit {
    /// What to do about it.
    pub fn hint(&self) -> String {
        format!(
            "`boardproof data check {}` shows all that was found; what is so by nature is accepted in model.toml, under \
             [evalset.accepts] with its reason",
            self.model
        )
    }
}

/// Looks at an evalset and prints what it found.
pub fn check(args: &DataCheckArgs) -> Result<Exit> {
    let manifest = World::read_model(&args.places, &args.model)?;
    let snapshot = args.against.as_deref().map(read_snapshot).transpose()?;
    let suite = args.suite.as_deref().map(read_suite).transpose()?.or(suite_of(&manifest)?);
    let Looked { checked, outcomes } = look(&manifest, snapshot.as_ref(), suite.as_ref())?;
    let format = if args.json { DataFormat::Json } else { args.format };
    match format {
        DataFormat::Text => put(&checked),
        DataFormat::Json => put_line(serde_json::to_string_pretty(&checked)?),
        DataFormat::Gx => {
            let asked = suite.as_ref().map(|suite| (suite, outcomes.as_slice()));
            put_line(serde_json::to_string_pretty(&validation(&checked, asked))?);
        }
    }
    let fails = checked.errors > 0 || (args.strict && checked.warnings > 0);
    Ok(if fails { Exit::Fail } else { Exit::Pass })
}

/// Keeps an evalset's distributions.
pub fn snapshot(args: &DataSnapshotArgs) -> Result<Exit> {
    let manifest = World::read_model(&args.places, &args.model)?;
    let text = of_model(&manifest)?.to_json();
    match &args.output {
        Some(file) => std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))?,
        None => put(text),
    }
    Ok(Exit::Pass)
}

/// Shows how two evalsets differ; does not judge.
pub fn diff(args: &DataDiffArgs) -> Result<Exit> {
    let before = model_or_file(&args.places, &args.before)?;
    let after = model_or_file(&args.places, &args.after)?;
    let mut findings = boardproof_evalset::diff(&before, &after);
    Accepted::default().apply(&mut findings);
    let checked = Checked::new(after.model.clone(), after.evalset, after.samples, findings);
    if args.json {
        put_line(serde_json::to_string_pretty(&checked)?);
    } else if before.evalset == after.evalset {
        put_line(format_args!("the same evalset: {}", after.evalset));
    } else {
        put(&checked);
    }
    Ok(Exit::Pass)
}

/// Looks at the evalsets of a plan before anything is built: warnings are told, an error stops the run.
pub fn before_check(manifests: &BTreeMap<ModelName, Manifest>, plan: &Plan, quiet: bool) -> Result<()> {
    for model in plan.models.keys() {
        let Some(manifest) = manifests.get(model) else { continue };
        let checked = look(manifest, None, suite_of(manifest)?.as_ref())?.checked;
        let of = |severity| checked.findings.iter().filter(move |finding| finding.severity == severity);
        let line = |finding: &Finding| format!("{}: {finding}", finding.kind);
        let errors: Vec<String> = of(Severity::Error).map(line).collect();
        if !errors.is_empty() {
            return Err(Unfit { model: model.clone(), file: manifest.model.evalset.file.clone(), errors }.into());
        }
        for finding in of(Severity::Warning).filter(|_| !quiet) {
            eprintln!("warning: evalset of {model}: {}", line(finding));
        }
    }
    Ok(())
}

/// What was found, and what a suite's expectations came to.
struct Looked {
    checked: Checked,
    outcomes: Vec<Outcome>,
}

fn look(manifest: &Manifest, snapshot: Option<&Snapshot>, suite: Option<&Suite>) -> Result<Looked> {
    let model = &manifest.model;
    let accepted = Accepted::new(&manifest.accepts).map_err(|why| wrong_accepts(manifest, &why))?;
    let (calibration, absent) = calibration(manifest)?;
    let seen = read(manifest, &model.evalset.file, calibration.as_ref().map(|(seen, _)| seen))?;
    let calibration = calibration.as_ref().map(|(seen, digest)| (seen, *digest));
    let outcomes = suite.map(|suite| ask_suite(manifest, suite)).transpose()?.unwrap_or_default();
    let mut findings = boardproof_evalset::check(model, &seen, Against { calibration, snapshot });
    findings.extend(absent);
    findings.extend(expectations::findings(&outcomes));
    accepted.apply(&mut findings);
    Ok(Looked { checked: Checked::new(model.name.clone(), seen.digest, seen.samples, findings), outcomes })
}

type Calibration = (Option<(Survey, Digest)>, Option<Finding>);

/// The calibration data, where model.toml names some. A run does not need them: that they are not here is told and stops nothing.
fn calibration(manifest: &Manifest) -> Result<Calibration> {
    let Some(calibration) = &manifest.calibration else { return Ok((None, None)) };
    if !Path::new(&calibration.file).exists() {
        let message = format!("{} is not here: ranges are not compared with the calibration data's", calibration.file);
        return Ok((None, Some(Finding::new(Severity::Note, Kind::Calibration, "", message))));
    }
    let seen = read(manifest, &calibration.file, None).context("could not look at the calibration data")?;
    Ok((Some((seen, calibration.digest)), None))
}

fn ask_suite(manifest: &Manifest, suite: &Suite) -> Result<Vec<Outcome>> {
    let (model, name) = (&manifest.model, &manifest.model.evalset.file);
    let opened = File::open(name).map_err(|source| PlanError::Unreadable { file: name.clone(), source })?;
    let mut file = EvalsetFile::open(opened).with_context(|| format!("could not read {name} as an evalset"))?;
    let mut table = Table::of(model, &model.evalset.columns, &file);
    ask(suite, &mut table, &mut file).with_context(|| format!("could not ask the suite '{}' of {name}", suite.name))
}

fn wrong_accepts(manifest: &Manifest, why: &str) -> PlanError {
    let (expected, found) = why.split_once(", got ").unwrap_or((why, "something else"));
    PlanError::Value {
        file: format!("model.toml of '{}'", manifest.model.name),
        what: "evalset.accepts".into(),
        expected: expected.trim_start_matches("expected ").into(),
        found: found.into(),
    }
}

fn read(manifest: &Manifest, file: &str, before: Option<&Survey>) -> Result<Survey> {
    let opened = File::open(file).map_err(|source| PlanError::Unreadable { file: file.into(), source })?;
    let model = &manifest.model;
    let seen = EvalsetFile::open(opened).and_then(|mut open| survey(model, &mut open, &model.evalset.columns, before));
    seen.with_context(|| format!("could not read {file} as an evalset"))
}

fn of_model(manifest: &Manifest) -> Result<Snapshot> {
    Ok(Snapshot::of(&manifest.model, &read(manifest, &manifest.model.evalset.file, None)?))
}

fn model_or_file(places: &Places, named: &str) -> Result<Snapshot> {
    if Path::new(named).is_file() {
        read_snapshot(Path::new(named))
    } else {
        of_model(&World::read_model(places, named)?)
    }
}

fn suite_of(manifest: &Manifest) -> Result<Option<Suite>> {
    manifest.suite.as_ref().map(|file| read_suite(Path::new(file))).transpose()
}

fn read_suite(file: &Path) -> Result<Suite> {
    let unreadable = |source| PlanError::Unreadable { file: file.display().to_string(), source };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    Suite::from_json(&text).with_context(|| format!("could not read {}", file.display()))
}

fn read_snapshot(file: &Path) -> Result<Snapshot> {
    let unreadable = |source| PlanError::Unreadable { file: file.display().to_string(), source };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    Snapshot::from_json(&text).with_context(|| format!("could not read {}", file.display()))
}
