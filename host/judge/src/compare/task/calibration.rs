//! Does a model that says 80 % come true in 80 of 100 cases? Expected calibration error (Naeini, Cooper and Hauskrecht 2015; Guo and others
//! 2017) and the table behind a reliability diagram.

use super::classification::Rows;
use super::{TaskError, check_length};
use crate::compare::numerics::argmax;
use crate::compare::statistics::{Bootstrap, Confidence, Interval, Mean, Sums};
use serde::Serialize;

/// Bins of equal width, as many as Guo and others (2017) took and most have taken since.
pub const BINS: usize = 15;

/// What the rows of an output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Each row is a distribution over the classes.
    Probabilities,
    /// Each row is one after a softmax.
    Logits,
}

/// A probability may lie outside 0 to 1, and a row's sum beside 1, by so much: as for `kl_mean`.
const ELEMENT_SLACK: f64 = 1e-3;
const SUM_SLACK: f64 = 0.01;
/// Quantized classes round: a row of a candidate may sum to this much more or less.
const SUM_SLACK_ROUNDED: f64 = 0.5;

fn is_share(value: f64) -> bool {
    (-ELEMENT_SLACK..=1.0 + ELEMENT_SLACK).contains(&value)
}

impl Scale {
    /// What these rows are: probabilities when all finite ones look so, else logits. Ask it of the *reference*, whose rows are not rounded.
    pub fn of(rows: Rows<'_>) -> Self {
        let sums_to_one = |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() <= SUM_SLACK;
        let mut finite = rows.iter().filter(|row| row.iter().all(|value| value.is_finite())).peekable();
        let likely = finite.peek().is_some() && finite.all(|row| row.iter().all(|v| is_share(*v)) && sums_to_one(row));
        if likely { Self::Probabilities } else { Self::Logits }
    }
}

/// What was claimed with which probability, and whether it came true; one of each per sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    stated: Vec<f64>,
    came_true: Vec<bool>,
}

/// A bin of a reliability diagram: claims above `from` and up to `to`; the first holds 0 as well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReliabilityBin {
    /// Lower edge.
    pub from: f64,
    /// Upper edge.
    pub to: f64,
    /// Claims in it.
    pub samples: u64,
    /// Mean of the stated probabilities; `None` without claims.
    pub stated: Option<f64>,
    /// Share that came true; `None` without claims.
    pub came_true: Option<f64>,
}

impl Claims {
    /// Of a classifier: its answer, with the probability of its largest class. A row that is not finite is a wrong answer stated with
    /// certainty.
    ///
    /// # Errors
    /// Labels of another number, and rows that cannot be what `scale` says.
    pub fn of_classes(rows: Rows<'_>, labels: &[i64], scale: Scale) -> Result<Self, TaskError> {
        check_length("labels", rows.count(), labels.len())?;
        let (mut stated, mut came_true) = (Vec::with_capacity(labels.len()), Vec::with_capacity(labels.len()));
        for (sample, (row, label)) in rows.iter().zip(labels).enumerate() {
            if !row.iter().all(|value| value.is_finite()) {
                stated.push(1.0);
                came_true.push(false);
                continue;
            }
            let said = argmax(row);
            stated.push(match scale {
                Scale::Logits => softmax_of_largest(row, row[said]),
                Scale::Probabilities => probability(row, said).ok_or(TaskError::NoProbability { sample })?,
            });
            came_true.push(usize::try_from(*label).is_ok_and(|label| label == said));
        }
        Ok(Self { stated, came_true })
    }

    /// Of a scorer whose score is the probability of the positive class: that probability, and whether the sample was positive. A score that
    /// is not finite is stated as the certainty of the wrong label.
    ///
    /// # Errors
    /// Labels of another number, and a score beyond 0 to 1.
    pub fn of_scores(scores: &[f64], positive: &[bool]) -> Result<Self, TaskError> {
        check_length("labels", scores.len(), positive.len())?;
        let stated = scores.iter().zip(positive).enumerate().map(|(sample, (score, yes))| match score {
            score if !score.is_finite() => Ok(f64::from(u8::from(!*yes))),
            score if is_share(*score) => Ok(score.clamp(0.0, 1.0)),
            _ => Err(TaskError::NoProbability { sample }),
        });
        Ok(Self { stated: stated.collect::<Result<_, _>>()?, came_true: positive.to_vec() })
    }

