//! Files that must be refused, each with the words of its refusal: see `fixtures/README.md`.

use crate::tool::root;
use boardproof_plan::{parse_inventory, parse_model, parse_policy, parse_target};
use boardproof_record::record::Record;
use std::error::Error;

/// The error of reading a file as what it pretends to be, causes included; nothing when it is taken.
fn refusal(kind: &str, text: &str) -> Option<String> {
    let error: Box<dyn Error> = match kind {
        "inventory" => parse_inventory("inventory.toml", text).err()?.into(),
        "model" => parse_model("model.toml", "model", text).err()?.into(),
        "policy" => parse_policy("policy.toml", text).err()?.into(),
        "target" => parse_target("target.toml", text).err()?.into(),
        "record" => Record::from_json(text).err()?.into(),
        other => panic!("no fixture is of the kind '{other}'"),
    };
    let causes = std::iter::successors(Some(&*error), |e| (**e).source()).map(ToString::to_string);
    Some(causes.collect::<Vec<_>>().join(": "))
}

#[test]
fn every_hostile_file_is_refused_in_its_own_words() {
    let folder = root().join("tests/fixtures/hostile");
    let entries = std::fs::read_dir(&folder).expect("the fixtures are in the repository");
    let files = entries.map(|e| e.expect("a folder can be listed").path());
    let files: Vec<_> = files.filter(|path| path.extension().is_none_or(|e| e != "error")).collect();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    for file in files {
        let name = file.file_name().expect("it has a name").to_string_lossy().into_owned();
        let kind = name.split('-').next().unwrap_or_default();
        let text = std::fs::read_to_string(&file).expect("a fixture is a text");
        let words = std::fs::read_to_string(folder.join(format!("{name}.error")));
        let words = words.unwrap_or_else(|e| panic!("{name}.error: {e}"));
        let refusal = refusal(kind, &text).unwrap_or_else(|| panic!("{name} was taken"));
        assert!(refusal.contains(words.trim()), "{name}: {:?} is not in\n{refusal}", words.trim());
    }
}
