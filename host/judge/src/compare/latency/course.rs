//! How the times of one pass follow each other: do they keep their level, and how many independent ones are they worth?
//!
//! Owns the test for drift within a pass and the correlation time. Both look at ranks and counts only, so a stall counts as one slow
//! inference and not as a million nanoseconds. Refuses to call a change that is small, however certain: what is below [`FACTOR_MIN`] widens
//! the bounds by way of the correlation and is not given a name.

use serde::Serialize;
use std::fmt;

/// Blocks that a pass is cut into.
pub(super) const BLOCKS: usize = 16;
/// Fewer samples than this say nothing about drift.
pub const SAMPLES_MIN: usize = 10 * BLOCKS;
/// Levels that differ by less are not called a movement.
pub const FACTOR_MIN: f64 = 1.05;
/// How many standard errors a stretch must lie apart from the rest. The best of all stretches of the same pass is looked at, and block means of
/// times with correlation 0.97 to the next hang together: both are in this number, which the simulation in docs/honesty.md checks.
const STRETCH_T: f64 = 12.0;
/// The same for the slope of a straight line, of which there is one only.
const SLOPE_T: f64 = 10.0;

/// What moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Slower and slower, or faster and faster: a board that warms, caches that fill.
    Ramp,
    /// Another level from some sample on: a governor that stepped, a neighbour that came.
    Step,
    /// A stretch of another level that came and went: other load.
    Load,
}

/// A pass that did not keep its level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Movement {
    /// What it looks like.
    pub kind: MovementKind,
    /// First sample of the stretch of another level; of a ramp 0.
    pub from: u64,
    /// The sample after its last.
    pub until: u64,
    /// Samples of the pass.
    pub samples: u64,
    /// Median of the stretch by that of the rest. Of a ramp: that of the last eighth by that of the first.
    pub factor: f64,
}

impl Movement {
    /// The samples of the stretch that has a level of its own, and all others.
    pub(super) fn stretches(&self, samples: &[f64]) -> [Vec<f64>; 2] {
        let (from, until) = (self.from as usize, self.until as usize);
        [samples[from..until].to_vec(), [&samples[..from], &samples[until..]].concat()]
    }
}

impl fmt::Display for Movement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |sample: u64| (sample as f64 / self.samples as f64 * 100.0).round();
        let (from, until, factor) = (share(self.from), share(self.until), self.factor);
        match self.kind {
            MovementKind::Ramp => write!(f, "a ramp, its last eighth took {factor:.2} times as long as its first"),
            MovementKind::Step => write!(f, "a step, {factor:.2} times as long from {from} % of it on"),
            MovementKind::Load => {
                write!(f, "other load, {factor:.2} times as long between {from} % and {until} % of it")
            }
        }
    }
}

/// Did these samples, in the order in which they were taken, leave their level? `None` also with too few of them ([`SAMPLES_MIN`]).
///
/// The pass is cut into blocks and each block gets the mean of its samples' ranks. A stretch of blocks is held against the rest by Student's
/// statistic, the stretch of the largest one is taken (a scan, as in Olshen et al. 2004, "Circular binary segmentation"); and a straight line
/// is laid through all by least squares. The spread of the block means is the one seen, and at least that of independent samples,
/// 1 / (12 b) for a block of b: ranks are evenly spread.
pub fn movement(samples: &[f64]) -> Option<Movement> {
    if samples.len() < SAMPLES_MIN {
        return None;
    }
    let means = block_means(&shares_below(samples));
    let floor = 1.0 / (12.0 * samples.len() as f64 / BLOCKS as f64);
    let (line, stretch) = (Line::through(&means, floor), Stretch::most_apart(&means, floor));
    let found = match (line.t > SLOPE_T, stretch.t > STRETCH_T) {
        (true, true) if line.left <= stretch.left => line.of(samples),
        (_, true) => stretch.of(samples),
        (true, false) => line.of(samples),
        (false, false) => return None,
    };
    // Half of nothing is nothing: a level of 0 has no factor.
    let factor = found.factor;
    (factor.is_finite() && factor > 0.0 && factor.max(1.0 / factor) >= FACTOR_MIN).then_some(found)
}

