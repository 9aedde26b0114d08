//! The runner's options: JSON from the host, checked here.

use crate::pass::RunError;
use boardproof_engines::Preprocess;
use serde::Deserialize;

/// Most copies of a model that the accuracy pass may work with.
const WORKERS_MAX: u32 = 64;

/// Options of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Which tensor of the evalset feeds which input of the model.
    pub inputs: Vec<Input>,
    /// Threads of the engine.
    #[serde(default = "one")]
    pub threads: u32,
    /// Inferences that the accuracy pass has on the way at the same time, each with a copy of the model.
    #[serde(default = "one")]
    pub accuracy_workers: u32,
    /// Samples of the self-check.
    #[serde(default = "eight")]
    pub self_check_samples: u32,
}

/// One input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Tensor in the evalset.
    pub tensor: String,
    /// Input of the model.
    pub name: String,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// Element type that the manifest says the model reads; another one is refused.
    pub dtype: String,
    /// How raw values become inputs.
    pub preprocess: Option<RawPreprocess>,
}

/// `(x * scale - mean) / std`, channels on the first dimension after the sample.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPreprocess {
    scale: f32,
    mean: Vec<f32>,
    std: Vec<f32>,
}

fn one() -> u32 {
    1
}

fn eight() -> u32 {
    8
}

impl Options {
    /// Parses them.
    pub fn parse(text: &str) -> Result<Self, RunError> {
        let options: Self = serde_json::from_str(text).map_err(RunError::Options)?;
        if options.threads != 1 {
            return Err(RunError::Threads { found: options.threads });
        }
        if !(1..=WORKERS_MAX).contains(&options.accuracy_workers) {
            return Err(RunError::Workers { limit: WORKERS_MAX, found: options.accuracy_workers });
        }
        Ok(options)
    }
}

impl From<&RawPreprocess> for Preprocess {
    fn from(raw: &RawPreprocess) -> Self {
        Self { scale: raw.scale, mean: raw.mean.clone(), std: raw.std.clone(), channel_axis: 1 }
    }
}
