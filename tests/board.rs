//! What breaks on a board: a whole ARM Linux in QEMU behind SSH, faults set from inside the run.
//!
//! In each: the right kind of outcome, every attempt told, what was measured kept, an end in bounded time.

use crate::site::{BOOT, Boot, MONITOR, SOON, Site, UNIT, never, programs, running, says};
use crate::tool::{Home, Running, root, signal, wait_for};
use boardproof_lab::events::Event;
use boardproof_lab::link::client::{Client, ClientError};
use boardproof_lab::link::{Link, UnitLink};
use boardproof_lab::power::{Power, QemuBoard};
use boardproof_plan::{builtin, parse_target};
use boardproof_protocol::{Acquire, Begin, Chunk, Coding, Digest, RefusalCode, Reply, Request};
use boardproof_record::observation::{Ended, Fault, Observation, Outcome};
use boardproof_record::plan::Pass;
use boardproof_record::record::RunEnded;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Timed inferences that take a second or two on the board.
const FEW: u32 = 300;
/// So many that the latency pass is still at work when a test has done something to the board.
const MANY: u32 = 100_000;

fn measured(outcome: Outcome) -> Observation {
    match outcome {
        Outcome::Measured(seen) => *seen,
        other => panic!("{other:?}"),
    }
}

fn not_shipped(outcome: &Outcome) -> &Fault {
    match outcome {
        Outcome::ShipFailed(fault) => fault,
        other => panic!("{other:?}"),
    }
}

/// Every pass ran to its end, with nothing to tell about.
#[track_caller]
fn whole(seen: &Observation) {
    assert!(seen.passes.iter().all(|p| p.ended == Ended::Completed), "{:?}", seen.passes);
    assert_eq!(seen.passes.len(), 4);
    assert!(seen.attempts.iter().all(|a| a.error.is_none()), "{:?}", seen.attempts);
}

fn in_latency_pass(event: &Event) -> bool {
    matches!(event, Event::PassAdvanced { pass: Pass::Latency, .. })
}

