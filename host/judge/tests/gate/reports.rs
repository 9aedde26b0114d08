//! What the reports say besides the verdict, and that they say it in the same words and numbers as the rules.

use crate::good::{Case, HOST_VARIANT, JUDGED, REFERENCE, SAMPLES, answers, good, id};
use boardproof_judge::report::html;
use boardproof_judge::report::json;
use boardproof_judge::report::junit;
use boardproof_judge::report::markdown;
use boardproof_judge::report::summary::{CellSummary, Summary, measured, summarize};
use boardproof_judge::report::text::{Paint, render};
use boardproof_record::observation::{Attempt, Outcome};
use boardproof_record::plan::{Affine, Clock, Pass, Task};
use boardproof_record::policy::Against;
use boardproof_record::verdict::{Judgement, Verdict};
use safetensors::Dtype;

fn judged(case: &Case) -> (Judgement, Summary) {
    let judgement = case.judge().unwrap();
    let summary = summarize(case.evidence(), &judgement).unwrap();
    (judgement, summary)
}

fn figure(cell: &CellSummary, name: &str) -> Option<f64> {
    cell.metrics.iter().find(|f| f.name == name).and_then(|f| f.value)
}

#[test]
fn no_output_is_the_worst_where_none_was_compared() {
    let mut case = good();
    for cell in [REFERENCE, HOST_VARIANT, JUDGED] {
        let of = |name: &'static str| {
            let bytes = answers(0.0).iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, Dtype::F32, vec![SAMPLES, 3], bytes)
        };
        case.outputs(cell, &[of("scores"), of("more")]);
    }
    let worst = |case: &Case| judged(case).1.cells[0].notes.iter().any(|note| note.contains("the worst of"));
    assert!(worst(&case));
    case.set(REFERENCE, Outcome::NotRun);
    assert!(!worst(&case));
}

#[test]
fn what_the_policy_lets_by_is_left_out_of_the_report_as_of_the_rules() {
    let mut case = good();
    let mut said = answers(0.02);
    said[4] = f32::NAN;
    case.answers(JUDGED, &said);
    let (judgement, summary) = judged(&case);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(figure(&summary.cells[0], "sqnr_db"), None);
    case.policy.allow_nonfinite_mismatch = true;
    case.policy.rules.retain(|rule| rule.metric != "nonfinite_mismatch");
    let (judgement, summary) = judged(&case);
    let drift = judgement.cells[0].rules.iter().find(|r| r.metric == "sqnr_db").unwrap();
    assert!(drift.observed.is_some());
    assert_eq!(figure(&summary.cells[0], "sqnr_db"), drift.observed);
    assert_eq!(summary.cells[0].drift.unwrap().total_db, drift.observed);
}

#[test]
fn an_error_is_shown_in_the_models_own_unit() {
    let mut case = good();
    let share = html::render(&measured(case.evidence()).unwrap());
    assert!(share.contains("+0.00 points") && share.contains("95.00 %"), "{share}");
    case.model().task = Task::Regression;
    let summary = measured(case.evidence()).unwrap();
    assert_eq!(summary.cells[0].task_unit, "");
    let page = html::render(&summary);
    let groups = page.split("Task metric by class and slice").nth(1).and_then(|t| t.split("</details>").next());
    let groups = groups.unwrap();
    assert!(!groups.contains('%') && !groups.contains("points"), "{groups}");
}

