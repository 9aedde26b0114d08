//! Where the source of the programs is, and its digest.

use boardproof_record::Digest;
use std::path::{Path, PathBuf};

/// The source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No folder holds it.
    #[error("the source of agent and runner was not found: expected a folder with device-agent/agent, looked in {}", looked.join(", "))]
    NotFound {
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Finds the source: `BOARDPROOF_SOURCE`, else the nearest folder above the working directory or above the running binary that
/// holds `device-agent/agent`.
pub fn find_source() -> Result<PathBuf, SourceError> {
    let mut looked = Vec::new();
    let named = std::env::var_os("BOARDPROOF_SOURCE").map(PathBuf::from);
    let starts = [named, std::env::current_dir().ok(), std::env::current_exe().ok()];
    for start in starts.into_iter().flatten() {
        if let Some(found) = start.ancestors().find(|folder| folder.join("device-agent/agent/Cargo.toml").is_file()) {
            return Ok(found.to_path_buf());
        }
        looked.push(start.display().to_string());
    }
    Err(SourceError::NotFound { looked })
}

/// Single files that decide what every program is.
const FILES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "rust-toolchain.toml", ".cargo/config.toml", ".cargo/config"];

/// Digest over path and content of every file that decides what a program is, and over `flags` (triple, tool, toolchain).
/// Tests, benches and examples do not count: changing one must not cost a rebuild.
pub fn source_digest(root: &Path, folders: &[&str], flags: &[&str]) -> Result<Digest, SourceError> {
    let mut files: Vec<PathBuf> = FILES.iter().map(|f| root.join(f)).filter(|f| f.is_file()).collect();
    for folder in folders {
        walk(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut text = String::new();
    for flag in flags {
        text += &format!("flag {flag}\n");
    }
    for path in files {
        let bytes = std::fs::read(&path).map_err(|source| SourceError::Read { path: path.clone(), source })?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        text += &format!("{} {name}\n", Digest::of(&bytes));
    }
    Ok(Digest::of(text.as_bytes()))
}

/// What programs are made of: Rust, cargo's files, linker scripts, C, assembly.
const KINDS: [&str; 8] = [".rs", ".toml", ".lock", ".x", ".ld", ".c", ".h", ".s"];

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let read = |source| SourceError::Read { path: folder.to_path_buf(), source };
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "tests" | "benches" | "examples" | "target" | "golden") {
            walk(&path, files)?;
        } else if path.is_file() && KINDS.iter().any(|kind| name.ends_with(kind)) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDERS: [&str; 2] = ["device-agent/core", "device-agent/agent"];

    #[test]
    fn a_changed_source_file_or_flag_changes_the_digest_and_a_test_does_not() {
        let root = tempfile::tempdir().unwrap();
        for folder in FOLDERS {
            std::fs::create_dir_all(root.path().join(folder).join("src")).unwrap();
            std::fs::create_dir_all(root.path().join(folder).join("tests")).unwrap();
            std::fs::write(root.path().join(folder).join("src/lib.rs"), "// one").unwrap();
        }
        let digest = |flags: &[&str]| source_digest(root.path(), &FOLDERS, flags).unwrap();
        let first = digest(&["a"]);
        std::fs::write(root.path().join("device-agent/core/tests/x.rs"), "// test").unwrap();
        assert_eq!(digest(&["a"]), first);
        std::fs::create_dir_all(root.path().join("device-agent/engines")).unwrap();
        std::fs::write(root.path().join("device-agent/engines/lib.rs"), "// of another program").unwrap();
        assert_eq!(digest(&["a"]), first);
        assert_ne!(digest(&["b"]), first);
        std::fs::create_dir(root.path().join(".cargo")).unwrap();
        std::fs::write(root.path().join(".cargo/config.toml"), "[build]").unwrap();
        let configured = digest(&["a"]);
        assert_ne!(configured, first);
        // Flags of bare metal stand in its own workspace.
        std::fs::create_dir(root.path().join("device-agent/agent/.cargo")).unwrap();
        std::fs::write(root.path().join("device-agent/agent/.cargo/config.toml"), "[target.x]").unwrap();
        let configured = [configured, digest(&["a"])];
        assert_ne!(configured[0], configured[1]);
        std::fs::write(root.path().join("device-agent/core/src/lib.rs"), "// two").unwrap();
        assert_ne!(digest(&["a"]), configured[1]);
    }
}
