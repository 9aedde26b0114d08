//! Which outputs of a model state probabilities, and what came of them: for the rules on calibration and for the reports alike.

use crate::compare::task::{Claims, Rows, Scale};
use crate::evidence::{Tensor, Truth};
use boardproof_record::plan::{Model, Task};

/// What a variant and its reference claimed of the same samples.
pub struct Claimed {
    /// The variant.
    pub own: Claims,
    /// The reference, where there is one to look at.
    pub reference: Option<Claims>,
    /// What the rows of the output are; `None` for a scorer.
    pub scale: Option<Scale>,
}

/// Why there are no claims.
pub enum NoClaims {
    /// The task states no probability.
    Task,
    /// The reference's outputs are none, or cannot be read: nothing is said about the variant.
    Reference(String),
    /// The variant's outputs are none where the reference's are.
    Own(String),
}

/// What output 0 claims. What it is, the *reference's* rows say, where there are any: probabilities when all of them look so, else logits.
/// A scorer's scores are probabilities or nothing.
pub fn claimed(
    model: &Model,
    truth: &Truth<'_>,
    own: &[Tensor<'_>],
    reference: Option<&[Tensor<'_>]>,
) -> Result<Claimed, NoClaims> {
    let of = |outputs: &[Tensor<'_>]| outputs.first().map(|first| (first.to_f64(), first.row_elements()));
    let own = of(own).ok_or_else(|| NoClaims::Own("there is no output".into()))?;
    let reference = reference.and_then(of);
    let first = reference.as_ref().unwrap_or(&own);
    let scale = match &model.task {
        Task::Classification { .. } => Some(Scale::of(rows(first).map_err(NoClaims::Reference)?)),
        Task::Binary { .. } => None,
        Task::Anomaly | Task::Regression => return Err(NoClaims::Task),
    };
    let claims = |outputs: &(Vec<f64>, usize)| match scale {
        Some(scale) => Claims::of_classes(rows(outputs)?, &truth.labels, scale).map_err(|why| why.to_string()),
        None => scores(outputs, truth),
    };
    let whose = |what: &str, why: String| format!("{what} cannot be held against what came true: {why}");
    let reference = reference.as_ref().map(claims).transpose();
    let reference = reference.map_err(|why| NoClaims::Reference(whose("the reference's answers", why)))?;
    let own = claims(&own).map_err(|why| NoClaims::Own(whose("the answers", why)))?;
    Ok(Claimed { own, reference, scale })
}

fn rows(outputs: &(Vec<f64>, usize)) -> Result<Rows<'_>, String> {
    Rows::new(&outputs.0, outputs.1).map_err(|why| why.to_string())
}

/// Element 0 of each row is the score.
fn scores((values, width): &(Vec<f64>, usize), truth: &Truth<'_>) -> Result<Claims, String> {
    let scores: Vec<f64> = values.chunks(*width).map(|row| row[0]).collect();
    let positive: Vec<bool> = truth.labels.iter().map(|label| *label == 1).collect();
    Claims::of_scores(&scores, &positive).map_err(|why| why.to_string())
}
