//! Validation firmware of ST that speaks stm32msg.

use super::driver::{self, Driver, Inference, Inside, Reached, UNTOLD, untold};
use super::line::PortLine;
use super::samples::Elements;
use super::{Asked, DialectError, Waits};
use boardproof_dialect::stm32msg::{
    Description, Execution, Fault, Framing, Kind, Layer, Mode, Model, Options, Patience, Stm32Msg, Tensor,
};
use boardproof_engines::DType;
use boardproof_record::dialect::{Channels, Packets};
use boardproof_record::observation::{Facts, Operator};
use boardproof_record::plan::TensorSpec;
use std::time::{Duration, Instant};

/// Ticks where the firmware tells no clock of its core: its times are told in milliseconds.
const TICK_HZ_USUAL: u64 = 1_000_000_000;
/// `shape_format` of a tensor whose width stands before its height.
const WIDTH_FIRST: u8 = 1;

/// Finds the firmware and proves that the model inside is called, signed and shaped as it should be.
pub(super) fn reach(
    line: PortLine,
    asked: &Asked<'_>,
    packets: Packets,
    signature: Option<&str>,
) -> Result<Reached, DialectError> {
    let (mut device, models) = greet(line, asked.waits, packets)?;
    let named = models.iter().position(|model| model.name == asked.dialect.model());
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let Some(index) = named else {
        asked.prove_model("model", asked.dialect.model(), &names.join(", "))?;
        return Err(asked.unlike("a model".into(), "none".into()));
    };
    let model = models[index].clone();
    if let Some(signature) = signature {
        asked.prove_model("signature", signature, &model.signature)?;
    }
    let elements = elements_of(asked, &model)?;
    let core_hz = match device.system() {
        Ok(system) => Ok(u64::from(system.core_hz)),
        // Firmware on USB says so, and is asked nothing of its system: its packets would be others from then on.
        Err(fault @ (Fault::Refused { .. } | Fault::Impossible { .. })) => Err(fault.to_string()),
        Err(fault) => return Err(fault.into()),
    };
    let mut facts = Facts::default();
    tell(&mut facts, &model, &core_hz);
    if !asked.dialect.is_timed() {
        untold(&mut facts, &["latency"], "a slow clock cannot be seen over stm32msg, see clock_believed of the target");
    }
    let tick_hz = core_hz.ok().filter(|hz| *hz > 0).unwrap_or(TICK_HZ_USUAL);
    let (major, minor) = device.firmware().version;
    let observer = device.firmware().capabilities.observer;
    let firmware = format!("stm32msg {major}.{minor}, runtime {:?}", device.firmware().runtime);
    let who = driver::device(firmware, format!("firmware made by {:?}", model.toolchain), tick_hz);
    let driver =
        Stm32 { device, model, observer, tick_hz, sample: Vec::new(), counted: Duration::ZERO, seen: Duration::ZERO };
    Ok(Reached { driver: Box::new(driver), device: who, facts, elements })
}

/// Finds the firmware and asks for its models.
pub(super) fn greet(
    line: PortLine,
    waits: Waits,
    packets: Packets,
) -> Result<(Stm32Msg<PortLine>, Vec<Model>), DialectError> {
    let framing = match packets {
        Packets::Byte => Framing::Byte,
        Packets::Word => Framing::Word,
    };
    let patience =
        Patience { answer: waits.answer, packet: waits.answer, inference: waits.inference, ..Patience::default() };
    let mut device = Stm32Msg::connect(line, Options { patience, framing, ..Options::default() })?;
    let models = device.models()?;
    Ok((device, models))
}

/// What the firmware says of the model, and what it does not.
fn tell(facts: &mut Facts, model: &Model, core_hz: &Result<u64, String>) {
    untold(facts, &UNTOLD, "stm32msg does not tell it");
    let runtime = model.runtime_version;
    for (name, text) in [
        ("model", model.name.clone()),
        ("model_signature", model.signature.clone()),
        ("model_compiled", model.compiled.clone()),
        ("runtime", format!("{:?} {}.{}.{}", model.runtime, runtime.0, runtime.1, runtime.2)),
    ] {
        facts.texts.insert(name.into(), text);
    }
    let bytes = |list: &[Description]| list.iter().filter_map(Description::bytes).sum::<usize>() as u64;
    for (name, number) in [
        ("model_macs", model.macs),
        ("model_operators", u64::from(model.nodes)),
        ("activation_bytes", bytes(&model.activations)),
        ("parameter_bytes", bytes(&model.parameters)),
    ] {
        facts.numbers.insert(name.into(), number);
    }
    match core_hz {
        Ok(hz) => _ = facts.numbers.insert("core_hz".into(), *hz),
        Err(why) => untold(facts, &["core_hz"], why),
    }
}

/// Proves that inputs and outputs of the model inside are as large as the variant's, and says what its inputs' elements are.
fn elements_of(asked: &Asked<'_>, inside: &Model) -> Result<Vec<Elements>, DialectError> {
    let channels = asked.dialect.channels();
    let pairs = [
        ("inputs", &asked.model.inputs, &inside.inputs, channels),
        // Answers are taken as they lie.
        ("outputs", &asked.model.outputs, &inside.outputs, Channels::First),
    ];
    for (what, specs, found, channels) in pairs {
        if specs.len() != found.len() {
            return Err(asked.unlike(format!("{} {what}", specs.len()), found.len().to_string()));
        }
        for (spec, description) in specs.iter().zip(found) {
            let expected = extents(spec, channels);
            if !fits(&expected, description) {
                let words = format!("{} elements as {:?}", description.elements, description.dims);
                return Err(asked.unlike(format!("{:?} for '{}'", expected, spec.name), words));
            }
        }
    }
    asked.model.inputs.iter().zip(&inside.inputs).map(|(spec, found)| elements(spec, found)).collect()
}

