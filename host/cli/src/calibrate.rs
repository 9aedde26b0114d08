//! `calibrate`: a model against itself on one unit, with a new pair of builds in every round, to know what the unit's own noise allows.

use crate::ab::{before_the_first_block, check_args, two_cells};
use crate::args::{AbArgs, AbMeasuring, CalibrateArgs};
use crate::exit::Exit;
use crate::length::Length;
use crate::list::print_json;
use crate::out::put;
use crate::run::{NextBlock, Schedule, check_inputs, measured_in_blocks, now_s, out_folder, planned};
use anyhow::{Context, Result};
use boardproof_judge::ab::{Calibrated, ROUNDS_MIN, calibrate as judge};
use boardproof_judge::evidence::Evidence;
use boardproof_lab::ab::{block_folder, measured, open_run, save};
use boardproof_lab::calibration::{folder as calibrations, keep};
use boardproof_lab::interrupt::{interrupted, listen};
use boardproof_lab::store::{Opened, RecordFolder};
use boardproof_plan::PlanError;
use boardproof_record::ab::{AbRun, Side, Terms, VERSION};
use boardproof_record::plan::Pass;
use boardproof_record::record::RunEnded;
use boardproof_record::verdict::Verdict;

/// Measures and judges, or judges again. What was found is kept for the unit.
pub fn calibrate(args: &CalibrateArgs) -> Result<Exit> {
    if let Some(root) = &args.again {
        let (run, opened) = open_run(root)?;
        return show(args, &judged(&run, &opened)?);
    }
    listen().context("could not listen for Ctrl-C")?;
    let ab = as_ab(args)?;
    let check = check_args(&ab);
    let (world, plan) = planned(&check)?;
    let (plan, a, b) = two_cells(plan, &ab, &[Pass::Latency, Pass::Memory])?;
    check_inputs(&plan)?;
    let out = out_folder(&check, &world);
    let folder = RecordFolder::create(&out)?;
    let AbMeasuring { confidence, blocks: blocks_max, .. } = ab.measuring;
    let run = AbRun {
        version: VERSION,
        boardproof: env!("CARGO_PKG_VERSION").into(),
        started_unix_s: now_s(),
        ended: RunEnded::Running,
        a,
        b,
        terms: Terms { limit: 1.0, confidence, blocks_max },
        round_blocks: Some(args.measuring.blocks),
        trials: Vec::new(),
        blocks: Vec::new(),
    };
    save(&folder, &run)?;
    let prepared = RecordFolder::create(&out.join("prepared"))?;
    let mut rounds = Rounds { run, folder, length: Length::new(args.measuring.iterations), opened: Vec::new() };
    let prepared = measured_in_blocks(plan, &check, prepared, &mut rounds)?;
    let mut found = rounds.end()?;
    if let Some(fault) = before_the_first_block(&prepared) {
        found.faults.push(fault);
        (found.verdict, found.calibration) = (Verdict::Incomplete, None);
    }
    if let Some(calibration) = found.calibration.as_ref().filter(|_| !interrupted()) {
        keep(&calibrations(), calibration)?;
    }
    let exit = show(args, &found)?;
    if !args.quiet {
        eprintln!("record: {}", out.display());
    }
    Ok(if interrupted() { Exit::Interrupted } else { exit })
}

/// The question as `ab` would be asked it: the variant against itself.
fn as_ab(args: &CalibrateArgs) -> Result<AbArgs> {
    let of = args.measuring.clone();
    let refuse =
        |what: &str, expected: &str, found: String| Err(PlanError::value("command line", what, expected, found).into());
    if (of.rounds as usize) < ROUNDS_MIN {
        return refuse(
            "--rounds",
            &format!("at least {ROUNDS_MIN}: fewer say too little about the next one"),
            of.rounds.to_string(),
        );
    }
    if of.blocks == 0 || !of.blocks.is_multiple_of(4) {
        return refuse("--blocks", "a multiple of 4", of.blocks.to_string());
    }
    if !(of.false_alarms > 0.0 && of.false_alarms < 0.5) {
        return refuse("--false-alarms", "a share above 0 and below 0.5", of.false_alarms.to_string());
    }
    Ok(AbArgs {
        model: args.model.clone(),
        a: args.variant.clone(),
        b: args.variant.clone(),
        measuring: AbMeasuring {
            target: of.target,
            unit: of.unit,
            engine: of.engine,
            limit: 1.0,
            confidence: 1.0 - of.false_alarms,
            blocks: of.rounds * of.blocks,
            iterations: of.iterations,
            out: of.out,
            builder: of.builder,
            wait: of.wait,
        },
        again: None,
        places: args.places.clone(),
        json: args.json,
        quiet: args.quiet,
    })
}

/// The rounds as far as they have come.
struct Rounds {
    run: AbRun,
    folder: RecordFolder,
    length: Length,
    opened: Vec<Opened>,
}

impl Rounds {
    fn end(mut self) -> Result<Calibrated> {
        self.run.ended = if interrupted() { RunEnded::Interrupted } else { RunEnded::Finished };
        save(&self.folder, &self.run)?;
        judged(&self.run, &self.opened)
    }
}

impl Schedule for Rounds {
    fn layouts(&self) -> Vec<u32> {
        let mut layouts: Vec<u32> =
            (0..self.run.terms.blocks_max as usize).filter_map(|n| self.run.layout(n)).collect();
        layouts.sort_unstable();
        layouts.dedup();
        layouts
    }

    fn next_block(&mut self) -> Result<Option<NextBlock>> {
        if let Some(trial) = self.length.next_trial(&self.run, self.folder.path()) {
            return Ok(Some(trial));
        }
        let (done, of) = (self.run.blocks.len(), self.run.terms.blocks_max as usize);
        let side = Side::of_block(done);
        Ok((done < of).then(|| NextBlock {
            cell: self.run.cell(side).clone(),
            folder: self.folder.path().join(block_folder(done, side)),
            number: done + 1,
            of,
            layout: self.run.layout(done),
            inferences: self.length.inferences(),
        }))
    }

    fn measured(&mut self) -> Result<Option<String>> {
        if self.length.inferences().is_none() {
            return self.length.measured(&mut self.run, &self.folder);
        }
        let (number, side) = (self.run.blocks.len(), Side::of_block(self.run.blocks.len()));
        let (block, opened) = measured(self.folder.path(), block_folder(number, side), side)?;
        self.run.blocks.push(block);
        self.opened.push(opened);
        save(&self.folder, &self.run)?;
        Ok(None)
    }
}

fn judged(run: &AbRun, opened: &[Opened]) -> Result<Calibrated> {
    let records: Vec<Evidence<'_>> =
        opened.iter().map(|opened| Evidence { record: &opened.record, files: &opened.files }).collect();
    Ok(judge(run, &records)?)
}

fn show(args: &CalibrateArgs, found: &Calibrated) -> Result<Exit> {
    if args.json {
        print_json(&serde_json::to_value(found)?)?;
    } else {
        put(found);
    }
    Ok(found.verdict.into())
}
