//! Firmware of somebody else over a real socket: what becomes an observation, and that nothing that goes wrong ever does.

use boardproof_dialect::Peer;
use boardproof_dialect::stm32msg::sim::{self, Trouble, When};
use boardproof_lab::dialect::{DialectBench, DialectJob, Waits};
use boardproof_lab::events::Event;
use boardproof_lab::store::RecordFolder;
use boardproof_record::Digest;
use boardproof_record::observation::{Ended, Fault, Observation, Outcome};
use boardproof_record::plan::{Cell, Model, Pass, Target, Unit};
use boardproof_tiny::{Dut, Tiny};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const SAMPLES: usize = 6;
const ITERATIONS: u32 = 5;
const INPUT: usize = 12;
const WAITS: Waits = Waits {
    scan: Duration::from_millis(500),
    answer: Duration::from_millis(500),
    inference: Duration::from_millis(500),
};

/// A model that adds up its bytes, each of which it takes for a number.
struct Adder {
    buffer: Vec<u8>,
    sum: f32,
    outputs: usize,
    since: Instant,
}

impl Dut for Adder {
    fn vendor(&self) -> &str {
        "somebody else"
    }

    fn model(&self) -> &str {
        "adder"
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn load(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.sum = self.buffer[..bytes].iter().map(|byte| f32::from(*byte)).sum();
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        Ok(())
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn output(&self, index: usize) -> f32 {
        self.sum * (index + 1) as f32
    }

    fn now_us(&mut self) -> u32 {
        // Wraps in the middle of every test.
        (u32::MAX - 1000).wrapping_add(self.since.elapsed().as_micros() as u32)
    }
}

/// What the device says in the place of its answer to a command; `None`: it hangs up.
type Twist = Box<dyn FnMut(&str, String) -> Option<String> + Send>;

/// A device behind a socket that speaks MLPerf Tiny; its answers go through `twist`.
fn speak_tiny(twist: impl FnMut(&str, String) -> Option<String> + Send + 'static) -> String {
    speak_tiny_with(2, Box::new(twist))
}

fn speak_tiny_with(outputs: usize, mut twist: Twist) -> String {
    serve(move |mut line| {
        let mut dut = Adder { buffer: vec![0; 64], sum: 0.0, outputs, since: Instant::now() };
        let mut tiny = Tiny::new();
        let mut piece = [0; 512];
        while let Ok(count @ 1..) = line.read(&mut piece) {
            for byte in &piece[..count] {
                let command = String::from_utf8_lossy(tiny.command()).into_owned();
                let mut plain = Vec::new();
                tiny.push(*byte, &mut dut, &mut |bytes| plain.extend_from_slice(bytes));
                if plain.is_empty() {
                    continue;
                }
                let Some(answer) = twist(&command, String::from_utf8_lossy(&plain).into_owned()) else { return };
                if line.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    })
}

/// A device behind a socket that speaks stm32msg.
fn speak_stm32(behaviour: sim::Behaviour) -> String {
    serve(move |mut line| {
        let mut firmware = sim::Firmware::behaving(behaviour.clone());
        let mut piece = [0; 512];
        while let Ok(count @ 1..) = line.read(&mut piece) {
            let mut answer = Vec::new();
            firmware.hear(&piece[..count], &mut answer);
            if line.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

/// A listening socket; its address.
fn serve(mut play: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for line in listener.incoming().flatten() {
            let _ = line.set_nodelay(true);
            play(line);
        }
    });
    address
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Everything around one cell.
struct Site {
    folder: tempfile::TempDir,
    unit: Unit,
    target: Target,
    model: Model,
    cell: Cell,
}

impl Site {
    /// A unit at this address with a model of these inputs and outputs, by name, shape and tensor of the evalset.
    fn new(address: &str, dialect: Value, inputs: Value, outputs: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let timed = dialect["speaks"] == "mlperf-tiny" || dialect["clock_believed"] == true;
        let evalset = evalset(folder.path());
        let names: Vec<Value> = inputs.as_array().unwrap().iter().map(|input| input["name"].clone()).collect();
        let model = json!({
            "name": "adder", "task": { "kind": "regression" }, "summary": "", "licence": "", "provenance": "",
            "inputs": inputs, "outputs": outputs, "reference": "f32", "tolerances": [],
            "evalset": {
                "file": evalset.0, "digest": evalset.1, "bytes": 1, "samples": SAMPLES, "inputs": names,
                "labels": "labels", "ids": null, "slices": {}
            },
            "variants": { "f32": {
                "name": "f32", "file": "none.onnx", "digest": Digest([0; 32]), "bytes": 1, "quantization": "",
                "batch": null, "same_weights": true
            } }
        });
        let pass = |name: &str, iterations: u32| json!({ "pass": name, "batch": 1, "samples": SAMPLES, "warmup": 1, "iterations": iterations, "deadline_ms": 60_000 });
        let passes =
            if timed { vec![pass("accuracy", 0), pass("latency", ITERATIONS)] } else { vec![pass("accuracy", 0)] };
        let cell = json!({
            "id": "adder/f32@bench/foreign", "model": "adder", "variant": "f32", "unit": "bench", "target": "inside",
            "engine": "foreign", "role": "device", "judged": true, "passes": passes
        });
        let target = json!({
            "name": "inside", "summary": "", "architecture": "arm", "proved": false, "proved_note": "", "emulated": false,
            "build": { "runner_triple": "", "agent_triple": "", "builder": "auto", "linker": null, "packages": [] },
            "link": { "kind": "serial", "baud": 115_200 }, "power": { "kind": "none" },
            "limits": { "memory_bytes": null, "pass_deadline_s": 60, "slowdown": 1 },
            "engine": "foreign", "dialect": dialect
        });
        let unit = json!({
            "name": "bench", "target": "inside", "address": address, "port": null, "user": null, "identity_file": null,
            "identity": null, "power": null, "tags": []
        });
        Self { unit: parsed(unit), target: parsed(target), model: parsed(model), cell: parsed(cell), folder }
    }

    /// One with the adder.
    fn tiny(address: &str) -> Self {
        let dialect = json!({ "speaks": "mlperf-tiny", "model": "adder", "input": "stored" });
        Self::new(address, dialect, json!([input("bytes", &[INPUT])]), json!([output("y", 2)]))
    }

    /// One with the simulator's network: 40 values and 2 numbers in, 2 numbers and 3 values out.
    fn stm32(address: &str, more: Value) -> Self {
        let mut dialect = json!({ "speaks": "stm32msg", "model": sim::MODEL });
        dialect.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let outputs = json!([output("out_1", 2), output("out_2", 3)]);
        Self::new(address, dialect, json!([input("forty", &[40]), input("two", &[2])]), outputs)
    }

    fn measure(&self) -> Outcome {
        let bench = DialectBench::new(&self.unit, &self.target, || false).with_waits(WAITS);
        let job =
            DialectJob { cell: &self.cell, model: &self.model, variant: self.model.variants.values().next().unwrap() };
        let folder = RecordFolder::create(&self.folder.path().join("record")).unwrap();
        bench.measure(&job, &folder, &mut |_: Event| {})
    }

    #[track_caller]
    fn measured(&self) -> Observation {
        match self.measure() {
            Outcome::Measured(seen) => *seen,
            other => panic!("{other:?}"),
        }
    }

    /// Values of an output in the record.
    fn answers(&self, seen: &Observation, output: usize) -> Vec<f32> {
        let file = seen.pass(Pass::Accuracy).unwrap().outputs.as_ref().unwrap();
        let bytes = std::fs::read(self.folder.path().join("record").join(&file.path)).unwrap();
        let opened = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = opened.tensor(&format!("output.{output}")).unwrap();
        assert_eq!(tensor.shape()[0], SAMPLES);
        tensor.data().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    }
}

fn input(name: &str, shape: &[usize]) -> Value {
    json!({ "name": name, "dtype": "F32", "shape": shape })
}

fn output(name: &str, elements: usize) -> Value {
    json!({ "name": name, "dtype": "F32", "shape": [elements] })
}

/// Byte `i` of sample `s` is `s + i`; the forty are halves of that, the two `s` and `s` and a half.
fn evalset(folder: &Path) -> (String, Digest) {
    let bytes: Vec<u8> = (0..SAMPLES).flat_map(|s| (0..INPUT).map(move |i| (s + i) as u8)).collect();
    let floats = |each: usize, of: fn(usize, usize) -> f32| -> Vec<u8> {
        (0..SAMPLES).flat_map(|s| (0..each).flat_map(move |i| of(s, i).to_le_bytes())).collect()
    };
    let forty = floats(40, |s, i| (s + i) as f32 / 2.0);
    let two = floats(2, |s, i| s as f32 + i as f32 / 2.0);
    let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let tensors = [
        ("bytes", view(Dtype::U8, &[SAMPLES, INPUT], &bytes)),
        ("forty", view(Dtype::F32, &[SAMPLES, 40], &forty)),
        ("two", view(Dtype::F32, &[SAMPLES, 2], &two)),
    ];
    let file = safetensors::serialize(tensors, None).unwrap();
    let path = folder.join("evalset.safetensors");
    std::fs::write(&path, &file).unwrap();
    (path.to_str().unwrap().to_owned(), Digest::of(&file))
}

#[track_caller]
fn fault(outcome: Outcome) -> (&'static str, Fault) {
    match outcome {
        Outcome::ShipFailed(fault) => ("ship failed", fault),
        Outcome::DeviceFault(fault) => ("device fault", fault),
        Outcome::TimedOut(fault) => ("timed out", fault),
        other => panic!("{other:?}"),
    }
}

/// A device whose answers are twisted is a fault of this kind, with these words, in this action, and nothing was measured by it.
#[track_caller]
fn check_fault(site: &Site, kind: &str, action: &str, words: &str) {
    let (found, fault) = fault(site.measure());
    let told = fault.causes.join(": ");
    assert!(found == kind && fault.action == action && told.contains(words), "{found} in {}: {told}", fault.action);
    assert!(fault.attempts.last().is_some_and(|attempt| attempt.error.as_deref() == Some(told.as_str())), "{fault:?}");
}

fn plain(_: &str, answer: String) -> Option<String> {
    Some(answer)
}

/// Changes the answer to the `at`th command that begins so, counted from 1, and those after it up to `times`.
fn from(
    command: &'static str,
    at: usize,
    times: usize,
    mut change: impl FnMut(String) -> Option<String> + Send + 'static,
) -> impl FnMut(&str, String) -> Option<String> + Send + 'static {
    let mut seen = 0;
    move |asked, answer| {
        seen += usize::from(asked.starts_with(command));
        let now = asked.starts_with(command) && (at..at + times).contains(&seen);
        if now { change(answer) } else { Some(answer) }
    }
}

#[test]
fn answers_and_times_over_mlperf_tiny_become_an_observation() {
    let site = Site::tiny(&speak_tiny(plain));
    let seen = site.measured();
    let sums: Vec<f32> = (0..SAMPLES).map(|s| (0..INPUT).map(|i| (s + i) as f32).sum()).collect();
    let expected: Vec<f32> = sums.iter().flat_map(|sum| [*sum, sum * 2.0]).collect();
    assert_eq!(site.answers(&seen, 0), expected);
    assert!(seen.passes.iter().all(|pass| pass.ended == Ended::Completed));
    assert_eq!((seen.device.tick_hz, seen.device.system.as_str()), (1_000_000, "firmware of somebody else"));
    let latency = seen.pass(Pass::Latency).unwrap();
    assert_eq!(latency.inferences, u64::from(ITERATIONS));
    for pass in &seen.passes {
        let of = |name: &str| pass.facts.numbers[name];
        let unit = of("pass_wall_ns");
        // Less the microsecond to which the device's clock is rounded. It has wrapped meanwhile.
        assert!(of("host_wall_ns_min") <= unit + 2000 && unit <= of("host_wall_ns_max") + 2000, "{:?}", pass.facts);
    }
}

#[test]
fn a_sample_goes_as_the_target_says() {
    let address = speak_tiny(plain);
    let dialect = json!({ "speaks": "mlperf-tiny", "model": "adder", "input": "f32" });
    let shape = json!([{ "name": "two", "dtype": "F32", "shape": [2], "preprocess": { "scale": 0.0, "mean": [-1.0], "std": [1.0] } }]);
    let site = Site::new(&address, dialect, shape, json!([output("y", 2)]));
    // 1.0 is 0x3f800000, twice.
    let expected: Vec<f32> = [382.0, 764.0].repeat(SAMPLES);
    let seen = site.measured();
    assert_eq!(site.answers(&seen, 0), expected);
}

#[test]
fn whatever_goes_wrong_with_mlperf_tiny_is_a_fault() {
    let check = |twist: Twist, kind: &str, action: &str, words: &str| {
        check_fault(&Site::tiny(&speak_tiny_with(2, twist)), kind, action, words);
    };
    let refuse = |answer: String| Some(format!("e-[no]\r\n{}", answer.lines().last().unwrap().to_owned() + "\r\n"));
    let restart = |_| Some("m-timestamp-mode-performance\r\nm-lap-us-5\r\nm-init-done\r\nm-ready\r\n".to_owned());
    let silent = |_| Some(String::new());
    let others = |answer: String| Some(answer.replace("[adder]", "[kws01]"));
    let many = |answer: String| Some(answer.replace("m-results-[", "m-results-[0.5,"));
    let all = usize::MAX / 2;
    check(Box::new(from("name", 1, all, silent)), "timed out", "reach the firmware", "was not answered");
    check(
        Box::new(from("profile", 1, all, others)),
        "ship failed",
        "reach the firmware",
        "expected model 'adder', got 'kws01'",
    );
    check(Box::new(from("infer", 3, all, refuse)), "device fault", "accuracy pass", "was refused: \"e-[no]\"");
    check(Box::new(from("infer", 3, 1, silent)), "timed out", "accuracy pass", "`infer 1 0` was not answered");
    check(Box::new(from("infer", 3, 1, |_| None)), "device fault", "accuracy pass", "the line was closed");
    check(Box::new(from("infer", 3, 1, restart)), "device fault", "accuracy pass", "the device restarted");
    check(Box::new(from("db load", 4, all, refuse)), "device fault", "accuracy pass", "`db load 12` was refused");
    check(Box::new(from("infer", 10, all, silent)), "timed out", "latency pass", "was not answered");
    check(
        Box::new(many_everywhere(many)),
        "device fault",
        "accuracy pass",
        "expected outputs of 2 values, got outputs of 3 values",
    );
}

/// Both answers that hold results.
fn many_everywhere(change: fn(String) -> Option<String>) -> impl FnMut(&str, String) -> Option<String> + Send {
    move |_, answer| change(answer)
}

/// The second timestamp of an answer that many microseconds later.
fn later(answer: &str, us: u32) -> String {
    let mut laps = 0;
    let line = |line: &str| match line.strip_prefix("m-lap-us-") {
        Some(lap) => {
            laps += 1;
            let lap: u32 = lap.parse().unwrap();
            format!("m-lap-us-{}\r\n", if laps == 2 { lap.wrapping_add(us) } else { lap })
        }
        None => format!("{line}\r\n"),
    };
    answer.lines().map(line).collect()
}

#[test]
fn a_window_that_nobody_saw_is_taken_again_and_a_clock_that_is_off_is_the_judges() {
    let long = |answer: String| Some(later(&answer, 3_000_000));
    for (times, attempts) in [(1, 1), (usize::MAX / 2, 3)] {
        let site = Site::tiny(&speak_tiny(from("infer", 10, times, long)));
        let seen = site.measured();
        let failed: Vec<_> = seen.attempts.iter().filter_map(|attempt| attempt.error.as_deref()).collect();
        assert_eq!(failed.len(), attempts, "{failed:?}");
        assert!(failed.iter().all(|error| error.contains("the clocks disagree")), "{failed:?}");
        let numbers = &seen.pass(Pass::Latency).unwrap().facts.numbers;
        let off = numbers["pass_wall_ns"] > 2 * numbers["host_wall_ns_max"] + 100_000_000;
        assert_eq!(off, attempts > 1, "{numbers:?}");
    }
}

#[test]
fn noise_is_asked_again_and_every_attempt_is_told() {
    let flip = |answer: String| Some(answer.replace("m-results-[", "m-results-[1"));
    let site = Site::tiny(&speak_tiny(from("results", 2, 2, flip)));
    let seen = site.measured();
    let failed: Vec<_> = seen.attempts.iter().filter(|attempt| attempt.error.is_some()).collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|attempt| attempt.action == "accuracy pass (sample 1)"), "{failed:?}");
    // But not for ever.
    let flip = |answer: String| Some(answer.replace("m-results-[", "m-results-[1"));
    let (kind, fault) = fault(Site::tiny(&speak_tiny(from("results", 2, usize::MAX / 2, flip))).measure());
    assert_eq!((kind, fault.attempts.iter().filter(|attempt| attempt.error.is_some()).count()), ("device fault", 4));
}

#[test]
fn a_sample_that_arrives_changed_is_sent_again() {
    let flip = |answer: String| Some(answer.replacen("m-buffer-0", "m-buffer-f", 1));
    let site = Site::tiny(&speak_tiny(from("db print", 3, 1, flip)));
    let seen = site.measured();
    assert!(seen.attempts.iter().any(|attempt| attempt.action == "accuracy pass (sample 2)"), "{:?}", seen.attempts);
    assert_eq!(site.answers(&seen, 0).len(), 2 * SAMPLES);
}

#[test]
fn a_line_that_is_not_there_and_an_identity_that_nobody_proves_are_told() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check_fault(
        &Site::tiny(&format!("tcp:127.0.0.1:{gone}")),
        "ship failed",
        "reach the firmware",
        "nobody listens there",
    );
    let mut site = Site::tiny(&speak_tiny(plain));
    site.unit.identity = Some("0123".into());
    check_fault(&site, "ship failed", "reach the firmware", "MLPerf Tiny tells none");
    site.unit.identity = None;
    site.unit.address = None;
    check_fault(&site, "ship failed", "reach the firmware", "has no address");
}

#[test]
fn answers_times_and_layers_over_stm32msg_become_an_observation() {
    let site = Site::stm32(&speak_stm32(sim::Behaviour::default()), json!({ "signature": "0x1234" }));
    let seen = site.measured();
    // The model adds up each input as the device reads it: steps of a half, so no number is rounded.
    let forty = |s: usize| (0..40).map(|i| (s + i) as f32 / 2.0).sum::<f32>();
    let expected: Vec<f32> = (0..SAMPLES).flat_map(|s| [forty(s), 2.0 * s as f32 + 0.5]).collect();
    assert_eq!(site.answers(&seen, 0), expected);
    assert_eq!(site.answers(&seen, 1).len(), 3 * SAMPLES);
    let accuracy = seen.pass(Pass::Accuracy).unwrap();
    assert_eq!(accuracy.operators.len(), 3);
    let cycles: u64 = sim::LAYER_CYCLES.iter().sum();
    assert_eq!((accuracy.facts.numbers["ticks_median"], seen.device.tick_hz), (cycles, u64::from(sim::CORE_HZ)));
    assert_eq!(accuracy.facts.numbers["heap_used_bytes"], 512);
    assert!(accuracy.facts.missing.contains_key("stack_used_bytes"), "{:?}", accuracy.facts);
    let facts = &seen.environment_before;
    assert_eq!((facts.texts["model_signature"].as_str(), facts.numbers["model_macs"]), ("0x1234", 1 << 33));
    assert!(facts.missing["flash_bytes"].contains("stm32msg"));
    assert!(seen.pass(Pass::Latency).is_none() && facts.missing["latency"].contains("clock_believed"));
}

#[test]
fn times_of_a_clock_that_somebody_vouches_for_are_those_of_the_device() {
    let site = Site::stm32(&speak_stm32(sim::Behaviour::default()), json!({ "clock_believed": true }));
    let seen = site.measured();
    let latency = seen.pass(Pass::Latency).unwrap();
    assert_eq!(latency.inferences, u64::from(ITERATIONS));
    // The simulator says that it takes 12.5 s, and answers at once: that a clock is too fast does show.
    assert!(latency.facts.numbers["pass_wall_ns"] > latency.facts.numbers["host_wall_ns_max"]);
}

#[test]
fn whatever_goes_wrong_with_stm32msg_is_a_fault() {
    let accuracy = |trouble: Trouble| {
        // The third run: two samples have their answers.
        let trouble = vec![When { command: 11, message: 4, times: 1, trouble }];
        sim::Behaviour { trouble, ..sim::Behaviour::default() }
    };
    for (trouble, kind, words) in [
        (Trouble::Error(8), "device fault", "MemoryOverflow"),
        (Trouble::Mute, "timed out", "no answer"),
        (Trouble::Cut(3), "device fault", "could not"),
        (Trouble::State(9), "device fault", "could not"),
    ] {
        let site = Site::stm32(&speak_stm32(accuracy(trouble)), json!({}));
        check_fault(&site, kind, "accuracy pass", words);
    }
    let other = Site::stm32(&speak_stm32(sim::Behaviour::default()), json!({ "signature": "0x9999" }));
    check_fault(&other, "ship failed", "reach the firmware", "expected signature '0x9999', got '0x1234'");
    let word = Site::stm32(&speak_stm32(sim::Behaviour::default()), json!({ "packets": "word" }));
    let (_, silent) = fault(word.measure());
    assert_eq!(silent.action, "reach the firmware");
    let mut unlike = Site::stm32(&speak_stm32(sim::Behaviour::default()), json!({}));
    unlike.model.outputs[1].shape = vec![4];
    check_fault(&unlike, "ship failed", "reach the firmware", "expected [4] for 'out_2', got 3 elements as [1, 3]");
}
