//! The agent for the MPS2 board with AN500 (Cortex-M7).
#![no_std]
#![no_main]

mod board;

board::start!("MPS2 AN500", "Cortex-M7", "dsp fpu");
