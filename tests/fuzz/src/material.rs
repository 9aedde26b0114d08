//! A small model, its plan and a record of it, measured and good: what seeds and scripts start from.

use boardproof_plan::{Counts, Manifest, Plan, Wanted, builtin, parse_model, parse_policy, parse_target, plan};
use boardproof_record::observation::{
    Attempt, Device, Ended, Facts, FileRef, Observation, Operator, Outcome, PassObservation, SelfCheck, Shipped,
};
use boardproof_record::plan::{Cell, Pass, Target};
use boardproof_record::policy::Policy;
use boardproof_record::record::{Build, Record, RunEnded};
use boardproof_record::{Digest, TargetName};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};

/// Samples of the evalset; classes of the model.
pub const SAMPLES: usize = 8;
pub const CLASSES: usize = 3;
/// Content of the programs that measured.
const AGENT: Digest = Digest([8; 32]);
const RUNNER: Digest = Digest([9; 32]);
/// Inferences of the latency pass: the fewest that the plan allows.
pub const INFERENCES: usize = 700;

/// Manifest of the small model.
pub const MODEL: &str = r#"schema = 1

[model]
name = "small"
task = "classification"
summary = "three classes of nothing"
licence = "MIT"
provenance = "made up"
classes = ["a", "b", "c"]

[[input]]
name = "input"
dtype = "F32"
shape = ["N", 2]
preprocess = { scale = 0.5, mean = [0.1], std = [0.3] }

[[output]]
name = "output"
dtype = "F32"
shape = ["N", 3]

[evalset]
file = "data/test.safetensors"
sha256 = "0000000000000000000000000000000000000000000000000000000000000001"
bytes = 400
samples = 8
inputs = "inputs"
labels = "labels"
ids = "ids"

[evalset.slices]
half = ["left", "right"]

[reference]
variant = "f32"

[[variant]]
name = "f32"
file = "f32.onnx"
sha256 = "0000000000000000000000000000000000000000000000000000000000000002"
bytes = 100
format = "onnx"
quantization = "float32"
batch = "N"
same_weights = true
purpose = "reference"

[[variant]]
name = "int8"
file = "int8.onnx"
sha256 = "0000000000000000000000000000000000000000000000000000000000000003"
bytes = 50
format = "onnx"
quantization = "int8, per channel"
batch = 1
same_weights = true
purpose = "release"

[[tolerance]]
metric = "sqnr_db"
limit = 12.0
reason = "small models are noisy"
"#;

/// A policy that the good record passes, with a rule of every kind.
pub const POLICY: &str = r#"schema = 1

[policy]
name = "small"
inconclusive_blocks = false

[[rule]]
id = "drift"
metric = "sqnr_db"
direction = "at_least"
limit = 15.0
unit = "dB"
against = "reference"
reason = "as everywhere"

[[rule]]
id = "accuracy"
metric = "task.drop"
direction = "at_most"
limit = 0.5
unit = "share"
against = "reference"
decide = "alarm"
reason = "few samples"

[[rule]]
id = "slices"
metric = "slice.drop"
direction = "at_most"
limit = 0.5
unit = "share"
against = "reference"
decide = "alarm"
confidence = 0.85
reason = "few samples"

[[rule]]
id = "non-finite"
metric = "nonfinite_mismatch"
direction = "at_most"
limit = 0.0
unit = "count"
against = "reference"
reason = "an answer is a number"

[[rule]]
id = "latency"
metric = "latency_ns_p50"
direction = "at_most"
limit = 1e6
unit = "ns"
against = "absolute"
reason = "a millisecond is enough"

[[rule]]
id = "memory"
metric = "memory_peak_bytes"
direction = "at_most"
limit = 1e6
unit = "bytes"
against = "absolute"
reason = "a megabyte is enough"
"#;

/// All targets that come with boardproof.
pub fn targets() -> BTreeMap<TargetName, Target> {
    let parsed =
        builtin::TARGETS.iter().map(|(name, text)| parse_target(name, text).expect("a target of this project"));
    parsed.map(|target| (target.name.clone(), target)).collect()
}

/// The policy of this file.
pub fn policy() -> Policy {
    parse_policy("policy.toml", POLICY).expect("the policy of this file")
}

/// The manifest of this file.
pub fn manifest() -> Manifest {
    parse_model("model.toml", "small", MODEL).expect("the model of this file")
}

/// The plan of a model on the host, where that can be made.
pub fn plan_of(manifest: &Manifest, policy: Policy) -> Option<Plan> {
    let wanted = Wanted {
        models: Vec::new(),
        in_folders: Vec::new(),
        variants: Vec::new(),
        places: vec!["host".into()],
        engines: Vec::new(),
        counts: Counts { latency_iterations: Some(INFERENCES as u32), ..Counts::default() },
    };
    let manifests = BTreeMap::from([(manifest.model.name.clone(), manifest.clone())]);
    plan(&wanted, &manifests, &targets(), &BTreeMap::new(), policy).ok()
}

/// The parts of the evalset that judging needs.
pub fn evalset() -> Vec<u8> {
    let numbers = |numbers: [i64; SAMPLES]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let (labels, ids) = (numbers([0, 1, 2, 0, 1, 2, 0, 1]), numbers([1, 2, 3, 4, 5, 6, 7, 8]));
    let inputs: Vec<u8> = (0..2 * SAMPLES).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let slice = [0, 0, 0, 0, 1, 1, 1, 1];
    let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).expect("sizes fit");
    let tensors = [
        ("ids", view(Dtype::I64, &[SAMPLES], &ids)),
        ("inputs", view(Dtype::F32, &[SAMPLES, 2], &inputs)),
        ("labels", view(Dtype::I64, &[SAMPLES], &labels)),
        ("slice.half", view(Dtype::U8, &[SAMPLES], &slice)),
    ];
    safetensors::serialize(tensors, None).expect("tensors with names of their own")
}

