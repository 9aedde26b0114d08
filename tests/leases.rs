//! Who holds a unit, seen by another user of this machine: one with a home, a cache and a state of their own.

use crate::tool::{Home, Running, root};
use boardproof_lab::lease::{Lease, Place, VARIABLE};
use boardproof_plan::parse_target;
use boardproof_record::UnitName;
use std::time::Duration;

#[test]
fn a_user_with_another_home_is_told_who_holds_a_unit_and_gets_it_when_it_is_free() {
    let file = root().join("targets/host.toml");
    let text = std::fs::read_to_string(&file).expect("it is in the repository");
    let place = Place::of(&parse_target("host.toml", &text).expect("a target of boardproof"));
    assert_eq!(place.alone, None, "the machine has a place where its users meet");
    // No other unit of this machine is called so.
    let unit = UnitName::new(format!("test-{}", std::process::id())).expect("a name");
    let lease = Lease::take(&place.folder, &unit, Duration::ZERO, || false, &mut |_| {}).expect("it is free");

    let home = Home::new();
    let inventory = format!("schema = 1\n\n[[unit]]\nname = \"{unit}\"\ntarget = \"host\"\n");
    std::fs::write(home.path("inventory.toml"), inventory).expect("could not write the inventory");
    let clean = || {
        let mut command = home.command(["agent", "clean", "--unit", unit.as_str(), "--inventory", "inventory.toml"]);
        match std::env::var_os(VARIABLE) {
            Some(place) => command.env(VARIABLE, place),
            None => command.env_remove(VARIABLE),
        };
        Running::of(command).end()
    };
    let holder = format!("process {}", std::process::id());
    clean().expect_code(5).expect_said(&[&format!("unit '{unit}' is held by"), &holder]);
    drop(lease);
    clean().expect_code(0);
    std::fs::remove_file(place.folder.join(unit.as_str())).expect("it was made here");
}
