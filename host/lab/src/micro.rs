//! What a microcontroller is given in the place of model and evalset: the compiled model, and samples as it reads them.
//!
//! Both are files of this machine's cache, named by their content, so that what is on a unit already is not sent again.

use crate::ship::Blob;
use boardproof_compile::{CompileError, Edges, InputReport, compile};
use boardproof_engines::{DType, Preprocess, Quantize, TensorError, TensorView, values};
use boardproof_micro::{Invalid, Model as CompiledModel};
use boardproof_record::Digest;
use boardproof_record::plan::{Affine, Model, Variant};
use safetensors::SafeTensors;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Model and samples, ready to be shipped.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The compiled model.
    pub model: Blob,
    /// Samples, one behind the other, each with all inputs.
    pub samples: Blob,
    /// Bytes of one sample.
    pub sample_bytes: u64,
}

/// Something that cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A file cannot be read or kept.
    #[error("could not {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what was planned: what was checked before, and what others were measured on, was something else.
    #[error("{} has changed: expected digest {expected}, got {found}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Digest that was planned.
        expected: Digest,
        /// Digest that it has.
        found: Digest,
    },
    /// The model cannot be compiled.
    #[error("could not compile {} for a microcontroller", path.display())]
    Compile {
        /// The model's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CompileError,
    },
    /// What was compiled is not a model.
    #[error("could not use the compiled model")]
    Compiled(#[from] Invalid),
    /// The evalset is no safetensors file, or lacks a tensor.
    #[error("could not read samples from {}", path.display())]
    Evalset {
        /// The evalset.
        path: PathBuf,
        /// Why not.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor of the evalset does not fit the model.
    #[error("tensor '{tensor}' does not fit input '{input}': expected {expected}, got {found}")]
    Shape {
        /// Tensor in the evalset.
        tensor: String,
        /// Input of the model.
        input: String,
        /// What would fit.
        expected: String,
        /// What there is.
        found: String,
    },
    /// Raw values cannot become the input's.
    #[error("could not make values of input '{input}' of tensor '{tensor}'")]
    Values {
        /// Tensor in the evalset.
        tensor: String,
        /// Input of the model.
        input: String,
        /// Why not.
        #[source]
        source: TensorError,
    },
}

/// Prepares a variant and the first `count` samples of its evalset. `cache` keeps both.
pub fn prepare(model: &Model, variant: &Variant, count: u64, cache: &Path) -> Result<Prepared, PrepareError> {
    let path = PathBuf::from(&variant.file);
    let onnx = read(&path, variant.digest)?;
    let compiled =
        compile(&onnx, Edges::HostQuantizes).map_err(|source| PrepareError::Compile { path: path.clone(), source })?;
    let parsed = CompiledModel::check(&compiled.bytes)?;
    let samples = samples(model, variant, &compiled.report.inputs, &parsed, count)?;
    Ok(Prepared {
        model: keep("model", &compiled.bytes, cache, "model")?,
        samples: keep("evalset", &samples, cache, "samples")?,
        sample_bytes: samples.len() as u64 / count.max(1),
    })
}

/// A part of prepared samples, as a file of its own.
///
/// # Errors
/// A file that cannot be read or kept, or is not what it was.
pub(crate) fn slice(samples: &Blob, range: Range<u64>, cache: &Path) -> Result<Blob, PrepareError> {
    let bytes = read(&samples.path, samples.digest)?;
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    keep(&samples.what, &bytes[place(range.start)..place(range.end)], cache, "samples")
}

/// Reads a file that must be what was planned.
pub(crate) fn read(path: &Path, expected: Digest) -> Result<Vec<u8>, PrepareError> {
    let bytes = std::fs::read(path);
    let bytes = bytes.map_err(|source| PrepareError::File { action: "read", path: path.to_path_buf(), source })?;
    let found = Digest::of(&bytes);
    if found == expected { Ok(bytes) } else { Err(PrepareError::Changed { path: path.to_path_buf(), expected, found }) }
}

/// Puts bytes into the cache under the name of their content; a file that is whole is left alone.
pub(crate) fn keep(what: &str, bytes: &[u8], cache: &Path, kind: &str) -> Result<Blob, PrepareError> {
    let digest = Digest::of(bytes);
    let folder = cache.join("micro");
    let path = folder.join(format!("{digest}.{kind}"));
    let failed = |source| PrepareError::File { action: "keep", path: path.clone(), source };
    if std::fs::read(&path).ok().is_none_or(|known| known != bytes) {
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let part = path.with_extension(format!("part-{}", std::process::id()));
        std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &path)).map_err(failed)?;
    }
    Ok(Blob { what: what.into(), path, digest, program: false })
}

/// A tensor of the evalset that feeds an input.
pub(crate) struct Column<'d> {
    /// Its name.
    pub name: String,
    /// Shape of one sample, 1 first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// All samples.
    pub bytes: &'d [u8],
    /// Bytes of one.
    pub width: usize,
    /// How its elements become the model's numbers.
    pub preprocess: Option<Preprocess>,
    declared: DType,
}

