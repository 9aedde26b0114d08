//! Figures of the agent: how fast it takes a program in, and what it needs for itself. Ignored by default; run it with
//! `cargo test --release -p boardproof-agent --test measure -- --ignored --nocapture`.
//!
//! `BOARDPROOF_AGENT_COMMAND` names another agent, such as `qemu-aarch64 PATH/boardproof-agent`; `BOARDPROOF_BLOB` a program to ship
//! in the place of the 17 MB that are made up.

mod common;

use boardproof_protocol::{Coding, Ended};
use common::{Answer, Host, Outcome, digest_of};
use std::fs;
use std::process::Command;
use std::time::Instant;

fn agent(store: &std::path::Path) -> Command {
    let line = std::env::var("BOARDPROOF_AGENT_COMMAND");
    let line = line.unwrap_or_else(|_| env!("CARGO_BIN_EXE_boardproof-agent").to_owned());
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg("serve").arg("--store").arg(store);
    command
}

/// 17 MB that compress to about a third, like a program.
fn made_up() -> Vec<u8> {
    let mut state = 1_u64;
    let word = |_: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let shape = (state >> 60) as u32;
        if shape < 5 { (state >> 32) as u32 } else { 0x0100_0000 * shape }
    };
    (0..4_250_000).map(word).flat_map(u32::to_le_bytes).collect()
}

#[test]
#[ignore = "prints figures; asserts only that the content arrived"]
fn receiving_a_program() {
    let content = std::env::var_os("BOARDPROOF_BLOB").map_or_else(made_up, |path| fs::read(path).unwrap());
    for (level, window_log) in [(3, 0), (19, 0), (19, 21)] {
        let coded = encode(&content, level, window_log);
        let store = tempfile::tempdir().unwrap();
        let mut host = Host::over(agent(store.path())).lease();
        let start = Instant::now();
        let digest = digest_of(&content);
        assert_eq!(host.ship_as(digest, &content, &coded, Coding::Zstd, true), Answer::Stored);
        let took = start.elapsed().as_secs_f64();
        let status = fs::read_to_string(format!("/proc/{}/status", host.child.id())).unwrap();
        let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
        println!(
            "level {level:2} window log {window_log:2}: {} -> {} bytes in {took:.2} s, {:.1} MB/s of content, {peak}",
            content.len(),
            coded.len(),
            content.len() as f64 / 1e6 / took
        );
    }
}

#[test]
#[ignore = "needs BOARDPROOF_AGENT_COMMAND and BOARDPROOF_BLOB; asserts that the agent can start a program there"]
fn starting_a_program() {
    let program = fs::read(std::env::var_os("BOARDPROOF_BLOB").expect("BOARDPROOF_BLOB")).unwrap();
    let store = tempfile::tempdir().unwrap();
    let mut host = Host::over(agent(store.path())).lease();
    for (job, limit_bytes) in [(1, 0), (2, 2 << 30)] {
        let start = Instant::now();
        let answer =
            host.run_with(job, &program, b"no model", b"no evalset", |run| run.memory_limit_bytes = limit_bytes);
        assert_eq!(answer, Answer::Accepted);
        let outcome = Outcome::of(host.events(job));
        println!(
            "{:?} after {:.3} s: {}{}",
            outcome.ended,
            start.elapsed().as_secs_f64(),
            outcome.stderr,
            outcome.notes
        );
        assert_ne!(outcome.ended, Ended::NotStarted);
    }
    assert_eq!(host.vanish(), Some(0));
}

fn encode(content: &[u8], level: i32, window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::bulk::Compressor::new(level).unwrap();
    if window_log > 0 {
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window_log)).unwrap();
    }
    encoder.compress(content).unwrap()
}
