//! Compares observations, applies the policy and renders reports. Pure: no file, no clock, no device.

pub mod ab;
mod claims;
pub mod compare;
mod each;
pub mod evidence;
pub mod explain;
pub mod flips;
pub mod gate;
pub mod opinions;
pub mod report;