fn samples(
    model: &Model,
    variant: &Variant,
    inputs: &[InputReport],
    compiled: &CompiledModel<'_>,
    count: u64,
) -> Result<Vec<u8>, PrepareError> {
    let path = PathBuf::from(&model.evalset.file);
    let bytes = read(&path, model.evalset.digest)?;
    let failed = |source| PrepareError::Evalset { path: path.clone(), source };
    let file = SafeTensors::deserialize(&bytes).map_err(failed)?;
    let mut columns = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let at = model.inputs.iter().position(|spec| spec.name == input.name).unwrap_or(i);
        let name = model.evalset.inputs.get(at).or(model.evalset.inputs.get(i)).cloned().unwrap_or_default();
        let preprocess = model.inputs.get(at).and_then(|spec| spec.preprocess.as_ref()).map(preprocess_of);
        let preprocess = match variant.input_quantization.get(at) {
            Some(affine) => Some(Preprocess { quantize: Some(quantize_of(*affine)), ..preprocess.unwrap_or_default() }),
            None => preprocess,
        };
        columns.push(column(input, name, preprocess, file.tensors(), count)?);
    }
    let mut out = Vec::new();
    for sample in 0..count as usize {
        for (i, column) in columns.iter().enumerate() {
            let raw = &column.bytes[sample * column.width..(sample + 1) * column.width];
            let wrong =
                |source| PrepareError::Values { tensor: column.name.clone(), input: inputs[i].name.clone(), source };
            let view = TensorView::new(column.dtype, &column.shape, raw).map_err(wrong)?;
            let made = values(view, column.preprocess.as_ref(), column.declared, &compiled.input(i)).map_err(wrong)?;
            out.extend(made);
        }
    }
    Ok(out)
}

/// Finds the tensor that feeds an input and proves that it fits.
pub(crate) fn column<'d>(
    input: &InputReport,
    name: String,
    preprocess: Option<Preprocess>,
    tensors: Vec<(String, safetensors::tensor::TensorView<'d>)>,
    count: u64,
) -> Result<Column<'d>, PrepareError> {
    let found = tensors.into_iter().find(|(known, _)| *known == name).map(|(_, view)| view);
    let wrong = |expected: String, found: String| PrepareError::Shape {
        tensor: name.clone(),
        input: input.name.clone(),
        expected,
        found,
    };
    let Some(found) = found else { return Err(wrong("a tensor of the evalset".into(), "none of that name".into())) };
    let shape = found.shape();
    if shape.get(1..) != Some(&input.dims) || (shape[0] as u64) < count {
        return Err(wrong(format!("{count} or more of {:?}", input.dims), format!("{shape:?}")));
    }
    let dtype = DType::from_name(&format!("{:?}", found.dtype()));
    let dtype = dtype.ok_or_else(|| wrong("an element type that is read".into(), format!("{:?}", found.dtype())))?;
    let declared = DType::from_name(&input.dtype);
    let declared = declared.ok_or_else(|| wrong("F32, U8 or I8".into(), input.dtype.clone()))?;
    let width = input.dims.iter().product::<usize>() * dtype.size_bytes();
    let shape = std::iter::once(1).chain(input.dims.iter().copied()).collect();
    Ok(Column { name: name.clone(), shape, dtype, bytes: found.data(), width, preprocess, declared })
}

fn quantize_of(affine: Affine) -> Quantize {
    Quantize { scale: affine.scale as f32, zero_point: affine.zero_point }
}

/// The same step in the words of the engines.
pub(crate) fn preprocess_of(step: &boardproof_record::plan::Preprocess) -> Preprocess {
    let narrow = |list: &[f64]| list.iter().map(|v| *v as f32).collect();
    Preprocess { scale: step.scale as f32, mean: narrow(&step.mean), std: narrow(&step.std), ..Preprocess::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_the_planned_one_goes_to_no_board() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, b"damaged").unwrap();
        let (planned, found) = (Digest::of(b"planned"), Digest::of(b"damaged"));
        let error = read(&path, planned).unwrap_err().to_string();
        assert!(error.ends_with(&format!("expected digest {planned}, got {found}")), "{error}");
        assert_eq!(read(&path, found).unwrap(), b"damaged");
    }

    #[test]
    fn a_part_of_samples_that_have_changed_goes_to_no_board() {
        let folder = tempfile::tempdir().unwrap();
        let samples = keep("evalset", b"0123456789", folder.path(), "samples").unwrap();
        let part = slice(&samples, 2..5, folder.path()).unwrap();
        assert_eq!((std::fs::read(&part.path).unwrap(), part.digest), (b"234".to_vec(), Digest::of(b"234")));
        std::fs::write(&samples.path, b"01x3456789").unwrap();
        assert!(matches!(slice(&samples, 2..5, folder.path()), Err(PrepareError::Changed { .. })));
    }
}
