//! Accuracy passes that may stop early against those that look once, at the end: how often either is wrong, and what it saves.

use crate::draw::Random;
use crate::rules::CONFIDENCE;
use boardproof_judge::compare::statistics::{Confidence, Paired, PairedMethod, Position, Tally, Values};
use boardproof_record::order::order;
use std::collections::HashMap;
use std::fmt;

/// Of the default policy.
const LIMIT: f64 = 0.01;

/// A line of the table: the same draws, judged in both ways.
pub struct Row {
    truth: String,
    samples: u64,
    trials: u32,
    once: Counts,
    early: Counts,
    seen: u64,
}

#[derive(Default)]
struct Counts {
    pass: u32,
    fail: u32,
}

impl Counts {
    fn add(&mut self, position: Position) {
        self.pass += u32::from(matches!(position, Position::Below | Position::At));
        self.fail += u32::from(position == Position::Above);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { truth, samples, trials, once, early, seen } = self;
        let share = |n: u32| format!("{:.1} %", f64::from(n) / f64::from(*trials) * 100.0);
        let [a, b, c, d] = [once.pass, once.fail, early.pass, early.fail].map(share);
        let mean = *seen as f64 / f64::from(*trials);
        write!(f, "| {truth} | {samples} | {trials} | {a} | {b} | {c} | {d} | {mean:.0} |")
    }
}

/// Limit of one point, as the default policy's; the accuracies and parted answers of `rules`.
pub fn stopping(trials: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for samples in [100, 370, 2000, 10_000] {
        for accuracy in [0.5, 0.9, 0.99] {
            let won = (1.0 - accuracy) / 5.0;
            for loss in [0.0, LIMIT, 2.0 * LIMIT] {
                let truth = format!("accuracy {accuracy}, loss {:.0} points", loss * 100.0);
                rows.push(row(truth, samples, trials, (&[won + loss], won), LIMIT));
            }
        }
    }
    rows.extend(by_slice(trials));
    rows
}

/// What is lost in some slices alone, in the order of strata.
pub fn by_slice(trials: u32) -> Vec<Row> {
    [0.9, 0.99].into_iter().flat_map(|accuracy| in_strata(trials, accuracy)).collect()
}

/// Samples of twenty strata in the order of a pass that may stop early: half of them lose nothing, half lose twice as much as all together.
fn in_strata(trials: u32, accuracy: f64) -> Vec<Row> {
    const SAMPLES: u64 = 2000;
    const STRATA: u64 = 20;
    let strata: Vec<u64> = (0..SAMPLES).map(|sample| sample % STRATA).collect();
    let visited: Vec<u64> = order(1, &strata).into_iter().map(|sample| sample % STRATA).collect();
    let won = (1.0 - accuracy) / 5.0;
    let of_loss = |points: f64| {
        let loss = points * LIMIT;
        let lost: Vec<f64> = visited.iter().map(|stratum| won + 2.0 * loss * (stratum % 2) as f64).collect();
        let truth = format!("accuracy {accuracy}, loss {points:.0} points in half of {STRATA} slices alone");
        row(truth, SAMPLES, trials, (&lost, won), LIMIT)
    };
    [1.0, 2.0].map(of_loss).into()
}

/// `lost` has a chance for each sample in turn, over and over.
fn row(truth: String, samples: u64, trials: u32, (lost, won): (&[f64], f64), limit: f64) -> Row {
    /// Looks at a pass: a stage of the accuracy pass between two of them.
    const LOOKS: u64 = 20;
    let both = Confidence::new(2.0 * CONFIDENCE - 1.0).expect("0.9");
    let mut random = Random::seeded(&format!("sequential {truth} {samples}"));
    let mut known = HashMap::new();
    let mut row = Row { truth, samples, trials, once: Counts::default(), early: Counts::default(), seen: 0 };
    for _ in 0..trials {
        let mut tally = Tally::default();
        let mut stopped = None;
        for sample in 1..=samples {
            let share = random.share();
            let lost = lost[(sample - 1) as usize % lost.len()];
            match share {
                s if s < lost => tally.plus += 1,
                s if s < lost + won => tally.minus += 1,
                _ => tally.none += 1,
            }
            if stopped.is_none() && (sample % (samples / LOOKS) == 0 || sample == samples) {
                let position = tally.against(limit, both, Values::Differences);
                stopped = (position != Position::Straddles).then_some((sample, position));
            }
        }
        let (seen, position) = stopped.unwrap_or((samples, Position::Straddles));
        row.seen += seen;
        row.early.add(position);
        let Tally { minus, none, plus } = tally;
        let counts = Paired { both: none, reference_only: plus, candidate_only: minus, neither: 0 };
        let asked = || turned(counts.interval(both, PairedMethod::Score).against(-limit));
        row.once.add(*known.entry((minus, plus)).or_insert_with(asked));
    }
    row
}

/// A difference above minus the limit is a loss below it.
fn turned(position: Position) -> Position {
    match position {
        Position::Above => Position::Below,
        Position::Below => Position::Above,
        same => same,
    }
}
