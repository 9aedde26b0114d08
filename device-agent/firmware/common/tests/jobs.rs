//! Jobs as a host sees them: the events of each pass, and each way to end.

mod rig;

use boardproof_protocol::{Digest, Pass, Request};
use rig::{Rig, Spoiled, adder, rooms};

/// A rig with a model of these sizes and ten samples, each with its own number in it.
fn with_model<'m>(rooms: &'m mut rig::Rooms, model: &[u8], input: usize) -> (Rig<'m>, Digest, Digest) {
    let mut rig = Rig::new(rooms);
    rig.open();
    let model = rig.upload(model);
    let samples: Vec<u8> = (0..10 * input).map(|i| (i / input) as u8).collect();
    let samples = rig.upload(&samples);
    (rig, model, samples)
}

fn kinds(told: &[String]) -> Vec<&str> {
    let key = |event: &str| event.split("key: ").nth(1).map(|rest| rest.split(',').next().unwrap_or(rest).len());
    told.iter()
        .map(|event| match key(event) {
            Some(length) => &event[event.find("key: ").unwrap() + 5..][..length],
            None => event.split([' ', '{']).next().unwrap_or(event),
        })
        .collect()
}

#[test]
fn the_accuracy_pass_gives_every_answer_to_every_sample_in_order() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
    let run = rig.order(1, Pass::Accuracy, model, samples, 9);
    let run = boardproof_protocol::Run { first: 1, ..run };
    assert_eq!(rig.say(&Request::Run(run)), "Accepted { job: 1 }");
    assert_eq!(rig.say(&Request::Run(run)), "Accepted { job: 1 }");
    let (told, streams) = rig.follow(1);
    let expected = [
        "Phase(Started)",
        "Phase(Loading)",
        "Engine",
        "LoadNs",
        "ModelBytes",
        "Output(Output",
        "Phase(Measuring)",
        "FirstInferenceNs",
    ];
    assert_eq!(kinds(&told)[..8], expected, "{told:#?}");
    assert!(told[5].contains("name: \"out\", dtype: I8, rank: 2, dims: [9, 4, 0"), "{}", told[5]);
    assert!(kinds(&told)[8..17].iter().all(|kind| *kind == "Progress"));
    assert_eq!(kinds(&told)[17..], ["Data", "MeasuredWallNs", "PassWallNs", "Ended(Completed)"]);
    let answers: Vec<u8> = (1..10).flat_map(|i| [i + 1; 4]).collect();
    assert_eq!(streams, [("Output(0)".to_owned(), answers)]);
    assert_eq!(rig.state.borrow().inferences, 9);
}

#[test]
fn sketches_come_in_the_place_of_answers_and_without_an_inference() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [40, 0], 64), 8);
    let run = boardproof_protocol::Run { options: "sketch=77", ..rig.order(1, Pass::Accuracy, model, samples, 9) };
    rig.say(&Request::Run(run));
    let (told, streams) = rig.follow(1);
    assert!(told[5].contains("name: \"sketch\", dtype: U8, rank: 3, dims: [9, 3, 64, 0"), "{}", told[5]);
    let made = |(sample, layer): (u8, u8)| {
        boardproof_micro::sketch(77, layer.into(), (boardproof_micro::Dtype::I8, 2), &[sample + layer + 1; 40])
    };
    let expected: Vec<u8> = (0..9).flat_map(|s| (0..3).map(move |l| (s, l))).flat_map(made).collect();
    assert_eq!(streams, [("Output(0)".to_owned(), expected)]);
    assert_eq!(kinds(&told).last(), Some(&"Ended(Completed)"));
    assert_eq!(rig.state.borrow().inferences, 0, "the model as it is timed has not run");
}

#[test]
fn no_pass_that_times_tells_sketches_and_an_engine_that_shows_nothing_says_so() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
    let run = boardproof_protocol::Run { options: "sketch=77", ..rig.order(1, Pass::Latency, model, samples, 3) };
    rig.say(&Request::Run(run));
    let (told, streams) = rig.follow(1);
    assert!(told.iter().all(|event| !event.contains("sketch")), "{told:#?}");
    assert_eq!(streams.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Ticks"]);
    let mut rooms = rig::rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 2], 32), 8);
    let run = boardproof_protocol::Run { options: "sketch=77", ..rig.order(1, Pass::Accuracy, model, samples, 3) };
    rig.say(&Request::Run(run));
    let (told, streams) = rig.follow(1);
    assert!(told.iter().any(|event| event.contains("this engine shows no layers")) && streams.is_empty(), "{told:#?}");
    assert_eq!(kinds(&told).last(), Some(&"Ended(CannotRun)"));
}

