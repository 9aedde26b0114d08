//! The models of this workspace and what onnxruntime answered to them, for the tests of every engine.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::path::PathBuf;

use boardproof_engines::{DType, Tensor};
use safetensors::SafeTensors;

/// All folders of models.
pub const FOLDERS: [&str; 5] = ["adult_mlp", "mnist_dscnn", "shuttle_ae", "vowels_dscnn", "vowels_former"];

/// Where the models lie.
pub fn models() -> PathBuf {
    let root = std::env::var_os("BOARDPROOF_MODELS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")), PathBuf::from);
    assert!(root.is_dir(), "expected the workspace's models in {}", root.display());
    root
}

/// The bytes of a file among the models.
pub fn model(name: &str) -> Vec<u8> {
    let path = models().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// A tensor of a safetensors file.
pub fn plain(tensors: &SafeTensors<'_>, name: &str) -> Tensor {
    let view = tensors.tensor(name).unwrap_or_else(|error| panic!("tensor {name}: {error}"));
    let dtype = DType::from_name(&format!("{:?}", view.dtype())).expect("a known datatype");
    Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec()).expect("a whole tensor")
}

/// Eight recorded inputs of a model and onnxruntime's answers to them.
pub fn case(folder: &str, variant: &str) -> (Tensor, Tensor) {
    let bytes = model(&format!("{folder}/cases/{variant}.safetensors"));
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    (plain(&tensors, "in.input"), plain(&tensors, "out.0"))
}

/// Each sample of a batch by itself.
pub fn rows(tensor: &Tensor) -> Vec<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let count = std::mem::replace(&mut shape[0], 1);
    let size = tensor.bytes().len() / count;
    tensor.bytes().chunks(size).map(|row| Tensor::new(tensor.dtype(), shape.clone(), row.to_vec()).unwrap()).collect()
}
