//! Microcontrollers that crash, hang or never answer: what happened is told, what can be done is done once, and no such cell passes.

use crate::tool::{Ended, Home, root};
use boardproof_lab::build::Artifact;
use boardproof_lab::hands::{Core, Hands, HandsError, Look, Restart};
use boardproof_lab::lease::Lease;
use boardproof_lab::measure::{Bench, Job, JobOptions};
use boardproof_lab::reach::{Destination, Reach};
use boardproof_lab::ship::Blob;
use boardproof_lab::store::RecordFolder;
use boardproof_lab::symbols::Symbols;
use boardproof_plan::{builtin, parse_target};
use boardproof_record::observation::{Attempt, Fault, Outcome};
use boardproof_record::plan::{Cell, Role, Unit};
use boardproof_record::record::{Build, Record};
use boardproof_record::{Digest, UnitName};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const BOARD: &str = "mps2-an386";

/// Checks two variants on a board whose target file is that of [`BOARD`] with these words changed; the first cell crashes.
fn check(home: &Home, how: &str, changes: &[(&str, &str)]) -> Ended {
    let (_, text) = builtin::TARGETS.iter().find(|(name, _)| *name == BOARD).expect("it is one of them");
    let mut text = text.replace("name = \"mps2-an386\"", "name = \"board\"");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::create_dir(home.path("targets")).expect("the home is new");
    std::fs::write(home.path("targets/board.toml"), text).expect("the home can be written");
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed =
        ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "-v", "bad_calib_3", "--samples", "20", "--iterations", "20"];
    let places =
        ["--models", models, "--target", "board", "--target-folder", "targets", "--out", "out", "--crash", how];
    home.run([&fixed[..], &places].concat())
}

/// The cells on the board, in the order in which they were measured.
fn on_board(record: &Record) -> Vec<&Outcome> {
    let cells = record.plan.cells.iter().filter(|cell| cell.unit.as_str() == "board");
    cells.map(|cell| &record.outcomes[&cell.id]).collect()
}