#[test]
fn a_unit_that_throttled_is_named() {
    type Facts = (&'static str, u64, u64);
    let said = |governor: &str, facts: &[Facts]| {
        let mut case = good();
        let seen = case.seen(JUDGED);
        seen.environment_after.texts.insert("governor[2]".into(), governor.into());
        for (key, before, after) in facts {
            seen.environment_before.numbers.insert((*key).into(), *before);
            seen.environment_after.numbers.insert((*key).into(), *after);
        }
        judged(&case).1.cells[0].notes.join("; ")
    };
    assert_eq!(said("performance", &[("throttle_count", 7, 7), ("cpu_frequency_hz[2]", 1_800, 1_700)]), "");
    let counted = said("ondemand", &[("throttle_count", 0, 0), ("throttle_count[3]", 7, 9)]);
    assert!(counted.contains("throttle_count[3] was 7, is 9"), "{counted}");
    let slower = said("performance", &[("cpu_frequency_hz[2]", 1_800, 600)]);
    assert!(slower.contains("cpu_frequency_hz[2] was 1800, is 600"), "{slower}");
    // A governor that follows the load lets an idle core rest: that says nothing.
    assert_eq!(said("ondemand", &[("cpu_frequency_hz[2]", 1_800, 600)]), "");
}

#[test]
fn every_report_says_that_a_target_is_not_proved_and_when_it_was_measured() {
    let mut case = good();
    let reports = |case: &Case| {
        let summary = judged(case).1;
        [render(&summary, Paint::Plain), markdown::render(&summary), html::render(&summary)]
    };
    for text in reports(&case) {
        assert!(text.contains("2023-11-14 22:13 UTC by boardproof 0.0.0"), "{text}");
        assert!(!text.contains("not proved"), "{text}");
    }
    case.record.plan.targets.values_mut().for_each(|target| target.proved = false);
    for text in reports(&case) {
        assert!(text.contains("target board") && text.contains("not proved by anybody yet"), "{text}");
    }
}

#[test]
fn a_latency_pass_that_saw_a_part_of_the_samples_says_so() {
    let mut case = good();
    let notes = |case: &Case| judged(case).1.cells[0].notes.join("; ");
    assert_eq!(notes(&case), "");
    let pass = case.seen(JUDGED).passes.iter_mut().find(|pass| pass.pass == Pass::Latency).unwrap();
    pass.facts.numbers.insert("samples_seen".into(), 3);
    assert!(notes(&case).starts_with("latency was measured on the first 3 of "), "{}", notes(&case));
}

#[test]
fn every_report_says_that_a_unit_was_started_anew_for_a_cell_and_in_what_way() {
    let mut case = good();
    let attempt = |action: &str, error: Option<&str>| Attempt {
        action: action.into(),
        elapsed_ms: 1234,
        error: error.map(str::to_owned),
    };
    let words = "the unit had to be started anew for this cell: reset the unit by its debug probe (1.2 s)";
    let told = |case: &Case| {
        let (judgement, summary) = judged(case);
        let json: serde_json::Value =
            serde_json::from_str(&json::render(&judgement, &summary).unwrap()).expect("a document");
        let restarts = json["summary"]["cells"][0]["restarts"].as_array().unwrap().len();
        let pages = [
            render(&summary, Paint::Plain),
            markdown::render(&summary),
            html::render(&summary),
            junit::render(&summary, true),
        ];
        (restarts, pages.map(|page| page.contains(words)), judgement.verdict)
    };
    case.seen(JUDGED).attempts = vec![attempt(Attempt::CYCLE, Some("no command")), attempt("inspect pass", None)];
    assert_eq!(told(&case), (0, [false; 4], Verdict::Pass));
    case.seen(JUDGED).attempts.push(attempt(Attempt::RESET, None));
    assert_eq!(told(&case), (1, [true; 4], Verdict::Pass));
}

/// The numbers of a record are there whether or not its policy can be applied.
#[test]
fn numbers_do_not_need_a_judgement() {
    let mut case = good();
    let before = measured(case.evidence()).unwrap();
    case.policy.rules[0].against = Against::Baseline;
    case.record.plan.policy = case.policy.clone();
    assert!(case.judge().is_err(), "there is no baseline");
    let after = measured(case.evidence()).unwrap();
    let sqnr = |summary: &Summary| summary.cells[0].drift.and_then(|drift| drift.total_db);
    assert!(sqnr(&after).is_some() && sqnr(&after) == sqnr(&before));
    assert_eq!(after.cells[0].task, before.cells[0].task);
}

/// An output of 8 bits: the variant on the unit parts from itself on the host in three elements.
fn with_integer_outputs() -> Case {
    let mut case = good();
    let bytes = || (0..SAMPLES * 3).map(|i| (i % 251) as u8);
    let of = |bytes: Vec<u8>| ("scores", Dtype::U8, vec![SAMPLES, 3], bytes);
    case.outputs(HOST_VARIANT, &[of(bytes().collect())]);
    let moved = bytes().enumerate().map(|(i, value)| match i {
        0 => 255,
        2 => value + 1,
        5 => value - 2,
        _ => value,
    });
    case.outputs(JUDGED, &[of(moved.collect())]);
    case
}

#[test]
fn quantized_outputs_are_told_in_steps_and_others_are_not() {
    let pages = |case: &Case| {
        let summary = measured(case.evidence()).unwrap();
        [render(&summary, Paint::Plain), markdown::render(&summary), html::render(&summary)]
    };
    assert!(pages(&good()).iter().all(|page| !page.contains("within one step") && !page.contains("saturated")));
    let case = with_integer_outputs();
    let words = "99.83 % of 1200 elements within one step of the variant on the host (more than 8 at most); saturated 0.42 % here, 0.42 % there";
    for page in pages(&case) {
        assert!(page.contains(words), "{page}");
    }
    let (judgement, summary) = judged(&case);
    let json: serde_json::Value = serde_json::from_str(&json::render(&judgement, &summary).unwrap()).unwrap();
    let steps = &json["summary"]["cells"][0]["steps"];
    assert_eq!(steps["against"], "variant_on_host");
    let counted = |i: usize| steps["bins"][i]["elements"].as_u64().unwrap();
    // From below -8 over equality, the tenth, to above 8.
    assert_eq!([0, 7, 8, 9, 10, 18].map(counted), [0, 1, 0, 1197, 1, 1]);
    assert_eq!((&steps["saturated"]["low"], &steps["saturated"]["high"]), (&4.into(), &1.into()));
    let page = html::render(&summary);
    assert!(page.contains("Steps of the quantized output") && page.contains("<title>-2: 1</title>"), "{page}");
}

/// The variant's answers as integers of 8 bits on both machines, and what the plan says that they stand for.
fn with_quantized_answers(said: &[Affine]) -> Case {
    let mut case = good();
    let meant = Affine { scale: 1.0 / 16.0, zero_point: -3 };
    for cell in [HOST_VARIANT, JUDGED] {
        let answers = case.evidence().outputs(&id(cell)).unwrap().unwrap()[0].to_f64();
        let integer = |x: f64| ((x / meant.scale).round() as i32 + meant.zero_point).clamp(-128, 127) as i8 as u8;
        let bytes = answers.into_iter().map(integer).collect();
        case.outputs(cell, &[("scores", Dtype::I8, vec![SAMPLES, 3], bytes)]);
    }
    let model = case.record.plan.models.values_mut().next().unwrap();
    let variant = model.variants.values_mut().find(|variant| variant.name.as_str() == "int8").unwrap();
    variant.output_quantization = said.to_vec();
    case
}

#[test]
fn integer_answers_are_judged_by_the_numbers_that_they_stand_for() {
    let meant = Affine { scale: 1.0 / 16.0, zero_point: -3 };
    let right = with_quantized_answers(&[meant]);
    assert_eq!(right.judge().unwrap().verdict, Verdict::Pass);
    let float = good();
    let of = |case: &Case| case.evidence().outputs(&id(JUDGED)).unwrap().unwrap()[0].to_f64();
    let furthest = of(&float).iter().zip(of(&right)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(furthest > 0.0 && furthest <= meant.scale / 2.0, "half a step at most, got {furthest}");
    let page = render(&measured(right.evidence()).unwrap(), Paint::Plain);
    assert!(
        page.contains("100.00 % of 1200 elements within one step of the variant on the host (0 at most)"),
        "{page}"
    );

    for wrong in [Affine { scale: 1.0, ..meant }, Affine { zero_point: 40, ..meant }] {
        assert_eq!(with_quantized_answers(&[wrong]).judge().unwrap().verdict, Verdict::Fail, "{wrong:?}");
    }
    let silent = with_quantized_answers(&[]).judge().unwrap();
    assert_ne!(silent.verdict, Verdict::Pass);
    assert!(silent.cells[0].reason.contains("output_quantization in model.toml"), "{}", silent.cells[0].reason);
    let error = with_quantized_answers(&[meant, meant]).judge().unwrap_err().to_string();
    assert!(error.contains("it holds 1 outputs, and the plan has the quantization of 2"), "{error}");
}

#[test]
fn throughput_has_its_bounds_in_every_report_or_says_what_they_need() {
    let mut case = good();
    let pages = |case: &Case| {
        let summary = measured(case.evidence()).unwrap();
        [render(&summary, Paint::Plain), markdown::render(&summary), html::render(&summary)]
    };
    let summary = measured(case.evidence()).unwrap();
    let latency = summary.cells[0].latency.as_ref().unwrap();
    let digits = |rate: Option<f64>| format!("{:.0}", rate.unwrap());
    let words = format!(
        "{} per second ({} to {})",
        digits(latency.throughput_per_s),
        digits(latency.throughput_lower_per_s),
        digits(latency.throughput_upper_per_s)
    );
    for page in pages(&case) {
        assert!(page.contains(&words), "{words}: {page}");
    }
    let planned = case.planned(JUDGED).passes.iter_mut().find(|plan| plan.pass == Pass::Latency).unwrap();
    planned.iterations = 59;
    case.pass(JUDGED, Pass::Latency).inferences = 59;
    case.ticks(JUDGED, &[1000; 59]);
    for page in pages(&case) {
        assert!(page.contains("bounds need 60 inferences"), "{page}");
    }
}

/// A cold start is none of the steady state's latency, and nobody may take one for the other.
#[test]
fn what_comes_before_the_steady_state_is_told_apart_from_it_and_never_as_a_time_where_none_is_counted() {
    let mut case = good();
    let planned = case.planned(JUDGED).passes.iter_mut().find(|plan| plan.pass == Pass::Latency).unwrap();
    planned.warmup = 50;
    let words = "loading 3.00 ms, first inference 90.0 µs";
    let pages = |case: &Case| {
        let summary = measured(case.evidence()).unwrap();
        [render(&summary, Paint::Plain), html::render(&summary)]
    };
    assert!(pages(&case).iter().all(|page| page.contains(words) && !page.contains("to warm up")));
    case.pass(JUDGED, Pass::Latency).facts.numbers.insert("warmup_wall_ns".into(), 2_100_000);
    let words = format!("{words}, 50 inferences to warm up 2.10 ms");
    assert!(pages(&case).iter().all(|page| page.contains(&words)), "{:?}", pages(&case));
    let (judgement, summary) = judged(&case);
    let json: serde_json::Value = serde_json::from_str(&json::render(&judgement, &summary).unwrap()).unwrap();
    let told = &json["summary"]["cells"][0]["beginning"];
    assert_eq!((&told["first_inference_ns"], &told["warmup_inferences"]), (&90_000.into(), &50.into()), "{told}");
    // An old record, or a firmware of somebody else, told nothing: no line is better than a zero.
    let numbers = &mut case.pass(JUDGED, Pass::Latency).facts.numbers;
    numbers.retain(|name, _| !["load_ns", "first_inference_ns", "warmup_wall_ns"].contains(&name.as_str()));
    assert!(pages(&case).iter().all(|page| !page.contains("first inference") && !page.contains("Before them")));
    let clock = Clock::Instructions { ns_each: 32 };
    let mut counted = good();
    counted.record.plan.targets.values_mut().for_each(|target| target.clock = clock);
    assert!(pages(&counted).iter().all(|page| !page.contains("first inference")));
}
