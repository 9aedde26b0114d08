//! An engine in C behind the agent's trait: an example to copy.
//!
//! The C side is `c/engine.h`. What is unsafe about C is here, in one place: a model's memory stays where it is for `'m`, the arena is the same
//! at every call, and C is believed about nothing that this can check: tensors outside of the arena are empty.
#![cfg_attr(not(test), no_std)]

use boardproof_firmware_common::{EDGE_RANK_MAX, Edge, Engine, Failed, Loaded, OperatorFacts, Reason, Unfit};
use boardproof_protocol::{Dtype, Stage};
use core::ffi::{CStr, c_char};
use core::marker::PhantomData;

#[repr(C)]
#[derive(Debug)]
struct EngineModel {
    bytes: *const u8,
    length: u32,
    arena_bytes: u32,
    inputs: u32,
    outputs: u32,
    own: [u32; 4],
}

#[repr(C)]
struct EngineTensor {
    name: *const c_char,
    dtype: u32,
    rank: u32,
    dims: [u32; 4],
    offset: u32,
    bytes: u32,
    scale: f32,
    zero_point: i32,
}

const OK: i32 = 0;
const NO_ROOM: i32 = 2;
const F32: u32 = 1;

unsafe extern "C" {
    fn engine_load(bytes: *const u8, length: u32, arena: *mut u8, room: u32, model: *mut EngineModel) -> i32;
    fn engine_tensor(model: *const EngineModel, output: i32, index: u32, tensor: *mut EngineTensor);
    fn engine_run(model: *const EngineModel, arena: *mut u8) -> i32;
    fn engine_reason(code: i32) -> *const c_char;
}

/// The engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnEngine;

/// A model that C has taken.
#[derive(Debug)]
pub struct OwnModel<'m> {
    model: EngineModel,
    /// Sum of its bytes, to see later whether they are still the same.
    sum: u32,
    bytes: PhantomData<&'m [u8]>,
}

fn reason(code: i32) -> Reason {
    // SAFETY: C returns a constant text.
    let words = unsafe { CStr::from_ptr(engine_reason(code)) };
    Reason::of(format_args!("{}", words.to_str().unwrap_or("no reason in UTF-8")))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(1, |sum: u32, byte| sum.rotate_left(5) ^ u32::from(*byte))
}

impl Engine for OwnEngine {
    const NAME: &'static str = "own";
    const TITLE: &'static str = "own 1";
    type Loaded<'m> = OwnModel<'m>;

    fn load<'m>(&mut self, bytes: &'m [u8], arena: &mut [u8]) -> Result<OwnModel<'m>, Unfit> {
        let mut model =
            EngineModel { bytes: core::ptr::null(), length: 0, arena_bytes: 0, inputs: 0, outputs: 0, own: [0; 4] };
        let (length, room) = (bytes.len() as u32, arena.len() as u32);
        // SAFETY: both are as long as is said.
        match unsafe { engine_load(bytes.as_ptr(), length, arena.as_mut_ptr(), room, &mut model) } {
            OK => Ok(OwnModel { model, sum: sum(bytes), bytes: PhantomData }),
            NO_ROOM => Err(Unfit::NoRoom { needed: model.arena_bytes as usize }),
            code => Err(Unfit::Refused { stage: Stage::Parse, reason: reason(code) }),
        }
    }
}

impl OwnModel<'_> {
    fn edge(&self, output: bool, index: usize) -> Edge<'_> {
        let (name, scale) = (c"".as_ptr(), 1.0);
        let mut tensor =
            EngineTensor { name, dtype: 0, rank: 0, dims: [1; 4], offset: 0, bytes: 0, scale, zero_point: 0 };
        // SAFETY: the model is one that C has made, and the tensor is written and not kept.
        unsafe { engine_tensor(&self.model, i32::from(output), index as u32, &mut tensor) };
        // SAFETY: C says that the name lives as long as the program or the model.
        let name = unsafe { CStr::from_ptr(tensor.name) }.to_str().unwrap_or_default();
        let dtype = if tensor.dtype == F32 { Dtype::F32 } else { Dtype::I8 };
        let from = tensor.offset as usize;
        let inside = from.checked_add(tensor.bytes as usize).filter(|end| *end <= self.arena_bytes());
        let (dims, rank) = (tensor.dims, (tensor.rank as usize).min(EDGE_RANK_MAX));
        let place = inside.map_or(0..0, |end| from..end);
        Edge { name, dtype, dims, rank, place, scale: tensor.scale, zero_point: tensor.zero_point }
    }
}