#[test]
fn answers_larger_than_the_room_for_events_leave_piece_by_piece() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [2500, 700], 4000), 8);
    let run = rig.order(1, Pass::Accuracy, model, samples, 10);
    rig.say(&Request::Run(run));
    // Nobody takes anything: the job waits.
    for _ in 0..100 {
        rig.agent.work();
    }
    assert!(!rig.agent.work() && rig.state.borrow().inferences < 3);
    let (_, streams) = rig.follow(1);
    let answers = |length: usize| (0..10).flat_map(|i| vec![i + 1_u8; length]).collect::<Vec<u8>>();
    assert_eq!(streams, [("Output(0)".into(), answers(2500)), ("Output(1)".into(), answers(700))]);
}

#[test]
fn the_latency_pass_gives_ticks_as_they_are_and_in_a_histogram() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
    let run = rig.order(1, Pass::Latency, model, samples, 3);
    rig.say(&Request::Run(run));
    let (told, streams) = rig.follow(1);
    let expected = [
        "Phase(Started)",
        "Phase(Loading)",
        "Engine",
        "LoadNs",
        "ModelBytes",
        "FirstInferenceNs",
        "TimerOverheadNs",
        "TimerStepNs",
        "ClockSource",
        "Phase(Warming)",
        "Phase(Measuring)",
        "Progress",
        "Progress",
        "Progress",
        "Progress",
        "Progress",
        "Data",
        "MeasuredWallNs",
        "TicksHistogram",
        "PassWallNs",
        "Ended(Completed)",
    ];
    assert_eq!(kinds(&told), expected, "{told:#?}");
    assert_eq!(streams, [("Ticks".into(), [4_u64; 5].iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<u8>>())]);
    assert!(told[18].contains("index: 4, value: 5"), "{}", told[18]);
    assert_eq!(told[5], "Number { key: FirstInferenceNs, index: 0, value: 4000000 }");
    // One alone, two to warm up, five measured.
    assert_eq!(rig.state.borrow().inferences, 8);
}

#[test]
fn the_memory_pass_tells_every_part() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
    let run = rig.order(1, Pass::Memory, model, samples, 3);
    rig.say(&Request::Run(run));
    let (told, _) = rig.follow(1);
    for part in [
        "FlashBytes, index: 0, value: 123",
        "FlashBytes, index: 1, value: 100",
        "FlashBytes, index: 2, value: 20",
        "FlashBytes, index: 3, value: 3",
        "StaticRamBytes, index: 0, value: 1000",
        "ArenaPeakBytes, index: 0, value: 32",
        "ArenaBytes, index: 0, value: 4096",
        "StackPeakBytes, index: 0, value: 300",
        "StackBytes, index: 0, value: 512",
        "ModelBytes, index: 0, value: 9",
    ] {
        assert!(told.iter().any(|event| event.contains(part)), "{part}: {told:#?}");
    }
    assert_eq!(told.last().unwrap(), "Ended(Completed)");
}

#[test]
fn the_inspect_pass_lists_operators_and_finds_an_engine_that_remembers() {
    for (spoiled, agree) in [(Spoiled::No, "agree: true"), (Spoiled::Remembers, "agree: false")] {
        let mut rooms = rooms();
        let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
        rig.state.borrow_mut().spoiled = spoiled;
        let run = rig.order(1, Pass::Inspect, model, samples, 3);
        rig.say(&Request::Run(run));
        let (told, _) = rig.follow(1);
        assert_eq!(kinds(&told)[5..8], ["Operator(Operator", "Operator(Operator", "FirstInferenceNs"], "{told:#?}");
        let check = told.iter().find(|event| event.starts_with("SelfCheck")).unwrap();
        assert!(check.contains("samples: 3") && check.contains(agree), "{check}");
        assert_eq!(told.last().unwrap(), "Ended(Completed)");
    }
}

/// How a job ends that was changed in one way.
fn end_of(change: impl FnOnce(&mut Rig<'_>, &mut boardproof_protocol::Run<'_>), model: &[u8]) -> (String, String) {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, model, 8);
    let mut run = rig.order(1, Pass::Accuracy, model, samples, 10);
    change(&mut rig, &mut run);
    assert_eq!(rig.say(&Request::Run(run)), "Accepted { job: 1 }");
    let (told, _) = rig.follow(1);
    let why = told.iter().find(|event| event.starts_with("CannotRun")).cloned().unwrap_or_default();
    (told.last().unwrap().clone(), why)
}

#[test]
fn what_does_not_fit_is_told_with_what_is_needed_and_what_there_is() {
    let fits = adder(8, [4, 0], 2000);
    let (ended, why) = end_of(|_, _| {}, &adder(8, [4, 0], 5000));
    assert_eq!(ended, "Ended(OutOfMemory { limit_bytes: 8192 })");
    assert!(
        why.contains("arena: 5000 bytes needed, 4096 available (RAM 8192, of it 1000 static, 512 for the stack)"),
        "{why}"
    );
    let (ended, why) = end_of(|_, run| run.memory_limit_bytes = 2999, &fits);
    assert_eq!(ended, "Ended(OutOfMemory { limit_bytes: 2999 })");
    assert!(why.contains("arena: 2000 bytes needed, 1999 available"), "{why}");
    assert_eq!(end_of(|_, run| run.memory_limit_bytes = 3000, &fits).0, "Ended(Completed)");
    let (ended, why) = end_of(|rig, _| rig.state.borrow_mut().budget.flash = 131, &fits);
    assert_eq!(ended, "Ended(OutOfMemory { limit_bytes: 131 })");
    assert!(why.contains("flash: 132 bytes needed (123 firmware + 9 model), 131 available"), "{why}");
}

