//! How often the bounds of a metric that a model's owner computes hold the truth: means of numbers within a range, and losses in pairs.

use crate::coverage::{Coverage, count};
use crate::draw::Random;
use boardproof_judge::compare::statistics::{Confidence, Interval};
use boardproof_judge::compare::task::mean_with_bounds;

const CONFIDENCE: Confidence = Confidence::P95;

/// Numbers as a metric gives them: what they look like, their mean, and the range that the owner states.
struct Kind {
    words: &'static str,
    mean: f64,
    range: [f64; 2],
    draw: fn(&mut Random) -> f64,
}

/// Means, and losses of the candidate against the reference on the same samples.
const KINDS: [(&str, Kind); 6] = [
    ("own mean (BCa)", Kind { words: "even between 0 and 1", mean: 0.5, range: [0.0, 1.0], draw: Random::share }),
    (
        "own mean (BCa)",
        Kind { words: "skewed: zero in 7 of 10, else a long tail", mean: 0.6, range: [0.0, 40.0], draw: long_tail },
    ),
    (
        "own mean (BCa)",
        Kind {
            words: "nearly constant: 1, and 0 in 1 of 100",
            mean: 0.99,
            range: [0.0, 1.0],
            draw: |r| nearly(r, 0.01),
        },
    ),
    (
        "own drop (BCa)",
        Kind { words: "each sample a little, 2 points on average", mean: 0.02, range: [-1.0, 1.0], draw: a_little },
    ),
    (
        "own drop (BCa)",
        Kind { words: "1 of 20 loses 0.4", mean: 0.02, range: [-1.0, 1.0], draw: |r| 0.4 - 0.4 * nearly(r, 0.05) },
    ),
    (
        "own drop (BCa)",
        Kind { words: "1 of 100 loses all", mean: 0.01, range: [-1.0, 1.0], draw: |r| 1.0 - nearly(r, 0.01) },
    ),
];

/// 1, and 0 with this chance.
fn nearly(random: &mut Random, chance: f64) -> f64 {
    f64::from(u8::from(random.share() >= chance))
}

/// As word errors of a sentence: mostly none, else exponential with a mean of 2. What lies beyond 40 has a chance of 2e-9.
fn long_tail(random: &mut Random) -> f64 {
    let (some, tail) = (random.share() < 0.3, random.share());
    if some { (-2.0 * (1.0 - tail).ln()).min(40.0) } else { 0.0 }
}

/// What is lost on a sample follows what the sample is: both answers are drawn.
fn a_little(random: &mut Random) -> f64 {
    let reference = 0.2 + 0.7 * random.share();
    let candidate = reference - 0.12 + 0.2 * random.share();
    reference - candidate
}

/// Every kind at every number of samples: a quarter of the runs from a thousand on, where a run takes ten times as long and more.
pub fn coverage(trials: u32) -> Vec<Coverage> {
    let mut rows = Vec::new();
    for samples in [100, 1000, 10_000] {
        let trials = if samples > 100 { trials / 4 } else { trials };
        for (interval, kind) in &KINDS {
            rows.push(count(interval, (kind.words.into(), kind.mean), samples, trials, |random| {
                let numbers: Vec<f64> = (0..samples).map(|_| (kind.draw)(random)).collect();
                let found = mean_with_bounds(&numbers, kind.range, CONFIDENCE);
                found.map_or(Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY }, |found| found.interval)
            }));
        }
    }
    rows
}
