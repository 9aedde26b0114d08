//! What another runner sees: every reply byte for byte, and what the line survives.

use boardproof_tiny::{BUFFER_MAX, COMMAND_MAX, Detector, Dut, Heard, Tiny};
use proptest::prelude::*;

/// A model that adds up its bytes; its clock goes on by 7 us at each look and by 100 us in each inference.
struct Adder {
    buffer: Vec<u8>,
    input: Vec<u8>,
    sum: f32,
    clock_us: u32,
    /// What was called, in order.
    calls: String,
    /// The inference, counted from 1, that fails.
    broken_at: Option<usize>,
}

impl Adder {
    fn new(bytes: usize) -> Self {
        Self {
            buffer: vec![0; bytes],
            input: Vec::new(),
            sum: 0.0,
            clock_us: 1000,
            calls: String::new(),
            broken_at: None,
        }
    }
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
        self.calls.push('L');
        if bytes == 0 {
            return Err("No sample");
        }
        self.input = self.buffer[..bytes].to_vec();
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        self.calls.push('i');
        if self.broken_at == Some(self.calls.matches('i').count()) {
            return Err("Inference failed");
        }
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
        self.calls.push('t');
        self.clock_us = self.clock_us.wrapping_add(7);
        self.clock_us
    }

    fn before(&mut self) {
        self.calls.push('<');
    }

    fn after(&mut self) {
        self.calls.push('>');
    }
}

struct Line {
    tiny: Tiny,
    dut: Adder,
}

impl Line {
    fn new() -> Self {
        Self { tiny: Tiny::new(), dut: Adder::new(BUFFER_MAX) }
    }

    fn send(&mut self, text: impl AsRef<[u8]>) -> String {
        let mut reply = Vec::new();
        for &byte in text.as_ref() {
            self.tiny.push(byte, &mut self.dut, &mut |bytes| reply.extend_from_slice(bytes));
        }
        String::from_utf8_lossy(&reply).into_owned()
    }
}

#[track_caller]
fn check(sent: &str, expected: &str) {
    assert_eq!(Line::new().send(sent), expected, "after {sent:?}");
}

#[test]
fn the_banner_is_the_references() {
    let mut text = Vec::new();
    let mut dut = Adder::new(4);
    Tiny::new().banner(&mut dut, &mut |bytes| text.extend_from_slice(bytes));
    assert_eq!(text, b"m-timestamp-mode-performance\r\nm-lap-us-1007\r\nm-init-done\r\nm-ready\r\n");
}

#[test]
fn each_command_answers_as_the_reference_does() {
    check("name%", "m-name-dut-[boardproof]\r\nm-ready\r\n");
    check("timestamp%", "m-lap-us-1007\r\nm-ready\r\n");
    check("profile%", "m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[kws01]\r\nm-ready\r\n");
    check("results%", "m-results-[0.000,-0.000]\r\nm-ready\r\n");
    check("db load 4%", "m-[Expecting 4 bytes]\r\nm-ready\r\n");
    let help = Line::new().send("help%");
    assert!(help.starts_with("ULPMark for tinyML Firmware V0.0.1\r\n\r\n") && help.ends_with("m-ready\r\n"), "{help}");
    assert!(help.contains("timestsamp"));
}

#[test]
fn each_error_has_the_references_words_and_ends_ready() {
    check("xyz%", "e-[Unknown command: xyz]\r\nm-ready\r\n");
    check("%", "e-[Unknown command: ]\r\nm-ready\r\n");
    check("db%", "e-[Command 'db' requires a subcommand]\r\nm-ready\r\n");
    check("db load%", "e-[Command 'db load' requires the # of bytes]\r\nm-ready\r\n");
    check("db load 0%", "e-[Command 'db load' must be >0 bytes]\r\nm-ready\r\n");
    check("db load many%", "e-[Command 'db load' must be >0 bytes]\r\nm-ready\r\n");
    check("db 012%", "e-[Insufficent number of hex digits]\r\nm-ready\r\n");
    check("db 01g2%", "e-[Invalid hex digit 'g2']\r\nm-ready\r\n");
    check("infer 0%", "e-[Inference iterations must be >0]\r\nm-ready\r\n");
    check("infer -3 4%", "e-[Inference iterations must be >0]\r\nm-ready\r\n");
    check("infer 1 -1%", "e-[Inference warmup must be >=0]\r\nm-ready\r\n");
}

/// No `e-`, and no carriage return.
#[test]
fn a_sample_that_is_too_large_is_refused_in_words_of_its_own() {
    check("db load 27648%", "m-[Expecting 27648 bytes]\r\nm-ready\r\n");
    check("db load 27649%", "Supplied buffer size 27649 exceeds maximum of 27648\nm-ready\r\n");
    check("db load -5%", "Supplied buffer size -5 exceeds maximum of 27648\nm-ready\r\n");
    check("db load 99999999999%", "Supplied buffer size 2147483647 exceeds maximum of 27648\nm-ready\r\n");
}

