//! The words of boardproof: ids, units of measure, plan, observation, policy, verdict, and the record format with its version.
//!
//! Everything here is a value with serde on it. No I/O, no clock, no decision.
#![forbid(unsafe_code)]

pub mod ab;
pub mod calibration;
pub mod consistency;
pub mod dialect;
pub mod digest;
pub mod ids;
pub mod layers;
pub mod observation;
pub mod order;
pub mod plan;
pub mod policy;
pub mod record;
pub mod verdict;

pub use digest::Digest;
pub use ids::{CellId, EngineName, ModelName, RuleId, TargetName, UnitName, VariantName};
