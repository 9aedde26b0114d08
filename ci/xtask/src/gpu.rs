//! `cargo xtask gpu-bundle`: one folder with everything that `ci/gpu-check` needs, so that a machine with a GPU needs neither source nor
//! compiler.

use crate::programs::{TOOL, build_tool, tool};
use crate::setup;
use crate::step::{output, program, run, step};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Models that the script checks.
const MODELS: [&str; 2] = ["adult_mlp", "mnist_dscnn"];
/// Target whose programs are put in, and their engines: the GPU's, the reference's, and the one that stands in for the GPU's on the host.
const TARGET: &str = "nvidia-x86_64";
const ENGINES: &str = "cuda,tract,candle";

/// Arguments of `gpu-bundle`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where it goes; must not be there yet, or be a bundle
    #[arg(long, value_name = "FOLDER", default_value = "target/gpu-bundle")]
    out: PathBuf,
}

/// Builds what is in the bundle and copies it there.
pub fn bundle(root: &Path, arguments: &Arguments) -> Result<()> {
    let out = root.join(&arguments.out);
    clear(&out)?;
    setup::for_targets(root, &[TARGET.to_owned()])?;
    build_tool()?;
    step("programs for the GPU's machine", || {
        let mut build = tool(root, &["agent", "build", "--target", TARGET, "--engine", ENGINES, "--out"]);
        build.arg(out.join("programs"));
        run(build)
    })?;
    copy(&root.join(TOOL), &out.join("boardproof"))?;
    for file in ["gpu-check", "policy/gpu.toml"] {
        copy(&root.join("ci").join(file), &out.join(Path::new(file).file_name().context("a file has a name")?))?;
    }
    let mut list = program("git", &["ls-files", "--"]);
    list.args(MODELS.map(|model| format!("models/{model}")));
    for file in output(list)?.lines() {
        copy(&root.join(file), &out.join(file))?;
    }
    eprintln!("{}: copy it to a machine with a GPU and run gpu-check in it", out.display());
    Ok(())
}

/// A bundle of before goes; anything else stays.
fn clear(out: &Path) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    if !out.join("gpu-check").is_file() {
        bail!("{} is there and is no bundle: name another folder with --out", out.display());
    }
    std::fs::remove_dir_all(out).with_context(|| format!("could not remove {}", out.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    std::fs::copy(from, to).with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
