//! tract: a pure-Rust engine for ONNX models, single-threaded here, and the same graphs on NVIDIA GPUs.
//!
//! Owns everything that knows tract's types; nothing of tract is visible outside this module. tract panics on some hostile models, so
//! every call into it goes through `guard`.

mod bisect;
mod convert;
#[cfg(feature = "cuda")]
mod cuda;
mod guard;
mod loaded;
mod operators;
mod profile;
mod source;

use self::bisect::Runs;
#[cfg(feature = "cuda")]
pub use self::cuda::CudaEngine;
use crate::engine::{Engine, LoadOptions, Loaded, Refusal};
use crate::self_check::{SelfCheck, SelfCheckLimits};
use crate::tensor::TensorView;

/// The version this crate pins; a test compares it with the lock file.
const VERSION: &str = "0.23.9";

/// The tract engine: ONNX in, optimized single-threaded plan out.
#[derive(Debug, Clone, Copy, Default)]
pub struct TractEngine;

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn version(&self) -> &'static str {
        VERSION
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Loaded>, Refusal> {
        let source = source::Source::parse(model)?;
        Ok(Box::new(loaded::TractModel::optimized(&source, options)?))
    }

    fn self_check(
        &self,
        model: &[u8],
        options: &LoadOptions,
        loaded: &mut dyn Loaded,
        samples: &[Vec<TensorView<'_>>],
        limits: &SelfCheckLimits,
    ) -> Result<SelfCheck, Refusal> {
        bisect::self_check(&source::Source::parse(model)?, options, loaded, samples, limits, Runs::OnTheCpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_locked_one() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"))
            .expect("the workspace's lock file");
        let entry = format!("name = \"tract-onnx\"\nversion = \"{VERSION}\"\n");
        assert!(lock.contains(&entry), "expected {entry:?} in Cargo.lock");
    }
}
