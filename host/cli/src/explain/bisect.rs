//! Bisection: models cut behind a layer are run on this machine and on the unit, like any variant, until the first layer is found at which
//! the unit parts. For units whose layers cannot be seen otherwise, as long as they take models at run time.

use super::{Subject, check_args, is_reference};
use crate::args::ExplainArgs;
use crate::run::{check_inputs, measured};
use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::explain::{Bisected, Tried, held_against, parts};
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::store::{Opened, RecordFolder, open};
use boardproof_layers::Apart;
use boardproof_plan::{Counts, Manifest, Wanted};
use boardproof_record::layers::{Inquiry, Site};
use boardproof_record::plan::{Cell, FOREIGN, HOST, MICRO, Model, Pass, Plan, Variant};
use boardproof_record::policy::{Policy, Reference};
use boardproof_record::{CellId, VariantName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// File beside the record that says what was bisected.
pub const BISECTION_FILE: &str = "bisection.json";
/// Version of it.
const BISECTION: u32 = 1;

/// What was run for one site. Written after every run, so that what is known stays known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bisection {
    schema: u32,
    site: String,
    against: String,
    limit_db: Option<f64>,
    /// Layers in the order in which they were run, each with its cells: this machine's and the unit's. Their record lies in `bisect/LAYER`.
    runs: Vec<(usize, CellId, CellId)>,
    stopped: Option<String>,
}

/// What bisection needs of an explanation.
pub struct Cutting<'a> {
    pub subject: &'a Subject,
    pub model: &'a Model,
    pub apart: &'a Apart,
    pub inquiry: &'a Inquiry,
    pub args: &'a ExplainArgs,
    /// Folder of what is explained.
    pub folder: &'a Path,
}

