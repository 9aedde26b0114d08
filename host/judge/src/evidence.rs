//! What the judge looks at: a record with the bytes of its files, opened as tensors. Reads nothing by itself.

use crate::compare::tensor::{DType, TensorError, TensorView};
use boardproof_record::observation::{Ended, FileRef, Observation, Outcome, PassObservation};
use boardproof_record::plan::{Cell, Model, Pass, Role};
use boardproof_record::record::Record;
use boardproof_record::{CellId, Digest};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// A record and the bytes of its files, by path as in the record.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its files; whoever read them has proved their digests.
    pub files: &'a BTreeMap<String, Vec<u8>>,
}

/// A record whose files do not hold what it says.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum EvidenceError {
    #[error("the record names {path}, which was not read")]
    NoFile { path: String },
    #[error("{path} is not a safetensors file")]
    Format { path: String, source: safetensors::SafeTensorError },
    #[error("{path}: tensor '{tensor}' cannot be used")]
    Tensor { path: String, tensor: String, source: TensorError },
    #[error("{path}: tensor '{tensor}' has {found} samples, expected {expected}")]
    Samples { path: String, tensor: String, expected: u64, found: u64 },
    #[error("the record has no labels of evalset {0}")]
    NoEvalset(Digest),
    #[error("{path}: {what}")]
    Damaged { path: String, what: String },
}

/// A tensor that owns its shape, so that views of it can be made at will.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Name in the model, or in the evalset.
    pub name: String,
    dtype: DType,
    /// Shape; the first dimension is the sample.
    pub shape: Vec<usize>,
    bytes: &'a [u8],
}

impl Tensor<'_> {
    /// A view for the comparers.
    pub fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, &self.shape, self.bytes).expect("checked when the file was opened")
    }

    /// All elements, widened.
    pub fn to_f64(&self) -> Vec<f64> {
        self.view().to_f64()
    }

    /// Elements of one sample.
    pub fn row_elements(&self) -> usize {
        self.shape.iter().skip(1).fold(1_usize, |product, extent| product.saturating_mul(*extent)).max(1)
    }
}

/// Labels and slices of an evalset, as far as the cell used it.
#[derive(Debug, Clone)]
pub struct Truth<'a> {
    /// One label per sample.
    pub labels: Vec<i64>,
    /// Slice codes by column.
    pub slices: BTreeMap<String, Vec<i64>>,
    /// Inputs, where the task needs them.
    pub inputs: Vec<Tensor<'a>>,
}

