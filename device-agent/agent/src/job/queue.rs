//! Events that the host has not acknowledged: numbered, bounded in bytes, shared between the follower and the session.

use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, mem};

/// Bytes of unacknowledged events above which nothing more is read from the runner.
pub const BYTES_MAX: usize = 512 * 1024;
/// How long a pull waits for an event before it is answered `Pending`.
pub const PULL_WAIT: Duration = Duration::from_millis(200);
/// What an event takes besides its bytes.
const EVENT_BYTES: usize = mem::size_of::<Arc<[u8]>>() + 16;

/// What asking for an event gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The encoded event.
    Event(Arc<[u8]>),
    /// It does not exist yet.
    Pending,
    /// There were only so many.
    Done {
        /// How many.
        events: u32,
    },
    /// It was acknowledged before.
    Forgotten,
}

#[derive(Debug, Default)]
struct State {
    first: u32,
    events: VecDeque<Arc<[u8]>>,
    bytes: usize,
    ended: bool,
    cancelled: bool,
    abandoned: bool,
}

impl State {
    fn next(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.events.len()).unwrap_or(u32::MAX))
    }
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// Readable when room was made or the job is to end.
    wake: OwnedFd,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), arrived: Condvar::new(), wake })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub fn push(&self, event: &[u8]) {
        let mut state = self.state();
        state.bytes += event.len() + EVENT_BYTES;
        state.events.push_back(event.into());
        self.arrived.notify_one();
    }

    /// Adds the last event.
    pub fn end(&self, event: &[u8]) {
        self.push(event);
        self.state().ended = true;
        self.arrived.notify_one();
    }

    /// May more be read from the runner?
    pub fn has_room(&self) -> bool {
        self.state().bytes < BYTES_MAX
    }

    /// How many events there were, if the last one is known.
    pub fn ended(&self) -> Option<u32> {
        let state = self.state();
        state.ended.then(|| state.next())
    }

    /// The event with this number, waiting for it at most so long.
    pub fn event(&self, index: u32, wait: Duration) -> Found {
        let state = self.state();
        let missing = |s: &mut State| index >= s.next() && !s.ended;
        let (state, _) = self.arrived.wait_timeout_while(state, wait, missing).unwrap_or_else(PoisonError::into_inner);
        let Some(position) = index.checked_sub(state.first) else { return Found::Forgotten };
        match state.events.get(position as usize) {
            Some(event) => Found::Event(Arc::clone(event)),
            None if state.ended => Found::Done { events: state.next() },
            None => Found::Pending,
        }
    }

    /// Forgets the events below this number.
    pub fn acknowledged(&self, below: u32) {
        let mut state = self.state();
        while state.first < below
            && let Some(event) = state.events.pop_front()
        {
            state.bytes -= event.len() + EVENT_BYTES;
            state.first += 1;
        }
        drop(state);
        self.rouse();
    }

    /// Asks the follower to end the job.
    pub fn cancel(&self) {
        self.state().cancelled = true;
        self.rouse();
    }

    /// Asks the follower to end the job at once: nobody will read its events.
    pub fn abandon(&self) {
        let mut state = self.state();
        (state.cancelled, state.abandoned) = (true, true);
        drop(state);
        self.rouse();
    }

    /// Was the job cancelled or given up?
    pub fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Was the job given up?
    pub fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// What to poll for room or cancellation.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes `wake_fd` quiet again.
    pub fn calm(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    fn rouse(&self) {
        // A counter that is full is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_kept_and_forgotten() {
        let queue = Queue::new().unwrap();
        let none = Duration::ZERO;
        assert_eq!(queue.event(0, none), Found::Pending);
        queue.push(b"a");
        queue.push(b"b");
        assert_eq!(queue.event(1, none), Found::Event(Arc::from(*b"b")));
        assert_eq!(queue.event(0, none), Found::Event(Arc::from(*b"a")));
        queue.acknowledged(1);
        assert_eq!(queue.event(0, none), Found::Forgotten);
        assert_eq!(queue.event(2, none), Found::Pending);
        queue.end(b"c");
        assert_eq!((queue.ended(), queue.event(3, none)), (Some(3), Found::Done { events: 3 }));
        // Acknowledging what does not exist yet skips nothing.
        queue.acknowledged(99);
        assert_eq!((queue.ended(), queue.event(3, none)), (Some(3), Found::Done { events: 3 }));
    }

    #[test]
    fn room_comes_back_with_the_acknowledgement() {
        let queue = Queue::new().unwrap();
        queue.push(&vec![0; BYTES_MAX]);
        assert!(!queue.has_room());
        queue.acknowledged(1);
        assert!(queue.has_room());
        assert_eq!(queue.state().bytes, 0);
    }
}
