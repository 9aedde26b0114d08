//! What onnxruntime makes of models: the fixtures of this folder.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Elements of an array.
enum Elements {
    /// 8-bit values counted from -128, which is what a compiled model has for unsigned ones.
    Values(Vec<i8>),
    Numbers(Vec<f32>),
    Counts(Vec<i64>),
}

/// An array; its first dimension is the sample's.
pub struct Array {
    dims: Vec<usize>,
    elements: Elements,
}

impl Array {
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    fn of<'a, T>(&self, all: &'a [T], sample: usize) -> &'a [T] {
        let one = all.len() / self.dims[0];
        &all[sample * one..(sample + 1) * one]
    }

    pub fn is_numbers(&self) -> bool {
        matches!(self.elements, Elements::Numbers(_))
    }

    /// 8-bit values of a sample.
    pub fn values(&self, sample: usize) -> Vec<i8> {
        match &self.elements {
            Elements::Values(all) => self.of(all, sample).to_vec(),
            _ => panic!("no 8-bit values"),
        }
    }

    /// Numbers of a sample.
    pub fn floats(&self, sample: usize) -> Vec<f32> {
        match &self.elements {
            Elements::Numbers(all) => self.of(all, sample).to_vec(),
            _ => panic!("no numbers"),
        }
    }

    /// A sample as a compiled model reads it.
    pub fn bytes(&self, sample: usize) -> Vec<u8> {
        match &self.elements {
            Elements::Numbers(all) => self.of(all, sample).iter().flat_map(|x| x.to_le_bytes()).collect(),
            _ => self.values(sample).iter().map(|v| *v as u8).collect(),
        }
    }
}

/// What onnxruntime makes of a model.
#[derive(Default)]
pub struct Fixture {
    arrays: BTreeMap<String, Array>,
    sha256: String,
    onnx: Vec<u8>,
}

fn bytes_of(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/layers");
    std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}; run make.py"))
}

/// What onnxruntime makes of each of the small models.
pub fn cases() -> BTreeMap<String, Fixture> {
    let mut all: BTreeMap<String, Fixture> = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(&bytes_of("cases.safetensors")).unwrap().tensors() {
        let (case, tensor) = name.split_once('/').unwrap();
        let fixture = all.entry(case.to_owned()).or_default();
        match tensor {
            "model" => fixture.onnx = view.data().to_vec(),
            tensor => fixture.add(tensor, &view),
        }
    }
    all
}

impl Fixture {
    pub fn read(file: &str) -> Self {
        let bytes = bytes_of(file);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let about = metadata.metadata().clone().unwrap_or_default();
        let mut fixture = Self { sha256: about.get("sha256").cloned().unwrap_or_default(), ..Self::default() };
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            fixture.add(&name, &view);
        }
        fixture
    }

    fn add(&mut self, name: &str, view: &TensorView<'_>) {
        let (dims, raw) = (view.shape().to_vec(), view.data());
        let elements = match view.dtype() {
            Dtype::I8 => Elements::Values(raw.iter().map(|b| *b as i8).collect()),
            Dtype::U8 => Elements::Values(raw.iter().map(|b| (b ^ 0x80) as i8).collect()),
            Dtype::F32 => Elements::Numbers(raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::I64 => Elements::Counts(raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            other => panic!("{name} is {other:?}"),
        };
        self.arrays.insert(name.to_owned(), Array { dims, elements });
    }

    pub fn array(&self, name: &str) -> Option<&Array> {
        self.arrays.get(name)
    }

    pub fn samples(&self) -> usize {
        self.arrays.iter().find(|(name, _)| name.starts_with("in.")).map_or(0, |(_, array)| array.dims[0])
    }

    /// Values, off by one, off by more and largest of each tensor that onnxruntime's own kernels make.
    pub fn kernels(&self) -> impl Iterator<Item = (&str, [i64; 4])> {
        self.arrays.iter().filter_map(|(name, array)| match (&array.elements, name.strip_prefix("kernel.")) {
            (Elements::Counts(counts), Some(tensor)) => Some((tensor, counts.as_slice().try_into().unwrap())),
            _ => None,
        })
    }

    /// The model itself, of a small one.
    pub fn onnx(&self) -> &[u8] {
        &self.onnx
    }

    /// Digest of the model that it is of.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}
