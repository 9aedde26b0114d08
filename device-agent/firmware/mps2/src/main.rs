//! The agent for the MPS2 board with AN386 (Cortex-M4F).
#![no_std]
#![no_main]

mod board;

board::start!("MPS2 AN386", "Cortex-M4F", "dsp fpu");
