//! How a runner ended: from what the kernel says of the process and what the agent did to it to one [`Ended`].

use crate::job::launch;
use crate::job::memory;
use boardproof_protocol::Ended;
use rustix::process::Pid;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Why the agent killed a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kill {
    /// The wall time ran out.
    Deadline,
    /// The host asked for it, or can no longer be served.
    Cancelled(String),
    /// What it wrote are no events.
    Garbage(String),
}

/// What is known of a process that ended.
#[derive(Debug)]
pub struct Autopsy<'a> {
    /// The kernel's word; `None` when it could not be had.
    pub status: Option<ExitStatus>,
    /// What the agent did, if it did before the process ended.
    pub kill: Option<&'a Kill>,
    /// What the pass lacks.
    pub lacking: Option<&'a str>,
    /// The engine gave the model up.
    pub cannot_run: bool,
    /// Events that came.
    pub events: u64,
    /// End of standard error.
    pub stderr: &'a str,
    /// Memory limit in force, in bytes.
    pub limit_bytes: Option<u64>,
    /// The limit's own group, or the unit's kernel, counted a kill for memory while it ran.
    pub memory_killed: bool,
    /// The deadline.
    pub deadline_ms: u32,
}

impl Autopsy<'_> {
    /// How it ended. Completed is what is left when nothing speaks against it. A runner says that it has started before it looks at
    /// the model, so an end before its first event says nothing about the model, whatever kind of end it is: the C library is too
    /// old, the processor lacks an instruction, the memory is taken by others.
    pub fn ended(&self) -> Ended {
        if let Some(Kill::Cancelled(_)) = self.kill {
            return Ended::Cancelled;
        }
        if self.events == 0 { Ended::NotStarted } else { self.ended_after_start() }
    }

    /// In words how a runner ended that never started; `None` when it did start, or when it said itself why it could not.
    pub fn why_not_started(&self) -> Option<String> {
        if self.events > 0 || matches!(self.kill, Some(Kill::Cancelled(_) | Kill::Garbage(_))) {
            return None;
        }
        let how = match self.ended_after_start() {
            Ended::Exited { code } if code == launch::FAILED_CODE && self.stderr.contains(launch::FAILED) => {
                return None;
            }
            Ended::OutOfMemory { limit_bytes: 0 } => "for want of the unit's memory".to_owned(),
            Ended::OutOfMemory { limit_bytes } => {
                format!(
                    "because of its memory limit of {limit_bytes} bytes, which is less than it needs without a model"
                )
            }
            Ended::DeadlineExceeded { deadline_ms } => format!("by its deadline of {deadline_ms} ms"),
            Ended::Signalled { signal } => format!("by signal {signal}"),
            Ended::Exited { code } => format!("with exit code {code}"),
            Ended::Completed | Ended::CannotRun | Ended::Cancelled | Ended::NotStarted => "without a word".to_owned(),
        };
        Some(format!("the runner ended {how} before it had started its work"))
    }

    fn ended_after_start(&self) -> Ended {
        let Some(status) = self.status else { return Ended::NotStarted };
        if let Some(signal) = status.signal() {
            return self.ended_by(signal);
        }
        let code = status.code().unwrap_or(-1);
        if code != 0 && memory::tells_of_memory(self.stderr) {
            return self.out_of_memory();
        }
        match code {
            0 if self.lacking.is_none() && self.cannot_run => Ended::CannotRun,
            0 if self.lacking.is_none() && self.kill.is_none() => Ended::Completed,
            // It was done in time if it ended well before the signal reached it.
            0 if self.lacking.is_none() && self.kill == Some(&Kill::Deadline) => Ended::Completed,
            code => Ended::Exited { code },
        }
    }

    fn ended_by(&self, signal: i32) -> Ended {
        const KILL: i32 = libc::SIGKILL;
        match self.kill {
            Some(Kill::Deadline) if signal == KILL => Ended::DeadlineExceeded { deadline_ms: self.deadline_ms },
            Some(Kill::Garbage(_)) if signal == KILL => Ended::NotStarted,
            _ if signal == KILL && self.memory_killed => self.out_of_memory(),
            _ if memory::tells_of_memory(self.stderr) => self.out_of_memory(),
            _ => Ended::Signalled { signal },
        }
    }

    fn out_of_memory(&self) -> Ended {
        Ended::OutOfMemory { limit_bytes: self.limit_bytes.unwrap_or(0) }
    }
}

/// What the kernel kept of a process.
#[derive(Debug)]
pub struct Remains {
    /// How it ended.
    pub status: ExitStatus,
    /// Largest resident set in bytes; never below that of the agent's own start of the process.
    pub rss_peak_bytes: u64,
    /// Page faults without I/O over its whole life.
    pub minor_faults: u64,
    /// Page faults with I/O over its whole life.
    pub major_faults: u64,
}

