//! The host against the device side of the same protocol, in memory: transcripts byte for byte, and everything that can go wrong.

use boardproof_dialect::mlperf_tiny::{Fault, Identity, MlperfTiny, Options};
use boardproof_dialect::{Bytes, LineError, Loopback, Peer};
use boardproof_tiny::{Dut, Tiny};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// A model that adds up its bytes; 7 us per look at the clock, 100 us per inference.
struct Adder {
    buffer: Vec<u8>,
    input: Vec<u8>,
    sum: f32,
    clock_us: u32,
}

impl Dut for Adder {
    fn vendor(&self) -> &str {
        "boardproof"
    }

    fn model(&self) -> &str {
        "kws01"
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn load(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.input = self.buffer[..bytes].to_vec();
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        self.sum = self.input.iter().map(|byte| f32::from(*byte)).sum();
        self.clock_us = self.clock_us.wrapping_add(100);
        Ok(())
    }

    fn outputs(&self) -> usize {
        2
    }

    fn output(&self, index: usize) -> f32 {
        if index == 0 { self.sum } else { -self.sum / 256.0 }
    }

    fn now_us(&mut self) -> u32 {
        self.clock_us = self.clock_us.wrapping_add(7);
        self.clock_us
    }
}

type Twist = Box<dyn FnMut(&str, String) -> Vec<u8>>;

/// A device whose answers, command by command, go through `twist`.
struct Board {
    tiny: Tiny,
    dut: Adder,
    twist: Twist,
    /// Behind an interface board, which says a line of its own first.
    relayed: bool,
}

impl Board {
    fn new(twist: impl FnMut(&str, String) -> Vec<u8> + 'static) -> Self {
        let dut = Adder { buffer: vec![0; 100], input: Vec::new(), sum: 0.0, clock_us: 1000 };
        Self { tiny: Tiny::new(), dut, twist: Box::new(twist), relayed: false }
    }

    fn banner() -> String {
        "m-timestamp-mode-performance\r\nm-lap-us-12\r\nm-init-done\r\nm-ready\r\n".to_owned()
    }
}

impl Peer for Board {
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>) {
        let bytes = match bytes.strip_prefix(b"dut ") {
            Some(own) if self.relayed => own,
            _ => bytes,
        };
        for &byte in bytes {
            let command = String::from_utf8_lossy(self.tiny.command()).into_owned();
            let mut plain = Vec::new();
            self.tiny.push(byte, &mut self.dut, &mut |bytes| plain.extend_from_slice(bytes));
            if byte == b'%' {
                let plain = String::from_utf8_lossy(&plain).into_owned();
                answer.extend((self.twist)(&command, plain));
            }
        }
    }
}

type Device = MlperfTiny<Loopback<Board>>;

fn honest() -> Board {
    Board::new(|_, answer| answer.into_bytes())
}

fn plain() -> Options {
    Options { confirm_results: false, ..Options::default() }
}

#[track_caller]
fn connect(board: Board, options: Options) -> Device {
    MlperfTiny::connect(Loopback::new(board), options).expect("a device that answers")
}

/// Twists the answer to one command, `times` times.
fn twist(command: &'static str, times: usize, change: impl Fn(String) -> String + 'static) -> Board {
    let mut left = times;
    Board::new(move |asked, answer| {
        if asked.starts_with(command) && left > 0 {
            left -= 1;
            return change(answer).into_bytes();
        }
        answer.into_bytes()
    })
}

/// The fault of one load and one inference of a device whose answers are twisted.
#[track_caller]
fn fault(board: Board) -> Fault {
    let mut device = connect(board, plain());
    device.load(&[1, 2, 3]).and_then(|()| device.infer(2, 1)).expect_err("a fault")
}

#[track_caller]
fn check_fault(board: Board, expected: &str) {
    assert_eq!(fault(board).to_string(), expected);
}

