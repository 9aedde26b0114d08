//! The agent on the boards of QEMU.

mod model;

use boardproof_firmware_smoke::{Board, build};
use boardproof_protocol::{
    Acquire, Digest, Ended, Event, Key, Pass, RefusalCode, Reply, Request, Run, Stream, TextKey,
};
use model::{INPUT, OUTPUT, answers, model, samples};
use std::collections::BTreeMap;

const EPOCH: u64 = 7;
const ARM: &str = "thumbv7em-none-eabihf";

/// All that a job has told.
#[derive(Debug, Default)]
struct Told {
    numbers: BTreeMap<(Key, u16), u64>,
    texts: BTreeMap<TextKey, String>,
    outputs: Vec<u8>,
    ticks: Vec<u64>,
    agree: Option<bool>,
    operators: Vec<String>,
    cannot_run: String,
    ended: Option<Ended>,
}

impl Told {
    fn of(board: &mut Board, job: u32) -> Self {
        let mut told = Self::default();
        board.events(job, &mut |event| told.take(&event));
        told
    }

    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Number { key, index, value } => {
                self.numbers.insert((*key, *index), *value);
            }
            Event::Text { key, value, .. } => {
                self.texts.insert(*key, (*value).into());
            }
            Event::Data { stream: Stream::Output(_), bytes, .. } => self.outputs.extend(*bytes),
            Event::Data { stream: Stream::Ticks, bytes, .. } => {
                self.ticks.extend(bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)));
            }
            Event::SelfCheck(check) => self.agree = Some(check.agree),
            Event::Operator(op) => self.operators.push(format!("{} {} {} {}", op.name, op.op, op.dtypes, op.kernel)),
            Event::CannotRun(found) => self.cannot_run = found.reason.into(),
            Event::Ended(ended) => self.ended = Some(*ended),
            _ => {}
        }
    }

    fn number(&self, key: Key) -> u64 {
        *self.numbers.get(&(key, 0)).unwrap_or_else(|| panic!("{key:?} is not in {self:?}"))
    }
}

/// A board with the lease taken.
fn board(machine: &str, triple: &str) -> Board {
    let mut board = Board::start(machine, &build(machine, triple, ""));
    greet(&mut board);
    board
}

/// Number of the start.
fn greet(board: &mut Board) -> u64 {
    let boot = board.greet(|reply| match reply {
        Reply::Hello(hello) => {
            assert_eq!((hello.architecture, hello.engines, hello.tick_hz), ("arm", "micro 2", 25_000_000));
            hello.boot
        }
        other => panic!("{other:?}"),
    });
    let wish = Acquire { epoch: EPOCH, holder: "smoke", ttl_ms: 600_000 };
    assert!(board.one(&Request::Acquire(wish), |reply| matches!(reply, Reply::Leased { .. })));
    boot
}

fn order<'a>(job: u32, pass: Pass, model: Digest, evalset: Digest) -> Run<'a> {
    Run {
        epoch: EPOCH,
        job,
        runner: Digest([0; 32]),
        model,
        evalset,
        engine: "micro",
        pass,
        batch: 1,
        first: 0,
        count: 20,
        warmup: 2,
        iterations: 20,
        deadline_ms: 60_000,
        memory_limit_bytes: 0,
        options: "",
    }
}

fn run(board: &mut Board, order: Run<'_>) -> Told {
    assert!(board.one(&Request::Run(order), |reply| matches!(reply, Reply::Accepted { .. })));
    Told::of(board, order.job)
}

fn is_present(board: &mut Board, digest: Digest) -> bool {
    board.one(&Request::Stat { digest }, |reply| matches!(reply, Reply::Stat { present: true, .. }))
}

