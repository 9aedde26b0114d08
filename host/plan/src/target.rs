//! `targets/NAME.toml`: a kind of hardware.

use crate::error::{PlanError, check_schema, from_toml};
use boardproof_record::TargetName;
use boardproof_record::plan::{BuildSpec, Builder, Limits, LinkSpec, PowerSpec, Target};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    schema: u32,
    target: RawTarget,
    build: RawBuild,
    link: LinkSpec,
    #[serde(default = "no_power")]
    power: PowerSpec,
    limits: RawLimits,
}

fn no_power() -> PowerSpec {
    PowerSpec::None
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    name: String,
    summary: String,
    architecture: String,
    proved: bool,
    proved_note: String,
    emulated: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBuild {
    runner_triple: String,
    agent_triple: String,
    #[serde(default = "auto")]
    builder: Builder,
    linker: Option<String>,
    #[serde(default)]
    packages: Vec<String>,
}

fn auto() -> Builder {
    Builder::Auto
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    memory_bytes: Option<u64>,
    pass_deadline_s: u32,
    #[serde(default = "one")]
    slowdown: u32,
}

fn one() -> u32 {
    1
}

/// Parses a target file.
pub fn parse_target(file: &str, text: &str) -> Result<Target, PlanError> {
    let raw: RawFile = from_toml(file, text)?;
    check_schema(file, raw.schema)?;
    let name = TargetName::new(raw.target.name).map_err(|source| PlanError::Name { file: file.into(), source })?;
    if raw.limits.pass_deadline_s == 0 {
        return Err(PlanError::value(file, "limits.pass_deadline_s", "one second or more", 0));
    }
    if raw.target.proved_note.trim().is_empty() {
        return Err(PlanError::value(file, "target.proved_note", "what was seen, or what would prove it", "nothing"));
    }
    Ok(Target {
        name,
        summary: raw.target.summary,
        architecture: raw.target.architecture,
        proved: raw.target.proved,
        proved_note: raw.target.proved_note,
        emulated: raw.target.emulated,
        build: BuildSpec {
            runner_triple: raw.build.runner_triple,
            agent_triple: raw.build.agent_triple,
            builder: raw.build.builder,
            linker: raw.build.linker,
            packages: raw.build.packages,
        },
        link: raw.link,
        power: raw.power,
        limits: Limits {
            memory_bytes: raw.limits.memory_bytes,
            pass_deadline_s: raw.limits.pass_deadline_s,
            slowdown: raw.limits.slowdown.max(1),
        },
    })
}
