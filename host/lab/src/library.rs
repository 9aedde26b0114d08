//! Engines that are libraries of their own: kept on this machine by architecture, shipped to units like any other program.
//!
//! Owns where they come from: a file of the user's, or the package that the engine's makers publish for Python, which pip brings.
//! Refuses what was made for another processor.

use crate::fit;
use crate::reach::{ReachError, ask};
use crate::ship::Blob;
use boardproof_record::Digest;
use boardproof_record::plan::{LinkSpec, ONNXRUNTIME, Target, Unit};
use boardproof_record::record::Build;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Version that is brought when none is asked for.
pub const ONNXRUNTIME_VERSION: &str = "1.32.0";

/// A library that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Engine that it is.
    pub engine: String,
    /// Architecture as Rust names it.
    pub architecture: String,
    /// Where it came from, in words.
    pub from: String,
    /// Content of what it was taken out of; its own where it was a file.
    pub source: Digest,
    /// Its content.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Name of the file beside this description.
    pub file: String,
}

/// A library that cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum LibraryError {
    #[error("engine '{found}' is no library of its own; those that are: {ONNXRUNTIME}")]
    NoLibrary { found: String },
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("could not keep the library of {engine} in {}", path.display())]
    Keep { engine: String, path: PathBuf, source: std::io::Error },
    #[error("{} is no library for {expected}: {found}", path.display())]
    Architecture { path: PathBuf, expected: String, found: String },
    #[error("could not start {program}")]
    Start { program: &'static str, source: std::io::Error },
    #[error("{command} failed ({status}): {said}")]
    Failed { command: String, status: String, said: String },
    #[error("{what} has no libonnxruntime.so")]
    NotInside { what: String },
    #[error("no package of onnxruntime is published for architecture {found}; published: aarch64, x86_64")]
    NoPackage { found: String },
}

impl LibraryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { program: PYTHON, .. } => Some("apt-get install python3-pip".into()),
            Self::Failed { said, .. } if said.contains("No module named pip") => {
                Some("apt-get install python3-pip".into())
            }
            Self::NoPackage { .. } => Some("give a library that you have: `--from FILE`".into()),
            _ => None,
        }
    }
}

const PYTHON: &str = "python3";
const DESCRIPTION: &str = "library.json";

/// Is this engine a library of its own?
pub fn is_library(engine: &str) -> bool {
    engine == ONNXRUNTIME
}

/// The first place that has the library under a name that the engine asks the dynamic loader for, or nothing.
const OWN_SCRIPT: &str = r#"exec sh -c '
names() {
    for folder in "$@"; do
        echo "$folder/libonnxruntime.so" "$folder/libonnxruntime.so.1" "$folder"/libonnxruntime.so.1.[1-9][0-9]
    done
}
name="libonnxruntime\.so\(\.1\(\.[1-9][0-9]\)\{0,1\}\)\{0,1\}"
listed=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | sed -n "s|.*=> \(/.*/$name\)\$|\1|p")
usual=$(names /usr/local/lib /usr/lib /lib /usr/lib/$(uname -m)-linux-gnu)
for file in $(names $(echo "$LD_LIBRARY_PATH" | tr ":" " ")) $listed $usual; do
    [ -e "$file" ] && echo "$file" && exit
done
'"#;

/// Where the unit has the library of onnxruntime itself, the one that the target names or else any, without loading it; `None` where it has none,
/// or is none that can be asked.
///
/// # Errors
/// The unit does not answer.
pub fn of_the_unit(
    unit: Option<&Unit>,
    target: &Target,
    interrupted: fn() -> bool,
) -> Result<Option<String>, ReachError> {
    let named = target.own_library().map(|file| {
        let quoted = file.replace('\'', r"'\''");
        format!(r#"exec sh -c '[ -e "$0" ] && echo "$0"' '{quoted}'"#)
    });
    let script = named.as_deref().unwrap_or(OWN_SCRIPT);
    let answer = match (&target.link, unit) {
        (LinkSpec::Local, _) => here(script),
        (LinkSpec::Ssh, Some(unit)) => ask(unit, target, script, interrupted)?,
        _ => String::new(),
    };
    Ok(answer.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned))
}

fn here(script: &str) -> String {
    let said = Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::null()).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default()
}

