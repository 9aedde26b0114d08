//! Programs that were built beforehand and lie in a folder, with a list of what they are: for a machine that has neither source nor compiler.

use super::{Artifact, BuildError, Program};
use boardproof_record::Digest;
use boardproof_record::record::Build;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Variable that names the folder.
pub const VARIABLE: &str = "BOARDPROOF_PROGRAMS";
/// The list in it.
const LIST: &str = "programs.json";

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Name of the file beside the list.
    file: String,
    /// How it was made.
    build: Build,
}

/// The folder that the environment names.
pub fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Name of a program for a triple, in the list and among what is kept.
pub(super) fn file_name(program: Program, binary: &str, triple: &str) -> String {
    match program {
        Program::Runner(engine) => format!("{binary}-{engine}-{triple}"),
        Program::Agent | Program::Firmware => format!("{binary}-{triple}"),
    }
}

/// The program out of the folder; refused where it is not what the list says.
pub(super) fn take(folder: &Path, name: &str) -> Result<Artifact, BuildError> {
    let missing = |why: String| BuildError::NotPrebuilt { name: name.into(), folder: folder.to_path_buf(), why };
    let list = read(folder).map_err(|source| missing(format!("{LIST}: {source}")))?;
    let entry = list.iter().find(|entry| entry.file == name);
    let entry = entry.ok_or_else(|| missing(format!("{LIST} does not name it")))?;
    let path = folder.join(&entry.file);
    let bytes = std::fs::read(&path).map_err(|source| missing(source.to_string()))?;
    let found = Digest::of(&bytes);
    if found != entry.build.digest {
        return Err(missing(format!("expected digest {}, got {found}", entry.build.digest)));
    }
    Ok(Artifact { path, build: Build { cached: true, ..entry.build.clone() } })
}

/// Puts a program into a folder, and its name into the list there.
pub(super) fn put(folder: &Path, name: &str, artifact: &Artifact) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut list = if folder.join(LIST).is_file() { read(folder)? } else { Vec::new() };
    std::fs::copy(&artifact.path, folder.join(name))?;
    list.retain(|entry| entry.file != name);
    list.push(Entry { file: name.into(), build: artifact.build.clone() });
    std::fs::write(folder.join(LIST), serde_json::to_string_pretty(&list).map_err(std::io::Error::other)? + "\n")
}

fn read(folder: &Path) -> std::io::Result<Vec<Entry>> {
    serde_json::from_str(&std::fs::read_to_string(folder.join(LIST))?).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_taken_as_it_was_put_and_never_another() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        std::fs::write(&made, "program").unwrap();
        let build = Build {
            program: "runner".into(),
            triple: "t".into(),
            builder: "cargo".into(),
            source: Digest::of(b"source"),
            digest: Digest::of(b"program"),
            bytes: 7,
            cached: false,
            layout: None,
        };
        let bundle = folder.path().join("bundle");
        let name = file_name(Program::Runner("cuda"), "runner", "t");
        assert!(take(&bundle, &name).unwrap_err().to_string().contains("programs.json"));
        put(&bundle, &name, &Artifact { path: made, build: build.clone() }).unwrap();
        assert_eq!(take(&bundle, &name).unwrap().build, Build { cached: true, ..build });
        assert!(take(&bundle, "runner-tract-t").unwrap_err().to_string().contains("does not name it"));
        std::fs::write(bundle.join(&name), "damaged").unwrap();
        assert!(take(&bundle, &name).unwrap_err().to_string().contains("expected digest"));
    }
}
