//! The gate as a whole: records in, verdicts out. No device is needed: the records are made here.

mod ab;
mod again;
mod baseline;
#[path = "../../examples/honesty/ab.rs"]
mod blocks_in_turn;
mod calibrate;
mod custom;
mod defects;
#[path = "../../examples/honesty/draw.rs"]
mod draw;
mod early;
mod errors;
mod explained;
mod flips;
mod foreign;
mod gap;
mod good;
mod gpu;
mod graded;
mod hostile;
#[path = "../../examples/honesty/latency.rs"]
mod latency;
mod microcontroller;
mod moved;
mod placed;
mod reports;
#[path = "../../examples/honesty/rules.rs"]
mod rules;
mod second;
mod vectors;
