//! Frames over faulty links, through client and core: the test that must never see a wrong result, with its counts.

use super::figure::Figure;
use crate::step::{cargo, output};
use anyhow::{Context, Result};
use std::time::Instant;

/// Frames promised, whole and faulty ones together.
const FRAMES: f64 = 1e6;

/// Runs the test; a wrong result fails it.
pub fn sim() -> Result<Vec<Figure>> {
    let mut command = cargo(&["test", "--quiet", "--release", "--locked", "--package", "boardproof-lab"]);
    command.args(["--test", "simulated", "a_bad_link", "--", "--nocapture"]);
    let start = Instant::now();
    let said = output(command)?;
    let line = said.lines().find(|line| line.contains(" frames, ")).context("the test has told no frames")?;
    let frames = count(line, " frames")?;
    let faults = count(line, " faults")?;
    let measured = format!("{}, {:.0} s", line.trim(), start.elapsed().as_secs_f64());
    let share = format!("{faults:.0} of {frames:.0} frames, {:.1} %", faults / frames * 100.0);
    Ok(vec![
        Figure::at_least("frames over faulty links, and never a wrong result", frames, FRAMES, "frames", measured),
        Figure::shown(
            "faults among these frames (lost, repeated, out of order, cut, flipped, resets and stalls)",
            share,
        ),
    ])
}

/// The number before a word, as in `1000 frames, 90 faults, ...`.
fn count(line: &str, word: &str) -> Result<f64> {
    let number = line.split(", ").find_map(|part| part.trim().strip_suffix(word));
    let number = number.with_context(|| format!("expected a number of{word}, got '{line}'"))?;
    number.parse().with_context(|| format!("expected a number of{word}, got '{number}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_faults_are_told_apart() {
        let line = "1000034 frames, 94160 faults, 6527 of 6527 runs came through";
        assert_eq!((count(line, " frames").unwrap(), count(line, " faults").unwrap()), (1_000_034.0, 94_160.0));
        assert!(count(line, " runs").is_err());
    }
}
