//! A second opinion of the reference: the float model by another engine on the same machine. Two engines that share no code do not share
//! a bug, so what both answer is the model's.

use crate::evidence::{Evidence, EvidenceError};
use crate::opinions::{Beside, ROUNDING_DB, side_by_side};
use boardproof_record::plan::Cell;
use boardproof_record::policy::Policy;

/// What a second engine says.
#[derive(Debug, Clone, PartialEq)]
pub enum Opinion {
    /// Nobody else was to be asked.
    None,
    /// Somebody else was asked and has no answers, in words.
    Absent(String),
    /// The same, in words.
    Same(String),
    /// Not the same: nothing may be compared with either.
    Another(String),
}

impl Opinion {
    /// To be told beside a reference that is trusted.
    pub fn in_words(&self) -> Option<&str> {
        match self {
            Self::Absent(words) | Self::Same(words) => Some(words),
            Self::None | Self::Another(_) => None,
        }
    }
}

/// Does the record have its reference by the engine that the policy names? One that was measured by another policy may not, and then the
/// policy's demand was not met.
pub fn by_the_policys_engine(evidence: Evidence<'_>, policy: &Policy, cell: &Cell) -> Result<(), String> {
    let (Some(wanted), Some(planned)) = (&policy.reference, evidence.planned_reference(cell)) else { return Ok(()) };
    if wanted.engine == planned.engine {
        return Ok(());
    }
    let (wanted, found) = (&wanted.engine, &planned.engine);
    Err(format!(
        "the policy wants the reference by {wanted}, this run has it by {found}: measure again with this policy"
    ))
}

/// Holds the reference against the float model by the cell's own engine on the host.
pub fn opinion(evidence: Evidence<'_>, cell: &Cell) -> Result<Opinion, EvidenceError> {
    let (Some(reference), Some(second)) = (evidence.reference(cell), evidence.second_opinion(cell)) else {
        return Ok(Opinion::None);
    };
    let Some(other) = evidence.outputs(&second.id)? else {
        return Ok(Opinion::Absent(format!("it has no second opinion, {} gave no answers", second.id)));
    };
    // That the reference itself has none is told where it is asked for.
    let Some(first) = evidence.outputs(&reference.id)? else { return Ok(Opinion::None) };
    let engines = format!("{} and {}", reference.engine, second.engine);
    let another = |why: String| Opinion::Another(format!("{engines} do not agree on the float model: {why}"));
    Ok(match side_by_side(&first, &other) {
        Err(why) => another(why),
        Ok(all) => match all.iter().find(|beside| beside.parts) {
            Some(Beside { why: Some(why), tensor, .. }) => another(format!("output '{tensor}': {why}")),
            Some(apart) => another(format!(
                "its answers differ by {}, float rounding leaves {ROUNDING_DB} dB or more",
                in_words(apart.sqnr_db.unwrap_or(f64::NEG_INFINITY))
            )),
            None => {
                let worst = all.iter().filter_map(|beside| beside.sqnr_db).fold(f64::INFINITY, f64::min);
                Opinion::Same(format!("{engines} agree on the float model, {}", in_words(worst)))
            }
        },
    })
}

fn in_words(db: f64) -> String {
    if db == f64::INFINITY { "bit for bit".into() } else { format!("SQNR {db:.0} dB") }
}