#[test]
fn a_session_is_these_bytes_and_no_others() {
    let mut device = connect(honest(), Options::default());
    let identity = device.identify().expect("an identity");
    device.load(&(0..40).collect::<Vec<u8>>()).expect("a sample");
    let inference = device.infer(3, 2).expect("an inference");
    let line = device.into_line();
    let sent = "name%name%profile%timestamp%db load 40%\
                db 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e%db 1f2021222324252627%infer 3 2%results%";
    assert_eq!(String::from_utf8_lossy(&line.sent), sent);
    let read = "m-name-dut-[boardproof]\r\nm-ready\r\nm-name-dut-[boardproof]\r\nm-ready\r\n\
                m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[kws01]\r\nm-ready\r\nm-lap-us-1007\r\nm-ready\r\n\
                m-[Expecting 40 bytes]\r\nm-ready\r\nm-ready\r\nm-load-done\r\nm-ready\r\n\
                m-warmup-start-2\r\nm-warmup-done\r\nm-infer-start-3\r\nm-lap-us-1214\r\nm-lap-us-1521\r\nm-infer-done\r\n\
                m-results-[780.000,-3.047]\r\nm-ready\r\nm-results-[780.000,-3.047]\r\nm-ready\r\n";
    assert_eq!(String::from_utf8_lossy(&line.read), read);
    assert_eq!(
        identity,
        Identity {
            device: "dut".to_owned(),
            vendor: "boardproof".to_owned(),
            firmware: "ULPMark for tinyML Firmware V0.0.1".to_owned(),
            model: "kws01".to_owned()
        }
    );
    assert_eq!((inference.latency.elapsed_us, inference.latency.inferences), (307, 3));
    assert_eq!(inference.latency.mean_ns(), 102_333);
    assert_eq!(inference.outputs, [780.0, -3.047]);
}

#[test]
fn no_command_is_longer_than_80_characters_and_none_has_a_line_end() {
    let mut device = connect(honest(), Options { bytes_per_command: 38, confirm_sample: true, ..Options::default() });
    device.load(&[0xab; 100]).expect("a sample");
    device.infer(i32::MAX as u32 / 1_000_000, 0).expect("an inference");
    let line = device.into_line();
    assert!(line.sent.split(|byte| *byte == b'%').all(|command| command.len() <= 80));
    assert!(!line.sent.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
    let refused = MlperfTiny::connect(Loopback::new(honest()), Options { bytes_per_command: 39, ..Options::default() });
    assert_eq!(
        refused.err().map(|fault| fault.to_string()).as_deref(),
        Some("could not ask `db`: expected 1 to 38, got 39 bytes per command")
    );
    let relayed = Options { bytes_per_command: 37, relay: true, ..Options::default() };
    assert!(matches!(MlperfTiny::connect(Loopback::new(honest()), relayed), Err(Fault::Impossible { .. })));
}

#[test]
fn counts_that_the_protocol_cannot_carry_are_not_sent() {
    let mut device = connect(honest(), plain());
    device.load(&[1]).expect("a sample");
    for (inferences, warmup) in [(0, 0), (u32::MAX, 0), (1, u32::MAX)] {
        assert!(matches!(device.infer(inferences, warmup), Err(Fault::Impossible { .. })));
    }
    assert!(device.infer(1, 0).is_ok());
}

#[test]
fn the_clock_may_wrap_inside_the_window() {
    let mut board = honest();
    board.dut.clock_us = u32::MAX - 250;
    let mut device = connect(board, plain());
    device.load(&[1]).expect("a sample");
    assert_eq!(device.infer(3, 1).expect("an inference").latency.elapsed_us, 307);
}

#[test]
fn a_wider_clock_does_not_wrap() {
    let mut device = connect(twist("infer", 1, |answer| answer.replace("lap-us-1", "lap-us-99990000001")), plain());
    device.load(&[1]).expect("a sample");
    assert_eq!(device.infer(1, 0).expect("an inference").latency.elapsed_us, 107);
    let backwards = |answer: String| {
        answer.replace("lap-us-1207", "lap-us-99990000001").replace("lap-us-1007", "lap-us-99990000009")
    };
    let answer = "m-warmup-start-1\r\nm-warmup-done\r\nm-infer-start-2\r\nm-lap-us-1007\r\nm-lap-us-1207\r\nm-infer-done\r\nm-results-[0.1]\r\nm-ready\r\n";
    let answer = backwards(answer.to_owned());
    check_fault(
        twist("infer", 1, move |_| answer.clone()),
        "the device's clock runs backwards: expected at least 99990000009 us, got 99990000001 us",
    );
}

#[test]
fn an_error_is_a_refusal_and_the_next_command_works() {
    let mut device =
        connect(twist("db load", 1, |_| "e-[Command 'db load' must be >0 bytes]\r\nm-ready\r\n".to_owned()), plain());
    let fault = device.load(&[1, 2]).expect_err("refused");
    assert_eq!(fault.to_string(), "`db load 2` was refused: \"e-[Command 'db load' must be >0 bytes]\"");
    assert!(!fault.timed_out());
    device.load(&[1, 2]).expect("a sample");
    assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], 3.0);
    assert!(!String::from_utf8_lossy(&device.into_line().sent).contains("bp"), "it never was out of step");
}

