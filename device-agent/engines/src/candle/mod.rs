//! candle: tensors on the CPU, and an executor of our own that runs ONNX models on them, single-threaded.
//!
//! Owns everything that knows candle's types; nothing of candle is visible outside this module. It shares no code with the other engines
//! but the reading of bytes, so that it can stand as a reference beside them: see docs/decisions/0012-candle.md.

mod loaded;
mod operators;
mod plan;
mod precision;
mod source;
mod threads;
mod value;

use crate::engine::{Engine, LoadOptions, Loaded, Refusal};
use crate::self_check::{SelfCheck, SelfCheckLimits};
use crate::tensor::TensorView;

/// The version this crate pins; a test compares it with the lock file.
const VERSION: &str = "0.11.1";

/// The candle engine: ONNX in, a list of operators on candle tensors out.
#[derive(Debug, Clone, Copy, Default)]
pub struct CandleEngine;

impl Engine for CandleEngine {
    fn name(&self) -> &'static str {
        "candle"
    }

    fn version(&self) -> &'static str {
        VERSION
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Loaded>, Refusal> {
        threads::stay_on_this_thread();
        let source = source::Source::parse(model)?;
        Ok(Box::new(loaded::CandleModel::new(&source, options, value::Width::Written)?))
    }

    fn self_check(
        &self,
        model: &[u8],
        options: &LoadOptions,
        loaded: &mut dyn Loaded,
        samples: &[Vec<TensorView<'_>>],
        _limits: &SelfCheckLimits,
    ) -> Result<SelfCheck, Refusal> {
        threads::stay_on_this_thread();
        precision::self_check(&source::Source::parse(model)?, options, loaded, samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_locked_one() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"))
            .expect("the workspace's lock file");
        let entry = format!("name = \"candle-core\"\nversion = \"{VERSION}\"\n");
        assert!(lock.contains(&entry), "expected {entry:?} in Cargo.lock");
    }
}