impl Library {
    /// The one that is kept for this engine and architecture, if there is one and it is what it was.
    pub fn kept(cache: &Path, engine: &str, architecture: &str) -> Option<Self> {
        let folder = folder(cache, engine, architecture);
        let text = std::fs::read_to_string(folder.join(DESCRIPTION)).ok()?;
        let library: Self = serde_json::from_str(&text).ok()?;
        let size = std::fs::metadata(folder.join(&library.file)).ok()?.len();
        (library.engine == engine && library.architecture == architecture && size == library.bytes).then_some(library)
    }

    /// The file, to be shipped.
    pub fn blob(&self, cache: &Path) -> Blob {
        let path = folder(cache, &self.engine, &self.architecture).join(&self.file);
        // It is coded for the wire once and shipped often, as a program is.
        Blob { what: format!("library of {}", self.engine), path, digest: self.digest, program: true }
    }

    /// As the record has it.
    pub fn build(&self) -> Build {
        Build {
            program: format!("library of {}", self.engine),
            triple: self.architecture.clone(),
            builder: self.from.clone(),
            source: self.source,
            digest: self.digest,
            bytes: self.bytes,
            cached: true,
            layout: None,
        }
    }

    /// Keeps a file of the user's.
    pub fn from_file(cache: &Path, engine: &str, architecture: &str, file: &Path) -> Result<Self, LibraryError> {
        let named = || format!("file {}", file.file_name().unwrap_or_default().to_string_lossy());
        let bytes = read(file)?;
        let source = Digest::of(&bytes);
        keep(cache, &Origin { engine, architecture, file, from: named(), source }, &bytes)
    }

    /// Brings the package that is published for this architecture, by pip, and keeps the library that is in it.
    pub fn from_package(cache: &Path, engine: &str, architecture: &str, version: &str) -> Result<Self, LibraryError> {
        if !is_library(engine) {
            return Err(LibraryError::NoLibrary { found: engine.into() });
        }
        if !matches!(architecture, "aarch64" | "x86_64") {
            return Err(LibraryError::NoPackage { found: architecture.into() });
        }
        let work = folder(cache, engine, architecture).with_extension(format!("part-{}", std::process::id()));
        let done = Self::from_package_in(&work, cache, engine, architecture, version);
        let _ = std::fs::remove_dir_all(&work);
        done
    }

    fn from_package_in(
        work: &Path,
        cache: &Path,
        engine: &str,
        architecture: &str,
        version: &str,
    ) -> Result<Self, LibraryError> {
        let keep_error = |source| LibraryError::Keep { engine: engine.into(), path: work.into(), source };
        std::fs::create_dir_all(work).map_err(keep_error)?;
        download(work, architecture, &format!("{engine}=={version}"))?;
        let wheel = find(work, &|name| name.ends_with(".whl"))
            .ok_or_else(|| LibraryError::NotInside { what: "what pip brought".into() })?;
        run(Command::new(PYTHON).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work.join("inside")))?;
        let name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let library = find(&work.join("inside/onnxruntime/capi"), &|name| name.starts_with("libonnxruntime.so"))
            .ok_or_else(|| LibraryError::NotInside { what: name.clone() })?;
        let source = Digest::of(&read(&wheel)?);
        let from = format!("package {name}");
        let bytes = read(&library)?;
        keep(cache, &Origin { engine, architecture, file: &library, from, source }, &bytes)
    }
}

/// Where a library comes from.
struct Origin<'a> {
    engine: &'a str,
    architecture: &'a str,
    file: &'a Path,
    from: String,
    source: Digest,
}

fn folder(cache: &Path, engine: &str, architecture: &str) -> PathBuf {
    cache.join("engines").join(engine).join(architecture)
}

fn read(path: &Path) -> Result<Vec<u8>, LibraryError> {
    std::fs::read(path).map_err(|source| LibraryError::Read { path: path.into(), source })
}

/// The first file in a folder whose name is wanted.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.into_iter().find(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())))
}

/// Any recent Python's package will do: the library inside is the same.
fn download(work: &Path, architecture: &str, package: &str) -> Result<(), LibraryError> {
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    for glibc in ["manylinux_2_28", "manylinux_2_27", "manylinux2014"] {
        pip.arg("--platform").arg(format!("{glibc}_{architecture}"));
    }
    pip.args(["--implementation=cp", "--python-version=3.12", "--dest"]).arg(work).arg(package);
    run(&mut pip)
}

