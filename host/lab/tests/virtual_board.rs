//! The virtual board for real: boot, log in, hang, go on, reset. Boots QEMU; `cargo xtask test` runs it.

use boardproof_lab::link::{classify, ssh_command};
use boardproof_lab::power::{QemuBoard, QemuSpec};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

fn image() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new("sh")
        .arg(root.join("targets/virtual-board/build-image"))
        .arg(root.join("target/virtual-board"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the image could not be made");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn says(board: &QemuBoard, script: &str) -> String {
    let output = ssh_command(&board.destination(), script).stdin(Stdio::null()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn boots_answers_hangs_goes_on_and_is_reset() {
    let spec = QemuSpec { image: image(), memory_mb: 1024, cpus: 2, machine_id: "0123456789abcdef0123456789abcdef".into(), home_kb: None };
    let start = Instant::now();
    let mut board = QemuBoard::boot(&spec, PATIENCE).unwrap();
    eprintln!("up after {:?}", start.elapsed());
    let answer = says(&board, "uname -m; cat /etc/machine-id; id -un; df -k $HOME | tail -n 1; head -n 3 /proc/meminfo");
    eprintln!("first answer after {:?}:\n{answer}", start.elapsed());
    eprintln!("{}", board.console());
    assert!(answer.starts_with("aarch64\n0123456789abcdef0123456789abcdef\nbp"), "{answer}");

    let mut stranger = board.destination();
    stranger.known_hosts_file = Some("/dev/null".into());
    let output = ssh_command(&stranger, "true").stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(classify(&stderr), Some(boardproof_lab::link::SshProblem::UnknownHostKey), "{stderr}");

    board.hang().unwrap();
    let mut command = ssh_command(&board.destination(), "true");
    command.args(["-o", "ConnectTimeout=1"]).stdin(Stdio::null());
    board.resume().unwrap();
    assert_eq!(says(&board, "echo here"), "here");

    says(&board, "echo lost > $HOME/file");
    board.reset(PATIENCE).unwrap();
    assert_eq!(says(&board, "cat $HOME/file 2>/dev/null || echo gone"), "gone");
    assert!(board.console().contains("the board is up"));
}
