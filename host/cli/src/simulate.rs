//! `simulate`: a firmware with a model inside, on a line of this machine.

use crate::args::{SimulateArgs, Speech};
use crate::exit::Exit;
use crate::out::put_line;
use crate::project::World;
use crate::run::check_variant;
use anyhow::{Context, Result};
use boardproof_lab::build::{Program, Workshop};
use boardproof_lab::interrupt::{interrupted, listen};
use boardproof_lab::simulate::{Inside, Opened, Opening, Simulated};
use boardproof_plan::{PlanError, nearest};
use boardproof_record::plan::{HOST, MICRO, Model, Variant};
use std::path::Path;

/// Serves until it is interrupted; that is its good end. Standard output has one line: the address.
pub fn simulate(args: &SimulateArgs) -> Result<Exit> {
    listen().context("could not listen for Ctrl-C")?;
    let path = Path::new(&args.model);
    let is_path = args.model.contains('/') || path.join("model.toml").is_file();
    let paths = if is_path { vec![path.to_path_buf()] } else { Vec::new() };
    let world = World::read(&args.places, &paths, is_path)?;
    let model = find_model(&world, &args.model, is_path)?;
    let variant = find_variant(model, &args.variant)?;
    check_variant(variant)?;
    let say = |line: &str| {
        if !args.quiet {
            eprintln!("{line}");
        }
    };
    let host = world.targets.values().find(|target| target.name.as_str() == HOST);
    let host = host.context("could not find the target host, which comes with boardproof")?;
    let runner = Workshop::open()?
        .artifact(Program::Runner(MICRO), &host.build, &mut |line| say(&format!("  {line}")))
        .context("could not build the runner with the engine of microcontrollers")?;
    let name = args.name.as_deref().unwrap_or(model.name.as_str());
    let inside = Inside { runner: &runner.path, model: Path::new(&variant.file), name };
    let mut firmware = match args.speaks {
        Speech::MlperfTiny => Simulated::mlperf_tiny(inside, interrupted)?,
        Speech::Stm32msg => Simulated::stm32msg(inside, variant.digest, interrupted)?,
    };
    let opened = Opened::open(if args.pty { Opening::Terminal } else { Opening::Tcp(args.listen) })?;
    put_line(opened.address());
    say(&format!(
        "a firmware with {}/{} inside speaks here, a sample has {} bytes; Ctrl-C ends it",
        model.name,
        variant.name,
        firmware.model().sample_bytes()
    ));
    firmware.serve(&opened, interrupted)?;
    Ok(Exit::Pass)
}

/// The model by name, or the one at a path.
fn find_model<'w>(world: &'w World, asked: &str, is_path: bool) -> Result<&'w Model> {
    let known = || world.manifests.keys().map(|name| name.as_str());
    let names: Vec<&str> = match is_path {
        true => world.models_in(Path::new(asked))?.iter().map(|name| name.as_str()).collect(),
        false => vec![asked],
    };
    let [name] = names[..] else {
        let (file, what) = (asked.to_owned(), "the model that is inside".into());
        return Err(PlanError::Value { file, what, expected: "one".into(), found: names.join(", ") }.into());
    };
    let found = world.manifests.values().find(|manifest| manifest.model.name.as_str() == name);
    let unknown = || PlanError::Unknown { kind: "model", found: name.into(), known: nearest(name, known()) };
    Ok(&found.ok_or_else(unknown)?.model)
}

fn find_variant<'m>(model: &'m Model, name: &str) -> Result<&'m Variant, PlanError> {
    let known = || model.variants.keys().map(|name| name.as_str());
    let found = model.variants.values().find(|variant| variant.name.as_str() == name);
    found.ok_or_else(|| PlanError::Unknown { kind: "variant", found: name.into(), known: nearest(name, known()) })
}