    /// Those of some samples.
    pub fn select(&self, samples: &[usize]) -> Self {
        Self {
            stated: samples.iter().map(|i| self.stated[*i]).collect(),
            came_true: samples.iter().map(|i| self.came_true[*i]).collect(),
        }
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.stated.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.stated.is_empty()
    }

    /// The table behind a reliability diagram.
    pub fn bins(&self) -> Vec<ReliabilityBin> {
        let mut sums = [(0_u64, 0.0, 0_u64); BINS];
        for (stated, came_true) in self.stated.iter().zip(&self.came_true) {
            let bin = &mut sums[bin_of(*stated)];
            *bin = (bin.0 + 1, bin.1 + stated, bin.2 + u64::from(*came_true));
        }
        let edge = |i: usize| i as f64 / BINS as f64;
        let bin = |(i, (samples, stated, came_true)): (usize, &(u64, f64, u64))| ReliabilityBin {
            from: edge(i),
            to: edge(i + 1),
            samples: *samples,
            stated: (*samples > 0).then(|| stated / *samples as f64),
            came_true: (*samples > 0).then(|| *came_true as f64 / *samples as f64),
        };
        sums.iter().enumerate().map(bin).collect()
    }

    /// Expected calibration error: mean over the bins, by their samples, of the distance between the share that came true and the mean
    /// that was stated. `None` without samples.
    pub fn error(&self) -> Option<f64> {
        (!self.is_empty()).then(|| sums_of_gaps(&[self], |sums, n| gaps(sums, 0) / n).value()).flatten()
    }

    /// The error with its bounds. `None` below two samples.
    ///
    /// An error of bins is too large on few samples, because chance has no sign in it, and the more so on draws of them. So its upper bound
    /// is the larger of those of the percentile and of the BCa bootstrap, and its lower bound the smallest of BCa's, the basic bootstrap's
    /// and a cross-fitted one: which of them is right depends on how far the truth lies from 0, and that is what nobody knows.
    pub fn error_with_bounds(&self, confidence: Confidence) -> Option<(f64, Interval)> {
        let found = Bootstrap::of(&sums_of_gaps(&[self], |sums, n| gaps(sums, 0) / n))?;
        let (value, bca) = (found.estimate(), found.bca(confidence));
        let lower = bca.lower.min(found.basic(confidence).lower).min(self.at_least(confidence)?).min(value);
        let upper = bca.upper.max(found.percentile(confidence).upper).max(value);
        Some((value, Interval { lower: lower.max(0.0), upper: upper.min(1.0) }))
    }

    /// How much larger the error of `self` is than that of `reference` on the same samples, with the widest of the BCa and the basic
    /// bootstrap's bounds, both drawn in pairs, and of what so many samples could hide. The upper one is no lower than the upper bound of the
    /// one error less the lower bound of the other, at half the error each (Bonferroni): chance makes the smaller of two errors look larger by
    /// more, so draws in pairs alone lay below the true rise in up to 33 of 100 simulated runs, and never above it. `None` below two samples
    /// or where these are not the same samples.
    pub fn rise_with_bounds(&self, reference: &Self, confidence: Confidence) -> Option<(f64, Interval)> {
        if self.len() != reference.len() {
            return None;
        }
        let rise = |sums: &[f64], n: f64| (gaps(sums, 1) - gaps(sums, 0)) / n;
        let found = Bootstrap::of(&sums_of_gaps(&[reference, self], rise))?;
        let (value, bca, basic) = (found.estimate(), found.bca(confidence), found.basic(confidence));
        let hidden = confidence.hidden_in(self.len() as f64);
        let each = confidence.of_each_of_two();
        let (own, other) = (self.error_with_bounds(each)?.1, reference.error_with_bounds(each)?.1);
        let lower = bca.lower.min(basic.lower).min(value - hidden);
        let upper = bca.upper.max(basic.upper).max(value + hidden).max(own.upper - other.lower);
        Some((value, Interval { lower: lower.max(-1.0), upper: upper.min(1.0) }))
    }

