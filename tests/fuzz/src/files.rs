//! Files that are looked into before anything is shipped or run: evalsets and the heads of programs.

use crate::Seed;
use crate::bytes::{Bytes, put_piece};
use crate::material;
use boardproof_agent::Elf;
use boardproof_lab::store::judging_part;
use boardproof_plan::evalset::check_evalset;
use boardproof_record::Digest;
use boardproof_record::plan::{Model, Task};
use safetensors::{Dtype, SafeTensors};

/// Task, samples and values per sample, then the file. The digest is made to fit: everything behind it is what is looked at.
pub fn evalset(input: &[u8]) -> bool {
    let mut script = Bytes(input);
    let mut model = material::manifest().model;
    model.task = match script.u8() % 4 {
        0 => model.task,
        1 => Task::Binary { positive: "yes".into() },
        2 => Task::Anomaly,
        _ => Task::Regression,
    };
    model.evalset.samples = u64::from(script.u8());
    model.inputs[0].shape = vec![u64::from(script.u8())];
    let file = script.0;
    model.evalset.digest = Digest::of(file);
    match check_evalset(&model, file) {
        Ok(()) => {
            holds(&model, file);
            let part = judging_part(file, false, &model.evalset.inputs).expect("a file that was checked can be cut");
            let part = SafeTensors::deserialize(&part).expect("the part is a file, too");
            assert!(part.tensor("inputs").is_err() && part.tensor("labels").is_ok());
            true
        }
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
            assert!(causes.map(ToString::to_string).all(|text| !text.is_empty()));
            false
        }
    }
}

/// What the checked file promises, asked once more by other means.
fn holds(model: &Model, file: &[u8]) {
    let file = SafeTensors::deserialize(file).expect("it was accepted");
    let samples = model.evalset.samples as usize;
    let inputs = file.tensor("inputs").expect("it was accepted");
    assert_eq!(inputs.shape(), [samples, model.inputs[0].shape[0] as usize]);
    if inputs.dtype() == Dtype::F32 {
        let values = inputs.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        assert!(values.clone().all(f32::is_finite) && values.count() == samples * inputs.shape()[1]);
    }
    let column = |name: &str| {
        let view = file.tensor(name).expect("it was accepted");
        view.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect::<Vec<_>>()
    };
    let (labels, mut ids) = (column("labels"), column("ids"));
    let classes = match &model.task {
        Task::Classification { classes } => classes.len() as i64,
        Task::Binary { .. } | Task::Anomaly => 2,
        Task::Regression => i64::MAX,
    };
    assert_eq!(labels.len(), samples);
    assert!(model.task == Task::Regression || labels.iter().all(|label| (0..classes).contains(label)));
    ids.sort_unstable();
    assert!(ids.is_sorted_by(|a, b| a < b) && ids.len() == samples);
    let slice = file.tensor("slice.half").expect("it was accepted");
    assert!(slice.data().len() == samples && slice.data().iter().all(|code| *code < 2));
}

pub fn evalset_seeds() -> Vec<Seed> {
    let file = material::evalset();
    let head = |task| [&[task, material::SAMPLES as u8, 2], &file[..]].concat();
    vec![("classification".into(), head(0)), ("regression".into(), head(3))]
}

/// A reader's pieces, then the bytes of a file.
pub fn elf(input: &[u8]) -> bool {
    let found = Elf::read(input);
    assert_eq!(found, Elf::read(Dripping(input)), "byte by byte");
    let right = input.len() >= 20 && input.starts_with(b"\x7fELF");
    assert_eq!(found.is_some(), right);
    if let Some(found) = found {
        assert_eq!((found.class, found.machine), (input[4], [input[18], input[19]]));
    }
    right
}

/// Gives one byte at a time.
struct Dripping<'a>(&'a [u8]);

impl std::io::Read for Dripping<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let Some((byte, rest)) = self.0.split_first() else { return Ok(0) };
        let Some(first) = out.first_mut() else { return Ok(0) };
        *first = *byte;
        self.0 = rest;
        Ok(1)
    }
}

pub fn elf_seeds() -> Vec<Seed> {
    let head = |class: u8, machine: [u8; 2]| {
        [b"\x7fELF", &[class, 1, 1, 0][..], &[0; 8], &[2, 0], &machine, &[1, 0, 0, 0]].concat()
    };
    let mut piece = Vec::new();
    put_piece(&mut piece, b"no program");
    vec![("aarch64".into(), head(2, [183, 0])), ("arm".into(), head(1, [40, 0])), ("riscv64".into(), head(2, [243, 0]))]
}