fn run(command: &mut Command) -> Result<(), LibraryError> {
    let line = format!("{command:?}");
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|source| LibraryError::Start { program: PYTHON, source })?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(LibraryError::Failed { command: line, status: done.status.to_string(), said })
}

/// Puts a library and its description in place, the description last: without one nothing is kept.
fn keep(cache: &Path, origin: &Origin<'_>, bytes: &[u8]) -> Result<Library, LibraryError> {
    let Origin { engine, architecture, file, from, source } = origin;
    if !is_library(engine) {
        return Err(LibraryError::NoLibrary { found: (*engine).into() });
    }
    let found = fit::architecture_of(file);
    if found.as_deref() != Some(*architecture) {
        let found = found.map_or_else(|| "no program or library for Linux".into(), |found| format!("one for {found}"));
        return Err(LibraryError::Architecture { path: file.to_path_buf(), expected: (*architecture).into(), found });
    }
    let digest = Digest::of(bytes);
    let library = Library {
        engine: (*engine).into(),
        architecture: (*architecture).into(),
        from: from.clone(),
        source: *source,
        digest,
        bytes: bytes.len() as u64,
        file: format!("{}.so", digest.short()),
    };
    let place = folder(cache, engine, architecture);
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&place)?;
        for (name, content) in [
            (library.file.as_str(), bytes),
            (DESCRIPTION, serde_json::to_string_pretty(&library).map_err(std::io::Error::other)?.as_bytes()),
        ] {
            let part = place.join(format!("{name}.part-{}", std::process::id()));
            std::fs::write(&part, content)?;
            std::fs::rename(&part, place.join(name))?;
        }
        Ok(())
    };
    write().map_err(|source| LibraryError::Keep { engine: (*engine).into(), path: place.clone(), source })?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_for_the_architecture_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("libonnxruntime.so");
        std::fs::write(&text, "words").unwrap();
        let error = Library::from_file(folder.path(), ONNXRUNTIME, "aarch64", &text).unwrap_err().to_string();
        assert!(error.ends_with("is no library for aarch64: no program or library for Linux"), "{error}");
        let own = std::env::current_exe().unwrap();
        let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
        let error = Library::from_file(folder.path(), ONNXRUNTIME, other, &own).unwrap_err().to_string();
        assert!(error.contains(&format!("no library for {other}: one for ")), "{error}");
        assert_eq!(Library::kept(folder.path(), ONNXRUNTIME, other), None);
        let error = Library::from_file(folder.path(), "tract", other, &own).unwrap_err().to_string();
        assert!(error.contains("'tract' is no library"), "{error}");
    }

    #[test]
    fn a_units_own_library_is_found_under_a_products_name() {
        let folder = tempfile::tempdir().unwrap();
        let found = |name: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, "").unwrap();
            let mut shell = Command::new("/bin/sh");
            let said = shell.args(["-c", OWN_SCRIPT]).env("LD_LIBRARY_PATH", folder.path()).output().unwrap();
            std::fs::remove_file(&file).unwrap();
            String::from_utf8_lossy(&said.stdout).trim() == file.display().to_string()
        };
        for name in ["libonnxruntime.so", "libonnxruntime.so.1", "libonnxruntime.so.1.21"] {
            assert!(found(name), "{name}");
        }
        // Nobody asks the loader for these.
        assert!(!found("libonnxruntime.so.1.21.0") && !found("libonnxruntime_providers_shared.so"));
    }

    #[test]
    fn what_is_kept_is_found_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        let here = std::env::consts::ARCH;
        let kept = Library::from_file(folder.path(), ONNXRUNTIME, here, &own).unwrap();
        assert_eq!(Library::kept(folder.path(), ONNXRUNTIME, here).as_ref(), Some(&kept));
        let blob = kept.blob(folder.path());
        assert_eq!(Digest::of(&std::fs::read(&blob.path).unwrap()), kept.digest);
        assert_eq!(kept.build().digest, kept.digest);
        std::fs::write(&blob.path, "shorter").unwrap();
        assert_eq!(Library::kept(folder.path(), ONNXRUNTIME, here), None);
    }
}