    /// A lower bound that chance does not lift: the direction of each bin's gap is taken from nine tenths of the samples and the gap measured
    /// on the last tenth, in turn. With directions that are given the mean gap is at most the error, whatever they are; its bound is
    /// Student's.
    fn at_least(&self, confidence: Confidence) -> Option<f64> {
        const PARTS: usize = 10;
        let gap = |i: usize| f64::from(u8::from(self.came_true[i])) - self.stated[i];
        let mut all = [0.0; BINS];
        let mut parts = [[0.0; BINS]; PARTS];
        for i in 0..self.len() {
            let bin = bin_of(self.stated[i]);
            all[bin] += gap(i);
            parts[i % PARTS][bin] += gap(i);
        }
        let directed = (0..self.len()).map(|i| {
            let bin = bin_of(self.stated[i]);
            let others = all[bin] - parts[i % PARTS][bin];
            if others < 0.0 { -gap(i) } else { gap(i) }
        });
        Some(Mean::of(&directed.collect::<Vec<_>>())?.interval(confidence).lower)
    }
}

/// Sums from which errors are made: of each side, bin by bin, what came true less what was stated; last the number of samples.
fn sums_of_gaps<'a>(
    sides: &'a [&'a Claims],
    number: impl Fn(&[f64], f64) -> f64 + 'a,
) -> Sums<impl Fn(&[f64]) -> Option<f64> + 'a> {
    let count = sides.len() * BINS;
    let of_side = |sample: usize| {
        move |(side, claims): (usize, &&Claims)| {
            let (stated, came_true) = (claims.stated[sample], claims.came_true[sample]);
            (side * BINS + bin_of(stated), f64::from(u8::from(came_true)) - stated)
        }
    };
    let samples = (0..sides[0].len())
        .map(|sample| sides.iter().enumerate().map(of_side(sample)).chain([(count, 1.0)]).collect::<Vec<_>>());
    Sums::new(count + 1, samples, move |sums| (sums[count] > 0.0).then(|| number(sums, sums[count])))
}

fn gaps(sums: &[f64], side: usize) -> f64 {
    sums[side * BINS..(side + 1) * BINS].iter().map(|sum| sum.abs()).sum()
}

/// The bin of a probability: above its lower edge, up to its upper one.
fn bin_of(stated: f64) -> usize {
    ((stated * BINS as f64).ceil() as usize).clamp(1, BINS) - 1
}

fn softmax_of_largest(row: &[f64], largest: f64) -> f64 {
    1.0 / row.iter().map(|value| (value - largest).exp()).sum::<f64>()
}

