//! Compares observations, applies the policy and renders reports. Pure.

pub mod compare;
