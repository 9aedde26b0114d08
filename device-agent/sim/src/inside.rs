//! What a simulated firmware has inside: a network, and the runner as a process of its own that is one.

use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Longest description that is read; those of real models have a few hundred bytes.
const DESCRIPTION_MAX: u64 = 1 << 20;

/// A model with its weights, as a firmware has it.
pub trait Network {
    /// What it is like.
    fn model(&self) -> &InsideModel;
    /// Adds the bytes of every output to `answer`, and tells how long that took.
    ///
    /// # Errors
    /// There is no answer.
    fn infer(&mut self, sample: &[u8], answer: &mut Vec<u8>) -> Result<Duration, InsideError>;
}

/// What a model is like.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct InsideModel {
    /// Inputs in the model's order.
    pub inputs: Vec<Edge>,
    /// Outputs in the model's order.
    pub outputs: Vec<Edge>,
    /// Multiply-accumulate steps of one inference.
    pub macs: u64,
    /// Number of operators.
    pub operators: u32,
    /// Bytes that its tensors take.
    pub arena_bytes: u64,
}

impl InsideModel {
    /// Bytes of a sample: those of every input, one behind the other.
    pub fn sample_bytes(&self) -> usize {
        self.inputs.iter().map(|edge| edge.bytes).sum()
    }

    /// Bytes of an answer: those of every output, one behind the other.
    pub fn answer_bytes(&self) -> usize {
        self.outputs.iter().map(|edge| edge.bytes).sum()
    }
}

/// A tensor at the edge of a model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Edge {
    /// Its name.
    pub name: String,
    /// Element type: `I8` or `F32`.
    pub dtype: String,
    /// Shape of one sample.
    pub dims: Vec<u32>,
    /// What one step of an 8-bit value is worth.
    pub scale: f32,
    /// Value of the number 0.
    pub zero_point: i32,
    /// Bytes of one sample.
    pub bytes: usize,
}

impl Edge {
    /// Element `index` as a number; not a number where there is none.
    pub fn number(&self, bytes: &[u8], index: usize) -> f32 {
        match self.dtype.as_str() {
            "F32" => bytes.as_chunks().0.get(index).map_or(f32::NAN, |number| f32::from_le_bytes(*number)),
            // As the firmware does it: counted from the zero point, then scaled.
            _ => {
                bytes.get(index).map_or(f32::NAN, |byte| (i32::from(*byte as i8) - self.zero_point) as f32 * self.scale)
            }
        }
    }

    /// Elements of one sample.
    pub fn elements(&self) -> usize {
        self.bytes / if self.dtype == "F32" { 4 } else { 1 }
    }
}

/// A network that is not there or no longer.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The runner cannot be started.
    #[error("could not start {program}")]
    Start {
        /// The runner.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The runner ended instead of answering.
    #[error("the runner ended ({status}): {words}")]
    Ended {
        /// How.
        status: String,
        /// What it said last.
        words: String,
    },
    /// The runner says something that is no description of a model.
    #[error("could not understand what the runner says of the model")]
    Description(#[source] serde_json::Error),
    /// The pipes to it do not work.
    #[error("could not reach the runner")]
    Pipe(#[source] io::Error),
}

/// The runner with a model inside.
#[derive(Debug)]
pub struct InsideProcess {
    child: Child,
    samples: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    model: InsideModel,
}

impl InsideProcess {
    /// Starts the runner and waits for it to say what the model is like.
    ///
    /// # Errors
    /// A program that cannot be started, or a model that it refuses, in its own words.
    pub fn start(runner: &Path, model: &Path) -> Result<Self, InsideError> {
        let mut child = Command::new(runner)
            .arg("--inside")
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| InsideError::Start { program: runner.display().to_string(), source })?;
        let samples = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = Vec::new();
        let read = (&mut answers).take(DESCRIPTION_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(1..) if line.ends_with(b"\n") => {}
            Ok(_) => return Err(ended(&mut child)),
            Err(error) => return Err(InsideError::Pipe(error)),
        }
        match serde_json::from_slice(&line) {
            Ok(model) => Ok(Self { child, samples, answers, model }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(InsideError::Description(error))
            }
        }
    }
}

/// How a runner ended that says nothing any more.
fn ended(child: &mut Child) -> InsideError {
    // Its last words come to an end when it does.
    let mut words = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.read_to_string(&mut words);
    }
    match child.wait() {
        Ok(status) => {
            let words = match words.trim() {
                "" => "it said nothing",
                words => words,
            };
            InsideError::Ended { status: status.to_string(), words: words.to_owned() }
        }
        Err(error) => InsideError::Pipe(error),
    }
}

impl Network for InsideProcess {
    fn model(&self) -> &InsideModel {
        &self.model
    }

    fn infer(&mut self, sample: &[u8], answer: &mut Vec<u8>) -> Result<Duration, InsideError> {
        let mut head = [0; 8];
        let begin = answer.len();
        answer.resize(begin + self.model.answer_bytes(), 0);
        let samples = self.samples.as_mut().expect("it is closed only by the end");
        let done = samples
            .write_all(sample)
            .and_then(|()| samples.flush())
            .and_then(|()| self.answers.read_exact(&mut head))
            .and_then(|()| self.answers.read_exact(&mut answer[begin..]));
        match done {
            Ok(()) => Ok(Duration::from_nanos(u64::from_le_bytes(head))),
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => {
                self.samples = None;
                Err(ended(&mut self.child))
            }
            Err(error) => Err(InsideError::Pipe(error)),
        }
    }
}

impl Drop for InsideProcess {
    fn drop(&mut self) {
        drop(self.samples.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A program in the place of the runner.
    fn start(script: &str) -> Result<InsideProcess, InsideError> {
        let name = format!("boardproof-inside-{}-{}", std::process::id(), script.len());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        let started = InsideProcess::start(&file, Path::new("model.onnx"));
        fs::remove_file(file).unwrap();
        started
    }

    const EDGE: &str = r#"{"name": "x", "dtype": "I8", "dims": [2], "scale": 0.5, "zero_point": 1, "bytes": 2}"#;

    #[test]
    fn a_runner_that_refuses_or_dies_is_told_in_its_own_words() {
        let refused = start("echo \"no such operator in $2\" >&2; exit 70").unwrap_err();
        assert_eq!(refused.to_string(), "the runner ended (exit status: 70): no such operator in model.onnx");
        assert!(matches!(start("echo ready; cat"), Err(InsideError::Description(_))));
        let model = format!(
            "{{\"inputs\": [{EDGE}], \"outputs\": [{EDGE}], \"macs\": 4, \"operators\": 1, \"arena_bytes\": 8}}"
        );
        let script = format!(
            "echo '{model}'; head -c 2 >/dev/null; printf '\\001\\000\\000\\000\\000\\000\\000\\000\\003\\377'; echo gone >&2"
        );
        let mut network = start(&script).unwrap();
        let mut answer = Vec::new();
        assert_eq!(network.infer(&[1, 2], &mut answer).unwrap(), Duration::from_nanos(1));
        let output = &network.model().outputs[0];
        assert_eq!([output.number(&answer, 0), output.number(&answer, 1)], [1.0, -1.0]);
        assert!(output.number(&answer, 2).is_nan());
        let gone = network.infer(&[1, 2], &mut answer).unwrap_err();
        assert_eq!(gone.to_string(), "the runner ended (exit status: 0): gone");
    }
}