#[test]
fn a_model_that_is_none_and_an_engine_that_fails_are_statements_about_the_model() {
    let (ended, why) = end_of(|_, _| {}, b"no model");
    assert_eq!(ended, "Ended(CannotRun)");
    assert!(why.contains("stage: Parse") && why.contains("no adder"), "{why}");
    let (ended, why) = end_of(|rig, _| rig.state.borrow_mut().spoiled = Spoiled::Fails, &adder(8, [4, 0], 32));
    assert_eq!(ended, "Ended(CannotRun)");
    assert!(why.contains("stage: Run") && why.contains("it does not add up"), "{why}");
}

#[test]
fn missing_samples_harmed_memory_and_a_stack_without_paint_are_no_answers() {
    let model = adder(8, [4, 0], 32);
    let (ended, why) = end_of(|_, run| run.first = 1, &model);
    assert_eq!(ended, "Ended(NotStarted)");
    assert!(why.contains("samples: 10 from 1 on, 8 bytes each, were asked for; the evalset has 80 bytes"), "{why}");
    assert_eq!(end_of(|_, run| (run.first, run.count) = (u64::MAX, 2), &model).0, "Ended(NotStarted)");
    assert_eq!(end_of(|_, run| run.count = 0, &model).0, "Ended(NotStarted)");
    assert_eq!(end_of(|rig, _| rig.state.borrow_mut().spoiled = Spoiled::Harmed, &model).0, "Ended(NotStarted)");
    let ended = end_of(|rig, _| rig.state.borrow_mut().stack_peak = 512, &model).0;
    assert_eq!(ended, "Ended(OutOfMemory { limit_bytes: 512 })");
}

#[test]
fn a_deadline_is_kept_between_inferences() {
    let (ended, _) = end_of(
        |rig, run| {
            rig.state.borrow_mut().inference = 100;
            run.deadline_ms = 550;
        },
        &adder(8, [4, 0], 32),
    );
    assert_eq!(ended, "Ended(DeadlineExceeded { deadline_ms: 550 })");
}

#[test]
fn a_job_can_be_cancelled_even_when_nobody_took_its_events() {
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [2500, 700], 4000), 8);
    let run = rig.order(4, Pass::Accuracy, model, samples, 10);
    rig.say(&Request::Run(run));
    while rig.agent.work() {}
    let another = boardproof_protocol::Run { job: 5, ..run };
    assert!(rig.say(&Request::Run(another)).contains("code: Busy"));
    assert!(rig.say(&Request::Clean { epoch: rig::EPOCH }).contains("code: Busy"));
    assert_eq!(rig.say(&Request::Cancel { job: 4 }), "Accepted { job: 4 }");
    assert_eq!(rig.say(&Request::Cancel { job: 4 }), "Accepted { job: 4 }");
    let (told, _) = rig.follow(4);
    assert_eq!(told.last().unwrap(), "Ended(Cancelled)");
    assert_eq!(rig.say(&Request::Run(another)), "Accepted { job: 5 }");
    assert_eq!(rig.follow(5).0.last().unwrap(), "Ended(Completed)");
    assert!(rig.say(&Request::Clean { epoch: rig::EPOCH }).starts_with("Cleaned"));
    assert!(rig.say(&Request::Run(boardproof_protocol::Run { job: 6, ..run })).contains("code: MissingBlob"));
}

#[test]
fn a_fault_is_made_only_when_the_options_ask_for_it() {
    use boardproof_firmware_common::Fault;
    for (options, expected) in [("", vec![]), ("crash=udf", vec![Fault::Undefined]), ("crash=x", vec![])] {
        let mut rooms = rooms();
        let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
        let run = boardproof_protocol::Run { options, ..rig.order(1, Pass::Accuracy, model, samples, 1) };
        rig.say(&Request::Run(run));
        rig.follow(1);
        assert_eq!(rig.state.borrow().faults, expected, "{options}");
    }
    let mut rooms = rooms();
    let (mut rig, model, samples) = with_model(&mut rooms, &adder(8, [4, 0], 32), 8);
    let run = rig.order(1, Pass::Accuracy, model, samples, 1);
    rig.say(&Request::Run(run));
    rig.follow(1);
    let marks = &rig.state.borrow().marks;
    assert!(marks.contains(&(1, 4)) && marks.last() == Some(&(u32::MAX, 0)), "{marks:?}");
}