/// All four passes on a board; its answers are those of this machine.
fn proves(machine: &str, triple: &str, kernel: &str) {
    let mut board = board(machine, triple);
    let (model, samples) = (model(0), samples(20));
    let expected = answers(&model, &samples);
    let (size, model, samples) = (model.len() as u64, board.upload(EPOCH, &model), board.upload(EPOCH, &samples));
    let told = run(&mut board, order(1, Pass::Accuracy, model, samples));
    assert_eq!(told.ended, Some(Ended::Completed), "{told:?}");
    assert_eq!((told.outputs.len(), told.outputs == expected), (20 * OUTPUT, true));

    let first = run(&mut board, order(2, Pass::Latency, model, samples));
    let again = run(&mut board, order(3, Pass::Latency, model, samples));
    assert_eq!((first.ticks.len(), first.ended), (20, Some(Ended::Completed)));
    // Ten times the same, and with this model no sample is quicker than another.
    assert_eq!(first.ticks, vec![first.ticks[0]; 20]);
    println!("{machine}: {} ticks for one inference", first.ticks[0]);
    assert_eq!(first.ticks, again.ticks, "the same inferences are as many instructions each time");
    assert!(
        first.number(Key::TimerOverheadNs) > 0 && first.number(Key::MeasuredWallNs) < first.number(Key::PassWallNs)
    );
    let counted: u64 = first.numbers.iter().filter(|((key, _), _)| *key == Key::TicksHistogram).map(|(_, n)| n).sum();
    assert_eq!(counted, 20);

    let told = run(&mut board, order(4, Pass::Inspect, model, samples));
    assert_eq!(told.agree, Some(true));
    assert_eq!(
        told.operators,
        [format!("conv Conv2d i8->i8 {kernel}"), format!("dense FullyConnected i8->i8 {kernel}")]
    );

    let told = run(&mut board, order(5, Pass::Memory, model, samples));
    assert_eq!(told.ended, Some(Ended::Completed), "{told:?}");
    let (flash, static_ram) = (told.number(Key::FlashBytes), told.number(Key::StaticRamBytes));
    assert!(flash > 20_000 && flash + size < 1 << 20 && static_ram < 32 << 10, "{told:?}");
    let (peak, room) = (told.number(Key::StackPeakBytes), told.number(Key::StackBytes));
    println!("{machine}: {flash} bytes of flash, {static_ram} of static RAM, {peak} of stack");
    assert!(peak > 100 && peak < room && room == 16 << 10, "{told:?}");
    // The arena has what is left, from a multiple of 16 on.
    assert_eq!(static_ram.next_multiple_of(16) + room + told.number(Key::ArenaBytes), 256 << 10, "{told:?}");
    assert_eq!(told.number(Key::ModelBytes), size);
}

#[test]
fn a_cortex_m4_proves_a_model() {
    proves("mps2-an386", ARM, "dsp");
}

#[test]
fn a_cortex_m7_proves_a_model() {
    proves("mps2-an500", ARM, "dsp");
}

#[test]
fn a_cortex_m3_proves_a_model() {
    proves("mps2-an385", "thumbv7m-none-eabi", "plain");
}

#[test]
fn a_crash_is_told_after_the_reset_and_blobs_are_still_there() {
    let mut board = board("mps2-an386", ARM);
    let (model, samples) = (board.upload(EPOCH, &model(0)), board.upload(EPOCH, &samples(20)));
    let mut boot = greet(&mut board);
    let environment = |board: &mut Board| {
        assert!(board.one(&Request::Environment { job: 9 }, |reply| matches!(reply, Reply::Accepted { .. })));
        Told::of(board, 9)
    };
    let told = environment(&mut board);
    assert_eq!(told.texts[&TextKey::ResetReason], "power on");
    assert!(told.texts[&TextKey::CpuModel].starts_with("Cortex-M4 r"), "{told:?}");
    assert_eq!(told.texts[&TextKey::ClockSource], "CMSDK TIMER0 (DWT CYCCNT does not move)");
    assert!(!told.texts.contains_key(&TextKey::CrashRecord));
    assert_eq!(told.number(Key::WatchdogMs), 11_900_000);
    for (job, options, reason, words) in [
        (1, "crash=udf", "fault", "undefined instruction in job 1 while running: pc 0x"),
        (2, "crash=bus", "fault", "bus fault of data in job 2 while running: pc 0x"),
        (3, "crash=panic", "fault", "panic in job 3 while running: pc 0x"),
        (4, "crash=hang", "watchdog", "the watchdog found the program stuck in job 4 while running: pc 0x"),
    ] {
        let order = Run { options, ..order(job, Pass::Accuracy, model, samples) };
        assert!(board.one(&Request::Run(order), |reply| matches!(reply, Reply::Accepted { .. })));
        // A board that was reset knows no session.
        let pull = Request::Pull { job, from: 0, credit: 1 };
        while !board
            .last(&pull, |reply| matches!(reply, Reply::Refused(refused) if refused.code == RefusalCode::NoSession))
        {
        }
        board.new_session();
        let now = greet(&mut board);
        assert_ne!(now, boot, "{options}: the same start");
        boot = now;
        let told = environment(&mut board);
        assert_eq!(told.texts[&TextKey::ResetReason], reason, "{options}");
        assert!(
            told.texts[&TextKey::CrashRecord].starts_with(words),
            "{options}: {}",
            told.texts[&TextKey::CrashRecord]
        );
        assert!(is_present(&mut board, model) && is_present(&mut board, samples), "{options}");
    }
    let told = run(&mut board, order(5, Pass::Accuracy, model, samples));
    assert_eq!(told.ended, Some(Ended::Completed));
}

