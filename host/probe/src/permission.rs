//! Destructive power as a value that one must hold.

use crate::error::ProbeError;
use boardproof_record::plan::{Grant, Probe as ProbeSpec};

/// That one destructive step may be done to chips of one name. Only a target file that grants it makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Permission {
    step: Grant,
    chip: String,
}

impl Permission {
    /// The permission for `step`, if the target grants it.
    pub fn granted(step: Grant, target: &ProbeSpec) -> Result<Self, ProbeError> {
        let chip = target.chip.clone();
        if target.grants.contains(&step) {
            Ok(Self { step, chip })
        } else {
            Err(ProbeError::NotGranted { chip, wanted: step, granted: target.grants.clone() })
        }
    }

    /// An error unless this permits `step` on `chip`.
    pub(crate) fn covers(&self, step: Grant, chip: &str) -> Result<(), ProbeError> {
        if self.step == step && self.chip.eq_ignore_ascii_case(chip) {
            return Ok(());
        }
        Err(ProbeError::OtherPermission {
            chip: chip.to_owned(),
            wanted: step,
            permitted_chip: self.chip.clone(),
            permitted: self.step,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(grants: &[Grant]) -> ProbeSpec {
        ProbeSpec { chip: "nRF52840_xxAA".into(), grants: grants.to_vec() }
    }

    #[test]
    fn only_what_the_target_file_grants_is_permitted() {
        let error = Permission::granted(Grant::Flash, &target(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "flashing of the chip nRF52840_xxAA is not granted; the target file grants nothing"
        );
        assert!(error.hint().unwrap().contains("\"flash\""));
        Permission::granted(Grant::Erase, &target(&[Grant::Flash])).unwrap_err();
    }

    #[test]
    fn a_permission_is_for_one_step_and_one_chip() {
        let flash = Permission::granted(Grant::Flash, &target(&[Grant::Flash])).unwrap();
        flash.covers(Grant::Flash, "nrf52840_xxaa").unwrap();
        let error = flash.covers(Grant::Erase, "nRF52840_xxAA").unwrap_err().to_string();
        assert!(error.contains("got one for flashing of nRF52840_xxAA"), "{error}");
        flash.covers(Grant::Flash, "STM32F407VGTx").unwrap_err();
    }
}
