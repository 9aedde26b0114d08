//! Draws: runs whose truth is known, and how often the gate said what about them. Seeds are fixed; the same build prints the same table.

use boardproof_judge::gate::{Number, decide};
use boardproof_record::policy::{Decide, Direction};
use boardproof_record::verdict::Verdict;
use std::fmt;

/// One line: a rule, what is true, and how often the gate said what.
pub struct Row {
    pub rule: &'static str,
    pub truth: String,
    pub samples: usize,
    pub trials: u32,
    pub pass: u32,
    pub fail: u32,
}

impl Row {
    pub fn pass_share(&self) -> f64 {
        f64::from(self.pass) / f64::from(self.trials)
    }

    pub fn fail_share(&self) -> f64 {
        f64::from(self.fail) / f64::from(self.trials)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, truth, samples, trials, .. } = self;
        let (pass, fail) = (self.pass_share() * 100.0, self.fail_share() * 100.0);
        let undecided = f64::from(trials - self.pass - self.fail) / f64::from(*trials) * 100.0;
        write!(f, "| {rule} | {truth} | {samples} | {trials} | {pass:.1} % | {fail:.1} % | {undecided:.1} % |")
    }
}

/// Counts what the gate says about `trials` runs.
pub fn count(
    rule: &'static str,
    truth: String,
    samples: usize,
    trials: u32,
    mut run: impl FnMut(&mut Random) -> Verdict,
) -> Row {
    let mut random = Random::seeded(&format!("{rule} {truth} {samples}"));
    let mut row = Row { rule, truth, samples, trials, pass: 0, fail: 0 };
    for _ in 0..trials {
        match run(&mut random) {
            Verdict::Pass => row.pass += 1,
            Verdict::Fail => row.fail += 1,
            Verdict::Inconclusive | Verdict::Incomplete => {}
        }
    }
    row
}

/// The gate's answer to a number with its interval.
pub fn decided(value: f64, bounds: (f64, f64), direction: Direction, limit: f64, how: Decide) -> Verdict {
    decide(Number { value, bounds: Some(bounds) }, direction, limit, how)
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same on every machine.
pub struct Random(u64);

impl Random {
    /// Seeded with a name.
    pub fn seeded(name: &str) -> Self {
        Self(
            name.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in `0..1`.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.share()).cos()
    }
}
