//! `explain`: takes a variant apart, measures what is inside of it like any other variant, and has it judged layer by layer.

mod bisect;
mod kept;
mod reproduce;
mod subject;

use crate::args::{CheckArgs, ExplainArgs, ExplainMeasuring};
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::put;
use crate::run::{check_inputs, measured};
use anyhow::{Context, Result};
use bisect::Cutting;
use boardproof_judge::evidence::Evidence;
use boardproof_judge::explain::{Explanation, explain as judge, render};
use boardproof_lab::interrupt::{interrupted, listen};
use boardproof_lab::store::{RecordFolder, open};
use boardproof_layers::{Apart, take_apart};
use boardproof_plan::{Counts, Manifest, Wanted};
use boardproof_record::layers::{INQUIRY, Inquiry, Site};
use boardproof_record::plan::{Cell, HOST, MICRO, Model, Pass, Plan, Variant};
use boardproof_record::policy::{Policy, Reference};
use boardproof_record::{CellId, Digest, VariantName};
use std::collections::BTreeMap;
use std::path::Path;
use subject::Subject;

pub use kept::{Unreadable, kept};

/// Seed of the projections that sketches are made of. Any will do, as long as it is no property of the model.
const SKETCH_SEED: u32 = 0x5eed;

/// File beside the record that says which cells show what.
const INQUIRY_FILE: &str = "explain.json";

/// Explains a model's variants, a record's cells, or again what was measured before.
pub fn explain(args: &ExplainArgs) -> Result<Exit> {
    let earlier = Path::new(&args.subject).join(INQUIRY_FILE);
    let explanations = if earlier.is_file() {
        vec![again(&earlier)?]
    } else {
        listen().context("could not listen for Ctrl-C")?;
        let mut explanations = Vec::new();
        for subject in subject::subjects(args)? {
            explanations.push(one(&subject, args)?);
            if interrupted() {
                return Ok(Exit::Interrupted);
            }
        }
        explanations
    };
    if args.json {
        print_json(&serde_json::to_value(&explanations)?)?;
    } else {
        let texts: Vec<String> = explanations.iter().map(render).collect();
        put(texts.join("\n"));
    }
    let is_unseen = |one: &Explanation| one.rows.is_empty() || one.sites.iter().any(|site| site.answers.is_none());
    let unseen = explanations.iter().any(is_unseen);
    Ok(if unseen { Exit::Incomplete } else { Exit::Pass })
}

/// What was measured by an earlier run.
fn again(file: &Path) -> Result<Explanation> {
    judged(file.parent().unwrap_or(Path::new(".")), &read_inquiry(file)?)
}

fn read_inquiry(file: &Path) -> Result<Inquiry> {
    let read = || format!("could not read {}", file.display());
    let text = std::fs::read_to_string(file).with_context(read)?;
    let inquiry: Inquiry = serde_json::from_str(&text).with_context(read)?;
    anyhow::ensure!(inquiry.schema == INQUIRY, "{} has version {}, expected {INQUIRY}", file.display(), inquiry.schema);
    Ok(inquiry)
}

/// Explains cells of the record that a check has just written into its folder, for its report. What stops it is told and stops nothing else.
pub fn after_check(record: &Path, cells: &[CellId], check: &CheckArgs) {
    let args = ExplainArgs::of_check(record, check);
    let warn = |error: &anyhow::Error| eprintln!("warning: could not explain what fails: {error:#}");
    let mut subjects = match subject::of_cells(record, cells, &args) {
        Ok(subjects) => subjects,
        Err(error) => return warn(&error),
    };
    // The check writes its report itself.
    subjects.iter_mut().for_each(|subject| subject.record = None);
    for subject in subjects.iter().take_while(|_| !interrupted()) {
        if let Err(error) = one(subject, &args) {
            warn(&error);
        }
    }
}

fn judged(record: &Path, inquiry: &Inquiry) -> Result<Explanation> {
    let opened = open(record)?;
    let mut explanation = judge(Evidence { record: &opened.record, files: &opened.files }, inquiry)?;
    explanation.bisected = bisect::again(record, inquiry)?;
    Ok(explanation)
}

