//! Times: what the latency rules say at their limit when times follow each other, and how often a pass is called not stationary.

use crate::draw::{Random, Row, count, decided};
use crate::rules::CONFIDENCE;
use boardproof_judge::compare::latency::Latencies;
use boardproof_judge::compare::statistics::{Confidence, normal_quantile};
use boardproof_record::policy::{Decide, Direction};
use boardproof_record::verdict::Verdict;
use std::fmt;

/// Order statistics at their limit: the true quantile, and the true ratio of two medians (1). Times are log-normal with a spread of 1; the
/// logarithms follow their predecessors with the correlation named.
pub fn at_limit(trials: u32) -> Vec<Row> {
    let both = Confidence::new(2.0 * CONFIDENCE - 1.0).expect("0.9");
    let mut rows = Vec::new();
    for samples in [400, 700, 2000] {
        for correlation in [0.0, 0.5, 0.9, 0.97] {
            for (p, rule) in [(0.5, "p50 at most"), (0.9, "p90 at most"), (0.99, "p99 at most")] {
                let truth = format!("at the limit, correlation {correlation}");
                rows.push(count(rule, truth, samples, trials, |random| {
                    let q = times(random, samples, correlation).quantile_of_pass(p, both);
                    match q.lower_ns.zip(q.upper_ns) {
                        Some(b) => decided(q.value_ns, b, Direction::AtMost, normal_quantile(p).exp(), Decide::Shown),
                        None => Verdict::Inconclusive,
                    }
                }));
            }
            let truth = format!("at the limit 1, correlation {correlation}");
            rows.push(count("ratio of medians at most", truth, samples, trials, |random| {
                let (reference, own) = (times(random, samples, correlation), times(random, samples, correlation));
                let found = reference.median_ratio(&own, both);
                match (found.ratio, found.interval) {
                    (Some(value), Some(i)) => decided(value, (i.lower, i.upper), Direction::AtMost, 1.0, Decide::Shown),
                    _ => Verdict::Inconclusive,
                }
            }));
        }
    }
    rows
}

/// Logarithms of times that follow their predecessors.
fn logarithms(random: &mut Random, samples: usize, correlation: f64) -> Vec<f64> {
    let mut last = random.normal();
    let mut next = || {
        let now = last;
        last = correlation * last + (1.0 - correlation * correlation).sqrt() * random.normal();
        now
    };
    (0..samples).map(|_| next()).collect()
}

fn times(random: &mut Random, samples: usize, correlation: f64) -> Latencies {
    let ns = logarithms(random, samples, correlation).into_iter().map(f64::exp).collect();
    Latencies::from_ns(ns).expect("finite times")
}

/// How often a kind of pass is called not stationary.
pub struct Called {
    pub pass: String,
    pub samples: usize,
    pub trials: u32,
    pub called: u32,
}

impl Called {
    pub fn share(&self) -> f64 {
        f64::from(self.called) / f64::from(self.trials)
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pass, samples, trials, .. } = self;
        write!(f, "| {pass} | {samples} | {trials} | {:.2} % |", self.share() * 100.0)
    }
}

/// A pass around one level, with noise, correlation and stalls, and a factor by place in the pass.
#[derive(Clone, Copy)]
struct Pass {
    name: &'static str,
    /// Spread of the logarithms.
    spread: f64,
    correlation: f64,
    /// Share of inferences that take three times as long.
    stalls: f64,
    /// Ticks of the clock in a usual inference; 0: finer than anything.
    ticks: f64,
    moves: fn(f64) -> f64,
}

const STILL: Pass = Pass { name: "", spread: 0.05, correlation: 0.0, stalls: 0.0, ticks: 0.0, moves: |_| 1.0 };

/// Passes that keep their level, and then some that do not.
const PASSES: [Pass; 14] = [
    Pass { name: "independent", ..STILL },
    Pass { name: "independent, 2 % stalls", stalls: 0.02, ..STILL },
    Pass { name: "independent, 10 % stalls", stalls: 0.1, ..STILL },
    Pass { name: "independent, a clock of three ticks", spread: 0.2, ticks: 3.0, ..STILL },
    Pass { name: "correlation 0.5, 2 % stalls", correlation: 0.5, stalls: 0.02, ..STILL },
    Pass { name: "correlation 0.9, 2 % stalls", correlation: 0.9, stalls: 0.02, ..STILL },
    Pass { name: "correlation 0.97, 2 % stalls", correlation: 0.97, stalls: 0.02, ..STILL },
    Pass { name: "correlation 0.97, spread 0.3", correlation: 0.97, spread: 0.3, ..STILL },
    Pass { name: "a drift of 3 %", moves: |at| 1.0 + 0.03 * at, ..STILL },
    Pass { name: "a ramp of 10 %", moves: |at| 1.0 + 0.1 * at, ..STILL },
    Pass {
        name: "a ramp of 20 %, correlation 0.5, 2 % stalls",
        correlation: 0.5,
        stalls: 0.02,
        moves: |at| 1.0 + 0.2 * at,
        ..STILL
    },
    Pass { name: "a step of 10 % in the middle", moves: |at| if at < 0.5 { 1.0 } else { 1.1 }, ..STILL },
    Pass {
        name: "a step of 20 % at a quarter, 2 % stalls",
        stalls: 0.02,
        moves: |at| if at < 0.25 { 1.0 } else { 1.2 },
        ..STILL
    },
    Pass {
        name: "other load of 30 % for a quarter",
        moves: |at| if (0.4..0.65).contains(&at) { 1.3 } else { 1.0 },
        ..STILL
    },
];

pub fn stationarity(trials: u32) -> Vec<Called> {
    let mut rows = Vec::new();
    for pass in &PASSES {
        for samples in [200, 700, 2000] {
            let mut random = Random::seeded(&format!("{} {samples}", pass.name));
            let called = (0..trials).filter(|_| pass.draw(&mut random, samples).movement().is_some()).count() as u32;
            rows.push(Called { pass: pass.name.into(), samples, trials, called });
        }
    }
    rows
}

impl Pass {
    fn draw(&self, random: &mut Random, samples: usize) -> Latencies {
        let logarithms = logarithms(random, samples, self.correlation);
        let ns = logarithms.into_iter().enumerate().map(|(i, logarithm)| {
            let stall = if random.share() < self.stalls { 3.0 } else { 1.0 };
            let time = (self.spread * logarithm).exp() * stall * (self.moves)(i as f64 / samples as f64);
            if self.ticks > 0.0 { (time * self.ticks).round() } else { time }
        });
        Latencies::from_ns(ns.collect()).expect("finite times")
    }
}
