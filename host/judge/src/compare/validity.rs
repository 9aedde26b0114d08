//! Why a metric has no value. Owns the two kinds of absence; decides nothing about what they cost.

use super::tensor::DType;
use thiserror::Error;

/// A metric's value, or the reason why there is none. A gate treats the reason as a failure unless its policy says otherwise.
pub type Measured = Result<f64, Invalid>;

/// Two operands were compared, but this number would be a lie.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Invalid {
    /// Reference and candidate are not the same kind of number at some elements (NaN, an infinity, or finite on one side only).
    #[error("{mismatches} elements are not finite in the same way in reference and candidate")]
    NonFiniteMismatch {
        /// Elements concerned.
        mismatches: u64,
    },
    /// A vendor's formula met a NaN or an infinity, even one that both operands share.
    #[error("{elements} elements are not finite in at least one operand")]
    NonFinite {
        /// Elements concerned.
        elements: u64,
    },
    /// No element is finite in both operands, or there is none at all.
    #[error("no pair of finite elements to compare")]
    NoPairs,
    /// The reference is zero everywhere, so that nothing can be relative to it.
    #[error("reference is zero, a relative figure is not defined")]
    ZeroReference,
    /// A square or a sum left the range of f64.
    #[error("values are too large or too small for f64 accumulation")]
    Range,
    /// A candidate vector is not a probability vector where the reference's is.
    #[error("{vectors} candidate vectors are not probabilities where the reference's are")]
    NotProbabilities {
        /// Vectors concerned.
        vectors: u64,
    },
    /// The metric has no meaning for this output; a rule that asks for it is a mistake in the policy.
    #[error("not applicable: {0}")]
    NotApplicable(&'static str),
}

/// Two sets of outputs that cannot be compared at all. Never a pass: the cell has no drift.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Incomparable {
    /// The candidate lacks an output of the reference.
    #[error("candidate lacks output {name:?} (it has: {present})")]
    MissingOutput {
        /// Output of the reference.
        name: String,
        /// What the candidate has.
        present: String,
    },
    /// The candidate has an output that the reference lacks.
    #[error("candidate has output {name:?} which the reference lacks (it has: {present})")]
    ExtraOutput {
        /// Output of the candidate.
        name: String,
        /// What the reference has.
        present: String,
    },
    /// One operand names an output twice.
    #[error("output {name:?} is named twice")]
    RepeatedOutput {
        /// The name.
        name: String,
    },
    /// Shapes differ.
    #[error("shapes differ: reference {reference:?}, candidate {candidate:?}")]
    Shape {
        /// Shape of the reference.
        reference: Vec<usize>,
        /// Shape of the candidate.
        candidate: Vec<usize>,
    },
    /// Element types cannot be compared without a quantization that says what the integers mean.
    #[error(
        "element types cannot be compared: reference {reference}, candidate {candidate} (output_quantization in model.toml says what \
         integers stand for)"
    )]
    DType {
        /// Type of the reference.
        reference: DType,
        /// Type of the candidate.
        candidate: DType,
    },
    /// A chunk does not hold whole samples.
    #[error("chunk of {elements} elements does not hold whole samples of {sample_elements}")]
    PartialSample {
        /// Elements in the chunk.
        elements: usize,
        /// Elements of one sample.
        sample_elements: usize,
    },
    /// Two accumulators that did not measure the same thing cannot be merged.
    #[error("accumulators differ in layout, element types or options")]
    Merge,
}
