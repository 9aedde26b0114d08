//! The agent for the MPS2 board with AN385 (Cortex-M3).
#![no_std]
#![no_main]

mod board;

board::start!("MPS2 AN385", "Cortex-M3", "");
