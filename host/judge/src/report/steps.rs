//! How far a quantized output is off in steps of its integer, and how much of it stands at the ends of its type.

use super::amount;
use crate::compare::numerics::{self, LsbHistogram, Options, Saturation, Summary};
use crate::compare::tensor::DType;
use crate::evidence::Tensor;
use serde::Serialize;

/// Steps of one output of 8 or 16 bits. Wider integers number things; they are not quantized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Steps {
    /// What the steps are counted from.
    pub against: Against,
    /// Elements compared.
    pub elements: u64,
    /// Elements by step, candidate less what it is held against: from below -8 to above 8.
    pub bins: Vec<StepBin>,
    /// Elements of the candidate at the ends of the type.
    pub saturated: Ends,
    /// Elements of what it is held against.
    pub saturated_against: Ends,
}

/// What an output is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The float model on the host, which ends in the same integers.
    Reference,
    /// The same variant on the host: the float model ends in floats, between which and integers lies a quantization.
    VariantOnHost,
}

impl Against {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Reference => "the reference",
            Self::VariantOnHost => "the variant on the host",
        }
    }
}

/// Elements that are off by one number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepBin {
    /// Least number of steps; `None` where it is as low as can be.
    pub from: Option<i32>,
    /// Most; `None` where it is as high as can be.
    pub to: Option<i32>,
    /// Elements.
    pub elements: u64,
}

impl StepBin {
    /// Its name on an axis.
    pub fn name(&self) -> String {
        match (self.from, self.to) {
            (Some(step), Some(_)) => format!("{step}"),
            (Some(least), None) => format!("\u{2265}{least}"),
            (None, most) => format!("\u{2264}{}", most.unwrap_or_default()),
        }
    }
}

/// Elements at the ends of an integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ends {
    /// At its minimum.
    pub low: u64,
    /// At its maximum.
    pub high: u64,
}

impl From<Saturation> for Ends {
    fn from(found: Saturation) -> Self {
        Self { low: found.low, high: found.high }
    }
}

impl Steps {
    /// Between the integers of two outputs as they were recorded; `None` without another, and where they are not quantized alike.
    pub fn between(other: Option<&Tensor<'_>>, own: &Tensor<'_>, against: Against) -> Option<Self> {
        let (other, own) = (other?.recorded_view(), own.recorded_view());
        let quantized = is_quantized(own.dtype()) && own.dtype() == other.dtype();
        let compared = quantized.then(|| numerics::compare(&other, &own, Options::default()).ok()).flatten();
        Self::of(&compared?, against)
    }

    /// Those of a comparison of integers.
    fn of(compared: &Summary, against: Against) -> Option<Self> {
        let (of_other, own) = compared.saturation()?;
        let counted = compared.lsb()?;
        let (saturated, saturated_against) = (own.into(), of_other.into());
        Some(Self { against, elements: counted.total(), bins: bins(counted), saturated, saturated_against })
    }

    /// Elements within one step, as a share.
    pub fn within_one(&self) -> f64 {
        let within = |bin: &&StepBin| bin.from.zip(bin.to).is_some_and(|(from, to)| -1 <= from && to <= 1);
        self.share(self.bins.iter().filter(within).map(|bin| bin.elements).sum())
    }

    /// This many elements, as a share.
    pub fn share(&self, elements: u64) -> f64 {
        elements as f64 / self.elements.max(1) as f64
    }

    /// Elements at both ends, as a share.
    pub fn saturated_share(&self, ends: Ends) -> f64 {
        self.share(ends.low + ends.high)
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        let share = |value: f64| amount(value, "share");
        let taken = || self.bins.iter().filter(|bin| bin.elements > 0);
        let furthest = match taken().map(furthest).collect::<Option<Vec<_>>>() {
            Some(all) => format!("{} at most", all.into_iter().max().unwrap_or(0)),
            None => "more than 8 at most".into(),
        };
        format!(
            "{} of {} elements within one step of {} ({furthest}); saturated {} here, {} there",
            share(self.within_one()),
            self.elements,
            self.against.words(),
            share(self.saturated_share(self.saturated)),
            share(self.saturated_share(self.saturated_against))
        )
    }
}

/// Steps of a bin without its sign; `None` where it has no end.
fn furthest(bin: &StepBin) -> Option<u32> {
    bin.from.zip(bin.to).map(|(from, to)| from.unsigned_abs().max(to.unsigned_abs()))
}

fn is_quantized(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16)
}

fn bins(counted: &LsbHistogram) -> Vec<StepBin> {
    let most = counted.steps.len() as i32 / 2;
    let single = |(step, elements): (i32, &u64)| StepBin { from: Some(step), to: Some(step), elements: *elements };
    let below = StepBin { from: None, to: Some(-most - 1), elements: counted.below };
    let above = StepBin { from: Some(most + 1), to: None, elements: counted.above };
    std::iter::once(below).chain((-most..).zip(&counted.steps).map(single)).chain([above]).collect()
}
