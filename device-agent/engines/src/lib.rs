//! Inference engines behind one trait.
//!
//! Owns: loading a model from bytes, turning evalset tensors into what the model reads, running it, naming what really ran, and
//! comparing an engine with itself, and sharing out the time of an inference among operators. Refuses to: open files, measure the latency
//! of an inference, print, or decide whether a number is good.

#[cfg(feature = "candle")]
mod candle;
mod device;
mod engine;
#[cfg(feature = "micro-values")]
mod micro;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
mod preprocess;
mod self_check;
mod tensor;
#[cfg(feature = "tract-graph")]
mod tract;

#[cfg(feature = "candle")]
pub use candle::CandleEngine;
pub use device::{Device, DeviceMemory, DeviceState, Reading, Split};
pub use engine::{
    Dim, Engine, EngineFault, LoadOptions, Loaded, OperatorCost, OperatorFacts, Provider, Refusal, RunFailure, SKETCH,
    Stage, TensorFacts, engine_names, fell_back, open_engine, sketches,
};
#[cfg(feature = "micro-values")]
pub use micro::values;
#[cfg(feature = "micro")]
pub use micro::{Edge, Inside, MicroEngine};
#[cfg(feature = "onnxruntime")]
pub use onnxruntime::OnnxruntimeEngine;
pub use preprocess::{Preprocess, Quantize};
pub use self_check::{Parting, SelfCheck, SelfCheckLimits, SelfCheckOutcome, parting};
pub use tensor::{DType, Tensor, TensorError, TensorView};
#[cfg(feature = "tract-graph")]
pub use tract::TractEngine;
