//! `doctor`: everything a target needs, found or not, with its version and how to get it. Looks, changes nothing.

use crate::args::DoctorArgs;
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::{put, put_line};
use crate::project::World;
use crate::table::Table;
use anyhow::Result;
use boardproof_lab::build::{Program, Tools, choose, find_source};
use boardproof_plan::PlanError;
use boardproof_record::plan::{LinkSpec, PowerSpec, SimFaults, Target};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One thing that was looked for.
struct Finding {
    what: String,
    /// Version or place when found; why not when missing.
    found: std::result::Result<String, String>,
    /// Without it the target cannot be used.
    needed: bool,
    get: String,
}

/// Looks for what the targets need.
pub fn doctor(args: &DoctorArgs) -> Result<Exit> {
    let world = World::read(&args.places, &[])?;
    let asked =
        if args.target.is_empty() { vec!["host".into(), "virtual-board-aarch64".into()] } else { args.target.clone() };
    let mut all = Vec::new();
    for name in &asked {
        all.push((name.clone(), findings(target_of(&world, name)?, &world, name)));
    }
    let missing = all.iter().flat_map(|(_, findings)| findings).any(|f| f.needed && f.found.is_err());
    if args.json {
        print_json(&as_json(&all))?;
    } else {
        print_text(&all);
    }
    Ok(if missing { Exit::Fault } else { Exit::Pass })
}

fn target_of<'w>(world: &'w World, name: &str) -> Result<&'w Target> {
    let by_unit = world.units.values().find(|u| u.name.as_str() == name).map(|u| u.target.as_str());
    let wanted = by_unit.unwrap_or(name);
    match world.targets.values().find(|t| t.name.as_str() == wanted) {
        Some(target) => Ok(target),
        None => {
            let known = boardproof_plan::nearest(wanted, world.targets.keys().map(|t| t.as_str()));
            Err(PlanError::Unknown { kind: "target", found: wanted.into(), known }.into())
        }
    }
}

fn findings(target: &Target, world: &World, name: &str) -> Vec<Finding> {
    let mut list = vec![
        tool("rustc", &["--version"], true, "https://rustup.rs"),
        tool("cargo", &["--version"], true, "https://rustup.rs"),
    ];
    list.push(source());
    if !matches!(target.link, LinkSpec::Sim { .. }) {
        list.push(builder(Program::Agent, &target.build.agent_triple, target));
    }
    list.push(builder(Program::Runner, &target.build.runner_triple, target));
    match &target.link {
        LinkSpec::Emulated { emulator, sysroot } => {
            list.push(tool(emulator, &["--version"], true, "apt-get install qemu-user"));
            list.push(folder("C library of the target", sysroot, &target.build.packages));
        }
        LinkSpec::Ssh => {
            list.push(tool("ssh", &["-V"], true, "apt-get install openssh-client"));
            if let Some(unit) = world.units.values().find(|u| u.name.as_str() == name) {
                list.push(address(unit.address.as_deref()));
                list.extend(unit.identity_file.as_deref().map(identity_file));
            }
        }
        LinkSpec::Sim { seed, faults } => list.push(simulated(*seed, faults)),
        LinkSpec::Local => {}
    }
    if let PowerSpec::Qemu { .. } = target.power {
        list.push(tool("qemu-system-aarch64", &["--version"], true, "apt-get install qemu-system-arm"));
        list.push(tool("cpio", &["--version"], true, "apt-get install cpio"));
        list.push(tool(
            "dpkg",
            &["--version"],
            true,
            "a Debian or Ubuntu machine: the board is made of their packages",
        ));
        list.push(tool("ssh-keygen", &["-?"], true, "apt-get install openssh-client"));
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

fn tool(program: &str, args: &[&str], needed: bool, get: &str) -> Finding {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let found = match output {
        // Some tools have no question that they answer well: being there is enough.
        Ok(output) if !output.status.success() => Ok("found".to_owned()),
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or("found").to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    Finding { what: program.into(), found, needed, get: get.into() }
}

fn source() -> Finding {
    let found = find_source().map(|p| p.display().to_string()).map_err(|e| e.to_string());
    Finding {
        what: "source of agent and runner".into(),
        found,
        needed: true,
        get: "run in a checkout, or set BOARDPROOF_SOURCE".into(),
    }
}

fn builder(program: Program, triple: &str, target: &Target) -> Finding {
    let musl = program == Program::Agent && triple.contains("-musl");
    let linker = if musl { None } else { target.build.linker.as_deref() };
    let found = choose(triple, target.build.builder, linker, &Tools::detect(linker))
        .map(|c| c.reason)
        .map_err(|e| e.to_string());
    let mut get = format!("rustup target add {triple}");
    if !target.build.packages.is_empty() && !musl {
        get += &format!("; apt-get install {}", target.build.packages.join(" "));
    }
    Finding { what: format!("{} for {triple}", program.name()), found, needed: true, get }
}

fn folder(what: &str, path: &str, packages: &[String]) -> Finding {
    let found = if Path::new(path).is_dir() { Ok(path.to_owned()) } else { Err(format!("{path} is not there")) };
    Finding { what: what.into(), found, needed: true, get: format!("apt-get install {}", packages.join(" ")) }
}

fn address(address: Option<&str>) -> Finding {
    let found = address.map(str::to_owned).ok_or_else(|| "no address in the inventory".to_owned());
    Finding { what: "address".into(), found, needed: true, get: "add `address` to the unit".into() }
}

fn identity_file(path: &str) -> Finding {
    let expanded = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    };
    let found = match std::fs::File::open(&expanded) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(format!("{path}: {error}")),
    };
    Finding { what: "ssh identity file".into(), found, needed: true, get: "ssh-keygen, then ssh-copy-id".into() }
}

fn print_text(all: &[(String, Vec<Finding>)]) {
    for (i, (name, findings)) in all.iter().enumerate() {
        if i > 0 {
            put_line("");
        }
        put_line(name);
        let mut table = Table::new(&["  STATE", "WHAT", "FOUND", "HOW TO GET IT"]);
        for f in findings {
            let (state, text) = match (&f.found, f.needed) {
                (Ok(text), _) => ("  ok", text),
                (Err(text), true) => ("  MISSING", text),
                (Err(text), false) => ("  absent", text),
            };
            table.row(&[state, &f.what, text, if f.found.is_ok() { "" } else { &f.get }]);
        }
        put(table);
    }
    let commands: BTreeSet<_> =
        all.iter().flat_map(|(_, f)| f).filter(|f| f.needed && f.found.is_err()).map(|f| f.get.as_str()).collect();
    if commands.is_empty() {
        put_line(format_args!("\neverything needed is here"));
    }
}

fn as_json(all: &[(String, Vec<Finding>)]) -> serde_json::Value {
    let of = |f: &Finding| {
        let (found, missing) = match &f.found {
            Ok(text) => (Some(text), None),
            Err(text) => (None, Some(text)),
        };
        serde_json::json!({ "what": f.what, "found": found, "missing": missing, "needed": f.needed, "how_to_get": f.get })
    };
    all.iter()
        .map(|(name, findings)| (name.clone(), findings.iter().map(of).collect::<serde_json::Value>()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