#[test]
fn a_sample_that_is_too_large_is_refused_in_words_without_e() {
    let mut device = connect(honest(), plain());
    let fault = device.load(&[0; 101]).expect_err("refused");
    assert_eq!(fault.to_string(), "`db load 101` was refused: \"Supplied buffer size 101 exceeds maximum of 100\"");
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
}

#[test]
fn an_empty_sample_is_refused_by_the_device() {
    let mut device = connect(honest(), plain());
    assert!(matches!(device.load(&[]), Err(Fault::Refused { .. })));
}

#[test]
fn noise_before_and_between_is_passed_over_and_counted() {
    let mut board = Board::new(|_, answer| [b"\xff\x80 boot rom\n".as_slice(), answer.as_bytes()].concat());
    board.dut.clock_us = 0;
    let mut loopback = Loopback::new(board);
    loopback.waiting.extend(b"\x00\xfe\x01garbage without an end");
    let mut device = MlperfTiny::connect(loopback, plain()).expect("a device");
    device.load(&[5, 6]).expect("a sample");
    assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], 11.0);
    assert!(device.noise_lines() >= 4, "{}", device.noise_lines());
}

#[test]
fn a_device_that_boots_is_waited_for() {
    let mut asked = 0;
    let board = Board::new(move |_, answer| {
        asked += 1;
        match asked {
            1 => Vec::new(),
            2 => (Board::banner() + &answer).into_bytes(),
            _ => answer.into_bytes(),
        }
    });
    let mut device = connect(board, plain());
    assert_eq!(device.identify().expect("an identity").model, "kws01");
    // The first `name` was never answered; the mark shows that nothing of it is still to come.
    assert!(device.into_line().sent.starts_with(b"name%name%bp1%"));
}

#[test]
fn a_late_answer_to_an_earlier_attempt_is_not_taken_for_the_next_one() {
    let mut asked = 0;
    let mut late = String::new();
    let board = Board::new(move |_, answer| {
        asked += 1;
        let held = std::mem::take(&mut late);
        if asked == 1 {
            late = answer;
            return Vec::new();
        }
        (held + &answer).into_bytes()
    });
    let mut device = connect(board, plain());
    assert_eq!(device.identify().expect("an identity").model, "kws01");
}

#[test]
fn a_dead_device_is_silent_and_every_attempt_is_bounded() {
    let board = Board::new(|_, _| Vec::new());
    let mut loopback = Loopback::new(board);
    let fault = MlperfTiny::connect(&mut loopback, Options::default()).err().expect("a fault");
    assert_eq!(fault.to_string(), "`name` was not answered in 2s: expected `m-ready`, last heard \"\"");
    assert!(fault.timed_out());
    assert_eq!(loopback.sent, b"name%name%name%");
}

