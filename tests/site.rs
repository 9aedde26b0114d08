//! A booted virtual board and everything that measuring a cell on it needs: owns boots, plans, jobs, and what the board says of itself.

use crate::tool::{Ended, Home, Running, root};
use boardproof_lab::build::{Artifact, Program, Workshop};
use boardproof_lab::events::Event;
use boardproof_lab::lease::Lease;
use boardproof_lab::link::ssh_command;
use boardproof_lab::measure::{Bench, Job, options};
use boardproof_lab::power::{QemuBoard, QemuSpec};
use boardproof_lab::reach::{Destination, Reach};
use boardproof_lab::ship::Blob;
use boardproof_lab::store::{RecordFolder, judging_part};
use boardproof_plan::{Counts, Plan, Wanted, builtin, parse_model, parse_policy, parse_target, plan};
use boardproof_record::observation::Outcome;
use boardproof_record::plan::{Cell, Pass, TRACT, Target, Unit};
use boardproof_record::record::{Record, RunEnded};
use boardproof_record::{Digest, UnitName};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time for a boot.
pub const BOOT: Duration = Duration::from_secs(180);
/// Time for an answer of QEMU's monitor.
pub const MONITOR: Duration = Duration::from_secs(20);
/// A fault must have ended a cell by then. Generous: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(180);
/// Target of these tests.
pub const TARGET: &str = "virtual-board-aarch64";
/// The board under this name in an inventory, for the tool: a board that somebody else switches.
pub const UNIT: &str = "bench";
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// One test at a time: a machine of two cores that emulates two busy boards would measure its own patience. The board that tests
/// leave whole is kept for the next one: most of a test's time would be booting and shipping.
static TURN: Mutex<Option<QemuBoard>> = Mutex::new(None);

/// What to boot.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    /// Memory.
    pub memory_mb: u32,
    /// Size of the home, in KiB; `None` for the image's own.
    pub home_kb: Option<u32>,
}

impl Default for Boot {
    fn default() -> Self {
        Self { memory_mb: 1024, home_kb: None }
    }
}

/// A booted board and what a cell on it needs.
pub struct Site {
    turn: MutexGuard<'static, Option<QemuBoard>>,
    /// It goes back to the others when the test is over.
    shared: bool,
    board: Option<QemuBoard>,
    pub home: Home,
    pub plan: Plan,
    pub agent: Artifact,
    pub runner: Artifact,
    pub folder: RecordFolder,
    lease: Lease,
}

impl Drop for Site {
    fn drop(&mut self) {
        // What a test that failed has left behind is nothing to go on with.
        if self.shared && !std::thread::panicking() {
            *self.turn = self.board.take();
        }
    }
}

/// Nobody interrupts a test.
pub fn never() -> bool {
    false
}

