//! `ab`: two variants on one unit, block after block, until it is certain which side of the limit the second one lies on.

use crate::args::{AbArgs, AbMeasuring, CheckArgs};
use crate::exit::Exit;
use crate::length::Length;
use crate::list::print_json;
use crate::out::put;
use crate::run::{NextBlock, Schedule, check_inputs, measured_in_blocks, now_s, out_folder, planned};
use anyhow::{Context, Result};
use boardproof_judge::ab::{AbJudgement, INFERENCES_MIN, Stopped, judge, looks};
use boardproof_judge::compare::calibration::blocks_ratio;
use boardproof_judge::evidence::Evidence;
use boardproof_lab::ab::{block_folder, measured, open_run, save};
use boardproof_lab::calibration::{folder as calibrations, kept};
use boardproof_lab::interrupt::{interrupted, listen};
use boardproof_lab::store::{Opened, RecordFolder};
use boardproof_plan::PlanError;
use boardproof_record::CellId;
use boardproof_record::ab::{AbRun, Side, Terms, VERSION};
use boardproof_record::observation::{Fault, Outcome};
use boardproof_record::plan::{Cell, FOREIGN, HOST, MICRO, ONNXRUNTIME, Pass, Plan, Target};
use boardproof_record::record::{Record, RunEnded};
use std::path::Path;

/// Measures and judges, or judges again.
pub fn ab(args: &AbArgs) -> Result<Exit> {
    if let Some(root) = &args.again {
        let (run, opened) = open_run(root)?;
        let found = judged(&run, &opened)?;
        return show(args, &found);
    }
    listen().context("could not listen for Ctrl-C")?;
    let terms = terms(&args.measuring)?;
    let check = check_args(args);
    let (world, plan) = planned(&check)?;
    let (plan, a, b) = two_cells(plan, args, &[Pass::Latency])?;
    check_inputs(&plan)?;
    refuse_too_fine(&plan, &a, &b, &terms)?;
    let out = out_folder(&check, &world);
    let folder = RecordFolder::create(&out)?;
    let run = AbRun {
        version: VERSION,
        boardproof: env!("CARGO_PKG_VERSION").into(),
        started_unix_s: now_s(),
        ended: RunEnded::Running,
        a,
        b,
        terms,
        round_blocks: None,
        trials: Vec::new(),
        blocks: Vec::new(),
    };
    save(&folder, &run)?;
    let prepared = RecordFolder::create(&out.join("prepared"))?;
    let mut course =
        Course { run, folder, length: Length::new(args.measuring.iterations), opened: Vec::new(), found: None };
    let prepared = measured_in_blocks(plan, &check, prepared, &mut course)?;
    let mut found = course.end()?;
    if let Some(fault) = before_the_first_block(&prepared) {
        found.faults.push(fault);
        found.stopped = Stopped::Fault;
    }
    let exit = show(args, &found)?;
    if !args.quiet {
        eprintln!("record: {}", out.display());
    }
    Ok(if interrupted() { Exit::Interrupted } else { exit })
}

fn terms(measuring: &AbMeasuring) -> Result<Terms> {
    let AbMeasuring { limit, confidence, blocks, .. } = *measuring;
    let terms = Terms { limit, confidence, blocks_max: blocks };
    looks(&terms)?;
    Ok(terms)
}

/// A limit that the unit's own noise breaks is refused before a block is spent on it. A variant against itself is how that noise is looked at.
fn refuse_too_fine(plan: &Plan, a: &CellId, b: &CellId, terms: &Terms) -> Result<()> {
    let Some(cell) = plan.cells.iter().find(|cell| cell.id == *a && a != b) else { return Ok(()) };
    let Some(found) = kept(&calibrations(), &cell.unit)? else { return Ok(()) };
    let Some(finest) = blocks_ratio(&found, terms.blocks_max).filter(|finest| terms.limit < *finest) else {
        return Ok(());
    };
    let expected = format!("{finest:.3} or more, the finest that unit '{}' supports by its calibration", cell.unit);
    Err(PlanError::value("command line", "--limit", expected, terms.limit).into())
}

/// The plan with the cells of the two variants on the unit alone, with these passes and not judged; and which they are.
pub fn two_cells(mut plan: Plan, args: &AbArgs, passes: &[Pass]) -> Result<(Plan, CellId, CellId), PlanError> {
    let AbMeasuring { target, unit, .. } = &args.measuring;
    let place = unit.as_deref().or(target.as_deref()).unwrap_or(HOST);
    let of = |wanted: &Option<String>| {
        let fits = |cell: &&Cell| {
            let variant = Some(cell.variant.as_str()) == wanted.as_deref();
            variant && is_on(cell, place) && cell.engine.as_str() == engine_on(&plan.targets[&cell.target], args)
        };
        plan.cells.iter().find(fits).map(|cell| cell.id.clone()).ok_or_else(|| {
            let asked = format!("{} on {place}", wanted.as_deref().unwrap_or_default());
            PlanError::value("command line", "variant", "one that runs on the unit", asked)
        })
    };
    let (a, b) = (of(&args.a)?, of(&args.b)?);
    plan.cells.retain(|cell| cell.id == a || cell.id == b);
    for cell in &mut plan.cells {
        let target = &plan.targets[&cell.target];
        if target.dialect.is_some() {
            let expected = "a unit that can hold both variants";
            return Err(PlanError::value("command line", "unit", expected, format!("{place}, with one model inside")));
        }
        if !target.clock.is_time() {
            let expected = "a unit whose clock counts time: `check` holds instructions against a limit exactly";
            return Err(PlanError::value("command line", "unit", expected, place));
        }
        cell.judged = false;
        // Whose target refuses that operators fall back is looked at in every block.
        let has_providers = cell.engine.as_str() == ONNXRUNTIME && target.onnxruntime.is_some();
        cell.passes.retain(|pass| passes.contains(&pass.pass) || (has_providers && pass.pass == Pass::Inspect));
        cell.passes.iter_mut().for_each(|pass| pass.again = false);
    }
    plan.check()?;
    Ok((plan, a, b))
}

