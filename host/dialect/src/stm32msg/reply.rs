//! Messages of the device, checked field by field. Pure.

use super::fault::{ErrorCode, Fault, State};
use super::messages::{self, Payload, Response, operator_flag, tensor_flag};
use super::tensor::{Description, Tensor};
use super::wire::Framing;
use prost::Message;
use std::time::Duration;

/// The inference runtime of a firmware or of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// ST's own.
    StmAi,
    /// TensorFlow Lite for microcontrollers.
    Tflm,
    /// TVM.
    Tvm,
    /// ST's neural processing unit.
    Atonn,
    /// Glow.
    Glow,
    /// ST's own with a model that can be moved.
    StmAiRelocatable,
    /// None that is known.
    Other(u8),
}

/// What the firmware was compiled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// GCC.
    Gcc,
    /// IAR.
    Iar,
    /// Keil MDK, Arm compiler 5.
    Ac5,
    /// Keil MDK, Arm compiler 6.
    Ac6,
    /// HighTec.
    HighTec,
    /// Green Hills.
    Ghs,
    /// None that is known.
    Other(u8),
}

/// What a firmware can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// As the device says it.
    pub raw: u32,
    /// Runs layer by layer.
    pub observer: bool,
    /// Models that can be moved.
    pub relocation: bool,
    /// Memory that can be read and written.
    pub memory: bool,
    /// Random inputs.
    pub random: bool,
    /// Filters.
    pub filtering: bool,
    /// Self tests.
    pub self_test: bool,
}

/// What answers to `SYNC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// Version of the protocol, major and minor.
    pub version: (u8, u8),
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its runtime. The toolchain is that of the [`Model`]: firmware puts it elsewhere here than the definition says.
    pub runtime: Runtime,
}

impl Firmware {
    /// Before the first answer.
    pub(super) const UNKNOWN: Self = Self {
        version: (0, 0),
        capabilities: Capabilities {
            raw: 0,
            observer: false,
            relocation: false,
            memory: false,
            random: false,
            filtering: false,
            self_test: false,
        },
        runtime: Runtime::Other(0),
    };
}

/// The microcontroller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Its vendor's number.
    pub device_id: u32,
    /// Clock of the core, Hz: [`Execution::cycles`] are its periods.
    pub core_hz: u32,
    /// Clock of the bus, Hz.
    pub bus_hz: u32,
    /// Caches and the like, as the device says it.
    pub cache: u32,
    /// More clocks, on devices that have them.
    pub extra: Vec<u32>,
}

/// A model in the firmware.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name, by which it is run.
    pub name: String,
    /// Its runtime.
    pub runtime: Runtime,
    /// What it was compiled with.
    pub toolchain: Toolchain,
    /// Layers are counted in `nodes`: true of ST's own runtime with the ST-AI interface, where each node is one message.
    pub(super) counts_nodes: bool,
    /// Signature of the model.
    pub signature: String,
    /// When it was compiled, as text.
    pub compiled: String,
    /// Version of the runtime: major, minor, patch.
    pub runtime_version: (u8, u8, u8),
    /// What the runtime says of itself.
    pub runtime_description: String,
    /// Version of the tool that made the code: major, minor, patch.
    pub tool_version: (u8, u8, u8),
    /// Multiply-accumulates.
    pub macs: u64,
    /// Operators.
    pub nodes: u32,
    /// Inputs, in order.
    pub inputs: Vec<Description>,
    /// Outputs, in order.
    pub outputs: Vec<Description>,
    /// Memory that is written.
    pub activations: Vec<Description>,
    /// Memory that is only read.
    pub parameters: Vec<Description>,
}

/// How long something took and what it used, by the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Milliseconds.
    pub duration_ms: f32,
    /// Counters; what they count is `counter_type`'s low half: 0 is cycles of the core.
    pub counters: Vec<u64>,
    /// Kind of the counters, as the device says it.
    pub counter_type: u32,
    /// Stack used.
    pub stack_bytes: Option<u32>,
    /// Heap used.
    pub heap_bytes: Option<u32>,
}

impl Execution {
    /// The duration that the device computed: its cycles by its clock.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.duration_ms) / 1000.0)
    }

    /// Cycles of the core, where that is what was counted. In a run by layers they are the layers' sum: what sending them took is not in it.
    pub fn cycles(&self) -> Option<u64> {
        (self.counter_type & 0xffff == 0).then(|| self.counters.first().copied()).flatten()
    }
}

