//! A good small record, made in memory: one model, its reference, the variant on the host and on a board, the float model on the board.
//! It passes the default policy. Tests damage it.

use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate::{GateError, judge};
use boardproof_record::observation::{
    Device, Ended, Facts, FileRef, Observation, Outcome, PassObservation, SelfCheck, Shipped,
};
use boardproof_record::plan::{
    BuildSpec, Builder, Cell, Clock, Evalset, Limits, LinkSpec, Model, Pass, PassPlan, Plan, PowerSpec, Role, Target,
    Task, TensorSpec, Unit, Variant,
};
use boardproof_record::policy::{Policy, Rule};
use boardproof_record::record::{Build, Record, RunEnded};
use boardproof_record::verdict::Judgement;
use boardproof_record::{CellId, Digest, EngineName, ModelName, TargetName, UnitName, VariantName};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};

/// Samples of the evalset.
pub const SAMPLES: usize = 400;
/// Inferences of a latency pass.
pub const INFERENCES: u32 = 700;
/// Reference, the variant on the host, the float model on the board, the variant on the board: the judged one.
pub const REFERENCE: &str = "shapes/f32@host/tract";
pub const HOST_VARIANT: &str = "shapes/int8@host/tract";
pub const DEVICE_REFERENCE: &str = "shapes/f32@board/tract";
pub const JUDGED: &str = "shapes/int8@board/tract";

/// Name, element type, shape and bytes of an output.
pub type Output<'n> = (&'n str, Dtype, Vec<usize>, Vec<u8>);

/// A record with its files, the policy it is judged by, and what it is compared with.
#[derive(Clone)]
pub struct Case {
    pub record: Record,
    pub files: BTreeMap<String, Vec<u8>>,
    pub policy: Policy,
    pub baseline: Option<Box<Case>>,
}

impl Case {
    pub fn judge(&self) -> Result<Judgement, GateError> {
        let baseline = self.baseline.as_deref().map(Self::evidence);
        judge(self.evidence(), &self.policy, baseline)
    }

