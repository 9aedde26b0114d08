//! Everything that is known of an evalset after each of its tensors was read once.

use crate::column::Column;
use crate::elements::widen;
use crate::file::{EvalsetFile, Form, ReadError};
use crate::layout::Layout;
use crate::noise::{is_noise, is_noise_table};
use boardproof_record::Digest;
use boardproof_record::plan::{Model, Task};
use safetensors::Dtype;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::{Read, Seek};

/// Samples whose features are kept; of a larger evalset a part that depends on nothing but the samples' numbers.
const ROWS_MAX: u64 = 20_000;
/// Features that are kept in all.
const FEATURES_MAX: u64 = 4_000_000;
/// Elements from which on a sample that is the same everywhere is a finding.
const CONSTANT_ELEMENTS_MIN: usize = 16;
/// Numbers of samples that are kept to be shown.
const SHOWN: usize = 5;

/// How many samples, and which are the first.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<u64>,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, sample: usize) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(sample as u64);
        }
    }
}

/// One number per sample, of the samples that are kept.
#[derive(Debug, Clone)]
pub struct Feature {
    /// The column, or what it is of one.
    pub name: String,
    /// Its values, in the order of the samples.
    pub values: Vec<f64>,
}

/// One input of the model.
#[derive(Debug, Clone)]
pub struct InputSurvey {
    /// Tensor in the file.
    pub tensor: String,
    /// Element type and shape.
    pub form: Form,
    /// What its dimensions stand for.
    pub layout: Layout,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Samples with values that are no numbers.
    pub non_finite: Tally,
    /// Samples that are the same everywhere.
    pub constant: Tally,
    /// Samples whose neighbours have nothing to do with each other.
    pub noise: Tally,
    /// Samples of which that can be said.
    pub noise_asked: u64,
    /// Is the table random numbers? `None` where that cannot be said.
    pub noise_table: Option<bool>,
    /// Numbers per sample, to compare distributions by.
    pub features: Vec<Feature>,
}

/// An evalset, read.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Digest of the file.
    pub digest: Digest,
    /// Samples of its inputs.
    pub samples: u64,
    /// Names of all tensors.
    pub names: Vec<String>,
    /// Forms of the tensors that the model names.
    pub forms: BTreeMap<String, Form>,
    /// The inputs that could be read.
    pub inputs: Vec<InputSurvey>,
    /// Labels, where they are integers.
    pub labels: Option<Vec<i64>>,
    /// Ids, where there are some.
    pub ids: Option<Vec<i64>>,
    /// Slice codes by column.
    pub slices: BTreeMap<String, Vec<i64>>,
    /// First half of the digest of each sample, over all inputs; empty where not all could be read.
    pub prints: Vec<u128>,
}

/// Reads an evalset of this model. `before` is the calibration data's survey: its ranges are what values are held against. `columns` names
/// the columns of a table, where somebody has.
pub fn survey<R: Read + Seek>(
    model: &Model,
    file: &mut EvalsetFile<R>,
    columns: &[String],
    before: Option<&Survey>,
) -> Result<Survey, ReadError> {
    let evalset = &model.evalset;
    let labels = file.integers(&evalset.labels)?;
    let ids = evalset.ids.as_ref().map(|ids| file.integers(ids)).transpose()?.flatten();
    let mut slices = BTreeMap::new();
    for slice in evalset.slices.keys() {
        if let Some(codes) = file.integers(&format!("slice.{slice}"))? {
            slices.insert(slice.clone(), codes);
        }
    }
    let slice_names = evalset.slices.keys().map(|slice| format!("slice.{slice}"));
    let named = evalset.inputs.iter().chain([&evalset.labels]).chain(&evalset.ids).cloned().chain(slice_names);
    let forms: BTreeMap<_, _> = named.filter_map(|name| Some((name.clone(), file.form(&name)?))).collect();
    let mut seen = Survey {
        digest: file.digest()?,
        samples: evalset.inputs.iter().find_map(|name| forms.get(name)).map_or(0, Form::samples),
        names: file.names(),
        forms,
        inputs: Vec::new(),
        labels,
        ids,
        slices,
        prints: Vec::new(),
    };
    let named = if columns.is_empty() { file.features() } else { columns.to_vec() };
    // What is rare is what is looked for: its values are not held against those of what is ordinary.
    let anomalies = match (&model.task, &seen.labels) {
        (Task::Anomaly, Some(labels)) => labels.iter().map(|label| *label == 1).collect(),
        _ => Vec::new(),
    };
    let mut prints: Vec<u128> = Vec::new();
    for tensor in &evalset.inputs {
        let Some(form) = seen.forms.get(tensor) else { continue };
        let known = before.and_then(|before| before.inputs.iter().find(|input| input.tensor == *tensor));
        let mut walk = Walk::new(tensor, form, &named, known, &anomalies);
        file.pieces(tensor, |first, bytes| walk.piece(first, bytes, &mut prints))?;
        seen.inputs.push(walk.finish());
    }
    let whole = prints.len() as u64 == seen.samples && seen.inputs.len() == evalset.inputs.len();
    seen.prints = if whole { prints } else { Vec::new() };
    Ok(seen)
}

/// One input while it is read.
struct Walk<'a> {
    seen: InputSurvey,
    ranges: Vec<Option<(f64, f64)>>,
    anomalies: &'a [bool],
    row: Vec<f64>,
}

