//! What is told at the end.

use super::attempt::{Attempt, Stopped};
use super::rank::Ranked;
use super::{Work, entry};
use crate::exit::Exit;
use crate::table::Table;
use boardproof_record::verdict::Verdict;
use serde::Serialize;
use std::collections::BTreeSet;

/// Ranked layers that are shown.
const SHOWN: usize = 8;

/// How it ended.
pub enum Outcome {
    /// Nothing was checked.
    NotChecked,
    /// What was made passed at once.
    Passed {
        /// Layers in float.
        left: BTreeSet<usize>,
    },
    /// A set of layers was found whose answers passed, and was checked once more.
    Repaired {
        /// What that check says.
        verdict: Verdict,
        /// It keeps the rules on answers again.
        keeps_answers: bool,
        /// No layer of it can be put back.
        is_least: bool,
        /// The set.
        left: BTreeSet<usize>,
    },
    /// No set of layers passes.
    Nothing {
        /// What stays in float whatever comes.
        left: BTreeSet<usize>,
    },
    /// It ended before.
    Stopped {
        /// Why.
        why: Stopped,
        /// Layers in float of what is written.
        left: BTreeSet<usize>,
    },
}

impl Outcome {
    /// Layers in float of what is written.
    pub fn left(&self) -> Option<&BTreeSet<usize>> {
        match self {
            Self::NotChecked => None,
            Self::Passed { left }
            | Self::Repaired { left, .. }
            | Self::Nothing { left }
            | Self::Stopped { left, .. } => Some(left),
        }
    }

    /// The exit: what the last check says of what is written.
    pub fn exit(&self, last: Option<&Attempt>) -> Exit {
        match self {
            Self::NotChecked | Self::Passed { .. } => Exit::Pass,
            Self::Repaired { verdict, .. } => (*verdict).into(),
            Self::Nothing { .. } => Exit::Fail,
            Self::Stopped { why: Stopped::Interrupted, .. } => Exit::Interrupted,
            Self::Stopped { why: Stopped::Spent, .. } => Exit::Fail,
            Self::Stopped { .. } => last.map_or(Exit::Incomplete, |last| last.verdict.into()),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::NotChecked => "not checked".into(),
            Self::Passed { left } if left.is_empty() => "passes: no layer has to stay in float".into(),
            Self::Passed { left } => format!("passes, with the {} in float that --leave names", layers(left.len())),
            Self::Repaired { keeps_answers: false, .. } => {
                "no set is confirmed: the one that was found failed when it was checked again".into()
            }
            Self::Repaired { verdict: Verdict::Pass, is_least, left, .. } => {
                let least = if *is_least {
                    "without any one of those that were searched it fails"
                } else {
                    "the attempts were spent before it was known whether fewer are enough"
                };
                format!("passes with {} in float, confirmed by a check of its own; {least}", layers(left.len()))
            }
            Self::Repaired { verdict: Verdict::Inconclusive, left, .. } => format!(
                "{} in float keep the answers, and the confirming check could not decide a rule on what that costs (more --iterations, a quieter unit)",
                layers(left.len())
            ),
            Self::Repaired { left, .. } => format!(
                "no set of layers passes: {} in float keep the answers, and what that costs breaks the policy",
                layers(left.len())
            ),
            Self::Nothing { .. } => {
                "no set of layers passes: even with all but the most harmless one in float the answers fail".into()
            }
            Self::Stopped { why, .. } => stopped(*why).into(),
        }
    }
}

fn layers(n: usize) -> String {
    if n == 1 { "1 layer".into() } else { format!("{n} layers") }
}

fn stopped(why: Stopped) -> &'static str {
    match why {
        Stopped::Incomplete => "not everything was measured: nothing was searched on",
        Stopped::OnlyCost => {
            "only rules on what the model costs do not pass (latency, memory, size): leaving layers in float cannot help, nothing was searched"
        }
        Stopped::NoFloats => {
            "the unit's engine computes in whole numbers only: no layer can be left in float there, nothing was searched"
        }
        Stopped::NotAsked => "fails; nothing was searched (--no-search)",
        Stopped::Spent => "no set of layers has passed in as many attempts as there were to be (--attempts)",
        Stopped::Interrupted => "interrupted",
    }
}

/// Everything, for a machine.
#[derive(Serialize)]
pub struct Told {
    schema: u32,
    model: String,
    variant: String,
    file: String,
    quantization: String,
    calibration: Calibration,
    layers: usize,
    left_in_float: Vec<String>,
    /// Operators that are not quantized, whatever is asked for: `operator (node): why`.
    unquantized: Vec<String>,
    outcome: String,
    model_bytes: usize,
    float_bytes: u64,
    added: bool,
    attempts: Vec<Attempt>,
    ranking: Vec<Ranked>,
}

#[derive(Serialize)]
struct Calibration {
    data: String,
    samples: u64,
    /// Samples that the evalset has as well.
    judging: u64,
    /// It was asked for that the evalset is calibrated on.
    is_evalset: bool,
    method: String,
}

