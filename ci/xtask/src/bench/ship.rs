//! The virtual board: how long it takes to boot, to receive everything that a check needs side by side with a plain `cat` of the same
//! bytes, and what the agent needs for itself meanwhile. One board, several rounds, a bare board each time.

use super::figure::Figure;
use super::size::built;
use crate::step::{cargo, output, program, step};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

const TARGET: &str = "virtual-board-aarch64";
/// Data that travels with the runner.
const FILES: [&str; 2] = ["models/mnist_dscnn/int8_qdq_pc.onnx", "models/mnist_dscnn/data/test.safetensors"];
const ROUNDS: &str = "5";
/// Shipping against `cat`.
const RATIO: f64 = 0.5;
/// Resident memory of the agent.
const AGENT_MB: f64 = 8.0;

/// What the example prints.
#[derive(Debug, Deserialize)]
struct Seen {
    boot_ms: u64,
    content_bytes: u64,
    wire_bytes: u64,
    cat_ms: Vec<u64>,
    agent_ms: Vec<u64>,
    connect_ms: Vec<u64>,
    ship_ms: Vec<u64>,
    agent_peak_kb: Vec<u64>,
    second_wire_bytes: u64,
    second_cached_bytes: u64,
}

/// Boots the board and measures.
pub fn ship(root: &Path) -> Result<Vec<Figure>> {
    let [agent, runner] = built(root, TARGET)?;
    let image =
        step("image of the board", || output(program("targets/virtual-board/build-image", &["target/virtual-board"])))?;
    let mut command =
        cargo(&["run", "--quiet", "--release", "--locked", "--package", "boardproof-lab", "--example", "ship"]);
    command.args(["--", image.trim()]).arg(agent.path).arg(runner.path).arg(ROUNDS).args(FILES);
    let text = step("shipping and cat, in turns", || output(command))?;
    let seen: Seen = serde_json::from_str(&text).context("the example's figures cannot be read")?;
    Ok(figures(&seen))
}

fn figures(seen: &Seen) -> Vec<Figure> {
    let (content_mb, wire_mb) = (seen.content_bytes as f64 / 1e6, seen.wire_bytes as f64 / 1e6);
    let (cat, connect, ship) = (median(&seen.cat_ms), median(&seen.connect_ms), median(&seen.ship_ms));
    let ratio = (connect + ship) / cat;
    let bare = (median(&seen.agent_ms) + ship) / cat;
    let seconds = |ms: f64| format!("{:.2} s", ms / 1000.0);
    let measured = format!(
        "{ratio:.2}: {} against {} (medians of {}; session {}); {bare:.2} with the agent brought first",
        seconds(connect + ship),
        seconds(cat),
        seen.cat_ms.len(),
        seconds(connect)
    );
    let peak_mb = seen.agent_peak_kb.iter().max().map_or(f64::NAN, |kb| *kb as f64 * 1024.0 / 1e6);
    let again = seen.second_wire_bytes as f64;
    vec![
        Figure::at_most(
            format!(
                "shipping runner, model and evalset ({content_mb:.1} MB, {wire_mb:.2} on the wire) to a board with an empty store, against `cat`, emulated"
            ),
            ratio,
            RATIO,
            "x",
            measured,
        ),
        Figure::at_most(
            "payload of a second run",
            again,
            0.0,
            "bytes",
            format!("{again} bytes, {:.1} MB were there", seen.second_cached_bytes as f64 / 1e6),
        ),
        Figure::at_most(
            "agent's own resident memory while it receives, aarch64",
            peak_mb,
            AGENT_MB,
            "MB",
            format!("{peak_mb:.1} MB"),
        ),
        Figure::shown("virtual board: start to first answer, emulated", seconds(seen.boot_ms as f64)),
    ]
}

/// NaN of nothing.
fn median(values: &[u64]) -> f64 {
    let mut sorted: Vec<_> = values.iter().map(|v| *v as f64).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_a_miss() {
        assert_eq!(median(&[3, 1, 2]), 2.0);
        assert_eq!(median(&[4, 1]), 2.5);
        let seen = Seen {
            boot_ms: 0,
            content_bytes: 0,
            wire_bytes: 0,
            cat_ms: Vec::new(),
            agent_ms: Vec::new(),
            connect_ms: Vec::new(),
            ship_ms: Vec::new(),
            agent_peak_kb: Vec::new(),
            second_wire_bytes: 1,
            second_cached_bytes: 0,
        };
        let text = super::super::figure::table(&figures(&seen));
        assert_eq!(text.matches("**missed**").count(), 3, "{text}");
    }
}
