//! One step at a time: runs a command, says on stderr how it ended and how long it took. Decides nothing.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Goes to the root of the workspace and returns it.
pub fn enter_root() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("run this as `cargo xtask`, which says where the sources are")?;
    let own = PathBuf::from(own);
    let root = own.ancestors().nth(2).context("ci/xtask has no folder above ci")?.to_path_buf();
    std::env::set_current_dir(&root).with_context(|| format!("could not enter {}", root.display()))?;
    Ok(root)
}

/// A `cargo` command of the toolchain that runs this, always with the committed lock file where the subcommand knows one.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    // What cargo tells its child about xtask's own package would make every crate that asks for it build anew.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Any other command.
pub fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

/// Runs a command with its output in view and nothing to read; an exit status other than 0 is an error.
pub fn run(mut command: Command) -> Result<()> {
    let line = words(&command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("could not start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and returns what it wrote on stdout; stderr stays in view.
pub fn output(mut command: Command) -> Result<String> {
    let line = words(&command);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("could not start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` wrote something that is not UTF-8"))
}

/// Whether a command can be started and ends well; says nothing.
pub fn works(name: &str, arguments: &[&str]) -> bool {
    let quiet = program(name, arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// The command as one would type it, quotes left out.
fn words(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    if let Some(name) = line.rsplit('/').next() {
        line = name.to_owned();
    }
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Steps that all run, whatever becomes of the one before, and are counted.
#[derive(Debug, Default)]
pub struct Steps {
    done: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Steps {
    /// Runs a step. Its error is shown and kept for the end.
    pub fn run(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        match step(name, work) {
            Ok(()) => self.done += 1,
            Err(error) => {
                eprintln!("error: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Leaves a step out, in view of everybody.
    pub fn skip(&mut self, name: &str, reason: &str) {
        report(name, "skipped", Duration::ZERO);
        eprintln!("{:>21}{reason}", "");
        self.skipped.push(name.to_owned());
    }

    /// Says what became of all steps; fails when one failed.
    pub fn finish(self, what: &str) -> Result<()> {
        eprintln!("{what}: {} done, {} failed, {} skipped", self.done, self.failed.len(), self.skipped.len());
        if !self.skipped.is_empty() {
            eprintln!("skipped: {}", self.skipped.join(", "));
        }
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

/// Runs one step and prints its line.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = work();
    report(name, if result.is_ok() { "ok" } else { "FAILED" }, start.elapsed());
    result
}

fn report(name: &str, end: &str, elapsed: Duration) {
    eprintln!("[{:>8.1} s] {end:<8} {name}", elapsed.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_hide_behind_the_next_one() {
        let mut steps = Steps::default();
        steps.run("bad", || bail!("broken"));
        steps.run("good", || Ok(()));
        steps.skip("absent", "no tool");
        let error = steps.finish("check").unwrap_err();
        assert_eq!(error.to_string(), "failed: bad");
    }

    #[test]
    fn a_skipped_step_is_no_failure_and_no_success() {
        let mut steps = Steps::default();
        steps.skip("absent", "no tool");
        assert_eq!((steps.done, steps.skipped.len()), (0, 1));
        assert!(steps.finish("check").is_ok());
    }

    #[test]
    fn a_command_that_fails_is_named_with_its_arguments() {
        let error = run(program("sh", &["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh -c exit 3`") && error.contains('3'), "{error}");
        let error = run(program("no-such-program-anywhere", &[])).unwrap_err().to_string();
        assert_eq!(error, "could not start `no-such-program-anywhere`");
    }
}
