//! What is kept of an evalset to compare a later one with: small, and without a single sample.

use crate::balance::{counts, label_names};
use crate::statistics::Steps;
use crate::survey::Survey;
use boardproof_record::plan::Model;
use boardproof_record::{Digest, ModelName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version that this build writes and reads.
const VERSION: u32 = 1;

/// An evalset in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Version of the format.
    version: u32,
    /// The model.
    pub model: ModelName,
    /// Digest of the evalset.
    pub evalset: Digest,
    /// Samples of it.
    pub samples: u64,
    /// Different samples among them.
    pub distinct: u64,
    /// Inputs by tensor.
    pub inputs: BTreeMap<String, InputSnapshot>,
    /// How often each label occurs; empty for a regression.
    pub labels: BTreeMap<String, u64>,
    /// How often each value of a slice occurs, by slice.
    pub slices: BTreeMap<String, BTreeMap<String, u64>>,
}

/// An input in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSnapshot {
    /// Element type.
    pub dtype: String,
    /// Shape of a sample.
    pub shape: Vec<u64>,
    /// Distribution of each feature over the samples.
    pub features: BTreeMap<String, Steps>,
}

/// A file that is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not JSON of this shape.
    #[error("not a snapshot of an evalset")]
    Json(#[from] serde_json::Error),
    /// A version that this build does not know.
    #[error("snapshot has version {found}, this build reads {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Numbers that cannot be.
    #[error("snapshot is damaged: the distribution of '{feature}' is none")]
    Damaged {
        /// The feature.
        feature: String,
    },
}

impl Snapshot {
    /// Of an evalset that was read.
    pub fn of(model: &Model, seen: &Survey) -> Self {
        let named = |names: &[String], codes: &[i64]| -> BTreeMap<String, u64> {
            names.iter().cloned().zip(counts(codes, names.len())).collect()
        };
        let inputs = seen.inputs.iter().map(|input| {
            let features = input.features.iter().map(|f| (f.name.clone(), Steps::of(&f.values))).collect();
            let dtype = format!("{:?}", input.form.dtype);
            (input.tensor.clone(), InputSnapshot { dtype, shape: input.form.of_sample().to_vec(), features })
        });
        let slices = model.evalset.slices.iter().filter_map(|(slice, values)| {
            let codes = seen.slices.get(slice)?;
            Some((slice.clone(), named(values, codes)))
        });
        let mut prints = seen.prints.clone();
        prints.sort_unstable();
        prints.dedup();
        Self {
            version: VERSION,
            model: model.name.clone(),
            evalset: seen.digest,
            samples: seen.samples,
            distinct: prints.len() as u64,
            inputs: inputs.collect(),
            labels: named(&label_names(&model.task), seen.labels.as_deref().unwrap_or_default()),
            slices: slices.collect(),
        }
    }

    /// Reads a snapshot; refuses unknown versions and distributions that are none.
    pub fn from_json(text: &str) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version: found } = serde_json::from_str(text)?;
        if found != VERSION {
            return Err(SnapshotError::Version { found });
        }
        let snapshot: Self = serde_json::from_str(text)?;
        let features = snapshot.inputs.values().flat_map(|input| &input.features);
        match features.into_iter().find(|(_, steps)| !steps.is_sound()) {
            Some((feature, _)) => Err(SnapshotError::Damaged { feature: feature.clone() }),
            None => Ok(snapshot),
        }
    }

    /// Text of the file, a line per feature would be too long: compact, with a final newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a snapshot has string keys and finite numbers only") + "\n"
    }
}
