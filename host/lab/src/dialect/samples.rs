//! Samples as the bytes that a firmware of somebody else reads.

use super::DialectError;
use crate::micro::{Column, PrepareError, column, preprocess_of, read};
use boardproof_compile::{Edges, InputReport, compile};
use boardproof_engines::{DType, Tensor, TensorView};
use boardproof_micro::{Dtype, Model as CompiledModel, quantize};
use boardproof_record::dialect::{Channels, SampleForm};
use boardproof_record::plan::{Model, Variant};
use safetensors::SafeTensors;
use std::path::PathBuf;

/// What the elements of an input are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elements {
    /// The evalset's own.
    Stored,
    /// The numbers that the float model reads, as 32-bit floats.
    Numbers,
    /// 8-bit values of these numbers.
    Quantized { scale: f32, zero_point: i32, signed: bool },
    /// 8-bit values that stand in the evalset as the model reads them, of this kind; the firmware reads signed ones or counts from 0.
    Integers { kind: DType, signed: bool },
}

/// Elements of each input as the target's file says them for a firmware that cannot tell.
pub(super) fn elements_of(form: SampleForm, variant: &Variant) -> Result<Vec<Elements>, DialectError> {
    let signed = match form {
        SampleForm::Stored => return Ok(vec![Elements::Stored]),
        SampleForm::F32 => return Ok(vec![Elements::Numbers]),
        SampleForm::I8 => true,
        SampleForm::U8 => false,
    };
    let path = PathBuf::from(&variant.file);
    let onnx = read(&path, variant.digest)?;
    let compiled = compile(&onnx, Edges::HostQuantizes).map_err(|source| PrepareError::Compile { path, source })?;
    let parsed = CompiledModel::check(&compiled.bytes).map_err(PrepareError::Compiled)?;
    let of = |(i, input): (usize, &InputReport)| {
        let made = parsed.input(i);
        match (input.dtype.as_str(), made.dtype) {
            ("U8", _) => Ok(Elements::Integers { kind: DType::U8, signed }),
            ("I8", _) => Ok(Elements::Integers { kind: DType::I8, signed }),
            (_, Dtype::I8) => {
                // The same values counted from 0: so is their zero point.
                let zero_point = made.zero_point + if signed { 0 } else { 128 };
                Ok(Elements::Quantized { scale: made.scale, zero_point, signed })
            }
            (dtype, Dtype::F32) => Err(DialectError::CannotCarry {
                dialect: "8-bit values",
                expected: "a variant that quantizes its input".into(),
                found: format!("{dtype} for input '{}'", input.name),
            }),
        }
    };
    compiled.report.inputs.iter().enumerate().map(of).collect()
}

/// For each of the first `count` samples the bytes of every input.
pub(super) fn samples(
    model: &Model,
    elements: &[Elements],
    channels: Channels,
    count: u64,
) -> Result<Vec<Vec<Vec<u8>>>, DialectError> {
    let path = PathBuf::from(&model.evalset.file);
    let bytes = read(&path, model.evalset.digest)?;
    let failed = |source| PrepareError::Evalset { path: path.clone(), source };
    let file = SafeTensors::deserialize(&bytes).map_err(failed)?;
    let columns = columns(model, &file, count)?;
    let sample = |index: usize| {
        let inputs = columns.iter().zip(elements);
        inputs.map(|(column, elements)| input(column, elements, channels, index)).collect()
    };
    (0..usize::try_from(count).unwrap_or(usize::MAX)).map(sample).collect()
}

fn columns<'d>(model: &Model, file: &SafeTensors<'d>, count: u64) -> Result<Vec<Column<'d>>, DialectError> {
    let named = model.inputs.iter().zip(&model.evalset.inputs);
    let of = named.map(|(spec, tensor)| {
        let dims = spec.shape.iter().map(|extent| usize::try_from(*extent).unwrap_or(usize::MAX)).collect();
        let report = InputReport { name: spec.name.clone(), dtype: "F32".into(), dims };
        let preprocess = spec.preprocess.as_ref().map(preprocess_of);
        column(&report, tensor.clone(), preprocess, file.tensors(), count)
    });
    Ok(of.collect::<Result<_, PrepareError>>()?)
}

