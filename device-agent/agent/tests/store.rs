//! Uploads and leases as a host sees them: cuts, restarts, wrong content, full disks, two hosts.

mod common;

use boardproof_protocol::{Begin, Chunk, Coding, RefusalCode, Request, Run};
use common::{Answer, EPOCH, HOLDER, Host, digest_of};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn store() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn content() -> Vec<u8> {
    (0..400_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn an_upload_cut_in_the_middle_goes_on_in_a_new_agent() {
    let store = store();
    let content = content();
    let coded = zstd::encode_all(&content[..], 3).unwrap();
    let digest = digest_of(&content);
    let (size, coded_size) = (content.len() as u64, coded.len() as u64);
    let begin = Begin { epoch: EPOCH, digest, size, coded_size, coding: Coding::Zstd, program: false };
    let mut host = Host::start(store.path()).lease();
    assert_eq!(host.ask(&Request::Begin(begin)), Answer::Ready(0));
    let bytes = &coded[..150_000];
    host.ask(&Request::Chunk(Chunk { epoch: EPOCH, digest, offset: 0, bytes }));
    // Half a frame, then silence: the link is cut.
    host.input.as_mut().unwrap().write_all(&[200, 0, 0, 0, 1, 2, 3]).unwrap();
    assert_eq!(host.vanish(), Some(0));
    let mut host = Host::start(store.path()).lease();
    assert_eq!(host.ask(&Request::Stat { digest }), Answer::Stat { present: false, received: 150_000 });
    assert_eq!(host.ask(&Request::Begin(begin)), Answer::Ready(150_000));
    assert_eq!(host.ship_as(digest, &content, &coded, Coding::Zstd, false), Answer::Stored);
    assert_eq!(host.ask(&Request::Stat { digest }), Answer::Stat { present: true, received: 0 });
    // A second run ships nothing: the upload begins at its end.
    let mut host = Host::start(store.path()).lease();
    assert_eq!(host.ask(&Request::Begin(begin)), Answer::Ready(coded_size));
    assert_eq!(host.ask(&Request::Finish { epoch: EPOCH, digest }), Answer::Stored);
}

#[test]
fn content_with_the_wrong_digest_is_refused_removed_and_never_run() {
    let store = store();
    let mut host = Host::start(store.path()).lease();
    let wanted = digest_of(b"#!/bin/sh\nexit 0\n");
    let evil = b"#!/bin/sh\nexit 1\n";
    let answer = host.ship_as(wanted, evil, evil, Coding::Plain, true);
    assert_eq!(answer.code(), RefusalCode::DigestMismatch);
    assert_eq!(host.ask(&Request::Stat { digest: wanted }), Answer::Stat { present: false, received: 0 });
    // Put in the place of a verified program behind the agent's back, it is found out too.
    assert_eq!(host.run_with(1, b"#!/bin/sh\nexit 0\n", b"m", b"e", |run| run.job = 1), Answer::Accepted);
    host.events(1);
    fs::write(store.path().join("blobs").join(wanted.to_string()), b"#!/bin/sh\nexit 1 \n").unwrap();
    let request = run_of(2, wanted, digest_of(b"m"), digest_of(b"e"));
    assert_eq!(host.ask(&Request::Run(request)).code(), RefusalCode::MissingBlob);
}

fn run_of(
    job: u32,
    runner: boardproof_protocol::Digest,
    model: boardproof_protocol::Digest,
    evalset: boardproof_protocol::Digest,
) -> Run<'static> {
    Run {
        epoch: EPOCH,
        job,
        runner,
        model,
        evalset,
        engine: "x",
        pass: boardproof_protocol::Pass::Inspect,
        batch: 1,
        first: 0,
        count: 1,
        warmup: 0,
        iterations: 1,
        deadline_ms: 1000,
        memory_limit_bytes: 0,
        options: "",
    }
}

#[test]
fn a_full_store_is_said_before_the_first_byte_with_both_numbers() {
    let store = store();
    let mut host = Host::start_with(store.path(), &["--store-limit-bytes", "100000"]).lease();
    let digest = digest_of(b"x");
    let begin = Begin { epoch: EPOCH, digest, size: 90_000, coded_size: 20_000, coding: Coding::Zstd, program: false };
    let Answer::Refused { code, detail, number } = host.ask(&Request::Begin(begin)) else { panic!() };
    assert_eq!((code, number), (RefusalCode::NoSpace, 100_000));
    assert!(detail.contains("110000") && detail.contains("100000"), "{detail}");
}

#[test]
fn a_disk_that_fills_up_in_the_middle_is_no_space_and_the_rest_can_follow() {
    let store = store();
    // Only root can mount a small disk; everybody else can say that of the test instead of passing it in silence.
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(store.path()).status();
    if !mounted.is_ok_and(|s| s.success()) {
        eprintln!("skipped: a small disk cannot be mounted here");
        return;
    }
    let filler = store.path().join("filler");
    let content = content();
    let part = &content[..600_000];
    let digest = digest_of(part);
    let (size, coded_size) = (part.len() as u64, part.len() as u64);
    let begin = Begin { epoch: EPOCH, digest, size, coded_size, coding: Coding::Plain, program: false };
    let mut host = Host::start(store.path()).lease();
    assert_eq!(host.ask(&Request::Begin(begin)), Answer::Ready(0));
    fs::write(&filler, vec![0; 700_000]).unwrap();
    let mut offset = 0;
    let refused = loop {
        let bytes = &part[offset..(offset + 50_000).min(part.len())];
        match host.ask(&Request::Chunk(Chunk { epoch: EPOCH, digest, offset: offset as u64, bytes })) {
            Answer::Ready(next) => offset = next as usize,
            refused => break refused,
        }
    };
    fs::remove_file(&filler).unwrap();
    let resumed = host.ship_as(digest, part, part, Coding::Plain, false);
    drop(host);
    Command::new("umount").arg(store.path()).status().unwrap();
    assert_eq!(refused.code(), RefusalCode::NoSpace);
    assert_eq!(resumed, Answer::Stored);
}

#[test]
fn nothing_is_written_without_the_lease() {
    let store = store();
    let mut host = Host::start(store.path());
    let digest = digest_of(b"x");
    let begin = Begin { epoch: EPOCH, digest, size: 1, coded_size: 1, coding: Coding::Plain, program: false };
    for request in [
        Request::Begin(begin),
        Request::Chunk(Chunk { epoch: EPOCH, digest, offset: 0, bytes: b"x" }),
        Request::Finish { epoch: EPOCH, digest },
        Request::Run(run_of(1, digest, digest, digest)),
        Request::Clean { epoch: EPOCH },
    ] {
        assert_eq!(host.ask(&request).code(), RefusalCode::NotHolder, "{request:?}");
    }
}

#[test]
fn of_two_hosts_on_one_unit_the_second_is_told_who_holds_it() {
    let store = store();
    let mut first = Host::start(store.path()).lease();
    let mut second = Host::start(store.path());
    let Answer::Held { holder, epoch, remaining_ms } = second.acquire(9, "bob@desk 2", 1000) else { panic!() };
    assert_eq!((holder.as_str(), epoch), (HOLDER, EPOCH));
    assert!((1..=600_000).contains(&remaining_ms));
    // The same epoch in another's mouth opens nothing.
    assert_eq!(second.ask(&Request::Clean { epoch: EPOCH }).code(), RefusalCode::NotHolder);
    assert_eq!(first.ask(&Request::Release { epoch: EPOCH }), Answer::Released);
    assert_eq!(second.acquire(EPOCH, "bob@desk 2", 1000).code(), RefusalCode::NotHolder);
    assert!(matches!(second.acquire(EPOCH + 1, "bob@desk 2", 60_000), Answer::Leased { .. }));
    // The first one lost it and can write no more, not even after asking again with its old epoch.
    assert!(matches!(first.acquire(EPOCH, HOLDER, 1000), Answer::Held { .. }));
    assert_eq!(first.ask(&Request::Clean { epoch: EPOCH }).code(), RefusalCode::NotHolder);
}

#[test]
fn goodbye_gives_the_lease_back() {
    let store = store();
    let mut host = Host::start(store.path()).lease();
    assert_eq!(host.ask(&Request::Bye), Answer::Bye);
    assert_eq!(common::wait(&mut host.child), Some(0));
    let mut next = Host::start(store.path());
    assert!(matches!(next.acquire(EPOCH + 1, "bob@desk 2", 1000), Answer::Leased { .. }));
}

#[test]
fn programs_are_executable_for_their_owner_only_and_nothing_else_is() {
    let store = store();
    let mut host = Host::start(store.path()).lease();
    let mode = |content: &[u8]| {
        let path = store.path().join("blobs").join(digest_of(content).to_string());
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(host.ship(b"a model", false), Answer::Stored);
    assert_eq!(host.ship(b"a program", true), Answer::Stored);
    assert_eq!((mode(b"a model"), mode(b"a program")), (0o600, 0o700));
    // The same content can turn out to be a program later.
    assert_eq!(host.ship(b"a model", true), Answer::Stored);
    assert_eq!(mode(b"a model"), 0o700);
    assert_eq!(fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn clean_leaves_no_blob_and_the_command_leaves_nothing() {
    let store = store();
    let root = store.path().join("cache");
    let mut host = Host::start(&root).lease();
    assert_eq!(host.ship(b"a model", false), Answer::Stored);
    let clean = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boardproof-agent"));
        command.arg("clean").arg("--store").arg(&root).output().unwrap()
    };
    let refused = clean();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains(HOLDER));
    let Answer::Cleaned(bytes) = host.ask(&Request::Clean { epoch: EPOCH }) else { panic!() };
    assert!(bytes >= 7);
    let digest = digest_of(b"a model");
    assert_eq!(host.ask(&Request::Stat { digest }), Answer::Stat { present: false, received: 0 });
    assert_eq!(host.ask(&Request::Bye), Answer::Bye);
    common::wait(&mut host.child);
    assert!(clean().status.success());
    assert!(!root.exists());
    assert!(clean().status.success(), "cleaning what is clean is no error");
}

#[test]
fn a_link_out_of_step_ends_the_agent_and_not_in_silence() {
    let store = store();
    let mut host = Host::start(store.path());
    host.input.as_mut().unwrap().write_all(&[0xff; 64]).unwrap();
    assert_eq!(common::wait(&mut host.child), Some(1));
}

#[test]
fn the_version_carries_the_digest_of_the_program_itself() {
    let program = env!("CARGO_BIN_EXE_boardproof-agent");
    let output = Command::new(program).arg("--version").output().unwrap();
    let expected = digest_of(&fs::read(program).unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("boardproof-agent {} sha256:{expected}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_greeting_says_who_and_where() {
    let store = store();
    let mut host = Host::start(store.path());
    let Answer::Hello { build, system, free, boot, .. } = host.hello() else { panic!() };
    assert!(build.starts_with("boardproof-agent ") && build.contains(" sha256:"), "{build}");
    assert!(system.starts_with("linux "), "{system}");
    assert!(free > 0 && boot != 0);
}
