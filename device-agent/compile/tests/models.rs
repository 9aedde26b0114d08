//! Every variant of every model: compiled, or refused with words.

use boardproof_compile::{Edges, compile};
use std::fmt::Write;
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
fn every_variant_is_compiled_or_refused_in_words() {
    let mut table = String::new();
    for (name, file) in variants() {
        let bytes = std::fs::read(&file).unwrap();
        match compile(&bytes, Edges::HostQuantizes) {
            Ok(made) => {
                let (arena, least) = (made.report.arena_bytes, made.report.arena_bytes_least);
                assert!(arena * 10 <= least * 11, "{name}: arena {arena}, {least} live at once");
                writeln!(
                    table,
                    "{name}: {} bytes, arena {arena} of {least}, {} MAC",
                    made.bytes.len(),
                    made.report.macs()
                )
                .unwrap();
                assert_eq!(compile(&bytes, Edges::HostQuantizes).unwrap(), made, "{name}: not the same twice");
            }
            Err(error) => writeln!(table, "{name}: {error}").unwrap(),
        }
    }
    println!("{table}");
}
