//! Draws runs whose truth is known and lets the gate decide about each: what it says at a limit, on the good side of it and on the bad one.
//! Seeds are fixed; the same build prints the same table.

use crate::draw::{Random, Row, count, decided};
use boardproof_judge::compare::statistics::normal_quantile;
use boardproof_judge::gate::{Answers, Looks, Sure};
use boardproof_record::policy::{Decide, Direction};
use boardproof_record::verdict::Verdict;
use std::collections::HashMap;

/// Confidence of the default policy's rules that must be shown.
pub const CONFIDENCE: f64 = 0.95;
/// As sure as is asked, at one look.
fn once(confidence: f64) -> Sure {
    Sure { confidence, looks: Looks::Once }
}

/// Confidence of its slice rule.
const ALARM: f64 = 0.85;

/// Loses `lost` and wins `won` of the samples. The rule sees counts only, so what it says to a pair of counts is asked once.
struct Pairs {
    samples: usize,
    confidence: f64,
    limit: f64,
    how: Decide,
    known: HashMap<(usize, usize), Verdict>,
}

impl Pairs {
    fn new(samples: usize, confidence: f64, limit: f64, how: Decide) -> Self {
        Self { samples, confidence, limit, how, known: HashMap::new() }
    }

    fn draw(&mut self, random: &mut Random, lost: f64, won: f64) -> Verdict {
        let (mut losses, mut wins) = (0, 0);
        for _ in 0..self.samples {
            let share = random.share();
            losses += usize::from(share < lost);
            wins += usize::from((lost..lost + won).contains(&share));
        }
        if let Some(verdict) = self.known.get(&(losses, wins)) {
            return *verdict;
        }
        let reference: Vec<bool> = (0..self.samples).map(|i| i < losses || i >= losses + wins).collect();
        let candidate: Vec<bool> = (0..self.samples).map(|i| i >= losses).collect();
        let (reference, candidate) = (Answers::Right(reference), Answers::Right(candidate));
        let drop = reference.drop(&candidate, &[], None, self.limit, once(self.confidence)).expect("paired answers");
        let verdict = decided(drop.value, (drop.lower, drop.upper), Direction::AtMost, self.limit, self.how);
        self.known.insert((losses, wins), verdict);
        verdict
    }
}

/// `task.drop` of accuracy, Tango's interval, limit one point.
pub fn accuracy_drop(trials: u32) -> Vec<Row> {
    const LIMIT: f64 = 0.01;
    let mut rows = Vec::new();
    for samples in [100, 370, 2000, 10_000] {
        for accuracy in [0.5, 0.9, 0.99] {
            // A fifth of the wrong answers of one are right answers of the other: the closer to perfect, the fewer samples part.
            let won = (1.0 - accuracy) / 5.0;
            for loss in [0.0, LIMIT, 2.0 * LIMIT] {
                let mut pairs = Pairs::new(samples, CONFIDENCE, LIMIT, Decide::Shown);
                let truth = format!("accuracy {accuracy}, loss {:.0} points", loss * 100.0);
                rows.push(count("accuracy-drop", truth, samples, trials, |random| pairs.draw(random, won + loss, won)));
            }
        }
    }
    rows
}

/// The slice rule: an alarm beyond five points.
pub fn slice_alarm(trials: u32) -> Vec<Row> {
    const LIMIT: f64 = 0.05;
    let mut rows = Vec::new();
    for samples in [29, 100, 400] {
        for loss in [0.0, LIMIT, 2.0 * LIMIT, 4.0 * LIMIT] {
            let mut pairs = Pairs::new(samples, ALARM, LIMIT, Decide::Alarm);
            let truth = format!("loss {:.0} points", loss * 100.0);
            rows.push(count("slice-drop", truth, samples, trials, |random| pairs.draw(random, 0.02 + loss, 0.02)));
        }
    }
    rows
}

/// Distance of the means of two normal distributions whose AUC this is.
fn distance(auc: f64) -> f64 {
    std::f64::consts::SQRT_2 * normal_quantile(auc)
}

/// `task.drop` of AUC, DeLong's interval, limit one point: normal scores, a third of the samples positive, correlated 0.95.
pub fn auc_drop(trials: u32) -> Vec<Row> {
    const LIMIT: f64 = 0.01;
    // Ranks cost more than counts.
    let trials = trials / 4;
    let mut rows = Vec::new();
    for samples in [100, 370, 2000, 10_000] {
        for auc in [0.7, 0.9, 0.99] {
            for loss in [0.0, LIMIT, 2.0 * LIMIT] {
                let labels: Vec<i64> = (0..samples).map(|i| i64::from(i % 3 == 0)).collect();
                let (high, low) = (distance(auc), distance(auc - loss));
                let truth = format!("AUC {auc}, loss {:.0} points", loss * 100.0);
                rows.push(count("auc-drop", truth, samples, trials, |random| {
                    let (mut reference, mut candidate) = (Vec::new(), Vec::new());
                    for label in &labels {
                        let (shared, own) = (random.normal(), random.normal());
                        reference.push(shared + high * *label as f64);
                        candidate.push(0.95 * shared + (1.0_f64 - 0.95 * 0.95).sqrt() * own + low * *label as f64);
                    }
                    let (reference, candidate) = (Answers::Scores(reference), Answers::Scores(candidate));
                    let drop = reference.drop(&candidate, &labels, None, LIMIT, once(CONFIDENCE)).expect("two classes");
                    decided(drop.value, (drop.lower, drop.upper), Direction::AtMost, LIMIT, Decide::Shown)
                }));
            }
        }
    }
    rows
}

/// `task.value` at its limit: accuracy and AUC at least, a mean error at most.
pub fn value(trials: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for samples in [100, 370, 2000] {
        for truth in [0.5, 0.9, 0.99] {
            rows.push(count("accuracy at least", format!("at the limit {truth}"), samples, trials, |random| {
                let right = (0..samples).map(|_| random.share() < truth).collect();
                at_limit(&Answers::Right(right), &[], truth, Direction::AtLeast)
            }));
            let labels: Vec<i64> = (0..samples).map(|i| i64::from(i % 3 == 0)).collect();
            let truth_auc = truth.max(0.7);
            rows.push(count("AUC at least", format!("at the limit {truth_auc}"), samples, trials / 4, |random| {
                let high = distance(truth_auc);
                let scores = labels.iter().map(|l| random.normal() + high * *l as f64).collect();
                at_limit(&Answers::Scores(scores), &labels, truth_auc, Direction::AtLeast)
            }));
        }
        rows.push(count("mean error at most", "at the limit, normal errors".into(), samples, trials, |random| {
            let errors = (0..samples).map(|_| random.normal().abs()).collect();
            at_limit(&Answers::Errors(errors), &[], (2.0 / std::f64::consts::PI).sqrt(), Direction::AtMost)
        }));
        rows.push(count("mean error at most", "at the limit, exponential errors".into(), samples, trials, |random| {
            let errors = (0..samples).map(|_| -(1.0 - random.share()).ln()).collect();
            at_limit(&Answers::Errors(errors), &[], 1.0, Direction::AtMost)
        }));
    }
    rows
}

fn at_limit(answers: &Answers, labels: &[i64], limit: f64, direction: Direction) -> Verdict {
    let found = answers.value(labels, None, limit, once(CONFIDENCE)).expect("answers");
    decided(found.value, (found.lower, found.upper), direction, limit, Decide::Shown)
}
