//! Which inference runtimes are in what is built by default: none in the tool on the host and in the agent, tract alone in the runner.
//!
//! A manifest shows what a crate asks for itself (see `tidy`); what the features of the crates below it bring, only the whole tree shows.

use crate::programs::host_triple;
use crate::step::{cargo, output};
use anyhow::{Result, bail};

/// Crates that are a runtime or load one, by the beginning of their names.
const RUNTIMES: [&str; 6] = ["candle-", "cudarc", "nvml-", "onnxruntime", "ort", "tract-"];
/// Those of them that put tract on a GPU.
const ON_GPU: [&str; 2] = ["tract-cuda", "tract-gpu"];

/// Something that is built by default.
struct Built {
    package: &'static str,
    /// May it have this runtime?
    may: fn(&str) -> bool,
}

const BUILT: [Built; 3] = [
    Built { package: "boardproof", may: |_| false },
    Built { package: "boardproof-agent", may: |_| false },
    Built { package: "boardproof-runner", may: |name| name.starts_with("tract-") && !ON_GPU.contains(&name) },
];

/// Looks into the tree of each; an error names what should not be there.
pub fn check() -> Result<()> {
    let triple = host_triple()?;
    let mut found = Vec::new();
    for Built { package, may } in BUILT {
        let words = ["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package];
        let mut tree = cargo(&words);
        tree.args(["--target", &triple]);
        let names = runtimes(&output(tree)?);
        found.extend(names.into_iter().filter(|name| !may(name)).map(|name| format!("{package} links {name}")));
    }
    if found.is_empty() { Ok(()) } else { bail!("{}", found.join(", ")) }
}

/// Names of the runtimes in what `cargo tree` prints, each once.
fn runtimes(tree: &str) -> Vec<String> {
    let is_runtime = |name: &&str| {
        let of = |runtime: &&str| {
            let exact = !runtime.ends_with('-') && (name == runtime || name.starts_with(&format!("{runtime}-")));
            exact || (runtime.ends_with('-') && name.starts_with(runtime))
        };
        RUNTIMES.iter().any(of)
    };
    let mut names: Vec<String> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(is_runtime).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_found_wherever_it_hangs_in_the_tree() {
        let tree = "boardproof v0.1.0 (/b)\nboardproof-engines v0.1.0 (/b)\ntract-onnx v0.23.9\norted v1.0.0\nort v2.0.0\nort-sys v2.0.0\n\
                    tract-onnx v0.23.9 (*)\nserde v1.0.0\ncudarc v0.19.10\n";
        assert_eq!(runtimes(tree), ["cudarc", "ort", "ort-sys", "tract-onnx"]);
        let [Built { may: host, .. }, _, Built { may: runner, .. }] = BUILT;
        assert!(!host("tract-onnx") && runner("tract-onnx") && !runner("tract-cuda") && !runner("candle-core"));
    }
}
