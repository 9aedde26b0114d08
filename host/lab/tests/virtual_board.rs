//! The virtual board for real: boot, log in, reset, hang, power off, a full disk, a host that is killed. Boots QEMU.
//! `cargo xtask test` runs it; `cargo test --release -p boardproof-lab --test virtual_board -- --ignored --nocapture` shows figures.

use boardproof_lab::link::{Link, LinkCommand, LinkError, ProcessLink, SshProblem, classify, ssh_command};
use boardproof_lab::power::{Power, PowerState, QemuBoard, QemuSpec};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(180);
const MONITOR: Duration = Duration::from_secs(20);
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";
/// Set in the process that plays a host which gets killed.
const VICTIM: &str = "BOARDPROOF_TEST_VICTIM";

fn image() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut build = Command::new("sh");
    build.arg(root.join("targets/virtual-board/build-image")).arg(root.join("target/virtual-board"));
    let output = build.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the image could not be made");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn spec() -> QemuSpec {
    QemuSpec { image: image(), memory_mb: 1024, cpus: 2, machine_id: MACHINE_ID.into(), home_kb: Some(65536) }
}

/// What the board says, both streams, whatever its exit status.
fn says(board: &QemuBoard, script: &str) -> String {
    let output = ssh_command(&board.destination(), script).stdin(Stdio::null()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_answers_is_itself_and_takes_no_stranger() {
    let start = Instant::now();
    let board = QemuBoard::boot(&spec(), PATIENCE).unwrap();
    eprintln!("up after {:.1?}", start.elapsed());
    let answer = says(&board, "uname -m; cat /etc/machine-id; id -un; ls -d /sys/class/net/eth0; free -k | sed -n 2p");
    eprintln!("first answer after {:.1?}:\n{answer}", start.elapsed());
    assert!(answer.starts_with(&format!("aarch64\n{MACHINE_ID}\nbp\n/sys/class/net/eth0")), "{answer}");

    let mut stranger = board.destination();
    stranger.known_hosts_file = Some("/dev/null".into());
    let refused = ssh_command(&stranger, "true").stdin(Stdio::null()).output().unwrap();
    assert_eq!(classify(&String::from_utf8_lossy(&refused.stderr)), Some(SshProblem::UnknownHostKey));

    // Another board at the address of this one has another key.
    let other = QemuBoard::boot(&spec(), PATIENCE).unwrap();
    let mut mistaken = board.destination();
    mistaken.port = other.destination().port;
    let refused = ssh_command(&mistaken, "true").stdin(Stdio::null()).output().unwrap();
    assert_eq!(classify(&String::from_utf8_lossy(&refused.stderr)), Some(SshProblem::UnknownHostKey));
    let mut stranger = board.destination();
    stranger.identity_file = other.destination().identity_file;
    let refused = ssh_command(&stranger, "true").stdin(Stdio::null()).output().unwrap();
    assert_eq!(classify(&String::from_utf8_lossy(&refused.stderr)), Some(SshProblem::PermissionDenied));
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_reset_forgets_a_hang_keeps_and_both_end() {
    let mut board = QemuBoard::boot(&spec(), PATIENCE).unwrap();
    assert_eq!(says(&board, "echo here > $HOME/file; cat $HOME/file"), "here");

    // A session that is open when the board stops must not hold up the host.
    let mut link = talking_link(&board);
    let soon = || Instant::now() + PATIENCE;
    link.send(b"before", soon()).unwrap();
    assert_eq!(link.receive(soon()).unwrap().as_deref(), Some(&b"before"[..]));
    board.hang(MONITOR).unwrap();
    assert_eq!(board.state(MONITOR).unwrap(), PowerState::Hung);
    link.send(b"after", soon()).unwrap();
    assert_eq!(
        link.receive(Instant::now() + Duration::from_secs(2)).unwrap(),
        None,
        "a board that hangs cannot answer"
    );
    let refused = ssh_command(&board.destination(), "true").stdin(Stdio::null()).output().unwrap();
    assert_eq!(classify(&String::from_utf8_lossy(&refused.stderr)), Some(SshProblem::TimedOut));
    board.resume(MONITOR).unwrap();
    assert_eq!(board.state(MONITOR).unwrap(), PowerState::On);
    assert_eq!(link.receive(soon()).unwrap().as_deref(), Some(&b"after"[..]));
    assert_eq!(says(&board, "cat $HOME/file"), "here");

    // A board that hangs is what a power cycle is for.
    board.hang(MONITOR).unwrap();
    let start = Instant::now();
    board.reset(PATIENCE).unwrap();
    eprintln!("up again after {:.1?}", start.elapsed());
    assert_eq!(says(&board, "cat $HOME/file 2>/dev/null || echo gone"), "gone");
    drop(link);

    board.off(MONITOR).unwrap();
    assert_eq!(board.state(MONITOR).unwrap(), PowerState::Off);
    let refused = ssh_command(&board.destination(), "true").stdin(Stdio::null()).output().unwrap();
    assert_eq!(classify(&String::from_utf8_lossy(&refused.stderr)), Some(SshProblem::Refused));
    board.on(PATIENCE).unwrap();
    assert_eq!(says(&board, "cat /etc/machine-id"), MACHINE_ID);
    assert_eq!(board.console().matches("the board is up").count(), 3, "{}", board.console());
}

/// A link through SSH to something that says what an agent would say first, and then sends back what it gets.
fn talking_link(board: &QemuBoard) -> ProcessLink {
    let command = ssh_command(&board.destination(), r"printf 'BPROOF1\n'; exec cat");
    ProcessLink::start(LinkCommand { unit: "board".into(), command, ssh: true }).unwrap()
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_that_goes_away_ends_the_session_and_the_wait() {
    let mut board = QemuBoard::boot(&spec(), PATIENCE).unwrap();
    let mut link = talking_link(&board);
    let soon = || Instant::now() + PATIENCE;
    link.send(b"before", soon()).unwrap();
    assert!(link.receive(soon()).unwrap().is_some());
    board.off(MONITOR).unwrap();
    let error = link.receive(soon()).unwrap_err();
    assert!(matches!(error, LinkError::Ssh { problem: SshProblem::Cut, .. } | LinkError::Closed { .. }), "{error}");

    board.on(PATIENCE).unwrap();
    let mut root = board.destination();
    root.user = Some("root".into());
    let _ = ssh_command(&root, "poweroff -f").stdin(Stdio::null()).output().unwrap();
    let end = Instant::now() + MONITOR;
    while board.state(MONITOR).ok() != Some(PowerState::Off) {
        assert!(Instant::now() < end, "the board switched itself off and is not seen as off");
        std::thread::yield_now();
    }
    board.reset(PATIENCE).unwrap();
    assert_eq!(says(&board, "id -un"), "bp");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_home_has_an_end_and_a_thing_goes_through_a_plain_shell() {
    let board = QemuBoard::boot(&spec(), PATIENCE).unwrap();
    let answer =
        says(&board, "dd if=/dev/zero of=$HOME/big bs=1024k count=80 2>&1 | grep -c 'No space left'; rm -f $HOME/big");
    assert_eq!(answer, "1");

    let bytes: Vec<u8> = (0..17_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let start = Instant::now();
    let mut cat = ssh_command(&board.destination(), "cat > $HOME/thing && wc -c < $HOME/thing");
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = cat.wait_with_output().unwrap();
    eprintln!("17 MB through cat: {:.1?}", start.elapsed());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "17000000");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_board_dies_with_its_host_but_not_with_the_thread_that_booted_it() {
    if std::env::var_os(VICTIM).is_some() {
        return be_killed();
    }
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args([
        "--ignored",
        "--exact",
        "--nocapture",
        "a_board_dies_with_its_host_but_not_with_the_thread_that_booted_it",
    ]);
    let mut victim = victim.env(VICTIM, "1").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let folder =
        lines.map(Result::unwrap).find_map(|line| Some(PathBuf::from(line.split_once("folder: ")?.1))).unwrap();
    assert!(qemu_in(&folder));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let end = Instant::now() + MONITOR;
    while qemu_in(&folder) {
        assert!(Instant::now() < end, "QEMU outlives its host");
        std::thread::yield_now();
    }
    assert!(folder.exists(), "nobody was there to remove it");
    // The next host cleans up.
    let _board = QemuBoard::boot(&spec(), PATIENCE).unwrap();
    assert!(!folder.exists());
}

fn be_killed() {
    let board = std::thread::spawn(|| QemuBoard::boot(&spec(), PATIENCE).unwrap()).join().unwrap();
    assert_eq!(says(&board, "id -un"), "bp");
    let file = board.destination().known_hosts_file.unwrap();
    println!("folder: {}", file.parent().unwrap().display());
    // The killing ends this, or the test's failure does.
    std::thread::park_timeout(PATIENCE);
}

/// Is there a QEMU that works in this folder?
fn qemu_in(folder: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).any(|process| {
        let works_here = std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        works_here && std::fs::read_to_string(process.path().join("comm")).is_ok_and(|name| name.starts_with("qemu"))
    })
}
