//! The messages, as they are encoded: protobuf 2, field numbers of stm32msg 3.1.
//!
//! Every field that the protocol requires is optional here, so that a message that lacks one can be told from one that says zero.
//! Numbers were read in the public definition of version 3.1; fields that later firmware adds are skipped.

use prost::{Message, Oneof};

/// Host to device: what is wanted.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(uint32, optional, tag = "1")]
    pub reqid: Option<u32>,
    #[prost(int32, optional, tag = "2")]
    pub cmd: Option<i32>,
    #[prost(uint32, optional, tag = "3")]
    pub param: Option<u32>,
    #[prost(string, optional, tag = "4")]
    pub name: Option<String>,
    #[prost(uint32, optional, tag = "5")]
    pub opt: Option<u32>,
}

/// Device to host: one message of a transaction.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(uint32, optional, tag = "1")]
    pub reqid: Option<u32>,
    #[prost(int32, optional, tag = "2")]
    pub state: Option<i32>,
    #[prost(oneof = "Payload", tags = "10, 11, 12, 13, 15, 16, 17, 22")]
    pub payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Payload {
    #[prost(message, tag = "10")]
    Sync(Sync),
    #[prost(message, tag = "11")]
    SystemInfo(SystemInfo),
    #[prost(message, tag = "12")]
    Ack(Ack),
    #[prost(message, tag = "13")]
    Log(Log),
    #[prost(message, tag = "15")]
    Data(Data),
    #[prost(message, tag = "16")]
    Operator(Operator),
    #[prost(message, tag = "17")]
    Tensor(Tensor),
    #[prost(message, tag = "22")]
    ModelInfo(ModelInfo),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sync {
    #[prost(uint32, optional, tag = "1")]
    pub version: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub capability: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub rtid: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SystemInfo {
    #[prost(uint32, optional, tag = "1")]
    pub devid: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub sclock: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub hclock: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub cache: Option<u32>,
    /// `extra` in the older firmware of 3.1, one number that is no part of it (the size of packets to come, 0 for as before) in the newer.
    #[prost(uint32, repeated, packed = "false", tag = "5")]
    pub fifth: Vec<u32>,
    /// `extra` in the newer firmware of 3.1.
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    pub sixth: Vec<u32>,
}

/// Both ways.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ack {
    #[prost(uint32, optional, tag = "1")]
    pub param: Option<u32>,
    #[prost(int32, optional, tag = "2")]
    pub error: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Log {
    #[prost(uint32, optional, tag = "1")]
    pub level: Option<u32>,
    #[prost(string, optional, tag = "2")]
    pub str: Option<String>,
}

/// Both ways.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Data {
    #[prost(uint32, optional, tag = "1")]
    pub r#type: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub size: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub addr: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub datas: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operator {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Bits 31..24 are flags, the rest is the runtime's number of the operator.
    #[prost(uint32, optional, tag = "2")]
    pub r#type: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub id: Option<u32>,
    /// Milliseconds.
    #[prost(float, optional, tag = "4")]
    pub duration: Option<f32>,
    /// Bits 31..16: 0 is pairs of 32 bits, low first, 1 is 32 bits each. Bits 15..0: 0 is cycles of the core.
    #[prost(uint32, optional, tag = "5")]
    pub counter_type: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    pub counters: Vec<u32>,
    /// Bytes, -1 is unknown.
    #[prost(int32, optional, tag = "7")]
    pub stack_used: Option<i32>,
    /// Bytes, -1 is unknown.
    #[prost(int32, optional, tag = "8")]
    pub heap_used: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(message, optional, tag = "1")]
    pub desc: Option<TensorDesc>,
    #[prost(message, optional, tag = "2")]
    pub data: Option<Data>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorDesc {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub format: Option<u32>,
    /// Elements.
    #[prost(uint32, optional, tag = "3")]
    pub size: Option<u32>,
    /// Bits 31..24 are the format of the shape, the rest is the number of dimensions.
    #[prost(uint32, optional, tag = "4")]
    pub n_dims: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "5")]
    pub dims: Vec<u32>,
    /// 0 is no scale.
    #[prost(float, optional, tag = "6")]
    pub scale: Option<f32>,
    #[prost(int32, optional, tag = "7")]
    pub zeropoint: Option<i32>,
    #[prost(uint32, optional, tag = "8")]
    pub addr: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    pub flags: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelInfo {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub rtid: Option<u32>,
    #[prost(string, optional, tag = "3")]
    pub signature: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub compile_datetime: Option<String>,
    #[prost(uint32, optional, tag = "5")]
    pub runtime_version: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub tool_version: Option<u32>,
    #[prost(uint64, optional, tag = "7")]
    pub n_macc: Option<u64>,
    #[prost(uint32, optional, tag = "8")]
    pub n_nodes: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    pub n_inputs: Option<u32>,
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<TensorDesc>,
    #[prost(uint32, optional, tag = "12")]
    pub n_outputs: Option<u32>,
    #[prost(message, repeated, tag = "13")]
    pub outputs: Vec<TensorDesc>,
    #[prost(uint32, optional, tag = "14")]
    pub n_activations: Option<u32>,
    #[prost(message, repeated, tag = "15")]
    pub activations: Vec<TensorDesc>,
    #[prost(uint32, optional, tag = "16")]
    pub n_params: Option<u32>,
    #[prost(message, repeated, tag = "17")]
    pub params: Vec<TensorDesc>,
    #[prost(string, optional, tag = "20")]
    pub runtime_desc: Option<String>,
}

/// Values of `cmd`.
pub(crate) mod command {
    pub(crate) const SYNC: i32 = 0;
    pub(crate) const SYSTEM_INFO: i32 = 1;
    pub(crate) const NETWORK_INFO: i32 = 10;
    pub(crate) const NETWORK_RUN: i32 = 11;
}

/// Bits of `param` in a run.
pub(crate) mod run {
    pub(crate) const IO_ONLY: u32 = 1;
    pub(crate) const PER_LAYER: u32 = 2;
    pub(crate) const PER_LAYER_WITH_DATA: u32 = 4;
    pub(crate) const PERF: u32 = 8;
    pub(crate) const CONST_VALUE: u32 = 512;
}

/// Bits of `flags` of a tensor.
pub(crate) mod tensor_flag {
    pub(crate) const INPUT: u32 = 1;
    pub(crate) const OUTPUT: u32 = 2;
    pub(crate) const INTERNAL: u32 = 4;
    pub(crate) const LAST: u32 = 256;
    pub(crate) const NO_DATA: u32 = 512;
}

/// Bits of an operator's flags.
pub(crate) mod operator_flag {
    pub(crate) const SHIFT: u32 = 24;
    pub(crate) const INTERNAL: u32 = 1;
    pub(crate) const LAST: u32 = 2;
    pub(crate) const WITHOUT_TENSOR: u32 = 4;
}
