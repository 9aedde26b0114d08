//! The order of the stages: plan, build, ship, measure, record, judge, report. The only place that knows it.

mod again;
mod blocks;
mod custom;
mod watch;

pub use blocks::{NextBlock, Schedule};

use crate::against::Yardstick;
use crate::args::{CheckArgs, Crash};
use crate::exit::Exit;
use crate::probe::UnitProbe;
use crate::progress::Progress;
use crate::project::World;
use crate::verdict;
use anyhow::{Context, Result};
use boardproof_lab::build::{Artifact, BuildError, Program, Workshop, programs};
use boardproof_lab::calibration;
use boardproof_lab::dialect::{DialectBench, DialectJob};
use boardproof_lab::events::{Event, Events};
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::lease::{Lease, Place};
use boardproof_lab::library::Library;
use boardproof_lab::measure::{Bench, Job, JobOptions, options};
use boardproof_lab::micro;
use boardproof_lab::reach::{Destination, Reach};
use boardproof_lab::reference;
use boardproof_lab::ship::{Blob, prepare};
use boardproof_lab::store::{RecordFolder, judging_part};
use boardproof_plan::{Counts, Plan, PlanError, Wanted};
use boardproof_record::observation::{Fault, Outcome, Shipped};
use boardproof_record::plan::{Cell, LinkSpec, PowerSpec, Target, Task, Unit, Variant};
use boardproof_record::record::{Record, RunEnded};
use boardproof_record::{Digest, EngineName, UnitName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use watch::Watcher;

/// Plans, measures, records and judges.
pub fn check(args: &CheckArgs) -> Result<Exit> {
    boardproof_lab::interrupt::listen().context("could not listen for Ctrl-C")?;
    let (world, mut plan) = planned(args)?;
    let yardstick = Yardstick::of(args)?;
    if args.against.is_some() {
        boardproof_plan::hold_against_baseline(&mut plan)?;
    }
    verdict::before_check(&plan, yardstick.as_ref())?;
    check_inputs(&plan)?;
    crate::evalset::before_check(&world.manifests, &plan, args.quiet)?;
    put_in_order(&mut plan)?;
    let out = out_folder(args, &world);
    let folder = RecordFolder::create(&out)?;
    let baseline = yardstick.map(|yardstick| yardstick.measured(&plan, args, &out)).transpose()?;
    let baseline = baseline.as_deref();
    let mut run = run_through(plan.clone(), args, folder, None)?;
    run.keep_shown()?;
    run.progress.finish();
    if !interrupted() && verdict::is_red_once(&out, baseline)? {
        look_again(plan, args, &out)?;
    }
    let exit = verdict::after_check(&out, baseline, args)?;
    Ok(if interrupted() { Exit::Interrupted } else { exit })
}

/// Layout of the runner with which what is red is measured again.
const SECOND_LAYOUT: u32 = 1;

/// Measures all of it once more, with another build of the runner and in another lease.
fn look_again(plan: Plan, args: &CheckArgs, out: &Path) -> Result<()> {
    if !args.quiet {
        eprintln!(
            "slower or larger than the baseline: measured again with another build of the runner, in another lease"
        );
    }
    let again = CheckArgs { layout: Some(SECOND_LAYOUT), ..args.clone() };
    measured(plan, &again, RecordFolder::create(&out.join(verdict::CONFIRMATION))?).map(drop)
}

/// Measures a plan into a folder. Of the arguments only those count that are not in the plan.
pub fn measured(plan: Plan, args: &CheckArgs, folder: RecordFolder) -> Result<RecordFolder> {
    let mut run = run_through(plan, args, folder, None)?;
    run.progress.finish();
    Ok(run.folder)
}

/// Measures the cells of one unit as a schedule asks for them, all in one lease. What is returned is the record of what was prepared: its
/// cells stay as they are unless something failed before the first block.
pub fn measured_in_blocks<'a>(
    plan: Plan,
    args: &'a CheckArgs,
    folder: RecordFolder,
    schedule: &'a mut dyn Schedule,
) -> Result<Record> {
    let mut run = run_through(plan, args, folder, Some(schedule))?;
    run.progress.finish();
    Ok(run.record)
}

