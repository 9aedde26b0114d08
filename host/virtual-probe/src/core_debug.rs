//! The debug block of a Cortex-M: what ARMv7-M puts at the end of the system control space, in front of a machine that has none.
//!
//! Only what a debugger works with is here (DHCSR, DCRSR, DCRDR, DEMCR, DFSR, AIRCR's reset request, the breakpoint unit); everything else
//! of the address space is the machine's own.

use crate::machine::{LR, Machine, PC, Register, Stop};
use crate::stub::StubError;
use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, StubError>;

const FP_CTRL: u32 = 0xe000_2000;
const FP_COMP: u32 = 0xe000_2008;
const FP_COMP_END: u32 = FP_COMP + 4 * COMPARATORS as u32;
const COMPARATORS: usize = 6;
const VTOR: u32 = 0xe000_ed08;
const AIRCR: u32 = 0xe000_ed0c;
const DFSR: u32 = 0xe000_ed30;
const DHCSR: u32 = 0xe000_edf0;
const DCRSR: u32 = 0xe000_edf4;
const DCRDR: u32 = 0xe000_edf8;
const DEMCR: u32 = 0xe000_edfc;

const DHCSR_KEY: u32 = 0xa05f;
const C_DEBUGEN: u32 = 1 << 0;
const C_HALT: u32 = 1 << 1;
const C_STEP: u32 = 1 << 2;
const CONTROLS: u32 = 0xf;
const S_REGRDY: u32 = 1 << 16;
const S_HALT: u32 = 1 << 17;
const S_LOCKUP: u32 = 1 << 19;
const S_RESET_ST: u32 = 1 << 25;
const DFSR_HALTED: u32 = 1 << 0;
const DFSR_BKPT: u32 = 1 << 1;
const DFSR_VCATCH: u32 = 1 << 3;
const VC_CORERESET: u32 = 1 << 0;
const AIRCR_KEY: u32 = 0x05fa;
const SYSRESETREQ: u32 = 1 << 2;
const DCRSR_WRITE: u32 = 1 << 16;
const XPSR_T: u32 = 1 << 24;
/// The BKPT that asks a debugger for a service.
const SEMIHOSTING: u8 = 0xab;
/// Nothing from here on can be executed.
const SYSTEM: u32 = 0xe000_0000;

/// What the core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Core {
    Running,
    Halted,
    /// It would take a fault in a fault handler. Silicon stays there until a reset; QEMU ends itself, so the machine is not let go.
    LockedUp,
}

/// A machine with a debug block.
#[derive(Debug)]
pub(crate) struct CoreDebug<M: Machine> {
    machine: M,
    core: Core,
    controls: u32,
    dfsr: u32,
    demcr: u32,
    dcrdr: u32,
    reset_seen: bool,
    comparators_on: bool,
    comparators: [u32; COMPARATORS],
    planted: BTreeSet<u32>,
    return_trap: Option<u32>,
    released: bool,
}

impl<M: Machine> CoreDebug<M> {
    /// Takes a machine that stands still because it was stopped on arrival (`ran`) or never started. The first is let go again.
    pub(crate) fn new(machine: M, ran: bool) -> Result<Self> {
        let mut debug = Self {
            machine,
            core: Core::Halted,
            controls: C_DEBUGEN | C_HALT,
            dfsr: DFSR_HALTED,
            demcr: 0,
            dcrdr: 0,
            reset_seen: false,
            comparators_on: false,
            comparators: [0; COMPARATORS],
            planted: BTreeSet::new(),
            return_trap: None,
            released: false,
        };
        if ran {
            (debug.controls, debug.dfsr) = (0, 0);
            debug.resume()?;
        }
        Ok(debug)
    }

    /// Does this word belong to the debug block?
    pub(crate) fn owns(address: u32) -> bool {
        matches!(address, FP_CTRL | FP_COMP..FP_COMP_END | AIRCR | DFSR | DHCSR | DCRSR | DCRDR | DEMCR)
    }

    /// A word of the debug block.
    pub(crate) fn load(&mut self, address: u32) -> Result<u32> {
        Ok(match address {
            DHCSR => self.dhcsr()?,
            DFSR => self.dfsr,
            DEMCR => self.demcr,
            DCRDR => self.dcrdr,
            FP_CTRL => 1 << 28 | (COMPARATORS as u32) << 4 | u32::from(self.comparators_on),
            FP_COMP..FP_COMP_END => self.comparators[comparator(address)],
            AIRCR => {
                let mut bytes = [0; 4];
                self.read(AIRCR, &mut bytes)?;
                u32::from_le_bytes(bytes)
            }
            _ => 0,
        })
    }

