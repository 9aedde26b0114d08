//! Intervals and tests: how far a number measured on these samples may be from the truth.
//!
//! Owns the distributions and everything that turns counts into bounds. Refuses to call a zero-width interval certain: every bound here
//! widens when nothing was seen to differ.

mod auc;
mod bootstrap;
mod mean;
mod paired;
mod power;
mod proportion;
mod sequence;
mod special;

pub use auc::{Auc, PairedAuc, auc, paired_auc, roc_auc};
pub use bootstrap::{Bootstrap, RESAMPLES, Resampled, Sums};
pub use mean::Mean;
pub use paired::{Paired, PairedMethod};
pub use power::{Expected, PowerError};
pub use proportion::{Position, Proportion};
pub use sequence::{Tally, Values};
pub(super) use special::student_quantile;
pub use special::{binomial_cdf, normal_quantile};

use serde::Serialize;
use thiserror::Error;

/// Inputs that no interval can be computed from.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum StatisticsError {
    /// A confidence is a share strictly between 0 and 1.
    #[error("confidence must lie between 0 and 1, got {got}")]
    Confidence {
        /// What was asked for.
        got: f64,
    },
    /// Two columns that describe the same samples differ in length.
    #[error("expected {expected} values, one per sample, got {got}")]
    Length {
        /// Samples.
        expected: usize,
        /// Values.
        got: usize,
    },
    /// More hits than samples.
    #[error("{hits} of {total} is no proportion")]
    Proportion {
        /// Hits.
        hits: u64,
        /// Samples.
        total: u64,
    },
}

/// Confidence of a two-sided interval, a share strictly between 0 and 1. Each of its ends alone holds with `(1 + confidence) / 2`: for a
/// one-sided claim at 95 % take the interval at 90 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Confidence(f64);

impl Confidence {
    /// 95 %.
    pub const P95: Self = Self(0.95);
    /// 99 %.
    pub const P99: Self = Self(0.99);

    /// Errors unless `share` lies strictly between 0 and 1.
    pub fn new(share: f64) -> Result<Self, StatisticsError> {
        if share > 0.0 && share < 1.0 { Ok(Self(share)) } else { Err(StatisticsError::Confidence { got: share }) }
    }

    /// As a share.
    pub fn share(self) -> f64 {
        self.0
    }

    /// Probability left out at each end.
    pub(super) fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// Half-width in standard deviations of a normal interval.
    pub(super) fn z(self) -> f64 {
        -normal_quantile(self.tail())
    }

    /// The largest share that so many samples without a single difference could hide: `z^2 / (n + z^2)`, as in a score interval.
    pub(super) fn hidden_in(self, samples: f64) -> f64 {
        let square = self.z() * self.z();
        square / (samples + square)
    }

    /// The confidence at which two intervals hold together, whatever their dependence (Bonferroni).
    pub(super) fn of_each_of_two(self) -> Self {
        Self(1.0 - (1.0 - self.0) / 2.0)
    }
}

/// A closed interval around an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Interval {
    /// The whole interval on one side of `limit`, or not. An end that equals the limit counts as above a lower limit and below an upper
    /// one, so `AtMost` and `AtLeast` rules both accept it.
    pub fn against(&self, limit: f64) -> Position {
        match (self.lower >= limit, self.upper <= limit) {
            (true, true) => Position::At,
            (true, false) => Position::Above,
            (false, true) => Position::Below,
            (false, false) => Position::Straddles,
        }
    }
}

/// About how many samples more until an interval whose width falls with the root of the samples leaves `limit` on one side, if the number stays
/// what it is. 0 if it does now; `None` if no reachable number would do.
pub fn samples_more(value: f64, interval: Interval, samples: u64, limit: f64) -> Option<u64> {
    let decided = |factor: f64| {
        let at = |bound: f64| value + (bound - value) / factor.sqrt();
        Interval { lower: at(interval.lower), upper: at(interval.upper) }.against(limit) != Position::Straddles
    };
    let total = samples as f64;
    growth_needed(total, decided).map(|factor| ((factor - 1.0) * total).ceil() as u64)
}

/// More samples than anybody will collect: the search for a sufficient number ends here.
const SAMPLES_MAX: f64 = 1e9;

/// Smallest factor by which the samples must grow until `decided(factor)` holds, if the shares stay as they are; `None` if it holds for no
/// reachable number of samples. `decided` must not become false again once it is true.
fn growth_needed(samples: f64, decided: impl Fn(f64) -> bool) -> Option<f64> {
    if samples < 1.0 || !decided(SAMPLES_MAX / samples) {
        return None;
    }
    let (mut low, mut high) = (1.0, SAMPLES_MAX / samples);
    if decided(low) {
        return Some(low);
    }
    for _ in 0..40 {
        let middle = f64::sqrt(low * high);
        if decided(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}