/// Share of all samples below each, equals counting half: ranks in their middle, by the number of samples.
fn shares_below(samples: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_unstable_by(|a, b| samples[*a].total_cmp(&samples[*b]));
    let mut shares = vec![0.0; samples.len()];
    let mut first = 0;
    for equal in order.chunk_by(|a, b| samples[*a] == samples[*b]) {
        let middle = (first as f64 + equal.len() as f64 / 2.0) / samples.len() as f64;
        equal.iter().for_each(|sample| shares[*sample] = middle);
        first += equal.len();
    }
    shares
}

/// First sample of a block.
fn begin(block: usize, samples: usize) -> usize {
    samples * block / BLOCKS
}

/// The parts of a pass, in order.
fn blocks(values: &[f64]) -> impl Iterator<Item = &[f64]> {
    (0..BLOCKS).map(|block| &values[begin(block, values.len())..begin(block + 1, values.len())])
}

fn block_means(values: &[f64]) -> [f64; BLOCKS] {
    let mut means = [0.0; BLOCKS];
    for (mean, own) in means.iter_mut().zip(blocks(values)) {
        *mean = own.iter().sum::<f64>() / own.len() as f64;
    }
    means
}

fn squares_around_mean(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|v| (v - mean) * (v - mean)).sum()
}

