//! From quantized ONNX models to models for microcontrollers.
//!
//! Pure: bytes in, bytes out. Takes models whose activations and weights are 8-bit integers, written with QuantizeLinear and
//! DequantizeLinear (QDQ) or with quantized operators (QOperator), makes integer operators of what stands between, and gives every tensor
//! its place in the arena. Refuses what would run in floating point, all of it by name, before anything is flashed. The answer to a model is
//! the same bytes wherever it is compiled.

mod arena;
mod constant;
mod copies;
mod emit;
mod graph;
mod lower;
pub mod onnx;
mod operators;
mod value;

pub use emit::{InputReport, Report};

use boardproof_micro::Model;

/// A model for microcontrollers.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// Its bytes, as [`Model::check`] takes them.
    pub bytes: Vec<u8>,
    /// What it is made of.
    pub report: Report,
}

/// Who makes 8-bit values of a model's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edges {
    /// Whoever feeds the model: the inputs are 8-bit values, as a product's sensor gives them.
    #[default]
    HostQuantizes,
    /// The model: its inputs are numbers, and its first operator makes values of them.
    DeviceQuantizes,
}

/// An operator that cannot be compiled, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Operator as the model writes it.
    pub operator: String,
    /// Name of its node.
    pub node: String,
    /// Why not.
    pub reason: String,
}

/// A model that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It is no ONNX model, or one that breaks the format's own rules.
    #[error("could not read the model: {0}")]
    Malformed(String),
    /// It has operators that are not integer arithmetic, or that are not known here.
    #[error("{}", in_words(.0))]
    Unsupported(Vec<Unsupported>),
    /// What was made is not a good model: a mistake of this crate.
    #[error("the compiled model is not valid: {0}")]
    Invalid(boardproof_micro::Invalid),
}

fn in_words(all: &[Unsupported]) -> String {
    let Some(first) = all.first() else { return "nothing in the model can be compiled".into() };
    let Unsupported { operator, node, reason } = first;
    let place = if node.is_empty() { String::new() } else { format!(" (node {node})") };
    let more = match all.len() - 1 {
        0 => String::new(),
        more => {
            let mut names: Vec<&str> = all[1..].iter().map(|u| u.operator.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            format!("; and {more} more: {}", names.join(", "))
        }
    };
    format!("operator {operator}{place}: {reason}{more}")
}

/// Compiles a model.
///
/// # Errors
/// [`CompileError::Unsupported`] names every operator that cannot be compiled.
pub fn compile(onnx: &[u8], edges: Edges) -> Result<Compiled, CompileError> {
    let graph = graph::read(onnx)?;
    let program = lower::lower(&graph, edges)?;
    let mut compiled = emit::emit(&program)?;
    Model::check(&compiled.bytes).map_err(CompileError::Invalid)?;
    compiled.report.inputs = graph.inputs.iter().map(graph::Input::report).collect();
    Ok(compiled)
}
