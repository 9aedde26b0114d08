//! What a firmware's file says about its memory.

use crate::error::ProbeError;
use object::{Object, ObjectSymbol};

/// Symbol of the crash record that the firmware keeps across a reset.
pub const CRASH_SYMBOL: &str = "BOARDPROOF_CRASH";
/// Symbol of RTT's control block.
pub const RTT_SYMBOL: &str = "_SEGGER_RTT";

/// A place in a firmware's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Its address.
    pub address: u32,
    /// Its size in bytes, more than zero.
    pub length: u32,
}

/// The processors that an ELF file is for.
pub(crate) fn architecture(elf: &[u8]) -> Result<object::Architecture, ProbeError> {
    Ok(object::File::parse(elf).map_err(ProbeError::Elf)?.architecture())
}

/// The symbol of this name in an ELF file.
pub fn symbol(elf: &[u8], name: &str) -> Result<Symbol, ProbeError> {
    let file = object::File::parse(elf).map_err(ProbeError::Elf)?;
    let mut symbols = file.symbols().filter(|symbol| symbol.name() == Ok(name) && !symbol.is_undefined());
    let place = symbols.find_map(|symbol| {
        let (address, length) = (u32::try_from(symbol.address()).ok()?, u32::try_from(symbol.size()).ok()?);
        (length > 0).then_some(Symbol { address, length })
    });
    place.ok_or_else(|| ProbeError::NoSymbol { name: name.to_owned() })
}
