//! A/B runs: two sides in turn on a machine that drifts, stalls and never starts a process twice alike.

use crate::draw::Random;
use boardproof_judge::compare::paired_blocks::{Answer, Looks, Pair, orders};
use boardproof_record::ab::Side;
use std::fmt;

/// Blocks of both sides, and inferences of each: what `boardproof ab` spends unless it is told otherwise.
pub const BLOCKS: usize = 80;
const INFERENCES: usize = 200;
/// The usual confidence of each end.
pub const ALPHA: f64 = 0.01;

/// A machine. Everything multiplies the time of an inference.
#[derive(Clone, Copy)]
pub struct Machine {
    pub name: &'static str,
    /// Slower by this share at the end of the run than at its beginning, in a straight line.
    pub drift: f64,
    /// Share of the inferences that stall.
    pub stalls: f64,
    /// Spread of what each process brings with it: where its memory lies.
    pub process: f64,
    /// Correlation of that from one block to the next: company that stays for a while.
    pub correlation: f64,
    /// What the second block of a pair takes longer, whichever it is.
    pub carried_over: f64,
}

/// Spread of single inferences.
const INFERENCE: f64 = 0.02;
/// How many times as long an inference takes that stalls.
const STALL: f64 = 1.3;

const QUIET: Machine =
    Machine { name: "quiet", drift: 0.0, stalls: 0.0, process: 0.01, correlation: 0.0, carried_over: 0.0 };

/// The machines that are tried.
pub const MACHINES: [Machine; 6] = [
    QUIET,
    Machine { name: "10 % drift, 10 % stalls", drift: 0.1, stalls: 0.1, ..QUIET },
    Machine { name: "10 % drift, 10 % stalls, processes 3 % apart", drift: 0.1, stalls: 0.1, process: 0.03, ..QUIET },
    Machine { name: "10 % drift, 10 % stalls, correlation 0.9", drift: 0.1, stalls: 0.1, correlation: 0.9, ..QUIET },
    Machine { name: "30 % drift, 10 % stalls", drift: 0.3, stalls: 0.1, ..QUIET },
    Machine { name: "the second of a pair 5 % slower", carried_over: 0.05, ..QUIET },
];

/// What was said of many runs with the same truth.
pub struct Row {
    pub machine: &'static str,
    pub truth: f64,
    pub limit: f64,
    pub trials: u32,
    pub slower: u32,
    pub not_slower: u32,
    /// The orders contradicted each other.
    pub faults: u32,
    pub blocks: u64,
}

impl Row {
    pub fn share(&self, count: u32) -> f64 {
        f64::from(count) / f64::from(self.trials)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |count| self.share(count) * 100.0;
        let undecided = self.trials - self.slower - self.not_slower - self.faults;
        write!(
            f,
            "| {} | {:+.0} % | {:+.0} % | {} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {:.0} |",
            self.machine,
            (self.truth - 1.0) * 100.0,
            (self.limit - 1.0) * 100.0,
            self.trials,
            percent(self.slower),
            percent(self.not_slower),
            percent(undecided),
            percent(self.faults),
            self.blocks as f64 / f64::from(self.trials)
        )
    }
}

/// Every machine with no difference, at the limit, and with slowdowns of 3 and 5 %.
pub fn rows(trials: u32) -> Vec<Row> {
    let looks = Looks::new(BLOCKS / 2, ALPHA);
    let of = |machine: &Machine| {
        let cases = [(1.0, 1.0), (1.0, 1.02), (1.02, 1.02), (1.03, 1.02), (1.05, 1.02)];
        cases.map(|(truth, limit)| said(machine, &looks, truth, limit, trials))
    };
    MACHINES.iter().flat_map(of).collect()
}

/// What is said of runs whose truth is known.
pub fn said(machine: &Machine, looks: &Looks, truth: f64, limit: f64, trials: u32) -> Row {
    let mut random = Random::seeded(&format!("{} {truth} {limit}", machine.name));
    let name = machine.name;
    let mut row = Row { machine: name, truth, limit, trials, slower: 0, not_slower: 0, faults: 0, blocks: 0 };
    for _ in 0..trials {
        let pairs = machine.pairs(&mut random, truth);
        let Some((estimate, answer)) = looks.answer(&pairs, limit) else { continue };
        row.blocks += 2 * estimate.pairs as u64;
        let disagree = orders(&pairs[..estimate.pairs]).is_some_and(|orders| orders.disagree);
        match answer {
            _ if disagree => row.faults += 1,
            Answer::Slower => row.slower += 1,
            Answer::NotSlower => row.not_slower += 1,
            Answer::CannotTell => {}
        }
    }
    row
}

impl Machine {
    fn pairs(&self, random: &mut Random, truth: f64) -> Vec<Pair> {
        let mut company = random.normal();
        let mut medians = Vec::new();
        for block in 0..BLOCKS {
            company = self.correlation * company + (1.0 - self.correlation.powi(2)).sqrt() * random.normal();
            let side = if Side::of_block(block) == Side::A { 1.0 } else { truth };
            let second = if block % 2 == 1 { 1.0 + self.carried_over } else { 1.0 };
            medians.push(side * second * (self.process * company).exp() * self.median(random, block));
        }
        let pair = |(i, two): (usize, &[f64])| {
            let (b_first, log) = (i % 2 == 1, (two[1] / two[0]).ln());
            Pair { log_ratio: if b_first { -log } else { log }, b_first }
        };
        medians.chunks_exact(2).enumerate().map(pair).collect()
    }

    /// Median of a block's inferences, without what all of them share.
    fn median(&self, random: &mut Random, block: usize) -> f64 {
        let mut times: Vec<f64> = (0..INFERENCES)
            .map(|inference| {
                let at = (block * INFERENCES + inference) as f64 / (BLOCKS * INFERENCES) as f64;
                let stall = if random.share() < self.stalls { STALL } else { 1.0 };
                (INFERENCE * random.normal()).exp() * stall * (1.0 + self.drift * at)
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        times[INFERENCES / 2]
    }
}
