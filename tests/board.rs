//! What breaks on a board: a whole ARM Linux in QEMU behind SSH, faults set from inside the run. One boot per test.
//!
//! In each: the right kind of outcome, every attempt told, what was measured kept, an end in bounded time.

use crate::tool::{Home, root};
use boardproof_lab::build::{Artifact, Program, Workshop};
use boardproof_lab::events::Event;
use boardproof_lab::lease::Lease;
use boardproof_lab::measure::{Bench, Job, options};
use boardproof_lab::power::{Power, QemuBoard, QemuSpec};
use boardproof_lab::reach::Reach;
use boardproof_lab::ship::Blob;
use boardproof_lab::store::RecordFolder;
use boardproof_plan::{Counts, Plan, Wanted, builtin, parse_model, parse_policy, parse_target, plan};
use boardproof_record::observation::{Ended, Outcome};
use boardproof_record::plan::{Cell, Pass, Target, Unit};
use boardproof_record::{EngineName, UnitName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time for a boot.
const BOOT: Duration = Duration::from_secs(180);
/// Time for an answer of QEMU's monitor.
const MONITOR: Duration = Duration::from_secs(20);
/// A fault must have ended a cell by then. Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(180);
/// Target of these tests.
const TARGET: &str = "virtual-board-aarch64";
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// One board at a time: a machine of two cores that emulates two boards would measure its own patience.
static TURN: Mutex<()> = Mutex::new(());

/// A booted board and what a cell on it needs.
struct Site {
    _turn: MutexGuard<'static, ()>,
    home: Home,
    board: QemuBoard,
    plan: Plan,
    agent: Artifact,
    runner: Artifact,
    folder: RecordFolder,
    lease: Lease,
}

fn never() -> bool {
    false
}

impl Site {
    /// Boots a board whose home has this many KiB, and plans the float model on it with this many inferences.
    fn new(home_kb: Option<u32>, iterations: u32) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let home = Home::new();
        let workshop = Workshop::open().expect("the source is here");
        let plan = planned(iterations);
        let build = &plan.targets.values().find(|t| t.name.as_str() == TARGET).expect("it was planned").build;
        let make = |program| workshop.artifact(program, build, &mut |line| eprintln!("{line}")).expect("it builds");
        let (agent, runner) = (make(Program::Agent), make(Program::Runner));
        let spec = QemuSpec { image: image(), memory_mb: 1024, cpus: 2, machine_id: MACHINE_ID.into(), home_kb };
        let board = QemuBoard::boot(&spec, BOOT).expect("the board boots");
        let folder = RecordFolder::create(&home.path("record")).expect("the folder is new");
        let name = UnitName::new(TARGET).expect("a name");
        let lease = Lease::take(&home.path("leases"), &name, Duration::ZERO, never, &mut |_| {}).expect("it is free");
        Self { _turn: turn, home, board, plan, agent, runner, folder, lease }
    }

    fn cell(&self) -> &Cell {
        self.plan.cells.iter().find(|c| c.unit.as_str() == TARGET).expect("a cell on the board was planned")
    }

    fn unit(&self) -> Unit {
        self.plan.units[&self.cell().unit].clone()
    }

    fn target(&self) -> &Target {
        &self.plan.targets[&self.unit().target]
    }

    fn reach(&self, unit: &Unit, agent: &Artifact) -> Reach {
        let stores = self.home.path("stores");
        Reach::new(unit, self.target(), Some(agent), &stores, Some(self.board.destination()))
            .expect("the unit is complete")
    }

    fn bench(&self) -> Bench {
        let reach = self.reach(&self.unit(), &self.agent);
        Bench::new(reach, &self.lease, self.home.path("cache/boardproof/host"), Duration::ZERO, never)
    }

    fn job<'a>(&self, cell: &'a Cell) -> Job<'a> {
        let model = &self.plan.models[&cell.model];
        let variant = &model.variants[&cell.variant];
        let blob = |what: &str, path: PathBuf, digest| Blob { what: what.into(), path, digest, program: false };
        Job {
            cell,
            runner: Blob { program: true, ..blob("runner", self.runner.path.clone(), self.runner.build.digest) },
            model: blob("model", (&variant.file).into(), variant.digest),
            evalset: blob("evalset", (&model.evalset.file).into(), model.evalset.digest),
            options: options(model, variant),
            emulated: true,
            agent_digest: Some(self.agent.build.digest),
        }
    }

    /// Measures the cell; `hear` sees every event as it happens and may break the board.
    fn measure(&mut self, mut hear: impl FnMut(&mut QemuBoard, &Event)) -> (Outcome, Duration) {
        let cell = self.cell().clone();
        let mut bench = self.bench();
        let job = self.job(&cell);
        let start = Instant::now();
        let board = &mut self.board;
        let (outcome, _) = bench.measure(&job, &self.folder, &mut |event: Event| hear(board, &event));
        (outcome, start.elapsed())
    }
}