impl Cutting<'_> {
    /// Bisects the first site that parts in its answers from this machine by the same engine, and writes down what was run.
    pub fn bisect(&self, opened: &Opened) -> Result<()> {
        let cell = |site: &Site| opened.record.plan.cells.iter().find(|cell| cell.id == site.whole);
        let sites: Vec<(&Site, &Cell)> = self.inquiry.sites.iter().filter_map(|s| Some((s, cell(s)?))).collect();
        let mut found = None;
        for (site, cell) in sites.iter().filter(|(_, cell)| cell.unit.as_str() != HOST) {
            let same = |other: &&(&Site, &Cell)| other.1.unit.as_str() == HOST && other.1.engine == cell.engine;
            let Some((host, _)) = sites.iter().find(same) else { continue };
            let micro = cell.engine.as_str() == MICRO;
            let limit_db = (!micro).then_some(self.inquiry.budget_db);
            let mut bisection = Bisection {
                schema: BISECTION,
                site: site.name.clone(),
                against: host.name.clone(),
                limit_db,
                runs: Vec::new(),
                stopped: None,
            };
            if cell.engine.as_str() == FOREIGN {
                bisection.stopped = Some("this firmware has one model inside and takes no other".into());
            } else {
                match held_against(evidence(opened), &host.whole, &site.whole)? {
                    Ok(seen) if !parts(&seen, limit_db) => {}
                    Ok(_) => self.runs(&mut bisection, cell, micro)?,
                    Err(why) => bisection.stopped = Some(why),
                }
            }
            found = Some(bisection);
            break;
        }
        let Some(bisection) = found else { return Ok(()) };
        self.keep(&bisection)
    }

    fn keep(&self, bisection: &Bisection) -> Result<()> {
        let file = self.folder.join(BISECTION_FILE);
        std::fs::write(&file, serde_json::to_string_pretty(bisection)?)
            .with_context(|| format!("could not write {}", file.display()))
    }

    /// Runs models cut behind the middle of what is left, until nothing is.
    fn runs(&self, bisection: &mut Bisection, unit: &Cell, micro: bool) -> Result<()> {
        let cut = |layer: usize| Some((layer, self.apart.variant_cut_at(layer, micro)?));
        let layers: Vec<(usize, Vec<u8>)> = (0..self.inquiry.layers.layers.len()).filter_map(cut).collect();
        let (mut low, mut high) = (0, layers.len());
        while low < high && !interrupted() {
            let middle = low + (high - low) / 2;
            let (layer, bytes) = &layers[middle];
            let (opened, cells) = self.run(*layer, bytes, unit)?;
            bisection.runs.push((*layer, cells.0.clone(), cells.1.clone()));
            match held_against(evidence(&opened), &cells.0, &cells.1)? {
                Ok(seen) if parts(&seen, bisection.limit_db) => high = middle,
                Ok(_) => low = middle + 1,
                Err(why) => {
                    bisection.stopped = Some(why);
                    break;
                }
            }
            self.keep(bisection)?;
        }
        Ok(())
    }

    /// Runs one of them; returns its record, and its cells on this machine and on the unit.
    fn run(&self, layer: usize, bytes: &[u8], unit: &Cell) -> Result<(Opened, (CellId, CellId))> {
        let folder = RecordFolder::create(&self.folder.join("bisect").join(layer.to_string()))?;
        let file = folder.keep("cut.onnx", bytes)?;
        let whole = &self.model.variants[&self.subject.variant];
        let name = VariantName::new(format!("{}.cut-{layer}", whole.name)).context("could not name what is cut")?;
        let variant = Variant {
            name: name.clone(),
            file: folder.path().join(&file.path).display().to_string(),
            digest: file.digest,
            bytes: file.bytes,
            batch: Some(1),
            ..whole.in_numbers()
        };
        let variants = BTreeMap::from([(name.clone(), variant)]);
        let plan = self.planned(Model { reference: name.clone(), variants, ..self.model.clone() }, unit)?;
        check_inputs(&plan)?;
        let on = |on_host: bool| {
            let is = |cell: &&Cell| cell.engine == unit.engine && (cell.unit.as_str() == HOST) == on_host;
            plan.cells.iter().find(is).map(|cell| cell.id.clone()).context("could not plan what is cut on both sites")
        };
        let cells = (on(true)?, on(false)?);
        let kept = measured(plan, &check_args(self.args), RecordFolder::create(&folder.path().join("record"))?)?;
        Ok((open(kept.path())?, cells))
    }

    /// Answers on both sites, and nothing else.
    fn planned(&self, model: Model, unit: &Cell) -> Result<Plan> {
        let Subject { places, engines, targets, units, .. } = self.subject;
        let wanted = Wanted {
            models: vec![model.name.to_string()],
            in_folders: Vec::new(),
            variants: vec![model.reference.to_string()],
            places: places.clone(),
            engines: engines.clone(),
            counts: Counts { samples: self.subject.samples, ..Counts::default() },
        };
        let manifests = BTreeMap::from([(model.name.clone(), Manifest { model, ..self.subject.manifest.clone() })]);
        // What is cut is its own reference, which nobody looks at. The engine of microcontrollers is nobody's reference: the host's own is.
        let host = || targets.values().find(|target| target.name.as_str() == HOST).map(|target| target.engine.clone());
        let engine = host().filter(|_| unit.engine.as_str() == MICRO).unwrap_or_else(|| unit.engine.clone());
        let reference = Some(Reference { engine });
        let policy = Policy { reference, ..self.subject.policy.clone() };
        let mut plan = boardproof_plan::plan(&wanted, &manifests, targets, units, policy)?;
        for cell in &mut plan.cells {
            cell.passes.retain(|pass| pass.pass == Pass::Accuracy);
            cell.passes.iter_mut().for_each(|pass| pass.batch = 1);
        }
        plan.cells.retain(|cell| !cell.passes.is_empty() && (cell.engine == unit.engine || is_reference(cell)));
        plan.check().context("could not plan what is cut")?;
        Ok(plan)
    }
}

fn evidence(opened: &Opened) -> Evidence<'_> {
    Evidence { record: &opened.record, files: &opened.files }
}

/// What was bisected beside a record, judged again.
pub fn again(folder: &Path, inquiry: &Inquiry) -> Result<Option<Bisected>> {
    let file = folder.join(BISECTION_FILE);
    if !file.is_file() {
        return Ok(None);
    }
    let read = || format!("could not read {}", file.display());
    let kept: Bisection =
        serde_json::from_str(&std::fs::read_to_string(&file).with_context(read)?).with_context(read)?;
    anyhow::ensure!(kept.schema == BISECTION, "{} has version {}, expected {BISECTION}", file.display(), kept.schema);
    let mut found = Bisected {
        site: kept.site,
        against: kept.against,
        limit_db: kept.limit_db,
        tried: Vec::new(),
        first: None,
        stopped: kept.stopped,
    };
    for (layer, host, own) in kept.runs {
        let opened = open(&folder.join("bisect").join(layer.to_string()).join("record"))?;
        let Ok(seen) = held_against(evidence(&opened), &host, &own)? else { continue };
        let tensor = inquiry.layers.layers.get(layer).map_or_else(String::new, |layer| layer.tensor.clone());
        let parts = parts(&seen, found.limit_db);
        found.tried.push(Tried { layer, tensor, seen, parts });
    }
    found.first = found.tried.iter().filter(|one| one.parts).map(|one| one.layer).min();
    Ok(Some(found))
}