impl Loaded for OwnModel<'_> {
    fn arena_bytes(&self) -> usize {
        self.model.arena_bytes as usize
    }

    fn inputs(&self) -> usize {
        self.model.inputs as usize
    }

    fn input(&self, index: usize) -> Edge<'_> {
        self.edge(false, index)
    }

    fn outputs(&self) -> usize {
        self.model.outputs as usize
    }

    fn output(&self, index: usize) -> Edge<'_> {
        self.edge(true, index)
    }

    fn operator(&self, _: usize) -> Option<OperatorFacts<'_>> {
        None
    }

    fn run(&mut self, arena: &mut [u8]) -> Result<(), Failed> {
        if arena.len() < self.arena_bytes() {
            return Err(Failed { reason: Reason::of(format_args!("the arena is too small")) });
        }
        // SAFETY: as long as the engine asked for; the model's bytes are borrowed as long as this lives.
        match unsafe { engine_run(&self.model, arena.as_mut_ptr()) } {
            OK => Ok(()),
            code => Err(Failed { reason: reason(code) }),
        }
    }

    fn is_unharmed(&self) -> bool {
        // SAFETY: the bytes that were loaded, which are borrowed as long as this lives.
        let bytes = unsafe { core::slice::from_raw_parts(self.model.bytes, self.model.length as usize) };
        sum(bytes) == self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(elements: u16, factor: i8, addend: i8) -> Vec<u8> {
        let [low, high] = elements.to_le_bytes();
        vec![b'A', b'F', b'F', b'1', low, high, factor as u8, addend as u8]
    }

    #[test]
    fn c_answers() {
        let (bytes, mut arena) = (model(4, 24, -3), [0; 16]);
        let mut loaded = OwnEngine.load(&bytes, &mut arena).unwrap();
        assert_eq!((loaded.arena_bytes(), loaded.inputs(), loaded.outputs(), loaded.sample_bytes()), (8, 1, 1, 4));
        let (input, output) = (loaded.input(0), loaded.output(0));
        assert_eq!(
            (input.name, output.name, output.dtype, &output.dims[..output.rank]),
            ("x", "y", Dtype::I8, &[4][..])
        );
        let (input, output) = (input.place, output.place);
        arena[input].copy_from_slice(&[10_i8, -10, 120, 0].map(|value| value as u8));
        loaded.run(&mut arena).unwrap();
        assert_eq!(arena[output].iter().map(|byte| *byte as i8).collect::<Vec<_>>(), [12, -18, 127, -3]);
        assert!(loaded.is_unharmed());
    }

    #[test]
    fn what_c_refuses_is_told_in_its_words() {
        let mut arena = [0; 16];
        let refused = |bytes: &[u8], arena: &mut [u8]| match OwnEngine.load(bytes, arena) {
            Err(Unfit::Refused { reason, .. }) => reason.as_str().to_owned(),
            Err(Unfit::NoRoom { needed }) => format!("needs {needed}"),
            Ok(_) => String::new(),
        };
        assert_eq!(refused(b"none", &mut arena), "it does not begin with AFF1, or is not 8 bytes long");
        assert_eq!(refused(&model(9, 1, 0), &mut arena), "needs 18");
        let bytes = model(4, 0, 0);
        let mut loaded = OwnEngine.load(&bytes, &mut arena).unwrap();
        assert_eq!(loaded.run(&mut arena).unwrap_err().reason.as_str(), "its factor is 0");
        assert_eq!(loaded.run(&mut []).unwrap_err().reason.as_str(), "the arena is too small");
    }
}