#[test]
fn a_device_that_answers_nonsense_is_shown() {
    let fault = MlperfTiny::connect(Loopback::new(Board::new(|_, _| b"hello?\r\n".to_vec())), Options::default()).err();
    assert_eq!(
        fault.map(|fault| fault.to_string()).as_deref(),
        Some("`name` was not answered in 2s: expected `m-ready`, last heard \"hello?\"")
    );
    check_fault(
        twist("infer", 1, |answer| answer.replace("m-lap-us-1", "m-lap-us-x")),
        "`infer 2 1` was answered out of turn: expected `m-lap-us-<n>`, got \"m-lap-us-x107\"",
    );
    check_fault(
        twist("infer", 1, |answer| answer.replace("[6.000,-0.023]", "[6.000,,-0.023]")),
        "`infer 2 1` was answered out of turn: expected `m-results-[f,f,...]`, got \"m-results-[6.000,,-0.023]\"",
    );
    check_fault(
        twist("db load", 1, |answer| answer.replace('3', "4")),
        "`db load 3` was answered out of turn: expected `m-[Expecting 3 bytes]`, got \"m-[Expecting 4 bytes]\"",
    );
}

#[test]
fn each_line_of_an_inference_is_needed_once_and_in_order() {
    let lines = [
        "m-warmup-start-1",
        "m-warmup-done",
        "m-infer-start-2",
        "m-lap-us-1107",
        "m-lap-us-1314",
        "m-infer-done",
        "m-results-",
    ];
    for line in lines {
        let gone = twist("infer", 1, move |answer| {
            answer.split_inclusive('\n').filter(|said| !said.starts_with(line)).collect()
        });
        assert!(matches!(fault(gone), Fault::Unexpected { .. } | Fault::Missing { .. }), "without {line}");
        let double = twist("infer", 1, move |answer| {
            answer
                .split_inclusive('\n')
                .flat_map(|said| std::iter::repeat_n(said, 1 + usize::from(said.starts_with(line))))
                .collect()
        });
        assert!(matches!(fault(double), Fault::Unexpected { .. }), "with {line} twice");
    }
    let swapped = twist("infer", 1, |answer| {
        answer.replace("m-warmup-done\r\nm-infer-start-2\r\n", "m-infer-start-2\r\nm-warmup-done\r\n")
    });
    assert!(matches!(fault(swapped), Fault::Unexpected { .. }));
}

#[test]
fn a_device_in_energy_mode_tells_no_time() {
    let mut device = connect(twist("timestamp", 1, |_| "m-ready\r\n".to_owned()), plain());
    let fault = device.identify().expect_err("a fault");
    assert_eq!(
        fault.to_string(),
        "`timestamp` was answered short: expected `m-lap-us-<n>`; a device in energy mode has none, got `m-ready`"
    );
}

#[test]
fn a_sample_that_did_not_arrive_whole_is_no_sample() {
    let lost = twist("db 01", 1, |_| "m-ready\r\n".to_owned());
    check_fault(lost, "`db 010203` was answered short: expected `m-load-done`, got `m-ready`");
    let early = twist("db 00", 1, |_| "m-load-done\r\nm-ready\r\n".to_owned());
    let mut device = connect(early, plain());
    assert!(matches!(device.load(&[0; 40]), Err(Fault::Unexpected { .. })));
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
}

#[test]
fn a_restart_in_the_middle_of_an_inference_is_told() {
    let mut device = connect(
        twist("infer", 1, |answer| {
            let (before, _) = answer.split_once("m-infer-done").expect("a whole answer");
            before.to_owned() + &Board::banner()
        }),
        plain(),
    );
    device.load(&[1, 2]).expect("a sample");
    let fault = device.infer(1, 0).expect_err("a fault");
    assert_eq!(fault.to_string(), "the device restarted during `infer 1 0`: \"m-timestamp-mode-performance\"");
    // The sample is gone, and the way back into step is found without help.
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
    device.load(&[3, 4]).expect("a sample");
    assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], 7.0);
}

#[test]
fn a_restart_between_commands_is_told_before_the_next() {
    let mut device = connect(twist("db 0102", 1, |answer| answer + &Board::banner()), plain());
    device.load(&[1, 2]).expect("a sample");
    let fault = device.infer(1, 0).expect_err("a fault");
    assert_eq!(fault.to_string(), "the device restarted during `infer 1 0`: \"m-timestamp-mode-performance\"");
}

#[test]
fn a_restart_that_shows_while_getting_back_into_step_takes_the_sample_away() {
    let mut device = connect(twist("db 0102", 1, |answer| answer + &Board::banner()), plain());
    device.load(&[1, 2]).expect("a sample");
    device.resync().expect("in step");
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
    let mut device = connect(twist("bp1", 1, |answer| Board::banner() + &answer), plain());
    device.load(&[1, 2]).expect("a sample");
    device.resync().expect("in step");
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
}

