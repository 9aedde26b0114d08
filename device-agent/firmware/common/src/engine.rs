//! What the agent asks of an inference engine. Ours is [`crate::Micro`]; others take its place by these two traits.

use crate::Text;
use boardproof_micro::SKETCH_BYTES;
use boardproof_protocol::{Dtype, Stage};
use core::ops::Range;

/// Largest rank of a tensor at a model's edge.
pub const EDGE_RANK_MAX: usize = 4;

/// An engine's words; what is longer is cut.
pub type Reason = Text<104>;

/// A tensor that goes in or comes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge<'m> {
    /// Its name; empty when the model keeps none.
    pub name: &'m str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Dimensions of one sample, outermost first; those past the rank do not count.
    pub dims: [u32; EDGE_RANK_MAX],
    /// How many of them count.
    pub rank: usize,
    /// Where its bytes lie in the arena.
    pub place: Range<usize>,
    /// What one step of an 8-bit value is worth; 1 for numbers.
    pub scale: f32,
    /// The 8-bit value of the number 0.
    pub zero_point: i32,
}

/// An operator, for the list that the host gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorFacts<'m> {
    /// Name of its node; empty when the model keeps none.
    pub name: &'m str,
    /// What it is.
    pub op: &'m str,
    /// Types of elements (`i8,i8->i8`).
    pub dtypes: &'m str,
    /// Kernel that works.
    pub kernel: &'m str,
}

/// Why an engine does not take a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is no model, or none that this engine can run: a statement about the model.
    Refused {
        /// Where the engine gave up.
        stage: Stage,
        /// The engine's words.
        reason: Reason,
    },
    /// The arena is too small; 0 where the engine cannot tell what it needs.
    NoRoom {
        /// Bytes that it needs.
        needed: usize,
    },
}

/// An inference that did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// The engine's words.
    pub reason: Reason,
}

/// An inference engine. It has no memory of its own but what `self` is; tensors and scratch live in the arena that each call is given,
/// which is the same memory every time.
pub trait Engine {
    /// Its name, by which a host asks for it.
    const NAME: &'static str;
    /// Name and version, separated by a space.
    const TITLE: &'static str;
    /// A model that it has taken.
    type Loaded<'m>: Loaded;

    /// Takes a model: looks at all of it once. `model` does not change as long as what is returned lives; the arena may be written.
    ///
    /// # Errors
    /// [`Unfit`] when it cannot be run here.
    fn load<'m>(&mut self, model: &'m [u8], arena: &mut [u8]) -> Result<Self::Loaded<'m>, Unfit>;
}

/// A model that an engine has taken.
pub trait Loaded {
    /// Bytes of the arena that it needs, from its start.
    fn arena_bytes(&self) -> usize;
    /// Inputs.
    fn inputs(&self) -> usize;
    /// An input; `index` is below [`Self::inputs`].
    fn input(&self, index: usize) -> Edge<'_>;
    /// Outputs.
    fn outputs(&self) -> usize;
    /// An output; `index` is below [`Self::outputs`].
    fn output(&self, index: usize) -> Edge<'_>;
    /// An operator in order of execution; `None` past the last one, and for an engine that does not tell.
    fn operator(&self, index: usize) -> Option<OperatorFacts<'_>>;
    /// One inference: inputs lie in the arena before, outputs after.
    ///
    /// # Errors
    /// [`Failed`] when the engine gives up.
    fn run(&mut self, arena: &mut [u8]) -> Result<(), Failed>;
    /// Layers that it tells sketches of, in order of execution; none for an engine that shows nothing of its inside.
    fn layers(&self) -> usize {
        0
    }
    /// Runs one of these layers, which must follow the one before it in the same arena, and sketches what it made under a seed
    /// (`boardproof_micro::sketch` says how). Never in an inference that is timed.
    ///
    /// # Errors
    /// [`Failed`] when the engine gives up.
    fn run_layer(&mut self, _arena: &mut [u8], _layer: usize, _seed: u32) -> Result<[u8; SKETCH_BYTES], Failed> {
        Err(Failed { reason: Text::of(format_args!("this engine shows no layers")) })
    }
    /// Is the model's memory still what was loaded? Asked before answers are handed over for good.
    fn is_unharmed(&self) -> bool;
    /// Bytes of one sample: all inputs, one behind the other.
    fn sample_bytes(&self) -> usize {
        (0..self.inputs()).map(|index| self.input(index).place.len()).sum()
    }
}
