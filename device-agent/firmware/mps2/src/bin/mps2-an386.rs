//! The agent for the MPS2 board with AN386 (Cortex-M4F).
#![no_std]
#![no_main]

use boardproof_firmware_common::{Micro, firmware};

firmware!(boardproof_firmware_mps2::Mps2<386>, Micro, Micro);