fn run_through<'a>(
    plan: Plan,
    args: &'a CheckArgs,
    folder: RecordFolder,
    schedule: Option<&'a mut dyn Schedule>,
) -> Result<Run<'a>> {
    let mut run = Run {
        record: Record::new(plan, env!("CARGO_PKG_VERSION").into(), now_s()),
        folder,
        progress: Progress::new(args.quiet),
        start: Instant::now(),
        args,
        unproved: BTreeSet::new(),
        crash: args.crash,
        layout: args.layout,
        schedule,
    };
    for unit in run.record.plan.units.keys() {
        let kept = calibration::kept(&calibration::folder(), unit)?;
        run.record.calibrations.extend(kept.map(|kept| (unit.clone(), kept)));
    }
    run.keep_evalsets()?;
    run.save()?;
    run.measure_all()?;
    run.compute_custom()?;
    run.record.ended = if interrupted() { RunEnded::Interrupted } else { RunEnded::Finished };
    run.save()?;
    Ok(run)
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|t| t.as_secs()).unwrap_or(0)
}

/// Models as the command line names them.
#[derive(Default)]
pub struct Named {
    /// By name, or by the path of their own folder.
    pub alone: Vec<String>,
    /// By the path of a folder that holds them.
    pub in_folders: Vec<String>,
}

/// Reads the world with the models that are named, and finds out which those are. A path stands for every model in it.
pub fn read_world(args: &CheckArgs) -> Result<(World, Named)> {
    let is_model = |path: &Path| path.join("model.toml").is_file();
    let is_path = |model: &&String| model.contains('/') || is_model(Path::new(model));
    let paths: Vec<PathBuf> = args.model.iter().filter(is_path).map(PathBuf::from).collect();
    let paths_say_all = !paths.is_empty() && paths.len() == args.model.len();
    let mut world = World::read(&args.places, &paths, paths_say_all)?;
    world.build_with(args.builder);
    let mut named = Named::default();
    for model in &args.model {
        let path = Path::new(model);
        if !is_path(&model) {
            named.alone.push(model.clone());
            continue;
        }
        let list = if is_model(path) { &mut named.alone } else { &mut named.in_folders };
        list.extend(world.models_in(path)?.iter().map(ToString::to_string));
    }
    Ok((world, named))
}

/// The world as the arguments say, and what they ask for in it.
pub fn planned(args: &CheckArgs) -> Result<(World, Plan)> {
    let (world, Named { alone: models, in_folders }) = read_world(args)?;
    let project = world.project.as_ref();
    let mut places: Vec<String> = args.target.iter().chain(&args.unit).cloned().collect();
    if places.is_empty() {
        places = project.map_or_else(|| vec!["host".into()], |p| p.targets.clone());
    }
    let variants = if args.variant.is_empty() {
        project.map(|p| p.variants.clone()).unwrap_or_default()
    } else {
        args.variant.clone()
    };
    let (samples, latency_iterations, stop_early) = (args.samples.unwrap_or(0), args.iterations, args.early_stop);
    let counts = Counts { samples, latency_iterations, stop_early, ..Counts::default() };
    let engines = args.engine.iter().map(|name| boardproof_plan::runner_engine(name)).collect::<Result<_, _>>()?;
    let wanted = Wanted { models, in_folders, variants, places, engines, counts };
    let policy = world.policy(args.policy.as_deref())?;
    let plan = boardproof_plan::plan(&wanted, &world.manifests, &world.targets, &world.units, policy)?;
    if !args.quiet {
        for (model, variant) in boardproof_plan::lacking(&wanted, &world.manifests)? {
            eprintln!("left out: model '{model}' has no variant '{variant}'");
        }
    }
    Ok((world, plan))
}

/// Nothing is trusted: every file is read and checked before anything is built or shipped.
pub fn check_inputs(plan: &Plan) -> Result<()> {
    for model in plan.models.values() {
        let bytes = std::fs::read(&model.evalset.file)
            .with_context(|| format!("could not read evalset {}", model.evalset.file))?;
        boardproof_plan::evalset::check_evalset(model, &bytes)?;
        model.variants.values().try_for_each(check_variant)?;
    }
    Ok(())
}

/// Puts files with their samples in the order that was drawn in the place of the evalsets that have one.
fn put_in_order(plan: &mut Plan) -> Result<()> {
    for model in plan.models.values_mut() {
        if let Some(drawn) = model.evalset.order {
            model.evalset = boardproof_lab::order::ordered(&model.evalset, drawn, &cache_folder())
                .with_context(|| format!("could not order the samples of evalset {}", model.evalset.file))?;
        }
    }
    Ok(())
}

