//! Which samples: counted both ways, the surest of the reference first, and shown where the record has kept them.

use crate::good::{Case, JUDGED, REFERENCE, SAMPLES, answers, good, label};
use boardproof_judge::flips::{Flips, Turn, flips, worth_keeping};
use boardproof_judge::report::summary::measured;
use boardproof_judge::report::text::{Paint, render};
use boardproof_judge::report::{html, markdown};
use boardproof_record::plan::{Shows, Task};

fn of(case: &Case) -> Flips {
    let cell = case.record.plan.cells.iter().find(|c| c.id.as_str() == JUDGED).unwrap();
    flips(case.evidence(), cell).unwrap().expect("a cell with a reference")
}

/// Lets a cell say one class of a sample, so surely.
fn say(said: &mut [f32], sample: usize, class: i64, margin: f32) {
    for (i, value) in said[sample * 3..][..3].iter_mut().enumerate() {
        *value = if i as i64 == class { margin } else { 0.0 };
    }
}

/// Samples 4, 8 and 12 flip: the reference is sure of 8, less of 12, least of 4. It is wrong about every 20th sample, 19 and 39 flip, too.
fn flipped() -> Case {
    let mut case = good();
    let (mut reference, mut own) = (answers(0.0), answers(0.0));
    for (sample, margin) in [(4, 1.0), (8, 9.0), (12, 3.0)] {
        say(&mut reference, sample, label(sample), margin);
        say(&mut own, sample, (label(sample) + 1) % 3, 2.0);
    }
    say(&mut own, 19, label(19), 2.0);
    say(&mut own, 39, (label(39) + 2) % 3, 2.0);
    case.answers(REFERENCE, &reference);
    case.answers(JUDGED, &own);
    case
}

#[test]
fn the_same_answers_flip_nowhere() {
    let found = of(&good());
    assert_eq!((found.samples, found.count(), found.told.len()), (SAMPLES as u64, 0, 0));
}

#[test]
fn flips_are_counted_both_ways_and_told_by_the_references_margin() {
    let found = of(&flipped());
    assert_eq!((found.lost, found.won, found.otherwise_wrong), (3, 1, 1));
    let order: Vec<(u64, Turn)> = found.told.iter().map(|flip| (flip.sample, flip.turn)).collect();
    assert_eq!(order[0], (8, Turn::Lost));
    let lost: Vec<u64> = order.iter().filter(|(_, turn)| *turn == Turn::Lost).map(|(sample, _)| *sample).collect();
    assert_eq!(lost, [8, 12, 4]);
    let first = &found.told[0];
    let names = ["disc", "square", "star"];
    assert_eq!(first.label, names[label(8) as usize]);
    assert_eq!(
        (first.reference.as_str(), first.candidate.as_str()),
        (names[label(8) as usize], names[(label(8) as usize + 1) % 3])
    );
    assert_eq!((first.id, first.margin, first.candidate_margin), (Some(8), Some(9.0), Some(2.0)));
    assert_eq!(first.slices["side"], "left");
}

#[test]
fn what_is_no_number_is_a_wrong_answer_and_no_margin() {
    let mut case = good();
    let mut own = answers(0.0);
    own[30] = f32::NAN;
    case.answers(JUDGED, &own);
    let found = of(&case);
    assert_eq!((found.lost, found.won, found.otherwise_wrong), (1, 0, 0));
    assert_eq!((found.told[0].candidate.as_str(), found.told[0].candidate_margin), ("no number", None));
}

#[test]
fn scores_flip_at_the_references_own_threshold() {
    let mut case = good();
    case.model().task = Task::Binary { positive: "ill".into() };
    let labels: Vec<i64> = (0..SAMPLES).map(|i| i64::from(i % 4 == 0)).collect();
    case.evalset(&labels, &vec![0; SAMPLES], &(0..SAMPLES as i64).collect::<Vec<_>>());
    let mut scores: Vec<f32> =
        (0..SAMPLES).flat_map(|i| [if i % 4 == 0 { 0.9 } else { 0.1 } + i as f32 * 1e-5, 0.0, 0.0]).collect();
    case.answers(REFERENCE, &scores);
    case.answers(JUDGED, &scores);
    assert_eq!(of(&case).count(), 0);
    scores[0] = 0.2;
    scores[3] = 0.95;
    case.answers(JUDGED, &scores);
    let found = of(&case);
    assert_eq!((found.lost, found.won), (2, 0));
    assert_eq!(found.threshold.map(|t| (t * 1e4).round() / 1e4), Some(0.9));
    assert_eq!((found.told[0].reference.as_str(), found.told[0].candidate.as_str()), ("not ill", "ill"));
}

#[test]
fn reports_show_the_first_flips_and_the_page_the_samples_themselves() {
    let mut case = flipped();
    let page = html::render(&measured(case.evidence()).unwrap());
    assert!(page.contains("Which samples: 5 of 400 answers") && !page.contains("<img"), "{page}");
    assert_eq!(worth_keeping(case.evidence(), 2).unwrap()["shapes"], [8, of(&case).told[1].sample]);
    case.show(&[8, 4], &[3, 3]);
    let summary = measured(case.evidence()).unwrap();
    // Nine values of a row, as nobody has said that they are pixels.
    assert!(html::render(&summary).contains("<span class=\"row\">"));
    case.model().inputs[0].shape = vec![3, 3];
    case.model().evalset.shows = Some(Shows::Image);
    let page = html::render(&measured(case.evidence()).unwrap());
    assert_eq!(page.matches("data:image/png;base64,").count(), 2);
    let text = render(&summary, Paint::Plain);
    let line = "sample 8 (id 8) is ";
    assert!(text.contains("flips   5 of 400 answers") && text.contains(line), "{text}");
    assert!(!text.contains("sample 4 "), "three are enough: {text}");
    assert!(markdown::render(&summary).contains("\n- sample 8 (id 8) is "));
    assert_eq!(serde_json::to_value(&summary).unwrap()["cells"][0]["flips"]["told"].as_array().unwrap().len(), 5);
}

#[test]
fn kept_samples_that_are_none_are_a_damaged_record_and_no_picture() {
    let mut case = flipped();
    case.show(&[8, 4], &[3, 3]);
    let file = case.record.shown.values().next().unwrap().path.clone();
    let good = case.files[&file].clone();
    case.files.insert(file.clone(), good[..good.len() / 2].to_vec());
    assert!(measured(case.evidence()).is_err());
    let other = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![2], &[1, 2]).unwrap();
    case.files.insert(file, safetensors::serialize([("samples", other)], None).unwrap());
    let error = measured(case.evidence()).unwrap_err();
    assert!(error.to_string().contains("no tensors 'samples' and 'input'"), "{error}");
}
