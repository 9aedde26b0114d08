//! The gate as a whole: records in, verdicts out. No device is needed: the records are made here.

mod defects;
mod errors;
mod foreign;
mod good;
mod hostile;
mod microcontroller;
mod reports;
mod second;
