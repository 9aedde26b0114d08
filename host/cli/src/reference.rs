//! `reference`: runs the float model by several engines on this machine and refuses answers on which they do not agree, with the first
//! operator at which they part.

use crate::args::{CheckArgs, ReferenceArgs};
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::put;
use crate::run::{check_inputs, measured, out_folder, read_world};
use crate::table::Table;
use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::opinions::{Beside, ROUNDING_DB, side_by_side};
use boardproof_lab::interrupt::{interrupted, listen};
use boardproof_lab::store::{Opened, RecordFolder, open};
use boardproof_layers::{Apart, take_apart};
use boardproof_plan::{Counts, Manifest, PlanError, Wanted, nearest, runner_engine};
use boardproof_record::observation::Outcome;
use boardproof_record::plan::{Cell, HOST, Model, Pass, Plan, Variant};
use boardproof_record::policy::{Policy, Reference};
use boardproof_record::{EngineName, VariantName};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Samples on which every tensor is looked at, once the answers are known to part: a wrong operator is wrong on most of them.
const LOOKED_AT: u64 = 32;
/// A quantized tensor that is nearer than the answers by more than this is not where they part.
const NEARER_DB: f64 = 20.0;

/// What the engines say of one model.
#[derive(Serialize)]
struct Finding {
    model: String,
    variant: String,
    samples: u64,
    /// One entry per engine; the first is what the others are held against.
    engines: Vec<Heard>,
    /// The first operator at which an engine parts from the first one, where it was found.
    parting: Option<Parting>,
    verdict: &'static str,
}

/// One engine.
#[derive(Serialize)]
struct Heard {
    engine: String,
    /// What its self-check says, in words.
    self_check: String,
    /// Its answers beside the first engine's; empty for the first, and where it did not answer.
    answers: Vec<Beside>,
    /// Why it did not answer.
    silent: Option<String>,
}

/// Where two engines part.
#[derive(Serialize)]
struct Parting {
    engine: String,
    operator: String,
    node: String,
    at: Beside,
}

/// Asks the engines about each model.
pub fn reference(args: &ReferenceArgs) -> Result<Exit> {
    listen().context("could not listen for Ctrl-C")?;
    let (world, named) = read_world(&check_args(args))?;
    let base = out_folder(&check_args(args), &world);
    let policy = world.policy(args.policy.as_deref())?;
    let engines = engines(args, &policy)?;
    let names: Vec<&String> = named.alone.iter().chain(&named.in_folders).collect();
    let mut findings = Vec::new();
    for name in &names {
        let found = world.manifests.values().find(|m| m.model.name.as_str() == name.as_str());
        let known = || nearest(name, world.manifests.keys().map(|known| known.as_str()));
        let manifest =
            found.ok_or_else(|| PlanError::Unknown { kind: "model", found: (*name).clone(), known: known() })?;
        let folder = if names.len() == 1 { base.clone() } else { base.join(name) };
        let asking = Asking { args, manifest, engines: &engines, policy: &policy, world: &world };
        findings.push(asking.finding(&folder)?);
        if interrupted() {
            return Ok(Exit::Interrupted);
        }
    }
    if args.json {
        print_json(&serde_json::to_value(&findings)?)?;
    } else {
        put(findings.iter().map(Finding::in_words).collect::<Vec<_>>().join("\n"));
    }
    let exits = findings.iter().map(Finding::exit);
    Ok(exits
        .max_by_key(|exit| [Exit::Pass, Exit::Incomplete, Exit::Fail].iter().position(|e| e == exit))
        .unwrap_or(Exit::Pass))
}

/// The engines that were asked for; without any the policy's own and one that shares no code with it.
fn engines(args: &ReferenceArgs, policy: &Policy) -> Result<Vec<EngineName>> {
    let mut engines: Vec<EngineName> = args.engine.iter().map(|name| runner_engine(name)).collect::<Result<_, _>>()?;
    if engines.is_empty() {
        engines.push(policy.reference_engine());
    }
    if args.engine.is_empty() {
        let usual = ["candle", "tract"].into_iter().map(runner_engine).collect::<Result<Vec<_>, _>>()?;
        engines.extend(usual.into_iter().find(|engine| *engine != policy.reference_engine()));
    }
    let repeated = engines.iter().enumerate().any(|(at, engine)| engines[..at].contains(engine));
    if engines.len() < 2 || repeated {
        let found = engines.iter().map(EngineName::as_str).collect::<Vec<_>>().join(", ");
        return Err(PlanError::value("command line", "--engine", "two engines or more, each once", found).into());
    }
    Ok(engines)
}

