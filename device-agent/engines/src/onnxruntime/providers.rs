//! Where the library runs a model: its execution providers, by the library's names.
//!
//! Owns that none is dropped in silence: the library goes on without a provider that it has not, and its nodes run on the CPU.

use std::collections::BTreeMap;

use ort::environment::Environment;
use ort::ep::{
    ACL, ArbitrarilyConfigurableExecutionProvider, Azure, CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch,
    OpenVINO, QNN, TensorRT, VSINPU, XNNPACK,
};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::refusal::reason;
use crate::engine::{EngineFault, LoadOptions, Provider};

/// A provider that can be asked for.
struct Known {
    name: &'static str,
    /// Was the library built with it?
    is_there: fn() -> ort::Result<bool>,
    make: fn(&BTreeMap<String, String>) -> ExecutionProviderDispatch,
}

/// One that is told options by their names, or none.
macro_rules! known {
    ($provider:ident) => {
        Known {
            name: $provider::NAME,
            is_there: $provider::is_available,
            make: |options| {
                let told = options.iter();
                told.fold($provider::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value))
                    .build()
            },
        }
    };
    ($provider:ident without options) => {
        Known { name: $provider::NAME, is_there: $provider::is_available, make: |_| $provider::default().build() }
    };
}

const KNOWN: [Known; 9] = [
    known!(ACL without options),
    known!(Azure),
    known!(CPU without options),
    known!(CUDA),
    known!(OpenVINO),
    known!(QNN),
    known!(TensorRT),
    known!(VSINPU without options),
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
    options.providers.first().map(|provider| provider.name.as_str())
}

/// Registers the providers in their order; an error names the one that could not be.
pub(super) fn register(
    mut builder: SessionBuilder,
    providers: &[Provider],
) -> Result<SessionBuilder, (String, String)> {
    for Provider { name, options } in providers {
        let known = KNOWN.iter().find(|known| known.name == name).ok_or_else(|| (name.clone(), absent()))?;
        if !(known.is_there)().map_err(|error| (name.clone(), reason(&error)))? {
            return Err((name.clone(), absent()));
        }
        // It is always there, behind all others. To register it would choose its allocator anew.
        if name == CPU::NAME {
            continue;
        }
        let provider = (known.make)(options).error_on_failure();
        builder = builder.with_execution_providers([provider]).map_err(|error| (name.clone(), reason(&error)))?;
    }
    Ok(builder)
}

/// Can a session be made for them? No model is needed to find out.
pub(super) fn check(environment: &Environment, providers: &[Provider]) -> Result<(), EngineFault> {
    let fault = |(provider, reason)| EngineFault::Provider { engine: "onnxruntime", provider, reason };
    let Some(first) = providers.first() else { return Ok(()) };
    let builder = Session::builder(environment).map_err(|error| fault((first.name.clone(), reason(&error))))?;
    register(builder, providers).map(drop).map_err(fault)
}

/// Why one is not there, with those that are.
fn absent() -> String {
    let there = KNOWN.iter().filter(|known| (known.is_there)().unwrap_or(false)).map(|known| known.name);
    let there: Vec<&str> = there.collect();
    format!("this library has: {}", there.join(", "))
}
