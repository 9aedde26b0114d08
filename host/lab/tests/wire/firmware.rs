//! The agent of the firmware at the far end of the wire: its receiver, frames, session, store, jobs, rates and engine, as they ship. What a board
//! adds is here: a clock, which is the wire's, and memory that outlives a reset.

use boardproof_firmware_common::{
    About, Agent, Budget, EVENTS_BYTES, Fault, Frames, Hardware, Heard, Line, Memory, Micro, Ring, Sections,
};
use boardproof_lab::link::{FarEnd, Turn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Rate of the line after a start.
pub const START_RATE: u32 = 115_200;
/// What it says of its watchdog. That never comes: it is this side's to give up before.
pub const WATCHDOG_MS: u32 = 60_000;
/// Bytes of the receiver, as every board of the firmware has them.
const RING: usize = 4096;
/// Time of one inference at least, and what varies of it from one to the next.
const INFERENCE_NS: (u64, u64) = (200_000, 50_000);

/// What the agent sees of its board, and the wire of both.
#[derive(Default)]
struct Pins {
    now: AtomicU64,
    /// Time spent in this turn.
    took: AtomicU64,
    rate: AtomicU32,
    starts: AtomicU32,
    job: AtomicU32,
    /// Inferences of the job so far.
    inferences: AtomicU64,
    lost: AtomicU32,
    /// Time that an inference takes besides.
    slow: AtomicU64,
}

struct Chip(Arc<Pins>);

impl Hardware for Chip {
    fn about(&self) -> About<'_> {
        About {
            build: "test",
            board: "the end of a wire",
            cpu: "",
            features: "",
            clock: "the wire's",
            reset_reason: "power on",
            crash: "",
            identity: "",
            core_hz: 1_000_000_000,
            watchdog_ms: Some(WATCHDOG_MS),
        }
    }

    fn starts(&self) -> u32 {
        self.0.starts.load(Relaxed)
    }

    fn hz(&self) -> u64 {
        1_000_000_000
    }

    fn now(&mut self) -> u64 {
        self.0.now.load(Relaxed) + self.0.took.load(Relaxed)
    }

    /// Whatever is between two readings of the clock takes as long as the number of the inference in its job says: the same in every run.
    fn undisturbed(&mut self, act: &mut dyn FnMut(&mut dyn FnMut() -> u64)) {
        let number = self.0.inferences.fetch_add(1, Relaxed);
        let step = INFERENCE_NS.0 + number * 7919 % INFERENCE_NS.1 + self.0.slow.load(Relaxed);
        let mut now = self.now();
        act(&mut || {
            now += step;
            now
        });
        self.0.took.fetch_add(step, Relaxed);
    }

    fn paint_stack(&mut self) {}

    fn stack_peak(&self) -> u32 {
        100
    }

    fn sections(&self) -> Sections {
        Sections { code: 40_000, constants: 2_000, initial: 0, static_ram: 20_000, stack: 16_384 }
    }

    fn budget(&self) -> Budget {
        Budget { flash: 1 << 20, ram: 256 << 10 }
    }

    fn overruns(&self) -> u32 {
        self.0.lost.load(Relaxed)
    }

    fn can_rate(&self, rate: u32) -> bool {
        (1200..=1_000_000).contains(&rate)
    }

    fn set_rate(&mut self, rate: u32) {
        self.0.rate.store(rate, Relaxed);
    }

    fn start_rate(&self) -> u32 {
        START_RATE
    }

    fn mark(&mut self, job: u32, _phase: u32) {
        if self.0.job.swap(job, Relaxed) != job {
            self.0.inferences.store(0, Relaxed);
        }
    }

    fn alive(&mut self) {}

    fn crash_on_purpose(&mut self, _fault: Fault) {}
}

/// Memory of a board.
struct Rooms {
    arena: [u8; 4096],
    store: [u8; 32 << 10],
    events: [u8; EVENTS_BYTES],
    frames: Frames,
    ring: Ring<RING>,
}

/// What a start of the firmware makes.
struct Running {
    agent: Agent<'static, Chip, Micro>,
    line: Line<'static>,
    ring: &'static Ring<RING>,
    /// What was heard in the last turn: the rate is looked after once all answers are out.
    heard: Option<Heard>,
    /// The job goes on by itself.
    goes_on: bool,
}

/// A board with the firmware.
pub struct Firmware {
    running: Option<Running>,
    rooms: *mut Rooms,
    pins: Arc<Pins>,
}