#[test]
fn what_does_not_fit_is_a_statement_about_the_model() {
    let mut board = board("mps2-an386", ARM);
    let samples = board.upload(EPOCH, &samples(20));
    let large = board.upload(EPOCH, &model(256 << 10));
    let told = run(&mut board, order(1, Pass::Accuracy, large, samples));
    assert_eq!(told.ended, Some(Ended::OutOfMemory { limit_bytes: 256 << 10 }));
    assert!(told.cannot_run.contains("bytes needed") && told.cannot_run.contains("available"), "{}", told.cannot_run);
    let none = board.upload(EPOCH, &[7; INPUT]);
    let told = run(&mut board, order(2, Pass::Accuracy, none, samples));
    assert_eq!(told.ended, Some(Ended::CannotRun));
    assert!(told.cannot_run.contains("does not begin as a model does"), "{}", told.cannot_run);
}

#[test]
fn noise_between_frames_and_a_change_of_rate_harm_nothing() {
    let mut board = board("mps2-an386", ARM);
    board.write(&[0x55; 3000]);
    board.write(&[0, 1, 2, 3, 0]);
    assert!(board.one(&Request::Baud { rate: 921_600 }, |reply| matches!(reply, Reply::Baud { rate: 921_600 })));
    let samples = samples(20);
    let digest = board.upload(EPOCH, &samples);
    assert!(is_present(&mut board, digest));
    assert!(board.one(&Request::Bye, |reply| matches!(reply, Reply::Bye)));
    board.new_session();
    greet(&mut board);
    assert!(is_present(&mut board, digest));
}

#[test]
fn a_runner_of_mlperf_tiny_scores_the_model() {
    let mut board = board("mps2-an386", ARM);
    let (model, samples) = (model(0), samples(1));
    board.upload(EPOCH, &model);
    assert!(board.one(&Request::Bye, |reply| matches!(reply, Reply::Bye)));
    let profile = board.text("profile%");
    assert!(profile.starts_with("m-profile-[ULPMark for tinyML"), "{profile}");
    assert!(board.text(&format!("db load {INPUT}%")).starts_with("m-[Expecting 256 bytes]"));
    let mut loaded = String::new();
    for piece in samples.chunks(32) {
        let digits: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        loaded = board.text(&format!("db {digits}%"));
    }
    assert!(loaded.starts_with("m-load-done"), "{loaded}");
    let answer = board.text("infer 5 1%");
    let expected: Vec<String> =
        answers(&model, &samples).iter().map(|byte| format!("{:.3}", f32::from(*byte as i8) * 0.5)).collect();
    assert!(answer.contains(&format!("m-results-[{}]", expected.join(","))), "{answer}: {expected:?}");
    // And our own host is heard as before.
    board.new_session();
    greet(&mut board);
}

#[test]
fn an_engine_in_c_runs_on_the_board() {
    let mut board = Board::start("mps2-an386", &build("mps2-an386-own-engine", ARM, "own-engine"));
    let engines = board.greet(|reply| match reply {
        Reply::Hello(hello) => hello.engines.to_owned(),
        other => panic!("{other:?}"),
    });
    assert_eq!(engines, "own 1");
    let wish = Acquire { epoch: EPOCH, holder: "smoke", ttl_ms: 600_000 };
    assert!(board.one(&Request::Acquire(wish), |reply| matches!(reply, Reply::Leased { .. })));
    let model = board.upload(EPOCH, b"AFF1\x04\x00\x18\xfd");
    let samples = board.upload(EPOCH, &[10, 246, 120, 0]);
    let order = Run { engine: "own", count: 1, ..order(1, Pass::Accuracy, model, samples) };
    let told = run(&mut board, order);
    assert_eq!((told.ended, &told.outputs[..]), (Some(Ended::Completed), &[12, 238, 127, 253][..]), "{told:?}");
}
