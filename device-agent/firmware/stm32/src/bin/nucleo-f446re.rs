//! The agent for the Nucleo-F446RE (Cortex-M4F).
#![no_std]
#![no_main]

use boardproof_firmware_common::{Micro, firmware};

firmware!(boardproof_firmware_stm32::F446, Micro, Micro);
