//! Evalsets of `models/` in memory, so that tests can damage them.

use boardproof_evalset::{Against, EvalsetFile, Finding, Severity, Survey, check, survey};
use boardproof_plan::{Manifest, parse_model};
use boardproof_record::Digest;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

/// All models of the project.
pub const MODELS: [&str; 5] = ["adult_mlp", "mnist_dscnn", "shuttle_ae", "vowels_dscnn", "vowels_former"];

/// Element type, shape and bytes of a tensor.
#[derive(Clone)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn row_bytes(&self) -> usize {
        self.bytes.len() / self.shape[0]
    }

    /// Changes every element of a tensor of F32 or U8, by its position.
    pub fn each(&mut self, mut change: impl FnMut(usize, f32) -> f32) {
        match self.dtype {
            Dtype::F32 => {
                for (i, bytes) in self.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *bytes = change(i, f32::from_le_bytes(*bytes)).to_le_bytes();
                }
            }
            Dtype::U8 => {
                for (i, byte) in self.bytes.iter_mut().enumerate() {
                    *byte = change(i, f32::from(*byte)).clamp(0.0, 255.0) as u8;
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Element type and bytes replaced by those of the same values as F32.
    pub fn become_f32(&mut self) {
        self.bytes = self.bytes.iter().flat_map(|byte| f32::from(*byte).to_le_bytes()).collect();
        self.dtype = Dtype::F32;
    }
}

/// A model with its evalset and calibration data.
pub struct Case {
    pub manifest: Manifest,
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: Option<std::collections::HashMap<String, String>>,
    pub calibration: Vec<u8>,
}

impl Case {
    pub fn of(model: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models").join(model);
        let text = std::fs::read_to_string(folder.join("model.toml")).unwrap();
        let manifest = parse_model("model.toml", &folder.display().to_string(), &text).unwrap();
        let bytes = std::fs::read(&manifest.model.evalset.file).unwrap();
        let calibration = std::fs::read(&manifest.calibration.as_ref().unwrap().file).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(|(name, view)| {
            let tensor = Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
            (name, tensor)
        });
        Self { tensors: tensors.collect(), metadata: metadata.metadata().clone(), calibration, manifest }
    }

    pub fn inputs(&mut self) -> &mut Tensor {
        self.tensors.get_mut("inputs").unwrap()
    }

    /// The evalset as a file; model.toml is made to name it, as its owner would.
    pub fn file(&mut self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, tensor)| {
            (name.clone(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
        });
        let bytes = safetensors::serialize(views, self.metadata.clone()).unwrap();
        self.manifest.model.evalset.digest = Digest::of(&bytes);
        bytes
    }

    pub fn survey(&mut self) -> Survey {
        let calibration = self.calibration();
        let mut file = EvalsetFile::open(Cursor::new(self.file())).unwrap();
        survey(&self.manifest.model, &mut file, &[], Some(&calibration)).unwrap()
    }

    fn calibration(&self) -> Survey {
        let mut file = EvalsetFile::open(Cursor::new(self.calibration.clone())).unwrap();
        survey(&self.manifest.model, &mut file, &[], None).unwrap()
    }

    pub fn findings(&mut self) -> Vec<Finding> {
        let (seen, calibration) = (self.survey(), self.calibration());
        let digest = self.manifest.calibration.as_ref().unwrap().digest;
        let against = Against { calibration: Some((&calibration, digest)), snapshot: None };
        check(&self.manifest.model, &seen, against)
    }
}

/// `severity kind` of each finding that is more than a note.
pub fn grave(findings: &[Finding]) -> Vec<String> {
    let grave = findings.iter().filter(|finding| finding.severity > Severity::Note);
    grave.map(|finding| format!("{} {}", finding.severity.word(), finding.kind)).collect()
}

/// Numbers that look random, in 0 to 1: the mixer of splitmix64 (S. Vigna, public domain).
pub fn random(i: usize) -> f32 {
    let mut z = (i as u64).wrapping_add(77).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
}