/// The bytes of one input of one sample.
fn input(column: &Column<'_>, elements: &Elements, channels: Channels, index: usize) -> Result<Vec<u8>, DialectError> {
    let failed = |source| DialectError::Values { input: column.name.clone(), source: Box::new(source) };
    let raw = &column.bytes[index * column.width..(index + 1) * column.width];
    let view = TensorView::new(column.dtype, &column.shape, raw).map_err(failed)?;
    let (bytes, width) = match elements {
        Elements::Stored => (raw.to_vec(), column.dtype.size_bytes()),
        Elements::Numbers => (numbers(column, view)?.bytes().to_vec(), 4),
        Elements::Quantized { scale, zero_point, signed } => {
            let value = |x: f64| value_of(x as f32, *scale, *zero_point, *signed);
            (numbers(column, view)?.view().to_f64().into_iter().map(value).collect(), 1)
        }
        Elements::Integers { kind, signed } => {
            let turn = if (*kind == DType::I8) == *signed { 0 } else { 0x80 };
            let values = view.convert(*kind).map_err(failed)?;
            (values.bytes().iter().map(|value| value ^ turn).collect(), 1)
        }
    };
    Ok(match channels {
        Channels::First => bytes,
        Channels::Last => channels_last(&bytes, &column.shape[1..], width),
    })
}

fn numbers(column: &Column<'_>, view: TensorView<'_>) -> Result<Tensor, DialectError> {
    let failed = |source| DialectError::Values { input: column.name.clone(), source: Box::new(source) };
    match &column.preprocess {
        Some(step) => step.apply(view, DType::F32).map_err(failed),
        None => view.convert(DType::F32).map_err(failed),
    }
}

/// As onnxruntime's QuantizeLinear rounds; unsigned values are signed ones that are counted from 0.
fn value_of(x: f32, scale: f32, zero_point: i32, signed: bool) -> u8 {
    if signed { quantize(x, scale, zero_point) as u8 } else { quantize(x, scale, zero_point - 128) as u8 ^ 0x80 }
}

/// A sample whose first dimension is its channels, with them as its last.
fn channels_last(bytes: &[u8], dims: &[usize], width: usize) -> Vec<u8> {
    let channels = dims.first().copied().unwrap_or(1).max(1);
    let plane = bytes.len() / width.max(1) / channels;
    let places = (0..plane).flat_map(|place| (0..channels).map(move |channel| (channel * plane + place) * width));
    places.flat_map(|at| bytes[at..at + width].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_even_held_and_counted_from_either_end() {
        for (x, signed, unsigned) in [(0.0, 3, 131), (0.25, 3, 131), (0.75, 5, 133), (-1.0, 1, 129), (90.0, 127, 255)] {
            assert_eq!(value_of(x, 0.5, 3, true) as i8, signed, "{x}");
            assert_eq!(value_of(x, 0.5, 131, false), unsigned, "{x}");
        }
        assert_eq!(value_of(-90.0, 0.5, 131, false), 0);
    }

    #[test]
    fn channels_go_behind_height_and_width() {
        // Two channels of 1 x 3, two bytes each.
        let first: Vec<u8> = vec![10, 0, 11, 0, 12, 0, 20, 0, 21, 0, 22, 0];
        assert_eq!(channels_last(&first, &[2, 1, 3], 2), [10, 0, 20, 0, 11, 0, 21, 0, 12, 0, 22, 0]);
        assert_eq!(channels_last(&[1, 2, 3], &[1, 1, 3], 1), [1, 2, 3]);
        assert_eq!(channels_last(&[1, 2, 3], &[3], 1), [1, 2, 3]);
    }
}
