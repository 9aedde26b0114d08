//! Boards that boardproof switches on itself.

use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use boardproof_lab::build::find_source;
use boardproof_lab::events::{Event, Events};
use boardproof_lab::power::{Machine, MachineSpec, QemuBoard, QemuSpec, run_command};
use boardproof_lab::reach::Destination;
use boardproof_lab::store::RecordFolder;
use boardproof_record::Digest;
use boardproof_record::observation::Outcome;
use boardproof_record::plan::{PowerSpec, Target, Unit};
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// A unit that was switched on for this run.
pub enum Board {
    /// In QEMU.
    Qemu(Box<QemuBoard>),
    /// A microcontroller's, in QEMU.
    Machine(Rc<RefCell<Machine>>),
    /// By the user's command; the command that switches it off again.
    Command { off: String, timeout: Duration },
}

/// Time that a board in QEMU has to come up.
pub const BOOT: Duration = Duration::from_secs(180);

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
            Ok(Some(Board::Machine(Rc::new(RefCell::new(machine)))))
        }
    }
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
            Self::Machine(machine) => {
                Some(Destination::Line(format!("unix:{}", machine.borrow().serial_socket().display())))
            }
            Self::Command { .. } => None,
        }
    }

    /// Socket of the debug probe of a board in QEMU.
    pub fn probe_socket(&self) -> Option<PathBuf> {
        match self {
            Self::Machine(machine) => Some(machine.borrow().probe_socket()),
            Self::Qemu(_) | Self::Command { .. } => None,
        }
    }

    /// Puts the end of the console into a fault.
    pub fn add_console(&self, outcome: &mut Outcome) {
        let console = match self {
            Self::Qemu(board) => board.console(),
            Self::Machine(machine) => machine.borrow().console(),
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
                folder.keep(&format!("console/{}.log", unit.name), machine.borrow().console().as_bytes())?;
                drop(machine);
            }
            Self::Command { off, timeout } => run_command(&off, timeout)?,
        }
        Ok(())
    }
}