    /// Sets a word of the debug block.
    pub(crate) fn store(&mut self, address: u32, value: u32) -> Result<()> {
        match address {
            DHCSR if value >> 16 == DHCSR_KEY => self.control(value & CONTROLS),
            DFSR => {
                self.dfsr &= !value;
                Ok(())
            }
            DEMCR => {
                self.demcr = value;
                Ok(())
            }
            DCRDR => {
                self.dcrdr = value;
                Ok(())
            }
            DCRSR => self.transfer(value),
            FP_CTRL if value & 2 != 0 => {
                self.comparators_on = value & 1 != 0;
                self.plant()
            }
            FP_COMP..FP_COMP_END => {
                self.comparators[comparator(address)] = value;
                self.plant()
            }
            AIRCR if value >> 16 == AIRCR_KEY && value & SYSRESETREQ != 0 => self.reset(),
            AIRCR => self.write(AIRCR, &value.to_le_bytes()),
            _ => Ok(()),
        }
    }

    /// Memory outside of the debug block, whether the core runs or not.
    pub(crate) fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<()> {
        self.standing(|machine| machine.read(address, bytes))
    }

    /// Memory outside of the debug block, whether the core runs or not.
    pub(crate) fn write(&mut self, address: u32, bytes: &[u8]) -> Result<()> {
        self.standing(|machine| machine.write(address, bytes))
    }

