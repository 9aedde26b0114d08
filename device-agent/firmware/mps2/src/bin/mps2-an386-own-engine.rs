//! The agent for the MPS2 board with AN386 with an engine in C in the place of ours. Needs a C compiler for the board.
#![no_std]
#![no_main]

use boardproof_firmware_common::firmware;
use boardproof_firmware_own_engine::OwnEngine;

firmware!(boardproof_firmware_mps2::Mps2<386>, OwnEngine, OwnEngine);