/// What is asked of the engines.
struct Asking<'a> {
    args: &'a ReferenceArgs,
    manifest: &'a Manifest,
    engines: &'a [EngineName],
    policy: &'a Policy,
    world: &'a crate::project::World,
}

impl Asking<'_> {
    fn finding(&self, folder: &Path) -> Result<Finding> {
        let model = &self.manifest.model;
        let variant = self.variant()?;
        let opened = self.measured(alone(model, variant.clone()), self.args.samples.unwrap_or(0), folder)?;
        let evidence = Evidence { record: &opened.record, files: &opened.files };
        let cells = self.cells(&opened);
        let mut engines = Vec::new();
        for cell in &cells {
            engines.push(heard(evidence, cells[0], cell)?);
        }
        let first_part = engines.iter().position(|heard| heard.answers.iter().any(|answer| answer.parts));
        let parting = match first_part {
            Some(at) => {
                let parting = engines[at].answers.iter().filter(|answer| answer.parts);
                let apart_db = parting.filter_map(|answer| answer.sqnr_db).fold(ROUNDING_DB, f64::min);
                // In floats all that is more than rounding is wrong; an 8-bit value may lie on an edge and fall to either side.
                let is_quantized = cells.iter().any(|cell| has_bytes(evidence, cell));
                let limit_db = if is_quantized { ROUNDING_DB.min(apart_db + NEARER_DB) } else { ROUNDING_DB };
                self.parting(variant, at, limit_db, folder)?
            }
            None => None,
        };
        let verdict = match (first_part, engines.iter().any(|heard| heard.silent.is_some())) {
            (Some(_), _) => "refused",
            (None, true) => "incomplete",
            (None, false) => "agreed",
        };
        let samples = cells[0].passes.iter().find(|pass| pass.pass == Pass::Accuracy).map_or(0, |pass| pass.samples);
        Ok(Finding {
            model: model.name.to_string(),
            variant: variant.name.to_string(),
            samples,
            engines,
            parting,
            verdict,
        })
    }

    fn variant(&self) -> Result<&Variant> {
        let model = &self.manifest.model;
        let Some(name) = &self.args.variant else { return Ok(&model.variants[&model.reference]) };
        let known = || nearest(name, model.variants.keys().map(|known| known.as_str()));
        let found = model.variants.values().find(|variant| variant.name.as_str() == name);
        Ok(found.ok_or_else(|| PlanError::Unknown { kind: "variant", found: name.clone(), known: known() })?)
    }

    /// Cells in the order of the engines.
    fn cells<'r>(&self, opened: &'r Opened) -> Vec<&'r Cell> {
        let cells = &opened.record.plan.cells;
        self.engines.iter().filter_map(|engine| cells.iter().find(|cell| cell.engine == *engine)).collect()
    }

    /// The model by each engine on this machine: its answers, and what it says of itself.
    fn measured(&self, model: Model, samples: u64, folder: &Path) -> Result<Opened> {
        let name = model.name.clone();
        let wanted = Wanted {
            models: vec![name.to_string()],
            in_folders: Vec::new(),
            variants: vec![model.reference.to_string()],
            places: vec![HOST.into()],
            engines: self.engines.to_vec(),
            counts: Counts { samples, ..Counts::default() },
        };
        let policy = Policy { reference: Some(Reference { engine: self.engines[0].clone() }), ..self.policy.clone() };
        let manifests = BTreeMap::from([(name, Manifest { model, ..self.manifest.clone() })]);
        let (targets, units) = (&self.world.targets, &self.world.units);
        let mut plan: Plan = boardproof_plan::plan(&wanted, &manifests, targets, units, policy)?;
        for cell in &mut plan.cells {
            cell.passes.retain(|pass| matches!(pass.pass, Pass::Accuracy | Pass::Inspect));
        }
        check_inputs(&plan)?;
        let folder = measured(plan, &check_args(self.args), RecordFolder::create(folder)?)?;
        Ok(open(folder.path())?)
    }

    /// Looks at the tensors of the model by the first engine and by the one that parts from it: at all in one run, and where looking keeps
    /// an optimizer from what it does otherwise, at one after the other.
    fn parting(&self, variant: &Variant, at: usize, limit_db: f64, folder: &Path) -> Result<Option<Parting>> {
        let bytes =
            std::fs::read(&variant.file).with_context(|| format!("could not read model file {}", variant.file))?;
        let apart = take_apart(&bytes, &bytes).with_context(|| format!("could not take {} apart", variant.name))?;
        let pair = [self.engines[0].clone(), self.engines[at].clone()];
        let inside = Inside { asking: Asking { engines: &pair, ..*self }, variant, folder, limit_db };
        let found = match inside.first(&apart.reference_shown(false), "inside")? {
            Some(found) => Some(found),
            None => inside.one_by_one(&apart)?,
        };
        Ok(found.map(|(layer, beside)| {
            let (operator, node) = apart.maker(layer).unwrap_or(("Input", ""));
            Parting {
                engine: self.engines[at].to_string(),
                operator: operator.into(),
                node: node.into(),
                at: Beside { tensor: apart.layers.layers[layer].tensor.clone(), ..beside },
            }
        }))
    }
}

