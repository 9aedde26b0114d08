//! What is to be explained: variants of a model, or cells of a record.

use super::kept;
use crate::args::{CheckArgs, ExplainArgs};
use crate::project::{World, read_policy};
use crate::run::{out_folder, read_world};
use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::flips::flips;
use boardproof_judge::gate;
use boardproof_lab::store::{Opened, RecordFolder, open, samples_part};
use boardproof_plan::{Manifest, PlanError, Purpose, nearest, runner_engine};
use boardproof_record::layers::OfRecord;
use boardproof_record::plan::{Cell, HOST, MICRO, Model, RUNNER_ENGINES, Target, Unit};
use boardproof_record::policy::Policy;
use boardproof_record::verdict::Verdict;
use boardproof_record::{CellId, Digest, EngineName, TargetName, UnitName, VariantName};
use std::collections::{BTreeMap, BTreeSet};
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
    /// How many samples are run.
    pub samples: u64,
    /// Their numbers in the evalset; empty for its first.
    pub numbers: Vec<u64>,
    /// The cell that is explained, where it is one of a record.
    pub of: Option<OfRecord>,
    /// Folder of the record whose report will show it.
    pub record: Option<PathBuf>,
    /// Folder for what is measured.
    pub out: PathBuf,
}

impl Subject {
    /// The model, with an evalset of the samples that are run, where those are not its first.
    pub fn model_on_samples(&self, folder: &RecordFolder) -> Result<Model> {
        let mut model = self.manifest.model.clone();
        if self.numbers.is_empty() {
            return Ok(model);
        }
        let evalset = &mut model.evalset;
        let bytes = std::fs::read(&evalset.file).with_context(|| format!("could not read evalset {}", evalset.file))?;
        let part =
            samples_part(&bytes, evalset.samples, &self.numbers).context("could not cut samples out of the evalset")?;
        let kept = folder.keep("models/samples.safetensors", &part)?;
        evalset.file = folder.path().join(&kept.path).display().to_string();
        (evalset.digest, evalset.bytes, evalset.samples) = (kept.digest, kept.bytes, self.samples);
        Ok(model)
    }

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
        samples: measuring.samples,
        numbers: Vec::new(),
        of: None,
        record: None,
        out,
    })
}

/// The cell that was named, or all that fail.
fn of_record(record: &Path, args: &ExplainArgs) -> Result<Vec<Subject>> {
    let opened = open(record)?;
    let policy = policy_of(&opened, args)?;
    let wanted: Vec<CellId> = match &args.cell {
        Some(name) => vec![named(name, &opened.record.plan.cells)?],
        None => {
            let judgement = gate::judge(Evidence { record: &opened.record, files: &opened.files }, &policy, None)?;
            let failed = judgement.cells.into_iter().filter(|cell| cell.verdict == Verdict::Fail);
            failed.map(|cell| cell.cell).collect()
        }
    };
    anyhow::ensure!(!wanted.is_empty(), "no cell of {} fails: name the one to explain", record.display());
    of_cells(record, &wanted, args)
}

/// These cells of a record.
pub fn of_cells(record: &Path, wanted: &[CellId], args: &ExplainArgs) -> Result<Vec<Subject>> {
    let opened = open(record)?;
    let policy = policy_of(&opened, args)?;
    let file = record.join(boardproof_record::record::FILE);
    let content = Digest::of(&std::fs::read(&file).with_context(|| format!("could not read {}", file.display()))?);
    let cells = opened.record.plan.cells.iter().filter(|cell| wanted.contains(&cell.id));
    cells
        .map(|cell| {
            let flips = flips(Evidence { record: &opened.record, files: &opened.files }, cell)?;
            let told = flips.iter().flat_map(|flips| &flips.told).map(|flip| flip.sample);
            let of = OfRecord { record: content, cell: cell.id.clone(), flipped: told.take(FLIPS_MAX).collect() };
            let out = match &args.measuring.out {
                Some(out) if wanted.len() == 1 => out.clone(),
                Some(out) => out.join(cell.id.folder()),
                None => kept::next_folder(record, &cell.id)?,
            };
            let shown = args.measuring.out.is_none().then(|| record.to_path_buf());
            of_cell(&opened, cell, &policy, args, Kept { of, out, record: shown })
        })
        .collect()
}

/// Flipped samples that are run before all others: as many as a report has room for.
const FLIPS_MAX: usize = 24;

/// What is explained of a record, and where that is kept.
struct Kept {
    of: OfRecord,
    out: PathBuf,
    record: Option<PathBuf>,
}

fn of_cell(opened: &Opened, cell: &Cell, policy: &Policy, args: &ExplainArgs, kept: Kept) -> Result<Subject> {
    let plan = &opened.record.plan;
    let model = &plan.models[&cell.model];
    let (samples, numbers) = chosen(&kept.of.flipped, args.measuring.samples, model.evalset.samples);
    let own = |(name, unit): &(&UnitName, &Unit)| name.as_str() != unit.target.as_str();
    Ok(Subject {
        budget_db: args.measuring.budget.unwrap_or_else(|| budget(policy, model, Some(&cell.target))),
        manifest: Manifest {
            model: model.clone(),
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
        units: plan.units.iter().filter(own).map(|(name, unit)| (name.clone(), unit.clone())).collect(),
        policy: policy.clone(),
        samples,
        numbers,
        of: Some(kept.of),
        record: kept.record,
        out: kept.out,
    })
}

fn policy_of(opened: &Opened, args: &ExplainArgs) -> Result<Policy> {
    match &args.measuring.policy {
        Some(asked) => read_policy(asked, Path::new("")),
        None => Ok(opened.record.plan.policy.clone()),
    }
}

/// So many samples of an evalset, these before all and then its first: how many, and their numbers where they are not its first.
fn chosen(before_all: &[u64], wanted: u64, there: u64) -> (u64, Vec<u64>) {
    let count = wanted.min(there);
    let before_all = before_all.iter().copied().take(count as usize);
    let mut chosen: BTreeSet<u64> = before_all.filter(|number| *number < there).collect();
    let mut others = 0..there;
    while (chosen.len() as u64) < count {
        chosen.extend(others.next());
    }
    let are_first = chosen.last().is_none_or(|last| *last < count);
    (count, if are_first { Vec::new() } else { chosen.into_iter().collect() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_flipped_are_run_before_all_others() {
        assert_eq!(chosen(&[7, 2], 4, 100), (4, vec![0, 1, 2, 7]));
        assert_eq!(chosen(&[3, 1], 4, 100), (4, vec![]), "they are among the first");
        assert_eq!(chosen(&[9, 8, 7], 2, 10), (2, vec![8, 9]), "no more than are asked for, the surest of them");
        assert_eq!(chosen(&[50], 200, 60), (60, vec![]), "no more than there are");
        assert_eq!(chosen(&[60], 3, 60), (3, vec![]), "none that is not there");
    }
}
