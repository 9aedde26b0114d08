//! Our own firmware on a board in QEMU, which another runner could score: flashed, given a model by our own protocol, and then left alone
//! with whoever speaks MLPerf Tiny on its serial line.

use crate::site::{BOOT, never};
use crate::tool::{Home, root};
use boardproof_lab::build::{Artifact, Program, Workshop};
use boardproof_lab::events::Event;
use boardproof_lab::lease::Lease;
use boardproof_lab::measure::{Bench, Job, JobOptions};
use boardproof_lab::micro;
use boardproof_lab::power::{Machine, MachineSpec};
use boardproof_lab::reach::{Destination, Reach};
use boardproof_lab::store::RecordFolder;
use boardproof_plan::{Counts, Plan, Wanted, builtin, parse_model, parse_policy, parse_target, plan};
use boardproof_probe::{AttachOptions, Permission, Probe, ProbeSource, StubAddress};
use boardproof_record::observation::Outcome;
use boardproof_record::plan::{Grant, Pass, PowerSpec, Target};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const TARGET: &str = "mps2-an386";

/// A board that has this variant of `mnist_dscnn` in its memory; the address of its serial line.
pub fn start(home: &Home, variant: &str) -> (Machine, String) {
    let plan = planned(variant);
    let target = plan.targets.values().find(|target| target.name.as_str() == TARGET).expect("it was planned");
    let workshop = Workshop::open().expect("the source is here");
    let say = &mut |line: &str| eprintln!("{line}");
    let firmware = workshop.artifact(Program::Firmware, &target.build, say).expect("it builds");
    let PowerSpec::Machine { machine, instruction_shift } = &target.power else { panic!("it is a machine in QEMU") };
    let spec = MachineSpec { machine: machine.clone(), instruction_shift: *instruction_shift };
    let machine = Machine::start(&spec, BOOT).expect("the board starts");
    flash(&machine, target, &firmware);
    let address = format!("unix:{}", machine.serial_socket().display());
    upload(home, &plan, target, &firmware, &address);
    (machine, address)
}

fn flash(machine: &Machine, target: &Target, firmware: &Artifact) {
    let spec = target.probe.as_ref().expect("it has a probe");
    let source = ProbeSource::Virtual { stub: StubAddress::Unix(machine.probe_socket()) };
    let probe = Probe::attach(&source, &spec.chip, AttachOptions::default()).expect("the probe answers");
    let elf = std::fs::read(&firmware.path).expect("it was built");
    probe.flash(&elf, true, &Permission::granted(Grant::Flash, spec).expect("it is granted")).expect("it is flashed");
    probe.reset().expect("it starts");
}

/// Brings the model there, as the first pass of any cell does.
fn upload(home: &Home, plan: &Plan, target: &Target, firmware: &Artifact, address: &str) {
    let mut cell = plan.cells.iter().find(|cell| cell.judged).expect("one cell is judged").clone();
    cell.passes.retain(|pass| pass.pass == Pass::Inspect);
    let (unit, model) = (&plan.units[&cell.unit], &plan.models[&cell.model]);
    let cache = home.path("cache/boardproof/host");
    let prepared = micro::prepare(model, &model.variants[&cell.variant], 8, &cache).expect("an integer model");
    let (runner, options) = (None, JobOptions::from(""));
    let agent_digest = Some(firmware.build.digest);
    let job = Job {
        cell: &cell,
        runner,
        library: None,
        model: prepared.model,
        evalset: prepared.samples,
        sample_bytes: Some(prepared.sample_bytes),
        options,
        target,
        agent_digest,
    };
    let destination = Some(Destination::Line(address.to_owned()));
    let reach = Reach::new(unit, target, Some(firmware), &home.path("stores"), destination).expect("it is complete");
    let lease = Lease::take(&home.path("leases"), &unit.name, Duration::ZERO, never, &mut |_| {}).expect("it is free");
    let folder = RecordFolder::create(&home.path("uploaded")).expect("the folder is new");
    let mut bench = Bench::new(reach, &lease, cache, Duration::ZERO, never).of_a_starting_unit();
    let (outcome, _) = bench.measure(&job, &folder, &mut |_: Event| {});
    assert!(matches!(outcome, Outcome::Measured(_)), "{outcome:?}");
}

fn planned(variant: &str) -> Plan {
    let folder = root().join("models/mnist_dscnn");
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("it is in the repository");
    let manifest = parse_model("model.toml", &folder.display().to_string(), &read(folder.join("model.toml")));
    let manifest = manifest.expect("a model of the repository");
    let manifests = BTreeMap::from([(manifest.model.name.clone(), manifest)]);
    let targets = builtin::TARGETS.iter().map(|(name, text)| parse_target(name, text).expect("a target of boardproof"));
    let targets = targets.map(|target| (target.name.clone(), target)).collect();
    let wanted = Wanted {
        models: vec!["mnist_dscnn".into()],
        in_folders: Vec::new(),
        variants: vec![variant.into()],
        places: vec![TARGET.into()],
        engines: Vec::new(),
        counts: Counts { samples: 8, ..Counts::default() },
    };
    let policy = parse_policy("default", builtin::POLICY).expect("the default policy");
    plan(&wanted, &manifests, &targets, &BTreeMap::new(), policy).expect("a plan")
}
