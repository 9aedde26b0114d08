//! Inputs of samples, in the form in which reports show them.

use crate::evidence::{Evidence, EvidenceError};
use boardproof_record::plan::{Model, Shows};
use std::collections::BTreeMap;

/// What a record has kept to be shown of a model's evalset.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// What its samples are; `None` where nobody knows.
    pub what: Option<Shows>,
    /// Names of the columns of a table; empty where they have none.
    pub columns: Vec<String>,
    /// Samples by their numbers.
    pub samples: BTreeMap<u64, Sample>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values as the evalset has them.
    pub values: Vec<f64>,
    /// They are bytes: 0 is black and 255 white.
    pub bytes: bool,
}

impl Shown {
    /// Reads what the record has kept.
    pub fn of(evidence: Evidence<'_>, model: &Model) -> Result<Self, EvidenceError> {
        let kept = evidence.shown(model)?;
        let shape = model.inputs.first().map(|input| input.shape.as_slice()).unwrap_or_default();
        let samples = kept.into_iter().map(|(number, tensor)| {
            let shape = tensor.shape.get(1..).unwrap_or_default().to_vec();
            (number, Sample { shape, values: tensor.to_f64(), bytes: tensor.is_bytes() })
        });
        Ok(Self {
            what: model.evalset.shows.or_else(|| Shows::likely(shape)),
            columns: evidence.columns(model),
            samples: samples.collect(),
        })
    }
}
