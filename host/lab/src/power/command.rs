//! Power commands of the user: run by a shell, ended at their deadline, believed only when they exit with 0.

use std::process::{Command, Stdio};
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
        /// What it wrote.
        stderr: String,
    },
    /// It did not end.
    #[error("power command '{command}' did not end within {deadline_s} s and was killed")]
    Deadline {
        /// The command.
        command: String,
        /// Its deadline.
        deadline_s: u64,
    },
}

/// Runs one power command.
pub fn run_command(command: &str, deadline: Duration) -> Result<(), CommandError> {
    use std::os::unix::process::CommandExt;
    let start = |source| CommandError::Start { command: command.to_owned(), source };
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = shell.spawn().map_err(start)?;
    let end = Instant::now() + deadline;
    loop {
        match child.try_wait().map_err(start)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let mut stderr = String::new();
                if let Some(mut pipe) = child.stderr.take() {
                    let _ = std::io::Read::read_to_string(&mut pipe, &mut stderr);
                }
                let stderr = stderr.trim().to_owned();
                return Err(CommandError::Failed { command: command.to_owned(), status: status.to_string(), stderr });
            }
            None if Instant::now() >= end => {
                // The whole group: a power script that hangs mostly hangs in a child of the shell.
                let _ = Command::new("kill").args(["-9", &format!("-{}", child.id())]).status();
                let _ = child.wait();
                return Err(CommandError::Deadline { command: command.to_owned(), deadline_s: deadline.as_secs() });
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_and_hanging_are_told_apart_and_quoted() {
        assert!(run_command("true", Duration::from_secs(20)).is_ok());
        let failed = run_command("echo 'relay 3 does not answer' >&2; exit 1", Duration::from_secs(20)).unwrap_err();
        assert!(failed.to_string().contains("relay 3 does not answer"), "{failed}");
        let hangs = run_command("tail -f /dev/null", Duration::ZERO).unwrap_err();
        assert!(matches!(hangs, CommandError::Deadline { .. }), "{hangs}");
    }
}
