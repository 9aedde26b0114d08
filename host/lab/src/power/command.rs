//! Power commands of the user: run by a shell, ended at their deadline, believed only when they exit with 0.
//!
//! Refuses to guess: after a failure nothing is known about the unit's power, and no state is ever reported.

use super::{Power, PowerError, PowerState};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A power command that did not work. The state of the unit is unknown then.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The shell could not be started.
    #[error("could not run power command '{command}'")]
    Start {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said that it failed.
    #[error("power command '{command}' failed ({status}): {stderr}")]
    Failed {
        /// The command.
        command: String,
        /// Exit status.
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// It did not end.
    #[error("power command '{command}' did not end within {deadline_s} s and was killed: {stderr}")]
    Deadline {
        /// The command.
        command: String,
        /// Its deadline.
        deadline_s: u64,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
}

/// A supply that is switched by commands: a power strip, a relay, a lab's own tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPower {
    /// Switches on.
    pub on: String,
    /// Switches off.
    pub off: String,
    /// Off and on again, when one command does it.
    pub cycle: Option<String>,
}

impl Power for CommandPower {
    fn on(&mut self, limit: Duration) -> Result<(), PowerError> {
        Ok(run_command(&self.on, limit)?)
    }

    fn off(&mut self, limit: Duration) -> Result<(), PowerError> {
        Ok(run_command(&self.off, limit)?)
    }

    fn reset(&mut self, limit: Duration) -> Result<(), PowerError> {
        let end = Instant::now() + limit;
        match &self.cycle {
            Some(cycle) => run_command(cycle, limit)?,
            None => {
                run_command(&self.off, limit)?;
                run_command(&self.on, end.saturating_duration_since(Instant::now()))?;
            }
        }
        Ok(())
    }

    fn hang(&mut self, _limit: Duration) -> Result<(), PowerError> {
        Err(PowerError::Unsupported { action: "make the unit hang" })
    }

    fn resume(&mut self, _limit: Duration) -> Result<(), PowerError> {
        Err(PowerError::Unsupported { action: "let the unit go on" })
    }

    fn state(&mut self, _limit: Duration) -> Result<PowerState, PowerError> {
        Err(PowerError::Unsupported { action: "ask for the unit's power state" })
    }
}

/// Runs one power command; returns by the deadline whatever it or its children do.
pub fn run_command(command: &str, deadline: Duration) -> Result<(), CommandError> {
    let start = |source| CommandError::Start { command: command.to_owned(), source };
    // A file and not a pipe: a pipe fills up, and stays open as long as anything that the command left behind.
    let mut words = tempfile::tempfile().map_err(start)?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(words.try_clone().map_err(start)?);
    let mut child = shell.process_group(0).spawn().map_err(start)?;
    let end = Instant::now() + deadline;
    let status = loop {
        match child.try_wait().map_err(start)? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                kill_group(&mut child);
                let stderr = last_words(&mut words);
                return Err(CommandError::Deadline {
                    command: command.to_owned(),
                    deadline_s: deadline.as_secs(),
                    stderr,
                });
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let stderr = last_words(&mut words);
    Err(CommandError::Failed { command: command.to_owned(), status: status.to_string(), stderr })
}

/// The whole group: a power script that hangs mostly hangs in a child of the shell. `kill` is the shell's own, as a small machine has no
/// other.
fn kill_group(child: &mut Child) {
    let line = format!("kill -9 -{}", child.id());
    let _ = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    let _ = child.kill();
    let _ = child.wait();
}

/// The last of what was written, as much as fits an error.
fn last_words(file: &mut File) -> String {
    const KEPT_BYTES: u64 = 2048;
    let mut bytes = Vec::new();
    let length = file.seek(SeekFrom::End(0)).unwrap_or(0);
    let begin = file.seek(SeekFrom::Start(length.saturating_sub(KEPT_BYTES)));
    let _ = begin.and_then(|_| file.take(KEPT_BYTES).read_to_end(&mut bytes));
    match String::from_utf8_lossy(&bytes).trim() {
        "" => "it wrote nothing".into(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn an_exit_code_is_reported_with_the_words() {
        let error = run_command("echo 'relay 3 does not answer' >&2; exit 7", LONG).unwrap_err();
        assert_eq!(
            error.to_string(),
            "power command 'echo 'relay 3 does not answer' >&2; exit 7' failed (exit status: 7): relay 3 does not answer"
        );
        assert!(run_command("no-such-program-of-boardproof", LONG).unwrap_err().to_string().contains("not found"));
        assert!(run_command("exit 1", LONG).unwrap_err().to_string().ends_with("it wrote nothing"));
        assert!(run_command("kill -9 $$", LONG).unwrap_err().to_string().contains("signal: 9"));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let command = format!("echo waiting >&2; tail -f /dev/null & echo $! > {}; wait", pid.display());
        let error = run_command(&command, Duration::from_secs(1)).unwrap_err();
        assert!(
            matches!(&error, CommandError::Deadline { deadline_s: 1, stderr, .. } if stderr == "waiting"),
            "{error}"
        );
        let child = std::fs::read_to_string(pid).unwrap();
        let end = Instant::now() + LONG;
        while !gone(&child) {
            assert!(Instant::now() < end, "process {child} still runs");
            std::thread::yield_now();
        }
    }

    /// Killed: not there, or waiting for init to take note of it.
    fn gone(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "))
    }

    #[test]
    fn what_a_command_leaves_behind_does_not_hold_up_its_answer() {
        let start = Instant::now();
        let error = run_command("sleep 50 & echo 'no such port' >&2; exit 1", LONG).unwrap_err();
        assert!(error.to_string().ends_with("no such port"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(40));
    }

    #[test]
    fn a_flood_of_words_neither_blocks_nor_fills_the_error() {
        let command =
            "i=0; while [ $i -lt 20000 ]; do echo 'line of words'; i=$((i+1)); done >&2; echo last >&2; exit 1";
        let CommandError::Failed { stderr, .. } = run_command(command, LONG).unwrap_err() else {
            panic!("expected a failure")
        };
        assert!(stderr.ends_with("last") && stderr.len() <= 2048, "{} bytes", stderr.len());
    }

    #[test]
    fn a_reset_is_one_command_or_both_and_stops_at_the_first_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let say = |word: &str| format!("echo {word} >> {}", log.display());
        let mut power = CommandPower { on: say("on"), off: say("off"), cycle: None };
        power.reset(LONG).unwrap();
        power.cycle = Some(say("cycle"));
        power.reset(LONG).unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "off\non\ncycle\n");
        let mut broken = CommandPower { off: "exit 1".into(), cycle: None, ..power };
        assert!(broken.reset(LONG).is_err());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "off\non\ncycle\n");
        assert!(matches!(broken.hang(LONG), Err(PowerError::Unsupported { .. })));
    }
}
