//! Which samples: those whose answer is another, or else the furthest from the reference's, each with the first layer at which it parts.

use super::by_layer;
use super::sides::Seen;
use crate::compare::numerics::argmax;
use crate::evidence::Tensor;
use serde::Serialize;

/// Samples of a site that are told.
const TOLD_MAX: usize = 10;

/// A sample on one site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleSeen {
    /// Number in the evalset, from 0.
    pub sample: usize,
    /// Unit and engine.
    pub site: String,
    /// Places of the largest answer, the reference's and the variant's, where they differ.
    pub answers: Option<[usize; 2]>,
    /// How sure the reference was: the distance of its largest answer to the second. `None` for an answer of one number.
    pub margin: Option<f64>,
    /// Its answer against the reference's.
    pub answer: Seen,
    /// The first layer at which this sample is below the budget: a line of the explanation's rows. `None` where none is.
    pub first_broken: Option<usize>,
    /// What that layer is against the reference's, for this sample alone.
    pub layer: Option<Seen>,
}

/// The samples of a site. `whole` holds the variant's answers as it ships, all samples one after the other.
pub(super) fn samples(
    site: &str,
    reference: &[Tensor<'_>],
    shown: Option<&[Tensor<'_>]>,
    whole: &[f64],
    budget_db: f64,
) -> Vec<SampleSeen> {
    let layers = by_layer(reference);
    let Some(last) = layers.last_key_value().map(|(_, last)| last) else { return Vec::new() };
    let width = last.row_elements();
    let answers = last.to_f64();
    if answers.len() != whole.len() || width == 0 {
        return Vec::new();
    }
    let both = answers.chunks(width).zip(whole.chunks(width)).enumerate();
    let mut seen: Vec<SampleSeen> = both.map(|(sample, (r, v))| answered(site, sample, r, v)).collect();
    let is_told = |one: &SampleSeen| one.answers.is_some() || one.answer.is_below(budget_db);
    seen.retain(is_told);
    // Those whose answer is another before all; among them the ones of which the reference was surest, else the furthest away.
    let far = |one: &SampleSeen| one.answer.sqnr_db.filter(|_| one.answer.non_finite == 0).unwrap_or(f64::NEG_INFINITY);
    seen.sort_by(|a, b| {
        let order = |one: &SampleSeen| one.answers.and(one.margin).unwrap_or(f64::NEG_INFINITY);
        order(b).total_cmp(&order(a)).then(far(a).total_cmp(&far(b))).then(a.sample.cmp(&b.sample))
    });
    seen.truncate(TOLD_MAX);
    let shown = shown.map(by_layer).unwrap_or_default();
    for (row, reference) in &layers {
        let Some(own) = shown.get(row) else { continue };
        let (reference, own) = (Rows::of(reference), Rows::of(own));
        for one in seen.iter_mut().filter(|one| one.first_broken.is_none()) {
            let Some(here) = reference.at(one.sample).zip(own.at(one.sample)) else { continue };
            let here = Seen::between(here.0, here.1);
            if here.is_below(budget_db) {
                (one.first_broken, one.layer) = (Some(*row), Some(here));
            }
        }
    }
    seen
}

fn answered(site: &str, sample: usize, reference: &[f64], variant: &[f64]) -> SampleSeen {
    let places = [argmax(reference), argmax(variant)];
    let second = reference.iter().enumerate().filter(|(at, _)| *at != places[0]).map(|(_, value)| *value);
    SampleSeen {
        sample,
        site: site.into(),
        answers: (places[0] != places[1]).then_some(places),
        margin: second.reduce(f64::max).map(|second| reference[places[0]] - second),
        answer: Seen::between(reference, variant),
        first_broken: None,
        layer: None,
    }
}

/// A tensor, a line per sample.
struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    fn of(tensor: &Tensor<'_>) -> Self {
        Self { values: tensor.to_f64(), width: tensor.row_elements() }
    }

    fn at(&self, sample: usize) -> Option<&[f64]> {
        self.values.get(sample * self.width..(sample + 1) * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tensor::DType;

    fn tensor(layer: usize, rows: &[[f32; 2]]) -> Tensor<'static> {
        let bytes = rows.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::owned(&format!("layer.{layer}"), DType::F32, vec![rows.len(), 2], bytes)
    }

    #[test]
    fn a_sample_that_flipped_is_told_with_the_layer_where_it_parts() {
        let reference = [tensor(0, &[[1.0, 2.0]; 4]), tensor(1, &[[3.0, 1.0]; 4]), tensor(2, &[[5.0, 1.0]; 4])];
        let mut inner = [[3.0, 1.0]; 4];
        inner[2] = [-3.0, 1.0];
        let mut answers = [[5.0, 1.0]; 4];
        answers[1] = [5.1, 1.0];
        answers[2] = [0.0, 4.0];
        answers[3] = [2.0, 1.0];
        let shown = [tensor(0, &[[1.0, 2.0]; 4]), tensor(1, &inner), tensor(2, &answers)];
        let whole: Vec<f64> = answers.iter().flatten().map(|v| f64::from(*v)).collect();
        let seen = samples("host/tract", &reference, Some(&shown), &whole, 15.0);
        let told: Vec<_> = seen.iter().map(|one| (one.sample, one.answers, one.first_broken)).collect();
        assert_eq!(told, [(2, Some([0, 1]), Some(1)), (3, None, Some(2))], "sample 1 is within the budget");
        assert_eq!(seen[0].margin, Some(4.0));
        let unseen = samples("host/tract", &reference, None, &whole, 15.0);
        assert_eq!((unseen.len(), unseen[0].first_broken), (2, None), "answers alone name no layer");
        assert!(samples("host/tract", &reference, None, &whole[..3], 15.0).is_empty());
    }

    #[test]
    fn an_answer_that_is_no_number_comes_before_one_that_is_far() {
        let reference = [tensor(0, &[[5.0, 1.0]; 3])];
        let whole = [5.0, 1.0, 5.0, f64::NAN, 9.0, 1.0];
        let seen = samples("x", &reference, None, &whole, 15.0);
        assert_eq!(seen.iter().map(|one| one.sample).collect::<Vec<_>>(), [1, 2]);
    }
}
