//! Building the programs that run on a board: which tool, from which source, once per digest.
//!
//! Owns the choice of builder and the artifact cache. Refuses to know what the programs do.

mod cargo;
mod choose;
mod source;

pub use cargo::{Artifact, BuildError, Workshop};
pub use choose::{Choice, OWN_COMPILER, Tools, choose, in_path, is_static, needs};
pub use source::{SourceError, find_source, source_digest};

/// One of the two programs on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The small static program that speaks the protocol.
    Agent,
    /// The program with the engine.
    Runner,
}

impl Program {
    /// Cargo package and binary name.
    pub fn package(self) -> &'static str {
        match self {
            Self::Agent => "boardproof-agent",
            Self::Runner => "boardproof-runner",
        }
    }

    /// Short name, as in the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Runner => "runner",
        }
    }
}
