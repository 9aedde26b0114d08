//! A second opinion of the reference: the float model by another engine on the same machine. Two engines that share no code do not share
//! a bug, so what both answer is the model's.

use crate::compare::numerics::{self, Metric, NonFiniteRule, Options};
use crate::evidence::{Evidence, EvidenceError, Tensor};
use boardproof_record::plan::Cell;

/// Two right evaluations of a float model differ by the order of their sums: 2^-24 a step, about 1e-6 of the signal over a deep net. Two
/// decades of room make 1e-4, which is 80 dB; a wrong operator is below 40.
const AGREE_DB: f64 = 80.0;

/// What a second engine says.
#[derive(Debug, Clone, PartialEq)]
pub enum Opinion {
    /// Nobody else was asked.
    None,
    /// The same, in words.
    Same(String),
    /// Not the same: nothing may be compared with either.
    Another(String),
}

/// Holds the reference against the float model by the cell's own engine on the host.
pub fn opinion(evidence: Evidence<'_>, cell: &Cell) -> Result<Opinion, EvidenceError> {
    let (Some(reference), Some(second)) = (evidence.reference(cell), evidence.second_opinion(cell)) else {
        return Ok(Opinion::None);
    };
    let (Some(first), Some(other)) = (evidence.outputs(&reference.id)?, evidence.outputs(&second.id)?) else {
        return Ok(Opinion::None);
    };
    let engines = format!("{} and {}", reference.engine, second.engine);
    Ok(match agreement(&first, &other) {
        Ok(db) if db >= AGREE_DB => Opinion::Same(format!("{engines} agree on the float model, {}", in_words(db))),
        Ok(db) => Opinion::Another(format!(
            "{engines} do not agree on the float model: its answers differ by {}, float rounding leaves {AGREE_DB} dB or more",
            in_words(db)
        )),
        Err(why) => Opinion::Another(format!("{engines} do not agree on the float model: {why}")),
    })
}

/// Signal-to-noise ratio in dB of the output that differs most; infinite when all are bit for bit the same.
fn agreement(first: &[Tensor<'_>], other: &[Tensor<'_>]) -> Result<f64, String> {
    let views = |outputs: &[Tensor<'_>]| outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
    if views(first) != views(other) {
        return Err(format!("one has the outputs {}, the other {}", views(first).join(", "), views(other).join(", ")));
    }
    let mut worst = f64::INFINITY;
    for (a, b) in first.iter().zip(other) {
        let found = numerics::compare(&a.view(), &b.view(), Options::default()).map_err(|why| why.to_string())?;
        let found = found.value_under(Metric::SqnrDb, NonFiniteRule::of(false));
        worst = worst.min(found.map_err(|why| format!("output '{}': {why}", a.name))?);
    }
    Ok(worst)
}

fn in_words(db: f64) -> String {
    if db.is_infinite() { "bit for bit".into() } else { format!("SQNR {db:.0} dB") }
}
