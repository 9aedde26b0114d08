//! `check --against`: what nothing may be worse than. An earlier record, or the models as they were at a git revision.

use crate::args::{CheckArgs, Places};
use crate::run::{check_inputs, measured, planned};
use anyhow::{Context, Result, bail};
use boardproof_judge::gate::GateError;
use boardproof_lab::store::RecordFolder;
use boardproof_plan::{Plan, PlanError};
use boardproof_record::record::FILE as RECORD;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The yardstick of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Yardstick {
    /// A record on disk.
    Record(PathBuf),
    /// Models at a revision, to be measured first.
    Revision {
        /// As it was asked for.
        asked: String,
        /// Its commit.
        commit: String,
    },
}

/// Folder below the record's for what is measured at a revision.
const FOLDER: &str = "against";

impl Yardstick {
    /// What the arguments name.
    pub fn of(args: &CheckArgs) -> Result<Option<Self>> {
        match (&args.baseline, &args.against) {
            (Some(record), _) => Ok(Some(Self::Record(record.clone()))),
            (None, Some(asked)) => Self::find(asked).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn find(asked: &str) -> Result<Self> {
        let path = Path::new(asked);
        if path.join(RECORD).is_file() {
            return Ok(Self::Record(path.to_path_buf()));
        }
        let named = format!("{asked}^{{commit}}");
        let commit = git(Path::new("."), &["rev-parse", "--verify", "--quiet", "--end-of-options", &named]);
        match commit {
            Ok(commit) => {
                Ok(Self::Revision { asked: asked.into(), commit: String::from_utf8_lossy(&commit).trim().into() })
            }
            Err(_) => {
                let expected = format!("the folder of a record (with a {RECORD}), or a git revision of this checkout");
                Err(PlanError::value("command line", "--against", expected, format!("'{asked}'")).into())
            }
        }
    }

    /// The record that is there already.
    pub fn record(&self) -> Option<&Path> {
        match self {
            Self::Record(path) => Some(path),
            Self::Revision { .. } => None,
        }
    }

    /// The record to compare with; models of a revision are taken out of git and measured for it, as the plan measures those of now.
    pub fn measured(&self, plan: &Plan, args: &CheckArgs, out: &Path) -> Result<PathBuf> {
        let (asked, commit) = match self {
            Self::Record(path) => return Ok(path.clone()),
            Self::Revision { asked, commit } => (asked, commit),
        };
        let folder = out.join(FOLDER);
        let models = self.take_out(plan, commit, &out.join("models-against"))?;
        let args = CheckArgs { against: None, model: models, ..in_place(args) };
        let (_, mut earlier) = planned(&args).with_context(|| format!("could not plan the models of {asked}"))?;
        earlier.policy = plan.policy.clone();
        same_evalsets(plan, &earlier)?;
        check_inputs(&earlier)?;
        if !args.quiet {
            eprintln!("first the models of {asked} ({})", commit.get(..12).unwrap_or(commit));
        }
        measured(earlier, &args, RecordFolder::create(&folder)?)?;
        Ok(folder)
    }

    /// The folders of the planned models as they were, by path.
    fn take_out(&self, plan: &Plan, commit: &str, into: &Path) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for (name, model) in &plan.models {
            let folder = Path::new(&model.evalset.file).ancestors().skip(1).find(|f| f.join("model.toml").is_file());
            let folder = folder.with_context(|| format!("could not find the folder of model '{name}'"))?;
            let to = into.join(name.as_str());
            take_out(folder, commit, &to).with_context(|| format!("could not take model '{name}' out of {commit}"))?;
            folders.push(to.display().to_string());
        }
        Ok(folders)
    }
}

/// The same arguments with the same places, so that targets and units are those of now.
fn in_place(args: &CheckArgs) -> CheckArgs {
    let places = Places { models: Vec::new(), ..args.places.clone() };
    CheckArgs { places, ..args.clone() }
}

/// Answers can be compared on the same samples alone. A model that the other run has not is the judge's to name.
pub fn same_evalsets(now: &Plan, then: &Plan) -> Result<(), GateError> {
    for (name, model) in &now.models {
        if let Some(earlier) = then.models.get(name)
            && earlier.evalset.digest != model.evalset.digest
        {
            let (expected, found) = (model.evalset.digest, earlier.evalset.digest);
            return Err(GateError::OtherEvalset { model: name.clone(), expected, found });
        }
    }
    Ok(())
}

/// Writes every file of a folder as it was at a commit.
fn take_out(folder: &Path, commit: &str, to: &Path) -> Result<()> {
    let list = git(folder, &["ls-tree", "-r", "-z", "--name-only", commit, "--", "."])?;
    let files: Vec<&str> = std::str::from_utf8(&list)?.split('\0').filter(|name| !name.is_empty()).collect();
    if files.is_empty() {
        bail!("there is nothing in {} at that revision", folder.display());
    }
    for name in files {
        // Names of a tree never lead out of it; a folder within is made.
        let file = to.join(name);
        let parent = file.parent().context("a file has a folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("could not make {}", parent.display()))?;
        let bytes = git(folder, &["cat-file", "blob", &format!("{commit}:./{name}")])?;
        std::fs::write(&file, bytes).with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    let said = command.output().context("could not start git, which --against REVISION asks (apt-get install git)")?;
    if !said.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(said.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_a_record_nor_a_revision_is_named_with_what_is_wanted() {
        let error = Yardstick::find("no-such-thing").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("'no-such-thing'") && text.contains("a git revision"), "{text}");
    }

    #[test]
    fn files_come_out_as_they_were() {
        let root = tempfile::tempdir().unwrap();
        let (repository, model) = (root.path().join("r"), root.path().join("r/models/m"));
        std::fs::create_dir_all(model.join("deep")).unwrap();
        let run = |arguments: &[&str]| git(&repository, arguments).unwrap();
        let author = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"];
        run(&["init", "-q"]);
        std::fs::write(model.join("a b.txt"), "old").unwrap();
        std::fs::write(model.join("deep/c"), [0, 255]).unwrap();
        run(&["add", "."]);
        run(&[&author[..], &["commit", "-qm", "x"]].concat());
        std::fs::write(model.join("a b.txt"), "new").unwrap();
        let to = root.path().join("out");
        take_out(&model, "HEAD", &to).unwrap();
        assert_eq!(std::fs::read(to.join("a b.txt")).unwrap(), b"old");
        assert_eq!(std::fs::read(to.join("deep/c")).unwrap(), [0, 255]);
        assert!(take_out(&model, "no-such-revision", &to).is_err());
    }
}
