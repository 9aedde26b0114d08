//! Boots the virtual board, says how to reach it, and leaves it running for you.
//!
//! `cargo run --release -p boardproof-lab --example virtual_board -- "$(targets/virtual-board/build-image target/virtual-board)"`

use boardproof_lab::link::ssh_command;
use boardproof_lab::power::{QemuBoard, QemuSpec};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let Some(image) = std::env::args_os().nth(1) else {
        eprintln!("error: expected the folder that build-image printed");
        return ExitCode::from(2);
    };
    let machine_id = "b0a4d".repeat(7)[..32].to_owned();
    let spec = QemuSpec { image: image.into(), memory_mb: 1024, cpus: 2, machine_id, home_kb: None };
    let board = match QemuBoard::boot_to_keep(&spec, Duration::from_secs(180)) {
        Ok(board) => board,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("because: {inner}");
                cause = inner.source();
            }
            error.hint().into_iter().for_each(|hint| eprintln!("hint: {hint}"));
            return ExitCode::FAILURE;
        }
    };
    let ssh = ssh_command(&board.destination, "");
    let words: Vec<_> = ssh.get_args().map(|word| word.to_string_lossy()).filter(|word| !word.is_empty()).collect();
    println!("reach it       ssh {}", words.join(" ").replacen("-T ", "", 1));
    println!("its console    tail -f {}", board.folder.join("console.log").display());
    println!("its monitor    socat - UNIX-CONNECT:{}", board.folder.join("qmp").display());
    println!("switch it off  kill {}", board.process);
    ExitCode::SUCCESS
}