/// The middle one of these blocks' samples.
fn level(samples: &[f64], blocks: impl Iterator<Item = usize>) -> f64 {
    let of = |block| &samples[begin(block, samples.len())..begin(block + 1, samples.len())];
    let mut own: Vec<f64> = blocks.flat_map(|block| of(block).iter().copied()).collect();
    let middle = own.len() / 2;
    *own.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// A straight line through the block means.
struct Line {
    t: f64,
    /// Variance around it.
    left: f64,
}

impl Line {
    fn through(means: &[f64; BLOCKS], floor: f64) -> Self {
        let at = |block: usize| block as f64 - (BLOCKS - 1) as f64 / 2.0;
        let width: f64 = (0..BLOCKS).map(|block| at(block) * at(block)).sum();
        let slope = means.iter().enumerate().map(|(block, mean)| at(block) * mean).sum::<f64>() / width;
        let left = (squares_around_mean(means) - slope * slope * width).max(0.0);
        let left = left / (BLOCKS - 2) as f64;
        Self { t: slope.abs() / (left.max(floor) / width).sqrt(), left }
    }

    fn of(&self, samples: &[f64]) -> Movement {
        let factor = level(samples, BLOCKS - 2..BLOCKS) / level(samples, 0..2);
        let samples = samples.len() as u64;
        Movement { kind: MovementKind::Ramp, from: 0, until: samples, samples, factor }
    }
}

/// The stretch of blocks that lies furthest from the rest. The blocks beside it may hold its edges, and so belong to neither.
struct Stretch {
    t: f64,
    from: usize,
    until: usize,
    /// Variance around the two levels.
    left: f64,
}

impl Stretch {
    /// Of two blocks at least, and so the rest: one block alone has no spread.
    fn most_apart(means: &[f64; BLOCKS], floor: f64) -> Self {
        let stretches = (0..BLOCKS - 1).flat_map(|from| (from + 2..=BLOCKS).map(move |until| (from, until)));
        let all = stretches.filter_map(|(from, until)| Self::between(means, floor, from, until));
        all.max_by(|a, b| a.t.total_cmp(&b.t)).expect("there are stretches")
    }

    fn between(means: &[f64; BLOCKS], floor: f64, from: usize, until: usize) -> Option<Self> {
        let rest = [&means[..from.saturating_sub(1)], &means[(until + 1).min(BLOCKS)..]].concat();
        let own = &means[from..until];
        if rest.len() < 2 {
            return None;
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let left = (squares_around_mean(own) + squares_around_mean(&rest)) / (own.len() + rest.len() - 2) as f64;
        let error = left.max(floor) * (1.0 / own.len() as f64 + 1.0 / rest.len() as f64);
        Some(Self { t: (mean(own) - mean(&rest)).abs() / error.sqrt(), from, until, left })
    }

    fn of(&self, samples: &[f64]) -> Movement {
        // A stretch from the beginning on is one that ended: the step is where the rest begins.
        let (from, until) = if self.from == 0 { (self.until, BLOCKS) } else { (self.from, self.until) };
        let kind = if until == BLOCKS { MovementKind::Step } else { MovementKind::Load };
        let rest = (0..BLOCKS).filter(|block| !(from..until).contains(block));
        let factor = level(samples, from..until) / level(samples, rest);
        let count = samples.len();
        let (from, until) = (begin(from, count) as u64, begin(until, count) as u64);
        Movement { kind, from, until, samples: count as u64, factor }
    }
}

/// How many samples of an order are worth one that is independent of all others, for counting those at or below `at`; 1 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CorrelationTime {
    /// The number.
    pub samples: f64,
    /// Degrees of freedom that it was estimated with.
    pub degrees: f64,
}

/// Integrated autocorrelation time `1 + 2 Σ ρ(k)` of the flags "at or below `at`", summed up to the first lag that is five times the sum so
/// far (Madras and Sokal 1988), with the bias of the unknown mean taken out and the relative variance `2 (2 w + 1) / n` of a sum up to lag
/// `w` (Wolff 2004, "Monte Carlo errors with less errors", eqs. 42 and 49), which as that of a chi-square gives the degrees of freedom.
pub fn correlation_time(samples: &[f64], at: f64) -> CorrelationTime {
    /// Beyond, the pass has a few independent samples and no more; and the sum takes long.
    const LAG_MAX: usize = 1000;
    let n = samples.len() as f64;
    let flags = Flags::of(samples.iter().map(|v| *v <= at));
    let share = flags.set as f64 / n;
    let variance = share * (1.0 - share);
    let lag_max = if variance > 0.0 { LAG_MAX.min(samples.len() / 4) } else { 0 };
    let (mut sum, mut lag) = (1.0, 0);
    // Flags among the first `n - lag`, and among the last.
    let (mut first, mut last) = (flags.set, flags.set);
    while lag < lag_max && (lag as f64) < 5.0 * sum {
        lag += 1;
        first -= usize::from(flags.is_set(samples.len() - lag));
        last -= usize::from(flags.is_set(lag - 1));
        let pairs = n - lag as f64;
        // The sum of (a - share) (b - share) over all pairs, multiplied out.
        let product = flags.both(lag) as f64 - share * (first + last) as f64 + share * share * pairs;
        sum += 2.0 * product / pairs / variance;
    }
    let terms = 2.0 * lag as f64 + 1.0;
    // The bias is that of a sum: where nothing was summed there is none.
    let unbiased = if lag > 0 { sum * (1.0 + terms / n) } else { sum };
    CorrelationTime { samples: unbiased.max(1.0), degrees: (n / terms).max(1.0) }
}

/// A yes or no per sample, 64 of them in a word.
struct Flags {
    words: Vec<u64>,
    /// How many are yes.
    set: usize,
}

impl Flags {
    fn of(flags: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut words = vec![0; flags.len().div_ceil(64)];
        for (sample, flag) in flags.enumerate() {
            words[sample / 64] |= u64::from(flag) << (sample % 64);
        }
        let set = words.iter().map(|word: &u64| word.count_ones() as usize).sum();
        Self { words, set }
    }

    fn is_set(&self, sample: usize) -> bool {
        self.words[sample / 64] >> (sample % 64) & 1 == 1
    }

    /// Pairs of samples, one `lag` behind the other, that are both yes.
    fn both(&self, lag: usize) -> usize {
        let (whole, part) = (lag / 64, lag % 64);
        let later = &self.words[whole..];
        let shifted = later.iter().enumerate().map(|(at, low)| {
            let high = later.get(at + 1).copied().unwrap_or(0);
            // Two shifts, since one by 64 is none.
            low >> part | high << 1 << (63 - part)
        });
        self.words.iter().zip(shifted).map(|(own, later)| (own & later).count_ones() as usize).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Times around 1000 with a spread of 50, the same in every run.
    pub(in crate::compare::latency) fn noise(count: usize) -> Vec<f64> {
        let mut state = 7_u64;
        let mut share = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        };
        (0..count).map(|_| 1000.0 + 50.0 * ((0..12).map(|_| share()).sum::<f64>() - 6.0)).collect()
    }

    fn with(count: usize, factor: impl Fn(f64) -> f64) -> Option<Movement> {
        let moved: Vec<f64> =
            noise(count).iter().enumerate().map(|(i, v)| v * factor(i as f64 / count as f64)).collect();
        movement(&moved)
    }

    #[test]
    fn what_keeps_its_level_has_not_moved() {
        assert_eq!(with(700, |_| 1.0), None);
        assert_eq!(movement(&[5.0; 700]), None, "a coarse clock");
        let stalls: Vec<f64> = (0..700).map(|i| if i % 90 == 0 { 1e9 } else { 1000.0 + f64::from(i % 7) }).collect();
        assert_eq!(movement(&stalls), None);
        let ticks: Vec<f64> = (0..700).map(|i| 3.0 + f64::from(i % 2)).collect();
        assert_eq!(movement(&ticks), None, "two neighbouring ticks");
    }

    #[test]
    fn a_ramp_a_step_and_other_load_have_their_names() {
        let kind = |found: Option<Movement>| found.map(|m| m.kind);
        assert_eq!(kind(with(700, |at| 1.0 + 0.2 * at)), Some(MovementKind::Ramp));
        assert_eq!(kind(with(700, |at| 1.2 - 0.2 * at)), Some(MovementKind::Ramp));
        assert_eq!(kind(with(700, |at| if at < 0.4 { 1.0 } else { 1.2 })), Some(MovementKind::Step));
        assert_eq!(kind(with(700, |at| if at < 0.25 { 1.5 } else { 1.0 })), Some(MovementKind::Step));
        let load = with(700, |at| if (0.25..0.5).contains(&at) { 1.5 } else { 1.0 }).unwrap();
        assert_eq!((load.kind, load.from, load.until), (MovementKind::Load, 175, 350));
        assert!((load.factor - 1.5).abs() < 0.05);
        assert_eq!(load.to_string(), "other load, 1.50 times as long between 25 % and 50 % of it");
    }

    #[test]
    fn what_is_certain_and_small_is_no_movement() {
        let steady: Vec<f64> = (0..1000).map(|i| 1000.0 + f64::from(i) * 0.04).collect();
        assert_eq!(movement(&steady), None, "four percent in all");
    }

    #[test]
    fn too_few_say_nothing() {
        let ramp: Vec<f64> = (0..SAMPLES_MIN).map(|i| 100.0 + i as f64).collect();
        assert!(movement(&ramp).is_some());
        assert_eq!(movement(&ramp[1..]), None);
    }

    #[test]
    fn pairs_of_flags_are_counted_at_every_lag() {
        let flags: Vec<bool> = noise(300).iter().map(|v| *v <= 1010.0).collect();
        let packed = Flags::of(flags.iter().copied());
        for lag in 0..flags.len() {
            let both = flags.iter().zip(&flags[lag..]).filter(|(a, b)| **a && **b).count();
            assert_eq!(packed.both(lag), both, "{lag}");
            assert_eq!(packed.is_set(lag), flags[lag], "{lag}");
        }
    }

    #[test]
    fn independent_samples_are_worth_themselves_and_repeated_ones_a_part() {
        let alone = noise(2000);
        assert!(correlation_time(&alone, 1000.0).samples < 1.3);
        let tenfold: Vec<f64> = alone.iter().flat_map(|v| [*v; 10]).collect();
        let found = correlation_time(&tenfold, 1000.0).samples;
        assert!((8.0..13.0).contains(&found), "{found}");
        assert_eq!(correlation_time(&[1.0; 50], 1.0).samples, 1.0, "all equal");
        assert_eq!(correlation_time(&[1.0], 1.0).samples, 1.0);
    }
}