    /// A reset by the pin.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.halt()?;
        self.machine.reset()?;
        self.reset_seen = true;
        self.core = Core::Halted;
        self.dfsr = 0;
        if self.controls & C_DEBUGEN != 0 && self.demcr & VC_CORERESET != 0 {
            self.controls |= C_HALT;
            self.dfsr = DFSR_VCATCH;
            return Ok(());
        }
        self.controls &= !C_HALT;
        self.resume()
    }

    /// Goes. The machine runs on, unless its core is locked up: then QEMU stays as it is, paused.
    pub(crate) fn release(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        self.halt()?;
        if self.core == Core::LockedUp || self.would_lock_up(false)? { Ok(()) } else { self.machine.release() }
    }

    fn dhcsr(&mut self) -> Result<u32> {
        self.look()?;
        let state = match self.core {
            Core::Running => 0,
            Core::Halted => S_HALT,
            Core::LockedUp => S_LOCKUP,
        };
        let reset = if std::mem::take(&mut self.reset_seen) { S_RESET_ST } else { 0 };
        Ok(self.controls | S_REGRDY | state | reset)
    }

    /// Without C_DEBUGEN the other bits mean nothing and the core runs.
    fn control(&mut self, controls: u32) -> Result<()> {
        self.controls = controls;
        if controls & C_DEBUGEN == 0 {
            self.resume()
        } else if controls & C_HALT != 0 {
            self.halt()
        } else if controls & C_STEP != 0 {
            self.step()
        } else {
            self.resume()
        }
    }

    fn step(&mut self) -> Result<()> {
        self.look()?;
        if self.core == Core::Halted {
            self.machine.step()?;
            self.halted_by(DFSR_HALTED);
        }
        Ok(())
    }

    /// A core that has stopped by itself is halted, and says so.
    fn look(&mut self) -> Result<()> {
        if self.core == Core::Running
            && let Some(stop) = self.machine.stopped()?
        {
            self.stopped_by(stop)?;
        }
        Ok(())
    }

    fn halt(&mut self) -> Result<()> {
        self.look()?;
        match self.core {
            Core::Running => {
                let stop = self.machine.interrupt()?;
                self.stopped_by(stop)?;
            }
            Core::LockedUp => self.halted_by(DFSR_HALTED),
            Core::Halted => {}
        }
        Ok(())
    }

    fn stopped_by(&mut self, stop: Stop) -> Result<()> {
        self.halted_by(match stop {
            Stop::Asked => DFSR_HALTED,
            Stop::Trap => DFSR_BKPT,
        });
        self.drop_return_trap()
    }

    /// As on silicon, C_HALT reads as set after whatever halted the core: a debugger writes it back with other bits changed.
    fn halted_by(&mut self, reason: u32) {
        self.core = Core::Halted;
        self.controls |= C_HALT;
        self.dfsr |= reason;
    }

    fn resume(&mut self) -> Result<()> {
        if self.core != Core::Halted {
            return Ok(());
        }
        let debugged = self.controls & C_DEBUGEN != 0;
        if self.would_lock_up(debugged)? {
            self.core = Core::LockedUp;
            return Ok(());
        }
        if debugged {
            self.set_return_trap()?;
        }
        self.machine.resume()?;
        self.core = Core::Running;
        Ok(())
    }

    /// A blank board: where the core stands is nothing that it could do, and no handler takes the fault. Without a debugger that is so
    /// for a BKPT, too: the end of a flash algorithm, after which nobody reset the chip.
    fn would_lock_up(&mut self, debugged: bool) -> Result<bool> {
        let thumb = self.machine.register(Register::Xpsr)? & XPSR_T != 0;
        let pc = self.machine.register(PC)?;
        if thumb && pc < SYSTEM && (debugged || self.breaking_code(pc).is_none()) {
            return Ok(false);
        }
        let table = self.word(VTOR)?;
        let handler = self.word(table.wrapping_add(12))?;
        Ok(handler & 1 == 0 || handler >= SYSTEM)
    }

    /// The number in the BKPT instruction that lies here, if one does. What cannot be read is none.
    fn breaking_code(&mut self, address: u32) -> Option<u8> {
        let mut code = [0; 2];
        self.machine.read(address, &mut code).ok()?;
        (code[1] == 0xbe).then_some(code[0])
    }

    fn word(&mut self, address: u32) -> Result<u32> {
        let mut bytes = [0; 4];
        self.machine.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A debugger calls a routine with LR at a BKPT, where silicon halts; QEMU takes a fault instead, so it must not get there.
    fn set_return_trap(&mut self) -> Result<()> {
        let link = self.machine.register(LR)?;
        let address = link & !1;
        if link & 1 == 0 || link >= SYSTEM || self.planted.contains(&address) {
            return Ok(());
        }
        if self.breaking_code(address).is_some_and(|number| number != SEMIHOSTING) {
            self.machine.breakpoint(address, true)?;
            self.return_trap = Some(address);
        }
        Ok(())
    }

    fn drop_return_trap(&mut self) -> Result<()> {
        match self.return_trap.take() {
            Some(address) if !self.planted.contains(&address) => self.machine.breakpoint(address, false),
            _ => Ok(()),
        }
    }

    /// Makes the machine's breakpoints those of the comparators.
    fn plant(&mut self) -> Result<()> {
        let on = self.comparators.iter().filter(|word| self.comparators_on && *word & 1 != 0);
        let wanted: BTreeSet<u32> = on.map(|word| word & !1).collect();
        let changed: Vec<u32> = wanted.symmetric_difference(&self.planted).copied().collect();
        for address in changed {
            let plants = wanted.contains(&address);
            self.standing(|machine| machine.breakpoint(address, plants))?;
            if plants {
                self.planted.insert(address)
            } else {
                self.planted.remove(&address)
            };
        }
        Ok(())
    }

    /// Moves a core register from or to DCRDR.
    fn transfer(&mut self, request: u32) -> Result<()> {
        let selector = request & 0x7f;
        let register = match u8::try_from(selector) {
            Ok(number @ 0..=15) => Register::General(number),
            Ok(16) => Register::Xpsr,
            _ => return Err(StubError::NoRegister { selector }),
        };
        if request & DCRSR_WRITE != 0 {
            self.machine.set_register(register, self.dcrdr)
        } else {
            self.dcrdr = self.machine.register(register)?;
            Ok(())
        }
    }

    /// The stub answers only while the machine stands still: a running one is stopped for it and goes on.
    fn standing<T>(&mut self, access: impl FnOnce(&mut M) -> Result<T>) -> Result<T> {
        self.look()?;
        if self.core != Core::Running {
            return access(&mut self.machine);
        }
        let stop = self.machine.interrupt()?;
        let got = access(&mut self.machine);
        match stop {
            // It ran into a breakpoint just now.
            Stop::Trap => self.stopped_by(stop)?,
            Stop::Asked => self.machine.resume()?,
        }
        got
    }
}

impl<M: Machine> Drop for CoreDebug<M> {
    fn drop(&mut self) {
        // A machine that is gone cannot be let go.
        let _ = self.release();
    }
}

fn comparator(address: u32) -> usize {
    ((address - FP_COMP) / 4) as usize
}

#[cfg(test)]
pub(crate) mod tests;
