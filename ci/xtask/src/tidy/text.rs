//! Rules on text of every kind: leftover markers, paths of somebody's machine, sizes, where the lock file gets crates from.

use super::{File, Finding};

/// Files larger than this belong into `models/`, or nowhere.
const BYTES_MAX: u64 = 1 << 20;
/// Folder whose files are data.
const DATA: &str = "models/";
/// The registry that everybody has.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Words that mean "later". In two pieces, so that this file does not hold them.
const MARKERS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Folders of one machine, and a part of the project where the same words mean a board's folder.
const MACHINE_PATHS: [(&str, Option<&str>); 2] =
    [(concat!("/wo", "rk/"), None), (concat!("/ro", "ot/"), Some("targets/virtual-board/"))];

pub(super) fn examine(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if file.bytes > BYTES_MAX && !file.path.starts_with(DATA) {
            let what = format!(
                "{} bytes, more than {BYTES_MAX}: make it in a test, or put a model's data into {DATA}",
                file.bytes
            );
            findings.push(Finding::new(&file.path, 0, what));
        }
        let Some(text) = &file.text else { continue };
        if file.path.ends_with("Cargo.lock") {
            findings.extend(foreign_crates(&file.path, text));
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            findings
                .extend(words_of(&file.path, line).into_iter().map(|what| Finding::new(&file.path, index + 1, what)));
        }
    }
    findings
}

fn words_of(path: &str, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for marker in MARKERS {
        if has_word(line, marker) {
            found.push(format!("leftover marker {marker}: do it, or open an issue and say nothing here"));
        }
    }
    for (machine_path, excepted) in MACHINE_PATHS {
        let is_excepted = excepted.is_some_and(|folder| path.starts_with(folder));
        if !is_excepted && starts_path(line, machine_path) {
            found.push(format!("{machine_path} is a folder of one machine: make the path relative, or an argument"));
        }
    }
    found
}

/// The word stands alone: `mktemp`'s row of letters is not a marker.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next()))
}

/// The path begins there: `$OUT/...` and `a/...` are relative to something.
fn starts_path(line: &str, path: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "_-.}/)*]>".contains(c);
    line.match_indices(path).any(|(at, _)| !line[..at].chars().next_back().is_some_and(continues))
}

fn foreign_crates(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != REGISTRY
        {
            findings.push(Finding::new(
                path,
                index + 1,
                format!("a crate from {source}: take releases from crates.io"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::check;

    #[test]
    fn markers_are_found_as_words_only() {
        let text = format!("fine\n# {}: later\nmktemp -d /tmp/a.XXXXXX\n", MARKERS[0]);
        check(&[("docs/a.md", &text)], &[("docs/a.md:2", "leftover marker")]);
    }

    #[test]
    fn paths_of_one_machine_are_found_and_relative_ones_are_not() {
        let [(work, _), (root, _)] = MACHINE_PATHS;
        let text = format!("cd {work}main\nls $OUT{work}x net{work}\ncat {root}.ssh\n");
        check(&[("docs/a.md", &text)], &[("docs/a.md:1", work), ("docs/a.md:3", root)]);
        check(&[("targets/virtual-board/init", &format!("mkdir {root}.ssh\n"))], &[]);
    }

    #[test]
    fn large_files_belong_to_models() {
        let large = |path: &str| File { path: path.into(), bytes: BYTES_MAX + 1, text: None };
        assert_eq!(examine(&[large("models/a/data/test.safetensors")]), []);
        let findings = examine(&[large("tests/fixtures/a.bin")]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("1048577 bytes"), "{findings:?}");
    }

    #[test]
    fn the_lock_file_takes_crates_from_one_place() {
        let good = format!("name = \"a\"\nsource = \"{REGISTRY}\"\n");
        check(&[("Cargo.lock", &good)], &[]);
        check(&[("Cargo.lock", "source = \"git+https://example.org/a#1\"\n")], &[("Cargo.lock:1", "crates.io")]);
    }
}