/// A variant's file must be what its manifest says.
pub fn check_variant(variant: &Variant) -> Result<()> {
    let bytes = std::fs::read(&variant.file).with_context(|| format!("could not read model file {}", variant.file))?;
    let found = Digest::of(&bytes);
    if found == variant.digest {
        return Ok(());
    }
    Err(PlanError::Value {
        file: format!("model file {}", variant.file),
        what: "it is not what model.toml says".into(),
        expected: format!("sha256 {} of {} bytes", variant.digest, variant.bytes),
        found: format!("{found} of {}", bytes.len()),
    }
    .into())
}

pub fn out_folder(args: &CheckArgs, world: &World) -> PathBuf {
    let of_run = || {
        let base = world.project.as_ref().map_or_else(|| PathBuf::from("boardproof-out"), |p| world.root.join(&p.out));
        // The process id keeps two runs of the same second apart.
        base.join(format!("{}-{}", now_s(), std::process::id()))
    };
    args.out.clone().unwrap_or_else(of_run)
}

/// Folder for what this machine keeps between runs.
pub fn cache_folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("boardproof/host")
}

/// Codes the runner while the board starts, when that was not done at its build.
fn code_for_the_wire(target: &Target, made: &Made) -> Option<JoinHandle<()>> {
    let blob = Blob::runner(made.runners.values().next()?);
    let work = move || drop(prepare(&blob, &cache_folder()));
    matches!(target.link, LinkSpec::Ssh).then(|| std::thread::spawn(work))
}

/// Programs for a unit.
#[derive(Default)]
struct Made {
    /// The agent, or the firmware that is one; none on a simulated device.
    agent: Option<Artifact>,
    /// The runner of each engine that the unit's cells name, in each layout that is asked for; none in a firmware.
    runners: BTreeMap<(EngineName, Option<u32>), Artifact>,
    /// The libraries that are kept for engines which are some; without one the unit's own is used, and where the target names that.
    libraries: BTreeMap<EngineName, Library>,
}

struct Run<'a> {
    record: Record,
    folder: RecordFolder,
    progress: Progress,
    start: Instant,
    args: &'a CheckArgs,
    /// Units of which it was told that nothing proves which they are.
    unproved: BTreeSet<UnitName>,
    /// Crash that the next cell on a firmware is asked for.
    crash: Option<Crash>,
    /// Layout of the runner that judged cells are measured with.
    layout: Option<u32>,
    /// Asks for cells again and again, in place of each once.
    schedule: Option<&'a mut dyn Schedule>,
}

/// What a unit's cells are measured with.
enum Seat {
    /// Our own programs.
    Agent(Box<Bench>),
    /// Firmware of somebody else.
    Dialect(Box<DialectBench>),
}

/// What measuring on one unit takes besides the link.
struct Ready<'a> {
    target: &'a Target,
    made: &'a Made,
    board: Option<&'a crate::board::Board>,
    /// Debug probe of a unit that has a firmware.
    probe: Option<Rc<UnitProbe>>,
}

