//! From totals to numbers: every metric's formula, and the rules for when it has no value.

use super::Options;
use super::accumulate::{Layout, Seen};
use super::block::Totals;
use super::histogram::{ErrorHistogram, LsbHistogram, Saturation};
use super::metric::Metric;
use super::vectors::cosine;
use crate::compare::tensor::DType;
use crate::compare::validity::{Invalid, Measured};
use serde::Serialize;

/// A value and where it was found (element, sample or vector, counted from 0 over the whole stream; the first of equals).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct At {
    /// The value.
    pub value: f64,
    /// Its index.
    pub index: u64,
}

impl At {
    /// The larger, `first` if they are equal.
    pub(super) fn larger(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        match (first, second) {
            (Some(a), Some(b)) => Some(if b.value > a.value { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Elements that are not finite, by operand and kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct NonFiniteCounts {
    /// NaN in the reference.
    pub reference_nan: u64,
    /// `+inf` in the reference.
    pub reference_positive: u64,
    /// `-inf` in the reference.
    pub reference_negative: u64,
    /// NaN in the candidate.
    pub candidate_nan: u64,
    /// `+inf` in the candidate.
    pub candidate_positive: u64,
    /// `-inf` in the candidate.
    pub candidate_negative: u64,
    /// Elements where both are NaN, or both the same infinity.
    pub matched: u64,
    /// Elements where one is not finite and the other is not the same.
    pub mismatched: u64,
}

impl NonFiniteCounts {
    /// Elements of the reference that are not finite.
    pub fn reference(&self) -> u64 {
        self.reference_nan + self.reference_positive + self.reference_negative
    }

    /// Elements of the candidate that are not finite.
    pub fn candidate(&self) -> u64 {
        self.candidate_nan + self.candidate_positive + self.candidate_negative
    }

    /// Elements that are not finite in at least one operand.
    pub fn elements(&self) -> u64 {
        self.matched + self.mismatched
    }

    pub(super) fn add(&mut self, r: f64, c: f64) {
        for (value, nan, positive, negative) in [
            (r, &mut self.reference_nan, &mut self.reference_positive, &mut self.reference_negative),
            (c, &mut self.candidate_nan, &mut self.candidate_positive, &mut self.candidate_negative),
        ] {
            *nan += u64::from(value.is_nan());
            *positive += u64::from(value == f64::INFINITY);
            *negative += u64::from(value == f64::NEG_INFINITY);
        }
        let same = r == c || (r.is_nan() && c.is_nan());
        self.matched += u64::from(same);
        self.mismatched += u64::from(!same);
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.reference_nan += later.reference_nan;
        self.reference_positive += later.reference_positive;
        self.reference_negative += later.reference_negative;
        self.candidate_nan += later.candidate_nan;
        self.candidate_positive += later.candidate_positive;
        self.candidate_negative += later.candidate_negative;
        self.matched += later.matched;
        self.mismatched += later.mismatched;
    }
}

/// What elements that differ in being finite do to the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NonFiniteRule {
    /// One such element makes every metric invalid.
    #[default]
    Invalidate,
    /// They are left out of the metrics; only their counts show them. For policies that allow mismatches.
    LeaveOut,
}

impl NonFiniteRule {
    /// The rule of a policy that allows mismatches, or of one that does not.
    pub fn of(allow_mismatch: bool) -> Self {
        if allow_mismatch { Self::LeaveOut } else { Self::Invalidate }
    }
}

/// Result of a comparison: counts, histograms, and [`Summary::value`] for every [`Metric`].
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    reference: DType,
    candidate: DType,
    layout: Layout,
    options: Options,
    seen: Seen,
}

impl Summary {
    pub(super) fn new(reference: DType, candidate: DType, layout: Layout, options: Options, seen: Seen) -> Self {
        Self { reference, candidate, layout, options, seen }
    }

    /// The metric's value under the strict rule for what is not finite.
    pub fn value(&self, metric: Metric) -> Measured {
        self.value_under(metric, NonFiniteRule::Invalidate)
    }

    /// The metric's value, or why there is none. Never NaN; infinite only for `sqnr_db` and `psnr_db`: `+inf` for identical operands, `-inf`
    /// for a reference that is zero everywhere and a candidate that is not.
    pub fn value_under(&self, metric: Metric, rule: NonFiniteRule) -> Measured {
        let counts = &self.seen.non_finite;
        match metric {
            Metric::NonfiniteMismatch => return Ok(counts.mismatched as f64),
            Metric::NonfiniteReference => return Ok(counts.reference() as f64),
            Metric::NonfiniteCandidate => return Ok(counts.candidate() as f64),
            _ => {}
        }
        if rule == NonFiniteRule::Invalidate && counts.mismatched > 0 {
            return Err(Invalid::NonFiniteMismatch { mismatches: counts.mismatched });
        }
        if self.seen.totals.pairs == 0 {
            return Err(Invalid::NoPairs);
        }
        let value = self.formula(metric)?;
        let decibel = matches!(metric, Metric::SqnrDb | Metric::PsnrDb);
        if value.is_nan() || (value.is_infinite() && !decibel) { Err(Invalid::Range) } else { Ok(value) }
    }

    fn formula(&self, metric: Metric) -> Measured {
        let seen = &self.seen;
        let totals = &seen.totals;
        let pairs = totals.pairs as f64;
        match metric {
            Metric::MaxAbs => Ok(totals.peaks.d_abs),
            Metric::MeanAbs => Ok(totals.d_abs.total() / pairs),
            Metric::Bias => Ok(totals.d.total() / pairs),
            Metric::Mse => self.mse(),
            Metric::Rmse => Ok(self.mse()?.sqrt()),
            Metric::RelativeL2 => self.relative_l2(),
            Metric::MaxRelative => self.max_relative_value(),
            Metric::Cosine => self.cosine(),
            Metric::CosineMean => Ok(self.cosines()?.0),
            Metric::CosineMin => Ok(self.cosines()?.1),
            Metric::SqnrDb => decibels(self.squares_reference()?, self.squares_difference()?),
            Metric::PsnrDb => Ok(2.0 * decibels(totals.peaks.r_abs, self.mse()?.sqrt())?),
            Metric::KlMean => Ok(self.divergence()?.0),
            Metric::KlMax => Ok(self.divergence()?.1),
            Metric::AgreementTop1 => self.agreement(seen.classes.top1_agree),
            Metric::AgreementTopK => self.agreement(seen.classes.top_k_agree),
            Metric::ToleranceShare => Ok(totals.within_tolerance as f64 / pairs),
            Metric::LsbMax => self.integer_only().map(|()| totals.peaks.d_abs),
            Metric::LsbWithinOne => self.integer_only().map(|()| seen.lsb.within_one() as f64 / pairs),
            Metric::SaturationShareReference => self.saturated(seen.saturation_reference),
            Metric::SaturationShareCandidate => self.saturated(seen.saturation_candidate),
            Metric::NonfiniteMismatch | Metric::NonfiniteReference | Metric::NonfiniteCandidate => {
                Err(Invalid::NotApplicable("counts have no formula"))
            }
        }
    }

    fn mse(&self) -> Measured {
        Ok(self.squares_difference()? / self.seen.totals.pairs as f64)
    }

    pub(in crate::compare) fn squares_difference(&self) -> Measured {
        squares(self.seen.totals.dd.total(), self.seen.totals.peaks.d_abs)
    }

    pub(in crate::compare) fn squares_reference(&self) -> Measured {
        squares(self.seen.totals.rr.total(), self.seen.totals.peaks.r_abs)
    }

    pub(in crate::compare) fn squares_candidate(&self) -> Measured {
        squares(self.seen.totals.cc.total(), self.seen.totals.peaks.c_abs)
    }

    fn relative_l2(&self) -> Measured {
        match (self.squares_reference()?, self.squares_difference()?) {
            (0.0, 0.0) => Ok(0.0),
            (0.0, _) => Err(Invalid::ZeroReference),
            (reference, difference) => Ok((difference / reference).sqrt()),
        }
    }

    fn max_relative_value(&self) -> Measured {
        if self.seen.totals.zero_reference_differs > 0 && self.seen.max_relative.is_none() {
            return Err(Invalid::ZeroReference);
        }
        Ok(self.seen.totals.peaks.relative)
    }

    pub(in crate::compare) fn cosine(&self) -> Measured {
        let (rr, cc) = (self.squares_reference()?, self.squares_candidate()?);
        cosine(rr, cc, self.seen.totals.rc.total()).ok_or(Invalid::Range)
    }

    /// Mean and minimum over samples.
    fn cosines(&self) -> Result<(f64, f64), Invalid> {
        let cosines = &self.seen.cosines;
        if self.layout.sample_elements < 3 {
            return Err(Invalid::NotApplicable("cosine per sample needs three elements or more"));
        }
        let overflowed = cosines.non_finite > 0 && self.seen.non_finite.elements() == 0;
        if cosines.out_of_range > 0 || overflowed {
            return Err(Invalid::Range);
        }
        let min = cosines.min.ok_or(Invalid::NoPairs)?;
        Ok((cosines.sum.total() / cosines.counted() as f64, min.value))
    }

    /// Mean and maximum over class vectors.
    fn divergence(&self) -> Result<(f64, f64), Invalid> {
        let divergence = &self.seen.classes.divergence;
        if self.layout.class_elements < 2 {
            return Err(Invalid::NotApplicable("divergence needs two classes or more"));
        }
        if divergence.reference_is_no_distribution {
            return Err(Invalid::NotApplicable("the reference's outputs are not probabilities"));
        }
        if divergence.candidate_no_distribution > 0 {
            return Err(Invalid::NotProbabilities { vectors: divergence.candidate_no_distribution });
        }
        let max = divergence.max.ok_or(Invalid::NoPairs)?;
        Ok((divergence.sum.total() / divergence.vectors as f64, max.value))
    }

    fn agreement(&self, agree: u64) -> Measured {
        if self.layout.class_elements < 2 {
            return Err(Invalid::NotApplicable("agreement needs two classes or more"));
        }
        Ok(agree as f64 / self.seen.classes.vectors as f64)
    }

    fn integer_only(&self) -> Result<(), Invalid> {
        match self.reference.limits() {
            Some(_) => Ok(()),
            None => Err(Invalid::NotApplicable("only integer outputs have steps and ends")),
        }
    }

    fn saturated(&self, saturation: Saturation) -> Measured {
        self.integer_only()?;
        Ok((saturation.low + saturation.high) as f64 / self.seen.totals.pairs as f64)
    }
}

/// What lies behind the metrics.
impl Summary {
    /// Element types: reference, candidate.
    pub fn dtypes(&self) -> (DType, DType) {
        (self.reference, self.candidate)
    }

    /// Sample and class sizes.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Settings it was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Elements offered, finite or not.
    pub fn elements(&self) -> u64 {
        self.seen.elements
    }

    /// Samples offered.
    pub fn samples(&self) -> u64 {
        self.seen.elements.checked_div(self.layout.sample_elements as u64).unwrap_or(0)
    }

    /// Pairs that are finite on both sides: what the sums rest on.
    pub fn finite_pairs(&self) -> u64 {
        self.seen.totals.pairs
    }

    /// Elements that are not finite, by operand and kind.
    pub fn non_finite(&self) -> NonFiniteCounts {
        self.seen.non_finite
    }

    /// Largest absolute difference and its element; `None` if no finite pair differs.
    pub fn max_abs(&self) -> Option<At> {
        self.seen.max_abs
    }

    /// Largest relative difference and its element, over elements whose reference is not zero.
    pub fn max_relative(&self) -> Option<At> {
        self.seen.max_relative
    }

    /// Elements whose reference is zero and whose candidate is not: they have no relative error.
    pub fn zero_reference_differs(&self) -> u64 {
        self.seen.totals.zero_reference_differs
    }

    /// Sample with the smallest cosine.
    pub fn cosine_min(&self) -> Option<At> {
        self.seen.cosines.min
    }

    /// Class vector with the largest divergence.
    pub fn kl_max(&self) -> Option<At> {
        self.seen.classes.divergence.max
    }

    /// Class vectors, and those of them with a NaN, which agree on nothing.
    pub fn class_vectors(&self) -> (u64, u64) {
        (self.seen.classes.vectors, self.seen.classes.nan)
    }

    /// Absolute differences in octaves.
    pub fn errors(&self) -> ErrorHistogram {
        self.seen.errors.histogram()
    }

    /// Signed differences in steps; `None` unless the output is an integer.
    pub fn lsb(&self) -> Option<&LsbHistogram> {
        self.reference.limits().map(|_| &self.seen.lsb)
    }

    /// Saturated elements of reference and candidate; `None` unless the output is an integer.
    pub fn saturation(&self) -> Option<(Saturation, Saturation)> {
        self.reference.limits().map(|_| (self.seen.saturation_reference, self.seen.saturation_candidate))
    }

    pub(in crate::compare) fn totals(&self) -> &Totals {
        &self.seen.totals
    }
}

/// A sum of squares that can be trusted: in range, and not zero by underflow of what it was made of.
fn squares(sum: f64, largest: f64) -> Measured {
    const SQUARES_MIN: f64 = 1e-280;
    if !sum.is_finite() || (largest > 0.0 && sum < SQUARES_MIN) { Err(Invalid::Range) } else { Ok(sum) }
}

/// `10 log10(signal / noise)`; no noise: `+inf`, no signal but noise: `-inf`.
fn decibels(signal: f64, noise: f64) -> Measured {
    match (signal, noise) {
        (_, 0.0) => Ok(f64::INFINITY),
        (0.0, _) => Ok(f64::NEG_INFINITY),
        (signal, noise) => Ok(10.0 * (signal / noise).log10()),
    }
}