/// The last line of a banner whose first lines were lost.
#[test]
fn a_message_that_nobody_asked_for_takes_the_sample_away() {
    let mut device = connect(twist("db 0102", 1, |answer| answer + "m-ready\r\n"), plain());
    device.load(&[1, 2]).expect("a sample");
    let fault = device.infer(1, 0).expect_err("a fault");
    assert_eq!(fault.to_string(), "`infer 1 0` was answered out of turn: expected silence before it, got \"m-ready\"");
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
}

#[test]
fn an_answer_that_breaks_off_costs_one_mark() {
    let mut device = connect(twist("infer", 1, |answer| answer[..30].to_owned()), plain());
    device.load(&[9]).expect("a sample");
    let fault = device.infer(1, 0).expect_err("a fault");
    assert_eq!(
        fault.to_string(),
        "`infer 1 0` was not answered in 30s: expected `m-ready`, last heard \"m-warmup-don\""
    );
    device.load(&[9]).expect("a sample");
    assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], 9.0);
    assert!(String::from_utf8_lossy(&device.into_line().sent).contains("infer 1 0%bp1%db load 1%"));
}

/// The `%` was lost: the device waits on with half a command.
#[test]
fn a_command_without_its_end_is_flushed_by_the_marks() {
    let mut device = connect(honest(), plain());
    device.load(&[9]).expect("a sample");
    let mut line = device.into_line();
    line.write(b"db 00", Instant::now()).expect("memory");
    let mut device = MlperfTiny::connect(line, plain()).expect("a device");
    assert_eq!(device.identify().expect("an identity").model, "kws01");
}

#[test]
fn a_result_that_changes_when_read_again_is_refused() {
    let mut device = connect(twist("results", 1, |answer| answer.replace('6', "7")), Options::default());
    device.load(&[1, 2, 3]).expect("a sample");
    assert_eq!(
        device.infer(1, 0).expect_err("a fault").to_string(),
        "the result changed when read again: expected \"m-results-[6.000,-0.023]\", got \"m-results-[7.000,-0.023]\""
    );
    assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], 6.0);
}

#[test]
fn a_sample_that_changed_on_the_way_is_refused() {
    let confirm = Options { confirm_sample: true, ..Options::default() };
    let mut device = connect(twist("db print", 1, |answer| answer.replace("-09", "-0b")), confirm);
    let fault = device.load(&(0..20).collect::<Vec<u8>>()).expect_err("a fault").to_string();
    assert_eq!(
        fault,
        "the sample changed when read again: expected \"[08, 09, 0a, 0b, 0c, 0d, 0e, 0f] from byte 8 on\", \
         got \"[08, 0b, 0a, 0b, 0c, 0d, 0e, 0f] from byte 8 on\""
    );
    assert!(matches!(device.infer(1, 0), Err(Fault::NotLoaded)));
    device.load(&(0..20).collect::<Vec<u8>>()).expect("a sample that is read back as it was sent");
}

#[test]
fn an_interface_board_relays() {
    let mut board = Board::new(|_, answer| {
        let own: String = answer.split_inclusive('\n').map(|line| format!("[dut]: {line}")).collect();
        ("m-dut-passthrough\r\nm-ready\r\n".to_owned() + &own).into_bytes()
    });
    board.relayed = true;
    let mut device = connect(board, Options { relay: true, ..Options::default() });
    assert_eq!(device.identify().expect("an identity").vendor, "boardproof");
    device.load(&[1, 2]).expect("a sample");
    assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], 3.0);
    assert!(device.into_line().sent.starts_with(b"dut name%dut name%dut profile%"));
}

#[test]
fn the_prefix_of_an_interface_board_is_taken_off_where_nobody_relays() {
    let board = Board::new(|_, answer| {
        answer.split_inclusive('\n').map(|line| format!("[dut]: {line}")).collect::<String>().into_bytes()
    });
    assert_eq!(connect(board, plain()).identify().expect("an identity").model, "kws01");
}

