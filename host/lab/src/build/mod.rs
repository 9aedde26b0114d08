//! Building the programs that run on a board: which tool, from which source, once per digest.
//!
//! Owns the choice of builder and the artifact cache. Refuses to know what the programs do.

mod cargo;
mod choose;
mod prebuilt;
mod source;

use boardproof_record::plan::{BuildSpec, CANDLE, LinkSpec, MICRO, RUNNER_ENGINES, TRACT, Target};

pub use cargo::{Artifact, BuildError, Workshop};
pub use choose::{Choice, OWN_COMPILER, Tools, choose, in_path, is_static, needs};
pub use prebuilt::named as prebuilt_folder;
pub use source::{SourceError, find_source, source_digest};

/// The programs of a target, with the runner of the usual engine where it has one. A simulated device is its own agent, a firmware has its engine with it, and one that somebody else
/// built is there already.
pub fn programs(target: &Target) -> &'static [Program] {
    if target.dialect.is_some() {
        return &[];
    }
    match (&target.link, &target.build.firmware) {
        (_, Some(_)) => &[Program::Firmware],
        (LinkSpec::Sim { .. }, None) => &[Program::Runner(TRACT)],
        (_, None) => &[Program::Agent, Program::Runner(TRACT)],
    }
}

/// A program that is made for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The small static program that speaks the protocol.
    Agent,
    /// The program that holds this engine and no other.
    Runner(&'static str),
    /// Agent and engine of a microcontroller in one.
    Firmware,
}

impl Program {
    /// The runner that holds this engine; `None` for an engine that none holds.
    pub fn runner_of(engine: &str) -> Option<Self> {
        RUNNER_ENGINES.into_iter().chain([MICRO]).find(|held| *held == engine).map(Self::Runner)
    }

    /// Cargo package of it; a firmware's is the target's to say.
    pub fn package(self, spec: &BuildSpec) -> &str {
        match (self, &spec.firmware) {
            (Self::Firmware, Some(firmware)) => &firmware.package,
            (Self::Agent | Self::Firmware, _) => "boardproof-agent",
            _ => "boardproof-runner",
        }
    }

    /// Name of the file that cargo makes.
    pub fn binary(self, spec: &BuildSpec) -> &str {
        match (self, &spec.firmware) {
            (Self::Firmware, Some(firmware)) => &firmware.binary,
            _ => self.package(spec),
        }
    }

    /// Short name, as in the record: what it does for the run, whatever it is made of.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent | Self::Firmware => "agent",
            _ => "runner",
        }
    }

    /// Features that cargo is asked for.
    fn features(self, spec: &BuildSpec) -> Vec<String> {
        match (self, &spec.firmware) {
            (Self::Firmware, Some(firmware)) if !firmware.features.is_empty() => {
                vec![format!("--features={}", firmware.features.join(","))]
            }
            // The usual engine is the package's own default.
            (Self::Runner(engine), _) if engine != TRACT => {
                vec!["--no-default-features".into(), format!("--features={engine}")]
            }
            _ => Vec::new(),
        }
    }

    /// The workspace that it belongs to, below the source. Bare metal has one of its own: other profiles, another lock file.
    fn workspace(self) -> &'static str {
        if self == Self::Firmware { "device-agent/firmware" } else { "." }
    }

    /// Folders whose files decide what it is.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Agent => &["device-agent/protocol", "device-agent/core", "device-agent/agent"],
            // candle reads models by the messages of the compiler.
            Self::Runner(MICRO | CANDLE) => &[
                "device-agent/protocol",
                "device-agent/engines",
                "device-agent/runner",
                "device-agent/micro",
                "device-agent/compile",
            ],
            Self::Runner(_) => &["device-agent/protocol", "device-agent/engines", "device-agent/runner"],
            Self::Firmware => &[
                "device-agent/protocol",
                "device-agent/core",
                "device-agent/micro",
                "device-agent/tiny",
                "device-agent/firmware",
            ],
        }
    }
}
