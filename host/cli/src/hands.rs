//! What a run may do to a unit besides its link: by its debug probe what the target grants, by its supply what the inventory names.

use crate::board::{BOOT, Board};
use crate::probe::UnitProbe;
use anyhow::{Context, Result};
use boardproof_lab::build::Artifact;
use boardproof_lab::hands::{Hands, HandsError, Look, Restart};
use boardproof_lab::power::{CommandPower, Machine, Power, PowerState};
use boardproof_lab::symbols::Symbols;
use boardproof_record::plan::{Grant, PowerSpec, Target, Unit};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The supply of a unit, as far as a run may switch it.
enum Supply {
    None,
    /// A microcontroller board in QEMU.
    Machine(Rc<RefCell<Machine>>),
    /// The user's commands.
    Command {
        power: CommandPower,
        limit: Duration,
    },
}

/// Debug probe and supply of a unit.
struct UnitHands {
    probe: Option<Rc<UnitProbe>>,
    supply: Supply,
}

/// The hands for a unit, and the names of its firmware's functions; `None` where there is neither probe nor supply.
pub fn of(
    unit: &Unit,
    target: &Target,
    firmware: Option<&Artifact>,
    board: Option<&Board>,
    probe: Option<&Rc<UnitProbe>>,
) -> Result<Option<(Box<dyn Hands>, Symbols)>> {
    let firmware = firmware.filter(|_| target.build.firmware.is_some());
    let probe = probe.cloned();
    let supply = match (unit.power.as_ref().unwrap_or(&target.power), board) {
        (PowerSpec::Machine { .. }, Some(Board::Machine(machine))) => Supply::Machine(Rc::clone(machine)),
        (PowerSpec::Command { on, off, cycle, timeout_s }, _) => Supply::Command {
            power: CommandPower { on: on.clone(), off: off.clone(), cycle: cycle.clone() },
            limit: Duration::from_secs(u64::from(*timeout_s)),
        },
        _ => Supply::None,
    };
    let symbols = match firmware {
        Some(firmware) => Symbols::of(
            &std::fs::read(&firmware.path).with_context(|| format!("could not read {}", firmware.path.display()))?,
        ),
        None => Symbols::default(),
    };
    if probe.is_none() && matches!(supply, Supply::None) && firmware.is_none() {
        return Ok(None);
    }
    Ok(Some((Box::new(UnitHands { probe, supply }), symbols)))
}

impl UnitHands {
    fn try_look(&self, probe: &UnitProbe, stands: bool) -> Result<Look> {
        if let Supply::Machine(machine) = &self.supply {
            let mut machine = machine.borrow_mut();
            if machine.state(BOOT)? == PowerState::Off {
                anyhow::bail!("the board's QEMU has ended: {}", machine.console().trim());
            }
        }
        probe.look(stands)
    }

    fn try_restart(&mut self, how: Restart) -> Result<()> {
        match (how, &mut self.supply, &self.probe) {
            (Restart::Reset, _, Some(probe)) => probe.reset(),
            (Restart::Cycle, Supply::Machine(machine), probe) => {
                probe.iter().for_each(|probe| probe.let_go());
                let mut machine = machine.borrow_mut();
                machine.off(BOOT)?;
                machine.on(BOOT)?;
                // It forgets its flash without power, as no real board does.
                probe.as_ref().map_or(Ok(()), |probe| probe.flash(&mut |_| {}))
            }
            (Restart::Cycle, Supply::Command { power, limit }, _) => Ok(power.reset(*limit)?),
            (Restart::Reset | Restart::Cycle, ..) => anyhow::bail!("there is nothing to {how} with"),
        }
    }
}

impl Hands for UnitHands {
    fn look(&mut self, stands: bool) -> Option<Result<Look, HandsError>> {
        let probe = self.probe.as_ref()?;
        Some(self.try_look(probe, stands).map_err(HandsError::from))
    }

    fn restarts(&self) -> Vec<Restart> {
        let resets = self.probe.as_ref().is_some_and(|probe| probe.grants(Grant::Reset));
        let cycles = !matches!(self.supply, Supply::None);
        let all = [(resets, Restart::Reset), (cycles, Restart::Cycle)];
        all.into_iter().filter_map(|(can, how)| can.then_some(how)).collect()
    }

    fn restart(&mut self, how: Restart) -> Result<(), HandsError> {
        self.try_restart(how).map_err(HandsError::from)
    }

    fn writes(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.grants(Grant::WriteRam))
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), HandsError> {
        let probe = self.probe.as_ref().ok_or("the unit has no debug probe")?;
        let address = u32::try_from(address).map_err(|_| format!("{address:#x} is no address of a microcontroller"))?;
        Ok(probe.write(address, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hands(cycle: Option<String>, off: String) -> UnitHands {
        let power = CommandPower { on: "true".into(), off, cycle };
        UnitHands { probe: None, supply: Supply::Command { power, limit: Duration::from_secs(20) } }
    }

    #[test]
    fn a_unit_with_power_commands_is_switched_off_and_on_by_them() {
        let folder = tempfile::tempdir().unwrap();
        let note = |name: &str| format!("touch '{}'", folder.path().join(name).display());
        let found = |name: &str| folder.path().join(name).exists();
        let mut cycled = hands(Some(note("cycled")), note("off"));
        assert_eq!(
            (cycled.restarts(), cycled.writes(), cycled.look(true).is_none()),
            (vec![Restart::Cycle], false, true)
        );
        cycled.restart(Restart::Cycle).unwrap();
        assert_eq!((found("cycled"), found("off")), (true, false));
        hands(None, note("off")).restart(Restart::Cycle).unwrap();
        assert!(found("off"));
        let error = hands(Some("exit 7".into()), note("off")).restart(Restart::Cycle).unwrap_err().to_string();
        assert!(error.contains("exit 7") && error.contains('7'), "{error}");
        let error = cycled.restart(Restart::Reset).unwrap_err().to_string();
        assert_eq!(error, "there is nothing to reset the unit by its debug probe with");
    }
}
