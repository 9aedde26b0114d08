//! Chips that probe-rs knows, and the boards in QEMU.

use crate::error::ProbeError;
use probe_rs::config::Registry;

/// How many near names an error lists.
const NEAREST: usize = 5;

/// The chips in silicon.
pub(crate) fn silicon() -> Registry {
    Registry::from_builtin_families()
}

/// The boards in QEMU.
pub(crate) fn virtual_boards() -> Registry {
    let mut registry = Registry::new();
    registry.add_target_family_from_yaml(boardproof_virtual_probe::FAMILY).expect("a file of ours");
    registry
}

/// The name of a chip as `registry` has it. probe-rs would take the beginning of a name for the whole, and another chip for the one meant.
pub(crate) fn known(registry: &Registry, chip: &str) -> Result<String, ProbeError> {
    let variants = registry.families().iter().flat_map(|family| &family.variants);
    let mut names: Vec<&String> = variants.flat_map(|variant| variant.package_variants()).collect();
    if let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(chip)) {
        return Ok((*name).clone());
    }
    let wanted = chip.to_ascii_lowercase();
    names.sort_by_cached_key(|name| (strsim::damerau_levenshtein(&wanted, &name.to_ascii_lowercase()), name.as_str()));
    names.dedup();
    let nearest = names.iter().take(NEAREST).map(|name| (*name).clone()).collect();
    Err(ProbeError::UnknownChip { chip: chip.to_owned(), nearest, known: names.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_or_unknown() {
        assert_eq!(known(&silicon(), "nrf52840_XXAA").unwrap(), "nRF52840_xxAA");
        let error = known(&silicon(), "STM32H743Z").unwrap_err();
        let ProbeError::UnknownChip { nearest, known, .. } = error else { panic!("{error}") };
        assert!(nearest.contains(&"STM32H743ZI".to_owned()), "{nearest:?}");
        assert!(known > 1000, "{known} chips");
    }

    #[test]
    fn a_board_in_qemu_is_no_chip_on_a_desk_and_the_other_way_round() {
        assert_eq!(known(&virtual_boards(), "mps2-an386").unwrap(), "mps2-an386");
        let error = known(&virtual_boards(), "mps2-an368").unwrap_err().to_string();
        assert!(error.ends_with("the nearest of 3 known names: mps2-an386, mps2-an385, mps2-an500"), "{error}");
        known(&virtual_boards(), "nRF52840_xxAA").unwrap_err();
        known(&silicon(), "mps2-an386").unwrap_err();
    }
}
