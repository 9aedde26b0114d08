//! Effects: build, link, power, ship, measure, lease.
#![deny(unsafe_code)]

pub mod build;
pub mod link;
