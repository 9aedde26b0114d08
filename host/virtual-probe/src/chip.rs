//! What probe-rs must know of the boards: their memory, and how their flash is written.

/// The chips' names, which are QEMU's names of the boards.
pub const CHIPS: [&str; 3] = ["mps2-an385", "mps2-an386", "mps2-an500"];

/// Description of the chips, for `probe_rs::config::Registry::add_target_family_from_yaml`.
pub const FAMILY: &str = include_str!("chips.yaml");

#[cfg(test)]
mod tests {
    use super::*;
    use probe_rs::config::Registry;
    use std::collections::HashMap;

    /// Code and labels out of the algorithm's source.
    fn listing() -> (Vec<u8>, HashMap<String, u64>) {
        let (mut code, mut labels) = (vec![], HashMap::new());
        for line in include_str!("flash_algorithm.s").lines() {
            let (text, comment) = line.split_once('@').unwrap_or((line, ""));
            if let Some(label) = text.trim().strip_suffix(':') {
                labels.insert(label.to_owned(), code.len() as u64);
            } else if text.starts_with("    ") && !text.trim_start().starts_with('.') && !text.trim().is_empty() {
                let (offset, instruction) = comment.trim().split_once(": ").expect(line);
                assert_eq!(usize::from_str_radix(offset, 16), Ok(code.len()), "{line}");
                code.extend(u16::from_str_radix(instruction, 16).expect(line).to_le_bytes());
            }
        }
        (code, labels)
    }

    #[test]
    fn the_chips_carry_the_code_that_the_source_lists() {
        let mut registry = Registry::new();
        registry.add_target_family_from_yaml(FAMILY).unwrap();
        let (code, labels) = listing();
        for chip in CHIPS {
            let target = registry.get_target_by_name(chip).unwrap();
            let algorithm = &target.flash_algorithms[0];
            assert_eq!(algorithm.instructions, code, "{chip}");
            assert_eq!(algorithm.pc_init, Some(labels["init"]));
            assert_eq!(algorithm.pc_uninit, Some(labels["uninit"]));
            assert_eq!(algorithm.pc_erase_all, Some(labels["erase_all"]));
            assert_eq!(algorithm.pc_erase_sector, labels["erase_sector"]);
            assert_eq!(algorithm.pc_program_page, labels["program_page"]);
            assert_eq!(algorithm.pc_verify, Some(labels["verify"]));
        }
    }
}