    pub fn evidence(&self) -> Evidence<'_> {
        Evidence { record: &self.record, files: &self.files }
    }

    pub fn seen(&mut self, cell: &str) -> &mut Observation {
        match self.record.outcomes.get_mut(&id(cell)) {
            Some(Outcome::Measured(seen)) => seen,
            other => panic!("{cell} is {other:?}"),
        }
    }

    pub fn pass(&mut self, cell: &str, pass: Pass) -> &mut PassObservation {
        self.seen(cell).passes.iter_mut().find(|p| p.pass == pass).expect("a planned pass")
    }

    pub fn planned(&mut self, cell: &str) -> &mut Cell {
        self.record.plan.cells.iter_mut().find(|c| c.id.as_str() == cell).expect("a planned cell")
    }

    pub fn model(&mut self) -> &mut Model {
        self.record.plan.models.values_mut().next().expect("a model")
    }

    pub fn rule(&mut self, rule: &str) -> &mut Rule {
        self.policy.rules.iter_mut().find(|r| r.id.as_str() == rule).expect("a rule")
    }

    pub fn set(&mut self, cell: &str, outcome: Outcome) {
        self.record.outcomes.insert(id(cell), outcome);
    }

    /// Replaces the outputs of a cell.
    pub fn outputs(&mut self, cell: &str, tensors: &[Output<'_>]) {
        let names: BTreeMap<String, &str> = tensors.iter().enumerate().map(|(i, t)| (i.to_string(), t.0)).collect();
        let names = HashMap::from([("names".to_owned(), serde_json::to_string(&names).unwrap())]);
        let views = tensors.iter().enumerate().map(|(i, (_, dtype, shape, bytes))| {
            (format!("output.{i}"), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let bytes = safetensors::serialize(views, Some(names)).unwrap();
        let file = self.keep(&format!("cells/{}/outputs.safetensors", id(cell).folder()), bytes);
        self.pass(cell, Pass::Accuracy).outputs = Some(file);
    }

    /// Replaces the one output of a cell, three classes per sample.
    pub fn answers(&mut self, cell: &str, answers: &[f32]) {
        let bytes = answers.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.outputs(cell, &[("scores", Dtype::F32, vec![answers.len() / 3, 3], bytes)]);
    }

    pub fn ticks(&mut self, cell: &str, ticks: &[u64]) {
        let bytes: Vec<u8> = ticks.iter().flat_map(|t| t.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::U64, vec![ticks.len()], &bytes).unwrap();
        let bytes = safetensors::serialize([("ticks", view)], None).unwrap();
        let file = self.keep(&format!("cells/{}/ticks.safetensors", id(cell).folder()), bytes);
        self.pass(cell, Pass::Latency).ticks = Some(file);
    }

    /// Replaces labels, slices and ids.
    pub fn evalset(&mut self, labels: &[i64], sides: &[u8], ids: &[i64]) {
        let of = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (label_bytes, id_bytes) = (of(labels), of(ids));
        let views = [
            ("labels", TensorView::new(Dtype::I64, vec![labels.len()], &label_bytes).unwrap()),
            ("ids", TensorView::new(Dtype::I64, vec![ids.len()], &id_bytes).unwrap()),
            ("slice.side", TensorView::new(Dtype::U8, vec![sides.len()], sides).unwrap()),
        ];
        let bytes = safetensors::serialize(views, None).unwrap();
        let file = self.keep("evalsets/shapes.safetensors", bytes);
        let digest = self.model().evalset.digest;
        self.record.evalsets.insert(digest, file);
    }

    /// Keeps inputs of some samples to be shown, as bytes of this shape.
    pub fn show(&mut self, samples: &[i64], shape: &[usize]) {
        let numbers: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let shape: Vec<usize> = std::iter::once(samples.len()).chain(shape.iter().copied()).collect();
        let bytes: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| (i * 14) as u8).collect();
        let views = [
            ("samples", TensorView::new(Dtype::I64, vec![samples.len()], &numbers).unwrap()),
            ("input", TensorView::new(Dtype::U8, shape, &bytes).unwrap()),
        ];
        let file = self.keep("shown/shapes.safetensors", safetensors::serialize(views, None).unwrap());
        let digest = self.model().evalset.digest;
        self.record.shown.insert(digest, file);
    }

    /// Puts a file into the record.
    pub fn keep(&mut self, path: &str, bytes: Vec<u8>) -> FileRef {
        let file = FileRef { path: path.into(), digest: Digest::of(&bytes), bytes: bytes.len() as u64 };
        self.files.insert(path.into(), bytes);
        file
    }
}

pub fn id(cell: &str) -> CellId {
    CellId::try_from(cell.to_owned()).unwrap()
}

/// The label of a sample.
pub fn label(sample: usize) -> i64 {
    (sample * 7 % 3) as i64
}

/// What a model answers that is right but for every 20th sample, with a little noise of its own.
pub fn answers(noise: f32) -> Vec<f32> {
    (0..SAMPLES)
        .flat_map(|sample| {
            let said = (label(sample) + i64::from(sample % 20 == 19)) % 3;
            (0..3).map(move |class| {
                let wobble = ((sample * 31 + class * 17) % 13) as f32 / 13.0 - 0.5;
                let sure = if class as i64 == said { 4.0 } else { -1.0 };
                sure + 0.5 * wobble + noise * (((sample * 5 + class * 3) % 7) as f32 - 3.0)
            })
        })
        .collect()
}

pub fn ticks(around: u64) -> Vec<u64> {
    (0..u64::from(INFERENCES)).map(|i| around + i * 37 % 101).collect()
}

/// The policy that is in force when none is named, read from its file.
pub fn default_policy() -> Policy {
    let text = include_str!("../../../../ci/policy/default.toml");
    let table: toml::Table = text.parse().unwrap();
    let rules = table["rule"].as_array().unwrap().iter().map(|rule| {
        let mut rule = rule.as_table().unwrap().clone();
        rule.entry("confidence").or_insert(toml::Value::Float(0.95));
        rule.entry("min_samples").or_insert(toml::Value::Integer(1));
        rule.try_into::<Rule>().unwrap()
    });
    let of = |key: &str| table["policy"][key].as_bool().unwrap();
    Policy {
        name: "default".into(),
        rules: rules.collect(),
        allow_nonfinite_mismatch: of("allow_nonfinite_mismatch"),
        inconclusive_blocks: of("inconclusive_blocks"),
        reference: None,
    }
}

/// The good record.
pub fn good() -> Case {
    let policy = default_policy();
    let plan = plan(policy.clone());
    let mut record = Record::new(plan, "0.0.0".into(), 1_700_000_000);
    record.ended = RunEnded::Finished;
    record.elapsed_ms = 4_200;
    record.builds = ["agent", "runner"].map(build).into();
    for cell in record.plan.cells.clone() {
        record.outcomes.insert(cell.id.clone(), Outcome::Measured(Box::new(observation(&cell))));
    }
    let mut case = Case { record, files: BTreeMap::new(), policy, baseline: None };
    for (cell, noise) in [(REFERENCE, 0.0), (HOST_VARIANT, 0.02), (JUDGED, 0.02)] {
        case.answers(cell, &answers(noise));
    }
    case.ticks(DEVICE_REFERENCE, &ticks(20_000));
    case.ticks(JUDGED, &ticks(12_000));
    let samples = || 0..SAMPLES;
    case.evalset(
        &samples().map(label).collect::<Vec<_>>(),
        &samples().map(|i| (i % 2) as u8).collect::<Vec<_>>(),
        &samples().map(|i| i as i64).collect::<Vec<_>>(),
    );
    case
}

fn build(program: &str) -> Build {
    Build {
        program: program.into(),
        triple: "aarch64-unknown-linux-gnu".into(),
        builder: "cargo".into(),
        source: Digest::of(b"source"),
        digest: Digest::of(program.as_bytes()),
        bytes: 4_000_000,
        cached: true,
        layout: None,
    }
}

fn plan(policy: Policy) -> Plan {
    let model = model();
    let pass = |pass| PassPlan {
        pass,
        batch: 1,
        samples: if matches!(pass, Pass::Inspect | Pass::Memory) { 8 } else { SAMPLES as u64 },
        warmup: 0,
        iterations: if pass == Pass::Latency { INFERENCES } else { 0 },
        enough: 0,
        again: false,
        stage: 0,
        deadline_ms: 60_000,
        memory_limit_bytes: None,
        sketch: None,
    };
    let cell = |variant: &str, unit: &str, role, passes: &[Pass]| {
        let (variant, unit) = (VariantName::new(variant).unwrap(), UnitName::new(unit).unwrap());
        let engine = EngineName::new("tract").unwrap();
        Cell {
            id: CellId::new(&model.name, &variant, &unit, &engine),
            model: model.name.clone(),
            target: TargetName::new(unit.as_str()).unwrap(),
            variant,
            unit,
            engine,
            role,
            judged: role == Role::Device,
            passes: passes.iter().map(|p| pass(*p)).collect(),
        }
    };
    let (answers, times) = ([Pass::Inspect, Pass::Accuracy], [Pass::Latency, Pass::Memory]);
    let cells = vec![
        cell("f32", "host", Role::Reference, &answers),
        cell("int8", "host", Role::HostVariant, &answers),
        cell("f32", "board", Role::DeviceReference, &times),
        cell("int8", "board", Role::Device, &[answers, times].concat()),
    ];
    let targets = ["host", "board"].map(target);
    let unit = |t: &Target| Unit {
        name: UnitName::new(t.name.as_str()).unwrap(),
        target: t.name.clone(),
        address: None,
        port: None,
        user: None,
        identity_file: None,
        ssh_config: None,
        identity: None,
        power: None,
        probe: None,
        tags: Vec::new(),
    };
    Plan {
        models: BTreeMap::from([(model.name.clone(), model.clone())]),
        units: targets.iter().map(unit).map(|u| (u.name.clone(), u)).collect(),
        targets: targets.into_iter().map(|t| (t.name.clone(), t)).collect(),
        policy,
        cells,
    }
}

fn model() -> Model {
    let spec = |name: &str, elements| TensorSpec {
        name: name.into(),
        dtype: "F32".into(),
        shape: vec![elements],
        preprocess: None,
    };
    let variant = |name: &str, bytes| Variant {
        name: VariantName::new(name).unwrap(),
        file: format!("shapes/{name}.onnx"),
        digest: Digest::of(name.as_bytes()),
        bytes,
        quantization: name.into(),
        batch: None,
        same_weights: true,
        input_dtypes: Vec::new(),
        input_quantization: Vec::new(),
        output_quantization: Vec::new(),
    };
    let (float, int8) = (variant("f32", 40_000), variant("int8", 11_000));
    Model {
        name: ModelName::new("shapes").unwrap(),
        task: Task::Classification { classes: ["disc", "square", "star"].map(str::to_owned).into() },
        summary: "shapes".into(),
        licence: "none".into(),
        provenance: "made for this test".into(),
        inputs: vec![spec("pixels", 9)],
        outputs: vec![spec("scores", 3)],
        evalset: Evalset {
            file: "shapes/test.safetensors".into(),
            digest: Digest::of(b"shapes"),
            bytes: 20_000,
            samples: SAMPLES as u64,
            inputs: vec!["inputs".into()],
            labels: "labels".into(),
            ids: Some("ids".into()),
            slices: BTreeMap::from([("side".into(), vec!["left".into(), "right".into()])]),
            shows: None,
            columns: Vec::new(),
            order: None,
        },
        reference: float.name.clone(),
        variants: [float, int8].into_iter().map(|v| (v.name.clone(), v)).collect(),
        tolerances: Vec::new(),
        custom: Vec::new(),
    }
}

fn target(name: &str) -> Target {
    Target {
        name: TargetName::new(name).unwrap(),
        summary: name.into(),
        architecture: "aarch64".into(),
        proved: true,
        proved_note: String::new(),
        emulated: false,
        build: BuildSpec {
            runner_triple: "aarch64-unknown-linux-gnu".into(),
            agent_triple: "aarch64-unknown-linux-musl".into(),
            builder: Builder::Auto,
            linker: None,
            packages: Vec::new(),
            firmware: None,
        },
        link: LinkSpec::Local,
        power: PowerSpec::None,
        limits: Limits { memory_bytes: None, flash_bytes: None, pass_deadline_s: 60, slowdown: 1, accuracy_workers: 1 },
        engine: EngineName::new("tract").unwrap(),
        clock: Clock::Time,
        probe: None,
        dialect: None,
        onnxruntime: None,
    }
}

fn observation(cell: &Cell) -> Observation {
    let pass = |plan: &PassPlan| {
        let mut facts = Facts::default();
        for (name, ms) in [("pass_wall_ns", 1000), ("host_wall_ns_min", 900), ("host_wall_ns_max", 1100)] {
            facts.numbers.insert(name.into(), ms * 1_000_000);
        }
        if plan.pass == Pass::Memory {
            let peak = if cell.variant.as_str() == "f32" { 9_000_000 } else { 8_000_000 };
            facts.numbers.insert("rss_start_bytes".into(), 6_000_000);
            facts.numbers.insert("rss_peak_bytes".into(), peak);
        }
        if plan.pass == Pass::Latency {
            facts.numbers.insert("load_ns".into(), 3_000_000);
            facts.numbers.insert("first_inference_ns".into(), 90_000);
        }
        PassObservation {
            pass: plan.pass,
            ended: Ended::Completed,
            cannot_run: None,
            facts,
            operators: Vec::new(),
            self_check: (plan.pass == Pass::Inspect).then(|| SelfCheck {
                samples: 8,
                agree: true,
                max_abs: Some(0.0),
                sqnr_db: None,
                operator: String::new(),
                detail: String::new(),
            }),
            outputs: None,
            ticks: None,
            inferences: if plan.pass == Pass::Latency { u64::from(plan.iterations) } else { plan.samples },
            stopped: None,
        }
    };
    Observation {
        emulated: false,
        device: Device {
            protocol: 2,
            agent_build: "test".into(),
            agent_digest: Some(Digest::of(b"agent")),
            runner_digest: Some(Digest::of(b"runner")),
            architecture: "aarch64".into(),
            system: "linux".into(),
            identity: "1".into(),
            tick_hz: 1_000_000_000,
            boot: 1,
        },
        environment_before: Facts::default(),
        environment_after: Facts::default(),
        passes: cell.passes.iter().map(pass).collect(),
        attempts: Vec::new(),
        shipped: Shipped::default(),
    }
}