impl Site {
    /// A board of this test's own, to be broken at will.
    pub fn boot(boot: Boot) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let board = start(boot);
        Self::on(turn, board, false)
    }

    /// The board that tests share. They leave it running and its user's processes ended.
    pub fn shared() -> Self {
        let mut turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let board = turn.take().unwrap_or_else(|| start(Boot::default()));
        Self::on(turn, board, true)
    }

    fn on(turn: MutexGuard<'static, Option<QemuBoard>>, board: QemuBoard, shared: bool) -> Self {
        let home = Home::new();
        let plan = planned();
        let (agent, runner) = programs(plan.targets.values().find(|t| t.name.as_str() == TARGET).expect("planned"));
        let folder = RecordFolder::create(&home.path("measured")).expect("the folder is new");
        let name = UnitName::new(TARGET).expect("a name");
        let lease = Lease::take(&home.path("leases"), &name, Duration::ZERO, never, &mut |_| {}).expect("it is free");
        Self { turn, shared, board: Some(board), home, plan, agent, runner, folder, lease }
    }

    pub fn board(&mut self) -> &mut QemuBoard {
        self.board.as_mut().expect("it is there until the end")
    }

    fn standing(&self) -> &QemuBoard {
        self.board.as_ref().expect("it is there until the end")
    }

    /// The cell on the board: all four passes of the float model over 64 samples, with so many timed inferences.
    pub fn cell(&self, iterations: u32) -> Cell {
        let mut cell = self.plan.cells.iter().find(|c| c.unit.as_str() == TARGET).expect("it was planned").clone();
        let latency = cell.passes.iter_mut().find(|p| p.pass == Pass::Latency).expect("a timed cell");
        (latency.iterations, latency.enough) = (iterations, 0);
        cell
    }

    fn unit(&self) -> Unit {
        self.plan.units[&UnitName::new(TARGET).expect("a name")].clone()
    }

    fn target(&self) -> &Target {
        &self.plan.targets[&self.unit().target]
    }

    pub fn reach(&self) -> Reach {
        let stores = self.home.path("stores");
        let destination = Some(self.standing().destination());
        Reach::new(&self.unit(), self.target(), Some(&self.agent), &stores, destination.map(Destination::Ssh))
            .expect("the unit is complete")
    }

    pub fn bench(&self) -> Bench {
        Bench::new(self.reach(), &self.lease, self.home.path("cache/boardproof/host"), Duration::ZERO, never)
    }

    fn job<'a>(&'a self, cell: &'a Cell, runner: &Path, runner_digest: Digest) -> Job<'a> {
        let model = &self.plan.models[&cell.model];
        let variant = &model.variants[&cell.variant];
        let blob = |what: &str, path: PathBuf, digest| Blob { what: what.into(), path, digest, program: false };
        Job {
            cell,
            runner: Some(Blob { program: true, ..blob("runner", runner.to_owned(), runner_digest) }),
            library: None,
            model: blob("model", (&variant.file).into(), variant.digest),
            evalset: blob("evalset", (&model.evalset.file).into(), model.evalset.digest),
            sample_bytes: None,
            options: options(model, variant, self.target(), cell, None),
            target: self.target(),
            agent_digest: Some(self.agent.build.digest),
        }
    }

    /// Measures a cell; `hear` sees every event as it happens and may break the board.
    pub fn measure(
        &mut self,
        bench: &mut Bench,
        cell: &Cell,
        mut hear: impl FnMut(&mut QemuBoard, &Event),
    ) -> (Outcome, Duration) {
        let mut board = self.board.take().expect("it is there until the end");
        let start = Instant::now();
        let job = self.job(cell, &self.runner.path, self.runner.build.digest);
        let (outcome, _) = bench.measure(&job, &self.folder, &mut |event: Event| hear(&mut board, &event));
        self.board = Some(board);
        (outcome, start.elapsed())
    }

    /// Measures a cell with another program in the place of the runner; the second value: something was shipped.
    pub fn measure_with(&mut self, bench: &mut Bench, cell: &Cell, runner: &Path) -> (Outcome, bool) {
        let digest = Digest::of(&std::fs::read(runner).expect("the program is there"));
        let mut shipped = false;
        let job = self.job(cell, runner, digest);
        let (outcome, _) = bench.measure(&job, &self.folder, &mut |event| {
            shipped |= matches!(event, Event::Shipped { .. });
        });
        (outcome, shipped)
    }

    /// What the gate says about this outcome of the cell, when nothing else was measured.
    pub fn judged(&self, cell: &Cell, outcome: Outcome) -> Ended {
        let mut record = Record::new(self.plan.clone(), "test".into(), 0);
        let evalset = &self.plan.models[&cell.model].evalset;
        let whole = std::fs::read(&evalset.file).expect("it is in the repository");
        let part = judging_part(&whole, false, &evalset.inputs).expect("an evalset");
        let file = self.folder.keep("evalset.safetensors", &part).expect("the record can be written");
        record.evalsets.insert(evalset.digest, file);
        let planned = record.plan.cells.iter_mut().find(|c| c.id == cell.id).expect("a cell of the plan");
        *planned = cell.clone();
        record.outcomes.insert(cell.id.clone(), outcome);
        record.ended = RunEnded::Finished;
        self.folder.save(&record).expect("the record can be written");
        self.home.run(["gate", self.folder.path().to_str().expect("a path of text")])
    }

    /// What the board's user is told by a shell there, both streams.
    pub fn says(&self, script: &str) -> String {
        says(self.standing(), "bp", script)
    }

    /// Programs that the board runs out of boardproof's folder, the agents' or all others'.
    pub fn running(&self, agents: bool) -> Vec<u32> {
        running(self.standing(), agents)
    }

    /// Starts the tool in this home, with the board as the unit [`UNIT`] of its inventory. `change` edits its target's file.
    pub fn start(&self, home: &Home, change: impl FnOnce(String) -> String, arguments: &[&str]) -> Running {
        self.write_inventory(home, change);
        let models = root().join("models");
        let models = models.to_str().expect("a path of text");
        let fixed = ["check", "mnist_dscnn", "-v", "f32", "--models", models, "--samples", "64", "--unit", UNIT];
        self.command(home, &[&fixed[..], arguments].concat())
    }

    /// Starts another command of the tool where its inventory is already.
    pub fn command(&self, home: &Home, arguments: &[&str]) -> Running {
        let places = ["--inventory", "inventory.toml", "--target-folder", "targets"];
        let mut command = home.command([arguments, &places].concat());
        let path = std::env::var("PATH").expect("there is a PATH");
        command.env("PATH", format!("{}:{path}", home.path("bin").display()));
        Running::of(command)
    }

    /// Writes the target `bench-board` into this home: the board as one that somebody else switches.
    pub fn write_target(&self, home: &Home) {
        write_target(home, |text| text);
    }

    fn write_inventory(&self, home: &Home, change: impl FnOnce(String) -> String) {
        let destination = self.standing().destination();
        write_target(home, change);
        let unit = format!(
            "schema = 1\n\n[[unit]]\nname = \"{UNIT}\"\ntarget = \"bench-board\"\naddress = \"{}\"\nport = {}\nuser = \"bp\"\n\
             identity_file = \"{}\"\nidentity = \"{MACHINE_ID}\"\n",
            destination.address,
            destination.port.expect("it listens"),
            destination.identity_file.expect("it has a key").display()
        );
        write(home, "inventory.toml", &unit);
        // The user of these tests has not met the board: the tool gets an `ssh` that has.
        let known = destination.known_hosts_file.expect("the board has its own");
        let script = format!(
            "#!/bin/sh\nPATH=${{PATH#*:}}\nexec ssh -o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null \"$@\"\n",
            known.display()
        );
        let ssh = write(home, "bin/ssh", &script);
        std::fs::set_permissions(ssh, std::fs::Permissions::from_mode(0o700)).expect("could not make it a program");
    }

    /// The outcome of the judged cell in a record that the tool left in this home.
    pub fn outcome(home: &Home, out: &str) -> Outcome {
        let record = home.record(out);
        let cell = record.plan.cells.iter().find(|c| c.judged).expect("one cell is judged");
        record.outcomes[&cell.id].clone()
    }
}

