//! Metrics that the owner of a model computes: runs the command on the outputs of a cell and reads a number for each sample.

use crate::interrupt::interrupted;
use crate::link::once::{OnceError, once};
use boardproof_record::Digest;
use boardproof_record::plan::CustomMetric;
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// A command that gave no numbers that can be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum CustomError {
    #[error("{command} in {folder}")]
    Run { command: String, folder: String, source: OnceError },
    #[error("{command} in {folder} ended with {status}{said}")]
    Ended { command: String, folder: String, status: ExitStatus, said: String },
    #[error("could not read {}, which {command} names", path.display())]
    Program { command: String, path: PathBuf, source: std::io::Error },
    #[error("{path} of {command} changed while it ran")]
    Changed { command: String, path: String },
    #[error("could not make room for the numbers of {command}")]
    Room { command: String, source: std::io::Error },
    #[error("{command} wrote no numbers into the file that its last argument names")]
    NoFile { command: String, source: std::io::Error },
    #[error("{command}: expected {expected} lines, one number per sample, got {found}")]
    Samples { command: String, expected: u64, found: u64 },
    #[error("{command}: line {line}: expected a number from {least} to {most}, as [[metric]] says, got '{found}'")]
    Number { command: String, line: usize, least: f64, most: f64, found: String },
}

/// How long a command may take: hours of audio are decoded in it, and a CI job must end.
const DEADLINE: Duration = Duration::from_secs(600);
/// End of a command's own words that is told.
const TOLD: usize = 400;

/// What computed numbers: the files of the model's folder that a command names, by their names in it.
pub type Programs = BTreeMap<String, Digest>;

/// What the files of the model's folder hold that the command of `metric` names, as its program or as an argument. A script that one of them
/// reads and a module that it imports are named by nobody and stay unknown; so does a program of the system.
pub fn programs(metric: &CustomMetric) -> Result<Programs, CustomError> {
    let shown = || metric.command.join(" ");
    let named = metric.command.iter().enumerate().filter_map(|(place, word)| {
        // A bare first word is a program of the system, whatever lies in the folder.
        let name = within(word).filter(|_| place > 0 || word.contains('/'))?;
        let path = Path::new(&metric.folder).join(&name);
        path.is_file().then_some((name, path))
    });
    let digest = |(name, path): (String, PathBuf)| match std::fs::read(&path) {
        Ok(bytes) => Ok((name, Digest::of(&bytes))),
        Err(source) => Err(CustomError::Program { command: shown(), path, source }),
    };
    named.map(digest).collect()
}

/// A word of a command as a path that stays within the folder, `--config=FILE` too; `None`: it is none.
fn within(word: &str) -> Option<String> {
    let word = word.strip_prefix('-').and_then(|option| option.split_once('=')).map_or(word, |(_, value)| value);
    let mut parts = Vec::new();
    for part in Path::new(word).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// [`numbers`], with the programs that computed them. A program that changes in the meantime has computed nothing that anybody could repeat.
pub fn computed(
    metric: &CustomMetric,
    outputs: &Path,
    labels: &Path,
    samples: u64,
) -> Result<(Vec<f64>, Programs), CustomError> {
    let before = programs(metric)?;
    let found = numbers(metric, outputs, labels, samples)?;
    let after = programs(metric)?;
    let names = before.keys().chain(after.keys());
    match names.into_iter().find(|name| before.get(*name) != after.get(*name)) {
        Some(path) => Err(CustomError::Changed { command: metric.command.join(" "), path: path.clone() }),
        None => Ok((found, before)),
    }
}

/// Runs `metric` on a file of outputs and one of labels: `COMMAND OUTPUTS LABELS NUMBERS`, in the model's folder. Both are safetensors files as the
/// record holds them, in the same order of samples; the command writes one number per sample and line into NUMBERS, a file of a
/// temporary folder.
pub fn numbers(metric: &CustomMetric, outputs: &Path, labels: &Path, samples: u64) -> Result<Vec<f64>, CustomError> {
    let shown = metric.command.join(" ");
    let room = tempfile::tempdir().map_err(|source| CustomError::Room { command: shown.clone(), source })?;
    let into = room.path().join("numbers.txt");
    let (program, arguments) = metric.command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut command = Command::new(program_in(program, Path::new(&metric.folder)));
    command.args(arguments).arg(absolute(outputs)).arg(absolute(labels)).arg(&into).current_dir(&metric.folder);
    let folder = metric.folder.clone();
    let said = once(&mut command, None, DEADLINE, interrupted).map_err(|source| CustomError::Run {
        command: shown.clone(),
        folder: folder.clone(),
        source,
    })?;
    if !said.status.success() {
        let said_last = last_words(&said.stderr);
        return Err(CustomError::Ended { command: shown, folder, status: said.status, said: said_last });
    }
    let text = std::fs::read_to_string(&into).map_err(|source| CustomError::NoFile { command: shown, source })?;
    parse(metric, &text, samples)
}

/// A program with a folder in its name is one of the model's; a bare name is looked for where the system's programs are.
fn program_in(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { absolute(&folder.join(program)) } else { program.into() }
}

/// The command runs in another folder than we do.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn last_words(said: &str) -> String {
    let said = said.trim();
    let start = said.len().saturating_sub(TOLD);
    let start = (start..=said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
    if said.is_empty() { String::new() } else { format!(": {}", &said[start..]) }
}

fn parse(metric: &CustomMetric, text: &str, samples: u64) -> Result<Vec<f64>, CustomError> {
    let command = || metric.command.join(" ");
    let [least, most] = metric.range;
    let number = |(line, found): (usize, &str)| {
        // A comparison with NaN is false, so that NaN is refused with what lies beyond.
        found.trim().parse::<f64>().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            CustomError::Number { command: command(), line: line + 1, least, most, found: found.trim().to_owned() }
        })
    };
    let numbers = text.lines().enumerate().map(number).collect::<Result<Vec<f64>, _>>()?;
    let found = numbers.len() as u64;
    if found != samples {
        return Err(CustomError::Samples { command: command(), expected: samples, found });
    }
    Ok(numbers)
}

