//! A host for tests: starts the built agent, speaks the protocol with it over pipes, and ships scripts in the place of runners.
//!
//! The runner blob is a shell script that runs its model as a script: what a test wants a runner to do is written in the "model", and
//! the "evalset" holds the bytes that it may write as events.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use boardproof_protocol::frame::{
    Deframed, Header, PREAMBLE, STREAM_FRAME_MAX, StreamDeframer, decode_reply, encode_event, encode_request,
};
use boardproof_protocol::{
    Acquire, Begin, Chunk, Coding, Digest, Ended, Event, HostHello, Pass, RefusalCode, Reply, Request, Run, SCHEMA,
    TextKey, VERSION_CURRENT, VERSION_MIN,
};
use sha2::Digest as _;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything; reaching it fails the test.
pub const LIMIT: Duration = Duration::from_secs(30);
/// The runner that does what its model says.
pub const SCRIPT_RUNNER: &[u8] = b"#!/bin/sh\nexport EVENTS=\"$4\"\nexec /bin/sh \"$2\"\n";
/// The holder of leases unless a test says otherwise.
pub const HOLDER: &str = "ann@desk 1";
/// The epoch of leases unless a test says otherwise.
pub const EPOCH: u64 = 5;

pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// Bytes of events as a runner writes them.
pub fn stream(events: &[Event<'_>]) -> Vec<u8> {
    let mut out = vec![0; STREAM_FRAME_MAX];
    let mut bytes = Vec::new();
    for event in events {
        let payload = encode_event(event, &mut out).unwrap();
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
    }
    bytes
}

/// What a host remembers of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Hello { build: String, system: String, identity: String, free: u64, boot: u64 },
    Leased { epoch: u64, ttl_ms: u32 },
    Held { holder: String, epoch: u64, remaining_ms: u32 },
    Released,
    Stat { present: bool, received: u64 },
    Ready(u64),
    Stored,
    Accepted,
    Event { index: u32, event: Vec<u8> },
    Pending,
    Done { events: u32 },
    Cleaned(u64),
    Bye,
    Refused { code: RefusalCode, detail: String, number: u64 },
}

impl Answer {
    /// The code of a refusal.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Refused { code, .. } => *code,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn of(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Hello(h) => Self::Hello {
                build: h.build.into(),
                system: h.system.into(),
                identity: h.identity.into(),
                free: h.store_free_bytes,
                boot: h.boot,
            },
            Reply::Leased { epoch, ttl_ms } => Self::Leased { epoch, ttl_ms },
            Reply::Held { holder, epoch, remaining_ms } => Self::Held { holder: holder.into(), epoch, remaining_ms },
            Reply::Released => Self::Released,
            Reply::Stat { present, received } => Self::Stat { present, received },
            Reply::Ready { offset } => Self::Ready(offset),
            Reply::Stored { .. } => Self::Stored,
            Reply::Accepted { .. } => Self::Accepted,
            Reply::Event { index, event, .. } => {
                let mut out = vec![0; STREAM_FRAME_MAX];
                Self::Event { index, event: encode_event(&event, &mut out).unwrap().to_vec() }
            }
            Reply::Pending { .. } => Self::Pending,
            Reply::Done { events, .. } => Self::Done { events },
            Reply::Cleaned { bytes } => Self::Cleaned(bytes),
            Reply::Bye => Self::Bye,
            Reply::Placed { .. } | Reply::Baud { .. } => panic!("an answer of a microcontroller: {reply:?}"),
            Reply::Refused(r) => Self::Refused { code: r.code, detail: r.detail.into(), number: r.number },
        }
    }
}

/// An agent and the host's end of its pipes.
pub struct Host {
    pub child: Child,
    pub input: Option<ChildStdin>,
    answers: Receiver<(u32, Answer)>,
    seq: u32,
}

impl Host {
    /// Starts an agent on this store and greets it.
    pub fn start(store: &Path) -> Self {
        Self::start_with(store, &[])
    }

