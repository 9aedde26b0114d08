//! How often the memory of equal things lies further apart than a calibration lets it.

use crate::draw::Random;
use boardproof_judge::compare::calibration::margin_between;
use boardproof_record::calibration::MemoryNoise;
use std::fmt;

/// Asked for by `calibrate` where nothing else is.
const FALSE_ALARMS: f64 = 0.01;
/// Blocks of a round, half of them by each of its two builds.
const BLOCKS: usize = 8;

/// Calibrations, each followed by one comparison of equal things by two builds that it has not seen.
pub struct Row {
    words: &'static str,
    rounds: usize,
    trials: u32,
    alarms: u32,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, rounds, trials, alarms } = self;
        let (builds, none) = (2 * *rounds as u32, [0, 0]);
        let noise =
            MemoryNoise { bytes: 0, processes: 0, builds, added_bytes: none, peak_bytes: none, heap_bytes: None };
        let (seen, most) = (f64::from(*alarms) / f64::from(*trials) * 100.0, noise.false_alarms_at_most() * 100.0);
        write!(f, "| {words} | {rounds} | {trials} | {seen:.2} % | {most:.1} % |")
    }
}

/// What belongs to a build, and what a process of it adds, in standard deviations of a process.
type Noise = (&'static str, fn(&mut Random) -> f64, fn(&mut Random) -> f64);

const NOISES: [Noise; 6] = [
    ("normal", |_| 0.0, Random::normal),
    ("normal, builds as far apart as processes", Random::normal, Random::normal),
    ("normal, builds three times as far apart", |random| 3.0 * random.normal(), Random::normal),
    ("skewed (exponential)", |_| 0.0, |random| -(1.0 - random.share()).ln()),
    ("a jump in 1 of 10 processes", |_| 0.0, |random| f64::from(u8::from(random.share() < 0.1))),
    ("a jump in 1 of 10 builds", |random| f64::from(u8::from(random.share() < 0.1)), |_| 0.0),
];

/// Every kind of noise, with few rounds and many.
pub fn alarms(trials: u32) -> Vec<Row> {
    let of = |rounds: usize| NOISES.iter().map(move |noise| row(noise, rounds, trials));
    [5, 10, 40].into_iter().flat_map(of).collect()
}

fn row((words, of_build, of_process): &Noise, rounds: usize, trials: u32) -> Row {
    let mut random = Random::seeded(&format!("memory {words} {rounds}"));
    let mut row = Row { words, rounds, trials, alarms: 0 };
    for _ in 0..trials {
        let mut round = || {
            let builds = [of_build(&mut random), of_build(&mut random)];
            (0..BLOCKS).map(|block| builds[block % 2] + of_process(&mut random)).collect()
        };
        let seen: Vec<Vec<f64>> = (0..rounds).map(|_| round()).collect();
        let margin = margin_between(&seen, FALSE_ALARMS).expect("whole rounds");
        let (then, now) =
            (of_build(&mut random) + of_process(&mut random), of_build(&mut random) + of_process(&mut random));
        row.alarms += u32::from(now - then > margin);
    }
    row
}