fn one(subject: &Subject, args: &ExplainArgs) -> Result<Explanation> {
    let folder = RecordFolder::create(&subject.out)?;
    let model = &subject.model_on_samples(&folder)?;
    let read = |variant: &Variant| {
        std::fs::read(&variant.file).with_context(|| format!("could not read model file {}", variant.file))
    };
    let (reference, variant) = (&model.variants[&model.reference], &model.variants[&subject.variant]);
    let apart = take_apart(&read(reference)?, &read(variant)?)
        .with_context(|| format!("could not take {}/{} apart", model.name, subject.variant))?;
    let names = Names::of(model, &subject.variant)?;
    let showing = Showing { with_shapes: args.measuring.reproduce.is_some(), in_steps: subject.is_micro()? };
    let shown = shown_model(model, variant, &apart, &names, &folder, showing)?;
    let plan = planned(subject, shown, &names)?;
    check_inputs(&plan)?;
    let inquiry = inquiry(subject, &plan, &names, &apart);
    folder.keep(INQUIRY_FILE, serde_json::to_string_pretty(&inquiry)?.as_bytes())?;
    let folder = measured(plan, &check_args(args), folder)?;
    if !args.quiet {
        eprintln!("measured in {}", folder.path().display());
        subject.record.iter().for_each(|record| {
            eprintln!(
                "to see it in the record's report: boardproof report {0} -f html -o {0}/report.html",
                record.display()
            );
        });
    }
    let opened = open(folder.path())?;
    if args.measuring.bisect && !interrupted() {
        Cutting { subject, model, apart: &apart, inquiry: &inquiry, args, folder: folder.path() }.bisect(&opened)?;
    }
    let explanation = judged(folder.path(), &inquiry)?;
    if let Some(into) = args.measuring.reproduce.as_ref().filter(|_| !interrupted()) {
        let command = reproduce::reproduce(into, &apart, &inquiry, &explanation, &opened)?;
        if !args.quiet {
            eprintln!("reproduced in {}; run: {command}", into.display());
        }
    }
    Ok(explanation)
}

/// Names of the models that show what is inside.
struct Names {
    reference_shown: VariantName,
    whole: VariantName,
    shown: VariantName,
    /// For engines of whole numbers.
    in_steps: VariantName,
    alone: VariantName,
    /// The variant as it is, with sketches of its layers in the place of its answers.
    sketched: VariantName,
}

impl Names {
    fn of(model: &Model, variant: &VariantName) -> Result<Self> {
        let new = |name: &VariantName, what: &str| {
            VariantName::new(format!("{name}.{what}")).context("could not name what is made of the variant")
        };
        let names = Self {
            reference_shown: new(&model.reference, "reference-layers")?,
            whole: variant.clone(),
            shown: new(variant, "layers")?,
            in_steps: new(variant, "steps")?,
            alone: new(variant, "alone")?,
            sketched: new(variant, "sketches")?,
        };
        let taken = [&names.reference_shown, &names.shown, &names.in_steps, &names.alone, &names.sketched];
        let taken = taken.into_iter().find(|name| model.variants.contains_key(*name));
        anyhow::ensure!(
            taken.is_none(),
            "model '{}' has a variant of the name '{}'",
            model.name,
            taken.map_or("", VariantName::as_str)
        );
        Ok(names)
    }
}

/// What else is to be shown.
#[derive(Clone, Copy)]
struct Showing {
    /// The shapes of the reference's tensors.
    with_shapes: bool,
    /// The layers for an engine of whole numbers, and sketches of them.
    in_steps: bool,
}

/// The model with its variant as it is, and with what shows the inside of both.
fn shown_model(
    model: &Model,
    variant: &Variant,
    apart: &Apart,
    names: &Names,
    folder: &RecordFolder,
    Showing { with_shapes, in_steps }: Showing,
) -> Result<Model> {
    let reference = &model.variants[&model.reference];
    let mut variants = BTreeMap::from([(variant.name.clone(), variant.clone())]);
    let mut add = |name: &VariantName, of: &Variant, bytes: &[u8]| -> Result<()> {
        let kept = folder.keep(&format!("models/{name}.onnx"), bytes)?;
        let file = folder.path().join(&kept.path).display().to_string();
        let made = Variant {
            name: name.clone(),
            file,
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
            // Each output is a line per sample, whatever the shape of what it shows.
            batch: Some(1),
            ..of.in_numbers()
        };
        variants.insert(name.clone(), made);
        Ok(())
    };
    add(&names.reference_shown, reference, &apart.reference_shown(with_shapes))?;
    add(&names.shown, variant, &apart.variant_shown())?;
    if let Some(bytes) = apart.variant_shown_in_steps().filter(|_| in_steps) {
        add(&names.in_steps, variant, &bytes)?;
    }
    if let Some(bytes) = apart.each_alone() {
        add(&names.alone, reference, &bytes)?;
    }
    if in_steps {
        // It reads what the variant reads and answers with bytes that are no answers.
        let (name, output_quantization) = (names.sketched.clone(), Vec::new());
        variants.insert(name.clone(), Variant { name, output_quantization, ..variant.clone() });
    }
    Ok(Model { reference: names.reference_shown.clone(), variants, ..model.clone() })
}

