//! `inventory.toml`: the units of a lab.

use crate::error::{PlanError, check_schema, from_toml};
use boardproof_record::plan::{PowerSpec, Unit};
use boardproof_record::{TargetName, UnitName};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    schema: u32,
    #[serde(default)]
    unit: Vec<RawUnit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUnit {
    name: String,
    target: String,
    address: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identity_file: Option<String>,
    ssh_config: Option<String>,
    identity: Option<String>,
    power: Option<PowerSpec>,
    probe: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Parses an inventory.
pub fn parse_inventory(file: &str, text: &str) -> Result<BTreeMap<UnitName, Unit>, PlanError> {
    let raw: RawFile = from_toml(file, text)?;
    check_schema(file, raw.schema)?;
    let mut units = BTreeMap::new();
    for u in raw.unit {
        let named = |source| PlanError::Name { file: file.into(), source };
        let name = UnitName::new(u.name).map_err(named)?;
        let target = TargetName::new(u.target).map_err(named)?;
        let unit = Unit {
            name: name.clone(),
            target,
            address: u.address,
            port: u.port,
            user: u.user,
            identity_file: u.identity_file,
            ssh_config: u.ssh_config,
            identity: u.identity,
            power: u.power,
            probe: u.probe,
            tags: u.tags,
        };
        if units.insert(name.clone(), unit).is_some() {
            return Err(PlanError::value(file, "unit names", "each once", format!("'{name}' twice")));
        }
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_an_inventory_of_targets_that_there_are() {
        let units = parse_inventory("example", include_str!("../../../targets/inventory.example.toml")).unwrap();
        let known = |unit: &Unit| crate::builtin::TARGETS.iter().any(|(name, _)| *name == unit.target.as_str());
        assert!(units.len() >= 3 && units.values().all(known), "{units:?}");
        assert!(units.values().any(|unit| matches!(unit.power, Some(PowerSpec::Command { .. }))));
    }
}
