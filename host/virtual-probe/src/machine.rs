//! What the debug block needs of a machine: an emulated one's stub, or a test's.

use crate::stub::StubError;

/// A register that the stub shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// R0 to R12, SP, LR and PC by their numbers.
    General(u8),
    /// The program status.
    Xpsr,
}

/// A stack pointer.
#[cfg(test)]
pub(crate) const SP: Register = Register::General(13);
/// The link register.
pub(crate) const LR: Register = Register::General(14);
/// The program counter.
pub(crate) const PC: Register = Register::General(15);

/// Why a core stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody asked.
    Asked,
    /// A breakpoint, or the end of a step.
    Trap,
}

/// A machine with one core. All but `stopped` and `interrupt` want the core to stand still.
pub(crate) trait Machine: std::fmt::Debug + Send {
    /// Fills `bytes` from `address` on.
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), StubError>;
    /// Writes `bytes` from `address` on.
    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), StubError>;
    /// A register's value.
    fn register(&mut self, register: Register) -> Result<u32, StubError>;
    /// Sets a register.
    fn set_register(&mut self, register: Register, value: u32) -> Result<(), StubError>;
    /// Plants or removes a breakpoint.
    fn breakpoint(&mut self, address: u32, planted: bool) -> Result<(), StubError>;
    /// Lets the core go.
    fn resume(&mut self) -> Result<(), StubError>;
    /// One instruction. `Stop::Asked` when the core slept and did none.
    fn step(&mut self) -> Result<Stop, StubError>;
    /// Stops the core.
    fn interrupt(&mut self) -> Result<Stop, StubError>;
    /// Has the core stopped by itself? Does not wait.
    fn stopped(&mut self) -> Result<Option<Stop>, StubError>;
    /// Resets the whole machine, which stands still afterwards.
    fn reset(&mut self) -> Result<(), StubError>;
    /// Goes and lets the machine run on. Nothing else may follow.
    fn release(&mut self) -> Result<(), StubError>;
}