/// Two engines asked about what is inside of a model.
struct Inside<'a> {
    asking: Asking<'a>,
    variant: &'a Variant,
    folder: &'a Path,
    /// A tensor that is nearer than this is not where they part.
    limit_db: f64,
}

impl Inside<'_> {
    /// The first output of a model that shows some of it at which the engines part.
    fn first(&self, shown: &[u8], what: &str) -> Result<Option<(usize, Beside)>> {
        let kept = RecordFolder::create(&self.folder.join(what))?;
        let file = kept.keep("inside.onnx", shown)?;
        let path = kept.path().join(&file.path).display().to_string();
        let name = VariantName::new(format!("{}.inside", self.variant.name))
            .context("could not name what shows the inside")?;
        // Each output is a line per sample, whatever the shape of what it shows.
        let shown = Variant {
            name,
            file: path,
            digest: file.digest,
            bytes: file.bytes,
            batch: Some(1),
            ..self.variant.in_numbers()
        };
        let model = &self.asking.manifest.model;
        let samples = self.asking.args.samples.unwrap_or(LOOKED_AT).min(LOOKED_AT).min(model.evalset.samples);
        let opened = self.asking.measured(alone(model, shown), samples, &kept.path().join("record"))?;
        let evidence = Evidence { record: &opened.record, files: &opened.files };
        let cells = self.asking.cells(&opened);
        let seen = heard(evidence, cells[0], cells[1])?;
        let parts = |beside: &Beside| beside.parts && beside.sqnr_db.is_none_or(|db| db < self.limit_db);
        Ok(seen.answers.into_iter().enumerate().find(|(_, beside)| parts(beside)))
    }

    /// The same by bisection, with one tensor to look at in each run: what lies behind the first that parts does as well.
    fn one_by_one(&self, apart: &Apart) -> Result<Option<(usize, Beside)>> {
        let (mut low, mut high) = (0, apart.layers.layers.len());
        let mut found = None;
        while low < high && !interrupted() {
            let middle = low + (high - low) / 2;
            match self.first(&apart.reference_shown_at(middle), &format!("inside-{middle}"))? {
                Some((_, beside)) => {
                    found = Some((middle, beside));
                    high = middle;
                }
                None => low = middle + 1,
            }
        }
        Ok(found)
    }
}

/// The model with this variant alone, as its own reference.
fn alone(model: &Model, variant: Variant) -> Model {
    let reference = variant.name.clone();
    Model { reference: reference.clone(), variants: BTreeMap::from([(reference, variant)]), ..model.clone() }
}

/// What an engine answered, beside the first.
fn heard(evidence: Evidence<'_>, first: &Cell, cell: &Cell) -> Result<Heard> {
    let mut heard = Heard {
        engine: cell.engine.to_string(),
        self_check: self_check(evidence, cell),
        answers: Vec::new(),
        silent: None,
    };
    let Some(outputs) = evidence.outputs(&cell.id)? else {
        heard.silent = Some(why_silent(evidence, cell));
        return Ok(heard);
    };
    if first.id == cell.id {
        return Ok(heard);
    }
    // Without the first's answers there is nothing to hold these against, and the first says why.
    if let Some(reference) = evidence.outputs(&first.id)? {
        heard.answers = side_by_side(&reference, &outputs).map_err(anyhow::Error::msg)?;
    }
    Ok(heard)
}

