//! Boards that boardproof switches on itself.

use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use boardproof_lab::build::{Artifact, find_source};
use boardproof_lab::events::{Event, Events};
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::power::{Machine, MachineSpec, QemuBoard, QemuSpec, run_command};
use boardproof_lab::reach::Destination;
use boardproof_lab::store::RecordFolder;
use boardproof_probe::{AttachOptions, Permission, Probe, ProbeSource, StubAddress};
use boardproof_record::Digest;
use boardproof_record::observation::Outcome;
use boardproof_record::plan::{Grant, PowerSpec, Target, Unit};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A unit that was switched on for this run.
pub enum Board {
    /// In QEMU.
    Qemu(Box<QemuBoard>),
    /// A microcontroller's, in QEMU.
    Machine(Box<Machine>),
    /// By the user's command; the command that switches it off again.
    Command { off: String, timeout: Duration },
}

/// Time that a board in QEMU has to come up.
const BOOT: Duration = Duration::from_secs(180);

/// Switches a unit on, if that is boardproof's to do.
pub fn switch_on(unit: &Unit, target: &Target, progress: &mut Progress) -> Result<Option<Board>> {
    match unit.power.as_ref().unwrap_or(&target.power) {
        PowerSpec::None => Ok(None),
        PowerSpec::Command { on, off, timeout_s, .. } => {
            progress.hear(Event::Said(format!("switching {} on", unit.name)));
            let timeout = Duration::from_secs(u64::from(*timeout_s));
            run_command(on, timeout)?;
            Ok(Some(Board::Command { off: off.clone(), timeout }))
        }
        PowerSpec::Qemu { image, memory_mb, cpus } => {
            progress.hear(Event::Said(format!("booting {}", unit.name)));
            let image = build_image(image)?;
            // Stable per unit name, as a board's machine id is.
            let machine_id = Digest::of(unit.name.as_str().as_bytes()).to_string()[..32].to_owned();
            let spec = QemuSpec { image, memory_mb: *memory_mb, cpus: *cpus, machine_id, home_kb: None };
            let board = QemuBoard::boot(&spec, BOOT).with_context(|| format!("could not boot {}", unit.name))?;
            progress.hear(Event::Said(format!("{} is up", unit.name)));
            Ok(Some(Board::Qemu(Box::new(board))))
        }
        PowerSpec::Machine { machine, instruction_shift } => {
            let spec = MachineSpec { machine: machine.clone(), instruction_shift: *instruction_shift };
            let machine = Machine::start(&spec, BOOT).with_context(|| format!("could not start {}", unit.name))?;
            Ok(Some(Board::Machine(Box::new(machine))))
        }
    }
}

/// Brings a firmware onto a chip by its debug probe, unless it is there already, and starts it. A target that has no probe must have been
/// flashed by somebody: what the unit greets with says whether that was this firmware.
pub fn flash(
    unit: &Unit,
    target: &Target,
    firmware: &Artifact,
    board: Option<&Board>,
    progress: &mut Progress,
) -> Result<()> {
    let Some(spec) = &target.probe else { return Ok(()) };
    let source = match board {
        Some(Board::Machine(machine)) => ProbeSource::Virtual { stub: StubAddress::Unix(machine.probe_socket()) },
        _ => ProbeSource::Usb { selector: unit.probe.as_deref().map(str::parse).transpose()? },
    };
    let elf = std::fs::read(&firmware.path).with_context(|| format!("could not read {}", firmware.path.display()))?;
    let options = AttachOptions { interrupted, ..AttachOptions::default() };
    let probe = Probe::attach(&source, &spec.chip, options)
        .with_context(|| format!("could not attach to {} of {}", spec.chip, unit.name))?;
    // A blank board in QEMU has nothing to compare with.
    let blank = matches!(board, Some(Board::Machine(_)));
    if blank || !probe.holds(&elf).context("could not read the flash")? {
        progress.hear(Event::Said(format!("flashing {}", unit.name)));
        let permission = Permission::granted(Grant::Flash, spec)?;
        let flashed = probe.flash(&elf, true, &permission).context("could not flash the firmware")?;
        let (bytes, ms) = (flashed.bytes, flashed.took.as_millis());
        progress.hear(Event::Said(format!("{}: {bytes} bytes flashed and verified in {ms} ms", unit.name)));
    }
    probe.reset().context("could not start the firmware")?;
    Ok(())
}

/// The board's image, made once per digest.
fn build_image(folder: &str) -> Result<PathBuf> {
    let root = find_source()?;
    let script = root.join(folder).join("build-image");
    let output = Command::new("sh")
        .arg(&script)
        .arg(root.join("target/virtual-board"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("could not run {}", script.display()))?;
    if !output.status.success() {
        bail!("{} failed ({}):\n{}", script.display(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

impl Board {
    /// Where it is reached, when that is not the inventory's to say.
    pub fn destination(&self) -> Option<Destination> {
        match self {
            Self::Qemu(board) => Some(Destination::Ssh(board.destination())),
            Self::Machine(machine) => Some(Destination::Line(format!("unix:{}", machine.serial_socket().display()))),
            Self::Command { .. } => None,
        }
    }

    /// Puts the end of the console into a fault.
    pub fn add_console(&self, outcome: &mut Outcome) {
        let console = match self {
            Self::Qemu(board) => board.console(),
            Self::Machine(machine) => machine.console(),
            Self::Command { .. } => return,
        };
        if let Outcome::DeviceFault(fault) | Outcome::TimedOut(fault) | Outcome::ShipFailed(fault) = outcome {
            let lines: Vec<&str> = console.lines().collect();
            fault.console = lines[lines.len().saturating_sub(20)..].iter().map(|l| (*l).to_owned()).collect();
        }
    }

    /// Switches it off; its console goes into the record.
    pub fn switch_off(self, unit: &Unit, folder: &RecordFolder) -> Result<()> {
        match self {
            Self::Qemu(board) => {
                folder.keep(&format!("console/{}.log", unit.name), board.console().as_bytes())?;
                drop(board);
            }
            Self::Machine(machine) => {
                folder.keep(&format!("console/{}.log", unit.name), machine.console().as_bytes())?;
                drop(machine);
            }
            Self::Command { off, timeout } => run_command(&off, timeout)?,
        }
        Ok(())
    }
}
