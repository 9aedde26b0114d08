//! `targets/NAME.toml`: a kind of hardware.

use crate::error::{PlanError, check_schema, from_toml};
use boardproof_record::TargetName;
use boardproof_record::plan::{BuildSpec, Builder, Limits, LinkSpec, PowerSpec, SimFaults, Target};
use serde::Deserialize;

/// The runner takes no more.
const ACCURACY_WORKERS_MAX: u32 = 64;

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
    #[serde(default = "one")]
    accuracy_workers: u32,
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
    if raw.limits.slowdown == 0 {
        return Err(PlanError::value(file, "limits.slowdown", "1 or more", 0));
    }
    if !(1..=ACCURACY_WORKERS_MAX).contains(&raw.limits.accuracy_workers) {
        let expected = format!("1 to {ACCURACY_WORKERS_MAX}");
        return Err(PlanError::value(file, "limits.accuracy_workers", expected, raw.limits.accuracy_workers));
    }
    if let LinkSpec::Sim { faults, .. } = &raw.link {
        check_faults(file, faults)?;
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
            slowdown: raw.limits.slowdown,
            accuracy_workers: raw.limits.accuracy_workers,
        },
    })
}

fn check_faults(file: &str, faults: &SimFaults) -> Result<(), PlanError> {
    for (name, rate) in faults.rates() {
        if rate > 1000 {
            return Err(PlanError::value(file, format!("link.faults.{name}"), "frames of a thousand", rate));
        }
    }
    let rate = faults.clock_rate;
    if !(rate.is_finite() && rate > 0.0) {
        return Err(PlanError::value(file, "link.faults.clock_rate", "a number above 0 (1 is true)", rate));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sim(faults: &str) -> Result<Target, PlanError> {
        let (_, text) = crate::builtin::TARGETS.iter().find(|(name, _)| *name == "sim").expect("it is one of them");
        parse_target("sim.toml", &format!("{text}\n[link.faults]\n{faults}"))
    }

    #[test]
    fn no_worker_and_no_sample_in_time_are_refused() {
        let (_, text) = crate::builtin::TARGETS.iter().find(|(name, _)| *name == "host").expect("it is one of them");
        let limits = |line: &str| parse_target("host.toml", &format!("{text}{line}\n")).map(|target| target.limits);
        assert_eq!(limits("accuracy_workers = 64").unwrap().accuracy_workers, 64);
        assert_eq!(limits("").unwrap().accuracy_workers, 1);
        for line in ["accuracy_workers = 0", "accuracy_workers = 65", "slowdown = 0"] {
            let error = limits(line).unwrap_err().to_string();
            assert!(error.contains(line.split(' ').next().unwrap()), "{line}: {error}");
        }
    }

    #[test]
    fn a_fault_plan_is_read_and_checked() {
        let target = sim("loss = 10\nclock_rate = 0.5\nmemory_bytes = 4096").unwrap();
        let LinkSpec::Sim { faults, .. } = target.link else { panic!("{:?}", target.link) };
        let expected = SimFaults { loss: 10, clock_rate: 0.5, memory_bytes: Some(4096), ..SimFaults::default() };
        assert_eq!(faults, expected);
        for (wrong, named) in [
            ("loss = 1001", "loss"),
            ("clock_rate = 0.0", "clock_rate"),
            ("clock_rate = nan", "clock_rate"),
            ("losses = 1", "losses"),
        ] {
            let error = sim(wrong).unwrap_err();
            let said: Vec<_> = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
                .map(ToString::to_string)
                .collect();
            assert!(said.join(": ").contains(named), "{wrong}: {said:?}");
        }
    }
}
