//! Faulty frames through client and core: the test that must never see a wrong result, with its counts.

use super::figure::Figure;
use crate::step::{cargo, output};
use anyhow::{Context, Result};
use std::time::Instant;

/// Frames promised.
const FRAMES: f64 = 1e6;

/// Runs the test; a wrong result fails it.
pub fn sim() -> Result<Vec<Figure>> {
    let mut command = cargo(&["test", "--quiet", "--release", "--locked", "--package", "boardproof-lab"]);
    command.args(["--test", "simulated", "a_bad_link", "--", "--nocapture"]);
    let start = Instant::now();
    let said = output(command)?;
    let line = said.lines().find(|line| line.contains(" frames, ")).context("the test has told no frames")?;
    let first = line.split_whitespace().next().unwrap_or_default();
    let frames: f64 = first.parse().with_context(|| format!("expected a number of frames, got '{first}'"))?;
    let measured = format!("{}, {:.0} s", line.trim(), start.elapsed().as_secs_f64());
    Ok(vec![Figure::at_least("faulty frames, and never a wrong result", frames, FRAMES, "frames", measured)])
}