/// The numbers as a file of a record.
pub fn file_of(tensor: &str, numbers: &[f64]) -> Result<Vec<u8>, SafeTensorError> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F64, vec![numbers.len()], &bytes)?;
    safetensors::serialize([(tensor, view)], None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::plan::Better;

    fn metric(script: &str) -> CustomMetric {
        CustomMetric {
            name: "own".into(),
            command: vec!["sh".into(), "-c".into(), script.into(), "own".into()],
            folder: ".".into(),
            better: Better::Higher,
            range: [0.0, 1.0],
        }
    }

    fn run(script: &str) -> Result<Vec<f64>, String> {
        let room = tempfile::tempdir().unwrap();
        let (outputs, labels) = (room.path().join("o"), room.path().join("l"));
        std::fs::write(&outputs, "0.25\n").unwrap();
        std::fs::write(&labels, "1\n").unwrap();
        numbers(&metric(script), &outputs, &labels, 2).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_sees_outputs_and_labels_and_gives_a_number_for_each_sample() {
        assert_eq!(run("cat \"$1\" \"$2\" > \"$3\""), Ok(vec![0.25, 1.0]));
    }

    #[test]
    fn what_a_command_gets_wrong_is_said() {
        for (script, words) in [
            ("exit 3", "ended with exit status: 3"),
            ("echo no such label >&2; exit 1", ": no such label"),
            (":", "wrote no numbers into the file"),
            ("echo 1 > \"$3\"", "expected 2 lines, one number per sample, got 1"),
            ("echo nan > \"$3\"", "line 1: expected a number from 0 to 1, as [[metric]] says, got 'nan'"),
            ("printf '1\\n1.5\\n' > \"$3\"", "line 2: expected a number from 0 to 1, as [[metric]] says, got '1.5'"),
            ("printf '1\\n\\n' > \"$3\"", "line 2: expected a number from 0 to 1, as [[metric]] says, got ''"),
        ] {
            let why = run(script).unwrap_err();
            assert!(why.contains(words), "{script}: {why}");
        }
    }

    #[test]
    fn what_a_command_names_in_its_folder_is_known_by_its_content() {
        let room = tempfile::tempdir().unwrap();
        for name in ["own.py", "words.txt", "python3", "tool", "c"] {
            std::fs::write(room.path().join(name), name).unwrap();
        }
        std::fs::create_dir(room.path().join("lib")).unwrap();
        let of = |command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let folder = room.path().display().to_string();
            programs(&CustomMetric { command, folder, ..metric("") }).unwrap()
        };
        let names = |command: &[&str]| of(command).into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&["python3", "own.py", "--words=words.txt", "words.txt"]), "own.py words.txt");
        assert_eq!(names(&["./tool", "-c", "c"]), "c tool");
        assert_eq!(names(&["python3", "lib", "absent.py", "../own.py", "/etc/passwd"]), "");
        let before = of(&["python3", "./own.py"]);
        assert_eq!(before["own.py"], Digest::of(b"own.py"));
        std::fs::write(room.path().join("own.py"), "another").unwrap();
        assert_ne!(of(&["python3", "own.py"]), before);
    }

    #[test]
    fn a_program_that_changes_while_it_runs_has_computed_nothing() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("own.sh");
        let metric = CustomMetric {
            command: vec!["sh".into(), "own.sh".into()],
            folder: room.path().display().to_string(),
            ..metric("")
        };
        let run = |script: &str| {
            std::fs::write(&path, script).unwrap();
            computed(&metric, Path::new("o"), Path::new("l"), 1)
        };
        let (found, by) = run("echo 1 > \"$3\"").unwrap();
        assert_eq!((found, by["own.sh"]), (vec![1.0], Digest::of(b"echo 1 > \"$3\"")));
        let changed = run("echo 1 > \"$3\"; echo exit >> own.sh").unwrap_err().to_string();
        assert_eq!(changed, "own.sh of sh own.sh changed while it ran");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = CustomMetric { command: vec!["boardproof-no-such".into()], ..metric("") };
        let error = numbers(&missing, Path::new("o"), Path::new("l"), 1).unwrap_err();
        assert!(error.to_string().contains("boardproof-no-such"), "{error}");
    }
}
