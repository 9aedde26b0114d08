//! The processes of a run as /proc shows them: the tool starts an agent, the agent starts a runner per pass.

use std::fs;

/// A process, by its number and command line.
#[derive(Debug, Clone)]
pub struct Process {
    pub id: u32,
    pub parent: u32,
    pub command: String,
}

/// All processes that are not zombies.
pub fn all() -> Vec<Process> {
    let numbers = fs::read_dir("/proc").expect("/proc is there").flatten();
    numbers.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; state and parent stand behind the last one.
    let mut behind = stat.rsplit_once(')')?.1.split_whitespace();
    let state = behind.next()?;
    let parent = behind.next()?.parse().ok()?;
    let command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    (state != "Z").then_some(Process { id, parent, command })
}

/// The agent that this tool runs, or the SSH client that leads to it.
pub fn agent_of(tool: u32) -> Option<Process> {
    all().into_iter().find(|p| p.parent == tool && p.command.contains(" serve "))
}

/// Agent and runner of this tool while a pass runs.
pub fn agent_and_runner_of(tool: u32) -> Option<(Process, Process)> {
    let agent = agent_of(tool)?;
    let runner = all().into_iter().find(|p| p.parent == agent.id)?;
    Some((agent, runner))
}

/// Is this very process still there?
pub fn lives(process: &Process) -> bool {
    read(process.id).is_some_and(|now| now.command == process.command)
}
