//! What comes before the inferences that are timed, in the process that times them: loading, the first inference, the warm-up. A cold start
//! is none of the steady state's latency, and nobody who waits for a first answer is helped by a median.

use super::duration_ns;
use boardproof_record::observation::Observation;
use boardproof_record::plan::{Cell, Pass};
use serde::Serialize;

/// Single times without an interval, in nanoseconds; `None` where one was not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Beginning {
    /// From the model's bytes in memory to a model that is ready.
    pub load_ns: Option<u64>,
    /// The first inference.
    pub first_inference_ns: Option<u64>,
    /// All warm-up inferences, with the preparation of their inputs.
    pub warmup_ns: Option<u64>,
    /// How many those are.
    pub warmup_inferences: u32,
}

impl Beginning {
    /// Of the cell's latency pass; `None` where it told none of them.
    pub fn of(cell: &Cell, seen: &Observation) -> Option<Self> {
        let numbers = &seen.pass(Pass::Latency)?.facts.numbers;
        let warmup = cell.passes.iter().find(|plan| plan.pass == Pass::Latency).map_or(0, |plan| plan.warmup);
        let number = |name: &str| numbers.get(name).copied();
        let found = Self {
            load_ns: number("load_ns"),
            first_inference_ns: number("first_inference_ns"),
            // An engine that warms up by nothing tells the time of nothing.
            warmup_ns: number("warmup_wall_ns").filter(|_| warmup > 0),
            warmup_inferences: warmup,
        };
        [found.load_ns, found.first_inference_ns, found.warmup_ns].iter().any(Option::is_some).then_some(found)
    }

    /// In words: `loading 3.00 ms, first inference 90.0 µs, 50 inferences to warm up 2.10 ms`.
    pub fn sentence(&self) -> String {
        let told = |what: String, ns: Option<u64>| Some(format!("{what} {}", duration_ns(ns? as f64)));
        let warmup = format!("{} inferences to warm up", self.warmup_inferences);
        let parts = [
            told("loading".into(), self.load_ns),
            told("first inference".into(), self.first_inference_ns),
            told(warmup, self.warmup_ns),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
