//! The agent on its line: greeting, facts, rates, and noise.

mod rig;

use boardproof_protocol::{Acquire, Begin, Chunk, Coding, Digest, Pass, Request};
use rig::{EPOCH, HZ, Rig, START_RATE, adder, rooms};

#[test]
fn it_greets_with_what_it_is() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    let hello = rig.greet();
    for part in [
        "architecture: \"arm\", system: \"bare metal\"",
        "tick_hz: 1000",
        "engines: \"adder 9\"",
        "chunk_window: 3",
        "build: \"b1\"",
    ] {
        assert!(hello.contains(part), "{part}: {hello}");
    }
    assert!(!hello.contains("boot: 0"), "{hello}");
    assert_eq!(rig.greet(), hello);
}

#[test]
fn only_the_holder_of_the_lease_may_write() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    rig.greet();
    let digest = Digest([7; 32]);
    let begin = Begin { epoch: EPOCH, digest, size: 4, coded_size: 4, coding: Coding::Plain, program: false };
    assert!(rig.say(&Request::Begin(begin)).contains("NotHolder"));
    let wish = Acquire { epoch: EPOCH, holder: "test", ttl_ms: 1000 };
    rig.say(&Request::Acquire(wish));
    assert_eq!(rig.say(&Request::Begin(begin)), "Ready { offset: 0 }");
    let chunk = Chunk { epoch: EPOCH, digest, offset: 0, bytes: &[1, 2, 3] };
    assert_eq!(rig.say(&Request::Chunk(chunk)), "Ready { offset: 3 }");
    rig.state.borrow_mut().now += HZ;
    assert!(rig.say(&Request::Chunk(chunk)).contains("NotHolder"));
    let other = Acquire { epoch: EPOCH + 1, holder: "other", ttl_ms: 1000 };
    assert!(rig.say(&Request::Acquire(other)).contains("Leased"));
    assert!(rig.say(&Request::Acquire(wish)).contains("NotHolder"));
}

#[test]
fn the_environment_tells_a_crash_and_names_what_it_cannot_know() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    rig.state.borrow_mut().crash = "undefined instruction in job 3";
    rig.greet();
    assert_eq!(rig.say(&Request::Environment { job: 8 }), "Accepted { job: 8 }");
    let (told, _) = rig.follow(8);
    for part in [
        "Text { key: CrashRecord, index: 0, value: \"undefined instruction in job 3\" }",
        "Text { key: ResetReason, index: 0, value: \"power on\" }",
        "Text { key: ClockSource, index: 0, value: \"a clock\" }",
        "Number { key: LinkOverruns, index: 0, value: 5 }",
        "Number { key: MemoryTotalBytes, index: 0, value: 8192 }",
        "Number { key: WatchdogMs, index: 0, value: 16000 }",
        "Missing { key: TemperatureMilliC, reason: \"this firmware reads no temperature\" }",
        "Ended(Completed)",
    ] {
        assert!(told.iter().any(|event| event == part), "{part}: {told:#?}");
    }
}

#[test]
fn a_board_without_a_watchdog_says_so() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    rig.state.borrow_mut().watchdog_ms = None;
    rig.greet();
    rig.say(&Request::Environment { job: 8 });
    let (told, _) = rig.follow(8);
    let missing = "Missing { key: WatchdogMs, reason: \"this unit has no watchdog\" }";
    assert!(told.iter().any(|event| event == missing), "{told:#?}");
}

#[test]
fn a_new_session_forgets_the_job_of_the_one_before_and_a_greeting_that_is_repeated_does_not() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    rig.open();
    let model = rig.upload(&adder(8, [4, 0], 32));
    let samples = rig.upload(&[1; 80]);
    let run = rig.order(1, Pass::Accuracy, model, samples, 10);
    rig.say(&Request::Run(run));
    rig.greet();
    assert_eq!(rig.follow(1).0.last().unwrap(), "Ended(Completed)");
    rig.say(&Request::Run(boardproof_protocol::Run { job: 2, ..run }));
    rig.session = 2;
    assert!(rig.say(&Request::Cancel { job: 2 }).contains("NoSession"));
    rig.greet();
    assert!(rig.say(&Request::Pull { job: 2, from: 0, credit: 1 }).contains("UnknownJob"));
    assert!(!rig.agent.work());
}

#[test]
fn the_rate_changes_behind_the_answer_and_is_given_up_when_nothing_is_understood() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    rig.open();
    assert!(rig.say(&Request::Baud { rate: 2_000_000 }).contains("code: Limit"));
    assert_eq!(rig.say(&Request::Baud { rate: 921_600 }), "Baud { rate: 921600 }");
    assert_eq!(rig.state.borrow().rate, 921_600);
    rig.state.borrow_mut().now += 2 * HZ - 1;
    rig.feed(&[0x55, 0xaa, 0, 0xff]);
    assert_eq!(rig.state.borrow().rate, 921_600);
    rig.state.borrow_mut().now += 1;
    rig.feed(&[]);
    assert_eq!(rig.state.borrow().rate, START_RATE);
    // Understood: it stays, however long nothing is said.
    rig.say(&Request::Baud { rate: 460_800 });
    rig.greet();
    rig.state.borrow_mut().now += 100 * HZ;
    rig.feed(&[]);
    assert_eq!(rig.state.borrow().rate, 460_800);
    assert_eq!(rig.say(&Request::Bye), "Bye");
    assert_eq!(rig.state.borrow().rate, START_RATE);
}

