//! `boardproof ab` on real inferences of this machine: how often a variant is called slower than itself, and how often a slowdown is found.

use crate::step::{cargo, output, step};
use anyhow::Result;
use std::path::Path;

/// Prints the table.
pub fn real_ab(root: &Path, comparisons: u32) -> Result<()> {
    step("boardproof", || crate::step::run(cargo(&["build", "--release", "--locked", "--package", "boardproof"])))?;
    let example =
        ["run", "--quiet", "--release", "--locked", "--package", "boardproof-tests", "--example", "real_ab", "--"];
    let mut command = cargo(&example);
    command.arg(comparisons.to_string()).arg(root.join("models"));
    println!("{}", step("real-ab", || output(command))?);
    Ok(())
}
