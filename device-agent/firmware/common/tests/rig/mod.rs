//! A board of variables, an engine that adds one, and a host that asks.
#![allow(dead_code, reason = "each test file uses a part of it")]

use boardproof_firmware_common::{
    About, Agent, Budget, EVENTS_BYTES, Edge, Engine, Failed, Fault, Frames, Hardware, Heard, Line, Loaded, Memory,
    OperatorFacts, Sections, Text, Unfit,
};
use boardproof_micro::{SKETCH_BYTES, sketch};
use boardproof_protocol::frame::{
    BYTE_FRAME_MAX, CobsDeframer, Deframed, Header, decode_reply, encode_cobs, encode_request,
};
use boardproof_protocol::{
    Acquire, Begin, Coding, Digest, Dtype, Event, HostHello, Part, Pass, Reply, Request, Run, SCHEMA, Stage,
    VERSION_CURRENT, VERSION_MIN,
};
use sha2::Digest as _;
use std::cell::RefCell;
use std::rc::Rc;

pub const HZ: u64 = 1000;
pub const START_RATE: u32 = 115_200;
pub const EPOCH: u64 = 3;

/// What the test sees and sets of the board.
#[derive(Debug)]
pub struct State {
    pub now: u64,
    /// Ticks of one inference.
    pub inference: u64,
    pub rate: u32,
    pub static_ram: u32,
    pub budget: Budget,
    pub stack_peak: u32,
    pub marks: Vec<(u32, u32)>,
    pub faults: Vec<Fault>,
    pub crash: &'static str,
    pub watchdog_ms: Option<u32>,
    /// Inferences so far.
    pub inferences: u64,
    /// The engine writes one byte beyond its arena / fails / answers what the arena held before.
    pub spoiled: Spoiled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    No,
    Fails,
    Remembers,
    Harmed,
}

pub type Shared = Rc<RefCell<State>>;

pub struct Fake(pub Shared);

impl Hardware for Fake {
    fn about(&self) -> About<'_> {
        About {
            build: "b1",
            board: "board",
            cpu: "cpu",
            features: "",
            clock: "a clock",
            reset_reason: "power on",
            crash: self.0.borrow().crash,
            identity: "",
            core_hz: 7,
            watchdog_ms: self.0.borrow().watchdog_ms,
        }
    }
    fn starts(&self) -> u32 {
        1
    }
    fn hz(&self) -> u64 {
        HZ
    }
    fn now(&mut self) -> u64 {
        self.0.borrow().now
    }
    fn undisturbed(&mut self, act: &mut dyn FnMut(&mut dyn FnMut() -> u64)) {
        let state = self.0.clone();
        act(&mut || state.borrow().now);
    }
    fn paint_stack(&mut self) {}
    fn stack_peak(&self) -> u32 {
        self.0.borrow().stack_peak
    }
    fn sections(&self) -> Sections {
        let static_ram = self.0.borrow().static_ram;
        Sections { code: 100, constants: 20, initial: 3, static_ram, stack: 512 }
    }
    fn budget(&self) -> Budget {
        self.0.borrow().budget
    }
    fn overruns(&self) -> u32 {
        5
    }
    fn can_rate(&self, rate: u32) -> bool {
        rate <= 1_000_000
    }
    fn set_rate(&mut self, rate: u32) {
        self.0.borrow_mut().rate = rate;
    }
    fn start_rate(&self) -> u32 {
        START_RATE
    }
    fn mark(&mut self, job: u32, phase: u32) {
        self.0.borrow_mut().marks.push((job, phase));
    }
    fn alive(&mut self) {}
    fn crash_on_purpose(&mut self, fault: Fault) {
        self.0.borrow_mut().faults.push(fault);
    }
}

/// A model of it: `+`, bytes of the input, bytes of each of two outputs, bytes of the arena (u16 each).
pub struct Adder(pub Shared);

pub struct Added<'m> {
    bytes: &'m [u8],
    state: Shared,
}

pub fn adder(input: u16, outputs: [u16; 2], arena: u16) -> Vec<u8> {
    let numbers = [input, outputs[0], outputs[1], arena];
    std::iter::once(b'+').chain(numbers.iter().flat_map(|n| n.to_le_bytes())).collect()
}

impl Added<'_> {
    fn number(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[1 + 2 * at], self.bytes[2 + 2 * at]]))
    }

    fn edge(&self, name: &'static str, from: usize, bytes: usize) -> Edge<'_> {
        Edge {
            name,
            dtype: Dtype::I8,
            dims: [bytes as u32, 1, 1, 1],
            rank: 1,
            place: from..from + bytes,
            scale: 0.5,
            zero_point: 2,
        }
    }
}

