//! Looks at one unit: what the inventory says of it, and whether it answers. Leaves nothing on it.

use super::{Finding, cuda};
use crate::project::World;
use boardproof_lab::build::in_path;
use boardproof_lab::dialect::DialectBench;
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::link::ByteAddress;
use boardproof_lab::reach::{in_home, look_at};
use boardproof_record::dialect::Dialect;
use boardproof_record::plan::{PowerSpec, Target, Unit};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a target of other people's hardware needs: a unit, and that it can be reached.
pub fn findings(target: &Target, unit: Option<&Unit>, world: &World) -> Vec<Finding> {
    let Some(unit) = unit else {
        return std::iter::once(units_of(target, world)).chain(cuda::not_looked_for(target)).collect();
    };
    let mut list = vec![address(unit)];
    list.extend(unit.identity_file.as_deref().map(identity_file));
    list.extend(unit.ssh_config.as_deref().map(ssh_config));
    if let PowerSpec::Command { on, off, cycle, .. } = unit.power.as_ref().unwrap_or(&target.power) {
        let mut commands: Vec<&str> =
            [Some(on), Some(off), cycle.as_ref()].into_iter().flatten().map(String::as_str).collect();
        commands.dedup_by_key(|command| first_word(command));
        list.extend(commands.into_iter().map(power));
    }
    if list.iter().all(|f| f.found.is_ok()) {
        list.push(answer(unit, target));
    }
    if list.iter().all(|f| f.found.is_ok()) {
        list.extend(cuda::findings(target, Some(unit)));
    }
    list
}

/// A unit at a line for bytes: that it is in the inventory, with an address of a line.
pub fn on_a_line(target: &Target, unit: Option<&Unit>, world: &World) -> Vec<Finding> {
    let Some(unit) = unit else { return vec![units_of(target, world)] };
    let get = format!("give unit '{}' an `address` such as serial:/dev/ttyACM0 in the inventory", unit.name);
    let found = match unit.address.as_deref().map(str::parse::<ByteAddress>) {
        None => Err("none in the inventory".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(ByteAddress::Serial { port, .. })) if !Path::new(&port).exists() => Err(format!("{port} is not there")),
        Some(Ok(address)) => Ok(address.to_string()),
    };
    vec![Finding { what: "address of the line".into(), found, needed: true, get }]
}

/// A unit whose firmware is somebody else's: that its line is there, that it answers, and with what model.
pub fn with_firmware(target: &Target, unit: Option<&Unit>, world: &World) -> Vec<Finding> {
    let mut list = on_a_line(target, unit, world);
    let (Some(unit), Some(dialect)) = (unit, &target.dialect) else { return list };
    let get = format!("take `identity` out of the entry of unit '{}': {} tells none", unit.name, dialect.name());
    if let Some(identity) = &unit.identity {
        let found = Err(format!("{identity} in the inventory cannot be proved"));
        list.push(Finding { what: "identity".into(), found, needed: true, get });
    }
    if list.iter().all(|finding| finding.found.is_ok()) {
        list.push(firmware(unit, target, dialect));
    }
    list
}

fn firmware(unit: &Unit, target: &Target, dialect: &Dialect) -> Finding {
    let wanted = format!("'{}'", dialect.model());
    let (found, get) = match DialectBench::new(unit, target, interrupted).look_at() {
        Ok(said) if said.contains(&wanted) => (Ok(said), String::new()),
        Ok(said) => {
            let get =
                format!("flash the firmware that calls its model {wanted}, or correct [dialect] of {}", target.name);
            (Err(format!("{said}; expected {wanted}")), get)
        }
        Err(error) => {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
            let causes: Vec<String> = causes.map(ToString::to_string).collect();
            (Err(causes.join(": ")), error.hint().unwrap_or_else(|| format!("is {} spoken there?", dialect.name())))
        }
    };
    Finding { what: format!("firmware that speaks {}", dialect.name()), found, needed: true, get }
}

fn units_of(target: &Target, world: &World) -> Finding {
    let names: Vec<_> = world.units.values().filter(|u| u.target == target.name).map(|u| u.name.as_str()).collect();
    let found = match names.as_slice() {
        [] => Err(format!("the inventory has no {}", target.name)),
        names => Ok(format!("{} (look at one with --unit)", names.join(", "))),
    };
    let get =
        "write your board into an inventory (see targets/inventory.example.toml), then `boardproof doctor --unit NAME`";
    Finding { what: "unit".into(), found, needed: true, get: get.into() }
}

fn address(unit: &Unit) -> Finding {
    let found = unit.address.clone().ok_or_else(|| "none in the inventory".to_owned());
    let get = format!("give unit '{}' an `address` in the inventory", unit.name);
    Finding { what: "address".into(), found, needed: true, get }
}

fn identity_file(path: &str) -> Finding {
    let expanded = in_home(path);
    let of_others = |file: std::fs::File| file.metadata().map(|m| m.permissions().mode() & 0o077 != 0);
    let (found, get) = match std::fs::File::open(&expanded).and_then(of_others) {
        Ok(false) => (Ok(path.to_owned()), String::new()),
        Ok(true) => (Err(format!("{path} can be read by others: ssh refuses it")), format!("chmod 600 {path}")),
        Err(error) => {
            (Err(format!("{path}: {error}")), format!("ssh-keygen -f {path}, then ssh-copy-id -i {path} to the board"))
        }
    };
    Finding { what: "identity file".into(), found, needed: true, get }
}

fn ssh_config(path: &str) -> Finding {
    let found = std::fs::File::open(in_home(path)).map(|_| path.to_owned()).map_err(|error| format!("{path}: {error}"));
    let get = format!("write {path}, or take `ssh_config` out of the unit's entry: ~/.ssh/config is read without it");
    Finding { what: "SSH configuration".into(), found, needed: true, get }
}

fn first_word(command: &str) -> String {
    command.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The program that a power command begins with. Words of the shell itself are in no `PATH` and prove nothing.
fn power(command: &str) -> Finding {
    let program = first_word(command);
    let place = in_path(&program).or_else(|| Some(PathBuf::from(&program)).filter(|path| path.is_file()));
    let found = place.map(|path| path.display().to_string()).ok_or_else(|| "not in the PATH".to_owned());
    Finding { what: format!("power command {program}"), found, needed: true, get: format!("install {program}") }
}

fn answer(unit: &Unit, target: &Target) -> Finding {
    let (found, get) = match look_at(unit, target, interrupted) {
        Ok(said) => (Ok(said), String::new()),
        Err(error) => {
            let causes: Vec<_> =
                std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source()).collect();
            let cause = causes.last().map(ToString::to_string).unwrap_or_default();
            (Err(cause), error.hint().unwrap_or_else(|| "see what `ssh -v` to it says".into()))
        }
    };
    Finding { what: "link".into(), found, needed: true, get }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused_as_ssh_would() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key");
        std::fs::write(&key, "").unwrap();
        for (mode, advice) in [(0o600, ""), (0o644, "chmod 600 ")] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let finding = identity_file(key.to_str().unwrap());
            assert_eq!((finding.found.is_ok(), finding.get.starts_with(advice)), (mode == 0o600, true), "{mode:o}");
        }
        assert!(identity_file("/no/such/key").get.starts_with("ssh-keygen"));
    }

    #[test]
    fn a_power_command_is_there_when_its_program_is() {
        assert!(power("sh -c true").found.is_ok());
        assert!(power("/bin/sh x").found.is_ok());
        assert_eq!(power("no-such-switch -p 2").get, "install no-such-switch");
    }
}
