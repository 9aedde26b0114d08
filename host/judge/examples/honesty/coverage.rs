//! How often an interval holds the truth.

use crate::draw::Random;
use boardproof_judge::compare::statistics::{
    Confidence, Expected, Interval, Mean, Paired, PairedMethod, Proportion, auc, normal_quantile, paired_auc,
};
use std::collections::HashMap;
use std::f64::consts::SQRT_2;
use std::fmt;

/// Intervals are asked for at this confidence.
const CONFIDENCE: Confidence = Confidence::P95;

/// How often an interval lay beside the truth.
pub struct Coverage {
    pub interval: &'static str,
    pub truth: String,
    pub samples: usize,
    pub trials: u32,
    pub below: u32,
    pub above: u32,
}

impl Coverage {
    pub fn share(&self) -> f64 {
        1.0 - f64::from(self.below + self.above) / f64::from(self.trials)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, truth, samples, trials, below, above } = self;
        let percent = |n: &u32| f64::from(*n) / f64::from(*trials) * 100.0;
        let covered = self.share() * 100.0;
        let word = match covered {
            c if c < 94.0 => "**too short**",
            c if c > 96.0 => "conservative",
            _ => "",
        };
        let (below, above) = (percent(below), percent(above));
        write!(f, "| {interval} | {truth} | {samples} | {trials} | {covered:.1} % | {below:.1} / {above:.1} | {word} |")
    }
}

pub fn count(
    interval: &'static str,
    truth: (String, f64),
    samples: usize,
    trials: u32,
    mut run: impl FnMut(&mut Random) -> Interval,
) -> Coverage {
    let (words, value) = truth;
    let mut random = Random::seeded(&format!("{interval} {words} {samples}"));
    let mut row = Coverage { interval, truth: words, samples, trials, below: 0, above: 0 };
    for _ in 0..trials {
        let found = run(&mut random);
        row.below += u32::from(found.upper < value);
        row.above += u32::from(found.lower > value);
    }
    row
}

/// Every interval that a rule or a report uses.
pub fn coverage(trials: u32) -> Vec<Coverage> {
    let mut rows = Vec::new();
    for samples in [100, 1000, 10_000] {
        for share in [0.5, 0.9, 0.99] {
            rows.extend(shares(samples, share, trials));
            rows.extend(pairs(samples, share, trials));
        }
        rows.extend(areas(samples, trials));
        rows.extend(means(samples, trials / 2));
    }
    rows
}

/// The lines of DeLong's intervals alone.
pub fn aucs(trials: u32) -> Vec<Coverage> {
    [100, 1000, 10_000].into_iter().flat_map(|samples| areas(samples, trials)).collect()
}

fn areas(samples: usize, trials: u32) -> Vec<Coverage> {
    [0.7, 0.9, 0.99].into_iter().flat_map(|truth| area(samples, truth, trials)).collect()
}

fn shares(samples: usize, share: f64, trials: u32) -> Vec<Coverage> {
    let of = |interval, method: fn(&Proportion) -> Interval| {
        let mut known = HashMap::new();
        count(interval, (format!("share {share}"), share), samples, trials, |random| {
            let hits = (0..samples).filter(|_| random.share() < share).count() as u64;
            let asked = || method(&Proportion::new(hits, samples as u64).expect("hits of samples"));
            *known.entry(hits).or_insert_with(asked)
        })
    };
    vec![of("Clopper-Pearson", |p| p.clopper_pearson(CONFIDENCE)), of("Wilson", |p| p.wilson(CONFIDENCE))]
}

/// A candidate that loses one point, as in the rules.
fn pairs(samples: usize, accuracy: f64, trials: u32) -> Vec<Coverage> {
    let won = (1.0 - accuracy) / 5.0;
    let lost = won + 0.01;
    let of = |interval, method| {
        let mut known = HashMap::new();
        let truth = (format!("accuracy {accuracy}, loss 1 point"), -0.01);
        count(interval, truth, samples, trials, |random| {
            let (mut reference_only, mut candidate_only) = (0_u64, 0_u64);
            for _ in 0..samples {
                let share = random.share();
                reference_only += u64::from(share < lost);
                candidate_only += u64::from((lost..lost + won).contains(&share));
            }
            let both = samples as u64 - reference_only - candidate_only;
            let counts = Paired { both, reference_only, candidate_only, neither: 0 };
            let asked = || counts.interval(CONFIDENCE, method);
            *known.entry((reference_only, candidate_only)).or_insert_with(asked)
        })
    };
    vec![of("Tango, paired", PairedMethod::Score), of("two exact, paired", PairedMethod::Exact)]
}

