//! Which variant of the workspace's models runs on which engine: the tables of docs/engines.md, for the engines of this build.
//!
//! `BOARDPROOF_BLESS=1 cargo test --release --package boardproof-engines --features ENGINES --test table` writes them anew. The reason in
//! a table is the error that a user gets. `BOARDPROOF_ONNXRUNTIME` names the library of that engine, where the dynamic loader finds none.

mod recorded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use boardproof_engines::{Engine, LoadOptions, Loaded, RunFailure, Tensor, engine_names, open_engine, parting};
use recorded::{FOLDERS, case, model, models, rows};

/// As far apart as two right evaluations may be: floats summed in another order, halves rounded elsewhere, 8-bit values on an edge.
fn tolerance(variant: &str) -> f64 {
    match variant {
        name if name.starts_with("f16") => 1e-2,
        name if name.starts_with("int8") => 5e-2,
        _ => 1e-4,
    }
}

/// What became of a variant.
enum Outcome {
    /// It runs, and answers as onnxruntime did.
    Agrees,
    /// It runs, and no answers of onnxruntime are kept for it.
    Runs,
    /// It runs and answers otherwise.
    Differs,
    /// It does not run, for this reason.
    Refused(String),
    /// The model has no such variant.
    Absent,
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome::Agrees => "agrees",
            Outcome::Runs => "runs",
            Outcome::Differs => "**differs**",
            Outcome::Refused(_) => "no",
            Outcome::Absent => "-",
        }
    }
}

#[test]
fn the_tables_are_those_of_the_documentation() {
    std::panic::set_hook(Box::new(|_| {}));
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/engines.md"));
    let before = std::fs::read_to_string(&path).expect("docs/engines.md");
    let mut after = before.clone();
    for name in engine_names() {
        match open_engine(name, library().as_deref()) {
            Ok(engine) => after = with_block(&after, name, &table(engine.as_ref())),
            // Without its library this engine says nothing about models.
            Err(fault) => eprintln!("skipped {name}: {fault}"),
        }
    }
    if std::env::var_os("BOARDPROOF_BLESS").is_some() {
        std::fs::write(&path, &after).expect("docs/engines.md can be written");
        return;
    }
    let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(old, new)| old != new).take(3).collect();
    assert!(
        before == after,
        "docs/engines.md is not what the engines do; the head of this test says how to renew it: {changed:#?}"
    );
}

/// The document with the block of this engine in place of the one it has.
fn with_block(document: &str, engine: &str, block: &str) -> String {
    let begin = format!("<!-- {engine}: made by the test `table` -->\n");
    let end = "<!-- end -->";
    let (head, rest) = document
        .split_once(&begin)
        .unwrap_or_else(|| panic!("expected a block of {engine} in docs/engines.md, got none"));
    let (_, tail) = rest.split_once(end).expect("a block that ends");
    format!("{head}{begin}{block}{end}{tail}")
}

fn table(engine: &dyn Engine) -> String {
    let variants = variants();
    let mut text = format!("| variant | {} |\n|---|{}\n", FOLDERS.join(" | "), "---|".repeat(FOLDERS.len()));
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for variant in &variants {
        let mut cells = Vec::new();
        for folder in FOLDERS {
            let outcome = outcome(engine, folder, variant);
            cells.push(outcome.word());
            if let Outcome::Refused(reason) = outcome {
                reasons.entry(reason).or_default().push(format!("{folder}/{variant}"));
            }
        }
        text += &format!("| `{variant}` | {} |\n", cells.join(" | "));
    }
    let mut lines: Vec<String> =
        reasons.into_iter().map(|(reason, who)| format!("- {}: {reason}\n", who.join(", "))).collect();
    lines.sort();
    text + "\n" + &lines.concat()
}

/// The names of all variants, good ones first.
fn variants() -> Vec<String> {
    let mut names: Vec<String> = FOLDERS
        .iter()
        .flat_map(|folder| std::fs::read_dir(models().join(folder)).expect("a folder of models").flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .filter_map(|path| Some(Path::new(path.file_stem()?).to_str()?.to_owned()))
        .collect();
    names.sort_by_key(|name| (name.starts_with("bad"), name.clone()));
    names.dedup();
    names
}

fn outcome(engine: &dyn Engine, folder: &str, variant: &str) -> Outcome {
    let file = format!("{folder}/{variant}.onnx");
    if !models().join(&file).is_file() {
        return Outcome::Absent;
    }
    let bytes = model(&file);
    let mut loaded = match engine.load(&bytes, &LoadOptions { batch: Some(1), ..LoadOptions::default() }) {
        Ok(loaded) => loaded,
        Err(refusal) => return Outcome::Refused(refusal.to_string()),
    };
    let recorded = models().join(folder).join("cases").join(format!("{variant}.safetensors")).is_file();
    let (inputs, expected) = case(folder, if recorded { variant } else { "f32" });
    let answers: Result<Vec<_>, _> = rows(&inputs).iter().map(|row| answer(loaded.as_mut(), row)).collect();
    match answers {
        Err(failure) => Outcome::Refused(failure.to_string()),
        Ok(_) if !recorded => Outcome::Runs,
        Ok(answers) => {
            let expected: Vec<_> = rows(&expected).into_iter().map(|row| vec![row]).collect();
            let apart = parting(&expected, &answers).relative_l2;
            if apart <= tolerance(variant) { Outcome::Agrees } else { Outcome::Differs }
        }
    }
}

/// The library of an engine that is one.
fn library() -> Option<PathBuf> {
    std::env::var_os("BOARDPROOF_ONNXRUNTIME").map(PathBuf::from)
}

fn answer(loaded: &mut dyn Loaded, row: &Tensor) -> Result<Vec<Tensor>, RunFailure> {
    loaded.prepare(&[row.view()])?;
    loaded.run()?;
    loaded.answers()
}
