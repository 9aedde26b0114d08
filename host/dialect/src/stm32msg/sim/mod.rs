//! A simulator of validation firmware for ST's runtime with the ST-AI interface, with any [`Network`] inside, a tiny one if nothing is said,
//! and trouble on demand: what the driver is tested against, and what anybody can try it on without a board. Written from the protocol's definition; it has not been compared with
//! real hardware.
//!
//! ```
//! use boardproof_dialect::{Loopback, stm32msg::{Mode, Options, Stm32Msg, sim}};
//! let line = Loopback::new(sim::Firmware::new());
//! let mut device = Stm32Msg::connect(line, Options::default()).unwrap();
//! let model = device.models().unwrap().remove(0);
//! let run = device.run(&model, &sim::inputs(&[1; 40], [0.5, 0.25]), Mode::PerLayer).unwrap();
//! assert_eq!(run.outputs[0].values().unwrap(), [40.0, 0.75]);
//! ```

mod network;

pub use network::{Edge, Elements, Inside, LAYER_CYCLES, MODEL, Network, Sums, inputs};

use super::messages::{self, Payload, command, operator_flag, run, tensor_flag};
use super::wire::{Framing, NEXT, PAYLOAD};
use crate::Peer;
use prost::Message;

/// Clock of the core, Hz.
pub const CORE_HZ: u32 = 400_000_000;

/// ST's runtime, ST-AI interface, GCC.
const RTID: u32 = 1 | 1 << 8 | 1 << 16;
const STATE_IDLE: i32 = 0;
const STATE_WAITING: i32 = 1;
const STATE_PROCESSING: i32 = 2;
const STATE_DONE: i32 = 3;
const STATE_ERROR: i32 = 4;
const INVALID_SIZE: i32 = 1;
const INVALID_PARAM: i32 = 4;
const GENERIC: i32 = 10;

/// Something that goes wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The last bytes of the message are missing.
    Cut(usize),
    /// A packet of it is missing, counted from 0.
    LostPacket(usize),
    /// A byte of its packets is missing.
    LostByte(usize),
    /// It is missing whole.
    Lost,
    /// It says another state.
    State(i32),
    /// It is an error instead, and the transaction is over.
    Error(i32),
    /// It answers another request.
    Stale,
    /// It and everything after it is missing.
    Mute,
    /// The device boots instead, and says so in text.
    Boot,
    /// It is a tensor and says that it has so many elements, and sends so many bytes.
    Elements(u32, usize),
    /// Other bytes instead of it.
    Raw(Vec<u8>),
}

/// When it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// In answers to this command: 0 is sync, 1 system, 10 model, 11 run.
    pub command: i32,
    /// At this message of the transaction, counted from 0.
    pub message: usize,
    /// This often.
    pub times: usize,
    /// What.
    pub trouble: Trouble,
}

/// What the device says instead of asking for the next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// 0xAA.
    Well,
    /// Nothing, for the packet with this number since power-on.
    NotAt(usize),
    /// Something else, for the packet with this number since power-on.
    WrongAt(usize, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Request,
    Input(usize),
    InputAck(usize),
    LogAck,
}

/// What a firmware is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// What packets look like.
    pub framing: Framing,
    /// Version of the protocol.
    pub version: (u8, u8),
    /// Can run by layers.
    pub observer: bool,
    /// Log lines before the first answer of a run.
    pub logs: usize,
    /// What goes wrong with answers.
    pub trouble: Vec<When>,
    /// How it asks for packets.
    pub asking: Asking,
}

impl Default for Behaviour {
    /// Everything right.
    fn default() -> Self {
        Self {
            framing: Framing::Byte,
            version: (3, 1),
            observer: true,
            logs: 0,
            trouble: Vec::new(),
            asking: Asking::Well,
        }
    }
}

/// A firmware.
#[derive(Debug)]
pub struct Firmware<N = Sums> {
    /// What it is like.
    pub behaviour: Behaviour,
    /// Requests that were understood.
    pub requests: usize,
    packet: Vec<u8>,
    incoming: Vec<u8>,
    asked: usize,
    wants: Wants,
    request: messages::Request,
    sent: usize,
    mute: bool,
    logs_left: usize,
    network: N,
    inputs: Vec<Vec<u8>>,
}

impl Default for Firmware {
    fn default() -> Self {
        Self::new()
    }
}

impl Firmware {
    /// One that does everything right.
    pub fn new() -> Self {
        Self::behaving(Behaviour::default())
    }

    /// One that does one thing wrong, once.
    pub fn with(command: i32, message: usize, trouble: Trouble) -> Self {
        Self::behaving(Behaviour {
            trouble: vec![When { command, message, times: 1, trouble }],
            ..Behaviour::default()
        })
    }

