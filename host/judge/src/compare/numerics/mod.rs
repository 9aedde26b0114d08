//! Element by element: a candidate's outputs against the reference's, in one streaming pass of constant memory.
//!
//! Owns the pairing of outputs by name, the choice of what is comparable, and the accumulation. Refuses to skip: an output that is
//! missing, extra, renamed or of another shape or type is an [`Incomparable`], and an element that is not finite is counted by kind.

mod accumulate;
mod block;
mod histogram;
mod lanes;
mod logarithm;
mod metric;
mod summary;
mod vectors;

pub use accumulate::{Accumulator, Layout};
pub use histogram::{ErrorHistogram, LsbHistogram, Saturation};
pub use metric::{Direction, Metric};
pub use summary::{At, NonFiniteCounts, NonFiniteRule, Summary};
pub(crate) use vectors::argmax;
pub(in crate::compare) use vectors::rank;

use super::tensor::{DType, TensorView};
use super::validity::Incomparable;

/// Settings of a comparison. They are part of what a number means, so accumulators with different ones do not merge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Absolute part of the elementwise tolerance, in the unit of the output.
    pub atol: f64,
    /// Relative part, multiplied with `|reference|`.
    pub rtol: f64,
    /// `k` of the top-k agreement.
    pub top_k: usize,
}

impl Default for Options {
    /// `atol` and `rtol` 1e-5 are what the peers' comparers start from; `k` is 5 as in image classification.
    fn default() -> Self {
        Self { atol: 1e-5, rtol: 1e-5, top_k: 5 }
    }
}

/// Compares two whole tensors of equal shape `[samples, ...]`.
///
/// Errors if the shapes differ or the element types cannot be compared: two float types of any width can (both widen to f64 without
/// loss), everything else only with itself.
pub fn compare(reference: &TensorView, candidate: &TensorView, options: Options) -> Result<Summary, Incomparable> {
    let mut accumulator = Accumulator::for_tensors(reference, candidate, options)?;
    accumulator.push(reference, candidate)?;
    Ok(accumulator.summary())
}

/// Whether elements of these types have a common meaning without a quantization.
pub(super) fn check_dtypes(reference: DType, candidate: DType) -> Result<(), Incomparable> {
    if reference == candidate || (reference.is_float() && candidate.is_float()) {
        Ok(())
    } else {
        Err(Incomparable::DType { reference, candidate })
    }
}

/// One output of both operands: `(name, reference, candidate)`.
pub type OutputPair<'n, 'a> = (&'n str, TensorView<'a>, TensorView<'a>);

/// Pairs the outputs of two models by name, in the reference's order.
///
/// Both must name exactly the same outputs: a missing, extra, renamed or repeated one is an error, because a comparison of the rest would
/// look like a pass of the whole.
pub fn pair_outputs<'n, 'a>(
    reference: &[(&'n str, TensorView<'a>)],
    candidate: &[(&'n str, TensorView<'a>)],
) -> Result<Vec<OutputPair<'n, 'a>>, Incomparable> {
    for operand in [reference, candidate] {
        let repeated =
            |(i, (name, _)): &(usize, &(&str, TensorView))| operand[..*i].iter().any(|(earlier, _)| earlier == name);
        if let Some((_, (name, _))) = operand.iter().enumerate().find(repeated) {
            return Err(Incomparable::RepeatedOutput { name: (*name).to_owned() });
        }
    }
    if let Some((name, _)) = candidate.iter().find(|(name, _)| find(reference, name).is_none()) {
        return Err(Incomparable::ExtraOutput { name: (*name).to_owned(), present: names(reference) });
    }
    reference
        .iter()
        .map(|(name, view)| match find(candidate, name) {
            Some(other) => Ok((*name, *view, other)),
            None => Err(Incomparable::MissingOutput { name: (*name).to_owned(), present: names(candidate) }),
        })
        .collect()
}

fn find<'a>(outputs: &[(&str, TensorView<'a>)], name: &str) -> Option<TensorView<'a>> {
    outputs.iter().find(|(other, _)| *other == name).map(|(_, view)| *view)
}

fn names(outputs: &[(&str, TensorView)]) -> String {
    let names: Vec<&str> = outputs.iter().map(|(name, _)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