/// The float model on the board, 64 samples.
fn planned(iterations: u32) -> Plan {
    let folder = root().join("models/mnist_dscnn");
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("it is in the repository");
    let manifest = parse_model("model.toml", &folder.display().to_string(), &read(folder.join("model.toml")));
    let manifest = manifest.expect("a model of the repository");
    let manifests = BTreeMap::from([(manifest.model.name.clone(), manifest)]);
    let targets = builtin::TARGETS.iter().map(|(name, text)| parse_target(name, text).expect("a target of boardproof"));
    let targets = targets.map(|t| (t.name.clone(), t)).collect();
    let wanted = Wanted {
        models: vec!["mnist_dscnn".into()],
        variants: vec!["f32".into()],
        places: vec![TARGET.into()],
        engine: EngineName::new("tract").expect("a name"),
        counts: Counts { samples: 64, latency_iterations: iterations, ..Counts::default() },
    };
    let policy = parse_policy("default", builtin::POLICY).expect("the default policy");
    plan(&wanted, &manifests, &targets, &BTreeMap::new(), policy).expect("a plan")
}

fn image() -> PathBuf {
    let mut build = Command::new("sh");
    build.arg(root().join("targets/virtual-board/build-image")).arg(root().join("target/virtual-board"));
    let output = build.stderr(Stdio::inherit()).output().expect("there is a shell");
    assert!(output.status.success(), "the image could not be made");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// The SSH client that leads to the agent of this board.
fn ssh_client(board: &QemuBoard) -> u32 {
    let (us, port) = (std::process::id(), format!(" -p {} ", board.destination().port.expect("it listens")));
    let clients = crate::processes::all().into_iter().filter(|p| p.parent == us && p.command.starts_with("ssh "));
    clients
        .filter(|p| p.command.contains(&port) && p.command.contains(" serve "))
        .map(|p| p.id)
        .next()
        .expect("a link is in use")
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_link_cut_in_mid_upload_goes_on_where_it_stopped() {
    let mut site = Site::new(None, 700);
    let mut cut_at = None;
    let mut first_after = None;
    let (outcome, elapsed) = site.measure(|board, event| {
        let Event::Shipped { what, done, total } = event else { return };
        if what != "runner" {
            return;
        }
        match cut_at {
            None if *done > total / 2 => {
                crate::tool::signal(ssh_client(board), "KILL");
                cut_at = Some(*done);
            }
            // Pieces that were on their way may still be answered; a restart would begin below.
            Some(_) if first_after.is_none() => first_after = Some(*done),
            _ => {}
        }
    });
    assert!(elapsed < SOON, "{elapsed:?}");
    let Outcome::Measured(seen) = outcome else { panic!("{outcome:?}") };
    let failed: Vec<_> = seen.attempts.iter().filter(|a| a.error.is_some()).collect();
    assert_eq!(failed.len(), 1, "{:?}", seen.attempts);
    assert_eq!(failed[0].action, "prepare the unit");
    let (cut_at, after) = (cut_at.expect("it was cut"), first_after.expect("it went on"));
    assert!(after >= cut_at, "cut at {cut_at}, began again at {after}");
    let coded =
        std::fs::metadata(site.home.path(&format!("cache/boardproof/host/coded/{}.zst", site.runner.build.digest)));
    let coded = coded.expect("the runner was compressed").len();
    assert!(seen.shipped.wire_bytes < coded, "{:?} of {coded}", seen.shipped);
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_reset_in_mid_run_is_a_fault_that_keeps_what_was_measured() {
    let mut site = Site::new(None, 100_000);
    let mut reset = false;
    let (outcome, elapsed) = site.measure(|board, event| {
        if !reset && matches!(event, Event::PassAdvanced { pass: Pass::Latency, .. }) {
            board.reset(BOOT).expect("the board comes up again");
            reset = true;
        }
    });
    assert!(reset && elapsed < SOON, "{elapsed:?}");
    let Outcome::DeviceFault(fault) = outcome else { panic!("{outcome:?}") };
    assert_eq!(fault.action, "latency pass");
    assert!(fault.attempts.iter().any(|a| a.error.is_some()), "{:?}", fault.attempts);
    assert!(fault.causes.join(": ").contains("reset"), "{:?}", fault.causes);
    let kept: Vec<_> = fault.passes.iter().map(|p| (p.pass, p.ended)).collect();
    assert!(kept.contains(&(Pass::Accuracy, Ended::Completed)), "{kept:?}");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_that_hangs_is_given_up_in_bounded_time() {
    let mut site = Site::new(None, 100_000);
    let mut hung = false;
    let (outcome, elapsed) = site.measure(|board, event| {
        if !hung && matches!(event, Event::PassAdvanced { pass: Pass::Latency, .. }) {
            board.hang(MONITOR).expect("the monitor answers");
            hung = true;
        }
    });
    assert!(hung && elapsed < SOON, "{elapsed:?}");
    let Outcome::TimedOut(fault) = outcome else { panic!("{outcome:?}") };
    assert_eq!(fault.action, "latency pass");
    assert!(fault.passes.iter().any(|p| p.pass == Pass::Accuracy && p.ended == Ended::Completed));
}