impl Engine for Adder {
    const NAME: &'static str = "adder";
    const TITLE: &'static str = "adder 9";
    type Loaded<'m> = Added<'m>;

    fn load<'m>(&mut self, bytes: &'m [u8], arena: &mut [u8]) -> Result<Added<'m>, Unfit> {
        if bytes.len() != 9 || bytes[0] != b'+' {
            return Err(Unfit::Refused { stage: Stage::Parse, reason: Text::of(format_args!("no adder")) });
        }
        let added = Added { bytes, state: self.0.clone() };
        let needed = added.arena_bytes();
        if needed > arena.len() { Err(Unfit::NoRoom { needed }) } else { Ok(added) }
    }
}

impl Loaded for Added<'_> {
    fn arena_bytes(&self) -> usize {
        self.number(3)
    }
    fn inputs(&self) -> usize {
        1
    }
    fn input(&self, _: usize) -> Edge<'_> {
        self.edge("in", 0, self.number(0))
    }
    fn outputs(&self) -> usize {
        if self.number(2) > 0 { 2 } else { 1 }
    }
    fn output(&self, index: usize) -> Edge<'_> {
        let from = self.number(0);
        match index {
            0 => self.edge("out", from, self.number(1)),
            _ => self.edge("more", from + self.number(1), self.number(2)),
        }
    }
    fn operator(&self, index: usize) -> Option<OperatorFacts<'_>> {
        (index < 2).then_some(OperatorFacts { name: "node", op: "Add", dtypes: "i8->i8", kernel: "fake" })
    }
    fn run(&mut self, arena: &mut [u8]) -> Result<(), Failed> {
        let mut state = self.state.borrow_mut();
        state.now += state.inference;
        state.inferences += 1;
        if state.spoiled == Spoiled::Fails {
            return Err(Failed { reason: Text::of(format_args!("it does not add up")) });
        }
        let input = self.number(0);
        let last = arena.len() - 1;
        for at in input..last {
            arena[at] = arena[(at - input) % input].wrapping_add(1);
        }
        if state.spoiled == Spoiled::Remembers {
            arena[input] = arena[last];
        }
        Ok(())
    }
    fn layers(&self) -> usize {
        // One that has two outputs shows nothing of its inside.
        if self.number(2) > 0 { 0 } else { 3 }
    }
    fn run_layer(&mut self, arena: &mut [u8], layer: usize, seed: u32) -> Result<[u8; SKETCH_BYTES], Failed> {
        if self.state.borrow().spoiled == Spoiled::Fails {
            return Err(Failed { reason: Text::of(format_args!("it does not add up")) });
        }
        let (input, last) = (self.number(0), arena.len() - 1);
        // Each layer adds one to what the one before has made.
        for at in input..last {
            arena[at] = if layer == 0 { arena[(at - input) % input] } else { arena[at] }.wrapping_add(1);
        }
        Ok(sketch(seed, layer as u32, (boardproof_micro::Dtype::I8, 2), &arena[input..input + self.number(1)]))
    }
    fn is_unharmed(&self) -> bool {
        self.state.borrow().spoiled != Spoiled::Harmed
    }
}

/// An event, owned.
pub type Told = String;

pub struct Rig<'m> {
    pub state: Shared,
    pub agent: Agent<'m, Fake, Adder>,
    pub line: Line<'m>,
    pub session: u32,
    pub seq: u32,
}

pub struct Rooms {
    arena: Vec<u8>,
    store: Vec<u8>,
    events: Vec<u8>,
    frames: Frames,
}

pub fn rooms() -> Rooms {
    Rooms { arena: vec![0; 4096], store: vec![0; 16384], events: vec![0; EVENTS_BYTES], frames: Frames::new() }
}

impl<'m> Rig<'m> {
    pub fn new(rooms: &'m mut Rooms) -> Self {
        let state = Rc::new(RefCell::new(State {
            now: 10,
            inference: 4,
            rate: START_RATE,
            static_ram: 1000,
            budget: Budget { flash: 10_000, ram: 8192 },
            stack_peak: 300,
            marks: vec![],
            faults: vec![],
            crash: "",
            watchdog_ms: Some(16_000),
            inferences: 0,
            spoiled: Spoiled::No,
        }));
        let Rooms { arena, store, events, frames } = rooms;
        let memory = Memory { arena, store, events, receiver: 4096 };
        let agent = Agent::new(Fake(state.clone()), Adder(state.clone()), memory);
        Self { state, agent, line: Line::new(frames), session: 1, seq: 0 }
    }

