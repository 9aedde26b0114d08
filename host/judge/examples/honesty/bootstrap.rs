//! How often bounds that are drawn hold the truth: F1, its drop, the calibration error and its rise.

use crate::coverage::{Coverage, count};
use crate::draw::Random;
use boardproof_judge::compare::statistics::{Confidence, Interval};
use boardproof_judge::compare::task::{Claims, F1, Rows, Scale};

const CONFIDENCE: Confidence = Confidence::P95;
/// Classes, the rarest last: a share of half, three tenths and a fifth.
const SHARES: [f64; 3] = [0.5, 0.3, 0.2];

/// Every interval that is drawn.
pub fn coverage(trials: u32) -> Vec<Coverage> {
    let mut rows = Vec::new();
    for samples in [100, 1000, 10_000] {
        // Ten times the samples take ten times as long.
        let trials = if samples > 1000 { trials / 5 } else { trials };
        for accuracy in [0.7, 0.9, 0.99] {
            rows.extend(f1(samples, accuracy, trials));
        }
        for sharpness in [Sharpness::Sure, Sharpness::Spread] {
            for off in [0.0, 0.03, 0.08] {
                rows.extend(calibration(samples, sharpness, off, trials));
            }
        }
    }
    rows
}

/// F1 of answers of which `right` are right, a wrong one falling on either other class alike.
fn true_f1(right: f64) -> f64 {
    let of = |class: usize| {
        let others: f64 = (0..3).filter(|other| *other != class).map(|other| SHARES[other]).sum();
        let (hit, missed, wrong) = (SHARES[class] * right, SHARES[class] * (1.0 - right), others * (1.0 - right) / 2.0);
        2.0 * hit / (2.0 * hit + missed + wrong)
    };
    (0..3).map(of).sum::<f64>() / 3.0
}

fn label(random: &mut Random) -> usize {
    let share = random.share();
    if share < SHARES[0] {
        0
    } else if share < SHARES[0] + SHARES[1] {
        1
    } else {
        2
    }
}

fn other(random: &mut Random, class: usize) -> usize {
    (class + 1 + usize::from(random.share() < 0.5)) % 3
}

fn f1(samples: usize, accuracy: f64, trials: u32) -> Vec<Coverage> {
    /// Points that the candidate loses.
    const LOSS: f64 = 0.02;
    let words = format!("accuracy {accuracy}");
    let one = count("F1 (BCa)", (words.clone(), true_f1(accuracy)), samples, trials, |random| {
        let labels: Vec<usize> = (0..samples).map(|_| label(random)).collect();
        let said = labels.iter().map(|l| Some(if random.share() < accuracy { *l } else { other(random, *l) }));
        let (said, labels) = (said.collect::<Vec<_>>(), signed(&labels));
        bounds(F1::Macro.value(&said, &labels, CONFIDENCE).ok().flatten().map(|found| found.interval))
    });
    let drop = true_f1(accuracy) - true_f1(accuracy - LOSS);
    let lost = count("F1 drop (BCa)", (format!("{words}, loss 2 points"), drop), samples, trials, |random| {
        let labels: Vec<usize> = (0..samples).map(|_| label(random)).collect();
        let (mut reference, mut candidate) = (Vec::new(), Vec::new());
        for l in &labels {
            let before = if random.share() < accuracy { *l } else { other(random, *l) };
            // Of the right ones so many are lost that the whole share falls by the loss.
            let lost = before == *l && random.share() < LOSS / accuracy;
            reference.push(Some(before));
            candidate.push(Some(if lost { other(random, *l) } else { before }));
        }
        let found = F1::Macro.drop(&reference, &candidate, &signed(&labels), CONFIDENCE).ok().flatten();
        bounds(found.map(|found| found.interval))
    });
    vec![one, lost]
}

fn signed(labels: &[usize]) -> Vec<i64> {
    labels.iter().map(|l| *l as i64).collect()
}

/// What has no bounds holds nothing.
fn bounds(found: Option<Interval>) -> Interval {
    found.unwrap_or(Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY })
}

#[derive(Clone, Copy)]
enum Sharpness {
    /// Most answers are stated with 95 % or more.
    Sure,
    /// Evenly between 50 and 99 %.
    Spread,
}

impl Sharpness {
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Sure => 0.99 - 0.4 * random.share().powi(4),
            Self::Spread => 0.5 + 0.49 * random.share(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Sure => "mostly sure",
            Self::Spread => "sure and unsure",
        }
    }
}

/// Two classes; what is stated with p comes true with p - `off`: an error of `off` exactly, since it has one sign in all bins. The reference
/// is off by nothing, on the same samples.
fn calibration(samples: usize, sharpness: Sharpness, off: f64, trials: u32) -> Vec<Coverage> {
    let words = format!("{}, off by {:.0} points", sharpness.word(), off * 100.0);
    let draw = |random: &mut Random| {
        let (mut rows, mut others, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..samples {
            let truth = sharpness.draw(random) - off.min(0.08);
            let stated = truth + off;
            rows.extend([stated, 1.0 - stated]);
            others.extend([truth, 1.0 - truth]);
            labels.push(i64::from(random.share() >= truth));
        }
        let claims = |rows: &[f64]| {
            let rows = Rows::new(rows, 2).expect("two classes");
            Claims::of_classes(rows, &labels, Scale::Probabilities).expect("probabilities")
        };
        (claims(&rows), claims(&others))
    };
    let error = count("calibration error", (words.clone(), off), samples, trials, |random| {
        bounds(draw(random).0.error_with_bounds(CONFIDENCE).map(|(_, interval)| interval))
    });
    let rise = count("rise of it", (words, off), samples, trials, |random| {
        let (own, reference) = draw(random);
        bounds(own.rise_with_bounds(&reference, CONFIDENCE).map(|(_, interval)| interval))
    });
    vec![error, rise]
}