fn is_on(cell: &Cell, place: &str) -> bool {
    cell.unit.as_str() == place || (cell.target.as_str() == place && cell.unit.as_str() != HOST)
}

/// The engine that both sides run by. Another one may answer for the float model on this machine: it is not held against a variant of this.
fn engine_on<'a>(target: &'a Target, args: &'a AbArgs) -> &'a str {
    let own = target.engine.as_str();
    let is_inside = matches!(own, MICRO | FOREIGN);
    args.measuring.engine.as_deref().filter(|_| !is_inside).unwrap_or(own)
}

/// What stopped the unit before there was a block.
pub fn before_the_first_block(prepared: &Record) -> Option<String> {
    let fault = |what: &str, fault: &Fault| format!("{what}: {}", fault.causes.join(": "));
    prepared.outcomes.values().find_map(|outcome| match outcome {
        Outcome::BuildFailed(found) => Some(fault("the programs could not be built", found)),
        Outcome::ShipFailed(found) => Some(fault("the unit could not be prepared", found)),
        Outcome::DeviceFault(found) | Outcome::TimedOut(found) => Some(fault("the unit failed", found)),
        Outcome::NotRun | Outcome::Measured(_) | Outcome::Skipped { .. } => None,
    })
}

/// The run as far as it has come.
struct Course {
    run: AbRun,
    folder: RecordFolder,
    length: Length,
    opened: Vec<Opened>,
    /// What the last look said.
    found: Option<AbJudgement>,
}

impl Course {
    fn side(&self) -> Side {
        Side::of_block(self.run.blocks.len())
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Writes down how it ended, and judges what is there.
    fn end(mut self) -> Result<AbJudgement> {
        self.run.ended = if interrupted() { RunEnded::Interrupted } else { RunEnded::Finished };
        save(&self.folder, &self.run)?;
        judged(&self.run, &self.opened)
    }
}

impl Schedule for Course {
    fn next_block(&mut self) -> Result<Option<NextBlock>> {
        if let Some(trial) = self.length.next_trial(&self.run, self.root()) {
            return Ok(Some(trial));
        }
        let (done, of) = (self.run.blocks.len(), self.run.terms.blocks_max as usize);
        if done == of || self.found.as_ref().is_some_and(|found| found.stopped != Stopped::NotYet) {
            return Ok(None);
        }
        let side = self.side();
        let folder = self.root().join(block_folder(done, side));
        Ok(Some(NextBlock {
            cell: self.run.cell(side).clone(),
            folder,
            number: done + 1,
            of,
            layout: None,
            inferences: self.length.inferences(),
        }))
    }

    fn measured(&mut self) -> Result<Option<String>> {
        if self.length.inferences().is_none() {
            return self.length.measured(&mut self.run, &self.folder);
        }
        let side = self.side();
        let (block, opened) = measured(self.root(), block_folder(self.run.blocks.len(), side), side)?;
        self.run.blocks.push(block);
        self.opened.push(opened);
        save(&self.folder, &self.run)?;
        let found = judged(&self.run, &self.opened)?;
        let look = self.run.blocks.len().is_multiple_of(4).then(|| found.in_a_line()).flatten();
        self.found = Some(found);
        Ok(look)
    }
}

fn judged(run: &AbRun, opened: &[Opened]) -> Result<AbJudgement> {
    let records: Vec<Evidence<'_>> =
        opened.iter().map(|opened| Evidence { record: &opened.record, files: &opened.files }).collect();
    Ok(judge(run, &records)?)
}

fn show(args: &AbArgs, found: &AbJudgement) -> Result<Exit> {
    if args.json {
        print_json(&serde_json::to_value(found)?)?;
    } else {
        put(found);
    }
    Ok(found.verdict.into())
}

/// What measuring asks of the command line besides the plan.
pub fn check_args(args: &AbArgs) -> CheckArgs {
    let AbMeasuring { target, unit, engine, iterations, out, builder, wait, .. } = args.measuring.clone();
    CheckArgs {
        model: args.model.iter().cloned().collect(),
        variant: args.a.iter().chain(&args.b).cloned().collect(),
        target: target.or_else(|| unit.is_none().then(|| HOST.to_owned())).into_iter().collect(),
        unit: unit.into_iter().collect(),
        policy: None,
        out,
        baseline: None,
        against: None,
        layout: None,
        places: args.places.clone(),
        builder,
        early_stop: false,
        samples: None,
        iterations: Some(iterations.unwrap_or(INFERENCES_MIN)),
        engine: engine.into_iter().collect(),
        crash: None,
        wait,
        explain: false,
        no_reference_cache: true,
        json: args.json,
        quiet: args.quiet,
    }
}
