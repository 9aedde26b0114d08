//! The workspaces of bare metal: profiles, flags and lock files of their own, so that no command of the main workspace sees them.

use crate::step::{Steps, cargo, run};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Workspace of the firmware.
const FIRMWARE: &str = "device-agent/firmware";
/// Where `boardproof` itself builds firmware: what is built here is there for it, and the other way round.
const FIRMWARE_FOLDER: &str = "target/device/firmware";
/// Workspace of the program that counts instructions.
const KERNELS: &str = "device-agent/micro/bench-firmware";
const KERNELS_FOLDER: &str = "target/device/bench-firmware";

/// Every package with a board in it, its binaries where one triple is not for all of them, and the triple.
const BOARDS: [(&str, &[&str], &str); 5] = [
    (
        "boardproof-firmware-mps2",
        &["mps2-an386", "mps2-an386-small", "mps2-an386-broken", "mps2-an500"],
        "thumbv7em-none-eabihf",
    ),
    ("boardproof-firmware-mps2", &["mps2-an385"], "thumbv7m-none-eabi"),
    ("boardproof-firmware-stm32", &[], "thumbv7em-none-eabihf"),
    ("boardproof-firmware-nrf52840", &[], "thumbv7em-none-eabihf"),
    ("boardproof-firmware-rp2350", &[], "thumbv8m.main-none-eabihf"),
];

/// Cargo in the workspace of the firmware.
pub fn cargo_of_firmware(root: &Path, arguments: &[&str]) -> Command {
    cargo_in(root, FIRMWARE, FIRMWARE_FOLDER, arguments)
}

/// Cargo in the workspace of the program that counts instructions.
pub fn cargo_of_kernels(root: &Path, arguments: &[&str]) -> Command {
    cargo_in(root, KERNELS, KERNELS_FOLDER, arguments)
}

fn cargo_in(root: &Path, workspace: &str, folder: &str, arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.current_dir(root.join(workspace)).env("CARGO_TARGET_DIR", root.join(folder));
    command
}

/// What `check` asks of the firmware: its form, no warnings, and a program for every board, the ones that nobody has run included.
pub fn check(root: &Path, steps: &mut Steps) {
    steps.run("fmt of the firmware", || {
        run(cargo_of_firmware(root, &["fmt", "--all", "--check"]))?;
        run(cargo_of_kernels(root, &["fmt", "--all", "--check"]))
    });
    steps.run("clippy of the firmware", || {
        let denied = ["--", "-D", "warnings"];
        run(cargo_of_firmware(root, &[&["clippy", "--locked", "--all-targets"], &denied[..]].concat()))?;
        BOARDS.iter().try_for_each(|board| run(of_board(root, "clippy", board, &denied)))
    });
    steps.run("firmware of every board", || {
        BOARDS.iter().try_for_each(|board| run(of_board(root, "build", board, &[])))
    });
}

fn of_board(root: &Path, action: &str, board: &(&str, &[&str], &str), more: &[&str]) -> Command {
    let (package, binaries, triple) = *board;
    let mut command =
        cargo_of_firmware(root, &[action, "--release", "--locked", "--package", package, "--target", triple]);
    binaries.iter().for_each(|binary| _ = command.args(["--bin", binary]));
    command.args(more);
    command
}

/// The agent on a board of variables, and the real one in QEMU.
pub fn test(root: &Path, rest: &[String]) -> Result<()> {
    let mut command = cargo_of_firmware(root, &["test", "--locked", "--package", "boardproof-firmware-common"]);
    command.args(["--package", "boardproof-firmware-smoke"]);
    if !rest.is_empty() {
        command.arg("--").args(rest);
    }
    run(command)
}
