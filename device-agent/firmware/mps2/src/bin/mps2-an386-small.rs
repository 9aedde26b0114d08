//! The agent for the MPS2 board with AN386 (Cortex-M4F), with a store as small as boards have that bring no memory for it.
#![no_std]
#![no_main]

use boardproof_firmware_common::{Micro, firmware};

firmware!(boardproof_firmware_mps2::Mps2<386>, Micro, Micro);
