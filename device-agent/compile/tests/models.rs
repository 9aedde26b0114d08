//! Every variant of every model: compiled, or refused with words.

use boardproof_compile::{Edges, compile};
use std::path::PathBuf;

fn variants() -> Vec<(String, PathBuf)> {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let mut found = Vec::new();
    for model in std::fs::read_dir(models).unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("model.toml").exists())
    {
        for file in std::fs::read_dir(&model).unwrap().map(|e| e.unwrap().path()) {
            if file.extension().is_some_and(|e| e == "onnx") {
                let name = |p: &PathBuf| p.file_stem().unwrap().to_string_lossy().into_owned();
                found.push((format!("{}/{}", name(&model), name(&file)), file));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_integer_variant_is_compiled_into_the_least_memory_and_the_rest_refused_in_words() {
    const COMPILED: [&str; 7] = [
        "int8_qdq_pc",
        "int8_qdq_pc_b1",
        "int8_qdq_pt",
        "int8_qop",
        "int8_qop_portable",
        "bad_calib_3",
        "bad_calib_clip",
    ];
    let mut compiled = 0;
    for (name, file) in variants() {
        let bytes = std::fs::read(&file).unwrap();
        let (model, variant) = name.split_once('/').unwrap();
        let wanted = COMPILED.contains(&variant) && model != "vowels_former";
        match compile(&bytes, Edges::HostQuantizes) {
            Ok(made) => {
                let (arena, least) = (made.report.arena_bytes, made.report.arena_bytes_least);
                assert!(arena * 10 <= least * 11, "{name}: arena {arena}, {least} live at once");
                assert_eq!(compile(&bytes, Edges::HostQuantizes).unwrap(), made, "{name}: not the same twice");
                compiled += u32::from(wanted);
            }
            Err(error) => {
                assert!(!wanted, "{name}: {error}");
                assert!(error.to_string().starts_with("operator "), "{name}: {error}");
            }
        }
    }
    assert_eq!(compiled, 28);
}