    /// The same with more arguments.
    pub fn start_with(store: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boardproof-agent"));
        command.arg("serve").arg("--store").arg(store).args(more);
        Self::over(command)
    }

    /// Greets the agent that this command starts.
    pub fn over(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let mut output = child.stdout.take().unwrap();
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let mut preamble = [0; 8];
            output.read_exact(&mut preamble).unwrap();
            assert_eq!(&preamble, PREAMBLE);
            let (mut buffer, mut piece) = (vec![0; STREAM_FRAME_MAX], vec![0; 65536]);
            let mut deframer = StreamDeframer::new(&mut buffer);
            while let Ok(read @ 1..) = output.read(&mut piece) {
                let mut bytes = &piece[..read];
                while !bytes.is_empty() {
                    if let Deframed::Payload(payload) = deframer.push(&mut bytes) {
                        let (header, reply) = decode_reply(payload).unwrap();
                        let _ = send.send((header.seq, Answer::of(reply)));
                    }
                }
            }
        });
        let mut host = Self { child, input, answers, seq: 0 };
        assert!(matches!(host.hello(), Answer::Hello { .. }));
        host
    }

    pub fn hello(&mut self) -> Answer {
        let (version_min, version_max) = (VERSION_MIN, VERSION_CURRENT);
        let frame_max = STREAM_FRAME_MAX as u32;
        self.ask(&Request::Hello(HostHello { version_min, version_max, schema: SCHEMA, build: "test", frame_max }))
    }

    /// Sends a request and returns its number.
    pub fn post(&mut self, request: &Request<'_>) -> u32 {
        self.seq += 1;
        let mut out = vec![0; STREAM_FRAME_MAX];
        let payload = encode_request(Header { session: 7, seq: self.seq }, request, &mut out).unwrap();
        let input = self.input.as_mut().unwrap();
        input.write_all(&(payload.len() as u32).to_le_bytes()).unwrap();
        input.write_all(payload).unwrap();
        self.seq
    }

    pub fn answer_to(&mut self, seq: u32) -> Answer {
        let (found, answer) = self.answers.recv_timeout(LIMIT).expect("an answer in time");
        assert_eq!(found, seq);
        answer
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Answer {
        let seq = self.post(request);
        self.answer_to(seq)
    }

    pub fn acquire(&mut self, epoch: u64, holder: &str, ttl_ms: u32) -> Answer {
        self.ask(&Request::Acquire(Acquire { epoch, holder, ttl_ms }))
    }

    /// Takes the usual lease.
    pub fn lease(mut self) -> Self {
        assert!(matches!(self.acquire(EPOCH, HOLDER, 600_000), Answer::Leased { .. }));
        self
    }

    /// Ships a blob as it is; the answer to `Finish`, or the first refusal.
    pub fn ship(&mut self, content: &[u8], program: bool) -> Answer {
        self.ship_as(digest_of(content), content, content, Coding::Plain, program)
    }

    pub fn ship_as(&mut self, digest: Digest, content: &[u8], coded: &[u8], coding: Coding, program: bool) -> Answer {
        let (size, coded_size) = (content.len() as u64, coded.len() as u64);
        let begin = Begin { epoch: EPOCH, digest, size, coded_size, coding, program };
        let Answer::Ready(from) = self.ask(&Request::Begin(begin)) else { panic!("expected Ready") };
        for (i, bytes) in coded[from as usize..].chunks(100_000).enumerate() {
            let offset = from + i as u64 * 100_000;
            let answer = self.ask(&Request::Chunk(Chunk { epoch: EPOCH, digest, offset, bytes }));
            assert_eq!(answer, Answer::Ready(offset + bytes.len() as u64));
        }
        self.ask(&Request::Finish { epoch: EPOCH, digest })
    }

    /// Ships the script runner with this script and these events, and starts it.
    pub fn run(&mut self, job: u32, script: &str, events: &[u8], change: impl FnOnce(&mut Run<'_>)) -> Answer {
        self.run_with(job, SCRIPT_RUNNER, script.as_bytes(), events, change)
    }

    pub fn run_with(
        &mut self,
        job: u32,
        runner: &[u8],
        model: &[u8],
        evalset: &[u8],
        change: impl FnOnce(&mut Run<'_>),
    ) -> Answer {
        for (content, program) in [(runner, true), (model, false), (evalset, false)] {
            assert_eq!(self.ship(content, program), Answer::Stored);
        }
        let mut run = Run {
            epoch: EPOCH,
            job,
            runner: digest_of(runner),
            model: digest_of(model),
            evalset: digest_of(evalset),
            engine: "script",
            pass: Pass::Memory,
            batch: 1,
            first: 0,
            count: 1,
            warmup: 0,
            iterations: 1,
            deadline_ms: 20_000,
            memory_limit_bytes: 0,
            options: "",
        };
        change(&mut run);
        self.ask(&Request::Run(run))
    }

    /// Pulls all events of a job, acknowledging as it goes.
    pub fn events(&mut self, job: u32) -> Vec<Vec<u8>> {
        let (start, mut events) = (Instant::now(), Vec::new());
        loop {
            let from = events.len() as u32;
            let seq = self.post(&Request::Pull { job, from, credit: 16 });
            loop {
                match self.answer_to(seq) {
                    Answer::Event { index, event } => {
                        assert_eq!(index as usize, events.len());
                        events.push(event);
                    }
                    Answer::Pending => break,
                    Answer::Done { events: count } => {
                        assert_eq!(count as usize, events.len());
                        return events;
                    }
                    other => panic!("expected events, got {other:?}"),
                }
            }
            assert!(start.elapsed() < LIMIT, "the job goes on");
        }
    }

    /// Runs a script to its end: how it ended, and what was said about it.
    pub fn outcome(&mut self, job: u32, script: &str, events: &[u8], change: impl FnOnce(&mut Run<'_>)) -> Outcome {
        assert_eq!(self.run(job, script, events, change), Answer::Accepted);
        Outcome::of(self.events(job))
    }

    /// Pulls until the script has written this word to its standard output as a text event... or the limit.
    pub fn wait_for_event(&mut self, job: u32) {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let seq = self.post(&Request::Pull { job, from: 0, credit: 64 });
            let mut seen = 0;
            loop {
                match self.answer_to(seq) {
                    Answer::Event { .. } => seen += 1,
                    Answer::Pending => break,
                    other => panic!("expected events, got {other:?}"),
                }
            }
            // The first event is the agent's own: the size of the runner.
            if seen > 1 {
                return;
            }
        }
        panic!("the runner said nothing");
    }

    /// Closes the link and waits for the agent's end.
    pub fn vanish(mut self) -> Option<i32> {
        self.input = None;
        wait(&mut self.child)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a process, at most [`LIMIT`].
pub fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::yield_now();
    }
    panic!("the agent does not end");
}

/// What a job left behind.
#[derive(Debug)]
pub struct Outcome {
    pub ended: Ended,
    /// End of the runner's standard error.
    pub stderr: String,
    /// What the agent said about the job.
    pub notes: String,
    pub events: Vec<Vec<u8>>,
}

impl Outcome {
    pub fn of(events: Vec<Vec<u8>>) -> Self {
        let (mut ended, mut stderr, mut notes) = (None, String::new(), String::new());
        for event in &events {
            assert!(ended.is_none(), "an event after the last");
            match boardproof_protocol::frame::decode_event(event).unwrap() {
                Event::Ended(how) => ended = Some(how),
                Event::Text { key: TextKey::Stderr, index: 0, value } => stderr.push_str(value),
                Event::Text { key: TextKey::Stderr, value, .. } => notes.push_str(value),
                _ => {}
            }
        }
        Self { ended: ended.expect("the last event says how it ended"), stderr, notes, events }
    }
}
