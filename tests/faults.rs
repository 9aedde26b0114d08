//! What breaks in the middle of a run, on this machine: each is a fault or a verdict and never the other, what was measured is kept,
//! and the end comes in time.

use crate::processes::{agent_and_runner_of, lives};
use crate::tool::{Ended, Home, Running, root, signal, wait_for};
use boardproof_record::observation::{Ended as PassEnded, Fault, Observation, Outcome};
use boardproof_record::plan::{Cell, Pass};
use boardproof_record::record::{Record, RunEnded};
use std::path::PathBuf;
use std::time::Duration;

/// A fault must have ended the run by then; builds of programs not counted, they are warm by the first test.
const SOON: Duration = Duration::from_secs(120);

/// Starts a check of the float model alone, with a latency pass of so many inferences.
fn start(home: &Home, iterations: &str, more: &[&str]) -> Running {
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed = ["check", "mnist_dscnn", "-v", "f32", "--models", models, "--out", "record", "--samples", "64"];
    home.start([&fixed[..], &["--iterations", iterations], more].concat())
}

/// The one judged cell with its outcome.
fn judged(record: &Record) -> (&Cell, &Outcome) {
    let cell = record.plan.cells.iter().find(|c| c.judged).expect("one cell is judged");
    (cell, &record.outcomes[&cell.id])
}

/// File that tells that the accuracy pass is over and the latency pass comes next.
fn outputs(home: &Home) -> PathBuf {
    home.path("record/cells/mnist_dscnn+f32@host+tract/outputs.safetensors")
}

/// Waits until the latency pass runs, kills the agent in it, and sees that the runner does not outlive it.
fn kill_agent_in_latency_pass(home: &Home, run: &mut Running) {
    let tool = run.id();
    wait_for("the outputs", || outputs(home).exists().then_some(()));
    let (agent, runner) = wait_for("a pass", || agent_and_runner_of(tool));
    signal(agent.id, "KILL");
    wait_for("the runner's end", || (!lives(&runner)).then_some(()));
}

#[test]
fn an_agent_killed_once_is_started_again_and_the_attempt_is_told() {
    let home = Home::new();
    let mut run = start(&home, "20000", &[]);
    kill_agent_in_latency_pass(&home, &mut run);
    let ended = run.end();
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
    let record = home.record("record");
    let (_, outcome) = judged(&record);
    let Outcome::Measured(seen) = outcome else { panic!("{outcome:?}\n{}", ended.stderr) };
    assert!(seen.passes.iter().all(|p| p.ended == PassEnded::Completed));
    assert_eq!(seen.pass(Pass::Latency).unwrap().inferences, 20000);
    let failed: Vec<_> = seen.attempts.iter().filter(|a| a.error.is_some()).collect();
    assert_eq!(failed.len(), 1, "{:?}", seen.attempts);
    assert_eq!(failed[0].action, "latency pass");
    assert!(failed[0].error.as_ref().unwrap().contains("signal: 9"), "{failed:?}");
    assert!(ended.stdout.contains("flaky: repeated after a fault: latency pass"), "{}", ended.stdout);
    assert!(std::fs::read_to_string(home.path("record/report.md")).unwrap().contains("flaky: repeated"));
}

#[test]
fn an_agent_killed_again_and_again_is_a_fault_that_keeps_what_was_measured() {
    let home = Home::new();
    let mut run = start(&home, "20000000", &[]);
    kill_agent_in_latency_pass(&home, &mut run);
    kill_agent_in_latency_pass(&home, &mut run);
    let ended = run.end();
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
    ended.expect_code(4);
    assert!(ended.stdout.contains("INCOMPLETE"), "{}", ended.stdout);
    let record = home.record("record");
    let fault = device_fault(&record);
    assert_eq!(fault.action, "latency pass");
    assert_eq!(fault.attempts.iter().filter(|a| a.error.is_some()).count(), 2, "{:?}", fault.attempts);
    let kept: Vec<_> = fault.passes.iter().map(|p| (p.pass, p.ended)).collect();
    assert!(kept.contains(&(Pass::Accuracy, PassEnded::Completed)), "{kept:?}");
    // What is kept is whole: opening the record proves every digest.
    boardproof_lab::store::open(&home.path("record")).unwrap();
}

