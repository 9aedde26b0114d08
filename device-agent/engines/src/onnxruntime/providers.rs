//! Where the library runs a model: its execution providers, by the library's names.
//!
//! Owns that none is dropped in silence: the library goes on without a provider that it has not, and its nodes run on the CPU.

use ort::environment::Environment;
use ort::ep::{
    ACL, Azure, CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch, OpenVINO, QNN, TensorRT, VSINPU, XNNPACK,
};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::refusal::reason;
use crate::engine::{EngineFault, LoadOptions};

/// A provider that can be asked for.
struct Known {
    name: &'static str,
    /// Was the library built with it?
    is_there: fn() -> ort::Result<bool>,
    make: fn() -> ExecutionProviderDispatch,
}

/// One that the library makes without further options.
macro_rules! known {
    ($provider:ident) => {
        Known { name: $provider::NAME, is_there: $provider::is_available, make: || $provider::default().build() }
    };
}

const KNOWN: [Known; 9] = [
    known!(ACL),
    known!(Azure),
    known!(CPU),
    known!(CUDA),
    known!(OpenVINO),
    known!(QNN),
    known!(TensorRT),
    known!(VSINPU),
    known!(XNNPACK),
];

/// End of every provider's name.
const SUFFIX: &str = "ExecutionProvider";

/// A provider without the end that all have: `CUDA`.
pub(super) fn short(provider: &str) -> &str {
    provider.strip_suffix(SUFFIX).unwrap_or(provider)
}

/// The provider that all nodes are to run on; without a list, wherever they do.
pub(super) fn wanted(options: &LoadOptions) -> Option<&str> {
    options.providers.first().map(String::as_str)
}

/// Registers the providers in their order; an error names the one that could not be.
pub(super) fn register(mut builder: SessionBuilder, providers: &[String]) -> Result<SessionBuilder, (String, String)> {
    for name in providers {
        let known = KNOWN.iter().find(|known| known.name == name).ok_or_else(|| (name.clone(), absent()))?;
        if !(known.is_there)().map_err(|error| (name.clone(), reason(&error)))? {
            return Err((name.clone(), absent()));
        }
        // It is always there, behind all others. To register it would choose its allocator anew.
        if name == CPU::NAME {
            continue;
        }
        let provider = (known.make)().error_on_failure();
        builder = builder.with_execution_providers([provider]).map_err(|error| (name.clone(), reason(&error)))?;
    }
    Ok(builder)
}

/// Can a session be made for them? No model is needed to find out.
pub(super) fn check(environment: &Environment, providers: &[String]) -> Result<(), EngineFault> {
    let fault = |(provider, reason)| EngineFault::Provider { engine: "onnxruntime", provider, reason };
    let Some(first) = providers.first() else { return Ok(()) };
    let builder = Session::builder(environment).map_err(|error| fault((first.clone(), reason(&error))))?;
    register(builder, providers).map(drop).map_err(fault)
}

/// Why one is not there, with those that are.
fn absent() -> String {
    let there = KNOWN.iter().filter(|known| (known.is_there)().unwrap_or(false)).map(|known| known.name);
    let there: Vec<&str> = there.collect();
    format!("this library has: {}", there.join(", "))
}