/// Right answers; `noise` is added to each.
pub fn outputs(noise: f32) -> Vec<u8> {
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    let answer = |i: usize| if labels[i / CLASSES] == i % CLASSES { 4.0 } else { 0.5 } + noise;
    let bytes: Vec<u8> = (0..SAMPLES * CLASSES).flat_map(|i| answer(i).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![SAMPLES, CLASSES], &bytes).expect("sizes fit");
    let metadata = HashMap::from([("names".to_owned(), r#"{"0":"output"}"#.to_owned())]);
    safetensors::serialize([("output.0", view)], Some(metadata)).expect("one tensor")
}

/// Ticks of a steady clock.
pub fn ticks() -> Vec<u8> {
    let bytes: Vec<u8> = (0..INFERENCES as u64).flat_map(|i| (200_000 + i % 7).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::U64, vec![INFERENCES], &bytes).expect("sizes fit");
    safetensors::serialize([("ticks", view)], None).expect("one tensor")
}

/// Names of the files of a cell and of the evalset in the record.
pub const EVALSET_FILE: &str = "evalsets/one.safetensors";

/// Path of a cell's file.
pub fn file_of(cell: &Cell, name: &str) -> String {
    format!("cells/{}/{name}", cell.id.folder())
}

/// A record in which everything was measured.
pub fn record() -> Record {
    let manifest = manifest();
    let plan = plan_of(&manifest, policy()).expect("the model of this file can be planned");
    let mut record = Record::new(plan.clone(), "0.1.0".into(), 1_700_000_000);
    record.ended = RunEnded::Finished;
    record.elapsed_ms = 1234;
    let reference = |path: String| FileRef { path, digest: Digest([7; 32]), bytes: 1 };
    record.evalsets.insert(manifest.model.evalset.digest, reference(EVALSET_FILE.into()));
    for cell in &plan.cells {
        record.outcomes.insert(cell.id.clone(), Outcome::Measured(Box::new(observation(cell))));
    }
    for (program, digest) in [("agent", AGENT), ("runner", RUNNER)] {
        let (program, triple) = (program.to_owned(), "x86_64-unknown-linux-musl".to_owned());
        let builder = "cargo".into();
        record.builds.push(Build {
            program,
            triple,
            builder,
            source: digest,
            digest,
            bytes: 1,
            cached: true,
            layout: None,
        });
    }
    record
}

fn observation(cell: &Cell) -> Observation {
    let device = Device {
        protocol: 2,
        agent_build: "boardproof-agent 0.1.0".into(),
        agent_digest: Some(AGENT),
        runner_digest: Some(RUNNER),
        architecture: "x86_64".into(),
        system: "linux gnu".into(),
        identity: "id".into(),
        tick_hz: 1_000_000_000,
        boot: 3,
    };
    let facts = Facts { numbers: BTreeMap::from([("load_milli".into(), 5)]), ..Facts::default() };
    Observation {
        emulated: false,
        device,
        environment_before: facts.clone(),
        environment_after: facts,
        passes: cell.passes.iter().map(|plan| pass(cell, plan.pass)).collect(),
        attempts: vec![Attempt { action: "accuracy pass".into(), elapsed_ms: 5, error: None }],
        shipped: Shipped::default(),
    }
}

fn pass(cell: &Cell, pass: Pass) -> PassObservation {
    let file = |name: &str| FileRef { path: file_of(cell, name), digest: Digest([7; 32]), bytes: 1 };
    let operator =
        Operator { index: 0, name: "/fc".into(), op: "Gemm".into(), dtypes: "f32->f32".into(), kernel: "avx".into() };
    let check = SelfCheck {
        samples: 8,
        agree: true,
        max_abs: Some(0.0),
        sqnr_db: None,
        operator: String::new(),
        detail: String::new(),
    };
    let second = 1_000_000_000;
    let numbers = [
        ("rss_peak_bytes", 5000),
        ("load_ns", 100),
        ("pass_wall_ns", second),
        ("host_wall_ns_min", second),
        ("host_wall_ns_max", second),
    ];
    let numbers = numbers.map(|(name, value)| (name.to_owned(), value)).into();
    PassObservation {
        pass,
        ended: Ended::Completed,
        cannot_run: None,
        facts: Facts { numbers, ..Facts::default() },
        operators: if pass == Pass::Inspect { vec![operator] } else { Vec::new() },
        self_check: (pass == Pass::Inspect).then_some(check),
        outputs: (pass == Pass::Accuracy).then(|| file("outputs.safetensors")),
        ticks: (pass == Pass::Latency).then(|| file("ticks.safetensors")),
        inferences: if pass == Pass::Latency { INFERENCES as u64 } else { SAMPLES as u64 },
        stopped: None,
    }
}

/// Bytes of all files of [`record`].
pub fn record_files(record: &Record) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([(EVALSET_FILE.to_owned(), evalset())]);
    for cell in &record.plan.cells {
        let noise = if cell.variant.as_str() == "f32" { 0.0 } else { 0.01 };
        files.insert(file_of(cell, "outputs.safetensors"), outputs(noise));
        files.insert(file_of(cell, "ticks.safetensors"), ticks());
    }
    files
}
