//! `targets`, `models`, `init`, `completions`, `man`: what there is, and what can be written without a lab.

use crate::args::{Cli, InitArgs, ListArgs};
use crate::exit::Exit;
use crate::out::{put, put_line};
use crate::project::{PROJECT_FILE, World};
use crate::table::Table;
use anyhow::{Context, Result};
use boardproof_lab::build::find_source;
use boardproof_plan::{PlanError, Purpose};
use boardproof_record::plan::LinkSpec;
use clap::CommandFactory;
use std::path::Path;

/// Lists targets, then units.
pub fn targets(args: &ListArgs) -> Result<Exit> {
    let world = World::read_lab(&args.places)?;
    if args.json {
        print_json(&serde_json::json!({ "targets": world.targets, "units": world.units }))?;
        return Ok(Exit::Pass);
    }
    let mut table = Table::new(&["TARGET", "ARCHITECTURE", "LINK", "PROVED", "WHAT"]);
    for target in world.targets.values() {
        let link = match &target.link {
            LinkSpec::Serial { .. } if let Some(dialect) = &target.dialect => &format!("serial, {}", dialect.name()),
            LinkSpec::Local => "local",
            LinkSpec::Emulated { .. } => "emulated",
            LinkSpec::Ssh => "ssh",
            LinkSpec::Serial { .. } => "serial",
            LinkSpec::Rtt => "rtt",
            LinkSpec::Sim { .. } => "simulated",
        };
        let proved = if target.proved { "yes" } else { "no" };
        table.row(&[target.name.as_str(), &target.architecture, link, proved, &target.summary]);
    }
    put(table);
    if !world.units.is_empty() {
        let mut table = Table::new(&["UNIT", "TARGET", "ADDRESS", "TAGS"]);
        for unit in world.units.values() {
            let address = unit.address.as_deref().unwrap_or("-");
            table.row(&[unit.name.as_str(), unit.target.as_str(), address, &unit.tags.join(", ")]);
        }
        put(format_args!("\n{table}"));
    }
    Ok(Exit::Pass)
}

/// Lists models and their variants.
pub fn models(args: &ListArgs) -> Result<Exit> {
    let world = World::read(&args.places, &[], false)?;
    if world.manifests.is_empty() {
        return Err(PlanError::Empty("no model.toml was found".into()).into());
    }
    if args.json {
        let models: Vec<_> = world.manifests.values().map(|m| &m.model).collect();
        print_json(&serde_json::json!({ "models": models }))?;
        return Ok(Exit::Pass);
    }
    let mut table = Table::new(&["MODEL", "VARIANT", "PURPOSE", "KB", "BATCH", "QUANTIZATION"]);
    for manifest in world.manifests.values() {
        for (name, variant) in &manifest.model.variants {
            let purpose = match manifest.purposes.get(name) {
                Some(Purpose::Release) => "release",
                Some(Purpose::Reference) => "reference",
                Some(Purpose::TestMaterial) | None => "test material",
            };
            let batch = variant.batch.map_or_else(|| "N".into(), |b| b.to_string());
            let kb = (variant.bytes / 1000).to_string();
            table.row(&[manifest.model.name.as_str(), name.as_str(), purpose, &kb, &batch, &variant.quantization]);
        }
    }
    put(table);
    Ok(Exit::Pass)
}

/// Writes the project file; never overwrites one.
pub fn init(args: &InitArgs) -> Result<Exit> {
    use std::io::Write;
    let file = args.folder.join(PROJECT_FILE);
    std::fs::create_dir_all(&args.folder).with_context(|| format!("could not make {}", args.folder.display()))?;
    let mut open = std::fs::OpenOptions::new();
    let mut handle = open
        .write(true)
        .create_new(true)
        .open(&file)
        .with_context(|| format!("could not create {}", file.display()))?;
    handle
        .write_all(boardproof_plan::TEMPLATE.as_bytes())
        .with_context(|| format!("could not write {}", file.display()))?;
    put_line(file.display());
    eprintln!(
        "next: put your models into the folder 'models' beside it, each a folder with a model.toml, and run `boardproof check`"
    );
    if let Ok(source) = find_source() {
        let models = source.join("models");
        eprintln!("to try it first: boardproof check mnist_dscnn --variant int8_qdq_pc --models {}", models.display());
    }
    Ok(Exit::Pass)
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Exit {
    clap_complete::generate(shell, &mut Cli::command(), "boardproof", &mut std::io::stdout());
    Exit::Pass
}

/// Writes one man page per command.
pub fn man(folder: &Path) -> Result<Exit> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("could not write man pages to {}", folder.display()))?;
    Ok(Exit::Pass)
}

/// Data for a machine, on stdout.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    put_line(serde_json::to_string_pretty(value)?);
    Ok(())
}