#[test]
fn a_refused_sample_leaves_nothing_that_could_pass_for_one() {
    let mut line = Line::new();
    line.send("db load 2%db 0102%db load 30000%");
    assert_eq!(line.send("db 03%"), "m-ready\r\n");
    assert_eq!(line.send("infer 1 0%"), "e-[No sample]\r\nm-ready\r\n");
}

#[test]
fn a_sample_arrives_in_pieces_and_is_read_back() {
    let mut line = Line::new();
    assert_eq!(line.send("db load 10%"), "m-[Expecting 10 bytes]\r\nm-ready\r\n");
    assert_eq!(line.send("db 00010203%"), "m-ready\r\n");
    assert_eq!(line.send("db aAbBcCdD%"), "m-ready\r\n");
    // The remainder of the digits is disregarded, even what is no digit.
    assert_eq!(line.send("db 08097fzz%"), "m-load-done\r\nm-ready\r\n");
    assert_eq!(line.send("db ff%"), "m-ready\r\n", "what comes after the last byte changes nothing");
    // A last line that is short ends twice.
    assert_eq!(line.send("db print%"), "m-buffer-00-01-02-03-aa-bb-cc-dd\r\nm-buffer-08-09\r\n\r\nm-ready\r\n");
    assert_eq!(
        line.send("db load 8%db 0011223344556677%db print 4 2%").lines().nth(4),
        Some("m-buffer-00-11-22-33-44-55-66-77")
    );
}

#[test]
fn inference_calls_and_prints_in_the_benchmarks_order() {
    let mut line = Line::new();
    line.send("db load 2%db 80ff%");
    let reply = "m-warmup-start-2\r\nm-warmup-done\r\nm-infer-start-3\r\nm-lap-us-1207\r\nm-lap-us-1514\r\nm-infer-done\r\n\
                 m-results-[383.000,-1.496]\r\nm-ready\r\n";
    assert_eq!(line.send("infer 3 2%"), reply);
    assert_eq!(line.dut.calls, "Liit<iii>t");
    assert_eq!(line.send("results%"), "m-results-[383.000,-1.496]\r\nm-ready\r\n");
}

#[test]
fn inference_without_numbers_warms_up_ten_times() {
    let mut line = Line::new();
    line.send("db load 1%db 01%");
    assert!(line.send("infer%").starts_with("m-warmup-start-10\r\nm-warmup-done\r\nm-infer-start-1\r\n"));
    assert!(line.send("infer 2%").starts_with("m-warmup-start-10\r\nm-warmup-done\r\nm-infer-start-2\r\n"));
}

#[test]
fn an_inference_that_fails_ends_without_results() {
    let mut line = Line::new();
    line.send("db load 1%db 01%");
    line.dut.broken_at = Some(2);
    assert_eq!(
        line.send("infer 2 0%"),
        "m-warmup-start-0\r\nm-warmup-done\r\nm-infer-start-2\r\ne-[Inference failed]\r\nm-ready\r\n"
    );
}

#[test]
fn the_clock_wraps_in_text_as_it_does_in_the_device() {
    let mut line = Line::new();
    line.send("db load 1%db 01%");
    line.dut.clock_us = u32::MAX - 50;
    assert!(line.send("infer 1 0%").contains("m-lap-us-4294967252\r\nm-lap-us-63\r\n"));
}

#[test]
fn characters_beyond_the_80th_are_lost_without_a_word() {
    let mut line = Line::new();
    line.send("db load 64%");
    let (kept, lost) = ("11".repeat(38), "22".repeat(5));
    // 3 + 76 = 79 characters and the first of the lost ones: an odd number of digits.
    assert_eq!(line.send(format!("db {kept}{lost}%")), "e-[Insufficent number of hex digits]\r\nm-ready\r\n");
    assert_eq!(line.send(format!("db {kept}%")), "m-ready\r\n", "38 bytes are the most");
    let long = "x".repeat(200);
    assert_eq!(line.send(format!("{long}%")), format!("e-[Unknown command: {}]\r\nm-ready\r\n", &long[..COMMAND_MAX]));
}

#[test]
fn only_percent_ends_a_command_and_only_spaces_part_words() {
    check("name\r\n", "");
    check("name\r\n%", "e-[Unknown command: name\r\n]\r\nm-ready\r\n");
    check("  db   load  4 %", "m-[Expecting 4 bytes]\r\nm-ready\r\n");
    check("NAME%", "e-[Unknown command: NAME]\r\nm-ready\r\n");
    check("names%", "e-[Unknown command: names]\r\nm-ready\r\n");
    check("name\0garbage%", "m-name-dut-[boardproof]\r\nm-ready\r\n");
    check("db load 4x%", "m-[Expecting 4 bytes]\r\nm-ready\r\n");
}

