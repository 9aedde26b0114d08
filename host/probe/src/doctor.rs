//! What is missing to use a probe.

use crate::chips;
use crate::error::{ProbeError, udev_hint};
use crate::source::{Listed, ProbeSource, UsbSelector, list};
use boardproof_virtual_probe::StubAddress;
use std::fmt;
use std::path::Path;

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// This machine shows no USB devices: a container, mostly.
    Usb,
    /// No probe is connected, or not the one that is wanted.
    Probe {
        /// The one that is wanted.
        wanted: Option<String>,
        /// Those that are connected.
        found: Vec<String>,
    },
    /// Several are connected and none is named.
    Choice {
        /// Those that are connected.
        found: Vec<String>,
    },
    /// The user may not use it.
    Access {
        /// The probe.
        probe: String,
        /// Its USB vendor.
        vendor_id: u16,
    },
    /// probe-rs does not know the chip.
    Chip {
        /// What was asked for.
        chip: String,
        /// Known names, nearest first; some of them.
        nearest: Vec<String>,
    },
    /// probe-rs knows the chip, but not how to write its flash.
    FlashAlgorithm {
        /// The chip.
        chip: String,
    },
    /// No gdb stub listens there.
    Stub {
        /// Where it should.
        stub: String,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usb => f.write_str("this machine shows no USB devices"),
            Self::Probe { wanted: None, .. } => f.write_str("no debug probe is connected"),
            Self::Probe { wanted: Some(wanted), found } => {
                write!(f, "the debug probe {wanted} is not connected; found: {}", found.join(", "))
            }
            Self::Choice { found } => {
                write!(f, "several debug probes are connected and none is named: {}", found.join(", "))
            }
            Self::Access { probe, .. } => write!(f, "the debug probe {probe} may not be used by this user"),
            Self::Chip { chip, nearest } => {
                write!(f, "the chip {chip:?} is not known; nearest: {}", nearest.join(", "))
            }
            Self::FlashAlgorithm { chip } => write!(f, "the chip {chip} is known, but not how its flash is written"),
            Self::Stub { stub } => write!(f, "no gdb stub listens at {stub}"),
        }
    }
}

impl Lack {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Usb => "in a container, hand in /dev/bus/usb and /sys/bus/usb".into(),
            Self::Probe { .. } => {
                "connect the probe, and look at it with `lsusb`; a charging cable carries no data".into()
            }
            Self::Choice { .. } => "name one of them by VID:PID:SERIAL in the inventory".into(),
            Self::Access { vendor_id, .. } => udev_hint(*vendor_id),
            Self::Chip { .. } => "write the chip's name in the target file as probe-rs has it".into(),
            Self::FlashAlgorithm { .. } => {
                "flash the firmware by other means, or name a chip of the same family".into()
            }
            Self::Stub { .. } => {
                "start QEMU with -chardev socket,id=g,path=SOCKET,server=on,wait=off -gdb chardev:g".into()
            }
        }
    }
}

/// What is missing to reach `chip` through `source`; nothing when all is there. Nothing is opened.
pub fn doctor(source: &ProbeSource, chip: &str) -> Vec<Lack> {
    let mut lacks = match source {
        ProbeSource::Usb { selector } => of_usb(selector.as_ref(), &list(), Path::new("/sys/bus/usb").exists()),
        ProbeSource::Virtual { stub } => of_stub(stub),
    };
    let registry = source.chips();
    match chips::known(&registry, chip) {
        Err(ProbeError::UnknownChip { chip, nearest, .. }) => lacks.push(Lack::Chip { chip, nearest }),
        Ok(name) if registry.get_target_by_name(&name).is_ok_and(|target| target.flash_algorithms.is_empty()) => {
            lacks.push(Lack::FlashAlgorithm { chip: name });
        }
        Ok(_) | Err(_) => {}
    }
    lacks
}

fn of_usb(selector: Option<&UsbSelector>, connected: &[Listed], has_usb: bool) -> Vec<Lack> {
    let named = |listed: &&Listed| {
        selector.is_none_or(|selector| {
            let found = &listed.selector;
            (selector.vendor_id, selector.product_id) == (found.vendor_id, found.product_id)
                && (selector.serial.is_none() || selector.serial == found.serial)
        })
    };
    let fitting: Vec<_> = connected.iter().filter(named).collect();
    match fitting[..] {
        [] if !has_usb => vec![Lack::Usb],
        [] => {
            let found = connected.iter().map(Listed::to_string).collect();
            vec![Lack::Probe { wanted: selector.map(UsbSelector::to_string), found }]
        }
        [one] if one.accessible => vec![],
        [one] => vec![Lack::Access { probe: one.to_string(), vendor_id: one.selector.vendor_id }],
        _ => vec![Lack::Choice { found: fitting.iter().map(ToString::to_string).collect() }],
    }
}

/// A connection would stop the machine: only that the socket is there is looked at.
fn of_stub(stub: &StubAddress) -> Vec<Lack> {
    match stub {
        StubAddress::Unix(path) if !path.exists() => vec![Lack::Stub { stub: stub.to_string() }],
        StubAddress::Unix(_) | StubAddress::Tcp(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(selector: &str, accessible: bool) -> Listed {
        Listed { selector: selector.parse().unwrap(), name: "DAPLink".into(), kind: "CMSIS-DAP".into(), accessible }
    }

    #[test]
    fn what_is_missing_on_usb_is_told() {
        let two = [listed("0d28:0204:a", true), listed("0d28:0204:b", false)];
        let of = |selector: Option<&str>, connected: &[Listed]| {
            of_usb(selector.map(|text| text.parse().unwrap()).as_ref(), connected, true)
        };
        assert_eq!(of(Some("0d28:0204:a"), &two), []);
        assert_eq!(of(None, &two[..1]), []);
        let [Lack::Access { vendor_id: 0x0d28, .. }] = of(Some("0d28:0204:b"), &two)[..] else { panic!("no access") };
        assert!(of(Some("0d28:0204:b"), &two)[0].hint().contains("ATTR{idVendor}==\"0d28\""));
        assert!(matches!(of(None, &two)[..], [Lack::Choice { .. }]));
        let absent = &of(Some("0483:374b"), &two)[0];
        assert!(
            absent.to_string().starts_with("the debug probe 0483:374b is not connected; found: 0d28:0204:a"),
            "{absent}"
        );
        assert_eq!(of_usb(None, &[], false), [Lack::Usb]);
    }

    #[test]
    fn a_chip_without_a_flash_algorithm_and_an_unknown_one_are_told() {
        let stub = StubAddress::Unix("/nowhere/probe".into());
        let lacks = doctor(&ProbeSource::Virtual { stub }, "mps2-an387");
        let [Lack::Stub { stub }, Lack::Chip { nearest, .. }] = &lacks[..] else { panic!("{lacks:?}") };
        assert_eq!((stub.as_str(), nearest.len()), ("/nowhere/probe", 3));
        let lacks = doctor(&ProbeSource::Usb { selector: None }, "Cortex-M4");
        assert!(lacks.contains(&Lack::FlashAlgorithm { chip: "Cortex-M4".into() }), "{lacks:?}");
    }
}
