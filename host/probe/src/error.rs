//! What can go wrong, in words that name the action, the object and both values.

use boardproof_record::plan::Grant;
use std::fmt;
use std::time::Duration;

/// What a probe was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connecting to the chip.
    Attach,
    /// Writing the chip's flash.
    Flash {
        /// Size of the ELF file.
        elf_bytes: usize,
    },
    /// Comparing the chip's flash.
    Compare {
        /// Size of the ELF file.
        elf_bytes: usize,
    },
    /// Erasing all of the chip.
    Erase,
    /// Resetting the chip.
    Reset,
    /// Halting the core.
    Halt,
    /// Letting the core run.
    Run,
    /// Asking for the core's state.
    State,
    /// Setting or clearing a breakpoint.
    Breakpoint(u32),
    /// Reading memory.
    Read {
        /// From here on.
        address: u32,
        /// Bytes.
        length: usize,
    },
    /// Writing memory.
    Write {
        /// From here on.
        address: u32,
        /// Bytes.
        length: usize,
    },
    /// Reading the registers that tell how a core died.
    PostMortem,
    /// Looking for a control block of RTT.
    RttAttach,
    /// Reading from an RTT channel.
    RttRead,
    /// Writing to an RTT channel.
    RttWrite,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach => f.write_str("attaching to the chip"),
            Self::Flash { elf_bytes } => write!(f, "flashing an ELF file of {elf_bytes} bytes"),
            Self::Compare { elf_bytes } => write!(f, "comparing the flash with an ELF file of {elf_bytes} bytes"),
            Self::Erase => f.write_str("erasing the chip"),
            Self::Reset => f.write_str("resetting the chip"),
            Self::Halt => f.write_str("halting the core"),
            Self::Run => f.write_str("letting the core run"),
            Self::State => f.write_str("asking for the core's state"),
            Self::Breakpoint(address) => write!(f, "changing the breakpoint at {address:#010x}"),
            Self::Read { address, length } => write!(f, "reading {length} bytes at {address:#010x}"),
            Self::Write { address, length } => write!(f, "writing {length} bytes at {address:#010x}"),
            Self::PostMortem => f.write_str("reading the core's fault registers"),
            Self::RttAttach => f.write_str("looking for an RTT control block"),
            Self::RttRead => f.write_str("reading from RTT"),
            Self::RttWrite => f.write_str("writing to RTT"),
        }
    }
}

