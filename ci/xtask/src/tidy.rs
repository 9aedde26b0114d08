//! Tidiness: what no compiler checks and every reviewer would otherwise have to. Pure but for the one function that reads the files.

mod arrows;
mod code;
mod lengths;
mod orphans;
mod text;

use crate::step::{output, program};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::Path;

/// A file of the project.
#[derive(Debug, Clone)]
struct File {
    /// From the root, with `/`.
    path: String,
    bytes: u64,
    /// `None` when it is not UTF-8.
    text: Option<String>,
}

/// Something untidy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong, and what to do instead.
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

/// Where the known long functions stand.
const LONG_FUNCTIONS: &str = "ci/xtask/long-functions.txt";

/// Reads all files of the project and fails when something is untidy.
pub fn tidy(root: &Path) -> Result<()> {
    let files = read_files(root)?;
    let findings = examine(&files);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("{} untidy places in {} files", findings.len(), files.len()) }
}

/// Tracked files, and new ones that git would take: what is untidy is seen before it is committed.
fn read_files(root: &Path) -> Result<Vec<File>> {
    let list = output(program("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let full = root.join(path);
        // Deleted and not yet committed, or a link to a folder.
        if !full.is_file() {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("could not read {path}"))?;
        files.push(File { path: path.to_owned(), bytes: bytes.len() as u64, text: String::from_utf8(bytes).ok() });
    }
    Ok(files)
}

/// Every rule on every file, sorted by place.
fn examine(files: &[File]) -> Vec<Finding> {
    let mut findings = text::examine(files);
    let (parsed, broken) = code::parse(files);
    findings.extend(broken);
    findings.extend(code::examine(&parsed));
    findings.extend(orphans::examine(files, &parsed));
    findings.extend(arrows::examine(files));
    let known = files.iter().find(|file| file.path == LONG_FUNCTIONS).and_then(|file| file.text.as_deref());
    findings.extend(lengths::examine(&parsed, known.unwrap_or_default()));
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project of these files gives exactly these findings, each named by `path:line` and a part of its words.
    #[track_caller]
    pub(super) fn check(project: &[(&str, &str)], expected: &[(&str, &str)]) {
        let files: Vec<_> = project
            .iter()
            .map(|(path, text)| File {
                path: (*path).to_owned(),
                bytes: text.len() as u64,
                text: Some((*text).to_owned()),
            })
            .collect();
        let findings: Vec<_> = examine(&files).iter().map(Finding::to_string).collect();
        assert_eq!(findings.len(), expected.len(), "{findings:#?}");
        for (finding, (place, part)) in findings.iter().zip(expected) {
            assert!(
                finding.starts_with(&format!("{place}: ")) && finding.contains(part),
                "{finding} is not {place} {part}"
            );
        }
    }

    #[test]
    fn a_tidy_project_has_no_findings() {
        let lib = "//! Words.\nmod inner;\n\n/// One.\npub fn one() -> u32 {\n    inner::ONE\n}\n";
        check(
            &[
                ("host/record/Cargo.toml", MANIFEST),
                ("host/record/src/lib.rs", lib),
                ("host/record/src/inner.rs", "pub const ONE: u32 = 1;\n"),
            ],
            &[],
        );
    }

    pub(super) const MANIFEST: &str = "[package]\nname = \"boardproof-record\"\n";

    #[test]
    fn this_project_can_be_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let own = std::fs::read_to_string(root.join("ci/xtask/src/tidy.rs")).unwrap();
        let (parsed, broken) = code::parse(&[File { path: "ci/xtask/src/tidy.rs".into(), bytes: 1, text: Some(own) }]);
        assert_eq!((parsed.len(), broken.len()), (1, 0));
    }
}