/// Some operator reads or writes 8-bit values.
fn has_bytes(evidence: Evidence<'_>, cell: &Cell) -> bool {
    let inspected = evidence.completed(&cell.id, Pass::Inspect);
    let mut operators = inspected.into_iter().flat_map(|pass| &pass.operators);
    operators.any(|operator| operator.dtypes.contains("i8") || operator.dtypes.contains("u8"))
}

/// Why a cell has no answers.
pub fn why_silent(evidence: Evidence<'_>, cell: &Cell) -> String {
    let passes = evidence.observation(&cell.id).map(|seen| seen.passes.as_slice()).unwrap_or_default();
    let refused = passes.iter().find_map(|pass| pass.cannot_run.as_ref()).map(|refusal| refusal.reason.clone());
    refused.unwrap_or_else(|| match evidence.record.outcomes.get(&cell.id) {
        Some(Outcome::Measured(_)) | None => "its pass did not end well".into(),
        Some(other) => format!("{other:?}"),
    })
}

fn self_check(evidence: Evidence<'_>, cell: &Cell) -> String {
    let check = evidence.completed(&cell.id, Pass::Inspect).and_then(|pass| pass.self_check.as_ref());
    match check {
        None => "none".into(),
        Some(check) if check.samples == 0 => check.detail.clone(),
        Some(check) if check.agree => "agrees with itself".into(),
        Some(check) => format!("parts at {}", check.operator),
    }
}

impl Finding {
    fn exit(&self) -> Exit {
        match self.verdict {
            "agreed" => Exit::Pass,
            "incomplete" => Exit::Incomplete,
            _ => Exit::Fail,
        }
    }

    fn in_words(&self) -> String {
        let mut table = Table::new(&["ENGINE", "ANSWERS", "SELF-CHECK"]);
        for (at, heard) in self.engines.iter().enumerate() {
            let worst = heard.answers.iter().min_by(|a, b| sort_key(a).total_cmp(&sort_key(b)));
            let answers = match (&heard.silent, worst) {
                (Some(why), _) => format!("none: {why}"),
                (None, Some(worst)) if worst.parts => {
                    format!("PARTS at output '{}': {}", worst.tensor, worst.in_words())
                }
                (None, Some(worst)) => format!("agrees: {}", worst.in_words()),
                (None, None) if at == 0 => "what the others are held against".into(),
                (None, None) => "not compared".into(),
            };
            table.row(&[&heard.engine, &answers, &heard.self_check]);
        }
        let said = match self.verdict {
            "agreed" => format!("the engines agree: float rounding leaves {ROUNDING_DB} dB or more"),
            "incomplete" => "an engine did not answer: no second opinion".to_owned(),
            _ => match &self.parting {
                Some(Parting { engine, operator, node, at }) => format!(
                    "refused: {engine} parts from {} first at {operator} ({node}), tensor '{}': {}",
                    self.engines[0].engine,
                    at.tensor,
                    at.in_words()
                ),
                None => "refused: the answers part, and no tensor does where each is looked at: looking keeps an optimizer from what it does otherwise; see the self-checks".to_owned(),
            },
        };
        format!("{}/{}, {} samples\n{table}{said}\n", self.model, self.variant, self.samples)
    }
}

/// What parts most comes first.
fn sort_key(beside: &Beside) -> f64 {
    match (beside.parts, beside.sqnr_db) {
        (true, None) => f64::NEG_INFINITY,
        (false, None) => f64::INFINITY,
        (_, Some(db)) => db,
    }
}

/// What measuring asks of the command line besides the plan.
fn check_args(args: &ReferenceArgs) -> CheckArgs {
    CheckArgs {
        model: args.model.clone(),
        variant: Vec::new(),
        target: Vec::new(),
        unit: Vec::new(),
        policy: args.policy.clone(),
        out: args.out.clone(),
        baseline: None,
        against: None,
        layout: None,
        places: args.places.clone(),
        builder: args.builder,
        early_stop: false,
        samples: None,
        iterations: None,
        engine: Vec::new(),
        crash: None,
        wait: 600,
        // Answers of another day are no opinion on those of today.
        explain: false,
        no_reference_cache: true,
        json: args.json,
        quiet: args.quiet,
    }
}
