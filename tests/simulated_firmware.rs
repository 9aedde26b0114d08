//! `simulate`: a firmware of ours without a board, as another runner meets it, and as our own `check` does.

use crate::speaker::{UNIT, write};
use crate::tool::{Ended, Home, Running, root, wait_for};
use boardproof_compile::{Edges, compile};
use boardproof_micro::{Dtype, Model, dequantize};
use boardproof_record::Digest;
use boardproof_record::observation::{Observation, Outcome};
use boardproof_record::plan::Pass;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const VARIANT: &str = "int8_qdq_pc";
/// Bytes of a sample of `mnist_dscnn`.
const SAMPLE: usize = 28 * 28;
/// No answer takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the firmware and waits for its address.
fn start(home: &Home, more: &[&str]) -> (Running, String) {
    speaking(home, "mlperf-tiny", more)
}

fn speaking(home: &Home, speaks: &str, more: &[&str]) -> (Running, String) {
    let model = root().join("models/mnist_dscnn");
    let model = model.to_str().expect("a path of text");
    let fixed = ["simulate", model, "-v", VARIANT, "--speaks", speaks];
    let mut firmware = home.start([&fixed[..], more].concat());
    let address = wait_for("the firmware's address", || {
        assert!(!firmware.has_ended(), "the firmware has ended");
        firmware.told().split_once('\n').map(|(line, _)| line.to_owned())
    });
    (firmware, address)
}

/// What the device says to a command, up to and with `m-ready`.
fn say(line: &mut (impl Read + Write), command: &str) -> String {
    line.write_all(command.as_bytes()).expect("the firmware listens");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"m-ready\r\n") {
        line.read_exact(&mut byte).expect("the firmware answers");
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("the answer is text")
}

/// Brings a sample in commands as long as the public runner's.
fn load(line: &mut (impl Read + Write), sample: &[u8]) {
    assert_eq!(say(line, &format!("db load {SAMPLE}%")), format!("m-[Expecting {SAMPLE} bytes]\r\nm-ready\r\n"));
    let mut pieces = sample.chunks(31).peekable();
    while let Some(piece) = pieces.next() {
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        let done = if pieces.peek().is_none() { "m-load-done\r\n" } else { "" };
        assert_eq!(say(line, &format!("db {hex}%")), format!("{done}m-ready\r\n"));
    }
}

/// The outputs of the very model for these bytes, as the protocol writes them.
fn results(sample: &[u8]) -> String {
    let onnx = std::fs::read(root().join("models/mnist_dscnn").join(format!("{VARIANT}.onnx"))).expect("it is here");
    let compiled = compile(&onnx, Edges::HostQuantizes).expect("an integer model");
    let model = Model::check(&compiled.bytes).expect("a good model");
    let mut arena = vec![0; model.arena_bytes()];
    arena[model.input(0).range()].copy_from_slice(sample);
    model.run(&mut arena).expect("it runs");
    let output = model.output(0);
    let bytes = &arena[output.range()];
    let number = |index: usize| match output.dtype {
        Dtype::F32 => f32::from_le_bytes(bytes.as_chunks().0[index]),
        Dtype::I8 => dequantize(bytes[index] as i8, output.scale, output.zero_point),
    };
    let numbers: Vec<String> = (0..output.elements()).map(|index| format!("{:.3}", number(index))).collect();
    format!("m-results-[{}]\r\n", numbers.join(","))
}

/// The transcript of the reference's own order, with a real model inside. Timestamps come out of it: they are the machine's.
fn check_transcript(line: &mut (impl Read + Write), name: &str) {
    assert_eq!(say(line, "name%"), "m-name-dut-[boardproof]\r\nm-ready\r\n");
    let profile = format!("m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[{name}]\r\nm-ready\r\n");
    assert_eq!(say(line, "profile%"), profile);
    assert_eq!(say(line, "results%"), "m-results-[]\r\nm-ready\r\n");
    assert_eq!(say(line, "xyz%"), "e-[Unknown command: xyz]\r\nm-ready\r\n");
    for seed in [1_usize, 7] {
        let sample: Vec<u8> = (0..SAMPLE).map(|i| (i * seed * 31 / 3) as u8).collect();
        load(line, &sample);
        let told = say(line, "infer 3 2%");
        let (laps, rest): (Vec<&str>, Vec<&str>) =
            told.split_inclusive("\r\n").partition(|line| line.starts_with("m-lap-us-"));
        let laps: Vec<u32> =
            laps.iter().map(|lap| lap.trim_start_matches("m-lap-us-").trim().parse().expect("microseconds")).collect();
        assert!(matches!(laps[..], [from, to] if from < to), "{told}");
        let results = results(&sample);
        let before = "m-warmup-start-2\r\nm-warmup-done\r\nm-infer-start-3\r\nm-infer-done\r\n";
        assert_eq!(rest.concat(), format!("{before}{results}m-ready\r\n"));
        assert!(told.contains("m-infer-start-3\r\nm-lap-us-") && !told.contains("m-infer-done\r\nm-lap"), "{told}");
        assert_eq!(say(line, "results%"), format!("{results}m-ready\r\n"));
    }
    assert_eq!(say(line, "db load 3%"), "m-[Expecting 3 bytes]\r\nm-ready\r\n");
    assert_eq!(say(line, "db 010203%"), "m-load-done\r\nm-ready\r\n");
    let refused = "e-[the sample is not as long as the model's inputs]\r\nm-ready\r\n";
    assert_eq!(say(line, "infer 1 0%"), refused);
}