/// A probe that cannot do what it should. All of these are faults of the lab or the device; none is a verdict.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No such probe is connected.
    #[error("no debug probe {wanted} is connected; found: {}", or_none(found))]
    NoProbe {
        /// What was looked for.
        wanted: String,
        /// What is connected.
        found: Vec<String>,
    },
    /// More than one fits.
    #[error("{} debug probes fit, and one was expected: {}", found.len(), found.join(", "))]
    Ambiguous {
        /// What fits.
        found: Vec<String>,
    },
    /// The user may not use the device.
    #[error("the debug probe {probe} may not be used by this user")]
    NoAccess {
        /// The probe.
        probe: String,
        /// Its USB vendor.
        vendor_id: u16,
    },
    /// A selector in another form than `VID:PID` or `VID:PID:SERIAL`.
    #[error("a debug probe was named {found:?}: expected VID:PID or VID:PID:SERIAL with four hexadecimal digits each")]
    Selector {
        /// What was found.
        found: String,
    },
    /// probe-rs does not know the chip.
    #[error("the chip {chip:?} is not known; the nearest of {known} known names: {}", nearest.join(", "))]
    UnknownChip {
        /// What was asked for.
        chip: String,
        /// Known names, nearest first; some of them.
        nearest: Vec<String>,
        /// How many are known.
        known: usize,
    },
    /// The target file does not grant the step.
    #[error("{} of the chip {chip} is not granted; the target file grants {}", step(*wanted), grants(granted))]
    NotGranted {
        /// The chip.
        chip: String,
        /// The step.
        wanted: Grant,
        /// What is granted.
        granted: Vec<Grant>,
    },
    /// A permission for something else.
    #[error("{} of the chip {chip} wants a permission for that, got one for {} of {permitted_chip}", step(*wanted), step(*permitted))]
    OtherPermission {
        /// The chip.
        chip: String,
        /// The step.
        wanted: Grant,
        /// The chip that the permission is for.
        permitted_chip: String,
        /// The step that the permission is for.
        permitted: Grant,
    },
    /// The probe or the chip did not do it.
    #[error("{action} failed")]
    Failed {
        /// What was being done.
        action: Action,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The probe blocks.
    #[error("the debug probe did not answer within {} s while {action}", limit.as_secs_f32())]
    NoAnswer {
        /// What was being done. It may still be going on.
        action: Action,
        /// How long it had.
        limit: Duration,
    },
    /// The user has enough.
    #[error("interrupted while {action}")]
    Interrupted {
        /// What was being done. It may still be going on.
        action: Action,
    },
    /// The thread of the probe has ended; a bug of ours or of probe-rs.
    #[error("the debug probe's thread ended while {action}")]
    Ended {
        /// What was being done.
        action: Action,
    },
    /// The core has no such registers.
    #[error("{action} wants a Cortex-M core, and {chip} has a core of type {core}")]
    OtherCore {
        /// What was being done.
        action: Action,
        /// The chip.
        chip: String,
        /// Its core.
        core: String,
    },
    /// A write to memory that goes into flash, which only flashing may.
    #[error("{action} of {chip} would go into its flash at {start:#010x}..{end:#010x}; expected an address in RAM")]
    IntoFlash {
        /// What should be done.
        action: Action,
        /// The chip.
        chip: String,
        /// Where the flash begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// A firmware for other processors.
    #[error("the firmware is for {found}, and {chip} has a core of type {core}")]
    OtherFirmware {
        /// The chip.
        chip: String,
        /// Its core.
        core: String,
        /// What the file says.
        found: String,
    },
    /// A file that is no ELF file.
    #[error("could not read the firmware as an ELF file")]
    Elf(#[source] object::Error),
    /// The firmware has not what is looked for.
    #[error("the firmware has no symbol {name} with a size; is it stripped, or another firmware?")]
    NoSymbol {
        /// The symbol.
        name: String,
    },
    /// RTT was not set up by the firmware.
    #[error("RTT is of no use here: expected channel 0 in both directions, got {up} up and {down} down")]
    NoChannel {
        /// Channels from the chip.
        up: usize,
        /// Channels to the chip.
        down: usize,
    },
}

impl ProbeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoProbe { .. } => "connect the probe, and look at it with `lsusb`; a charging cable carries no data".into(),
            Self::Ambiguous { .. } => "name one of them by VID:PID:SERIAL in the inventory".into(),
            Self::NoAccess { vendor_id, .. } => udev_hint(*vendor_id),
            Self::UnknownChip { .. } => "write the chip's name in the target file as probe-rs has it".into(),
            Self::NotGranted { wanted, .. } => {
                format!("if that may happen to this board, add {:?} to grants under [probe] in the target file", word(*wanted))
            }
            Self::NoAnswer { .. } => "look at the cable, the board's power and whether another debugger is connected".into(),
            Self::Failed { action: Action::Attach, .. } => {
                "look at the board's power and wiring, and whether another debugger is connected".into()
            }
            Self::Failed { action: Action::RttAttach, .. } | Self::NoChannel { .. } => {
                "the firmware sets RTT up when it starts: let it run, and give the address of _SEGGER_RTT if it lies outside of the RAM \
                 that is searched"
                    .into()
            }
            _ => return None,
        })
    }
}

/// A rule for udev that lets whoever sits at the machine use the probes of this vendor.
pub(crate) fn udev_hint(vendor_id: u16) -> String {
    format!(
        "as root: echo 'SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{vendor_id:04x}\", MODE=\"0660\", TAG+=\"uaccess\"' > \
         /etc/udev/rules.d/69-debug-probe.rules && udevadm control --reload && udevadm trigger"
    )
}

fn or_none(found: &[String]) -> String {
    if found.is_empty() { "none".into() } else { found.join(", ") }
}

fn step(grant: Grant) -> &'static str {
    match grant {
        Grant::Flash => "flashing",
        Grant::Erase => "erasing all",
        Grant::Reset => "resetting",
        Grant::WriteRam => "writing to the RAM",
    }
}

fn word(grant: Grant) -> &'static str {
    match grant {
        Grant::Flash => "flash",
        Grant::Erase => "erase",
        Grant::Reset => "reset",
        Grant::WriteRam => "write_ram",
    }
}

fn grants(granted: &[Grant]) -> String {
    let words: Vec<_> = granted.iter().map(|grant| word(*grant)).collect();
    if words.is_empty() { "nothing".into() } else { words.join(" and ") }
}
