//! Makes a static 8-bit model of a float ONNX model: which layers can be whole numbers, the ranges of what flows between them, and the graph
//! with QuantizeLinear and DequantizeLinear around every layer that is to be.
//!
//! Pure: bytes and values in, bytes out. Runs nothing: the tensors whose ranges it needs are computed by whoever runs
//! [`Network::shown`] on calibration data. Decides nothing: which layers stay in float is asked of it.
#![forbid(unsafe_code)]

mod fold;
mod network;
mod range;
mod rewrite;
mod search;
mod weights;
mod write;

pub use network::{Layer, Network, Ranges, Unquantized};
pub use range::{Activation, Histogram, Method, quantizer};
pub use search::{Found, Search};

use boardproof_layers::LayersError;

/// One scale for a tensor of weights, or one per output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// One for all.
    Tensor,
    /// One per output channel.
    Channel,
}

/// How whole numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Scales of weights.
    pub granularity: Granularity,
    /// Type of activations.
    pub activation: Activation,
}

/// A model that cannot be quantized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] LayersError),
    /// It can be read and is not of a kind that is quantized here.
    #[error("the model cannot be quantized: {why}")]
    Model {
        /// Why, and what to do.
        why: String,
    },
    /// No operator has a form in whole numbers.
    #[error("the model has no operator that can be quantized; it has: {found}")]
    NothingToQuantize {
        /// Its operators.
        found: String,
    },
    /// A tensor holds what no range holds.
    #[error("tensor '{tensor}' holds {found}, expected finite numbers: no range holds it")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// What it holds.
        found: f64,
    },
    /// Calibration did not see a tensor.
    #[error("tensor '{tensor}' has no range: calibration saw no value of it")]
    NoRange {
        /// The tensor.
        tensor: String,
    },
}