/// One operator of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Often empty.
    pub name: String,
    /// The runtime's number of the kind of operator.
    pub kind: u32,
    /// The runtime's number of this operator.
    pub id: u32,
    /// How long it took.
    pub execution: Execution,
    /// Its outputs.
    pub tensors: Vec<Tensor>,
}

/// A line that the firmware said meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// 1 is information, 2 debug, 3 warning, above is error.
    pub level: u32,
    /// The text.
    pub text: String,
}

/// One inference.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The model as a whole.
    pub execution: Execution,
    /// Its operators, in a run by layers.
    pub layers: Vec<Layer>,
    /// Its outputs, in order.
    pub outputs: Vec<Tensor>,
    /// What the firmware said meanwhile.
    pub logs: Vec<LogLine>,
}

/// A message whose frame is checked.
#[derive(Debug)]
pub(super) struct Answer {
    pub reqid: u32,
    pub state: State,
    pub payload: Payload,
}

/// A message that lacks something, by name.
type Lacks<T> = Result<T, &'static str>;

/// Reads a message, or says what it lacks. Each message of a transaction ends with its payload, which has a length: one that was cut short
/// anywhere fails here.
pub(super) fn read(bytes: &[u8], step: &str) -> Result<Answer, Fault> {
    let lacking = |lacking: &str| Fault::NoMessage { step: step.to_owned(), lacking: lacking.to_owned() };
    let response =
        Response::decode(bytes).map_err(|error| lacking(&format!("sense in {} bytes ({error})", bytes.len())))?;
    Ok(Answer {
        reqid: response.reqid.ok_or_else(|| lacking("reqid"))?,
        state: State::of(response.state.ok_or_else(|| lacking("state"))?),
        payload: response.payload.ok_or_else(|| lacking("a payload"))?,
    })
}

/// What a payload is, in words.
pub(super) fn called(payload: &Payload) -> &'static str {
    match payload {
        Payload::Sync(_) => "a sync",
        Payload::SystemInfo(_) => "system information",
        Payload::Ack(_) => "an acknowledgement",
        Payload::Log(_) => "a log line",
        Payload::Data(_) => "data",
        Payload::Operator(_) => "an operator",
        Payload::Tensor(_) => "a tensor",
        Payload::ModelInfo(_) => "model information",
    }
}

pub(super) fn sync(message: &messages::Sync) -> Lacks<Firmware> {
    let raw = message.capability.ok_or("capability")?;
    let version = message.version.ok_or("version")?;
    let has = |bit: u32| raw & bit != 0;
    Ok(Firmware {
        version: ((version >> 8) as u8, version as u8),
        capabilities: Capabilities {
            raw,
            observer: has(1),
            relocation: has(2),
            memory: has(8),
            random: has(16),
            filtering: has(32),
            self_test: has(128),
        },
        runtime: runtime(message.rtid.ok_or("rtid")?),
    })
}

pub(super) fn system(message: messages::SystemInfo, framing: Framing) -> Lacks<System> {
    let extra = match framing {
        Framing::Byte => message.fifth,
        Framing::Word if message.fifth == [0] => message.sixth,
        Framing::Word => return Err("packets that stay as they are"),
    };
    Ok(System {
        device_id: message.devid.ok_or("devid")?,
        core_hz: message.sclock.ok_or("sclock")?,
        bus_hz: message.hclock.ok_or("hclock")?,
        cache: message.cache.ok_or("cache")?,
        extra,
    })
}

pub(super) fn model(message: messages::ModelInfo) -> Lacks<Model> {
    let rtid = message.rtid.ok_or("rtid")?;
    let all = |announced: Option<u32>, tensors: &[messages::TensorDesc], lacking| match announced {
        Some(count) if count as usize == tensors.len() => {
            tensors.iter().map(Description::read).collect::<Lacks<Vec<_>>>()
        }
        _ => Err(lacking),
    };
    let runtime = runtime(rtid);
    Ok(Model {
        runtime,
        toolchain: toolchain((rtid >> 16) as u8),
        counts_nodes: runtime == Runtime::StmAi && rtid >> 8 & 1 == 1,
        runtime_version: version(message.runtime_version.ok_or("runtime_version")?),
        tool_version: version(message.tool_version.ok_or("tool_version")?),
        macs: message.n_macc.ok_or("n_macc")?,
        nodes: message.n_nodes.ok_or("n_nodes")?,
        inputs: all(message.n_inputs, &message.inputs, "as many inputs as n_inputs says")?,
        outputs: all(message.n_outputs, &message.outputs, "as many outputs as n_outputs says")?,
        activations: all(message.n_activations, &message.activations, "as many activations as n_activations says")?,
        parameters: all(message.n_params, &message.params, "as many params as n_params says")?,
        name: message.name.ok_or("name")?,
        signature: message.signature.ok_or("signature")?,
        compiled: message.compile_datetime.ok_or("compile_datetime")?,
        runtime_description: message.runtime_desc.ok_or("runtime_desc")?,
    })
}

