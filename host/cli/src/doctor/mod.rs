//! `doctor`: everything a target needs, found or not, with its version and how to get it. Looks, changes nothing.

mod cuda;
mod library;
mod look;
mod unit;

use crate::args::DoctorArgs;
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::{put, put_line};
use crate::project::World;
use crate::table::Table;
use anyhow::Result;
use boardproof_lab::build::{Tools, choose, find_source, needs, prebuilt_folder, programs};
use boardproof_lab::lease::{Place, VARIABLE};
use boardproof_plan::PlanError;
use boardproof_probe::ProbeSource;
use boardproof_record::plan::{Builder, LinkSpec, PowerSpec, SimFaults, Target, Unit};
use std::path::Path;

/// One thing that was looked for.
struct Finding {
    what: String,
    /// Version or place when found; why not when missing.
    found: std::result::Result<String, String>,
    /// Without it the target cannot be used.
    needed: bool,
    /// A command to type, or what to do.
    get: String,
}

/// What was found for one target or unit.
struct Examined<'w> {
    name: String,
    target: &'w Target,
    findings: Vec<Finding>,
}

/// Looks for what the targets need.
pub fn doctor(args: &DoctorArgs) -> Result<Exit> {
    let mut world = World::read_lab(&args.places)?;
    world.build_with(args.builder);
    let asked =
        if args.target.is_empty() { vec!["host".into(), "virtual-board-aarch64".into()] } else { args.target.clone() };
    let mut all = Vec::new();
    for name in &asked {
        let (target, unit) = find(&world, name)?;
        all.push(Examined { name: name.clone(), target, findings: findings(target, unit, &world) });
    }
    let missing = all.iter().flat_map(|e| &e.findings).any(|f| f.needed && f.found.is_err());
    if args.json {
        print_json(&as_json(&all))?;
    } else {
        all.iter().for_each(print_text);
    }
    Ok(if missing { Exit::Fault } else { Exit::Pass })
}

/// A target by its name, or a unit and its target.
fn find<'w>(world: &'w World, name: &str) -> Result<(&'w Target, Option<&'w Unit>)> {
    let unit = world.units.values().find(|u| u.name.as_str() == name);
    let wanted = unit.map_or(name, |u| u.target.as_str());
    match world.targets.values().find(|t| t.name.as_str() == wanted) {
        Some(target) => Ok((target, unit)),
        None => {
            let units = world.units.keys().map(|u| u.as_str());
            let known = boardproof_plan::nearest(wanted, world.targets.keys().map(|t| t.as_str()).chain(units));
            Err(PlanError::Unknown { kind: "target", found: wanted.into(), known }.into())
        }
    }
}

fn findings(target: &Target, unit: Option<&Unit>, world: &World) -> Vec<Finding> {
    let mut list = if target.dialect.is_some() { Vec::new() } else { building(target) };
    match &target.link {
        LinkSpec::Local => {
            list.push(look::counters());
            list.extend(cuda::findings(target, None));
        }
        LinkSpec::Emulated { emulator, sysroot } => {
            list.push(look::tool(emulator, &["--version"], &look::packages(target)));
            list.push(look::folder("C library of the target", Path::new(sysroot), &look::packages(target)));
        }
        LinkSpec::Ssh => {
            list.push(look::tool("ssh", &["-V"], &look::package(target, "openssh-client")));
            if !matches!(target.power, PowerSpec::Qemu { .. }) {
                list.extend(unit::findings(target, unit, world));
            }
        }
        LinkSpec::Sim { seed, faults } => list.push(simulated(*seed, faults)),
        LinkSpec::Serial { .. } if target.dialect.is_some() => list.extend(unit::with_firmware(target, unit, world)),
        LinkSpec::Serial { .. } | LinkSpec::Rtt => list.extend(microcontroller(target, unit, world)),
    }
    if let PowerSpec::Qemu { .. } = target.power {
        list.extend(board_in_software(target));
    }
    // A unit that does not answer is asked nothing more.
    if list.iter().all(|finding| finding.what != "link" || finding.found.is_ok()) {
        list.extend(library::finding(target, unit));
    }
    list.push(leases(Place::of(target)));
    list.push(look::writable("place for what is kept", &crate::run::cache_folder()));
    list
}

/// Where it is kept who uses a unit, and whether that keeps out everybody else.
fn leases(place: Place) -> Finding {
    let finding = look::writable("place for leases", &place.folder);
    let Some(why) = place.alone else { return finding };
    let found = finding.found.map(|name| format!("{name}, which keeps out this user's runs alone ({why})"));
    let get = format!("{}; or name a folder that all users may write to in {VARIABLE}", finding.get);
    Finding { found, get, ..finding }
}

