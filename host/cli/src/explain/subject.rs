//! What is to be explained: variants of a model, or cells of a record.

use crate::args::{CheckArgs, ExplainArgs};
use crate::project::{World, read_policy};
use crate::run::{out_folder, read_world};
use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate;
use boardproof_lab::store::open;
use boardproof_plan::{Manifest, PlanError, Purpose, nearest, runner_engine};
use boardproof_record::plan::{Cell, HOST, MICRO, Model, RUNNER_ENGINES, Target, Unit};
use boardproof_record::policy::Policy;
use boardproof_record::verdict::Verdict;
use boardproof_record::{CellId, EngineName, TargetName, UnitName, VariantName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Budget where no rule names one: good int8 models keep 20 to 40 dB, damaged ones fall below 12.
const BUDGET_DB: f64 = 15.0;

/// One variant to explain.
pub struct Subject {
    /// The model.
    pub manifest: Manifest,
    /// The variant.
    pub variant: VariantName,
    /// Where to run it.
    pub places: Vec<String>,
    /// Engines to run it with; empty for the target's own.
    pub engines: Vec<EngineName>,
    /// Known targets.
    pub targets: BTreeMap<TargetName, Target>,
    /// Known units.
    pub units: BTreeMap<UnitName, Unit>,
    /// The policy in force.
    pub policy: Policy,
    /// Least ratio of the answers, in dB.
    pub budget_db: f64,
    /// Folder for what is measured.
    pub out: PathBuf,
}

impl Subject {
    /// Is one of the places a microcontroller with our engine?
    pub fn is_micro(&self) -> Result<bool, PlanError> {
        let located = |place: &String| boardproof_plan::locate(place, &self.targets, &self.units);
        let targets = self.places.iter().map(located).collect::<Result<Vec<_>, _>>()?;
        Ok(targets.iter().any(|(_, target)| target.engine.as_str() == MICRO))
    }
}

/// Everything that was asked for.
pub fn subjects(args: &ExplainArgs) -> Result<Vec<Subject>> {
    let record = Path::new(&args.subject);
    if record.join(boardproof_record::record::FILE).is_file() {
        return of_record(record, args);
    }
    anyhow::ensure!(args.cell.is_none(), "'{}' is no record: a cell of it cannot be named", args.subject);
    of_model(args)
}

fn of_model(args: &ExplainArgs) -> Result<Vec<Subject>> {
    let check = CheckArgs { model: vec![args.subject.clone()], ..super::check_args(args) };
    let (world, named) = read_world(&check)?;
    let names = named.alone.iter().chain(&named.in_folders);
    let mut subjects = Vec::new();
    let out = args.measuring.out.clone().unwrap_or_else(|| out_folder(&check, &world));
    for name in names {
        let found = world.manifests.values().find(|m| m.model.name.as_str() == name);
        let known = || nearest(name, world.manifests.keys().map(|known| known.as_str()));
        let manifest =
            found.ok_or_else(|| PlanError::Unknown { kind: "model", found: name.clone(), known: known() })?;
        for variant in variants(args, manifest)? {
            let out = out.join(format!("{name}-{variant}"));
            subjects.push(subject(args, &world, manifest, variant, out)?);
        }
    }
    // Alone it needs no folder of its own.
    if let [one] = subjects.as_mut_slice() {
        one.out = out;
    }
    Ok(subjects)
}

fn variants(args: &ExplainArgs, manifest: &Manifest) -> Result<Vec<VariantName>> {
    let all = &manifest.model.variants;
    if args.measuring.variant.is_empty() {
        let release = |name: &&VariantName| manifest.purposes.get(*name) == Some(&Purpose::Release);
        return Ok(all.keys().filter(release).cloned().collect());
    }
    if args.measuring.variant.iter().any(|name| name == "all") {
        return Ok(all.keys().cloned().collect());
    }
    let find = |name: &String| {
        let known = || nearest(name, all.keys().map(|known| known.as_str()));
        let found = all.keys().find(|known| known.as_str() == name).cloned();
        found.ok_or_else(|| PlanError::Unknown { kind: "variant", found: name.clone(), known: known() }.into())
    };
    args.measuring.variant.iter().map(find).collect()
}

fn subject(
    args: &ExplainArgs,
    world: &World,
    manifest: &Manifest,
    variant: VariantName,
    out: PathBuf,
) -> Result<Subject> {
    let measuring = &args.measuring;
    let place = measuring.target.clone().or_else(|| measuring.unit.clone());
    let policy = world.policy(measuring.policy.as_deref())?;
    let engines = measuring.engine.iter().map(|name| runner_engine(name)).collect::<Result<_, _>>()?;
    Ok(Subject {
        budget_db: measuring.budget.unwrap_or_else(|| budget(&policy, &manifest.model, None)),
        manifest: manifest.clone(),
        variant,
        places: vec![place.unwrap_or_else(|| HOST.into())],
        engines,
        targets: world.targets.clone(),
        units: world.units.clone(),
        policy,
        out,
    })
}

/// The cell that was named, or all that fail.
fn of_record(record: &Path, args: &ExplainArgs) -> Result<Vec<Subject>> {
    let opened = open(record)?;
    let plan = &opened.record.plan;
    let policy = match &args.measuring.policy {
        Some(asked) => read_policy(asked, Path::new(""))?,
        None => plan.policy.clone(),
    };
    let wanted: Vec<CellId> = match &args.cell {
        Some(name) => vec![named(name, &plan.cells)?],
        None => {
            let judgement = gate::judge(Evidence { record: &opened.record, files: &opened.files }, &policy, None)?;
            let failed = judgement.cells.into_iter().filter(|cell| cell.verdict == Verdict::Fail);
            failed.map(|cell| cell.cell).collect()
        }
    };
    anyhow::ensure!(!wanted.is_empty(), "no cell of {} fails: name the one to explain", record.display());
    let check = super::check_args(args);
    let base =
        args.measuring.out.clone().map_or_else(|| World::read_lab(&args.places).map(|w| out_folder(&check, &w)), Ok)?;
    let cells = plan.cells.iter().filter(|cell| wanted.contains(&cell.id));
    let made = cells.map(|cell| Subject {
        budget_db: args
            .measuring
            .budget
            .unwrap_or_else(|| budget(&policy, &plan.models[&cell.model], Some(&cell.target))),
        manifest: Manifest {
            model: plan.models[&cell.model].clone(),
            purposes: BTreeMap::new(),
            recipe: None,
            calibration: None,
            accepts: BTreeMap::new(),
            suite: None,
        },
        variant: cell.variant.clone(),
        places: vec![cell.unit.to_string()],
        engines: Some(cell.engine.clone()).filter(|e| RUNNER_ENGINES.contains(&e.as_str())).into_iter().collect(),
        targets: plan.targets.clone(),
        units: plan
            .units
            .iter()
            .filter(|(name, unit)| name.as_str() != unit.target.as_str())
            .map(|(n, u)| (n.clone(), u.clone()))
            .collect(),
        policy: policy.clone(),
        out: if wanted.len() == 1 { base.clone() } else { base.join(cell.id.folder()) },
    });
    Ok(made.collect())
}

fn named(name: &str, cells: &[Cell]) -> Result<CellId> {
    let found = cells.iter().find(|cell| cell.id.as_str() == name).map(|cell| cell.id.clone());
    let known = || nearest(name, cells.iter().map(|cell| cell.id.as_str()));
    found
        .ok_or_else(|| PlanError::Unknown { kind: "cell", found: name.into(), known: known() })
        .context("could not find the cell")
}

/// The limit of the policy's rule for the ratio, or the model's own.
fn budget(policy: &Policy, model: &Model, target: Option<&TargetName>) -> f64 {
    let fits = |of: &Option<TargetName>| of.is_none() || of.as_ref() == target;
    let own = model.tolerances.iter().find(|t| t.metric == "sqnr_db" && fits(&t.target)).map(|t| t.limit);
    let rule = policy.rules.iter().find(|rule| rule.metric == "sqnr_db").map(|rule| rule.limit);
    own.or(rule).unwrap_or(BUDGET_DB)
}
