use super::*;
use crate::machine::SP;
use crate::stub::{Action, StubAddress};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What a test sees of a machine after it went into the debug block.
#[derive(Debug, Default)]
pub(crate) struct Bench {
    pub(crate) memory: HashMap<u32, u8>,
    pub(crate) registers: HashMap<u8, u32>,
    pub(crate) xpsr: u32,
    pub(crate) running: bool,
    pub(crate) breakpoints: BTreeSet<u32>,
    pub(crate) stop: Option<Stop>,
    pub(crate) stop_when_interrupted: Option<Stop>,
    pub(crate) calls: Vec<&'static str>,
    pub(crate) gone: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FakeMachine(pub(crate) Arc<Mutex<Bench>>);

impl FakeMachine {
    /// A machine whose core can run: its PC is in memory.
    pub(crate) fn able() -> Self {
        let machine = Self::default();
        machine.0.lock().unwrap().xpsr = XPSR_T;
        machine
    }

    fn standing(&self, call: &'static str) -> Result<std::sync::MutexGuard<'_, Bench>> {
        let mut bench = self.0.lock().unwrap();
        if bench.gone {
            return Err(StubError::Gone { address: StubAddress::Tcp("test".into()), action: Action::Stop });
        }
        assert!(!bench.running, "{call} while the machine runs");
        bench.calls.push(call);
        Ok(bench)
    }
}

impl Machine for FakeMachine {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<()> {
        let bench = self.standing("read")?;
        for (place, byte) in (address..).zip(bytes) {
            *byte = bench.memory.get(&place).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<()> {
        self.standing("write")?.memory.extend((address..).zip(bytes.iter().copied()));
        Ok(())
    }

    fn register(&mut self, register: Register) -> Result<u32> {
        let bench = self.standing("register")?;
        Ok(match register {
            Register::General(number) => bench.registers.get(&number).copied().unwrap_or(0),
            Register::Xpsr => bench.xpsr,
        })
    }

    fn set_register(&mut self, register: Register, value: u32) -> Result<()> {
        let mut bench = self.standing("set register")?;
        match register {
            Register::General(number) => drop(bench.registers.insert(number, value)),
            Register::Xpsr => bench.xpsr = value,
        }
        Ok(())
    }

    fn breakpoint(&mut self, address: u32, planted: bool) -> Result<()> {
        let mut bench = self.standing("breakpoint")?;
        let changed = if planted { bench.breakpoints.insert(address) } else { bench.breakpoints.remove(&address) };
        assert!(changed, "the breakpoint at {address:#x} was already so");
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        self.standing("resume")?.running = true;
        Ok(())
    }

    fn step(&mut self) -> Result<Stop> {
        self.standing("step").map(|_| Stop::Trap)
    }

    fn interrupt(&mut self) -> Result<Stop> {
        let mut bench = self.0.lock().unwrap();
        assert!(bench.running, "interrupted while it stands still");
        bench.running = false;
        bench.calls.push("interrupt");
        Ok(bench.stop_when_interrupted.take().unwrap_or(Stop::Asked))
    }

    fn stopped(&mut self) -> Result<Option<Stop>> {
        let mut bench = self.0.lock().unwrap();
        let stop = bench.stop.take();
        bench.running &= stop.is_none();
        Ok(stop)
    }

    fn reset(&mut self) -> Result<()> {
        self.standing("reset").map(drop)
    }

    fn release(&mut self) -> Result<()> {
        self.standing("release")?.running = true;
        Ok(())
    }
}

const KEY: u32 = DHCSR_KEY << 16;

fn halted() -> (CoreDebug<FakeMachine>, FakeMachine) {
    let machine = FakeMachine::able();
    (CoreDebug::new(machine.clone(), false).unwrap(), machine)
}

fn state(debug: &mut CoreDebug<FakeMachine>) -> u32 {
    debug.load(DHCSR).unwrap() & (S_HALT | S_LOCKUP | C_HALT)
}

#[test]
fn a_machine_that_ran_runs_on_and_one_that_stood_stays() {
    let machine = FakeMachine::able();
    let mut debug = CoreDebug::new(machine.clone(), true).unwrap();
    assert!(machine.0.lock().unwrap().running);
    assert_eq!(state(&mut debug), 0);
    let (mut debug, machine) = halted();
    assert!(!machine.0.lock().unwrap().running);
    assert_eq!(state(&mut debug), S_HALT | C_HALT);
}

#[test]
fn control_without_the_key_does_nothing() {
    let (mut debug, machine) = halted();
    debug.store(DHCSR, C_DEBUGEN).unwrap();
    assert!(!machine.0.lock().unwrap().running);
    debug.store(DHCSR, KEY | C_DEBUGEN).unwrap();
    assert!(machine.0.lock().unwrap().running);
    debug.store(DHCSR, KEY | C_DEBUGEN | C_HALT).unwrap();
    assert!(!machine.0.lock().unwrap().running);
    assert_eq!(debug.load(DFSR).unwrap(), DFSR_HALTED);
    debug.store(DFSR, 0x1f).unwrap();
    assert_eq!(debug.load(DFSR).unwrap(), 0);
}

#[test]
fn memory_of_a_running_core_is_read_between_a_stop_and_a_resume() {
    let (mut debug, machine) = halted();
    machine.0.lock().unwrap().memory.insert(0x2000_0000, 7);
    debug.store(DHCSR, KEY | C_DEBUGEN).unwrap();
    machine.0.lock().unwrap().calls.clear();
    let mut byte = [0];
    debug.read(0x2000_0000, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    assert_eq!(machine.0.lock().unwrap().calls, ["interrupt", "read", "resume"]);
    assert_eq!(state(&mut debug), 0);
}

#[test]
fn a_breakpoint_that_is_hit_during_an_access_halts() {
    let (mut debug, machine) = halted();
    debug.store(DHCSR, KEY | C_DEBUGEN).unwrap();
    debug.store(DFSR, 0x1f).unwrap();
    machine.0.lock().unwrap().stop_when_interrupted = Some(Stop::Trap);
    debug.read(0, &mut [0]).unwrap();
    assert_eq!(state(&mut debug), S_HALT | C_HALT);
    assert_eq!(debug.load(DFSR).unwrap(), DFSR_BKPT);
}

#[test]
fn comparators_are_the_machines_breakpoints_as_long_as_the_unit_is_on() {
    let (mut debug, machine) = halted();
    let planted = |expected: &[u32]| {
        let bench = machine.0.lock().unwrap();
        assert_eq!(bench.breakpoints.iter().copied().collect::<Vec<_>>(), expected);
    };
    assert_eq!(debug.load(FP_CTRL).unwrap(), 0x1000_0060);
    debug.store(FP_COMP, 0x101).unwrap();
    planted(&[]);
    debug.store(FP_CTRL, 1).unwrap();
    planted(&[]);
    debug.store(FP_CTRL, 3).unwrap();
    planted(&[0x100]);
    debug.store(FP_COMP + 4, 0x203).unwrap();
    planted(&[0x100, 0x202]);
    debug.store(FP_COMP, 0).unwrap();
    planted(&[0x202]);
    debug.store(FP_CTRL, 2).unwrap();
    planted(&[]);
}

#[test]
fn a_routine_that_returns_to_a_breakpoint_instruction_is_caught() {
    for (code, caught) in [([0x00, 0xbe], true), ([0xab, 0xbe], false), ([0x00, 0xbf], false)] {
        let (mut debug, machine) = halted();
        {
            let mut bench = machine.0.lock().unwrap();
            bench.registers.insert(14, 0x2000_0001);
            bench.memory.extend([(0x2000_0000, code[0]), (0x2000_0001, code[1])]);
        }
        debug.store(DHCSR, KEY | C_DEBUGEN).unwrap();
        assert_eq!(machine.0.lock().unwrap().breakpoints.contains(&0x2000_0000), caught, "{code:x?}");
        machine.0.lock().unwrap().stop = Some(Stop::Trap);
        assert_eq!(state(&mut debug), S_HALT | C_HALT);
        assert!(machine.0.lock().unwrap().breakpoints.is_empty(), "{code:x?}");
    }
}

#[test]
fn a_blank_board_locks_up_instead_of_running() {
    let machine = FakeMachine::default();
    let mut debug = CoreDebug::new(machine.clone(), false).unwrap();
    debug.store(DHCSR, KEY | C_DEBUGEN).unwrap();
    assert_eq!(state(&mut debug), S_LOCKUP);
    debug.store(DHCSR, KEY | C_DEBUGEN | C_HALT).unwrap();
    assert_eq!(state(&mut debug), S_HALT | C_HALT);
    drop(debug);
    assert!(!machine.0.lock().unwrap().running, "QEMU would end itself");
}

#[test]
fn a_core_that_stands_on_a_breakpoint_instruction_is_not_let_go_without_a_handler() {
    for (handler, runs) in [(0xffff_ffff_u32, false), (0x41, true)] {
        let (debug, machine) = halted();
        {
            let mut bench = machine.0.lock().unwrap();
            bench.registers.insert(15, 0x2000_0000);
            bench.memory.extend([(0x2000_0000, 0), (0x2000_0001, 0xbe)]);
            bench.memory.extend((12..).zip(handler.to_le_bytes()));
        }
        drop(debug);
        assert_eq!(machine.0.lock().unwrap().running, runs, "handler {handler:#x}");
    }
}

#[test]
fn a_core_with_a_fault_handler_runs_into_it() {
    let machine = FakeMachine::default();
    machine.0.lock().unwrap().memory.extend([(12, 0x41), (13, 0)]);
    let mut debug = CoreDebug::new(machine.clone(), false).unwrap();
    debug.store(DHCSR, KEY | C_DEBUGEN).unwrap();
    assert_eq!(state(&mut debug), 0);
}

#[test]
fn a_reset_is_caught_when_asked_and_runs_otherwise() {
    let (mut debug, machine) = halted();
    debug.store(AIRCR, SYSRESETREQ).unwrap();
    assert!(!machine.0.lock().unwrap().calls.contains(&"reset"), "no key, no reset");
    debug.store(DEMCR, VC_CORERESET).unwrap();
    debug.store(AIRCR, AIRCR_KEY << 16 | SYSRESETREQ).unwrap();
    assert_ne!(debug.load(DHCSR).unwrap() & S_RESET_ST, 0);
    assert_eq!(debug.load(DHCSR).unwrap() & S_RESET_ST, 0, "told once");
    assert_eq!(debug.load(DFSR).unwrap(), DFSR_VCATCH);
    debug.store(DEMCR, 0).unwrap();
    debug.store(AIRCR, AIRCR_KEY << 16 | SYSRESETREQ).unwrap();
    assert!(machine.0.lock().unwrap().running);
}

#[test]
fn registers_move_through_dcrdr_and_unknown_ones_are_refused() {
    let (mut debug, machine) = halted();
    debug.store(DCRDR, 0x2040_0000).unwrap();
    debug.store(DCRSR, DCRSR_WRITE | 13).unwrap();
    assert_eq!(machine.clone().register(SP).unwrap(), 0x2040_0000);
    debug.store(DCRSR, 16).unwrap();
    assert_eq!(debug.load(DCRDR).unwrap(), XPSR_T);
    let error = debug.store(DCRSR, 18).unwrap_err().to_string();
    assert!(error.contains("selector 18"), "{error}");
}

#[test]
fn going_lets_the_machine_run_even_when_it_was_halted() {
    let (debug, machine) = halted();
    drop(debug);
    let bench = machine.0.lock().unwrap();
    assert!(bench.running);
    assert_eq!(bench.calls.iter().filter(|call| **call == "release").count(), 1);
}

#[test]
fn a_machine_that_is_gone_is_an_error_and_no_panic() {
    let (mut debug, machine) = halted();
    machine.0.lock().unwrap().gone = true;
    debug.read(0, &mut [0]).unwrap_err();
    debug.store(DHCSR, KEY | C_DEBUGEN).unwrap_err();
    drop(debug);
}
