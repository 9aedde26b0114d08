//! An evalset as a table: the columns of its inputs, its labels, its slices by the names of their values. One column is in memory at a time.

use crate::elements::{size_bytes, widen};
use crate::file::{EvalsetFile, ReadError};
use crate::layout::Layout;
use boardproof_record::plan::Model;
use safetensors::Dtype;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Seek};

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Where a column comes from.
#[derive(Debug, Clone)]
enum Source {
    /// An element of each sample of a tensor.
    Element { tensor: String, index: usize, elements: usize },
    /// Codes with names.
    Named { tensor: String, names: Vec<String> },
}

/// A column that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// Element type as pandas calls it.
    pub dtype: String,
    /// Its values, in the order of the samples.
    pub values: Vec<Cell>,
    /// They are whole numbers.
    pub whole: bool,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// None, or no number.
    Missing,
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Cell {
    /// As JSON; a whole number without a fraction where the column has such.
    pub fn json(&self, whole: bool) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Number(value) if whole => json!(*value as i64),
            Self::Number(value) => json!(value),
            Self::Text(text) => json!(text),
        }
    }

    /// Is it what this JSON says?
    pub fn is(&self, json: &Value) -> bool {
        match self {
            Self::Missing => false,
            Self::Number(value) => json.as_f64() == Some(*value),
            Self::Text(text) => json.as_str() == Some(text),
        }
    }
}

/// The table of an evalset.
#[derive(Debug, Clone)]
pub struct Table {
    /// Names of the columns, in their order.
    pub names: Vec<String>,
    /// Rows.
    pub rows: u64,
    sources: BTreeMap<String, Source>,
    read: Option<(String, Cells)>,
}

impl Table {
    /// Of a model's evalset. `columns` names those of its input, where somebody has.
    pub fn of<R: Read + Seek>(model: &Model, columns: &[String], file: &EvalsetFile<R>) -> Self {
        let mut table = Self { names: Vec::new(), rows: 0, sources: BTreeMap::new(), read: None };
        let named = if columns.is_empty() { file.features() } else { columns.to_vec() };
        for tensor in &model.evalset.inputs {
            let Some(form) = file.form(tensor) else { continue };
            table.rows = form.samples();
            let layout = Layout::of(form.of_sample());
            let elements = form.row_elements();
            if !matches!(layout, Layout::Row { .. }) {
                continue;
            }
            let own = named.len() == elements;
            let default = || (0..elements).map(|index| layout.name(tensor, index)).collect();
            let names: Vec<String> = if own { named.clone() } else { default() };
            for (index, name) in names.into_iter().enumerate() {
                table.add(name, Source::Element { tensor: tensor.clone(), index, elements });
            }
        }
        let labels = &model.evalset.labels;
        if file.form(labels).is_some() {
            table.add(labels.clone(), Source::Element { tensor: labels.clone(), index: 0, elements: 1 });
        }
        for (slice, names) in &model.evalset.slices {
            let tensor = format!("slice.{slice}");
            if file.form(&tensor).is_some() {
                table.add(tensor.clone(), Source::Named { tensor, names: names.clone() });
            }
        }
        table
    }

    fn add(&mut self, name: String, source: Source) {
        if self.sources.insert(name.clone(), source).is_none() {
            self.names.push(name);
        }
    }

    /// Why there is no such column.
    pub fn unknown(&self, name: &str) -> String {
        let mut known = self.names.clone();
        known.sort_by_key(|known| (strsim::damerau_levenshtein(known, name), known.clone()));
        known.truncate(8);
        format!("there is no column '{name}'; known are {} and others, the nearest first", known.join(", "))
    }

    /// Reads a column; `None` where there is none of this name.
    pub fn column<R: Read + Seek>(
        &mut self,
        name: &str,
        file: &mut EvalsetFile<R>,
    ) -> Result<Option<&Cells>, TableError> {
        let Some(source) = self.sources.get(name) else { return Ok(None) };
        if self.read.as_ref().is_none_or(|(read, _)| read != name) {
            self.read = Some((name.to_owned(), read(source, file)?));
        }
        Ok(self.read.as_ref().map(|(_, cells)| cells))
    }
}

fn read<R: Read + Seek>(source: &Source, file: &mut EvalsetFile<R>) -> Result<Cells, TableError> {
    match source {
        Source::Element { tensor, index, elements } => {
            let dtype = file.form(tensor).map_or(Dtype::F32, |form| form.dtype);
            let size = size_bytes(dtype).unwrap_or(1);
            let mut numbers = Vec::new();
            file.pieces(tensor, |_, bytes| {
                let rows = bytes.chunks_exact(size * elements);
                rows.for_each(|row| widen(dtype, &row[index * size..(index + 1) * size], &mut numbers));
            })?;
            let cell = |value: f64| if value.is_nan() { Cell::Missing } else { Cell::Number(value) };
            let whole = !crate::elements::is_float(dtype);
            Ok(Cells { dtype: pandas(dtype), values: numbers.into_iter().map(cell).collect(), whole })
        }
        Source::Named { tensor, names } => {
            let codes = file.integers(tensor)?.unwrap_or_default();
            let name = |code: i64| {
                let name = usize::try_from(code).ok().and_then(|code| names.get(code));
                name.map_or(Cell::Missing, |name| Cell::Text(name.clone()))
            };
            Ok(Cells { dtype: "str".into(), values: codes.into_iter().map(name).collect(), whole: false })
        }
    }
}

fn pandas(dtype: Dtype) -> String {
    match dtype {
        Dtype::BOOL => "bool".into(),
        Dtype::F16 => "float16".into(),
        Dtype::F32 => "float32".into(),
        Dtype::F64 => "float64".into(),
        other => format!("{other:?}").to_lowercase().replace('i', "int").replace('u', "uint"),
    }
}