impl Run<'_> {
    fn save(&mut self) -> Result<()> {
        self.record.elapsed_ms = self.start.elapsed().as_millis() as u64;
        Ok(self.folder.save(&self.record)?)
    }

    /// Labels and slices go into the record, so that it can be judged anywhere.
    fn keep_evalsets(&mut self) -> Result<()> {
        for model in self.record.plan.models.values() {
            let bytes = std::fs::read(&model.evalset.file)
                .with_context(|| format!("could not read evalset {}", model.evalset.file))?;
            let with_inputs = matches!(model.task, Task::Anomaly);
            let part = judging_part(&bytes, with_inputs, &model.evalset.inputs)
                .context("could not cut labels out of the evalset")?;
            let file = self.folder.keep(&format!("evalsets/{}.safetensors", model.evalset.digest), &part)?;
            self.record.evalsets.insert(model.evalset.digest, file);
        }
        Ok(())
    }

    /// Samples whose answers flipped go into the record, too. Without them a report has no pictures and everything else.
    fn keep_shown(&mut self) -> Result<()> {
        if let Err(error) = crate::shown::keep(&self.folder, &mut self.record) {
            self.progress.warn(&format!("warning: no samples are kept for the report: {error:#}"));
        }
        self.save()
    }

    fn measure_all(&mut self) -> Result<()> {
        let mut units: Vec<Unit> = Vec::new();
        for cell in &self.record.plan.cells {
            if !units.iter().any(|u| u.name == cell.unit) {
                units.push(self.record.plan.units[&cell.unit].clone());
            }
        }
        for unit in units {
            if interrupted() {
                break;
            }
            self.measure_unit(&unit)?;
        }
        Ok(())
    }

    /// Everything planned on one unit. What stops the whole unit becomes the outcome of each of its cells.
    fn measure_unit(&mut self, unit: &Unit) -> Result<()> {
        let target = self.record.plan.targets[&unit.target].clone();
        let cells: Vec<Cell> = self.record.plan.cells.iter().filter(|c| c.unit == unit.name).cloned().collect();
        let made = match self.build(&target, &cells) {
            Ok(built) => built,
            Err(error) => return self.all(&cells, Outcome::BuildFailed, "build", error.into()),
        };
        let wait = Duration::from_secs(self.args.wait);
        let coding = code_for_the_wire(&target, &made);
        let progress = &mut self.progress;
        let lease = Lease::take(&Place::of(&target).folder, &unit.name, wait, interrupted, &mut |line| {
            progress.hear(Event::Said(line.into()))
        });
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => return self.all(&cells, Outcome::ShipFailed, "take the unit", error.into()),
        };
        let board = match crate::board::switch_on(unit, &target, &mut self.progress) {
            Ok(board) => board,
            Err(error) => return self.all(&cells, Outcome::DeviceFault, "switch the unit on", error),
        };
        if let Some(coding) = coding {
            // What it could not do, shipping will find again and tell.
            let _ = coding.join();
        }
        let done = match self.flashed(unit, Ready { target: &target, made: &made, board: board.as_ref(), probe: None })
        {
            Ok(ready) => self.measure_ready(unit, &cells, &lease, &ready),
            Err(error) => self.all(&cells, Outcome::ShipFailed, "flash the firmware", error),
        };
        // Whatever became of the cells: what was switched on is switched off. That it stays on is no fault of what was measured, and the
        // other units still have their turn.
        if let Some(Err(error)) = board.map(|board| board.switch_off(unit, &self.folder)) {
            self.progress.warn(&not_switched_off(unit, &error));
        }
        drop(lease);
        done
    }

    /// Brings the firmware onto a unit that has one, unless it is there already, and starts it. A target that has no probe must have been
    /// flashed by somebody: what the unit greets with says whether that was this firmware. Cells whose model its engine cannot run are
    /// known by now, and if no other is left nothing is flashed.
    fn flashed<'a>(&mut self, unit: &Unit, ready: Ready<'a>) -> Result<Ready<'a>> {
        let (Some(_), Some(firmware)) = (&ready.target.build.firmware, &ready.made.agent) else { return Ok(ready) };
        let planned = self.record.plan.cells.iter().filter(|c| c.unit == unit.name);
        if planned.clone().all(|cell| self.refused_on_host(cell).is_some()) {
            return Ok(ready);
        }
        let probe = UnitProbe::of(unit, ready.target, firmware, ready.board)?.map(Rc::new);
        if let Some(probe) = &probe {
            probe.flash(&mut |line| self.progress.hear(Event::Said(line)))?;
        }
        Ok(Ready { probe, ..ready })
    }

    /// The cells of a unit that is held and switched on.
    fn measure_ready(&mut self, unit: &Unit, cells: &[Cell], lease: &Lease, ready: &Ready<'_>) -> Result<()> {
        if ready.target.dialect.is_some() {
            let bench = DialectBench::new(unit, ready.target, interrupted);
            return self.measure_asked(cells, &mut Seat::Dialect(Box::new(bench)), ready);
        }
        let stores = cache_folder().join("units");
        let destination = match (&ready.target.link, &ready.probe) {
            (LinkSpec::Rtt, Some(probe)) => Some(Destination::Carrier(crate::rtt::carrier(probe))),
            _ => ready.board.and_then(crate::board::Board::destination),
        };
        let reach = match Reach::new(unit, ready.target, ready.made.agent.as_ref(), &stores, destination) {
            Ok(reach) => reach,
            Err(error) => return self.all(cells, Outcome::ShipFailed, "reach the unit", error.into()),
        };
        let wait = Duration::from_secs(self.args.wait);
        let mut bench = Bench::new(reach, lease, cache_folder(), wait, interrupted);
        if ready.board.is_some() || ready.target.probe.is_some() {
            bench = bench.of_a_starting_unit();
        }
        match crate::hands::of(unit, ready.target, ready.made.agent.as_ref(), ready.board, ready.probe.as_ref()) {
            Ok(Some((hands, symbols))) => bench = bench.with_hands(hands, symbols),
            Ok(None) => {}
            Err(error) => return self.all(cells, Outcome::ShipFailed, "find the unit's debug probe", error),
        }
        self.measure_asked(cells, &mut Seat::Agent(Box::new(bench)), ready)
    }

    fn measure_asked(&mut self, cells: &[Cell], seat: &mut Seat, ready: &Ready<'_>) -> Result<()> {
        match self.schedule.take() {
            Some(schedule) => self.measure_blocks(schedule, cells, seat, ready),
            None => self.measure_cells(cells, seat, ready),
        }
    }

    /// The cells of a unit that is ready, one after the other; the record is saved after each.
    fn measure_cells(&mut self, cells: &[Cell], seat: &mut Seat, ready: &Ready<'_>) -> Result<()> {
        let number = self.record.plan.cells.len();
        for cell in cells {
            if interrupted() {
                break;
            }
            let at = 1 + self.record.plan.cells.iter().position(|c| c.id == cell.id).unwrap_or(0);
            self.progress.hear(Event::CellStarted { cell: cell.id.clone(), number: at, of: number });
            self.measure_one(cell, seat, ready)?;
        }
        self.time_again(cells, seat, ready)
    }

    fn measure_one(&mut self, cell: &Cell, seat: &mut Seat, ready: &Ready<'_>) -> Result<()> {
        let mut outcome = match (self.refused_on_host(cell), seat) {
            (Some(reason), _) => Outcome::Skipped { reason },
            (None, Seat::Dialect(bench)) => self.measure_foreign(bench, cell),
            (None, Seat::Agent(bench)) => match self.job(cell, ready) {
                Ok(job) => self.measure_cell(bench, &job),
                Err(error) => Outcome::ShipFailed(fault_of("prepare model and samples", &error)),
            },
        };
        if let Some(board) = ready.board {
            board.add_console(&mut outcome);
        }
        self.tell_unproved(cell, ready.target, &outcome);
        self.progress.hear(Event::CellEnded { cell: cell.id.clone(), outcome: verdict::in_a_word(&outcome) });
        self.record.outcomes.insert(cell.id.clone(), outcome);
        self.save()
    }

    /// Says once of a unit that nothing proves which board it is, and what would.
    fn tell_unproved(&mut self, cell: &Cell, target: &Target, outcome: &Outcome) {
        let Outcome::Measured(seen) = outcome else { return };
        let Some(line) = unproved(&self.record.plan.units[&cell.unit], target, &seen.device.identity) else { return };
        if self.unproved.insert(cell.unit.clone()) {
            self.progress.hear(Event::Said(line));
        }
    }

    /// A model that the engine could not read on this machine is not shipped: the same engine will not read it elsewhere. The gate finds
    /// the reason in the host's cell.
    fn refused_on_host(&self, cell: &Cell) -> Option<String> {
        let host = self.record.plan.on_host(cell).filter(|host| host.id != cell.id)?;
        let Outcome::Measured(seen) = &self.record.outcomes[&host.id] else { return None };
        seen.unreadable().map(|_| format!("the engine could not read the model on {}", host.unit))
    }

    /// Measures a cell on firmware of somebody else, which has its model inside.
    fn measure_foreign(&mut self, bench: &DialectBench, cell: &Cell) -> Outcome {
        let model = &self.record.plan.models[&cell.model];
        let job = DialectJob { cell, model, variant: &model.variants[&cell.variant] };
        bench.measure(&job, &self.folder, &mut self.progress)
    }

    /// Measures a cell, or takes answers that an earlier run has kept.
    fn measure_cell(&mut self, bench: &mut Bench, job: &Job<'_>) -> Outcome {
        let cache = cache_folder();
        let kept = if self.args.no_reference_cache { None } else { reference::take(&cache, job, &self.folder) };
        if let Some(seen) = kept {
            return Outcome::Measured(Box::new(seen));
        }
        let mut watcher = Watcher::new(&self.record, &self.folder, job.cell);
        let (outcome, _) =
            bench.measure_watched(job, &self.folder, &mut self.progress, &mut |so_far| watcher.look(so_far));
        if let Some(why) = watcher.blind() {
            self.progress.warn(&format!("warning: the accuracy pass could not be looked at while it ran: {why}"));
        }
        if let Outcome::Measured(seen) = &outcome
            && let Err(error) = reference::keep(&cache, job, seen, &self.folder)
        {
            // A cache that cannot be written costs time and nothing else.
            self.progress.hear(Event::Said(format!("the answers were not kept: {error}")));
        }
        outcome
    }

    /// The layout that a cell is measured with, where its unit's runners were made in it.
    fn layout_on(&self, cell: &Cell, made: &Made) -> Option<u32> {
        self.layout.filter(|layout| made.runners.contains_key(&(cell.engine.clone(), Some(*layout))))
    }

    /// Layouts in which the runners of a unit's cells are wanted: on this machine only where something is judged, so that a reference is
    /// what it was.
    fn layouts(&self, cells: &[Cell]) -> Vec<Option<u32>> {
        let of_schedule = self.schedule.as_ref().map(|schedule| schedule.layouts()).unwrap_or_default();
        match of_schedule.as_slice() {
            [] => vec![self.layout.filter(|_| cells.iter().any(|cell| cell.judged))],
            some => some.iter().copied().map(Some).collect(),
        }
    }

    /// The agent, where the unit needs one, and the runners of its cells.
    fn build(&mut self, target: &Target, cells: &[Cell]) -> Result<Made, BuildError> {
        let workshop = Workshop::open()?;
        let layouts = self.layouts(cells);
        let is_repetition = self.args.layout.is_some();
        let progress = &mut self.progress;
        let mut make = |program, layout| {
            let mut say = |line: &str| progress.hear(Event::Said(line.into()));
            match workshop.artifact_in(program, &target.build, layout, &mut say) {
                Err(error @ BuildError::Layout { .. }) if is_repetition => {
                    say(&format!("{error}: the same build is used again"));
                    workshop.artifact(program, &target.build, &mut say)
                }
                made => made,
            }
        };
        let mut made = Made::default();
        for program in programs(target) {
            match program {
                Program::Agent | Program::Firmware => made.agent = Some(make(*program, None)?),
                Program::Runner(_) => {
                    for engine in cells.iter().map(|cell| &cell.engine).collect::<BTreeSet<_>>() {
                        // A plan has no engine that nobody can build.
                        let Some(program) = Program::runner_of(engine.as_str()) else { continue };
                        for layout in &layouts {
                            made.runners.insert((engine.clone(), *layout), make(program, *layout)?);
                        }
                        let kept = Library::kept(&cache_folder(), engine.as_str(), &target.architecture);
                        let shipped = kept.filter(|_| target.own_library().is_none());
                        made.libraries.extend(shipped.map(|library| (engine.clone(), library)));
                    }
                }
            }
        }
        let programs = made.agent.iter().chain(made.runners.values()).map(|artifact| artifact.build.clone());
        for build in programs.chain(made.libraries.values().map(Library::build)) {
            if !self.record.builds.iter().any(|known| known.digest == build.digest) {
                self.record.builds.push(build);
            }
        }
        Ok(made)
    }

    fn job<'c>(&mut self, cell: &'c Cell, ready: &Ready<'c>) -> Result<Job<'c>> {
        let (target, made) = (ready.target, ready.made);
        let model = &self.record.plan.models[&cell.model];
        let variant = &model.variants[&cell.variant];
        let library = made.libraries.get(&cell.engine);
        let blob =
            |what: &str, path: &str, digest| Blob { what: what.into(), path: path.into(), digest, program: false };
        let (model_blob, evalset, sample_bytes, options) = if target.build.firmware.is_some() {
            let samples = cell.passes.iter().map(|pass| pass.samples).max().unwrap_or(0);
            let prepared = micro::prepare(model, variant, samples, &cache_folder())?;
            let options = JobOptions::of_firmware(cell, self.crash.take().map_or("", Crash::options));
            (prepared.model, prepared.samples, Some(prepared.sample_bytes), options)
        } else {
            let shipped = library.map(|library| library.digest);
            let options = options(model, variant, target, cell, shipped);
            let model_blob = blob("model", &variant.file, variant.digest);
            (model_blob, blob("evalset", &model.evalset.file, model.evalset.digest), None, options)
        };
        let runner = made.runners.get(&(cell.engine.clone(), self.layout_on(cell, made))).map(Blob::runner);
        let library = library.map(|library| library.blob(&cache_folder()));
        let agent_digest = made.agent.as_ref().map(|agent| agent.build.digest);
        Ok(Job { cell, runner, library, model: model_blob, evalset, sample_bytes, options, target, agent_digest })
    }

    /// The same fault for every cell of a unit.
    fn all(&mut self, cells: &[Cell], outcome: fn(Fault) -> Outcome, action: &str, error: anyhow::Error) -> Result<()> {
        let fault = fault_of(action, &error);
        self.progress.hear(Event::Said(format!("could not {action}: {}", fault.causes.join(": "))));
        for cell in cells {
            self.record.outcomes.insert(cell.id.clone(), outcome(fault.clone()));
        }
        self.save()
    }
}

