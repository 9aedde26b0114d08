//! Targets and policy that come with boardproof, so that an installed binary needs no files beside it.

/// Name and text of every target that comes with boardproof.
pub const TARGETS: &[(&str, &str)] = &[
    ("host", include_str!("../../../targets/host.toml")),
    ("sim", include_str!("../../../targets/sim.toml")),
    ("qemu-aarch64", include_str!("../../../targets/qemu-aarch64.toml")),
    ("qemu-armv7", include_str!("../../../targets/qemu-armv7.toml")),
    ("qemu-riscv64", include_str!("../../../targets/qemu-riscv64.toml")),
    ("virtual-board-aarch64", include_str!("../../../targets/virtual-board-aarch64.toml")),
    ("raspberry-pi-4", include_str!("../../../targets/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../../../targets/raspberry-pi-5.toml")),
    ("jetson-orin-nano", include_str!("../../../targets/jetson-orin-nano.toml")),
    ("nvidia-x86_64", include_str!("../../../targets/nvidia-x86_64.toml")),
    ("imx8m-plus", include_str!("../../../targets/imx8m-plus.toml")),
    ("mps2-an385", include_str!("../../../targets/mps2-an385.toml")),
    ("mps2-an386", include_str!("../../../targets/mps2-an386.toml")),
    ("mps2-an500", include_str!("../../../targets/mps2-an500.toml")),
    ("nucleo-f446re", include_str!("../../../targets/nucleo-f446re.toml")),
    ("nucleo-h743zi2", include_str!("../../../targets/nucleo-h743zi2.toml")),
    ("nrf52840-dk", include_str!("../../../targets/nrf52840-dk.toml")),
    ("raspberry-pi-pico-2", include_str!("../../../targets/raspberry-pi-pico-2.toml")),
    ("beaglev-ahead", include_str!("../../../targets/beaglev-ahead.toml")),
];

/// The policy in force when none is named.
pub const POLICY: &str = include_str!("../../../ci/policy/default.toml");

/// The rules that hold a run against an earlier one where the policy has none.
pub const AGAINST: &str = include_str!("../../../ci/policy/against.toml");

#[cfg(test)]
mod tests {
    #[test]
    fn every_builtin_parses_and_is_named_as_its_file() {
        for (name, text) in super::TARGETS {
            let target = crate::parse_target(name, text)
                .unwrap_or_else(|e| panic!("{name}: {e} {:?}", std::error::Error::source(&e)));
            assert_eq!(target.name.as_str(), *name);
        }
        for text in [super::POLICY, super::AGAINST] {
            crate::parse_policy("builtin", text).unwrap_or_else(|e| panic!("{e} {:?}", std::error::Error::source(&e)));
        }
    }
}
