//! Models to test with: copies of those in `models/`, damaged as a test wants them.

use crate::tool::root;
use boardproof_record::Digest;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// A model's folder in a temporary place, to be changed.
pub struct Copy {
    pub folder: PathBuf,
}

impl Copy {
    /// Copies manifest, evalset and the named model files of `models/MODEL`; what else the manifest lists is left out of it.
    pub fn of(model: &str, into: &Path) -> Self {
        let source = root().join("models").join(model);
        let folder = into.join(model);
        std::fs::create_dir_all(folder.join("data")).expect("could not make a folder");
        for entry in std::fs::read_dir(&source).expect("could not list a model").flatten() {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("could not copy a model");
            }
        }
        for name in ["data/test.safetensors", "data/calib.safetensors"] {
            std::fs::copy(source.join(name), folder.join(name)).expect("could not copy an evalset");
        }
        Self { folder }
    }

    /// Replaces text in `model.toml`; the text must be there.
    pub fn replace(&self, old: &str, new: &str) {
        let file = self.folder.join("model.toml");
        let text = std::fs::read_to_string(&file).expect("could not read model.toml");
        assert!(text.contains(old), "model.toml does not hold {old:?}");
        std::fs::write(&file, text.replacen(old, new, 1)).expect("could not write model.toml");
    }

    /// Changes a file and writes its new digest and size into `model.toml`, as a user would who believes in it.
    pub fn change(&self, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let file = self.folder.join(name);
        let old = std::fs::read(&file).expect("could not read a file of the model");
        let before = (Digest::of(&old).to_string(), format!("bytes = {}", old.len()));
        let new = change(old);
        self.replace(&before.0, &Digest::of(&new).to_string());
        // Sizes are not unique in the manifest: the one behind the digest is meant.
        let manifest = self.folder.join("model.toml");
        let text = std::fs::read_to_string(&manifest).expect("could not read model.toml");
        let at = text.find(&Digest::of(&new).to_string()).expect("written above");
        let behind = text[at..].replacen(&before.1, &format!("bytes = {}", new.len()), 1);
        std::fs::write(&manifest, format!("{}{behind}", &text[..at])).expect("could not write model.toml");
        std::fs::write(&file, new).expect("could not write a file of the model");
    }

    /// Changes the tensors of the evalset; those for which `change` gives nothing are left out.
    pub fn change_evalset(&self, change: impl Fn(&str, Tensor) -> Option<Tensor>) {
        self.change("data/test.safetensors", |bytes| {
            let file = SafeTensors::deserialize(&bytes).expect("an evalset is a safetensors file");
            // Names of columns are in there, and stay.
            let (_, head) = SafeTensors::read_metadata(&bytes).expect("it was read just now");
            let words = head.metadata().clone();
            let owned = |view: TensorView<'_>| Tensor {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            let tensors: Vec<_> = file
                .tensors()
                .into_iter()
                .filter_map(|(name, view)| Some((name.clone(), change(&name, owned(view))?)))
                .collect();
            let views = tensors.iter().map(|(name, t)| {
                (name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).expect("the shape fits the bytes"))
            });
            safetensors::serialize(views, words).expect("could not write an evalset")
        });
    }
}

/// A tensor of an evalset.
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}
