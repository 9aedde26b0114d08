//! What several engines answer to one and the same model: alike, but for the rounding of floats, or not.
//!
//! Owns the limit of what rounding explains. Knows nothing of references and policies: whoever asks decides what follows.

use crate::compare::numerics::{self, Metric, NonFiniteRule, Options};
use crate::evidence::Tensor;
use serde::Serialize;

/// Two right evaluations of a float model differ by the order of their sums: 2^-24 a step, about 1e-6 of the signal over a deep net. Two
/// decades of room make 1e-4, which is 80 dB; a wrong operator is below 40.
pub const ROUNDING_DB: f64 = 80.0;

/// One tensor by one engine beside the same by another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Beside {
    /// Name of the tensor.
    pub tensor: String,
    /// `10 log10(sum first^2 / sum difference^2)` in dB; `None` where nothing differs, and where there is no such number.
    pub sqnr_db: Option<f64>,
    /// Largest absolute difference; `None` where there is no such number.
    pub max_abs: Option<f64>,
    /// More than rounding lies between them.
    pub parts: bool,
    /// Why there is no number, where that is so.
    pub why: Option<String>,
}

/// Holds the outputs of two engines side by side, in the first one's order.
///
/// # Errors
/// They do not name the same outputs, or not in the same order: in words.
pub fn side_by_side(first: &[Tensor<'_>], other: &[Tensor<'_>]) -> Result<Vec<Beside>, String> {
    let names = |outputs: &[Tensor<'_>]| outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
    if names(first) != names(other) {
        return Err(format!("one has the outputs {}, the other {}", names(first).join(", "), names(other).join(", ")));
    }
    Ok(first.iter().zip(other).map(|(first, other)| beside(first, other)).collect())
}

fn beside(first: &Tensor<'_>, other: &Tensor<'_>) -> Beside {
    let without =
        |why: String| Beside { tensor: first.name.clone(), sqnr_db: None, max_abs: None, parts: true, why: Some(why) };
    let summary = match numerics::compare(&first.view(), &other.view(), Options::default()) {
        Ok(summary) => summary,
        Err(why) => return without(why.to_string()),
    };
    let value = |metric| summary.value_under(metric, NonFiniteRule::Invalidate);
    match value(Metric::SqnrDb) {
        Err(why) => without(why.to_string()),
        Ok(db) => Beside {
            tensor: first.name.clone(),
            sqnr_db: Some(db).filter(|db| db.is_finite()),
            max_abs: value(Metric::MaxAbs).ok(),
            // What is no number is no agreement.
            parts: db.is_nan() || db < ROUNDING_DB,
            why: None,
        },
    }
}

impl Beside {
    /// In words: `SQNR 131 dB, at most 2.4e-7 apart`.
    pub fn in_words(&self) -> String {
        match (&self.why, self.sqnr_db, self.max_abs) {
            (Some(why), ..) => why.clone(),
            (None, Some(db), Some(most)) => format!("SQNR {db:.0} dB, at most {most:.1e} apart"),
            // Nothing but the second differs from 0, or nothing differs.
            (None, None, Some(most)) if most > 0.0 => format!("at most {most:.1e} apart where the first is 0"),
            _ => "bit for bit the same".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tensor::DType;

    fn output(name: &str, values: &[f32]) -> Tensor<'static> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::owned(name, DType::F32, vec![1, values.len()], bytes)
    }

    fn one(first: &[f32], other: &[f32]) -> Beside {
        side_by_side(&[output("y", first)], &[output("y", other)]).unwrap().remove(0)
    }

    #[test]
    fn other_outputs_are_not_compared_as_if_they_were_the_same() {
        let why = side_by_side(&[output("y", &[1.0])], &[output("z", &[1.0])]).unwrap_err();
        assert_eq!(why, "one has the outputs y, the other z");
        assert!(one(&[1.0, 2.0], &[1.0]).parts, "another shape");
    }

    #[test]
    fn what_is_not_finite_in_the_same_way_parts() {
        let found = one(&[1.0, 2.0], &[1.0, f32::NAN]);
        assert!(found.parts && found.why.is_some(), "{found:?}");
        assert!(!one(&[1.0, f32::NAN], &[1.0, f32::NAN]).parts);
    }

    #[test]
    fn rounding_is_told_from_more_than_rounding() {
        assert_eq!(one(&[1.0, 2.0], &[1.0, 2.0]).in_words(), "bit for bit the same");
        assert!(!one(&[1.0, 2.0], &[1.0, 2.000_002]).parts);
        let found = one(&[1.0, 2.0], &[1.0, 2.01]);
        assert!(found.parts);
        assert_eq!(found.in_words(), "SQNR 47 dB, at most 1.0e-2 apart");
        let found = one(&[0.0, 0.0], &[0.0, 1e-9]);
        assert!(found.parts);
        assert_eq!(found.in_words(), "at most 1.0e-9 apart where the first is 0");
    }
}