/// Waits for the child and takes its resource usage, which no safe interface gives for one child.
pub fn reap(pid: Pid) -> io::Result<Remains> {
    let mut status = 0;
    #[expect(unsafe_code, reason = "wait4 has no safe wrapper")]
    // SAFETY: `rusage` is plain numbers for which all zero is valid, and wait4 writes only through the two pointers, which live on.
    let (reaped, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, &raw mut usage), usage)
    };
    if reaped < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = |n: libc::c_long| u64::try_from(n).unwrap_or(0);
    Ok(Remains {
        status: ExitStatus::from_raw(status),
        rss_peak_bytes: number(usage.ru_maxrss) * 1024,
        minor_faults: number(usage.ru_minflt),
        major_faults: number(usage.ru_majflt),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Option<ExitStatus> {
        Some(ExitStatus::from_raw(code << 8))
    }

    fn signalled(signal: i32) -> Option<ExitStatus> {
        Some(ExitStatus::from_raw(signal))
    }

    fn well() -> Autopsy<'static> {
        Autopsy {
            status: exited(0),
            kill: None,
            lacking: None,
            cannot_run: false,
            events: 9,
            stderr: "",
            limit_bytes: None,
            memory_killed: false,
            deadline_ms: 50,
        }
    }

    #[test]
    fn only_a_whole_pass_that_ended_well_is_completed() {
        assert_eq!(well().ended(), Ended::Completed);
        assert_eq!(Autopsy { lacking: Some("ticks"), ..well() }.ended(), Ended::Exited { code: 0 });
        assert_eq!(Autopsy { cannot_run: true, ..well() }.ended(), Ended::CannotRun);
        assert_eq!(Autopsy { status: exited(3), cannot_run: true, ..well() }.ended(), Ended::Exited { code: 3 });
        let garbage = Kill::Garbage("x".into());
        assert_eq!(Autopsy { kill: Some(&garbage), ..well() }.ended(), Ended::Exited { code: 0 });
        assert_eq!(Autopsy { status: None, ..well() }.ended(), Ended::NotStarted);
    }

    #[test]
    fn a_deadline_that_came_too_late_is_none() {
        let late = Autopsy { kill: Some(&Kill::Deadline), ..well() };
        assert_eq!(late.ended(), Ended::Completed);
        let in_time = Autopsy { status: signalled(9), ..late };
        assert_eq!(in_time.ended(), Ended::DeadlineExceeded { deadline_ms: 50 });
        let crashed_before = Autopsy { status: signalled(11), kill: Some(&Kill::Deadline), ..well() };
        assert_eq!(crashed_before.ended(), Ended::Signalled { signal: 11 });
    }

    #[test]
    fn memory_needs_a_witness() {
        let killed = Autopsy { status: signalled(9), ..well() };
        assert_eq!(killed.ended(), Ended::Signalled { signal: 9 });
        let by_kernel = Autopsy { memory_killed: true, ..killed };
        assert_eq!(by_kernel.ended(), Ended::OutOfMemory { limit_bytes: 0 });
        let aborted = Autopsy { status: signalled(6), limit_bytes: Some(7), ..well() };
        assert_eq!(aborted.ended(), Ended::Signalled { signal: 6 });
        let told = Autopsy { stderr: "memory allocation of 80 bytes failed", ..aborted };
        assert_eq!(told.ended(), Ended::OutOfMemory { limit_bytes: 7 });
    }

    #[test]
    fn an_end_before_the_first_event_says_nothing_about_the_model() {
        let deadline = Some(&Kill::Deadline);
        let silent = Autopsy { events: 0, lacking: Some("ticks"), ..well() };
        for (status, kill, limit_bytes, words) in [
            (exited(0), None, None, "with exit code 0"),
            (exited(1), None, None, "with exit code 1"),
            (exited(127), None, None, "with exit code 127"),
            (signalled(4), None, None, "by signal 4"),
            (signalled(9), deadline, None, "by its deadline of 50 ms"),
            (signalled(9), None, Some(7), "because of its memory limit of 7 bytes"),
            (signalled(9), None, None, "for want of the unit's memory"),
        ] {
            let memory_killed = words.contains("memory");
            let end = Autopsy { status, kill, limit_bytes, memory_killed, ..silent };
            assert_eq!(end.ended(), Ended::NotStarted, "{words}");
            assert!(end.why_not_started().unwrap().contains(words), "{:?}", end.why_not_started());
            // The same after an event is an observation of the model, and needs no explanation.
            let later = Autopsy { events: 1, ..end };
            assert_ne!(later.ended(), Ended::NotStarted, "{words}");
            assert_eq!(later.why_not_started(), None);
        }
        let cancelled = Kill::Cancelled("x".into());
        assert_eq!(Autopsy { kill: Some(&cancelled), ..silent }.ended(), Ended::Cancelled);
    }

    #[test]
    fn a_failed_start_speaks_for_itself() {
        let failed = format!("{}x", launch::FAILED);
        let not_started = Autopsy { status: exited(127), events: 0, stderr: &failed, ..well() };
        assert_eq!((not_started.ended(), not_started.why_not_started()), (Ended::NotStarted, None));
    }
}
