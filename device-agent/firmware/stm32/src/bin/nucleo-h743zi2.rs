//! The agent for the Nucleo-H743ZI2 (Cortex-M7).
#![no_std]
#![no_main]

use boardproof_firmware_common::{Micro, firmware};

firmware!(boardproof_firmware_stm32::H743, Micro, Micro);