/// The second cell: measured at the first attempt at everything.
fn next(outcome: &Outcome) -> &[Attempt] {
    let Outcome::Measured(seen) = outcome else { panic!("{outcome:?}") };
    assert_eq!(seen.passes.len(), 4);
    assert!(seen.attempts.iter().all(|attempt| attempt.error.is_none()), "{:?}", seen.attempts);
    &seen.attempts
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_crash_is_told_with_its_place_and_the_next_cell_is_measured() {
    for (how, words) in [
        ("bus", "the firmware crashed: bus fault of data for address 0xfffffff0 at 0x"),
        ("udf", "the firmware crashed: undefined instruction at 0x"),
        ("panic", "the firmware panicked at 0x"),
        ("hang", "the watchdog found the firmware stuck at 0x"),
    ] {
        let home = Home::new();
        let ended = check(&home, how, &[]);
        ended.expect_code(1);
        assert!(ended.stdout.contains(words), "{}", ended.stdout);
        let record = home.record("out");
        let [Outcome::DeviceFault(fault), after] = on_board(&record)[..] else { panic!("{:?}", on_board(&record)) };
        assert!(fault.causes[0].starts_with("the unit was reset: boot 0x"), "{fault:?}");
        let cause = &fault.causes[1];
        assert!(cause.starts_with(words) && cause.contains(" in job ") && cause.contains("cfsr 0x"), "{cause}");
        assert!(how == "panic" || cause.contains(" in boardproof_firmware_common::"), "{cause}");
        assert_eq!(cause.contains("it came before the 334 s that a silence is waited for"), how == "hang", "{cause}");
        assert_eq!(fault.attempts.iter().filter(|a| a.action == "inspect pass" && a.error.is_some()).count(), 2);
        next(after);
    }
}

/// The fault of a board that hung, and what was done before the next cell.
fn hung(home: &Home, ended: &Ended, attempts: &mut Vec<Attempt>) -> Fault {
    // The second cell was measured, and is a bad variant.
    ended.expect_code(1);
    let record = home.record("out");
    let [Outcome::TimedOut(fault), after] = on_board(&record)[..] else { panic!("{:?}", on_board(&record)) };
    attempts.extend(next(after).iter().cloned());
    fault.clone()
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_board_that_hangs_is_seen_at_it_and_reset_by_its_probe_before_the_next_cell() {
    let (home, mut attempts) = (Home::new(), Vec::new());
    let ended = check(&home, "stuck", &[("pass_deadline_s = 300", "pass_deadline_s = 5")]);
    let fault = hung(&home, &ended, &mut attempts);
    let seen = fault.causes.last().expect("it has causes");
    assert!(
        seen.starts_with("seen by its debug probe: the core runs, in job ") && seen.contains("it stood at 0x"),
        "{seen}"
    );
    assert!(seen.contains(" in boardproof_firmware_common::"), "{seen}");
    assert!(fault.attempts.iter().any(|a| a.action.starts_with("wait for a unit that says nothing")), "{fault:?}");
    assert_eq!(attempts[0].action, Attempt::RESET);
    assert!(ended.stdout.contains("the unit had to be started anew for this cell: reset"), "{}", ended.stdout);
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn without_the_grant_it_is_switched_off_and_on() {
    let (home, mut attempts) = (Home::new(), Vec::new());
    let changes = [("pass_deadline_s = 300", "pass_deadline_s = 5"), ("\"reset\", ", "")];
    let ended = check(&home, "stuck", &changes);
    hung(&home, &ended, &mut attempts);
    assert_eq!(attempts[0].action, "switch the unit off and on");
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn a_board_that_hangs_is_called_so_before_its_watchdog_comes() {
    let (home, mut attempts) = (Home::new(), Vec::new());
    // Its clock goes eight times as fast: its watchdog is that much shorter for this machine.
    let changes = [("ns_each = 32", "ns_each = 256"), ("instruction_shift = 5", "instruction_shift = 8")];
    let ended = check(&home, "stuck", &changes);
    let fault = hung(&home, &ended, &mut attempts);
    let cause = &fault.causes[0];
    assert!(cause.contains("no progress for ") && cause.contains("where 41 s is the most"), "{cause}");
    assert!(cause.contains("watchdog, which had not come, starts it anew after 46 s"), "{cause}");
    let waited = fault.attempts.iter().find(|a| a.error.is_some()).expect("the pass failed");
    assert!((41_000..60_000).contains(&waited.elapsed_ms), "{waited:?}");
    assert_eq!(attempts[0].action, Attempt::RESET);
}

/// Hands that note what they are told, and whose reset does not work.
struct Noting(Rc<RefCell<Vec<Restart>>>);

impl Hands for Noting {
    fn look(&mut self, _stands: bool) -> Option<Result<Look, HandsError>> {
        Some(Ok(Look { core: Core::LockedUp, record: None, stands: None }))
    }

    fn restarts(&self) -> Vec<Restart> {
        vec![Restart::Reset, Restart::Cycle]
    }

    fn restart(&mut self, how: Restart) -> Result<(), HandsError> {
        self.0.borrow_mut().push(how);
        if how == Restart::Reset { Err("the probe is not plugged in".into()) } else { Ok(()) }
    }

    fn writes(&self) -> bool {
        false
    }

    fn write(&mut self, _address: u64, _bytes: &[u8]) -> Result<(), HandsError> {
        Err("nothing is to be written".into())
    }
}

fn agent() -> Artifact {
    let digest = Digest::of(b"agent");
    let (program, triple, builder) = ("agent".into(), "t".into(), "b".into());
    let build = Build { program, triple, builder, source: digest, digest, bytes: 1, cached: true, layout: None };
    Artifact { path: "agent".into(), build }
}

#[test]
fn a_unit_that_never_answers_is_started_anew_once_in_each_way_and_tried_no_more() {
    let home = Home::new();
    let (_, text) = builtin::TARGETS.iter().find(|(name, _)| *name == BOARD).expect("it is one of them");
    let target = parse_target(BOARD, text).expect("a target of boardproof");
    let name = UnitName::new(BOARD).expect("a name");
    let unit: Unit =
        serde_json::from_value(serde_json::json!({ "name": BOARD, "target": BOARD, "tags": [] })).expect("a unit");
    let lease = Lease::take(&home.path("leases"), &name, Duration::ZERO, || false, &mut |_| {}).expect("it is free");
    let nowhere = Destination::Line(format!("unix:{}", home.path("nobody").display()));
    let reach =
        Reach::new(&unit, &target, Some(&agent()), &home.path("stores"), Some(nowhere)).expect("it is complete");
    let told = Rc::new(RefCell::new(Vec::new()));
    let bench = Bench::new(reach, &lease, home.path("cache"), Duration::ZERO, || false);
    let bench = bench.of_a_starting_unit().with_patience(Duration::ZERO);
    let mut bench = bench.with_hands(Box::new(Noting(Rc::clone(&told))), Symbols::default());
    let folder = RecordFolder::create(&home.path("out")).expect("the folder is new");
    let blob = Blob { what: "model".into(), path: "model".into(), digest: Digest::of(b""), program: false };
    let cell = Cell {
        id: serde_json::from_value("mnist_dscnn/v@mps2-an386/micro".into()).expect("an id"),
        model: serde_json::from_value("mnist_dscnn".into()).expect("a name"),
        variant: serde_json::from_value("v".into()).expect("a name"),
        unit: name,
        target: target.name.clone(),
        engine: target.engine.clone(),
        role: Role::Device,
        judged: true,
        passes: Vec::new(),
    };
    let job = Job {
        cell: &cell,
        runner: None,
        library: None,
        model: blob.clone(),
        evalset: blob,
        sample_bytes: None,
        options: JobOptions::from(""),
        target: &target,
        agent_digest: None,
    };
    let (outcome, _) = bench.measure(&job, &folder, &mut |_| {});
    let Outcome::ShipFailed(fault) = outcome else { panic!("{outcome:?}") };
    let attempts: Vec<_> = fault.attempts.iter().map(|a| (a.action.as_str(), a.error.is_some())).collect();
    let expected = [
        ("reach the unit", true),
        ("reset the unit by its debug probe", true),
        ("switch the unit off and on", false),
        ("prepare the unit", true),
    ];
    assert_eq!(attempts, expected, "{fault:?}");
    assert!(fault.causes.last().is_some_and(|cause| cause.contains("locked up")), "{fault:?}");
    let (outcome, _) = bench.measure(&job, &folder, &mut |_| {});
    let Outcome::ShipFailed(fault) = outcome else { panic!("{outcome:?}") };
    assert!(fault.causes[0].contains("not there in an earlier cell"), "{fault:?}");
    assert_eq!(*told.borrow(), [Restart::Reset, Restart::Cycle], "once each");
}