/// Extents of a sample as it is sent.
fn extents(spec: &TensorSpec, channels: Channels) -> Vec<u64> {
    let mut extents = spec.shape.clone();
    if channels == Channels::Last && !extents.is_empty() {
        extents.rotate_left(1);
    }
    extents
}

/// As many elements, and the same extents in the same order; those of 1 say nothing.
fn fits(expected: &[u64], found: &Description) -> bool {
    let elements = expected.iter().fold(1_u64, |product, extent| product.saturating_mul(*extent));
    let told: Vec<u64> = found.dims.iter().map(|extent| u64::from(*extent)).filter(|extent| *extent != 1).collect();
    let wanted: Vec<u64> = expected.iter().copied().filter(|extent| *extent != 1).collect();
    elements == u64::from(found.elements) && (found.shape_format & 0xf == WIDTH_FIRST || told == wanted)
}

fn elements(spec: &TensorSpec, found: &Description) -> Result<Elements, DialectError> {
    let (format, signed) = (found.format, found.format.signed);
    match (format.kind, format.bits, format.fraction_bits, found.scale) {
        (Kind::Float, 32, _, _) => Ok(Elements::Numbers),
        (Kind::Integer, 8, 0, Some(scale)) => Ok(Elements::Quantized { scale, zero_point: found.zero_point, signed }),
        (Kind::Integer, 8, 0, None) => {
            Ok(Elements::Integers { kind: if signed { DType::I8 } else { DType::U8 }, signed })
        }
        _ => Err(DialectError::CannotCarry {
            dialect: "stm32msg",
            expected: "an input of 8-bit integers or 32-bit floats".into(),
            found: format!("format {:#x} for '{}'", format.raw, spec.name),
        }),
    }
}

struct Stm32 {
    device: Stm32Msg<PortLine>,
    model: Model,
    observer: bool,
    tick_hz: u64,
    sample: Vec<Vec<u8>>,
    /// What the device counted in this pass, and between which bounds the host saw it.
    counted: Duration,
    seen: Duration,
}

impl Stm32 {
    fn ticks(&self, execution: &Execution) -> u64 {
        let by_time = || (execution.duration().as_secs_f64() * self.tick_hz as f64).round() as u64;
        execution.cycles().filter(|_| self.tick_hz != TICK_HZ_USUAL).unwrap_or_else(by_time)
    }

    fn values(&self, tensor: &Tensor) -> Result<Vec<f32>, DialectError> {
        tensor.values().ok_or_else(|| DialectError::CannotCarry {
            dialect: "stm32msg",
            expected: "outputs of 8, 16 or 32-bit integers or 32-bit floats".into(),
            found: format!("format {:#x}", tensor.description.format.raw),
        })
    }
}

impl Driver for Stm32 {
    fn load(&mut self, sample: &[Vec<u8>]) -> Result<(), DialectError> {
        self.sample = sample.to_vec();
        Ok(())
    }

    fn infer(&mut self) -> Result<Inference, DialectError> {
        let begun = Instant::now();
        let run = self.device.run(&self.model, &self.sample, Mode::Outputs)?;
        self.seen += begun.elapsed();
        self.counted += run.execution.duration();
        let outputs = run.outputs.iter().map(|tensor| self.values(tensor)).collect::<Result<_, _>>()?;
        Ok(Inference { outputs, ticks: self.ticks(&run.execution) })
    }

    fn begin(&mut self, _timed: bool) -> Result<(), DialectError> {
        (self.counted, self.seen) = (Duration::ZERO, Duration::ZERO);
        Ok(())
    }

    /// The device tells how long inferences took and no time in between: a clock that is too fast shows, one that is too slow does not.
    fn end(&mut self, facts: &mut Facts) -> Result<(), DialectError> {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for (name, value) in
            [("pass_wall_ns", ns(self.counted)), ("host_wall_ns_min", 0), ("host_wall_ns_max", ns(self.seen))]
        {
            facts.numbers.insert(name.into(), value);
        }
        Ok(())
    }

    fn look_inside(&mut self) -> Result<Inside, DialectError> {
        let mut inside = Inside::default();
        if !self.observer {
            untold(&mut inside.facts, &["operators"], "this firmware does not run by layers");
            return Ok(inside);
        }
        let run = self.device.run(&self.model, &self.sample, Mode::PerLayer)?;
        for (index, layer) in (0..).zip(&run.layers) {
            inside.operators.push(operator(index, layer));
            let ns = u64::try_from(layer.execution.duration().as_nanos()).unwrap_or(u64::MAX);
            inside.facts.numbers.insert(format!("operator_ns[{index}]"), ns);
        }
        for (name, bytes) in
            [("stack_used_bytes", run.execution.stack_bytes), ("heap_used_bytes", run.execution.heap_bytes)]
        {
            match bytes {
                Some(bytes) => _ = inside.facts.numbers.insert(name.into(), u64::from(bytes)),
                None => untold(&mut inside.facts, &[name], "this firmware does not tell it"),
            }
        }
        Ok(inside)
    }
}

fn operator(index: u32, layer: &Layer) -> Operator {
    let dtypes: Vec<String> = layer
        .tensors
        .iter()
        .map(|tensor| {
            let format = tensor.description.format;
            format!("{:?}{}", format.kind, format.bits).to_lowercase()
        })
        .collect();
    // The runtime's own numbers: which operator a number stands for, its vendor knows.
    let op = format!("kind {:#x}", layer.kind);
    Operator { index, name: layer.name.clone(), op, dtypes: dtypes.join(","), kernel: String::new() }
}
