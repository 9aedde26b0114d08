//! What a debug probe can do, whatever it is.

use crate::error::ProbeError;
use crate::permission::Permission;
use std::time::Duration;

/// What a core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreState {
    /// It runs.
    Running,
    /// A debugger holds it.
    Halted,
    /// It waits for an interrupt.
    Sleeping,
    /// It took a fault while it handled one, and does nothing until a reset.
    LockedUp,
    /// The probe does not say.
    Unknown,
}

/// What was flashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flashed {
    /// Bytes of the firmware in flash.
    pub bytes: u64,
    /// All of it was read back and compared.
    pub verified: bool,
    /// How long erasing, programming and verifying took.
    pub took: Duration,
}

/// How a core died: its registers, raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostMortem {
    /// What the core did when the probe looked.
    pub found: CoreState,
    /// Where it stands.
    pub pc: u32,
    /// Where it would return to.
    pub lr: u32,
    /// The stack.
    pub sp: u32,
    /// Program status.
    pub xpsr: u32,
    /// Configurable Fault Status Register: which fault it was.
    pub cfsr: u32,
    /// HardFault Status Register.
    pub hfsr: u32,
    /// The address that a memory management fault is about, when the core says that it holds one.
    pub mmfar: Option<u32>,
    /// The address that a bus fault is about, when the core says that it holds one.
    pub bfar: Option<u32>,
}

impl PostMortem {
    /// Number of the exception that the core is in: 0 for none, 3 for a HardFault.
    pub fn exception(&self) -> u16 {
        // Nine bits.
        (self.xpsr & 0x1ff) as u16
    }
}

/// Where the control block of RTT lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RttPlace {
    /// At this address: that of the symbol `_SEGGER_RTT`.
    Address(u32),
    /// Somewhere in RAM. The core stands still while it is looked for.
    Scan,
}

/// A probe that is attached to a chip with at least one core. Calls block.
///
/// [`crate::Probe`] puts one on a thread of its own; a test puts its own there.
pub trait DebugLink {
    /// Name of the chip.
    fn chip(&self) -> &str;
    /// Writes an ELF file into flash and leaves the core halted.
    fn flash(&mut self, elf: &[u8], verify: bool, permission: &Permission) -> Result<Flashed, ProbeError>;
    /// Is what an ELF file has in flash there already? Leaves the core halted and uses its RAM.
    fn holds(&mut self, elf: &[u8]) -> Result<bool, ProbeError>;
    /// Erases all of the flash and leaves the core halted.
    fn erase(&mut self, permission: &Permission) -> Result<(), ProbeError>;
    /// Resets the chip and lets it run.
    fn reset(&mut self) -> Result<(), ProbeError>;
    /// Resets the chip and stops it before its first instruction; gives the address of that.
    fn reset_and_halt(&mut self) -> Result<u32, ProbeError>;
    /// Halts the core; gives the address where it stands.
    fn halt(&mut self) -> Result<u32, ProbeError>;
    /// Lets the core run.
    fn run(&mut self) -> Result<(), ProbeError>;
    /// What the core does.
    fn state(&mut self) -> Result<CoreState, ProbeError>;
    /// Sets (`true`) or clears a breakpoint.
    fn breakpoint(&mut self, address: u32, set: bool) -> Result<(), ProbeError>;
    /// Fills `bytes` with the memory from `address` on, whether the core runs or not.
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), ProbeError>;
    /// Writes `bytes` to RAM from `address` on, whether the core runs or not. Refuses an address in flash.
    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), ProbeError>;
    /// The registers that tell how a core died. A running one stands still for it.
    fn post_mortem(&mut self) -> Result<PostMortem, ProbeError>;
    /// Finds RTT's control block, which must have a channel 0 in both directions.
    fn rtt_attach(&mut self, place: RttPlace) -> Result<(), ProbeError>;
    /// What came on channel 0, at most `bytes.len()`, perhaps nothing.
    fn rtt_read(&mut self, bytes: &mut [u8]) -> Result<usize, ProbeError>;
    /// Puts bytes on channel 0, as many as it has room for.
    fn rtt_write(&mut self, bytes: &[u8]) -> Result<usize, ProbeError>;
}
