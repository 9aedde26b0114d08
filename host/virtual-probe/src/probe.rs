//! The access port as a probe of probe-rs.

use crate::core_debug::CoreDebug;
use crate::dap::{AccessPort, Dap, DebugPort};
use crate::stub::{Stub, StubAddress, StubError};
use probe_rs::CoreStatus;
use probe_rs::architecture::arm::sequences::ArmDebugSequence;
use probe_rs::architecture::arm::{
    ArmCommunicationInterface, ArmDebugInterface, ArmError, DapProbe, RawDapAccess, RegisterAddress,
};
use probe_rs::probe::{DebugProbe, DebugProbeError, Probe, WireProtocol};
use std::sync::Arc;
use std::time::Duration;

/// Bit of the reset pin, as CMSIS-DAP numbers the pins.
const N_RESET: u32 = 1 << 7;
/// There is no wire to be slow.
const SPEED_KHZ: u32 = 4_000;

/// Connects to the stub at `address` and gives a probe for [`probe_rs::probe::Probe::attach_with_registry`], with [`crate::FAMILY`] in the
/// registry.
///
/// Connecting stops the machine for a moment; one that ran runs on before this returns. `patience` is for each answer of the stub, then and
/// later. Dropping the probe, or the session that it became, lets the machine run.
pub fn open(address: &StubAddress, patience: Duration) -> Result<Probe, StubError> {
    let stub = Stub::connect(address, patience)?;
    let ran = stub.ran();
    let core = CoreDebug::new(stub, ran)?;
    Ok(Probe::new(VirtualProbe { dap: Dap::new(core), pins: u32::MAX }))
}

#[derive(Debug)]
struct VirtualProbe {
    dap: Dap<Stub>,
    pins: u32,
}

fn arm(error: StubError) -> ArmError {
    ArmError::Probe(error.into())
}

impl VirtualProbe {
    fn is_data(address: RegisterAddress) -> bool {
        matches!(address, RegisterAddress::ApRegister(address) if AccessPort::at(address) == AccessPort::Drw)
    }
}

impl RawDapAccess for VirtualProbe {
    fn raw_read_register(&mut self, address: RegisterAddress) -> Result<u32, ArmError> {
        match address {
            RegisterAddress::DpRegister(register) => Ok(self.dap.read_debug_port(DebugPort::at(register.address))),
            RegisterAddress::ApRegister(address) => self.dap.read_access_port(AccessPort::at(address)).map_err(arm),
        }
    }

    fn raw_write_register(&mut self, address: RegisterAddress, value: u32) -> Result<(), ArmError> {
        match address {
            RegisterAddress::DpRegister(register) => {
                self.dap.write_debug_port(DebugPort::at(register.address), value);
                Ok(())
            }
            RegisterAddress::ApRegister(address) => {
                self.dap.write_access_port(AccessPort::at(address), value).map_err(arm)
            }
        }
    }

    fn raw_read_block(&mut self, address: RegisterAddress, values: &mut [u32]) -> Result<(), ArmError> {
        if Self::is_data(address) {
            return self.dap.read_data(values).map_err(arm);
        }
        for value in values {
            *value = self.raw_read_register(address)?;
        }
        Ok(())
    }

    fn raw_write_block(&mut self, address: RegisterAddress, values: &[u32]) -> Result<(), ArmError> {
        if Self::is_data(address) {
            return self.dap.write_data(values).map_err(arm);
        }
        for value in values {
            self.raw_write_register(address, *value)?;
        }
        Ok(())
    }

    fn jtag_sequence(&mut self, _cycles: u8, _tms: bool, _tdi: u64) -> Result<(), DebugProbeError> {
        Err(DebugProbeError::UnsupportedProtocol(WireProtocol::Jtag))
    }

    /// What wakes a port up; this one is awake.
    fn swj_sequence(&mut self, _length: u8, _bits: u64) -> Result<(), DebugProbeError> {
        Ok(())
    }

    /// Only the reset pin leads somewhere: letting it go resets the board.
    fn swj_pins(&mut self, values: u32, select: u32, _wait: u32) -> Result<u32, DebugProbeError> {
        let before = self.pins;
        self.pins = before & !select | values & select;
        if before & N_RESET == 0 && self.pins & N_RESET != 0 {
            self.dap.core().reset()?;
        }
        Ok(self.pins & 0xff)
    }

    fn into_probe(self: Box<Self>) -> Box<dyn DebugProbe> {
        self
    }

    fn core_status_notification(&mut self, _state: CoreStatus) -> Result<(), DebugProbeError> {
        Ok(())
    }
}

impl DapProbe for VirtualProbe {}

impl DebugProbe for VirtualProbe {
    fn get_name(&self) -> &'static str {
        "virtual probe of a board in QEMU"
    }

    fn speed_khz(&self) -> u32 {
        SPEED_KHZ
    }

    fn set_speed(&mut self, speed_khz: u32) -> Result<u32, DebugProbeError> {
        Ok(speed_khz)
    }

    fn attach(&mut self) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn detach(&mut self) -> Result<(), probe_rs::Error> {
        self.dap.core().release().map_err(|error| probe_rs::Error::Probe(error.into()))
    }

    fn target_reset(&mut self) -> Result<(), DebugProbeError> {
        Ok(self.dap.core().reset()?)
    }

    fn target_reset_assert(&mut self) -> Result<(), DebugProbeError> {
        self.swj_pins(0, N_RESET, 0).map(drop)
    }

    fn target_reset_deassert(&mut self) -> Result<(), DebugProbeError> {
        self.swj_pins(N_RESET, N_RESET, 0).map(drop)
    }

    fn select_protocol(&mut self, protocol: WireProtocol) -> Result<(), DebugProbeError> {
        match protocol {
            WireProtocol::Swd => Ok(()),
            WireProtocol::Jtag => Err(DebugProbeError::UnsupportedProtocol(protocol)),
        }
    }

    fn active_protocol(&self) -> Option<WireProtocol> {
        Some(WireProtocol::Swd)
    }

    fn has_arm_interface(&self) -> bool {
        true
    }

    fn try_get_arm_debug_interface<'probe>(
        self: Box<Self>,
        sequence: Arc<dyn ArmDebugSequence>,
    ) -> Result<Box<dyn ArmDebugInterface + 'probe>, (Box<dyn DebugProbe>, ArmError)> {
        Ok(ArmCommunicationInterface::create(self, sequence, false))
    }

    fn into_probe(self: Box<Self>) -> Box<dyn DebugProbe> {
        self
    }

    fn try_as_dap_probe(&mut self) -> Option<&mut dyn DapProbe> {
        Some(self)
    }
}
