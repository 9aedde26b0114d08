//! A process that is watched from outside: its wall time and the largest resident memory that the kernel has seen of it.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What was seen of a process.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    /// From its start to its end.
    pub wall: Duration,
    /// High-water mark. It is read every millisecond, so what was added in the last one is missing.
    pub peak_bytes: u64,
}

/// Exit codes with which everything was measured and judged: pass, fail, inconclusive. 2 is wrong use.
pub const VERDICTS: [i32; 3] = [0, 1, 3];

/// Runs a command of the tool to its end, which must be one of [`VERDICTS`].
pub fn watched(mut command: Command) -> Result<Watched> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start boardproof")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let ended = loop {
        // Of a process that has ended but was not asked for its status yet there is no memory to read.
        peak_bytes = peak_bytes.max(std::fs::read_to_string(&status).ok().and_then(|text| peak(&text)).unwrap_or(0));
        match child.try_wait()? {
            Some(ended) => break ended,
            None => std::thread::park_timeout(Duration::from_millis(1)),
        }
    };
    let wall = start.elapsed();
    match ended.code() {
        Some(code) if VERDICTS.contains(&code) => Ok(Watched { wall, peak_bytes }),
        _ => bail!("boardproof ended with {ended}"),
    }
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_those_of_the_process() {
        let seen = watched(crate::step::program("sh", &["-c", "exit 1"])).unwrap();
        assert!(seen.wall < Duration::from_secs(60));
        assert!(watched(crate::step::program("sh", &["-c", "exit 2"])).is_err());
        assert_eq!(peak("Name:\tx\nVmHWM:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(peak("Name:\tx\n"), None);
    }
}
