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

/// The samples of a site, one by one.
pub(super) struct Parted<'s> {
    /// Unit and engine.
    pub site: &'s str,
    /// The reference's layers.
    pub reference: &'s [Tensor<'s>],
    /// The variant's, where they were seen.
    pub shown: Option<&'s [Tensor<'s>]>,
    /// The variant's answers as it ships, all samples one after the other.
    pub whole: &'s [f64],
    /// Number of each sample in the evalset; empty where they are its first.
    pub numbers: &'s [u64],
    /// Least ratio of a good sample, in dB.
    pub budget_db: f64,
}

impl Parted<'_> {
    /// Those that are to be told of their own accord.
    pub fn worst(&self) -> Vec<SampleSeen> {
        let mut seen = self.answered();
        seen.retain(|(_, one)| one.answers.is_some() || one.answer.is_below(self.budget_db));
        // Those whose answer is another before all; among them the ones of which the reference was surest, else the furthest away.
        let far =
            |one: &SampleSeen| one.answer.sqnr_db.filter(|_| one.answer.non_finite == 0).unwrap_or(f64::NEG_INFINITY);
        seen.sort_by(|(_, a), (_, b)| {
            let order = |one: &SampleSeen| one.answers.and(one.margin).unwrap_or(f64::NEG_INFINITY);
            order(b).total_cmp(&order(a)).then(far(a).total_cmp(&far(b))).then(a.sample.cmp(&b.sample))
        });
        seen.truncate(TOLD_MAX);
        self.followed(seen)
    }

    /// Those of these numbers in the evalset that were run, in this order.
    pub fn of(&self, numbers: impl Iterator<Item = u64>) -> Vec<SampleSeen> {
        let answered = self.answered();
        let find = |number: u64| answered.iter().find(|(_, one)| one.sample as u64 == number).cloned();
        self.followed(numbers.filter_map(find).collect())
    }

    /// Every sample with its place among those that were run.
    fn answered(&self) -> Vec<(usize, SampleSeen)> {
        let layers = by_layer(self.reference);
        let Some(last) = layers.last_key_value().map(|(_, last)| last) else { return Vec::new() };
        let (width, answers) = (last.row_elements(), last.to_f64());
        if answers.len() != self.whole.len() || width == 0 {
            return Vec::new();
        }
        let number = |place: usize| match self.numbers.get(place) {
            Some(number) => usize::try_from(*number).unwrap_or(usize::MAX),
            None => place,
        };
        let both = answers.chunks(width).zip(self.whole.chunks(width)).enumerate();
        both.map(|(place, (r, v))| (place, answered(self.site, number(place), r, v))).collect()
    }

    /// Finds the first layer of each at which it is below the budget.
    fn followed(&self, mut seen: Vec<(usize, SampleSeen)>) -> Vec<SampleSeen> {
        let layers = by_layer(self.reference);
        let shown = self.shown.map(by_layer).unwrap_or_default();
        // A line is made of every layer that the reference shows, in this order.
        for (row, (layer, reference)) in layers.iter().enumerate() {
            let Some(own) = shown.get(layer) else { continue };
            let (reference, own) = (Rows::of(reference), Rows::of(own));
            for (place, one) in seen.iter_mut().filter(|(_, one)| one.first_broken.is_none()) {
                let Some(here) = reference.at(*place).zip(own.at(*place)) else { continue };
                let here = Seen::between(here.0, here.1);
                if here.is_below(self.budget_db) {
                    (one.first_broken, one.layer) = (Some(row), Some(here));
                }
            }
        }
        seen.into_iter().map(|(_, one)| one).collect()
    }
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
        let parted = |shown, whole| Parted {
            site: "host/tract",
            reference: &reference,
            shown,
            whole,
            numbers: &[],
            budget_db: 15.0,
        };
        let seen = parted(Some(&shown[..]), &whole[..]).worst();
        let told: Vec<_> = seen.iter().map(|one| (one.sample, one.answers, one.first_broken)).collect();
        assert_eq!(told, [(2, Some([0, 1]), Some(1)), (3, None, Some(2))], "sample 1 is within the budget");
        assert_eq!(seen[0].margin, Some(4.0));
        let unseen = parted(None, &whole[..]).worst();
        assert_eq!((unseen.len(), unseen[0].first_broken), (2, None), "answers alone name no layer");
        assert!(parted(None, &whole[..3]).worst().is_empty());
        let numbered = Parted { numbers: &[5, 70, 71, 900], ..parted(Some(&shown[..]), &whole[..]) };
        let told: Vec<_> = numbered.worst().iter().map(|one| one.sample).collect();
        assert_eq!(told, [71, 900], "told by their numbers in the evalset");
        let asked: Vec<_> =
            numbered.of([900, 2, 5].into_iter()).iter().map(|one| (one.sample, one.first_broken)).collect();
        assert_eq!(asked, [(900, Some(2)), (5, None)], "sample 2 was not run");
    }

    #[test]
    fn an_answer_that_is_no_number_comes_before_one_that_is_far() {
        let reference = [tensor(0, &[[5.0, 1.0]; 3])];
        let whole = [5.0, 1.0, 5.0, f64::NAN, 9.0, 1.0];
        let parted =
            Parted { site: "x", reference: &reference, shown: None, whole: &whole, numbers: &[], budget_db: 15.0 };
        assert_eq!(parted.worst().iter().map(|one| one.sample).collect::<Vec<_>>(), [1, 2]);
    }
}