impl<'a> Walk<'a> {
    fn new(tensor: &str, form: &Form, named: &[String], known: Option<&InputSurvey>, anomalies: &'a [bool]) -> Self {
        let layout = Layout::of(form.of_sample());
        let count = layout.columns();
        let table = matches!(layout, Layout::Row { .. }) && named.len() == count;
        let name = |i: usize| if table { named[i].clone() } else { layout.name(tensor, i) };
        let columns: Vec<Column> = (0..count).map(|i| Column::new(name(i))).collect();
        let same = known.filter(|known| known.columns.len() == count);
        let ranges = (0..count).map(|i| same.and_then(|known| known.columns[i].range())).collect();
        let feature = |name: String| Feature { name, values: Vec::new() };
        let single = form.row_elements() == count;
        let of_column = |column: &Column| match single {
            true => vec![feature(column.name.clone())],
            false => vec![feature(format!("{} mean", column.name)), feature(format!("{} spread", column.name))],
        };
        let features = columns.iter().flat_map(of_column).collect();
        let seen = InputSurvey {
            tensor: tensor.to_owned(),
            form: form.clone(),
            layout,
            columns,
            non_finite: Tally::default(),
            constant: Tally::default(),
            noise: Tally::default(),
            noise_asked: 0,
            noise_table: None,
            features,
        };
        Self { seen, ranges, anomalies, row: Vec::new() }
    }

    fn piece(&mut self, first: usize, bytes: &[u8], prints: &mut Vec<u128>) {
        let elements = self.seen.form.row_elements();
        let row_bytes = elements * crate::elements::size_bytes(self.seen.form.dtype).unwrap_or(1);
        for (i, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
            let sample = first + i;
            // The first input of a sample starts its print, the others go on with it.
            match prints.get_mut(sample) {
                Some(print) => *print = print_of(&print.to_le_bytes(), bytes),
                None => prints.push(print_of(&[], bytes)),
            }
            let mut row = std::mem::take(&mut self.row);
            row.clear();
            widen(self.seen.form.dtype, bytes, &mut row);
            self.sample(sample, &row);
            self.row = row;
        }
    }

    fn sample(&mut self, sample: usize, row: &[f64]) {
        let anomaly = self.anomalies.get(sample).copied().unwrap_or(false);
        let layout = self.seen.layout;
        for (i, value) in row.iter().enumerate() {
            let column = layout.column(i, row.len());
            let range = self.ranges[column].filter(|_| !anomaly);
            self.seen.columns[column].add(*value, range);
        }
        if row.iter().any(|value| !value.is_finite()) {
            self.seen.non_finite.add(sample);
        } else if row.len() >= CONSTANT_ELEMENTS_MIN && row.iter().all(|value| *value == row[0]) {
            self.seen.constant.add(sample);
        } else if let Some(noise) = is_noise(row, layout) {
            self.seen.noise_asked += 1;
            if noise {
                self.seen.noise.add(sample);
            }
        }
        if is_kept(sample as u64, self.seen.form.samples(), self.seen.features.len() as u64) {
            self.keep(row);
        }
    }

    /// Keeps the features of a sample: the values themselves, or of each column its mean and spread.
    fn keep(&mut self, row: &[f64]) {
        let columns = self.seen.columns.len();
        let features = &mut self.seen.features;
        if features.len() == columns && row.len() == columns {
            features.iter_mut().zip(row).for_each(|(feature, value)| feature.values.push(*value));
            return;
        }
        let mut sums = vec![(0.0, 0.0, 0.0); columns];
        for (i, value) in row.iter().enumerate() {
            let (n, sum, _) = &mut sums[self.seen.layout.column(i, row.len())];
            (*n, *sum) = (*n + 1.0, *sum + value);
        }
        for (i, value) in row.iter().enumerate() {
            let (n, sum, squares) = &mut sums[self.seen.layout.column(i, row.len())];
            *squares += (value - *sum / *n).powi(2);
        }
        for (pair, (n, sum, squares)) in features.chunks_mut(2).zip(sums) {
            pair[0].values.push(sum / n);
            pair[1].values.push((squares / n).sqrt());
        }
    }

    fn finish(mut self) -> InputSurvey {
        if let Layout::Row { .. } = self.seen.layout {
            let columns: Vec<Vec<f64>> = self.seen.features.iter().map(|feature| feature.values.clone()).collect();
            self.seen.noise_table = is_noise_table(&columns);
        }
        self.seen
    }
}

/// First half of SHA-256 over what came before and these bytes.
fn print_of(before: &[u8], bytes: &[u8]) -> u128 {
    let digest = sha2::Sha256::new().chain_update(before).chain_update(bytes).finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}

/// Are the features of this sample kept? All of a small evalset; of a large one as many as there is room for, dealt out evenly by the
/// finalizer of splitmix64 (S. Vigna, public domain), so that the same file always has the same part.
fn is_kept(sample: u64, samples: u64, features: u64) -> bool {
    let room = (FEATURES_MAX / features.max(1)).clamp(1, ROWS_MAX);
    if samples <= room {
        return true;
    }
    let mut z = sample.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) < u64::MAX / samples * room
}

/// Can the elements of this type be inputs?
pub fn is_readable(dtype: Dtype) -> bool {
    crate::elements::size_bytes(dtype).is_some()
}
