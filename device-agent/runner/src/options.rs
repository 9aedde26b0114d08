//! The runner's options: JSON from the host, checked here.

use crate::pass::RunError;
use boardproof_engines::{Preprocess, Provider, Quantize};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// When the latency pass may end before all of its inferences are done.
    pub latency_enough: Option<Enough>,
    /// Samples of the self-check.
    #[serde(default = "eight")]
    pub self_check_samples: u32,
    /// Digest of the engine's library, a blob beside the model; without it the unit's own library is used.
    pub library: Option<String>,
    /// The unit's own library, where it is not any but this file.
    pub library_file: Option<PathBuf>,
    /// Execution providers of the engine, the first wanted first; empty for where it always runs.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Their options, by provider.
    #[serde(default)]
    pub provider_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Find out what one core of the unit can do at most, in the place of what the pass is for. Nothing of the model is looked at.
    #[serde(default)]
    pub peak: bool,
    /// Answer with sketches of every layer under this seed, in an accuracy pass of their own.
    pub sketch: Option<u32>,
}

/// So many inferences, and so much time in all of them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enough {
    iterations: u64,
    after_ms: u64,
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
    /// What the integers stand for that the model reads.
    pub quantize: Option<RawQuantize>,
}

/// `clamp(round(x / scale) + zero_point)`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawQuantize {
    scale: f32,
    zero_point: i32,
}

impl Input {
    /// What is done to a raw value; `None` if nothing is.
    pub fn step(&self) -> Option<Preprocess> {
        let quantize = self.quantize.map(|RawQuantize { scale, zero_point }| Quantize { scale, zero_point });
        let step = self.preprocess.as_ref().map(Preprocess::from);
        let step = step.or_else(|| quantize.map(|_| Preprocess::default()))?;
        Some(Preprocess { quantize, ..step })
    }
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

    /// The execution providers with their options.
    pub fn providers(&self) -> Vec<Provider> {
        let options = |name: &String| self.provider_options.get(name).cloned().unwrap_or_default();
        self.providers.iter().map(|name| Provider { name: name.clone(), options: options(name) }).collect()
    }

    /// May the latency pass end after so many inferences that took so long?
    pub fn is_enough(&self, iterations: u64, elapsed_ns: u64) -> bool {
        let limits = self.latency_enough;
        limits.is_some_and(|enough| iterations >= enough.iterations && elapsed_ns / 1_000_000 >= enough.after_ms)
    }
}

impl From<&RawPreprocess> for Preprocess {
    fn from(raw: &RawPreprocess) -> Self {
        Self { scale: raw.scale, mean: raw.mean.clone(), std: raw.std.clone(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &str) -> Result<Options, String> {
        Options::parse(&format!("{{\"inputs\": []{more}}}")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (more, said) in [
            (", \"threads\": 2", "threads"),
            (", \"accuracy_workers\": 0", "1 to 64"),
            (", \"accuracy_workers\": 65", "1 to 64"),
            (", \"faster\": true", "options"),
        ] {
            let error = parse(more).unwrap_err();
            assert!(error.contains(said), "{more}: {error}");
        }
    }

    #[test]
    fn what_is_done_to_an_input_is_preprocessing_quantization_both_or_nothing() {
        let step = |more: &str| {
            let input = format!(r#"{{ "tensor": "t", "name": "x", "shape": [2], "dtype": "i8" {more} }}"#);
            serde_json::from_str::<Input>(&input).unwrap().step()
        };
        let quantize = r#", "quantize": { "scale": 0.5, "zero_point": -3 }"#;
        let preprocess = r#", "preprocess": { "scale": 2.0, "mean": [1.0], "std": [4.0] }"#;
        assert_eq!(step(""), None);
        let wanted = Some(Quantize { scale: 0.5, zero_point: -3 });
        assert_eq!(step(quantize), Some(Preprocess { quantize: wanted, ..Preprocess::default() }));
        let scaled = Preprocess { scale: 2.0, mean: vec![1.0], std: vec![4.0], ..Preprocess::default() };
        assert_eq!(step(preprocess), Some(scaled.clone()));
        assert_eq!(step(&format!("{preprocess}{quantize}")), Some(Preprocess { quantize: wanted, ..scaled }));
    }

    #[test]
    fn it_is_enough_when_both_are_reached_and_never_unless_asked_for() {
        let asked = parse(", \"latency_enough\": {\"iterations\": 200, \"after_ms\": 2000}").unwrap();
        assert!(!asked.is_enough(200, 1_999_999_999) && !asked.is_enough(199, u64::MAX));
        assert!(asked.is_enough(200, 2_000_000_000));
        assert!(!parse("").unwrap().is_enough(u64::MAX, u64::MAX));
    }
}