#[test]
fn a_line_that_never_ends_is_given_up() {
    let board = Board::new(|_, _| vec![b'x'; 100_000]);
    let mut loopback = Loopback::new(board);
    loopback.bytes_per_read = 4096;
    let fault = MlperfTiny::connect(loopback, Options::default()).err().expect("a fault");
    assert!(
        fault.to_string().starts_with("`name` was answered out of turn: expected a line that ends, got \"xxx"),
        "{fault}"
    );
    assert!(fault.to_string().len() < 400);
}

/// A line that gives a byte whenever it is asked, and never an end.
struct Babbler(u8);

impl Bytes for Babbler {
    fn write(&mut self, _: &[u8], _: Instant) -> Result<(), LineError> {
        Ok(())
    }

    fn read(&mut self, into: &mut [u8], _: Instant) -> Result<usize, LineError> {
        into.fill(self.0);
        Ok(into.len())
    }
}

#[test]
fn a_device_that_never_stops_is_given_up() {
    let patience = boardproof_dialect::mlperf_tiny::Patience { scan: Duration::ZERO, ..Default::default() };
    for byte in [b'x', b'\n', 0] {
        let options = Options { attempts: 2, patience, ..Options::default() };
        assert!(MlperfTiny::connect(Babbler(byte), options).is_err(), "{byte}");
    }
}

#[test]
fn a_line_that_fails_says_why() {
    struct Gone;
    impl Bytes for Gone {
        fn write(&mut self, _: &[u8], _: Instant) -> Result<(), LineError> {
            Err(LineError::Closed)
        }
        fn read(&mut self, _: &mut [u8], _: Instant) -> Result<usize, LineError> {
            Err(LineError::TimedOut)
        }
    }
    assert!(matches!(
        MlperfTiny::connect(Gone, Options::default()),
        Err(Fault::Line { source: LineError::Closed, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sample_goes_through(sample in prop::collection::vec(any::<u8>(), 1..100), step in 1usize..=38) {
        let mut device = connect(honest(), Options { bytes_per_command: step, confirm_sample: true, ..Options::default() });
        device.load(&sample).expect("a sample");
        let sum: f32 = sample.iter().map(|byte| f32::from(*byte)).sum();
        prop_assert_eq!(device.infer(1, 0).expect("an inference").outputs[0], sum);
        prop_assert_eq!(&device.into_line().peer.dut.input, &sample);
    }

    /// A device that says anything at all: no panic, no hang, and nothing that looks like a measurement.
    #[test]
    fn any_answer_is_survived(answers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut next = 0;
        let board = Board::new(move |_, _| { next += 1; answers[next % answers.len()].clone() });
        prop_assert!(MlperfTiny::connect(Loopback::new(board), Options::default()).is_err());
    }

    /// One byte of an inference's answer is another: either everything that counts is as it was, or it is a fault, or a digit changed,
    /// which is what reading twice is for.
    #[test]
    fn one_wrong_byte_is_no_other_result(at in 0usize..200, byte: u8) {
        let board = Board::new(move |asked, answer| {
            let mut answer = answer.into_bytes();
            if asked.starts_with("infer") {
                let at = at % answer.len();
                answer[at] = byte;
            }
            answer
        });
        let mut device = connect(board, Options::default());
        device.load(&[200, 100]).expect("a sample");
        if let Ok(inference) = device.infer(2, 1) {
            prop_assert_eq!(inference.outputs, [300.0, -1.172]);
        }
    }

    /// Any piece of an inference's answer is missing.
    #[test]
    fn a_gap_is_no_other_result(from in 0usize..200, length in 1usize..60) {
        let board = Board::new(move |asked, answer| {
            let mut answer = answer.into_bytes();
            if asked.starts_with("infer") {
                let from = from % answer.len();
                answer.drain(from..(from + length).min(answer.len()));
            }
            answer
        });
        let mut device = connect(board, Options::default());
        device.load(&[200, 100]).expect("a sample");
        if let Ok(inference) = device.infer(2, 1) {
            prop_assert_eq!(inference.outputs, [300.0, -1.172]);
        }
    }
}
