//! Whether answers belong to the inputs that they were asked for: a buffer that nobody wrote and an answer that was kept look like an
//! inference, and like a fast one.
//!
//! Owns the comparison; the passes call it outside of everything that is timed.

use boardproof_engines::{Loaded, Refusal, RunFailure, Tensor, TensorView, parting};

/// Largest relative distance between two answers of one model to the same inputs.
///
/// On one thread of a CPU they are the same bits. Where sums run in another order each time, halves may move by as much as ten unlucky
/// roundings of 2^-11; answers to two different samples lie further apart than that, or the model tells them apart by nothing.
const TOLERANCE: f64 = 1e-2;

/// Inputs of one inference, with the number of its first sample.
pub struct Asked<'a> {
    pub sample: usize,
    pub inputs: Vec<TensorView<'a>>,
}

/// What came of a comparison.
#[derive(Debug, PartialEq)]
pub enum Freshness {
    /// The answers follow their inputs.
    Fresh,
    /// They do not; the reason in one line.
    Stale(String),
}

/// Why there is no comparison.
#[derive(Debug)]
pub enum NotCompared {
    Run(RunFailure),
    Load(Refusal),
}

impl From<RunFailure> for NotCompared {
    fn from(failure: RunFailure) -> Self {
        Self::Run(failure)
    }
}

/// Asks for something else and then for the latest sample again: `latest` is what the model was asked last, and its answers are still there.
///
/// Answers that are one inference late differ the second time. Answers that never change are the same for both samples, which a model may
/// well mean: then models that were never asked anything else, from `load`, say what is right for each of the two.
pub fn compare(
    loaded: &mut dyn Loaded,
    latest: &Asked<'_>,
    other: &Asked<'_>,
    load: impl Fn() -> Result<Box<dyn Loaded>, Refusal>,
) -> Result<Freshness, NotCompared> {
    let before = loaded.answers()?;
    let between = answer(loaded, other)?;
    let again = answer(loaded, latest)?;
    if !alike(&before, &again) {
        let (latest, other) = (latest.sample, other.sample);
        let text = format!("sample {latest} was answered otherwise after sample {other} than before it");
        return Ok(Freshness::Stale(text));
    }
    if before != between {
        return Ok(Freshness::Fresh);
    }
    for asked in [other, latest] {
        // A model of its own for each: one that keeps its first answer would give it for the other one, too.
        let mut fresh = load().map_err(NotCompared::Load)?;
        if !alike(&answer(fresh.as_mut(), asked)?, &between) {
            let sample = asked.sample;
            let text =
                format!("sample {sample} was answered otherwise than by a model that was asked nothing before it");
            return Ok(Freshness::Stale(text));
        }
    }
    Ok(Freshness::Fresh)
}

fn answer(loaded: &mut dyn Loaded, asked: &Asked<'_>) -> Result<Vec<Tensor>, RunFailure> {
    loaded.prepare(&asked.inputs)?;
    loaded.run()?;
    loaded.answers()
}

/// Whether two answers to the same inputs may come from one sound model.
pub fn alike(left: &[Tensor], right: &[Tensor]) -> bool {
    left == right || parting(&[left.to_vec()], &[right.to_vec()]).relative_l2 <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_engines::{DType, OperatorFacts, TensorFacts};

    /// How a model that doubles its input goes wrong.
    #[derive(Clone, Copy)]
    enum Flaw {
        /// Not at all.
        Sound,
        /// It answers 7 whatever it is asked, and that is what it is.
        Constant,
        /// The first answer is kept for ever.
        Cached,
        /// Each answer is that to the inputs before.
        Late,
        /// The output is not written at all when the input is above 1: it shows what was there before.
        Unwritten,
    }

    struct Fake {
        flaw: Flaw,
        input: f32,
        latest: Option<f32>,
        shown: Option<f32>,
    }

    fn fake(flaw: Flaw) -> Box<dyn Loaded> {
        Box::new(Fake { flaw, input: 0.0, latest: None, shown: None })
    }

    impl Loaded for Fake {
        fn inputs(&self) -> &[TensorFacts] {
            &[]
        }
        fn outputs(&self) -> &[TensorFacts] {
            &[]
        }
        fn operators(&self) -> &[OperatorFacts] {
            &[]
        }
        fn prepare(&mut self, inputs: &[TensorView<'_>]) -> Result<(), RunFailure> {
            self.input = inputs[0].to_f64()[0] as f32;
            Ok(())
        }
        fn run(&mut self) -> Result<(), RunFailure> {
            let right = 2.0 * self.input;
            self.shown = Some(match self.flaw {
                Flaw::Sound => right,
                Flaw::Constant => 7.0,
                Flaw::Cached => self.shown.unwrap_or(right),
                Flaw::Late => self.latest.unwrap_or(right),
                Flaw::Unwritten if self.input > 1.0 => self.shown.unwrap_or(0.0),
                Flaw::Unwritten => right,
            });
            self.latest = Some(right);
            Ok(())
        }
        fn answers(&self) -> Result<Vec<Tensor>, RunFailure> {
            let bytes = self.shown.ok_or(RunFailure::NotRun)?.to_le_bytes().to_vec();
            Ok(vec![Tensor::new(DType::F32, vec![1], bytes).expect("four bytes")])
        }
    }

    /// Asked for several samples, as a pass does, and then looked at.
    fn after_a_pass(flaw: Flaw) -> Freshness {
        let values: Vec<[u8; 4]> = [0.5_f32, 1.5, 0.75, 3.0].map(f32::to_le_bytes).to_vec();
        let asked = |sample: usize| Asked {
            sample,
            inputs: vec![TensorView::new(DType::F32, &[1], &values[sample]).expect("four bytes")],
        };
        let mut loaded = fake(flaw);
        for sample in 0..values.len() {
            answer(loaded.as_mut(), &asked(sample)).expect("an answer");
        }
        compare(loaded.as_mut(), &asked(3), &asked(0), || Ok(fake(flaw))).expect("a comparison")
    }

    #[test]
    fn answers_that_do_not_follow_their_inputs_are_caught() {
        for (flaw, said) in [
            (Flaw::Cached, "sample 3 was answered otherwise than by a model that was asked nothing before it"),
            (Flaw::Late, "sample 3 was answered otherwise after sample 0 than before it"),
            (Flaw::Unwritten, "sample 3 was answered otherwise after sample 0 than before it"),
        ] {
            assert_eq!(after_a_pass(flaw), Freshness::Stale(said.into()));
        }
    }

    #[test]
    fn a_model_whose_answers_are_alike_is_no_flaw() {
        assert_eq!(after_a_pass(Flaw::Sound), Freshness::Fresh);
        assert_eq!(after_a_pass(Flaw::Constant), Freshness::Fresh);
    }
}