fn area(samples: usize, truth: f64, trials: u32) -> Vec<Coverage> {
    let positive: Vec<bool> = (0..samples).map(|i| i % 3 == 0).collect();
    let (high, low) = (SQRT_2 * normal_quantile(truth), SQRT_2 * normal_quantile(truth - 0.01));
    let one = count("DeLong", (format!("AUC {truth}"), truth), samples, trials, |random| {
        let scores: Vec<f64> = positive.iter().map(|p| random.normal() + if *p { high } else { 0.0 }).collect();
        auc(&scores, &positive).ok().flatten().expect("two classes").interval(CONFIDENCE)
    });
    let lost = count("DeLong, paired", (format!("AUC {truth}, loss 1 point"), -0.01), samples, trials, |random| {
        let (mut reference, mut candidate) = (Vec::new(), Vec::new());
        for yes in &positive {
            let (shared, own) = (random.normal(), random.normal());
            reference.push(shared + if *yes { high } else { 0.0 });
            candidate.push(0.95 * shared + (1.0_f64 - 0.95 * 0.95).sqrt() * own + if *yes { low } else { 0.0 });
        }
        let found = paired_auc(&reference, &candidate, &positive).ok().flatten().expect("two classes");
        found.cautious_interval(CONFIDENCE)
    });
    vec![one, lost]
}

fn means(samples: usize, trials: u32) -> Vec<Coverage> {
    let of = |words: &str, truth: f64, draw: fn(&mut Random) -> f64| {
        count("Student", (words.into(), truth), samples, trials, |random| {
            let values: Vec<f64> = (0..samples).map(|_| draw(random)).collect();
            Mean::of(&values).expect("values").interval(CONFIDENCE)
        })
    };
    let half_normal = (2.0 / std::f64::consts::PI).sqrt();
    vec![
        of("normal errors", half_normal, |random| random.normal().abs()),
        of("exponential errors", 1.0, |random| -(1.0 - random.share()).ln()),
    ]
}

/// What `plan power` promises: the samples, the power that it says, and how often the rule passed.
pub struct Promise {
    pub expected: Expected,
    pub samples: u64,
    pub power: f64,
    pub passed: f64,
    pub trials: u32,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected: Expected { margin, drop, discordant, .. }, samples, power, passed, trials } = self;
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let (margin, drop, discordant) = (percent(*margin), percent(*drop), percent(*discordant));
        let (power, passed) = (percent(*power), percent(*passed));
        write!(f, "| {margin} | {drop} | {discordant} | {samples} | {trials} | {power} | {passed} |")
    }
}

pub fn promises(trials: u32) -> Vec<Promise> {
    let asked = [(0.01, 0.0, 0.03, 0.95), (0.01, 0.003, 0.03, 0.8), (0.02, 0.0, 0.05, 0.9), (0.05, 0.01, 0.1, 0.95)];
    asked
        .into_iter()
        .map(|(margin, drop, discordant, power)| promise(margin, drop, discordant, power, trials))
        .collect()
}

fn promise(margin: f64, drop: f64, discordant: f64, power: f64, trials: u32) -> Promise {
    let expected = Expected { margin, drop, discordant, confidence: 0.95 };
    let samples = expected.samples_paired(power).expect("a possible expectation");
    let lost = f64::midpoint(discordant, drop);
    let both = Confidence::new(0.9).expect("0.9");
    let mut random = Random::seeded(&format!("{margin} {drop} {discordant} {power}"));
    let passed = (0..trials).filter(|_| {
        let (mut reference_only, mut candidate_only) = (0_u64, 0_u64);
        for _ in 0..samples {
            let share = random.share();
            reference_only += u64::from(share < lost);
            candidate_only += u64::from((lost..discordant).contains(&share));
        }
        let both_right = samples - reference_only - candidate_only;
        let counts = Paired { both: both_right, reference_only, candidate_only, neither: 0 };
        counts.interval(both, PairedMethod::Score).lower >= -margin
    });
    let passed = passed.count() as f64 / f64::from(trials);
    Promise { expected, samples, power: expected.power_paired(samples).expect("possible"), passed, trials }
}