// SAFETY: all that it points to is its own.
#[expect(unsafe_code, reason = "the store of the firmware points into memory that it shares with a job")]
unsafe impl Send for Firmware {}

impl Firmware {
    /// One that has just been switched on.
    pub fn new() -> Self {
        let rooms = Rooms {
            arena: [0; 4096],
            store: [0; 32 << 10],
            events: [0; EVENTS_BYTES],
            frames: Frames::new(),
            ring: Ring::new(),
        };
        let mut board = Self { running: None, rooms: Box::into_raw(Box::new(rooms)), pins: Arc::default() };
        board.start();
        board
    }

    /// The same with inferences that take so much longer.
    pub fn slow(by: Duration) -> Self {
        let board = Self::new();
        board.pins.slow.store(by.as_nanos() as u64, Relaxed);
        board
    }

    /// A start on the memory as it is: what lies in the store stays there, the variables are new.
    #[expect(unsafe_code, reason = "a reset takes all memory from a program that is in the middle of using it")]
    fn start(&mut self) {
        self.running = None;
        self.pins.starts.fetch_add(1, Relaxed);
        self.pins.rate.store(START_RATE, Relaxed);
        self.pins.job.store(u32::MAX, Relaxed);
        // SAFETY: the memory lives until this value is dropped, and the program that had it is gone.
        let Rooms { arena, store, events, frames, ring } = unsafe { &mut *self.rooms };
        (*frames, *ring) = (Frames::new(), Ring::new());
        let memory = Memory { arena, store, events, receiver: RING };
        let agent = Agent::new(Chip(Arc::clone(&self.pins)), Micro, memory);
        self.running = Some(Running { agent, line: Line::new(frames), ring, heard: None, goes_on: false });
    }
}

impl Drop for Firmware {
    #[expect(unsafe_code, reason = "what was taken from a box goes back into one")]
    fn drop(&mut self) {
        self.running = None;
        // SAFETY: it came from a box, and nothing uses it any more.
        drop(unsafe { Box::from_raw(self.rooms) });
    }
}

impl Running {
    /// One turn of the firmware's main loop, begun where it looks after the rate. Returns how many requests it understood.
    fn turn(&mut self, send: &mut dyn FnMut(&[u8])) -> u64 {
        if let Some(heard) = self.heard.take()
            && self.agent.watch_rate(heard)
        {
            self.line.forget();
        }
        self.goes_on = self.agent.work();
        let mut all = Heard { bytes: false, request: false };
        let mut requests = 0;
        // All that waits, as the firmware does; frame by frame, to count them.
        // What comes behind a change of the rate comes at another one.
        while !(self.ring.is_empty() || all.request && self.agent.wants_rate()) {
            let heard = self.serve_frame(send);
            requests += u64::from(heard.request);
            all = Heard { bytes: true, request: all.request || heard.request };
        }
        self.heard = all.bytes.then_some(all);
        requests
    }

    /// Serves the bytes up to the end of a frame.
    fn serve_frame(&mut self, send: &mut dyn FnMut(&[u8])) -> Heard {
        let (ring, mut at_end) = (self.ring, false);
        let mut take = || {
            let byte = if at_end { None } else { ring.pop() };
            at_end = byte == Some(0);
            byte
        };
        self.line.serve(&mut take, &mut self.agent, send)
    }
}

impl FarEnd for Firmware {
    fn rate(&mut self, _now: u64) -> u32 {
        self.pins.rate.load(Relaxed)
    }

    fn receive(&mut self, byte: u8) -> bool {
        let Some(running) = &self.running else { return false };
        running.ring.push(byte);
        let before = self.pins.lost.swap(running.ring.lost(), Relaxed);
        running.ring.lost() == before
    }

    fn is_due(&self) -> bool {
        self.running.as_ref().is_some_and(|at| at.goes_on || at.heard.is_some() || !at.ring.is_empty())
    }

    fn turn(&mut self, now: u64, send: &mut dyn FnMut(&[u8])) -> Turn {
        self.pins.now.store(now, Relaxed);
        self.pins.took.store(0, Relaxed);
        let requests = self.running.as_mut().map_or(0, |running| running.turn(send));
        Turn { requests, took: Duration::from_nanos(self.pins.took.load(Relaxed) + 20_000) }
    }

    fn done(&mut self, _at: u64) {}

    fn reset(&mut self) {
        self.start();
        self.pins.lost.store(0, Relaxed);
    }
}