    /// One that behaves like this.
    pub fn behaving(behaviour: Behaviour) -> Self {
        Self::inside(Sums::default(), behaviour)
    }
}

impl<N: Network> Firmware<N> {
    /// One with this network inside that behaves like this. It runs by layers if the network does.
    pub fn inside(network: N, behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            requests: 0,
            packet: Vec::new(),
            incoming: Vec::new(),
            asked: 0,
            wants: Wants::Request,
            request: messages::Request::default(),
            sent: 0,
            mute: false,
            logs_left: 0,
            inputs: vec![Vec::new(); network.model().inputs.len()],
            network,
        }
    }

    /// What is inside.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// The same, to be looked into.
    pub fn network_mut(&mut self) -> &mut N {
        &mut self.network
    }

    fn is_observer(&self) -> bool {
        self.behaviour.observer && self.network.layers().is_some()
    }

    fn take_packet(&mut self, answer: &mut Vec<u8>) {
        let packet = std::mem::take(&mut self.packet);
        let header = self.behaviour.framing.header();
        let count = usize::from(packet[header - 1]).min(PAYLOAD);
        self.incoming.extend_from_slice(&packet[header..header + count]);
        let Some((message, _)) = delimited(&self.incoming) else { return self.ask_for_more(answer) };
        let message = message.to_vec();
        self.incoming.clear();
        self.take_message(&message, answer);
    }

    fn ask_for_more(&mut self, answer: &mut Vec<u8>) {
        let number = self.asked;
        self.asked += 1;
        match self.behaviour.asking {
            Asking::NotAt(at) if at == number => {}
            Asking::WrongAt(at, byte) if at == number => answer.push(byte),
            _ => answer.push(NEXT),
        }
    }

    fn take_message(&mut self, message: &[u8], answer: &mut Vec<u8>) {
        match self.wants {
            Wants::Request => self.take_request(message, answer),
            Wants::Input(index) => self.take_input(index, message, answer),
            Wants::InputAck(index) if index + 1 < self.inputs.len() => self.wants = Wants::Input(index + 1),
            Wants::InputAck(_) => self.infer(answer),
            Wants::LogAck => self.begin_run(answer),
        }
    }

    fn take_request(&mut self, message: &[u8], answer: &mut Vec<u8>) {
        let Ok(request) = messages::Request::decode(message) else { return };
        if request.reqid.is_none() || request.param.is_none() || request.name.is_none() || request.opt.is_none() {
            return;
        }
        self.requests += 1;
        (self.request, self.sent, self.mute, self.logs_left) = (request, 0, false, self.behaviour.logs);
        match self.request.cmd {
            Some(command::SYNC) => self.say_sync(answer),
            Some(command::SYSTEM_INFO) => self.say_system(answer),
            Some(command::NETWORK_INFO) if self.request.param == Some(0) => {
                self.say(STATE_IDLE, Payload::ModelInfo(model(self.network.model())), answer)
            }
            Some(command::NETWORK_RUN) if self.request.name.as_ref() == Some(&self.network.model().name) => {
                self.begin_run(answer)
            }
            _ => self.say_ack(STATE_ERROR, INVALID_PARAM as u32, INVALID_PARAM, answer),
        }
    }

    fn begin_run(&mut self, answer: &mut Vec<u8>) {
        if self.logs_left > 0 {
            self.logs_left -= 1;
            self.wants = Wants::LogAck;
            let str = Some(format!("RUN: {} left", self.logs_left));
            return self.say(STATE_WAITING, Payload::Log(messages::Log { level: Some(1), str }), answer);
        }
        self.wants = Wants::Input(0);
        let first = self.network.model().inputs.first().map_or(0, Edge::count);
        self.say_ack(STATE_WAITING, first, 0, answer);
    }

    fn take_input(&mut self, index: usize, message: &[u8], answer: &mut Vec<u8>) {
        let edge = &self.network.model().inputs[index];
        let (count, whole) = (edge.count() as usize, edge.bytes());
        let simple = self.param() & run::CONST_VALUE != 0;
        let expected = if simple { edge.elements.width() } else { whole };
        let data = messages::Data::decode(message).ok().and_then(|data| data.datas).unwrap_or_default();
        if data.len() != expected {
            self.wants = Wants::Request;
            return self.say_ack(STATE_ERROR, data.len() as u32, INVALID_SIZE, answer);
        }
        self.inputs[index] = if simple { data.repeat(count) } else { data };
        self.wants = Wants::InputAck(index);
        let state = if index + 1 < self.inputs.len() { STATE_WAITING } else { STATE_PROCESSING };
        self.say_ack(state, expected as u32, 0, answer);
    }

    fn infer(&mut self, answer: &mut Vec<u8>) {
        self.wants = Wants::Request;
        let Some((outputs, cycles)) = self.network.infer(&self.inputs) else {
            return self.say_ack(STATE_ERROR, 0, GENERIC, answer);
        };
        if self.is_observer() && self.param() & (run::PER_LAYER | run::PER_LAYER_WITH_DATA) != 0 {
            self.say_layers(answer);
        }
        let model = self.network.model().clone();
        self.say(STATE_PROCESSING, Payload::Operator(operator(&model.name, 0, 0, cycles)), answer);
        let none = self.param() & run::PERF != 0;
        let last = model.outputs.len().saturating_sub(1);
        for (index, (edge, data)) in model.outputs.iter().zip(outputs).enumerate() {
            let (state, flags) = match index == last {
                true => (STATE_DONE, tensor_flag::OUTPUT | tensor_flag::LAST),
                false => (STATE_PROCESSING, tensor_flag::OUTPUT),
            };
            self.say(state, output(edge, flags, none, data), answer);
        }
    }

    fn say_layers(&mut self, answer: &mut Vec<u8>) {
        let none = self.param() & run::PER_LAYER_WITH_DATA == 0;
        let flags = [
            operator_flag::INTERNAL,
            operator_flag::INTERNAL | operator_flag::WITHOUT_TENSOR,
            operator_flag::INTERNAL | operator_flag::LAST,
        ];
        let cycles = self.network.layers().unwrap_or_default();
        for (index, (flags, cycles)) in flags.into_iter().zip(cycles).enumerate() {
            let layer = operator("", flags << operator_flag::SHIFT | 0x103, index as u32, cycles);
            self.say(STATE_PROCESSING, Payload::Operator(layer), answer);
            if flags & operator_flag::WITHOUT_TENSOR != 0 {
                continue;
            }
            let data = self.inputs[0].get(..16).unwrap_or_default().to_vec();
            let edge =
                |name: &str| Edge { name: name.into(), dims: vec![16], ..self.network.model().inputs[0].clone() };
            let [bare, feature] = ["", "feature"].map(edge);
            self.say(STATE_PROCESSING, output(&bare, tensor_flag::INTERNAL, none, data.clone()), answer);
            let last = tensor_flag::INTERNAL | tensor_flag::LAST;
            self.say(STATE_PROCESSING, output(&feature, last, none, data), answer);
        }
    }

    fn say_sync(&mut self, answer: &mut Vec<u8>) {
        let version = u32::from(self.behaviour.version.0) << 8 | u32::from(self.behaviour.version.1);
        // The toolchain where published firmware puts it, not where the definition does.
        let rtid = Some(1 | 1 << 8);
        let sync = messages::Sync { version: Some(version), capability: Some(u32::from(self.is_observer())), rtid };
        self.say(STATE_IDLE, Payload::Sync(sync), answer);
    }

    fn say_system(&mut self, answer: &mut Vec<u8>) {
        let (devid, sclock, hclock) = (Some(0x450), Some(CORE_HZ), Some(CORE_HZ / 2));
        let (fifth, sixth) = match self.behaviour.framing {
            Framing::Byte => (vec![0, 7], Vec::new()),
            Framing::Word => (vec![0], vec![0, 7]),
        };
        let system = messages::SystemInfo { devid, sclock, hclock, cache: Some(3), fifth, sixth };
        self.say(STATE_IDLE, Payload::SystemInfo(system), answer);
    }

    fn say_ack(&mut self, state: i32, param: u32, error: i32, answer: &mut Vec<u8>) {
        self.say(state, Payload::Ack(messages::Ack { param: Some(param), error: Some(error) }), answer);
    }

    fn param(&self) -> u32 {
        self.request.param.unwrap_or(0)
    }

    fn trouble_now(&mut self) -> Option<Trouble> {
        let (command, message) = (self.request.cmd, self.sent);
        let when = self
            .behaviour
            .trouble
            .iter_mut()
            .find(|when| Some(when.command) == command && when.message == message && when.times > 0)?;
        when.times -= 1;
        Some(when.trouble.clone())
    }

    fn say(&mut self, state: i32, payload: Payload, answer: &mut Vec<u8>) {
        if self.mute {
            return;
        }
        let trouble = self.trouble_now();
        self.sent += 1;
        let mut response = messages::Response { reqid: self.request.reqid, state: Some(state), payload: Some(payload) };
        let mut cut = 0;
        match &trouble {
            Some(Trouble::Cut(bytes)) => cut = *bytes,
            Some(Trouble::State(other)) => response.state = Some(*other),
            Some(Trouble::Stale) => response.reqid = response.reqid.map(|reqid| reqid.wrapping_sub(1)),
            Some(Trouble::Elements(elements, bytes)) => resize(&mut response, *elements, *bytes),
            Some(Trouble::Error(code)) => {
                response.state = Some(STATE_ERROR);
                response.payload = Some(Payload::Ack(messages::Ack { param: Some(77), error: Some(*code) }));
            }
            _ => {}
        }
        let message = response.encode_to_vec();
        let packets = packets(self.behaviour.framing, &message[..message.len().saturating_sub(cut)]);
        self.send(packets, trouble, answer);
    }

    fn send(&mut self, mut packets: Vec<u8>, trouble: Option<Trouble>, answer: &mut Vec<u8>) {
        match trouble {
            Some(Trouble::Lost) => packets.clear(),
            Some(Trouble::LostPacket(index)) => {
                let one = self.behaviour.framing.packet();
                let index = index % (packets.len() / one);
                packets.drain(index * one..(index + 1) * one);
            }
            Some(Trouble::LostByte(index)) => {
                packets.remove(index % packets.len());
            }
            Some(Trouble::Raw(bytes)) => packets = bytes,
            Some(Trouble::Error(_)) => (self.mute, self.wants) = (true, Wants::Request),
            Some(Trouble::Mute) => {
                packets.clear();
                self.mute = true;
            }
            Some(Trouble::Boot) => {
                packets = b"\r\n#\r\n# AI Validation 1.1\r\n#\r\nREADY to receive\r\n".to_vec();
                (self.mute, self.wants) = (true, Wants::Request);
            }
            _ => {}
        }
        answer.extend(packets);
    }
}

