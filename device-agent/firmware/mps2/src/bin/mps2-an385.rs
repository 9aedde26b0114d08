//! The agent for the MPS2 board with AN385 (Cortex-M3).
#![no_std]
#![no_main]

use boardproof_firmware_common::{Micro, firmware};

firmware!(boardproof_firmware_mps2::Mps2<385>, Micro, Micro);