/// A board that the inventory does not tell from others of its kind, and how it could.
fn unproved(unit: &Unit, target: &Target, found: &str) -> Option<String> {
    let power = unit.power.as_ref().unwrap_or(&target.power);
    let own = matches!(power, PowerSpec::Qemu { .. } | PowerSpec::Machine { .. });
    if !matches!(target.link, LinkSpec::Ssh | LinkSpec::Serial { .. } | LinkSpec::Rtt) || own || unit.identity.is_some()
    {
        return None;
    }
    let name = &unit.name;
    let remedy = match found {
        "" => "this board tells none".to_owned(),
        found => format!("write `identity = \"{found}\"` into its entry if this is the board that is meant"),
    };
    Some(format!("unit '{name}' has no identity in the inventory, nothing proves that it is the right board: {remedy}"))
}

/// What stopped a unit before its first cell, and what to do about it.
fn fault_of(action: &str, error: &anyhow::Error) -> Fault {
    Fault {
        action: action.into(),
        causes: error.chain().map(ToString::to_string).collect(),
        hints: crate::hints(error),
        console: Vec::new(),
        attempts: Vec::new(),
        passes: Vec::new(),
        shipped: Shipped::default(),
    }
}

fn not_switched_off(unit: &Unit, error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    format!("warning: unit '{}' may still be on, it could not be switched off: {}", unit.name, causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_lab::power::QemuError;

    #[test]
    fn a_board_that_could_be_any_is_told_with_the_line_that_proves_it() {
        let text = "schema = 1\n[[unit]]\nname = 'bench'\ntarget = 'raspberry-pi-4'\naddress = 'board'\n";
        let unit = |more: &str| {
            let units = boardproof_plan::parse_inventory("inventory", &format!("{text}{more}")).unwrap();
            units.into_values().next().unwrap()
        };
        let target = |name: &str| {
            let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
            boardproof_plan::parse_target(name, text).unwrap()
        };
        let line = unproved(&unit(""), &target("raspberry-pi-4"), "0123").unwrap();
        assert!(line.contains("unit 'bench' has no identity") && line.contains("`identity = \"0123\"`"), "{line}");
        assert!(unproved(&unit(""), &target("raspberry-pi-4"), "").unwrap().ends_with("tells none"));
        assert_eq!(unproved(&unit("identity = '0123'\n"), &target("raspberry-pi-4"), "0123"), None);
        for own in ["virtual-board-aarch64", "host", "sim"] {
            assert_eq!(unproved(&unit(""), &target(own), "0123"), None, "{own}");
        }
    }

    #[test]
    fn what_a_unit_lacks_to_be_switched_on_comes_with_how_to_get_it() {
        let missing = QemuError::Missing { program: "setpriv", package: "util-linux" };
        let fault = fault_of("switch the unit on", &anyhow::Error::from(missing).context("could not boot x"));
        assert_eq!(fault.causes, ["could not boot x", "could not boot the board: setpriv was not found"]);
        assert_eq!(fault.hints, ["apt-get install util-linux"]);
    }
}