/// A board with a serial line and a debug probe.
fn microcontroller(target: &Target, unit: Option<&Unit>, world: &World) -> Vec<Finding> {
    if matches!(target.power, PowerSpec::Machine { .. }) {
        let get = look::packages(target);
        return vec![
            look::tool("qemu-system-arm", &["--version"], &get),
            look::present("setpriv", "apt-get install util-linux"),
        ];
    }
    let mut list = match target.link {
        LinkSpec::Rtt => Vec::new(),
        _ => unit::on_a_line(target, unit, world),
    };
    if let Some(probe) = &target.probe {
        let selector = unit.and_then(|unit| unit.probe.as_deref()).and_then(|probe| probe.parse().ok());
        let lacks = boardproof_probe::doctor(&ProbeSource::Usb { selector }, &probe.chip);
        if lacks.is_empty() {
            let found = Ok(format!("one for {}", probe.chip));
            list.push(Finding { what: "debug probe".into(), found, needed: true, get: String::new() });
        }
        list.extend(lacks.into_iter().map(|lack| Finding {
            what: "debug probe".into(),
            found: Err(lack.to_string()),
            needed: true,
            get: lack.hint(),
        }));
    }
    list
}

/// The device itself is always there; what is worth knowing is what goes wrong on it.
fn simulated(seed: u64, faults: &SimFaults) -> Finding {
    let rates = faults.rates();
    let mut plan: Vec<String> =
        rates.iter().filter(|(_, rate)| *rate > 0).map(|(name, rate)| format!("{name} {rate}/1000")).collect();
    if faults.clock_rate != 1.0 {
        plan.push(format!("clock at {} of its true rate", faults.clock_rate));
    }
    plan.extend(faults.memory_bytes.map(|bytes| format!("{bytes} bytes of memory")));
    plan.extend(faults.store_bytes.map(|bytes| format!("room for {bytes} bytes")));
    let plan = if plan.is_empty() { "no faults".into() } else { plan.join(", ") };
    let found = Ok(format!("in this process, seed {seed}, {plan}"));
    Finding { what: "simulated device".into(), found, needed: true, get: String::new() }
}

/// What it takes to build agent and runner. A tool that another one can stand in for is not needed.
fn building(target: &Target) -> Vec<Finding> {
    if let Some(folder) = prebuilt_folder() {
        return vec![look::folder(
            "programs that were built beforehand",
            &folder,
            "`boardproof agent build --out FOLDER`",
        )];
    }
    let source = find_source();
    let root = source.as_deref().unwrap_or(Path::new("."));
    let mut list = vec![
        look::rust("rustc", root),
        look::rust("cargo", root),
        Finding {
            what: "source of agent and runner".into(),
            found: source.as_ref().map(|p| p.display().to_string()).map_err(ToString::to_string),
            needed: true,
            get: "work in a checkout of boardproof, or set BOARDPROOF_SOURCE to one".into(),
        },
    ];
    if source.is_ok() {
        list.push(look::writable("place for builds", &root.join("target/device")));
    }
    for program in programs(target).iter().copied() {
        let (triple, compiler) = needs(program, &target.build);
        let tools = Tools::detect(root, compiler);
        let choice = choose(triple, target.build.builder, compiler, &tools);
        let needed = choice.is_err();
        let parts = [
            look::standard_library(triple, &tools, needed),
            look::compiler(triple, compiler, &tools, needed, target).filter(|_| compiles(target.build.builder)),
            Some(Finding {
                what: format!("{} for {triple}", program.name()),
                found: choice.map(|c| format!("with {}", c.reason)).map_err(|_| "no builder can make it".into()),
                needed: true,
                get: String::new(),
            }),
        ];
        parts.into_iter().flatten().for_each(|part| add(&mut list, part));
    }
    list.extend(look::other_builders(root, target.build.builder));
    list
}

/// Agent and runner may need the same: it is one finding then, needed when either of them needs it.
fn add(list: &mut Vec<Finding>, part: Finding) {
    match list.iter_mut().find(|f| f.what == part.what) {
        Some(known) if part.needed && !known.needed => *known = part,
        Some(_) => {}
        None => list.push(part),
    }
}

/// Whether a builder uses the compilers that are looked for here; the others bring theirs.
fn compiles(builder: Builder) -> bool {
    matches!(builder, Builder::Auto | Builder::Cargo)
}