#[track_caller]
fn ends_well(firmware: Running) {
    firmware.signal("INT");
    firmware.end().expect_code(0);
}

#[test]
fn another_runner_gets_the_documented_answers_over_a_socket_one_after_the_other() {
    let home = Home::new();
    let (firmware, address) = start(&home, &[]);
    let address = address.strip_prefix("tcp:").expect("a socket");
    for _ in 0..2 {
        let mut line = TcpStream::connect(address).expect("the firmware listens");
        line.set_read_timeout(Some(PATIENCE)).expect("a socket has a deadline");
        check_transcript(&mut line, "mnist_dscnn");
        drop(line);
        // The sample that the last peer had refused took its results with it.
        let mut line = TcpStream::connect(address).expect("the firmware listens");
        line.set_read_timeout(Some(PATIENCE)).expect("a socket has a deadline");
        assert_eq!(say(&mut line, "results%"), "m-results-[]\r\nm-ready\r\n");
    }
    ends_well(firmware);
}

#[test]
fn another_runner_gets_them_over_a_pseudo_terminal() {
    let home = Home::new();
    let (firmware, address) = start(&home, &["--pty", "--name", "ic01"]);
    let path = address.strip_prefix("serial:").expect("a terminal");
    let mut line = File::options().read(true).write(true).open(path).expect("it is there");
    check_transcript(&mut line, "ic01");
    drop(line);
    ends_well(firmware);
}

/// A short check of a variant on the firmware of this home's inventory.
fn check(home: &Home) -> Ended {
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed = ["check", "mnist_dscnn", "-v", VARIANT, "--models", models, "--samples", "128", "--iterations", "40"];
    let places = ["--unit", UNIT, "--target-folder", "targets", "--inventory", "inventory.toml", "--out", "out"];
    home.run([&fixed[..], &places].concat())
}

fn measured(home: &Home) -> Observation {
    let record = home.record("out");
    let judged = record.plan.cells.iter().find(|cell| cell.judged).expect("one cell is judged");
    match &record.outcomes[&judged.id] {
        Outcome::Measured(seen) => (**seen).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_own_check_of_it_comes_to_a_verdict() {
    let ways: [(&[&str], &str); 2] = [(&[], "mnist_dscnn"), (&["--pty", "--name", "digits"], "digits")];
    for (more, name) in ways {
        let home = Home::new();
        let (firmware, address) = start(&home, more);
        write(&home, name, &address, false);
        let ended = check(&home);
        // 128 samples cannot show a loss below one point: all else passes.
        ended.expect_code(3);
        let seen = measured(&home);
        assert_eq!(seen.device.system, "firmware of boardproof");
        let latency = seen.pass(Pass::Latency).expect("it was planned");
        assert!(latency.inferences == 40 && latency.facts.numbers["pass_wall_ns"] > 0, "{latency:?}");
        ends_well(firmware);
    }
}

#[test]
fn our_own_check_of_the_simulated_validation_firmware_comes_to_a_verdict_too() {
    let home = Home::new();
    let (firmware, address) = speaking(&home, "stm32msg", &[]);
    write(&home, "mnist_dscnn", &address, false);
    let file = home.path("targets/inside.toml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    let onnx = std::fs::read(root().join("models/mnist_dscnn").join(format!("{VARIANT}.onnx"))).expect("it is here");
    let signature = &Digest::of(&onnx).to_string()[..32];
    let speaks = format!("speaks = \"stm32msg\"\nsignature = \"0x{signature}\"");
    std::fs::write(&file, text.replace("speaks = \"mlperf-tiny\"", &speaks)).expect("could not write the target");
    // 128 samples cannot show a loss below one point: all else passes.
    check(&home).expect_code(3);
    let seen = measured(&home);
    let accuracy = seen.pass(Pass::Accuracy).expect("it was planned");
    assert_eq!((accuracy.inferences, seen.device.tick_hz), (128, 400_000_000));
    assert!(accuracy.facts.numbers["ticks_min"] > 0, "{accuracy:?}");
    let missing = &seen.environment_before.missing;
    assert!(missing["latency"].contains("clock_believed"), "{missing:?}");
    ends_well(firmware);
}

#[test]
fn what_cannot_be_inside_is_refused_in_words_and_nobody_else_may_come() {
    let home = Home::new();
    let model = root().join("models/mnist_dscnn");
    let model = model.to_str().expect("a path of text");
    let run = |variant: &str, more: &[&str]| {
        home.run([&["simulate", model, "-v", variant, "--speaks", "mlperf-tiny"][..], more].concat())
    };
    run("f32_b1", &[]).expect_code(5).expect_said(&["for a microcontroller: operator Conv"]);
    run("int8", &[]).expect_code(2).expect_said(&["no variant is called 'int8'", VARIANT]);
    run(VARIANT, &["--listen", "0.0.0.0:0"]).expect_code(2).expect_said(&["an address of this machine alone"]);
}
