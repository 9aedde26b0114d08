//! Bytes of agent and runner: stripped, and on the wire.

use super::figure::Figure;
use crate::programs::{build_agents, build_tool, tool};
use crate::step::output;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

const STRIPPED_MB: f64 = 12.0;
const WIRE_MB: f64 = 4.5;

/// What `boardproof agent build --json` tells of a program.
#[derive(Debug, Deserialize)]
pub struct Built {
    /// Target that it is for.
    target: String,
    /// The program.
    pub path: PathBuf,
    /// Bytes that travel to a bare board for it; none where there is no link to speak of.
    wire_bytes: Option<u64>,
    build: Build,
}

#[derive(Debug, Deserialize)]
struct Build {
    program: String,
    bytes: u64,
}

/// Agent and runner of a target, built or from the cache.
pub fn built(root: &Path, target: &str) -> Result<[Built; 2]> {
    build_tool()?;
    build_agents(root, &[target.to_owned()])?;
    let text = output(tool(root, &["agent", "build", "--json", "--target", target]))?;
    let built: Vec<Built> = serde_json::from_str(&text).context("`agent build --json` cannot be read")?;
    let named = |name: &str| built.iter().position(|b| b.build.program == name && b.target == target);
    let (agent, runner) = (named("agent").context("no agent was built")?, named("runner").context("no runner")?);
    let mut built: Vec<_> = built.into_iter().map(Some).collect();
    let mut take = |index: usize| built[index].take().context("one program is both");
    Ok([take(agent)?, take(runner)?])
}

/// Both, per target. What was promised is about boards: nothing travels to this machine.
pub fn size(root: &Path, targets: &[String]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for target in targets {
        let [agent, runner] = built(root, target)?;
        let each = |agent: u64, runner: u64| {
            let [agent, runner, both] = [agent, runner, agent + runner].map(|bytes| bytes as f64 / 1e6);
            (both, format!("{both:.2} MB: {agent:.2} agent, {runner:.2} runner"))
        };
        let (both, text) = each(agent.build.bytes, runner.build.bytes);
        let what = format!("agent and runner for {target}, stripped");
        let (Some(agent), Some(runner)) = (agent.wire_bytes, runner.wire_bytes) else {
            figures.push(Figure::shown(what, text));
            continue;
        };
        figures.push(Figure::at_most(what, both, STRIPPED_MB, "MB", text));
        let (both, text) = each(agent, runner);
        let what = format!("agent and runner for {target}, on the wire");
        figures.push(Figure::at_most(what, both, WIRE_MB, "MB", text));
    }
    Ok(figures)
}