/// The SSH client that leads to the agent of this board.
fn ssh_client(board: &QemuBoard) -> u32 {
    let (us, port) = (std::process::id(), format!(" -p {} ", board.destination().port.expect("it listens")));
    let clients = crate::processes::all().into_iter().filter(|p| p.parent == us && p.command.starts_with("ssh "));
    clients
        .filter(|p| p.command.contains(&port) && p.command.contains(" serve "))
        .map(|p| p.id)
        .next()
        .expect("a link is in use")
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_link_cut_in_mid_upload_goes_on_where_it_stopped() {
    let mut site = Site::boot(Boot::default());
    let (cell, mut bench) = (site.cell(FEW), site.bench());
    let mut cut_at = None;
    let mut first_after = None;
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |board, event| {
        let Event::Shipped { what, done, total } = event else { return };
        if what != "runner" {
            return;
        }
        match cut_at {
            None if *done > total / 2 => {
                signal(ssh_client(board), "KILL");
                cut_at = Some(*done);
            }
            // Pieces that were on their way may still be answered; a restart would begin below.
            Some(_) if first_after.is_none() => first_after = Some(*done),
            _ => {}
        }
    });
    assert!(elapsed < SOON, "{elapsed:?}");
    let seen = measured(outcome);
    let failed: Vec<_> = seen.attempts.iter().filter(|a| a.error.is_some()).collect();
    assert_eq!(failed.len(), 1, "{:?}", seen.attempts);
    assert_eq!(failed[0].action, "prepare the unit");
    let (cut_at, after) = (cut_at.expect("it was cut"), first_after.expect("it went on"));
    assert!(after >= cut_at, "cut at {cut_at}, began again at {after}");
    // What the first attempt sent counts too: all of the runner, and at most a window of it twice.
    let coded = site.home.path(&format!("cache/boardproof/host/coded/{}.arm64.zst", site.runner.build.digest));
    let coded = std::fs::metadata(coded).expect("the runner was compressed").len();
    let sent = seen.shipped.wire_bytes;
    assert!(sent > coded && sent < coded + coded / 2 + 2 * 1024 * 1024, "{sent} sent, the runner has {coded}");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_reset_in_mid_run_is_a_fault_that_keeps_what_was_measured() {
    let mut site = Site::boot(Boot::default());
    let (cell, mut bench) = (site.cell(MANY), site.bench());
    let mut reset = false;
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |board, event| {
        if !reset && in_latency_pass(event) {
            board.reset(BOOT).expect("the board comes up again");
            reset = true;
        }
    });
    assert!(reset && elapsed < SOON, "{elapsed:?}");
    let Outcome::DeviceFault(fault) = outcome else { panic!("{outcome:?}") };
    assert_eq!(fault.action, "latency pass");
    assert!(fault.attempts.iter().any(|a| a.error.is_some()), "{:?}", fault.attempts);
    assert!(fault.causes.join(": ").contains("reset"), "{:?}", fault.causes);
    let kept: Vec<_> = fault.passes.iter().map(|p| (p.pass, p.ended)).collect();
    assert!(kept.contains(&(Pass::Accuracy, Ended::Completed)), "{kept:?}");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_that_hangs_is_given_up_used_when_it_comes_back_and_tried_no_more_when_it_does_not() {
    let mut site = Site::boot(Boot::default());
    let (cell, mut bench) = (site.cell(MANY), site.bench().with_patience(Duration::from_secs(3)));
    let mut hung = false;
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |board, event| {
        if !hung && in_latency_pass(event) {
            board.hang(MONITOR).expect("the monitor answers");
            hung = true;
        }
    });
    assert!(hung && elapsed < SOON, "{elapsed:?}");
    let Outcome::TimedOut(fault) = outcome else { panic!("{outcome:?}") };
    assert_eq!(fault.action, "latency pass");
    assert!(fault.passes.iter().any(|p| p.pass == Pass::Accuracy && p.ended == Ended::Completed));

    // It is back: the next cell makes a new link at its first attempt.
    site.board().resume(MONITOR).expect("the monitor answers");
    let short = site.cell(FEW);
    whole(&measured(site.measure(&mut bench, &short, |_, _| {}).0));

    // It is off: one cell finds out, one waits for it, and no other pays for it.
    site.board().off(MONITOR).expect("it can be switched off");
    let (outcome, elapsed) = site.measure(&mut bench, &short, |_, _| {});
    assert!(elapsed < SOON && !matches!(outcome, Outcome::Measured(_)), "{outcome:?}");
    let (outcome, elapsed) = site.measure(&mut bench, &short, |_, _| {});
    assert!(elapsed < SOON, "{elapsed:?}");
    assert!(not_shipped(&outcome).causes.join(": ").contains("refused"), "{outcome:?}");
    for _ in 0..3 {
        let (outcome, elapsed) = site.measure(&mut bench, &short, |_, _| {});
        assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
        let fault = not_shipped(&outcome);
        assert!(fault.causes[0].contains("nor within 3 s after it"), "{fault:?}");
        assert!(fault.causes[0].contains("refused") && fault.hints[0].contains("console"), "{fault:?}");
    }
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn an_agent_killed_on_the_board_is_started_again_and_the_cell_is_flaky() {
    let mut site = Site::shared();
    let (cell, mut bench) = (site.cell(FEW), site.bench());
    let mut killed = None;
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |board, event| {
        if killed.is_none() && in_latency_pass(event) {
            let (agents, runners) = (running(board, true), running(board, false));
            let [agent] = agents[..] else { panic!("{agents:?}") };
            says(board, "bp", &format!("kill -9 {agent}"));
            killed = Some(runners);
        }
    });
    assert!(elapsed < SOON, "{elapsed:?}");
    let killed = killed.expect("there was a latency pass");
    let left = site.running(false);
    assert!(killed.iter().all(|runner| !left.contains(runner)), "the runner outlives its agent: {left:?}");
    let seen = measured(outcome);
    assert!(seen.passes.iter().all(|p| p.ended == Ended::Completed), "{:?}", seen.passes);
    assert_eq!(seen.pass(Pass::Latency).expect("it was planned").inferences, u64::from(FEW));
    let failed: Vec<_> = seen.attempts.iter().filter(|a| a.error.is_some()).collect();
    assert_eq!(failed.len(), 1, "{:?}", seen.attempts);
    assert_eq!(failed[0].action, "latency pass");
    assert_eq!(seen.attempts.iter().filter(|a| a.action == "latency pass").count(), 2, "repeated once");
    drop(bench);
    let judged = site.judged(&cell, Outcome::Measured(Box::new(seen)));
    assert!(judged.stdout.contains("flaky: repeated after a fault: latency pass"), "{judged:?}");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_clock_that_jumps_changes_no_result_no_deadline_and_no_lease() {
    let mut site = Site::shared();
    let (cell, mut bench) = (site.cell(FEW), site.bench());
    let set = |board: &QemuBoard, date: &str| {
        let answer = says(board, "root", &format!("date -s \"{date}\" && date +%Y"));
        assert!(answer.ends_with(&date[..4]), "{answer}");
    };
    let (mut jumps, mut ticked) = (0, Duration::ZERO);
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |board, event| match (event, jumps) {
        (Event::PassStarted { pass: Pass::Accuracy }, 0) => {
            set(board, "2061-07-28 12:00:00");
            jumps = 1;
        }
        (Event::PassAdvanced { pass: Pass::Latency, .. }, 1) => {
            set(board, "1986-02-09 12:00:00");
            jumps = 2;
        }
        (Event::PassAdvanced { pass: Pass::Latency, done, total }, 2) if done < total => {
            set(board, "2061-07-28 12:00:00");
            jumps = 3;
        }
        _ => {}
    });
    assert!(jumps == 3 && elapsed < SOON, "{jumps} jumps, {elapsed:?}");
    let seen = measured(outcome);
    whole(&seen);
    let ticks = seen.pass(Pass::Latency).and_then(|p| p.ticks.as_ref()).expect("a latency pass has ticks");
    let bytes = std::fs::read(site.folder.path().join(&ticks.path)).expect("they are in the record");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("they are a file of tensors");
    let ticks = file.tensor("ticks").expect("its one tensor");
    for tick in ticks.data().chunks(8) {
        ticked += Duration::from_nanos(u64::from_le_bytes(tick.try_into().expect("eight bytes")));
    }
    assert!(ticked > Duration::ZERO && ticked < elapsed, "inferences took {ticked:?} of {elapsed:?}");
    let year = |facts: &boardproof_record::observation::Facts| facts.numbers["wall_clock_unix_s"] / 31_556_952 + 1970;
    assert_eq!(year(&seen.environment_after), 2061, "the board does tell its own time");
    assert_ne!(year(&seen.environment_before), 2061);
    // The lease that was taken years ago, or years from now, is in force for what is left of its minute.
    let mut other = connect(&site);
    match acquire(&mut other, u64::MAX / 2, "another host", 1000) {
        Err(ClientError::Held { remaining_s, .. }) => assert!((1..=60).contains(&remaining_s), "{remaining_s} s"),
        other => panic!("{other:?}"),
    }
    drop(bench);
    says(site.board(), "root", "date -s \"2026-01-01 12:00:00\"");
}

