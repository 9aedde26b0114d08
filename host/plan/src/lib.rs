//! Turns what people write (model.toml, target.toml, policy.toml, inventory.toml, boardproof.toml) into a [`Plan`] of cells.
//!
//! Pure: texts and bytes come in, values go out. Nothing is opened here, nothing is trusted: a text is parsed once into raw types
//! that refuse unknown keys, then checked into the types of `boardproof-record`, and never checked again.
#![forbid(unsafe_code)]

mod against;
pub mod builtin;
mod cells;
mod error;
pub mod evalset;
mod inventory;
mod model;
mod policy;
mod project;
mod target;

pub use against::hold_against_baseline;
pub use boardproof_record::plan::Plan;
pub use cells::{Counts, Wanted, check_places, lacking, locate, plan};
pub use error::{PlanError, nearest};
pub use inventory::parse_inventory;
pub use model::{Manifest, Purpose, parse_model};
pub use policy::{parse_policy, runner_engine};
pub use project::{Project, TEMPLATE, parse_project};
pub use target::parse_target;