    /// Sends raw bytes; returns what comes back, and what was heard.
    pub fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, Heard) {
        let (mut out, mut waiting) = (Vec::new(), bytes.iter().copied());
        let heard =
            self.line.serve(&mut || waiting.next(), &mut self.agent, &mut |bytes: &[u8]| out.extend_from_slice(bytes));
        if self.agent.watch_rate(heard) {
            self.line.forget();
        }
        (out, heard)
    }

    /// Asks, and shows each answer.
    pub fn ask(&mut self, request: &Request<'_>, mut take: impl FnMut(&Reply<'_>)) {
        self.seq += 1;
        let header = Header { session: self.session, seq: self.seq };
        let (mut payload, mut coded) = ([0; BYTE_FRAME_MAX], [0; BYTE_FRAME_MAX + 16]);
        let payload = encode_request(header, request, &mut payload).unwrap();
        let used = encode_cobs(payload, &mut coded).unwrap();
        let (out, _) = self.feed(&coded[..used]);
        let mut buffer = vec![0; 2 * BYTE_FRAME_MAX];
        let mut deframer = CobsDeframer::new(&mut buffer);
        let mut input = &out[..];
        while let Deframed::Payload(payload) = deframer.push(&mut input) {
            let (found, reply) = decode_reply(payload).unwrap();
            assert_eq!(found, header);
            take(&reply);
        }
    }

    /// The only answer, in words.
    pub fn say(&mut self, request: &Request<'_>) -> String {
        let mut said = Vec::new();
        self.ask(request, |reply| said.push(format!("{reply:?}")));
        assert_eq!(said.len(), 1, "{request:?}: {said:?}");
        said.remove(0)
    }

    pub fn greet(&mut self) -> String {
        let (version_min, version_max, frame_max) = (VERSION_MIN, VERSION_CURRENT, BYTE_FRAME_MAX as u32);
        self.say(&Request::Hello(HostHello { version_min, version_max, schema: SCHEMA, build: "t", frame_max }))
    }

    /// Greets and takes the lease.
    pub fn open(&mut self) {
        assert!(self.greet().starts_with("Hello"));
        let wish = Acquire { epoch: EPOCH, holder: "test", ttl_ms: 1_000_000 };
        assert!(self.say(&Request::Acquire(wish)).starts_with("Leased"));
    }

    pub fn upload(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest(sha2::Sha256::digest(bytes).into());
        let size = bytes.len() as u64;
        let begin = Begin { epoch: EPOCH, digest, size, coded_size: size, coding: Coding::Plain, program: false };
        assert!(self.say(&Request::Begin(begin)).starts_with("Ready"));
        for (i, bytes) in bytes.chunks(500).enumerate() {
            let part = Part { upload: digest.upload(), offset: i as u64 * 500, bytes };
            assert!(self.say(&Request::Part(part)).starts_with("Ready"));
        }
        assert!(self.say(&Request::Finish { epoch: EPOCH, digest }).starts_with("Stored"));
        digest
    }

    /// Works and pulls until the job is done; all of its events in words, and the bytes of each stream.
    pub fn follow(&mut self, job: u32) -> (Vec<Told>, Vec<(String, Vec<u8>)>) {
        let (mut told, mut streams) = (Vec::new(), Vec::<(String, Vec<u8>)>::new());
        for _ in 0..10_000 {
            (0..3).for_each(|_| {
                self.agent.work();
            });
            let mut done = false;
            let request = Request::Pull { job, from: told.len() as u32, credit: 2 };
            self.ask(&request, |reply| match reply {
                Reply::Event { index, event, .. } => {
                    assert_eq!(*index as usize, told.len());
                    if let Event::Data { stream, offset, bytes } = event {
                        let name = format!("{stream:?}");
                        let at = streams.iter().position(|s| s.0 == name).unwrap_or_else(|| {
                            streams.push((name, vec![]));
                            streams.len() - 1
                        });
                        assert_eq!(*offset as usize, streams[at].1.len(), "{stream:?}");
                        streams[at].1.extend_from_slice(bytes);
                    }
                    told.push(format!("{event:?}"));
                }
                Reply::Pending { .. } => {}
                Reply::Done { events, .. } => {
                    assert_eq!(*events as usize, told.len());
                    done = true;
                }
                other => panic!("{other:?}"),
            });
            if done {
                return (told, streams);
            }
        }
        panic!("the job does not end: {told:#?}");
    }

    pub fn order<'a>(&self, job: u32, pass: Pass, model: Digest, evalset: Digest, count: u64) -> Run<'a> {
        Run {
            epoch: EPOCH,
            job,
            runner: Digest([0; 32]),
            model,
            evalset,
            engine: "adder",
            pass,
            batch: 1,
            first: 0,
            count,
            warmup: 2,
            iterations: 5,
            deadline_ms: 1_000_000,
            memory_limit_bytes: 0,
            options: "",
        }
    }
}
