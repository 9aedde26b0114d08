//! Effects: build, link, power, ship, measure, lease.
#![deny(unsafe_code)]

pub mod ab;
pub mod build;
pub mod calibration;
pub mod crash;
pub mod cuda;
pub mod custom;
pub mod dialect;
pub mod events;
mod fit;
pub mod hands;
pub mod held;
pub mod interrupt;
mod kill;
pub mod lease;
pub mod library;
pub mod link;
pub mod load;
pub mod measure;
pub mod micro;
pub mod order;
pub mod power;
pub mod reach;
pub mod reference;
pub mod ship;
pub mod simulate;
pub mod store;
pub mod symbols;
mod sysroot;