/// A session of a host of its own with the board's agent.
fn connect(site: &Site) -> Client<UnitLink> {
    site.reach().connect(never).expect("the board is there").0
}

fn acquire<L: Link>(client: &mut Client<L>, epoch: u64, holder: &str, ttl_ms: u32) -> Result<(), ClientError> {
    let wish = Acquire { epoch, holder, ttl_ms };
    client.ask("take the lease", &Request::Acquire(wish), |r| matches!(r, Reply::Leased { .. }).then_some(()))
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_host_whose_epoch_is_over_cannot_write() {
    let site = Site::shared();
    let (mut first, mut second) = (connect(&site), connect(&site));
    // Above whatever the board has seen, so that neither is refused for its epoch alone.
    let epoch = u64::MAX / 2;
    acquire(&mut first, epoch, "first", 1500).expect("the board is free");
    let refused = acquire(&mut second, epoch + 1, "second", 60_000).expect_err("it is held");
    assert!(matches!(&refused, ClientError::Held { holder, .. } if holder == "first"), "{refused}");
    // The first host sleeps; its lease ends by the board's own clock.
    wait_for("the end of the first lease", || acquire(&mut second, epoch + 1, "second", 60_000).ok());
    let digest = Digest([7; 32]);
    let begin = Begin { epoch, digest, size: 10, coded_size: 10, coding: Coding::Plain, program: false };
    let chunk = Chunk { epoch, digest, offset: 0, bytes: b"0123456789" };
    let mut refuses = |what: &'static str, request: Request<'_>| {
        let error = first.ask::<()>(what, &request, |_| None).expect_err("it holds nothing any more");
        assert!(matches!(error, ClientError::Refused { code: RefusalCode::NotHolder, .. }), "{error}");
    };
    refuses("begin", Request::Begin(begin));
    refuses("send a piece", Request::Chunk(chunk));
    refuses("finish", Request::Finish { epoch, digest });
    refuses("clean", Request::Clean { epoch });
    let renewal = acquire(&mut first, epoch, "first", 1500).expect_err("somebody else has it");
    assert!(matches!(&renewal, ClientError::Held { holder, .. } if holder == "second"), "{renewal}");
    second.bye();
    first.bye();
    // The tests that share this board rise above the epoch, as any host does.
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_disk_that_is_full_is_a_fault_with_the_room_that_is_left_and_the_upload_goes_on_when_there_is_room() {
    let mut site = Site::boot(Boot { home_kb: Some(48 * 1024), ..Boot::default() });
    let (cell, mut bench) = (site.cell(FEW), site.bench());
    let fill = |board: &QemuBoard, megabytes: u32| {
        // A writer of its own, until the disk is full or it has enough.
        says(board, "bp", &format!("dd if=/dev/zero of=$HOME/fill bs=1024k count={megabytes} 2>&1"))
    };
    fill(site.board(), 32);
    let mut shipped = false;
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |_, event| {
        shipped |= matches!(event, Event::Shipped { .. });
    });
    assert!(!shipped && elapsed < SOON, "{elapsed:?}");
    let fault = not_shipped(&outcome);
    assert_eq!(fault.action, "prepare the unit");
    let causes = fault.causes.join(": ");
    assert!(causes.contains("NoSpace") && causes.contains("not enough room in /home/bp/.cache/boardproof"), "{causes}");
    assert!(fault.hints.iter().any(|h| h.contains("agent clean")), "{:?}", fault.hints);
    site.judged(&cell, outcome.clone()).expect_code(4);

    // Enough room at first; then somebody else writes while the runner is on its way.
    site.says("rm $HOME/fill");
    let (mut filled, mut taken) = (false, 0);
    let (outcome, elapsed) = site.measure(&mut bench, &cell, |board, event| {
        let Event::Shipped { what, done, total } = event else { return };
        if what == "runner" {
            taken = *done;
        }
        if what == "runner" && !filled && *done > total / 3 {
            assert!(fill(board, 1000).contains("No space left"));
            filled = true;
        }
    });
    assert!(filled && elapsed < SOON, "{elapsed:?}");
    let fault = not_shipped(&outcome);
    let causes = fault.causes.join(": ");
    assert!(causes.contains("NoSpace") && causes.contains("could not ship the runner"), "{causes}");
    assert!(fault.hints.iter().any(|h| h.contains("agent clean")), "{:?}", fault.hints);
    site.judged(&cell, outcome.clone()).expect_code(4);

    // What had arrived is still there, and nothing of it is sent again.
    site.says("rm $HOME/fill");
    let mut first = None;
    let (outcome, _) = site.measure(&mut bench, &cell, |_, event| {
        if let Event::Shipped { what, done, .. } = event
            && what == "runner"
        {
            first.get_or_insert(*done);
        }
    });
    whole(&measured(outcome));
    assert!(first.is_some_and(|first| first >= taken), "{first:?} after {taken}");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_model_that_hits_its_memory_limit_fails_and_the_agent_lives_on() {
    let mut site = Site::shared();
    let mut bench = site.bench();
    let mut tight = site.cell(FEW);
    tight.passes.iter_mut().for_each(|pass| pass.memory_limit_bytes = Some(1_200_000));
    let (outcome, elapsed) = site.measure(&mut bench, &tight, |_, _| {});
    assert!(elapsed < SOON, "{elapsed:?}");
    let seen = measured(outcome);
    assert!(
        seen.passes.iter().any(|p| p.ended == Ended::OutOfMemory { limit_bytes: 1_200_000 }),
        "{:?}",
        seen.passes.iter().map(|p| p.ended).collect::<Vec<_>>()
    );
    assert!(seen.attempts.iter().all(|a| a.error.is_none()), "{:?}", seen.attempts);
    let boot = seen.device.boot;
    let judged = site.judged(&tight, Outcome::Measured(Box::new(seen)));
    judged.expect_code(1);
    assert!(judged.stdout.contains("its limit is 1200000 bytes"), "{}", judged.stdout);
    // The same agent goes on with the next cell.
    let agents = site.running(true);
    let free = site.cell(FEW);
    let seen = measured(site.measure(&mut bench, &free, |_, _| {}).0);
    whole(&seen);
    assert_eq!((seen.device.boot, site.running(true)), (boot, agents));
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_model_that_needs_more_memory_than_the_board_has_fails_and_the_agent_lives_on() {
    let mut site = Site::boot(Boot { memory_mb: 128, ..Boot::default() });
    let mut bench = site.bench();
    let mut large = site.cell(FEW);
    for pass in &mut large.passes {
        if pass.pass == Pass::Accuracy {
            (pass.samples, pass.batch) = (2000, 2000);
        }
    }
    let (outcome, elapsed) = site.measure(&mut bench, &large, |_, _| {});
    assert!(elapsed < SOON, "{elapsed:?}");
    let agents = site.running(true);
    let seen = measured(outcome);
    let ends: Vec<_> = seen.passes.iter().map(|p| (p.pass, p.ended)).collect();
    assert!(ends.contains(&(Pass::Accuracy, Ended::OutOfMemory { limit_bytes: 0 })), "{ends:?}");
    assert!(ends.contains(&(Pass::Latency, Ended::Completed)), "one inference at a time fits: {ends:?}");
    assert!(seen.attempts.iter().all(|a| a.error.is_none()), "{:?}", seen.attempts);
    assert_eq!(agents.len(), 1, "the agent is alive");
    let judged = site.judged(&large, Outcome::Measured(Box::new(seen)));
    judged.expect_code(1);
    assert!(judged.stdout.contains("ran out of the unit's memory"), "{}", judged.stdout);
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_target_of_another_architecture_is_told_before_anything_is_shipped() {
    let mut site = Site::shared();
    // Whoever wrote the inventory took the board for a PC.
    let as_host = |text: String| {
        let host = std::fs::read_to_string(root().join("targets/host.toml")).expect("the target 'host'");
        let build = |text: &str| {
            let from = text.find("[build]").expect("a target has its programs");
            text[from..text.find("[link]").expect("a target has its link")].to_owned()
        };
        text.replace(&build(&text), &build(&host)).replace("architecture = \"aarch64\"", "architecture = \"x86_64\"")
    };
    const FILES: &str = "find $HOME/.cache -type f 2>/dev/null | sort";
    let before = site.says(FILES);
    let home = Home::new();
    let ended = site.start(&home, as_host, &["--out", "record", "--iterations", "700"]).end();
    ended.expect_code(4);
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
    let outcome = Site::outcome(&home, "record");
    let fault = not_shipped(&outcome);
    let said = "unit 'bench' cannot run the agent for x86_64: its machine is 'aarch64'";
    assert!(fault.causes.iter().any(|c| c == said), "{:?}", fault.causes);
    assert!(fault.hints.iter().any(|h| h.contains("boardproof targets")), "{:?}", fault.hints);
    assert!(ended.stdout.contains("INCOMPLETE") && ended.stdout.contains(said), "{}", ended.stdout);
    assert_eq!(site.says(FILES), before, "something was brought to the board");

    // The target is right, its runner is not.
    let host = builtin::TARGETS.iter().find(|(name, _)| *name == "host").expect("a target of boardproof");
    let (_, runner) = programs(&parse_target(host.0, host.1).expect("a target"));
    let (cell, mut bench) = (site.cell(FEW), site.bench());
    let (outcome, shipped) = site.measure_with(&mut bench, &cell, &runner.path);
    let fault = not_shipped(&outcome);
    assert!(!shipped && fault.causes[0].contains("expected a program for aarch64, got one for x86_64"), "{fault:?}");
    assert!(fault.hints.iter().any(|h| h.contains("runner_triple")), "{:?}", fault.hints);
}

/// Makes a program for the board that needs what the board does not have: a version of its C library, or a library of its own.
fn needing(folder: &Path, soname: &str, version: Option<&str>) -> PathBuf {
    let file = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("could not write a file");
    let cc = |arguments: &[&str]| {
        let made = Command::new("aarch64-linux-gnu-gcc").args(arguments).current_dir(folder).output();
        let made = made.expect("the board's compiler is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    file("library.c", "void needed(void) {}");
    // The real C library would come into the way of one that only calls itself so.
    file("program.c", "void needed(void); void _start(void) { needed(); }");
    let named = format!("-Wl,-soname,{soname}");
    let mut library = vec!["-shared", "-nostdlib", &named, "-o", "libneeded.so", "library.c"];
    if let Some(version) = version {
        file("versions", &format!("{version} {{ global: needed; }};"));
        library.push("-Wl,--version-script=versions");
    }
    cc(&library);
    cc(&["-nostdlib", "-o", soname, "program.c", "-L.", "-lneeded"]);
    folder.join(soname)
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_runner_that_the_boards_c_library_cannot_start_is_a_fault_and_no_verdict() {
    let mut site = Site::shared();
    let (cell, mut bench) = (site.cell(FEW), site.bench());
    std::fs::create_dir(site.home.path("programs")).expect("could not make a folder");
    let folder = site.home.path("programs");

    // Its head says so: nothing is shipped.
    let newer = needing(&folder, "libc.so.6", Some("GLIBC_2.99"));
    let (outcome, shipped) = site.measure_with(&mut bench, &cell, &newer);
    let fault = not_shipped(&outcome);
    assert!(!shipped && fault.causes[0].contains("it needs glibc 2.99 or later, the unit has glibc 2."), "{fault:?}");
    assert!(fault.hints.iter().any(|h| h.contains("musl")), "{:?}", fault.hints);
    site.judged(&cell, outcome.clone()).expect_code(4);

    // Its head does not say what only the board knows: its loader refuses.
    let lacking = needing(&folder, "libabsent.so.7", None);
    let (outcome, shipped) = site.measure_with(&mut bench, &cell, &lacking);
    let Outcome::DeviceFault(fault) = &outcome else { panic!("{outcome:?}") };
    assert!(shipped);
    let said = "error while loading shared libraries: libabsent.so.7";
    assert!(fault.causes[0].contains(said) && fault.causes[0].contains("exit code 127"), "{fault:?}");
    assert!(fault.hints.iter().any(|h| h.contains("musl")), "{:?}", fault.hints);
    assert_eq!(fault.passes.iter().map(|p| p.ended).collect::<Vec<_>>(), [Ended::NotStarted]);
    let judged = site.judged(&cell, outcome.clone());
    judged.expect_code(4);
    assert!(judged.stdout.contains(said), "{}", judged.stdout);

    // The agent and its session are none the worse for it.
    whole(&measured(site.measure(&mut bench, &cell, |_, _| {}).0));
}

/// Starts the tool with a latency pass that does not end, and waits until the board is in it.
fn start_in_latency_pass(site: &Site, home: &Home, out: &str) -> Running {
    let run = site.start(home, |t| t, &["--out", out, "--iterations", "20000000"]);
    let outputs = home.path(&format!("{out}/cells/mnist_dscnn+f32@{UNIT}+tract/outputs.safetensors"));
    wait_for("the board's outputs", || outputs.exists().then_some(()));
    wait_for("a runner on the board", || (!site.running(false).is_empty()).then_some(()));
    run
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_killed_host_leaves_nothing_on_the_board_and_the_next_run_starts_at_once() {
    let site = Site::shared();
    let home = Home::new();
    let run = start_in_latency_pass(&site, &home, "killed");
    run.signal("KILL");
    assert_eq!(run.end().code, None);
    wait_for("the end of agent and runner on the board", || {
        (site.running(true).is_empty() && site.running(false).is_empty()).then_some(())
    });
    assert!(matches!(Site::outcome(&home, "killed"), Outcome::NotRun));
    home.run(["gate", "killed"]).expect_code(4);

    let again = site.start(&home, |t| t, &["--out", "again", "--iterations", "700", "--wait", "0"]).end();
    assert!(again.elapsed < SOON, "{:?}", again.elapsed);
    let seen = measured(Site::outcome(&home, "again"));
    whole(&seen);
    assert_eq!(seen.shipped.wire_bytes, 0, "what the killed run had shipped is used");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn an_interrupted_host_stops_the_board_and_what_it_left_there_can_be_removed() {
    let site = Site::shared();
    let home = Home::new();
    let run = start_in_latency_pass(&site, &home, "interrupted");
    run.signal("INT");
    let ended = run.end();
    ended.expect_code(130);
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
    wait_for("the end of agent and runner on the board", || {
        (site.running(true).is_empty() && site.running(false).is_empty()).then_some(())
    });
    assert_eq!(home.record("interrupted").ended, RunEnded::Interrupted);
    home.run(["gate", "interrupted"]).expect_code(4);

    let left = "ls -d .cache/boardproof/* 2>/dev/null";
    assert!(!site.says(left).is_empty(), "the cache is kept");
    let cleaned = site.command(&home, &["agent", "clean", "--target", UNIT]).end();
    cleaned.expect_code(0);
    assert_eq!(site.says(left), "", "{}", cleaned.stdout);
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn of_two_hosts_on_one_board_the_second_is_told_who_holds_it_or_waits() {
    let site = Site::shared();
    // Each home is a machine of its own: nothing on this one tells them of each other, only the board does.
    let (first_home, second_home) = (Home::new(), Home::new());
    let first = start_in_latency_pass(&site, &first_home, "first");
    let holder = format!("process {}", first.id());

    let second =
        |out: &str, wait: &str| site.start(&second_home, |t| t, &["--out", out, "--iterations", "700", "--wait", wait]);
    let refused = second("refused", "0").end();
    assert!(refused.elapsed < SOON, "{:?}", refused.elapsed);
    refused.expect_code(4);
    let outcome = Site::outcome(&second_home, "refused");
    let fault = not_shipped(&outcome);
    assert!(fault.causes.iter().any(|c| c.contains("is held by") && c.contains(&holder)), "{:?}", fault.causes);
    assert!(fault.hints.iter().any(|h| h.contains("--wait")), "{:?}", fault.hints);

    let mut waiting = second("waiting", "600");
    wait_for("the second host's agent", || (site.running(true).len() == 2).then_some(()));
    assert!(!waiting.has_ended(), "it did not wait");
    first.signal("INT");
    first.end().expect_code(130);
    let ended = waiting.end();
    let seen = measured(Site::outcome(&second_home, "waiting"));
    whole(&seen);
    assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
}

/// A library of C++ on somebody else's Linux: shipped by its digest, started by the board's own loader, with models in both forms of int8.
#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn onnxruntime_runs_on_the_board_by_the_library_that_is_shipped_there() {
    let site = Site::shared();
    let home = Home::new();
    let variants = ["-v", "int8_qdq_pc", "-v", "int8_qop"];
    let more = ["--engine", "onnxruntime", "--iterations", "200", "--out", "shipped"];
    let ended = site.start(&home, |t| t, &[&variants[..], &more].concat()).end();
    // 64 samples may be too few to show an accuracy.
    assert!(matches!(ended.code, Some(0 | 1 | 3)), "{}{}", ended.stdout, ended.stderr);
    let record = home.record("shipped");
    let library =
        record.builds.iter().find(|build| build.program == "library of onnxruntime" && build.triple == "aarch64");
    let told = format!("library {}", library.expect("it was shipped").digest);
    for cell in record.plan.cells.iter().filter(|cell| cell.judged) {
        let seen = measured(record.outcomes[&cell.id].clone());
        whole(&seen);
        assert!(seen.passes.iter().all(|pass| pass.facts.texts["engine[1]"] == told), "{told}");
        let ran: Vec<&str> = seen.passes.iter().flat_map(|pass| &pass.operators).map(|op| op.kernel.as_str()).collect();
        let in_integers = ran.contains(&"CPU accumulates in i32");
        assert_eq!(in_integers, cell.variant.as_str() != "f32", "{}: {ran:?}", cell.id);
    }
}