fn device_fault(record: &Record) -> &Fault {
    match judged(record).1 {
        Outcome::DeviceFault(fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_killed_host_leaves_no_orphan_no_lock_and_a_readable_record() {
    let home = Home::new();
    let run = start(&home, "20000000", &[]);
    wait_for("the outputs", || outputs(&home).exists().then_some(()));
    let (agent, runner) = wait_for("a pass", || agent_and_runner_of(run.id()));
    run.signal("KILL");
    assert_eq!(run.end().code, None);
    wait_for("the end of agent and runner", || (!lives(&agent) && !lives(&runner)).then_some(()));
    let record = home.record("record");
    assert_eq!(record.ended, RunEnded::Running);
    let judged_again = home.run(["gate", "record"]);
    judged_again.expect_code(4);

    std::fs::rename(home.path("record"), home.path("killed")).unwrap();
    let again = start(&home, "700", &["--wait", "0"]).end();
    assert!(again.elapsed < SOON, "{:?}", again.elapsed);
    assert_eq!(home.record("record").ended, RunEnded::Finished);
    assert!(matches!(judged(&home.record("record")).1, Outcome::Measured(_)), "{}", again.stderr);
}

#[test]
fn an_interrupted_run_says_so_and_keeps_the_cells_that_were_measured() {
    let home = Home::new();
    let models = root().join("models");
    let models = models.to_str().unwrap();
    let run = home.start([
        "check",
        "mnist_dscnn",
        "-v",
        "heavy",
        "--models",
        models,
        "--out",
        "record",
        "--samples",
        "64",
        "--iterations",
        "20000",
    ]);
    let second = home.path("record/cells/mnist_dscnn+heavy@host+tract/outputs.safetensors");
    wait_for("the second cell's outputs", || second.exists().then_some(()));
    let (agent, runner) = wait_for("a pass", || agent_and_runner_of(run.id()));
    run.signal("INT");
    let ended = run.end();
    ended.expect_code(130);
    assert!(!lives(&agent) && !lives(&runner), "something outlives the run");
    let record = home.record("record");
    assert_eq!(record.ended, RunEnded::Interrupted);
    let reference = record.plan.cells.iter().find(|c| !c.judged).unwrap();
    assert!(matches!(record.outcomes[&reference.id], Outcome::Measured(_)));
    assert!(!matches!(judged(&record).1, Outcome::Measured(_)));
    // Nothing of the run can be taken for a pass.
    home.run(["gate", "record"]).expect_code(4);
}

#[test]
fn a_second_host_is_told_who_holds_the_unit_or_waits_for_it() {
    let home = Home::new();
    let first = start(&home, "20000000", &[]);
    let holder = first.id();
    wait_for("a pass", || agent_and_runner_of(holder));
    let models = root().join("models");
    let models = models.to_str().unwrap();
    let second = |out: &str, wait: &str| {
        let fixed = ["check", "mnist_dscnn", "-v", "f32", "--models", models, "--samples", "64", "--iterations", "700"];
        home.start([&fixed[..], &["--out", out, "--wait", wait]].concat())
    };
    let refused = second("refused", "0").end();
    assert!(refused.elapsed < SOON, "{:?}", refused.elapsed);
    refused.expect_code(4).expect_said(&["unit 'host' is held by", &format!("process {holder}")]);
    assert!(matches!(judged(&home.record("refused")).1, Outcome::ShipFailed(_)));

    let mut waiting = second("waiting", "600");
    wait_for("the word that it waits", || waiting.has_said("waiting up to 600 s").then_some(()));
    assert!(!waiting.has_ended(), "it did not wait");
    first.signal("INT");
    first.end().expect_code(130);
    let ended = waiting.end();
    ended.expect_said(&[&format!("process {holder}; waiting up to 600 s")]);
    assert!(matches!(judged(&home.record("waiting")).1, Outcome::Measured(_)), "{}", ended.stderr);
}

/// Checks a variant on a target file of the test's own, which differs from `host` in its limits.
fn with_limits(home: &Home, variant: &str, limits: &str) -> Ended {
    let folder = home.path("targets");
    std::fs::create_dir(&folder).unwrap();
    let text = std::fs::read_to_string(root().join("targets/host.toml")).unwrap();
    let (head, _) = text.split_once("[limits]").unwrap();
    let tight = head.replace("name = \"host\"", "name = \"tight\"");
    std::fs::write(folder.join("tight.toml"), format!("{tight}[limits]\n{limits}\n")).unwrap();
    let models = root().join("models");
    let models = models.to_str().unwrap();
    let fixed =
        ["check", "mnist_dscnn", "-v", variant, "--models", models, "--out", "record", "--target-folder", "targets"];
    home.run([&fixed[..], &["-t", "tight", "--samples", "64", "--iterations", "20000"]].concat())
}

/// The outcome of the variant on the tight target: it was measured, whatever its passes came to.
fn on_tight(record: &Record) -> &Observation {
    let (_, outcome) = judged(record);
    let Outcome::Measured(seen) = outcome else { panic!("{outcome:?}") };
    seen
}

#[test]
fn a_model_that_needs_more_memory_than_there_is_fails_and_is_no_fault() {
    let home = Home::new();
    let ended = with_limits(&home, "heavy", "memory_bytes = 3000000\npass_deadline_s = 60");
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
    ended.expect_code(1);
    assert!(ended.stdout.contains("FAIL") && ended.stdout.contains("memory"), "{}", ended.stdout);
    let record = home.record("record");
    let ends: Vec<_> = on_tight(&record).passes.iter().map(|p| p.ended).collect();
    assert!(ends.contains(&PassEnded::OutOfMemory { limit_bytes: 3_000_000 }), "{ends:?}");
}

#[test]
fn a_pass_that_was_getting_on_at_its_deadline_says_nothing_about_the_model() {
    let home = Home::new();
    let ended = with_limits(&home, "heavy", "pass_deadline_s = 1");
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
    ended.expect_code(4);
    let record = home.record("record");
    let seen = on_tight(&record);
    let late = seen.pass(Pass::Latency).unwrap();
    assert_eq!(late.ended, PassEnded::DeadlineExceeded { deadline_ms: 1000 });
    assert!(0 < late.inferences && late.inferences < 20_000, "{}", late.inferences);
    assert_eq!(seen.pass(Pass::Accuracy).unwrap().ended, PassEnded::Completed, "what was measured before is kept");
    let words = format!("{} of 20000 inferences of the latency pass were done within 1 s", late.inferences);
    assert!(ended.stdout.contains(&words) && ended.stdout.contains("pass_deadline_s"), "{}", ended.stdout);
}
