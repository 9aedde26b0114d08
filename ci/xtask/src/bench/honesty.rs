//! The rules of the gate and its intervals on draws whose truth is known; the drawing is an example of the judge.

use super::figure::{Section, put};
use crate::step::{cargo, output, step};
use anyhow::Result;
use std::path::Path;

/// Prints the tables, and puts them into docs/honesty.md when asked to.
pub fn honesty(root: &Path, write: bool) -> Result<()> {
    let example = ["run", "--quiet", "--release", "--locked", "--package", "boardproof-judge", "--example", "honesty"];
    let tables = step("honesty", || output(cargo(&example)))?;
    println!("{tables}");
    if write { put(&root.join("docs/honesty.md"), Section::Honesty, &tables) } else { Ok(()) }
}
