//! A reference that another engine than the cell's answers for: the cell's own engine has a second opinion of the float model.

use crate::good::{Case, JUDGED, REFERENCE, answers, good, id};
use boardproof_judge::report::summary::summarize;
use boardproof_record::EngineName;
use boardproof_record::observation::{CannotRun, Ended};
use boardproof_record::plan::{CANDLE, Pass, Role, TRACT};
use boardproof_record::policy::Reference;
use boardproof_record::verdict::{RuleResult, Verdict};

const BY_CANDLE: &str = "shapes/f32@host/candle";

/// The good record with candle as its reference, tract's float model beside it.
fn with_second_opinion() -> Case {
    let mut case = good();
    let mut reference = case.planned(REFERENCE).clone();
    case.planned(REFERENCE).role = Role::HostVariant;
    let seen = case.record.outcomes[&id(REFERENCE)].clone();
    reference.id = id(BY_CANDLE);
    reference.engine = EngineName::new(CANDLE).unwrap();
    case.record.plan.cells.insert(0, reference);
    case.set(BY_CANDLE, seen);
    case.answers(BY_CANDLE, &answers(0.0));
    case
}

fn compared_with(case: &Case) -> (Verdict, RuleResult) {
    let judgement = case.judge().unwrap();
    let cell = judgement.cells.iter().find(|cell| cell.cell.as_str() == JUDGED).expect("judged");
    let rule = cell.rules.iter().find(|rule| rule.rule.as_str() == "compared-with").expect("always in force");
    (judgement.verdict, rule.clone())
}

#[test]
fn two_engines_that_agree_are_named() {
    let (verdict, rule) = compared_with(&with_second_opinion());
    assert_eq!((verdict, rule.verdict), (Verdict::Pass, Verdict::Pass));
    assert!(rule.detail.ends_with("; candle and tract agree on the float model, bit for bit"), "{}", rule.detail);
}

#[test]
fn float_rounding_is_agreement_and_no_more_than_that() {
    let mut case = with_second_opinion();
    case.answers(REFERENCE, &answers(1e-6));
    let (verdict, rule) = compared_with(&case);
    assert_eq!(verdict, Verdict::Pass, "{}", rule.detail);
    assert!(rule.detail.contains("agree on the float model, SQNR 1"), "{}", rule.detail);
    // As little as this changes no class, and a bug of the reference can hide behind it.
    case.answers(REFERENCE, &answers(1e-3));
    let (verdict, rule) = compared_with(&case);
    assert_eq!((verdict, rule.verdict), (Verdict::Incomplete, Verdict::Incomplete));
    assert!(rule.detail.starts_with("candle and tract do not agree on the float model"), "{}", rule.detail);
}

#[test]
fn an_opinion_of_another_shape_is_another_opinion() {
    let mut case = with_second_opinion();
    let some = answers(0.0);
    let bytes = some.iter().flat_map(|v| v.to_le_bytes()).collect();
    case.outputs(REFERENCE, &[("others", safetensors::Dtype::F32, vec![some.len() / 3, 3], bytes)]);
    let (verdict, rule) = compared_with(&case);
    assert_eq!(verdict, Verdict::Incomplete);
    assert!(rule.detail.starts_with("candle and tract do not agree on the float model"), "{}", rule.detail);
}

/// The engine that was to answer for the float model cannot load it: the cell's own answers alone, and every report says so.
#[test]
fn without_a_second_opinion_the_own_engine_answers_and_it_is_said() {
    let mut case = with_second_opinion();
    let refused = CannotRun {
        stage: "type".into(),
        operator: "LSTM".into(),
        node: "rnn".into(),
        reason: "operator LSTM (node rnn): not implemented".into(),
    };
    let inspected = case.pass(BY_CANDLE, Pass::Inspect);
    (inspected.ended, inspected.cannot_run) = (Ended::CannotRun, Some(refused));
    case.seen(BY_CANDLE).passes.truncate(1);
    let (verdict, rule) = compared_with(&case);
    assert_eq!((verdict, rule.verdict), (Verdict::Pass, Verdict::Pass), "{}", rule.detail);
    let summary = summarize(case.evidence(), &case.judge().unwrap()).unwrap();
    let note = summary.cells[0].notes.join("; ");
    assert!(note.contains("no second opinion: candle cannot run it (operator LSTM (node rnn)"), "{note}");
    // It must be trusted as any other reference.
    case.answers(REFERENCE, &vec![f32::NAN; answers(0.0).len()]);
    assert_eq!(compared_with(&case).0, Verdict::Incomplete);
}

/// Judged again by a policy that demands another engine: nobody has measured what it demands.
#[test]
fn a_policy_that_wants_the_reference_by_another_engine_is_not_satisfied() {
    let by = |engine: &str| Some(Reference { engine: EngineName::new(engine).unwrap() });
    let mut case = good();
    case.policy.reference = by(CANDLE);
    let (verdict, rule) = compared_with(&case);
    assert_eq!((verdict, rule.verdict), (Verdict::Incomplete, Verdict::Incomplete));
    assert!(
        rule.detail.starts_with("the policy wants the reference by candle, this run has it by tract"),
        "{}",
        rule.detail
    );
    for (case, engine) in [(good(), TRACT), (with_second_opinion(), CANDLE)] {
        let mut case = case;
        case.policy.reference = by(engine);
        assert_eq!(compared_with(&case).0, Verdict::Pass, "{engine}");
    }
}

#[test]
fn a_second_opinion_that_gave_no_answers_is_told() {
    let mut case = with_second_opinion();
    case.pass(REFERENCE, Pass::Accuracy).ended = Ended::DeadlineExceeded { deadline_ms: 1 };
    let (_, rule) = compared_with(&case);
    assert!(rule.detail.ends_with("no second opinion, shapes/f32@host/tract gave no answers"), "{}", rule.detail);
}
