//! Every layer of every model by itself, against onnxruntime: what is it off, when it is given the very values that onnxruntime gives it?
//!
//! The fixtures here hold what onnxruntime makes of each layer; `make.py` says how it made them. `docs/micro-layers.md` is the result; after
//! a change of models, cases or compiler: `BOARDPROOF_BLESS=1 cargo test -p boardproof-compile --test layers`.

mod cases;
mod fixture;
mod layer;
mod table;

use boardproof_compile::{Edges, compile};
use boardproof_micro::Model;
use fixture::Fixture;
use layer::{Layer, Subject};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A variant of a model, measured.
struct Measured {
    /// `MODEL VARIANT`.
    name: String,
    layers: Vec<Layer>,
    fixture: Fixture,
    /// Steps that outputs move by, at most, when one value of the first layer is one step more or less.
    swing: u32,
    /// Steps between the outputs of onnxruntime's defaults and of its definitions, at most.
    defaults: u32,
}

static VARIANTS: LazyLock<Vec<Measured>> = LazyLock::new(|| {
    let measured = variants().into_iter().filter_map(|(name, file)| measure(name, &file));
    measured.collect()
});

/// Every model that is there, `MODEL VARIANT`, and its file.
fn variants() -> Vec<(String, PathBuf)> {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let list = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for model in list(models).filter(|path| path.join("model.toml").exists()) {
        for file in list(model.clone()).filter(|path| path.extension().is_some_and(|e| e == "onnx")) {
            found.push((format!("{} {}", name(&model), name(&file)), file));
        }
    }
    found.sort();
    found
}

/// `None` for a model that is refused; which may be is for `models.rs` to say.
fn measure(name: String, file: &PathBuf) -> Option<Measured> {
    let onnx = std::fs::read(file).unwrap();
    let compiled = compile(&onnx, Edges::DeviceQuantizes).ok()?;
    let fixture = Fixture::read(&format!("{}.safetensors", name.replace(' ', ".")));
    assert_eq!(fixture.sha256(), hex(&Sha256::digest(&onnx)), "{name} has changed: run tests/layers/make.py");
    let subject = Subject { model: Model::check(&compiled.bytes).unwrap(), fixture: &fixture };
    let (layers, swing, defaults) = (subject.layers(), subject.swing(), subject.defaults());
    Some(Measured { name, layers, swing, defaults, fixture })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn every_layer_of_every_model_is_within_one_step() {
    for Measured { name, layers, .. } in VARIANTS.iter() {
        assert!(layers.iter().any(|layer| layer.alone.values > 0), "{name}: nothing was compared");
        for layer in layers {
            assert_eq!(layer.alone.by_more, 0, "{name}, {}: {:?}", layer.name, layer.alone);
        }
    }
}

#[test]
fn the_committed_table_is_what_the_layers_give() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/micro-layers.md");
    let committed = std::fs::read_to_string(&file).unwrap();
    let (words, _) = committed.split_once(table::MARK).expect("the mark behind which the tables stand");
    let text = format!("{words}{}{}", table::MARK, table::tables(&VARIANTS, &cases::outcomes()));
    if std::env::var_os("BOARDPROOF_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    } else {
        assert!(committed == text, "docs/micro-layers.md is not what the layers give; see the head of this test");
    }
}
