//! A model that is inside of something: a process that answers samples for as long as it is given them, for whatever plays a firmware in
//! front of it. Says first what the model is like; after that there are samples in and answers out, each of a length that was told.

use boardproof_engines::{Edge, Inside, Refusal, RunFailure};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A model that cannot be inside.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("could not compile {} for a microcontroller: {reason}", path.display())]
    Refused { path: PathBuf, reason: Box<Refusal> },
    #[error("could not describe the model")]
    Describe(#[source] serde_json::Error),
    #[error("could not read a sample")]
    Sample(#[source] io::Error),
    #[error("could not answer a sample")]
    Run(#[from] RunFailure),
    #[error("could not write an answer")]
    Write(#[source] io::Error),
}

/// What the model is like: one line of JSON.
#[derive(Serialize)]
struct Described<'a> {
    inputs: Vec<DescribedEdge<'a>>,
    outputs: Vec<DescribedEdge<'a>>,
    macs: u64,
    operators: usize,
    arena_bytes: usize,
}

#[derive(Serialize)]
struct DescribedEdge<'a> {
    name: &'a str,
    dtype: &'a str,
    dims: &'a [usize],
    scale: f32,
    zero_point: i32,
    bytes: usize,
}

impl<'a> From<&'a Edge> for DescribedEdge<'a> {
    fn from(edge: &'a Edge) -> Self {
        let Edge { name, dtype, dims, scale, zero_point, bytes } = edge;
        Self { name, dtype, dims, scale: *scale, zero_point: *zero_point, bytes: *bytes }
    }
}

/// Answers samples until there are no more: for each the nanoseconds of its inference, eight bytes with the lowest first, and the bytes
/// of every output.
pub fn run(path: &Path) -> Result<(), InsideError> {
    let onnx = std::fs::read(path).map_err(|source| InsideError::Read { path: path.into(), source })?;
    let mut model = Inside::compile(&onnx)
        .map_err(|reason| InsideError::Refused { path: path.into(), reason: Box::new(reason) })?;
    drop(onnx);
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = describe(&model).map_err(InsideError::Describe)?;
    line.push(b'\n');
    let mut write = |bytes: &[u8]| output.write_all(bytes).and_then(|()| output.flush()).map_err(InsideError::Write);
    write(&line)?;
    let mut sample = vec![0; model.sample_bytes()];
    let mut answer = Vec::with_capacity(8 + model.answer_bytes());
    while next(&mut input, &mut sample).map_err(InsideError::Sample)? {
        model.prepare(&sample)?;
        let start = Instant::now();
        let done = model.run();
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        done?;
        answer.clear();
        answer.extend(ns.to_le_bytes());
        model.answer(&mut answer);
        write(&answer)?;
    }
    Ok(())
}

fn describe(model: &Inside) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Described {
        inputs: model.inputs.iter().map(Into::into).collect(),
        outputs: model.outputs.iter().map(Into::into).collect(),
        macs: model.macs(),
        operators: model.operators(),
        arena_bytes: model.arena_bytes(),
    })
}

/// Reads a sample; false when there is none. A part of one is an error.
fn next(input: &mut impl Read, sample: &mut [u8]) -> io::Result<bool> {
    let Some((first, rest)) = sample.split_first_mut() else { return Ok(false) };
    loop {
        match input.read(std::slice::from_mut(first)) {
            Ok(0) => return Ok(false),
            Ok(_) => return input.read_exact(rest).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_whole_or_an_error_and_none_is_the_end() {
        let mut input: &[u8] = &[1, 2, 3, 4, 5, 6, 7];
        let mut sample = [0; 3];
        assert!(next(&mut input, &mut sample).unwrap() && sample == [1, 2, 3]);
        assert!(next(&mut input, &mut sample).unwrap() && sample == [4, 5, 6]);
        assert_eq!(next(&mut input, &mut sample).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(!next(&mut input, &mut sample).unwrap());
    }
}
