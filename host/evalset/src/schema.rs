//! Is everything there that the model's file names, and is it what it says? What is wrong here is an error: a runner would refuse it, or read
//! something else than was meant.

use crate::elements::is_float;
use crate::finding::{Finding, Kind, Severity};
use crate::survey::{InputSurvey, Survey, is_readable};
use boardproof_record::plan::{Model, Task, TensorSpec};
use safetensors::Dtype;
use std::collections::BTreeMap;

/// Everything that does not fit the model's file.
pub fn findings(model: &Model, seen: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let expected = model.evalset.digest;
    if seen.digest != expected {
        let message =
            format!("the file is not the one that model.toml names: expected {expected}, got {}", seen.digest);
        found.push(Finding::new(Severity::Error, Kind::Digest, "", message));
    }
    for (tensor, spec) in model.evalset.inputs.iter().zip(&model.inputs) {
        found.extend(input(model, seen, tensor, spec));
    }
    found.extend(column(model, seen, &model.evalset.labels, &[Dtype::I64]));
    for slice in model.evalset.slices.keys() {
        found.extend(column(model, seen, &format!("slice.{slice}"), &[Dtype::U8]));
    }
    if let Some(ids) = &model.evalset.ids {
        found.extend(column(model, seen, ids, &[Dtype::I64]));
    }
    found.extend(seen.inputs.iter().filter_map(non_finite));
    found.extend(labels(model, seen));
    found.extend(slice_codes(model, seen));
    found.extend(seen.ids.as_deref().and_then(repeated_id));
    found
}

fn error(kind: Kind, subject: &str, message: String) -> Finding {
    Finding::new(Severity::Error, kind, subject, message)
}

fn missing(seen: &Survey, tensor: &str) -> Finding {
    let mut present = seen.names.clone();
    present.sort_by_key(|name| (strsim::damerau_levenshtein(name, tensor), name.clone()));
    error(Kind::Missing, tensor, format!("expected this tensor, the file has {}", present.join(", ")))
}

/// The input's element type and shape, and whether its values go together with the preprocessing.
fn input(model: &Model, seen: &Survey, tensor: &str, spec: &TensorSpec) -> Option<Finding> {
    let Some(form) = seen.forms.get(tensor) else { return Some(missing(seen, tensor)) };
    let expected: Vec<u64> = std::iter::once(model.evalset.samples).chain(spec.shape.iter().copied()).collect();
    if form.shape != expected {
        return Some(error(Kind::Shape, tensor, format!("expected shape {expected:?}, got {:?}", form.shape)));
    }
    if !is_readable(form.dtype) {
        let message = format!("expected numbers of 8 to 64 bits, got {:?}", form.dtype);
        return Some(error(Kind::Dtype, tensor, message));
    }
    let whole_into_float = !is_float(form.dtype) && spec.dtype.starts_with('F') && spec.preprocess.is_none();
    if whole_into_float {
        let message = format!(
            "holds {:?}, the model takes {} and has no preprocess: its values go in as they are, {}",
            form.dtype, spec.dtype, "a picture's up to 255"
        );
        return Some(Finding::new(Severity::Warning, Kind::Dtype, tensor, message));
    }
    if is_float(form.dtype) && !spec.dtype.starts_with('F') && !spec.dtype.starts_with("BF") {
        let message = format!("holds {:?}, the model takes {}: fractions would be lost", form.dtype, spec.dtype);
        return Some(error(Kind::Dtype, tensor, message));
    }
    None
}

/// A tensor of one number per sample.
fn column(model: &Model, seen: &Survey, tensor: &str, dtypes: &[Dtype]) -> Option<Finding> {
    let Some(form) = seen.forms.get(tensor) else { return Some(missing(seen, tensor)) };
    if !dtypes.contains(&form.dtype) {
        let message = format!("expected {:?}, got {:?}", dtypes[0], form.dtype);
        return Some(error(Kind::Dtype, tensor, message));
    }
    let samples = model.evalset.samples;
    (form.shape != [samples])
        .then(|| error(Kind::Shape, tensor, format!("expected shape [{samples}], got {:?}", form.shape)))
}

fn non_finite(input: &InputSurvey) -> Option<Finding> {
    let count = input.non_finite.count;
    if count == 0 {
        return None;
    }
    let columns: Vec<&str> =
        input.columns.iter().filter(|column| column.non_finite > 0).map(|column| column.name.as_str()).collect();
    let values: u64 = input.columns.iter().map(|column| column.non_finite).sum();
    let shown = columns.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let more = if columns.len() > 3 { format!(" and {} more", columns.len() - 3) } else { String::new() };
    let samples = input.form.samples();
    let message = format!("{values} values in {count} of {samples} samples are no numbers, in {shown}{more}");
    let finding = error(Kind::NonFinite, &input.tensor, message);
    Some(finding.of(count, samples).at(input.non_finite.first.iter().copied()))
}

/// Samples that show what a test asks for.
fn where_is<T>(values: &[T], wrong: impl Fn(&T) -> bool) -> (u64, Vec<u64>) {
    let at: Vec<u64> = (0..).zip(values).filter(|(_, value)| wrong(value)).map(|(i, _)| i).collect();
    (at.len() as u64, at)
}

fn labels(model: &Model, seen: &Survey) -> Option<Finding> {
    let labels = seen.labels.as_ref()?;
    let limit = match &model.task {
        Task::Classification { classes } => classes.len() as i64,
        Task::Binary { .. } | Task::Anomaly => 2,
        Task::Regression => return None,
    };
    let (count, at) = where_is(labels, |label| !(0..limit).contains(label));
    let first = labels[*at.first()? as usize];
    let message = format!("{count} labels are none of the task: expected 0 to {}, got {first}", limit - 1);
    Some(error(Kind::Label, &model.evalset.labels, message).of(count, labels.len() as u64).at(at))
}

fn slice_codes(model: &Model, seen: &Survey) -> Vec<Finding> {
    let of = |(slice, values): (&String, &Vec<String>)| {
        let codes = seen.slices.get(slice)?;
        let known = values.len() as i64;
        let (count, at) = where_is(codes, |code| !(0..known).contains(code));
        let first = codes[*at.first()? as usize];
        let message = format!("{count} codes have no name: {known} values are named, got code {first}");
        Some(error(Kind::SliceCode, &format!("slice.{slice}"), message).of(count, codes.len() as u64).at(at))
    };
    model.evalset.slices.iter().filter_map(of).collect()
}

fn repeated_id(ids: &[i64]) -> Option<Finding> {
    let mut first: BTreeMap<i64, usize> = BTreeMap::new();
    let mut again = Vec::new();
    for (sample, id) in ids.iter().enumerate() {
        if first.insert(*id, sample).is_some() {
            again.push(sample as u64);
        }
    }
    let sample = *again.first()?;
    let message = format!("{} ids stand for more than one sample, the first is {}", again.len(), ids[sample as usize]);
    Some(error(Kind::Id, "ids", message).of(again.len() as u64, ids.len() as u64).at(again))
}