fn board_in_software(target: &Target) -> Vec<Finding> {
    let debian = "a Debian or Ubuntu machine: the board is made of their packages";
    vec![
        look::tool("qemu-system-aarch64", &["--version"], &look::package(target, "qemu-system-arm")),
        look::tool("cpio", &["--version"], &look::package(target, "cpio")),
        look::tool("apt-get", &["--version"], debian),
        look::tool("dpkg", &["--version"], debian),
        look::present("ssh-keygen", &look::package(target, "openssh-client")),
        look::tool("setpriv", &["--version"], &look::package(target, "util-linux")),
    ]
}

fn print_text(examined: &Examined) {
    let Examined { name, target, findings } = examined;
    put_line(format_args!("{name}: {}", target.summary));
    let proved = if target.proved { "proved" } else { "not proved" };
    put_line(format_args!("{proved}: {}\n", target.proved_note));
    let mut table = Table::new(&["  STATE", "WHAT", "FOUND"]);
    for f in findings {
        let (state, text) = match (&f.found, f.needed) {
            (Ok(text), _) => ("  ok", text),
            (Err(text), true) => ("  MISSING", text),
            (Err(text), false) => ("  absent", text),
        };
        table.row(&[state, &f.what, text]);
    }
    put(table);
    put_line(match advice(findings).as_slice() {
        [] if findings.iter().any(|f| f.needed && f.found.is_err()) => "\nsomething is missing\n".into(),
        [] => "\neverything needed is here\n".to_owned(),
        lines => format!("\nto get what is missing:\n    {}\n", lines.join("\n    ")),
    });
}

/// What to do about everything that is missing, each thing once, in the order of the findings.
fn advice(findings: &[Finding]) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    for f in findings.iter().filter(|f| f.needed && f.found.is_err() && !f.get.is_empty()) {
        if !lines.contains(&f.get.as_str()) {
            lines.push(&f.get);
        }
    }
    lines
}

fn as_json(all: &[Examined]) -> serde_json::Value {
    let of = |f: &Finding| {
        let (found, missing) = match &f.found {
            Ok(text) => (Some(text), None),
            Err(text) => (None, Some(text)),
        };
        serde_json::json!({ "what": f.what, "found": found, "missing": missing, "needed": f.needed, "how_to_get": f.get })
    };
    all.iter()
        .map(|e| (e.name.clone(), e.findings.iter().map(of).collect::<serde_json::Value>()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_probe::Lack;

    fn missing(needed: bool, get: &str) -> Finding {
        Finding { what: "x".into(), found: Err("not there".into()), needed, get: get.into() }
    }

    #[test]
    fn what_one_program_needs_is_needed() {
        for order in [[false, true], [true, false]] {
            let mut list = Vec::new();
            order.into_iter().for_each(|needed| add(&mut list, missing(needed, "a")));
            assert_eq!((list.len(), advice(&list)), (1, vec!["a"]), "{order:?}");
        }
    }

    #[test]
    fn every_chip_of_a_target_is_one_that_the_probe_can_flash() {
        let parse = |(name, text): &(&str, &str)| boardproof_plan::parse_target(name, text).unwrap();
        let hardware = |target: &Target| !matches!(target.power, PowerSpec::Machine { .. });
        let boards = boardproof_plan::builtin::TARGETS.iter().map(parse).filter(hardware);
        let chips: Vec<String> = boards.filter_map(|target| target.probe.map(|probe| probe.chip)).collect();
        assert_eq!(chips.len(), 4, "{chips:?}");
        for chip in chips {
            let lacks = boardproof_probe::doctor(&ProbeSource::Usb { selector: None }, &chip);
            let unknown = |lack: &Lack| matches!(lack, Lack::Chip { .. } | Lack::FlashAlgorithm { .. });
            assert!(!lacks.iter().any(unknown), "{lacks:?}");
        }
    }

    #[test]
    fn the_virtual_board_is_booted_with_what_doctor_looks_for() {
        let text = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "virtual-board-aarch64");
        let target =
            boardproof_plan::parse_target("virtual-board-aarch64", text.expect("it is one of them").1).unwrap();
        let looked: Vec<String> = board_in_software(&target).into_iter().map(|f| f.what).collect();
        for program in ["qemu-system-aarch64", "ssh-keygen", "setpriv"] {
            assert!(looked.iter().any(|what| what == program), "{program} is not among {looked:?}");
        }
    }

    #[test]
    fn advice_is_given_once_and_only_for_what_is_needed() {
        let there = Finding { found: Ok("1.0".into()), ..missing(true, "a") };
        let findings = [there, missing(true, "b"), missing(false, "c"), missing(true, "b"), missing(true, "")];
        assert_eq!(advice(&findings), ["b"]);
    }
}
