//! Follows one runner from its start to its end: feeds it the request, takes its events as far as the host's credit allows, keeps the
//! end of its standard error, enforces deadline, lease and cancellation, and says how it ended.

use crate::arguments::Launch;
use crate::clock;
use crate::job::end::{self, Autopsy, Kill, Remains};
use crate::job::launch;
use crate::job::memory::{self, MemoryLimit};
use crate::job::queue::Queue;
use crate::job::watch::Watch;
use crate::job::{Assignment, Limits, clip, encoded};
use boardproof_protocol::frame::{Deframed, STREAM_FRAME_MAX, StreamDeframer, decode_event};
use boardproof_protocol::{Ended, Event, Key, TextKey};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Bytes of standard error that are kept: its end, where the reason stands.
const STDERR_BYTES: usize = 4096;
/// Bytes read from a pipe at once.
const PIECE: usize = 64 * 1024;
/// Most that the kernel lets a pipe hold.
const PIPE_BYTES_MAX: usize = 1024 * 1024;
/// Longest time between two looks at lease and clock.
const LOOK: Duration = Duration::from_millis(500);
/// The same on a kernel that cannot tell of a process's end by itself.
const LOOK_WITHOUT_PIDFD: Duration = Duration::from_millis(20);

/// Which of the texts a runner leaves behind: its standard error, and what the agent has to say about it.
const STDERR_OF_RUNNER: u16 = 0;
const STDERR_OF_AGENT: u16 = 1;
/// Faults over the whole life of the process; index 0 is the runner's own count over the measured inferences.
const WHOLE_LIFE: u16 = 1;

/// A runner being followed.
pub struct Follower<'a> {
    assignment: &'a Assignment,
    limits: &'a Limits,
    queue: &'a Queue,
    pid: Pid,
    pidfd: Option<OwnedFd>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    fed: usize,
    watch: Watch,
    events: u64,
    /// The bytes so far end inside a frame.
    inside_frame: bool,
    errors: Vec<u8>,
    started: Instant,
    stalled: Duration,
    stalled_since: Option<Instant>,
    kill: Option<Kill>,
}

/// What poll said.
#[derive(Default)]
struct Ready {
    exited: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl<'a> Follower<'a> {
    /// Starts the runner, follows it and ends the queue. Always ends the queue, whatever happens.
    pub fn follow(assignment: &'a Assignment, limits: &'a Limits, queue: &'a Queue) {
        if let Ok(facts) = fs::metadata(&assignment.program) {
            queue.push(&encoded(&Event::Number { key: Key::RunnerBytes, index: 0, value: facts.len() }));
        }
        let limit = assignment.memory_limit_bytes.map(MemoryLimit::prepare);
        if let Some(limit) = &limit {
            note(queue, &limit.words());
        }
        let kills_before = memory::kernel_kills();
        let mut follower = match Self::start(assignment, limits, queue, limit.as_ref()) {
            Ok(follower) => follower,
            Err(error) => {
                note(queue, &format!("could not start a process: {error}"));
                queue.end(&encoded(&Event::Ended(Ended::NotStarted)));
                return;
            }
        };
        let followed = follower.run();
        // The whole group goes while its leader is still unreaped, so that the number cannot belong to anybody else.
        follower.kill_group();
        follower.read_errors();
        if let Err(error) = followed {
            let text = format!("could not follow the runner: {error}");
            follower.kill.get_or_insert(Kill::Garbage(text));
        }
        let remains = end::reap(follower.pid);
        let killed = limit.as_ref().is_some_and(MemoryLimit::killed)
            || memory::kernel_kills().zip(kills_before).is_some_and(|(after, before)| after > before);
        follower.report(remains, limit.as_ref().and_then(MemoryLimit::enforced_bytes), killed);
    }

    fn start(
        assignment: &'a Assignment,
        limits: &'a Limits,
        queue: &'a Queue,
        limit: Option<&MemoryLimit>,
    ) -> io::Result<Self> {
        let words = [assignment.program.as_os_str(), "--model".as_ref(), assignment.model.as_os_str()];
        let words = words.into_iter().chain(["--evalset".as_ref(), assignment.evalset.as_os_str()]);
        let words = words.map(ToOwned::to_owned).collect();
        let mut launch = Launch { parent: std::process::id(), words, ..Launch::default() };
        if let Some(limit) = limit {
            limit.apply(&mut launch);
        }
        let mut command = launch::command(&launch);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes =
            [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        for pipe in pipes.into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            assignment,
            limits,
            queue,
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            stdin,
            stdout,
            stderr,
            fed: 0,
            watch: Watch::new(assignment.pass, assignment.iterations),
            events: 0,
            inside_frame: false,
            errors: Vec::new(),
            started: Instant::now(),
            stalled: Duration::ZERO,
            stalled_since: None,
            kill: None,
        })
    }

