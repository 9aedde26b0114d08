//! The names under which policies, reports and `docs/metrics.md` know the numbers of a comparison.

use serde::Serialize;

/// One number that compares a candidate with its reference, element by element or vector by vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// `max |c - r|`
    MaxAbs,
    /// `mean |c - r|`
    MeanAbs,
    /// `mean (c - r)`: what a systematic shift leaves; errors of opposite sign cancel here and nowhere else.
    Bias,
    /// `mean (c - r)^2`
    Mse,
    /// `sqrt(mean (c - r)^2)`
    Rmse,
    /// `||c - r|| / ||r||`
    RelativeL2,
    /// `max |c - r| / |r|` over elements with `r != 0`; its element is in general not that of `MaxAbs`.
    MaxRelative,
    /// `r.c / (||r|| ||c||)` over the whole output; both zero: 1, one zero: 0.
    Cosine,
    /// Mean over samples of the cosine of one sample (three elements or more).
    CosineMean,
    /// Smallest of them. For diagnosis: good int8 models have poor minima.
    CosineMin,
    /// `10 log10(sum r^2 / sum (c - r)^2)`
    SqnrDb,
    /// `20 log10(max |r| / rmse)`
    PsnrDb,
    /// Mean over class vectors of `sum p ln(p / q)`, `p` the reference.
    KlMean,
    /// Largest of them.
    KlMax,
    /// Share of class vectors with the same largest element.
    AgreementTop1,
    /// Share of class vectors whose reference's largest element is among the candidate's `k` largest.
    AgreementTopK,
    /// Share of elements with `|c - r| <= atol + rtol |r|`, of all finite pairs.
    ToleranceShare,
    /// `max |c - r|` of integer outputs, in steps.
    LsbMax,
    /// Share of elements of integer outputs that are at most one step away.
    LsbWithinOne,
    /// Share of the reference's elements at the ends of its integer type.
    SaturationShareReference,
    /// Share of the candidate's elements at the ends of its integer type.
    SaturationShareCandidate,
    /// Elements that are not finite in the same way on both sides.
    NonfiniteMismatch,
    /// Elements of the reference that are not finite.
    NonfiniteReference,
    /// Elements of the candidate that are not finite.
    NonfiniteCandidate,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Small is good.
    Lower,
    /// Large is good.
    Higher,
    /// Near zero is good.
    Zero,
}

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 24] = [
        Self::SqnrDb,
        Self::RelativeL2,
        Self::Cosine,
        Self::CosineMean,
        Self::CosineMin,
        Self::PsnrDb,
        Self::MaxAbs,
        Self::MeanAbs,
        Self::Bias,
        Self::Mse,
        Self::Rmse,
        Self::MaxRelative,
        Self::ToleranceShare,
        Self::KlMean,
        Self::KlMax,
        Self::AgreementTop1,
        Self::AgreementTopK,
        Self::LsbMax,
        Self::LsbWithinOne,
        Self::SaturationShareReference,
        Self::SaturationShareCandidate,
        Self::NonfiniteMismatch,
        Self::NonfiniteReference,
        Self::NonfiniteCandidate,
    ];

    /// Name in policies and reports.
    pub fn name(self) -> &'static str {
        self.spec().0
    }

    /// Unit: `output` stands for the unit of the output itself.
    pub fn unit(self) -> &'static str {
        self.spec().1
    }

    /// Which way is better.
    pub fn direction(self) -> Direction {
        self.spec().2
    }

    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    fn spec(self) -> (&'static str, &'static str, Direction) {
        use Direction::{Higher, Lower, Zero};
        match self {
            Self::MaxAbs => ("max_abs", "output", Lower),
            Self::MeanAbs => ("mean_abs", "output", Lower),
            Self::Bias => ("bias", "output", Zero),
            Self::Mse => ("mse", "output^2", Lower),
            Self::Rmse => ("rmse", "output", Lower),
            Self::RelativeL2 => ("relative_l2", "ratio", Lower),
            Self::MaxRelative => ("max_relative", "ratio", Lower),
            Self::Cosine => ("cosine", "ratio", Higher),
            Self::CosineMean => ("cosine_mean", "ratio", Higher),
            Self::CosineMin => ("cosine_min", "ratio", Higher),
            Self::SqnrDb => ("sqnr_db", "dB", Higher),
            Self::PsnrDb => ("psnr_db", "dB", Higher),
            Self::KlMean => ("kl_mean", "nat", Lower),
            Self::KlMax => ("kl_max", "nat", Lower),
            Self::AgreementTop1 => ("agreement_top1", "share", Higher),
            Self::AgreementTopK => ("agreement_top_k", "share", Higher),
            Self::ToleranceShare => ("tolerance_share", "share", Higher),
            Self::LsbMax => ("lsb_max", "step", Lower),
            Self::LsbWithinOne => ("lsb_within_one", "share", Higher),
            Self::SaturationShareReference => ("saturation_share_reference", "share", Lower),
            Self::SaturationShareCandidate => ("saturation_share_candidate", "share", Lower),
            Self::NonfiniteMismatch => ("nonfinite_mismatch", "count", Lower),
            Self::NonfiniteReference => ("nonfinite_reference", "count", Lower),
            Self::NonfiniteCandidate => ("nonfinite_candidate", "count", Lower),
        }
    }
}
