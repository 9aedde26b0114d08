//! A microcontroller board in QEMU: started blank and halted, with a socket for a debug probe and one for its serial line.
//!
//! Nothing is loaded here: the firmware comes through the debug probe, as on a real board. Its clock goes by instructions. It is gone when
//! this process is gone.

use super::qemu::{Running, ends_with_us, failed, not_there_yet, on_path};
use super::qmp::{Qmp, QmpError};
use super::run_folder::RunFolder;
use super::{Power, PowerError, PowerState, QemuError};
use crate::interrupt::interrupted;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// QEMU's name of the board.
    pub machine: String,
    /// The clock goes on by two to the power of this nanoseconds with each instruction.
    pub instruction_shift: u8,
}

/// A board. Dropping it switches it off and removes its folder.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    // Before the folder: QEMU ends first.
    running: Option<Running>,
    folder: RunFolder,
}

const PROGRAMS: [(&str, &str); 2] = [("qemu-system-arm", "qemu-system-arm"), ("setpriv", "util-linux")];
/// Between two looks for the monitor.
const LOOK: Duration = Duration::from_millis(5);
/// The monitor answers at once or not at all; a machine under load gets this much.
const MONITOR: Duration = Duration::from_secs(10);

impl Machine {
    /// Starts a board and waits until its sockets are there. Its processor stands still until a debug probe lets it go.
    pub fn start(spec: &MachineSpec, patience: Duration) -> Result<Self, QemuError> {
        for (program, package) in PROGRAMS {
            if !on_path(program) {
                return Err(QemuError::Missing { program, package });
            }
        }
        let folder = RunFolder::make(&std::env::temp_dir()).map_err(failed("make a folder for the board"))?;
        let mut machine = Self { spec: spec.clone(), running: None, folder };
        machine.switch_on(patience)?;
        Ok(machine)
    }

    /// Socket of the debug probe (QEMU's gdb stub).
    pub fn probe_socket(&self) -> PathBuf {
        self.folder.path().join("probe")
    }

    /// Socket of the serial line.
    pub fn serial_socket(&self) -> PathBuf {
        self.folder.path().join("serial")
    }

    /// What QEMU wrote to its standard error.
    pub fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("qemu.log")).unwrap_or_default()
    }

    fn switch_on(&mut self, patience: Duration) -> Result<(), QemuError> {
        let end = Instant::now() + patience;
        let said = File::create(self.folder.path().join("qemu.log")).map_err(failed("keep QEMU's words"))?;
        let mut command = command(&self.spec);
        command.current_dir(self.folder.path()).stderr(said);
        command.stdin(self.folder.hold().map_err(failed("lock the board's folder"))?);
        self.running = Some(Running::start(command).map_err(failed("start qemu-system-arm"))?);
        loop {
            if let Some(status) = self.ended()? {
                return Err(QemuError::Ended { status, said: self.console().trim().to_owned() });
            }
            // QEMU makes its sockets in the order of its options, the monitor's last.
            match Qmp::connect(&self.folder.path().join("qmp"), MONITOR) {
                Ok(_) => return Ok(()),
                Err(QmpError::Io { source, .. }) if not_there_yet(&source) => {}
                Err(error) => return Err(error.into()),
            }
            if interrupted() {
                return Err(QemuError::Interrupted);
            }
            if Instant::now() >= end {
                let (waited_s, console) = (patience.as_secs(), self.console());
                return Err(QemuError::NotUp { waited_s, console });
            }
            std::thread::sleep(LOOK);
        }
    }

    fn ended(&mut self) -> Result<Option<String>, QemuError> {
        let Some(running) = &mut self.running else { return Ok(Some("switched off".into())) };
        let status = running.child.try_wait().map_err(failed("watch QEMU"))?;
        Ok(status.map(|status| status.to_string()))
    }

    fn switch_off(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    fn tell(&self, what: &'static str, limit: Duration) -> Result<serde_json::Value, QemuError> {
        Ok(Qmp::connect(&self.folder.path().join("qmp"), limit.min(MONITOR))?.tell(what)?)
    }
}

impl Power for Machine {
    /// A board that was off is blank again.
    fn on(&mut self, limit: Duration) -> Result<(), PowerError> {
        if self.ended()?.is_some() {
            self.switch_off();
            self.switch_on(limit)?;
        }
        Ok(())
    }

    fn off(&mut self, _limit: Duration) -> Result<(), PowerError> {
        self.switch_off();
        Ok(())
    }

    /// The reset pin: what is in flash stays, and in QEMU what is in RAM too.
    fn reset(&mut self, limit: Duration) -> Result<(), PowerError> {
        self.tell("system_reset", limit)?;
        self.tell("cont", limit)?;
        Ok(())
    }

    fn hang(&mut self, limit: Duration) -> Result<(), PowerError> {
        self.tell("stop", limit)?;
        Ok(())
    }

    fn resume(&mut self, limit: Duration) -> Result<(), PowerError> {
        self.tell("cont", limit)?;
        Ok(())
    }

    fn state(&mut self, limit: Duration) -> Result<PowerState, PowerError> {
        if self.ended()?.is_some() {
            return Ok(PowerState::Off);
        }
        let answer = self.tell("query-status", limit)?;
        let running = answer.get("running").and_then(serde_json::Value::as_bool).unwrap_or(false);
        Ok(if running { PowerState::On } else { PowerState::Hung })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.switch_off();
    }
}

/// Names of sockets are relative to the board's folder: QEMU's options give commas a meaning and sockets limit the length of a path.
fn command(spec: &MachineSpec) -> Command {
    let mut command = ends_with_us("qemu-system-arm");
    command.args(["-M", &spec.machine, "-nodefaults", "-no-user-config", "-display", "none", "-S"]);
    command.args(["-icount", &format!("shift={}", spec.instruction_shift)]);
    command.args(["-chardev", "socket,id=probe,path=probe,server=on,wait=off", "-gdb", "chardev:probe"]);
    command.args(["-chardev", "socket,id=serial,path=serial,server=on,wait=off", "-serial", "chardev:serial"]);
    command.args(["-qmp", "unix:qmp,server=on,wait=off"]);
    // A group of its own: Ctrl-C is for the host, which ends the board when it has taken what it needs.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdout(Stdio::null());
    command
}
