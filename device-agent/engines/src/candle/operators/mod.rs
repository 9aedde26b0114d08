//! The operators: what a node of the model is on candle tensors.
//!
//! An operator is built once, when the model is loaded: there its attributes are read, and what depends on constants alone is computed.
//! What is left is a function from values to values. What an operator cannot do it says when it is built, in words.

mod elementwise;
mod pools;
mod products;
mod quantized;
mod reductions;
mod shapes;

use candle_core::bail;
use smallvec::{SmallVec, smallvec};

pub(super) use products::multiply_accumulates;

use super::source::Node;
use super::value::{Value, Width};

/// What a node does with its inputs when the plan runs.
pub(super) type Run = Box<dyn Fn(&Inputs<'_>) -> candle_core::Result<Made>>;

/// The outputs of one run. Nearly all nodes have one: a heap block for it would cost as much as a small operator.
pub(super) type Made = SmallVec<[Value; 1]>;

/// Makes an operator of a node.
pub(super) type Build = fn(&Known<'_>) -> Result<Run, String>;

/// The inputs of one run; absent where the model leaves an optional one out.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    /// What stands at each place of the plan.
    pub(super) places: &'a [Option<Value>],
    /// The places of this node's inputs.
    pub(super) at: &'a [Option<usize>],
}

impl<'a> Inputs<'a> {
    /// An input that must be there.
    fn get(&self, index: usize) -> candle_core::Result<&'a Value> {
        match self.optional(index) {
            Some(value) => Ok(value),
            None => bail!("expected an input {index}, got none"),
        }
    }

    fn optional(&self, index: usize) -> Option<&'a Value> {
        self.places[self.at.get(index).copied().flatten()?].as_ref()
    }

    /// All of them in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&'a Value>> {
        let places = self.places;
        self.at.iter().map(move |place| place.and_then(|place| places[place].as_ref()))
    }
}

/// What is known of a node before anything runs.
pub(super) struct Known<'a> {
    pub(super) node: &'a Node,
    /// Version of ONNX's own operators.
    pub(super) opset: i64,
    pub(super) width: Width,
    /// The inputs that are constants.
    pub(super) constants: Vec<Option<Value>>,
}

impl Known<'_> {
    fn constant(&self, index: usize) -> Option<&Value> {
        self.constants.get(index).and_then(Option::as_ref)
    }

    /// Whether the node has this input, constant or not.
    fn has(&self, index: usize) -> bool {
        self.node.inputs.get(index).is_some_and(|name| !name.is_empty())
    }

    /// Fails when somebody wants another output than the first.
    fn one_output(&self) -> Result<(), String> {
        match self.node.outputs.iter().skip(1).find(|name| !name.is_empty()) {
            Some(name) => Err(format!("only its first output is made here, not {name}")),
            None => Ok(()),
        }
    }

    /// A constant that decides the operator: an input that is not constant is refused.
    fn must(&self, index: usize, what: &str) -> Result<&Value, String> {
        self.constant(index).ok_or_else(|| format!("expected its {what} to be constant, and it is not"))
    }

    /// Numbers of a constant input.
    fn numbers(&self, index: usize, what: &str) -> Result<Vec<f64>, String> {
        self.must(index, what)?.numbers().map_err(|error| error.to_string())
    }

    /// Integers of a constant input, none where the input is left out.
    fn integers(&self, index: usize, what: &str) -> Result<Option<Vec<i64>>, String> {
        if !self.has(index) {
            return Ok(None);
        }
        Ok(Some(self.numbers(index, what)?.into_iter().map(|number| number as i64).collect()))
    }

    /// Integers that older versions hold in an attribute and newer ones in an input.
    fn attribute_or_input(&self, name: &str, index: usize) -> Result<Option<Vec<i64>>, String> {
        match self.node.ints(name) {
            Some(list) => Ok(Some(list.to_vec())),
            None => self.integers(index, name),
        }
    }
}

/// The axis that a possibly negative number means.
fn axis(number: i64, rank: usize) -> candle_core::Result<usize> {
    let found = if number < 0 { number + rank as i64 } else { number };
    match usize::try_from(found) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => bail!("expected an axis from -{rank} to {rank} exclusive, got {number}"),
    }
}

/// The operator with this name; none when there is none here.
pub(super) fn find(operator: &str) -> Option<Build> {
    let families = [
        elementwise::find as fn(&str) -> Option<Build>,
        products::find,
        pools::find,
        reductions::find,
        shapes::find,
        quantized::find,
    ];
    families.into_iter().find_map(|family| family(operator))
}

/// A single output.
fn one(value: Value) -> candle_core::Result<Made> {
    Ok(smallvec![value])
}
