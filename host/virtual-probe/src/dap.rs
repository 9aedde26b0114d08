//! The debug access port: a debug port (ADIv5, SWD) with one memory access port on the AHB.

use crate::core_debug::CoreDebug;
use crate::machine::Machine;
use crate::stub::StubError;

type Result<T> = std::result::Result<T, StubError>;

/// Version 1, of ARM.
const DPIDR: u32 = 0x2ba0_1477;
/// An AHB3 memory access port of a Cortex-M4.
const IDR: u32 = 0x2477_0011;
/// The ROM table of a Cortex-M.
const BASE: u32 = 0xe00f_f003;
/// Debug and system power: the requests; the answers are the bits above them.
const POWER_UP: u32 = 1 << 28 | 1 << 30;
const CSW_SIZE: u32 = 0x7;
const CSW_INCREMENT: u32 = 0x30;
const CSW_DEVICE_ENABLED: u32 = 1 << 6;
const CSW_WRITABLE: u32 = 0x7f00_0f37;

/// A register of the debug port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DebugPort {
    Dpidr,
    CtrlStat,
    Select,
    Other,
}

impl DebugPort {
    /// By address, in bank 0.
    pub(crate) fn at(address: u8) -> Self {
        match address & 0xc {
            0x0 => Self::Dpidr,
            0x4 => Self::CtrlStat,
            0x8 => Self::Select,
            _ => Self::Other,
        }
    }
}

/// A register of the access port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessPort {
    Csw,
    Tar,
    Drw,
    Base,
    Idr,
    Other,
}

impl AccessPort {
    /// By address, bank included.
    pub(crate) fn at(address: u8) -> Self {
        match address {
            0x00 => Self::Csw,
            0x04 => Self::Tar,
            0x0c => Self::Drw,
            0xf8 => Self::Base,
            0xfc => Self::Idr,
            _ => Self::Other,
        }
    }
}

/// The access port's registers in front of a core.
#[derive(Debug)]
pub(crate) struct Dap<M: Machine> {
    core: CoreDebug<M>,
    ctrl: u32,
    select: u32,
    csw: u32,
    tar: u32,
}

impl<M: Machine> Dap<M> {
    pub(crate) fn new(core: CoreDebug<M>) -> Self {
        Self { core, ctrl: 0, select: 0, csw: CSW_DEVICE_ENABLED | 0x0300_0002, tar: 0 }
    }

    /// The core behind the port.
    pub(crate) fn core(&mut self) -> &mut CoreDebug<M> {
        &mut self.core
    }

    /// Power that is asked for is there.
    pub(crate) fn read_debug_port(&mut self, register: DebugPort) -> u32 {
        match register {
            DebugPort::Dpidr => DPIDR,
            DebugPort::CtrlStat => self.ctrl | (self.ctrl & POWER_UP) << 1,
            DebugPort::Select | DebugPort::Other => 0,
        }
    }

    pub(crate) fn write_debug_port(&mut self, register: DebugPort, value: u32) {
        match register {
            // Not what only the port itself sets.
            DebugPort::CtrlStat => self.ctrl = value & !(POWER_UP << 1),
            DebugPort::Select => self.select = value,
            DebugPort::Dpidr | DebugPort::Other => {}
        }
    }

    pub(crate) fn read_access_port(&mut self, register: AccessPort) -> Result<u32> {
        if !self.selected() {
            return Ok(0);
        }
        Ok(match register {
            AccessPort::Csw => self.csw,
            AccessPort::Tar => self.tar,
            AccessPort::Drw => {
                let mut word = [0];
                self.read_data(&mut word)?;
                word[0]
            }
            AccessPort::Base => BASE,
            AccessPort::Idr => IDR,
            AccessPort::Other => 0,
        })
    }

    pub(crate) fn write_access_port(&mut self, register: AccessPort, value: u32) -> Result<()> {
        match register {
            _ if !self.selected() => {}
            AccessPort::Csw => self.csw = value & CSW_WRITABLE | CSW_DEVICE_ENABLED,
            AccessPort::Tar => self.tar = value,
            AccessPort::Drw => self.write_data(&[value])?,
            AccessPort::Base | AccessPort::Idr | AccessPort::Other => {}
        }
        Ok(())
    }

    /// DRW, once for each word: one packet when the addresses follow each other in memory.
    pub(crate) fn read_data(&mut self, words: &mut [u32]) -> Result<()> {
        let (width, first) = (self.width(), self.tar);
        if !self.increments() || (width == 4 && CoreDebug::<M>::owns(first)) {
            for word in words {
                *word = self.read_one(width)?;
                self.advance(1);
            }
            return Ok(());
        }
        let mut bytes = vec![0; words.len() * width];
        self.core.read(first, &mut bytes)?;
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(width)) {
            *word = on_lanes(chunk, self.tar);
            self.advance(1);
        }
        Ok(())
    }

    /// DRW, once for each word: one packet when the addresses follow each other in memory.
    pub(crate) fn write_data(&mut self, words: &[u32]) -> Result<()> {
        let (width, first) = (self.width(), self.tar);
        if !self.increments() || (width == 4 && CoreDebug::<M>::owns(first)) {
            for word in words {
                self.write_one(width, *word)?;
                self.advance(1);
            }
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(words.len() * width);
        for word in words {
            bytes.extend_from_slice(&off_lanes(*word, self.tar)[..width]);
            self.advance(1);
        }
        self.core.write(first, &bytes)
    }

    fn read_one(&mut self, width: usize) -> Result<u32> {
        if width == 4 && CoreDebug::<M>::owns(self.tar) {
            return self.core.load(self.tar);
        }
        let mut bytes = [0; 4];
        self.core.read(self.tar, &mut bytes[..width])?;
        Ok(on_lanes(&bytes[..width], self.tar))
    }

    fn write_one(&mut self, width: usize, word: u32) -> Result<()> {
        if width == 4 && CoreDebug::<M>::owns(self.tar) {
            return self.core.store(self.tar, word);
        }
        self.core.write(self.tar, &off_lanes(word, self.tar)[..width])
    }

    /// Access port 0 is the only one.
    fn selected(&self) -> bool {
        self.select >> 24 == 0
    }

    fn width(&self) -> usize {
        match self.csw & CSW_SIZE {
            0 => 1,
            1 => 2,
            _ => 4,
        }
    }

    fn increments(&self) -> bool {
        self.csw & CSW_INCREMENT != 0
    }

    fn advance(&mut self, accesses: u32) {
        if self.increments() {
            // A width is 1, 2 or 4.
            self.tar = self.tar.wrapping_add(accesses * self.width() as u32);
        }
    }
}

/// Bytes of memory as they lie on the bus: each on the lane of its address.
fn on_lanes(bytes: &[u8], address: u32) -> u32 {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    let lanes = if bytes.len() == 4 { 0 } else { 8 * (address & 3) };
    // A half word at an odd address would leave the bus; debuggers do not ask for one.
    u32::from_le_bytes(word).wrapping_shl(lanes)
}

/// The bytes of memory that the bus carries for `address`, the first of them first.
fn off_lanes(word: u32, address: u32) -> [u8; 4] {
    // For a whole word the address is a multiple of four.
    word.wrapping_shr(8 * (address & 3)).to_le_bytes()
}

#[cfg(test)]
mod tests;