/// A sequence that looks random and is the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A request that a broken or hostile host might send.
fn any_request<'a>(noise: &mut Noise, digests: &[Digest; 3], bytes: &'a [u8]) -> Request<'a> {
    let odd = [0, 1, 7, 80, 1 << 20, u64::MAX - 1, u64::MAX];
    let number = |noise: &mut Noise| odd[noise.below(7) as usize];
    let digest = digests[noise.below(3) as usize];
    let epoch = EPOCH + noise.below(2);
    let job = noise.below(3) as u32;
    match noise.below(16) {
        0 => Request::Acquire(Acquire { epoch, holder: "x", ttl_ms: number(noise) as u32 }),
        1 => Request::Release { epoch },
        2 => Request::Stat { digest },
        3 | 4 => {
            let size = if noise.below(2) == 0 { number(noise) } else { 9 };
            let coding = if noise.below(4) == 0 { Coding::Zstd } else { Coding::Plain };
            Request::Begin(Begin { epoch, digest, size, coded_size: size, coding, program: noise.below(9) == 0 })
        }
        5 => Request::Chunk(Chunk { epoch, digest, offset: number(noise), bytes: &bytes[..noise.below(80) as usize] }),
        6 => {
            let upload = if noise.below(2) == 0 { digest.upload() } else { 1 };
            Request::Part(boardproof_protocol::Part {
                upload,
                offset: number(noise),
                bytes: &bytes[..noise.below(80) as usize],
            })
        }
        7 => Request::Finish { epoch, digest },
        8 | 9 => {
            let pass = [Pass::Inspect, Pass::Accuracy, Pass::Latency, Pass::Memory][noise.below(4) as usize];
            Request::Run(boardproof_protocol::Run {
                epoch,
                job,
                runner: digest,
                model: digests[0],
                evalset: digests[noise.below(2) as usize],
                engine: if noise.below(8) == 0 { "?" } else { "adder" },
                pass,
                batch: 1 + noise.below(5).saturating_sub(3) as u32,
                first: number(noise),
                count: number(noise).min(20),
                warmup: noise.below(3) as u32,
                iterations: noise.below(40) as u32,
                deadline_ms: number(noise) as u32,
                memory_limit_bytes: number(noise),
                options: "",
            })
        }
        10 => Request::Environment { job },
        11 => Request::Pull {
            job,
            from: noise.below(5) as u32 * noise.below(900_000_000) as u32,
            credit: number(noise) as u16,
        },
        12 => Request::Cancel { job },
        13 => Request::Arrived { epoch, digest, offset: number(noise) },
        14 => Request::Baud { rate: number(noise) as u32 },
        _ if noise.below(20) == 0 => Request::Clean { epoch },
        _ => Request::Place { epoch, digest },
    }
}

/// Requests of every kind with odd numbers, between bytes that are none: always an answer, never a panic, and afterwards an upload and a
/// job work as if nothing had been.
#[test]
fn no_request_and_no_noise_brings_it_down() {
    // More seeds for a longer look: each is 1500 frames.
    let seeds = std::env::var("BOARDPROOF_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        let mut rooms = rooms();
        let mut rig = Rig::new(&mut rooms);
        rig.open();
        let mut noise = Noise(seed);
        let model = adder(8, [4, 0], 32);
        let digests = [rig.upload(&model), rig.upload(&[3; 80]), Digest([9; 32])];
        for _ in 0..1500 {
            match noise.below(12) {
                0 => {
                    let bytes: Vec<u8> = (0..noise.below(1500)).map(|_| noise.next() as u8).collect();
                    rig.feed(&bytes);
                    rig.feed(&[0]);
                }
                1 => rig.state.borrow_mut().now += noise.below(3000),
                2..5 => {
                    rig.agent.work();
                }
                _ => {
                    let request = any_request(&mut noise, &digests, &[0xa5; 80]);
                    let mut answers = 0;
                    rig.ask(&request, |_| answers += 1);
                    assert!(answers > 0, "seed {seed}: no answer to {request:?}");
                }
            }
        }
        rig.session += 1;
        rig.greet();
        let wish = Acquire { epoch: EPOCH + 1, holder: "x", ttl_ms: u32::MAX };
        assert!(rig.say(&Request::Acquire(wish)).contains("Leased"), "seed {seed}");
        let samples = vec![seed as u8; 80];
        let digest = Digest(<sha2::Sha256 as sha2::Digest>::digest(&samples).into());
        rig.say(&Request::Clean { epoch: EPOCH + 1 });
        for (bytes, digest) in [(&model, digests[0]), (&samples, digest)] {
            let (epoch, size) = (EPOCH + 1, bytes.len() as u64);
            let begin = Begin { epoch, digest, size, coded_size: size, coding: Coding::Plain, program: false };
            assert_eq!(rig.say(&Request::Begin(begin)), "Ready { offset: 0 }", "seed {seed}");
            rig.say(&Request::Chunk(Chunk { epoch, digest, offset: 0, bytes }));
            assert!(rig.say(&Request::Finish { epoch, digest }).starts_with("Stored"), "seed {seed}");
        }
        let run = rig.order(99, Pass::Accuracy, digests[0], digest, 10);
        rig.say(&Request::Run(boardproof_protocol::Run { epoch: EPOCH + 1, ..run }));
        let (told, streams) = rig.follow(99);
        assert_eq!(told.last().unwrap(), "Ended(Completed)", "seed {seed}");
        assert_eq!(streams[0].1, vec![(seed as u8).wrapping_add(1); 40], "seed {seed}");
    }
}