/// Writes a file of a home.
fn write(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.path(name);
    std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("could not make a folder");
    std::fs::write(&path, text).expect("could not write a file");
    path
}

/// The board's target under another name and without power commands: a board that somebody else switches. `change` edits the file.
fn write_target(home: &Home, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(root().join("targets").join(format!("{TARGET}.toml"))).expect("a target");
    let (head, rest) = text.split_once("[power]").expect("a target has its power");
    let (_, limits) = rest.split_once("[limits]").expect("a target has its limits");
    let text = format!("{head}[power]\nkind = \"none\"\n\n[limits]{limits}");
    let text = change(text.replace(&format!("name = \"{TARGET}\""), "name = \"bench-board\""));
    write(home, "targets/bench-board.toml", &text);
}

/// What a user of the board is told by a shell there, both streams.
pub fn says(board: &QemuBoard, user: &str, script: &str) -> String {
    let mut destination = board.destination();
    destination.user = Some(user.into());
    let output = ssh_command(&destination, script).stdin(Stdio::null()).output().expect("there is an ssh");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

/// Numbers of the processes on the board whose program lies in boardproof's folder there.
pub fn running(board: &QemuBoard, agents: bool) -> Vec<u32> {
    // A process that is gone between two looks is no line.
    let table = says(board, "bp", "ls -l /proc/[0-9]*/exe 2>/dev/null");
    let programs = table
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .filter(|(_, program)| program.contains("/boardproof/") && program.contains("/agent-") == agents);
    programs.filter_map(|(link, _)| link.split_once("/proc/")?.1.trim_end_matches("/exe").parse().ok()).collect()
}

fn start(boot: Boot) -> QemuBoard {
    let (memory_mb, home_kb) = (boot.memory_mb, boot.home_kb);
    let spec = QemuSpec { image: image(), memory_mb, cpus: 2, machine_id: MACHINE_ID.into(), home_kb };
    QemuBoard::boot(&spec, BOOT).expect("the board boots")
}

/// Agent and runner for a target.
pub fn programs(target: &Target) -> (Artifact, Artifact) {
    let workshop = Workshop::open().expect("the source is here");
    let make = |program| workshop.artifact(program, &target.build, &mut |line| eprintln!("{line}")).expect("it builds");
    (make(Program::Agent), make(Program::Runner(TRACT)))
}

/// The float model on the board, 64 samples.
fn planned() -> Plan {
    let folder = root().join("models/mnist_dscnn");
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("it is in the repository");
    let manifest = parse_model("model.toml", &folder.display().to_string(), &read(folder.join("model.toml")));
    let manifest = manifest.expect("a model of the repository");
    let manifests = BTreeMap::from([(manifest.model.name.clone(), manifest)]);
    let targets = builtin::TARGETS.iter().map(|(name, text)| parse_target(name, text).expect("a target of boardproof"));
    let targets = targets.map(|t| (t.name.clone(), t)).collect();
    let wanted = Wanted {
        models: vec!["mnist_dscnn".into()],
        in_folders: Vec::new(),
        variants: vec!["f32".into()],
        places: vec![TARGET.into()],
        engines: Vec::new(),
        counts: Counts { samples: 64, ..Counts::default() },
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