    /// Until the process has ended.
    fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; STREAM_FRAME_MAX];
        let mut deframer = StreamDeframer::new(&mut buffer);
        loop {
            self.enforce();
            let ready = self.wait()?;
            if ready.stdin {
                self.feed();
            }
            if ready.stderr {
                self.read_errors();
            }
            if ready.stdout {
                self.read_events(&mut deframer)?;
            }
            if ready.exited {
                break;
            }
        }
        self.kill_group();
        self.empty_stdout(&mut deframer)
    }

    /// Takes what standard output still holds; the host takes it at its own pace. More than a pipe can hold was not written by the
    /// runner but by something that outlived it.
    fn empty_stdout(&mut self, deframer: &mut StreamDeframer<'_>) -> io::Result<()> {
        let mut pieces = PIPE_BYTES_MAX / PIECE;
        while self.stdout.is_some() && pieces > 0 {
            if self.queue.has_room() {
                self.read_events(deframer)?;
                pieces -= 1;
            } else {
                self.wait_for_room()?;
            }
            self.enforce();
            if matches!(self.kill, Some(Kill::Cancelled(_))) {
                break;
            }
        }
        Ok(())
    }

    /// Kills the runner when its time is up, the lease is over or the host wants it.
    fn enforce(&mut self) {
        let now = Instant::now();
        match (self.queue.has_room(), self.stalled_since) {
            (true, Some(since)) => {
                self.stalled += now - since;
                self.stalled_since = None;
            }
            (false, None) => self.stalled_since = Some(now),
            _ => {}
        }
        if self.kill.is_some() {
            return;
        }
        let this_stall = self.stalled_since.map_or(Duration::ZERO, |since| now - since);
        let cancelled = if self.queue.is_cancelled() {
            Some("the host cancelled the job")
        } else if self.limits.lease_ends_ms.load(Relaxed) <= clock::since_boot_ms() {
            Some("the lease expired while the job ran")
        } else if this_stall > self.limits.stall_max {
            Some("the host took no events for too long")
        } else {
            None
        };
        // Time in which the host left the queue full is not the runner's: a slow link must not look like a slow model.
        let spent = (now - self.started).saturating_sub(self.stalled + this_stall);
        self.kill = match cancelled {
            Some(reason) => Some(Kill::Cancelled(reason.into())),
            None if spent >= self.assignment.deadline => Some(Kill::Deadline),
            None => return,
        };
        self.kill_group();
    }

    fn kill_group(&self) {
        // A group that is gone already is what is wanted.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Waits for the pipes, the process, the queue or the next look at the clock.
    fn wait(&mut self) -> io::Result<Ready> {
        let wants_events = self.queue.has_room();
        let mut fds = vec![PollFd::from_borrowed_fd(self.queue.wake_fd(), PollFlags::IN)];
        let mut place = |fd: Option<_>, flags| {
            fd.map(|fd| {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                fds.len() - 1
            })
        };
        let exited = place(self.pidfd.as_ref().map(AsFd::as_fd), PollFlags::IN);
        let stdin = place(self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT);
        let stdout = place(self.stdout.as_ref().filter(|_| wants_events).map(AsFd::as_fd), PollFlags::IN);
        let stderr = place(self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN);
        poll_for(&mut fds, self.look())?;
        let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        let mut ready =
            Ready { exited: ready(exited), stdin: ready(stdin), stdout: ready(stdout), stderr: ready(stderr) };
        self.queue.calm();
        if self.pidfd.is_none() {
            ready.exited = self.has_exited()?;
        }
        Ok(ready)
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let mut fds = [PollFd::from_borrowed_fd(self.queue.wake_fd(), PollFlags::IN)];
        poll_for(&mut fds, LOOK)?;
        self.queue.calm();
        Ok(())
    }

    /// Time until the clock has to be looked at.
    fn look(&self) -> Duration {
        let longest = if self.pidfd.is_some() { LOOK } else { LOOK_WITHOUT_PIDFD };
        let spent = self.started.elapsed().saturating_sub(self.stalled);
        let left = self.assignment.deadline.saturating_sub(spent);
        // A runner that was killed or stalls past its deadline is waited for in steps, not in a spin.
        if self.kill.is_some() || left.is_zero() { LOOK_WITHOUT_PIDFD } else { longest.min(left) }
    }

    /// Asks for the end without taking it, so that the process's number stays ours.
    fn has_exited(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(&self.assignment.frame[self.fed..]) {
            Ok(written) => self.fed += written,
            Err(error) if is_for_later(&error) => return,
            // A runner that does not want its request will say why, or not deliver.
            Err(_) => self.fed = self.assignment.frame.len(),
        }
        if self.fed == self.assignment.frame.len() {
            self.stdin = None;
        }
    }

    /// Keeps the end of standard error.
    fn read_errors(&mut self) {
        let mut piece = [0; STDERR_BYTES];
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut piece) {
                Ok(read) if read > 0 => {
                    self.errors.extend_from_slice(&piece[..read]);
                    let excess = self.errors.len().saturating_sub(STDERR_BYTES);
                    self.errors.drain(..excess);
                }
                Err(error) if is_for_later(&error) => return,
                Ok(_) | Err(_) => self.stderr = None,
            }
        }
    }

    /// Reads one piece of standard output and queues the events in it. After the end of the process, an empty pipe is the end.
    fn read_events(&mut self, deframer: &mut StreamDeframer<'_>) -> io::Result<()> {
        let Some(stdout) = &mut self.stdout else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        let read = match stdout.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) if is_for_later(&error) => {
                if self.has_exited()? {
                    self.stdout = None;
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if read == 0 {
            self.stdout = None;
            return Ok(());
        }
        // After garbage nothing can be trusted; the pipe is only emptied.
        if matches!(self.kill, Some(Kill::Garbage(_))) {
            return Ok(());
        }
        let mut bytes = &piece[..read];
        while !bytes.is_empty() {
            let pushed = deframer.push(&mut bytes);
            self.inside_frame = pushed == Deframed::Incomplete;
            let garbage = match pushed {
                Deframed::Incomplete => continue,
                Deframed::Payload(payload) => match decode_event(payload) {
                    Ok(event) => {
                        self.take(&event, payload);
                        continue;
                    }
                    Err(error) => format!("frame {} on its standard output is no event: {error:?}", self.events),
                },
                Deframed::Broken { length, limit } => {
                    format!(
                        "its standard output is no stream of events: a frame of {length} bytes, expected at most {limit}"
                    )
                }
            };
            self.kill_group();
            self.kill.get_or_insert(Kill::Garbage(garbage));
            return Ok(());
        }
        Ok(())
    }

    fn take(&mut self, event: &Event<'_>, payload: &[u8]) {
        self.events += 1;
        // How a job ended is for the agent to say: it sees the process, the runner only itself.
        if matches!(event, Event::Ended(_)) {
            return;
        }
        self.watch.see(event);
        self.queue.push(payload);
    }

    /// The last events: what the runner left behind, and how it ended.
    fn report(&self, remains: io::Result<Remains>, limit_bytes: Option<u64>, memory_killed: bool) {
        if self.queue.is_abandoned() {
            return;
        }
        let stderr = String::from_utf8_lossy(&self.errors);
        let cut = || "its standard output ends inside a frame".to_owned();
        let lacking = self.inside_frame.then(cut).or_else(|| self.watch.lacking());
        let autopsy = Autopsy {
            status: remains.as_ref().ok().map(|r| r.status),
            kill: self.kill.as_ref(),
            lacking: lacking.as_deref(),
            cannot_run: self.watch.cannot_run(),
            events: self.events,
            stderr: &stderr,
            limit_bytes,
            memory_killed,
            deadline_ms: u32::try_from(self.assignment.deadline.as_millis()).unwrap_or(u32::MAX),
        };
        let ended = autopsy.ended();
        if !stderr.trim().is_empty() {
            self.tell(&Event::Text { key: TextKey::Stderr, index: STDERR_OF_RUNNER, value: clip(&stderr) });
        }
        match (&self.kill, &lacking) {
            (Some(Kill::Cancelled(reason) | Kill::Garbage(reason)), _) => note(self.queue, reason),
            (_, Some(lacking)) if ended == (Ended::Exited { code: 0 }) => note(self.queue, lacking),
            _ => {}
        }
        if let Some(why) = autopsy.why_not_started() {
            note(self.queue, &why);
        }
        match remains {
            Ok(remains) => self.tell_usage(&remains),
            Err(error) => note(self.queue, &format!("could not learn how the runner ended: {error}")),
        }
        self.queue.end(&encoded(&Event::Ended(ended)));
    }

    fn tell_usage(&self, remains: &Remains) {
        if !self.watch.rss_told() {
            self.tell(&Event::Number { key: Key::RssPeakBytes, index: 0, value: remains.rss_peak_bytes });
        }
        self.tell(&Event::Number { key: Key::MinorFaults, index: WHOLE_LIFE, value: remains.minor_faults });
        self.tell(&Event::Number { key: Key::MajorFaults, index: WHOLE_LIFE, value: remains.major_faults });
    }

    fn tell(&self, event: &Event<'_>) {
        self.queue.push(&encoded(event));
    }
}

/// What the agent itself has to say about a job.
fn note(queue: &Queue, text: &str) {
    queue.push(&encoded(&Event::Text { key: TextKey::Stderr, index: STDERR_OF_AGENT, value: clip(text) }));
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn poll_for(fds: &mut [PollFd<'_>], longest: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