fn probability(row: &[f64], said: usize) -> Option<f64> {
    let whole = (row.iter().sum::<f64>() - 1.0).abs() <= SUM_SLACK_ROUNDED;
    (whole && row.iter().all(|value| is_share(*value))).then(|| row[said].clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(of: &[(f64, bool)]) -> Claims {
        let (stated, came_true) = of.iter().copied().unzip();
        Claims { stated, came_true }
    }

    /// `n` claims at each of these probabilities, of which the given share comes true.
    fn made(n: usize, of: &[(f64, f64)]) -> Claims {
        let each = |(stated, share): &(f64, f64)| {
            let (stated, right) = (*stated, (share * n as f64).round() as usize);
            (0..n).map(move |i| (stated, i < right)).collect::<Vec<_>>()
        };
        claims(&of.iter().flat_map(each).collect::<Vec<_>>())
    }

    #[test]
    fn the_error_is_that_of_its_definition() {
        // |0.5 - 0.9| on two of four samples, |1 - 0.6| on the others.
        let found = claims(&[(0.9, true), (0.9, false), (0.6, true), (0.6, true)]);
        assert!((found.error().unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(claims(&[]).error(), None);
        let bins = found.bins();
        assert_eq!((bins.len(), bins.iter().map(|b| b.samples).sum::<u64>()), (BINS, 4));
        assert_eq!(bins.iter().filter(|b| b.samples > 0).map(|b| b.came_true.unwrap()).collect::<Vec<_>>(), [1.0, 0.5]);
        assert_eq!(bins[0].stated, None);
    }

    #[test]
    fn edges_belong_to_the_bin_below() {
        for (stated, bin) in [(0.0, 0), (1.0 / 15.0, 0), (0.07, 1), (1.0, 14), (14.0 / 15.0, 13)] {
            assert_eq!(bin_of(stated), bin, "{stated}");
        }
    }

    #[test]
    fn probabilities_and_logits_are_told_apart() {
        let scale = |values: &[f64]| Scale::of(Rows::new(values, 2).unwrap());
        assert_eq!(scale(&[0.3, 0.7, 0.995, 0.0]), Scale::Probabilities);
        assert_eq!(scale(&[0.3, 0.7, f64::NAN, 9.0]), Scale::Probabilities, "what is not finite says nothing");
        assert_eq!(scale(&[0.3, 0.7, 0.3, 0.8]), Scale::Logits);
        assert_eq!(scale(&[-0.3, 1.3]), Scale::Logits);
        assert_eq!(scale(&[f64::NAN, 1.0]), Scale::Logits);
        let logits = Claims::of_classes(Rows::new(&[0.0, 3.0_f64.ln()], 2).unwrap(), &[1], Scale::Logits).unwrap();
        assert!((logits.stated[0] - 0.75).abs() < 1e-12 && logits.came_true[0]);
        let large = Claims::of_classes(Rows::new(&[1e308, -1e308], 2).unwrap(), &[1], Scale::Logits).unwrap();
        assert_eq!((large.stated[0], large.came_true[0]), (1.0, false));
    }

    #[test]
    fn what_is_no_probability_is_an_error_and_what_is_not_finite_is_wrong_with_certainty() {
        let rows = [0.5, 0.5, 2.0, -1.0];
        let found = Claims::of_classes(Rows::new(&rows, 2).unwrap(), &[0, 0], Scale::Probabilities);
        assert_eq!(found, Err(TaskError::NoProbability { sample: 1 }));
        assert_eq!(Claims::of_scores(&[0.5, 1.2], &[true, true]), Err(TaskError::NoProbability { sample: 1 }));
        assert!(Claims::of_scores(&[0.5], &[]).is_err());
        for bad in [f64::NAN, f64::INFINITY] {
            let found = Claims::of_classes(Rows::new(&[bad, 0.0], 2).unwrap(), &[0], Scale::Probabilities).unwrap();
            assert_eq!((found.stated[0], found.came_true[0]), (1.0, false));
            assert_eq!(Claims::of_scores(&[bad, bad], &[true, false]).unwrap().stated, [0.0, 1.0]);
        }
    }

    #[test]
    fn bounds_hold_the_error_and_narrow_with_samples() {
        let of =
            |n: usize| made(n, &[(0.95, 0.85), (0.7, 0.65), (0.5, 0.5)]).error_with_bounds(Confidence::P95).unwrap();
        let (few, many) = (of(40), of(4000));
        assert!((many.0 - 0.05).abs() < 1e-9, "{many:?}");
        assert!(many.1.lower > 0.04 && many.1.upper < 0.06, "{many:?}");
        assert!(few.1.lower < many.1.lower && few.1.upper > many.1.upper, "{few:?}");
        for (value, interval) in [few, many] {
            assert!(interval.lower <= value && value <= interval.upper);
        }
        assert_eq!(made(1, &[(0.9, 1.0)]).error_with_bounds(Confidence::P95), None);
    }

    #[test]
    fn a_rise_is_taken_in_pairs_and_no_rise_is_not_certainty() {
        let reference = made(300, &[(0.9, 0.9), (0.6, 0.6)]);
        let (same, interval) = reference.rise_with_bounds(&reference, Confidence::P95).unwrap();
        assert_eq!(same, 0.0);
        assert!(interval.lower < -0.005 && interval.upper > 0.005, "{interval:?}");
        let surer = Claims { stated: reference.stated.iter().map(|p| p + 0.09).collect(), ..reference.clone() };
        let (rise, interval) = surer.rise_with_bounds(&reference, Confidence::P95).unwrap();
        assert!((rise - 0.09).abs() < 1e-9 && interval.lower > 0.02, "{rise} {interval:?}");
        assert_eq!(surer.rise_with_bounds(&made(1, &[(0.9, 1.0)]), Confidence::P95), None);
    }
}
