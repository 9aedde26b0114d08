//! What a firmware of somebody else answered, as files of the record: the same files as of any other unit.

use super::DialectError;
use crate::store::RecordFolder;
use boardproof_record::CellId;
use boardproof_record::observation::FileRef;
use boardproof_record::plan::TensorSpec;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};

/// Answers to samples, output by output.
pub(super) struct Answers<'m> {
    specs: &'m [TensorSpec],
    values: Vec<Vec<f32>>,
    samples: usize,
}

impl<'m> Answers<'m> {
    pub(super) fn new(specs: &'m [TensorSpec]) -> Self {
        Self { specs, values: vec![Vec::new(); specs.len()], samples: 0 }
    }

    /// Takes the answer to one more sample. One of another size is of another model: it is no shorter answer.
    pub(super) fn take(&mut self, variant: &str, answer: &[Vec<f32>]) -> Result<(), DialectError> {
        let sizes = self.specs.iter().map(elements);
        if answer.len() != self.specs.len() || sizes.zip(answer).any(|(size, values)| size != values.len() as u64) {
            let wanted: Vec<u64> = self.specs.iter().map(elements).collect();
            let (expected, found) = (listed(&wanted), listed(&answer.iter().map(Vec::len).collect::<Vec<_>>()));
            return Err(DialectError::Unlike { variant: variant.into(), expected, found });
        }
        self.values.iter_mut().zip(answer).for_each(|(all, values)| all.extend(values));
        self.samples += 1;
        Ok(())
    }

    pub(super) fn samples(&self) -> u64 {
        self.samples as u64
    }

    pub(super) fn write(&self, cell: &CellId, folder: &RecordFolder) -> Result<FileRef, DialectError> {
        let bytes: Vec<Vec<u8>> =
            self.values.iter().map(|all| all.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
        let mut tensors = Vec::new();
        for (index, (spec, bytes)) in self.specs.iter().zip(&bytes).enumerate() {
            let rest = spec.shape.iter().map(|extent| usize::try_from(*extent).unwrap_or(usize::MAX));
            let shape = std::iter::once(self.samples).chain(rest).collect();
            let view = TensorView::new(Dtype::F32, shape, bytes).map_err(|e| folder.damaged("outputs", &e))?;
            tensors.push((format!("output.{index}"), view));
        }
        let names: BTreeMap<String, &str> =
            self.specs.iter().enumerate().map(|(index, spec)| (index.to_string(), spec.name.as_str())).collect();
        let names = serde_json::to_string(&names).map_err(|e| folder.damaged("outputs", &e))?;
        let metadata = HashMap::from([("names".to_owned(), names)]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| folder.damaged("outputs", &e))?;
        Ok(folder.write(cell, "outputs.safetensors", &bytes)?)
    }
}

fn elements(spec: &TensorSpec) -> u64 {
    spec.shape.iter().fold(1, |product, extent| product.saturating_mul(*extent))
}

fn listed(sizes: &[impl std::fmt::Display]) -> String {
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    format!("outputs of {} values", sizes.join(" and "))
}

/// Writes the ticks of every window.
pub(super) fn write_ticks(ticks: &[u64], cell: &CellId, folder: &RecordFolder) -> Result<FileRef, DialectError> {
    let bytes: Vec<u8> = ticks.iter().flat_map(|tick| tick.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::U64, vec![ticks.len()], &bytes).map_err(|e| folder.damaged("ticks", &e))?;
    let bytes = safetensors::serialize([("ticks", view)], None).map_err(|e| folder.damaged("ticks", &e))?;
    Ok(folder.write(cell, "ticks.safetensors", &bytes)?)
}