impl<N: Network> Peer for Firmware<N> {
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>) {
        for byte in bytes {
            self.packet.push(*byte);
            if self.packet.len() == self.behaviour.framing.packet() {
                self.take_packet(answer);
            }
        }
    }
}

/// The message and what is behind it, when it is whole.
fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let length = prost::encoding::decode_varint(&mut rest).ok()?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Packets as the device sends them: full ones, then a last one that may be empty; what is behind a payload is left from before.
fn packets(framing: Framing, message: &[u8]) -> Vec<u8> {
    let (full, rest) = message.as_chunks::<PAYLOAD>();
    let mut packets: Vec<u8> = full.iter().flat_map(|piece| framing.write(piece, false, 0x55)).collect();
    packets.extend(framing.write(rest, true, 0x55));
    packets
}

fn resize(response: &mut messages::Response, elements: u32, bytes: usize) {
    let Some(Payload::Tensor(messages::Tensor { desc: Some(desc), data: Some(data) })) = &mut response.payload else {
        return;
    };
    desc.size = Some(elements);
    data.size = Some(bytes as u32);
    data.datas.get_or_insert_default().resize(bytes, 0);
}

fn operator(name: &str, kind: u32, id: u32, cycles: u64) -> messages::Operator {
    messages::Operator {
        name: Some(name.to_owned()),
        r#type: Some(kind),
        id: Some(id),
        duration: Some((cycles as f64 * 1000.0 / f64::from(CORE_HZ)) as f32),
        counter_type: Some(0),
        counters: vec![cycles as u32, (cycles >> 32) as u32],
        stack_used: Some(-1),
        heap_used: Some(512),
    }
}

