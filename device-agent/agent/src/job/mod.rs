//! Jobs: one runner in one child process, followed by one thread, heard through one bounded queue.

mod end;
mod follow;
pub mod launch;
mod memory;
mod queue;
mod watch;

pub use queue::Found;

use crate::job::follow::Follower;
use crate::job::queue::Queue;
use boardproof_protocol::frame::{Header, OVERHEAD, STREAM_FRAME_MAX, encode_event, encode_request};
use boardproof_protocol::{Digest, Ended, Event, Pass, Request, Run};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

/// A job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("could not {action} for a job")]
    Start { action: &'static str, source: io::Error },
    #[error("the request does not fit a frame of {STREAM_FRAME_MAX} bytes")]
    Request,
}

/// What a runner is given.
#[derive(Debug)]
pub struct Assignment {
    /// The runner.
    pub program: PathBuf,
    /// The model.
    pub model: PathBuf,
    /// The evalset.
    pub evalset: PathBuf,
    /// The request as a frame, length first.
    pub frame: Vec<u8>,
    /// What is to be delivered.
    pub pass: Pass,
    /// Measured inferences of a latency pass.
    pub iterations: u32,
    /// Wall time after which the runner is killed.
    pub deadline: Duration,
    /// Limit on the runner's memory, in bytes; `None` for none.
    pub memory_limit_bytes: Option<u64>,
}

impl Assignment {
    /// What the request asks for; `place` says where a blob lies.
    pub fn of(run: &Run<'_>, place: impl Fn(Digest) -> PathBuf) -> Result<Self, JobError> {
        let mut frame = vec![0; 4 + STREAM_FRAME_MAX];
        let header = Header { session: 0, seq: 0 };
        let length = encode_request(header, &Request::Run(*run), &mut frame[4..]).map_err(|_| JobError::Request)?.len();
        frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
        frame.truncate(4 + length);
        frame.shrink_to_fit();
        Ok(Self {
            program: place(run.runner),
            model: place(run.model),
            evalset: place(run.evalset),
            frame,
            pass: run.pass,
            iterations: run.iterations,
            deadline: Duration::from_millis(u64::from(run.deadline_ms)),
            memory_limit_bytes: Some(run.memory_limit_bytes).filter(|b| *b > 0),
        })
    }
}

/// What ends a job besides the runner itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// When the lease ends, in milliseconds since boot; renewed while the job runs.
    pub lease_ends_ms: Arc<AtomicU64>,
    /// Longest time that a host may leave the full queue as it is.
    pub stall_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lease_ends_ms: Arc::new(AtomicU64::new(u64::MAX)), stall_max: Duration::from_secs(600) }
    }
}

/// A job. Dropping it kills the runner.
#[derive(Debug)]
pub struct Job {
    number: u32,
    queue: Arc<Queue>,
    follower: Option<JoinHandle<()>>,
    /// The host has been answered since it last acknowledged: do not make it wait again.
    served: bool,
}

impl Job {
    /// Starts the runner. That it cannot be started is told by the job's events: the request was carried out.
    pub fn start(number: u32, assignment: Assignment, limits: Limits) -> Result<Self, JobError> {
        let queue = Arc::new(Queue::new().map_err(|source| JobError::Start { action: "make the queue", source })?);
        let for_thread = Arc::clone(&queue);
        // The runner dies with the thread that started it (see `launch`), so this thread lives as long as the runner.
        let work = move || Follower::follow(&assignment, &limits, &for_thread);
        let thread = std::thread::Builder::new().name("job".into()).stack_size(256 * 1024).spawn(work);
        let thread = thread.map_err(|source| JobError::Start { action: "start the thread", source })?;
        Ok(Self { number, queue, follower: Some(thread), served: false })
    }

    /// A job that has ended already; its events are facts.
    pub fn of_facts(number: u32, facts: &[Vec<u8>]) -> Result<Self, JobError> {
        let queue = Arc::new(Queue::new().map_err(|source| JobError::Start { action: "make the queue", source })?);
        facts.iter().for_each(|fact| queue.push(fact));
        queue.end(&encoded(&Event::Ended(Ended::Completed)));
        Ok(Self { number, queue, follower: None, served: false })
    }

    /// The number that the host gave it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many events there were, if it has ended.
    pub fn ended(&self) -> Option<u32> {
        self.queue.ended()
    }

    /// Ends the job soon; its last event says so.
    pub fn cancel(&self) {
        self.queue.cancel();
    }

    /// The event with this number. Waits a moment for the first one that is asked for after an acknowledgement, so that a host that
    /// pulls again and again neither burns the board's time nor hears late.
    pub fn event(&mut self, index: u32) -> Found {
        let wait = if self.served { Duration::ZERO } else { queue::PULL_WAIT };
        self.served = true;
        self.queue.event(index, wait)
    }

    /// Events below this number may be forgotten.
    pub fn acknowledged(&mut self, below: u32) {
        self.served = false;
        self.queue.acknowledged(below);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.queue.abandon();
        if let Some(follower) = self.follower.take() {
            // It kills the runner first thing, so this is short.
            let _ = follower.join();
        }
    }
}

/// An event of the agent's own. Texts are cut before, so it fits.
pub fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut out = vec![0; TEXT_MAX + 128 + OVERHEAD];
    encode_event(event, &mut out).map(<[u8]>::to_vec).unwrap_or_default()
}

/// Longest text of an event of the agent's own, in bytes.
pub const TEXT_MAX: usize = 8 * 1024;

/// The text, cut at a character so that it has at most [`TEXT_MAX`] bytes.
pub fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}