/// An operator: its flags, and the layer without tensors.
pub(super) fn operator(message: messages::Operator) -> Lacks<(u32, Layer)> {
    let kind = message.r#type.ok_or("type")?;
    let counter_type = message.counter_type.ok_or("counter_type")?;
    let duration_ms = message.duration.ok_or("duration")?;
    if !(duration_ms.is_finite() && duration_ms >= 0.0) {
        return Err("a duration that can be");
    }
    let counters = match counter_type >> 16 {
        0 => {
            let (pairs, odd) = message.counters.as_chunks::<2>();
            if !odd.is_empty() {
                return Err("the high half of a counter");
            }
            pairs.iter().map(|[low, high]| u64::from(*high) << 32 | u64::from(*low)).collect()
        }
        _ => message.counters.iter().copied().map(u64::from).collect(),
    };
    let execution = Execution {
        duration_ms,
        counters,
        counter_type,
        stack_bytes: u32::try_from(message.stack_used.ok_or("stack_used")?).ok(),
        heap_bytes: u32::try_from(message.heap_used.ok_or("heap_used")?).ok(),
    };
    let layer = Layer {
        name: message.name.ok_or("name")?,
        kind: kind & 0xff_ffff,
        id: message.id.ok_or("id")?,
        execution,
        tensors: Vec::new(),
    };
    Ok((kind >> operator_flag::SHIFT, layer))
}

/// A tensor whose data, if it has any, is as long as it is said to be, twice.
pub(super) fn tensor(message: messages::Tensor) -> Lacks<Tensor> {
    let description = Description::read(&message.desc.ok_or("a description")?)?;
    let data = message.data.ok_or("data")?;
    let (size, bytes) = (data.size.ok_or("size of data")?, data.datas.ok_or("the data itself")?);
    data.r#type.ok_or("type of data")?;
    data.addr.ok_or("address of data")?;
    if size as usize != bytes.len() {
        return Err("as much data as its size says");
    }
    if description.flags & tensor_flag::NO_DATA != 0 {
        return if bytes.is_empty() {
            Ok(Tensor { description, data: None })
        } else {
            Err("the flag that there is data")
        };
    }
    match description.bytes() {
        Some(expected) if expected != bytes.len() => Err("as much data as its description says"),
        _ => Ok(Tensor { description, data: Some(bytes) }),
    }
}

pub(super) fn ack(message: &messages::Ack) -> Lacks<(ErrorCode, u32)> {
    Ok((ErrorCode::of(message.error.ok_or("error")?), message.param.ok_or("param")?))
}

pub(super) fn log(message: messages::Log) -> Lacks<LogLine> {
    Ok(LogLine { level: message.level.ok_or("level")?, text: message.str.ok_or("text")? })
}

fn runtime(rtid: u32) -> Runtime {
    match rtid as u8 {
        1 => Runtime::StmAi,
        2 => Runtime::Tflm,
        3 => Runtime::Tvm,
        4 => Runtime::Atonn,
        5 => Runtime::Glow,
        6 => Runtime::StmAiRelocatable,
        other => Runtime::Other(other),
    }
}

fn toolchain(number: u8) -> Toolchain {
    match number {
        1 => Toolchain::Gcc,
        2 => Toolchain::Iar,
        3 => Toolchain::Ac5,
        4 => Toolchain::Ac6,
        5 => Toolchain::HighTec,
        6 => Toolchain::Ghs,
        other => Toolchain::Other(other),
    }
}

fn version(word: u32) -> (u8, u8, u8) {
    ((word >> 24) as u8, (word >> 16) as u8, (word >> 8) as u8)
}