fn output(edge: &Edge, flags: u32, none: bool, datas: Vec<u8>) -> Payload {
    let (flags, datas) = if none { (flags | tensor_flag::NO_DATA, Vec::new()) } else { (flags, datas) };
    let desc = Some(edge.description(flags));
    let data =
        messages::Data { r#type: Some(0), size: Some(datas.len() as u32), addr: Some(0x2000_0000), datas: Some(datas) };
    Payload::Tensor(messages::Tensor { desc, data: Some(data) })
}

fn model(inside: &Inside) -> messages::ModelInfo {
    let described = |edges: &[Edge], flags| edges.iter().map(|edge| edge.description(flags)).collect::<Vec<_>>();
    let (inputs, outputs) =
        (described(&inside.inputs, tensor_flag::INPUT), described(&inside.outputs, tensor_flag::OUTPUT));
    let elements = Elements::Int8 { scale: 0.5, zero_point: -1 };
    let pool = Edge { name: "heap_overlay_pool".into(), dims: vec![inside.activation_bytes], elements };
    messages::ModelInfo {
        name: Some(inside.name.clone()),
        rtid: Some(RTID),
        signature: Some(inside.signature.clone()),
        compile_datetime: Some("Jan  1 2026 00:00:00".to_owned()),
        runtime_version: Some(10 << 24 | 2 << 16),
        tool_version: Some(2 << 24 | 1 << 16 | 1 << 8),
        n_macc: Some(inside.macs),
        n_nodes: Some(inside.operators),
        n_inputs: Some(inputs.len() as u32),
        inputs,
        n_outputs: Some(outputs.len() as u32),
        outputs,
        n_activations: Some(1),
        activations: vec![pool.description(8)],
        n_params: Some(0),
        params: Vec::new(),
        runtime_desc: Some("GCC 12.3".to_owned()),
    }
}
