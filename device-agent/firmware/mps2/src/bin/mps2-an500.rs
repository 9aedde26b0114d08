//! The agent for the MPS2 board with AN500 (Cortex-M7).
#![no_std]
#![no_main]

use boardproof_firmware_common::{Micro, firmware};

firmware!(boardproof_firmware_mps2::Mps2<500>, Micro, Micro);