fn hear(bytes: &[u8]) -> Vec<Heard> {
    let (mut tiny, mut detector) = (Tiny::new(), Detector::new());
    let heard = bytes.iter().map(|byte| {
        let heard = detector.push(*byte, &mut tiny);
        if heard == Heard::Command {
            tiny.answer(&mut Adder::new(4), &mut |_| {});
        }
        heard
    });
    heard.filter(|heard| *heard != Heard::Nothing).collect()
}

#[test]
fn the_detector_believes_whole_known_commands_and_delimiters() {
    use Heard::{Command, Delimiter};
    assert_eq!(hear(b"name%"), [Command]);
    assert_eq!(hear(b"db load 4%"), [Command]);
    assert_eq!(hear(b"\0\0"), [Delimiter, Delimiter]);
    // Unknown words are no proof, but are answered once there was one.
    assert_eq!(hear(b"xyz%"), []);
    assert_eq!(hear(b"name%xyz%"), [Command, Command]);
    // A delimiter ends the text: what comes next has to prove itself again.
    assert_eq!(hear(b"name%\0xyz%"), [Command, Delimiter]);
}

#[test]
fn noise_in_front_of_text_is_forgotten_after_a_pause() {
    let (mut tiny, mut detector) = (Tiny::new(), Detector::new());
    let hear = |bytes: &[u8], detector: &mut Detector, tiny: &mut Tiny| {
        bytes.iter().map(|byte| detector.push(*byte, tiny)).find(|heard| *heard != Heard::Nothing)
    };
    assert_eq!(hear(b"\xff\xfename%name%", &mut detector, &mut tiny), None);
    detector.pause(&mut tiny);
    assert!(!detector.speaks_text());
    assert_eq!(hear(b"name%", &mut detector, &mut tiny), Some(Heard::Command));
    assert_eq!(tiny.command(), b"name");
    // Between two characters of a runner that is slow, a pause changes nothing.
    tiny.clear();
    assert_eq!(hear(b"na", &mut detector, &mut tiny), None);
    detector.pause(&mut tiny);
    assert_eq!(hear(b"me%", &mut detector, &mut tiny), Some(Heard::Command));
    assert_eq!(tiny.command(), b"name");
}

#[test]
fn a_frame_that_contains_a_command_is_no_command() {
    // Distance to the first zero, session, sequence number, and a text field as COBS leaves it.
    assert_eq!(hear(b"\0\x06\x41\x42\x43\x44\x07\x01\x01\x10name%infer 1 0%\0"), [Heard::Delimiter, Heard::Delimiter]);
}

#[test]
fn a_frame_with_a_percent_sign_stays_a_frame() {
    assert_eq!(hear(b"\0\x06\x41\x42\x43\x44\x07\x01\x01\x1050 %name%\0"), [Heard::Delimiter, Heard::Delimiter]);
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_every_command_ends_ready(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut line = Line::new();
        line.dut.buffer.truncate(40);
        let reply = line.send(&bytes);
        let commands = bytes.iter().filter(|byte| **byte == b'%').count();
        prop_assert!(reply.matches("m-ready\r\n").count() >= commands);
        prop_assert!(commands == 0 || reply.ends_with("m-ready\r\n"));
    }

    #[test]
    fn any_text_of_commands_is_survived(words in prop::collection::vec("(db|load|print|name|results|help|infer [0-9]{1,2} [0-9]|[0-9a-f]{1,90}|-?[0-9]{1,12}|%| )", 0..60)) {
        let mut line = Line::new();
        line.dut.buffer.truncate(40);
        let reply = line.send(words.join(" ") + "%");
        prop_assert!(reply.ends_with("m-ready\r\n"));
    }

    #[test]
    fn any_sample_is_loaded_as_it_was_sent(sample in prop::collection::vec(any::<u8>(), 1..300), step in 1usize..=38) {
        let mut line = Line::new();
        line.send(format!("db load {}%", sample.len()));
        let mut last = String::new();
        for piece in sample.chunks(step) {
            let digits: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            last = line.send(format!("db {digits}%"));
        }
        prop_assert_eq!(last, "m-load-done\r\nm-ready\r\n");
        line.send("infer 1 0%");
        prop_assert_eq!(line.dut.input, sample);
    }

    /// Frames have a byte below 0x20 first; whatever follows, nothing is taken for a command.
    #[test]
    fn frames_are_never_commands(first in 1u8..0x20, rest in prop::collection::vec(1u8..=255, 0..80)) {
        let mut bytes = vec![0, first];
        bytes.extend(rest);
        bytes.extend(b"%name%\0");
        prop_assert_eq!(hear(&bytes), [Heard::Delimiter, Heard::Delimiter]);
    }
}
