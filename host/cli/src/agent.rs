//! `agent build` and `agent clean`.

use crate::args::{BuilderName, Places};
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::{put, put_line};
use crate::project::{World, read_policy};
use crate::run::cache_folder;
use crate::table::Table;
use anyhow::{Context, Result};
use boardproof_lab::build::{Artifact, Program, Workshop, programs};
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::lease::{Lease, Place};
use boardproof_lab::reach::{Reach, packed};
use boardproof_lab::ship::{Blob, prepare};
use boardproof_plan::{PlanError, locate, runner_engine};
use boardproof_record::EngineName;
use boardproof_record::plan::{HOST, LinkSpec, PowerSpec, Target};
use boardproof_record::record::Build;
use std::path::Path;
use std::time::Duration;

/// How programs are built, and where they are to lie besides.
pub struct Building<'a> {
    /// Tool in the place of the targets'.
    pub builder: Option<BuilderName>,
    /// Folder of programs for another machine.
    pub out: Option<&'a Path>,
}

/// Builds agent and runner for each target, or takes them from the cache.
pub fn build(
    names: &[String],
    engines: &[String],
    Building { builder, out }: Building<'_>,
    places: &Places,
    json: bool,
) -> Result<Exit> {
    let engines = engines.iter().map(|name| runner_engine(name)).collect::<Result<Vec<_>, _>>()?;
    let mut world = World::read_lab(places)?;
    world.build_with(builder);
    let host = ["host".to_owned()];
    let names = if names.is_empty() { &host[..] } else { names };
    let workshop = Workshop::open()?;
    let columns = ["TARGET", "PROGRAM", "TRIPLE", "BYTES", "ON THE WIRE", "DIGEST", "FROM", "BUILDER"];
    let mut table = Table::new(&columns);
    let mut builds = Vec::new();
    for name in names {
        let target = find(&world, name)?;
        for program in wanted(target, &engines)? {
            let artifact = workshop
                .artifact(program, &target.build, &mut |line| eprintln!("  {line}"))
                .with_context(|| format!("could not build the {} for {name}", program.name()))?;
            if let Some(folder) = out {
                workshop.put(folder, program, &target.build, &artifact)?;
            }
            let Build { triple, bytes, digest, cached, builder, .. } = &artifact.build;
            let from = if *cached { "cache" } else { "built now" };
            let wire_bytes = wire_bytes(program, target, &artifact)?;
            let wire = wire_bytes.map_or_else(|| "-".into(), |bytes| bytes.to_string());
            let what = match program {
                Program::Runner(engine) => format!("runner, {engine}"),
                Program::Agent | Program::Firmware => program.name().to_owned(),
            };
            table.row(&[name, &what, triple, &bytes.to_string(), &wire, &digest.short(), from, builder]);
            builds.push(serde_json::json!({
                "target": name, "path": artifact.path, "wire_bytes": wire_bytes, "build": artifact.build
            }));
        }
    }
    if json {
        print_json(&builds.into())?
    } else {
        put(table)
    }
    Ok(Exit::Pass)
}

/// The programs of a target, a runner for each engine: those that were asked for, else its own, and on this machine that of the reference.
fn wanted(target: &Target, engines: &[EngineName]) -> Result<Vec<Program>> {
    let mut engines: Vec<EngineName> = engines.to_vec();
    if engines.is_empty() {
        engines.push(target.engine.clone());
        if target.name.as_str() == HOST {
            engines.push(read_policy("default", Path::new(""))?.reference_engine());
        }
    }
    engines.dedup();
    let runners = || engines.iter().filter_map(|engine| Program::runner_of(engine.as_str()));
    let each = |program: &Program| match program {
        Program::Runner(_) => runners().collect(),
        Program::Agent | Program::Firmware => vec![*program],
    };
    Ok(programs(target).iter().flat_map(each).collect())
}

/// Bytes that cross the link for a program; `None` where there is no link to speak of. A runner is coded now, so that no check has to.
fn wire_bytes(program: Program, target: &Target, artifact: &Artifact) -> Result<Option<u64>> {
    if !matches!(target.link, LinkSpec::Ssh) {
        return Ok(None);
    }
    let path = &artifact.path;
    let bytes = match program {
        // What a debug probe flashes crosses no link.
        Program::Firmware => return Ok(None),
        Program::Agent => {
            let agent = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
            packed(&agent).len() as u64
        }
        Program::Runner(_) => prepare(&Blob::runner(artifact), &cache_folder())?,
    };
    Ok(Some(bytes))
}

fn find<'w>(world: &'w World, name: &str) -> Result<&'w Target> {
    match world.targets.values().find(|t| t.name.as_str() == name) {
        Some(target) => Ok(target),
        None => {
            let known = boardproof_plan::nearest(name, world.targets.keys().map(|t| t.as_str()));
            Err(PlanError::Unknown { kind: "target", found: name.into(), known }.into())
        }
    }
}

/// Removes what boardproof left on units: blobs, leases, the agent itself.
pub fn clean(names: &[String], places: &Places) -> Result<Exit> {
    let world = World::read_lab(places)?;
    let workshop = Workshop::open()?;
    for name in names {
        let (unit, target) = locate(name, &world.targets, &world.units)?;
        if matches!(target.power, PowerSpec::Qemu { .. } | PowerSpec::Machine { .. }) {
            put_line(format_args!("{name}: nothing to remove, the board forgets everything when it is switched off"));
            continue;
        }
        if target.dialect.is_some() {
            put_line(format_args!("{name}: nothing to remove, the firmware is somebody else's"));
            continue;
        }
        let agent = programs(&target).contains(&Program::Agent).then(|| {
            workshop
                .artifact(Program::Agent, &target.build, &mut |line| eprintln!("  {line}"))
                .with_context(|| format!("could not build the agent for {name}"))
        });
        let agent = agent.transpose()?;
        let say = &mut |line: &str| eprintln!("  {line}");
        let _lease = Lease::take(&Place::of(&target).folder, &unit.name, Duration::ZERO, interrupted, say)?;
        let reach = Reach::new(&unit, &target, agent.as_ref(), &cache_folder().join("units"), None)?;
        put_line(format_args!("{name}: {}", reach.clean()?));
    }
    Ok(Exit::Pass)
}
