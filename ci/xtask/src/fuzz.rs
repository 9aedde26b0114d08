//! `cargo xtask fuzz`: libFuzzer on the decoders, for as long as one likes. The same targets run briefly, seeded, in the ordinary tests.

use crate::step::{run, step, works};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Folder of the fuzz crate, a workspace of its own because libFuzzer wants a nightly compiler.
const FOLDER: &str = "tests/fuzz";

/// Arguments of `fuzz`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Fuzz target [default: all, one after the other]
    target: Option<String>,
    /// How long each, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Fuzzes.
pub fn fuzz(root: &Path, arguments: &Arguments) -> Result<()> {
    let known = targets(&root.join(FOLDER))?;
    let chosen = match &arguments.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("no fuzz target is called '{name}'; known: {}", known.join(", ")),
    };
    if !works("cargo", &["+nightly", "fuzz", "--version"]) {
        bail!("fuzzing needs: rustup toolchain install nightly && cargo install cargo-fuzz --locked");
    }
    for name in chosen {
        let time = format!("-max_total_time={}", arguments.seconds);
        let words = ["+nightly", "fuzz", "run", "--fuzz-dir", FOLDER, &name, "--", &time];
        // Through the proxy of rustup: the cargo that runs this is not the nightly one.
        let mut command = crate::step::program("cargo", &words);
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        step(&format!("fuzz {name}"), || run(command))?;
    }
    Ok(())
}

/// Names of the `[[bin]]` entries, as cargo-fuzz has them.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {FOLDER}/Cargo.toml"))?;
    let table: toml::Table = text.parse().with_context(|| format!("{FOLDER}/Cargo.toml cannot be read"))?;
    let bins = table.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    let names: Vec<_> = bins.filter_map(|bin| bin.get("name")?.as_str()).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("{FOLDER}/Cargo.toml names no fuzz target");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn a_crate_without_fuzz_targets_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(targets(folder.path()).is_err());
        std::fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"fuzz\"\n").unwrap();
        assert!(targets(folder.path()).unwrap_err().to_string().contains("names no fuzz target"));
        std::fs::write(folder.path().join("Cargo.toml"), "[[bin]]\nname = \"frame\"\n").unwrap();
        assert_eq!(targets(folder.path()).unwrap(), ["frame"]);
    }
}
