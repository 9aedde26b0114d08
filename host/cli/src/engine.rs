//! `engine add` and `engine list`: the libraries of engines that are some.

use crate::args::Places;
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::put;
use crate::project::World;
use crate::run::cache_folder;
use crate::table::Table;
use anyhow::{Context, Result};
use boardproof_lab::library::{Library, is_library};
use boardproof_plan::{PlanError, nearest, runner_engine};
use boardproof_record::plan::{CANDLE, CUDA, MICRO, RUNNER_ENGINES, TRACT, Target};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where a library is to be taken from.
pub struct Origin {
    /// Version of the package.
    pub version: String,
    /// A file in its place.
    pub from: Option<PathBuf>,
}

/// Keeps the library of an engine for the architecture of each target.
pub fn add(engine: &str, names: &[String], origin: &Origin, places: &Places, json: bool) -> Result<Exit> {
    let engine = runner_engine(engine)?;
    let world = World::read_lab(places)?;
    let host = ["host".to_owned()];
    let names = if names.is_empty() { &host[..] } else { names };
    let targets = names.iter().map(|name| target(&world, name)).collect::<Result<Vec<_>>>()?;
    let architectures: BTreeSet<&str> = targets.iter().map(|target| target.architecture.as_str()).collect();
    let cache = cache_folder();
    let mut kept = Vec::new();
    for architecture in architectures {
        eprintln!("  {engine} for {architecture}");
        let library = match &origin.from {
            Some(file) => Library::from_file(&cache, engine.as_str(), architecture, file),
            None => Library::from_package(&cache, engine.as_str(), architecture, &origin.version),
        };
        kept.push(library.with_context(|| format!("could not add {engine} for {architecture}"))?);
    }
    print(&kept, json)
}

fn target<'w>(world: &'w World, name: &str) -> Result<&'w Target> {
    let known = || world.targets.keys().map(|target| target.as_str());
    let found = world.targets.values().find(|target| target.name.as_str() == name);
    found.ok_or_else(|| PlanError::Unknown { kind: "target", found: name.into(), known: nearest(name, known()) }.into())
}

fn print(kept: &[Library], json: bool) -> Result<Exit> {
    if json {
        print_json(&serde_json::to_value(kept)?)?;
        return Ok(Exit::Pass);
    }
    let mut table = Table::new(&["ENGINE", "ARCHITECTURE", "BYTES", "DIGEST", "FROM"]);
    for library in kept {
        let bytes = library.bytes.to_string();
        table.row(&[&library.engine, &library.architecture, &bytes, &library.digest.short(), &library.from]);
    }
    put(table);
    Ok(Exit::Pass)
}

/// Lists the engines, and the libraries that are kept for the architectures of the known targets.
pub fn list(places: &Places, json: bool) -> Result<Exit> {
    let world = World::read_lab(places)?;
    let architectures: BTreeSet<&str> = world.targets.values().map(|target| target.architecture.as_str()).collect();
    let cache = cache_folder();
    let libraries: Vec<_> = RUNNER_ENGINES
        .iter()
        .flat_map(|engine| architectures.iter().filter_map(|arch| Library::kept(&cache, engine, arch)))
        .collect();
    let engines = RUNNER_ENGINES.iter().copied().chain([MICRO]);
    if json {
        let engines: Vec<_> = engines.map(|name| serde_json::json!({ "engine": name, "what": what(name) })).collect();
        print_json(&serde_json::json!({ "engines": engines, "libraries": libraries }))?;
        return Ok(Exit::Pass);
    }
    let mut table = Table::new(&["ENGINE", "KEPT FOR", "WHAT"]);
    for engine in engines {
        let of_engine = libraries.iter().filter(|library| library.engine == engine);
        let kept: Vec<&str> = of_engine.map(|library| library.architecture.as_str()).collect();
        let kept = match (is_library(engine), kept.is_empty()) {
            (false, _) => "-".to_owned(),
            (true, true) => "none".to_owned(),
            (true, false) => kept.join(", "),
        };
        table.row(&[engine, &kept, what(engine)]);
    }
    put(table);
    Ok(Exit::Pass)
}

fn what(engine: &str) -> &'static str {
    match engine {
        TRACT => "float and quantized ONNX models; built into the runner; what targets use that name none",
        CANDLE => "ONNX models by float arithmetic that shares no code with tract; built into a runner of its own",
        CUDA => {
            "tract's graphs on an NVIDIA GPU; built into a runner of its own, driver and libraries are the unit's; not proved yet"
        }
        MICRO => "int8 models on microcontrollers; inside our firmware",
        _ => "onnxruntime; the unit's own library, or one that `boardproof engine add` keeps",
    }
}
