//! Which probe: one on USB, or the stub of a board in QEMU.

use crate::chips;
use crate::error::{Action, ProbeError};
use boardproof_virtual_probe::StubAddress;
use probe_rs::config::Registry;
use probe_rs::probe::DebugProbeSelector;
use probe_rs::probe::list::{Accessibility, Lister, ProbeListItem};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A way to a chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeSource {
    /// A probe on USB: the one that is named, or the only one.
    Usb {
        /// Its name.
        selector: Option<UsbSelector>,
    },
    /// The gdb stub of a board in QEMU.
    Virtual {
        /// Where it listens.
        stub: StubAddress,
    },
}

/// A probe by USB's numbers: `VID:PID` or `VID:PID:SERIAL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbSelector {
    /// USB vendor.
    pub vendor_id: u16,
    /// USB product.
    pub product_id: u16,
    /// Serial number, where two of a kind are connected.
    pub serial: Option<String>,
}

impl FromStr for UsbSelector {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        let wrong = || ProbeError::Selector { found: text.to_owned() };
        let number = |part: Option<&str>| {
            let digits = part.filter(|digits| digits.len() == 4).ok_or_else(wrong)?;
            let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u16::from_str_radix(digits, 16).ok().filter(|_| is_number).ok_or_else(wrong)
        };
        // A serial number may hold colons.
        let mut parts = text.splitn(3, ':');
        let (vendor_id, product_id) = (number(parts.next())?, number(parts.next())?);
        match parts.next() {
            Some("") => Err(wrong()),
            serial => Ok(Self { vendor_id, product_id, serial: serial.map(str::to_owned) }),
        }
    }
}

impl fmt::Display for UsbSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor_id, self.product_id)?;
        self.serial.iter().try_for_each(|serial| write!(f, ":{serial}"))
    }
}

/// A probe that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// How to name it.
    pub selector: UsbSelector,
    /// What it calls itself.
    pub name: String,
    /// The kind of probe, as probe-rs calls it.
    pub kind: String,
    /// This user may use it.
    pub accessible: bool,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.selector, self.name, self.kind)
    }
}

/// The probes on USB.
pub fn list() -> Vec<Listed> {
    found(None).iter().map(listed).collect()
}

fn found(selector: Option<&UsbSelector>) -> Vec<ProbeListItem> {
    let selector = selector.map(|selector| DebugProbeSelector {
        vendor_id: selector.vendor_id,
        product_id: selector.product_id,
        interface: None,
        serial_number: selector.serial.clone(),
    });
    Lister::new().list_with_access(selector.as_ref())
}

fn listed(item: &ProbeListItem) -> Listed {
    let info = &item.info;
    Listed {
        selector: UsbSelector {
            vendor_id: info.vendor_id,
            product_id: info.product_id,
            serial: info.serial_number.clone(),
        },
        name: info.identifier.clone(),
        kind: info.probe_type(),
        accessible: item.accessibility == Accessibility::Accessible,
    }
}

impl ProbeSource {
    /// The chips that can be behind it.
    pub(crate) fn chips(&self) -> Registry {
        match self {
            Self::Usb { .. } => chips::silicon(),
            Self::Virtual { .. } => chips::virtual_boards(),
        }
    }

    /// Opens the probe; the chip is not touched. `patience` is for each answer of a stub.
    pub(crate) fn open(&self, patience: Duration) -> Result<probe_rs::probe::Probe, ProbeError> {
        let failed = |source| ProbeError::Failed { action: Action::Attach, source };
        match self {
            Self::Virtual { stub } => {
                boardproof_virtual_probe::open(stub, patience).map_err(|error| failed(Box::new(error)))
            }
            Self::Usb { selector } => {
                let item = the_one(found(selector.as_ref()), selector.as_ref())?;
                item.info.open().map_err(|error| failed(Box::new(error)))
            }
        }
    }
}

fn the_one(mut fitting: Vec<ProbeListItem>, selector: Option<&UsbSelector>) -> Result<ProbeListItem, ProbeError> {
    let names = |items: &[ProbeListItem]| items.iter().map(|item| listed(item).to_string()).collect();
    let Some(item) = fitting.pop() else {
        let wanted = selector.map_or_else(|| "of any kind".to_owned(), UsbSelector::to_string);
        return Err(ProbeError::NoProbe { wanted, found: names(&found(None)) });
    };
    if !fitting.is_empty() {
        fitting.push(item);
        return Err(ProbeError::Ambiguous { found: names(&fitting) });
    }
    match item.accessibility {
        Accessibility::Accessible => Ok(item),
        Accessibility::PermissionDenied => {
            Err(ProbeError::NoAccess { probe: listed(&item).to_string(), vendor_id: item.info.vendor_id })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_whole_or_refused() {
        let selector: UsbSelector = "303a:1001:DC:DA:0C".parse().unwrap();
        assert_eq!(
            (selector.vendor_id, selector.product_id, selector.serial.as_deref()),
            (0x303a, 0x1001, Some("DC:DA:0C"))
        );
        assert_eq!(selector.to_string(), "303a:1001:DC:DA:0C");
        assert_eq!("0483:374B".parse::<UsbSelector>().unwrap().to_string(), "0483:374b");
        for wrong in ["", "0483", "483:374b", "0483:374b:", "0483:xyzw", "+483:374b"] {
            let error = wrong.parse::<UsbSelector>().unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn a_probe_that_is_not_there_is_named() {
        let selector = "ffff:ffff:none".parse().unwrap();
        let error = ProbeSource::Usb { selector: Some(selector) }.open(Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().starts_with("no debug probe ffff:ffff:none is connected; found: "), "{error}");
    }
}
