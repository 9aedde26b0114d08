//! Checks the bytes of an evalset against its manifest, before anything is built or shipped. Nothing is trusted.

use crate::PlanError;
use boardproof_record::Digest;
use boardproof_record::plan::{Model, Task};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// What is wrong with an evalset.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum EvalsetError {
    #[error("digest is not what model.toml says: expected {expected}, got {found}")]
    Digest { expected: Digest, found: Digest },
    #[error("not a safetensors file")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("tensor '{tensor}' is missing; the file has: {}", present.join(", "))]
    Missing { tensor: String, present: Vec<String> },
    #[error("tensor '{tensor}': expected {expected}, got {found}")]
    Shape { tensor: String, expected: String, found: String },
    #[error("tensor '{tensor}': {count} values are not finite, the first at sample {first}")]
    NotFinite { tensor: String, count: u64, first: u64 },
    #[error("label of sample {sample}: expected {expected}, got {found}")]
    Label { sample: u64, expected: String, found: i64 },
    #[error("slice '{slice}' of sample {sample}: code {found}, but only {known} values are named")]
    SliceCode { slice: String, sample: u64, found: u8, known: usize },
    #[error("id {id} stands for two samples, {first} and {second}")]
    DuplicateId { id: i64, first: u64, second: u64 },
}

/// Checks digest, presence, shapes, types, labels, slice codes, ids, and that every value is finite.
pub fn check_evalset(model: &Model, bytes: &[u8]) -> Result<(), PlanError> {
    check(model, bytes).map_err(|source| PlanError::Evalset { file: model.evalset.file.clone(), source })
}

fn check(model: &Model, bytes: &[u8]) -> Result<(), EvalsetError> {
    let found = Digest::of(bytes);
    if found != model.evalset.digest {
        return Err(EvalsetError::Digest { expected: model.evalset.digest, found });
    }
    let file = SafeTensors::deserialize(bytes)?;
    for (name, spec) in model.evalset.inputs.iter().zip(&model.inputs) {
        check_input(&file, name, model.evalset.samples, &spec.shape)?;
    }
    check_labels(&file, model)?;
    for (slice, values) in &model.evalset.slices {
        check_slice(&file, slice, values.len(), model.evalset.samples)?;
    }
    model.evalset.ids.iter().try_for_each(|ids| check_ids(&file, ids, model.evalset.samples))
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>, EvalsetError> {
    file.tensor(name).map_err(|_| {
        let present = crate::nearest(name, file.names());
        EvalsetError::Missing { tensor: name.into(), present }
    })
}

fn check_input(file: &SafeTensors<'_>, name: &str, samples: u64, shape: &[u64]) -> Result<(), EvalsetError> {
    let view = tensor(file, name)?;
    let expected: Vec<usize> = std::iter::once(samples).chain(shape.iter().copied()).map(|n| n as usize).collect();
    if view.shape() != expected {
        let (expected, found) = (format!("shape {expected:?}"), format!("{:?}", view.shape()));
        return Err(EvalsetError::Shape { tensor: name.into(), expected, found });
    }
    let per_sample = shape.iter().product::<u64>().max(1);
    let finite: fn(&[u8]) -> bool = match view.dtype() {
        Dtype::F32 => |b| f32::from_le_bytes(b.try_into().expect("four bytes")).is_finite(),
        Dtype::F64 => |b| f64::from_le_bytes(b.try_into().expect("eight bytes")).is_finite(),
        Dtype::F16 => |b| u16::from_le_bytes(b.try_into().expect("two bytes")) & 0x7c00 != 0x7c00,
        Dtype::U8 | Dtype::I8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::I64 | Dtype::BOOL => return Ok(()),
        other => {
            let expected = "F32, F64, F16, U8, I8, I16, U16, I32, I64 or BOOL".to_owned();
            return Err(EvalsetError::Shape { tensor: name.into(), expected, found: format!("{other:?}") });
        }
    };
    let mut bad =
        view.data().chunks_exact(view.dtype().bitsize() / 8).enumerate().filter(|(_, b)| !finite(b)).map(|(i, _)| i);
    match bad.next() {
        None => Ok(()),
        Some(first) => {
            let count = 1 + bad.count() as u64;
            Err(EvalsetError::NotFinite { tensor: name.into(), count, first: first as u64 / per_sample })
        }
    }
}

/// A tensor of one I64 per sample.
fn integers(file: &SafeTensors<'_>, name: &str, samples: u64) -> Result<Vec<i64>, EvalsetError> {
    let view = tensor(file, name)?;
    if view.dtype() != Dtype::I64 || view.shape() != [samples as usize] {
        let (expected, found) =
            (format!("I64 of shape [{samples}]"), format!("{:?} of shape {:?}", view.dtype(), view.shape()));
        return Err(EvalsetError::Shape { tensor: name.into(), expected, found });
    }
    Ok(view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
}

fn check_labels(file: &SafeTensors<'_>, model: &Model) -> Result<(), EvalsetError> {
    let labels = integers(file, &model.evalset.labels, model.evalset.samples)?;
    let limit = match &model.task {
        Task::Classification { classes } => classes.len() as i64,
        Task::Binary { .. } | Task::Anomaly => 2,
        Task::Regression => return Ok(()),
    };
    match labels.iter().position(|l| !(0..limit).contains(l)) {
        None => Ok(()),
        Some(i) => {
            Err(EvalsetError::Label { sample: i as u64, expected: format!("0 to {}", limit - 1), found: labels[i] })
        }
    }
}

fn check_slice(file: &SafeTensors<'_>, slice: &str, known: usize, samples: u64) -> Result<(), EvalsetError> {
    let name = format!("slice.{slice}");
    let view = tensor(file, &name)?;
    if view.dtype() != Dtype::U8 || view.shape() != [samples as usize] {
        let (expected, found) =
            (format!("U8 of shape [{samples}]"), format!("{:?} of shape {:?}", view.dtype(), view.shape()));
        return Err(EvalsetError::Shape { tensor: name, expected, found });
    }
    match view.data().iter().position(|c| usize::from(*c) >= known) {
        None => Ok(()),
        Some(i) => Err(EvalsetError::SliceCode { slice: slice.into(), sample: i as u64, found: view.data()[i], known }),
    }
}

fn check_ids(file: &SafeTensors<'_>, name: &str, samples: u64) -> Result<(), EvalsetError> {
    let mut ids: Vec<_> = integers(file, name, samples)?.into_iter().zip(0u64..).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|w| w[0].0 == w[1].0) {
        None => Ok(()),
        Some(w) => Err(EvalsetError::DuplicateId { id: w[0].0, first: w[0].1, second: w[1].1 }),
    }
}