/// Only answers are wanted, and the engine's check of itself.
fn planned(subject: &Subject, model: Model, names: &Names) -> Result<Plan> {
    let has_fixed_batch = model.variants[&names.whole].batch.is_some();
    let variants = [&names.whole, &names.shown, &names.in_steps, &names.alone, &names.sketched];
    let variants = variants.iter().filter(|name| model.variants.contains_key(**name)).map(ToString::to_string);
    let wanted = Wanted {
        models: vec![model.name.to_string()],
        in_folders: Vec::new(),
        variants: variants.collect(),
        places: subject.places.clone(),
        engines: subject.engines.clone(),
        counts: Counts { samples: subject.samples, ..Counts::default() },
    };
    let manifests = BTreeMap::from([(model.name.clone(), Manifest { model, ..subject.manifest.clone() })]);
    let (targets, units) = (&subject.targets, &subject.units);
    // The reference by the very engine that runs the variant: what engines do to floats is another question.
    let engine = match subject.engines.first() {
        Some(engine) => engine.clone(),
        None => targets.values().find(|t| t.name.as_str() == HOST).context("there is no target 'host'")?.engine.clone(),
    };
    let policy = Policy { reference: Some(Reference { engine }), ..subject.policy.clone() };
    let mut plan = boardproof_plan::plan(&wanted, &manifests, targets, units, policy)?;
    for cell in &mut plan.cells {
        let whole = cell.variant == names.whole;
        cell.passes.retain(|pass| pass.pass == Pass::Accuracy || (whole && pass.pass == Pass::Inspect));
        if cell.variant == names.sketched {
            cell.passes.iter_mut().for_each(|pass| pass.sketch = Some(SKETCH_SEED));
        }
        // One sample at a time, as what is shown: scales that are found at run time are found over the batch.
        if !has_fixed_batch {
            cell.passes.iter_mut().for_each(|pass| pass.batch = 1);
        }
    }
    plan.cells.retain(|cell| !cell.passes.is_empty() && is_wanted(cell, names));
    plan.check().context("could not plan what shows the inside of the model")?;
    Ok(plan)
}

/// A microcontroller has no room for what is inside of a model, and its engine no floats; on this machine the same engine shows it.
fn is_wanted(cell: &Cell, names: &Names) -> bool {
    let micro = cell.engine.as_str() == MICRO;
    if cell.variant == names.sketched {
        return micro;
    }
    let on_host = cell.unit.as_str() == HOST;
    if cell.variant == names.reference_shown {
        return is_reference(cell);
    }
    cell.variant == names.whole
        || if micro { on_host && cell.variant == names.in_steps } else { cell.variant != names.in_steps }
}

fn is_reference(cell: &Cell) -> bool {
    cell.role == boardproof_record::plan::Role::Reference
}

fn inquiry(subject: &Subject, plan: &Plan, names: &Names, apart: &Apart) -> Inquiry {
    let model = &subject.manifest.model;
    let reference = plan.cells.iter().find(|cell| is_reference(cell));
    let whole: Vec<&Cell> = plan.cells.iter().filter(|cell| cell.variant == names.whole).collect();
    let id = |cell: &Cell, name: &VariantName| CellId::new(&cell.model, name, &cell.unit, &cell.engine);
    let is_planned = |id: &CellId| plan.cells.iter().any(|cell| cell.id == *id);
    // This machine runs the variant by the unit's engine too, and what another engine does to it here is nobody's question.
    let of_units = |cell: &&&Cell| whole.iter().any(|other| other.unit.as_str() != HOST && other.engine == cell.engine);
    let only_host = whole.iter().all(|cell| cell.unit.as_str() == HOST);
    let shown = |cell: &Cell| [&names.shown, &names.in_steps].into_iter().map(|name| id(cell, name)).find(&is_planned);
    let sites = whole.iter().filter(|cell| only_host || of_units(cell)).map(|cell| Site {
        name: format!("{}/{}", cell.unit, cell.engine),
        whole: cell.id.clone(),
        shown: shown(cell),
        alone: Some(id(cell, &names.alone)).filter(is_planned),
        sketched: Some(id(cell, &names.sketched)).filter(is_planned),
    });
    Inquiry {
        schema: INQUIRY,
        model: model.name.clone(),
        variant: subject.variant.clone(),
        reference: model.reference.clone(),
        layers: apart.layers.clone(),
        budget_db: subject.budget_db,
        reference_shown: reference.map_or_else(
            || CellId::new(&model.name, &names.reference_shown, &whole[0].unit, &whole[0].engine),
            |cell| cell.id.clone(),
        ),
        sites: sites.collect(),
        samples: subject.numbers.clone(),
        of: subject.of.clone(),
    }
}

/// What measuring asks of the command line besides the plan.
fn check_args(args: &ExplainArgs) -> CheckArgs {
    let ExplainMeasuring { builder, wait, policy, .. } = args.measuring.clone();
    CheckArgs {
        model: Vec::new(),
        variant: Vec::new(),
        target: Vec::new(),
        unit: Vec::new(),
        policy,
        out: None,
        baseline: None,
        against: None,
        layout: None,
        places: args.places.clone(),
        builder,
        early_stop: false,
        samples: None,
        iterations: None,
        engine: Vec::new(),
        crash: None,
        wait,
        no_reference_cache: false,
        explain: false,
        json: args.json,
        quiet: args.quiet,
    }
}