impl Told {
    /// Gathers it.
    pub fn of(work: &Work<'_>, outcome: &Outcome, bytes: &[u8], added: bool) -> Self {
        let (job, calibrated) = (work.job, &work.calibrated);
        let unquantized = job.network.unquantized.iter();
        Self {
            schema: 1,
            model: job.manifest.model.name.to_string(),
            variant: job.name.to_string(),
            file: job.file.display().to_string(),
            quantization: entry::quantization(job),
            calibration: Calibration {
                data: calibrated.data.clone(),
                samples: calibrated.samples,
                judging: calibrated.judging,
                is_evalset: job.args.how.calibrate_on_evalset.is_some(),
                method: calibrated.method.clone(),
            },
            layers: job.network.layers.len(),
            left_in_float: job.layer_names(outcome.left().unwrap_or(&job.left)),
            unquantized: unquantized.map(|one| format!("{} ({}): {}", one.operator, one.node, one.why)).collect(),
            outcome: outcome.in_words(),
            model_bytes: bytes.len(),
            float_bytes: job.reference().bytes,
            added,
            attempts: work.attempts.clone(),
            ranking: work.ranking.clone(),
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let Calibration { data, samples, judging, method, .. } = &self.calibration;
        let mut text = format!(
            "{}/{}: {}, {method} over {samples} samples of {data}\n",
            self.model, self.variant, self.quantization
        );
        if self.calibration.is_evalset {
            text += "CALIBRATED ON WHAT JUDGES IT: take other data before you trust this verdict\n";
        } else if *judging > 0 {
            text += &format!("{judging} of these samples are in the evalset, too\n");
        }
        for one in &self.unquantized {
            text += &format!("stays in float: {one}\n");
        }
        if !self.ranking.is_empty() {
            text += &format!("\nwhat each layer costs alone, the worst first\n{}", self.ranked());
        }
        if !self.attempts.is_empty() {
            text += &format!("\n{}", self.tried());
        }
        text += &format!("\n{}\n", self.outcome);
        for layer in &self.left_in_float {
            text += &format!("  in float: {layer}\n");
        }
        text + &self.costs()
    }

    fn ranked(&self) -> String {
        let mut table = Table::new(&["ALONE dB", "OPERATOR", "LAYER"]);
        for one in self.ranking.iter().take(SHOWN) {
            let db = if one.silent { "no answer".into() } else { number(one.alone_db, 1, "exact") };
            table.row(&[&db, &one.operator, &one.tensor]);
        }
        let more = self.ranking.len().saturating_sub(SHOWN);
        if more > 0 {
            table.row(&["...", &format!("{more} more"), "quantize.json has them"]);
        }
        table.to_string()
    }

    fn tried(&self) -> String {
        let mut table = Table::new(&["CHECK", "IN FLOAT", "VERDICT", "SQNR dB", "METRIC", "p50", "kB", "WHY"]);
        if let Some(first) = self.attempts.first() {
            let p50 = time(first.latency_ns_p50_float, None);
            let metric = number(first.metric_float, 4, "-");
            table.row(&[
                "float",
                "all",
                "-",
                "-",
                &metric,
                &p50,
                &kilo(self.float_bytes),
                "what they are held against",
            ]);
        }
        for one in &self.attempts {
            let verdict = format!("{:?}", one.verdict).to_lowercase();
            let (db, metric) = (number(one.sqnr_db, 1, "-"), number(one.metric, 4, "-"));
            let (left, p50) = (one.left_in_float.len().to_string(), time(one.latency_ns_p50, one.instructions_p50));
            table.row(&[&one.record, &left, &verdict, &db, &metric, &p50, &kilo(one.model_bytes), one.first_reason()]);
        }
        table.to_string()
    }

    /// What the layers in float cost against the model without them, and against the float model.
    fn costs(&self) -> String {
        let mut of_written = self.attempts.iter().rev().filter(|one| one.left_in_float == self.left_in_float);
        let (Some(first), Some(last)) = (self.attempts.first(), of_written.next()) else { return String::new() };
        let ratio = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| format!("{:.2} times", a / b));
        let size = |bytes: u64| format!("{:.2} times", self.model_bytes as f64 / bytes as f64);
        let of_float =
            ratio(last.latency_ns_p50, last.latency_ns_p50_float).unwrap_or_else(|| "an unknown share of".into());
        let mut text = format!("  against float: {of_float} its median latency, {} its size\n", size(self.float_bytes));
        if self.left_in_float.len() > first.left_in_float.len() {
            let of_first =
                ratio(last.latency_ns_p50, first.latency_ns_p50).unwrap_or_else(|| "an unknown share of".into());
            text += &format!(
                "  against all in whole numbers: {of_first} its median latency, {} its size (checked one after the other: `boardproof ab` compares in turn)\n",
                size(first.model_bytes)
            );
        }
        text
    }
}

fn number(value: Option<f64>, digits: usize, none: &str) -> String {
    value.map_or_else(|| none.into(), |value| format!("{value:.digits$}"))
}

fn kilo(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1000.0)
}

fn time(ns: Option<f64>, instructions: Option<f64>) -> String {
    match (ns, instructions) {
        (_, Some(count)) => format!("{count} instr."),
        (Some(ns), None) => format!("{:.1} us", ns / 1000.0),
        (None, None) => "-".into(),
    }
}
