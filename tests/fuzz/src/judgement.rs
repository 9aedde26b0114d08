//! The judge on files of any content: what is damaged never passes, and one record gives one judgement and one report.

use crate::Seed;
use crate::bytes::{Bytes, put_piece};
use crate::material::{self, CLASSES, EVALSET_FILE, INFERENCES, SAMPLES, file_of};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate::judge;
use boardproof_judge::report::summary::summarize;
use boardproof_judge::report::text::{Paint, render};
use boardproof_judge::report::{html, json, junit, markdown};
use boardproof_record::policy::Policy;
use boardproof_record::record::Record;
use boardproof_record::verdict::{Judgement, Verdict};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// Judges, renders every report, and does it once more: both times alike. `None` when there is nothing to judge by.
pub fn show(evidence: Evidence<'_>, policy: &Policy) -> Option<Judgement> {
    let once = || {
        let judgement = judge(evidence, policy, None).ok()?;
        let summary = summarize(evidence, &judgement).ok()?;
        let texts = [
            render(&summary, Paint::Plain),
            render(&summary, Paint::Colour),
            json::render(&judgement, &summary).expect("a judgement is JSON"),
            junit::render(&summary, policy.inconclusive_blocks),
            markdown::render(&summary),
            html::render(&summary),
        ];
        Some((judgement, texts))
    };
    let (judgement, texts) = once()?;
    let (again, texts_again) = once().expect("it was judged before");
    assert_eq!(json_of(&again), json_of(&judgement), "judged twice, judged differently");
    assert_eq!(texts, texts_again);
    Some(judgement)
}

fn json_of(judgement: &Judgement) -> String {
    serde_json::to_string(judgement).expect("a judgement is JSON")
}

/// A candidate's outputs, ticks, evalset and the reference's outputs; an empty piece stands for the good file.
pub fn judgement(input: &[u8]) -> bool {
    thread_local!(static GOOD: (Record, BTreeMap<String, Vec<u8>>) = good());
    let mut script = Bytes(input);
    GOOD.with(|(record, good)| {
        let of =
            |variant: &str| record.plan.cells.iter().find(|c| c.variant.as_str() == variant).expect("it was planned");
        let (candidate, reference) = (of("int8"), of("f32"));
        let names = [
            file_of(candidate, "outputs.safetensors"),
            file_of(candidate, "ticks.safetensors"),
            EVALSET_FILE.to_owned(),
            file_of(reference, "outputs.safetensors"),
        ];
        let mut files = good.clone();
        for name in &names {
            let piece = script.piece();
            if !piece.is_empty() {
                files.insert(name.clone(), piece.to_vec());
            }
        }
        let Some(judgement) = show(Evidence { record, files: &files }, &record.plan.policy) else { return false };
        if judgement.verdict == Verdict::Pass {
            assert!(answers_all(&files[&names[0]]) && answers_all(&files[&names[3]]), "a pass without every answer");
            assert!(has_ticks(&files[&names[1]]), "a pass without latency");
        }
        judgement.verdict == Verdict::Pass
    })
}

fn good() -> (Record, BTreeMap<String, Vec<u8>>) {
    let record = material::record();
    let files = material::record_files(&record);
    (record, files)
}

/// Is there a finite number or more for each sample?
fn answers_all(file: &[u8]) -> bool {
    let Ok(file) = SafeTensors::deserialize(file) else { return false };
    let Ok(view) = file.tensor("output.0") else { return false };
    view.shape().first() == Some(&SAMPLES) && !view.data().is_empty()
}

fn has_ticks(file: &[u8]) -> bool {
    let Ok(file) = SafeTensors::deserialize(file) else { return false };
    file.tensor("ticks").is_ok_and(|view| !view.data().is_empty())
}

/// The good record, and files that are damaged in ways that keep their format.
pub fn seeds() -> Vec<Seed> {
    let script = |pieces: [&[u8]; 4]| {
        let mut script = Vec::new();
        pieces.iter().for_each(|piece| put_piece(&mut script, piece));
        script
    };
    let nan = |bytes: Vec<u8>| {
        let mut bytes = bytes;
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    };
    let (outputs, evalset) = (material::outputs(0.02), material::evalset());
    assert_eq!(material::ticks().len() / 8 >= INFERENCES, outputs.len() > SAMPLES * CLASSES * 4);
    vec![
        ("good".into(), script([&[], &[], &[], &[]])),
        ("outputs".into(), script([&outputs, &[], &[], &material::outputs(0.0)])),
        ("bad_noise".into(), script([&material::outputs(3.0), &[], &[], &[]])),
        ("bad_nan".into(), script([&nan(outputs.clone()), &[], &[], &[]])),
        ("bad_nan_reference".into(), script([&[], &[], &[], &nan(outputs.clone())])),
        ("bad_cut".into(), script([&outputs[..outputs.len() - 12], &[], &[], &[]])),
        ("evalset".into(), script([&[], &[], &evalset, &[]])),
        ("bad_few_ticks".into(), script([&[], &few_ticks(), &[], &[]])),
    ]
}

fn few_ticks() -> Vec<u8> {
    let bytes = [1_u64, 2, u64::MAX].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::U64, vec![3], &bytes).expect("sizes fit");
    safetensors::serialize([("ticks", view)], None).expect("one tensor")
}