impl<'a> Evidence<'a> {
    /// The cell's observation, if it was measured.
    pub fn observation(&self, cell: &CellId) -> Option<&'a Observation> {
        match self.record.outcomes.get(cell) {
            Some(Outcome::Measured(seen)) => Some(seen),
            _ => None,
        }
    }

    /// A pass of the cell that was completed.
    pub fn completed(&self, cell: &CellId, pass: Pass) -> Option<&'a PassObservation> {
        self.observation(cell)?.pass(pass).filter(|p| p.ended == Ended::Completed)
    }

    /// The model of a cell.
    pub fn model(&self, cell: &Cell) -> &'a Model {
        &self.record.plan.models[&cell.model]
    }

    /// The reference cell for answers: the float model on the host.
    pub fn reference(&self, cell: &Cell) -> Option<&'a Cell> {
        self.record.plan.cells.iter().find(|c| c.model == cell.model && c.role == Role::Reference)
    }

    /// The same variant on the host; the cell itself when the host is its unit.
    pub fn on_host(&self, cell: &Cell) -> Option<&'a Cell> {
        self.record.plan.on_host(cell)
    }

    /// The float model on the same unit: what latency and memory are compared with.
    pub fn reference_on_unit(&self, cell: &Cell) -> Option<&'a Cell> {
        let reference = &self.model(cell).reference;
        self.record.plan.cells.iter().find(|c| c.model == cell.model && c.variant == *reference && c.unit == cell.unit)
    }

    /// Outputs of a cell's accuracy pass; `None` when there are none.
    pub fn outputs(&self, cell: &CellId) -> Result<Option<Vec<Tensor<'a>>>, EvidenceError> {
        let Some(file) = self.completed(cell, Pass::Accuracy).and_then(|p| p.outputs.as_ref()) else { return Ok(None) };
        let bytes = self.bytes(file)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|source| format(file, source))?;
        let names = metadata.metadata().as_ref().and_then(|m| m.get("names")).map(String::as_str).unwrap_or("{}");
        let names: BTreeMap<String, String> = serde_json::from_str(names).map_err(|e| damaged(file, &e))?;
        let opened = self.open(file)?;
        let mut outputs = Vec::new();
        for index in 0..names.len() {
            let name =
                names.get(&index.to_string()).ok_or_else(|| damaged(file, &"outputs are not numbered without gaps"))?;
            let mut tensor = opened
                .iter()
                .find(|t| t.name == format!("output.{index}"))
                .cloned()
                .ok_or_else(|| damaged(file, &"an output is missing"))?;
            tensor.name.clone_from(name);
            outputs.push(tensor);
        }
        if outputs.len() != opened.len() || outputs.is_empty() {
            return Err(damaged(file, &"outputs and their names differ in number"));
        }
        Ok(Some(outputs))
    }

    /// Latencies of a cell in nanoseconds; `None` when there are none.
    pub fn latencies_ns(&self, cell: &CellId) -> Result<Option<Vec<f64>>, EvidenceError> {
        let Some(seen) = self.observation(cell) else { return Ok(None) };
        let Some(file) = self.completed(cell, Pass::Latency).and_then(|p| p.ticks.as_ref()) else { return Ok(None) };
        let opened = self.open(file)?;
        let ticks = opened
            .iter()
            .find(|t| t.name == "ticks" && t.dtype == DType::U64)
            .ok_or_else(|| damaged(file, &"no tensor 'ticks' of U64"))?;
        let hz = seen.device.tick_hz;
        if hz == 0 {
            return Err(damaged(file, &"the tick rate is 0"));
        }
        let ns = |b: &[u8; 8]| u64::from_le_bytes(*b) as f64 * (1e9 / hz as f64);
        Ok(Some(ticks.bytes.as_chunks::<8>().0.iter().map(ns).collect()))
    }

    /// Labels and slices for the first `samples` samples.
    pub fn truth(&self, model: &Model, samples: u64) -> Result<Truth<'a>, EvidenceError> {
        let evalset = &model.evalset;
        let file = self.record.evalsets.get(&evalset.digest).ok_or(EvidenceError::NoEvalset(evalset.digest))?;
        let opened = self.open(file)?;
        let find = |name: &str| opened.iter().find(|t| t.name == name).cloned();
        let column = |name: &str| -> Result<Vec<i64>, EvidenceError> {
            let tensor = find(name).ok_or_else(|| damaged(file, &format!("no tensor '{name}'")))?;
            let error = |source| EvidenceError::Tensor { path: file.path.clone(), tensor: name.into(), source };
            let mut values = tensor.view().to_i64().map_err(error)?;
            if (values.len() as u64) < samples {
                let (path, tensor, found) = (file.path.clone(), name.to_owned(), values.len() as u64);
                return Err(EvidenceError::Samples { path, tensor, expected: samples, found });
            }
            values.truncate(samples as usize);
            Ok(values)
        };
        let labels = column(&evalset.labels)?;
        let slices = evalset
            .slices
            .keys()
            .map(|s| Ok((s.clone(), column(&format!("slice.{s}"))?)))
            .collect::<Result<_, EvidenceError>>()?;
        Ok(Truth { labels, slices, inputs: evalset.inputs.iter().filter_map(|n| find(n)).collect() })
    }

    fn bytes(&self, file: &FileRef) -> Result<&'a [u8], EvidenceError> {
        self.files.get(&file.path).map(Vec::as_slice).ok_or_else(|| EvidenceError::NoFile { path: file.path.clone() })
    }

    fn open(&self, file: &FileRef) -> Result<Vec<Tensor<'a>>, EvidenceError> {
        let opened = SafeTensors::deserialize(self.bytes(file)?).map_err(|source| format(file, source))?;
        let tensor = |(name, view): (String, safetensors::tensor::TensorView<'a>)| {
            let error = |source| EvidenceError::Tensor { path: file.path.clone(), tensor: name.clone(), source };
            let dtype = DType::from_name(&format!("{:?}", view.dtype())).map_err(error)?;
            TensorView::new(dtype, view.shape(), view.data()).map_err(error)?;
            Ok(Tensor { name: name.clone(), dtype, shape: view.shape().to_vec(), bytes: view.data() })
        };
        opened.tensors().into_iter().map(tensor).collect()
    }
}

fn format(file: &FileRef, source: safetensors::SafeTensorError) -> EvidenceError {
    EvidenceError::Format { path: file.path.clone(), source }
}

fn damaged(file: &FileRef, what: &dyn std::fmt::Display) -> EvidenceError {
    EvidenceError::Damaged { path: file.path.clone(), what: what.to_string() }
}
